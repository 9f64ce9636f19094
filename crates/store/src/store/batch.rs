//! Changes: one transaction over rows and the audit entries that describe them.
//!
//! Invariants: no change without an audit entry in the same transaction; a row is only overwritten by a writer
//! that read the revision it replaces; a revoked key stays revoked; credentials in texts are masked.

use rusqlite::{OptionalExtension, Params, Transaction, params};
use tokenwatch_model::SmolStr;
use tokenwatch_model::alert::StoredAlert;
use tokenwatch_model::audit::{AuditEntry, chain_hash};
use tokenwatch_model::containment::Containment;
use tokenwatch_model::drill::Drill;
use tokenwatch_model::finding::Feedback;
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::{Key, KeyState, StoredKey};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::suppression::{SuppressedAlert, Suppression};
use tokenwatch_model::time::Timestamp;

use crate::error::UpdateError;
use crate::redact::Redactor;
use crate::store::admin::{self, StoredAdminToken};
use crate::store::rows::{self, stored, stored_optional};
use crate::store::{alerts, drill, suppression};

/// One change of one row. In rows that exist, `revision` is the one that the writer read; the stored row gets
/// a new one.
#[derive(Clone)]
pub enum Change {
    /// A new key; its `revision` does not matter.
    InsertKey(StoredKey),
    /// A key with other properties. Its id, credentials and birth stay.
    UpdateKey(Key),
    /// A key with another credential, and with when the one before ends.
    RotateKey(StoredKey),
    /// An owner: new when its `revision` is 0.
    Owner(Owner),
    /// A containment: new when its `revision` is 0.
    Containment(Containment),
    /// An incident: new when its `revision` is 0.
    Incident(Incident),
    /// A word about a context.
    Feedback(Feedback),
    /// A suppression: new when its `revision` is 0.
    Suppression(Suppression),
    /// An alert that nobody was told of.
    SuppressedAlert(Box<SuppressedAlert>),
    /// What people are to be told of an incident's change; its `sequence` does not matter.
    Alert(Box<StoredAlert>),
    /// A drill that began or ended.
    Drill(Box<Drill>),
    /// A new admin token.
    InsertAdminToken(StoredAdminToken),
    /// The end of an admin token; of one that has ended already, nothing happens.
    RevokeAdminToken {
        /// Its name.
        name: SmolStr,
        /// When.
        time: Timestamp,
    },
}

/// Changes that happen together or not at all, and what the audit log says of them.
#[derive(Clone)]
pub struct Batch {
    changes: Vec<Change>,
    audit: Vec<AuditEntry>,
}

impl Batch {
    /// A batch described by `entry`. Without changes it only writes the audit log, for what changes no row.
    pub fn new(entry: AuditEntry) -> Self {
        Self { changes: Vec::new(), audit: vec![entry] }
    }

    /// A batch that the audit log does not mention: for counters, which say nothing that anybody decided.
    pub fn unaudited() -> Self {
        Self { changes: Vec::new(), audit: Vec::new() }
    }

    /// A batch of one change.
    pub fn of(change: Change, entry: AuditEntry) -> Self {
        Self { changes: vec![change], audit: vec![entry] }
    }

    /// Adds a change. Changes are made in the order in which they are added.
    pub fn push(&mut self, change: Change) -> &mut Self {
        self.changes.push(change);
        self
    }

    /// Adds an audit entry.
    pub fn note(&mut self, entry: AuditEntry) -> &mut Self {
        self.audit.push(entry);
        self
    }
}

/// What a batch became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The new revision of each change's row, in their order. Admin tokens, alerts and drills have none: 0.
    pub revisions: Vec<u64>,
    /// Position of the last audit entry.
    pub audit_seq: u64,
}

impl Applied {
    /// The revision of the only, or last, change.
    pub fn revision(&self) -> u64 {
        self.revisions.last().copied().unwrap_or(0)
    }
}

pub(crate) fn apply(
    tx: &Transaction<'_>,
    redactor: &Redactor,
    batch: &Batch,
) -> Result<Applied, UpdateError> {
    let mut revisions = Vec::with_capacity(batch.changes.len());
    for change in &batch.changes {
        revisions.push(match change {
            Change::InsertKey(key) => insert_key(tx, redactor, key)?,
            Change::UpdateKey(key) => update_key(tx, redactor, key)?,
            Change::RotateKey(key) => rotate_key(tx, redactor, key)?,
            Change::Owner(owner) => put_owner(tx, redactor, owner)?,
            Change::Containment(containment) => put_containment(tx, redactor, containment)?,
            Change::Incident(incident) => put_incident(tx, redactor, incident)?,
            Change::Feedback(feedback) => insert_feedback(tx, redactor, feedback)?,
            Change::Suppression(row) => suppression::put(tx, redactor, row)?,
            Change::SuppressedAlert(alert) => suppression::insert_alert(tx, redactor, alert).map(|()| 0)?,
            Change::Alert(alert) => alerts::insert(tx, redactor, alert).map(|()| 0)?,
            Change::Drill(drill) => drill::put(tx, redactor, drill).map(|()| 0)?,
            Change::InsertAdminToken(token) => admin::insert(tx, token).map(|()| 0)?,
            Change::RevokeAdminToken { name, time } => admin::revoke(tx, name, *time).map(|()| 0)?,
        });
    }
    let mut audit_seq = 0;
    for entry in &batch.audit {
        audit_seq = append_audit(tx, redactor, entry)?;
    }
    Ok(Applied { revisions, audit_seq })
}

fn insert_key(tx: &Transaction<'_>, redactor: &Redactor, stored_key: &StoredKey) -> Result<u64, UpdateError> {
    let key = &stored_key.key;
    let id = stored(key.id.bits());
    if exists(
        tx,
        "SELECT 1 FROM keys WHERE id = ?1 OR hash = ?2",
        params![id, stored_key.hash.bytes().as_slice()],
    )? {
        return Err(UpdateError::Exists { what: "key", id: key.id.to_string() });
    }
    check_key_references(tx, key)?;
    let revision = next_revision(tx)?;
    tx.prepare_cached(
        "INSERT INTO keys (id, name, hash, owner, environment, service, workload, policy, state, \
         state_reason, created, expires, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?
    .execute(params![
        id,
        redactor.text(&key.name),
        stored_key.hash.bytes().as_slice(),
        stored_optional(key.owner.map(|owner| owner.bits())),
        redactor.text(&key.environment),
        redactor.text(&key.service),
        key.workload.name(),
        redactor.text(&rows::policy_to_json(&key.policy)?),
        key.state.name(),
        redactor.text(&key.state_reason),
        stored(key.created.0),
        stored_optional(key.expires.map(|time| time.0)),
        stored(revision),
    ])?;
    Ok(revision)
}

fn update_key(tx: &Transaction<'_>, redactor: &Redactor, key: &Key) -> Result<u64, UpdateError> {
    let id = stored(key.id.bits());
    let found: Option<(i64, String)> = tx
        .prepare_cached("SELECT revision, state FROM keys WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let state = found.as_ref().map(|(_, state)| state.clone());
    check_current("key", key.id, found.map(|(revision, _)| revision), key.revision)?;
    if state.as_deref() == Some(KeyState::Revoked.name()) && key.state != KeyState::Revoked {
        return Err(UpdateError::Revoked { key: key.id });
    }
    check_key_references(tx, key)?;
    let revision = next_revision(tx)?;
    tx.prepare_cached(
        "UPDATE keys SET name = ?2, owner = ?3, environment = ?4, service = ?5, workload = ?6, policy = ?7, \
         state = ?8, state_reason = ?9, expires = ?10, revision = ?11, previous_ends = ?12 WHERE id = ?1",
    )?
    .execute(params![
        id,
        redactor.text(&key.name),
        stored_optional(key.owner.map(|owner| owner.bits())),
        redactor.text(&key.environment),
        redactor.text(&key.service),
        key.workload.name(),
        redactor.text(&rows::policy_to_json(&key.policy)?),
        key.state.name(),
        redactor.text(&key.state_reason),
        stored_optional(key.expires.map(|time| time.0)),
        stored(revision),
        stored_optional(key.rotation.map(|rotation| rotation.previous_ends.0)),
    ])?;
    Ok(revision)
}

/// Replaces the credential, then writes what else changed: both in the caller's transaction.
fn rotate_key(tx: &Transaction<'_>, redactor: &Redactor, stored_key: &StoredKey) -> Result<u64, UpdateError> {
    let key = &stored_key.key;
    let id = stored(key.id.bits());
    let revision = revision_of(tx, "keys", id)?;
    check_current("key", key.id, revision, key.revision)?;
    let hash = stored_key.hash.bytes().as_slice();
    if exists(tx, "SELECT 1 FROM keys WHERE hash = ?1 OR previous = ?1", [hash])? {
        return Err(UpdateError::Exists { what: "credential", id: key.id.to_string() });
    }
    let between = next_revision(tx)?;
    tx.prepare_cached(
        "UPDATE keys SET hash = ?2, previous = ?3, rotated = ?4, previous_ends = ?5, revision = ?6 WHERE id = ?1",
    )?
    .execute(params![
        id,
        hash,
        stored_key.previous.as_ref().map(|previous| previous.bytes().as_slice()),
        stored_optional(key.rotation.map(|rotation| rotation.rotated.0)),
        stored_optional(key.rotation.map(|rotation| rotation.previous_ends.0)),
        stored(between),
    ])?;
    update_key(tx, redactor, &Key { revision: between, ..key.clone() })
}

fn check_key_references(tx: &Transaction<'_>, key: &Key) -> Result<(), UpdateError> {
    let id = stored(key.id.bits());
    if exists(tx, "SELECT 1 FROM keys WHERE name = ?1 AND id <> ?2", params![key.name.as_str(), id])? {
        return Err(UpdateError::NameTaken { what: "key", name: key.name.to_string() });
    }
    if let Some(owner) = key.owner
        && !exists(tx, "SELECT 1 FROM owners WHERE id = ?1", [stored(owner.bits())])?
    {
        return Err(UpdateError::UnknownOwner { key: key.id, owner: owner.to_string() });
    }
    Ok(())
}

fn put_owner(tx: &Transaction<'_>, redactor: &Redactor, owner: &Owner) -> Result<u64, UpdateError> {
    let id = stored(owner.id.bits());
    check_put("owner", owner.id, revision_of(tx, "owners", id)?, owner.revision)?;
    if exists(tx, "SELECT 1 FROM owners WHERE name = ?1 AND id <> ?2", params![owner.name.as_str(), id])? {
        return Err(UpdateError::NameTaken { what: "owner", name: owner.name.to_string() });
    }
    let revision = next_revision(tx)?;
    tx.prepare_cached(
        "INSERT INTO owners (id, name, on_call, channel, defaults, created, revision) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
         on_call = excluded.on_call, channel = excluded.channel, defaults = excluded.defaults, \
         revision = excluded.revision",
    )?
    .execute(params![
        id,
        redactor.text(&owner.name),
        redactor.text(&owner.on_call),
        redactor.text(&owner.channel),
        redactor.text(&rows::policy_to_json(&owner.defaults)?),
        stored(owner.created.0),
        stored(revision),
    ])?;
    Ok(revision)
}

fn put_containment(
    tx: &Transaction<'_>,
    redactor: &Redactor,
    containment: &Containment,
) -> Result<u64, UpdateError> {
    let id = stored(containment.id.bits());
    let found = revision_of(tx, "containments", id)?;
    check_put("containment", containment.id, found, containment.revision)?;
    let revision = next_revision(tx)?;
    let lifted = containment.lifted.as_ref();
    tx.prepare_cached(
        "INSERT INTO containments (id, key, incident, kind, action, reason, created, expires, lifted, lifted_by, \
         revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (id) DO UPDATE SET \
         key = excluded.key, incident = excluded.incident, kind = excluded.kind, action = excluded.action, \
         reason = excluded.reason, created = excluded.created, expires = excluded.expires, \
         lifted = excluded.lifted, lifted_by = excluded.lifted_by, revision = excluded.revision",
    )?
    .execute(params![
        id,
        stored(containment.key.bits()),
        stored_optional(containment.incident.map(|incident| incident.bits())),
        containment.action.name(),
        redactor.text(&rows::to_json(&containment.action)?),
        redactor.text(&containment.reason),
        stored(containment.created.0),
        stored_optional(containment.expires.map(|time| time.0)),
        stored_optional(lifted.map(|(time, _)| time.0)),
        lifted.map(|(_, who)| redactor.text(who)),
        stored(revision),
    ])?;
    Ok(revision)
}

fn put_incident(tx: &Transaction<'_>, redactor: &Redactor, incident: &Incident) -> Result<u64, UpdateError> {
    let id = stored(incident.id.bits());
    check_put("incident", incident.id, revision_of(tx, "incidents", id)?, incident.revision)?;
    let revision = next_revision(tx)?;
    tx.prepare_cached(
        "INSERT INTO incidents (id, key, state, severity, opened, body, revision) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET key = excluded.key, \
         state = excluded.state, severity = excluded.severity, opened = excluded.opened, body = excluded.body, \
         revision = excluded.revision",
    )?
    .execute(params![
        id,
        stored(incident.key.bits()),
        incident.state.name(),
        incident.severity.name(),
        stored(incident.opened.0),
        redactor.text(&rows::incident_to_json(incident)?),
        stored(revision),
    ])?;
    Ok(revision)
}

fn insert_feedback(
    tx: &Transaction<'_>,
    redactor: &Redactor,
    feedback: &Feedback,
) -> Result<u64, UpdateError> {
    let revision = next_revision(tx)?;
    tx.prepare_cached(
        "INSERT INTO feedback (revision, key, time, context, says) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        stored(revision),
        stored(feedback.key.bits()),
        stored(feedback.time.0),
        redactor.text(&rows::to_json(&feedback.context)?),
        redactor.text(&rows::to_json(&feedback.says)?),
    ])?;
    Ok(revision)
}

pub(crate) fn append_audit(
    tx: &Transaction<'_>,
    redactor: &Redactor,
    entry: &AuditEntry,
) -> Result<u64, UpdateError> {
    let entry = &masked(redactor, entry);
    let (last, previous): (i64, String) = tx
        .prepare_cached("SELECT seq, hash FROM audit_head")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let seq = last + 1;
    let hash = chain_hash(&previous, seq.cast_unsigned(), entry);
    tx.prepare_cached(
        "INSERT INTO audit (seq, time, actor, action, subject, detail, hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        seq,
        stored(entry.time.0),
        entry.actor.as_str(),
        entry.action.as_str(),
        entry.subject.as_str(),
        entry.detail,
        hash,
    ])?;
    tx.prepare_cached("UPDATE audit_head SET seq = ?1, hash = ?2")?.execute(params![seq, hash])?;
    Ok(seq.cast_unsigned())
}

/// The entry without credentials; masked before it is hashed, so that the chain holds.
fn masked(redactor: &Redactor, entry: &AuditEntry) -> AuditEntry {
    AuditEntry {
        time: entry.time,
        actor: redactor.text(&entry.actor).into(),
        action: redactor.text(&entry.action).into(),
        subject: redactor.text(&entry.subject).into(),
        detail: redactor.text(&entry.detail).into_owned(),
    }
}

/// Whether the writer read what is there.
fn check_current(
    what: &'static str,
    id: impl ToString,
    found: Option<i64>,
    expected: u64,
) -> Result<(), UpdateError> {
    match found.map(i64::cast_unsigned) {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(UpdateError::Conflict { what, id: id.to_string(), expected, found }),
        None => Err(UpdateError::Missing { what, id: id.to_string() }),
    }
}

/// Like [`check_current`], but the writer of revision 0 expects nothing to be there.
pub(crate) fn check_put(
    what: &'static str,
    id: impl ToString,
    found: Option<i64>,
    expected: u64,
) -> Result<(), UpdateError> {
    match found {
        None if expected == 0 => Ok(()),
        Some(_) if expected == 0 => Err(UpdateError::Exists { what, id: id.to_string() }),
        found => check_current(what, id, found, expected),
    }
}

pub(crate) fn revision_of(tx: &Transaction<'_>, table: &str, id: i64) -> rusqlite::Result<Option<i64>> {
    tx.prepare_cached(&format!("SELECT revision FROM {table} WHERE id = ?1"))?
        .query_row([id], |row| row.get(0))
        .optional()
}

pub(crate) fn next_revision(tx: &Transaction<'_>) -> rusqlite::Result<u64> {
    tx.prepare_cached("UPDATE counter SET value = value + 1 RETURNING value")?
        .query_row([], |row| row.get(0))
        .map(i64::cast_unsigned)
}

pub(crate) fn exists(tx: &Transaction<'_>, sql: &str, params: impl Params) -> rusqlite::Result<bool> {
    tx.prepare_cached(sql)?.exists(params)
}
