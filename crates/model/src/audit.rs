//! The audit log: every change of keys, owners, containments and incidents, in a hash chain.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use smol_str::SmolStr;

use crate::time::Timestamp;

/// One change, before it is chained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub time: Timestamp,
    /// Who: `cli:root`, `admin:ops`, `tokenwatch`.
    pub actor: SmolStr,
    /// What was done, such as `key.issue`.
    pub action: SmolStr,
    /// To what: an id.
    pub subject: SmolStr,
    /// The details as JSON; never a secret.
    pub detail: String,
}

/// A chained entry as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Position, from 1, without gaps.
    pub seq: u64,
    /// The change.
    pub entry: AuditEntry,
    /// Hash of this row and all before it, in hexadecimal.
    pub hash: String,
}

/// Hash of a row: SHA-256 over the hash before it and every field with its length, so that no two
/// different rows have the same input. The first row follows the empty text.
pub fn chain_hash(previous: &str, seq: u64, entry: &AuditEntry) -> String {
    let mut hasher = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(previous.as_bytes());
    field(&seq.to_le_bytes());
    field(&entry.time.0.to_le_bytes());
    field(entry.actor.as_bytes());
    field(entry.action.as_bytes());
    field(entry.subject.as_bytes());
    field(entry.detail.as_bytes());
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
