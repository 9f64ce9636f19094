//! Rehearsed thefts: what was rehearsed on which key, and how it went.
//!
//! The stand-in of a drill has no row of its own: it is its key under another id, so that an incident of a drill finds its
//! key and owner like any other, and no list of keys shows it.

use rusqlite::{Row, Transaction, params};
use tokenwatch_model::drill::Drill;
use tokenwatch_model::id::{DrillId, KeyId};
use tokenwatch_model::key::StoredKey;

use crate::error::{ReadError, UpdateError};
use crate::redact::Redactor;
use crate::store::Store;
use crate::store::rows::{self, json, stored, stored_optional};

/// Columns of [`drill`], in its order.
const DRILL: &str = "body";

fn drill(row: &Row<'_>) -> rusqlite::Result<Drill> {
    json(row, 0)
}

pub(crate) fn put(tx: &Transaction<'_>, redactor: &Redactor, drill: &Drill) -> Result<(), UpdateError> {
    tx.prepare_cached(
        "INSERT INTO drills (id, key, started, body) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (id) DO UPDATE SET body = excluded.body",
    )?
    .execute(params![
        stored(drill.id.bits()),
        stored(drill.key.bits()),
        stored(drill.started.0),
        redactor.text(&rows::to_json(drill)?),
    ])?;
    Ok(())
}

impl Store {
    /// A drill.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn drill(&self, id: DrillId) -> Result<Option<Drill>, ReadError> {
        self.one(DRILL, "drills WHERE id = ?1", [stored(id.bits())], drill)
    }

    /// Drills, latest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn drills(&self, key: Option<KeyId>, limit: u32) -> Result<Vec<Drill>, ReadError> {
        let of_key = if key.is_some() { "key = ?1" } else { "?1 IS NULL" };
        let from = format!("drills WHERE {of_key} ORDER BY started DESC, id DESC LIMIT ?2");
        self.many(DRILL, &from, params![stored_optional(key.map(KeyId::bits)), limit], drill)
    }

    /// The key that a stand-in stands for, under the stand-in's id.
    pub(crate) fn stand_in(&self, id: KeyId) -> Result<Option<StoredKey>, ReadError> {
        let from = "keys WHERE id = (SELECT key FROM drills WHERE id = ?1)";
        let mut found = self.one(rows::KEY, from, [stored(id.bits())], rows::stored_key)?;
        if let Some(stored) = &mut found {
            stored.key.id = id;
        }
        Ok(found)
    }
}
