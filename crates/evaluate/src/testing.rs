//! A tiny world for tests: a few calls an hour from one host, and thefts that differ in how much they stand out.

use std::net::{IpAddr, Ipv4Addr};

use tokenwatch_detect::KeyProfile;
use tokenwatch_detect::method::{Method, Scores, Watch};
use tokenwatch_model::client::Client;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, OwnerId, RequestId};
use tokenwatch_model::key::Workload;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{Country, NetworkFacts, NetworkKind};
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{DAY, HOUR, MINUTE, Timestamp};
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};
use tokenwatch_testkit::rng::Rng;

use crate::report::Published;
use crate::trial::Contestant;
use crate::world::{Attack, Group, World, WorldKey};

/// A served request of key number `key`, from its one host.
pub(crate) fn event(key: u64, time: Timestamp) -> UsageEvent {
    UsageEvent {
        request: RequestContext {
            id: RequestId::new(time.ms(), key.into()),
            key: KeyId::from_bits(key),
            time,
            source: Source {
                address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, key as u8)),
                facts: NetworkFacts {
                    asn: 64_500,
                    country: Country::from_code("DE"),
                    kind: NetworkKind::Hosting,
                },
            },
            client: Client { family: "openai-python".into(), version: "1.52.0".into(), ..Client::default() },
            provider: "openai".into(),
            endpoint: Endpoint::ChatCompletions,
            model: "gpt-4o-mini".into(),
            stream: false,
            shape: Shape { template: 7, roles: 9, ..Shape::default() },
            input_tokens_estimate: 100,
            output_tokens_max: 0,
            cost_worst: NanoUsd(20_000),
            request_bytes: 400,
            siblings: Default::default(),
            previous_credential: false,
        },
        key_seq: 0,
        outcome: Outcome::Served,
        status: 200,
        usage: TokenUsage { input: 100, output: 10, ..TokenUsage::default() },
        usage_source: UsageSource::Provider,
        cost: NanoUsd(10_000),
        price_source: PriceSource::Exact,
        response_bytes: 100,
        first_byte_us: 1_000,
        duration_us: 2_000,
        completion: 0,
    }
}

/// The tiny world: `clients` clients with `each` keys.
pub(crate) struct Tiny {
    seed: u64,
    keys: Vec<WorldKey>,
}

pub(crate) const ATTACKS: [Attack; 3] = [
    Attack {
        name: "stranger",
        description: "other network and software",
        group: Group::Loud,
        is_control: false,
        owner_silent_days: 0,
    },
    Attack {
        name: "neighbour",
        description: "one more address",
        group: Group::Careful,
        is_control: false,
        owner_silent_days: 0,
    },
    Attack {
        name: "copy",
        description: "the owner in every respect",
        group: Group::Mimic,
        is_control: true,
        owner_silent_days: 0,
    },
];

impl Tiny {
    pub(crate) fn new(seed: u64, clients: usize, each: usize) -> Self {
        let key = |n: usize| WorldKey {
            client: format!("client-{}", n / each).into(),
            profile: KeyProfile { workload: Workload::Service, ..KeyProfile::default() },
            archetype: Workload::Service.name(),
        };
        Self { seed, keys: (0..clients * each).map(key).collect() }
    }

    /// The same world when all keys have one owner.
    pub(crate) fn of_one_owner(mut self) -> Self {
        self.keys.iter_mut().for_each(|key| key.profile.owner = Some(OwnerId::from_bits(1)));
        self
    }
}

impl World for Tiny {
    fn start(&self) -> Timestamp {
        "2026-03-02T00:00:00Z".parse().unwrap()
    }

    fn keys(&self) -> &[WorldKey] {
        &self.keys
    }

    fn attacks(&self) -> &[Attack] {
        &ATTACKS
    }

    fn events(&self, key: usize, to_day: u32) -> Vec<UsageEvent> {
        let mut rng = Rng::new(self.seed).fork(&key.to_string());
        let mean = (20 + 10 * key as u64) * MINUTE;
        let mut at = self.start();
        let mut events = Vec::new();
        loop {
            at = at.plus(rng.exponential(mean as f64) as u64 + 1);
            if at.since(self.start()) >= u64::from(to_day) * DAY {
                return events;
            }
            let mut event = event(key as u64 + 1, at);
            event.key_seq = events.len() as u64 + 1;
            events.push(event);
        }
    }

    fn theft(
        &self,
        key: usize,
        attack: usize,
        seed: u64,
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<UsageEvent> {
        let mut rng = Rng::new(seed);
        let mut events = Vec::new();
        let mut at = start;
        while at < end && at.since(start) < 6 * HOUR {
            let mut event = event(key as u64 + 1, at);
            if attack < 2 {
                event.request.source.address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
            }
            if attack == 0 {
                event.request.source.facts.asn = 64_501;
                event.request.source.facts.country = Country::from_code("SE");
                event.request.client.family = "aiohttp".into();
                event.request.shape = Shape { template: rng.next_u64(), ..Shape::default() };
            }
            events.push(event);
            at = at.plus(rng.exponential(5.0 * MINUTE as f64) as u64 + 1);
        }
        events
    }
}

/// Scores a day by its requests so far, after they are finished.
struct Counting;

#[derive(Clone, Default)]
struct CountingWatch {
    day: u32,
    requests: u32,
}

impl Method for Counting {
    fn id(&self) -> &'static str {
        "counting"
    }

    fn unit(&self) -> &'static str {
        "requests of the day"
    }

    fn watch(&self, _: &KeyProfile) -> Box<dyn Watch> {
        Box::new(CountingWatch::default())
    }
}

impl Watch for CountingWatch {
    fn see(&mut self, event: &UsageEvent) -> Scores {
        let day = event.request.time.day();
        if self.day != day {
            *self = Self { day, requests: 0 };
        }
        self.requests += 1;
        Scores { before: 0.0, after: f64::from(self.requests) }
    }

    fn fork(&self) -> Box<dyn Watch> {
        Box::new(self.clone())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// The counting method and the layered one.
pub(crate) fn contestants() -> Vec<Contestant> {
    let engine = std::sync::Arc::<tokenwatch_detect::Engine>::default();
    let published = Published { found: 0.3, false_alarms: 0.05, latency_ms: (0.0, 1.0) };
    vec![
        Contestant { method: Box::new(Counting), nominal: None, engine: None, published: Some(published) },
        Contestant {
            method: Box::new(tokenwatch_detect::method::Layered::new(engine.clone())),
            nominal: Some(KeyProfile::default().alert_days()),
            engine: Some(engine),
            published: None,
        },
    ]
}
