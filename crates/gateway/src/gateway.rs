//! The data plane as one value: live state, settings, ports, metrics. Shared by every worker.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokenwatch_detect::Engine;
use tokenwatch_model::finding::{Feedback, Finding};
use tokenwatch_model::id::{ContainmentId, KeyId, RequestId};
use tokenwatch_model::network::AddressFacts;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::ports::{Clock, EventSink, Random, StateSource};
use tokenwatch_model::suppression::SuppressedAlert;
use tokenwatch_model::time::Timestamp;
use tokenwatch_telemetry::metrics::Metrics;

use crate::drill::{Drills, Nowhere, StartDrillError};
use crate::live::{KeyCheckpoint, Live, Mind};
use crate::settings::Settings;

/// How often a key's state is loaded to be told one thing.
const LOADS_MAX: usize = 8;

/// What the data plane needs from outside.
pub struct Ports {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for ids.
    pub random: Arc<dyn Random>,
    /// The journal.
    pub events: Arc<dyn EventSink>,
    /// Learned states of keys that are not in memory.
    pub states: Arc<dyn StateSource>,
    /// Address tables; replaced whole when a database file changes.
    pub addresses: Arc<ArcSwap<Box<dyn AddressFacts>>>,
    /// Who acts on findings.
    pub findings: Arc<dyn FindingSink>,
}

/// Takes findings as they are made; never blocks.
pub trait FindingSink: Send + Sync {
    /// Hands over a finding.
    fn found(&self, finding: Finding);

    /// Hands over a finding that a suppression silenced: it is recorded, and nobody is told.
    fn suppressed(&self, alert: SuppressedAlert);

    /// Counts a request of this key that was refused because of a theft. `met` are the containments in force that it was
    /// in: one that was judged may be in none.
    fn contained(&self, key: KeyId, met: &[ContainmentId]);
}

/// The data plane.
pub struct Gateway {
    /// Live state of every key.
    pub live: Live,
    /// Rehearsed thefts, each with a live state of its own.
    pub drills: Drills,
    settings: ArcSwap<Settings>,
    pub(crate) ports: Ports,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    ids: Ids,
    started: Instant,
    draining: AtomicBool,
    connections: AtomicUsize,
    /// Keys whose stored state was found damaged.
    damaged: Mutex<BTreeSet<KeyId>>,
}

impl Gateway {
    /// A data plane without keys.
    pub fn new(engine: Engine, settings: Settings, ports: Ports, metrics: Arc<Metrics>) -> Self {
        // Seconds since 1970 fit until 2106.
        let epoch = u32::try_from(ports.clock.now().seconds()).unwrap_or(u32::MAX);
        let ids = Ids::new(ports.random.as_ref());
        Self {
            live: Live::new(engine, epoch),
            drills: Drills::default(),
            settings: ArcSwap::from_pointee(settings),
            ports,
            metrics,
            ids,
            started: Instant::now(),
            draining: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            damaged: Mutex::default(),
        }
    }

    /// The settings in force; a request keeps the ones it started with.
    pub fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Replaces the settings whole.
    pub fn put_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Replaces the address tables whole. Known connections keep what was looked up for them.
    pub fn put_addresses(&self, tables: Box<dyn AddressFacts>) {
        self.ports.addresses.store(Arc::new(tables));
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// Time on a monotonic clock, for breakers.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn facts(&self, address: IpAddr) -> tokenwatch_model::network::NetworkFacts {
        self.ports.addresses.load().facts(address)
    }

    pub(crate) fn next_id(&self, now: Timestamp) -> RequestId {
        RequestId::new(now.ms(), self.ids.next())
    }

    /// From now on readiness is refused and connections close after their current request.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the gateway is shutting down.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Remembers that the stored state of a key is damaged: its requests are refused until somebody rebuilt it. Tells
    /// the log, once.
    pub fn note_damaged(&self, key: KeyId, error: &dyn std::fmt::Display) {
        if self.damaged.lock().insert(key) {
            tracing::error!(key.id = %key, %error, "what was learned and spent on this key is damaged: its requests are refused until that is rebuilt from its events");
        }
    }

    /// Keys whose stored state is damaged.
    pub fn damaged(&self) -> Vec<KeyId> {
        self.damaged.lock().iter().copied().collect()
    }

    /// Forgets that the stored state of a key is damaged: it was rebuilt or put back.
    pub fn forget_damage(&self, key: KeyId) {
        self.damaged.lock().remove(&key);
    }

    /// Tells the engine what a person said about a context, in order with the key's events.
    ///
    /// Call it off the runtime: the key's state is read from the store when it is not in memory.
    pub fn tell_engine(&self, feedback: &Feedback) {
        if let Some(drilling) = self.drills.standing_in(feedback.key) {
            drilling.live.feedback(feedback, &Nowhere);
            return;
        }
        // Between loading and telling, whoever saves checkpoints may drop an idle key again; hardly twice.
        for _ in 0..LOADS_MAX {
            // What is damaged hears it when it is rebuilt.
            if self.load_here(feedback.key).is_err() {
                return;
            }
            if self.live.feedback(feedback, self.ports.events.as_ref())
                || self.live.entry(feedback.key).is_none()
            {
                return;
            }
        }
    }

    /// Loads the learned state of a key when it is not in memory, on this thread. The error is in the log.
    fn load_here(&self, key: KeyId) -> Result<(), String> {
        if self.live.is_loaded(key) != Some(false) {
            return Ok(());
        }
        let bytes = self.ports.states.load(key).map_err(|error| {
            tracing::error!(key.id = %key, %error, "learned state can not be read");
            error.to_string()
        })?;
        let mind = bytes.as_deref().map(KeyCheckpoint::decode).transpose().map_err(|error| {
            self.note_damaged(key, &error);
            error.to_string()
        })?;
        self.live.put_mind(key, mind.unwrap_or_default());
        Ok(())
    }

    /// A copy of what was learned and spent on a key, without its requests in flight.
    pub(crate) fn copy_mind(&self, key: KeyId) -> Result<Mind, StartDrillError> {
        for _ in 0..LOADS_MAX {
            self.load_here(key).map_err(StartDrillError::Unread)?;
            if let Some(bytes) = self.live.checkpoint(key) {
                return KeyCheckpoint::decode(&bytes).map_err(|e| StartDrillError::Unread(e.to_string()));
            }
        }
        Err(StartDrillError::NoKey)
    }

    /// Counts a connection in, unless there are too many.
    pub(crate) fn take_connection(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let max = self.settings().http.connections_max;
        let taken = self
            .connections
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < max).then_some(open + 1));
        taken.is_ok().then(|| ConnectionSlot(self.clone()))
    }

    /// Loads the learned state of a key when it is not in memory. Off the runtime, because it reads a disk.
    pub(crate) async fn load_key(&self, key: KeyId) -> Result<(), Refusal> {
        match self.live.is_loaded(key) {
            Some(true) => return Ok(()),
            None => return Err(Refusal::UnknownKey),
            Some(false) => {}
        }
        let states = self.ports.states.clone();
        let loaded = tokio::task::spawn_blocking(move || states.load(key)).await;
        let mind = match loaded {
            Ok(Ok(Some(bytes))) => match KeyCheckpoint::decode(&bytes) {
                Ok(mind) => mind,
                Err(error) => {
                    self.note_damaged(key, &error);
                    return Err(Refusal::Overloaded);
                }
            },
            Ok(Ok(None)) => Mind::default(),
            Ok(Err(error)) => {
                tracing::error!(key.id = %key, %error, "learned state can not be read: its requests are refused");
                return Err(Refusal::Overloaded);
            }
            Err(_) => return Err(Refusal::Overloaded),
        };
        self.live.put_mind(key, mind);
        Ok(())
    }
}

/// One open connection, counted until dropped.
pub(crate) struct ConnectionSlot(Arc<Gateway>);

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Unique numbers without a system call each: a counter, mixed with a secret seed.
struct Ids {
    seed: [u64; 2],
    next: AtomicU64,
}

impl Ids {
    fn new(random: &dyn Random) -> Self {
        Self { seed: [random.next_u64(), random.next_u64()], next: AtomicU64::new(random.next_u64()) }
    }

    fn next(&self) -> u128 {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        // The low half is the mixed counter, which never repeats; the high half makes guessing pointless.
        (u128::from(mix(count ^ self.seed[1])) << 64) | u128::from(mix(count.wrapping_add(self.seed[0])))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection, so distinct counts stay distinct.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
