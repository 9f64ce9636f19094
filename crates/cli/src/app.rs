//! A running TokenWatch, assembled: adapters plugged into ports, threads started, and stopped in order.
//!
//! `serve` and `demo` use the same assembly; only clock, configuration and state directory differ.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokenwatch_console::api::Access;
use tokenwatch_console::follow::Follower;
use tokenwatch_console::manage::Manager;
use tokenwatch_console::persistence::ProviderPlace;
use tokenwatch_console::records::Records;
use tokenwatch_console::responder::{self, ResponderHandle, ResponderParts, Watcher};
use tokenwatch_detect::Engine;
use tokenwatch_gateway::{Gateway, Ports, Workers, WorkersConfig};
use tokenwatch_model::finding::Finding;
use tokenwatch_model::key::Policy;
use tokenwatch_model::network::AddressFacts;
use tokenwatch_model::ports::{Clock, Random};
use tokenwatch_model::time::{HOUR, MINUTE, Timestamp};
use tokenwatch_network::Tables;
use tokenwatch_respond::ResponsePolicy;
use tokenwatch_respond::spend::alarm::AlarmRules;
use tokenwatch_telemetry::metrics::{BuildInfo, Metrics};
use tokio::sync::watch;

use crate::adapters::StoreRecords;
use crate::alerts::Desk;
use crate::billing::Meter;
use crate::build;
use crate::config::{self, Config};
use crate::fleet_rates;
use crate::handover::Door;
use crate::providers::places;
use crate::rebuild::Rebuilder;
use crate::saver::{CheckpointWriter, Save, Saver, SaverHandle};
use crate::sockets::{self, Sockets};
use crate::state::{self, State};

mod admin;
mod telling;

use admin::{Beside, local_token, report_journal, start_admin};
use telling::Telling;

/// What differs between a server and a demo.
pub(crate) struct AppParts {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) watcher: Box<dyn Watcher>,
    /// Listening sockets of a service manager.
    pub(crate) listeners: Vec<TcpListener>,
    /// Whether to serve the admin API.
    pub(crate) has_admin: bool,
    /// Where checkpoints are saved, if not in the store.
    pub(crate) checkpoints: Option<Box<dyn CheckpointWriter>>,
}

/// A running TokenWatch.
pub(crate) struct App {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: Option<SocketAddr>,
    workers: Workers,
    admin: Option<(watch::Sender<bool>, JoinHandle<std::io::Result<()>>)>,
    responder: (Arc<ResponderHandle>, JoinHandle<()>),
    keeper: (Sender<Keep>, JoinHandle<anyhow::Result<()>>),
    telling: Telling,
    offer: Option<Offer>,
}

/// What a later server is offered: a door to come in by, and copies of the listening sockets. To be dropped
/// before the drain, or connections would wait on sockets that nobody accepts from.
pub(crate) struct Offer {
    pub(crate) door: Door,
    pub(crate) sockets: Vec<TcpListener>,
}

/// What the keeper is told.
pub(crate) enum Keep {
    /// Take over what changed in the store, now.
    Refresh,
    /// A new configuration is in force, with the address tables it names.
    Reconfigure(Box<Config>, Box<Tables>),
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
/// How often requests that wait are looked at for keys whose time is over.
const EXPIRY_EVERY: Duration = Duration::from_secs(1);

impl App {
    /// Opens the state, takes in what was learned, and starts to serve.
    pub(crate) fn start(dir: &Path, parts: AppParts) -> anyhow::Result<Self> {
        let AppParts { config, clock, random, watcher, listeners, has_admin, checkpoints } = parts;
        let mut state = State::open(dir, clock.now(), random.as_ref())?;
        // Before anything is loaded: connections wait in the queue meanwhile.
        let inherits = state.running().is_some();
        let sockets = sockets::open(dir, &config, listeners, state.running(), has_admin)?;
        let records: Arc<dyn Records> = Arc::new(StoreRecords(state.store.clone()));
        let shape_key = state::shape_key(&state.store, &random)?;
        let tables: Box<dyn AddressFacts> = Box::new(build::address_tables(&config)?);
        let (handle, queue) = responder::channel();
        let meter = Arc::new(Meter::new(Arc::new(state.handle())));
        let ports = Ports {
            clock: clock.clone(),
            random: random.clone(),
            events: meter.clone(),
            states: Arc::new(state.store.clone()),
            addresses: Arc::new(ArcSwap::from_pointee(tables)),
            findings: handle.clone(),
        };
        let gateway = make_gateway(&config, shape_key, ports, &mut state)?;
        let follower = Follower::load(
            records.clone(),
            gateway.clone(),
            config.defaults.clone(),
            config.containment.clone(),
        )?;
        let taken = state.take_in(&gateway)?;
        tracing::info!(keys = gateway.live.totals().keys, replayed = taken.records, "state is loaded");
        follower.catch_up(state.feedback_told())?;
        let in_force = InForce::of(&config, state::links_key(&state.store, random.as_ref())?);
        let telling = Telling::start(dir, &state, &gateway, &in_force, &meter, (&clock, &random))?;
        let manager = Manager { records: records.clone(), clock, random: random.clone() };
        let parts = ResponderParts { records, random, policy: in_force.policy.clone(), watcher };
        let responder = responder::start(gateway.clone(), handle.clone(), queue, parts)?;
        if !taken.live {
            act_again(&handle, taken.alerts, gateway.now());
        }
        let server_tls = build::server_tls(&config)?;
        let client_tls = build::client_tls()?;
        let address = sockets.gateway.first().context("no listening socket")?.local_addr()?;
        let admin_address = sockets.admin.as_ref().map(TcpListener::local_addr).transpose()?;
        let offer = make_offer(&state, &sockets);
        let listeners = sockets.gateway;
        let workers = Workers::start(&gateway, WorkersConfig { listeners, server_tls, client_tls })?;
        state.take_over()?;
        let (journal, store) = (state.handle(), state.store.clone());
        let config::Admin { hosts, origins, .. } = config.admin.clone();
        let ours = (gateway.clone(), in_force.clone());
        let kept = Kept { gateway: ours.0, follower, state, config, shape_key, in_force: ours.1, meter };
        let keeper = start_keeper(kept, checkpoints)?;
        let admin = sockets
            .admin
            .map(|listener| {
                let local = Some(local_token(dir, inherits, manager.random.as_ref())?);
                let access = Access { hosts, origins, local };
                let responder = handle.clone();
                let beside = Beside { keeper: keeper.0.clone(), journal, responder, store };
                start_admin(listener, access, manager, &gateway, in_force, beside)
            })
            .transpose()?;
        let responder = (handle, responder);
        Ok(Self { gateway, address, admin_address, workers, admin, responder, keeper, telling, offer })
    }

    /// What a later server is offered; `None` when it was taken before, or there is no door.
    pub(crate) const fn take_offer(&mut self) -> Option<Offer> {
        self.offer.take()
    }

    /// Takes over what this process itself changed in the store, soon.
    pub(crate) fn refresh(&self) {
        // A keeper that is gone has nothing to keep.
        let _ = self.keeper.0.send(Keep::Refresh);
    }

    /// Puts a new configuration in force.
    pub(crate) fn reconfigure(&self, config: Config, tables: Tables) {
        let _ = self.keeper.0.send(Keep::Reconfigure(Box::new(config), Box::new(tables)));
    }

    /// Waits, at most five seconds, until every request is booked, then until the responder has acted on what was found.
    pub(crate) fn catch_up(&self) {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            // First, because what a request showed is handed over right after it has left the list.
            std::thread::sleep(Duration::from_millis(2));
            if self.gateway.live.totals().in_flight == 0 || Instant::now() >= end {
                break;
            }
        }
        self.responder.0.catch_up();
    }

    /// Stops accepting, lets running requests end, acts on the last findings, and writes everything out.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        drop(self.offer);
        self.workers.drain();
        if let Some((stop, thread)) = self.admin {
            let _ = stop.send(true);
            if let Ok(Err(error)) = thread.join() {
                tracing::error!(%error, "the admin API ended with an error");
            }
        }
        let (handle, thread) = self.responder;
        handle.stop();
        let _ = thread.join();
        self.telling.stop();
        let (keeper, thread) = self.keeper;
        let _ = keeper.send(Keep::Stop);
        match thread.join() {
            Ok(result) => result,
            Err(_) => anyhow::bail!("the keeper's thread ended with a panic"),
        }
    }
}

/// A gateway that begins after the server before it, and knows nothing yet.
fn make_gateway(
    config: &Config,
    shape_key: [u8; 16],
    ports: Ports,
    state: &mut State,
) -> anyhow::Result<Arc<Gateway>> {
    let settings = build::settings(config, shape_key, &[])?;
    let engine = Engine::new(build::engine_config(config), fleet_rates::tables(config)?);
    let mut gateway = Gateway::new(engine, settings, ports, Arc::new(Metrics::new(&BUILD)));
    state.set_epoch(gateway.live.follow(state.epoch_before()));
    Ok(Arc::new(gateway))
}

/// Without a door the server works all the same; only the next one can not take over while it runs.
fn make_offer(state: &State, sockets: &Sockets) -> Option<Offer> {
    match state.open_door().and_then(|door| Ok(Offer { door, sockets: sockets.copy()? })) {
        Ok(offer) => Some(offer),
        Err(error) => {
            tracing::warn!(%error, "a later server can not take over from this one while it runs");
            None
        }
    }
}

/// Hands findings to the responder that a process which ended suddenly may not have acted on.
fn act_again(handle: &ResponderHandle, alerts: Vec<Finding>, now: Timestamp) {
    alerts
        .into_iter()
        .filter(|alert| now.since(alert.time) < HOUR)
        .for_each(|alert| handle.found_again(alert));
}

/// The keeper: one thread that keeps live state and disk together. It follows the store and takes in what another
/// process still journals. What may take long (saving checkpoints, sealing and pruning the archive) it has done by
/// threads of their own.
struct Keeper {
    gateway: Arc<Gateway>,
    follower: Follower,
    state: State,
    config: Config,
    shape_key: [u8; 16],
    told: Receiver<Keep>,
    saver: SaverHandle,
    rebuilder: Rebuilder,
    /// Seals and prunes on a thread of its own: that may take long, and nothing waits for it.
    archivist: Option<JoinHandle<()>>,
    in_force: InForce,
    meter: Arc<Meter>,
}

/// What of the configuration others look at, as in force.
#[derive(Clone)]
struct InForce {
    policy: Arc<ArcSwap<ResponsePolicy>>,
    /// What keys inherit from nobody else.
    defaults: Arc<ArcSwap<Policy>>,
    /// Who is told of incidents.
    desk: Arc<ArcSwap<Desk>>,
    /// When billing alarms are raised.
    billing: Arc<ArcSwap<AlarmRules>>,
    /// The providers as their administrators see them.
    providers: Arc<ArcSwap<Vec<ProviderPlace>>>,
    /// What signs links.
    links_key: [u8; 32],
}

impl InForce {
    fn of(config: &Config, links_key: [u8; 32]) -> Self {
        Self {
            policy: Arc::new(ArcSwap::from_pointee(config.containment.clone())),
            defaults: Arc::new(ArcSwap::from_pointee(config.defaults.clone())),
            desk: Arc::new(ArcSwap::from_pointee(Desk::new(config, Some(&links_key)))),
            billing: Arc::new(ArcSwap::from_pointee(config.alerts.billing.clone())),
            providers: Arc::new(ArcSwap::from_pointee(places(config))),
            links_key,
        }
    }

    fn put(&self, config: &Config) {
        self.policy.store(Arc::new(config.containment.clone()));
        self.defaults.store(Arc::new(config.defaults.clone()));
        self.billing.store(Arc::new(config.alerts.billing.clone()));
        self.providers.store(Arc::new(places(config)));
        self.desk.store(Arc::new(Desk::new(config, Some(&self.links_key))));
    }
}

/// What the keeper keeps.
struct Kept {
    gateway: Arc<Gateway>,
    follower: Follower,
    state: State,
    config: Config,
    shape_key: [u8; 16],
    in_force: InForce,
    meter: Arc<Meter>,
}

fn start_keeper(
    kept: Kept,
    checkpoints: Option<Box<dyn CheckpointWriter>>,
) -> anyhow::Result<(Sender<Keep>, JoinHandle<anyhow::Result<()>>)> {
    let Kept { gateway, follower, state, config, shape_key, in_force, meter } = kept;
    let saver = Saver {
        gateway: gateway.clone(),
        journal: state.handle(),
        writer: checkpoints.unwrap_or_else(|| Box::new(state.store.clone())),
        place: state.place(),
        unsaved: HashMap::new(),
    };
    let saver = saver.start()?;
    let (tell, told) = channel();
    let rebuilder = Rebuilder::default();
    let keeper = Keeper {
        gateway,
        follower,
        state,
        config,
        shape_key,
        told,
        saver,
        rebuilder,
        archivist: None,
        in_force,
        meter,
    };
    let thread = std::thread::Builder::new().name("keeper".to_owned()).spawn(move || keeper.run())?;
    Ok((tell, thread))
}

impl Keeper {
    fn run(mut self) -> anyhow::Result<()> {
        let mut saved = Instant::now();
        let mut tended = Instant::now();
        let mut looked = Instant::now();
        loop {
            match self.told.recv_timeout(FOLLOW_EVERY) {
                Ok(Keep::Refresh) => log_failure("following the store", self.follower.refresh()),
                Ok(Keep::Reconfigure(config, tables)) => self.reconfigure(*config, *tables),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Keep::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            log_failure("following the store", self.follower.poll().map(drop));
            log_failure("following the journal", self.take_in());
            report_journal(&self.state.handle(), &self.gateway.metrics);
            let retention = self.config.storage.retention_days;
            self.rebuilder.tend(&self.gateway, &self.state.store, self.state.handle(), retention);
            if looked.elapsed() >= EXPIRY_EVERY {
                looked = Instant::now();
                self.gateway.live.cut_expired(self.gateway.now());
            }
            if saved.elapsed() >= Duration::from_secs(self.config.storage.checkpoint_every_s) {
                let save = Save { taken_in: self.state.taken_in(), feedback_told: self.follower.revision() };
                // While the one before is under way, this one waits.
                if self.saver.ask(save) {
                    saved = Instant::now();
                }
            }
            if tended.elapsed() >= Duration::from_micros(5 * MINUTE) {
                tended = Instant::now();
                if self.archivist.as_ref().is_none_or(JoinHandle::is_finished) {
                    self.archivist = self.state.tend_archive(retention, self.gateway.now());
                }
            }
        }
        // No checkpoint here: a successor may have taken over, and the journal holds everything.
        let closed = self.state.close();
        self.saver.end();
        self.rebuilder.end();
        closed
    }

    fn take_in(&mut self) -> anyhow::Result<()> {
        if self.state.take_in(&self.gateway)?.records > 0 {
            self.meter.note_others();
        }
        Ok(())
    }

    fn reconfigure(&mut self, config: Config, tables: Tables) {
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
        self.in_force.put(&config);
        self.gateway.put_addresses(Box::new(tables));
        self.config = config;
        tracing::info!("a new configuration is in force");
    }
}

fn log_failure<E: std::fmt::Display>(what: &str, result: Result<(), E>) {
    if let Err(error) = result {
        tracing::error!(error = format!("{error:#}"), "{what} failed; trying again");
    }
}

#[cfg(test)]
mod tests;
