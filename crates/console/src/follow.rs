//! Following the store: what another process (a command, a second server) changed is in force within a
//! second, streams in flight included.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokenwatch_gateway::Gateway;
use tokenwatch_gateway::registry::{KeyEntry, PolicyPool};
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::key::{Policy, StoredKey};
use tokenwatch_model::owner::Owner;
use tokenwatch_respond::ResponsePolicy;

use crate::records::{Changed, Records, RecordsError};

/// Keeps a gateway's keys and containments equal to the store's.
pub struct Follower {
    records: Arc<dyn Records>,
    gateway: Arc<Gateway>,
    defaults: Policy,
    response: ResponsePolicy,
    revision: u64,
    version: Option<i64>,
    /// New defaults could not be put in force on every key yet.
    is_behind: bool,
    owners: HashMap<OwnerId, Owner>,
    pool: PolicyPool,
}

impl Follower {
    /// Loads everything once.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub fn load(
        records: Arc<dyn Records>,
        gateway: Arc<Gateway>,
        defaults: Policy,
        response: ResponsePolicy,
    ) -> Result<Self, RecordsError> {
        let mut follower = Self {
            records,
            gateway,
            defaults,
            response,
            revision: 0,
            version: None,
            is_behind: false,
            owners: HashMap::new(),
            pool: PolicyPool::default(),
        };
        follower.version = Some(follower.records.data_version()?);
        let changed = follower.records.changed_since(0)?;
        // Feedback is told by `catch_up`, once the state it changes is loaded.
        follower.take(Changed { feedback: Vec::new(), ..changed })?;
        Ok(follower)
    }

    /// Tells the engine what people said after `told`, a [`Follower::revision`] that was kept: the process before
    /// may have ended without hearing of it, or not have run. To say it twice does no harm.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub fn catch_up(&self, told: u64) -> Result<(), RecordsError> {
        for feedback in &self.records.changed_since(told)?.feedback {
            self.gateway.tell_engine(feedback);
        }
        Ok(())
    }

    /// The newest change that is in force, feedback included.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes over what changed since the last call. Cheap when nothing did.
    ///
    /// # Errors
    ///
    /// When the store does not answer; the last good state stays in force.
    pub fn poll(&mut self) -> Result<bool, RecordsError> {
        if self.is_behind {
            self.put_all()?;
        }
        let version = self.records.data_version()?;
        if self.version == Some(version) {
            return Ok(false);
        }
        self.refresh()?;
        self.version = Some(version);
        Ok(true)
    }

    /// Takes over what changed, whether or not another process wrote: after a change of our own.
    ///
    /// # Errors
    ///
    /// As [`Follower::poll`].
    pub fn refresh(&mut self) -> Result<(), RecordsError> {
        let changed = self.records.changed_since(self.revision)?;
        self.take(changed)
    }

    /// Replaces what every key inherits, after a configuration change.
    ///
    /// # Errors
    ///
    /// As [`Follower::poll`], which tries again.
    pub fn put_defaults(&mut self, defaults: Policy, response: ResponsePolicy) -> Result<(), RecordsError> {
        self.defaults = defaults;
        self.response = response;
        self.pool = PolicyPool::default();
        self.is_behind = true;
        self.put_all()
    }

    fn put_all(&mut self) -> Result<(), RecordsError> {
        for stored in self.records.keys()? {
            self.put_key(&stored);
        }
        self.is_behind = false;
        Ok(())
    }

    fn take(&mut self, changed: Changed) -> Result<(), RecordsError> {
        let now = self.gateway.now();
        if !changed.suppressions.is_empty() {
            self.gateway.live.put_suppressions(changed.suppressions, now);
        }
        let owners: BTreeSet<OwnerId> = changed.owners.iter().map(|owner| owner.id).collect();
        self.owners.extend(changed.owners.into_iter().map(|owner| (owner.id, owner)));
        for stored in &changed.keys {
            self.put_key(stored);
        }
        // Keys inherit from their owner: a changed owner changes them all. At the first load every key was
        // just put in place.
        if !owners.is_empty() && self.revision > 0 {
            for stored in self.records.keys()? {
                if stored.key.owner.is_some_and(|owner| owners.contains(&owner)) {
                    self.put_key(&stored);
                }
            }
        }
        // Before containments: a context that was let in must not be judged anew in between.
        for feedback in &changed.feedback {
            self.gateway.tell_engine(feedback);
        }
        let contained: BTreeSet<KeyId> = changed.containments.iter().map(|c| c.key).collect();
        for key in contained {
            let of_key = changed.containments.iter().filter(|c| c.key == key).cloned().collect();
            self.gateway.live_of(key).put_containments(key, of_key, now);
        }
        self.revision = self.revision.max(changed.revision);
        Ok(())
    }

    fn put_key(&mut self, stored: &StoredKey) {
        let owner = stored.key.owner.and_then(|id| self.owners.get(&id));
        let mut policy = stored.key.policy.clone();
        if let Some(owner) = owner {
            policy = policy.or(&owner.defaults);
        }
        // The ladder's mode of the environment comes before the system's default.
        policy.mode = Some(self.response.mode_of(&stored.key, owner));
        let policy = self.pool.share(policy.or(&self.defaults));
        self.gateway.live.put_key(Arc::new(KeyEntry::new(stored, policy)), self.gateway.now());
    }
}
