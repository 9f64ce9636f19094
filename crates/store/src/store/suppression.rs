//! What people expect, and the alerts that nobody was told of for it.
//!
//! Invariants: a suppression is only overwritten by a writer that read the revision it replaces, and one that was
//! lifted stays lifted; of suppressed alerts the newest [`ALERTS_MAX`] are kept.

use rusqlite::{Row, Transaction, params};
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::id::{KeyId, SuppressionId};
use tokenwatch_model::suppression::{SuppressedAlert, Suppression};

use crate::error::{ReadError, UpdateError};
use crate::redact::Redactor;
use crate::store::Store;
use crate::store::batch::{Batch, Change, check_put, next_revision, revision_of};
use crate::store::rows::{self, json, make_finite, number, stored, stored_optional};

/// Columns of [`suppression`], in its order.
pub(crate) const SUPPRESSION: &str = "body, revision";
/// Columns of [`alert`], in its order.
const ALERT: &str = "suppression, body";
/// Alerts kept; a key that alerts all day long must not fill the disk.
const ALERTS_MAX: i64 = 10_000;

pub(crate) fn suppression(row: &Row<'_>) -> rusqlite::Result<Suppression> {
    let suppression: Suppression = json(row, 0)?;
    Ok(Suppression { revision: number(row, 1)?, ..suppression })
}

fn alert(row: &Row<'_>) -> rusqlite::Result<SuppressedAlert> {
    Ok(SuppressedAlert { suppression: SuppressionId::from_bits(number(row, 0)?), finding: json(row, 1)? })
}

pub(crate) fn put(
    tx: &Transaction<'_>,
    redactor: &Redactor,
    suppression: &Suppression,
) -> Result<u64, UpdateError> {
    let id = stored(suppression.id.bits());
    check_put("suppression", suppression.id, revision_of(tx, "suppressions", id)?, suppression.revision)?;
    let revision = next_revision(tx)?;
    tx.prepare_cached(
        "INSERT INTO suppressions (id, created, expires, lifted, body, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (id) DO UPDATE SET expires = excluded.expires, lifted = excluded.lifted, \
         body = excluded.body, revision = excluded.revision",
    )?
    .execute(params![
        id,
        stored(suppression.created.0),
        stored(suppression.expires.0),
        stored_optional(suppression.lifted.as_ref().map(|(at, _)| at.0)),
        redactor.text(&rows::to_json(suppression)?),
        stored(revision),
    ])?;
    Ok(revision)
}

pub(crate) fn insert_alert(
    tx: &Transaction<'_>,
    redactor: &Redactor,
    alert: &SuppressedAlert,
) -> Result<(), UpdateError> {
    let mut finding = alert.finding.clone();
    make_finite(&mut finding);
    tx.prepare_cached("INSERT INTO suppressed (suppression, key, time, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            stored(alert.suppression.bits()),
            stored(finding.key.bits()),
            stored(finding.time.0),
            redactor.text(&rows::to_json(&finding)?),
        ])?;
    tx.prepare_cached("DELETE FROM suppressed WHERE id <= (SELECT max(id) FROM suppressed) - ?1")?
        .execute([ALERTS_MAX])?;
    Ok(())
}

impl Store {
    /// Adds a suppression (revision 0) or changes one (the revision that was read); its new revision.
    ///
    /// # Errors
    ///
    /// See [`UpdateError`].
    pub fn put_suppression(&self, suppression: &Suppression, entry: &AuditEntry) -> Result<u64, UpdateError> {
        self.apply(&Batch::of(Change::Suppression(suppression.clone()), entry.clone()))
            .map(|applied| applied.revision())
    }

    /// Records alerts that nobody was told of. Nobody decided anything, so the audit log does not mention them.
    ///
    /// # Errors
    ///
    /// See [`UpdateError`].
    pub fn push_suppressed(&self, alert: &SuppressedAlert) -> Result<(), UpdateError> {
        let mut batch = Batch::unaudited();
        batch.push(Change::SuppressedAlert(Box::new(alert.clone())));
        self.apply(&batch).map(drop)
    }

    /// Every suppression, latest first, ended ones included, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn suppressions(&self, limit: u32) -> Result<Vec<Suppression>, ReadError> {
        self.many(SUPPRESSION, "suppressions ORDER BY created DESC, id DESC LIMIT ?1", [limit], suppression)
    }

    /// A suppression.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn suppression(&self, id: SuppressionId) -> Result<Option<Suppression>, ReadError> {
        self.one(SUPPRESSION, "suppressions WHERE id = ?1", [stored(id.bits())], suppression)
    }

    /// Alerts that nobody was told of, latest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn suppressed(&self, key: Option<KeyId>, limit: u32) -> Result<Vec<SuppressedAlert>, ReadError> {
        let of_key = if key.is_some() { "key = ?1" } else { "?1 IS NULL" };
        let from = format!("suppressed WHERE {of_key} ORDER BY id DESC LIMIT ?2");
        self.many(ALERT, &from, params![stored_optional(key.map(KeyId::bits)), limit], alert)
    }
}
