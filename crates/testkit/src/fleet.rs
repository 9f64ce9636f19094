//! A fleet of keys with real traffic and simulated identities, as usage events: for evaluating detectors.
//!
//! What is real: how many requests came in which ten minutes, how unevenly, and how large they were (see
//! [`clients`]). What is simulated, because no public trace has it: networks, software, models, prompts, errors, and how
//! all of that changes ([`Change`]). Each real client becomes several keys: its rate is scaled to one drawn between
//! 40 and 2,500 calls a day, arrivals are drawn anew with its own spread, the rest is drawn.
//!
//! Invariants:
//! * The same seed and options give the same events, bit for bit, on every platform.
//! * Days are independent: `events(a, c)` is `events(a, b)` followed by `events(b, c)`.
//! * Events of a key are in time order; every address agrees with its facts.
//! * Keys of one owner come from one client, so a split by client never parts an owner.

use std::sync::{Arc, OnceLock};

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::key::Workload;
use tokenwatch_model::provider::Dialect;

mod agents;
mod apply;
mod arrivals;
mod changes;
pub mod clients;
mod content;
mod day;
mod identity;
mod life;
mod prompts;
mod render;
mod sites;
mod steal;

pub use changes::{Change, Happening};
pub use clients::ReadClientsError;
pub use steal::{RecordedKey, TheftLimits};

use crate::rng::Rng;
use crate::traffic::{DAY_MS, DAYS};
use clients::Client;
use identity::{Crew, Owner};
use life::Life;

/// Unix time of the trace's first midnight, in milliseconds: Monday, 2026-01-05. The real date is not published.
pub const START_MS: u64 = 1_767_571_200_000;

/// Share of the changes that come from the owner, to all its keys at once.
const OWNERS_SHARE: f64 = 0.3;
/// Most keys of an owner.
const KEYS_OF_OWNER: u64 = 6;

/// How a fleet is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FleetOptions {
    /// Keys made from each real client.
    pub keys_per_client: u32,
    /// Multiplies the rate of every benign change; 0 for none.
    pub pace: f64,
    /// Clients that are active on fewer of the 11 days are left out: nothing can be learned of them.
    pub active_days_min: u64,
    /// Bounds of the calls on an active day, drawn log-uniformly.
    pub calls_per_day: (f64, f64),
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self { keys_per_client: 6, pace: 1.0, active_days_min: 3, calls_per_day: (40.0, 2_500.0) }
    }
}

impl FleetOptions {
    /// Whether keys are made from a client.
    pub fn takes(&self, client: &Client) -> bool {
        client.active_days().len() as u64 >= self.active_days_min
    }
}

/// Keys with their lives.
#[derive(Clone, Debug)]
pub struct Fleet {
    keys: Vec<FleetKey>,
}

impl Fleet {
    /// The fleet of a seed, made from the bundled clients.
    ///
    /// # Errors
    ///
    /// When the bundled tables are damaged.
    pub fn new(seed: u64, options: &FleetOptions) -> Result<Self, ReadClientsError> {
        Ok(Self::of(clients::bundled()?, seed, options))
    }

    /// The fleet of a seed, made from these clients.
    pub fn of(clients: Vec<Client>, seed: u64, options: &FleetOptions) -> Self {
        let mut keys = Vec::new();
        for client in clients.into_iter().filter(|client| options.takes(client)) {
            let rng = Rng::new(seed).fork("fleet").fork(client.name());
            add_keys(&mut keys, &Arc::new(client), options, &rng);
        }
        Self { keys }
    }

    /// The keys, in a fixed order: by client, then by owner.
    pub fn keys(&self) -> &[FleetKey] {
        &self.keys
    }
}

fn add_keys(keys: &mut Vec<FleetKey>, client: &Arc<Client>, options: &FleetOptions, rng: &Rng) {
    let mut sizes = rng.fork("owners");
    let (mut owner, mut left, mut number) = (None, 0, 0_u64);
    for index in 0..u64::from(options.keys_per_client) {
        if left == 0 {
            let mut draw = rng.fork("owner").numbered(number);
            let drawn = Owner::draw(draw.next_u64(), client.output_tail(), &mut draw);
            owner = Some((Arc::new(drawn), draw));
            left = sizes.range(1, KEYS_OF_OWNER);
            number += 1;
        }
        left -= 1;
        if let Some((owner, owners_rng)) = &owner {
            keys.push(FleetKey::draw(client, owner, owners_rng, options, &rng.fork("key").numbered(index)));
        }
    }
}

/// One key of a fleet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FleetKey {
    id: KeyId,
    workload: Workload,
    client: Arc<Client>,
    owner: Arc<Owner>,
    /// Requests of the key for one of the client.
    scale: f64,
    calls_per_day: f64,
    /// Share of calls that fail.
    failing: f64,
    /// Whether its programs list the models when they start.
    lists: bool,
    rng: Rng,
    crew: Arc<Crew>,
    happenings: Vec<Happening>,
    /// Worked out when it is first looked at, because it takes most of the memory.
    life: Arc<OnceLock<Life>>,
}

impl FleetKey {
    fn draw(
        client: &Arc<Client>,
        owner: &Arc<Owner>,
        owners_rng: &Rng,
        options: &FleetOptions,
        rng: &Rng,
    ) -> Self {
        let mut draw = rng.fork("key");
        let workload = match draw.below(100) {
            0..35 => Workload::Service,
            35..60 => Workload::Pool,
            60..70 => Workload::Ci,
            70..90 => Workload::Team,
            _ => Workload::PublicApp,
        };
        let (low, high) = options.calls_per_day;
        let calls_per_day = draw.log_uniform(low, high);
        let active_days = client.active_days().len().max(1) as f64;
        let crew = Crew::draw(owner, workload, calls_per_day, &mut rng.fork("crew"));
        let heads = Life::heads(&crew);
        let own = |change: Change| {
            let shared = if change.is_personal() { 0.0 } else { OWNERS_SHARE };
            options.pace * (1.0 - shared)
        };
        let owners = |change: Change| if change.is_personal() { 0.0 } else { options.pace * OWNERS_SHARE };
        let mut happenings = changes::timeline(workload, heads, own, START_MS, &rng.fork("changes"));
        happenings.extend(changes::timeline(workload, 0, owners, START_MS, &owners_rng.fork("changes")));
        happenings.sort_by_key(|happening| (happening.at_ms, happening.change));
        Self {
            id: KeyId::from_bits(draw.next_u64()),
            workload,
            client: client.clone(),
            owner: Arc::clone(owner),
            scale: calls_per_day * active_days / client.requests().max(1.0),
            calls_per_day,
            failing: draw.log_uniform(0.005, 0.02),
            lists: draw.chance(0.15),
            rng: rng.clone(),
            crew: Arc::new(crew),
            happenings,
            life: Arc::default(),
        }
    }

    /// The same key, whose life is forgotten when it is dropped: of many keys, only those in use take memory.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { life: Arc::default(), ..self.clone() }
    }

    fn life(&self) -> &Life {
        self.life.get_or_init(|| Life::new((*self.crew).clone(), &self.owner, &self.happenings))
    }

    /// Its id.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Its owner; owners have one to six keys.
    pub fn owner(&self) -> OwnerId {
        self.owner.id
    }

    /// The real client it has the traffic of, such as `m-large/49`: split by this.
    pub fn client(&self) -> &str {
        self.client.name()
    }

    /// What kind of caller it is.
    pub const fn workload(&self) -> Workload {
        self.workload
    }

    /// The protocol it speaks.
    pub fn dialect(&self) -> Dialect {
        self.crew.dialect
    }

    /// Whether token sizes are the client's own rather than borrowed.
    pub fn has_real_tokens(&self) -> bool {
        self.client.has_tokens()
    }

    /// Mean calls on an active day, changes aside.
    pub const fn calls_per_day(&self) -> f64 {
        self.calls_per_day
    }

    /// Days of the trace, counted from 0, on which its client was active.
    pub fn active_days(&self) -> Vec<u64> {
        self.client.active_days()
    }

    /// What changes in its life, in time order.
    pub fn happenings(&self) -> &[Happening] {
        &self.happenings
    }

    /// The key with one more change at a time (Unix milliseconds). See [`Change::fits`].
    #[must_use]
    pub fn with_change(&self, change: Change, at_ms: u64, seed: u64) -> Self {
        let mut happenings = self.happenings.clone();
        happenings.push(Happening { at_ms, change, seed });
        happenings.sort_by_key(|happening| (happening.at_ms, happening.change));
        Self { happenings, life: Arc::default(), ..self.clone() }
    }

    /// Its events from a day of the trace to the one before `to_day`, in time order; `key_seq` is 0.
    pub fn events(&self, from_day: u64, to_day: u64) -> impl Iterator<Item = UsageEvent> + Send + use<> {
        let (key, again) = (self.clone(), self.clone());
        (from_day..to_day.min(DAYS))
            .flat_map(move |day| day::calls(&key, day))
            .filter_map(move |slot| render::call(&again, &slot).map(render::Call::event))
    }
}

/// The day of the trace that a time (Unix milliseconds) lies in; 0 for times before it.
pub const fn day_of(at_ms: u64) -> u64 {
    at_ms.saturating_sub(START_MS) / DAY_MS
}

#[cfg(test)]
mod tests;
