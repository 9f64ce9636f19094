//! The thefts of the reference evaluation that no single report describes, from loud ones to perfect mimics.
//!
//! Their rates are assumptions ("est."), drawn anew for each theft.

use tokenwatch_model::network::NetworkKind;

use super::Theft;
use super::habits::Habits;
use super::plan::{
    Act, Actor, Chats, HOUR_MS, MINUTE_MS, Plan, SECOND_MS, Taste, end_user_software, thief_software, tokens,
    victims_row,
};
use crate::place::Network;
use crate::place::table::{
    ACCESS_ABUSED, ACCESS_WIDE, CLOUD_WIDE, EXIT, EXIT_WIDE, HOSTING_ABUSED, HOSTING_WIDE, all,
};
use crate::rng::Rng;
use crate::sim::Tokens;
use crate::software::{Family, Software};
use crate::traffic::DAY_MS;

/// A hosting network thieves rent from.
fn rented(rng: &mut Rng) -> &'static Network {
    if rng.chance(0.5) { rng.pick(&HOSTING_ABUSED) } else { rng.pick(&HOSTING_WIDE) }
}

/// Any network of thieves: hosting, VPN exits, homes.
fn any_network(rng: &mut Rng) -> &'static Network {
    match rng.below(100) {
        0..55 => rented(rng),
        55..75 if rng.chance(0.5) => rng.pick(&EXIT),
        55..75 => rng.pick(&EXIT_WIDE),
        75..88 => rng.pick(&ACCESS_ABUSED),
        _ => rng.pick(&ACCESS_WIDE),
    }
}

/// A network of another operator in the victim's country, hosting more often than homes.
fn near(victim: &Habits, rng: &mut Rng) -> &'static Network {
    let kind = if rng.chance(0.6) { NetworkKind::Hosting } else { NetworkKind::Access };
    let is_near =
        |network: &&Network| network.country == victim.network.country && network.asn != victim.network.asn;
    let near: Vec<&Network> = all().filter(is_near).collect();
    let alike: Vec<&Network> = near.iter().copied().filter(|network| network.kind == kind).collect();
    rng.pick_from(&alike).or(near.first()).copied().unwrap_or(&CLOUD_WIDE[0])
}

/// A network of the victim's kind in another country: only the country tells it, and what comes with it.
fn abroad(victim: &Habits, rng: &mut Rng) -> &'static Network {
    let hosted = victim.network.kind == NetworkKind::Hosting;
    let same_cloud = hosted && rng.chance(0.4);
    let wanted = |network: &&Network| {
        network.kind == victim.network.kind
            && network.country != victim.network.country
            && (!same_cloud || network.asn == victim.network.asn)
    };
    let abroad: Vec<&Network> = all().filter(wanted).collect();
    match rng.pick_from(&abroad) {
        Some(network) => network,
        None if hosted => rng.pick(&HOSTING_WIDE),
        None => rng.pick(&ACCESS_WIDE),
    }
}

/// Somebody who shows the victim's software and uses its models.
fn disguised(network: &'static Network, victim: &Habits, rng: &mut Rng) -> Actor {
    let thief = Actor::new(network, victim.software, rng);
    Actor { taste: Taste::Victims, disguised: true, limit: Some(4_096), ..thief }
}

fn victims_sizes(victim: &Habits, rng: &mut Rng) -> Tokens {
    let row = victims_row(victim, rng);
    Tokens { input: row.input_tokens, cached: 0, output: row.output_tokens }
}

/// At least one call, and others at a mean number an hour.
fn steady(rng: &mut Rng, from: u64, length_ms: u64, per_hour: f64) -> Vec<u64> {
    let mut times = vec![from];
    times.extend(Plan::arrivals(rng, from, from + length_ms, per_hour));
    times
}

/// A number of own prompt templates.
fn few(rng: &mut Rng) -> u64 {
    rng.range(1, 4)
}

pub(super) fn burst_resale(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let mut from = first_ms;
    if rng.chance(0.5) {
        from = plan.check(victim, rng, first_ms) + rng.range(1, 30) * MINUTE_MS;
    }
    let network = rented(rng);
    let host = Actor::new(network, thief_software(rng), rng);
    let passes_agents = rng.chance(0.4);
    let actors: Vec<usize> = (0..if passes_agents { rng.range(5, 40) } else { rng.range(1, 3) })
        .map(|_| {
            let software = if passes_agents { end_user_software(rng) } else { host.software };
            let source = if passes_agents { host.source } else { network.host(rng) };
            plan.actor(Actor { software, source, stream_share: 0.7, limit: Some(1_024), ..host.clone() })
        })
        .collect();
    let mut chats = Chats::new(&actors, rng.range(15, 80), rng);
    let rate = rng.log_uniform(300.0, 3_000.0);
    let length_ms = rng.range(HOUR_MS, 6 * HOUR_MS);
    for at in steady(rng, from, length_ms, rate) {
        let (user, actor, turn, spent) = chats.next(rng);
        plan.chat(at, actor, Act::Use { turn }, spent, user);
    }
}

pub(super) fn low_and_slow(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let network = any_network(rng);
    let thief = Actor::new(network, thief_software(rng), rng);
    let taste = if rng.chance(0.6) { Taste::Victims } else { Taste::Wanted };
    let actor = plan.actor(Actor { taste, stream_share: 0.5, limit: Some(4_096), ..thief });
    let prompts = few(rng);
    for at in steady(rng, first_ms, 2 * DAY_MS, victim.calls_per_hour * 0.3) {
        let spent = victims_sizes(victim, rng);
        plan.chat(at, actor, Act::Use { turn: 0 }, spent, rng.below(prompts) as u32);
    }
}

pub(super) fn dearest_near(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let thief = Actor::new(near(victim, rng), thief_software(rng), rng);
    let actor = plan.actor(Actor { taste: Taste::Dearest, stream_share: 0.6, limit: Some(8_192), ..thief });
    let (prompts, rate) = (few(rng), rng.log_uniform(20.0, 200.0));
    let length_ms = rng.range(2 * HOUR_MS, 8 * HOUR_MS);
    for at in steady(rng, first_ms, length_ms, rate) {
        let spent = tokens(rng, (800.0, 12_000.0), (200.0, 3_000.0));
        plan.chat(at, actor, Act::Use { turn: 0 }, spent, rng.below(prompts) as u32);
    }
}

pub(super) fn recon(plan: &mut Plan, _: &Habits, rng: &mut Rng, first_ms: u64) {
    let thief = Actor::new(any_network(rng), thief_software(rng), rng);
    let actor = plan.actor(thief);
    let second = if rng.chance(0.5) { Act::Organisation } else { Act::EmptyChat };
    let mut at = first_ms;
    for act in [Act::ListModels, second, Act::Tiny, Act::Tiny, Act::Tiny] {
        let tiny = Tokens { input: rng.range(8, 12) as u32, cached: 0, output: 1 };
        plan.step(at, actor, act, if act == Act::Tiny { tiny } else { Tokens::default() });
        at += rng.range(300, 20 * SECOND_MS);
    }
}

pub(super) fn orphan_revived(plan: &mut Plan, _: &Habits, rng: &mut Rng, first_ms: u64) {
    let thief = Actor::new(any_network(rng), thief_software(rng), rng);
    let actor = plan.actor(Actor { stream_share: 0.6, limit: Some(2_048), ..thief });
    let (prompts, rate) = (rng.range(1, 20), rng.log_uniform(10.0, 300.0));
    let length_ms = rng.range(4 * HOUR_MS, DAY_MS);
    for at in steady(rng, first_ms, length_ms, rate) {
        let spent = tokens(rng, (500.0, 8_000.0), (100.0, 1_500.0));
        plan.chat(at, actor, Act::Use { turn: 0 }, spent, rng.below(prompts) as u32);
    }
}

pub(super) fn new_country(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let thief = disguised(abroad(victim, rng), victim, rng);
    let actor = plan.actor(thief);
    let (prompts, share) = (few(rng), rng.log_uniform(0.2, 1.0));
    let length_ms = rng.range(DAY_MS, 2 * DAY_MS);
    for at in steady(rng, first_ms, length_ms, victim.calls_per_hour * share) {
        let spent = victims_sizes(victim, rng);
        plan.chat(at, actor, Act::Use { turn: 0 }, spent, rng.below(prompts) as u32);
    }
}

pub(super) fn max_cost(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let thief = disguised(victim.network, victim, rng);
    let actor = plan.actor(Actor { limit: Some(16_384), ..thief });
    let (prompts, rate) = (few(rng), rng.log_uniform(20.0, 120.0));
    let length_ms = rng.range(HOUR_MS, 6 * HOUR_MS);
    for at in steady(rng, first_ms, length_ms, rate) {
        let spent = tokens(rng, (30_000.0, 180_000.0), (3_000.0, 16_000.0));
        plan.chat(at, actor, Act::Use { turn: 0 }, spent, rng.below(prompts) as u32);
    }
}

/// From two per cent of the victim's rate, a quarter more each day for a week, or three per cent more each hour for
/// three days.
pub(super) fn slow_ramp(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let thief = disguised(near(victim, rng), victim, rng);
    let actor = plan.actor(thief);
    let prompts = few(rng);
    let (hours, growth) = if rng.chance(0.5) { (7 * 24, libm::pow(1.25, 1.0 / 24.0)) } else { (72, 1.03) };
    let mut times = vec![first_ms];
    for hour in 0..hours {
        let rate = 0.02 * victim.calls_per_hour * libm::pow(growth, hour as f64);
        let start = first_ms + hour * HOUR_MS;
        times.extend(Plan::arrivals(rng, start, start + HOUR_MS, rate));
    }
    for at in times {
        let spent = victims_sizes(victim, rng);
        plan.chat(at, actor, Act::Use { turn: 0 }, spent, rng.below(prompts) as u32);
    }
}

/// The victim's rate, hours, sizes, software and models: from a network new to it, or from its own region in a block new
/// to it; with prompts of the thief's own, or the victim's.
pub(super) fn near_mimic(theft: Theft, plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let network = match theft {
        Theft::MimicNewNetwork if rng.chance(0.5) => near(victim, rng),
        Theft::MimicNewNetwork => rented(rng),
        _ => victim.network,
    };
    let thief = disguised(network, victim, rng);
    let actor = plan.actor(thief);
    let act = if theft == Theft::MimicVictimsPrompts { Act::Borrow } else { Act::Use { turn: 0 } };
    let (prompts, share) = (few(rng), rng.log_uniform(0.3, 1.0));
    for at in victims_hours(victim, rng, first_ms, share) {
        let spent = victims_sizes(victim, rng);
        plan.chat(at, actor, act, spent, rng.below(prompts) as u32);
    }
}

/// A tenth of the victim's rows again, from its own places: the control.
pub(super) fn mimic(plan: &mut Plan, victim: &Habits, rng: &mut Rng, first_ms: u64) {
    let actor = plan.actor(Actor {
        source: victim.inside,
        software: Software::plain(Family::Silent, ""),
        taste: Taste::Victims,
        stream_share: 0.0,
        limit: None,
        codes: false,
        disguised: true,
    });
    for at in victims_hours(victim, rng, first_ms, 0.1) {
        let spent = victims_sizes(victim, rng);
        plan.step(at, actor, Act::Copy, spent);
    }
}

/// Times of two days with the victim's hours: a share of its calls of a day, whatever part of them is known.
fn victims_hours(victim: &Habits, rng: &mut Rng, first_ms: u64, share: f64) -> Vec<u64> {
    let midnight = first_ms - first_ms % DAY_MS;
    let wanted = (victim.calls_per_hour * 24.0 * share).ceil() as usize;
    let mut times = Vec::new();
    for day in 0..3 {
        for _ in 0..wanted {
            let row = victims_row(victim, rng);
            let time_of_day = victim.rows_start_ms.saturating_add(row.t_ms) % DAY_MS;
            let at = midnight + day * DAY_MS + time_of_day;
            if (first_ms..first_ms + 2 * DAY_MS).contains(&at) {
                times.push(at);
            }
        }
    }
    if times.is_empty() {
        times.push(first_ms);
    }
    times
}
