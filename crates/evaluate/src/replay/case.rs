//! One theft on one key, as it is replayed.

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Finding, Reason};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::Timestamp;

/// What had happened when a theft was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FoundAt {
    /// The thief's requests, the one that told included.
    pub(super) requests: u64,
    pub(super) time: Timestamp,
    /// What it had spent.
    pub(super) spent: NanoUsd,
    /// Whether the request that told was refused itself.
    pub(super) by_refusal: bool,
}

/// The strongest evidence that there was of a theft.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Highest {
    /// 0 when nothing about it was weighed.
    pub(super) once_in_days: f64,
    pub(super) summary: Option<String>,
    pub(super) reasons: Vec<Reason>,
}

/// A theft on a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Case {
    pub(super) attack: u32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// Whether it began while the key was only learned.
    pub(super) is_learning: bool,
    pub(super) requests: u64,
    pub(super) served: u64,
    pub(super) refused: u64,
    /// What its requests would have cost, and what they did.
    pub(super) offered: NanoUsd,
    pub(super) spent: NanoUsd,
    /// Notices that its requests raised.
    pub(super) notices: u64,
    pub(super) highest: Highest,
    pub(super) found: Option<FoundAt>,
}

impl Case {
    pub(super) fn new(attack: u32, first: Timestamp, is_learning: bool) -> Self {
        Self {
            attack,
            first,
            last: first,
            is_learning,
            requests: 0,
            served: 0,
            refused: 0,
            offered: NanoUsd::ZERO,
            spent: NanoUsd::ZERO,
            notices: 0,
            highest: Highest::default(),
            found: None,
        }
    }

    /// Takes in the theft's next request, as it ended.
    pub(super) fn note(&mut self, event: &UsageEvent, offered: NanoUsd, is_refused: bool, is_alert: bool) {
        let time = event.request.time;
        self.last = self.last.max(time);
        self.requests += 1;
        self.served += u64::from(event.outcome.was_forwarded());
        self.refused += u64::from(is_refused);
        self.offered += offered;
        self.spent += event.cost;
        if self.found.is_none() && (is_refused || is_alert) {
            self.found =
                Some(FoundAt { requests: self.requests, time, spent: self.spent, by_refusal: is_refused });
        }
    }

    /// Takes in evidence about it, if that is the strongest so far.
    pub(super) fn weigh(&mut self, finding: &Finding) {
        if finding.once_in_days > self.highest.once_in_days {
            self.highest = Highest {
                once_in_days: finding.once_in_days,
                summary: Some(finding.summary.clone()),
                reasons: finding.reasons.clone(),
            };
        }
    }

    /// Takes in evidence that nothing was said of.
    pub(super) fn weigh_unsaid(&mut self, once_in_days: f64) {
        if once_in_days > self.highest.once_in_days {
            let summary = "A caller that the key knows; how much it asks in an hour, and for which models and prompts, \
                           is rarer than usual.";
            self.highest = Highest { once_in_days, summary: Some(summary.to_owned()), reasons: Vec::new() };
        }
    }
}
