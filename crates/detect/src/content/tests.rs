//! Tests of `content`.

use proptest::prelude::*;

use super::*;
use crate::classic::sample;
use crate::math::scramble;

/// A sketch so many bits from another one.
fn near(sketch: u64, bits: u32, seed: u64) -> u64 {
    let mut moved = sketch;
    let mut draw = seed;
    while (moved ^ sketch).count_ones() < bits {
        draw = scramble(draw.wrapping_add(0x9e37_79b9));
        moved ^= 1 << (draw % 64);
    }
    moved
}

fn topic(number: u64) -> u64 {
    scramble(number + 1)
}

fn event(topic: u64, phrases: u32, completion: u64) -> UsageEvent {
    let mut event = sample::event(0, 10);
    (event.request.shape.topic, event.request.shape.phrases, event.completion) = (topic, phrases, completion);
    event
}

/// A key with three topics and answers of their own.
fn key(spread: u32) -> Content {
    let mut key = Content::default();
    for i in 0..300 {
        key.learn(&event(near(topic(i % 3), spread, i), 0, scramble(i)));
    }
    key
}

fn ask(key: &Content, requests: impl IntoIterator<Item = UsageEvent>) -> Told {
    let mut told = Told::default();
    for event in requests {
        told.note_request(&event.request, true, key);
        told.note_outcome(&event, key);
    }
    told
}

#[test]
fn far_topics_speak_against_a_newcomer_and_near_ones_for_it() {
    let key = key(5);
    let score = |sketch: &dyn Fn(u64) -> u64, count: u64| {
        let told = ask(&key, (0..count).map(|i| event(sketch(i), 0, 0)));
        told.factors(&key).topic
    };
    let far = |i: u64| near(topic(9), 5, i);
    let alike = |i: u64| near(topic(1), 6, i);
    assert!(score(&far, 1) > 0.0 && score(&far, 30) > score(&far, 1) - 1e-9);
    assert!(score(&far, 1_000) < ln(THIEF_OTHER / BENIGN_OTHER) + 1e-9);
    assert!(score(&alike, 1) < -0.1 && score(&alike, 30) < score(&alike, 1));
    // For a thief in disguise likeness is no evidence.
    let factors = ask(&key, (0..9).map(|i| event(alike(i), 0, 0))).factors(&key);
    assert_eq!(factors.total(true), 0.0);
    assert!(factors.total(false) < 0.0);
}

#[test]
fn a_known_template_says_more_than_its_topic() {
    let key = key(5);
    let mut told = Told::default();
    told.note_request(&event(topic(9), 0, 0).request, false, &key);
    assert_eq!(told.factors(&key).topic, 0.0);
}

#[test]
fn without_a_template_a_far_topic_says_more() {
    let key = key(5);
    let mut bare = event(topic(9), 0, 0);
    bare.request.shape.template = 0;
    let with = ask(&key, [event(topic(9), 0, 0)]).factors(&key).topic;
    let without = ask(&key, [bare]).factors(&key).topic;
    assert!(without > with + 0.3, "{without} {with}");
}

#[test]
fn a_key_that_talks_of_everything_and_a_young_one_say_nothing() {
    let mut wide = Content::default();
    (0..300).for_each(|i| wide.learn(&event(topic(i), 0, 0)));
    let mut young = Content::default();
    (0..20).for_each(|_| young.learn(&event(topic(0), 0, 0)));
    for key in [wide, young, Content::default()] {
        assert_eq!(ask(&key, [event(topic(999), 0, 0)]).factors(&key).topic, 0.0);
    }
}

#[test]
fn a_key_asking_what_checkers_ask_teaches_that_it_is_normal() {
    let check = PhraseClass::KeyCheck.bits() & 1;
    let strange = ask(&key(5), [event(topic(1), check, 0)]);
    let once = strange.factors(&key(5));
    assert!(once.phrases > ln(4.0) && once.phrases <= ln(8.0), "{}", once.phrases);
    assert_eq!(once.asks(), "asks what key checkers ask");
    let mut monitored = key(5);
    (0..30).for_each(|_| monitored.learn(&event(topic(1), check, 0)));
    let mild = strange.factors(&monitored).phrases;
    assert!(mild < ln(2.0), "{mild}");
    // One match among many requests is hardly more than chance, whoever asks.
    for owner in [&monitored, &key(5)] {
        let long = ask(owner, (0..40).map(|i| event(topic(1), check * u32::from(i == 0), 0)));
        let nats = long.factors(owner).phrases;
        assert!(nats < 0.2, "{nats}");
    }
    // A few among many are somebody who tries what the model lets him.
    let tries = ask(&key(5), (0..60).map(|i| event(topic(1), check * u32::from(i % 20 == 0), 0)));
    let nats = tries.factors(&key(5)).phrases;
    assert!(nats > 0.7 && nats < once.phrases, "{nats}");
    // Again and again is more than once, and another class adds to it, up to the bound.
    let again = ask(&key(5), (0..9).map(|_| event(topic(1), check, 0))).factors(&key(5));
    assert!(again.phrases >= once.phrases && again.phrases <= ln(FACTOR_MAX));
    let all = ask(&key(5), [event(topic(1), u32::MAX, 0)]).factors(&key(5));
    assert!((all.phrases - ln(FACTOR_MAX)).abs() < 1e-9);
}

#[test]
fn nearly_the_same_answers_are_counted_but_for_the_keys_own() {
    let mut owner = key(5);
    let health = topic(77);
    (0..9).for_each(|i| owner.learn(&event(topic(0), 0, near(health, 1, i))));
    let told = ask(&owner, (0..40).map(|i| event(0, 0, near(topic(50), (i % 2) as u32, i))));
    assert_eq!(told.same_answers(), (40, 40));
    let told = ask(&owner, (0..40).map(|i| event(0, 0, near(health, 1, i))));
    assert_eq!(told.same_answers(), (0, 0));
    let told = ask(&owner, (0..40).map(|i| event(0, 0, scramble(i + 1_000))));
    assert!(told.same_answers().0 <= 2);
    assert!(owner.repeats().unwrap() < 0.1);
}

#[test]
fn an_honest_newcomer_gains_nothing_on_average_by_its_topics() {
    // Under the benign law the ratio's mean is one: it is an e-value.
    let key = key(5);
    let (_, far) = key.radius().unwrap();
    let own = far.clamp(0.02, 0.5);
    let mean = |requests: u32| {
        let mut mean = 0.0;
        for pattern in 0u32..1 << requests {
            let far = pattern.count_ones();
            let law = |p: f64| libm::pow(p, f64::from(far)) * libm::pow(1.0 - p, f64::from(requests - far));
            let benign = BENIGN_OTHER * law(OTHER_FAR) + (1.0 - BENIGN_OTHER) * law(own);
            let told = Told { far: far as u16, near: (requests - far) as u16, ..Told::default() };
            mean += benign * exp(told.factors(&key).topic);
        }
        mean
    };
    for requests in [1, 2, 5, 8] {
        assert!((mean(requests) - 1.0).abs() < 1e-9, "{}", mean(requests));
    }
}

proptest! {
    #[test]
    fn events_without_content_weigh_nothing(count in 0usize..50) {
        let key = key(5);
        let mut learned = key.clone();
        let told = ask(&key, (0..count).map(|_| event(0, 0, 0)));
        (0..count).for_each(|_| learned.learn(&event(0, 0, 0)));
        prop_assert_eq!(told, Told::default());
        prop_assert_eq!(&learned, &key);
        let factors = told.factors(&key);
        prop_assert_eq!((factors.total(true).to_bits(), factors.total(false).to_bits()), (0, 0));
    }

    #[test]
    fn whatever_comes_is_bounded(
        own in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u64>()), 0..400),
        asked in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u64>()), 0..50), repeat in 1usize..20
    ) {
        let mut key = Content::default();
        for _ in 0..repeat {
            own.iter().for_each(|&(t, p, c)| key.learn(&event(t, p, c)));
        }
        prop_assert!(key.is_sound());
        let told = ask(&key, asked.iter().map(|&(t, p, c)| event(t, p, c)));
        let factors = told.factors(&key);
        for total in [factors.total(true), factors.total(false)] {
            prop_assert!(total.abs() <= ln(FACTOR_MAX));
        }
        prop_assert!(told.same_answers().0 <= told.same_answers().1);
    }
}
