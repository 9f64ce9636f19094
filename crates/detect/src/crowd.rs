//! Crowds: newcomers from many networks that share something new to the key.
//!
//! Evidence of a crowd is the sum of its members' arrivals, which is an e-value like each of them; any
//! part of the sum of all arrivals stays within the one false-alarm budget. Members from one network count
//! once: a benign new workload in a pool of addresses is one cause, not many. One strong member is no crowd
//! either: each counts for at most a third of the alert threshold.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Actor, Tier};
use tokenwatch_model::id::{ActorId, KeyId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::{DAY, Timestamp};

use crate::features::Features;
use crate::known::{Novelty, dimension};
use crate::math::{fade, join};
use crate::slot::{EPISODE_SILENCE, Identity};

/// Most crowds followed at once.
pub(crate) const CROWDS_MAX: usize = 8;
/// Fewer networks than this are single actors, not a crowd.
pub(crate) const NETWORKS_MIN: usize = 3;
/// A caller who shares nothing with a crowd but being new must be worth so many days to be refused for it.
pub(crate) const NEWNESS_DAYS: f64 = 30.0;
/// Networks remembered per crowd.
const NETWORKS_MAX: usize = 12;
/// Evidence fades to half in this time.
pub(crate) const HALF: u64 = 3 * DAY;

/// What the members of a crowd share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shared {
    /// Nothing but being new.
    Newness,
    /// A prompt template.
    Template(u64),
    /// A client family.
    Family(SmolStr),
    /// A TLS print.
    Tls(u64),
}

impl Shared {
    /// What of an actor is new to the key and could be shared with others.
    pub(crate) fn of(identity: &Identity, novelty: Novelty) -> impl Iterator<Item = Self> {
        let template = (novelty.has(dimension::TEMPLATE) && identity.template != 0)
            .then_some(Self::Template(identity.template));
        let family = (novelty.has(dimension::FAMILY) && !identity.family.is_empty())
            .then(|| Self::Family(identity.family.clone()));
        let tls = novelty.has(dimension::TLS).then_some(Self::Tls(identity.tls));
        [Some(Self::Newness), template, family, tls].into_iter().flatten()
    }

    fn context(&self) -> ContextMatch {
        let mut context = ContextMatch::default();
        match self {
            Self::Newness => {}
            Self::Template(template) => context.template = Some(*template),
            Self::Family(family) => context.client = Some(family.clone()),
            Self::Tls(tls) => context.tls = Some(*tls),
        }
        context
    }

    /// Words for it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Newness => "all new to this key".to_owned(),
            Self::Template(template) => format!("with the same unknown prompt template {template:016x}"),
            Self::Family(family) => format!("with the same unknown client {family}"),
            Self::Tls(tls) => format!("with the same unknown TLS print {tls:016x}"),
        }
    }

    fn bits(&self) -> u64 {
        match self {
            Self::Newness => 1,
            Self::Template(bits) => join(2, *bits),
            Self::Family(family) => join(3, crate::math::hash(family)),
            Self::Tls(bits) => join(4, *bits),
        }
    }
}

/// One crowd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Crowd {
    pub(crate) shared: Shared,
    /// Summed evidence in days, as of `at`.
    sum: f64,
    at: Timestamp,
    networks: Vec<u32>,
    pub(crate) members: u32,
    pub(crate) first_seen: Timestamp,
    pub(crate) last_seen: Timestamp,
    pub(crate) requests: u64,
    pub(crate) forwarded: u64,
    pub(crate) cost: NanoUsd,
    pub(crate) tier: Option<Tier>,
    /// The highest evidence of the open episode, in days.
    pub(crate) peak: f64,
}

impl Crowd {
    fn new(shared: Shared, now: Timestamp) -> Self {
        Self {
            shared,
            sum: 0.0,
            at: now,
            networks: Vec::new(),
            members: 0,
            first_seen: now,
            last_seen: now,
            requests: 0,
            forwarded: 0,
            cost: NanoUsd::ZERO,
            tier: None,
            peak: 0.0,
        }
    }

    /// What is left of the evidence.
    fn faded(&self, now: Timestamp) -> f64 {
        self.sum * fade(now.since(self.at), HALF)
    }

    /// Evidence if a newcomer from this network, worth so many days, joined now; `None` while the crowd
    /// is too small to be one.
    pub(crate) fn with(&self, features: &Features, days: f64, now: Timestamp) -> Option<f64> {
        let known = self.networks.contains(&features.network());
        let networks = self.networks.len() + usize::from(!known);
        (networks >= NETWORKS_MIN).then(|| self.faded(now) + if known { 0.0 } else { days })
    }

    fn join(&mut self, features: &Features, days: f64, now: Timestamp) {
        self.sum = self.faded(now);
        self.at = self.at.max(now);
        if !self.networks.contains(&features.network()) {
            self.sum += days;
            if self.networks.len() >= NETWORKS_MAX {
                self.networks.remove(0);
            }
            self.networks.push(features.network());
        }
        self.members = self.members.saturating_add(1);
    }

    /// Whether its episode at an alert is open.
    pub(crate) fn is_contained(&self, now: Timestamp) -> bool {
        self.tier >= Some(Tier::Alert) && now.since(self.last_seen) <= EPISODE_SILENCE
    }

    /// Ends its episode: what its members do next is told of anew.
    pub(crate) fn close_episode(&mut self) {
        (self.tier, self.peak) = (None, 0.0);
    }

    /// Its id as an actor on a key.
    pub(crate) fn id(&self, key: KeyId) -> ActorId {
        ActorId::from_bits(join(key.bits(), self.shared.bits()))
    }

    /// Counts a member's request.
    pub(crate) fn note(&mut self, event: &UsageEvent) {
        let time = event.request.time;
        if time.since(self.last_seen) > EPISODE_SILENCE {
            self.close_episode();
        }
        self.last_seen = self.last_seen.max(time);
        self.requests = self.requests.saturating_add(1);
        if event.outcome.was_forwarded() {
            self.forwarded = self.forwarded.saturating_add(1);
            self.cost += event.cost;
        }
    }

    /// The crowd as a finding names it; `latest` is its newest member's context.
    pub(crate) fn actor(&self, key: KeyId, latest: ContextMatch) -> Actor {
        let context = if self.shared == Shared::Newness { latest } else { self.shared.context() };
        Actor {
            id: self.id(key),
            context,
            first_seen: self.first_seen,
            requests: self.requests,
            requests_forwarded: self.forwarded,
            cost: self.cost,
        }
    }

    /// Networks its members came from; at least, once more than can be remembered.
    pub(crate) fn networks(&self) -> usize {
        self.networks.len()
    }
}

/// Adds a new actor's arrival to the crowd that shares `shared`, opening it if need be.
pub(crate) fn join_crowd(
    crowds: &mut Vec<Crowd>,
    shared: Shared,
    features: &Features,
    days: f64,
    now: Timestamp,
) {
    if let Some(crowd) = crowds.iter_mut().find(|crowd| crowd.shared == shared) {
        crowd.join(features, days, now);
        return;
    }
    if crowds.len() >= CROWDS_MAX {
        let weakest = crowds
            .iter()
            .enumerate()
            .filter(|(_, crowd)| crowd.shared != Shared::Newness && !crowd.is_contained(now))
            .min_by(|(_, a), (_, b)| a.faded(now).total_cmp(&b.faded(now)))
            .map(|(i, _)| i);
        let Some(weakest) = weakest else { return };
        crowds.remove(weakest);
    }
    let mut crowd = Crowd::new(shared, now);
    crowd.join(features, days, now);
    crowds.push(crowd);
}
