//! What prompts and answers are like, by sketches and phrase rules: the key's own, and one newcomer's.
//!
//! Sketches of texts that share most words differ in few bits. No text is here, only sketches, bits and counts.
//!
//! Invariants:
//! * Every factor is bounded, and their sum by [`FACTOR_MAX`] either way; events without these columns weigh nothing.
//! * A key's own traffic says what is normal: what it matches, how far its topics spread, how often its answers repeat.
//! * Memory is bounded by constants.

use serde::{Deserialize, Serialize};
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::phrase::PhraseClass;

use crate::math::{exp, ln, scramble};
use crate::powers;

#[cfg(test)]
mod tests;

/// Most a content factor, or all together, may weigh either way.
const FACTOR_MAX: f64 = 8.0;
const TOPICS_MAX: usize = 8;
const ANSWERS_MAX: usize = 8;
/// Sketches of one topic: unrelated ones differ in 32 bits, give or take four.
const SAME_TOPIC: u32 = 14;
/// Sketches of answers that are nearly the same text.
const SAME_ANSWER: u32 = 3;
/// Bits of distance in a bucket.
const BUCKET: u32 = 4;
const BUCKETS: usize = 9;
/// Counts are halved here, so that what a key no longer does fades.
const COUNT_MAX: u16 = 4_096;
/// Own requests before a key's topics, or its answers, say anything.
const SETTLED: u32 = 40;
/// Own requests before a sample of them is enough, and one in how many that is: a key's topics change slowly, and
/// reading content is a good part of a request's cost.
const SAMPLE_AFTER: u16 = 256;
const SAMPLE: u64 = 16;
/// A key whose own prompts lie further apart than this has no topics to be far from.
const RADIUS_MAX: u32 = 22;

/// A sketch and how many were near it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cluster {
    sketch: u64,
    count: u16,
}

/// Adds a sketch to the cluster it is near, or begins one in the place of the weakest; the result is its distance to the
/// nearest one before.
fn join(clusters: &mut Vec<Cluster>, sketch: u64, most: usize, same: u32) -> Option<u32> {
    let nearest = nearest(clusters, sketch);
    match nearest {
        Some((place, distance)) if distance <= same => {
            if let Some(cluster) = clusters.get_mut(place) {
                cluster.count += 1;
                if cluster.count >= COUNT_MAX {
                    clusters.iter_mut().for_each(|cluster| cluster.count /= 2);
                }
            }
        }
        _ => {
            let new = Cluster { sketch, count: 1 };
            if clusters.len() < most {
                clusters.push(new);
            } else if let Some(cluster) = weakest(clusters, scramble(sketch)) {
                *cluster = new;
            }
        }
    }
    nearest.map(|(_, distance)| distance)
}

/// One of the weakest clusters, drawn: giving up the oldest would lose whatever returns more seldom than there is room for.
fn weakest(clusters: &mut [Cluster], draw: u64) -> Option<&mut Cluster> {
    let least = clusters.iter().map(|cluster| cluster.count).min()?;
    let weak = clusters.iter().filter(|cluster| cluster.count == least).count();
    let chosen = (draw % weak.max(1) as u64) as usize;
    clusters.iter_mut().filter(|cluster| cluster.count == least).nth(chosen)
}

/// The nearest cluster and its distance in bits.
fn nearest(clusters: &[Cluster], sketch: u64) -> Option<(usize, u32)> {
    let distances = clusters.iter().map(|cluster| (cluster.sketch ^ sketch).count_ones());
    distances.enumerate().min_by_key(|(_, distance)| *distance)
}

/// What a key's own prompts and answers are like.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Content {
    topics: Vec<Cluster>,
    /// How far own prompts were from the nearest topic before them.
    distances: [u16; BUCKETS],
    answers: Vec<Cluster>,
    /// Own answers that were nearly one of the latest, and others.
    repeated: u16,
    other: u16,
    /// Own requests whose content was looked at, and those that matched a class of phrase rules.
    asked: u16,
    matched: [u16; PhraseClass::ALL.len()],
}

impl Content {
    /// Whether the key would learn from the content of one of its own requests that is new in nothing.
    pub(crate) fn samples(&self, request: &RequestContext) -> bool {
        self.asked < SAMPLE_AFTER || scramble(request.id.bits() as u64).is_multiple_of(SAMPLE)
    }

    /// Learns one of the key's own requests.
    pub(crate) fn learn(&mut self, event: &UsageEvent) {
        let shape = &event.request.shape;
        if shape.topic != 0
            && let Some(distance) = join(&mut self.topics, shape.topic, TOPICS_MAX, SAME_TOPIC)
            && let Some(count) = self.distances.get_mut((distance / BUCKET) as usize % BUCKETS)
        {
            *count += 1;
            if *count >= COUNT_MAX {
                self.distances.iter_mut().for_each(|count| *count /= 2);
            }
        }
        if shape.topic != 0 || shape.phrases != 0 {
            self.asked += 1;
            for (class, count) in PhraseClass::ALL.into_iter().zip(&mut self.matched) {
                *count += u16::from(shape.phrases & class.bits() != 0);
            }
            if self.asked >= COUNT_MAX {
                self.asked /= 2;
                self.matched.iter_mut().for_each(|count| *count /= 2);
            }
        }
        if event.completion != 0 {
            let near = join(&mut self.answers, event.completion, ANSWERS_MAX, SAME_ANSWER);
            let count = if near.is_some_and(|near| near <= SAME_ANSWER) {
                &mut self.repeated
            } else {
                &mut self.other
            };
            *count += 1;
            if *count >= COUNT_MAX {
                (self.repeated, self.other) = (self.repeated / 2, self.other / 2);
            }
        }
    }

    /// From which distance on a topic is none of the key's, and how often its own prompts are; `None` while too few were
    /// seen, and when they lie so far apart that there is no telling.
    fn radius(&self) -> Option<(u32, f64)> {
        let total: u32 = self.distances.iter().map(|&count| u32::from(count)).sum();
        if total < SETTLED {
            return None;
        }
        let mut within = 0;
        for (bucket, &count) in (1..).zip(&self.distances) {
            within += u32::from(count);
            if within * 10 >= total * 9 {
                let radius = (bucket * BUCKET).max(SAME_TOPIC);
                let beyond = self.distances.iter().zip(1..).filter(|(_, bucket)| bucket * BUCKET > radius);
                let far: u32 = beyond.map(|(&count, _)| u32::from(count)).sum();
                return (radius <= RADIUS_MAX).then(|| (radius, f64::from(far) / f64::from(total)));
            }
        }
        None
    }

    /// Share of the key's own requests that match a class.
    fn share(&self, class: usize) -> f64 {
        let matched = self.matched.get(class).copied().unwrap_or(0);
        f64::from(matched) / f64::from(self.asked).max(f64::from(SETTLED))
    }

    /// Share of the key's own answers that nearly repeat an earlier one; `None` while too few were seen.
    pub(crate) fn repeats(&self) -> Option<f64> {
        let total = u32::from(self.repeated) + u32::from(self.other);
        (total >= SETTLED).then(|| f64::from(self.repeated) / f64::from(total))
    }

    /// Whether the key itself gets this answer again and again.
    fn knows_answer(&self, sketch: u64) -> bool {
        let near = nearest(&self.answers, sketch).filter(|(_, distance)| *distance <= SAME_ANSWER);
        near.is_some_and(|(place, _)| self.answers.get(place).is_some_and(|cluster| cluster.count >= 3))
    }

    /// Whether every part keeps its bound; false for bytes that this code did not write.
    pub(crate) fn is_sound(&self) -> bool {
        self.topics.len() <= TOPICS_MAX
            && self.answers.len() <= ANSWERS_MAX
            && self.topics.iter().chain(&self.answers).all(|cluster| cluster.count < COUNT_MAX)
            && self.distances.iter().all(|&count| count < COUNT_MAX)
            && self.repeated.max(self.other).max(self.asked) < COUNT_MAX
            && self.matched.iter().all(|&count| count <= self.asked)
    }
}

/// What one newcomer asked and was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Requests, other than with a template of the key's, far from all of its topics, and near one.
    far: u16,
    near: u16,
    /// Of these, how many had no template at all.
    bare: u16,
    asked: u16,
    /// How many requests matched a class of phrase rules, and how many any.
    classes: [u16; PhraseClass::ALL.len()],
    matched: u16,
    /// An answer, how many were nearly the same since, and how many were not.
    answer: u64,
    same: u16,
    other: u16,
}

impl Told {
    /// What is known before a request is forwarded; `new_template` is whether the key never had its template.
    pub(crate) fn note_request(&mut self, request: &RequestContext, new_template: bool, key: &Content) {
        let shape = &request.shape;
        if shape.topic == 0 && shape.phrases == 0 {
            return;
        }
        self.asked = self.asked.saturating_add(1);
        for (class, count) in PhraseClass::ALL.into_iter().zip(&mut self.classes) {
            *count = count.saturating_add(u16::from(shape.phrases & class.bits() != 0));
        }
        self.matched = self.matched.saturating_add(u16::from(shape.phrases != 0));
        // A template of the key's own says more about where a prompt is from than its words do.
        let is_foreign = new_template || shape.template == 0;
        if shape.topic != 0
            && is_foreign
            && let Some((radius, _)) = key.radius()
            && let Some((_, distance)) = nearest(&key.topics, shape.topic)
        {
            let count = if distance > radius { &mut self.far } else { &mut self.near };
            *count = count.saturating_add(1);
            self.bare = self.bare.saturating_add(u16::from(shape.template == 0));
        }
    }

    /// What is known after a request ended.
    pub(crate) fn note_outcome(&mut self, event: &UsageEvent, key: &Content) {
        let answer = event.completion;
        if answer == 0 || event.outcome != Outcome::Served || key.knows_answer(answer) {
            return;
        }
        if self.answer != 0 && (self.answer ^ answer).count_ones() <= SAME_ANSWER {
            self.same = self.same.saturating_add(1);
        } else {
            self.other = self.other.saturating_add(1);
            if self.other > self.same {
                (self.answer, self.same, self.other) = (answer, 1, 0);
            }
        }
    }

    /// Answers that were nearly one, of how many.
    pub(crate) fn same_answers(&self) -> (u32, u32) {
        (self.same.into(), u32::from(self.same) + u32::from(self.other))
    }

    /// The evidence in it.
    pub(crate) fn factors(&self, key: &Content) -> Factors {
        Factors {
            topic: self.topic_nats(key),
            phrases: self.phrase_nats(key),
            far: (self.far, self.near.saturating_add(self.far)),
            matched: (self.matched, self.asked),
            classes: self.classes,
        }
    }

    /// One mixture for the whole newcomer: whoever asks about other things does so nearly always, whoever asks about the
    /// key's does so as often as the key.
    fn topic_nats(&self, key: &Content) -> f64 {
        let Some((_, far)) = key.radius().filter(|_| self.far > 0 || self.near > 0) else { return 0.0 };
        let own = far.clamp(0.02, 0.5);
        let nats = f64::from(self.far.min(50)) * ln(OTHER_FAR / own)
            + f64::from(self.near.min(50)) * ln((1.0 - OTHER_FAR) / (1.0 - own));
        let ratio = exp(nats.clamp(-20.0, 20.0));
        let is_bare = u32::from(self.bare) * 2 > u32::from(self.far) + u32::from(self.near);
        let benign = if is_bare { BENIGN_OTHER_BARE } else { BENIGN_OTHER };
        ln((THIEF_OTHER * ratio + 1.0 - THIEF_OTHER) / (benign * ratio + 1.0 - benign))
    }

    /// For each class a mixture again: some newcomers match it in a good part of their requests, some now and then, the
    /// others as often as the key itself, or as people do by chance. Not to match says nothing.
    fn phrase_nats(&self, key: &Content) -> f64 {
        let asked = f64::from(self.asked.min(50));
        let mut nats = 0.0;
        for (place, (class, &matched)) in PhraseClass::ALL.into_iter().zip(&self.classes).enumerate() {
            if matched > 0 {
                let (thief, benign) = shares(class);
                let chance = key.share(place).clamp(BY_CHANCE, 1.0 - BY_CHANCE);
                // Of many requests the share counts, as if there had been fifty.
                let matched = f64::from(matched) * asked / f64::from(self.asked.max(1));
                let ratio = |often: f64| {
                    let nats =
                        matched * ln(often / chance) + (asked - matched) * ln((1.0 - often) / (1.0 - chance));
                    exp(nats.clamp(-20.0, 20.0))
                };
                let (again, at_times) = (ratio(MATCHES), ratio(MATCHES_AT_TIMES.max(chance)));
                let mixed = |habit: f64, tries: f64| habit * again + tries * at_times + 1.0 - habit - tries;
                nats += ln(mixed(thief, THIEF_TRIES) / mixed(benign, BENIGN_TRIES)).max(0.0);
            }
        }
        nats.min(ln(FACTOR_MAX))
    }
}

// All assumptions. Shares of newcomers who ask about other things than the key: of thieves, of honest newcomers with a
// template the key does not know (mostly new workloads, which are about new things: to be far is hardly evidence), and of
// honest ones without any template.
const THIEF_OTHER: f64 = 0.93;
const BENIGN_OTHER: f64 = 0.9;
const BENIGN_OTHER_BARE: f64 = 0.5;
/// How often their prompts are far from the key's.
const OTHER_FAR: f64 = 0.95;

/// How often those match a class who do, and how often everybody else's prompts do by chance.
const MATCHES: f64 = 0.3;
/// How often those do who try the model out, and how many do so of thieves and of honest newcomers.
const MATCHES_AT_TIMES: f64 = 0.03;
const THIEF_TRIES: f64 = 0.3;
const BENIGN_TRIES: f64 = 0.05;
const BY_CHANCE: f64 = 0.005;

/// Shares of thieves and of honest newcomers who match a class again and again.
const fn shares(class: PhraseClass) -> (f64, f64) {
    match class {
        PhraseClass::KeyCheck => (0.2, 0.025),
        PhraseClass::Identity => (0.1, 0.02),
        PhraseClass::Override => (0.04, 0.02),
        PhraseClass::Jailbreak => (0.06, 0.01),
        PhraseClass::Resale => (0.2, 0.025),
    }
}

/// Evidence from content, in nats, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Factors {
    pub(crate) topic: f64,
    pub(crate) phrases: f64,
    /// Prompts far from the key's topics, of how many.
    pub(crate) far: (u16, u16),
    /// Requests that matched a phrase rule, of how many.
    pub(crate) matched: (u16, u16),
    classes: [u16; PhraseClass::ALL.len()],
}

impl Factors {
    /// What each counts for beside the others, against a thief who shows himself or one in disguise.
    pub(crate) fn weighed(&self, disguised: bool) -> Self {
        let powers = if disguised { powers::DISGUISED } else { powers::OPEN };
        Self { topic: powers.like_the_key.of(self.topic), phrases: powers::PHRASES.of(self.phrases), ..*self }
    }

    /// The bounded sum.
    pub(crate) fn total(&self, disguised: bool) -> f64 {
        let weighed = self.weighed(disguised);
        (weighed.topic + weighed.phrases).clamp(-ln(FACTOR_MAX), ln(FACTOR_MAX))
    }

    /// The words for the classes that were matched.
    pub(crate) fn asks(&self) -> String {
        let matched = PhraseClass::ALL.into_iter().zip(self.classes).filter(|(_, count)| *count > 0);
        let words: Vec<&str> = matched.map(|(class, _)| describe(class)).collect();
        words.join(", and ")
    }
}

/// What somebody does whose prompts match a class.
const fn describe(class: PhraseClass) -> &'static str {
    match class {
        PhraseClass::KeyCheck => "asks what key checkers ask",
        PhraseClass::Identity => "asks which model answers, as buyers of keys do",
        PhraseClass::Override => "tries to replace or read an application's instructions",
        PhraseClass::Jailbreak => "tries to talk the model out of its limits",
        PhraseClass::Resale => "comes from a front end that keys are resold through",
    }
}
