//! Building the state of a key anew from its events, when its checkpoint can not be read.
//!
//! Invariants: the caller hands over every event of the key exactly once, so money is exact whatever their order; they
//! come about in the order in which they ended, so what is learned is what was learned. Ordinals that were given out
//! are never given out again.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::Feedback;
use tokenwatch_model::id::{ActorId, KeyId};

use super::{Live, Mind};
use crate::registry::KeyEntry;

/// A state being built.
pub struct Rebuild<'a> {
    live: &'a Live,
    entry: Arc<KeyEntry>,
    mind: Mind,
    /// The highest ordinal of each process.
    ordinals: BTreeMap<u64, u64>,
}

impl Live {
    /// Begins the state of a key anew; `None` when there is no such key.
    pub fn rebuild(&self, key: KeyId) -> Option<Rebuild<'_>> {
        let entry = self.entry(key)?;
        Some(Rebuild { live: self, entry, mind: Mind::default(), ordinals: BTreeMap::new() })
    }
}

impl Rebuild<'_> {
    /// Takes in one event.
    pub fn take(&mut self, event: &UsageEvent) {
        // An event without an ordinal changed no state when it happened.
        if event.key_seq == 0 || event.request.key != self.entry.id {
            return;
        }
        self.pass(event.key_seq);
        self.mind.account.replay(event);
        let event = UsageEvent { key_seq: 0, ..event.clone() };
        // Findings were told when they were found.
        drop(self.live.engine.observe(&mut self.mind.learned, &self.entry.profile, &event));
    }

    /// Takes in what a person said.
    pub fn hear(&mut self, feedback: &Feedback) {
        self.live.engine.feedback(&mut self.mind.learned, feedback);
    }

    /// Takes in that nobody was told of an alert.
    pub fn suppress(&mut self, actor: ActorId) {
        self.live.engine.suppress(&mut self.mind.learned, self.entry.id, actor);
    }

    /// Says that an ordinal was given out to something that is taken in otherwise, or is lost.
    pub fn pass(&mut self, ordinal: u64) {
        let highest = self.ordinals.entry(ordinal >> 32).or_default();
        *highest = ordinal.max(*highest);
    }

    /// Puts the state in place; it is saved with the next checkpoints. Requests of the key are served from now on.
    pub fn finish(mut self) {
        for ordinal in self.ordinals.into_values() {
            self.mind.last.take(ordinal);
        }
        self.mind.dirty = true;
        self.live.put_mind(self.entry.id, self.mind);
    }
}
