//! The simulated identity of an honest customer: where it calls from, with what software, and what it says.
//!
//! **Simulated.** No public trace has networks, clients or prompts, so everything here is drawn from a seed. Only the
//! times and token counts of the rows it is given are real.

use std::net::IpAddr;

use hyper::Method;
use tokenwatch_model::SmolStr;
use tokenwatch_model::key::Workload;
use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_model::time::Timestamp;

use crate::body::Talk;
use crate::place::table::{ACCESS, CLOUD};
use crate::place::{Block, Network};
use crate::rng::{self, Rng};
use crate::sim::{Label, SimRequest, Tokens};
use crate::software::{Family, Software};
use crate::traffic::Row;

mod prompts;

use prompts::Role;

const HOUR_MS: u64 = 3_600_000;
/// Output limit that every request sets; the longest answer of the sample has 2,223 tokens.
const OUTPUT_TOKENS_MAX: u32 = 4_096;

/// A harmless change that must not be taken for a theft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BenignChange {
    /// The SDK is upgraded by one release.
    SdkUpgrade,
    /// Calls come from one more /24 of the same networks.
    NewPrefix,
    /// The system prompt gets a new version.
    NewPrompt,
    /// A part of the calls moves to another model of the same provider.
    NewModel,
}

impl BenignChange {
    /// Every change.
    pub const ALL: [Self; 4] = [Self::SdkUpgrade, Self::NewPrefix, Self::NewPrompt, Self::NewModel];

    /// The word used on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SdkUpgrade => "sdk-upgrade",
            Self::NewPrefix => "new-prefix",
            Self::NewPrompt => "new-prompt",
            Self::NewModel => "new-model",
        }
    }
}

/// One place that sends requests: a server, a pool, a colleague.
#[derive(Clone, Debug)]
struct Seat {
    software: Software,
    /// Blocks it calls from.
    blocks: Vec<Block>,
}

/// A simulated customer.
#[derive(Clone, Debug)]
pub struct Persona {
    name: SmolStr,
    seed: u64,
    workload: Workload,
    dialect: Dialect,
    /// Unix time of the rows' time 0.
    start_ms: u64,
    network: &'static Network,
    office: Option<Block>,
    seats: Vec<Seat>,
    models: Vec<&'static str>,
    roles: Vec<&'static Role>,
    stream_share: f64,
    changes: Vec<(BenignChange, u64)>,
}

/// Models honest customers use, everyday ones first.
const OPENAI_MODELS: [&str; 4] = ["gpt-4o-mini", "gpt-4.1-mini", "gpt-4o", "gpt-4.1"];
const ANTHROPIC_MODELS: [&str; 3] = ["claude-haiku-4-5", "claude-sonnet-4-5", "claude-sonnet-4-6"];

impl Persona {
    /// A customer drawn from `seed`. `start_ms` is the Unix time that the rows' time 0 stands for; a midnight, if
    /// the rhythm of the day is to be right.
    pub fn new(seed: u64, name: &str, workload: Workload, start_ms: u64) -> Self {
        let mut rng = Rng::new(seed).fork(name);
        let dialect = if rng.chance(0.6) { Dialect::OpenAi } else { Dialect::Anthropic };
        Self::build(seed, name, workload, dialect, start_ms, &mut rng)
    }

    /// The same with a chosen dialect.
    pub fn with_dialect(seed: u64, name: &str, workload: Workload, dialect: Dialect, start_ms: u64) -> Self {
        Self::build(seed, name, workload, dialect, start_ms, &mut Rng::new(seed).fork(name))
    }

    fn build(
        seed: u64,
        name: &str,
        workload: Workload,
        dialect: Dialect,
        start_ms: u64,
        rng: &mut Rng,
    ) -> Self {
        let people = matches!(workload, Workload::Team | Workload::PublicApp);
        let network = if people { rng.pick(&ACCESS) } else { rng.pick(&CLOUD) };
        let family = *rng.pick(&[Family::SdkPython, Family::SdkPython, Family::SdkTypeScript]);
        let release = rng.below(3) as usize;
        let sdk = Software::sdk(family, dialect, release);
        let (seats, blocks) = match workload {
            Workload::Pool => (1, 8),
            Workload::Ci => (1, 16),
            Workload::Team => (7, 1),
            Workload::PublicApp => (60, 1),
            Workload::Service | Workload::Unknown => (1, 1),
        };
        let machines = [("MacOS", "arm64"), ("Windows", "x64"), ("Linux", "x64")];
        let seats = (0..seats)
            .map(|_| {
                let home = if people { rng.pick(&ACCESS) } else { network };
                let (os, arch) = *rng.pick(&machines);
                Seat {
                    software: if people { sdk.on(os, arch) } else { sdk },
                    blocks: (0..blocks).map(|_| home.block(rng)).collect(),
                }
            })
            .collect();
        let office = (workload == Workload::Team).then(|| network.block(rng));
        let first = rng.below(3) as usize;
        let roles: Vec<&Role> = (0..if people { 3 } else { 1 + rng.below(2) as usize })
            .map(|i| &prompts::ROLES[(first + i * 5) % prompts::ROLES.len()])
            .collect();
        let main = rng.below(2) as usize;
        let models = match dialect {
            Dialect::OpenAi => vec![OPENAI_MODELS[main], OPENAI_MODELS[main + 2]],
            Dialect::Anthropic => vec![ANTHROPIC_MODELS[main], ANTHROPIC_MODELS[main + 1]],
        };
        let stream_share = if people { 0.8 } else { *rng.pick(&[0.0, 0.0, 1.0, 0.5]) };
        Self {
            name: name.into(),
            seed,
            workload,
            dialect,
            start_ms,
            network,
            office,
            seats,
            models,
            roles,
            stream_share,
            changes: Vec::new(),
        }
    }

    /// The customer with a harmless change from `at_ms` (Unix milliseconds) on.
    #[must_use]
    pub fn with_change(mut self, change: BenignChange, at_ms: u64) -> Self {
        self.changes.push((change, at_ms));
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kind of caller it is.
    pub const fn workload(&self) -> Workload {
        self.workload
    }

    /// The protocol it speaks.
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Models it uses, the usual one first.
    pub fn models(&self) -> &[&'static str] {
        &self.models
    }

    /// Unix time of the rows' time 0, in milliseconds.
    pub const fn start_ms(&self) -> u64 {
        self.start_ms
    }

    /// Where its machines or its office are.
    pub(crate) const fn network(&self) -> &'static Network {
        self.network
    }

    /// Whether a change is in force, and how many times.
    fn changed(&self, change: BenignChange, at_ms: u64) -> usize {
        self.changes.iter().filter(|&&(c, from)| c == change && from <= at_ms).count()
    }

    /// An address the customer calls from at a time.
    pub(crate) fn source(&self, seat: usize, at_ms: u64, rng: &mut Rng) -> IpAddr {
        let fresh = self.changed(BenignChange::NewPrefix, at_ms);
        if fresh > 0 && rng.chance(0.4) {
            let mut draw = Rng::new(self.seed).fork("new prefix");
            let block = self.network.block(&mut draw);
            return block.fixed(1 + draw.below(200) as u8);
        }
        let seat_blocks = self.seats.get(seat).map(|seat| seat.blocks.as_slice()).unwrap_or_default();
        let Some(&block) = rng.pick_from(seat_blocks) else { return self.network.host(rng) };
        // A number that belongs to this customer and changes with what is put in.
        let lasting =
            |what: u64| 1 + (rng::mix(self.seed ^ rng::hash(self.name.as_bytes()) ^ what) % 254) as u8;
        match self.workload {
            Workload::Service | Workload::Unknown => block.fixed(lasting(rng.below(3))),
            // Instances live for an hour, runners for ten minutes.
            Workload::Pool => block.fixed(lasting(at_ms / HOUR_MS * 4 + rng.below(4))),
            Workload::Ci => block.fixed(lasting(at_ms / (HOUR_MS / 6))),
            Workload::Team | Workload::PublicApp => {
                let hour = Timestamp::from_ms(at_ms).hour_of_day();
                match self.office {
                    Some(office) if (8..19).contains(&hour) && rng.chance(0.75) => office.fixed(lasting(1)),
                    _ => block.fixed(lasting(seat as u64 + 100)),
                }
            }
        }
    }

    /// The software of a seat at a time.
    pub(crate) fn software(&self, seat: usize, at_ms: u64) -> Software {
        let default = Software::sdk(Family::SdkPython, self.dialect, 0);
        let software = self.seats.get(seat).map_or(default, |seat| seat.software);
        match self.changed(BenignChange::SdkUpgrade, at_ms) {
            0 => software,
            steps => software.upgraded(self.dialect, steps),
        }
    }

    /// The request that stands for one row of the trace.
    pub fn request_for(&self, row: &Row, rng: &mut Rng) -> SimRequest {
        let at_ms = self.start_ms.saturating_add(row.t_ms);
        let seat = rng.below(self.seats.len() as u64) as usize;
        let software = self.software(seat, at_ms);
        let source = self.source(seat, at_ms, rng);
        let second = rng.chance(0.15 + 0.35 * self.changed(BenignChange::NewModel, at_ms).min(1) as f64);
        let model = self.models.get(usize::from(second)).or(self.models.first()).copied().unwrap_or_default();
        let role = rng.pick_from(&self.roles).copied().unwrap_or(&prompts::ROLES[0]);
        let stream = rng.chance(self.stream_share);
        let version = 1 + self.changed(BenignChange::NewPrompt, at_ms);
        let system = role.system(version, at_ms, rng);
        let output_tokens_max = OUTPUT_TOKENS_MAX.max(row.output_tokens);
        let body = Talk {
            model,
            system: Some(&system),
            turns: role.turns(rng),
            tools: role.tools,
            stream,
            include_usage: true,
            max_tokens: Some(output_tokens_max.into()),
            new_limit_name: true,
            temperature: role.temperature,
        }
        .to_json(self.dialect);
        let (path, endpoint) = conversation(self.dialect);
        SimRequest {
            at_ms,
            source,
            method: Method::POST,
            path,
            headers: software.headers(self.dialect, true),
            dialect: self.dialect,
            endpoint,
            model: model.into(),
            stream,
            output_tokens_max,
            body,
            tokens: Tokens { input: row.input_tokens, cached: 0, output: row.output_tokens },
            status: 200,
            client: software.client(self.dialect),
            label: Label::Owner,
        }
    }

    /// The requests of many rows; the same rows give the same requests.
    pub fn requests<'a>(&'a self, rows: &'a [Row]) -> impl Iterator<Item = SimRequest> + 'a {
        // Each row has its own generator, so a part of the rows gives the same requests as the whole.
        rows.iter().map(|row| {
            let mut rng =
                Rng::new(self.seed ^ rng::mix(row.t_ms) ^ u64::from(row.input_tokens)).fork(&self.name);
            self.request_for(row, &mut rng)
        })
    }
}

/// Path and endpoint of a conversation.
pub(crate) const fn conversation(dialect: Dialect) -> (&'static str, Endpoint) {
    match dialect {
        Dialect::OpenAi => ("/v1/chat/completions", Endpoint::ChatCompletions),
        Dialect::Anthropic => ("/v1/messages", Endpoint::Messages),
    }
}

#[cfg(test)]
mod tests;
