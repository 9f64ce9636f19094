//! Which keys share a blast radius: those of an environment with limits of its own are counted by themselves.

use tokenwatch_model::containment::Containment;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::key::Key;
use tokenwatch_model::time::{HOUR, Timestamp};
use tokenwatch_respond::{RecentActions, ResponsePolicy};

use crate::records::{Records, RecordsError};

/// The radius of one key.
pub(crate) struct Radii<'a> {
    records: &'a dyn Records,
    policy: &'a ResponsePolicy,
    key: &'a Key,
    /// Without an environment that has limits of its own, all keys share one.
    is_one: bool,
}

impl<'a> Radii<'a> {
    pub(crate) fn new(records: &'a dyn Records, policy: &'a ResponsePolicy, key: &'a Key) -> Self {
        let is_one = policy.environments.keys().all(|name| policy.radius_of(name).is_empty());
        Self { records, policy, key, is_one }
    }

    /// Whether another key is counted with this one.
    pub(crate) fn holds(&self, other: KeyId) -> Result<bool, RecordsError> {
        if self.is_one || other == self.key.id {
            return Ok(true);
        }
        let mine = self.policy.radius_of(&self.key.environment);
        let other = self.records.key(other)?;
        Ok(other.is_some_and(|other| self.policy.radius_of(&other.key.environment) == mine))
    }

    /// What happened by itself lately on the keys that are counted with this one. `rows` may hold any containments.
    pub(crate) fn recent<'r>(
        &self,
        rows: impl IntoIterator<Item = &'r Containment>,
        now: Timestamp,
    ) -> Result<RecentActions, RecordsError> {
        let mut within = Vec::new();
        for row in rows.into_iter().filter(|row| now.since(row.created) < HOUR) {
            if self.holds(row.key)? {
                within.push(row);
            }
        }
        Ok(RecentActions::count(within, self.key.id, now))
    }
}
