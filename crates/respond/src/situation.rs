//! Everything a plan is made from: the key, the finding, what is in force, what happened lately.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use tokenwatch_model::containment::{Action, Clamp, Containment};
use tokenwatch_model::finding::Finding;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::{Key, Mode};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{HOUR, Timestamp};

/// The state a plan is computed from; whatever is not in here can not change the plan.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The key.
    pub key: &'a Key,
    /// The mode in effect on it: [`crate::ResponsePolicy::mode_of`].
    pub mode: Mode,
    /// Who it belongs to.
    pub owner: Option<&'a Owner>,
    /// What was found.
    pub finding: &'a Finding,
    /// The open incident of this key, if there is one; closed ones and those of other keys are ignored.
    pub open_incident: Option<&'a Incident>,
    /// The containments of this key; those of other keys and those not in force are ignored.
    pub containments: &'a [Containment],
    /// The key's own normal, where enough of it was learned.
    pub normal: Option<&'a Normal>,
    /// What happened by itself lately, across all keys.
    pub recent: RecentActions,
    /// The time.
    pub now: Timestamp,
}

impl Situation<'_> {
    /// The containments of this key that are in force now.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = &Containment> {
        self.containments.iter().filter(|c| c.key == self.key.id && c.in_force(self.now))
    }

    /// The incident to extend, if there is one.
    pub(crate) fn incident(&self) -> Option<&Incident> {
        self.open_incident.filter(|incident| incident.key == self.key.id && incident.state.is_open())
    }
}

/// What a key usually does: the values a clamp holds it to.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Normal {
    /// Requests in its busiest usual minute.
    pub requests_per_minute: Option<u64>,
    /// Money in its dearest usual hour.
    pub cost_per_hour: Option<NanoUsd>,
    /// Models it uses.
    pub models: Option<Vec<SmolStr>>,
}

impl Normal {
    /// The clamp of the whole key to this normal; `None` when nothing was learned.
    ///
    /// A clamp must never be a suspension in disguise: a rate of zero becomes one, and a normal without
    /// cost or models does not limit these.
    pub fn clamp(&self) -> Option<Clamp> {
        let clamp = Clamp {
            only: None,
            requests_per_minute: self.requests_per_minute.map(|rate| rate.max(1)),
            cost_per_hour: self.cost_per_hour.filter(|&cost| cost > NanoUsd::ZERO),
            models: self.models.clone().filter(|models| !models.is_empty()),
        };
        (clamp != Clamp::default()).then_some(clamp)
    }
}

/// How many keys were contained in the last hour, for the blast radius.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecentActions {
    /// Distinct keys contained.
    pub keys: u32,
    /// Whether this key is one of them: acting on it again does not widen the radius.
    pub this_key: bool,
    /// Distinct keys suspended or revoked.
    pub suspends: u32,
    /// Whether this key is one of these.
    pub this_key_suspended: bool,
}

impl RecentActions {
    /// Counts the containments of any key that began in the hour before `now`, lifted ones included: they
    /// happened. Those without an incident were put in force by a person and do not count; those that a
    /// person approved do, because they are part of the same wave.
    pub fn count<'a>(
        containments: impl IntoIterator<Item = &'a Containment>,
        this: KeyId,
        now: Timestamp,
    ) -> Self {
        let mut keys = BTreeSet::new();
        let mut suspended = BTreeSet::new();
        for containment in containments {
            if containment.incident.is_none() || now.since(containment.created) >= HOUR {
                continue;
            }
            keys.insert(containment.key);
            if matches!(containment.action, Action::Suspend | Action::Revoke) {
                suspended.insert(containment.key);
            }
        }
        Self {
            keys: u32::try_from(keys.len()).unwrap_or(u32::MAX),
            this_key: keys.contains(&this),
            suspends: u32::try_from(suspended.len()).unwrap_or(u32::MAX),
            this_key_suspended: suspended.contains(&this),
        }
    }
}

#[cfg(test)]
pub(crate) mod examples;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::situation::examples::{NOW, containment, key_id};

    #[test]
    fn a_clamp_never_refuses_everything() {
        let normal = Normal {
            requests_per_minute: Some(0),
            cost_per_hour: Some(NanoUsd::ZERO),
            models: Some(Vec::new()),
        };
        assert_eq!(normal.clamp(), Some(Clamp { requests_per_minute: Some(1), ..Clamp::default() }));
        assert_eq!(Normal::default().clamp(), None);
        assert_eq!(Normal { models: Some(Vec::new()), ..Normal::default() }.clamp(), None);
    }

    #[test]
    fn the_radius_counts_keys_of_the_last_hour() {
        let suspended =
            Containment { key: key_id(2), action: Action::Suspend, ..containment(2, Action::Watch) };
        let by_hand = Containment { key: key_id(3), incident: None, ..containment(3, Action::Watch) };
        let old =
            Containment { key: key_id(4), created: Timestamp(NOW.0 - HOUR), ..containment(4, Action::Watch) };
        let rows = [containment(1, Action::Watch), containment(5, Action::Suspend), suspended, by_hand, old];
        assert_eq!(
            RecentActions::count(&rows, key_id(2), NOW),
            RecentActions { keys: 3, this_key: true, suspends: 2, this_key_suspended: true }
        );
        assert_eq!(
            RecentActions::count(&rows, key_id(4), NOW),
            RecentActions { keys: 3, this_key: false, suspends: 2, this_key_suspended: false }
        );
    }
}
