//! Reading: each call sees one snapshot.

use rusqlite::{OptionalExtension, Params, Row, Transaction, params};
use tokenwatch_model::SmolStr;
use tokenwatch_model::audit::AuditRow;
use tokenwatch_model::containment::Containment;
use tokenwatch_model::id::{ContainmentId, IncidentId, KeyId, OwnerId};
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::StoredKey;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::suppression::Suppression;
use tokenwatch_model::time::Timestamp;

use crate::error::ReadError;
use crate::store::Store;
use crate::store::admin::{self, StoredAdminToken};
use crate::store::audit::{self, AuditReport};
use crate::store::rows::{self, StoredFeedback, stored};
use crate::store::suppression;

/// Which incidents to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct IncidentFilter {
    /// Only those that somebody still has to look at.
    pub open_only: bool,
    /// Only those of this key.
    pub key: Option<KeyId>,
    /// At most so many, newest first; `None` is all.
    pub limit: Option<u32>,
}

/// Everything that changed after a revision, each row as it is now.
#[derive(Clone)]
pub struct Changes {
    /// What to ask for next: no change up to here is missing.
    pub revision: u64,
    /// Changed keys.
    pub keys: Vec<StoredKey>,
    /// Changed owners.
    pub owners: Vec<Owner>,
    /// Changed containments.
    pub containments: Vec<Containment>,
    /// Changed incidents.
    pub incidents: Vec<Incident>,
    /// New words about contexts.
    pub feedback: Vec<StoredFeedback>,
    /// Changed suppressions.
    pub suppressions: Vec<Suppression>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.owners.is_empty()
            && self.containments.is_empty()
            && self.incidents.is_empty()
            && self.feedback.is_empty()
            && self.suppressions.is_empty()
    }
}

/// Every function here fails with [`ReadError`] when the database can not be read or a row is damaged.
impl Store {
    /// A key, or what a drill's stand-in stands for.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn key(&self, id: KeyId) -> Result<Option<StoredKey>, ReadError> {
        match self.one(rows::KEY, "keys WHERE id = ?1", [stored(id.bits())], rows::stored_key)? {
            Some(key) => Ok(Some(key)),
            None => self.stand_in(id),
        }
    }

    /// The key with this name.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn key_by_name(&self, name: &str) -> Result<Option<StoredKey>, ReadError> {
        self.one(rows::KEY, "keys WHERE name = ?1", [name], rows::stored_key)
    }

    /// Every key, in the order of ids.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn keys(&self) -> Result<Vec<StoredKey>, ReadError> {
        self.many(rows::KEY, "keys ORDER BY id", [], rows::stored_key)
    }

    /// Keys whose name sorts after `name` by its bytes, in the order of names, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn keys_after(&self, name: &str, limit: u32) -> Result<Vec<StoredKey>, ReadError> {
        self.many(
            rows::KEY,
            "keys WHERE name > ?1 ORDER BY name LIMIT ?2",
            params![name, limit],
            rows::stored_key,
        )
    }

    /// An owner.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn owner(&self, id: OwnerId) -> Result<Option<Owner>, ReadError> {
        self.one(rows::OWNER, "owners WHERE id = ?1", [stored(id.bits())], rows::owner)
    }

    /// The owner with this name.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn owner_by_name(&self, name: &str) -> Result<Option<Owner>, ReadError> {
        self.one(rows::OWNER, "owners WHERE name = ?1", [name], rows::owner)
    }

    /// Every owner, in the order of names.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn owners(&self) -> Result<Vec<Owner>, ReadError> {
        self.many(rows::OWNER, "owners ORDER BY name", [], rows::owner)
    }

    /// A containment.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn containment(&self, id: ContainmentId) -> Result<Option<Containment>, ReadError> {
        self.one(rows::CONTAINMENT, "containments WHERE id = ?1", [stored(id.bits())], rows::containment)
    }

    /// The containments in force at `now`, oldest change first; those of drills are none.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn active_containments(&self, now: Timestamp) -> Result<Vec<Containment>, ReadError> {
        let mut active = self.many(
            rows::CONTAINMENT,
            "containments WHERE lifted IS NULL AND key NOT IN (SELECT id FROM drills) ORDER BY revision",
            [],
            rows::containment,
        )?;
        active.retain(|containment| containment.in_force(now));
        Ok(active)
    }

    /// Every containment a key ever had, oldest first.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn containments_of(&self, key: KeyId) -> Result<Vec<Containment>, ReadError> {
        let from = "containments WHERE key = ?1 ORDER BY created, id";
        self.many(rows::CONTAINMENT, from, [stored(key.bits())], rows::containment)
    }

    /// An incident.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn incident(&self, id: IncidentId) -> Result<Option<Incident>, ReadError> {
        self.one(rows::INCIDENT, "incidents WHERE id = ?1", [stored(id.bits())], rows::incident)
    }

    /// Incidents, newest first; those of a drill only when its stand-in is asked for.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn incidents(&self, filter: IncidentFilter) -> Result<Vec<Incident>, ReadError> {
        let open = if filter.open_only { "state IN ('open', 'contained')" } else { "true" };
        let key = match filter.key {
            Some(_) => "key = ?1",
            None => "?1 IS NULL AND key NOT IN (SELECT id FROM drills)",
        };
        let from = format!("incidents WHERE {open} AND {key} ORDER BY opened DESC, id DESC LIMIT ?2");
        let limit = filter.limit.map_or(-1, i64::from);
        let key = rows::stored_optional(filter.key.map(KeyId::bits));
        self.many(rows::INCIDENT, &from, params![key, limit], rows::incident)
    }

    /// Incidents on an owner's other keys that were opened within `span` of an incident and were no false alarm, with the keys'
    /// names, oldest first; at most ten.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn incidents_beside(
        &self,
        incident: &Incident,
        owner: OwnerId,
        span: u64,
    ) -> Result<Vec<(IncidentId, SmolStr)>, ReadError> {
        let from = "incidents AS i JOIN keys AS k ON k.id = i.key \
             WHERE k.owner = ?1 AND i.key <> ?2 AND i.opened BETWEEN ?3 AND ?4 AND i.state <> 'dismissed' \
             ORDER BY i.opened, i.id LIMIT 10";
        let (first, last) = (incident.opened.0.saturating_sub(span), incident.opened.0.saturating_add(span));
        let ids = (stored(owner.bits()), stored(incident.key.bits()));
        self.many(
            "i.id, k.name",
            from,
            params![ids.0, ids.1, stored(first), stored(last)],
            rows::incident_name,
        )
    }

    /// Words about contexts after a revision, in their order; 0 is from the first on.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn feedback_since(&self, revision: u64) -> Result<Vec<StoredFeedback>, ReadError> {
        let from = "feedback WHERE revision > ?1 ORDER BY revision";
        self.many(rows::FEEDBACK, from, [stored(revision)], rows::feedback)
    }

    /// Everything that changed after `revision`, from one snapshot; 0 is everything there is.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn changes_since(&self, revision: u64) -> Result<Changes, ReadError> {
        let after = [stored(revision)];
        self.0.state.read(|tx| {
            Ok(Changes {
                revision: tx.query_row("SELECT value FROM counter", [], |row| rows::number(row, 0))?,
                keys: select(tx, rows::KEY, &newer("keys"), after, rows::stored_key)?,
                owners: select(tx, rows::OWNER, &newer("owners"), after, rows::owner)?,
                containments: select(
                    tx,
                    rows::CONTAINMENT,
                    &newer("containments"),
                    after,
                    rows::containment,
                )?,
                incidents: select(tx, rows::INCIDENT, &newer("incidents"), after, rows::incident)?,
                feedback: select(tx, rows::FEEDBACK, &newer("feedback"), after, rows::feedback)?,
                suppressions: select(
                    tx,
                    suppression::SUPPRESSION,
                    &newer("suppressions"),
                    after,
                    suppression::suppression,
                )?,
            })
        })
    }

    /// The revision of the newest change.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn revision(&self) -> Result<u64, ReadError> {
        self.0.state.read(|tx| tx.query_row("SELECT value FROM counter", [], |row| rows::number(row, 0)))
    }

    /// A number that moves whenever anyone, this process included, has committed a change. Cheap enough to ask
    /// many times a second; when it moved, ask [`Store::changes_since`].
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn data_version(&self) -> Result<i64, ReadError> {
        self.0.state.data_version()
    }

    /// Audit rows after `after_seq`, in their order, at most `limit`; 0 is from the first on.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn audit(&self, after_seq: u64, limit: u32) -> Result<Vec<AuditRow>, ReadError> {
        let from = "audit WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        self.many(rows::AUDIT, from, params![stored(after_seq), limit], rows::audit)
    }

    /// The newest audit rows, newest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn audit_latest(&self, limit: u32) -> Result<Vec<AuditRow>, ReadError> {
        self.many(rows::AUDIT, "audit ORDER BY seq DESC LIMIT ?1", [limit], rows::audit)
    }

    /// Walks the whole audit chain and says where it is broken, if it is.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the database can not be read; a broken chain is a finding, not an error.
    pub fn verify_audit(&self) -> Result<AuditReport, ReadError> {
        self.0.state.read(audit::verify)
    }

    /// The admin token with this hash, usable or not.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn admin_token(&self, hash: &SecretHash) -> Result<Option<StoredAdminToken>, ReadError> {
        let from = "admin_tokens WHERE hash = ?1";
        self.one(admin::TOKEN, from, [hash.bytes().as_slice()], admin::token)
    }

    /// Every admin token, in the order of names.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn admin_tokens(&self) -> Result<Vec<StoredAdminToken>, ReadError> {
        self.many(admin::TOKEN, "admin_tokens ORDER BY name", [], admin::token)
    }

    pub(crate) fn one<T>(
        &self,
        columns: &str,
        from: &str,
        params: impl Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, ReadError> {
        let sql = format!("SELECT {columns} FROM {from}");
        self.0.state.read(|tx| tx.prepare_cached(&sql)?.query_row(params, read).optional())
    }

    pub(crate) fn many<T>(
        &self,
        columns: &str,
        from: &str,
        params: impl Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, ReadError> {
        self.0.state.read(|tx| select(tx, columns, from, params, read))
    }
}

fn newer(table: &str) -> String {
    format!("{table} WHERE revision > ?1 ORDER BY revision")
}

fn select<T>(
    tx: &Transaction<'_>,
    columns: &str,
    from: &str,
    params: impl Params,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    tx.prepare_cached(&format!("SELECT {columns} FROM {from}"))?.query_map(params, read)?.collect()
}
