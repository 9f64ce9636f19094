//! What is normal for a key: daily summaries of 30 days, hourly counts of eight, activity by hour of day
//! and of week, token sizes.
//!
//! Invariants:
//! * Only clean traffic enters: forwarded, from known contexts. Refused requests and newcomers on
//!   probation never do.
//! * The reference that volume is measured against grows at most 1.5 times a day, so nobody can teach a
//!   key a theft's volume faster than a person can notice.
//! * Time only moves forward here; `rewind` is the one exception, for a clock that was wrong.

use serde::{Deserialize, Serialize};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::Timestamp;
use tokenwatch_model::usage::TokenUsage;

use crate::histogram::{Histogram, Level};
use crate::math::{exp, ln, mark};

/// Days kept.
pub(crate) const DAYS: usize = 30;
/// Hours kept: seven days back from the same hour, and today.
const HOURS: usize = 192;
const WEEK: usize = 168;
/// The reference grows at most so much a day.
const GROWTH_MAX: f64 = 1.5;
/// Floors of the references: below them nothing is a surge.
const REQUESTS_FLOOR: f64 = 20.0;
const COST_FLOOR: f64 = 0.10;

/// Requests that the running mean of the price remembers.
const PRICE_MEMORY: u16 = 500;

/// Octaves of a positive number.
pub(crate) fn octaves(x: f64) -> f64 {
    ln(x) / std::f64::consts::LN_2
}

/// Price of a token in octaves of nano-dollars; `None` when nothing was paid.
pub(crate) fn price_octaves(usage: &TokenUsage, cost: NanoUsd) -> Option<f64> {
    let tokens = usage.total();
    (tokens > 0 && cost > NanoUsd::ZERO).then(|| octaves(cost.0 as f64 / tokens as f64))
}

/// A day of clean traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Day {
    /// UTC day since the epoch.
    pub(crate) day: u32,
    pub(crate) requests: u32,
    pub(crate) cost: NanoUsd,
    pub(crate) tokens: u64,
    /// Minutes with at least one request.
    pub(crate) minutes: u16,
    /// Distinct addresses, estimated.
    pub(crate) sources: u16,
    /// Most distinct clients in an hour.
    pub(crate) clients: u16,
    pub(crate) peak_requests: u32,
    pub(crate) peak_cost: NanoUsd,
}

/// Mean and sample standard deviation over days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) mean: f64,
    pub(crate) sigma: f64,
}

/// The learned normal of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Baseline {
    days: Vec<Day>,
    today: Day,
    sources_today: [u64; 4],
    hour: u32,
    hour_requests: u32,
    hour_cost: NanoUsd,
    minute: u64,
    /// Requests by hour; the place is the hour modulo [`HOURS`].
    hours: Vec<u32>,
    /// How often an hour of the week was active: 0 never, 255 always.
    week: Vec<u8>,
    hour_of_day: [f32; 24],
    reference_requests: f32,
    reference_cost: f32,
    pub(crate) input: Histogram,
    pub(crate) output: Histogram,
    /// Price of a token in octaves of nano-dollars: running mean and requests it rests on.
    price: f32,
    priced: u16,
}

impl Baseline {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            days: Vec::new(),
            today: Day { day: now.day(), ..Day::default() },
            sources_today: [0; 4],
            hour: now.hour(),
            hour_requests: 0,
            hour_cost: NanoUsd::ZERO,
            minute: 0,
            hours: vec![0; HOURS],
            week: vec![0; WEEK],
            hour_of_day: [0.0; 24],
            reference_requests: 0.0,
            reference_cost: 0.0,
            input: Histogram::default(),
            output: Histogram::default(),
            price: 0.0,
            priced: 0,
        }
    }

    /// The days that ended, oldest first.
    pub(crate) fn ended_days(&self) -> &[Day] {
        &self.days
    }

    /// Closes the hours and days that ended before `now`.
    pub(crate) fn roll(&mut self, now: Timestamp) {
        let day = now.day();
        if day <= self.today.day {
            self.roll_hours(now.hour());
            return;
        }
        self.close_hours_of_day();
        self.roll_hours(now.hour());
        let mut ended = Day { day, ..Day::default() };
        std::mem::swap(&mut ended, &mut self.today);
        if ended.requests > 0 {
            ended.sources = u16::try_from(crate::math::distinct(&self.sources_today)).unwrap_or(u16::MAX);
            self.days.push(ended);
        }
        self.sources_today = [0; 4];
        let oldest = day.saturating_sub(DAYS as u32);
        self.days.retain(|known| known.day >= oldest);
        if self.days.len() > DAYS {
            self.days.remove(0);
        }
        let passed = day - ended.day;
        let keep = exp(-f64::from(passed) / DAYS as f64) as f32;
        for share in &mut self.hour_of_day {
            *share *= keep;
        }
        self.move_references(passed);
    }

    /// Today's hours join the profile when the day is over: a day must not make itself normal.
    fn close_hours_of_day(&mut self) {
        let first = self.today.day as usize * 24;
        for (hour, share) in self.hour_of_day.iter_mut().enumerate() {
            if let Some(&count) = self.hours.get((first + hour) % HOURS) {
                *share += count as f32;
            }
        }
    }

    fn roll_hours(&mut self, hour: u32) {
        if hour <= self.hour {
            return;
        }
        self.today.peak_requests = self.today.peak_requests.max(self.hour_requests);
        self.today.peak_cost = self.today.peak_cost.max(self.hour_cost);
        (self.hour_requests, self.hour_cost) = (0, NanoUsd::ZERO);
        let from = self.hour.max(hour.saturating_sub(HOURS as u32)) + 1;
        for passed in from..=hour {
            if let Some(count) = self.hours.get_mut(passed as usize % HOURS) {
                *count = 0;
            }
            if let Some(active) = self.week.get_mut(Self::hour_of_week(passed)) {
                // An eighth a week: an hour that was always active is forgotten in about two months.
                *active -= active.div_ceil(8);
            }
        }
        self.hour = hour;
    }

    const fn hour_of_week(hour: u32) -> usize {
        (hour as usize + 72) % WEEK
    }

    /// The references follow the maxima of the kept days; a silent key keeps them.
    fn move_references(&mut self, days: u32) {
        if self.days.is_empty() {
            return;
        }
        let growth = libm::pow(GROWTH_MAX, f64::from(days.min(30)));
        let limited = |old: f32, peak: f64, floor: f64| {
            // The first day defines the key: there is nothing yet to grow from.
            let limit = if old <= 0.0 { peak } else { f64::from(old).max(floor) * growth };
            peak.min(limit) as f32
        };
        let requests = self.days.iter().map(|day| day.peak_requests).max().map_or(0.0, f64::from);
        let cost = self.days.iter().map(|day| day.peak_cost).max().unwrap_or_default().dollars();
        self.reference_requests = limited(self.reference_requests, requests, REQUESTS_FLOOR);
        self.reference_cost = limited(self.reference_cost, cost, COST_FLOOR);
    }

    /// Learns one clean request; `roll` was called for its time.
    pub(crate) fn learn(
        &mut self,
        time: Timestamp,
        address: u64,
        usage: &TokenUsage,
        cost: NanoUsd,
        clients: u16,
    ) {
        if time.hour() != self.hour || time.day() != self.today.day {
            return;
        }
        if self.hour_requests == 0
            && let Some(active) = self.week.get_mut(Self::hour_of_week(self.hour))
        {
            *active = active.saturating_add(32);
        }
        self.hour_requests = self.hour_requests.saturating_add(1);
        self.hour_cost += cost;
        if let Some(count) = self.hours.get_mut(self.hour as usize % HOURS) {
            *count = count.saturating_add(1);
        }
        let minute = time.seconds() / 60;
        if minute != self.minute {
            self.minute = minute;
            self.today.minutes = self.today.minutes.saturating_add(1);
        }
        self.today.requests = self.today.requests.saturating_add(1);
        self.today.cost += cost;
        self.today.tokens = self.today.tokens.saturating_add(usage.total());
        self.today.clients = self.today.clients.max(clients);
        mark(&mut self.sources_today, address);
        self.input.learn(usage.input_total());
        self.output.learn(usage.output);
        if let Some(octaves) = price_octaves(usage, cost) {
            self.priced = self.priced.saturating_add(1).min(PRICE_MEMORY);
            self.price += (octaves as f32 - self.price) / f32::from(self.priced);
        }
    }

    /// Clean requests of the kept days and today.
    pub(crate) fn requests(&self) -> u64 {
        self.days.iter().chain([&self.today]).map(|day| u64::from(day.requests)).sum()
    }

    /// Complete days before today, oldest first.
    pub(crate) fn days(&self) -> &[Day] {
        &self.days
    }

    /// Mean and spread of a daily figure over the kept days; `None` below two days.
    pub(crate) fn spread(&self, of: impl Fn(&Day) -> f64) -> Option<Spread> {
        let n = self.days.len() as f64;
        if n < 2.0 {
            return None;
        }
        let mean = self.days.iter().map(&of).sum::<f64>() / n;
        let squares: f64 = self.days.iter().map(|day| (of(day) - mean) * (of(day) - mean)).sum();
        Some(Spread { mean, sigma: (squares / (n - 1.0)).sqrt() })
    }

    /// Mean requests in a minute that has any, over the kept days.
    pub(crate) fn requests_per_minute(&self) -> Option<f64> {
        let minutes: u64 = self.days.iter().map(|day| u64::from(day.minutes)).sum();
        let requests: u64 = self.days.iter().map(|day| u64::from(day.requests)).sum();
        (minutes > 0).then(|| requests as f64 / minutes as f64)
    }

    /// Mean tokens in a minute that has any, over the kept days.
    pub(crate) fn tokens_per_minute(&self) -> Option<f64> {
        let minutes: u64 = self.days.iter().map(|day| u64::from(day.minutes)).sum();
        let tokens: u64 = self.days.iter().fold(0, |sum, day| sum.saturating_add(day.tokens));
        (minutes > 0).then(|| tokens as f64 / minutes as f64)
    }

    /// Mean requests in this hour of the day over the seven days before.
    pub(crate) fn same_hour(&self, now: Timestamp) -> f64 {
        let hour = now.hour() as usize;
        let past = (1..=7).filter_map(|days| self.hours.get((hour + HOURS - 24 * days) % HOURS));
        past.map(|&count| f64::from(count)).sum::<f64>() / 7.0
    }

    /// Share of the key's requests in an hour of the day or its neighbours, whichever is largest; `None`
    /// below 100 requests. Neighbours, so that daylight saving is invisible.
    pub(crate) fn hour_share(&self, hour: u8) -> Option<f64> {
        let total: f64 = self.hour_of_day.iter().map(|&share| f64::from(share)).sum();
        if total < 100.0 {
            return None;
        }
        let at = |hour: usize| self.hour_of_day.get(hour % 24).copied().map_or(0.0, f64::from);
        let hour = usize::from(hour);
        Some(at(hour).max(at(hour + 1)).max(at(hour + 23)) / total)
    }

    /// How much likelier it is that somebody who keeps no hours is active now than somebody who keeps the
    /// key's, in nats. What it says about a newcomer is for [`crate::behaviour`] to weigh.
    pub(crate) fn any_hour_nats(&self, time: Timestamp) -> f64 {
        let Some(share) = self.hour_share(time.hour_of_day()) else { return 0.0 };
        let week = Self::hour_of_week(time.hour());
        let active = [week, week + 1, week + WEEK - 1]
            .into_iter()
            .any(|hour| self.week.get(hour % WEEK).is_some_and(|&active| active > 0));
        // One request in ten comes at any hour all the same.
        let keeps = 0.1 / 24.0 + 0.9 * if active { share.max(0.3 / 24.0) } else { share };
        ln((1.0 / 24.0) / keeps)
    }

    /// Where the key's input sizes lie.
    pub(crate) fn input_level(&self) -> Option<Level> {
        self.input.level()
    }

    /// Where its output sizes lie.
    pub(crate) fn output_level(&self) -> Option<Level> {
        self.output.level()
    }

    /// What the key pays for a token, in octaves of nano-dollars; `None` below 20 priced requests.
    pub(crate) fn price_level(&self) -> Option<f64> {
        (self.priced >= 20).then(|| f64::from(self.price))
    }

    /// Requests in the busiest hour that counts as normal.
    pub(crate) fn reference_requests(&self) -> f64 {
        let so_far = f64::from(self.today.peak_requests.max(self.hour_requests));
        let reference =
            if self.reference_requests <= 0.0 { so_far } else { f64::from(self.reference_requests) };
        reference.max(REQUESTS_FLOOR)
    }

    /// Dollars in the dearest hour that counts as normal.
    pub(crate) fn reference_cost(&self) -> f64 {
        let so_far = self.today.peak_cost.max(self.hour_cost).dollars();
        let reference = if self.reference_cost <= 0.0 { so_far } else { f64::from(self.reference_cost) };
        reference.max(COST_FLOOR)
    }

    /// Requests of the busiest and cost of the dearest hour of the kept days and of today, the running hour aside.
    pub(crate) fn peaks(&self) -> (u32, NanoUsd) {
        let days = || self.days.iter().chain([&self.today]);
        let requests = days().map(|day| day.peak_requests).max().unwrap_or(0);
        (requests, days().map(|day| day.peak_cost).max().unwrap_or_default())
    }

    /// The same or less, without looking at every day.
    pub(crate) fn peaks_at_least(&self) -> (u32, NanoUsd) {
        let cost = NanoUsd((f64::from(self.reference_cost) * 1e9) as u64);
        (self.today.peak_requests.max(self.reference_requests as u32), self.today.peak_cost.max(cost))
    }

    /// Goes back after a clock that was ahead: what lies in the future is dropped.
    pub(crate) fn rewind(&mut self, now: Timestamp) {
        self.days.retain(|day| day.day < now.day());
        self.today = Day { day: now.day(), ..Day::default() };
        self.sources_today = [0; 4];
        (self.hour, self.hour_requests, self.hour_cost, self.minute) = (now.hour(), 0, NanoUsd::ZERO, 0);
        self.hours.fill(0);
    }

    /// Whether every part has its size; false for bytes that this code did not write.
    pub(crate) fn is_sound(&self) -> bool {
        self.days.len() <= DAYS
            && self.hours.len() == HOURS
            && self.week.len() == WEEK
            && self.input.is_sound()
            && self.output.is_sound()
    }
}

#[cfg(test)]
mod tests;
