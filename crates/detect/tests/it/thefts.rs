//! Thefts of the documented kinds against owners of every workload.

use tokenwatch_detect::{Engine, InFlight, KeyProfile, KeyState};
use tokenwatch_model::finding::{Decision, Tier};
use tokenwatch_model::key::Workload;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::time::HOUR;

use crate::thieves::{Theft, calls};
use crate::world::{Call, Owner, day, event, key, request};

/// Days of clean history before a theft.
const HISTORY: u64 = 30;

/// How a theft went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Thief requests that were forwarded before the first refusal; `None` when none was refused.
    pub(crate) before_refusal: Option<usize>,
    pub(crate) forwarded: usize,
    pub(crate) attempts: usize,
    pub(crate) alerts: usize,
    pub(crate) notices: usize,
    pub(crate) owner_refused: usize,
    pub(crate) owner_matched: usize,
}

pub(crate) fn trained(
    workload: Workload,
    declared: Workload,
    seed: u64,
) -> (Owner, KeyState, KeyProfile, u64) {
    let engine = Engine::default();
    let mut owner = Owner::new(workload, seed);
    let profile = KeyProfile { workload: declared, ..KeyProfile::default() };
    let (mut state, mut seq) = (KeyState::new(), 0);
    for at in 0..HISTORY {
        for call in owner.day(at, true) {
            seq += 1;
            engine.observe(&mut state, &profile, &event(key(0), seq, &call, None));
        }
    }
    (owner, state, profile, seq)
}

/// Plays a theft into the owner's days after the history.
pub(crate) fn play(workload: Workload, declared: Workload, theft: Theft, seed: u64) -> Outcome {
    let engine = Engine::default();
    let (mut owner, mut state, profile, mut seq) = trained(workload, declared, seed);
    let mut thief = calls(theft, &owner, day(HISTORY).plus(13 * HOUR), seed).into_iter().peekable();
    let mut result = Outcome::default();
    let mut contexts = Vec::new();
    for at in HISTORY..HISTORY + 6 {
        let mut all: Vec<(bool, Call)> = owner.day(at, false).into_iter().map(|call| (false, call)).collect();
        while let Some(call) = thief.next_if(|call| call.time < day(at + 1)) {
            all.push((true, call));
        }
        all.sort_by_key(|(_, call)| call.time);
        for (is_thief, call) in all {
            let asked = request(key(0), &call);
            let refused =
                engine.judge(&state, &profile, &asked, InFlight::default()).decision == Decision::Refuse;
            let knew = state.knows(&asked);
            seq += 1;
            let done = event(key(0), seq, &call, refused.then_some(Refusal::Judged));
            let findings = engine.observe(&mut state, &profile, &done);
            if is_thief {
                if refused && result.before_refusal.is_none() {
                    result.before_refusal = Some(result.forwarded);
                }
                result.attempts += 1;
                result.forwarded += usize::from(!refused);
            } else {
                result.owner_refused += usize::from(refused);
                if knew {
                    result.owner_matched += contexts
                        .iter()
                        .filter(|context: &&tokenwatch_model::containment::ContextMatch| {
                            context.matches(&asked)
                        })
                        .count();
                }
            }
            for finding in findings {
                if finding.tier >= Tier::Alert {
                    result.alerts += 1;
                    contexts.extend(finding.actor.map(|actor| actor.context));
                } else if finding.rule == "newcomer" {
                    result.notices += 1;
                }
            }
        }
    }
    result
}

const OWNERS: [Workload; 5] =
    [Workload::Service, Workload::Pool, Workload::Ci, Workload::Team, Workload::PublicApp];

/// Loud thefts are refused at the first request or within three, and told of; the owner is never refused,
/// nor would the contexts that were told of ever match it.
#[track_caller]
fn check_loud(workload: Workload, declared: Workload) {
    for theft in Theft::LOUD {
        for seed in 1..=4 {
            let outcome = play(workload, declared, theft, seed);
            let named = format!("{workload:?} declared {declared:?} {theft:?} {seed}: {outcome:?}");
            assert_eq!((outcome.owner_refused, outcome.owner_matched), (0, 0), "{named}");
            assert!(outcome.before_refusal.is_some_and(|n| n <= 3) && outcome.alerts > 0, "{named}");
            // Told of a few times, not at each request: a page is for a person.
            assert!(outcome.alerts <= 8, "{named}");
        }
    }
}

#[test]
fn loud_thefts_from_a_service_are_refused() {
    check_loud(Workload::Service, Workload::Service);
}

#[test]
fn loud_thefts_from_a_pool_are_refused() {
    check_loud(Workload::Pool, Workload::Pool);
}

#[test]
fn loud_thefts_from_pipelines_are_refused() {
    check_loud(Workload::Ci, Workload::Ci);
}

#[test]
fn loud_thefts_from_a_team_are_refused() {
    check_loud(Workload::Team, Workload::Team);
}

#[test]
fn loud_thefts_from_a_public_app_are_refused() {
    check_loud(Workload::PublicApp, Workload::PublicApp);
}

#[test]
fn loud_thefts_are_refused_when_nothing_is_declared() {
    for workload in OWNERS {
        check_loud(workload, Workload::Unknown);
    }
}

/// The careful kinds are only partly visible; what is measured here is documented, not promised.
#[test]
fn careful_thefts_are_noticed_where_the_theory_allows() {
    for (theft, workload, seen_min) in [
        (Theft::ModelUpgrade, Workload::Service, 4),
        (Theft::ModelUpgrade, Workload::Pool, 4),
        (Theft::QuietSharing, Workload::Service, 3),
    ] {
        let seen = (1..=4)
            .filter(|&seed| {
                let outcome = play(workload, workload, theft, seed);
                assert_eq!(outcome.owner_refused, 0);
                outcome.notices + outcome.alerts > 0
            })
            .count();
        assert!(seen >= seen_min, "{theft:?} {workload:?}: {seen} of 4");
    }
}
