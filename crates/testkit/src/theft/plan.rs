//! Who calls when, and how much: a theft as a list of steps in time order.

use std::net::IpAddr;

use tokenwatch_model::provider::Dialect;

use super::{Theft, Victim};
use crate::place::Network;
use crate::place::table::{ACCESS_ABUSED, EXIT, HOSTING_ABUSED, TOR};
use crate::rng::Rng;
use crate::sim::Tokens;
use crate::software::{Family, Software};
use crate::traffic::{DAY_MS, Row};

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Most steps of one theft, so that a busy victim's mimic stays in memory.
const STEPS_MAX: usize = 200_000;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Lists the models.
    ListModels,
    /// A conversation without content and with no tokens allowed: refused, but only if the key works.
    EmptyChat,
    /// Asks for the organisation.
    Organisation,
    /// One small real call.
    Probe,
    /// What the key was stolen for; `turn` counts in its conversation.
    Use { turn: u32 },
    /// One of the victim's own rows, played again by the mimic.
    Copy,
}

/// One call to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) at_ms: u64,
    /// Index into [`Plan::actors`].
    pub(crate) actor: usize,
    pub(crate) act: Act,
    pub(crate) tokens: Tokens,
}

/// Somebody who calls: an address and the software behind it.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub(crate) source: IpAddr,
    pub(crate) software: Software,
    /// Whether it takes the dearest model there is rather than the most wanted, or the victim's own.
    pub(crate) taste: Taste,
    /// Share of calls that stream.
    pub(crate) stream_share: f64,
    /// Output limit it sets; `None` sets none where the dialect allows that.
    pub(crate) limit: Option<u32>,
    /// Whether it works on files with tools, as coding agents do.
    pub(crate) codes: bool,
}

/// Which model an actor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taste {
    /// What is wanted most: new and dear.
    Wanted,
    /// The dearest there is.
    Dearest,
    /// What the victim uses.
    Victims,
}

/// A theft, planned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) actors: Vec<Actor>,
    pub(crate) steps: Vec<Step>,
}

/// Plans a theft whose first call comes at `first_ms`.
pub(crate) fn plan(theft: Theft, victim: &Victim, rng: &mut Rng, first_ms: u64) -> Plan {
    let mut plan = Plan::default();
    match theft {
        Theft::Validation => {
            plan.check(victim, rng, first_ms);
        }
        Theft::Recheckers => recheckers(&mut plan, victim, rng, first_ms),
        Theft::SmashAndGrab => smash_and_grab(&mut plan, victim, rng, first_ms),
        Theft::Resale => resale(&mut plan, victim, rng, first_ms),
        Theft::AgentSessions => agent_sessions(&mut plan, victim, rng, first_ms),
        Theft::ModelUpgrade => model_upgrade(&mut plan, victim, rng, first_ms),
        Theft::QuietSharing => quiet_sharing(&mut plan, victim, rng, first_ms),
        Theft::OffHours => off_hours(&mut plan, victim, rng, first_ms),
        Theft::Crowd => crowd(&mut plan, victim, rng, first_ms),
        Theft::InsideBurst => inside_burst(&mut plan, victim, rng, first_ms),
        Theft::Mimic => mimic(&mut plan, victim, rng, first_ms),
    }
    plan.steps.sort_by_key(|step| step.at_ms);
    plan.steps.truncate(STEPS_MAX);
    plan
}

impl Actor {
    fn new(network: &Network, software: Software, rng: &mut Rng) -> Self {
        Self {
            source: network.host(rng),
            software,
            taste: Taste::Wanted,
            stream_share: 0.0,
            limit: None,
            codes: false,
        }
    }
}

impl Plan {
    fn actor(&mut self, actor: Actor) -> usize {
        self.actors.push(actor);
        self.actors.len() - 1
    }

    fn step(&mut self, at_ms: u64, actor: usize, act: Act, tokens: Tokens) {
        self.steps.push(Step { at_ms, actor, act, tokens });
    }

    /// A checker's visit from a hosting or VPN address. Returns when it is over.
    fn check(&mut self, victim: &Victim, rng: &mut Rng, at_ms: u64) -> u64 {
        let network = if rng.chance(0.6) { rng.pick(&HOSTING_ABUSED) } else { rng.pick(&EXIT) };
        let actor = Actor::new(network, Software::plain(Family::Aiohttp, "3.9.5"), rng);
        self.check_by(actor, victim, rng, at_ms)
    }

    /// OpenAI: models, two conversations that must be refused, the organisation, within two seconds.
    /// Anthropic: one small call.
    fn check_by(&mut self, actor: Actor, victim: &Victim, rng: &mut Rng, at_ms: u64) -> u64 {
        let actor = self.actor(actor);
        if victim.dialect() == Dialect::Anthropic {
            let tokens =
                Tokens { input: rng.range(8, 10) as u32, cached: 0, output: rng.range(8, 40) as u32 };
            self.step(at_ms, actor, Act::Probe, tokens);
            return at_ms + SECOND_MS;
        }
        let mut at = at_ms;
        for act in [Act::ListModels, Act::EmptyChat, Act::EmptyChat, Act::Organisation] {
            self.step(at, actor, act, Tokens::default());
            at += rng.range(250, 600);
        }
        at
    }

    /// Calls at random moments with a mean number an hour, until `until`.
    fn arrivals(rng: &mut Rng, from: u64, until: u64, per_hour: f64) -> Vec<u64> {
        let mean_ms = HOUR_MS as f64 / per_hour.max(0.01);
        let mut times = Vec::new();
        let mut at = from as f64 + rng.exponential(mean_ms);
        while at < until as f64 && times.len() < STEPS_MAX {
            times.push(at as u64);
            at += rng.exponential(mean_ms);
        }
        times
    }
}

fn tokens(rng: &mut Rng, input: (f64, f64), output: (f64, f64)) -> Tokens {
    Tokens {
        input: rng.log_uniform(input.0, input.1) as u32,
        cached: 0,
        output: rng.log_uniform(output.0, output.1) as u32,
    }
}

/// User agents seen on stolen keys.
fn thief_software(rng: &mut Rng) -> Software {
    match rng.below(7) {
        0 => Software::plain(Family::Aiohttp, "3.9.5"),
        1 => Software::plain(Family::Axios, "1.6.1"),
        2 => Software::plain(Family::Axios, "1.7.4"),
        3 => Software::plain(Family::Urllib3, "2.0.7"),
        4 => Software::plain(Family::Browser, "126.0.0.0"),
        5 => Software::plain(Family::Requests, "2.32.3"),
        _ => Software::plain(Family::Silent, ""),
    }
}

/// Agents of the end users behind a proxy that passes `user-agent` on: one to a user.
fn end_user_software(rng: &mut Rng) -> Software {
    const CHROME: [&str; 8] = [
        "120.0.0.0",
        "121.0.0.0",
        "122.0.0.0",
        "123.0.0.0",
        "124.0.0.0",
        "125.0.0.0",
        "126.0.0.0",
        "127.0.0.0",
    ];
    match rng.below(3) {
        0 => thief_software(rng),
        _ => {
            let version = rng.pick(&CHROME);
            Software::plain(Family::Browser, version)
        }
    }
}

fn recheckers(plan: &mut Plan, victim: &Victim, rng: &mut Rng, first_ms: u64) {
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

fn smash_and_grab(plan: &mut Plan, victim: &Victim, rng: &mut Rng, first_ms: u64) {
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

/// Conversations of many end users: the context grows by a turn until it is full, then starts again.
struct Chats {
    users: Vec<(usize, u32, u32)>,
}

impl Chats {
    const FIRST: (u64, u64) = (2_000, 6_000);
    const FULL: u32 = 16_384;

    fn new(actors: &[usize], users: u64, rng: &mut Rng) -> Self {
        let users = (0..users)
            .map(|user| {
                let actor = actors.get(user as usize % actors.len().max(1)).copied().unwrap_or_default();
                (actor, rng.range(Self::FIRST.0, u64::from(Self::FULL)) as u32, rng.below(20) as u32)
            })
            .collect();
        Self { users }
    }

    /// The next call of some user: actor, turn, tokens.
    fn next(&mut self, rng: &mut Rng) -> (usize, u32, Tokens) {
        let index = rng.below(self.users.len() as u64) as usize;
        let Some((actor, context, turn)) = self.users.get_mut(index) else {
            return (0, 0, Tokens::default());
        };
        let output = rng.range(120, 400) as u32;
        let spent = Tokens { input: *context, cached: 0, output };
        let said = (*actor, *turn, spent);
        *context += output + rng.range(50, 300) as u32;
        *turn += 1;
        if *context > Self::FULL {
            (*context, *turn) = (rng.range(Self::FIRST.0, Self::FIRST.1) as u32, 0);
        }
        said
    }
}

fn resale(plan: &mut Plan, victim: &Victim, rng: &mut Rng, first_ms: u64) {
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
            let (actor, turn, spent) = chats.next(rng);
            plan.step(at, actor, Act::Use { turn }, spent);
        }
    }
}

fn agent_sessions(plan: &mut Plan, victim: &Victim, rng: &mut Rng, first_ms: u64) {
    const SESSIONS: u64 = 7;
    const TOKENS: u64 = 100_000_000;
    let checked = plan.check(victim, rng, first_ms);
    let from = checked + rng.range(10, 90) * MINUTE_MS;
    let length = rng.range(DAY_MS, 3 * DAY_MS);
    let routers: Vec<IpAddr> = (0..rng.range(1, 5)).map(|_| rng.pick(&HOSTING_ABUSED).host(rng)).collect();
    for session in 0..SESSIONS {
        let software = match victim.dialect() {
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
            plan.step(at, actor, Act::Use { turn }, tokens);
        }
    }
}

fn victims_row(victim: &Victim, rng: &mut Rng) -> Row {
    let usual = Row { t_ms: 0, input_tokens: 500, output_tokens: 100 };
    rng.pick_from(&victim.rows).copied().unwrap_or(usual)
}

fn model_upgrade(plan: &mut Plan, victim: &Victim, rng: &mut Rng, first_ms: u64) {
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

fn quiet_sharing(plan: &mut Plan, victim: &Victim, rng: &mut Rng, first_ms: u64) {
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

fn off_hours(plan: &mut Plan, victim: &Victim, rng: &mut Rng, first_ms: u64) {
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

fn crowd(plan: &mut Plan, victim: &Victim, rng: &mut Rng, first_ms: u64) {
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
        let (_, turn, spent) = chats.next(rng);
        let place = ((at - from) / TURN_MS * AT_ONCE + rng.below(AT_ONCE)) % NETWORKS;
        let actor = actors.get(place as usize).copied().unwrap_or_default();
        plan.step(at, actor, Act::Use { turn }, spent);
    }
}

fn inside_burst(plan: &mut Plan, victim: &Victim, rng: &mut Rng, first_ms: u64) {
    let software = *rng.pick(&[
        Software::plain(Family::Curl, "8.5.0"),
        Software::plain(Family::Requests, "2.32.3"),
        Software::plain(Family::Urllib3, "2.0.7"),
    ]);
    let actor = plan.actor(Actor {
        source: victim.persona.source(0, first_ms, rng),
        software,
        taste: Taste::Victims,
        stream_share: 0.0,
        limit: Some(1_024),
        codes: false,
    });
    let rate = rng.range(2_000, 6_000) as f64;
    for at in Plan::arrivals(rng, first_ms, first_ms + HOUR_MS, rate) {
        let spent = tokens(rng, (500.0, 6_000.0), (100.0, 1_000.0));
        plan.step(at, actor, Act::Use { turn: 0 }, spent);
    }
}

/// Plays a tenth of the victim's rows again, at their hour of the day, over two days.
fn mimic(plan: &mut Plan, victim: &Victim, rng: &mut Rng, first_ms: u64) {
    let actor = plan.actor(Actor {
        source: victim.persona.source(0, first_ms, rng),
        software: Software::plain(Family::Silent, ""),
        taste: Taste::Victims,
        stream_share: 0.0,
        limit: None,
        codes: false,
    });
    let midnight = first_ms - first_ms % DAY_MS;
    // So many rows a day, whatever part of them is known.
    let wanted = (victim.calls_per_hour * 24.0 * 0.1).ceil() as usize;
    for day in 0..3 {
        for _ in 0..wanted {
            let row = victims_row(victim, rng);
            let time_of_day = victim.persona.start_ms().saturating_add(row.t_ms) % DAY_MS;
            let at = midnight + day * DAY_MS + time_of_day;
            if (first_ms..first_ms + 2 * DAY_MS).contains(&at) {
                let spent = Tokens { input: row.input_tokens, cached: 0, output: row.output_tokens };
                plan.step(at, actor, Act::Copy, spent);
            }
        }
    }
}
