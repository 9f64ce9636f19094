//! A method's scores over time on one key with one theft, for drawing.

use serde::Serialize;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::time::{HOUR, MINUTE};

use super::{Trial, What, merged};

/// Scores are told once in so many microseconds: the highest.
const STEP: u64 = 10 * MINUTE;

/// Scores over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trace {
    /// The key, by its place in the world.
    pub key: usize,
    /// What kind of caller it is.
    pub archetype: &'static str,
    /// The theft.
    pub attack: &'static str,
    /// The method.
    pub method: &'static str,
    /// The threshold that details are given for.
    pub threshold: f64,
    /// Hours from day 0 to the thief's first and last request.
    pub theft_hours: (f64, f64),
    /// Hours from day 0, and the highest score of the ten minutes before; stretches without events are left out.
    pub scores: Vec<(f64, f64)>,
    /// The owner's and the thief's requests of each hour from day 0 on, hours without any left out.
    pub requests: Vec<(u32, u32, u32)>,
}

impl Trial<'_> {
    /// Traces a theft on a key by each contestant, with the threshold of each; none when the theft does not fit.
    pub fn trace(&self, key: usize, attack: usize, thresholds: &[f64]) -> Vec<Trace> {
        let (clean, hidden) = self.clean(key);
        let theft = self.theft(key, attack, &clean, &hidden);
        let (Some(theft), Some(about)) = (theft, self.world.keys().get(key)) else { return Vec::new() };
        let What::Theft { events, is_owner_silent, .. } = &theft.what else { return Vec::new() };
        let name = self.world.attacks().get(attack).map_or("", |attack| attack.name);
        let (before, rest) = clean.split_at(theft.from.min(clean.len()));
        let rest = if *is_owner_silent { &[] } else { rest };
        let all: Vec<(&UsageEvent, bool)> =
            before.iter().map(|event| (event, false)).chain(merged(events, rest)).collect();
        let hours = |event: &UsageEvent| event.request.time.since(self.world.start()) as f64 / HOUR as f64;
        let ends = events.first().zip(events.last()).map_or((0.0, 0.0), |(a, b)| (hours(a), hours(b)));
        let trace = |(contestant, &threshold): (&super::Contestant, &f64)| {
            let mut watch = contestant.method.watch(&about.profile);
            let mut scores: Vec<(u64, f64)> = Vec::new();
            for (event, _) in &all {
                let score = watch.see(event).max();
                let step = event.request.time.since(self.world.start()) / STEP;
                match scores.last_mut() {
                    Some((last, highest)) if *last == step => *highest = highest.max(score),
                    _ => scores.push((step, score)),
                }
            }
            let per_hour = (HOUR / STEP) as f64;
            Trace {
                key,
                archetype: about.archetype,
                attack: name,
                method: contestant.method.id(),
                threshold,
                theft_hours: ends,
                scores: scores.into_iter().map(|(step, score)| (step as f64 / per_hour, score)).collect(),
                requests: requests(&all, hours),
            }
        };
        self.contestants.iter().zip(thresholds).map(trace).collect()
    }
}

fn requests(all: &[(&UsageEvent, bool)], hours: impl Fn(&UsageEvent) -> f64) -> Vec<(u32, u32, u32)> {
    let mut counts: Vec<(u32, u32, u32)> = Vec::new();
    for (event, is_thief) in all {
        let hour = hours(event) as u32;
        if counts.last().is_none_or(|last| last.0 != hour) {
            counts.push((hour, 0, 0));
        }
        if let Some(last) = counts.last_mut() {
            last.1 += u32::from(!is_thief);
            last.2 += u32::from(*is_thief);
        }
    }
    counts
}
