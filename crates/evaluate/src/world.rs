//! What methods are judged on: keys with clean traffic, and thefts that can be put into it.

use serde::Serialize;
use tokenwatch_detect::KeyProfile;
use tokenwatch_model::SmolStr;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::time::Timestamp;

/// How hard a theft is to see, and what it stands for. Reports give the mean of each group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Another network, client or volume than the owner's: what most reports describe.
    Loud,
    /// Another network, but the owner's software, models or sizes.
    Careful,
    /// A copy of the owner but for very little; the perfect copy is the control.
    Mimic,
    /// Follows one published report, call for call.
    Documented,
    /// Came with the events that are judged on.
    Recorded,
}

impl Group {
    /// Every group, in the order of reports.
    pub const ALL: [Self; 5] = [Self::Loud, Self::Careful, Self::Mimic, Self::Documented, Self::Recorded];

    /// The word used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loud => "loud",
            Self::Careful => "careful",
            Self::Mimic => "mimic",
            Self::Documented => "documented",
            Self::Recorded => "recorded",
        }
    }
}

/// A theft that can be put on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attack {
    /// Stable name.
    pub name: &'static str,
    /// What happens, in a line.
    pub description: &'static str,
    /// Its group.
    pub group: Group,
    /// Whether it is the perfect copy that nothing but chance finds.
    pub is_control: bool,
    /// Days before it from which on the owner no longer uses the key; 0 when the owner goes on.
    pub owner_silent_days: u64,
}

/// A harmless change that can be put on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Stable name.
    pub name: &'static str,
    /// What happens, in a line.
    pub description: &'static str,
}

/// A key of a world.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldKey {
    /// The real client whose times and volumes it has. Keys of one client are alike, so they are never split.
    pub client: SmolStr,
    /// What is declared about it.
    pub profile: KeyProfile,
    /// What kind of caller it is; may be undeclared in the profile.
    pub archetype: &'static str,
}

/// Keys, their clean traffic, thefts and changes. The same arguments give the same events.
pub trait World: Sync {
    /// Midnight UTC of day 0.
    fn start(&self) -> Timestamp;

    /// The keys.
    fn keys(&self) -> &[WorldKey];

    /// The thefts.
    fn attacks(&self) -> &[Attack];

    /// The harmless changes.
    fn changes(&self) -> &[Change] {
        &[]
    }

    /// Clean events of a key from day 0 to before day `to_day`, in time order, with rising ordinals.
    fn events(&self, key: usize, to_day: u32) -> Vec<UsageEvent>;

    /// The thief's events when an attack on a key starts at a time, in time order; none when the attack does not
    /// fit the key. They end before `end`.
    fn theft(
        &self,
        key: usize,
        attack: usize,
        seed: u64,
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<UsageEvent>;

    /// Clean events of a key from `at` to before day `to_day` when a harmless change happens at `at`; `None` when it
    /// does not fit the key.
    fn changed(
        &self,
        _key: usize,
        _change: usize,
        _seed: u64,
        _at: Timestamp,
        _to_day: u32,
    ) -> Option<Vec<UsageEvent>> {
        None
    }
}

impl<W: World + ?Sized> World for &W {
    fn start(&self) -> Timestamp {
        (**self).start()
    }

    fn keys(&self) -> &[WorldKey] {
        (**self).keys()
    }

    fn attacks(&self) -> &[Attack] {
        (**self).attacks()
    }

    fn changes(&self) -> &[Change] {
        (**self).changes()
    }

    fn events(&self, key: usize, to_day: u32) -> Vec<UsageEvent> {
        (**self).events(key, to_day)
    }

    fn theft(
        &self,
        key: usize,
        attack: usize,
        seed: u64,
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<UsageEvent> {
        (**self).theft(key, attack, seed, start, end)
    }

    fn changed(
        &self,
        key: usize,
        change: usize,
        seed: u64,
        at: Timestamp,
        to_day: u32,
    ) -> Option<Vec<UsageEvent>> {
        (**self).changed(key, change, seed, at, to_day)
    }
}
