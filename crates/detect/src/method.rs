//! One interface for every detection method, so that they can be compared on the same events and combined.
//!
//! A [`Method`] holds what a fleet shares (settings, tables, a trained model) and is immutable. A [`Watch`] is
//! what it knows of one key. Scores grow with suspicion and are comparable between keys of one method, not
//! between methods: an alarm is a score at or above a threshold, and the threshold is what a false-alarm
//! budget buys.
//!
//! Invariants: causal (a score rests on the events seen so far), deterministic, and a fork that sees the same
//! events gives the same scores.

use std::sync::Arc;

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Decision, Tier};
use tokenwatch_model::outcome::{Outcome, Refusal};

use crate::engine::{Engine, InFlight};
use crate::profile::KeyProfile;
use crate::state::KeyState;

/// How suspicious one event is.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Scores {
    /// From what is known before the request is forwarded: at or above the threshold it would be refused.
    /// 0 for methods that look only at what has happened.
    pub before: f64,
    /// With the finished request.
    pub after: f64,
}

impl Scores {
    /// The higher of the two.
    pub const fn max(self) -> f64 {
        self.before.max(self.after)
    }
}

/// A detection method: what all keys share.
pub trait Method: Send + Sync {
    /// Stable id, such as `layered` or `isolation_forest`.
    fn id(&self) -> &'static str;

    /// What a score is, in a few words, such as "days between such events on honest keys".
    fn unit(&self) -> &'static str;

    /// Starts to watch a key.
    fn watch(&self, profile: &KeyProfile) -> Box<dyn Watch>;
}

/// What a method knows of one key.
pub trait Watch: Send {
    /// Takes in the key's next event.
    fn see(&mut self, event: &UsageEvent) -> Scores;

    /// The same knowledge once more, to try what would happen.
    fn fork(&self) -> Box<dyn Watch>;

    /// Memory held for the key, in bytes, allocations included.
    fn bytes(&self) -> usize;
}

/// The layered detector as a method: the engine's evidence in days. It judges before it observes, as the
/// gateway does, but never stops anything: what it would have refused was served.
#[derive(Clone, Debug)]
pub struct Layered {
    engine: Arc<Engine>,
}

impl Layered {
    /// The engine as a method.
    pub const fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

impl Method for Layered {
    fn id(&self) -> &'static str {
        "layered"
    }

    fn unit(&self) -> &'static str {
        "an honest key like this does that once in so many days"
    }

    fn watch(&self, profile: &KeyProfile) -> Box<dyn Watch> {
        Box::new(LayeredWatch {
            engine: Arc::clone(&self.engine),
            profile: profile.clone(),
            state: KeyState::new(),
        })
    }
}

struct LayeredWatch {
    engine: Arc<Engine>,
    profile: KeyProfile,
    state: KeyState,
}

impl Watch for LayeredWatch {
    fn see(&mut self, event: &UsageEvent) -> Scores {
        // A request refused before the engine was asked was never judged.
        let is_judged = match event.outcome {
            Outcome::Refused(refusal) => refusal == Refusal::Judged,
            _ => true,
        };
        // Some facts are enough for an alert whatever the days; they count as what an alert takes.
        let alert_days = self.profile.alert_days();
        let before = if is_judged {
            let verdict = self.engine.judge(&self.state, &self.profile, &event.request, InFlight::default());
            let least = if verdict.decision == Decision::Refuse { alert_days } else { 0.0 };
            verdict.once_in_days.max(least)
        } else {
            0.0
        };
        let findings = self.engine.observe(&mut self.state, &self.profile, event);
        let told = findings.iter().filter(|finding| finding.tier >= Tier::Alert);
        let told = told.map(|finding| finding.once_in_days.max(alert_days)).fold(0.0, f64::max);
        let after = self.state.raised_days().max(told);
        // An episode that was told of is silent until it grows, before as after.
        let before = if after > 0.0 { before.min(after.max(alert_days)) } else { 0.0 };
        Scores { before, after }
    }

    fn fork(&self) -> Box<dyn Watch> {
        Box::new(Self {
            engine: Arc::clone(&self.engine),
            profile: self.profile.clone(),
            state: self.state.clone(),
        })
    }

    fn bytes(&self) -> usize {
        self.state.encode().len()
    }
}
