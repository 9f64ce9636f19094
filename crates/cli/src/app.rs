//! A running TokenWatch, assembled: adapters plugged into ports, threads started, and stopped in order.
//!
//! `serve` and `demo` use the same assembly; only clock, configuration and state directory differ.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokenwatch_console::follow::Follower;
use tokenwatch_console::records::Records;
use tokenwatch_console::responder::{self, ResponderHandle, ResponderParts, Watcher};
use tokenwatch_detect::{Engine, FleetPriors};
use tokenwatch_gateway::{Gateway, Ports, Workers, WorkersConfig};
use tokenwatch_model::network::AddressFacts;
use tokenwatch_model::ports::{Clock, Random};
use tokenwatch_model::time::{HOUR, MINUTE};
use tokenwatch_telemetry::metrics::{BuildInfo, Metrics};

use crate::adapters::StoreRecords;
use crate::build;
use crate::config::Config;
use crate::state::{self, State};

/// What differs between a server and a demo.
pub(crate) struct AppParts {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) watcher: Box<dyn Watcher>,
    /// Listening sockets that were handed over; made from the configuration when there are none.
    pub(crate) listeners: Vec<TcpListener>,
}

/// A running TokenWatch.
pub(crate) struct App {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) address: SocketAddr,
    pub(crate) journal: tokenwatch_store::JournalHandle,
    workers: Workers,
    responder: (Arc<ResponderHandle>, JoinHandle<()>),
    keeper: (Sender<Keep>, JoinHandle<anyhow::Result<()>>),
}

/// What the keeper is told.
pub(crate) enum Keep {
    /// Take over what changed in the store, now.
    Refresh,
    /// A new configuration is in force.
    Reconfigure(Box<Config>),
    /// Save checkpoints now.
    Checkpoint(Sender<()>),
    /// End.
    Stop,
}

const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    commit: match option_env!("TOKENWATCH_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    },
};

/// How often the store is asked whether somebody else wrote.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);
/// Time without use after which a key's learned state leaves memory.
const IDLE: u64 = 6 * HOUR;

impl App {
    /// Opens the state, takes in what was learned, and starts to serve.
    pub(crate) fn start(dir: &Path, parts: AppParts) -> anyhow::Result<Self> {
        let AppParts { config, clock, random, watcher, listeners } = parts;
        let mut state = State::open(dir, clock.now(), random.as_ref())?;
        let records: Arc<dyn Records> = Arc::new(StoreRecords(state.store.clone()));
        let shape_key = state::shape_key(&state.store, &random)?;
        let settings = build::settings(&config, shape_key, &[])?;
        let tables: Box<dyn AddressFacts> = Box::new(build::address_tables(&config)?);
        let (handle, queue) = responder::channel();
        let ports = Ports {
            clock: clock.clone(),
            random: random.clone(),
            events: Arc::new(state.handle()),
            states: Arc::new(state.store.clone()),
            addresses: Arc::new(ArcSwap::from_pointee(tables)),
            findings: handle.clone(),
        };
        let engine = Engine::new(build::engine_config(&config), FleetPriors::shipped());
        let gateway = Arc::new(Gateway::new(engine, settings, ports, Arc::new(Metrics::new(&BUILD))));
        let follower = Follower::load(
            records.clone(),
            gateway.clone(),
            config.defaults.clone(),
            config.containment.clone(),
        )?;
        let (replayed, _) = state.take_in(&gateway)?;
        tracing::info!(keys = gateway.live.totals().keys, replayed, "state is loaded");
        state.take_over()?;
        let parts =
            ResponderParts { records: records.clone(), random, policy: config.containment.clone(), watcher };
        let responder = responder::start(gateway.clone(), handle.clone(), queue, parts)?;
        let server_tls = build::server_tls(&config)?;
        let client_tls = build::client_tls()?;
        let listeners = if listeners.is_empty() { listen(&config)? } else { listeners };
        let address = listeners.first().context("no listening socket")?.local_addr()?;
        let workers = Workers::start(&gateway, WorkersConfig { listeners, server_tls, client_tls })?;
        let journal = state.handle();
        let keeper = start_keeper(gateway.clone(), follower, state, config, shape_key)?;
        Ok(Self { gateway, records, address, journal, workers, responder: (handle, responder), keeper })
    }

    /// Takes over what this process itself changed in the store, at once.
    pub(crate) fn refresh(&self) {
        let _ = self.keeper.0.send(Keep::Refresh);
    }

    /// Puts a new configuration in force.
    pub(crate) fn reconfigure(&self, config: Config) {
        let _ = self.keeper.0.send(Keep::Reconfigure(Box::new(config)));
    }

    /// What tells the keeper.
    pub(crate) fn keeper(&self) -> Sender<Keep> {
        self.keeper.0.clone()
    }

    /// Stops accepting, lets running requests end, acts on the last findings, and writes everything out.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.workers.drain();
        let (handle, thread) = self.responder;
        handle.stop();
        let _ = thread.join();
        let (keeper, thread) = self.keeper;
        let _ = keeper.send(Keep::Stop);
        match thread.join() {
            Ok(result) => result,
            Err(_) => anyhow::bail!("the keeper's thread ended with a panic"),
        }
    }
}

fn listen(config: &Config) -> anyhow::Result<Vec<TcpListener>> {
    let address = config.server.listen;
    let bind = |address: SocketAddr| {
        tokenwatch_gateway::listen::bind(address).with_context(|| {
            format!("the gateway can not listen on {address}: is another program using the port? ([server] listen)")
        })
    };
    let first = bind(address)?;
    // With port 0 the system chooses one, which the other workers share.
    let shared = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..build::worker_count(config) {
        listeners.push(bind(shared)?);
    }
    Ok(listeners)
}

/// The keeper: one thread that keeps live state and disk together. It follows the store, takes in what another
/// process still journals, saves checkpoints, seals and prunes the archive.
struct Keeper {
    gateway: Arc<Gateway>,
    follower: Follower,
    state: State,
    config: Config,
    shape_key: [u8; 16],
    told: Receiver<Keep>,
    /// Seals and prunes on a thread of its own: that may take long, and nothing waits for it.
    archivist: Option<JoinHandle<()>>,
}

fn start_keeper(
    gateway: Arc<Gateway>,
    follower: Follower,
    state: State,
    config: Config,
    shape_key: [u8; 16],
) -> anyhow::Result<(Sender<Keep>, JoinHandle<anyhow::Result<()>>)> {
    let (tell, told) = channel();
    let keeper = Keeper { gateway, follower, state, config, shape_key, told, archivist: None };
    let thread = std::thread::Builder::new().name("keeper".to_owned()).spawn(move || keeper.run())?;
    Ok((tell, thread))
}

impl Keeper {
    fn run(mut self) -> anyhow::Result<()> {
        let mut saved = Instant::now();
        let mut tended = Instant::now();
        loop {
            match self.told.recv_timeout(FOLLOW_EVERY) {
                Ok(Keep::Refresh) => log_failure("following the store", self.follower.refresh()),
                Ok(Keep::Reconfigure(config)) => self.reconfigure(*config),
                Ok(Keep::Checkpoint(done)) => {
                    log_failure("saving checkpoints", self.state.checkpoint(&self.gateway).map(drop));
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Keep::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            log_failure("following the store", self.follower.poll().map(drop));
            log_failure("following the journal", self.state.take_in(&self.gateway).map(drop));
            self.report();
            if saved.elapsed() >= Duration::from_secs(self.config.storage.checkpoint_every_s) {
                saved = Instant::now();
                log_failure("saving checkpoints", self.state.checkpoint(&self.gateway).map(drop));
                let idle_since = self.gateway.now().0.saturating_sub(IDLE);
                self.gateway.live.evict(tokenwatch_model::time::Timestamp(idle_since));
            }
            if tended.elapsed() >= Duration::from_micros(5 * MINUTE) {
                tended = Instant::now();
                let retention = self.config.storage.retention_days;
                if self.archivist.as_ref().is_none_or(JoinHandle::is_finished) {
                    self.archivist = self.state.tend_archive(retention, self.gateway.now());
                }
            }
        }
        // No checkpoint here: a successor may have taken over, and the journal holds everything.
        self.state.close()
    }

    fn reconfigure(&mut self, config: Config) {
        let kept = self.gateway.settings().providers.clone();
        match build::settings(&config, self.shape_key, &kept) {
            Ok(settings) => self.gateway.put_settings(settings),
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the new configuration can not be used: the last good one stays"
                );
                return;
            }
        }
        let defaults = self.follower.put_defaults(config.defaults.clone(), config.containment.clone());
        log_failure("applying new defaults", defaults);
        match build::address_tables(&config) {
            Ok(tables) => self.gateway.put_addresses(Box::new(tables)),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the address tables stay as they were")
            }
        }
        self.config = config;
        tracing::info!("a new configuration is in force");
    }

    fn report(&self) {
        let health = self.state.handle().health();
        self.gateway.metrics.journal_lag.set((), health.lag_ms.saturating_mul(1_000));
    }
}

fn log_failure<E: std::fmt::Display>(what: &str, result: Result<(), E>) {
    if let Err(error) = result {
        tracing::error!(error = format!("{error:#}"), "{what} failed; trying again");
    }
}
