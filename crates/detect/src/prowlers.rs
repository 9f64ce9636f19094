//! Callers who come to keys of several owners at once: whoever found or bought many keys tries them all.
//!
//! Keys of one owner that meet the same newcomer are probably a deployment; keys of owners who have nothing to do with
//! each other are not. A newcomer counts when it is much evidence on its key alone ([`DAYS_MIN`]) and no key of that
//! key's owner knows its block. From [`OWNERS_MIN`] owners within a day on that is told as a fact, on each of the keys
//! when it is called next. A way out that all teams of a company get on one day, with their software and prompts as they
//! were, is too little evidence on each key to count.
//!
//! Invariants: bounded by [`SOURCES_MAX`], and for each source by [`OWNERS_MAX`] and [`TOLD_MAX`]; what was seen longest
//! ago gives way; the same calls in the same order give the same answers.

use std::collections::BTreeMap;

use tokenwatch_model::context::{RequestContext, SiblingsKnow};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Finding, Reason, Severity, Tier, describe_origin};
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::time::{DAY, Timestamp};

use crate::features::{actor_of, block};
use crate::math::{hash, join, ln};
use crate::profile::KeyProfile;
use crate::slot::Slot;
use crate::state::KeyState;

/// Owners from which on it is no chance.
pub(crate) const OWNERS_MIN: usize = 3;
/// Days of evidence that a newcomer needs on its own key to count.
const DAYS_MIN: f64 = 30.0;
/// Sources that are followed.
const SOURCES_MAX: usize = 4_096;
/// Owners that are remembered of a source.
const OWNERS_MAX: usize = 8;
/// Keys on which it was told.
const TOLD_MAX: usize = 64;

/// A source: a block of addresses and a client.
#[derive(Clone, Debug, Default)]
struct Source {
    last: Timestamp,
    /// With when each of its keys was called last.
    owners: Vec<(OwnerId, Timestamp)>,
    told: Vec<(KeyId, Timestamp)>,
}

impl Source {
    /// Counts a call; how many owners it came to within a day, when that is to be told on this key.
    fn call(&mut self, owner: OwnerId, key: KeyId, now: Timestamp) -> Option<usize> {
        self.last = self.last.max(now);
        let is_recent = |at: Timestamp| now.since(at) < DAY;
        self.owners.retain(|(known, at)| *known != owner && is_recent(*at));
        self.told.retain(|(_, at)| is_recent(*at));
        if self.owners.len() >= OWNERS_MAX {
            self.owners.remove(0);
        }
        self.owners.push((owner, now));
        let is_told = self.owners.len() >= OWNERS_MIN && self.told.iter().all(|(told, _)| *told != key);
        if !is_told {
            return None;
        }
        if self.told.len() >= TOLD_MAX {
            self.told.remove(0);
        }
        self.told.push((key, now));
        Some(self.owners.len())
    }
}

/// Newcomers on keys of all owners, by where they come from.
#[derive(Clone, Debug, Default)]
pub struct Prowlers {
    sources: BTreeMap<u64, Source>,
}

/// The newcomer that sent a request, when it counts.
fn counted<'a>(state: &'a KeyState, request: &RequestContext) -> Option<&'a Slot> {
    let slot = state.newcomer(actor_of(request))?;
    (slot.score >= DAYS_MIN && !request.siblings.known.has(SiblingsKnow::PREFIX)).then_some(slot)
}

impl Prowlers {
    /// Whether a finished request is to be seen at all: most are not, and need not wait for anybody.
    pub fn is_interested(state: &KeyState, profile: &KeyProfile, event: &UsageEvent) -> bool {
        profile.owner.is_some() && counted(state, &event.request).is_some()
    }

    /// Takes in a finished request with what its key makes of it by now; a finding when its source came to keys of
    /// several owners. `owner` is the key's.
    pub fn see(&mut self, state: &KeyState, profile: &KeyProfile, event: &UsageEvent) -> Option<Finding> {
        let request = &event.request;
        let (owner, slot) = (profile.owner?, counted(state, request)?);
        let source = self.source(request);
        let owners = source.call(owner, request.key, request.time)?;
        let novelty = state.known.compare(&slot.identity.features);
        let once_in_days = slot.score.max(profile.alert_days());
        Some(Finding {
            rule: "many_owners".into(),
            key: request.key,
            time: request.time,
            severity: Severity::High,
            tier: Tier::Alert,
            once_in_days,
            summary: format!(
                "The caller from {} came to keys of {owners} owners within a day, new to all of them. {} requests on \
                 this key so far, {} forwarded, {}.",
                describe_origin(request),
                slot.requests,
                slot.forwarded,
                slot.cost,
            ),
            reasons: vec![Reason {
                nats: ln(once_in_days),
                what: format!(
                    "the same block and client called keys of {owners} owners, and none of their keys knows it"
                ),
            }],
            actor: Some(slot.actor(novelty)),
            events: slot.recent.clone(),
        })
    }

    /// Sources that are followed.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether none is followed.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    fn source(&mut self, request: &RequestContext) -> &mut Source {
        let place = join(block(request), hash(&request.client.family));
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&place) {
            let oldest = self.sources.iter().min_by_key(|(_, source)| source.last).map(|(place, _)| *place);
            oldest.into_iter().for_each(|oldest| drop(self.sources.remove(&oldest)));
        }
        self.sources.entry(place).or_default()
    }
}
