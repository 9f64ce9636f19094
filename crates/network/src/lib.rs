//! Address facts: autonomous system, country and kind of network, from a bundled table or the user's database.
