//! A fleet with thefts and harmless changes put into it, as one labelled stream of events: what `tokenwatch simulate`
//! writes.
//!
//! Invariants:
//! * The same options give the same events and labels, bit for bit.
//! * Events of all keys come in time order; ordinals count each key's events from 1.
//! * A stolen key goes on with its own traffic beside the thief, but for keys that nobody uses any more.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::iter::Peekable;

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::KeyId;

use crate::fleet::{Change, Fleet, FleetKey, FleetOptions, ReadClientsError, START_MS, TheftLimits};
use crate::rng::{Rng, mix};
use crate::theft::{Theft, leak_to_first_call_ms};
use crate::traffic::{DAY_MS, DAYS};

/// What to simulate.
#[derive(Clone, Debug, PartialEq)]
pub struct ScenarioOptions {
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Keys; each real client gets one before any gets a second.
    pub keys: usize,
    /// Days from the start of the trace, at most 11.
    pub days: u64,
    /// Multiplies the rate of every benign change of the fleet itself.
    pub pace: f64,
    /// Thefts that take turns on the stolen keys.
    pub thefts: Vec<Theft>,
    /// Share of the keys that are stolen.
    pub stolen: f64,
    /// Changes that are put on keys which are not stolen, each on the next key that it fits.
    pub changes: Vec<Change>,
    /// No key is stolen or changed before this day, so that there is something to learn from.
    pub quiet_days: u64,
    /// Most events of one theft.
    pub events_max: usize,
}

impl Default for ScenarioOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            keys: 40,
            days: DAYS,
            pace: 1.0,
            thefts: Theft::REFERENCE.to_vec(),
            stolen: 0.5,
            changes: Vec::new(),
            quiet_days: 7,
            events_max: 5_000,
        }
    }
}

/// A theft of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Attack {
    /// Its name with a number, such as `recon-3`.
    pub id: String,
    /// Which theft.
    pub theft: Theft,
    /// Seed of its details.
    pub seed: u64,
    /// When the key leaks, in Unix milliseconds.
    pub leaked_ms: u64,
    /// When the first call comes.
    pub first_call_ms: u64,
}

/// What happens to one key.
#[derive(Clone, Debug)]
pub struct Story {
    /// The key, with the change in its life.
    pub key: FleetKey,
    /// Who steals it.
    pub attack: Option<Attack>,
    /// What is changed on it, and when (Unix milliseconds).
    pub change: Option<(Change, u64)>,
}

/// A simulation.
#[derive(Clone, Debug)]
pub struct Scenario {
    stories: Vec<Story>,
    days: u64,
    limits: TheftLimits,
}

/// An event with its truth: the place of its story, and whether the thief sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// The event.
    pub event: UsageEvent,
    /// Place of the key's story in [`Scenario::stories`].
    pub story: usize,
    /// Whether the thief sent it.
    pub is_theft: bool,
}

impl Scenario {
    /// Draws who is stolen when.
    ///
    /// # Errors
    ///
    /// When the bundled tables are damaged.
    pub fn new(options: &ScenarioOptions) -> Result<Self, ReadClientsError> {
        let days = options.days.clamp(1, DAYS);
        let rng = Rng::new(options.seed).fork("scenario");
        let mut stories: Vec<Story> =
            choose(options)?.into_iter().map(|key| Story { key, attack: None, change: None }).collect();
        // As many quiet days as there is room for, and one to steal in.
        let from_ms = START_MS + options.quiet_days.min(days - 1) * DAY_MS;
        let end_ms = START_MS + days * DAY_MS;
        let stolen = (options.stolen.clamp(0.0, 1.0) * stories.len() as f64).round() as usize;
        let stolen = if options.thefts.is_empty() { 0 } else { stolen };
        for (number, story) in stories.iter_mut().take(stolen).enumerate() {
            let Some(&theft) = options.thefts.get(number % options.thefts.len()) else { continue };
            let mut rng = rng.fork("attack").numbered(number as u64);
            let seed = rng.next_u64();
            // At least a few hours of each theft are inside.
            let leaked_ms = from_ms + rng.below((end_ms - from_ms) * 3 / 4);
            let first_call_ms = (leaked_ms + leak_to_first_call_ms(&mut rng)).min(end_ms - DAY_MS / 12);
            let id = format!("{}-{}", theft.name(), number + 1);
            story.attack = Some(Attack { id, theft, seed, leaked_ms, first_call_ms });
        }
        let mut free = stories.iter_mut().skip(stolen);
        let mut rng = rng.fork("changes");
        for &change in &options.changes {
            let Some(story) = free.find(|story| change.fits(story.key.workload())) else { break };
            let at_ms = from_ms + rng.below((end_ms - from_ms) / 2);
            story.key = story.key.with_change(change, at_ms, rng.next_u64());
            story.change = Some((change, at_ms));
        }
        Ok(Self { stories, days, limits: TheftLimits { events_max: options.events_max, until_ms: end_ms } })
    }

    /// What happens to each key.
    pub fn stories(&self) -> &[Story] {
        &self.stories
    }

    /// Days that are simulated.
    pub const fn days(&self) -> u64 {
        self.days
    }

    /// Unix time of the start, in milliseconds.
    pub const fn start_ms(&self) -> u64 {
        START_MS
    }

    /// How long it is, in milliseconds.
    pub const fn length_ms(&self) -> u64 {
        self.days * DAY_MS
    }

    /// All events in time order.
    pub fn events(&self) -> Events {
        let mut streams = Vec::new();
        for (index, story) in self.stories.iter().enumerate() {
            let label = |is_theft| move |event| Labelled { event, story: index, is_theft };
            let attack = story.attack.as_ref();
            let thief = attack.map_or_else(Vec::new, |attack| {
                story.key.theft(attack.theft, attack.seed, attack.first_call_ms, self.limits)
            });
            streams.push(boxed(thief.into_iter().map(label(true))));
            let own = match attack {
                Some(attack) => {
                    let beside = story.key.events_beside(attack.theft, attack.first_call_ms, 0, self.days);
                    boxed(beside.map(label(false)))
                }
                None => boxed(story.key.events(0, self.days).map(label(false))),
            };
            streams.push(own);
        }
        let mut events = Events { queue: BinaryHeap::new(), streams, ordinals: BTreeMap::new() };
        (0..events.streams.len()).for_each(|stream| events.enqueue(stream));
        events
    }
}

/// As many keys as are wanted: one of each client in a drawn order, then a second of each, and so on.
fn choose(options: &ScenarioOptions) -> Result<Vec<FleetKey>, ReadClientsError> {
    let make = |keys_per_client| {
        let options_of = FleetOptions { keys_per_client, pace: options.pace, ..FleetOptions::default() };
        Fleet::new(options.seed, &options_of)
    };
    let clients = make(1)?.keys().len().max(1);
    let fleet = make(options.keys.div_ceil(clients).max(1) as u32)?;
    let mut turns: BTreeMap<&str, u64> = BTreeMap::new();
    let mut order: Vec<(u64, u64, &FleetKey)> = Vec::new();
    for key in fleet.keys() {
        let turn = turns.entry(key.client()).or_default();
        order.push((*turn, mix(options.seed ^ crate::rng::hash(key.client().as_bytes())), key));
        *turn += 1;
    }
    order.sort_by_key(|&(turn, place, key)| (turn, place, key.id()));
    Ok(order.into_iter().take(options.keys).map(|(_, _, key)| key.clone()).collect())
}

type Stream = Peekable<Box<dyn Iterator<Item = Labelled> + Send>>;

fn boxed(events: impl Iterator<Item = Labelled> + Send + 'static) -> Stream {
    let events: Box<dyn Iterator<Item = Labelled> + Send> = Box::new(events);
    events.peekable()
}

/// The events of a scenario. A day of each key is in memory at a time.
pub struct Events {
    /// The next time of each stream.
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    streams: Vec<Stream>,
    ordinals: BTreeMap<KeyId, u64>,
}

impl Events {
    fn enqueue(&mut self, stream: usize) {
        if let Some(next) = self.streams.get_mut(stream).and_then(Peekable::peek) {
            self.queue.push(Reverse((next.event.request.time.0, stream)));
        }
    }
}

impl Iterator for Events {
    type Item = Labelled;

    fn next(&mut self) -> Option<Labelled> {
        let Reverse((_, stream)) = self.queue.pop()?;
        let mut next = self.streams.get_mut(stream)?.next()?;
        self.enqueue(stream);
        let ordinal = self.ordinals.entry(next.event.request.key).or_default();
        *ordinal += 1;
        next.event.key_seq = *ordinal;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn scenario(seed: u64) -> Scenario {
        let options = ScenarioOptions {
            seed,
            keys: 12,
            days: 9,
            changes: vec![Change::BatchJob, Change::KeyRotation],
            events_max: 200,
            ..ScenarioOptions::default()
        };
        Scenario::new(&options).unwrap()
    }

    #[test]
    fn streams_are_in_order_labelled_and_the_same_again() {
        let scenario = scenario(5);
        let events: Vec<Labelled> = scenario.events().collect();
        assert_eq!(events, self::scenario(5).events().collect::<Vec<_>>());
        assert!(events.is_sorted_by_key(|labelled| labelled.event.request.time));
        let ids: BTreeSet<_> = events.iter().map(|labelled| labelled.event.request.id).collect();
        assert_eq!(ids.len(), events.len(), "ids are unique");
        let stories = scenario.stories();
        assert_eq!(stories.iter().filter(|story| story.attack.is_some()).count(), 6);
        assert_eq!(stories.iter().filter(|story| story.change.is_some()).count(), 2);
        let clients: BTreeSet<&str> = stories.iter().map(|story| story.key.client()).collect();
        assert_eq!(clients.len(), 12, "one key of each client first");
        for (index, story) in stories.iter().enumerate() {
            let of = |theft| events.iter().filter(move |l| l.story == index && l.is_theft == theft);
            let stolen = of(true).count();
            assert_eq!(stolen > 0, story.attack.is_some(), "{:?}", story.attack);
            assert!(stolen <= 200);
            if let Some(attack) = &story.attack {
                let first = of(true).next().unwrap().event.request.time.ms();
                assert!(attack.leaked_ms < attack.first_call_ms && attack.first_call_ms <= first);
            }
            let mut ordinals = BTreeMap::<KeyId, u64>::new();
            for labelled in events.iter().filter(|labelled| labelled.story == index) {
                let last = ordinals.entry(labelled.event.request.key).or_default();
                *last += 1;
                assert_eq!(labelled.event.key_seq, *last);
            }
        }
    }

    #[test]
    fn orphaned_keys_are_silent_but_for_the_thief() {
        let options = ScenarioOptions {
            keys: 3,
            thefts: vec![Theft::OrphanRevived],
            stolen: 1.0,
            ..ScenarioOptions::default()
        };
        let scenario = Scenario::new(&options).unwrap();
        for labelled in scenario.events() {
            let attack = scenario.stories()[labelled.story].attack.as_ref().unwrap();
            let silent_from = attack.first_call_ms - 3 * DAY_MS;
            assert_eq!(labelled.event.request.time.ms() >= silent_from, labelled.is_theft);
        }
    }
}
