//! Adapters: the system's clock and randomness, and the store behind the console's trait.

use std::time::{SystemTime, UNIX_EPOCH};

use tokenwatch_console::persistence::ArtifactCalls;
use tokenwatch_console::records::{AdminToken, Changed, Records, RecordsError, Role};
use tokenwatch_console::rotation::{Caller, Callers};
use tokenwatch_model::SmolStr;
use tokenwatch_model::alarm::{Alarm, Spender};
use tokenwatch_model::alert::{Delivery, StoredAlert, Subject, SubjectId};
use tokenwatch_model::audit::{AuditEntry, AuditRow};
use tokenwatch_model::containment::Containment;
use tokenwatch_model::drill::Drill;
use tokenwatch_model::finding::Feedback;
use tokenwatch_model::id::{AlarmId, ContainmentId, DrillId, IncidentId, KeyId, OwnerId, SuppressionId};
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::{Key, StoredKey};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::ports::{Clock, Random};
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::suppression::{SuppressedAlert, Suppression};
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::Effects;
use tokenwatch_respond::runbook::Created;
use tokenwatch_store::{
    AdminRole, Archive, Batch, Change, Filter, IncidentFilter, ReadError, Store, StoredAdminToken,
    UpdateError,
};

/// Most calls to where artifacts are created that are read.
const ARTIFACT_CALLS_MAX: usize = 100_000;

/// The system's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// The system's randomness.
pub(crate) struct SystemRandom;

impl SystemRandom {
    /// Checks once that the system gives random bytes, so that nothing has to fail later.
    pub(crate) fn open() -> anyhow::Result<Self> {
        getrandom::u64().map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
        Ok(Self)
    }
}

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        // After the check at start this fails only if the kernel breaks its promise. Zeros must never become
        // a key, so there is nothing to go on with.
        if getrandom::fill(bytes).is_err() {
            std::process::abort();
        }
    }
}

/// The store as the console sees it.
#[derive(Clone)]
pub(crate) struct StoreRecords(pub(crate) Store);

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
fn read_failed(error: ReadError) -> RecordsError {
    RecordsError::Unavailable(chain(&error))
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
fn update_failed(error: UpdateError) -> RecordsError {
    match &error {
        UpdateError::Conflict { .. } => RecordsError::Conflict(error.to_string()),
        UpdateError::Missing { .. } => RecordsError::Missing(error.to_string()),
        UpdateError::Busy | UpdateError::Database(_) | UpdateError::Encode(_) => {
            RecordsError::Unavailable(chain(&error))
        }
        UpdateError::UnknownOwner { .. } => {
            RecordsError::Invalid { field: "owner".to_owned(), text: error.to_string() }
        }
        _ => RecordsError::Refused(error.to_string()),
    }
}

impl StoreRecords {
    /// Whether people are told of the incidents of a drill.
    fn tells_of_drill(&self, stand_in: KeyId) -> Result<bool, RecordsError> {
        let drill = self.0.drill(DrillId::from_bits(stand_in.bits())).map_err(read_failed)?;
        Ok(drill.is_some_and(|drill| drill.pages))
    }
}

impl Records for StoreRecords {
    fn keys(&self) -> Result<Vec<StoredKey>, RecordsError> {
        let mut keys = self.0.keys().map_err(read_failed)?;
        keys.sort_by(|a, b| a.key.name.cmp(&b.key.name));
        Ok(keys)
    }

    fn keys_after(&self, name: &str, limit: u32) -> Result<Vec<StoredKey>, RecordsError> {
        self.0.keys_after(name, limit).map_err(read_failed)
    }

    fn key(&self, id: KeyId) -> Result<Option<StoredKey>, RecordsError> {
        self.0.key(id).map_err(read_failed)
    }

    fn key_by_name(&self, name: &str) -> Result<Option<StoredKey>, RecordsError> {
        self.0.key_by_name(name).map_err(read_failed)
    }

    fn insert_keys(&self, keys: &[(StoredKey, AuditEntry)]) -> Result<(), RecordsError> {
        let mut keys = keys.iter();
        let Some((first, entry)) = keys.next() else { return Ok(()) };
        let mut batch = Batch::of(Change::InsertKey(first.clone()), entry.clone());
        for (key, entry) in keys {
            batch.push(Change::InsertKey(key.clone())).note(entry.clone());
        }
        self.0.apply(&batch).map(drop).map_err(update_failed)
    }

    fn update_key(&self, key: &Key, entry: &AuditEntry) -> Result<(), RecordsError> {
        self.0.update_key(key, entry).map(drop).map_err(update_failed)
    }

    fn rotate_key(&self, key: &StoredKey, entry: &AuditEntry) -> Result<(), RecordsError> {
        self.0.rotate_key(key, entry).map(drop).map_err(update_failed)
    }

    fn previous_callers(&self, key: KeyId, since: Timestamp) -> Result<Vec<Caller>, RecordsError> {
        let filter = Filter { key: Some(key), from: Some(since), ..Filter::default() };
        let events = Archive::new(&self.0.archive_dir()).events(Some(&self.0.journal_dir()), filter);
        let mut callers = Callers::default();
        // What can not be read is counted and told by those that keep the events; here the rest is still worth knowing.
        let events = events.map_err(|error| RecordsError::Unavailable(chain(&error)))?.flatten();
        events.for_each(|event| callers.see(key, &event));
        Ok(callers.busiest())
    }

    fn artifact_calls(&self, from: Timestamp, to: Timestamp) -> Result<ArtifactCalls, RecordsError> {
        let filter = Filter { from: Some(from), to: Some(to), ..Filter::default() };
        let events = Archive::new(&self.0.archive_dir()).events(Some(&self.0.journal_dir()), filter);
        let mut calls = ArtifactCalls { events: Vec::new(), is_whole: true };
        for event in events.map_err(|error| RecordsError::Unavailable(chain(&error)))? {
            let Ok(event) = event else {
                calls.is_whole = false;
                continue;
            };
            let creates = Created::ENDPOINTS.contains(&event.request.endpoint)
                && event.outcome.was_forwarded()
                && (200..300).contains(&event.status);
            match calls.events.len() < ARTIFACT_CALLS_MAX {
                _ if !creates => {}
                true => calls.events.push(event),
                false => calls.is_whole = false,
            }
        }
        Ok(calls)
    }

    fn owners(&self) -> Result<Vec<Owner>, RecordsError> {
        self.0.owners().map_err(read_failed)
    }

    fn owner(&self, id: OwnerId) -> Result<Option<Owner>, RecordsError> {
        self.0.owner(id).map_err(read_failed)
    }

    fn owner_by_name(&self, name: &str) -> Result<Option<Owner>, RecordsError> {
        self.0.owner_by_name(name).map_err(read_failed)
    }

    fn put_owner(&self, owner: &Owner, entry: &AuditEntry) -> Result<(), RecordsError> {
        self.0.put_owner(owner, entry).map(drop).map_err(update_failed)
    }

    fn incidents(
        &self,
        open_only: bool,
        key: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<Incident>, RecordsError> {
        let filter = IncidentFilter { open_only, key, limit: Some(limit) };
        self.0.incidents(filter).map_err(read_failed)
    }

    fn incident(&self, id: IncidentId) -> Result<Option<Incident>, RecordsError> {
        self.0.incident(id).map_err(read_failed)
    }

    fn containments_of(&self, key: KeyId) -> Result<Vec<Containment>, RecordsError> {
        self.0.containments_of(key).map_err(read_failed)
    }

    fn containment(&self, id: ContainmentId) -> Result<Option<Containment>, RecordsError> {
        self.0.containment(id).map_err(read_failed)
    }

    fn active_containments(&self, now: Timestamp) -> Result<Vec<Containment>, RecordsError> {
        self.0.active_containments(now).map_err(read_failed)
    }

    fn apply(&self, effects: &Effects) -> Result<(), RecordsError> {
        // Rows of effects carry the revision they are to get; the store wants the one that was read.
        let read = |revision: u64| revision.saturating_sub(1);
        let mut audit = effects.audit.iter();
        // A stand-in has no row of its own: its containment alone ends it.
        let is_drill = effects.incident.as_ref().is_some_and(|incident| incident.drill);
        let changes = effects
            .key
            .iter()
            .filter(|_| !is_drill)
            .map(|key| Change::UpdateKey(Key { revision: read(key.revision), ..key.clone() }))
            .chain(effects.incident.iter().map(|incident| {
                Change::Incident(Incident { revision: read(incident.revision), ..incident.clone() })
            }))
            .chain(effects.containments.iter().map(|containment| {
                Change::Containment(Containment {
                    revision: read(containment.revision),
                    ..containment.clone()
                })
            }))
            .chain(effects.feedback.iter().cloned().map(Change::Feedback));
        let mut batch = match audit.next() {
            Some(entry) => Batch::new(entry.clone()),
            None => Batch::unaudited(),
        };
        for change in changes {
            batch.push(change);
        }
        let is_told = |incident: &Incident| match incident.drill {
            true => self.tells_of_drill(incident.key),
            false => Ok(true),
        };
        if let (Some(cause), Some(incident)) = (effects.alert, &effects.incident)
            && is_told(incident)?
        {
            let time = incident.timeline.last().map_or(incident.opened, |line| line.time);
            let alert = StoredAlert {
                sequence: 0,
                time,
                cause,
                subject: Subject::Incident(Box::new(incident.clone())),
            };
            batch.push(Change::Alert(Box::new(alert)));
        }
        for entry in audit {
            batch.note(entry.clone());
        }
        self.0.apply(&batch).map(drop).map_err(update_failed)
    }

    fn drill(&self, id: DrillId) -> Result<Option<Drill>, RecordsError> {
        self.0.drill(id).map_err(read_failed)
    }

    fn drills(&self, key: Option<KeyId>, limit: u32) -> Result<Vec<Drill>, RecordsError> {
        self.0.drills(key, limit).map_err(read_failed)
    }

    fn put_drill(&self, drill: &Drill, entry: &AuditEntry) -> Result<(), RecordsError> {
        let change = Change::Drill(Box::new(drill.clone()));
        self.0.apply(&Batch::of(change, entry.clone())).map(drop).map_err(update_failed)
    }

    fn suppressions(&self, limit: u32) -> Result<Vec<Suppression>, RecordsError> {
        self.0.suppressions(limit).map_err(read_failed)
    }

    fn suppression(&self, id: SuppressionId) -> Result<Option<Suppression>, RecordsError> {
        self.0.suppression(id).map_err(read_failed)
    }

    fn put_suppression(&self, suppression: &Suppression, entry: &AuditEntry) -> Result<(), RecordsError> {
        self.0.put_suppression(suppression, entry).map(drop).map_err(update_failed)
    }

    fn suppressed(&self, key: Option<KeyId>, limit: u32) -> Result<Vec<SuppressedAlert>, RecordsError> {
        self.0.suppressed(key, limit).map_err(read_failed)
    }

    fn push_suppressed(&self, alert: &SuppressedAlert) -> Result<(), RecordsError> {
        self.0.push_suppressed(alert).map_err(update_failed)
    }

    fn deliveries(
        &self,
        all: bool,
        subject: Option<SubjectId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, RecordsError> {
        self.0.deliveries(all, subject, limit).map_err(read_failed)
    }

    fn delivery(&self, id: u64) -> Result<Option<Delivery>, RecordsError> {
        self.0.delivery(id).map_err(read_failed)
    }

    fn retry_deliveries(
        &self,
        id: Option<u64>,
        now: Timestamp,
        entry: &AuditEntry,
    ) -> Result<usize, RecordsError> {
        self.0.retry_deliveries(id, now, entry).map_err(update_failed)
    }

    fn drop_delivery(&self, id: u64, now: Timestamp, entry: &AuditEntry) -> Result<bool, RecordsError> {
        self.0.drop_delivery(id, now, entry).map_err(update_failed)
    }

    fn snooze(&self, incident: IncidentId, until: Timestamp, entry: &AuditEntry) -> Result<(), RecordsError> {
        self.0.snooze(incident, until, entry).map_err(update_failed)
    }

    fn alarms(&self, limit: u32) -> Result<Vec<Alarm>, RecordsError> {
        self.0.alarms(limit).map_err(read_failed)
    }

    fn alarm(&self, id: AlarmId) -> Result<Option<Alarm>, RecordsError> {
        self.0.alarm(id).map_err(read_failed)
    }

    fn snooze_spender(
        &self,
        spender: &Spender,
        until: Timestamp,
        entry: &AuditEntry,
    ) -> Result<(), RecordsError> {
        self.0.snooze_spender(spender, until, entry).map_err(update_failed)
    }

    fn audit_latest(&self, limit: u32) -> Result<Vec<AuditRow>, RecordsError> {
        self.0.audit_latest(limit).map_err(read_failed)
    }

    fn changed_since(&self, revision: u64) -> Result<Changed, RecordsError> {
        let changes = self.0.changes_since(revision).map_err(read_failed)?;
        Ok(Changed {
            revision: changes.revision,
            keys: changes.keys,
            owners: changes.owners,
            containments: changes.containments,
            feedback: changes.feedback.into_iter().map(|stored| stored.feedback).collect(),
            suppressions: changes.suppressions,
        })
    }

    fn said(&self) -> Result<Vec<Feedback>, RecordsError> {
        let said = self.0.feedback_since(0).map_err(read_failed)?;
        Ok(said.into_iter().map(|stored| stored.feedback).collect())
    }

    fn data_version(&self) -> Result<i64, RecordsError> {
        self.0.data_version().map_err(read_failed)
    }

    fn admin(&self, token: &SecretHash, now: Timestamp) -> Result<Option<(SmolStr, Role)>, RecordsError> {
        let found = self.0.admin_token(token).map_err(read_failed)?;
        Ok(found
            .filter(|stored| stored.token.is_usable(now))
            .map(|stored| (stored.token.name, role_of(stored.token.role))))
    }

    fn admin_tokens(&self) -> Result<Vec<AdminToken>, RecordsError> {
        let tokens = self.0.admin_tokens().map_err(read_failed)?;
        Ok(tokens
            .into_iter()
            .map(|stored| AdminToken {
                name: stored.token.name,
                role: role_of(stored.token.role),
                created: stored.token.created,
                expires: stored.token.expires,
                revoked: stored.token.revoked,
            })
            .collect())
    }

    fn insert_admin_token(
        &self,
        token: &AdminToken,
        hash: &SecretHash,
        entry: &AuditEntry,
    ) -> Result<(), RecordsError> {
        let role = match token.role {
            Role::Viewer => AdminRole::Viewer,
            Role::Responder => AdminRole::Responder,
            Role::Admin => AdminRole::Admin,
        };
        let AdminToken { name, role: _, created, expires, revoked } = token.clone();
        let token = tokenwatch_store::AdminToken { name, role, created, expires, revoked };
        let change = Change::InsertAdminToken(StoredAdminToken { token, hash: *hash });
        self.0.apply(&Batch::of(change, entry.clone())).map(drop).map_err(update_failed)
    }

    fn revoke_admin_token(
        &self,
        name: &str,
        time: Timestamp,
        entry: &AuditEntry,
    ) -> Result<(), RecordsError> {
        let change = Change::RevokeAdminToken { name: name.into(), time };
        self.0.apply(&Batch::of(change, entry.clone())).map(drop).map_err(update_failed)
    }
}

const fn role_of(role: AdminRole) -> Role {
    match role {
        AdminRole::Viewer => Role::Viewer,
        AdminRole::Responder => Role::Responder,
        AdminRole::Admin => Role::Admin,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokenwatch_console::admins::{self, AdminSpec};
    use tokenwatch_console::manage::{KeySpec, Manager};
    use tokenwatch_model::time::MINUTE;
    use tokenwatch_store::Options;

    use super::*;

    #[test]
    fn admin_tokens_go_through_the_store_and_end_there() {
        let dir = tempfile::tempdir().unwrap();
        let records = Arc::new(StoreRecords(Store::open(dir.path(), Options::default()).unwrap()));
        let random = Arc::new(SystemRandom::open().unwrap());
        let manager = Manager { records: records.clone(), clock: Arc::new(SystemClock), random };
        let now = manager.clock.now();
        let spec = |name: &str, expires| AdminSpec { name: name.into(), role: Role::Responder, expires };
        let issued = manager.issue_admin(spec("ops", Some(now.plus(MINUTE))), "test").unwrap();
        let hash = admins::parse(issued.secret.expose().as_bytes()).unwrap();
        assert_eq!(records.admin(&hash, now).unwrap(), Some(("ops".into(), Role::Responder)));
        assert_eq!(records.admin(&hash, now.plus(MINUTE)).unwrap(), None);
        let taken = manager.issue_admin(spec("ops", None), "test");
        assert!(matches!(taken, Err(RecordsError::Refused(_))));
        assert_eq!(manager.admins().unwrap(), [issued.token]);
        manager.revoke_admin("ops", "test").unwrap();
        assert_eq!(records.admin(&hash, now).unwrap(), None);
        assert!(matches!(manager.revoke_admin("nobody", "test"), Err(RecordsError::Missing(_))));
        let unknown =
            KeySpec { name: "x".into(), owner: Some("own_000000000000".into()), ..KeySpec::default() };
        assert!(matches!(manager.issue(vec![unknown], "test"), Err(RecordsError::Missing(_))));
    }
}
