//! What the console needs of the store: a trait, so that neither it nor its tests know SQL.

use tokenwatch_model::SmolStr;
use tokenwatch_model::audit::{AuditEntry, AuditRow};
use tokenwatch_model::containment::Containment;
use tokenwatch_model::finding::Feedback;
use tokenwatch_model::id::{ContainmentId, IncidentId, KeyId, OwnerId};
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::{Key, StoredKey};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::Effects;

/// Why records can not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// Somebody else changed the row meanwhile: read it again and decide again.
    #[error("{0}")]
    Conflict(String),
    /// There is no such row.
    #[error("{0}")]
    Missing(String),
    /// The change is not allowed; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// The store does not answer.
    #[error("{0}")]
    Unavailable(String),
}

/// What an administrator may do. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read.
    Viewer,
    /// Also work on incidents and containments.
    Responder,
    /// Also change keys and owners.
    Admin,
}

/// Rows that changed since a revision.
#[derive(Clone, Default)]
pub struct Changed {
    /// The newest revision.
    pub revision: u64,
    /// Keys.
    pub keys: Vec<StoredKey>,
    /// Owners: their keys inherit from them.
    pub owners: Vec<Owner>,
    /// Containments.
    pub containments: Vec<Containment>,
    /// Words about contexts.
    pub feedback: Vec<Feedback>,
}

/// The records of one node. Every call may block on a disk.
#[expect(clippy::missing_errors_doc, reason = "every method fails for the reasons RecordsError lists")]
pub trait Records: Send + Sync {
    /// Every key, by name.
    fn keys(&self) -> Result<Vec<StoredKey>, RecordsError>;
    /// One key.
    fn key(&self, id: KeyId) -> Result<Option<StoredKey>, RecordsError>;
    /// One key by its name.
    fn key_by_name(&self, name: &str) -> Result<Option<StoredKey>, RecordsError>;
    /// Adds keys, all or none.
    fn insert_keys(&self, keys: &[(StoredKey, AuditEntry)]) -> Result<(), RecordsError>;
    /// Changes a key whose `revision` is the one that was read.
    fn update_key(&self, key: &Key, entry: &AuditEntry) -> Result<(), RecordsError>;
    /// Every owner, by name.
    fn owners(&self) -> Result<Vec<Owner>, RecordsError>;
    /// One owner.
    fn owner(&self, id: OwnerId) -> Result<Option<Owner>, RecordsError>;
    /// One owner by its name.
    fn owner_by_name(&self, name: &str) -> Result<Option<Owner>, RecordsError>;
    /// Adds (revision 0) or changes an owner.
    fn put_owner(&self, owner: &Owner, entry: &AuditEntry) -> Result<(), RecordsError>;
    /// Incidents, latest first.
    fn incidents(
        &self,
        open_only: bool,
        key: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<Incident>, RecordsError>;
    /// One incident.
    fn incident(&self, id: IncidentId) -> Result<Option<Incident>, RecordsError>;
    /// Containments of a key, lifted and expired ones included.
    fn containments_of(&self, key: KeyId) -> Result<Vec<Containment>, RecordsError>;
    /// One containment.
    fn containment(&self, id: ContainmentId) -> Result<Option<Containment>, RecordsError>;
    /// Every containment in force.
    fn active_containments(&self, now: Timestamp) -> Result<Vec<Containment>, RecordsError>;
    /// Writes what a plan or a person did, all or nothing.
    fn apply(&self, effects: &Effects) -> Result<(), RecordsError>;
    /// The latest audit rows, newest first.
    fn audit_latest(&self, limit: u32) -> Result<Vec<AuditRow>, RecordsError>;
    /// Rows changed since a revision.
    fn changed_since(&self, revision: u64) -> Result<Changed, RecordsError>;
    /// Changes whenever another process wrote.
    fn data_version(&self) -> Result<i64, RecordsError>;
    /// Whose admin token this is, and what it may do.
    fn admin(&self, token: &SecretHash, now: Timestamp) -> Result<Option<(SmolStr, Role)>, RecordsError>;
}
