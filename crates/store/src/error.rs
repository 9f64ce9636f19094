//! What can go wrong, one type per operation.

use std::path::PathBuf;

use tokenwatch_model::id::KeyId;

/// Why a state directory can not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or folder can not be made or read.
    #[error("{path} can not be opened: check that it exists and belongs to the user that runs tokenwatch")]
    Files {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The database refuses.
    #[error("the database {path} can not be opened")]
    Database {
        /// Which.
        path: PathBuf,
        /// What the database says.
        source: rusqlite::Error,
    },
    /// A newer TokenWatch wrote it.
    #[error(
        "the database {path} has schema {found}, this version of tokenwatch knows up to {supported}: run the newer version, or restore the backup taken before the upgrade"
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Schema version in the file.
        found: u32,
        /// Newest version that this program knows.
        supported: u32,
    },
    /// Something else wrote it.
    #[error("{path} is not a database of tokenwatch: choose another state directory")]
    Foreign {
        /// Which.
        path: PathBuf,
    },
}

/// Why something stored can not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database refuses, or a row does not hold what it must.
    #[error("the state database can not be read")]
    Database(#[from] rusqlite::Error),
}

/// Why a change was not made. When there is an error, nothing of the batch was changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Somebody else changed the row since it was read: read it again and decide again.
    #[error(
        "{what} {id} was changed by somebody else meanwhile (revision {found}, expected {expected}): read it again and retry"
    )]
    Conflict {
        /// Kind of row.
        what: &'static str,
        /// Which row.
        id: String,
        /// The revision that the writer read.
        expected: u64,
        /// The revision that is there.
        found: u64,
    },
    /// There is no such row to change.
    #[error("there is no {what} {id}")]
    Missing {
        /// Kind of row.
        what: &'static str,
        /// Which row.
        id: String,
    },
    /// A new row's id or credential is taken.
    #[error("{what} {id} exists already")]
    Exists {
        /// Kind of row.
        what: &'static str,
        /// Which row.
        id: String,
    },
    /// Another row has the name.
    #[error("the name {name:?} is taken by another {what}")]
    NameTaken {
        /// Kind of row.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A revoked key can never be used again.
    #[error("{key} is revoked for good: issue a new key")]
    Revoked {
        /// The key.
        key: KeyId,
    },
    /// The key names an owner that is not registered.
    #[error("{key} can not belong to {owner}: no such owner")]
    UnknownOwner {
        /// The key.
        key: KeyId,
        /// The owner it names.
        owner: String,
    },
    /// Another process holds the database.
    #[error("the state database is locked by another process: check for a long-running tokenwatch command")]
    Busy,
    /// The database refuses.
    #[error("the state database can not be written")]
    Database(#[source] rusqlite::Error),
    /// A value can not be written as JSON.
    #[error("a value can not be encoded")]
    Encode(#[from] serde_json::Error),
}

impl From<rusqlite::Error> for UpdateError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Self::Busy,
            _ => Self::Database(error),
        }
    }
}
