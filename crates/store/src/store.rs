//! The state of one node: keys, owners, containments, incidents, feedback, suppressions, admin tokens, audit,
//! checkpoints.
//!
//! Several processes may have one state directory open: the server, its successor during a hand-over, commands.
//! They learn of each other's writes by [`Store::data_version`] and [`Store::changes_since`].

mod admin;
mod alarms;
mod alerts;
mod audit;
mod batch;
mod checkpoint;
mod database;
mod drill;
mod read;
mod rows;
mod suppression;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::containment::Containment;
use tokenwatch_model::finding::Feedback;
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::{Key, StoredKey};
use tokenwatch_model::owner::Owner;

pub use self::admin::{AdminRole, AdminToken, StoredAdminToken};
pub use self::alarms::RaisedAlarm;
pub use self::alerts::{NewDelivery, Pending};
pub use self::audit::{AuditFault, AuditReport};
pub use self::batch::{Applied, Batch, Change};
pub use self::checkpoint::Checkpoint;
use self::database::{Database, Schema};
pub use self::read::{Changes, IncidentFilter};
pub use self::rows::StoredFeedback;
pub(crate) use self::rows::{make_finite, to_json};
use crate::error::{OpenError, UpdateError};
use crate::files;
use crate::redact::Redactor;

/// `TWst`: the state database.
const STATE: Schema = Schema {
    application_id: 0x5457_7374,
    migrations: &[
        include_str!("store/schema.sql"),
        include_str!("store/suppressions.sql"),
        include_str!("store/alerts.sql"),
        include_str!("store/drills.sql"),
        include_str!("store/rotation.sql"),
        include_str!("store/alarms.sql"),
    ],
};
/// `TWcp`: the checkpoint database.
const CHECKPOINTS: Schema =
    Schema { application_id: 0x5457_6370, migrations: &[include_str!("store/checkpoints.sql")] };
/// The key of the shape hashes.
const SHAPE_KEY: &str = "shape.key";
/// The key that signs links in alerts.
const LINKS_KEY: &str = "links.key";

/// How to open a [`Store`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections for reading at the same time; at least 1.
    pub readers: usize,
    /// How long a write waits for another process before it gives up with [`UpdateError::Busy`].
    pub busy_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 4, busy_timeout: Duration::from_secs(5) }
    }
}

/// An open state directory. Cheap to clone. Every call may block on the disk: keep it off the async runtime.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    state: Database,
    checkpoints: Database,
    redactor: Redactor,
}

impl Store {
    /// Opens a state directory, creating it with mode 0700 and its files with mode 0600 when it is new.
    ///
    /// # Errors
    ///
    /// When it can not be read or written, or holds the data of a newer version or of another program.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        files::create_dir(dir).map_err(|source| OpenError::Files { path: dir.to_owned(), source })?;
        let open = |name: &str, schema| {
            Database::open(&dir.join(name), schema, options.readers, options.busy_timeout)
        };
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            state: open("state.db", &STATE)?,
            checkpoints: open("checkpoints.db", &CHECKPOINTS)?,
            redactor: Redactor::new(),
        })))
    }

    /// Where the journal of this state directory belongs.
    pub fn journal_dir(&self) -> PathBuf {
        self.0.dir.join("journal")
    }

    /// Where the archive of this state directory belongs.
    pub fn archive_dir(&self) -> PathBuf {
        self.0.dir.join("archive")
    }

    /// Makes all changes of a batch and appends its audit entries, or does nothing. On return it is on the disk.
    ///
    /// # Errors
    ///
    /// See [`UpdateError`]; then nothing was changed.
    pub fn apply(&self, batch: &Batch) -> Result<Applied, UpdateError> {
        self.0.state.write(|tx| batch::apply(tx, &self.0.redactor, batch))
    }

    /// Adds a key; its new revision.
    ///
    /// # Errors
    ///
    /// See [`UpdateError`]: its id, hash or name is taken, or its owner is unknown.
    pub fn insert_key(&self, key: &StoredKey, entry: &AuditEntry) -> Result<u64, UpdateError> {
        self.apply_one(Change::InsertKey(key.clone()), entry)
    }

    /// Changes a key; its new revision. `key.revision` is the one that was read: the change is refused when the
    /// key has another one by now.
    ///
    /// # Errors
    ///
    /// See [`UpdateError`].
    pub fn update_key(&self, key: &Key, entry: &AuditEntry) -> Result<u64, UpdateError> {
        self.apply_one(Change::UpdateKey(key.clone()), entry)
    }

    /// Gives a key another credential; its new revision.
    ///
    /// # Errors
    ///
    /// See [`UpdateError`]: the key was changed since it was read, is revoked, or the credential is known already.
    pub fn rotate_key(&self, key: &StoredKey, entry: &AuditEntry) -> Result<u64, UpdateError> {
        self.apply_one(Change::RotateKey(key.clone()), entry)
    }

    /// Adds an owner (revision 0) or changes one (the revision that was read); its new revision.
    ///
    /// # Errors
    ///
    /// See [`UpdateError`].
    pub fn put_owner(&self, owner: &Owner, entry: &AuditEntry) -> Result<u64, UpdateError> {
        self.apply_one(Change::Owner(owner.clone()), entry)
    }

    /// Adds a containment (revision 0) or changes one (the revision that was read); its new revision.
    ///
    /// # Errors
    ///
    /// See [`UpdateError`].
    pub fn put_containment(&self, containment: &Containment, entry: &AuditEntry) -> Result<u64, UpdateError> {
        self.apply_one(Change::Containment(containment.clone()), entry)
    }

    /// Adds an incident (revision 0) or changes one (the revision that was read); its new revision.
    ///
    /// # Errors
    ///
    /// See [`UpdateError`].
    pub fn put_incident(&self, incident: &Incident, entry: &AuditEntry) -> Result<u64, UpdateError> {
        self.apply_one(Change::Incident(incident.clone()), entry)
    }

    /// Adds a word about a context; its revision, which is also its place among all such words.
    ///
    /// # Errors
    ///
    /// See [`UpdateError`].
    pub fn push_feedback(&self, feedback: &Feedback, entry: &AuditEntry) -> Result<u64, UpdateError> {
        self.apply_one(Change::Feedback(feedback.clone()), entry)
    }

    fn apply_one(&self, change: Change, entry: &AuditEntry) -> Result<u64, UpdateError> {
        self.apply(&Batch::of(change, entry.clone())).map(|applied| applied.revision())
    }

    /// The key of the deployment's shape hashes: `supplied` is kept the first time and returned for ever after,
    /// whatever is supplied then. It lies in a file that only its owner can read, never in the database.
    ///
    /// # Errors
    ///
    /// When the file can not be written or read, or does not hold 16 bytes in hexadecimal.
    pub fn shape_key(&self, supplied: &[u8; 16]) -> Result<[u8; 16], OpenError> {
        self.secret(SHAPE_KEY, supplied, "let all prompt shapes be learned anew")
    }

    /// The key that signs links in alerts, kept as [`Store::shape_key`] is.
    ///
    /// # Errors
    ///
    /// When the file can not be written or read, or does not hold 32 bytes in hexadecimal.
    pub fn links_key(&self, supplied: &[u8; 32]) -> Result<[u8; 32], OpenError> {
        self.secret(LINKS_KEY, supplied, "let links that were sent end")
    }

    fn secret<const N: usize>(
        &self,
        name: &str,
        supplied: &[u8; N],
        lost: &str,
    ) -> Result<[u8; N], OpenError> {
        let path = self.0.dir.join(name);
        let failed = |source| OpenError::Files { path: path.clone(), source };
        let digits: String = supplied.iter().map(|byte| format!("{byte:02x}")).collect();
        files::write_once(&self.0.dir, name, format!("{digits}\n").as_bytes()).map_err(failed)?;
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        unhex(text.trim_end()).ok_or_else(|| {
            let wrong = format!(
                "expected {} hexadecimal digits: restore the file from a backup, or delete it and {lost}",
                2 * N
            );
            failed(std::io::Error::new(std::io::ErrorKind::InvalidData, wrong))
        })
    }
}

/// Exactly so many bytes in hexadecimal: a sign would be accepted by the parser, and a short text is a cut one.
fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let is_plain = digits.len() == 2 * N && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let mut bytes = [0; N];
    for (i, byte) in bytes.iter_mut().enumerate().filter(|_| is_plain) {
        *byte = u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    is_plain.then_some(bytes)
}
