//! Budgets and alarm thresholds from what was really spent: what a day usually costs, what it should be stopped at, and what
//! the month will come to.
//!
//! A typical day is the mean of whole days, as the rule `billing_thresholds` takes it, so its thresholds are those of this
//! page. Days of thefts are no part of it ([`clean`]).
//!
//! Invariants:
//! * A proposed budget is never below what was spent on any day, or in any 30 days, that it was made from.
//! * Without a week of whole days nothing is proposed.

pub mod alarm;
pub mod ledger;

use serde::Serialize;
use tokenwatch_model::money::NanoUsd;

/// Whole days that a proposal needs.
pub const DAYS_MIN: usize = 7;
/// Typical days below this have the thresholds of this, in dollars: as the rule has it.
pub const TYPICAL_MIN: f64 = 0.5;
/// Thresholds in typical days: a slow leak, misuse, large-scale abuse.
pub const TIMES: [f64; 3] = [1.5, 3.0, 10.0];
/// A budget leaves so much above the dearest that was seen.
const ABOVE_DEAREST: f64 = 1.2;
/// A month's budget in typical months.
const MONTHS: f64 = 1.5;
/// Days of a mean month.
const MONTH_DAYS: f64 = 365.2425 / 12.0;
/// Days of the longest stretch that a month's budget must hold.
const MONTH_WHOLE: usize = 30;
/// Latest days that a forecast rests on.
const LATEST: usize = 7;

/// What was spent on one subject: a key, an owner's keys, a provider.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct History {
    /// Whole UTC days, oldest first, those without spend included.
    pub days: Vec<NanoUsd>,
    /// This UTC day so far.
    pub today: NanoUsd,
    /// This UTC month so far, today included.
    pub month: NanoUsd,
    /// Days of this month after today.
    pub days_left: u32,
}

impl History {
    /// Adds another one's spend, day by day from the latest back.
    pub fn add(&mut self, other: &Self) {
        if self.days.len() < other.days.len() {
            let missing = other.days.len() - self.days.len();
            self.days.splice(0..0, std::iter::repeat_n(NanoUsd::ZERO, missing));
        }
        for (sum, day) in self.days.iter_mut().rev().zip(other.days.iter().rev()) {
            *sum += *day;
        }
        self.today += other.today;
        self.month += other.month;
        self.days_left = self.days_left.max(other.days_left);
    }
}

/// Puts the mean of the other days in the place of days of thefts, so that a theft neither raises what is usual nor
/// leaves a hole in sums. `is_theft` is as long as `days`; where every day is one, nothing is known and all are zero.
pub fn clean(days: &[NanoUsd], is_theft: &[bool]) -> Vec<NanoUsd> {
    let honest: Vec<NanoUsd> =
        days.iter().zip(is_theft).filter(|(_, theft)| !**theft).map(|(day, _)| *day).collect();
    let usual = mean(&honest);
    let put = |(day, theft): (&NanoUsd, &bool)| if *theft { usual } else { *day };
    days.iter().zip(is_theft).map(put).collect()
}

fn mean(days: &[NanoUsd]) -> NanoUsd {
    let sum: u128 = days.iter().map(|day| u128::from(day.0)).sum();
    NanoUsd(sum.checked_div(days.len() as u128).and_then(|mean| u64::try_from(mean).ok()).unwrap_or(0))
}

/// A threshold of a day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// In typical days.
    pub times: f64,
    /// In dollars.
    pub day: NanoUsd,
    /// Whether today is over it.
    pub crossed: bool,
}

/// What spend was like, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proposal {
    /// Whole days that it rests on.
    pub days: usize,
    /// Of these, days with any spend.
    pub active_days: usize,
    /// A typical day.
    pub typical_day: NanoUsd,
    /// The dearest day.
    pub dearest_day: NanoUsd,
    /// Alarm thresholds of a day.
    pub thresholds: [Threshold; 3],
    /// A budget for a UTC day.
    pub budget_day: NanoUsd,
    /// A budget for a UTC calendar month.
    pub budget_month: NanoUsd,
    /// This day so far.
    pub today: NanoUsd,
    /// This month so far.
    pub month: NanoUsd,
    /// What this month will come to when the days that are left are like the latest whole week.
    pub forecast: NanoUsd,
}

impl Proposal {
    /// The highest threshold that today is over.
    pub fn crossed(&self) -> Option<&Threshold> {
        self.thresholds.iter().rfind(|threshold| threshold.crossed)
    }
}

/// Proposes budgets and thresholds; nothing without [`DAYS_MIN`] whole days, or when nothing was ever spent.
pub fn propose(history: &History) -> Option<Proposal> {
    propose_at(history, TIMES)
}

/// The same with thresholds at so many typical days, lowest first.
pub fn propose_at(history: &History, times: [f64; 3]) -> Option<Proposal> {
    let days = &history.days;
    let dearest = days.iter().copied().max().unwrap_or_default();
    if days.len() < DAYS_MIN || dearest == NanoUsd::ZERO {
        return None;
    }
    let typical = mean(days);
    let base = typical.dollars().max(TYPICAL_MIN);
    let thresholds = times.map(|times| {
        let day = NanoUsd::from_dollars(base * times);
        Threshold { times, day, crossed: history.today > day }
    });
    let budget_day = round_up((base * TIMES[1]).max(dearest.dollars() * ABOVE_DEAREST));
    let stretch = days.windows(MONTH_WHOLE.min(days.len()));
    let dearest_month = stretch.map(|days| days.iter().copied().sum::<NanoUsd>()).max().unwrap_or_default();
    let month = (base * MONTH_DAYS * MONTHS).max(dearest_month.dollars() * ABOVE_DEAREST);
    let budget_month = round_up(month.max(budget_day.dollars()));
    let latest = mean(days.get(days.len() - LATEST.min(days.len())..).unwrap_or_default());
    let rest = NanoUsd(latest.0.saturating_mul(u64::from(history.days_left)));
    // Today is not over: it will at least be like the others.
    let today_left = latest.minus(history.today);
    Some(Proposal {
        days: days.len(),
        active_days: days.iter().filter(|day| **day > NanoUsd::ZERO).count(),
        typical_day: typical,
        dearest_day: dearest,
        thresholds,
        budget_day,
        budget_month,
        today: history.today,
        month: history.month,
        forecast: history.month + today_left + rest,
    })
}

/// Up to two significant digits, in whole dollars from a dollar on: a budget is a round number.
fn round_up(dollars: f64) -> NanoUsd {
    let dollars = dollars.max(1.0);
    let scale = 10f64.powi((dollars.log10().floor() as i32 - 1).max(0));
    NanoUsd::from_dollars((dollars / scale).ceil() * scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usd(dollars: f64) -> NanoUsd {
        NanoUsd::from_dollars(dollars)
    }

    fn history(days: &[f64]) -> History {
        History { days: days.iter().copied().map(usd).collect(), ..History::default() }
    }

    #[track_caller]
    fn check(days: &[f64], day: f64, month: f64, thresholds: [f64; 3]) {
        let made = propose(&history(days)).unwrap();
        assert_eq!((made.budget_day, made.budget_month), (usd(day), usd(month)));
        assert_eq!(made.thresholds.map(|threshold| threshold.day), thresholds.map(usd));
    }

    #[test]
    fn budgets_follow_from_typical_and_dearest_days() {
        check(&[10.0; 30], 30.0, 460.0, [15.0, 30.0, 100.0]);
        // One dear day may happen again.
        let mut spiky = [10.0; 30];
        spiky[4] = 100.0;
        check(&spiky, 120.0, 600.0, [19.5, 39.0, 130.0]);
        // What hardly costs anything has the thresholds of half a dollar a day.
        check(&[0.001; 10], 2.0, 23.0, [0.75, 1.5, 5.0]);
    }

    #[test]
    fn without_a_week_of_spend_nothing_is_proposed() {
        assert_eq!(propose(&history(&[10.0; 6])), None);
        assert_eq!(propose(&history(&[0.0; 30])), None);
        assert_eq!(propose(&History::default()), None);
    }

    #[test]
    fn the_forecast_counts_today_once_and_thresholds_are_crossed() {
        let so_far = History { today: usd(4.0), month: usd(44.0), days_left: 10, ..history(&[10.0; 14]) };
        let made = propose(&so_far).unwrap();
        assert_eq!((made.forecast, made.crossed()), (usd(150.0), None));
        let dear = History { today: usd(31.0), month: usd(71.0), ..so_far };
        let made = propose(&dear).unwrap();
        assert_eq!((made.forecast, made.crossed().map(|threshold| threshold.times)), (usd(171.0), Some(3.0)));
    }

    #[test]
    fn thefts_neither_raise_the_usual_nor_leave_a_hole() {
        let days = [10.0, 500.0, 20.0].map(usd);
        assert_eq!(clean(&days, &[false, true, false]), [10.0, 15.0, 20.0].map(usd));
        assert_eq!(clean(&days, &[true; 3]), [NanoUsd::ZERO; 3]);
        let mut sum = history(&[1.0, 2.0]);
        sum.add(&history(&[1.0, 1.0, 1.0]));
        assert_eq!(sum, history(&[1.0, 2.0, 3.0]));
    }

    proptest! {
        #[test]
        fn a_budget_lets_through_what_it_was_made_from(cents in prop::collection::vec(0u64..5_000_000, 7..90)) {
            let days: Vec<NanoUsd> = cents.iter().copied().map(NanoUsd::from_cents).collect();
            let Some(made) = propose(&History { days: days.clone(), ..History::default() }) else { return Ok(()) };
            prop_assert!(days.iter().all(|day| *day <= made.budget_day));
            let worst = days.windows(30.min(days.len())).map(|days| days.iter().copied().sum::<NanoUsd>()).max();
            prop_assert!(worst.unwrap() <= made.budget_month && made.budget_day <= made.budget_month);
            prop_assert!(made.thresholds[0].day < made.thresholds[1].day && made.thresholds[1].day < made.thresholds[2].day);
        }
    }
}
