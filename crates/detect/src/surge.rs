//! The volume of the whole key: how far the running hour goes beyond every hour before it.
//!
//! The hours before are those of the kept days and those of today that have ended: honest surges mostly build up over some
//! hours, a thief starts at once, so what counts is the step from one hour to the next and not the height. On real
//! clients that halves the step that comes once in a thousand days.
//!
//! What it rests on is real: times and tokens of the clients of a production trace. It is weak all the same, because
//! clients make such steps themselves: within four days six of 163 went thirty times beyond every hour before. Of keys
//! that were hardly used it says nothing.

use tokenwatch_model::money::NanoUsd;

use crate::baseline::Baseline;
use crate::channel::Tail;

/// Requests and dollars that are added to both sides, so that few calls are never a step.
const REQUESTS_GRAIN: f64 = 5.0;
const DOLLARS_GRAIN: f64 = 0.02;

/// How rare such steps are, counted on key-days of attack-free traffic. Requests and dollars share the budget of the
/// channel evenly.
pub(crate) const STEP: Tail = Tail { from: 9.0, days: 100.0, slope: 1.1, cap: 21_000.0 };

/// The busiest hour of so many days is a reference; of fewer it is exceeded as much more often. Three active hours are a
/// day, so that a key that was only tried makes no steps.
pub(crate) const WHOLE_DAYS: f64 = 7.0;

/// An hour that goes beyond those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Surge {
    pub(crate) requests: u32,
    pub(crate) cost: NanoUsd,
    /// The busiest and the dearest hour before.
    pub(crate) busiest: u32,
    pub(crate) dearest: NanoUsd,
    /// An honest key does that once in so many days.
    pub(crate) days: f64,
}

impl Surge {
    /// The running hour of a key with so many days of history; `None` when it is nothing special.
    pub(crate) fn of(requests: u32, cost: NanoUsd, baseline: &Baseline, maturity_days: f64) -> Option<Self> {
        // What is kept ready is never above the maxima, so most hours are done with here.
        let (busy, dear) = baseline.peaks_at_least();
        let is_special = |steps: f64| steps >= STEP.from;
        if !is_special(by_requests(requests, busy)) && !is_special(by_cost(cost, dear)) {
            return None;
        }
        let (busiest, dearest) = baseline.peaks();
        let days = 0.5 * STEP.return_period(by_requests(requests, busiest))
            + 0.5 * STEP.return_period(by_cost(cost, dearest));
        let days = days * (maturity_days / WHOLE_DAYS).min(1.0);
        (days > 0.0).then_some(Self { requests, cost, busiest, dearest, days })
    }
}

pub(crate) fn by_requests(now: u32, before: u32) -> f64 {
    (f64::from(now) + REQUESTS_GRAIN) / (f64::from(before) + REQUESTS_GRAIN)
}

pub(crate) fn by_cost(now: NanoUsd, before: NanoUsd) -> f64 {
    (now.dollars() + DOLLARS_GRAIN) / (before.dollars() + DOLLARS_GRAIN)
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::time::{DAY, HOUR, Timestamp};
    use tokenwatch_model::usage::TokenUsage;

    use super::*;

    const CENT: NanoUsd = NanoUsd(10_000_000);

    /// A key with ten requests for ten cents in an hour of each day, until noon of the last.
    fn steady(days: u64) -> (Baseline, Timestamp) {
        let start = Timestamp::from_seconds(1_767_225_600);
        let mut baseline = Baseline::new(start);
        for day in 0..days {
            let time = start.plus(day * DAY + 9 * HOUR);
            baseline.roll(time);
            for _ in 0..10 {
                baseline.learn(time, 1, &TokenUsage::default(), CENT, 1);
            }
        }
        let noon = start.plus((days - 1) * DAY + 12 * HOUR);
        baseline.roll(noon);
        (baseline, noon)
    }

    #[track_caller]
    fn check(requests: u32, cents: u64, maturity_days: f64, want: std::ops::RangeInclusive<f64>) {
        let (baseline, _) = steady(8);
        let cost = NanoUsd(cents * CENT.0);
        let days = Surge::of(requests, cost, &baseline, maturity_days).map_or(0.0, |surge| surge.days);
        assert!(want.contains(&days), "{requests} requests for {cents} cents: {days}");
    }

    #[test]
    fn a_step_is_rare_by_how_far_it_goes() {
        check(10, 10, 8.0, 0.0..=0.0);
        check(120, 100, 8.0, 0.0..=0.0);
        check(150, 10, 8.0, 50.0..=70.0);
        check(1_500, 10, 8.0, 500.0..=800.0);
        check(1_500, 1_500, 8.0, 1_000.0..=1_800.0);
        check(20, 1_200, 8.0, 400.0..=800.0);
        check(u32::MAX, u64::MAX / CENT.0, 8.0, 21_000.0..=21_000.0);
    }

    #[test]
    fn little_history_makes_no_rarity() {
        check(1_500, 10, 1.0, 70.0..=115.0);
        check(1_500, 10, 0.0, 0.0..=0.0);
    }

    #[test]
    fn what_has_been_is_no_step_any_more() {
        let (mut baseline, noon) = steady(8);
        for _ in 0..1_500 {
            baseline.learn(noon, 1, &TokenUsage::default(), CENT, 1);
        }
        let surge = |baseline: &Baseline| Surge::of(1_500, NanoUsd::ZERO, baseline, 8.0);
        assert!(surge(&baseline).is_some(), "the hour itself is not its own reference");
        baseline.roll(noon.plus(HOUR));
        assert_eq!(surge(&baseline), None);
        assert_eq!(baseline.peaks().0, 1_500);
    }

    #[test]
    fn what_is_kept_ready_is_never_above_the_maxima() {
        for days in 1..12 {
            let (baseline, _) = steady(days);
            let ((least, cost_least), (most, cost_most)) = (baseline.peaks_at_least(), baseline.peaks());
            assert!(least <= most && cost_least.0 <= cost_most.0 + 1_000, "{days}");
        }
    }
}
