//! Time: the first hour of a key, its successor, events that come twice, late or with times that can not be, and
//! owners whose clocks move.

use proptest::prelude::*;
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::finding::{Decision, Feedback, Says, Tier};
use tokenwatch_model::key::Workload;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::time::{DAY, HOUR, MINUTE, SECOND, Timestamp};

use crate::story::{By, Mode, Outcome, Story, owned};
use crate::thieves::{Theft, calls};
use crate::world::{Agent, Call, Owner, Place, day, event, key};

const ALL: [Workload; 5] =
    [Workload::Service, Workload::Pool, Workload::Ci, Workload::Team, Workload::PublicApp];
/// The first day after the history.
const FIRST: u64 = 30;
const YEAR: u64 = 365 * DAY;

/// Somebody with software, a model and prompts of its own on a rented machine.
fn stranger(usual: &Call) -> Call {
    Call {
        place: Place { block: 0x61_0000, asn: 200_019, country: "MD", kind: NetworkKind::Hosting },
        agent: Agent { family: "axios", version: "1.7.4".into(), tls: 0xbad },
        model: "gpt-5-pro",
        template: 0xbad_0001,
        ..usual.clone()
    }
}

/// A week of an owner after thirty days of history; `bend` says in which order and with which times a day's calls come.
fn check(workload: Workload, seed: u64, bend: impl Fn(u64, Vec<Call>) -> Vec<Call>) -> Story {
    let (mut owner, mut story) = Story::trained(workload, seed);
    for at in FIRST..FIRST + 7 {
        for call in bend(at, owner.day(at, false)) {
            story.pass(at, Mode::Enforce, By::Owner, &call);
        }
    }
    story
}

/// Nobody was told of anything and nobody was refused; at most so many days had a notice of a newcomer.
#[track_caller]
fn assert_quiet(outcome: &Outcome, notice_days: usize, named: &str) {
    assert_eq!(outcome.owner_refused, 0, "{named}");
    assert!(outcome.alerts.is_empty(), "{named}: {:#?}", outcome.alerts);
    assert!(outcome.notice_days.len() <= notice_days, "{named}: {:?}", outcome.notice_days);
}

// The first hour.

/// A service's first hour: a request each five minutes.
fn first_hour() -> (Call, Story) {
    let usual = Owner::new(Workload::Service, 41).call(0);
    let mut story = Story::new(Workload::Service);
    for i in 0..12 {
        let call = Call { time: day(0).plus(9 * HOUR + i * 5 * MINUTE), ..usual.clone() };
        story.pass(0, Mode::Enforce, By::Owner, &call);
    }
    assert_quiet(&story.outcome, 0, "the first hour");
    (usual, story)
}

#[test]
fn whoever_comes_in_the_first_hour_defines_the_key() {
    // Before there is an owner nobody can be strange. A second caller is served like the first and becomes the key's
    // own; that is the price of a key that works when it is issued, and what a narrow scope is for.
    let (usual, mut story) = first_hour();
    for i in 0..30 {
        let call = Call { time: day(0).plus(9 * HOUR + (30 + i) * MINUTE), ..stranger(&usual) };
        assert_eq!(story.pass(0, Mode::Enforce, By::Stranger, &call), Decision::Forward);
    }
    assert!(story.knows(&stranger(&usual)) && story.outcome.alerts.is_empty());
}

#[test]
fn in_the_first_hour_only_loud_facts_speak() {
    let (usual, story) = first_hour();
    let at = day(0).plus(10 * HOUR);
    let call = Call { time: at, ..stranger(&usual) };
    // A key that was found in public: strangers who come after that are newcomers.
    let mut leaked = story.clone();
    leaked.profile.leaked = Some(at);
    leaked.pass(0, Mode::Enforce, By::Stranger, &call);
    assert_eq!(leaked.outcome.stranger_refused, 1, "{:#?}", leaked.outcome);
    assert!(!leaked.knows(&call));
    // A theft that somebody confirmed.
    let mut stolen = story.clone();
    let context = ContextMatch { asn: Some(200_019), ..ContextMatch::default() };
    let feedback = Feedback { key: key(0), time: at, context, says: Says::Theft };
    stolen.engine.feedback(&mut stolen.state, &feedback);
    assert_eq!(stolen.pass(0, Mode::Enforce, By::Stranger, &call), Decision::Refuse);
    assert!(!stolen.knows(&call));
    // A key that nobody may use.
    let mut canary = story;
    canary.profile.canary = true;
    assert_eq!(canary.pass(0, Mode::Enforce, By::Stranger, &call), Decision::Refuse);
    assert!(!canary.knows(&call));
    for story in [leaked, stolen] {
        let usual = Call { time: at.plus(MINUTE), ..usual.clone() };
        assert_eq!(story.judge(&usual), Decision::Forward, "the owner is served all the while");
    }
}

#[test]
fn a_thief_who_checks_a_key_in_its_first_hour_is_noticed_by_rule() {
    let (_, mut story) = first_hour();
    for call in calls(Theft::Validation, &Owner::new(Workload::Service, 41), day(0).plus(10 * HOUR), 3) {
        assert_eq!(story.pass(0, Mode::Enforce, By::Stranger, &call), Decision::Forward);
    }
    assert_eq!(story.outcome.rule_days, [0]);
    assert!(story.outcome.alerts.is_empty());
}

// Rotation.

#[test]
fn a_successor_learns_its_owner_anew_and_pages_nobody() {
    // A key is rotated by issuing another and moving the applications: the engine carries nothing over, neither what
    // is known nor what was stolen. The owner's first day defines the successor like any key.
    for workload in ALL {
        let (mut owner, old) = Story::trained(workload, 43);
        let mut next = Story::new(workload);
        for at in FIRST..FIRST + 30 {
            next.pass_day(at, Mode::Enforce, owned(owner.day(at, false)));
        }
        assert_quiet(&next.outcome, 2, &format!("{workload:?}"));
        assert_eq!(old.profile, next.profile);
        if !matches!(workload, Workload::Team | Workload::PublicApp) {
            // And what was the thief of the old key is the stranger of the new one.
            let call = stranger(&owner.call(FIRST + 30));
            assert_eq!(next.judge(&call), Decision::Refuse, "{workload:?}");
        }
    }
}

#[test]
fn a_stranger_who_was_told_of_gains_nothing_by_staying_away() {
    for (workload, silence) in [Workload::Service, Workload::Pool, Workload::Ci]
        .into_iter()
        .flat_map(|workload| [2, 5, 8, 14, 20, 27, 29, 40].map(|silence| (workload, silence)))
    {
        let (mut owner, mut story) = Story::trained(workload, 53);
        let call = Call { time: day(FIRST), ..stranger(&owner.call(FIRST)) };
        story.pass(FIRST, Mode::Enforce, By::Stranger, &call);
        for at in FIRST..FIRST + silence {
            story.pass_day(at, Mode::Enforce, owned(owner.day(at, false)));
        }
        let told = story.outcome.alerts.len();
        let again = Call { time: day(FIRST + silence).plus(MINUTE), ..call };
        let decision = story.pass(FIRST + silence, Mode::Enforce, By::Stranger, &again);
        assert_eq!(decision, Decision::Refuse, "{workload:?} after {silence} days");
        assert_eq!(story.outcome.alerts.len(), told + 1, "{workload:?} after {silence} days");
        assert!(!story.knows(&again), "{workload:?} after {silence} days");
    }
}

#[test]
fn a_key_that_its_owner_has_left_still_knows_strangers() {
    // The old key stays in use by nobody for weeks, then the thief comes.
    for silence in [1, 20, 60, 400] {
        let (mut owner, mut story) = Story::trained(Workload::Service, 45);
        let at = FIRST + silence;
        let call = stranger(&owner.call(at));
        assert_eq!(story.pass(at, Mode::Enforce, By::Stranger, &call), Decision::Refuse, "{silence}");
        assert_eq!(story.judge(&owner.call(at + 1)), Decision::Forward, "{silence}");
    }
}

// Events twice, late, early.

#[test]
fn events_that_come_twice_tell_nobody() {
    // With an ordinal the second changes nothing at all (see `invariants`); without one, as in logs, it counts twice.
    for workload in ALL {
        let (mut owner, mut story) = Story::trained(workload, 47);
        let before = story.state.last_seq();
        for at in FIRST..FIRST + 7 {
            for call in owner.day(at, false) {
                for _ in 0..2 {
                    assert_ne!(story.judge(&call), Decision::Refuse, "{workload:?}");
                    let done = event(key(0), 0, &call, None);
                    let found = story.engine.observe(&mut story.state, &story.profile, &done);
                    assert!(
                        found.iter().all(|finding| finding.tier < Tier::Alert),
                        "{workload:?}: {found:#?}"
                    );
                }
            }
        }
        assert_eq!(story.state.last_seq(), before);
    }
}

/// Days whose events are shuffled by up to a delay: each arrives that much later than it happened.
fn late(by: u64) -> impl Fn(u64, Vec<Call>) -> Vec<Call> {
    move |at, calls| {
        let mut dice = crate::world::Dice::new(at);
        let mut calls: Vec<(u64, Call)> =
            calls.into_iter().map(|call| (call.time.0 + dice.below(by), call)).collect();
        calls.sort_by_key(|(arrives, _)| *arrives);
        calls.into_iter().map(|(_, call)| call).collect()
    }
}

#[test]
fn events_that_come_late_tell_nobody_and_lose_little() {
    for workload in ALL {
        let named = format!("{workload:?}");
        let in_time = check(workload, 49, |_, calls| calls);
        let peak = |story: &Story| story.state.usual().unwrap().requests_per_hour as f64;
        for by in [10 * MINUTE, 3 * HOUR, DAY] {
            let story = check(workload, 49, late(by));
            assert_quiet(&story.outcome, 0, &named);
            assert_eq!(story.state.known_counts(), in_time.state.known_counts(), "{named} {by}");
            assert!(peak(&story) <= peak(&in_time), "{named} {by}");
            if by == 10 * MINUTE {
                assert!(peak(&story) >= 0.8 * peak(&in_time), "{named}");
            }
        }
    }
}

#[test]
fn a_day_that_arrives_a_day_late_tells_nobody() {
    for workload in ALL {
        let (mut owner, mut story) = Story::trained(workload, 51);
        let (yesterday, today) = (owner.day(FIRST, false), owner.day(FIRST + 1, false));
        for call in today.into_iter().chain(yesterday) {
            story.pass(FIRST, Mode::Enforce, By::Owner, &call);
        }
        assert_quiet(&story.outcome, 0, &format!("{workload:?}"));
    }
}

/// A time, told from a day of the story.
type Odd = fn(u64) -> Timestamp;

/// Times at which an event of a day can not have happened.
const ODD: [(&str, Odd); 6] = [
    ("late by two days", |at| day(at - 2).plus(12 * HOUR)),
    ("before the key was born", |_| Timestamp(day(0).0 - YEAR)),
    ("the epoch", |_| Timestamp(0)),
    ("a second after the epoch", |_| Timestamp(SECOND)),
    ("a year ahead", |at| day(at).plus(YEAR)),
    ("the end of time", |_| Timestamp(u64::MAX)),
];

#[test]
fn a_stranger_is_one_whatever_the_clock_says() {
    for workload in [Workload::Service, Workload::Pool, Workload::Ci] {
        for (name, time) in ODD {
            let (mut owner, mut story) = Story::trained(workload, 53);
            story.pass_day(FIRST, Mode::Enforce, owned(owner.day(FIRST, false)));
            let call = Call { time: time(FIRST + 1), ..stranger(&owner.call(FIRST + 1)) };
            let named = format!("{workload:?} {name}");
            assert_eq!(story.pass(FIRST, Mode::Observe, By::Stranger, &call), Decision::Refuse, "{named}");
            assert!(!story.knows(&call), "{named}");
            let told = &story.outcome.alerts;
            assert!(told.len() == 1, "{named}: {told:#?}");
            // The clock is right again: it is still the same stranger, and the owner still the owner.
            let again = Call { time: day(FIRST + 1).plus(12 * HOUR), ..call };
            assert_eq!(story.pass(FIRST, Mode::Observe, By::Stranger, &again), Decision::Refuse, "{named}");
            assert!(!story.knows(&again), "{named}");
            story.pass_day(FIRST + 1, Mode::Enforce, owned(owner.day(FIRST + 1, false)));
            assert_eq!(story.outcome.owner_refused, 0, "{named}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_time_at_all_makes_a_stranger_the_owner(
        micros in prop_oneof![any::<u64>(), 0..2 * day(FIRST).0, day(FIRST - 3).0..day(FIRST + 60).0],
        times in 1usize..40,
    ) {
        let (mut owner, mut story) = Story::trained(Workload::Service, 54);
        let call = Call { time: Timestamp(micros), ..stranger(&owner.call(FIRST)) };
        for _ in 0..times {
            prop_assert_eq!(story.pass(FIRST, Mode::Observe, By::Stranger, &call), Decision::Refuse);
        }
        prop_assert!(!story.knows(&call));
        let told = Call { time: story.state.last_event(), ..call };
        prop_assert_eq!(story.judge(&told), Decision::Refuse);
    }
}

#[test]
fn a_newcomer_with_little_evidence_does_not_grow_old_by_a_wrong_clock() {
    // On trial for a day: neither an ancient nor a future time ends it, or makes it last for ever.
    for (name, time) in ODD {
        let (mut owner, mut story) = Story::trained(Workload::Service, 55);
        story.pass_day(FIRST, Mode::Enforce, owned(owner.day(FIRST, false)));
        let usual = owner.call(FIRST + 1);
        // The owner's software and models on a new machine of its cloud, with prompts of its own.
        let place = Place { block: 0x63_0000, ..usual.place };
        let newcomer = Call { place, template: 0x5151, ..usual };
        let odd = Call { time: time(FIRST + 1), ..newcomer.clone() };
        assert_ne!(story.pass(FIRST, Mode::Enforce, By::Stranger, &odd), Decision::Refuse, "{name}");
        let soon = Call { time: day(FIRST + 1).plus(HOUR), ..newcomer.clone() };
        story.pass(FIRST, Mode::Enforce, By::Stranger, &soon);
        assert!(!story.knows(&newcomer), "{name}: still on trial");
        for at in FIRST + 1..FIRST + 12 {
            story.pass_day(at, Mode::Enforce, owned(owner.day(at, false)));
            let call = Call { time: day(at + 1), ..newcomer.clone() };
            story.pass(at, Mode::Enforce, By::Stranger, &call);
        }
        assert!(story.knows(&newcomer), "{name}: no longer on trial");
        assert_eq!(story.state.newcomers(), 0, "{name}");
    }
}

#[test]
fn a_clock_that_is_wrong_for_long_opens_the_key_to_nobody() {
    // A server whose clock starts at the epoch, or years ago or ahead, serves for an hour before it is set right.
    for (name, wrong) in [
        ("the epoch", Timestamp(0)),
        ("a year ago", Timestamp(day(FIRST).0 - YEAR)),
        ("ten years ahead", day(FIRST).plus(10 * YEAR)),
    ] {
        for workload in [Workload::Service, Workload::Pool, Workload::Ci] {
            let named = format!("{workload:?} {name}");
            let (mut owner, mut story) = Story::trained(workload, 57);
            for i in 0..60 {
                let call = Call { time: wrong.plus(i * MINUTE), ..owner.call(FIRST) };
                story.pass(FIRST, Mode::Enforce, By::Owner, &call);
            }
            let call = Call { time: wrong.plus(HOUR), ..stranger(&owner.call(FIRST)) };
            assert_eq!(story.pass(FIRST, Mode::Enforce, By::Stranger, &call), Decision::Refuse, "{named}");
            for at in FIRST + 1..FIRST + 8 {
                story.pass_day(at, Mode::Enforce, owned(owner.day(at, false)));
            }
            assert_eq!(story.outcome.owner_refused, 0, "{named}: {:#?}", story.outcome.alerts);
            assert_eq!(story.outcome.alerts.len(), 1, "{named}: {:#?}", story.outcome.alerts);
            assert!(story.outcome.notice_days.len() <= 1, "{named}: {:?}", story.outcome.notice_days);
            assert!(story.state.last_event() < day(FIRST + 9), "{named}: time went back");
            let again = Call { time: day(FIRST + 8), ..call };
            assert!(!story.knows(&again), "{named}");
            assert_eq!(story.judge(&again), Decision::Refuse, "{named}");
        }
    }
}

// Clocks of people.

/// The same calls so many hours later (or earlier) than usual.
fn shifted(hours: i64) -> impl Fn(u64, Vec<Call>) -> Vec<Call> {
    move |_, calls| {
        let move_by = |call: Call| Call {
            time: Timestamp(call.time.0.wrapping_add_signed(hours * HOUR as i64)),
            ..call
        };
        calls.into_iter().map(move_by).collect()
    }
}

#[test]
fn daylight_saving_tells_nobody() {
    for (workload, hours) in ALL.into_iter().flat_map(|workload| [(workload, 1), (workload, -1)]) {
        for seed in 61..64 {
            let usual = check(workload, seed, |_, calls| calls).outcome;
            let story = check(workload, seed, shifted(hours));
            let named = format!("{workload:?} {hours:+} {seed}");
            assert_quiet(&story.outcome, usual.notice_days.len(), &named);
            assert!(story.outcome.rule_days.len() <= usual.rule_days.len() + 1, "{named}");
        }
    }
}

#[test]
fn a_team_that_moves_eight_time_zones_tells_nobody() {
    for (hours, country) in [(8, "SG"), (-8, "US")] {
        for seed in 65..69 {
            let named = format!("{hours:+} {country} {seed}");
            // The hours alone, and then the networks of the new country too.
            let story = check(Workload::Team, seed, shifted(hours));
            assert_quiet(&story.outcome, 1, &named);
            let moved = |at: u64, calls: Vec<Call>| {
                let there = |call: Call| {
                    let block = 0x64_0000 + call.place.block % 8;
                    let place = Place { block, asn: 9_506, country, kind: NetworkKind::Access };
                    Call { place, ..call }
                };
                shifted(hours)(at, calls.into_iter().map(there).collect())
            };
            let story = check(Workload::Team, seed, moved);
            assert_quiet(&story.outcome, 1, &named);
        }
    }
}
