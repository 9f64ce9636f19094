//! Owners of several keys: what their keys know together, asked before each request is judged; and callers who come to
//! keys of several owners.
//!
//! Invariants: asking takes no lock but the shard's own; a key of an owner without other keys asks nobody. A key says
//! what it vouches for after its requests, once an hour, and at once when a person called something a theft; a revoked
//! key says nothing. Nothing is stored: a process learns what a key vouches for with the key's first request.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokenwatch_detect::{Household, KeyState as Learned, Prowlers, Vouched};
use tokenwatch_model::context::{RequestContext, Siblings};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::Finding;
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::key::KeyState;
use tokenwatch_model::time::Timestamp;

use super::{Live, LiveKey, Mind};
use crate::registry::KeyEntry;

/// What one owner's keys share.
#[derive(Default)]
pub(super) struct Home {
    /// Keys of the owner.
    keys: AtomicUsize,
    household: ArcSwap<Household>,
    /// Held while the household is replaced.
    writing: Mutex<()>,
}

impl Home {
    fn is_shared(&self) -> bool {
        self.keys.load(Ordering::Relaxed) > 1
    }

    fn put(&self, key: KeyId, vouched: Option<Vouched>) {
        let _writing = self.writing.lock();
        let mut household = Household::clone(&self.household.load());
        if household.put(key, vouched) {
            self.household.store(Arc::new(household));
        }
    }
}

/// The home of every owner.
#[derive(Default)]
pub(super) struct Homes(Mutex<HashMap<OwnerId, Arc<Home>>>);

impl Homes {
    /// Counts a key in.
    pub(super) fn enter(&self, entry: &KeyEntry) -> Option<Arc<Home>> {
        let home = self.0.lock().entry(entry.profile.owner?).or_default().clone();
        home.keys.fetch_add(1, Ordering::Relaxed);
        Some(home)
    }
}

impl LiveKey {
    /// Follows a change of the key: it may have another owner, and once revoked it vouches for nothing.
    pub(super) fn move_home(&mut self, homes: &Homes, entry: &KeyEntry) {
        let has_moved = self.entry.profile.owner != entry.profile.owner;
        if let Some(home) = self.home.as_ref().filter(|_| has_moved || entry.state == KeyState::Revoked) {
            home.put(entry.id, None);
        }
        if has_moved {
            if let Some(home) = self.home.take() {
                home.keys.fetch_sub(1, Ordering::Relaxed);
            }
            self.home = homes.enter(entry);
        }
    }
}

/// What a key has to say to the others of its owner; told when no shard is locked any more.
pub(super) struct Word {
    home: Arc<Home>,
    key: KeyId,
    vouched: Option<Vouched>,
}

impl Word {
    /// What a key vouches for at the first request of an hour. `told` is the hour of the last word.
    pub(super) fn hourly(
        home: Option<&Arc<Home>>,
        entry: &KeyEntry,
        learned: &Learned,
        now: Timestamp,
        told: &mut u32,
    ) -> Option<Self> {
        let home = home.filter(|home| home.is_shared() && *told != now.hour())?;
        *told = now.hour();
        let is_heard = entry.state != KeyState::Revoked;
        let vouched = if is_heard { learned.vouches() } else { None };
        Some(Self { home: Arc::clone(home), key: entry.id, vouched })
    }

    pub(super) fn tell(self) {
        self.home.put(self.key, self.vouched);
    }
}

impl Live {
    /// What is to be told of a caller who comes to keys of several owners. The lock that all keys share is taken for
    /// conspicuous newcomers only.
    pub(super) fn prowler(&self, mind: &Mind, entry: &KeyEntry, event: &UsageEvent) -> Option<Finding> {
        let (learned, profile) = (&mind.learned, &entry.profile);
        Prowlers::is_interested(learned, profile, event)
            .then(|| self.prowlers.lock().see(learned, profile, event))
            .flatten()
    }

    /// What the other keys of the owner know of a request.
    pub(crate) fn siblings(&self, key: KeyId, request: &RequestContext) -> Siblings {
        let guard = self.shard(key);
        let home = guard.keys.get(&key).and_then(|live| live.home.as_ref());
        home.filter(|home| home.is_shared())
            .map(|home| home.household.load().ask(request))
            .unwrap_or_default()
    }
}
