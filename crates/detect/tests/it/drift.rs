//! Drift: thieves who make themselves normal day by day, owners who grow, and days of an incident.

use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::finding::{Decision, Feedback, Says};
use tokenwatch_model::key::Workload;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::time::{HOUR, MINUTE};

use crate::story::{By, Mode, Story, owned};
use crate::thieves::{self, Theft};
use crate::world::{Agent, Call, Owner, Place, day, key};

const ALL: [Workload; 5] =
    [Workload::Service, Workload::Pool, Workload::Ci, Workload::Team, Workload::PublicApp];
/// The first day after the history.
const FIRST: u64 = 30;
/// What a thief starts with, against the owner.
const SHARE: f64 = 0.1;
/// A rented machine of a house that the owner never called from.
const RENTED: Place = Place { block: 0x61_0000, asn: 200_019, country: "MD", kind: NetworkKind::Hosting };

/// Somebody with software and prompts of its own on a rented machine.
fn stranger(usual: &Call) -> Call {
    Call {
        place: RENTED,
        agent: Agent { family: "axios", version: "1.7.4".into(), tls: 0xbad },
        template: 0xbad_0001,
        ..usual.clone()
    }
}

/// A house that honest workloads use too.
const HOUSE: Place = Place { block: 0x63_0000, asn: 16_276, country: "FR", kind: NetworkKind::Hosting };

/// A stranger with the owner's software.
fn guest(usual: &Call) -> Call {
    Call { agent: usual.agent.clone(), place: HOUSE, ..stranger(usual) }
}

/// Somebody with the owner's software, model and prompts on a new machine of the owner's own cloud.
fn twin(usual: &Call) -> Call {
    Call { place: Place { block: 0x62_0000, ..usual.place }, ..usual.clone() }
}

/// How many requests a rate gives on a day: the fraction is carried, so that growth is exact.
fn due(rate: f64, carried: &mut f64) -> usize {
    *carried += rate;
    let whole = carried.floor();
    *carried -= whole;
    whole as usize
}

/// A thief beside the owner for some days, who starts at a tenth of the owner's rate and grows daily.
fn check(
    workload: Workload,
    seed: u64,
    mode: Mode,
    (days, growth): (u64, f64),
    thief: Option<fn(&Call) -> Call>,
) -> Story {
    let (mut owner, mut story) = Story::trained(workload, seed);
    // One false alarm in four years: a quiet stranger is a question here, not yet an alert.
    story.profile.false_alarms_per_year = 0.25;
    // The thief draws from dice of its own, so that the owner does the same with and without it.
    let mut shadow = owner.clone();
    let (.., per_day, _) = owner.habits();
    let mut carried = 0.0;
    for at in FIRST..FIRST + days {
        let mut calls = owned(owner.day(at, false));
        if let Some(thief) = thief {
            let rate = per_day * SHARE * growth.powi((at - FIRST) as i32);
            for _ in 0..due(rate, &mut carried) {
                calls.push((By::Stranger, thief(&shadow.call(at))));
            }
        }
        story.pass_day(at, mode, calls);
    }
    story
}

/// Keys of machines, where a stranger's software alone is told of.
const MACHINES: [Workload; 3] = [Workload::Service, Workload::Pool, Workload::Ci];

#[test]
fn a_stranger_who_grows_three_percent_a_day_is_told_of_once_and_never_becomes_normal() {
    for (workload, seed) in MACHINES.into_iter().flat_map(|workload| [(workload, 31), (workload, 32)]) {
        let clean = check(workload, seed, Mode::Enforce, (60, 1.03), None);
        for mode in [Mode::Enforce, Mode::Observe] {
            let mut story = check(workload, seed, mode, (60, 1.03), Some(stranger));
            let named = format!("{workload:?} {seed} {mode:?}: {:#?}", story.outcome);
            let told: Vec<u64> = story.outcome.alerts.iter().map(|(at, _)| *at).collect();
            assert!(told.first() == Some(&FIRST) && told.len() <= 2, "{named}");
            assert_eq!((story.outcome.owner_refused, story.outcome.stranger_served), (0, 0), "{named}");
            // Not even where it was only watched: neither its callers nor its volume were taken over.
            assert_eq!(story.state.usual(), clean.state.usual(), "{named}");
            assert_eq!(story.state.known_counts(), clean.state.known_counts(), "{named}");
            let next = stranger(&Owner::new(workload, seed).call(FIRST + 60));
            assert!(!story.knows(&next), "{named}");
            assert_eq!(story.pass(FIRST + 60, mode, By::Stranger, &next), Decision::Refuse, "{named}");
        }
    }
}

#[test]
fn a_stranger_who_is_noticed_teaches_nothing_for_a_week_and_belongs_to_the_key_unless_somebody_answers() {
    // People bring networks of their own, and services join them, so one quiet stranger with their software is a
    // question to its owner and no alert. A question that nobody answers can not stay open for ever: the engine lets it go.
    for seed in 31..35 {
        let of_days = |days: u64, thief| check(Workload::Team, seed, Mode::Enforce, (days, 1.03), thief);
        let week = of_days(7, Some(guest));
        assert_eq!(week.outcome.notice_days.first(), Some(&FIRST), "{seed}: {:#?}", week.outcome);
        assert_eq!(week.state.usual(), of_days(7, None).state.usual(), "{seed}");
        let mut after = of_days(60, Some(guest));
        let next = guest(&Owner::new(Workload::Team, seed).call(FIRST + 60));
        assert!(after.knows(&next), "{seed}");
        assert!(after.outcome.alerts.is_empty() && after.outcome.owner_refused == 0, "{seed}");
        // An answer that comes late still counts: it is refused from then on, and its owner is not.
        let context = ContextMatch { asn: Some(HOUSE.asn), ..ContextMatch::default() };
        say(&mut after, FIRST + 60, context, Says::Theft);
        assert_eq!(after.pass(FIRST + 60, Mode::Enforce, By::Stranger, &next), Decision::Refuse, "{seed}");
    }
}

#[test]
fn a_thief_who_is_like_a_new_machine_of_the_owner_is_not_seen_and_does_no_harm_to_the_owner() {
    // The limit that is stated: same cloud, same software, same prompts is the owner as far as traffic can tell, and
    // volume alone hardly ever alerts. Budgets bound what it costs.
    for workload in ALL {
        let mut story = check(workload, 33, Mode::Enforce, (60, 1.03), Some(twin));
        let outcome = &story.outcome;
        assert!(outcome.alerts.is_empty() && outcome.stranger_refused == 0, "{workload:?}: {outcome:#?}");
        assert!(outcome.notice_days.is_empty(), "{workload:?}: {:?}", outcome.notice_days);
        assert_eq!(outcome.owner_refused, 0, "{workload:?}");
        // Its block became the key's own; somebody else's did not.
        let (mut owner, _) = Story::trained(workload, 33);
        let usual = owner.call(FIRST + 60);
        assert!(story.knows(&Call { place: Place { block: 0x62_0000, ..usual.place }, ..usual.clone() }));
        let other = stranger(&usual);
        assert!(!story.knows(&other));
        story.pass(FIRST + 60, Mode::Enforce, By::Stranger, &other);
        assert!(!story.knows(&other), "{workload:?}");
    }
}

#[test]
fn an_owner_who_grows_three_percent_a_day_for_four_months_is_never_paged() {
    for (workload, seed) in ALL.into_iter().flat_map(|workload| [(workload, 35), (workload, 36)]) {
        let (mut owner, mut story) = Story::trained(workload, seed);
        let mut carried = 0.0;
        for at in FIRST..FIRST + 120 {
            let mut calls = owner.day(at, false);
            let more = due(calls.len() as f64 * (1.03f64.powi((at - FIRST) as i32) - 1.0), &mut carried);
            for _ in 0..more {
                calls.push(owner.call(at));
            }
            story.pass_day(at, Mode::Enforce, owned(calls));
        }
        let outcome = &story.outcome;
        assert_eq!(outcome.owner_refused, 0, "{workload:?}");
        assert!(outcome.alerts.is_empty(), "{workload:?}: {:#?}", outcome.alerts);
        assert!(outcome.notice_days.is_empty(), "{workload:?}: {:?}", outcome.notice_days);
        // Rules on volume give notices, which page nobody, and growth alone does not give one every day.
        assert!(outcome.rule_days.len() <= 80, "{workload:?}: {} days", outcome.rule_days.len());
        let peak = story.state.usual().map_or(0, |usual| usual.requests_per_hour);
        assert!(peak > 50, "{workload:?}: the baseline followed, {peak} requests an hour");
    }
}

#[test]
fn the_days_of_an_incident_enter_neither_what_is_known_nor_the_maxima() {
    for (workload, mode) in MACHINES.into_iter().flat_map(|of| [(of, Mode::Enforce), (of, Mode::Observe)]) {
        let play = |theft: bool| {
            let (mut owner, mut story) = Story::trained(workload, 37);
            let thief = owner.clone();
            for at in FIRST..FIRST + 10 {
                let mut calls = owned(owner.day(at, false));
                if theft && at < FIRST + 3 {
                    // Thirty times the busiest hour of the owner, at any hour of three days.
                    let all = (0..3).flat_map(|day| calls_of_smash_and_grab(&thief, at, day));
                    calls.extend(all.map(|call| (By::Stranger, call)));
                }
                story.pass_day(at, mode, calls);
            }
            story
        };
        let (clean, hit) = (play(false), play(true));
        let named = format!("{workload:?} {mode:?}");
        assert!(!hit.outcome.alerts.is_empty() && hit.outcome.owner_refused == 0, "{named}");
        assert_eq!(hit.state.usual(), clean.state.usual(), "{named}");
        assert_eq!(hit.state.known_counts(), clean.state.known_counts(), "{named}");
    }
}

fn calls_of_smash_and_grab(owner: &Owner, at: u64, burst: u64) -> Vec<Call> {
    let start = day(at).plus(3 * HOUR + burst * 7 * HOUR);
    // One thief: the same seed gives it the same network and software each time.
    thieves::calls(Theft::SmashAndGrab, owner, start, 7)
}

#[test]
fn what_somebody_says_of_a_newcomer_outlasts_its_silence() {
    // Newcomers are forgotten after weeks of silence; a person's word is not.
    for (says, later) in [
        (None, Decision::Refuse),
        (Some(Says::Theft), Decision::Refuse),
        (Some(Says::Ours { until: day(FIRST + 7) }), Decision::Forward),
    ] {
        let (mut owner, mut story) = Story::trained(Workload::Service, 39);
        let call = stranger(&Call { time: day(FIRST).plus(HOUR), ..owner.call(FIRST) });
        assert_eq!(story.pass(FIRST, Mode::Enforce, By::Stranger, &call), Decision::Refuse);
        let context = story.outcome.alerts[0].1.actor.as_ref().unwrap().context.clone();
        if let Some(says) = says {
            say(&mut story, FIRST, context, says);
        }
        for at in FIRST..FIRST + 40 {
            story.pass_day(at, Mode::Enforce, owned(owner.day(at, false)));
        }
        assert_eq!(story.state.newcomers(), 0, "{says:?}");
        let again = Call { time: day(FIRST + 40).plus(HOUR), ..call };
        assert_eq!(story.pass(FIRST + 40, Mode::Enforce, By::Stranger, &again), later, "{says:?}");
        assert_eq!(story.outcome.owner_refused, 0, "{says:?}");
    }
}

/// A person's word in the middle of a day.
fn say(story: &mut Story, at: u64, context: ContextMatch, says: Says) {
    let time = day(at).plus(HOUR + MINUTE);
    story.engine.feedback(&mut story.state, &Feedback { key: key(0), time, context, says });
}
