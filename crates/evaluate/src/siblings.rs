//! A world whose keys are asked about each other's newcomers, as a gateway asks them.
//!
//! For each owner of several keys the clean events of all of them are observed once in the order of their times, and
//! what the keys know together is kept as it was at every time. Clean events, thefts and changes are then given what
//! the other keys knew when they came ([`tokenwatch_model::context::Siblings`]).
//!
//! Invariants: thefts and changes teach the other keys nothing; the same world gives the same answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokenwatch_detect::{Engine, Household, KeyState, Vouched};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::time::Timestamp;

use crate::world::{Attack, Change, World, WorldKey};

/// What the keys of one owner knew together, over time.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// From when on, rising.
    steps: Vec<(Timestamp, Household)>,
    /// The key's ordinal hour at which it was last asked what it vouches for.
    asked: BTreeMap<KeyId, u32>,
}

impl History {
    /// Writes into an event what the other keys know of it.
    pub fn answer(&self, event: &mut UsageEvent) {
        let time = event.request.time;
        let after = self.steps.partition_point(|(from, _)| *from <= time);
        let household = after.checked_sub(1).and_then(|place| self.steps.get(place));
        event.request.siblings =
            household.map(|(_, household)| household.ask(&event.request)).unwrap_or_default();
    }

    /// Takes in what a key vouches for after one of its events. A key is asked once an hour, as in a gateway.
    fn follow(&mut self, key: KeyId, now: Timestamp, vouched: impl FnOnce() -> Option<Vouched>) {
        if self.asked.insert(key, now.hour()) == Some(now.hour()) {
            return;
        }
        let mut household = self.steps.last().map(|(_, household)| household.clone()).unwrap_or_default();
        if household.put(key, vouched()) {
            self.steps.push((now, household));
        }
    }
}

/// Keys by owner, each owner's at the place of its first: what is known of one of them may rest on the others. Keys
/// without an owner stand alone.
pub fn by_owner(world: &dyn World, keys: &[usize]) -> Vec<Vec<usize>> {
    let mut owners: BTreeMap<OwnerId, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for &place in keys {
        let owner = world.keys().get(place).and_then(|key| key.profile.owner);
        let group = owner.map_or(groups.len(), |owner| *owners.entry(owner).or_insert(groups.len()));
        match groups.get_mut(group) {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    groups
}

/// A world with answers of siblings.
pub struct WithSiblings<W> {
    world: W,
    /// By place of the key; none for keys that have no siblings.
    histories: BTreeMap<usize, Arc<History>>,
}

impl<W: World> WithSiblings<W> {
    /// A world in which nobody is asked yet.
    pub const fn new(world: W) -> Self {
        Self { world, histories: BTreeMap::new() }
    }

    /// Lives through the clean days of keys of one owner, so that each can be asked about newcomers of the others.
    pub fn ask(&mut self, keys: &[usize], to_day: u32) {
        if keys.len() > 1 {
            let history = self.history(keys, to_day);
            self.put(keys, history);
        }
    }

    /// What an owner's keys knew together through their clean days.
    fn history(&self, keys: &[usize], to_day: u32) -> History {
        let engine = Engine::default();
        let mut history = History::default();
        let mut states: BTreeMap<usize, KeyState> = BTreeMap::new();
        let mut events: Vec<(usize, UsageEvent)> = Vec::new();
        for &key in keys {
            events.extend(self.world.events(key, to_day).into_iter().map(|event| (key, event)));
        }
        events.sort_by_key(|(key, event)| (event.request.time, *key));
        for (place, event) in &mut events {
            let Some(about) = self.world.keys().get(*place) else { continue };
            history.answer(event);
            let state = states.entry(*place).or_default();
            drop(engine.observe(state, &about.profile, event));
            history.follow(event.request.key, event.request.time, || state.vouches());
        }
        history
    }

    fn put(&mut self, keys: &[usize], history: History) {
        let history = Arc::new(history);
        self.histories.extend(keys.iter().map(|&key| (key, Arc::clone(&history))));
    }

    fn answered(&self, key: usize, mut events: Vec<UsageEvent>) -> Vec<UsageEvent> {
        if let Some(history) = self.histories.get(&key) {
            events.iter_mut().for_each(|event| history.answer(event));
        }
        events
    }
}

impl<W: World> World for WithSiblings<W> {
    fn start(&self) -> Timestamp {
        self.world.start()
    }

    fn keys(&self) -> &[WorldKey] {
        self.world.keys()
    }

    fn attacks(&self) -> &[Attack] {
        self.world.attacks()
    }

    fn changes(&self) -> &[Change] {
        self.world.changes()
    }

    fn events(&self, key: usize, to_day: u32) -> Vec<UsageEvent> {
        self.answered(key, self.world.events(key, to_day))
    }

    fn theft(
        &self,
        key: usize,
        attack: usize,
        seed: u64,
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<UsageEvent> {
        self.answered(key, self.world.theft(key, attack, seed, start, end))
    }

    fn changed(
        &self,
        key: usize,
        change: usize,
        seed: u64,
        at: Timestamp,
        to_day: u32,
    ) -> Option<Vec<UsageEvent>> {
        let events = self.world.changed(key, change, seed, at, to_day)?;
        Some(self.answered(key, events))
    }
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::context::{Siblings, SiblingsKnow};
    use tokenwatch_model::time::DAY;

    use super::*;
    use crate::testing::Tiny;

    fn asked(world: Tiny) -> WithSiblings<Tiny> {
        let mut world = WithSiblings::new(world);
        let keys: Vec<usize> = (0..world.keys().len()).collect();
        for owner in by_owner(&world, &keys) {
            world.ask(&owner, 11);
        }
        world
    }

    #[test]
    fn keys_of_one_owner_are_asked_once_they_know_something() {
        let world = asked(Tiny::new(3, 2, 1).of_one_owner());
        // They share everything; nobody sends a TLS print.
        let everything = SiblingsKnow(!SiblingsKnow::TLS.0);
        for event in world.events(0, 11) {
            let siblings = event.request.siblings;
            match event.request.time.since(world.start()) / DAY {
                0..3 => assert_eq!(siblings, Siblings::default()),
                5.. => assert_eq!(siblings, Siblings { keys: 1, known: everything }),
                _ => {}
            }
        }
        let start = world.start().plus(8 * DAY);
        let theft = world.theft(0, 0, 1, start, start.plus(DAY));
        assert!(theft.iter().all(|event| {
            let siblings = event.request.siblings;
            siblings.keys == 1
                && !siblings.known.has(SiblingsKnow::NETWORK)
                && !siblings.known.has(SiblingsKnow::FAMILY)
        }));
        let again = asked(Tiny::new(3, 2, 1).of_one_owner());
        assert_eq!((again.events(0, 11), again.events(1, 11)), (world.events(0, 11), world.events(1, 11)));
    }

    #[test]
    fn keys_are_grouped_by_owner() {
        assert_eq!(by_owner(&Tiny::new(3, 2, 2), &[3, 0, 1]), [[3], [0], [1]]);
        assert_eq!(by_owner(&Tiny::new(3, 2, 2).of_one_owner(), &[3, 0, 1]), [[3, 0, 1]]);
    }

    #[test]
    fn without_owners_a_world_is_what_it_was() {
        let (plain, world) = (Tiny::new(3, 2, 2), asked(Tiny::new(3, 2, 2)));
        assert!((0..4).all(|key| plain.events(key, 11) == world.events(key, 11)));
    }
}
