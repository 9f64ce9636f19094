//! Which requests of the owner are refused while a theft runs.
//!
//! A method that only scores would refuse a request whose score before it is forwarded reaches the threshold. The
//! layered detector's score tells of an episode once, but the gateway refuses all of it; so for each threshold an engine
//! that is set to it sees the same events, and its verdict on each request of the owner counts.
//!
//! Invariant: nothing is stopped, here as in the scores: what is refused is taken in as served, the thief's requests too.

use std::sync::Arc;

use tokenwatch_detect::method::Scores;
use tokenwatch_detect::{Engine, InFlight, KeyProfile, KeyState};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::Decision;

/// Who refuses, at each threshold of interest.
#[derive(Clone)]
pub(super) enum Refusals<'a> {
    ByScore(&'a [f64]),
    ByEngine(Vec<Judge>),
}

/// An engine that is set to one threshold.
#[derive(Clone)]
pub(super) struct Judge {
    engine: Arc<Engine>,
    profile: KeyProfile,
    state: KeyState,
}

impl<'a> Refusals<'a> {
    /// By the engine if the method has one, otherwise by scores.
    pub(super) fn new(engine: Option<&Arc<Engine>>, profile: &KeyProfile, thresholds: &'a [f64]) -> Self {
        let Some(engine) = engine else { return Self::ByScore(thresholds) };
        let judge = |days: &f64| Judge {
            engine: Arc::clone(engine),
            // A threshold of almost nothing is a budget beyond any number, which the profile would not believe.
            profile: KeyProfile { false_alarms_per_year: (365.0 / days).min(1e9), ..profile.clone() },
            state: KeyState::new(),
        };
        Self::ByEngine(thresholds.iter().map(judge).collect())
    }

    /// Takes in an event whose verdict nobody asks for.
    pub(super) fn pass(&mut self, event: &UsageEvent) {
        if let Self::ByEngine(judges) = self {
            judges.iter_mut().for_each(|judge| judge.pass(event));
        }
    }

    /// Takes in an event with its scores, and counts for each threshold whether it is refused.
    pub(super) fn count(&mut self, event: &UsageEvent, scores: Scores, refused: &mut [u64]) {
        match self {
            Self::ByScore(thresholds) => {
                for (refused, threshold) in refused.iter_mut().zip(thresholds.iter()) {
                    *refused += u64::from(scores.before >= *threshold);
                }
            }
            Self::ByEngine(judges) => {
                for (refused, judge) in refused.iter_mut().zip(judges) {
                    *refused += u64::from(judge.refuses(event));
                    judge.pass(event);
                }
            }
        }
    }
}

impl Judge {
    /// Whether a request is refused that others let pass.
    fn refuses(&self, event: &UsageEvent) -> bool {
        let verdict = || self.engine.judge(&self.state, &self.profile, &event.request, InFlight::default());
        event.outcome.was_forwarded() && verdict().decision == Decision::Refuse
    }

    fn pass(&mut self, event: &UsageEvent) {
        drop(self.engine.observe(&mut self.state, &self.profile, event));
    }
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::time::{DAY, Timestamp};

    use super::*;
    use crate::testing::{Tiny, event};
    use crate::world::World as _;

    /// Refused of a second caller's requests and of the first one's, by the engine at two thresholds, when the second
    /// comes beside the first on the ninth day.
    fn counts(of_stranger: impl Fn(&mut UsageEvent)) -> (Vec<u64>, Vec<u64>) {
        let world = Tiny::new(3, 1, 1);
        let engine = Arc::new(Engine::default());
        let mut refusals = Refusals::new(Some(&engine), &KeyProfile::default(), &[1_460.0, 36_000.0]);
        let comes = world.start().plus(8 * DAY);
        let (before, after): (Vec<UsageEvent>, Vec<UsageEvent>) =
            world.events(0, 10).into_iter().partition(|event| event.request.time < comes);
        before.iter().for_each(|event| refusals.pass(event));
        let (mut thief, mut owner) = (vec![0; 2], vec![0; 2]);
        for clean in &after {
            let mut stolen = event(1, clean.request.time);
            of_stranger(&mut stolen);
            refusals.count(&stolen, Scores::default(), &mut thief);
            refusals.count(clean, Scores::default(), &mut owner);
        }
        assert_eq!(thief.iter().chain(&owner).filter(|&&count| count > after.len() as u64).count(), 0);
        (thief, owner)
    }

    #[test]
    fn all_of_an_episode_is_refused_not_only_what_raised_it() {
        let (thief, owner) = counts(|stolen| {
            stolen.request.source.address = "203.0.113.9".parse().unwrap();
            stolen.request.source.facts.asn = 64_501;
            stolen.request.client.family = "aiohttp".into();
            stolen.request.shape.template = stolen.request.time.0;
        });
        assert!(thief[0] > 10 && thief[0] >= thief[1], "{thief:?}");
        assert_eq!(owner, [0, 0]);
    }

    #[test]
    fn the_owners_own_context_is_not_refused() {
        assert_eq!(counts(|_| ()), (vec![0, 0], vec![0, 0]));
    }

    #[test]
    fn without_an_engine_scores_before_forwarding_refuse() {
        let mut refusals = Refusals::new(None, &KeyProfile::default(), &[2.0, 5.0, 9.0]);
        let mut refused = vec![0; 3];
        for before in [3.0, 7.0] {
            refusals.count(&event(1, Timestamp::default()), Scores { before, after: 0.0 }, &mut refused);
        }
        assert_eq!(refused, [2, 1, 0]);
    }
}
