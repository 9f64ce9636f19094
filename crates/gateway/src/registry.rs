//! What the data plane knows of a key: compact, immutable, replaced whole by a newer revision.

use std::sync::Arc;

use smol_str::SmolStr;
use tokenwatch_detect::{FALSE_ALARMS_PER_YEAR, KeyProfile};
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::key::{Key, KeyState, Mode, Policy, StoredKey};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::time::Timestamp;

/// One key as the request path sees it.
pub struct KeyEntry {
    /// Identity.
    pub id: KeyId,
    /// Name for logs and views.
    pub name: SmolStr,
    /// Who it belongs to.
    pub owner: Option<OwnerId>,
    /// Hash of the credential.
    pub(crate) hash: SecretHash,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it stops working by itself.
    pub expires: Option<Timestamp>,
    /// The key's rules with the owner's and the system's defaults filled in; shared between equal keys.
    pub policy: Arc<Policy>,
    /// What is declared about it, for the engine.
    pub profile: KeyProfile,
    /// Grows with every change; an older revision never replaces a newer one.
    pub revision: u64,
}

impl KeyEntry {
    /// From a stored key and its effective policy.
    pub fn new(stored: &StoredKey, policy: Arc<Policy>) -> Self {
        let key: &Key = &stored.key;
        // What the engine is told follows the effective rules, not the key's own alone.
        let profile = KeyProfile {
            false_alarms_per_year: policy.false_alarms_per_year.unwrap_or(FALSE_ALARMS_PER_YEAR),
            monthly_cap: policy.budgets.month.filter(|&cap| cap != NanoUsd::MAX),
            ..KeyProfile::from(key)
        };
        Self {
            id: key.id,
            name: key.name.clone(),
            owner: key.owner,
            hash: stored.hash,
            state: key.state,
            expires: key.expires,
            policy,
            profile,
            revision: key.revision,
        }
    }

    /// What automatic containment may do.
    pub fn mode(&self) -> Mode {
        self.policy.mode.unwrap_or_default()
    }

    /// Whether it may be used at `now`.
    pub(crate) fn usable(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            KeyState::Revoked => Err(Refusal::Revoked),
            KeyState::Disabled => Err(Refusal::Disabled),
            KeyState::Active if self.expires.is_some_and(|expires| expires <= now) => Err(Refusal::Expired),
            KeyState::Active => Ok(()),
        }
    }
}

/// Shares equal policies between keys: a hundred thousand keys of one owner hold one.
#[derive(Default)]
pub struct PolicyPool {
    /// Few distinct policies are expected; past the bound they are simply not shared.
    seen: Vec<Arc<Policy>>,
}

impl PolicyPool {
    const SHARED_MAX: usize = 64;

    /// The shared copy of `policy`.
    pub fn share(&mut self, policy: Policy) -> Arc<Policy> {
        if let Some(found) = self.seen.iter().find(|seen| ***seen == policy) {
            return found.clone();
        }
        let policy = Arc::new(policy);
        if self.seen.len() < Self::SHARED_MAX {
            self.seen.push(policy.clone());
        }
        policy
    }
}
