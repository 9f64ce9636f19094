//! A gateway with its workers, a mock provider behind it, and ports that a test can look into.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokenwatch_detect::{Config, Engine, FleetPriors};
use tokenwatch_gateway::registry::KeyEntry;
use tokenwatch_gateway::settings::{Credential, HttpLimits, Provider, Settings};
use tokenwatch_gateway::{Gateway, Ports, Workers, WorkersConfig, listen};
use tokenwatch_model::containment::{Action, Containment};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{ContainmentId, KeyId};
use tokenwatch_model::key::{Key, KeyState, Policy, StoredKey, Workload};
use tokenwatch_model::limit::Limits;
use tokenwatch_model::money::{NanoUsd, PicoUsdPerToken};
use tokenwatch_model::network::AddressFacts;
use tokenwatch_model::ports::Clock;
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::{SECOND, Timestamp};
use tokenwatch_model::usage::UsageSource;
use tokenwatch_telemetry::metrics::{BuildInfo, Metrics};
use tokenwatch_testkit::client::LoadClient;
use tokenwatch_testkit::provider::{MockConfig, MockProvider, Recording};
use tokenwatch_testkit::rng::Rng;
use tokenwatch_wire::price::{Price, PriceTable};
use tokenwatch_wire::request::ShapeKey;

mod calls;
mod ports;

pub(crate) use calls::*;
pub(crate) use ports::*;

/// What every wait in a test gives up after.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The credentials of the provider.
pub(crate) const PROVIDER_KEYS: [&str; 2] =
    ["sk-provider-first-0123456789abcdef", "sk-provider-second-0123456789abcde"];
/// A Thursday, 12:00:20 UTC: far from the edges of minutes, hours and days.
pub(crate) const NOON: Timestamp = Timestamp::from_seconds(1_767_268_820);
/// Tokens a day of keys whose policy says nothing else: so many that the limit only counts.
pub(crate) const TOKENS_PER_DAY: u64 = 1 << 40;
/// Nanodollars a token: input, output, read from a cache.
pub(crate) const INPUT: u64 = 1_000;
pub(crate) const OUTPUT: u64 = 4_000;
pub(crate) const CACHED: u64 = 250;

/// What a test may set before the start.
pub(crate) struct Setup {
    pub(crate) http: HttpLimits,
    pub(crate) reserve_output_tokens: u64,
    pub(crate) budget_is_402: bool,
    pub(crate) content_signals: bool,
    pub(crate) proxy_protocol: bool,
    /// Credentials each provider has, in order; an empty one is not set.
    pub(crate) credentials: Vec<&'static str>,
    /// What the mock accepts.
    pub(crate) accepted: Vec<&'static str>,
    pub(crate) workers: usize,
    /// TLS towards clients.
    pub(crate) server_tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for Setup {
    fn default() -> Self {
        let http = HttpLimits { drain_timeout: Duration::from_millis(300), ..HttpLimits::default() };
        Self {
            http,
            reserve_output_tokens: 1_000,
            budget_is_402: false,
            content_signals: true,
            proxy_protocol: false,
            credentials: vec![PROVIDER_KEYS[0]],
            accepted: PROVIDER_KEYS.to_vec(),
            workers: 1,
            server_tls: None,
        }
    }
}

/// A running gateway.
pub(crate) struct Rig {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) address: SocketAddr,
    pub(crate) mock: MockProvider,
    pub(crate) mock_address: SocketAddr,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) client: LoadClient,
    workers: Option<Workers>,
    runtime: tokio::runtime::Runtime,
    setup: Setup,
}

pub(crate) fn rig() -> Rig {
    Rig::start(Setup::default())
}

impl Rig {
    pub(crate) fn start(setup: Setup) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let config = MockConfig {
            keys: setup.accepted.iter().map(|key| Secret::new(*key)).collect(),
            recording: Recording::Bodies(10_000),
            ..MockConfig::default()
        };
        let (mock_address, mock) = MockProvider::spawn(runtime.handle(), config).unwrap();
        let (gateway, clock, memory) = assemble(settings(&setup, mock_address), NOON);
        let (workers, address) = listen_on(&gateway, &setup);
        let client = LoadClient::new(address, PATIENCE);
        let workers = Some(workers);
        Self { gateway, address, mock, mock_address, clock, memory, client, workers, runtime, setup }
    }

    /// A data plane without workers.
    pub(crate) fn bare(now: Timestamp) -> Arc<Gateway> {
        assemble(settings(&Setup::default(), "127.0.0.1:1".parse().unwrap()), now).0
    }

    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn handle(&self) -> &tokio::runtime::Handle {
        self.runtime.handle()
    }

    /// Settings as at the start, for changes.
    pub(crate) fn settings(&self) -> Settings {
        settings(&self.setup, self.mock_address)
    }

    /// Settings with other credentials.
    pub(crate) fn settings_with(&self, credentials: &[&'static str]) -> Settings {
        let mut settings = self.settings();
        settings.providers = vec![
            provider("openai", Dialect::OpenAi, self.mock_address, credentials),
            provider("anthropic", Dialect::Anthropic, self.mock_address, credentials),
        ];
        settings
    }

    pub(crate) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Adds key number `n`.
    pub(crate) fn add_key(&self, n: u64, policy: Policy) -> Secret {
        self.put_key(n, 1, KeyState::Active, None, policy)
    }

    pub(crate) fn put_key(
        &self,
        n: u64,
        revision: u64,
        state: KeyState,
        expires: Option<Timestamp>,
        policy: Policy,
    ) -> Secret {
        let (secret, entry) = key_entry(n, revision, state, expires, policy);
        self.gateway.live.put_key(entry, self.clock.now());
        secret
    }

    /// A key without any rule of its own.
    pub(crate) fn key(&self) -> Secret {
        self.add_key(1, Policy::default())
    }

    /// Puts one containment on a key.
    pub(crate) fn contain(&self, n: u64, id: u64, revision: u64, action: Action) {
        self.gateway.live.put_containments(
            key_id(n),
            vec![containment(n, id, revision, action, self.clock.now())],
            self.clock.now(),
        );
    }

    /// Stops the workers as a shutdown does.
    pub(crate) fn drain(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.drain();
        }
    }

    /// Takes the workers, for draining beside the test.
    pub(crate) fn take_workers(&mut self) -> Workers {
        self.workers.take().unwrap()
    }

    /// Waits for `n` events, and that no more come and nothing is in flight.
    #[track_caller]
    pub(crate) fn events(&self, n: usize) -> Vec<UsageEvent> {
        eventually("the events arrive", || self.memory.events().len() >= n);
        eventually("nothing is in flight", || self.gateway.live.totals().in_flight == 0);
        let events = self.memory.events();
        assert_eq!(events.len(), n, "{events:#?}");
        events
    }

    /// The one event so far.
    #[track_caller]
    pub(crate) fn event(&self) -> UsageEvent {
        self.events(1).remove(0)
    }

    /// Checks that a key's account is the sum of its events, that nothing is held any more, and that the
    /// provider saw no virtual key. Sends one request of its own.
    #[track_caller]
    pub(crate) fn check_settled(&self, n: u64, secret: &Secret) {
        let before = self.memory.events().len();
        let events: Vec<_> =
            self.memory.events().into_iter().filter(|event| event.request.key == key_id(n)).collect();
        let cost: NanoUsd = events.iter().map(|event| event.cost).sum();
        let tokens: u64 = events
            .iter()
            .filter(|event| event.usage_source != UsageSource::None)
            .map(|event| event.usage.total())
            .sum();
        let view = self.gateway.live.view_key(key_id(n), self.clock.now()).unwrap();
        assert_eq!(view.spent_month, cost, "the account is the sum of the events");
        let limit = self.gateway.live.entry(key_id(n)).unwrap().policy.limits.tokens_per_day;
        if limit == Some(TOKENS_PER_DAY) {
            let answer = self.run(self.client.send_http(get("/v1/models", secret))).unwrap();
            let left: u64 = answer.header("x-ratelimit-remaining-tokens").unwrap().parse().unwrap();
            assert_eq!(TOKENS_PER_DAY - left, tokens, "tokens held after the last request ended");
            self.events(before + 1);
        }
        assert!(self.mock.seen().iter().all(|seen| !seen.mentions("sk-tw-")), "a virtual key travelled");
    }

    /// Opens a connection to the gateway.
    pub(crate) fn connect(&self) -> Raw {
        Raw::connect(self.address)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.drain();
    }
}

fn assemble(settings: Settings, now: Timestamp) -> (Arc<Gateway>, Arc<TestClock>, Arc<Memory>) {
    let clock = Arc::new(TestClock(AtomicU64::new(now.0)));
    let memory = Arc::new(Memory::default());
    let addresses: Box<dyn AddressFacts> = Box::new(Networks);
    let ports = Ports {
        clock: clock.clone(),
        random: Arc::new(Seeded(Mutex::new(Rng::new(7)))),
        events: memory.clone(),
        states: memory.clone(),
        addresses: Arc::new(ArcSwap::from_pointee(addresses)),
        findings: memory.clone(),
    };
    let metrics = Arc::new(Metrics::new(&BuildInfo { version: "0", commit: "0" }));
    let engine = Engine::new(Config::default(), FleetPriors::shipped());
    (Arc::new(Gateway::new(engine, settings, ports, metrics)), clock, memory)
}

fn listen_on(gateway: &Arc<Gateway>, setup: &Setup) -> (Workers, SocketAddr) {
    let first = listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = first.local_addr().unwrap();
    let mut listeners = vec![first];
    listeners.extend((1..setup.workers).map(|_| listen::bind(address).unwrap()));
    let roots = rustls::RootCertStore::empty();
    let client_tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let config =
        WorkersConfig { listeners, server_tls: setup.server_tls.clone(), client_tls: Arc::new(client_tls) };
    (Workers::start(gateway, config).unwrap(), address)
}

fn settings(setup: &Setup, mock: SocketAddr) -> Settings {
    let usd = PicoUsdPerToken;
    let price = Price {
        input: usd(INPUT * 1_000),
        output: usd(OUTPUT * 1_000),
        cache_read: usd(CACHED * 1_000),
        cache_write: usd(INPUT * 1_000),
        cache_write_1h: usd(2 * INPUT * 1_000),
    };
    let prices = PriceTable::bundled().clone();
    let prices = prices.with_override("openai", PriceTable::ANY, price);
    let mut prices = prices.with_override("anthropic", PriceTable::ANY, price);
    for model in ["gpt-4o-mini", "gpt-4o", "text-embedding-3-small"] {
        prices = prices.with_override("openai", model, price);
    }
    prices = prices.with_override("anthropic", "claude-haiku-4-5", price);
    Settings {
        http: setup.http.clone(),
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        proxy_protocol: setup.proxy_protocol,
        providers: vec![
            provider("openai", Dialect::OpenAi, mock, &setup.credentials),
            provider("anthropic", Dialect::Anthropic, mock, &setup.credentials),
        ],
        prices: Arc::new(prices),
        shape_key: ShapeKey::new([7; 16]).with_content(setup.content_signals),
        reserve_output_tokens: setup.reserve_output_tokens,
        budget_is_402: setup.budget_is_402,
    }
}

pub(crate) fn provider(name: &str, dialect: Dialect, at: SocketAddr, credentials: &[&str]) -> Arc<Provider> {
    let credentials = credentials
        .iter()
        .enumerate()
        .map(|(i, secret)| {
            let credential = Credential::new(format!("env:KEY_{i}").into());
            if !secret.is_empty() {
                assert!(credential.set(dialect, Some(&Secret::new(*secret))));
            }
            Arc::new(credential)
        })
        .collect();
    let origin = format!("http://{at}").parse().unwrap();
    Arc::new(Provider { name: name.into(), dialect, origin, prices_as: dialect.name().into(), credentials })
}

pub(crate) fn key_id(n: u64) -> KeyId {
    KeyId::from_bits(n)
}

pub(crate) fn key_entry(
    n: u64,
    revision: u64,
    state: KeyState,
    expires: Option<Timestamp>,
    policy: Policy,
) -> (Secret, Arc<KeyEntry>) {
    let defaults = Policy {
        limits: Limits { tokens_per_day: Some(TOKENS_PER_DAY), ..Limits::default() },
        ..Policy::default()
    };
    let (secret, hash) = tokenwatch_model::credential::mint(key_id(n), &[n as u8; 32]);
    let key = Key {
        id: key_id(n),
        name: format!("key-{n}").into(),
        owner: None,
        environment: "test".into(),
        service: "it".into(),
        workload: Workload::Service,
        policy: policy.clone(),
        state,
        state_reason: "".into(),
        created: Timestamp(NOON.0 - 40 * 86_400 * SECOND),
        expires,
        rotation: None,
        revision,
    };
    (
        secret,
        Arc::new(KeyEntry::new(&StoredKey { key, hash, previous: None }, Arc::new(policy.or(&defaults)))),
    )
}

pub(crate) fn containment(n: u64, id: u64, revision: u64, action: Action, created: Timestamp) -> Containment {
    Containment {
        id: ContainmentId::from_bits(id),
        key: key_id(n),
        incident: None,
        action,
        reason: "a test".to_owned(),
        created,
        expires: None,
        lifted: None,
        revision,
    }
}

/// Polls until `done`, or fails the test.
#[track_caller]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
