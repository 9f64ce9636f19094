//! One day of a key as a list of calls in time order: arrivals, failures and what is tried again.
//!
//! Days are drawn independently of each other, so a part of a key's life costs only its own days.

use tokenwatch_model::key::Workload;
use tokenwatch_model::provider::Dialect;

use super::arrivals::{Stretch, arrivals};
use super::clients::{WINDOWS, WINDOWS_A_DAY};
use super::life::{Swell, SwellKind};
use super::{FleetKey, START_MS};
use crate::rng::{self, Rng};
use crate::traffic::DAY_MS;

const WINDOW_MS: u64 = DAY_MS / WINDOWS_A_DAY as u64;
/// Most calls of a day that are drawn, whatever swells.
const CALLS_MAX: usize = 400_000;

/// One call to be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slot {
    /// Microseconds since the Unix epoch.
    pub(crate) at_us: u64,
    /// Draws everything about it; the same for a call and what is tried again.
    pub(crate) seed: u64,
    /// How many times it was tried before.
    pub(crate) tries: u8,
    pub(crate) status: u16,
    pub(crate) kind: SlotKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SlotKind {
    /// A usual call.
    Call,
    /// A call by one part of the crew.
    By(usize),
    /// Models are listed.
    List,
}

/// The calls of a day, counted from 0 at the start of the trace.
pub(crate) fn calls(key: &FleetKey, day: u64) -> Vec<Slot> {
    let mut rng = key.rng.fork("day").numbered(day);
    let begin_us = (START_MS + day * DAY_MS) * 1_000;
    let mut slots = Vec::new();
    let usual = stretches(key, day);
    for at_us in arrivals(usual.into_iter(), CALLS_MAX, &mut rng.fork("usual")) {
        slots.push(Slot {
            at_us: begin_us + at_us,
            seed: rng.next_u64(),
            tries: 0,
            status: 200,
            kind: SlotKind::Call,
        });
    }
    for (index, swell) in key.life().swells.iter().enumerate() {
        if let SwellKind::Extra { times, part } = swell.kind {
            let mut rng = rng.fork("extra").numbered(index as u64);
            for at_us in extra(key, day, swell, times, &mut rng) {
                let seed = rng.next_u64();
                slots.push(Slot {
                    at_us: begin_us + at_us,
                    seed,
                    tries: 0,
                    status: 200,
                    kind: SlotKind::By(part),
                });
            }
        }
    }
    lists(key, day, &mut rng.fork("lists"), &mut slots);
    fail(key, begin_us + DAY_MS * 1_000, &mut rng.fork("failures"), &mut slots);
    slots.sort_by_key(|slot| (slot.at_us, slot.seed));
    slots
}

/// What is to be expected in each window of a day.
fn stretches(key: &FleetKey, day: u64) -> Vec<Stretch> {
    let windows = 0..WINDOWS_A_DAY as u64;
    windows
        .map(|window| {
            let number = day * WINDOWS_A_DAY as u64 + window;
            let at_ms = START_MS + number * WINDOW_MS;
            let (factor, earlier) = factors(&key.life().swells, at_ms);
            let read = (number + earlier / WINDOW_MS).min(WINDOWS as u64 - 1) as usize;
            let (count, spread) = key.client.window(read);
            Stretch { length_us: WINDOW_MS * 1_000, expected: count * key.scale * factor, spread }
        })
        .collect()
}

fn factors(swells: &[Swell], at_ms: u64) -> (f64, u64) {
    let (mut factor, mut earlier) = (1.0, 0);
    for swell in swells.iter().filter(|swell| swell.covers(at_ms)) {
        match swell.kind {
            SwellKind::Times(times) => factor *= times,
            SwellKind::Growth => {
                factor *= libm::pow(1.05, (at_ms - swell.from_ms) as f64 / DAY_MS as f64);
            }
            SwellKind::Earlier { ms } => earlier += ms,
            SwellKind::Extra { .. } | SwellKind::Outage => {}
        }
    }
    (factor, earlier)
}

/// Calls that a swell brings on top, in microseconds from the day's begin: a job that runs evenly.
fn extra(key: &FleetKey, day: u64, swell: &Swell, times: f64, rng: &mut Rng) -> Vec<u64> {
    let begin_ms = START_MS + day * DAY_MS;
    let from = swell.from_ms.max(begin_ms);
    let until = swell.until_ms.min(begin_ms + DAY_MS);
    if from >= until {
        return Vec::new();
    }
    let length = until - from;
    let expected = times * key.calls_per_day * length as f64 / DAY_MS as f64;
    let stretch = Stretch { length_us: length * 1_000, expected, spread: 0.7 };
    let mut calls = arrivals(std::iter::once(stretch), CALLS_MAX, rng);
    calls.iter_mut().for_each(|at_us| *at_us += (from - begin_ms) * 1_000);
    calls
}

/// Models are listed at the start by programs that do so, by pipelines now and then, and hardly ever else.
fn lists(key: &FleetKey, day: u64, rng: &mut Rng, slots: &mut Vec<Slot>) {
    let begin_ms = START_MS + day * DAY_MS;
    let deployed: &[u64] = if key.lists { &key.life().deployments } else { &[] };
    let deployed = deployed.iter().filter(|&&at_ms| (begin_ms..begin_ms + DAY_MS).contains(&at_ms));
    let mut times: Vec<u64> = deployed.map(|at_ms| at_ms * 1_000 + rng.below(60_000_000)).collect();
    let rarely = match key.workload {
        Workload::Ci => 0.1,
        Workload::Team => 0.02,
        _ => 0.0,
    };
    // Beside a call, so that nobody lists in the middle of the night for no reason.
    if rng.chance(rarely)
        && let Some(beside) = rng.pick_from(slots)
    {
        times.push(beside.at_us.saturating_sub(rng.below(2_000_000)).max(begin_ms * 1_000));
    }
    for at_us in times {
        slots.push(Slot { at_us, seed: rng.next_u64(), tries: 0, status: 200, kind: SlotKind::List });
    }
}

/// Lets calls fail and be tried again, before the day ends.
fn fail(key: &FleetKey, end_us: u64, rng: &mut Rng, slots: &mut Vec<Slot>) {
    let mut again = Vec::new();
    for slot in slots.iter_mut() {
        let storm = key
            .life()
            .swells
            .iter()
            .any(|swell| swell.kind == SwellKind::Outage && swell.covers(slot.at_us / 1_000));
        let chance = if storm { 0.85 } else { key.failing };
        if !rng.chance(chance) {
            continue;
        }
        slot.status = status(key.dialect(), storm, rng);
        let tries_max = if storm { rng.range(2, 6) as u8 } else { 2 };
        let mut last = *slot;
        while last.status >= 429 && last.tries < tries_max {
            // Half a second, doubled each time, as the SDKs do.
            let wait = (500_000_u64 << last.tries).min(8_000_000);
            last.at_us += last_answer_us(last.status) + wait + rng.below(wait / 4);
            last.tries += 1;
            let fails = if storm { 0.85 } else { 0.1 };
            last.status = if rng.chance(fails) { status(key.dialect(), storm, rng) } else { 200 };
            if last.at_us >= end_us {
                break;
            }
            again.push(last);
        }
    }
    slots.append(&mut again);
}

const fn last_answer_us(status: u16) -> u64 {
    if status == 429 { 40_000 } else { 900_000 }
}

/// How a provider fails: limits first, then overload, then what the caller did wrong.
fn status(dialect: Dialect, storm: bool, rng: &mut Rng) -> u16 {
    let overloaded = if dialect == Dialect::OpenAi { 503 } else { 529 };
    match rng.below(100) {
        _ if storm => *rng.pick(&[500, 500, overloaded, overloaded, 429]),
        0..45 => 429,
        45..65 => 500,
        65..80 => overloaded,
        _ => 400,
    }
}

/// Mixes what is known of a call into a number of its own.
pub(crate) const fn request_bits(seed: u64, tries: u8) -> u128 {
    let high = rng::mix(seed ^ (tries as u64).rotate_left(48));
    ((high as u128) << 64) | rng::mix(high) as u128
}
