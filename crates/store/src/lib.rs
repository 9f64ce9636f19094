//! Store: SQLite for keys, owners, incidents and audit; a journal sealed into Parquet for events.
