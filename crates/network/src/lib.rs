//! Address facts: autonomous system, country and kind of network, from a bundled table or the user's database.
//!
//! [`Bundled`] answers from a compact table inside the program, [`UserTables`] from MaxMind-format databases
//! whose bytes the application has read, and [`Tables`] layers the second over the first.
//!
//! Invariants:
//! * Bytes in, values out: no files, clock, randomness or logging.
//! * A lookup never fails and never panics, whatever the bytes of a table are; what is not known is unknown.
//! * Private addresses are [`NetworkKind::Private`](tokenwatch_model::network::NetworkKind::Private) and
//!   transition encodings are stripped before any table is asked.

mod bundled;
mod encode;
mod layered;
mod table;
mod user;

pub use bundled::{Bundled, STALE_AFTER, Wanted};
pub use encode::{EncodeTableError, System, TableSource, encode};
pub use layered::Tables;
pub use table::{ParseTableError, Table, V4Range, V6Range};
pub use user::{OpenTableError, TableRole, UserFiles, UserTables};
