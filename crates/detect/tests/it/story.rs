//! A key's life, told as requests in the order in which they arrive: what the engine does with each of them.

use tokenwatch_detect::{Engine, InFlight, KeyProfile, KeyState};
use tokenwatch_model::finding::{Decision, Finding, Tier};
use tokenwatch_model::key::Workload;
use tokenwatch_model::outcome::Refusal;

use crate::thefts::trained;
use crate::world::{Call, Owner, event, key, request};

/// Whether what is judged refused is refused, or only recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Enforce,
    Observe,
}

/// A caller: the owner, or somebody the owner does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Owner,
    Stranger,
}

/// What happened to a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) owner_refused: usize,
    pub(crate) stranger_served: usize,
    pub(crate) stranger_refused: usize,
    /// The day of each alert, and the alert.
    pub(crate) alerts: Vec<(u64, Finding)>,
    /// Days with a notice of a newcomer.
    pub(crate) notice_days: Vec<u64>,
    /// Days with a notice by a rule.
    pub(crate) rule_days: Vec<u64>,
}

/// A key under test.
#[derive(Clone)]
pub(crate) struct Story {
    pub(crate) engine: Engine,
    pub(crate) profile: KeyProfile,
    pub(crate) state: KeyState,
    pub(crate) seq: u64,
    pub(crate) outcome: Outcome,
}

impl Story {
    /// A key that was never used.
    pub(crate) fn new(workload: Workload) -> Self {
        let profile = KeyProfile { workload, ..KeyProfile::default() };
        Self {
            engine: Engine::default(),
            profile,
            state: KeyState::new(),
            seq: 0,
            outcome: Outcome::default(),
        }
    }

    /// A key with thirty days of its owner behind it.
    pub(crate) fn trained(workload: Workload, seed: u64) -> (Owner, Self) {
        let (owner, state, profile, seq) = trained(workload, workload, seed);
        let story = Self { engine: Engine::default(), profile, state, seq, outcome: Outcome::default() };
        (owner, story)
    }

    pub(crate) fn judge(&self, call: &Call) -> Decision {
        self.engine.judge(&self.state, &self.profile, &request(key(0), call), InFlight::default()).decision
    }

    /// Lets one request pass on a day of the story.
    pub(crate) fn pass(&mut self, at: u64, mode: Mode, by: By, call: &Call) -> Decision {
        let decision = self.judge(call);
        let refused = decision == Decision::Refuse && mode == Mode::Enforce;
        self.seq += 1;
        let done = event(key(0), self.seq, call, refused.then_some(Refusal::Judged));
        let findings = self.engine.observe(&mut self.state, &self.profile, &done);
        let outcome = &mut self.outcome;
        match (by, decision == Decision::Refuse) {
            (By::Owner, judged) => outcome.owner_refused += usize::from(judged),
            (By::Stranger, true) => outcome.stranger_refused += 1,
            (By::Stranger, false) => outcome.stranger_served += 1,
        }
        for finding in findings {
            let days = match (finding.tier >= Tier::Alert, finding.rule.starts_with("newcomer")) {
                (true, _) => {
                    outcome.alerts.push((at, finding));
                    continue;
                }
                (false, true) => &mut outcome.notice_days,
                (false, false) => &mut outcome.rule_days,
            };
            if days.last() != Some(&at) {
                days.push(at);
            }
        }
        decision
    }

    /// Lets a day's requests pass in the order of their times.
    pub(crate) fn pass_day(&mut self, at: u64, mode: Mode, mut calls: Vec<(By, Call)>) {
        calls.sort_by_key(|(_, call)| call.time);
        for (by, call) in calls {
            self.pass(at, mode, by, &call);
        }
    }

    pub(crate) fn knows(&self, call: &Call) -> bool {
        self.state.knows(&request(key(0), call))
    }
}

/// The owner's day as the owner's.
pub(crate) fn owned(calls: Vec<Call>) -> Vec<(By, Call)> {
    calls.into_iter().map(|call| (By::Owner, call)).collect()
}
