//! Hostile input: endless cardinality, absurd values, times out of order. Nothing panics, memory is bounded,
//! and the owner keeps being served.

use proptest::prelude::*;
use tokenwatch_detect::{Engine, InFlight, KeyProfile, KeyState};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::Decision;
use tokenwatch_model::key::Workload;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::time::{DAY, HOUR, SECOND, Timestamp};
use tokenwatch_model::usage::TokenUsage;

use crate::thefts::trained;
use crate::world::{Agent, Call, Dice, Place, day, event, key, request};

/// Bytes beyond which a state is out of bounds, whatever was sent.
const STATE_MAX: usize = 16 * 1_024;

#[test]
fn a_million_distinct_values_do_not_grow_the_state() {
    let engine = Engine::default();
    let profile = KeyProfile::default();
    // Both for a key that learns from all of it, and for one that is attacked.
    for attacked in [false, true] {
        let (mut owner, mut state, _, mut seq) = trained(Workload::Service, Workload::Service, 1);
        if !attacked {
            state = KeyState::new();
        }
        let usual = owner.call(30);
        let mut dice = Dice::new(9);
        for i in 0..250_000u64 {
            let call = Call {
                time: day(30).plus(i * SECOND),
                place: Place { block: i as u32, asn: 1 + i as u32, country: "BR", kind: NetworkKind::Access },
                agent: Agent { family: "x", version: format!("{i}"), tls: dice.bits() },
                template: dice.bits() | 1,
                ..usual.clone()
            };
            seq += 1;
            let mut sent = event(key(0), seq, &call, attacked.then_some(Refusal::Judged));
            sent.request.client.family = format!("agent-{i}-{}", "y".repeat((i % 300) as usize)).into();
            sent.request.model = format!("model-{i}").into();
            engine.observe(&mut state, &profile, &sent);
        }
        let bytes = state.encode();
        assert!(bytes.len() < STATE_MAX, "{} bytes", bytes.len());
        assert_eq!(KeyState::decode(&bytes).as_ref(), Ok(&state));
        if attacked {
            let asked = request(key(0), &Call { time: day(33), ..usual.clone() });
            let verdict = engine.judge(&state, &profile, &asked, InFlight::default());
            assert_eq!(verdict.decision, Decision::Forward, "the owner is served through it all");
        }
    }
}

#[test]
fn times_out_of_order_do_not_corrupt() {
    let engine = Engine::default();
    let (mut owner, mut state, profile, mut seq) = trained(Workload::Service, Workload::Service, 2);
    let usual = owner.call(30);
    let stray = [
        Timestamp(0),
        Timestamp(1),
        Timestamp(u64::MAX),
        Timestamp::from_seconds(40_000_000_000),
        day(0),
        day(29),
        day(31),
        day(5_000),
    ];
    for (i, time) in stray.into_iter().enumerate() {
        seq += 1;
        engine.observe(&mut state, &profile, &event(key(0), seq, &Call { time, ..usual.clone() }, None));
        let back = day(30).plus(i as u64 * HOUR);
        seq += 1;
        engine.observe(
            &mut state,
            &profile,
            &event(key(0), seq, &Call { time: back, ..usual.clone() }, None),
        );
    }
    assert!(state.last_event() <= day(31));
    // Thirty days of history are still there: a normal day gives no volume findings.
    for call in owner.day(31, false) {
        seq += 1;
        let asked = request(key(0), &call);
        let verdict = engine.judge(&state, &profile, &asked, InFlight::default());
        assert_ne!(verdict.decision, Decision::Refuse);
        engine.observe(&mut state, &profile, &event(key(0), seq, &call, None));
    }
}

#[test]
fn a_clock_that_was_wrong_is_survived() {
    let engine = Engine::default();
    let (mut owner, mut state, profile, mut seq) = trained(Workload::Service, Workload::Service, 3);
    let usual = owner.call(30);
    for (from, count) in [(9_000, 50u64), (31, 400)] {
        for i in 0..count {
            seq += 1;
            let call = Call { time: day(from).plus(i * 60 * SECOND), ..usual.clone() };
            engine.observe(&mut state, &profile, &event(key(0), seq, &call, None));
        }
    }
    assert!(state.last_event() < day(32), "time went back to where the events are");
    assert!(KeyState::decode(&state.encode()).is_ok());
}

#[test]
fn absurd_numbers_saturate() {
    let engine = Engine::default();
    let profile = KeyProfile { monthly_cap: Some(NanoUsd::from_cents(1)), ..KeyProfile::default() };
    let (mut owner, mut state, _, mut seq) = trained(Workload::Team, Workload::Team, 4);
    let usual = owner.call(30);
    for i in 0..2_000u64 {
        seq += 1;
        let mut huge = event(key(0), seq, &Call { time: day(30).plus(i * HOUR / 8), ..usual.clone() }, None);
        huge.usage = TokenUsage {
            input: u64::MAX,
            cache_read: u64::MAX,
            cache_write: u64::MAX,
            cache_write_1h: u64::MAX,
            output: u64::MAX,
            reasoning: u64::MAX,
        };
        huge.cost = NanoUsd::MAX;
        huge.request.output_tokens_max = u64::MAX;
        huge.request.cost_worst = NanoUsd::MAX;
        for finding in engine.observe(&mut state, &profile, &huge) {
            assert!(finding.once_in_days.is_finite());
            assert!(finding.reasons.iter().all(|reason| reason.nats.is_finite()));
        }
    }
    assert!(state.encode().len() < STATE_MAX);
}

fn any_event() -> impl Strategy<Value = UsageEvent> {
    let time = prop_oneof![
        4 => (0u64..60 * DAY).prop_map(|us| day(0).plus(us)),
        1 => any::<u64>().prop_map(Timestamp),
    ];
    let place = (0u32..40, 0u32..6, 0usize..4, 0usize..6).prop_map(|(block, asn, country, kind)| Place {
        block,
        asn,
        country: ["", "US", "DE", "MD"][country],
        kind: [
            NetworkKind::Unknown,
            NetworkKind::Private,
            NetworkKind::Access,
            NetworkKind::Hosting,
            NetworkKind::Vpn,
            NetworkKind::Tor,
        ][kind],
    });
    let rest = (any::<u8>(), 0usize..3, 0u64..4, 0u64..6, 0usize..4, 0u16..600, any::<u64>(), any::<bool>());
    (time, place, rest, any::<u64>()).prop_map(|(time, place, rest, cost)| {
        let (host, family, tls, template, model, status, tokens, refused) = rest;
        let call = Call {
            time,
            place,
            host,
            agent: Agent { family: ["", "axios", "sdk"][family], version: "1".into(), tls },
            model: ["", "a", "b", "c"][model],
            endpoint: tokenwatch_model::provider::ENDPOINTS[usize::from(host) % 18],
            template,
            input: 10,
            output: 10,
            output_max: tokens,
            status,
        };
        let mut sent = event(key(0), 0, &call, refused.then_some(Refusal::Judged));
        sent.usage.input = tokens;
        sent.cost = NanoUsd(cost);
        sent
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_panics(events in proptest::collection::vec(any_event(), 1..200)) {
        let engine = Engine::default();
        let profile = KeyProfile::default();
        let mut state = KeyState::new();
        for sent in &events {
            let verdict = engine.judge(&state, &profile, &sent.request, InFlight { actor: 7, watched: 3 });
            prop_assert!(!verdict.once_in_days.is_nan());
            for finding in engine.observe(&mut state, &profile, sent) {
                prop_assert!(!finding.once_in_days.is_nan());
                prop_assert!(finding.actor.is_none_or(|actor| !actor.context.matches(&sent.request)
                    || !state.knows(&sent.request) || finding.tier == tokenwatch_model::finding::Tier::Notice));
            }
        }
        prop_assert_eq!(KeyState::decode(&state.encode()), Ok(state));
    }
}
