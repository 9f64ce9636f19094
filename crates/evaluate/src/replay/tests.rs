//! Replays of a tiny world: what is found, refused, counted.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use tokenwatch_detect::{Engine, KeyProfile};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::OwnerId;
use tokenwatch_model::time::{DAY, HOUR};

use super::{Beside, Counting, KeySummary, Replay, ReplayReport, Settings};
use crate::testing::Tiny;
use crate::world::World as _;

fn settings(learn_days: u32) -> Settings {
    Settings {
        learn_days,
        score_from: None,
        unknown: KeyProfile::default(),
        is_labelled: true,
        counting: Counting::No,
    }
}

/// Key 0 with an attack that starts on day 8, and key 1 left alone.
fn run(attack: usize, settings: Settings) -> ReplayReport {
    run_owned(attack, settings, None)
}

/// The same when the events say whose both keys are.
fn run_owned(attack: usize, settings: Settings, owner: Option<OwnerId>) -> ReplayReport {
    run_from(8 * DAY + 5 * HOUR, attack, Some(0), settings, owner)
}

/// The same when the stranger comes at another time, and is labelled or not.
fn run_from(
    after: u64,
    attack: usize,
    label: Option<u32>,
    settings: Settings,
    owner: Option<OwnerId>,
) -> ReplayReport {
    let world = Tiny::new(3, 2, 1);
    let start = world.start().plus(after);
    let own = |key| world.events(key, 11).into_iter().map(move |event| (event, key, None));
    let thief = world.theft(0, attack, 1, start, start.plus(DAY)).into_iter().map(|event| (event, 0, label));
    let mut all: Vec<(UsageEvent, usize, Option<u32>)> = own(0).chain(own(1)).chain(thief).collect();
    all.sort_by_key(|(event, ..)| event.request.time);
    let mut replay = Replay::new(Arc::new(Engine::default()), settings, HashMap::new(), vec!["theft".into()]);
    for (event, key, label) in all {
        let name = format!("key-{key}");
        let beside = Beside { key: &name, request: "as-written", owner, attack: label };
        replay.see(UsageEvent { key_seq: 0, ..event }, &beside);
    }
    replay.finish()
}

#[test]
fn a_stranger_is_refused_and_the_owner_is_not() {
    let report = run(0, settings(7));
    let [case] = report.cases.as_slice() else { panic!("{:?}", report.cases) };
    assert!(case.found && !case.in_learning);
    assert_eq!((case.key.as_str(), case.attack.as_str(), case.requests), ("key-0", "theft", Some(1)));
    assert_eq!(case.thief_served + case.thief_refused, case.thief_requests);
    assert!(case.thief_spent_usd < case.thief_offered_usd);
    let overall = &report.overall;
    assert_eq!((overall.owner_refused, overall.false_alarms.count), (0, 0));
    assert_eq!((overall.found.count, overall.precision.share), (1, 1.0));
    assert!(report.alerts.iter().all(|alert| alert.is_true == Some(true)));
}

#[test]
fn keys_of_one_owner_are_asked_about_each_others_newcomers() {
    let says_siblings = |owner: Option<u64>| {
        let report = run_owned(0, settings(7), owner.map(OwnerId::from_bits));
        assert!(report.cases.iter().all(|case| case.found));
        report.alerts.iter().any(|alert| {
            alert.reasons.iter().any(|reason| reason.what.starts_with("the owner's other key does not know"))
        })
    };
    assert!(says_siblings(Some(1)) && !says_siblings(None));
}

#[test]
fn a_copy_is_not_found() {
    let report = run(2, settings(7));
    assert!(report.cases.iter().all(|case| !case.found && case.thief_served == case.thief_requests));
    assert_eq!(report.overall.found.count, 0);
    let [case] = report.cases.as_slice() else { panic!("{:?}", report.cases) };
    assert!(case.highest_once_in_days < case.alert_once_in_days, "{case:?}");
}

#[test]
fn one_that_is_not_found_says_how_near_it_came() {
    let report = run(
        1,
        Settings {
            unknown: KeyProfile { false_alarms_per_year: 0.01, ..KeyProfile::default() },
            ..settings(7)
        },
    );
    let [case] = report.cases.as_slice() else { panic!("{:?}", report.cases) };
    assert!(!case.found && case.highest_once_in_days > 0.0, "{case:?}");
    assert!(case.highest_summary.as_ref().is_some_and(|text| text.starts_with("Unknown caller from ")));
    let sum: f64 = case.highest_reasons.iter().map(|reason| reason.nats).sum();
    assert!((sum - case.highest_once_in_days.ln()).abs() < 0.16, "{case:?}");
}

#[test]
fn days_of_learning_refuse_nothing_and_count_nothing() {
    let report = run(0, settings(10));
    assert!(report.cases.iter().all(|case| case.in_learning && case.thief_refused == 0));
    assert_eq!((report.overall.found.of, report.overall.thief_requests), (0, 0));
    assert_eq!(report.attacks.first().map(|attack| attack.in_learning), Some(1));
    assert!(report.overall.false_alarms.of < report.overall.learning_false_alarms.of);
}

#[test]
fn what_is_told_of_while_learning_is_vouched_for_unless_it_is_labelled() {
    // Somebody new comes on the last day of learning and stays for some hours of the first day that counts.
    let owner = run_from(6 * DAY + 21 * HOUR, 0, None, settings(7), None);
    assert!(owner.alerts.iter().any(|alert| alert.learning), "{:?}", owner.alerts);
    assert_eq!((owner.overall.owner_refused, owner.overall.false_alarms.count), (0, 0));
    let thief = run_from(6 * DAY + 21 * HOUR, 0, Some(0), settings(7), None);
    assert!(thief.cases.iter().all(|case| case.in_learning && case.thief_refused > 0), "{:?}", thief.cases);
}

#[test]
fn without_labels_it_is_a_dry_run() {
    let report = run(0, Settings { is_labelled: false, ..settings(7) });
    assert!(!report.alerts.is_empty());
    assert!(report.alerts.iter().all(|alert| alert.is_true.is_none() && !alert.reasons.is_empty()));
}

#[test]
fn kinds_are_ids_without_their_number() {
    for (attack, want) in [
        ("resale-12", "resale"),
        ("resale12", "resale"),
        ("t_7", "t"),
        ("4711", "4711"),
        ("", ""),
        ("a-b", "a-b"),
        ("resale-", "resale-"),
        ("T1", "T1"),
        ("T12", "T12"),
        ("T1-validate", "T1-validate"),
        ("T2-recheck", "T2-recheck"),
        ("T1-validate-3", "T1-validate"),
        ("p01-burst-17", "p01-burst"),
        ("wave-b2", "wave-b2"),
    ] {
        assert_eq!(super::report::kind_of(&attack.into()), want);
    }
}

#[test]
fn a_replay_in_full() {
    insta::assert_json_snapshot!(run(0, settings(7)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn counts_add_up(attack in 0usize..3, learn_days in 0u32..11) {
        let report = run(attack, settings(learn_days));
        prop_assert_eq!(&report, &run(attack, settings(learn_days)));
        let overall = &report.overall;
        let days = overall.false_alarms.of + overall.learning_false_alarms.of + overall.theft_days_owner_alerts.of;
        prop_assert!(days <= 22);
        let split = overall.false_alarms_with_alert.count + overall.false_alarms_only_refused.count;
        prop_assert_eq!(split, overall.false_alarms.count);
        let notices = |of: fn(&KeySummary) -> u64| report.per_key.iter().map(of).sum::<u64>();
        prop_assert_eq!(notices(|key| key.owner_notices), overall.owner_notices);
        prop_assert_eq!(notices(|key| key.thief_notices), overall.thief_notices);
        let owners: u64 = report.per_key.iter().map(|key| key.owner_requests).sum();
        let thieves: u64 = report.cases.iter().map(|case| case.thief_requests).sum();
        prop_assert_eq!(owners + thieves, report.events);
        for case in &report.cases {
            prop_assert_eq!(case.thief_served + case.thief_refused, case.thief_requests);
            prop_assert!(case.thief_spent_usd <= case.thief_offered_usd);
            prop_assert!(case.found || case.thief_refused == 0);
            let reached = case.highest_once_in_days >= case.alert_once_in_days;
            prop_assert!(case.thief_refused == 0 || reached, "{case:?}");
        }
    }
}

#[test]
fn the_fleets_own_rates_are_counted_and_then_used() {
    let with = |learn_days, counting| run(0, Settings { counting, ..settings(learn_days) });
    assert_eq!(with(7, Counting::No).fleet_rates, None);
    for (counting, used) in [(Counting::Only, false), (Counting::ThenUse, true)] {
        let report = with(7, counting);
        assert!(report.cases.iter().all(|case| case.found), "{counting:?}");
        let counted = report.fleet_rates.unwrap();
        assert_eq!(counted.used, used);
        let days = counted.machine_key_days + counted.people_key_days;
        // Two keys, without their first two days; until scoring begins, or to the end of day 10.
        let expected = if used { 2.0 * 5.0 } else { 2.0 * 9.0 };
        assert!((days - expected).abs() < 2.0, "{days} of {expected}");
    }
    let none = with(0, Counting::ThenUse).fleet_rates.unwrap();
    assert_eq!((none.used, none.newcomers, none.machine_key_days), (true, 0.0, 0.0));
}
