//! Callers who come to keys of several owners.

use tokenwatch_detect::{Engine, KeyProfile, KeyState, Prowlers};
use tokenwatch_model::context::{Siblings, SiblingsKnow};
use tokenwatch_model::finding::{Actor, Tier};
use tokenwatch_model::id::OwnerId;
use tokenwatch_model::key::Workload;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{HOUR, MINUTE, Timestamp};

use crate::world::{Agent, Call, Place, day, event, key};

fn usual(n: u64, time: Timestamp) -> Call {
    Call {
        time,
        place: Place { block: 10 + n as u32, asn: 16_509, country: "US", kind: NetworkKind::Hosting },
        host: 3,
        agent: Agent { family: "openai-python", version: "1.52.0".into(), tls: 5 },
        model: "gpt-4o-mini",
        endpoint: Endpoint::ChatCompletions,
        template: 0x1111 * (n + 1),
        input: 500,
        output: 100,
        output_max: 500,
        status: 200,
    }
}

/// Another network, the software and the prompt of each key.
fn new_exit(n: u64, time: Timestamp) -> Call {
    let place = Place { block: 910, asn: 24_940, country: "US", kind: NetworkKind::Hosting };
    Call { place, ..usual(n, time) }
}

/// Another network and another prompt, the software of the keys: too little for an alert on one key.
fn prowler(n: u64, time: Timestamp) -> Call {
    Call { template: 0x9999, ..new_exit(n, time) }
}

struct Keys {
    engine: Engine,
    states: Vec<(KeyState, KeyProfile, u64)>,
    prowlers: Prowlers,
}

impl Keys {
    /// A month of keys with these owners.
    fn of(owners: &[Option<u64>]) -> Self {
        let engine = Engine::default();
        let key_of = |(n, owner): (usize, &Option<u64>)| {
            let owner = owner.map(OwnerId::from_bits);
            let profile = KeyProfile { workload: Workload::Service, owner, ..KeyProfile::default() };
            let (mut state, n) = (KeyState::new(), n as u64);
            for i in 0..30 * 72 {
                let call = usual(n, day(0).plus(i * 20 * MINUTE));
                engine.observe(&mut state, &profile, &event(key(n), i + 1, &call, None));
            }
            (state, profile, 30 * 72)
        };
        let states = owners.iter().enumerate().map(key_of).collect();
        Self { engine, states, prowlers: Prowlers::default() }
    }

    /// Whether a call is told of as one of a prowler.
    fn call(&mut self, n: u64, call: &Call, siblings: Siblings) -> bool {
        let (state, profile, seq) = &mut self.states[n as usize];
        *seq += 1;
        let mut done = event(key(n), *seq, call, None);
        done.request.siblings = siblings;
        self.engine.observe(state, profile, &done);
        let is_interested = Prowlers::is_interested(state, profile, &done);
        let told = self.prowlers.see(state, profile, &done);
        assert!(is_interested || told.is_none());
        if let Some(finding) = &told {
            assert_eq!(
                (finding.rule.as_str(), finding.tier, finding.key),
                ("many_owners", Tier::Alert, key(n))
            );
            let usual = event(key(n), 0, &usual(n, call.time), None).request;
            let is_the_callers =
                |actor: &Actor| actor.context.matches(&done.request) && !actor.context.matches(&usual);
            assert!(finding.actor.as_ref().is_some_and(is_the_callers));
        }
        told.is_some()
    }
}

const NOBODY: Siblings = Siblings { keys: 0, known: SiblingsKnow(0) };

/// Calls every key in turn, some times, and says on which it was told of.
#[track_caller]
fn check(
    owners: &[Option<u64>],
    call: fn(u64, Timestamp) -> Call,
    apart: u64,
    siblings: Siblings,
    want: &[(u64, u64)],
) {
    let mut keys = Keys::of(owners);
    let mut told = Vec::new();
    for turn in 0..3 {
        for n in 0..owners.len() as u64 {
            let at = day(30).plus((turn * owners.len() as u64 + n) * apart);
            if keys.call(n, &call(n, at), siblings) {
                told.push((turn, n));
            }
        }
    }
    assert_eq!(told, want);
}

#[test]
fn who_comes_to_three_owners_is_told_of_once_on_each_key() {
    let three = [Some(1), Some(2), Some(3)];
    check(&three, prowler, MINUTE, NOBODY, &[(0, 2), (1, 0), (1, 1)]);
    // Two owners are too few, and so is one with many keys, and keys whose owner nobody knows.
    check(&three[..2], prowler, MINUTE, NOBODY, &[]);
    check(&[Some(1); 5], prowler, MINUTE, NOBODY, &[]);
    check(&[None; 5], prowler, MINUTE, NOBODY, &[]);
    // More than a day apart.
    check(&three, prowler, 13 * HOUR, NOBODY, &[]);
}

#[test]
fn an_exit_that_all_teams_get_is_not_told_of() {
    let four = [Some(1), Some(2), Some(3), Some(4)];
    check(&four, new_exit, MINUTE, NOBODY, &[]);
    // Where a key of the owner knows the block, it is no stranger.
    check(&four, prowler, MINUTE, Siblings { keys: 1, known: SiblingsKnow::PREFIX }, &[]);
}

#[test]
fn what_is_followed_is_bounded() {
    let mut keys = Keys::of(&[Some(1)]);
    for i in 0..6_000u32 {
        let mut call = prowler(0, day(30).plus(u64::from(i) * 1_000_000));
        call.place.block = 2_000 + i;
        call.place.asn = 100_000 + i;
        keys.call(0, &call, NOBODY);
    }
    assert!((1..=4_096).contains(&keys.prowlers.len()), "{}", keys.prowlers.len());
}
