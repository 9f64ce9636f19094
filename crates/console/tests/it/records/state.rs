//! What records in memory are: their rows, and how a row is changed that somebody has read.

use std::collections::BTreeMap;

use tokenwatch_console::records::{AdminToken, RecordsError};
use tokenwatch_model::alarm::Alarm;
use tokenwatch_model::alert::Delivery;
use tokenwatch_model::audit::{AuditEntry, AuditRow, chain_hash};
use tokenwatch_model::containment::Containment;
use tokenwatch_model::drill::Drill;
use tokenwatch_model::finding::Feedback;
use tokenwatch_model::id::{ContainmentId, DrillId, IncidentId, KeyId, OwnerId, SuppressionId};
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::{Key, KeyState, StoredKey};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::suppression::{SuppressedAlert, Suppression};
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::Effects;

type Result<T> = std::result::Result<T, RecordsError>;

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) revision: u64,
    pub(super) keys: BTreeMap<KeyId, StoredKey>,
    pub(super) owners: BTreeMap<OwnerId, Owner>,
    pub(super) incidents: BTreeMap<IncidentId, Incident>,
    pub(super) containments: BTreeMap<ContainmentId, Containment>,
    pub(super) drills: BTreeMap<DrillId, Drill>,
    pub(super) feedback: Vec<(u64, Feedback)>,
    pub(super) suppressions: BTreeMap<SuppressionId, Suppression>,
    pub(super) suppressed: Vec<SuppressedAlert>,
    pub(super) admins: Vec<(AdminToken, SecretHash)>,
    pub(super) deliveries: BTreeMap<u64, Delivery>,
    pub(super) alarms: Vec<Alarm>,
    pub(super) snoozes: BTreeMap<IncidentId, Timestamp>,
    pub(super) audit: Vec<AuditRow>,
}

/// What a writer of a row must have read.
pub(super) fn check_read(what: &str, found: Option<u64>, expected: u64) -> Result<()> {
    match found {
        Some(found) if found == expected => Ok(()),
        None if expected == 0 => Ok(()),
        Some(_) if expected == 0 => Err(RecordsError::Refused(format!("{what} exists already"))),
        Some(found) => Err(RecordsError::Conflict(format!("{what} has revision {found}, not {expected}"))),
        None => Err(RecordsError::Missing(format!("there is no {what}"))),
    }
}

impl State {
    pub(super) fn next(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    pub(super) fn append(&mut self, entry: &AuditEntry) {
        let seq = self.audit.len() as u64 + 1;
        let previous = self.audit.last().map_or("", |row| row.hash.as_str());
        let hash = chain_hash(previous, seq, entry);
        self.audit.push(AuditRow { seq, entry: entry.clone(), hash });
    }

    pub(super) fn check_key(&self, key: &Key) -> Result<()> {
        if self.keys.values().any(|other| other.key.name == key.name && other.key.id != key.id) {
            return Err(RecordsError::Refused(format!("the name {:?} is taken by another key", key.name)));
        }
        match key.owner {
            Some(owner) if !self.owners.contains_key(&owner) => {
                Err(RecordsError::Invalid { field: "owner".to_owned(), text: "no such owner".to_owned() })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn update_key(&mut self, key: &Key) -> Result<()> {
        let found = self.keys.get(&key.id);
        check_read("key", found.map(|stored| stored.key.revision), key.revision)?;
        let stored =
            found.cloned().ok_or_else(|| RecordsError::Missing("there is no such key".to_owned()))?;
        if stored.key.state == KeyState::Revoked && key.state != KeyState::Revoked {
            return Err(RecordsError::Refused("a revoked key stays revoked".to_owned()));
        }
        self.check_key(key)?;
        let revision = self.next();
        self.keys.insert(key.id, StoredKey { key: Key { revision, ..key.clone() }, ..stored });
        Ok(())
    }

    pub(super) fn apply(&mut self, effects: &Effects) -> Result<()> {
        // Rows of effects carry the revision they are to get.
        let read = |revision: u64| revision.saturating_sub(1);
        if let Some(key) = &effects.key {
            self.update_key(&Key { revision: read(key.revision), ..key.clone() })?;
        }
        if let Some(incident) = &effects.incident {
            let found = self.incidents.get(&incident.id).map(|row| row.revision);
            check_read("incident", found, read(incident.revision))?;
            let revision = self.next();
            self.incidents.insert(incident.id, Incident { revision, ..incident.clone() });
        }
        for containment in &effects.containments {
            let found = self.containments.get(&containment.id).map(|row| row.revision);
            check_read("containment", found, read(containment.revision))?;
            let revision = self.next();
            self.containments.insert(containment.id, Containment { revision, ..containment.clone() });
        }
        for feedback in &effects.feedback {
            let revision = self.next();
            self.feedback.push((revision, feedback.clone()));
        }
        effects.audit.iter().for_each(|entry| self.append(entry));
        Ok(())
    }
}
