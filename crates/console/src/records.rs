//! What the console needs of the store: a trait, so that neither it nor its tests know SQL.

use serde::{Deserialize, Serialize};
use tokenwatch_model::SmolStr;
use tokenwatch_model::alarm::{Alarm, Spender};
use tokenwatch_model::alert::{Delivery, SubjectId};
use tokenwatch_model::audit::{AuditEntry, AuditRow};
use tokenwatch_model::containment::Containment;
use tokenwatch_model::drill::Drill;
use tokenwatch_model::finding::Feedback;
use tokenwatch_model::id::{AlarmId, ContainmentId, DrillId, IncidentId, KeyId, OwnerId, SuppressionId};
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::{Key, StoredKey};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::suppression::{SuppressedAlert, Suppression};
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::Effects;

use crate::persistence::ArtifactCalls;
use crate::rotation::Caller;

/// Why records can not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// Somebody else changed the row meanwhile: read it again and decide again.
    #[error("{0}")]
    Conflict(String),
    /// The row is not the one that the caller has seen, by its revision.
    #[error("{0}")]
    Stale(String),
    /// There is no such row.
    #[error("{0}")]
    Missing(String),
    /// What was asked for makes no sense, whatever is stored.
    #[error("{field}: {text}")]
    Invalid {
        /// Which field of what was asked for.
        field: String,
        /// What is wrong with it, and what would be right.
        text: String,
    },
    /// What is stored does not allow the change; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// The store does not answer.
    #[error("{0}")]
    Unavailable(String),
}

/// What an administrator may do. Ordered: each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read.
    Viewer,
    /// Also work on incidents and containments.
    Responder,
    /// Also change keys and owners.
    Admin,
}

impl Role {
    /// Every role, weakest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Responder, Self::Admin];

    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Responder => "responder",
            Self::Admin => "admin",
        }
    }

    /// The inverse of [`Role::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// What is known of an admin token; the token itself is shown once and stored only as a hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminToken {
    /// Unique name, also the actor in the audit log.
    pub name: SmolStr,
    /// What its holder may do.
    pub role: Role,
    /// When it was issued.
    pub created: Timestamp,
    /// When it stops working by itself.
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

impl AdminToken {
    /// Whether it may be used at `now`.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
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
    /// Suppressions.
    pub suppressions: Vec<Suppression>,
}

/// The records of one node. Every call may block on a disk.
#[expect(clippy::missing_errors_doc, reason = "every method fails for the reasons RecordsError lists")]
pub trait Records: Send + Sync {
    /// Every key, in the order of ids.
    fn keys(&self) -> Result<Vec<StoredKey>, RecordsError>;
    /// Keys whose name sorts after `name` by its bytes, in the order of names, at most `limit`.
    fn keys_after(&self, name: &str, limit: u32) -> Result<Vec<StoredKey>, RecordsError>;
    /// One key; a drill's stand-in is its key under the stand-in's id.
    fn key(&self, id: KeyId) -> Result<Option<StoredKey>, RecordsError>;
    /// One key by its name.
    fn key_by_name(&self, name: &str) -> Result<Option<StoredKey>, RecordsError>;
    /// Adds keys, all or none.
    fn insert_keys(&self, keys: &[(StoredKey, AuditEntry)]) -> Result<(), RecordsError>;
    /// Changes a key whose `revision` is the one that was read.
    fn update_key(&self, key: &Key, entry: &AuditEntry) -> Result<(), RecordsError>;
    /// Gives a key whose `revision` is the one that was read another credential.
    fn rotate_key(&self, key: &StoredKey, entry: &AuditEntry) -> Result<(), RecordsError>;
    /// Who presented the credential before a key's latest rotation since a time, busiest first.
    fn previous_callers(&self, key: KeyId, since: Timestamp) -> Result<Vec<Caller>, RecordsError>;
    /// Calls of any key to where artifacts are created, that were forwarded and succeeded, of requests that arrived from a
    /// time on and before another.
    fn artifact_calls(&self, from: Timestamp, to: Timestamp) -> Result<ArtifactCalls, RecordsError>;
    /// Every owner, by name.
    fn owners(&self) -> Result<Vec<Owner>, RecordsError>;
    /// One owner.
    fn owner(&self, id: OwnerId) -> Result<Option<Owner>, RecordsError>;
    /// One owner by its name.
    fn owner_by_name(&self, name: &str) -> Result<Option<Owner>, RecordsError>;
    /// Adds (revision 0) or changes an owner.
    fn put_owner(&self, owner: &Owner, entry: &AuditEntry) -> Result<(), RecordsError>;
    /// Incidents, latest first; those of a drill only when its stand-in is asked for.
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
    /// Every containment in force; those of drills are none.
    fn active_containments(&self, now: Timestamp) -> Result<Vec<Containment>, RecordsError>;
    /// Writes what a plan or a person did, all or nothing.
    fn apply(&self, effects: &Effects) -> Result<(), RecordsError>;
    /// One drill.
    fn drill(&self, id: DrillId) -> Result<Option<Drill>, RecordsError>;
    /// Drills, latest first, at most `limit`.
    fn drills(&self, key: Option<KeyId>, limit: u32) -> Result<Vec<Drill>, RecordsError>;
    /// Adds or changes a drill.
    fn put_drill(&self, drill: &Drill, entry: &AuditEntry) -> Result<(), RecordsError>;
    /// Suppressions, latest first, ended ones included, at most `limit`.
    fn suppressions(&self, limit: u32) -> Result<Vec<Suppression>, RecordsError>;
    /// One suppression.
    fn suppression(&self, id: SuppressionId) -> Result<Option<Suppression>, RecordsError>;
    /// Adds (revision 0) or changes a suppression whose `revision` is the one that was read.
    fn put_suppression(&self, suppression: &Suppression, entry: &AuditEntry) -> Result<(), RecordsError>;
    /// Suppressed alerts, latest first.
    fn suppressed(&self, key: Option<KeyId>, limit: u32) -> Result<Vec<SuppressedAlert>, RecordsError>;
    /// Records a suppressed alert.
    fn push_suppressed(&self, alert: &SuppressedAlert) -> Result<(), RecordsError>;
    /// Deliveries of alerts, latest first, at most `limit`; only those that wait unless `all`, only about one incident or
    /// alarm when one is named.
    fn deliveries(
        &self,
        all: bool,
        subject: Option<SubjectId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, RecordsError>;
    /// One delivery.
    fn delivery(&self, id: u64) -> Result<Option<Delivery>, RecordsError>;
    /// Has one delivery that waits, or all that failed before, tried at `now`; how many.
    fn retry_deliveries(
        &self,
        id: Option<u64>,
        now: Timestamp,
        entry: &AuditEntry,
    ) -> Result<usize, RecordsError>;
    /// Gives a delivery up; false when it does not wait.
    fn drop_delivery(&self, id: u64, now: Timestamp, entry: &AuditEntry) -> Result<bool, RecordsError>;
    /// Keeps an incident's alerts back until a time; one that is over ends a snooze.
    fn snooze(&self, incident: IncidentId, until: Timestamp, entry: &AuditEntry) -> Result<(), RecordsError>;
    /// Billing alarms, latest first, at most `limit`.
    fn alarms(&self, limit: u32) -> Result<Vec<Alarm>, RecordsError>;
    /// One billing alarm.
    fn alarm(&self, id: AlarmId) -> Result<Option<Alarm>, RecordsError>;
    /// Has no billing alarm raised about a spender before a time; one that is over ends that.
    fn snooze_spender(
        &self,
        spender: &Spender,
        until: Timestamp,
        entry: &AuditEntry,
    ) -> Result<(), RecordsError>;
    /// The latest audit rows, newest first.
    fn audit_latest(&self, limit: u32) -> Result<Vec<AuditRow>, RecordsError>;
    /// Rows changed since a revision.
    fn changed_since(&self, revision: u64) -> Result<Changed, RecordsError>;
    /// All that people said of contexts, oldest first.
    fn said(&self) -> Result<Vec<Feedback>, RecordsError>;
    /// Changes whenever another process wrote.
    fn data_version(&self) -> Result<i64, RecordsError>;
    /// Whose admin token this is, and what it may do; `None` when it is unknown, revoked or expired.
    fn admin(&self, token: &SecretHash, now: Timestamp) -> Result<Option<(SmolStr, Role)>, RecordsError>;
    /// Every admin token, by name, ended ones included.
    fn admin_tokens(&self) -> Result<Vec<AdminToken>, RecordsError>;
    /// Adds an admin token.
    fn insert_admin_token(
        &self,
        token: &AdminToken,
        hash: &SecretHash,
        entry: &AuditEntry,
    ) -> Result<(), RecordsError>;
    /// Ends an admin token; of one that has ended already, nothing happens.
    fn revoke_admin_token(&self, name: &str, time: Timestamp, entry: &AuditEntry)
    -> Result<(), RecordsError>;
}
