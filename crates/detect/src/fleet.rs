//! Many keys: the engine with a state per key, for logs, replays and tests.

use std::collections::BTreeMap;

use tokenwatch_model::context::RequestContext;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Feedback, Finding, Verdict};
use tokenwatch_model::id::KeyId;

use crate::engine::{Engine, InFlight};
use crate::profile::KeyProfile;
use crate::state::{DecodeStateError, KeyState};

/// Keys do not influence each other: any interleaving of their events, and any sharding by key, gives
/// each key the same findings.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    engine: Engine,
    states: BTreeMap<KeyId, KeyState>,
    profiles: BTreeMap<KeyId, KeyProfile>,
    unknown: KeyProfile,
}

impl Fleet {
    /// A fleet of which nothing is known.
    pub fn new(engine: Engine) -> Self {
        Self { engine, ..Self::default() }
    }

    /// Declares what a key is; undeclared keys have the default profile.
    pub fn declare(&mut self, key: KeyId, profile: KeyProfile) {
        self.profiles.insert(key, profile);
    }

    /// See [`Engine::observe`]. Events whose credential named no key are skipped.
    pub fn observe(&mut self, event: &UsageEvent) -> Vec<Finding> {
        let key = event.request.key;
        if key == UsageEvent::NO_KEY {
            return Vec::new();
        }
        let profile = self.profiles.get(&key).unwrap_or(&self.unknown);
        self.engine.observe(self.states.entry(key).or_default(), profile, event)
    }

    /// See [`Engine::judge`]; nothing is in flight.
    pub fn judge(&self, request: &RequestContext) -> Verdict {
        let profile = self.profiles.get(&request.key).unwrap_or(&self.unknown);
        match self.states.get(&request.key) {
            Some(state) => self.engine.judge(state, profile, request, InFlight::default()),
            None => self.engine.judge(&KeyState::new(), profile, request, InFlight::default()),
        }
    }

    /// See [`Engine::feedback`].
    pub fn feedback(&mut self, feedback: &Feedback) {
        self.engine.feedback(self.states.entry(feedback.key).or_default(), feedback);
    }

    /// The state of a key that has been seen.
    pub fn state(&self, key: KeyId) -> Option<&KeyState> {
        self.states.get(&key)
    }

    /// Encoded states of all keys, by key.
    pub fn snapshot(&self) -> Vec<(KeyId, Vec<u8>)> {
        self.states.iter().map(|(&key, state)| (key, state.encode())).collect()
    }

    /// Puts snapshots back in place of what is known of those keys.
    ///
    /// # Errors
    ///
    /// The first state that can not be read; earlier ones are in place.
    pub fn restore<B: AsRef<[u8]>>(
        &mut self,
        snapshot: impl IntoIterator<Item = (KeyId, B)>,
    ) -> Result<(), DecodeStateError> {
        for (key, bytes) in snapshot {
            self.states.insert(key, KeyState::decode(bytes.as_ref())?);
        }
        Ok(())
    }
}
