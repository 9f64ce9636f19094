//! Recorded events as a world: keys as they were used, with simulated thefts put into them, and thefts that came with them.
//!
//! Invariants:
//! * What a truth gives to a thief is never clean traffic.
//! * A thief's event has no column that none of the clean events has: what was not recorded tells nobody apart.

use std::collections::{BTreeMap, HashMap};

use tokenwatch_detect::KeyProfile;
use tokenwatch_model::SmolStr;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_testkit::fleet::{RecordedKey, TheftLimits};
use tokenwatch_testkit::theft::Theft;
use tokenwatch_wire::price::{PriceTable, cost};

use crate::fleet::{FleetWorld, thefts};
use crate::world::{Attack, Group, World, WorldKey};

mod columns;

pub use columns::Columns;

/// Collects events, in any order.
#[derive(Debug, Default)]
pub struct Recording {
    profiles: HashMap<KeyId, KeyProfile>,
    unknown: KeyProfile,
    keys: BTreeMap<KeyId, Collected>,
    /// Names of the thefts that came with the events, in the order in which they came.
    attacks: Vec<SmolStr>,
    columns: Columns,
}

#[derive(Debug, Default)]
struct Collected {
    owner: Option<OwnerId>,
    clean: Vec<UsageEvent>,
    /// By place in `attacks`.
    stolen: BTreeMap<usize, Vec<UsageEvent>>,
}

impl Recording {
    /// Nothing yet; what is declared about keys, and what is assumed of those of which nothing is.
    pub fn new(profiles: HashMap<KeyId, KeyProfile>, unknown: KeyProfile) -> Self {
        Self { profiles, unknown, ..Self::default() }
    }

    /// Adds an event, the key's owner if the event names one, and the kind of theft it belongs to if a thief sent it.
    pub fn add(&mut self, event: UsageEvent, owner: Option<OwnerId>, attack: Option<&SmolStr>) {
        let place = attack.map(|attack| {
            let known = self.attacks.iter().position(|known| known == attack);
            known.unwrap_or_else(|| {
                self.attacks.push(attack.clone());
                self.attacks.len() - 1
            })
        });
        let key = self.keys.entry(event.request.key).or_default();
        key.owner = owner.or(key.owner);
        match place {
            Some(place) => key.stolen.entry(place).or_default().push(event),
            None => {
                self.columns.see(&event);
                key.clean.push(event);
            }
        }
    }

    /// The world of these events. Thefts that came with them count from day `teach_days` on; those that are simulated
    /// have at most `theft_requests_max` requests. `None` when no event is clean.
    pub fn finish(mut self, teach_days: u32, theft_requests_max: usize) -> Option<RecordedWorld> {
        for Collected { clean, stolen, .. } in self.keys.values_mut() {
            let all = stolen.values_mut().chain([clean]);
            all.for_each(|events| events.sort_by_key(|event| event.request.time));
        }
        let first =
            self.keys.values().filter_map(|key| key.clean.first()).map(|event| event.request.time).min()?;
        let last =
            self.keys.values().filter_map(|key| key.clean.last()).map(|event| event.request.time).max()?;
        let start = Timestamp(first.0 - first.0 % DAY);
        let judged = start.plus(u64::from(teach_days) * DAY);
        let mut keys = Vec::with_capacity(self.keys.len());
        for (id, mut collected) in self.keys {
            for (event, seq) in collected.clean.iter_mut().zip(1..) {
                event.key_seq = seq;
            }
            collected.stolen.retain(|_, events| {
                events.iter_mut().for_each(|event| event.key_seq = 0);
                events.first().is_some_and(|first| first.request.time >= judged)
            });
            let mut profile = self.profiles.get(&id).unwrap_or(&self.unknown).clone();
            profile.owner = profile.owner.or(collected.owner);
            keys.push((id, profile, collected));
        }
        let client = |id: KeyId, profile: &KeyProfile| {
            profile.owner.map_or_else(|| id.to_string(), |owner| owner.to_string())
        };
        keys.sort_by_cached_key(|(id, profile, _)| (client(*id, profile), *id));
        let about = keys.iter().map(|(id, profile, _)| WorldKey {
            client: client(*id, profile).into(),
            profile: profile.clone(),
            archetype: profile.workload.name(),
        });
        let mut attacks = FleetWorld::every_attack();
        let is_simulated = |name: &SmolStr| Theft::from_name(name).is_some();
        let shown =
            |name: &SmolStr| if is_simulated(name) { format!("{name} (recorded)") } else { name.to_string() };
        attacks.extend(self.attacks.iter().map(|name| Attack {
            // Lives as long as the program, once for each kind of theft that a file names.
            name: Box::leak(shown(name).into_boxed_str()),
            description: "came with the events",
            group: Group::Recorded,
            is_control: false,
            owner_silent_days: 0,
        }));
        Some(RecordedWorld {
            start,
            days: last.day() - start.day() + 1,
            about: about.collect(),
            thefts: thefts().collect(),
            attacks,
            columns: self.columns,
            theft_requests_max,
            keys: keys.into_iter().map(|(id, _, collected)| (id, collected)).collect(),
        })
    }
}

/// Recorded keys.
#[derive(Debug)]
pub struct RecordedWorld {
    start: Timestamp,
    days: u32,
    about: Vec<WorldKey>,
    keys: Vec<(KeyId, Collected)>,
    thefts: Vec<Theft>,
    attacks: Vec<Attack>,
    columns: Columns,
    theft_requests_max: usize,
}

impl RecordedWorld {
    /// Days from that of the first clean event to that of the last.
    pub const fn days(&self) -> u32 {
        self.days
    }

    /// What the clean events have.
    pub const fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Clean events of all keys.
    pub fn clean_events(&self) -> u64 {
        self.keys.iter().map(|(_, key)| key.clean.len() as u64).sum()
    }

    /// Owners, or keys that have none: whose keys are alike.
    pub fn clients(&self) -> usize {
        // Keys are in the order of their clients.
        self.about.chunk_by(|a, b| a.client == b.client).count()
    }

    /// A simulated thief's events as they would have been recorded.
    fn simulated(
        &self,
        key: usize,
        theft: Theft,
        seed: u64,
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<UsageEvent> {
        let Some((id, collected)) = self.keys.get(key) else { return Vec::new() };
        let limits = TheftLimits { events_max: self.theft_requests_max, until_ms: end.ms() };
        let mut events = RecordedKey::new(*id, &collected.clean).theft(theft, seed, start.ms(), limits);
        for event in &mut events {
            let request = &mut event.request;
            let (price, _) = PriceTable::bundled().find(&request.provider, &request.model);
            event.cost = cost(&event.usage, &price);
            let mut worst = event.usage;
            worst.output = worst.output.max(request.output_tokens_max);
            request.cost_worst = cost(&worst, &price);
            self.columns.hide_others(event);
        }
        events
    }
}

impl World for RecordedWorld {
    fn start(&self) -> Timestamp {
        self.start
    }

    fn keys(&self) -> &[WorldKey] {
        &self.about
    }

    fn attacks(&self) -> &[Attack] {
        &self.attacks
    }

    fn events(&self, key: usize, to_day: u32) -> Vec<UsageEvent> {
        let end = self.start.plus(u64::from(to_day) * DAY);
        let clean = self.keys.get(key).map(|(_, key)| key.clean.as_slice()).unwrap_or_default();
        clean.iter().take_while(|event| event.request.time < end).cloned().collect()
    }

    fn theft(
        &self,
        key: usize,
        attack: usize,
        seed: u64,
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<UsageEvent> {
        match (self.thefts.get(attack), attack.checked_sub(self.thefts.len())) {
            (Some(&theft), _) => self.simulated(key, theft, seed, start, end),
            (None, Some(own)) => {
                let stolen = self.keys.get(key).and_then(|(_, key)| key.stolen.get(&own));
                stolen.cloned().unwrap_or_default()
            }
            (None, None) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
