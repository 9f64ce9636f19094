//! Thefts that reports describe, step by step.

use std::net::IpAddr;

use tokenwatch_model::provider::Dialect;

use super::habits::Habits;
use super::plan::{
    Act, Actor, Chats, HOUR_MS, MINUTE_MS, Plan, Taste, end_user_software, thief_software, tokens,
    victims_row,
};
use crate::place::table::{ACCESS_ABUSED, EXIT, HOSTING_ABUSED, TOR};
use crate::rng::Rng;
use crate::sim::Tokens;
use crate::software::{Family, Software};
use crate::traffic::DAY_MS;

pub(super) fn recheckers(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let visits = rng.range(3, 8);
    let last_ms = first_ms + 5 * DAY_MS;
    let mut at = first_ms;
    for visit in 0..visits {
        let (network, software) = match visit % 3 {
            0 => (rng.pick(&EXIT), Software::plain(Family::Silent, "")),
            1 => (rng.pick(&HOSTING_ABUSED), Software::plain(Family::Aiohttp, "3.9.5")),
            _ => (rng.pick(&ACCESS_ABUSED), thief_software(rng)),
        };
        let actor = Actor::new(network, software, rng);
        plan.check_by(actor, victim, rng, at);
        // Gaps of 25 minutes to 2.5 days, shortened so that the visits that are left fit.
        let gap = rng.log_uniform(25.0, 2.5 * 24.0 * 60.0) * MINUTE_MS as f64;
        let room = last_ms.saturating_sub(at) / (visits - visit);
        at += (gap as u64).min(room.max(25 * MINUTE_MS));
    }
}

pub(super) fn smash_and_grab(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let checked = plan.check(victim, rng, first_ms);
    let from = checked + rng.range(2, 20) * MINUTE_MS;
    let actors: Vec<usize> = (0..rng.range(1, 4))
        .map(|_| {
            let software = thief_software(rng);
            let actor = Actor::new(rng.pick(&HOSTING_ABUSED), software, rng);
            plan.actor(Actor { limit: Some(1_024), ..actor })
        })
        .collect();
    for at in Plan::arrivals(rng, from, from + 3 * HOUR_MS, 20_000.0) {
        let actor = rng.pick_from(&actors).copied().unwrap_or_default();
        let spent = tokens(rng, (500.0, 8_000.0), (100.0, 1_000.0));
        plan.step(at, actor, Act::Use { turn: 0 }, spent);
    }
}

pub(super) fn resale(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let checked = plan.check(victim, rng, first_ms);
    let from = checked + rng.range(5, 60) * MINUTE_MS;
    let host = Actor::new(rng.pick(&HOSTING_ABUSED), Software::plain(Family::Axios, "1.7.4"), rng);
    let agents = if rng.chance(0.5) { 1 } else { rng.range(20, 60) };
    let actors: Vec<usize> = (0..agents)
        .map(|agent| {
            let software = if agent == 0 { host.software } else { end_user_software(rng) };
            plan.actor(Actor { software, stream_share: 0.7, limit: Some(400), ..host.clone() })
        })
        .collect();
    let users = rng.range(20, 60);
    let mut chats = Chats::new(&actors, users, rng);
    for hour in 0..48 {
        let start = from + hour * HOUR_MS;
        let rate = 1_560.0 * (0.7 + 0.6 * rng.unit());
        for at in Plan::arrivals(rng, start, start + HOUR_MS, rate) {
            let (user, actor, turn, spent) = chats.next(rng);
            plan.chat(at, actor, Act::Use { turn }, spent, user);
        }
    }
}

pub(super) fn agent_sessions(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    const SESSIONS: u64 = 7;
    const TOKENS: u64 = 100_000_000;
    let checked = plan.check(victim, rng, first_ms);
    let from = checked + rng.range(10, 90) * MINUTE_MS;
    let length = rng.range(DAY_MS, 3 * DAY_MS);
    let routers: Vec<IpAddr> = (0..rng.range(1, 5)).map(|_| rng.pick(&HOSTING_ABUSED).host(rng)).collect();
    for session in 0..SESSIONS {
        let software = match victim.dialect {
            Dialect::Anthropic => Software::coding_agent("1.0.98"),
            Dialect::OpenAi => Software::sdk(Family::SdkTypeScript, Dialect::OpenAi, session as usize % 4),
        };
        let actor = Actor::new(rng.pick(&HOSTING_ABUSED), software, rng);
        let source = rng.pick_from(&routers).copied().unwrap_or(actor.source);
        let actor = plan.actor(Actor { source, stream_share: 1.0, limit: Some(8_192), codes: true, ..actor });
        let mut spent = Vec::new();
        let (mut total, mut context, mut turn) = (0_u64, 20_000.0, 0_u32);
        while total < TOKENS / SESSIONS {
            let output = rng.log_uniform(50.0, 1_500.0) as u32;
            let input = context as u32;
            spent.push((turn, Tokens { input, cached: (context * 0.9) as u32, output }));
            total += u64::from(input) + u64::from(output);
            context *= 1.1;
            turn += 1;
            if context > 200_000.0 {
                (context, turn) = (20_000.0, 0);
            }
        }
        let mut times: Vec<u64> = spent.iter().map(|_| from + rng.below(length)).collect();
        times.sort_unstable();
        for (at, (turn, tokens)) in times.into_iter().zip(spent) {
            plan.chat(at, actor, Act::Use { turn }, tokens, session as u32);
        }
    }
}

pub(super) fn model_upgrade(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let software = thief_software(rng);
    let thief = Actor::new(rng.pick(&HOSTING_ABUSED), software, rng);
    let actor = plan.actor(Actor { taste: Taste::Dearest, stream_share: 0.7, limit: Some(4_096), ..thief });
    plan.step(first_ms, actor, Act::Probe, Tokens { input: 9, cached: 0, output: 10 });
    let from = first_ms + rng.range(30, 120) * MINUTE_MS;
    let rate = victim.calls_per_hour * (1.1 + 0.4 * rng.unit());
    for at in Plan::arrivals(rng, from, from + DAY_MS, rate) {
        let row = victims_row(victim, rng);
        let factor = rng.log_uniform(1.0, 3.0);
        let input = (f64::from(row.input_tokens) * factor) as u32;
        let output = ((f64::from(row.output_tokens) * factor) as u32).min(4_096);
        plan.step(at, actor, Act::Use { turn: 0 }, Tokens { input, cached: 0, output });
    }
}

pub(super) fn quiet_sharing(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let network = rng.pick(&ACCESS_ABUSED);
    let actors: Vec<usize> = (0..rng.range(1, 3))
        .map(|_| {
            let software = thief_software(rng);
            let actor = Actor::new(network, software, rng);
            plan.actor(Actor { taste: Taste::Victims, stream_share: 0.5, limit: Some(4_096), ..actor })
        })
        .collect();
    let rate = victim.calls_per_hour * (0.05 + 0.10 * rng.unit());
    let times = Plan::arrivals(rng, first_ms, first_ms + 14 * DAY_MS, rate);
    for at in std::iter::once(first_ms).chain(times) {
        let row = victims_row(victim, rng);
        let actor = rng.pick_from(&actors).copied().unwrap_or_default();
        let spent = Tokens { input: row.input_tokens, cached: 0, output: row.output_tokens };
        plan.step(at, actor, Act::Use { turn: 0 }, spent);
    }
}

pub(super) fn off_hours(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let software = thief_software(rng);
    let network = if rng.chance(0.7) { rng.pick(&ACCESS_ABUSED) } else { rng.pick(&EXIT) };
    let thief = Actor::new(network, software, rng);
    let actor = plan.actor(Actor { stream_share: 0.5, limit: Some(1_024), ..thief });
    let rate = rng.range(20, 60) as f64;
    let quiet = victim.quiet_hours.get(..6).unwrap_or_default();
    let mut hour = first_ms;
    // Three nights of six quiet hours, from the first that comes.
    let mut left = 18;
    while left > 0 && hour < first_ms + 5 * DAY_MS {
        let end = hour - hour % HOUR_MS + HOUR_MS;
        if quiet.contains(&(hour % DAY_MS / HOUR_MS)) {
            left -= 1;
            for at in Plan::arrivals(rng, hour, end, rate) {
                let spent = tokens(rng, (800.0, 8_000.0), (100.0, 900.0));
                plan.step(at, actor, Act::Use { turn: 0 }, spent);
            }
        }
        hour = end;
    }
}

pub(super) fn crowd(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    const NETWORKS: u64 = 40;
    /// How many networks are in use at a time, and for how long.
    const AT_ONCE: u64 = 5;
    const TURN_MS: u64 = 20 * MINUTE_MS;
    let checked = plan.check(victim, rng, first_ms);
    let from = checked + rng.range(5, 60) * MINUTE_MS;
    let actors: Vec<usize> = (0..NETWORKS)
        .map(|index| {
            let network = match index % 4 {
                0 => rng.pick(&HOSTING_ABUSED),
                1 => rng.pick(&EXIT),
                2 if index % 8 == 2 => rng.pick(&TOR),
                _ => rng.pick(&ACCESS_ABUSED),
            };
            let software = end_user_software(rng);
            let actor = Actor::new(network, software, rng);
            plan.actor(Actor { stream_share: 0.7, limit: Some(400), ..actor })
        })
        .collect();
    let mut chats = Chats::new(&actors, 60, rng);
    for at in Plan::arrivals(rng, from, from + DAY_MS, 1_560.0) {
        let (user, _, turn, spent) = chats.next(rng);
        let place = ((at - from) / TURN_MS * AT_ONCE + rng.below(AT_ONCE)) % NETWORKS;
        let actor = actors.get(place as usize).copied().unwrap_or_default();
        plan.chat(at, actor, Act::Use { turn }, spent, user);
    }
}

pub(super) fn inside_burst(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let software = *rng.pick(&[
        Software::plain(Family::Curl, "8.5.0"),
        Software::plain(Family::Requests, "2.32.3"),
        Software::plain(Family::Urllib3, "2.0.7"),
    ]);
    let actor = plan.actor(Actor {
        source: victim.inside,
        software,
        taste: Taste::Victims,
        stream_share: 0.0,
        limit: Some(1_024),
        codes: false,
        disguised: false,
    });
    let rate = rng.range(2_000, 6_000) as f64;
    for at in Plan::arrivals(rng, first_ms, first_ms + HOUR_MS, rate) {
        let spent = tokens(rng, (500.0, 6_000.0), (100.0, 1_000.0));
        plan.step(at, actor, Act::Use { turn: 0 }, spent);
    }
}

/// One address asks many models with a body that must be refused: 400 where the key may use the model, 403 elsewhere.
pub(super) fn model_sweep(plan: &mut Plan, _: &Habits, rng: &mut Rng, first_ms: u64) {
    let network = if rng.chance(0.6) { rng.pick(&HOSTING_ABUSED) } else { rng.pick(&EXIT) };
    let software = *rng.pick(&[
        Software::plain(Family::Aiohttp, "3.9.5"),
        Software::plain(Family::Urllib3, "2.0.7"),
        Software::plain(Family::Requests, "2.32.3"),
    ]);
    let thief = Actor::new(network, software, rng);
    let actor = plan.actor(thief);
    let calls = rng.range(20, 120);
    let length_ms = rng.range(5_000, 20_000);
    let usable = 0.1 + 0.6 * rng.unit();
    plan.step(first_ms, actor, Act::ListModels, Tokens::default());
    for call in 1..calls {
        let at = first_ms + call * length_ms / calls;
        let allowed = rng.chance(usable);
        plan.step(at, actor, Act::Sweep { model: call as u32, allowed }, Tokens::default());
    }
}
