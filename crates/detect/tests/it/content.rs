//! Content signals: phrases, topics and answers by their sketches.

use tokenwatch_detect::{Engine, InFlight, KeyProfile, KeyState};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Finding, Verdict};
use tokenwatch_model::id::RequestId;
use tokenwatch_model::key::Workload;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{MINUTE, SECOND, Timestamp};

use crate::world::{Agent, Call, Place, day, event, key};

const HOME: Place = Place { block: 10, asn: 16_509, country: "US", kind: NetworkKind::Hosting };
const NEAR: Place = Place { block: 910, asn: 24_940, country: "US", kind: NetworkKind::Hosting };
/// What the owner asks about, and what a stranger does.
const OWN: u64 = 0x0123_4567_89ab_cdef;
const OTHER: u64 = !0x0f0f_3355_6699_a5c3;
/// The first rule of `data/phrases.txt`, which is one of the class of key checks.
const CHECK: u32 = 1;

/// A request with its content: topic, phrases, sketch of the answer.
#[derive(Clone, Copy, Default)]
struct Asked(u64, u32, u64);

fn sent(time: Timestamp, place: Place, template: u64, asked: Asked) -> UsageEvent {
    let call = Call {
        time,
        place,
        host: 3,
        agent: Agent { family: "openai-python", version: "1.52.0".into(), tls: 5 },
        model: "gpt-4o-mini",
        endpoint: Endpoint::ChatCompletions,
        template,
        input: 500,
        output: 100,
        output_max: 500,
        status: 200,
    };
    let mut event = event(key(0), 0, &call, None);
    (event.request.shape.topic, event.request.shape.phrases, event.completion) = (asked.0, asked.1, asked.2);
    event
}

/// A key with ten days of its own traffic.
struct Key {
    engine: Engine,
    profile: KeyProfile,
    state: KeyState,
}

impl Key {
    fn with_history(asked: impl Fn(u64) -> Asked) -> Self {
        let profile = KeyProfile { workload: Workload::Service, ..KeyProfile::default() };
        let mut key = Self { engine: Engine::default(), profile, state: KeyState::new() };
        for i in 0..1_440 {
            key.observe(&sent(day(0).plus(i * 10 * MINUTE), HOME, 7, asked(i)));
        }
        key
    }

    fn observe(&mut self, event: &UsageEvent) -> Vec<Finding> {
        self.engine.observe(&mut self.state, &self.profile, event)
    }

    fn judge(&self, event: &UsageEvent) -> Verdict {
        self.engine.judge(&self.state, &self.profile, &event.request, InFlight::default())
    }
}

/// A newcomer from a near network with a prompt of its own.
fn newcomer(after: u64, asked: Asked) -> UsageEvent {
    sent(day(10).plus(after), NEAR, 0x99, asked)
}

/// The owner's topics lie a few bits apart.
fn own(i: u64) -> Asked {
    Asked(OWN ^ 1 << (i * 7 % 64) ^ 1 << (i * 11 % 64), 0, 0)
}

#[test]
fn a_newcomers_prompts_are_weighed_by_what_they_are_about_and_after() {
    let key = Key::with_history(own);
    let days = |asked| key.judge(&newcomer(0, asked)).once_in_days;
    let silent = days(Asked::default());
    assert!(silent > 0.0);
    assert!(days(Asked(OTHER, 0, 0)) > silent);
    // Likeness speaks for a newcomer who is no thief in disguise.
    assert!(days(Asked(OWN ^ 3, 0, 0)) < silent);
    let checks = days(Asked(OTHER, CHECK, 0));
    assert!(checks > 3.0 * silent && checks <= 8.0 * silent * 1.001, "{checks} {silent}");
}

#[test]
fn a_key_that_is_checked_by_its_owner_is_not_a_thiefs() {
    let monitored = Key::with_history(|i| Asked(OWN, CHECK * u32::from(i.is_multiple_of(4)), 0));
    let plain = Key::with_history(|_| Asked(OWN, 0, 0));
    let days = |key: &Key| key.judge(&newcomer(0, Asked(OWN, CHECK, 0))).once_in_days;
    assert!(days(&plain) > 3.0 * days(&monitored));
}

#[test]
fn what_was_asked_stands_in_the_reasons() {
    let mut key = Key::with_history(own);
    let mut told = Vec::new();
    for i in 0..60 {
        let mut event = sent(day(10).plus(i * SECOND), NEAR, 0, Asked(OTHER, CHECK, 0));
        event.request.client.family = "axios".into();
        told.extend(key.observe(&event).into_iter().filter(|finding| finding.rule == "newcomer"));
    }
    let reasons: Vec<&str> =
        told.iter().flat_map(|finding| &finding.reasons).map(|reason| reason.what.as_str()).collect();
    let says = |start: &str| reasons.iter().any(|reason| reason.starts_with(start));
    assert!(says("asks what key checkers ask (1 of 1 requests)"), "{reasons:#?}");
    assert!(says("its prompts are about something else than this key's (1 of 1)"), "{reasons:#?}");
}

fn same_answers(key: &mut Key, answer: impl Fn(u64) -> u64) -> Vec<Finding> {
    let answered = (0..60).map(|i| newcomer(i * MINUTE, Asked(OTHER, 0, answer(i)))).collect::<Vec<_>>();
    let told = answered.iter().flat_map(|event| key.observe(event)).collect::<Vec<_>>();
    told.into_iter().filter(|finding| finding.rule == "near_identical_completions").collect()
}

#[test]
fn the_same_answer_again_and_again_is_told_once_unless_the_key_is_used_like_that() {
    let varied = |i: u64| Asked(OWN, 0, (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let told = same_answers(&mut Key::with_history(varied), |i| OTHER ^ (i & 1));
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0].summary,
        "20 of 20 answers to one unknown caller are nearly the same; of this key's own, 0 % repeat."
    );
    assert!(told[0].actor.is_some());
    let different =
        same_answers(&mut Key::with_history(varied), |i| (i + 7).wrapping_mul(0xd6e8_feb8_6659_fd93));
    assert!(different.is_empty());
    // A health check every hour has one answer; so has a newcomer that does the same.
    let health = |i: u64| Asked(OWN, 0, if i.is_multiple_of(6) { OTHER } else { varied(i).2 });
    assert!(same_answers(&mut Key::with_history(health), |i| OTHER ^ (i & 1)).is_empty());
    // A classifier has few answers.
    let classifier = |i: u64| Asked(OWN, 0, OWN.rotate_left(8 * (i % 3) as u32));
    assert!(same_answers(&mut Key::with_history(classifier), |i| OTHER ^ (i & 1)).is_empty());
    assert!(same_answers(&mut Key::with_history(|_| Asked::default()), |_| OTHER).is_empty());
}

#[test]
fn what_newcomers_ask_teaches_nothing_until_they_are_the_keys_own() {
    let mut key = Key::with_history(own);
    let before = key.judge(&newcomer(0, Asked(OTHER, CHECK, 0))).once_in_days;
    let mut thief = newcomer(0, Asked(OTHER, CHECK, 0));
    thief.request.client.family = "axios".into();
    for i in 0..200 {
        thief.request.time = day(10).plus(i * SECOND);
        key.observe(&thief);
    }
    let state = KeyState::decode(&key.state.encode()).unwrap();
    assert_eq!(state, key.state);
    let other = Key { engine: Engine::default(), profile: key.profile, state };
    assert!(other.judge(&newcomer(0, Asked(OTHER, CHECK, 0))).once_in_days >= before);
}

#[test]
fn a_known_callers_content_is_read_now_and_then_and_a_newcomers_always() {
    let key = Key::with_history(own);
    let read = |request: &dyn Fn(u64) -> UsageEvent| {
        (0..1_600)
            .filter(|&i| {
                let mut event = request(i);
                event.request.id = RequestId::new(event.request.time.ms(), (i + 1).into());
                key.state.reads_content(&event.request)
            })
            .count()
    };
    assert_eq!(read(&|i| newcomer(i, own(i))), 1_600);
    assert_eq!(
        read(&|i| sent(day(10).plus(i), HOME, 0x99, own(i))),
        1_600,
        "a prompt that is new to the key"
    );
    let known = read(&|i| sent(day(10).plus(i), HOME, 7, own(i)));
    assert!((60..140).contains(&known), "{known} of 1,600");
    // A key that is not known yet is read whole.
    assert!(KeyState::new().reads_content(&newcomer(0, own(0)).request));
}
