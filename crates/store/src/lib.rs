//! Store: SQLite for keys, owners, incidents and audit; a journal sealed into Parquet for events.
//!
//! One node keeps everything in one state directory:
//!
//! | file | what | a crash loses |
//! | --- | --- | --- |
//! | `state.db` | keys, owners, containments, incidents, feedback, admin tokens, audit chain | nothing acknowledged |
//! | `checkpoints.db` | learned state and account of each key | nothing acknowledged; can be replayed |
//! | `journal/` | records as they happen | what was not synced: the last 100 ms on a disk that keeps up |
//! | `archive/` | the same as Parquet, by hour; see `docs/events.md` | nothing: what it is made from goes last |
//! | `shape.key` | the key of prompt hashes | nothing |
//!
//! Invariants: credentials are stored as hashes only, and those that strayed into a text are masked; every file
//! is readable by its owner only; nothing here reads the clock to name or date anything: times are arguments.

mod archive;
mod error;
mod files;
mod journal;
mod redact;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the integration tests and benchmarks, which use the rest")]
mod samples;
mod store;

pub use self::archive::{
    Archive, DecodeError, Filter, ReadArchiveError, Records, Retention, SealError, SealFailure, SealReport,
};
pub use self::error::{OpenError, ReadError, UpdateError};
pub use self::journal::{
    FlushError, Journal, JournalHandle, JournalHealth, JournalOptions, JournalPosition, JournalPositions,
    JournalReader, ParseSegmentError, Progress, Recovered, ReplayError, SegmentName, Stream,
};
pub use self::store::{
    AdminRole, AdminToken, Applied, AuditFault, AuditReport, Batch, Change, Changes, Checkpoint,
    IncidentFilter, NewDelivery, Options, Pending, RaisedAlarm, Store, StoredAdminToken, StoredFeedback,
};
