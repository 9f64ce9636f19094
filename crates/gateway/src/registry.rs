//! What the data plane knows of a key: compact, immutable, replaced whole by a newer revision.

use std::sync::Arc;

use smol_str::SmolStr;
use tokenwatch_detect::{FALSE_ALARMS_PER_YEAR, KeyProfile};
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::key::{Key, KeyState, Mode, Policy, Rotation, StoredKey};
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
    /// The credential before it, of a key that was rotated.
    pub(crate) before: Option<Box<Before>>,
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

/// The credential that a rotation replaced.
pub(crate) struct Before {
    pub(crate) hash: SecretHash,
    pub(crate) rotation: Rotation,
}

/// Which of a key's credentials a request presented: when that one was issued. A key that was never rotated has one, of
/// time 0; what is older than the latest rotation is the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Issue(pub(crate) Timestamp);

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
            before: stored
                .previous
                .zip(key.rotation)
                .map(|(hash, rotation)| Box::new(Before { hash, rotation })),
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

    /// Its latest rotation.
    pub fn rotation(&self) -> Option<Rotation> {
        self.before.as_ref().map(|before| before.rotation)
    }

    /// The same key with another credential; the one it has becomes the one before.
    pub(crate) fn rotated(&self, hash: SecretHash, rotation: Rotation) -> Self {
        Self {
            id: self.id,
            name: self.name.clone(),
            owner: self.owner,
            hash,
            before: Some(Box::new(Before { hash: self.hash, rotation })),
            state: self.state,
            expires: self.expires,
            policy: self.policy.clone(),
            profile: self.profile.clone(),
            revision: self.revision,
        }
    }

    /// Which of its credentials this is; `None` when it is none of them.
    pub(crate) fn recognise(&self, presented: &SecretHash) -> Option<Issue> {
        let newest = Issue(self.before.as_ref().map_or(Timestamp(0), |before| before.rotation.rotated));
        if self.hash.matches(presented) {
            return Some(newest);
        }
        self.before.as_ref().filter(|before| before.hash.matches(presented)).map(|_| Issue::default())
    }

    /// The rotation that replaced a credential; `None` of the newest one.
    pub(crate) fn replaced(&self, issue: Issue) -> Option<Rotation> {
        self.before.as_ref().map(|before| before.rotation).filter(|rotation| issue.0 < rotation.rotated)
    }

    /// When a request that presented this credential has to end, and what it is told then.
    pub(crate) fn ends(&self, issue: Issue) -> Option<(Timestamp, Refusal)> {
        let expires = self.expires.map(|at| (at, Refusal::Expired));
        let replaced = self.replaced(issue).map(|rotation| (rotation.previous_ends, Refusal::Rotated));
        expires.into_iter().chain(replaced).min_by_key(|(at, _)| *at)
    }

    /// Whether the time of the key or of the credential before its rotation is over.
    pub(crate) fn has_ended(&self, now: Timestamp) -> bool {
        self.ends(Issue::default()).is_some_and(|(at, _)| at <= now)
    }

    /// Whether it may be used at `now` by this credential.
    pub(crate) fn usable_by(&self, issue: Issue, now: Timestamp) -> Result<(), Refusal> {
        self.usable(now)?;
        match self.replaced(issue) {
            Some(rotation) if !rotation.overlaps(now) => Err(Refusal::Rotated),
            _ => Ok(()),
        }
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
