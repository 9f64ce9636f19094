//! Newcomers on probation: one slot per actor that brought meaningful evidence.
//!
//! Invariant: what a slot holds was not learned by the key; promotion or a person's word is the only way.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::context::{RequestContext, Siblings, SiblingsKnow};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Actor, Tier};
use tokenwatch_model::id::{ActorId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{NetworkKind, Prefix};
use tokenwatch_model::time::{DAY, HOUR, Timestamp};

use crate::behaviour::Acts;
use crate::content::Told;
use crate::features::Features;
use crate::known::{Novelty, dimension};
use crate::math::hash;

/// Most newcomers followed at once.
pub(crate) const SLOTS_MAX: usize = 16;
/// An episode closes after so long without a request of the actor.
pub(crate) const EPISODE_SILENCE: u64 = DAY;
/// A newcomer's type is settled after so many requests, or after an hour.
const SETTLING_REQUESTS: u64 = 20;
/// Longer names are not kept: they are evidence by their print, never part of a context.
const NAME_MAX: usize = 64;

/// Hard facts about a newcomer, as bits.
pub(crate) mod fact {
    /// It behaves like a key checker.
    pub(crate) const CHECKER: u8 = 1;
    /// The key was found in public before it came.
    pub(crate) const LEAKED: u8 = 1 << 1;
    /// A theft was confirmed on the key within the last days.
    pub(crate) const THEFT: u8 = 1 << 2;
}

/// The values behind the prints, for contexts and sentences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) features: Features,
    pub(crate) prefix: Prefix,
    pub(crate) family: SmolStr,
    pub(crate) version: SmolStr,
    pub(crate) tls: u64,
    pub(crate) model: SmolStr,
    pub(crate) template: u64,
    /// What the owner's other keys know of these values.
    pub(crate) siblings: Siblings,
}

fn short(name: &SmolStr) -> SmolStr {
    if name.len() <= NAME_MAX { name.clone() } else { SmolStr::default() }
}

/// Takes over what the siblings know of a value that was taken over.
fn take(known: &mut SiblingsKnow, request: &RequestContext, about: SiblingsKnow) {
    known.0 = (known.0 & !about.0) | (request.siblings.known.0 & about.0);
}

impl Identity {
    fn of(request: &RequestContext, features: &Features) -> Self {
        Self {
            features: *features,
            prefix: request.source.prefix(),
            family: short(&request.client.family),
            version: short(&request.client.version),
            tls: request.client.tls,
            model: short(&request.model),
            template: request.shape.template,
            siblings: request.siblings,
        }
    }

    /// Takes over what is new in another request of the same actor.
    fn absorb(
        &mut self,
        request: &RequestContext,
        features: &Features,
        request_is: Novelty,
        slot_is: Novelty,
    ) {
        let gains = |of: usize| request_is.has(of) && !slot_is.has(of);
        let mine = &mut self.features;
        if gains(dimension::VERSION) {
            mine.version = features.version;
            self.version = short(&request.client.version);
            take(&mut self.siblings.known, request, SiblingsKnow::VERSION);
        }
        if gains(dimension::TLS) {
            mine.tls = features.tls;
            self.tls = request.client.tls;
            take(&mut self.siblings.known, request, SiblingsKnow::TLS);
        }
        if gains(dimension::MODEL) {
            mine.model = features.model;
            self.model = short(&request.model);
            take(&mut self.siblings.known, request, SiblingsKnow::MODEL);
        }
        if gains(dimension::ENDPOINT) {
            mine.endpoint = features.endpoint;
        }
        if gains(dimension::TEMPLATE) || (mine.template == 0 && features.template != 0) {
            mine.template = features.template;
            self.template = request.shape.template;
            take(&mut self.siblings.known, request, SiblingsKnow::TEMPLATE);
        }
    }

    /// The narrowest description that holds its requests and none of the key's known contexts: at least
    /// one field has a value the key does not know. Network first, then client.
    ///
    /// A new hosting or Tor network is named whole, since thieves rotate inside one; in an access network
    /// or behind a VPN, which strangers share, only the block is named.
    pub(crate) fn context(&self, novelty: Novelty, roams: bool) -> ContextMatch {
        let features = &self.features;
        let mut context = ContextMatch::default();
        let rented = matches!(features.kind, NetworkKind::Hosting | NetworkKind::Tor);
        if novelty.has(dimension::NETWORK) && rented {
            context.asn = Some(features.asn);
        } else if roams && novelty.has(dimension::NETWORK) && !self.family.is_empty() {
            context.asn = Some(features.asn);
            context.client = Some(self.family.clone());
        } else if roams && novelty.has(dimension::TEMPLATE) && self.template != 0 {
            context.asn = Some(features.asn);
            context.template = Some(self.template);
        } else if novelty.has(dimension::PREFIX) {
            context.prefix = Some(self.prefix);
        } else if novelty.has(dimension::FAMILY) && crate::math::print(hash(&self.family)) == features.family
        {
            context.client = Some(self.family.clone());
        } else if novelty.has(dimension::TLS) {
            context.tls = Some(self.tls);
        } else if novelty.has(dimension::VERSION) && !self.version.is_empty() {
            context.client = Some(self.family.clone());
            context.client_version = Some(self.version.clone());
        }
        context
    }
}

/// One newcomer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slot {
    /// Bits of the actor's id.
    pub(crate) actor: u64,
    pub(crate) identity: Identity,
    pub(crate) first_seen: Timestamp,
    pub(crate) last_seen: Timestamp,
    pub(crate) requests: u64,
    pub(crate) forwarded: u64,
    pub(crate) cost: NanoUsd,
    pub(crate) acts: Acts,
    pub(crate) told: Told,
    pub(crate) facts: u8,
    /// The highest score so far in the open episode, in days.
    pub(crate) score: f64,
    /// The highest tier told in the open episode.
    pub(crate) tier: Option<Tier>,
    /// Once alerted it is not promoted by time, only by a person.
    pub(crate) alerted: bool,
    /// Set when it reached an alert.
    pub(crate) context: Option<Box<ContextMatch>>,
    /// Its latest requests, oldest first.
    pub(crate) recent: Vec<RequestId>,
    /// Whether it called from several blocks.
    pub(crate) roams: bool,
}

impl Slot {
    /// Opens a slot; the request that opens it is noted separately.
    pub(crate) fn open(actor: ActorId, request: &RequestContext, features: &Features) -> Self {
        Self {
            actor: actor.bits(),
            identity: Identity::of(request, features),
            first_seen: request.time,
            last_seen: request.time,
            requests: 0,
            forwarded: 0,
            cost: NanoUsd::ZERO,
            acts: Acts::NONE,
            told: Told::default(),
            facts: 0,
            score: 0.0,
            tier: None,
            alerted: false,
            context: None,
            recent: Vec::new(),
            roams: false,
        }
    }

    /// Whether a caller from another block is this newcomer moving about in one network: the same system and client
    /// family, and on a system that the key uses itself the same template too.
    pub(crate) fn resembles(&self, features: &Features, network_is_new: bool) -> bool {
        let mine = &self.identity.features;
        mine.asn != 0
            && !mine.private
            && mine.asn == features.asn
            && mine.family == features.family
            && (network_is_new || mine.template == features.template)
    }

    /// Counts a request, and lets it complete the newcomer's type while that is not settled.
    pub(crate) fn note_request(
        &mut self,
        request: &RequestContext,
        features: &Features,
        request_is: Novelty,
        slot_is: Novelty,
    ) {
        let silence = request.time.since(self.last_seen);
        if silence > EPISODE_SILENCE {
            self.close_episode();
            if self.alerted {
                // Evidence fades while a newcomer is here and does no harm. One that was told of and stays away for
                // some weeks must not be served for that.
                self.first_seen = self.first_seen.plus(silence);
            }
        }
        if self.requests < SETTLING_REQUESTS && request.time.since(self.first_seen) < HOUR {
            self.identity.absorb(request, features, request_is, slot_is);
        }
        self.roams |= features.prefix != self.identity.features.prefix;
        self.requests = self.requests.saturating_add(1);
        self.last_seen = self.last_seen.max(request.time);
        if self.recent.len() >= 4 {
            self.recent.remove(0);
        }
        self.recent.push(request.id);
    }

    /// Ends its episode: what it does next is told of anew.
    pub(crate) fn close_episode(&mut self) {
        (self.tier, self.score) = (None, 0.0);
    }

    /// Books how a request ended.
    pub(crate) fn note_outcome(&mut self, event: &UsageEvent) {
        if event.outcome.was_forwarded() {
            self.forwarded = self.forwarded.saturating_add(1);
            self.cost += event.cost;
        }
    }

    /// Whether another newcomer is the same program on another machine: network, software and prompt are the same, so
    /// that one alert is enough for both.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let (own, theirs) = (&self.identity.features, &other.identity.features);
        own.asn != 0
            && own.template != 0
            && (own.asn, own.country, own.family, own.template)
                == (theirs.asn, theirs.country, theirs.family, theirs.template)
    }

    /// Whether its episode at an alert is open: its requests are refused.
    pub(crate) fn is_contained(&self, now: Timestamp) -> bool {
        self.tier >= Some(Tier::Alert) && now.since(self.last_seen) <= EPISODE_SILENCE
    }

    /// The actor as a finding names it.
    pub(crate) fn actor(&self, novelty: Novelty) -> Actor {
        let context = match &self.context {
            Some(context) => (**context).clone(),
            None => self.identity.context(novelty, self.roams),
        };
        Actor {
            id: ActorId::from_bits(self.actor),
            context,
            first_seen: self.first_seen,
            requests: self.requests,
            requests_forwarded: self.forwarded,
            cost: self.cost,
        }
    }
}
