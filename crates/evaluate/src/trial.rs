//! One key's trial: its clean days, and every theft from a fork of what was known when it began.
//!
//! Invariant: all methods see the same events, and a theft never teaches the clean days that follow it.

use std::sync::Arc;

use tokenwatch_detect::Engine;
use tokenwatch_detect::method::{Method, Scores, Watch};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::{DAY, SECOND, Timestamp};

use crate::blank::Hidden;
use crate::budget;
use crate::plan::{self, Options};
use crate::report::Published;
use crate::world::{Attack, World};

mod refusals;
mod trace;
mod trajectory;

use refusals::Refusals;
pub use trace::Trace;
use trajectory::Recorder;
pub use trajectory::{Detection, Step, Trajectory};

/// A key is in use from so long after its first request on, with so many requests by then.
const IN_USE: u64 = DAY;
const IN_USE_REQUESTS: usize = 30;

/// A method that takes part.
pub struct Contestant {
    /// The method, trained if it needs that.
    pub method: Box<dyn Method>,
    /// The threshold that the method itself names, if it does.
    pub nominal: Option<f64>,
    /// The engine behind it, if it is the layered detector: the engine decides which requests are refused, and its
    /// stated budgets are checked.
    pub engine: Option<Arc<Engine>>,
    /// What is published about methods like it.
    pub published: Option<Published>,
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
    /// Harmless changes to try, by place in the world; none on calibration keys.
    pub changes: &'a [usize],
    /// Whether the stated budgets are checked; not on calibration keys.
    pub checks_budgets: bool,
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
    /// Scored clean days with an alarm for each stated budget of the layered detector; none when they were not checked.
    pub budget_days: Vec<u64>,
}

/// What one method made of a key.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct MethodTrial {
    /// Highest score of each scored day; 0 for days without requests.
    pub days: Vec<f64>,
    /// One per theft that fitted the key.
    pub thefts: Vec<Trajectory>,
    /// One per harmless change that fitted the key.
    pub changes: Vec<ChangeTrial>,
    /// Processor time of the clean days.
    pub nanos: u64,
    /// Memory at the end of the clean days.
    pub bytes: usize,
}

/// What one method made of a harmless change on a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangeTrial {
    /// The change, by place in the world.
    pub change: usize,
    /// Highest score in the days after it, see [`Options::change_days`].
    pub highest: f64,
    /// Highest score of the same stretch had nothing changed.
    pub without: f64,
}

/// What is tried on a fork of what was known at a time.
struct Branch {
    /// Place of the first clean event that the fork sees, or would have seen.
    from: usize,
    what: What,
}

enum What {
    /// These events of a thief are mixed into the clean ones.
    Theft { attack: usize, events: Vec<UsageEvent>, is_owner_silent: bool, in_use: bool },
    /// These events replace the clean ones.
    Change { change: usize, events: Vec<UsageEvent>, until: Timestamp },
}

impl Trial<'_> {
    /// Runs one key.
    pub fn run(&self, key: usize) -> KeyTrial {
        let teach_days = self.options.teach_days;
        let (clean, hidden) = self.clean(key);
        let taught = self.world.start().plus(u64::from(teach_days) * DAY);
        let teaching = clean.partition_point(|event| event.request.time < taught);
        let thefts = self.attacks.iter().filter_map(|&attack| self.theft(key, attack, &clean, &hidden));
        let changes = self.changes.iter().filter_map(|&change| self.change(key, change, &clean, &hidden));
        let mut branches: Vec<Branch> = thefts.chain(changes).collect();
        branches.sort_by_key(|branch| branch.from);
        let none = Vec::new();
        let methods = self.contestants.iter().enumerate().map(|(place, contestant)| {
            let thresholds = self.thresholds.get(place).unwrap_or(&none);
            self.run_method(key, contestant, thresholds, &clean, &branches)
        });
        KeyTrial {
            key,
            events: clean.len() as u64,
            calls_per_day: teaching as f64 / f64::from(teach_days.max(1)),
            methods: methods.collect(),
            budget_days: self.check_budgets(key, &clean),
        }
    }

    fn check_budgets(&self, key: usize, clean: &[UsageEvent]) -> Vec<u64> {
        let engine = self.contestants.iter().find_map(|contestant| contestant.engine.as_ref());
        match (engine, self.world.keys().get(key)) {
            (Some(engine), Some(about)) if self.checks_budgets => {
                let start_day = self.world.start().day();
                budget::alarm_days(engine, self.options, &about.profile, clean, start_day)
            }
            _ => Vec::new(),
        }
    }

    /// Clean events of a key, and what of them is hidden.
    fn clean(&self, key: usize) -> (Vec<UsageEvent>, Hidden) {
        let mut clean = self.world.events(key, self.options.end_day());
        let hidden = Hidden::of(self.options, &clean);
        clean.iter_mut().for_each(|event| hidden.apply(event));
        (clean, hidden)
    }

    fn theft(&self, key: usize, attack: usize, clean: &[UsageEvent], hidden: &Hidden) -> Option<Branch> {
        let Attack { name, owner_silent_days, .. } = *self.world.attacks().get(attack)?;
        let start = plan::start_of(self.world, self.options, key, name);
        let end = self.world.start().plus(u64::from(self.options.end_day()) * DAY);
        let mut events = self.world.theft(key, attack, plan::seed_of(self.options, key, name), start, end);
        events.retain(|event| event.request.time < end);
        for event in &mut events {
            // Ordinals are the owner's; without one an event is always taken in.
            event.key_seq = 0;
            hidden.apply(event);
        }
        let first = events.first()?.request.time;
        // The fork of a key that nobody uses any more knows only what was before.
        let known = Timestamp(first.0.saturating_sub(owner_silent_days * DAY));
        let from = clean.partition_point(|event| event.request.time < known);
        // Who never used a key can not have stopped to.
        if owner_silent_days > 0 && from == 0 {
            return None;
        }
        let born = clean.first().map_or(known, |event| event.request.time);
        let in_use = from >= IN_USE_REQUESTS && known.since(born) >= IN_USE;
        let what = What::Theft { attack, events, is_owner_silent: owner_silent_days > 0, in_use };
        Some(Branch { from, what })
    }

    fn change(&self, key: usize, change: usize, clean: &[UsageEvent], hidden: &Hidden) -> Option<Branch> {
        let name = self.world.changes().get(change)?.name;
        let at = plan::start_of(self.world, self.options, key, name);
        let seed = plan::seed_of(self.options, key, name);
        let mut events = self.world.changed(key, change, seed, at, self.options.end_day())?;
        let until = at.plus(u64::from(self.options.change_days) * DAY);
        events.retain(|event| event.request.time < until);
        events.iter_mut().for_each(|event| hidden.apply(event));
        let from = clean.partition_point(|event| event.request.time < at);
        Some(Branch { from, what: What::Change { change, events, until } })
    }

    fn run_method(
        &self,
        key: usize,
        contestant: &Contestant,
        thresholds: &[f64],
        clean: &[UsageEvent],
        branches: &[Branch],
    ) -> MethodTrial {
        let Some(about) = self.world.keys().get(key) else { return MethodTrial::default() };
        let first_day = self.world.start().day() + self.options.teach_days;
        let mut trial =
            MethodTrial { days: vec![0.0; self.options.score_days as usize], ..MethodTrial::default() };
        let mut watch = contestant.method.watch(&about.profile);
        // Refusals are counted while thefts run only.
        let engine = contestant.engine.as_ref().filter(|_| !self.attacks.is_empty());
        let mut refusals = Refusals::new(engine, &about.profile, thresholds);
        let mut next = 0;
        // From one branch to the next, so that the clock is read seldom.
        for branch in branches.iter().map(Some).chain([None]) {
            let until = branch.map_or(clean.len(), |branch| branch.from);
            let before = (self.clock)();
            for event in clean.get(next..until).unwrap_or_default() {
                let score = watch.see(event).max();
                let day = event.request.time.day().wrapping_sub(first_day) as usize;
                if let Some(highest) = trial.days.get_mut(day) {
                    *highest = score.max(*highest);
                }
            }
            trial.nanos += (self.clock)() - before;
            clean.get(next..until).unwrap_or_default().iter().for_each(|event| refusals.pass(event));
            next = until;
            let Some(branch) = branch else { break };
            let rest = clean.get(branch.from..).unwrap_or_default();
            match &branch.what {
                What::Theft { attack, events, is_owner_silent, in_use } => {
                    let rest = if *is_owner_silent { &[] } else { rest };
                    let day =
                        events.first().map_or(0, |event| event.request.time.day().wrapping_sub(first_day));
                    let already = trial.days.get(day as usize).copied().unwrap_or(0.0);
                    let recorder = Recorder::new(*attack, events, already, *in_use, thresholds);
                    trial.thefts.push(follow(watch.fork(), recorder, refusals.clone(), events, rest));
                }
                What::Change { change, events, until } => {
                    let stretch = rest.iter().take_while(|event| event.request.time < *until);
                    let highest = highest(watch.fork(), events.iter());
                    trial.changes.push(ChangeTrial {
                        change: *change,
                        highest,
                        without: self::highest(watch.fork(), stretch),
                    });
                }
            }
        }
        trial.thefts.sort_by_key(|trajectory| trajectory.attack);
        trial.changes.sort_by_key(|trial| trial.change);
        trial.bytes = watch.bytes();
        trial
    }
}

fn highest<'e>(mut watch: Box<dyn Watch>, events: impl Iterator<Item = &'e UsageEvent>) -> f64 {
    events.map(|event| watch.see(event).max()).fold(0.0, f64::max)
}

/// Scores the merged stream of owner and thief from the first theft to a day after the last, or to the end of the data.
fn follow(
    mut watch: Box<dyn Watch>,
    mut recorder: Recorder<'_>,
    mut refusals: Refusals<'_>,
    theft: &[UsageEvent],
    clean: &[UsageEvent],
) -> Trajectory {
    for (event, is_thief) in merged(theft, clean) {
        let scores = watch.see(event);
        if is_thief {
            refusals.pass(event);
            recorder.thief(event, scores);
        } else {
            recorder.owner(event, scores, &mut refusals);
        }
    }
    recorder.finish()
}

/// Events of thief and owner by time, with whether the thief sent them.
fn merged<'e>(
    theft: &'e [UsageEvent],
    clean: &'e [UsageEvent],
) -> impl Iterator<Item = (&'e UsageEvent, bool)> + 'e {
    let end = theft.last().map_or(Timestamp::default(), |event| event.request.time).plus(DAY);
    let mut owner = clean.iter().peekable();
    let mut thief = theft.iter().peekable();
    std::iter::from_fn(move || {
        let is_thief = match (owner.peek(), thief.peek()) {
            (Some(owner), Some(thief)) => thief.request.time <= owner.request.time,
            (None, Some(_)) => true,
            (Some(owner), None) if owner.request.time < end => false,
            _ => return None,
        };
        let event = if is_thief { thief.next() } else { owner.next() };
        event.map(|event| (event, is_thief))
    })
}
