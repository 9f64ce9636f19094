//! A fleet's own rates: counted without changing what is watched, and used afterwards.

use tokenwatch_detect::{Census, Config, Engine, FleetPriors, FleetRates, InFlight, KeyProfile, KeyState};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::Finding;
use tokenwatch_model::key::Workload;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::time::{HOUR, MINUTE};

use crate::thieves::{Theft, calls};
use crate::world::{Agent, Call, Owner, day, event, key, request};

const DAYS: u64 = 9;

/// A program of the owner's own in another language, on another machine of its network, with prompts of its own.
fn program(owner: &mut Owner, seed: u64, at: u64) -> Call {
    let call = owner.call(at);
    let mut place = call.place;
    place.block ^= 0x7700 + seed as u32;
    let agent = Agent { family: "openai-go", version: "3.8.0".to_owned(), tls: 9_000 + seed };
    Call { place, agent, template: 70_000 + seed, ..call }
}

/// Calls of a service for nine days, with such programs from some days on.
fn service(seed: u64, programs: impl Fn(u64) -> bool) -> (Owner, Vec<Call>) {
    let mut owner = Owner::new(Workload::Service, seed);
    let mut all: Vec<Call> = (0..DAYS).flat_map(|at| owner.day(at, false)).collect();
    for at in (0..DAYS).filter(|at| programs(*at)) {
        let first = program(&mut owner, seed * 100 + at, at);
        let times = (0..6).map(|n| day(at).plus(10 * HOUR + n * 5 * MINUTE));
        all.extend(times.map(|time| Call { time, ..first.clone() }));
    }
    all.sort_by_key(|call| call.time);
    (owner, all)
}

fn events(of: u64, calls: &[Call]) -> Vec<UsageEvent> {
    calls.iter().zip(1..).map(|(call, seq)| event(key(of), seq, call, None)).collect()
}

fn profile() -> KeyProfile {
    KeyProfile { workload: Workload::Service, ..KeyProfile::default() }
}

/// What is counted on so many services.
fn counted(services: u64, programs: impl Fn(u64) -> bool) -> FleetRates {
    let engine = Engine::default();
    let mut census = Census::new(&engine);
    for seed in 0..services {
        let mut state = KeyState::new();
        let (_, calls) = service(seed, &programs);
        for event in events(seed, &calls) {
            drop(census.observe(&engine, &mut state, &profile(), &event));
        }
    }
    census.rates().clone()
}

fn engine(rates: &FleetRates) -> Option<Engine> {
    let tables = FleetPriors::shipped().with_rates(rates).ok()?;
    Some(Engine::new(Config::default(), tables))
}

#[test]
fn a_census_changes_nothing_of_what_it_watches() {
    let (owner, mut all) = service(3, |at| at == 4);
    all.extend(calls(Theft::SmashAndGrab, &owner, day(7).plus(3 * HOUR), 5));
    all.sort_by_key(|call| call.time);
    let engine = Engine::default();
    let (mut watched, mut counted) = (KeyState::new(), KeyState::new());
    let mut census = Census::new(&engine);
    let mut told = 0;
    for event in events(3, &all) {
        let findings: Vec<Finding> = engine.observe(&mut watched, &profile(), &event);
        assert_eq!(findings, census.observe(&engine, &mut counted, &profile(), &event));
        told += findings.len();
    }
    assert!(told > 0 && census.rates().newcomers() > 0.0);
    assert_eq!(watched.encode(), counted.encode());
}

#[test]
fn what_a_fleet_does_every_week_is_ordinary_on_its_keys() {
    let restless = engine(&counted(12, |at| at == 5)).unwrap();
    let calm = engine(&counted(12, |_| false)).unwrap();
    let shipped = Engine::default();
    // A key that the count did not see.
    let (mut owner, all) = service(90, |_| false);
    let days = |engine: &Engine, call: &Call| {
        let mut state = KeyState::new();
        for event in events(90, &all) {
            drop(engine.observe(&mut state, &profile(), &event));
        }
        engine.judge(&state, &profile(), &request(key(90), call), InFlight::default()).once_in_days
    };
    let ours = Call { time: day(DAYS).plus(HOUR), ..program(&mut owner, 9_000, DAYS - 1) };
    let by = [&restless, &shipped, &calm].map(|engine| days(engine, &ours));
    assert!(by[0] < by[1] / 4.0, "the fleet's own programs: {by:?}");
    assert!(by[2] >= by[1], "a fleet without such programs: {by:?}");
    let thief = calls(Theft::SmashAndGrab, &owner, day(DAYS).plus(HOUR), 5);
    let by = [&restless, &shipped].map(|engine| days(engine, &thief[0]));
    assert!(by[0] > by[1] / 20.0 && by[0] > 100.0, "a thief is still one: {by:?}");
}

#[test]
fn what_was_refused_or_defines_a_key_is_not_counted() {
    let (_, all) = service(3, |at| at <= 1);
    let engine = Engine::default();
    let run = |refused: Option<Refusal>, calls: &[Call]| {
        let (mut state, mut census) = (KeyState::new(), Census::new(&engine));
        for (call, seq) in calls.iter().zip(1..) {
            let is_program = call.agent.family == "openai-go";
            let event = event(key(3), seq, call, refused.filter(|_| is_program));
            drop(census.observe(&engine, &mut state, &profile(), &event));
        }
        census.rates().newcomers()
    };
    assert_eq!(run(None, &all), 0.0, "programs of the first two days");
    let (_, all) = service(3, |at| at == 5);
    assert_eq!(run(Some(Refusal::Judged), &all), 0.0);
    assert!((run(None, &all) - 1.0).abs() < 1e-6, "six requests of one newcomer");
}

#[test]
fn one_restless_key_does_not_speak_for_a_fleet() {
    // Seven programs, of two types: the first ones' software is new to the key, the later ones' is known by its family.
    let rates = counted(1, |at| at >= 2);
    let written = serde_json::to_value(&rates).unwrap();
    let met = written["newcomers"].as_array().unwrap().iter().map(|row| row["met"].as_f64().unwrap());
    let met: Vec<f64> = met.filter(|met| *met > 0.0).collect();
    assert!(met.len() == 2 && met.iter().all(|met| *met <= 2.1), "{met:?}");
}
