//! Why a newcomer has its score: reasons that add up to it.
//!
//! Invariant: the nats of all reasons sum up to the logarithm of the score in days, less than [`WORTH_SAYING`] left out. A
//! number of days or a share in a sentence is the one that its nats are computed from.

use tokenwatch_model::finding::Reason;

use super::{acts, arrival};
use crate::channel::merge;
use crate::engine::{Appraisal, Rates};
use crate::math::ln;

/// Reasons weaker than this, in nats, are not worth a line of their own.
const WORTH_SAYING: f64 = 0.15;

/// Reasons so far.
#[derive(Default)]
pub(super) struct Reasons {
    said: Vec<Reason>,
    /// What the ones that are not worth a line count for together.
    unsaid: f64,
}

impl Reasons {
    /// Says something if it is worth it. Words are made only for what is said: a thief who hammers must not cost us
    /// sentences.
    pub(super) fn say(&mut self, nats: f64, what: impl FnOnce() -> String) {
        if nats.abs() >= WORTH_SAYING {
            self.said.push(Reason { nats, what: what() });
        } else {
            self.unsaid += nats;
        }
    }

    /// Says what is new, however little it counts for: a person looks for it.
    pub(super) fn tell(&mut self, nats: f64, what: String) {
        self.said.push(Reason { nats, what });
    }

    /// Strongest first.
    fn finish(mut self) -> Vec<Reason> {
        let unsaid = std::mem::take(&mut self.unsaid);
        self.say(unsaid, || "several things that count for little each".to_owned());
        self.said.sort_by(|a, b| b.nats.total_cmp(&a.nats));
        self.said
    }
}

/// The reasons of a newcomer whose finding has this score.
pub(super) fn all(appraisal: &Appraisal, score: f64, rates: &Rates<'_>) -> Vec<Reason> {
    let weight = &appraisal.weight;
    let mut reasons = Reasons::default();
    if weight.newcomer <= 0.0 {
        reasons.tell(
            ln(score),
            "it was told of before; what was new about it is the key's own by now".to_owned(),
        );
        return reasons.finish();
    }
    let arrived = arrival::say(&mut reasons, appraisal, rates);
    acts::say(&mut reasons, &appraisal.slot, weight, ln(weight.newcomer) - arrived);
    let calibrated = merge(weight.newcomer, 0.0);
    let factor = calibrated / weight.newcomer;
    reasons.say(ln(factor), || format!("a newcomer's score counts {factor:.1} times, by calibration"));
    let merged = merge(weight.newcomer, weight.surge);
    reasons.say(ln(merged / calibrated), || "an hour of it far exceeds the key's busiest".to_owned());
    reasons.say(ln(score) - ln(merged), || {
        "it, or another in the same context, was refused or told of on more evidence than this".to_owned()
    });
    reasons.finish()
}
