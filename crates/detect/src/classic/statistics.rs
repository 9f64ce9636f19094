//! The statistical baseline: how many sigmas the tokens of a day or an hour lie above the key's own past.
//!
//! The open window counts as far as it has come: tokens only grow, so the score of a part of a day is at most
//! the score of the whole day, and an early alarm is as good as a late one.
//!
//! Invariants: a window is measured by complete windows before it; a score is never below 0; without enough
//! history, and for an event that does not count, it is 0. Memory is fixed.

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::time::{DAY, Timestamp};

use super::clock::{Clock, Tick};
use crate::math::ln;
use crate::method::{Method, Scores, Watch};
use crate::profile::KeyProfile;

/// Days kept for the daily levels.
const DAYS: usize = 30;
/// Days with traffic before a daily level means anything.
const DAYS_MIN: usize = 5;
/// Most sigmas that are claimed: a key that never varied is surprised, not infinitely.
const SIGMAS_MAX: f64 = 1e6;

/// What normal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Mean and sample standard deviation of the tokens of the last 30 days with traffic: what the field
    /// uses, with 3 sigma as its threshold.
    Daily,
    /// Median and median absolute deviation of the logarithms of the same days: one wild day moves neither.
    DailyRobust,
    /// Mean and deviation of the logarithm of an hour's tokens in the same hour of the week, leaning on the
    /// hour of the day and on the whole key as long as there are few weeks. Silent hours count.
    HourOfWeek,
}

/// The statistical baseline as a method.
#[derive(Clone, Copy, Debug)]
pub struct Statistics {
    level: Level,
}

impl Statistics {
    /// With this notion of normal.
    pub const fn new(level: Level) -> Self {
        Self { level }
    }
}

impl Method for Statistics {
    fn id(&self) -> &'static str {
        match self.level {
            Level::Daily => "statistics",
            Level::DailyRobust => "statistics_robust",
            Level::HourOfWeek => "statistics_hour_of_week",
        }
    }

    fn unit(&self) -> &'static str {
        "sigmas above the key's usual tokens"
    }

    fn watch(&self, _: &KeyProfile) -> Box<dyn Watch> {
        let clock = Clock::default();
        match self.level {
            Level::Daily | Level::DailyRobust => {
                let robust = self.level == Level::DailyRobust;
                Box::new(DailyWatch { robust, clock, days: Days::default(), level: None })
            }
            Level::HourOfWeek => Box::new(WeeklyWatch { clock, week: Week::new() }),
        }
    }
}

/// Middle and spread of past windows.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    middle: f64,
    sigma: f64,
}

impl Spread {
    /// How far above the middle, from 0 on. Without spread nothing can be said.
    fn sigmas(&self, x: f64) -> f64 {
        if self.sigma > 0.0 { ((x - self.middle) / self.sigma).clamp(0.0, SIGMAS_MAX) } else { 0.0 }
    }
}

/// Tokens of the days with traffic, in a ring.
#[derive(Clone, Debug, Default)]
struct Days {
    today: u32,
    tokens: u64,
    active: bool,
    past: [(u32, f64); DAYS],
    len: usize,
    next: usize,
}

impl Days {
    /// Ends the day if `time` is on a later one; returns whether it did.
    fn roll(&mut self, time: Timestamp) -> bool {
        if time.day() == self.today {
            return false;
        }
        if self.active
            && let Some(place) = self.past.get_mut(self.next)
        {
            *place = (self.today, self.tokens as f64);
            self.next = (self.next + 1) % DAYS;
            self.len = (self.len + 1).min(DAYS);
        }
        (self.today, self.tokens, self.active) = (time.day(), 0, false);
        true
    }

    /// Days before today and at most [`DAYS`] back.
    fn recent(&self) -> impl Iterator<Item = f64> + Clone {
        let (today, oldest) = (self.today, self.today.saturating_sub(DAYS as u32));
        let past = self.past.iter().take(self.len);
        past.filter(move |(day, _)| (oldest..today).contains(day)).map(|&(_, tokens)| tokens)
    }

    fn mean_and_sigma(&self) -> Option<Spread> {
        let days = self.recent();
        let n = days.clone().count();
        if n < DAYS_MIN {
            return None;
        }
        let middle = days.clone().sum::<f64>() / n as f64;
        let squares: f64 = days.map(|tokens| (tokens - middle) * (tokens - middle)).sum();
        Some(Spread { middle, sigma: (squares / (n - 1) as f64).sqrt() })
    }

    fn median_and_mad(&self) -> Option<Spread> {
        let mut days: Vec<f64> = self.recent().map(|tokens| ln(1.0 + tokens)).collect();
        if days.len() < DAYS_MIN {
            return None;
        }
        let middle = median(&mut days);
        for day in &mut days {
            *day = (*day - middle).abs();
        }
        // 1.4826 makes the deviation comparable with a sigma. Days that are equal to a twentieth are equal.
        Some(Spread { middle, sigma: (1.4826 * median(&mut days)).max(0.05) })
    }
}

/// The middle of some numbers; 0 of none.
fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    let upper = numbers.get(numbers.len() / 2).copied().unwrap_or(0.0);
    let lower = numbers.get(numbers.len().saturating_sub(1) / 2).copied().unwrap_or(0.0);
    (lower + upper) / 2.0
}

#[derive(Clone, Debug)]
struct DailyWatch {
    robust: bool,
    clock: Clock,
    days: Days,
    /// Of the days before today.
    level: Option<Spread>,
}

impl Watch for DailyWatch {
    fn see(&mut self, event: &UsageEvent) -> Scores {
        let (Tick::At(time) | Tick::Rewound(time)) = self.clock.follow(event) else {
            return Scores::default();
        };
        if self.days.roll(time) {
            self.level = if self.robust { self.days.median_and_mad() } else { self.days.mean_and_sigma() };
        }
        if !event.outcome.was_forwarded() {
            return Scores::default();
        }
        self.days.active = true;
        self.days.tokens = self.days.tokens.saturating_add(event.usage.total());
        let tokens = self.days.tokens as f64;
        let x = if self.robust { ln(1.0 + tokens) } else { tokens };
        Scores { before: 0.0, after: self.level.map_or(0.0, |level| level.sigmas(x)) }
    }

    fn fork(&self) -> Box<dyn Watch> {
        Box::new(self.clone())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// Days before an hour of the week means anything.
const SETTLED: u64 = 3 * DAY;
const HOURS: usize = 168;
/// Weight, in hours, of the coarser level that a finer one's mean and variance lean on: means are soon known,
/// variances late.
const MEAN_LEAN: f32 = 1.0;
const VARIANCE_LEAN: f32 = 4.0;
/// Silence that is told hour by hour: four weeks.
const SILENCE_MAX: u32 = 28 * 24;
/// Hours that differ by less than this factor, as a logarithm, are equal.
const SIGMA_MIN: f64 = 0.5;
/// What a level learns is held to so many sigmas.
const WINSOR: f64 = 3.0;

/// Running mean and variance over about `memory` hours.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    hours: f32,
    mean: f32,
    variance: f32,
}

impl Cell {
    fn learn(&mut self, x: f64, memory: f32) {
        self.hours = (self.hours + 1.0).min(memory);
        let weight = 1.0 / self.hours;
        let step = x as f32 - self.mean;
        self.mean += weight * step;
        self.variance = (1.0 - weight) * (self.variance + weight * step * step);
    }
}

/// A fine estimate from so many hours, leaning on a coarse one as on so many more.
fn lean(fine: f32, hours: f32, coarse: f32, lean: f32) -> f32 {
    (hours * fine + lean * coarse) / (hours + lean)
}

/// Levels by hour of the week, hour of the day, and in all.
#[derive(Clone, Debug)]
struct Week {
    hour: Option<u32>,
    tokens: u64,
    week: Box<[Cell; HOURS]>,
    day: [Cell; 24],
    all: Cell,
    /// What is left when the hour of the day is known.
    rest: Cell,
}

impl Week {
    fn new() -> Self {
        let (none, week) = (Cell::default(), Box::new([Cell::default(); HOURS]));
        Self { hour: None, tokens: 0, week, day: [none; 24], all: none, rest: none }
    }

    fn mean_by_day(&self, hour: u32) -> f32 {
        let day = &self.day[hour as usize % 24];
        lean(day.mean, day.hours, self.all.mean, MEAN_LEAN)
    }

    /// What this hour of the week usually is.
    fn usual(&self, hour: u32) -> Spread {
        let week = &self.week[hour as usize % HOURS];
        let mean = lean(week.mean, week.hours, self.mean_by_day(hour), MEAN_LEAN);
        let variance = lean(week.variance, week.hours, self.rest.variance, VARIANCE_LEAN);
        Spread { middle: f64::from(mean), sigma: f64::from(variance.max(0.0)).sqrt().max(SIGMA_MIN) }
    }

    fn learn(&mut self, hour: u32, tokens: u64, settled: bool) {
        let mut x = ln(1.0 + tokens as f64);
        if settled {
            let usual = self.usual(hour);
            let reach = WINSOR * usual.sigma;
            x = x.clamp(usual.middle - reach, usual.middle + reach);
        }
        self.rest.learn(x - f64::from(self.mean_by_day(hour)), 672.0);
        self.week[hour as usize % HOURS].learn(x, 8.0);
        self.day[hour as usize % 24].learn(x, 56.0);
        self.all.learn(x, 672.0);
    }

    /// Ends the hours before `hour`.
    fn roll(&mut self, hour: u32, settled: bool) {
        match self.hour {
            Some(open) if hour > open => {
                self.learn(open, self.tokens, settled);
                for silent in (open + 1).max(hour.saturating_sub(SILENCE_MAX))..hour {
                    self.learn(silent, 0, settled);
                }
            }
            Some(open) if hour == open => return,
            _ => {}
        }
        (self.hour, self.tokens) = (Some(hour), 0);
    }
}

#[derive(Clone, Debug)]
struct WeeklyWatch {
    clock: Clock,
    week: Week,
}

impl Watch for WeeklyWatch {
    fn see(&mut self, event: &UsageEvent) -> Scores {
        let (Tick::At(time) | Tick::Rewound(time)) = self.clock.follow(event) else {
            return Scores::default();
        };
        let settled = self.clock.age() >= SETTLED;
        self.week.roll(time.hour(), settled);
        if !event.outcome.was_forwarded() {
            return Scores::default();
        }
        self.week.tokens = self.week.tokens.saturating_add(event.usage.total());
        if !settled {
            return Scores::default();
        }
        let x = ln(1.0 + self.week.tokens as f64);
        Scores { before: 0.0, after: self.week.usual(time.hour()).sigmas(x) }
    }

    fn fork(&self) -> Box<dyn Watch> {
        Box::new(self.clone())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of::<[Cell; HOURS]>()
    }
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::time::HOUR;

    use super::*;
    use crate::classic::sample::event;

    /// Scores of one event a day with these tokens, at noon.
    fn daily(level: Level, tokens: &[u64]) -> Vec<f64> {
        let mut watch = Statistics::new(level).watch(&KeyProfile::default());
        let events =
            tokens.iter().enumerate().map(|(day, tokens)| event(day as u64 * DAY + 12 * HOUR, tokens - 100));
        events.map(|event| watch.see(&event).after).collect()
    }

    #[test]
    fn sigmas_are_those_of_the_sample() {
        // Mean 1,000, sample sigma the root of 500,000 / 4.
        let scores = daily(Level::Daily, &[500, 1_000, 1_000, 1_000, 1_500, 2_000]);
        assert_eq!(scores[..5], [0.0; 5]);
        assert!((scores[5] - 1_000.0 / 125_000f64.sqrt()).abs() < 1e-9, "{scores:?}");
    }

    #[test]
    fn days_that_never_differ_have_no_sigma() {
        let scores = daily(Level::Daily, &[1_000, 1_000, 1_000, 1_000, 1_000, 9_000]);
        assert_eq!(scores[5], 0.0);
        let robust = daily(Level::DailyRobust, &[1_000, 1_000, 1_000, 1_000, 1_000, 9_000]);
        assert!((robust[5] - ln(9_001.0 / 1_001.0) / 0.05).abs() < 1e-6, "{robust:?}");
    }

    #[test]
    fn one_wild_day_blinds_the_mean_but_not_the_median() {
        let days = [1_000, 1_100, 900, 1_050, 100_000, 1_000, 950, 5_000];
        assert!(daily(Level::Daily, &days)[7] < 1.0);
        assert!(daily(Level::DailyRobust, &days)[7] > 10.0);
    }

    #[test]
    fn a_part_of_a_day_scores_at_most_as_much_as_the_day() {
        for level in [Level::Daily, Level::DailyRobust, Level::HourOfWeek] {
            let mut watch = Statistics::new(level).watch(&KeyProfile::default());
            for day in 0..10 {
                watch.see(&event(day * DAY + 9 * HOUR, 500 + day % 3 * 100));
            }
            let mut last = 0.0;
            for i in 0..50 {
                let score = watch.see(&event(10 * DAY + 9 * HOUR + i, 400)).after;
                assert!(score >= last, "{level:?}");
                last = score;
            }
            assert!(last > 3.0, "{level:?} {last}");
        }
    }

    #[test]
    fn days_older_than_thirty_are_forgotten() {
        let mut days = Days::default();
        for day in 0..40u32 {
            days.roll(Timestamp(u64::from(day) * DAY));
            (days.active, days.tokens) = (!(6..=35).contains(&day), u64::from(day));
        }
        days.roll(Timestamp(40 * DAY));
        assert_eq!(days.recent().collect::<Vec<_>>(), [36.0, 37.0, 38.0, 39.0]);
        assert_eq!(days.mean_and_sigma(), None, "four days are too few");
    }

    #[test]
    fn the_hour_of_the_week_matters() {
        let mut watch = Statistics::new(Level::HourOfWeek).watch(&KeyProfile::default());
        // Every day busy at noon, silent else, for four weeks.
        for day in 0..28 {
            watch.see(&event(day * DAY + 12 * HOUR, 5_000));
        }
        let mut night = watch.fork();
        let noon = watch.see(&event(28 * DAY + 12 * HOUR, 5_000)).after;
        let night = night.see(&event(28 * DAY + 3 * HOUR, 5_000)).after;
        assert!(noon < 1.0 && night > 4.0, "{noon} {night}");
    }

    #[test]
    fn medians_of_few() {
        assert_eq!((median(&mut []), median(&mut [3.0]), median(&mut [4.0, 1.0])), (0.0, 3.0, 2.5));
    }
}
