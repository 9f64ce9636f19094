//! Who calls when, and how much: a theft as a list of steps in time order.

use std::net::IpAddr;

use tokenwatch_model::provider::Dialect;

use super::Theft;
use super::habits::Habits;
use super::{documented, reference};
use crate::place::Network;
use crate::place::table::{EXIT, HOSTING_ABUSED};
use crate::rng::Rng;
use crate::sim::Tokens;
use crate::software::{Family, Software};
use crate::traffic::Row;

pub(super) const SECOND_MS: u64 = 1_000;
pub(super) const MINUTE_MS: u64 = 60 * SECOND_MS;
pub(super) const HOUR_MS: u64 = 60 * MINUTE_MS;

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
    /// A real call that may answer with one token.
    Tiny,
    /// A conversation with no tokens allowed, to one of many models; refused as malformed when the key may use it.
    Sweep { model: u32, allowed: bool },
    /// What the key was stolen for; `turn` counts in its conversation.
    Use { turn: u32 },
    /// One of the victim's own rows, played again by the mimic from one of the victim's places.
    Copy,
    /// The same from the actor's place.
    Borrow,
}

/// One call to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) at_ms: u64,
    /// Index into [`Plan::actors`].
    pub(crate) actor: usize,
    pub(crate) act: Act,
    pub(crate) tokens: Tokens,
    /// Which conversation or end user it belongs to; those with one number share their prompt template.
    pub(crate) chat: u32,
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
    /// Whether it shows the victim's software: version, TLS print, parameters, streaming, limits.
    pub(crate) disguised: bool,
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
pub(crate) fn plan(theft: Theft, victim: &Habits, rng: &mut Rng, first_ms: u64) -> Plan {
    let mut plan = Plan::default();
    match theft {
        Theft::Validation => {
            plan.check(victim, rng, first_ms);
        }
        Theft::Recheckers => documented::recheckers(&mut plan, victim, rng, first_ms),
        Theft::SmashAndGrab => documented::smash_and_grab(&mut plan, victim, rng, first_ms),
        Theft::Resale => documented::resale(&mut plan, victim, rng, first_ms),
        Theft::AgentSessions => documented::agent_sessions(&mut plan, victim, rng, first_ms),
        Theft::ModelUpgrade => documented::model_upgrade(&mut plan, victim, rng, first_ms),
        Theft::QuietSharing => documented::quiet_sharing(&mut plan, victim, rng, first_ms),
        Theft::OffHours => documented::off_hours(&mut plan, victim, rng, first_ms),
        Theft::Crowd => documented::crowd(&mut plan, victim, rng, first_ms),
        Theft::InsideBurst => documented::inside_burst(&mut plan, victim, rng, first_ms),
        Theft::Mimic => reference::mimic(&mut plan, victim, rng, first_ms),
        Theft::ModelSweep => documented::model_sweep(&mut plan, victim, rng, first_ms),
        Theft::BurstResale => reference::burst_resale(&mut plan, victim, rng, first_ms),
        Theft::LowAndSlow => reference::low_and_slow(&mut plan, victim, rng, first_ms),
        Theft::DearestNear => reference::dearest_near(&mut plan, victim, rng, first_ms),
        Theft::Recon => reference::recon(&mut plan, victim, rng, first_ms),
        Theft::OrphanRevived => reference::orphan_revived(&mut plan, victim, rng, first_ms),
        Theft::NewCountry => reference::new_country(&mut plan, victim, rng, first_ms),
        Theft::MaxCost => reference::max_cost(&mut plan, victim, rng, first_ms),
        Theft::SlowRamp => reference::slow_ramp(&mut plan, victim, rng, first_ms),
        Theft::MimicNewNetwork | Theft::MimicOwnPrompts | Theft::MimicVictimsPrompts => {
            reference::near_mimic(theft, &mut plan, victim, rng, first_ms);
        }
    }
    plan.steps.sort_by_key(|step| step.at_ms);
    plan.steps.truncate(STEPS_MAX);
    plan
}

impl Actor {
    pub(super) fn new(network: &Network, software: Software, rng: &mut Rng) -> Self {
        Self {
            source: network.host(rng),
            software,
            taste: Taste::Wanted,
            stream_share: 0.0,
            limit: None,
            codes: false,
            disguised: false,
        }
    }
}

impl Plan {
    pub(super) fn actor(&mut self, actor: Actor) -> usize {
        self.actors.push(actor);
        self.actors.len() - 1
    }

    pub(super) fn step(&mut self, at_ms: u64, actor: usize, act: Act, tokens: Tokens) {
        self.chat(at_ms, actor, act, tokens, 0);
    }

    /// A step that belongs to a conversation.
    pub(super) fn chat(&mut self, at_ms: u64, actor: usize, act: Act, tokens: Tokens, chat: u32) {
        self.steps.push(Step { at_ms, actor, act, tokens, chat });
    }

    /// A checker's visit from a hosting or VPN address. Returns when it is over.
    pub(super) fn check(&mut self, victim: &Habits, rng: &mut Rng, at_ms: u64) -> u64 {
        let network = if rng.chance(0.6) { rng.pick(&HOSTING_ABUSED) } else { rng.pick(&EXIT) };
        let actor = Actor::new(network, Software::plain(Family::Aiohttp, "3.9.5"), rng);
        self.check_by(actor, victim, rng, at_ms)
    }

    /// OpenAI: models, two conversations that must be refused, the organisation, within two seconds.
    /// Anthropic: one small call.
    pub(super) fn check_by(&mut self, actor: Actor, victim: &Habits, rng: &mut Rng, at_ms: u64) -> u64 {
        let actor = self.actor(actor);
        if victim.dialect == Dialect::Anthropic {
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
    pub(super) fn arrivals(rng: &mut Rng, from: u64, until: u64, per_hour: f64) -> Vec<u64> {
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

pub(super) fn tokens(rng: &mut Rng, input: (f64, f64), output: (f64, f64)) -> Tokens {
    Tokens {
        input: rng.log_uniform(input.0, input.1) as u32,
        cached: 0,
        output: rng.log_uniform(output.0, output.1) as u32,
    }
}

/// User agents seen on stolen keys.
pub(super) fn thief_software(rng: &mut Rng) -> Software {
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
pub(super) fn end_user_software(rng: &mut Rng) -> Software {
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

/// Conversations of many end users: the context grows by a turn until it is full, then starts again.
pub(super) struct Chats {
    users: Vec<(usize, u32, u32)>,
}

impl Chats {
    const FIRST: (u64, u64) = (2_000, 6_000);
    const FULL: u32 = 16_384;

    pub(super) fn new(actors: &[usize], users: u64, rng: &mut Rng) -> Self {
        let users = (0..users)
            .map(|user| {
                let actor = actors.get(user as usize % actors.len().max(1)).copied().unwrap_or_default();
                (actor, rng.range(Self::FIRST.0, u64::from(Self::FULL)) as u32, rng.below(20) as u32)
            })
            .collect();
        Self { users }
    }

    /// The next call of some user: the user's number, actor, turn, tokens.
    pub(super) fn next(&mut self, rng: &mut Rng) -> (u32, usize, u32, Tokens) {
        let index = rng.below(self.users.len() as u64) as usize;
        let Some((actor, context, turn)) = self.users.get_mut(index) else {
            return (0, 0, 0, Tokens::default());
        };
        let output = rng.range(120, 400) as u32;
        let spent = Tokens { input: *context, cached: 0, output };
        let said = (index as u32, *actor, *turn, spent);
        *context += output + rng.range(50, 300) as u32;
        *turn += 1;
        if *context > Self::FULL {
            (*context, *turn) = (rng.range(Self::FIRST.0, Self::FIRST.1) as u32, 0);
        }
        said
    }
}

pub(super) fn victims_row(victim: &Habits, rng: &mut Rng) -> Row {
    let usual = Row { t_ms: 0, input_tokens: 500, output_tokens: 100 };
    rng.pick_from(&victim.rows).copied().unwrap_or(usual)
}
