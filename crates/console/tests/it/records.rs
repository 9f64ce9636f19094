//! Records in memory, as strict as the store: one counter of revisions, compare and set, all or nothing.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokenwatch_console::persistence::ArtifactCalls;
use tokenwatch_console::records::{AdminToken, Changed, Records, RecordsError, Role};
use tokenwatch_console::rotation::{Caller, Callers};
use tokenwatch_model::SmolStr;
use tokenwatch_model::alarm::{Alarm, Spender};
use tokenwatch_model::alert::{Delivery, DeliveryState, SubjectId};
use tokenwatch_model::audit::{AuditEntry, AuditRow};
use tokenwatch_model::containment::Containment;
use tokenwatch_model::drill::Drill;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::Feedback;
use tokenwatch_model::id::{AlarmId, ContainmentId, DrillId, IncidentId, KeyId, OwnerId, SuppressionId};
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::{Key, StoredKey};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::suppression::{SuppressedAlert, Suppression};
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::Effects;

use self::state::{State, check_read};

mod state;

type Result<T> = std::result::Result<T, RecordsError>;

#[derive(Default)]
pub(crate) struct MemoryRecords {
    state: Mutex<State>,
    /// The events that are kept.
    pub(crate) events: Mutex<Vec<UsageEvent>>,
    /// While set, nothing can be read or written.
    pub(crate) is_away: AtomicBool,
    /// So many next batches meet a change that somebody else made just before.
    pub(crate) rivals: AtomicU32,
}

impl MemoryRecords {
    fn state(&self) -> Result<MutexGuard<'_, State>> {
        if self.is_away.load(Ordering::Acquire) {
            return Err(RecordsError::Unavailable("the state database can not be read".to_owned()));
        }
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state()?;
        let mut next = state.clone();
        let done = change(&mut next)?;
        *state = next;
        Ok(done)
    }

    /// Nothing is read or written until the guard is dropped.
    pub(crate) fn hold(&self) -> impl Drop + '_ {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn feedback(&self) -> Vec<Feedback> {
        self.state()
            .map(|state| state.feedback.iter().map(|(_, said)| said.clone()).collect())
            .unwrap_or_default()
    }

    pub(crate) fn put_alarm(&self, alarm: Alarm) {
        let put = |state: &mut State| {
            state.alarms.push(alarm);
            Ok(())
        };
        assert!(self.change(put).is_ok());
    }

    pub(crate) fn put_delivery(&self, delivery: Delivery) {
        assert!(self.change(|state| Ok(state.deliveries.insert(delivery.id, delivery))).is_ok());
    }

    pub(crate) fn snoozed(&self, incident: IncidentId) -> Option<Timestamp> {
        self.state().ok()?.snoozes.get(&incident).copied()
    }

    /// What the responder does every second while a thief goes on.
    pub(crate) fn count_refused(&self, id: IncidentId) {
        let counted = self.change(|state| {
            let revision = state.next();
            if let Some(incident) = state.incidents.get_mut(&id) {
                incident.requests_refused += 1;
                incident.revision = revision;
            }
            Ok(())
        });
        assert!(counted.is_ok());
    }
}

impl Records for MemoryRecords {
    fn keys(&self) -> Result<Vec<StoredKey>> {
        Ok(self.state()?.keys.values().cloned().collect())
    }

    fn keys_after(&self, name: &str, limit: u32) -> Result<Vec<StoredKey>> {
        let mut keys: Vec<StoredKey> =
            self.state()?.keys.values().filter(|stored| stored.key.name.as_str() > name).cloned().collect();
        keys.sort_by(|a, b| a.key.name.cmp(&b.key.name));
        keys.truncate(limit as usize);
        Ok(keys)
    }

    fn key(&self, id: KeyId) -> Result<Option<StoredKey>> {
        let state = self.state()?;
        let drill = state.drills.get(&DrillId::from_bits(id.bits()));
        let mut found = state.keys.get(&drill.map_or(id, |drill| drill.key)).cloned();
        found.iter_mut().for_each(|stored| stored.key.id = id);
        Ok(found)
    }

    fn key_by_name(&self, name: &str) -> Result<Option<StoredKey>> {
        Ok(self.state()?.keys.values().find(|stored| stored.key.name == name).cloned())
    }

    fn insert_keys(&self, keys: &[(StoredKey, AuditEntry)]) -> Result<()> {
        self.change(|state| {
            for (stored, entry) in keys {
                if state.keys.contains_key(&stored.key.id) {
                    return Err(RecordsError::Refused("key exists already".to_owned()));
                }
                state.check_key(&stored.key)?;
                let revision = state.next();
                let key = Key { revision, ..stored.key.clone() };
                state.keys.insert(key.id, StoredKey { key, ..stored.clone() });
                state.append(entry);
            }
            Ok(())
        })
    }

    fn update_key(&self, key: &Key, entry: &AuditEntry) -> Result<()> {
        self.change(|state| {
            state.update_key(key)?;
            state.append(entry);
            Ok(())
        })
    }

    fn previous_callers(&self, key: KeyId, since: Timestamp) -> Result<Vec<Caller>> {
        let mut callers = Callers::default();
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| event.request.time >= since).for_each(|event| callers.see(key, event));
        Ok(callers.busiest())
    }

    fn artifact_calls(&self, from: Timestamp, to: Timestamp) -> Result<ArtifactCalls> {
        let events = self.events.lock().unwrap();
        let events = events.iter().filter(|event| (from..to).contains(&event.request.time));
        Ok(ArtifactCalls { events: events.cloned().collect(), is_whole: true })
    }

    fn rotate_key(&self, rotated: &StoredKey, entry: &AuditEntry) -> Result<()> {
        self.change(|state| {
            state.update_key(&rotated.key)?;
            if let Some(stored) = state.keys.get_mut(&rotated.key.id) {
                stored.hash = rotated.hash;
                stored.previous = rotated.previous;
            }
            state.append(entry);
            Ok(())
        })
    }

    fn owners(&self) -> Result<Vec<Owner>> {
        let mut owners: Vec<Owner> = self.state()?.owners.values().cloned().collect();
        owners.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(owners)
    }

    fn owner(&self, id: OwnerId) -> Result<Option<Owner>> {
        Ok(self.state()?.owners.get(&id).cloned())
    }

    fn owner_by_name(&self, name: &str) -> Result<Option<Owner>> {
        Ok(self.state()?.owners.values().find(|owner| owner.name == name).cloned())
    }

    fn put_owner(&self, owner: &Owner, entry: &AuditEntry) -> Result<()> {
        self.change(|state| {
            check_read("owner", state.owners.get(&owner.id).map(|row| row.revision), owner.revision)?;
            if state.owners.values().any(|other| other.name == owner.name && other.id != owner.id) {
                return Err(RecordsError::Refused(format!(
                    "the name {:?} is taken by another owner",
                    owner.name
                )));
            }
            let revision = state.next();
            state.owners.insert(owner.id, Owner { revision, ..owner.clone() });
            state.append(entry);
            Ok(())
        })
    }

    fn incidents(&self, open_only: bool, key: Option<KeyId>, limit: u32) -> Result<Vec<Incident>> {
        let state = self.state()?;
        let wanted = state.incidents.values().filter(|incident| {
            (!open_only || incident.state.is_open()) && key.map_or(!incident.drill, |key| incident.key == key)
        });
        let mut incidents: Vec<Incident> = wanted.cloned().collect();
        incidents.sort_by_key(|incident| std::cmp::Reverse((incident.opened, incident.id)));
        incidents.truncate(limit as usize);
        Ok(incidents)
    }

    fn incident(&self, id: IncidentId) -> Result<Option<Incident>> {
        Ok(self.state()?.incidents.get(&id).cloned())
    }

    fn containments_of(&self, key: KeyId) -> Result<Vec<Containment>> {
        let mut rows: Vec<Containment> =
            self.state()?.containments.values().filter(|row| row.key == key).cloned().collect();
        rows.sort_by_key(|row| (row.created, row.id));
        Ok(rows)
    }

    fn containment(&self, id: ContainmentId) -> Result<Option<Containment>> {
        Ok(self.state()?.containments.get(&id).cloned())
    }

    fn active_containments(&self, now: Timestamp) -> Result<Vec<Containment>> {
        let state = self.state()?;
        let is_drills = |row: &Containment| state.drills.contains_key(&DrillId::from_bits(row.key.bits()));
        Ok(state.containments.values().filter(|row| row.in_force(now) && !is_drills(row)).cloned().collect())
    }

    fn apply(&self, effects: &Effects) -> Result<()> {
        if let Some(incident) = &effects.incident
            && self.rivals.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1)).is_ok()
        {
            self.count_refused(incident.id);
        }
        self.change(|state| state.apply(effects))
    }

    fn drill(&self, id: DrillId) -> Result<Option<Drill>> {
        Ok(self.state()?.drills.get(&id).cloned())
    }

    fn drills(&self, key: Option<KeyId>, limit: u32) -> Result<Vec<Drill>> {
        let mut drills: Vec<Drill> = self.state()?.drills.values().cloned().collect();
        drills.retain(|drill| key.is_none_or(|key| key == drill.key));
        drills.sort_by_key(|drill| std::cmp::Reverse((drill.started, drill.id)));
        drills.truncate(limit as usize);
        Ok(drills)
    }

    fn put_drill(&self, drill: &Drill, entry: &AuditEntry) -> Result<()> {
        self.change(|state| {
            state.drills.insert(drill.id, drill.clone());
            state.append(entry);
            Ok(())
        })
    }

    fn suppressions(&self, limit: u32) -> Result<Vec<Suppression>> {
        let mut rows: Vec<Suppression> = self.state()?.suppressions.values().cloned().collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.created, row.id)));
        rows.truncate(limit as usize);
        Ok(rows)
    }

    fn suppression(&self, id: SuppressionId) -> Result<Option<Suppression>> {
        Ok(self.state()?.suppressions.get(&id).cloned())
    }

    fn put_suppression(&self, suppression: &Suppression, entry: &AuditEntry) -> Result<()> {
        self.change(|state| {
            let found = state.suppressions.get(&suppression.id).map(|row| row.revision);
            check_read("suppression", found, suppression.revision)?;
            let revision = state.next();
            state.suppressions.insert(suppression.id, Suppression { revision, ..suppression.clone() });
            state.append(entry);
            Ok(())
        })
    }

    fn suppressed(&self, key: Option<KeyId>, limit: u32) -> Result<Vec<SuppressedAlert>> {
        let state = self.state()?;
        let of_key = state.suppressed.iter().rev().filter(|a| key.is_none_or(|key| a.finding.key == key));
        Ok(of_key.take(limit as usize).cloned().collect())
    }

    fn push_suppressed(&self, alert: &SuppressedAlert) -> Result<()> {
        self.change(|state| {
            state.suppressed.push(alert.clone());
            Ok(())
        })
    }

    fn deliveries(&self, all: bool, subject: Option<SubjectId>, limit: u32) -> Result<Vec<Delivery>> {
        let state = self.state()?;
        let wanted = state.deliveries.values().rev().filter(|row| {
            (all || row.state == DeliveryState::Pending) && subject.is_none_or(|id| id == row.subject)
        });
        Ok(wanted.take(limit as usize).cloned().collect())
    }

    fn delivery(&self, id: u64) -> Result<Option<Delivery>> {
        Ok(self.state()?.deliveries.get(&id).cloned())
    }

    fn retry_deliveries(&self, id: Option<u64>, now: Timestamp, entry: &AuditEntry) -> Result<usize> {
        self.change(|state| {
            let waits = state.deliveries.values_mut().filter(|row| {
                row.state == DeliveryState::Pending && id.map_or(row.attempts > 0, |id| id == row.id)
            });
            let count = waits.map(|row| row.due = now).count();
            if id.is_none() || count > 0 {
                state.append(entry);
            }
            Ok(count)
        })
    }

    fn drop_delivery(&self, id: u64, now: Timestamp, entry: &AuditEntry) -> Result<bool> {
        self.change(|state| {
            let found = state.deliveries.get_mut(&id).filter(|row| row.state == DeliveryState::Pending);
            let Some(row) = found else { return Ok(false) };
            (row.state, row.ended) = (DeliveryState::Dropped, Some(now));
            state.append(entry);
            Ok(true)
        })
    }

    fn snooze(&self, incident: IncidentId, until: Timestamp, entry: &AuditEntry) -> Result<()> {
        self.change(|state| {
            state.snoozes.insert(incident, until);
            state.append(entry);
            Ok(())
        })
    }

    fn alarms(&self, limit: u32) -> Result<Vec<Alarm>> {
        Ok(self.state()?.alarms.iter().rev().take(limit as usize).cloned().collect())
    }

    fn alarm(&self, id: AlarmId) -> Result<Option<Alarm>> {
        Ok(self.state()?.alarms.iter().find(|alarm| alarm.id == id).cloned())
    }

    fn snooze_spender(&self, _: &Spender, _: Timestamp, entry: &AuditEntry) -> Result<()> {
        self.change(|state| {
            state.append(entry);
            Ok(())
        })
    }

    fn audit_latest(&self, limit: u32) -> Result<Vec<AuditRow>> {
        Ok(self.state()?.audit.iter().rev().take(limit as usize).cloned().collect())
    }

    fn changed_since(&self, revision: u64) -> Result<Changed> {
        let state = self.state()?;
        Ok(Changed {
            revision: state.revision,
            keys: state.keys.values().filter(|row| row.key.revision > revision).cloned().collect(),
            owners: state.owners.values().filter(|row| row.revision > revision).cloned().collect(),
            containments: state
                .containments
                .values()
                .filter(|row| row.revision > revision)
                .cloned()
                .collect(),
            feedback: state
                .feedback
                .iter()
                .filter(|(at, _)| *at > revision)
                .map(|(_, said)| said.clone())
                .collect(),
            suppressions: state
                .suppressions
                .values()
                .filter(|row| row.revision > revision)
                .cloned()
                .collect(),
        })
    }

    fn said(&self) -> Result<Vec<Feedback>> {
        Ok(self.changed_since(0)?.feedback)
    }

    fn data_version(&self) -> Result<i64> {
        Ok(self.state()?.revision.cast_signed())
    }

    fn admin(&self, token: &SecretHash, now: Timestamp) -> Result<Option<(SmolStr, Role)>> {
        let state = self.state()?;
        let found = state.admins.iter().find(|(admin, hash)| hash.matches(token) && admin.is_usable(now));
        Ok(found.map(|(admin, _)| (admin.name.clone(), admin.role)))
    }

    fn admin_tokens(&self) -> Result<Vec<AdminToken>> {
        let mut tokens: Vec<AdminToken> =
            self.state()?.admins.iter().map(|(admin, _)| admin.clone()).collect();
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tokens)
    }

    fn insert_admin_token(&self, token: &AdminToken, hash: &SecretHash, entry: &AuditEntry) -> Result<()> {
        self.change(|state| {
            if state.admins.iter().any(|(other, _)| other.name == token.name) {
                return Err(RecordsError::Refused(format!("the name {:?} is taken", token.name)));
            }
            state.admins.push((token.clone(), *hash));
            state.append(entry);
            Ok(())
        })
    }

    fn revoke_admin_token(&self, name: &str, time: Timestamp, entry: &AuditEntry) -> Result<()> {
        self.change(|state| {
            let found = state.admins.iter_mut().find(|(admin, _)| admin.name == name);
            let missing = || RecordsError::Missing(format!("there is no admin token {name}"));
            let (admin, _) = found.ok_or_else(missing)?;
            admin.revoked.get_or_insert(time);
            state.append(entry);
            Ok(())
        })
    }
}
