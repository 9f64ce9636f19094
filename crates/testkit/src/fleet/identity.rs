//! Who uses a key: its owner's world (regions, offices, software, prompts) and the parts that call.
//!
//! **Simulated**: no public trace has any of it. What keys of one owner share is what owners share in life: cloud
//! regions, egress addresses, the office, the VPN, the SDK, some prompts.

use tokenwatch_model::id::OwnerId;
use tokenwatch_model::key::Workload;
use tokenwatch_model::provider::{Dialect, Endpoint};

use super::agents::Agent;
use super::prompts::Prompt;
use super::sites::{Site, clouds, homes};
use crate::place::Network;
use crate::place::table::{ACCESS_WIDE, CLOUD_WIDE, EXIT_WIDE};
use crate::rng::Rng;
use crate::software::{Family, Software};

/// Everyday models of either dialect, the usual ones first.
pub(crate) const fn models(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::OpenAi => &[
            "gpt-4o-mini",
            "gpt-5-mini",
            "gpt-4.1-mini",
            "gpt-5-nano",
            "gpt-4.1",
            "gpt-4o",
            "gpt-4.1-nano",
            "gpt-5",
            "gpt-5.4-mini",
            "o4-mini",
            "gpt-5.1",
            "gpt-5.4",
            "gpt-5.5",
        ],
        Dialect::Anthropic => &[
            "claude-haiku-4-5",
            "claude-sonnet-4-5",
            "claude-sonnet-4-6",
            "claude-haiku-5-5",
            "claude-sonnet-5",
            "claude-opus-4-8",
            "claude-opus-5",
        ],
    }
}

/// Where conversations of a dialect go.
pub(crate) const fn conversation(dialect: Dialect) -> Endpoint {
    match dialect {
        Dialect::OpenAi => Endpoint::ChatCompletions,
        Dialect::Anthropic => Endpoint::Messages,
    }
}

/// What the keys of one owner have in common.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) id: OwnerId,
    pub(crate) country: &'static str,
    pub(crate) regions: Vec<&'static Network>,
    /// The gateway that services behind one exit share.
    egress: Site,
    pub(crate) office: Site,
    pub(crate) vpn: Site,
    family: Family,
    dialect: Dialect,
    prompts: Vec<Prompt>,
    limit_min: f64,
}

const COUNTRIES: [&str; 20] = [
    "US", "US", "US", "US", "US", "US", "US", "GB", "GB", "DE", "DE", "FR", "NL", "IN", "JP", "CA", "AU",
    "BR", "SG", "SE",
];

impl Owner {
    pub(crate) fn draw(id: u64, limit_min: f64, rng: &mut Rng) -> Self {
        let country = *rng.pick(&COUNTRIES);
        let regions: Vec<&Network> = (0..3).map(|_| region(country, rng)).collect();
        let home = regions.first().copied().unwrap_or(&CLOUD_WIDE[0]);
        let exits: Vec<&Network> = EXIT_WIDE.iter().filter(|exit| exit.country == country).collect();
        let exit = rng.pick_from(&exits).copied().unwrap_or_else(|| rng.pick(&EXIT_WIDE));
        let line = access(country, rng);
        Self {
            id: OwnerId::from_bits(id),
            country,
            egress: Site::single(home, rng),
            office: Site::single(line, rng),
            vpn: Site::single(exit, rng),
            family: *rng.pick(&[Family::SdkPython, Family::SdkPython, Family::SdkTypeScript]),
            dialect: if rng.chance(0.6) { Dialect::OpenAi } else { Dialect::Anthropic },
            prompts: (0..8).map(|_| Prompt::draw(rng, limit_min, false)).collect(),
            regions,
            limit_min,
        }
    }

    /// A prompt for a key: the owner's in three of ten cases.
    pub(crate) fn prompt(&self, people: bool, rng: &mut Rng) -> Prompt {
        match rng.pick_from(&self.prompts) {
            Some(shared) if rng.chance(0.3) => *shared,
            _ => Prompt::draw(rng, self.limit_min, people),
        }
    }

    pub(crate) fn sdk(&self, dialect: Dialect, rng: &mut Rng) -> Agent {
        let other = if self.family == Family::SdkPython { Family::SdkTypeScript } else { Family::SdkPython };
        Agent::sdk(if rng.chance(0.85) { self.family } else { other }, dialect, rng)
    }

    pub(crate) fn dialect(&self, rng: &mut Rng) -> Dialect {
        match (self.dialect, rng.chance(0.8)) {
            (own, true) => own,
            (Dialect::OpenAi, false) => Dialect::Anthropic,
            (Dialect::Anthropic, false) => Dialect::OpenAi,
        }
    }
}

/// A cloud region an owner from a country would take.
pub(crate) fn region(country: &str, rng: &mut Rng) -> &'static Network {
    let abroad = *rng.pick(&["US", "US", "IE", "DE"]);
    match rng.pick_from(clouds(country)) {
        Some(home) if rng.chance(0.7) => home,
        _ => rng.pick_from(clouds(abroad)).unwrap_or(&CLOUD_WIDE[0]),
    }
}

/// An access network of a country.
pub(crate) fn access(country: &str, rng: &mut Rng) -> &'static Network {
    match rng.pick_from(homes(country)) {
        Some(home) => home,
        None => rng.pick(&ACCESS_WIDE),
    }
}

/// A site with its share of the calls, until it is given up.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) site: Site,
    pub(crate) share: f64,
    pub(crate) until_ms: u64,
}

impl Placed {
    pub(crate) fn forever(site: Site, share: f64) -> Self {
        Self { site, share, until_ms: u64::MAX }
    }
}

/// A time that somebody spends elsewhere: the usual places are silent.
#[derive(Clone, Debug)]
pub(crate) struct Stay {
    pub(crate) from_ms: u64,
    pub(crate) until_ms: u64,
    pub(crate) site: Site,
}

/// A colleague with a laptop.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) agent: Agent,
    pub(crate) home: Site,
    pub(crate) phone: Site,
    /// Draws the days on which the phone is used.
    pub(crate) seed: u64,
    /// Share of office hours spent in the office.
    pub(crate) office: f64,
    pub(crate) stays: Vec<Stay>,
}

impl Person {
    pub(crate) fn draw(owner: &Owner, dialect: Dialect, rng: &mut Rng) -> Self {
        let machines = [("MacOS", "arm64"), ("MacOS", "arm64"), ("Windows", "x64"), ("Linux", "x64")];
        let (os, arch) = *rng.pick(&machines);
        let agent = match (dialect, rng.chance(0.2)) {
            (Dialect::Anthropic, true) => Agent::new(Software::coding_agent("1.0.98"), dialect, 0),
            _ => owner.sdk(dialect, rng),
        };
        let days = rng.log_uniform(2.0, 20.0);
        Self {
            agent: agent.on(os, arch),
            home: Site::line(access(owner.country, rng), days, rng),
            phone: Site::line(access(owner.country, rng), 1.0, rng),
            seed: rng.next_u64(),
            office: *rng.pick(&[0.0, 0.4, 0.6, 0.8]),
            stays: Vec::new(),
        }
    }
}

/// Who sends the calls of a part.
#[derive(Clone, Debug)]
pub(crate) enum Callers {
    Machines { agent: Agent, sites: Vec<Placed> },
    People { people: Vec<Person>, office: Site },
    Users { site: Site, agents: Vec<Agent>, phone: Option<(u64, Site)> },
}

/// One program or group of people behind the key.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its share of the calls, beside the weights of the others; 0 for parts that only answer to a swell.
    pub(crate) weight: f64,
    pub(crate) callers: Callers,
    /// Used unevenly, the first most.
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) models: Vec<(&'static str, f64)>,
    /// Endpoints beside conversations, with their shares.
    pub(crate) extra: Vec<(Endpoint, f64)>,
    pub(crate) stream: f64,
    /// Factors on the client's input and output sizes.
    pub(crate) size: (f64, f64),
}

impl Part {
    pub(crate) fn main_model(&self) -> &'static str {
        self.models.first().map_or("", |(model, _)| model)
    }
}

/// Everybody behind a key between two changes.
#[derive(Clone, Debug)]
pub(crate) struct Crew {
    pub(crate) dialect: Dialect,
    pub(crate) parts: Vec<Part>,
}

/// How a pool or pipeline spreads over blocks: slots and new blocks a day.
const POOL: (u64, f64) = (6, 5.0);
const CI: (u64, f64) = (2, 2.0);

impl Crew {
    pub(crate) fn draw(owner: &Owner, workload: Workload, calls_per_day: f64, rng: &mut Rng) -> Self {
        let dialect = owner.dialect(rng);
        let sdk = if rng.chance(0.08) { plain(dialect, rng) } else { owner.sdk(dialect, rng) };
        let people = matches!(workload, Workload::Team | Workload::PublicApp);
        let region = rng.pick_from(&owner.regions).copied().unwrap_or(&CLOUD_WIDE[0]);
        let callers = match workload {
            Workload::Team => Callers::People {
                people: (0..rng.range(4, 11)).map(|_| Person::draw(owner, dialect, rng)).collect(),
                office: owner.office.clone(),
            },
            Workload::PublicApp => users(owner, dialect, calls_per_day, rng),
            Workload::Pool => machines(sdk, Site::pool(region, POOL.0, churn(POOL.1, rng), rng)),
            Workload::Ci => machines(sdk, Site::pool(region, CI.0, churn(CI.1, rng), rng)),
            Workload::Service | Workload::Unknown if rng.chance(0.3) => machines(sdk, owner.egress.clone()),
            Workload::Service | Workload::Unknown => machines(sdk, Site::server(region, rng)),
        };
        let prompts = if people { rng.range(2, 8) } else { rng.range(1, 4) };
        let part = Part {
            weight: 1.0,
            callers,
            prompts: (0..prompts).map(|_| owner.prompt(people, rng)).collect(),
            models: draw_models(dialect, rng),
            extra: Vec::new(),
            stream: if people { 0.8 } else { *rng.pick(&[0.0, 0.0, 1.0, 0.5]) },
            size: (1.0, 1.0),
        };
        Self { dialect, parts: vec![part] }
    }

    /// The part that most calls come from.
    pub(crate) fn main(&self) -> Option<&Part> {
        self.parts.first()
    }
}

/// Programs that call without an SDK: the libraries are those that thieves use, too.
fn plain(dialect: Dialect, rng: &mut Rng) -> Agent {
    let software = *rng.pick(&[
        Software::plain(Family::Requests, "2.32.3"),
        Software::plain(Family::Aiohttp, "3.9.5"),
        Software::plain(Family::Axios, "1.7.4"),
    ]);
    Agent::new(software, dialect, rng.below(3))
}

/// A rate that differs from key to key.
fn churn(per_day: f64, rng: &mut Rng) -> f64 {
    per_day * rng.log_uniform(0.5, 2.0)
}

pub(crate) fn machines(agent: Agent, site: Site) -> Callers {
    Callers::Machines { agent, sites: vec![Placed::forever(site, 1.0)] }
}

fn users(owner: &Owner, dialect: Dialect, calls_per_day: f64, rng: &mut Rng) -> Callers {
    // Fifty new users a day where there are calls enough for so many.
    let per_day = churn(50.0, rng).min(calls_per_day * 0.12).max(3.0);
    let sdk = Agent::sdk(Family::SdkTypeScript, dialect, rng);
    let browser = |version, build| Agent::new(Software::plain(Family::Browser, version), dialect, build);
    let agents = vec![
        sdk.on("Unknown", "unknown"),
        sdk.on("Unknown", "unknown"),
        browser("139.0.0.0", 0),
        browser("140.0.0.0", 0),
        browser("140.0.0.0", 1),
        browser("138.0.0.0", 0),
    ];
    let at_once = (per_day * 2.5) as u64 + 1;
    Callers::Users {
        site: Site::Users { seed: rng.next_u64(), country: owner.country, per_day, at_once },
        agents,
        phone: None,
    }
}

/// One to three models, the first for most calls.
fn draw_models(dialect: Dialect, rng: &mut Rng) -> Vec<(&'static str, f64)> {
    let known = models(dialect);
    let mut chosen: Vec<(&'static str, f64)> = Vec::new();
    let shares = [0.7, 0.2, 0.1];
    for &share in shares.iter().take(rng.range(1, 3) as usize) {
        let u = rng.unit();
        // Cheap and usual ones more often.
        let model = known.get((u * u * known.len() as f64) as usize).copied().unwrap_or_default();
        if chosen.iter().all(|(other, _)| *other != model) {
            chosen.push((model, share));
        }
    }
    chosen
}
