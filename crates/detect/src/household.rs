//! What the keys of one owner know together: evidence about a newcomer from outside its key.
//!
//! A service of the owner that joins another of its keys, an office or an exit that all teams share, a prompt or an SDK
//! that is rolled out: such a newcomer is new to one key and old to another. [`Household::ask`] says which values of a
//! request another key of the owner vouches for; the answer is written into the request before it is judged
//! ([`RequestContext::siblings`]), so the engine stays a function of one key's events, and a replay asks nobody.
//!
//! A key vouches only for what it has known for [`SETTLED_HOURS`] and used in [`SESSIONS`] different hours, and only when
//! it has a history of that length itself. What is on probation, refused or called a theft was never learned, so a thief
//! who steals two keys of one owner does not vouch for itself: it would have to be taken for the owner on one of them
//! first, by that key's own evidence, and then wait.
//!
//! Invariants: what is known depends on what each key handed over last, not on the order of handing over; memory is
//! bounded by [`KEYS_MAX`] and [`VALUES_MAX`]; nothing here needs to be stored, because every key's state says it again.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use tokenwatch_model::context::{RequestContext, Siblings, SiblingsKnow};
use tokenwatch_model::id::KeyId;

use crate::features::Features;
use crate::known::KnownSet;
use crate::math::scramble;
use crate::state::KeyState;

/// A value is vouched for when it has been known for so many hours.
pub(crate) const SETTLED_HOURS: u32 = 72;
/// And was used in so many hours.
const SESSIONS: u16 = 3;
/// Days of history from which on a key is asked.
const HISTORY_DAYS: f64 = 3.0;
/// Keys of one owner that are asked: those that were handed over first.
const KEYS_MAX: usize = 64;
/// Values of each kind that one key vouches for: those used in most hours.
const VALUES_MAX: usize = 16;

/// The kinds of values, with the bit that says that a value is known.
const KINDS: [SiblingsKnow; 8] = [
    SiblingsKnow::PREFIX,
    SiblingsKnow::NETWORK,
    SiblingsKnow::COUNTRY,
    SiblingsKnow::FAMILY,
    SiblingsKnow::VERSION,
    SiblingsKnow::TLS,
    SiblingsKnow::MODEL,
    SiblingsKnow::TEMPLATE,
];

/// A value of a kind as a number; `None` for what is absent.
fn value(kind: SiblingsKnow, print: u32) -> Option<u64> {
    (print != 0).then_some(u64::from(kind.0) << 32 | u64::from(print))
}

/// The prints of a request in the order of [`KINDS`]. An address inside somebody's own network says nothing.
fn prints(features: &Features) -> [u32; 8] {
    let public = |print: u32| if features.private { 0 } else { print };
    [
        public(features.prefix),
        public(features.asn),
        public(u32::from(features.country.packed())),
        features.family,
        features.version,
        features.tls,
        features.model,
        features.template,
    ]
}

/// What one key vouches for towards the other keys of its owner.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Vouched {
    /// Rising.
    values: Box<[u64]>,
}

impl Vouched {
    /// How many values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it vouches for nothing.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl KeyState {
    /// What the key vouches for by now; `None` while it has too little history to be asked.
    pub fn vouches(&self) -> Option<Vouched> {
        let now = self.last_event();
        if self.maturity_days(now) < HISTORY_DAYS {
            return None;
        }
        let hour = self.age_hours(now);
        let mut values = Vec::new();
        let mut take = |kind: SiblingsKnow, prints: Vec<u32>| {
            values.extend(prints.into_iter().filter_map(|print| value(kind, print)));
        };
        let known = &self.known;
        take(SiblingsKnow::PREFIX, settled(&known.prefixes, hour));
        take(SiblingsKnow::NETWORK, settled(&known.networks, hour));
        take(SiblingsKnow::COUNTRY, settled(&known.countries, hour));
        take(SiblingsKnow::FAMILY, settled(&known.families, hour));
        take(SiblingsKnow::VERSION, settled(&known.versions, hour));
        take(SiblingsKnow::TLS, settled(&known.tls, hour));
        take(SiblingsKnow::MODEL, settled(&known.models, hour));
        take(SiblingsKnow::TEMPLATE, settled(&known.templates, hour));
        values.sort_unstable();
        Some(Vouched { values: values.into() })
    }
}

/// The settled values of a set that were used most, in a fixed order.
fn settled<const CAP: usize>(set: &KnownSet<CAP>, hour: u32) -> Vec<u32> {
    let mut values: Vec<(u16, u32)> = set
        .entries()
        .filter(|entry| entry.sessions >= SESSIONS && hour.saturating_sub(entry.first) >= SETTLED_HOURS)
        .map(|entry| (entry.sessions, entry.print))
        .collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.truncate(VALUES_MAX);
    values.into_iter().map(|(_, print)| print).collect()
}

/// Who vouches for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vouchers {
    keys: u16,
    /// One of them; the only one when `keys` is 1.
    one: KeyId,
}

/// What the keys of one owner know together.
#[derive(Clone, Debug, Default)]
pub struct Household {
    keys: BTreeMap<KeyId, Vouched>,
    values: HashMap<u64, Vouchers, BuildHasherDefault<Scrambled>>,
}

impl PartialEq for Household {
    fn eq(&self, other: &Self) -> bool {
        // The values follow from the keys.
        self.keys == other.keys
    }
}

impl Household {
    /// Keys that are asked.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is nobody to ask.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes what a key vouches for in place of what it said before; `None` when it vouches for nothing any more.
    /// Whether anything changed. Beyond 64 keys a further one is not taken.
    pub fn put(&mut self, key: KeyId, vouched: Option<Vouched>) -> bool {
        let is_same = self.keys.get(&key) == vouched.as_ref();
        let has_room = self.keys.len() < KEYS_MAX || self.keys.contains_key(&key);
        if is_same || !has_room {
            return false;
        }
        match vouched {
            Some(vouched) => drop(self.keys.insert(key, vouched)),
            None => drop(self.keys.remove(&key)),
        }
        self.values.clear();
        for (&key, vouched) in &self.keys {
            for &value in &vouched.values {
                let vouchers = self.values.entry(value).or_insert(Vouchers { keys: 0, one: key });
                vouchers.keys = vouchers.keys.saturating_add(1);
            }
        }
        true
    }

    /// What the owner's keys but the request's own know of a request.
    pub fn ask(&self, request: &RequestContext) -> Siblings {
        let others = self.keys.len() - usize::from(self.keys.contains_key(&request.key));
        if others == 0 {
            return Siblings::default();
        }
        let mut known = SiblingsKnow::default();
        for (kind, print) in KINDS.into_iter().zip(prints(&Features::of(request))) {
            let vouchers = value(kind, print).and_then(|value| self.values.get(&value));
            if vouchers.is_some_and(|vouchers| vouchers.keys > 1 || vouchers.one != request.key) {
                known = known.and(kind);
            }
        }
        Siblings { keys: u16::try_from(others).unwrap_or(u16::MAX), known }
    }
}

/// Hashes values, which nobody can choose freely: they come from keys' settled histories.
#[derive(Default)]
struct Scrambled(u64);

impl Hasher for Scrambled {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = scramble(self.0 ^ number);
    }
}
