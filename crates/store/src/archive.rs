//! The archive: usage events and findings as hive-partitioned Parquet, readable by any engine.
//!
//! `events/date=YYYY-MM-DD/hour=HH/<segment>.parquet` and `findings/date=YYYY-MM-DD/<segment>.parquet`; the columns
//! are in `docs/events.md`. Invariant: a record is either in a journal segment that is still there or in Parquet,
//! whatever step a crash comes at; files appear whole or not at all.

mod events;
mod findings;
mod read;
mod seal;
mod table;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokenwatch_model::time::{DAY, Timestamp};

pub use self::read::{Filter, ReadArchiveError, Records};
pub use self::seal::{SealError, SealFailure, SealReport};
pub use self::table::DecodeError;
use crate::files;

/// Later times are filed under this one: years of five digits would not sort.
const TIME_MAX: Timestamp = Timestamp(253_402_300_799_000_000);

/// How long archived records are kept, in days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Usage events.
    pub events_days: u32,
    /// Findings, which are few.
    pub findings_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events_days: 90, findings_days: 365 }
    }
}

/// The archive in one folder.
#[derive(Clone, Debug)]
pub struct Archive {
    dir: PathBuf,
}

impl Archive {
    /// The archive in `dir`; the folder is made when something is first written.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Deletes the days that ended before the retention; how many day folders went.
    ///
    /// # Errors
    ///
    /// When a folder can not be listed or deleted; what was deleted stays so.
    pub fn expire(&self, now: Timestamp, retention: Retention) -> io::Result<u64> {
        let mut deleted = 0;
        for (table, days) in [("events", retention.events_days), ("findings", retention.findings_days)] {
            let dir = self.dir.join(table);
            let oldest = date_dir(Timestamp(now.0.saturating_sub(u64::from(days) * DAY)));
            for name in files::list_dir(&dir)? {
                // Dates of four-digit years sort as texts.
                if name.len() == oldest.len() && name.starts_with("date=") && name < oldest {
                    match fs::remove_dir_all(dir.join(name)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => deleted += 1,
                    }
                }
            }
        }
        Ok(deleted)
    }
}

/// `date=2026-03-01`.
fn date_dir(time: Timestamp) -> String {
    let written = time.min(TIME_MAX).to_string();
    format!("date={}", written.get(..10).unwrap_or(&written))
}

/// `hour=07`.
fn hour_dir(time: Timestamp) -> String {
    format!("hour={:02}", time.min(TIME_MAX).hour_of_day())
}
