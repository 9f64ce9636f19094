//! Keys of one owner in a replay: they are asked about each other's newcomers, as a gateway asks them.

use std::collections::HashMap;

use tokenwatch_detect::{Household, KeyState};
use tokenwatch_model::context::Siblings;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::OwnerId;

/// What the keys of each owner know together by now.
#[derive(Default)]
pub(super) struct Owners(HashMap<OwnerId, Household>);

/// A key among those of its owner.
#[derive(Clone, Copy, Default)]
pub(super) struct Member {
    pub(super) owner: Option<OwnerId>,
    /// The hour in which it was last asked what it vouches for.
    told: u32,
}

impl Member {
    pub(super) const fn of(owner: Option<OwnerId>) -> Self {
        Self { owner, told: 0 }
    }
}

impl Owners {
    /// Writes into an event what the other keys know of it, unless that was recorded when it happened.
    pub(super) fn answer(&self, member: Member, event: &mut UsageEvent) {
        let household = member.owner.and_then(|owner| self.0.get(&owner));
        if let Some(household) = household.filter(|_| event.request.siblings == Siblings::default()) {
            event.request.siblings = household.ask(&event.request);
        }
    }

    /// Takes in what a key vouches for after one of its events, once an hour.
    pub(super) fn follow(&mut self, member: &mut Member, event: &UsageEvent, state: &KeyState) {
        let hour = event.request.time.hour();
        let Some(owner) = member.owner.filter(|_| member.told != hour) else { return };
        member.told = hour;
        self.0.entry(owner).or_default().put(event.request.key, state.vouches());
    }
}
