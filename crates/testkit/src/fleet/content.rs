//! What prompts and answers are like, as sketches and phrase bits: assumptions, all of them, since no public trace says.
//!
//! Everything here is drawn by generators of its own, seeded from what is there already: to have content or not changes
//! nothing else of a fleet.

use tokenwatch_model::context::Shape;
use tokenwatch_model::phrase::PhraseClass;

use crate::rng::{self, Rng};

/// A message that is a greeting and nothing else, as health checks and checkers send it: rule `greeting_alone`.
const GREETING: u32 = 1 << 2;
/// Rule `which_model`.
const WHICH_MODEL: u32 = 1 << 8;
/// Rule `ignore_instructions`.
const IGNORE: u32 = 1 << 13;
/// Rule `no_limits`.
const NO_LIMITS: u32 = 1 << 20;
/// Rule `fictional_chat`.
const FICTIONAL: u32 = 1 << 25;

/// Topics that everybody shares.
const HELLO: u64 = rng::mix(0x6865_6c6c);
const CODING: u64 = rng::mix(0x636f_6465);

/// Content of a call beside its other hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) topic: u64,
    pub(crate) phrases: u32,
    pub(crate) completion: u64,
}

impl Content {
    /// The shape with it.
    pub(crate) const fn on(self, shape: Shape) -> Shape {
        Shape { topic: self.topic, phrases: self.phrases, ..shape }
    }
}

/// A sketch with so many bits moved.
fn moved(sketch: u64, bits: u64, rng: &mut Rng) -> u64 {
    (0..bits).fold(sketch, |sketch, _| sketch ^ 1 << rng.below(64)).max(1)
}

/// The generator for the content of a call.
fn generator(seed: u64) -> Rng {
    Rng::new(rng::mix(seed ^ 0x636f_6e74_656e_7421))
}

/// The topic of a new template.
pub(crate) const fn topic_of(template: u64) -> u64 {
    rng::mix(template ^ 0x746f_7069_6373_2121)
}

/// The topic of a template's next version: the words are mostly the old ones.
pub(crate) fn revised(topic: u64, template: u64) -> u64 {
    moved(topic, 4, &mut generator(template))
}

/// An owner's call. `free` is whether people write; programs ask a few things with other numbers each time.
pub(crate) fn of_owner(topic: u64, shape: &Shape, free: bool, fixed: bool, seed: u64) -> Content {
    let mut rng = generator(seed);
    // One template in fifty is an honest character chat.
    let plays = if rng::mix(topic ^ 0x706c_6179).is_multiple_of(50) { FICTIONAL } else { 0 };
    if free {
        let bits = rng.range(2, 14);
        let phrases = match rng.unit() {
            u if u < 0.003 => GREETING,
            u if u < 0.005 => WHICH_MODEL,
            u if u < 0.006 => IGNORE,
            _ => 0,
        } | plays;
        return Content { topic: moved(topic, bits, &mut rng), phrases, completion: rng.next_u64() | 1 };
    }
    // The same question has the same words; the answers differ a little.
    let mut asked = generator(shape.prompt);
    let bits = asked.range(0, 6);
    let answer = rng::mix(shape.prompt ^ 0x616e_7377);
    // One in ten templates with a single question is a health check.
    let is_check = fixed && rng::mix(topic).is_multiple_of(10);
    let spread = if fixed { rng.below(3) } else { rng.range(2, 20) };
    Content {
        topic: moved(topic, bits, &mut asked),
        phrases: if is_check { GREETING } else { 0 } | plays,
        completion: moved(answer, spread, &mut rng),
    }
}

/// A checker's call: "hi", and the model's greeting.
pub(crate) fn of_checker(seed: u64) -> Content {
    let mut rng = generator(seed);
    Content { topic: HELLO, phrases: GREETING, completion: moved(rng::mix(HELLO), rng.below(3), &mut rng) }
}

/// A thief's call with a template of his own. `own` is the thief's, `victims` the topic that a mimic copies.
pub(crate) fn of_thief(own: u64, template: u64, codes: bool, victims: Option<u64>, seed: u64) -> Content {
    let mut rng = generator(seed);
    let completion = rng.next_u64() | 1;
    if let Some(topic) = victims {
        let topic = moved(topic, rng.below(8), &mut rng);
        return Content { topic, phrases: 0, completion };
    }
    if codes {
        let bits = rng.range(2, 12);
        return Content { topic: moved(CODING, bits, &mut rng), phrases: 0, completion };
    }
    let topic = moved(topic_of(own), 6, &mut generator(template));
    let bits = rng.range(2, 14);
    // One in four resells to players; a few of the rest try what the model lets them.
    let phrases = match rng.unit() {
        _ if rng::mix(own ^ 0x706c_6179).is_multiple_of(4) => FICTIONAL,
        u if u < 0.02 => NO_LIMITS,
        u if u < 0.04 => WHICH_MODEL,
        _ => 0,
    };
    Content { topic: moved(topic, bits, &mut rng), phrases, completion }
}

const _: () =
    assert!(PhraseClass::KeyCheck.bits() & GREETING != 0 && PhraseClass::Identity.bits() & WHICH_MODEL != 0);
const _: () =
    assert!(PhraseClass::Override.bits() & IGNORE != 0 && PhraseClass::Jailbreak.bits() & NO_LIMITS != 0);
const _: () = assert!(PhraseClass::Resale.bits() & FICTIONAL != 0);

#[cfg(test)]
mod tests {
    use super::*;

    fn far(a: u64, b: u64) -> u32 {
        (a ^ b).count_ones()
    }

    fn shape(prompt: u64) -> Shape {
        Shape { template: 9, prompt, ..Shape::default() }
    }

    #[test]
    fn owners_stay_near_their_topics_and_thieves_are_far() {
        let topic = topic_of(9);
        for seed in 0..200 {
            let program = of_owner(topic, &shape(seed % 5), false, false, seed);
            let person = of_owner(topic, &shape(seed), true, false, seed);
            let thief = of_thief(7, seed % 3, false, None, seed);
            let mimic = of_thief(7, seed % 3, false, Some(person.topic), seed);
            assert!(far(program.topic, topic) <= 6 && far(person.topic, topic) <= 14);
            assert!(far(thief.topic, topic) > 14 && far(thief.topic, topic_of(7)) <= 20);
            assert!(far(mimic.topic, person.topic) <= 7 && mimic.phrases == 0);
            assert!(far(revised(topic, seed), topic) <= 4);
        }
    }

    #[test]
    fn the_same_question_has_the_same_words_and_nearly_the_same_answer() {
        let topic = topic_of(9);
        let asked = |seed| of_owner(topic, &shape(4), false, true, seed);
        assert!((0..50).all(|seed| asked(seed).topic == asked(0).topic));
        assert!((0..50).all(|seed| far(asked(seed).completion, asked(0).completion) <= 4));
    }

    #[test]
    fn checkers_greet_and_players_play() {
        assert!((0..50).all(|seed| of_checker(seed).phrases == GREETING && of_checker(seed).topic == HELLO));
        let thieves = (0..500).filter(|&own| of_thief(own, 1, false, None, own).phrases == FICTIONAL).count();
        assert!((90..160).contains(&thieves), "{thieves}");
        let owners =
            (0..10_000).filter(|&seed| of_owner(5, &shape(seed), true, false, seed).phrases != 0).count();
        assert!((30..100).contains(&owners), "{owners}");
    }
}
