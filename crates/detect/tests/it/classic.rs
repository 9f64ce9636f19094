//! The classic methods through the public interface: the same bits again, robust against what events can hold,
//! and each sees what it is meant to see.

#![expect(clippy::unwrap_used, reason = "a test that can not go on stops")]

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use tokenwatch_detect::KeyProfile;
use tokenwatch_detect::calibrate::ReturnPeriods;
use tokenwatch_detect::classic::{self, NAMES, Recurrent, RecurrentSettings, Scope, Training};
use tokenwatch_detect::combined::{Combined, Part};
use tokenwatch_detect::method::{Layered, Method, Watch};
use tokenwatch_detect::series::VolumeSeries;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::key::Workload;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::time::{HOUR, Timestamp};

use crate::thieves::{Theft, calls};
use crate::world::{Dice, Owner, day, event, key};

const DAYS: u64 = 14;

/// The events of an owner without changes, and the owner after them.
fn clean(n: u64, days: u64) -> (Vec<UsageEvent>, Owner) {
    let workload = [Workload::Service, Workload::Team, Workload::Pool][n as usize % 3];
    let mut owner = Owner::new(workload, 1_000 + n);
    let calls: Vec<_> = (0..days).flat_map(|at| owner.day(at, false)).collect();
    let events = calls.iter().enumerate().map(|(i, call)| event(key(n), i as u64 + 1, call, None)).collect();
    (events, owner)
}

fn training(seed: u64) -> Training {
    let mut training = Training::new(seed);
    for n in 0..12 {
        for event in clean(n, DAYS).0 {
            training.see(event.request.key, &KeyProfile::default(), &event);
        }
        training.finish(key(n));
    }
    training
}

/// All methods, trained once for all tests; the networks shortly, because unoptimised code is slow.
fn methods() -> &'static [Box<dyn Method>] {
    static METHODS: OnceLock<Vec<Box<dyn Method>>> = OnceLock::new();
    METHODS.get_or_init(make)
}

fn make() -> Vec<Box<dyn Method>> {
    let training = training(1);
    let make = |name: &&str| -> Box<dyn Method> {
        let scope = if name.ends_with("_novelty") { Scope::Novelty } else { Scope::Usage };
        let shortly = RecurrentSettings { epochs: 2, batch: 4, ..RecurrentSettings::new(scope) };
        match name.starts_with("lstm") {
            true => Box::new(Recurrent::train(&training, 1, &shortly).unwrap()),
            false => classic::from_name(name, &training, 1).unwrap(),
        }
    };
    let volume: Box<dyn Method> = Box::new(VolumeSeries);
    NAMES.iter().map(make).chain([volume]).collect()
}

fn watch(method: &dyn Method) -> Box<dyn Watch> {
    method.watch(&KeyProfile::default())
}

/// The bits of every score.
fn bits(watch: &mut dyn Watch, events: &[UsageEvent]) -> Vec<u64> {
    events.iter().map(|event| watch.see(event).max().to_bits()).collect()
}

fn highest(watch: &mut dyn Watch, events: &[UsageEvent]) -> f64 {
    events.iter().map(|event| watch.see(event).max()).fold(0.0, f64::max)
}

#[test]
fn every_name_makes_its_method_and_no_other_does() {
    // Two keys, because unoptimised code trains slowly.
    let mut training = Training::new(1);
    for event in [3, 6].into_iter().flat_map(|n| clean(n, DAYS).0) {
        training.see(event.request.key, &KeyProfile::default(), &event);
    }
    let made = classic::all(&training, 1).unwrap();
    let ids =
        |methods: &[Box<dyn Method>]| -> Vec<&str> { methods.iter().map(|method| method.id()).collect() };
    assert_eq!(ids(&made), NAMES);
    assert_eq!(ids(methods())[..NAMES.len()], NAMES);
    let error = classic::from_name("oracle", &Training::new(1), 1).err().unwrap().to_string();
    assert!(error.contains("oracle") && error.contains("isolation_forest_novelty"), "{error}");
    let error = classic::from_name("isolation_forest", &Training::new(1), 1).err().unwrap().to_string();
    assert!(error.contains("gave 0 hours"), "{error}");
}

#[test]
fn the_same_events_give_the_same_bits_in_forks_too() {
    let again = make();
    let (events, _) = clean(30, DAYS);
    for (method, again) in methods().iter().zip(&again) {
        let want = bits(&mut *watch(method.as_ref()), &events);
        assert_eq!(want, bits(&mut *watch(again.as_ref()), &events), "{}", method.id());
        let (first, rest) = events.split_at(events.len() / 2);
        let mut whole = watch(method.as_ref());
        bits(&mut *whole, first);
        let mut fork = whole.fork();
        // What the original sees afterwards is nothing to the fork.
        bits(&mut *whole, &rest[..rest.len() / 2]);
        assert_eq!(bits(&mut *fork, rest), want[first.len()..], "{}", method.id());
    }
}

#[test]
fn training_does_not_depend_on_how_keys_are_interleaved() {
    let mut together = Training::new(1);
    let mut events: Vec<UsageEvent> = (0..12).rev().flat_map(|n| clean(n, DAYS).0).collect();
    events.sort_by_key(|event| event.request.time);
    for event in &events {
        together.see(event.request.key, &KeyProfile::default(), event);
    }
    let (events, _) = clean(31, DAYS);
    let scores = |training: &Training, seed: u64| {
        let method = classic::from_name("isolation_forest_novelty", training, seed).unwrap();
        bits(&mut *watch(method.as_ref()), &events)
    };
    let apart = scores(&training(1), 1);
    assert_eq!(apart, scores(&together, 1));
    assert_ne!(apart, scores(&training(1), 2), "the seed means nothing");
}

#[test]
fn duplicates_and_absurd_times_change_nothing() {
    let (events, _) = clean(32, DAYS);
    for method in methods() {
        let want = bits(&mut *watch(method.as_ref()), &events);
        let mut disturbed = watch(method.as_ref());
        let got: Vec<u64> = events
            .iter()
            .enumerate()
            .map(|(i, event)| {
                let score = disturbed.see(event).max().to_bits();
                assert_eq!(disturbed.see(event).max(), 0.0, "a duplicate scored");
                let mut odd = event.clone();
                odd.key_seq = 0;
                odd.cost = NanoUsd::MAX;
                odd.usage.input = u64::MAX;
                let backwards =
                    [Timestamp::default(), Timestamp(event.request.time.0 - 2 * HOUR), Timestamp(u64::MAX)];
                odd.request.time = backwards[i % 3];
                // The first event defines the key's time, whatever it is.
                assert_eq!(disturbed.see(&odd).max(), 0.0, "an absurd time scored");
                score
            })
            .collect();
        assert_eq!(got, want, "{}", method.id());
    }
}

/// Highest score of three usual days, and of the same days with a theft at the end of the second.
fn with_theft(method: &dyn Method, n: u64, theft: Theft) -> (f64, f64) {
    let (events, owner) = clean(n, DAYS + 3);
    let (past, future) = events.split_at(events.partition_point(|event| event.request.time < day(DAYS)));
    let mut clean_watch = watch(method);
    highest(&mut *clean_watch, past);
    let mut watch = clean_watch.fork();
    let stolen = calls(theft, &owner, day(DAYS + 1).plus(3 * HOUR), 5);
    let mut mixed: Vec<UsageEvent> = future.to_vec();
    mixed.extend(stolen.iter().map(|call| event(key(n), 0, call, None)));
    mixed.sort_by_key(|event| event.request.time);
    (highest(&mut *clean_watch, future), highest(&mut *watch, &mixed))
}

#[track_caller]
fn check_theft(theft: Theft, name: &str, sees: bool) {
    let method = methods().iter().find(|method| method.id() == name).unwrap();
    let found = (33..45).filter(|&n| {
        let (usual, stolen) = with_theft(method.as_ref(), n, theft);
        stolen > usual
    });
    let found = found.count();
    assert!(if sees { found >= 10 } else { found <= 6 }, "{name} saw {found} of 12 of {theft:?}");
}

#[test]
fn a_flood_is_seen_by_all() {
    for method in methods() {
        check_theft(Theft::SmashAndGrab, method.id(), true);
    }
}

#[test]
fn few_calls_from_elsewhere_are_seen_only_by_what_looks_at_callers() {
    check_theft(Theft::Recheckers, "isolation_forest_novelty", true);
    check_theft(Theft::Recheckers, "lstm_novelty", true);
    check_theft(Theft::Recheckers, "static_limits", false);
    check_theft(Theft::Recheckers, "statistics", false);
}

#[test]
fn refused_requests_count_for_nothing() {
    let (events, _) = clean(46, DAYS);
    for method in methods() {
        let want = bits(&mut *watch(method.as_ref()), &events);
        let mut refusing = watch(method.as_ref());
        let got: Vec<u64> = events
            .iter()
            .map(|event| {
                let score = refusing.see(event).max().to_bits();
                let mut refused = event.clone();
                refused.key_seq = 0;
                refused.outcome = Outcome::Refused(Refusal::Suspended);
                (0..3).for_each(|_| assert_eq!(refusing.see(&refused).max(), 0.0));
                score
            })
            .collect();
        assert_eq!(got, want, "{}", method.id());
    }
}

#[test]
fn memory_is_bounded_whatever_is_sent() {
    let mut dice = Dice::new(9);
    let (mut events, _) = clean(47, 2);
    for (i, event) in events.iter_mut().enumerate() {
        event.request.time = day(0).plus(i as u64 * HOUR / 2);
    }
    let template = events[0].clone();
    for i in 0..20_000u64 {
        let mut event = template.clone();
        event.key_seq = 0;
        event.request.id = tokenwatch_model::id::RequestId::from_bits(dice.bits().into());
        event.request.time = day(10).plus(i * HOUR / 20);
        event.request.shape.template = dice.bits();
        event.request.client.tls = dice.bits();
        event.request.client.version = format!("{}", dice.bits()).into();
        event.request.client.family = format!("{}", dice.bits()).into();
        event.request.model = format!("{}", dice.bits()).into();
        event.request.source.facts.asn = dice.bits() as u32;
        event.request.source.address = std::net::Ipv4Addr::from_bits(dice.bits() as u32).into();
        events.push(event);
    }
    for method in methods() {
        let mut watch = watch(method.as_ref());
        highest(&mut *watch, &events);
        let most = if method.id().ends_with("_novelty") { 8_192 } else { 5_120 };
        let bytes = watch.bytes();
        assert!((64..=most).contains(&bytes), "{}: {bytes} bytes", method.id());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn scores_are_numbers_from_zero_on(
        parts in proptest::collection::vec((0u64..200 * HOUR, any::<(u64, u64, u64, u16, bool)>()), 1..400),
    ) {
        let (events, _) = clean(48, 1);
        let template = &events[0];
        let mut time = day(0).0;
        let events: Vec<UsageEvent> = parts
            .into_iter()
            .map(|(step, (input, output, cost, status, wild))| {
                let mut event = template.clone();
                event.key_seq = 0;
                time += step / 50;
                event.request.time = Timestamp(if wild && step % 5 == 0 { step.wrapping_mul(cost) } else { time });
                event.request.id = tokenwatch_model::id::RequestId::from_bits(u128::from(cost) << 64 | u128::from(input));
                (event.usage.input, event.usage.output, event.cost) = (input, output, NanoUsd(cost));
                event.status = status;
                event
            })
            .collect();
        for method in methods() {
            let mut watch = watch(method.as_ref());
            for event in &events {
                let score = watch.see(event);
                prop_assert!(score.before == 0.0 && score.after >= 0.0 && score.after.is_finite(), "{}: {score:?}", method.id());
            }
        }
    }
}

#[test]
fn parts_share_one_budget() {
    let method =
        |name: &str| -> Arc<dyn Method> { Arc::from(classic::from_name(name, &training(1), 1).unwrap()) };
    // Clean keys other than those of the training say what scores mean.
    let calibrate = |method: &dyn Method| {
        let mut maxima = Vec::new();
        for n in 50..70 {
            let mut watch = watch(method);
            let (events, _) = clean(n, DAYS);
            for day in events.chunk_by(|a, b| a.request.time.day() == b.request.time.day()) {
                maxima.push(highest(&mut *watch, day));
            }
        }
        ReturnPeriods::fit(&maxima, 20.0 * DAYS as f64).unwrap()
    };
    let part = |method: Arc<dyn Method>, share| {
        let periods = Some(calibrate(method.as_ref()));
        Part { method, periods, share }
    };
    let layered = |share| Part { method: Arc::new(Layered::new(Arc::default())), periods: None, share };
    let both = Combined::new(vec![layered(0.8), part(method("isolation_forest_novelty"), 0.2)]).unwrap();
    let (usual, stolen) = with_theft(&both, 33, Theft::Recheckers);
    assert!(usual < 365.0 && stolen > 1_460.0, "{usual} {stolen}");
    // A part that says nothing changes nothing but its share.
    let alone = Combined::new(vec![layered(0.8)]).unwrap();
    let (_, without) = with_theft(&alone, 33, Theft::Recheckers);
    assert!((without..=without + 0.2 * 280.0).contains(&stolen), "{without} {stolen}");
    for shares in [&[0.7, 0.4][..], &[0.5, 0.0], &[0.5, f64::NAN]] {
        let parts = shares.iter().map(|&share| layered(share)).collect();
        assert!(Combined::new(parts).is_err(), "{shares:?}");
    }
}
