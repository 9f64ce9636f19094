//! What the keys of one owner know together, and what it changes about a newcomer.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokenwatch_detect::{Engine, Household, InFlight, KeyProfile, KeyState};
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::context::{Siblings, SiblingsKnow};
use tokenwatch_model::finding::{Decision, Feedback, Says};
use tokenwatch_model::key::Workload;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{HOUR, MINUTE, Timestamp};

use crate::world::{Agent, Call, Place, day, event, key, request};

fn place(block: u32, asn: u32, country: &'static str, kind: NetworkKind) -> Place {
    Place { block, asn, country, kind }
}

/// The usual call of key number `n`: each has a network, software and a prompt of its own.
fn usual(n: u64, time: Timestamp) -> Call {
    let (family, asn) = [("openai-python", 16_509), ("openai-node", 24_940)][n as usize % 2];
    Call {
        time,
        place: place(10 + n as u32, asn, "US", NetworkKind::Hosting),
        host: 3,
        agent: Agent { family, version: format!("1.5{n}.0"), tls: 5 + n },
        model: "gpt-4o-mini",
        endpoint: Endpoint::ChatCompletions,
        template: 0x1111 * (n + 1),
        input: 500,
        output: 100,
        output_max: 500,
        status: 200,
    }
}

fn stranger(time: Timestamp) -> Call {
    Call {
        place: place(900, 200_019, "MD", NetworkKind::Vpn),
        agent: Agent { family: "axios", version: "1.7.4".into(), tls: 66 },
        template: 0x9999,
        model: "gpt-5-pro",
        ..usual(0, time)
    }
}

/// Keys of one owner behind a gateway.
#[derive(Default)]
struct Keys {
    engine: Engine,
    states: BTreeMap<u64, (KeyState, u64)>,
    household: Household,
}

/// Whether the gateway refuses what the engine would refuse.
#[derive(Clone, Copy, PartialEq)]
enum Contains {
    Yes,
    No,
}

impl Keys {
    fn profile() -> KeyProfile {
        KeyProfile { workload: Workload::Service, ..KeyProfile::default() }
    }

    /// What the other keys say of a call, what is decided, and on how many days' evidence.
    fn see(&mut self, n: u64, call: &Call, contains: Contains) -> (Siblings, Decision, f64) {
        let (state, seq) = self.states.entry(n).or_default();
        let mut asked = request(key(n), call);
        asked.siblings = self.household.ask(&asked);
        let verdict = self.engine.judge(state, &Self::profile(), &asked, InFlight::default());
        let refused = verdict.decision == Decision::Refuse && contains == Contains::Yes;
        *seq += 1;
        let mut done = event(key(n), *seq, call, refused.then_some(Refusal::Judged));
        done.request.siblings = asked.siblings;
        self.engine.observe(state, &Self::profile(), &done);
        self.household.put(key(n), state.vouches());
        (asked.siblings, verdict.decision, verdict.once_in_days)
    }

    /// `keys` with so many days of a call each ten minutes.
    fn with_history(keys: u64, days: u64) -> Self {
        let mut all = Self::default();
        for i in 0..days * 144 {
            for n in 0..keys {
                all.see(n, &usual(n, day(0).plus(i * 10 * MINUTE)), Contains::Yes);
            }
        }
        all
    }
}

/// Key 0's caller, with its prompt, on key 1.
fn moved_over(time: Timestamp) -> Call {
    usual(0, time)
}

#[test]
fn a_key_without_siblings_asks_nobody() {
    let mut keys = Keys::with_history(1, 10);
    let (siblings, ..) = keys.see(0, &stranger(day(10)), Contains::Yes);
    assert_eq!(siblings, Siblings::default());
}

#[test]
fn keys_vouch_for_what_they_have_known_for_three_days() {
    let everything = |known: SiblingsKnow| known == SiblingsKnow(0xff);
    for (days, knows) in [(1, None), (2, None), (4, Some(true)), (30, Some(true))] {
        let mut keys = Keys::with_history(2, days);
        let (siblings, ..) = keys.see(1, &moved_over(day(days)), Contains::Yes);
        assert_eq!(
            (siblings.keys == 1).then(|| everything(siblings.known)),
            knows,
            "{days} days: {siblings:?}"
        );
    }
    // What a key learned a short time ago is not vouched for, what it has known for long is.
    let mut keys = Keys::with_history(2, 10);
    let new_prompt = |time| Call { template: 0x7777, ..usual(0, time) };
    for i in 0..6 {
        keys.see(0, &new_prompt(day(10).plus(i * HOUR)), Contains::Yes);
    }
    let knows_prompt = |keys: &mut Keys, at| {
        let known = keys.see(1, &new_prompt(at), Contains::Yes).0.known;
        assert!(known.has(SiblingsKnow::PREFIX.and(SiblingsKnow::FAMILY)));
        known.has(SiblingsKnow::TEMPLATE)
    };
    assert!(!knows_prompt(&mut keys, day(11)));
    for i in 0..4 * 24 {
        keys.see(0, &new_prompt(day(11).plus(i * HOUR)), Contains::Yes);
    }
    assert!(knows_prompt(&mut keys, day(15)));
}

#[test]
fn a_caller_of_a_sibling_is_less_evidence_and_a_stranger_is_not() {
    let days = |keys: u64, call: fn(Timestamp) -> Call| {
        let mut all = Keys::with_history(2, 10);
        if keys == 1 {
            all.household = Household::default();
        }
        all.see(1, &call(day(10)), Contains::Yes).2
    };
    let (alone, asked) = (days(1, moved_over), days(2, moved_over));
    assert!(asked < alone / 5.0 && asked > alone / 25.0, "{asked} against {alone}");
    let (alone, asked) = (days(1, stranger), days(2, stranger));
    assert!(asked >= alone && asked < alone * 3.0, "{asked} against {alone}");
}

#[test]
fn a_thief_with_two_keys_of_one_owner_does_not_vouch_for_itself() {
    for contains in [Contains::Yes, Contains::No] {
        let (mut both, mut one) = (Keys::with_history(2, 10), Keys::with_history(2, 10));
        for i in 0..10 * 24 {
            let at = day(10).plus(i * HOUR);
            both.see(0, &stranger(at), contains);
            let (siblings, decision, days) = both.see(1, &stranger(at.plus(MINUTE)), contains);
            assert!(!siblings.known.has(SiblingsKnow::PREFIX), "after {i} hours");
            assert!(!siblings.known.has(SiblingsKnow::TEMPLATE), "after {i} hours");
            // The theft of the other key helps nothing here.
            let alone = one.see(1, &stranger(at.plus(MINUTE)), contains);
            assert_eq!((decision, days), (alone.1, alone.2), "after {i} hours");
            for keys in [&mut both, &mut one] {
                keys.see(0, &usual(0, at.plus(2 * MINUTE)), contains);
                keys.see(1, &usual(1, at.plus(3 * MINUTE)), contains);
            }
        }
    }
}

#[test]
fn what_was_called_a_theft_is_vouched_for_no_longer() {
    let mut keys = Keys::default();
    // It was there from the first day, so the key took it for its own.
    for i in 0..6 * 24 {
        let at = day(0).plus(i * HOUR);
        keys.see(0, &usual(0, at), Contains::Yes);
        keys.see(0, &stranger(at.plus(MINUTE)), Contains::Yes);
        keys.see(1, &usual(1, at.plus(2 * MINUTE)), Contains::Yes);
    }
    let block =
        |keys: &mut Keys, at| keys.see(1, &stranger(at), Contains::Yes).0.known.has(SiblingsKnow::PREFIX);
    assert!(block(&mut keys, day(6)));
    let prefix = request(key(0), &stranger(day(6))).source.prefix();
    let context = ContextMatch { prefix: Some(prefix), ..ContextMatch::default() };
    let theft = Feedback { key: key(0), time: day(6), context, says: Says::Theft };
    let (state, _) = keys.states.get_mut(&0).unwrap();
    keys.engine.feedback(state, &theft);
    keys.household.put(key(0), state.vouches());
    assert!(!block(&mut keys, day(6).plus(HOUR)));
}

/// A key's state after some days of calls that are drawn by a seed.
fn lived(seed: u64, days: u64) -> KeyState {
    let (engine, mut state) = (Engine::default(), KeyState::new());
    for i in 0..days * 24 {
        let mut call = usual(seed % 5, day(0).plus(i * HOUR));
        call.place.block = (seed.wrapping_mul(i / 7 + 1) % 40) as u32;
        call.template = seed.wrapping_mul(i / 5 + 1) % 60;
        engine.observe(&mut state, &Keys::profile(), &event(key(seed), i + 1, &call, None));
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever order keys speak in, and however often: what is known is what they said last.
    #[test]
    fn the_order_of_keys_does_not_matter(
        said in prop::collection::vec((0u64..8, 1u64..9), 1..12),
        last in prop::collection::vec(1u64..9, 8),
        order in Just((0u64..8).collect::<Vec<u64>>()).prop_shuffle(),
        asking in 0u64..10,
    ) {
        let mut first = Household::default();
        for (n, days) in said {
            first.put(key(n), lived(n, days).vouches());
        }
        let mut second = Household::default();
        for n in 0..8 {
            first.put(key(n), lived(n, last[n as usize]).vouches());
        }
        for n in order {
            second.put(key(n), lived(n, last[n as usize]).vouches());
        }
        prop_assert_eq!(&first, &second);
        for n in 0..8 {
            let asked = request(key(asking), &usual(n, day(9)));
            let siblings = first.ask(&asked);
            prop_assert_eq!(siblings, second.ask(&asked));
            let others = (0..8).filter(|other| *other != asking && last[*other as usize] >= 4);
            prop_assert_eq!(usize::from(siblings.keys), others.count());
        }
    }

    /// A key's own word says nothing about itself.
    #[test]
    fn a_key_is_not_its_own_witness(n in 0u64..8, days in 4u64..9) {
        let mut household = Household::default();
        household.put(key(n), lived(n, days).vouches());
        let asked = request(key(n), &usual(n % 5, day(9)));
        prop_assert_eq!(household.ask(&asked), Siblings::default());
        // Another key that knows nothing of it changes nothing but the number.
        household.put(key(n + 1), Some(Default::default()));
        prop_assert_eq!(household.ask(&asked), Siblings { keys: 1, known: SiblingsKnow::default() });
    }

    /// Without siblings the recorded bits change nothing, bit for bit.
    #[test]
    fn without_siblings_nothing_changes(known: u8, n in 0u64..5, strange: bool) {
        let state = lived(n, 8);
        let call = if strange { stranger(day(8)) } else { usual((n + 1) % 5, day(8)) };
        let asked = request(key(n), &call);
        let mut marked = asked.clone();
        marked.siblings = Siblings { keys: 0, known: SiblingsKnow(known) };
        let engine = Engine::default();
        let judge = |asked| engine.judge(&state, &Keys::profile(), asked, InFlight::default());
        prop_assert_eq!(judge(&asked), judge(&marked));
    }
}

#[test]
fn memory_is_bounded() {
    let mut household = Household::default();
    for n in 0..200 {
        household.put(key(n), lived(n % 8, 9).vouches());
    }
    assert_eq!(household.len(), 64);
    // Eight kinds of at most sixteen values each.
    assert!((0..8).all(|n| lived(n, 9).vouches().unwrap().len() <= 8 * 16));
    household.put(key(0), None);
    assert!(household.put(key(300), lived(1, 9).vouches()), "there is room again");
}
