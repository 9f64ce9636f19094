//! Determinism: replays, restores, interleavings and shards give the same findings, bit for bit.

use proptest::prelude::*;
use tokenwatch_detect::{Engine, Fleet, InFlight, KeyProfile, KeyState};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::Finding;
use tokenwatch_model::key::Workload;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::time::HOUR;

use crate::thieves::{Theft, calls};
use crate::world::{Dice, Owner, day, event, key, request};

/// Events of three keys over 12 days, with a theft on each, in order of time.
fn story(seed: u64) -> Vec<UsageEvent> {
    let mut events = Vec::new();
    for (n, workload) in [Workload::Service, Workload::Team, Workload::Pool].into_iter().enumerate() {
        let mut owner = Owner::new(workload, seed + n as u64);
        let mut all = Vec::new();
        for at in 0..12 {
            all.extend(owner.day(at, true));
        }
        let theft = [Theft::SmashAndGrab, Theft::Recheckers, Theft::QuietSharing][n];
        all.extend(calls(theft, &owner, day(9).plus(3 * HOUR), seed));
        all.sort_by_key(|call| call.time);
        for (i, call) in all.iter().enumerate() {
            let refused = (i % 97 == 0).then_some(Refusal::ContextRefused);
            events.push(event(key(n as u64), i as u64 + 1, call, refused));
        }
    }
    events.sort_by_key(|event| (event.request.time, event.request.key));
    events
}

fn fleet() -> Fleet {
    let mut fleet = Fleet::new(Engine::default());
    fleet.declare(key(1), KeyProfile { workload: Workload::Team, ..KeyProfile::default() });
    fleet
}

/// The bits, not just the values: floats are compared by their bytes.
fn bytes(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{finding:?} {:x}", finding.once_in_days.to_bits())).collect()
}

fn run(fleet: &mut Fleet, events: &[UsageEvent]) -> Vec<Finding> {
    events.iter().flat_map(|event| fleet.observe(event)).collect()
}

#[test]
fn a_restored_snapshot_continues_as_if_nothing_had_happened() {
    let events = story(3);
    let mut whole = fleet();
    let want = run(&mut whole, &events);
    assert!(want.len() > 10);
    for cut in [1, events.len() / 3, events.len() * 3 / 4, events.len() - 1] {
        let mut first = fleet();
        let mut got = run(&mut first, &events[..cut]);
        let mut second = fleet();
        second.restore(first.snapshot()).unwrap();
        // The journal overlaps the snapshot: what was observed is skipped.
        got.extend(run(&mut second, &events[cut.saturating_sub(50)..]));
        assert_eq!(bytes(&got), bytes(&want), "cut at {cut}");
        assert_eq!(second.snapshot(), whole.snapshot());
    }
}

#[test]
fn keys_do_not_influence_each_other() {
    let events = story(5);
    let mut together = fleet();
    let mut want = run(&mut together, &events);
    let mut apart = fleet();
    let mut got = Vec::new();
    for n in (0..3).rev() {
        let own: Vec<UsageEvent> =
            events.iter().filter(|event| event.request.key == key(n)).cloned().collect();
        got.extend(run(&mut apart, &own));
    }
    want.sort_by_key(|finding| (finding.key, finding.time));
    got.sort_by_key(|finding| (finding.key, finding.time));
    assert_eq!(bytes(&got), bytes(&want));
    assert_eq!(together.snapshot(), apart.snapshot());
}

#[test]
fn duplicates_change_nothing() {
    let events = story(7);
    let mut once = fleet();
    let want = run(&mut once, &events);
    let mut twice = fleet();
    let doubled: Vec<UsageEvent> = events.iter().flat_map(|event| [event.clone(), event.clone()]).collect();
    assert_eq!(bytes(&run(&mut twice, &doubled)), bytes(&want));
    assert_eq!(once.snapshot(), twice.snapshot());
}

#[test]
fn judging_changes_nothing_and_agrees_with_observing() {
    let engine = Engine::default();
    let profile = KeyProfile::default();
    let mut state = KeyState::new();
    for event in story(11).iter().filter(|event| event.request.key == key(0)) {
        let before = state.encode();
        let verdict = engine.judge(&state, &profile, &event.request, InFlight::default());
        assert_eq!(before, state.encode());
        let again = engine.judge(&state, &profile, &event.request, InFlight::default());
        assert_eq!(verdict, again);
        engine.observe(&mut state, &profile, event);
    }
}

#[test]
fn states_survive_encoding() {
    let mut fleet = fleet();
    run(&mut fleet, &story(13));
    for n in 0..3 {
        let state = fleet.state(key(n)).unwrap();
        assert_eq!(&KeyState::decode(&state.encode()).unwrap(), state);
    }
    assert_eq!(KeyState::decode(&KeyState::new().encode()), Ok(KeyState::new()));
}

#[test]
fn damaged_bytes_are_refused() {
    let mut fleet = fleet();
    run(&mut fleet, &story(17));
    let good = fleet.state(key(0)).unwrap().encode();
    assert!(KeyState::decode(&[]).is_err());
    let mut other = good.clone();
    other[0] = 99;
    assert_eq!(KeyState::decode(&other), Err(tokenwatch_detect::DecodeStateError::Version(99)));
    assert!(KeyState::decode(&good[..good.len() / 2]).is_err());
    let mut longer = good.clone();
    longer.push(0);
    assert!(KeyState::decode(&longer).is_err());
    // Any flipped byte is refused, or gives a state that can be used.
    let engine = Engine::default();
    let mut dice = Dice::new(1);
    for _ in 0..2_000 {
        let mut bytes = good.clone();
        let at = 1 + dice.below(bytes.len() as u64 - 1) as usize;
        bytes[at] ^= 1 << dice.below(8);
        if let Ok(mut state) = KeyState::decode(&bytes) {
            let call = Owner::new(Workload::Service, 1).call(40);
            engine.judge(&state, &KeyProfile::default(), &request(key(0), &call), InFlight::default());
            engine.observe(&mut state, &KeyProfile::default(), &event(key(0), 0, &call, None));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_cut_of_any_story_restores(seed in 0u64..1_000, share in 0.0f64..1.0) {
        let events = story(seed);
        let cut = (events.len() as f64 * share) as usize;
        let mut whole = fleet();
        let want = run(&mut whole, &events);
        let mut first = fleet();
        let mut got = run(&mut first, &events[..cut]);
        let mut second = fleet();
        second.restore(first.snapshot()).unwrap();
        got.extend(run(&mut second, &events[cut..]));
        prop_assert_eq!(bytes(&got), bytes(&want));
        prop_assert_eq!(second.snapshot(), whole.snapshot());
    }
}
