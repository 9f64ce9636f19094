//! Suppressions: a person's word, given beforehand and for a bounded time, that certain alerts are expected.
//!
//! A suppression silences alerts and nothing else: it teaches the engine nothing, and undoes nothing that is in force.
//! It is stored whole, so a later version can add what else a word given beforehand does.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::containment::ContextMatch;
use crate::finding::Finding;
use crate::id::{KeyId, OwnerId, SuppressionId};
use crate::time::Timestamp;

/// Where a suppression holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// On one key.
    Key(KeyId),
    /// On every key of one owner, later ones included.
    Owner(OwnerId),
    /// On every key.
    Everywhere,
}

impl Reach {
    /// Whether a key, with its owner, is within it.
    pub fn holds(self, key: KeyId, owner: Option<OwnerId>) -> bool {
        match self {
            Self::Key(id) => id == key,
            Self::Owner(id) => owner == Some(id),
            Self::Everywhere => true,
        }
    }
}

/// Alerts that somebody expects. What is set of rule and context must both fit; at least one of them is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// Identity.
    pub id: SuppressionId,
    /// Where it holds.
    pub reach: Reach,
    /// Only findings of this rule.
    pub rule: Option<SmolStr>,
    /// Only findings that a request in this context raised.
    pub context: Option<ContextMatch>,
    /// Why, in a person's words.
    pub reason: String,
    /// Whose word it is.
    pub by: SmolStr,
    /// Since when.
    pub created: Timestamp,
    /// Until when.
    pub expires: Timestamp,
    /// When it was lifted, and by whom.
    pub lifted: Option<(Timestamp, SmolStr)>,
    /// Grows with every change; a newer revision always wins.
    pub revision: u64,
}

impl Suppression {
    /// Whether it is in force at `now`.
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.lifted.is_none() && self.created <= now && now < self.expires
    }

    /// `in force`, `lifted` or `expired`, as people see it at `now`.
    pub fn state_at(&self, now: Timestamp) -> &'static str {
        if self.lifted.is_some() {
            "lifted"
        } else if now < self.expires {
            "in force"
        } else {
            "expired"
        }
    }
}

/// A finding that a suppression silenced: recorded, and nobody was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuppressedAlert {
    /// By which suppression.
    pub suppression: SuppressionId,
    /// What was found.
    pub finding: Finding,
}
