//! A small world: places, agents, owners of every workload and their benign changes. Everything here is
//! simulated; the rates of change are the assumptions stated in `tokenwatch_detect`'s tables.

use std::net::{IpAddr, Ipv4Addr};

use tokenwatch_model::client::Client;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::key::Workload;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{Country, NetworkFacts, NetworkKind};
use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{DAY, HOUR, SECOND, Timestamp};
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};

/// Monday, 2026-01-05.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_767_571_200);

pub(crate) fn day(n: u64) -> Timestamp {
    START.plus(n * DAY)
}

pub(crate) fn key(n: u64) -> KeyId {
    KeyId::from_bits(n + 1)
}

/// Deterministic dice.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5555_aaaa_1234_5678)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.bits() % n.max(1)
    }

    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    pub(crate) fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (limit, mut product, mut n) = ((-mean).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            n += 1;
        }
        n
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    /// The /24, as a number.
    pub(crate) block: u32,
    pub(crate) asn: u32,
    pub(crate) country: &'static str,
    pub(crate) kind: NetworkKind,
}

impl Place {
    pub(crate) fn address(self, host: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x1400_0000u32.wrapping_add(self.block << 8) | u32::from(host)))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Agent {
    pub(crate) family: &'static str,
    pub(crate) version: String,
    pub(crate) tls: u64,
}

/// One request, as a simulator thinks of it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) time: Timestamp,
    pub(crate) place: Place,
    pub(crate) host: u8,
    pub(crate) agent: Agent,
    pub(crate) model: &'static str,
    pub(crate) endpoint: Endpoint,
    pub(crate) template: u64,
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) output_max: u64,
    /// What the provider would answer.
    pub(crate) status: u16,
}

pub(crate) fn price(model: &str) -> u64 {
    match model {
        "claude-opus" | "gpt-5-pro" => 60_000,
        "gpt-5" | "claude-sonnet" => 6_000,
        _ => 400,
    }
}

pub(crate) fn request(key: KeyId, call: &Call) -> RequestContext {
    let facts = NetworkFacts {
        asn: call.place.asn,
        country: Country::from_code(call.place.country),
        kind: call.place.kind,
    };
    RequestContext {
        id: RequestId::new(call.time.ms(), u128::from(call.time.0) ^ u128::from(call.template)),
        key,
        time: call.time,
        source: Source { address: call.place.address(call.host), facts },
        client: Client {
            family: call.agent.family.into(),
            version: call.agent.version.as_str().into(),
            tls: call.agent.tls,
            ..Client::default()
        },
        provider: "openai".into(),
        endpoint: call.endpoint,
        model: call.model.into(),
        stream: false,
        shape: Shape { template: call.template, ..Shape::default() },
        input_tokens_estimate: call.input,
        output_tokens_max: call.output_max,
        cost_worst: NanoUsd((call.input.saturating_add(call.output_max)).saturating_mul(price(call.model))),
        request_bytes: call.input * 4,
        siblings: Default::default(),
        previous_credential: false,
    }
}

/// The finished request; `refused` when the gateway did not forward it.
pub(crate) fn event(key: KeyId, seq: u64, call: &Call, refused: Option<Refusal>) -> UsageEvent {
    let served = refused.is_none();
    let paid = served && call.status < 400;
    UsageEvent {
        request: request(key, call),
        key_seq: seq,
        outcome: refused.map_or(Outcome::Served, Outcome::Refused),
        status: refused.map_or(call.status, Refusal::status),
        usage: if paid {
            TokenUsage { input: call.input, output: call.output, ..TokenUsage::default() }
        } else {
            TokenUsage::default()
        },
        usage_source: if paid { UsageSource::Provider } else { UsageSource::None },
        cost: if paid { NanoUsd((call.input + 3 * call.output) * price(call.model)) } else { NanoUsd::ZERO },
        price_source: PriceSource::Exact,
        response_bytes: call.output * 4,
        first_byte_us: 300_000,
        duration_us: 2 * SECOND,
        completion: 0,
    }
}

const HOSTING: [(u32, &str); 5] =
    [(16_509, "US"), (15_169, "US"), (8_075, "NL"), (24_940, "DE"), (14_061, "US")];
const ACCESS: [(u32, &str); 8] = [
    (7_922, "US"),
    (3_320, "DE"),
    (701, "US"),
    (2_856, "GB"),
    (3_215, "FR"),
    (1_136, "NL"),
    (7_018, "US"),
    (5_089, "GB"),
];
const FAMILIES: [&str; 4] = ["openai-python", "openai-node", "anthropic-typescript", "langchain-go"];

/// An owner and how it changes.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) workload: Workload,
    dice: Dice,
    places: Vec<Place>,
    agents: Vec<Agent>,
    models: Vec<&'static str>,
    templates: Vec<u64>,
    endpoints: Vec<Endpoint>,
    per_day: f64,
    sizes: f64,
    /// People or end users; each with a place of its own now.
    heads: u64,
    next_block: u32,
    /// How many times the stated rates of change apply.
    pub(crate) pace: u64,
}

impl Owner {
    pub(crate) fn new(workload: Workload, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let next_block = 1_000 + (dice.below(50_000) as u32) * 16;
        let mut owner = Self {
            workload,
            places: Vec::new(),
            agents: Vec::new(),
            models: vec!["gpt-4o-mini"],
            templates: (0..4).map(|_| dice.bits() | 1).collect(),
            endpoints: vec![Endpoint::ChatCompletions],
            per_day: dice.lognormal(60.0, 0.5).clamp(25.0, 200.0),
            sizes: dice.lognormal(600.0, 0.8),
            heads: 8,
            next_block,
            pace: 1,
            dice,
        };
        let family = owner.dice.pick(&FAMILIES);
        let agent = Agent { family, version: "1.52.0".into(), tls: owner.dice.bits() };
        owner.agents.push(agent);
        let home = owner.dice.pick(&HOSTING);
        match workload {
            Workload::Team => {
                owner.agents.push(Agent {
                    family: "openai-node",
                    version: "4.70".into(),
                    tls: owner.dice.bits(),
                });
                for _ in 0..owner.heads {
                    let network = ACCESS[owner.dice.below(4) as usize];
                    let place = owner.place(network, NetworkKind::Access);
                    owner.places.push(place);
                }
            }
            Workload::PublicApp => {
                for _ in 0..40 {
                    let network = owner.dice.pick(&ACCESS);
                    let place = owner.place(network, NetworkKind::Access);
                    owner.places.push(place);
                }
            }
            _ => {
                for _ in 0..if workload == Workload::Service { 2 } else { 8 } {
                    let place = owner.place(home, NetworkKind::Hosting);
                    owner.places.push(place);
                }
            }
        }
        owner
    }

    fn place(&mut self, (asn, country): (u32, &'static str), kind: NetworkKind) -> Place {
        self.next_block += 1;
        Place { block: self.next_block, asn, country, kind }
    }

    fn new_network(&mut self) -> (u32, &'static str) {
        let countries = ["US", "DE", "GB", "NL", "FR", "US", "US"];
        (20_000 + self.dice.below(3_000) as u32, self.dice.pick(&countries))
    }

    /// The place, agent, model and template of some request of the owner, for thieves who imitate.
    pub(crate) fn habits(&self) -> (Place, Agent, &'static str, u64, f64, f64) {
        (self.places[0], self.agents[0].clone(), self.models[0], self.templates[0], self.per_day, self.sizes)
    }

    /// One day's churn that belongs to the workload itself.
    fn churn(&mut self) {
        let rotate = |owner: &mut Self, kind: NetworkKind| {
            let i = owner.dice.below(owner.places.len() as u64) as usize;
            let old = owner.places[i];
            owner.places[i] = owner.place((old.asn, old.country), kind);
        };
        match self.workload {
            Workload::Pool => (0..5).for_each(|_| rotate(self, NetworkKind::Hosting)),
            Workload::Ci => (0..2).for_each(|_| rotate(self, NetworkKind::Hosting)),
            Workload::Team => {
                (0..self.dice.poisson(2.5)).for_each(|_| rotate(self, NetworkKind::Access));
                self.people();
            }
            Workload::PublicApp => {
                for _ in 0..20 {
                    rotate(self, NetworkKind::Access);
                }
                for _ in 0..self.dice.poisson(2.5) {
                    let network = self.new_network();
                    let place = self.place(network, NetworkKind::Access);
                    let i = self.dice.below(self.places.len() as u64) as usize;
                    self.places[i] = place;
                }
                if self.dice.chance(0.6) {
                    let country =
                        self.dice.pick(&["BR", "IN", "JP", "ES", "IT", "SE", "PL", "MX", "KR", "AU"]);
                    let asn = 30_000 + self.dice.below(2_000) as u32;
                    let place = self.place((asn, country), NetworkKind::Access);
                    let i = self.dice.below(self.places.len() as u64) as usize;
                    self.places[i] = place;
                }
            }
            _ => {}
        }
    }

    /// People move: cafes, travel, VPN exits.
    fn people(&mut self) {
        for head in 0..self.heads as usize {
            if self.dice.chance(0.1) {
                let network = self.new_network();
                self.places[head] = self.place((network.0, "US"), NetworkKind::Access);
            }
            if self.dice.chance(1.0 / 40.0) {
                let country = self.dice.pick(&["ES", "IT", "PT", "JP", "CA", "SE", "PL"]);
                let asn = 40_000 + self.dice.below(500) as u32;
                self.places[head] = self.place((asn, country), NetworkKind::Access);
            }
            if self.dice.chance(1.0 / 30.0) {
                let network = (9_009, "NL");
                self.places[head] = self.place(network, NetworkKind::Vpn);
            }
        }
    }

    /// Benign changes at the stated rates. Returns calls of new components and workloads.
    fn change(&mut self, at: u64) -> Vec<Call> {
        if self.dice.chance(1.0 / 30.0) {
            let minor = self.dice.below(100);
            let tls = if self.dice.chance(0.3) { self.dice.bits() } else { self.agents[0].tls };
            self.agents[0] = Agent { version: format!("1.{minor}.{at}"), tls, ..self.agents[0].clone() };
        }
        if self.dice.chance(1.0 / 25.0) {
            let model =
                self.dice.pick(&["gpt-5", "gpt-5-mini", "claude-sonnet", "o4", "gpt-4.1", "claude-haiku"]);
            self.models.push(model);
        }
        if self.dice.chance(1.0 / 7.0) {
            self.templates.push(self.dice.bits() | 1);
        }
        if self.dice.chance(1.0 / 60.0) {
            self.endpoints.push(self.dice.pick(&[
                Endpoint::Embeddings,
                Endpoint::Responses,
                Endpoint::Models,
            ]));
        }
        let is_server = !matches!(self.workload, Workload::Team | Workload::PublicApp);
        if is_server && self.dice.chance(1.0 / 45.0) {
            let Place { asn, country, .. } = self.places[0];
            self.places[0] = self.place((asn, country), NetworkKind::Hosting);
        }
        if is_server && self.dice.chance(1.0 / 200.0) {
            let network = self.new_network();
            for i in 0..self.places.len() {
                self.places[i] = self.place(network, NetworkKind::Hosting);
            }
        }
        let mut extra = Vec::new();
        if self.dice.chance(1.0 / 90.0) {
            extra.extend(self.component(at, false));
        }
        if self.dice.chance(1.0 / 365.0) {
            extra.extend(self.component(at, true));
        }
        extra
    }

    /// A new component beside the old one, or a new workload on another network.
    fn component(&mut self, at: u64, elsewhere: bool) -> Vec<Call> {
        let template = self.dice.bits() | 1;
        self.templates.push(template);
        let mut agent = self.agents[0].clone();
        match self.dice.below(20) {
            0 => agent = Agent { family: "httpx", version: "0.27".into(), tls: self.dice.bits() },
            1..=3 => agent.tls = self.dice.bits(),
            4..=6 => agent.version = format!("1.60.{at}"),
            _ => {}
        }
        let place = if elsewhere {
            // A new workload runs in a country new to the key about every second time.
            let network =
                (20_000 + self.dice.below(3_000) as u32, self.dice.pick(&["US", "DE", "IE", "SG", "BR"]));
            let kind = if self.dice.chance(0.8) { NetworkKind::Hosting } else { NetworkKind::Access };
            self.place(network, kind)
        } else {
            self.places[0]
        };
        self.agents.push(agent.clone());
        self.places.push(place);
        let model = self.models[0];
        let n = 5 + self.dice.below(40);
        (0..n)
            .map(|i| Call {
                time: day(at).plus(10 * HOUR + i * 600 * SECOND),
                place,
                host: 9,
                agent: agent.clone(),
                model,
                endpoint: Endpoint::ChatCompletions,
                template,
                input: 800,
                output: 200,
                output_max: 1_000,
                status: 200,
            })
            .collect()
    }

    /// The calls of a day, in order. `changes` lets the owner change at the stated rates.
    pub(crate) fn day(&mut self, at: u64, changes: bool) -> Vec<Call> {
        self.churn();
        let mut calls = Vec::new();
        for _ in 0..if changes { self.pace } else { 0 } {
            calls.extend(self.change(at));
        }
        let backfill =
            if changes && self.dice.chance(1.0 / 40.0) { 5.0 + self.dice.unit() * 25.0 } else { 1.0 };
        let weekend = at % 7 >= 5 && matches!(self.workload, Workload::Team | Workload::Ci);
        let level = if weekend { 0.1 } else { 1.0 };
        let busy = self.dice.lognormal(1.0, 0.35);
        let n = self.dice.poisson(self.per_day * level * busy * backfill);
        for _ in 0..n {
            let call = self.call(at);
            calls.push(call);
        }
        calls.sort_by_key(|call| call.time);
        calls
    }

    /// One usual call.
    pub(crate) fn call(&mut self, at: u64) -> Call {
        let hour = loop {
            let hour = self.dice.below(24);
            let weight = match (self.workload, hour) {
                (Workload::Team | Workload::Ci, 8..=18) => 1.0,
                (Workload::Team | Workload::Ci, _) => 0.02,
                (_, 7..=20) => 1.0,
                _ => 0.5,
            };
            if self.dice.chance(weight) {
                break hour;
            }
        };
        let time = day(at).plus(hour * HOUR + self.dice.below(HOUR));
        // Newer values are used as often as old ones; the first most.
        let first_or_any =
            |dice: &mut Dice, n: usize| if dice.chance(0.5) { 0 } else { dice.below(n as u64) as usize };
        let agent = self.agents[first_or_any(&mut self.dice, self.agents.len())].clone();
        let model = self.models[first_or_any(&mut self.dice, self.models.len())];
        let template = self.templates[first_or_any(&mut self.dice, self.templates.len())];
        let endpoint =
            if self.dice.chance(0.9) { self.endpoints[0] } else { self.dice.pick(&self.endpoints) };
        let prompted = endpoint == Endpoint::ChatCompletions || endpoint == Endpoint::Responses;
        let input = self.dice.lognormal(self.sizes, 0.6).clamp(5.0, 200_000.0) as u64;
        let failed = self.dice.chance(0.03);
        Call {
            time,
            place: self.dice.pick(&self.places),
            host: 1 + self.dice.below(250) as u8,
            agent,
            model: if endpoint == Endpoint::Models { "" } else { model },
            endpoint,
            template: if prompted { template } else { 0 },
            input,
            output: self.dice.lognormal(200.0, 0.7).clamp(1.0, 8_000.0) as u64,
            output_max: 1_000,
            status: if failed { self.dice.pick(&[400, 429, 500, 529]) } else { 200 },
        }
    }
}
