//! The demo's world: a mock provider, a gateway with one key for each customer, a clock of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokenwatch_console::manage::{KeySpec, Manager, OwnerSpec};
use tokenwatch_model::SmolStr;
use tokenwatch_model::finding::{Finding, Tier};
use tokenwatch_model::id::{IncidentId, KeyId};
use tokenwatch_model::key::Policy;
use tokenwatch_model::limit::Budgets;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::ports::{Clock, Random};
use tokenwatch_model::provider::SecretRef;
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::{Effects, Plan as ResponsePlan};
use tokenwatch_testkit::provider::{MockConfig, MockProvider};
use tokenwatch_testkit::rng::Rng;
use tokenwatch_testkit::theft::Theft;
use tokenwatch_testkit::traffic::Sample;

use crate::adapters::StoreRecords;
use crate::app::{App, AppParts};
use crate::config::{self, Config};
use crate::state::open_store;

/// What to show.
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) victim: String,
    pub(super) theft: Option<Theft>,
    pub(super) live_hours: u64,
    pub(super) live_seconds: f64,
    pub(super) keep: bool,
}

/// Midnight of the first day: 2026-03-02, a Monday. The trace's own date is not published.
pub(super) const START_MS: u64 = 1_772_409_600_000;

/// A clock that is set by the traffic.
pub(super) struct DemoClock(AtomicU64);

impl DemoClock {
    /// Sets the time; never back.
    pub(super) fn set(&self, ms: u64) {
        self.0.fetch_max(ms * 1_000, Ordering::AcqRel);
    }
}

impl Clock for DemoClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Acquire))
    }
}

/// Randomness from the seed, so that a demo can be shown again. Its keys guard nothing.
struct SeededRandom(Mutex<Rng>);

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            let word = rng.next_u64().to_le_bytes();
            chunk.iter_mut().zip(word).for_each(|(byte, drawn)| *byte = drawn);
        }
    }
}

/// Something the responder did.
#[derive(Clone, Debug)]
pub(super) struct Acted {
    pub(super) finding: Finding,
    pub(super) incident: Option<IncidentId>,
    pub(super) contained: Vec<String>,
}

/// Everything that runs.
pub(super) struct World {
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) clock: Arc<DemoClock>,
    pub(super) address: SocketAddr,
    pub(super) keys: BTreeMap<&'static str, (KeyId, Secret)>,
    pub(super) acted: Arc<Mutex<Vec<Acted>>>,
    app: App,
    provider: MockProvider,
    dir: tempfile::TempDir,
    keep: bool,
}

impl World {
    /// Starts everything; the clock stands at the first day's midnight.
    pub(super) fn build(plan: &Plan, sample: &Sample) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let upstream = Secret::new(format!("sk-demo-{:032x}", u128::from(Rng::new(plan.seed).next_u64())));
        let clock = Arc::new(DemoClock(AtomicU64::new(START_MS * 1_000)));
        let mock =
            MockConfig { keys: vec![upstream.clone()], clock: Some(clock.clone()), ..MockConfig::default() };
        let (upstream_address, provider) = MockProvider::spawn(runtime.handle(), mock)?;
        let dir = tempfile::Builder::new().prefix("tokenwatch-demo-").tempdir()?;
        let secret = dir.path().join("provider.key");
        std::fs::write(&secret, upstream.expose())?;
        let random: Arc<dyn Random> = Arc::new(SeededRandom(Mutex::new(Rng::new(plan.seed).fork("ids"))));
        let state = dir.path().join("state");
        let keys = issue_keys(&state, sample, &clock, &random)?;
        let acted = Arc::new(Mutex::new(Vec::new()));
        let parts = AppParts {
            config: configure(upstream_address, &secret)?,
            clock: clock.clone(),
            random,
            watcher: Box::new(watch(acted.clone())),
            listeners: Vec::new(),
            has_admin: false,
            checkpoints: None,
        };
        let app = App::start(&state, parts)?;
        let address = app.address;
        Ok(Self { runtime, clock, address, keys, acted, app, provider, dir, keep: plan.keep })
    }

    /// Waits until everything that was found has been acted on.
    pub(super) fn catch_up(&self) {
        self.app.catch_up();
    }

    /// Stops everything; the state folder when it is kept.
    pub(super) fn end(self) -> anyhow::Result<Option<PathBuf>> {
        self.app.stop()?;
        drop(self.provider);
        if self.keep { Ok(Some(self.dir.keep().join("state"))) } else { Ok(None) }
    }
}

fn watch(acted: Arc<Mutex<Vec<Acted>>>) -> impl FnMut(&ResponsePlan, &Effects) + Send {
    move |plan, effects| {
        if plan.finding.tier < Tier::Alert {
            return;
        }
        let contained =
            effects.containments.iter().map(|c| tokenwatch_respond::plan::describe_action(&c.action));
        let entry = Acted {
            finding: plan.finding.clone(),
            incident: plan.incident.id(),
            contained: contained.collect(),
        };
        acted.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}

fn configure(upstream: SocketAddr, secret: &std::path::Path) -> anyhow::Result<Config> {
    let mut config = config::parse("")?;
    config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.server.workers = 1;
    // The load client says in X-Forwarded-For whom it plays.
    config.server.trusted_proxies = vec!["127.0.0.1/32".parse()?];
    config.server.drain_timeout_s = 5;
    config.providers = ["openai", "anthropic"]
        .into_iter()
        .map(|name| config::Provider {
            name: name.into(),
            dialect: name.into(),
            base_url: format!("http://{upstream}"),
            credentials: vec![SecretRef::File(SmolStr::from(secret.to_string_lossy()))],
            prices_as: None,
        })
        .collect();
    Ok(config)
}

/// One key for each customer, with an owner and a budget, as a platform team would issue them.
fn issue_keys(
    state: &std::path::Path,
    sample: &Sample,
    clock: &Arc<DemoClock>,
    random: &Arc<dyn Random>,
) -> anyhow::Result<BTreeMap<&'static str, (KeyId, Secret)>> {
    let manager = Manager {
        records: Arc::new(StoreRecords(open_store(state)?)),
        clock: clock.clone(),
        random: random.clone(),
    };
    let budgets = Budgets { day: Some(NanoUsd::from_cents(100_000)), ..Budgets::default() };
    let mut specs = Vec::new();
    for customer in sample.customers() {
        let owner = OwnerSpec {
            name: format!("{}-team", customer.name).into(),
            on_call: format!("{}-oncall", customer.name).into(),
            ..OwnerSpec::default()
        };
        manager.add_owner(owner, "demo")?;
        specs.push(KeySpec {
            name: customer.name.into(),
            owner: Some(format!("{}-team", customer.name).into()),
            environment: "production".into(),
            workload: customer.workload,
            policy: Policy { budgets, ..Policy::default() },
            ..KeySpec::default()
        });
    }
    let issued = manager.issue(specs, "demo")?;
    Ok(sample
        .customers()
        .iter()
        .zip(issued)
        .map(|(customer, issued)| (customer.name, (issued.key.id, issued.secret)))
        .collect())
}
