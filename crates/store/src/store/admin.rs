//! Tokens of the people and programs that use the admin API.

use rusqlite::{Row, Transaction, params};
use serde::{Deserialize, Serialize};
use tokenwatch_model::SmolStr;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::time::Timestamp;

use crate::error::UpdateError;
use crate::store::batch::exists;
use crate::store::rows::{hash, number, optional, stored, stored_optional, text, word};

/// Columns of [`token`], in its order.
pub(crate) const TOKEN: &str = "name, hash, role, created, expires, revoked";

/// What the holder of an admin token may do. Ordered: each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminRole {
    /// Look.
    Viewer,
    /// Look, and answer incidents.
    Responder,
    /// Everything.
    Admin,
}

impl AdminRole {
    /// The word used in output and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Responder => "responder",
            Self::Admin => "admin",
        }
    }

    /// The inverse of [`AdminRole::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Responder, Self::Admin].into_iter().find(|role| role.name() == name)
    }
}

/// What is known of an admin token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminToken {
    /// Unique name, also the actor in the audit log.
    pub name: SmolStr,
    /// What its holder may do.
    pub role: AdminRole,
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

/// An admin token with the hash that recognises it.
#[derive(Clone)]
pub struct StoredAdminToken {
    /// What is known of it.
    pub token: AdminToken,
    /// SHA-256 of the token.
    pub hash: SecretHash,
}

pub(crate) fn token(row: &Row<'_>) -> rusqlite::Result<StoredAdminToken> {
    Ok(StoredAdminToken {
        token: AdminToken {
            name: text(row, 0)?,
            role: word(row, 2)?,
            created: Timestamp(number(row, 3)?),
            expires: optional(row, 4)?.map(Timestamp),
            revoked: optional(row, 5)?.map(Timestamp),
        },
        hash: hash(row, 1)?,
    })
}

pub(crate) fn insert(tx: &Transaction<'_>, stored_token: &StoredAdminToken) -> Result<(), UpdateError> {
    let token = &stored_token.token;
    if exists(tx, "SELECT 1 FROM admin_tokens WHERE name = ?1", [token.name.as_str()])? {
        return Err(UpdateError::NameTaken { what: "admin token", name: token.name.to_string() });
    }
    let hash = stored_token.hash.bytes().as_slice();
    if exists(tx, "SELECT 1 FROM admin_tokens WHERE hash = ?1", [hash])? {
        return Err(UpdateError::Exists { what: "admin token", id: token.name.to_string() });
    }
    tx.prepare_cached(
        "INSERT INTO admin_tokens (name, hash, role, created, expires, revoked) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        token.name.as_str(),
        hash,
        token.role.name(),
        stored(token.created.0),
        stored_optional(token.expires.map(|time| time.0)),
        stored_optional(token.revoked.map(|time| time.0)),
    ])?;
    Ok(())
}

pub(crate) fn revoke(tx: &Transaction<'_>, name: &str, time: Timestamp) -> Result<(), UpdateError> {
    let changed = tx
        .prepare_cached("UPDATE admin_tokens SET revoked = coalesce(revoked, ?2) WHERE name = ?1")?
        .execute(params![name, stored(time.0)])?;
    match changed {
        0 => Err(UpdateError::Missing { what: "admin token", id: name.to_owned() }),
        _ => Ok(()),
    }
}
