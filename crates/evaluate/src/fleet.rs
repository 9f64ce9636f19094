//! The simulated fleet as a world: real volumes, times and tokens; simulated identities, changes and thefts.

use std::collections::BTreeMap;

use tokenwatch_detect::KeyProfile;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::key::Workload;
use tokenwatch_model::time::Timestamp;
use tokenwatch_testkit::fleet::clients::Client;
use tokenwatch_testkit::fleet::{self, Fleet, FleetKey, FleetOptions, TheftLimits};
use tokenwatch_testkit::rng::Rng;
use tokenwatch_testkit::theft::{Theft, TheftGroup};

use crate::plan::shuffle;
use crate::world::{Attack, Change, Group, World, WorldKey};

/// Which fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FleetSettings {
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Keys, spread evenly over the real clients.
    pub keys: u32,
    /// Multiplies the rate of every harmless change.
    pub pace: f64,
    /// The false-alarm budget of every key.
    pub false_alarms_per_year: f64,
    /// Whether methods are told what kind of caller a key is for.
    pub is_declared: bool,
    /// Most requests of a theft; the first ones are kept.
    pub theft_requests_max: usize,
}

/// A fleet.
pub struct FleetWorld {
    about: Vec<WorldKey>,
    keys: Vec<FleetKey>,
    thefts: Vec<Theft>,
    attacks: Vec<Attack>,
    changes: Vec<Change>,
    theft_requests_max: usize,
}

impl FleetWorld {
    /// A key for one use.
    fn key(&self, place: usize) -> Option<FleetKey> {
        self.keys.get(place).map(FleetKey::apart)
    }

    /// The thefts that can be put on any fleet.
    pub fn every_attack() -> Vec<Attack> {
        thefts().map(attack).collect()
    }

    /// Those of the clients that keys can be made from: the others are not active on enough days.
    pub fn fit(mut clients: Vec<Client>) -> Vec<Client> {
        clients.retain(|client| FleetOptions::default().takes(client));
        clients
    }

    /// Makes the fleet from real clients, such as [`fleet::clients::bundled`]'s.
    pub fn new(clients: Vec<Client>, settings: &FleetSettings) -> Self {
        let options = |keys_per_client| FleetOptions {
            keys_per_client,
            pace: settings.pace,
            ..FleetOptions::default()
        };
        let clients = Self::fit(clients);
        let each = settings.keys.div_ceil(clients.len().max(1) as u32).max(1);
        let keys = choose(&Fleet::of(clients, settings.seed, &options(each)), settings);
        let about = |key: &FleetKey| WorldKey {
            client: key.client().into(),
            profile: KeyProfile {
                workload: if settings.is_declared { key.workload() } else { Workload::Unknown },
                owner: Some(key.owner()),
                created: Timestamp::from_ms(fleet::START_MS),
                false_alarms_per_year: settings.false_alarms_per_year,
                ..KeyProfile::default()
            },
            archetype: key.workload().name(),
        };
        let change =
            |change: &fleet::Change| Change { name: change.name(), description: change.description() };
        Self {
            about: keys.iter().map(about).collect(),
            keys,
            attacks: Self::every_attack(),
            thefts: thefts().collect(),
            theft_requests_max: settings.theft_requests_max,
            changes: fleet::Change::HARD.iter().map(change).collect(),
        }
    }
}

/// The fifteen that other evaluations have too come first, then those that follow one report each.
pub(crate) fn thefts() -> impl Iterator<Item = Theft> {
    let documented = Theft::ALL.iter().filter(|theft| !Theft::REFERENCE.contains(theft));
    Theft::REFERENCE.iter().chain(documented).copied()
}

fn attack(theft: Theft) -> Attack {
    let group = match theft.group() {
        TheftGroup::Documented => Group::Documented,
        TheftGroup::Loud => Group::Loud,
        TheftGroup::Careful => Group::Careful,
        TheftGroup::Mimic => Group::Mimic,
    };
    Attack {
        name: theft.name(),
        description: theft.description(),
        group,
        is_control: theft == Theft::Mimic,
        owner_silent_days: theft.silent_days(),
    }
}

/// As many keys as are wanted: one of each client in a drawn order, then a second of each, and so on.
fn choose(fleet: &Fleet, settings: &FleetSettings) -> Vec<FleetKey> {
    let mut clients: BTreeMap<&str, Vec<&FleetKey>> = BTreeMap::new();
    for key in fleet.keys() {
        clients.entry(key.client()).or_default().push(key);
    }
    let mut clients: Vec<Vec<&FleetKey>> = clients.into_values().collect();
    shuffle(&mut clients, &mut Rng::new(settings.seed).fork("clients"));
    let longest = clients.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..longest).flat_map(|turn| clients.iter().filter_map(move |keys| keys.get(turn)));
    in_turn.take(settings.keys as usize).map(|&key| key.clone()).collect()
}

impl World for FleetWorld {
    fn start(&self) -> Timestamp {
        Timestamp::from_ms(fleet::START_MS)
    }

    fn keys(&self) -> &[WorldKey] {
        &self.about
    }

    fn attacks(&self) -> &[Attack] {
        &self.attacks
    }

    fn changes(&self) -> &[Change] {
        &self.changes
    }

    fn events(&self, key: usize, to_day: u32) -> Vec<UsageEvent> {
        self.key(key).map(|key| key.events(0, to_day.into()).collect()).unwrap_or_default()
    }

    fn theft(
        &self,
        key: usize,
        attack: usize,
        seed: u64,
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<UsageEvent> {
        let limits = TheftLimits { events_max: self.theft_requests_max, until_ms: end.ms() };
        let stolen = self.key(key).zip(self.thefts.get(attack));
        stolen.map(|(key, &theft)| key.theft(theft, seed, start.ms(), limits)).unwrap_or_default()
    }

    fn changed(
        &self,
        key: usize,
        change: usize,
        seed: u64,
        at: Timestamp,
        to_day: u32,
    ) -> Option<Vec<UsageEvent>> {
        let key = self.key(key)?;
        let change = *fleet::Change::HARD.get(change)?;
        let changed = || {
            let events = key.with_change(change, at.ms(), seed).events(fleet::day_of(at.ms()), to_day.into());
            events.filter(|event| event.request.time >= at).collect()
        };
        change.fits(key.workload()).then(changed)
    }
}
