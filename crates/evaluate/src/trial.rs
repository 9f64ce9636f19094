//! One key's trial: its clean days, and every theft from a fork of what was known when it began.
//!
//! Invariant: all methods see the same events, and a theft never teaches the clean days that follow it.

use tokenwatch_detect::method::{Method, Scores, Watch};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::{DAY, SECOND, Timestamp};

use crate::blank::Blank;
use crate::plan::{self, Options};
use crate::world::World;

mod trajectory;

use trajectory::Recorder;
pub use trajectory::{Detection, Step, Trajectory};

/// A method that takes part.
pub struct Contestant {
    /// The method, trained if it needs that.
    pub method: Box<dyn Method>,
    /// The threshold that the method itself names, if it does.
    pub nominal: Option<f64>,
}

/// Nanoseconds of processor time of the calling thread so far; zero always, if nobody wants to know.
pub type CpuClock<'a> = &'a (dyn Fn() -> u64 + Sync);

/// What to try on a key.
pub struct Trial<'a> {
    /// Where keys and thefts come from.
    pub world: &'a dyn World,
    /// The protocol.
    pub options: &'a Options,
    /// Who takes part.
    pub contestants: &'a [Contestant],
    /// Thresholds of each contestant at which refusals of the owner are counted.
    pub thresholds: &'a [Vec<f64>],
    /// Thefts to try, by place in the world; none on calibration keys.
    pub attacks: &'a [usize],
    /// For the time that methods take.
    pub clock: CpuClock<'a>,
}

/// What came of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyTrial {
    /// Its place in the world.
    pub key: usize,
    /// Events of its clean days, all of them.
    pub events: u64,
    /// Calls a day in the days that teach.
    pub calls_per_day: f64,
    /// Per contestant.
    pub methods: Vec<MethodTrial>,
}

/// What one method made of a key.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct MethodTrial {
    /// Highest score of each scored day; 0 for days without requests.
    pub days: Vec<f64>,
    /// One per theft that fitted the key.
    pub thefts: Vec<Trajectory>,
    /// Processor time of the clean days.
    pub nanos: u64,
    /// Memory at the end of the clean days.
    pub bytes: usize,
}

/// A theft laid over a key's clean events.
struct Theft {
    attack: usize,
    /// Place of the first clean event that the fork sees.
    from: usize,
    events: Vec<UsageEvent>,
}

impl Trial<'_> {
    /// Runs one key.
    pub fn run(&self, key: usize) -> KeyTrial {
        let Options { teach_days, only_real, .. } = *self.options;
        let mut clean = self.world.events(key, self.options.end_day());
        let blank = only_real.then(|| Blank::of(&clean)).flatten();
        if let Some(blank) = &blank {
            clean.iter_mut().for_each(|event| blank.apply(event));
        }
        let taught = self.world.start().plus(u64::from(teach_days) * DAY);
        let teaching = clean.partition_point(|event| event.request.time < taught);
        let mut thefts: Vec<Theft> = self
            .attacks
            .iter()
            .filter_map(|&attack| self.theft(key, attack, &clean, blank.as_ref()))
            .collect();
        thefts.sort_by_key(|theft| theft.from);
        let none = Vec::new();
        let methods = self.contestants.iter().enumerate().map(|(place, contestant)| {
            let thresholds = self.thresholds.get(place).unwrap_or(&none);
            self.run_method(key, contestant, thresholds, &clean, &thefts)
        });
        KeyTrial {
            key,
            events: clean.len() as u64,
            calls_per_day: teaching as f64 / f64::from(teach_days.max(1)),
            methods: methods.collect(),
        }
    }

    fn theft(&self, key: usize, attack: usize, clean: &[UsageEvent], blank: Option<&Blank>) -> Option<Theft> {
        let name = self.world.attacks().get(attack)?.name;
        let start = plan::start_of(self.world, self.options, key, name);
        let end = self.world.start().plus(u64::from(self.options.end_day()) * DAY);
        let mut events = self.world.theft(key, attack, plan::seed_of(self.options, key, name), start, end);
        events.retain(|event| event.request.time < end);
        for event in &mut events {
            // Ordinals are the owner's; without one an event is always taken in.
            event.key_seq = 0;
            if let Some(blank) = blank {
                blank.apply(event);
            }
        }
        let first = events.first()?.request.time;
        Some(Theft { attack, from: clean.partition_point(|event| event.request.time < first), events })
    }

    fn run_method(
        &self,
        key: usize,
        contestant: &Contestant,
        thresholds: &[f64],
        clean: &[UsageEvent],
        thefts: &[Theft],
    ) -> MethodTrial {
        let Some(about) = self.world.keys().get(key) else { return MethodTrial::default() };
        let first_day = self.world.start().day() + self.options.teach_days;
        let mut days = vec![0.0; self.options.score_days as usize];
        let mut watch = contestant.method.watch(&about.profile);
        let mut done = Vec::with_capacity(thefts.len());
        let (mut next, mut nanos) = (0, 0);
        // From one theft's start to the next, so that the clock is read seldom.
        for theft in thefts.iter().map(Some).chain([None]) {
            let until = theft.map_or(clean.len(), |theft| theft.from);
            let before = (self.clock)();
            for event in clean.get(next..until).unwrap_or_default() {
                let score = watch.see(event).max();
                if let Some(highest) = days.get_mut(event.request.time.day().wrapping_sub(first_day) as usize)
                {
                    *highest = score.max(*highest);
                }
            }
            nanos += (self.clock)() - before;
            next = until;
            let Some(theft) = theft else { break };
            let at = theft.events.first().map_or(0, |event| event.request.time.day().wrapping_sub(first_day));
            let already = days.get(at as usize).copied().unwrap_or(0.0);
            done.push(follow(&*watch, theft, clean, already, thresholds));
        }
        done.sort_by_key(|trajectory| trajectory.attack);
        MethodTrial { days, thefts: done, nanos, bytes: watch.bytes() }
    }
}

/// Scores the merged stream of owner and thief from the first theft to a day after the last, or to the end of the data.
fn follow(
    watch: &dyn Watch,
    theft: &Theft,
    clean: &[UsageEvent],
    already: f64,
    thresholds: &[f64],
) -> Trajectory {
    let mut watch = watch.fork();
    let first = theft.events.first().map_or(Timestamp::default(), |event| event.request.time);
    let end = theft.events.last().map_or(first, |event| event.request.time).plus(DAY);
    let mut recorder = Recorder::new(theft.attack, first, already, thresholds);
    let mut owner = clean.get(theft.from..).unwrap_or_default().iter().peekable();
    let mut thief = theft.events.iter().peekable();
    loop {
        let is_thief = match (owner.peek(), thief.peek()) {
            (Some(owner), Some(thief)) => thief.request.time <= owner.request.time,
            (None, Some(_)) => true,
            (Some(owner), None) if owner.request.time < end => false,
            _ => break,
        };
        let Some(event) = (if is_thief { thief.next() } else { owner.next() }) else { break };
        let scores = watch.see(event);
        if is_thief { recorder.thief(event, scores) } else { recorder.owner(event, scores) }
    }
    recorder.finish()
}
