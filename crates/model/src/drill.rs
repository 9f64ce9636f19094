//! Drills: rehearsed thefts through the real path, on a stand-in for the key.
//!
//! A drill never touches its key. Its requests are judged, counted and contained on a *stand-in*: an id of its own with the
//! key's rules and a copy of what was learned and spent on it, which lives in memory for as long as the drill runs.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::client::Client;
use crate::context::Shape;
use crate::id::{DrillId, KeyId};
use crate::time::Timestamp;

/// A drill, running or over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    /// Identity; the stand-in's is made of the same bits, see [`Drill::stand_in`].
    pub id: DrillId,
    /// The key that is rehearsed.
    pub key: KeyId,
    /// What is rehearsed, such as `resale`.
    pub theft: SmolStr,
    /// Who started it.
    pub who: SmolStr,
    /// Whether people are told of its incident, marked as a drill.
    pub pages: bool,
    /// When it began.
    pub started: Timestamp,
    /// When it ends by itself, whatever its driver does.
    pub until: Timestamp,
    /// How it went; `None` while it runs, and of one that was broken off.
    pub end: Option<DrillEnd>,
}

/// How a drill went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillEnd {
    /// When it ended.
    pub time: Timestamp,
    /// Whether everything on its checklist passed.
    pub passed: bool,
    /// In a sentence.
    pub summary: String,
}

impl Drill {
    /// The id under which its requests are judged and its incident is kept.
    pub const fn stand_in(&self) -> KeyId {
        stand_in(self.id)
    }
}

/// The stand-in of a drill.
pub const fn stand_in(drill: DrillId) -> KeyId {
    KeyId::from_bits(drill.bits())
}

/// What one request of a drill claims to be. It stands signed in the request's head; whatever is not claimed is read from
/// the request as from any other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillCall {
    /// Which drill.
    pub drill: DrillId,
    /// Its number: each is taken once.
    pub seq: u64,
    /// When it happens, on the drill's clock: a theft of two days is rehearsed in seconds.
    pub time: Timestamp,
    /// Where it comes from.
    pub source: IpAddr,
    /// The software behind it, where that is not to be read from its headers: the owner's own requests are known by what
    /// was kept of them.
    #[serde(default)]
    pub client: Option<Client>,
    /// Its shape, likewise.
    #[serde(default)]
    pub shape: Option<Shape>,
    /// Input tokens, likewise.
    #[serde(default)]
    pub input_tokens: Option<u64>,
    /// SHA-256 of its body, hexadecimal.
    pub body: SmolStr,
}
