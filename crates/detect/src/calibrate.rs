//! From a method's scores to days: what a score means is learned from keys that are known to be clean.
//!
//! A score becomes a **return period**, "a clean key shows that once in so many days", which is what the layered
//! detector adds up and what a false-alarm budget is stated in. Beyond the calibration keys' 99 % point the
//! return period grows like a power of the score, whose exponent is Hill's estimate drawn towards 1; it never
//! exceeds the exposure it was learned from, because data of a thousand days can not show what happens once in ten
//! thousand.
//!
//! A **threshold** for a wanted share of false alarms is the conformal quantile of the same scores: it holds for
//! any method and any distribution, as long as new keys are like the calibration keys. Split by key, never by
//! event or day: days of one key resemble each other, and a method must not be judged on keys it was trained on.
//!
//! Invariant: return periods do not fall when scores rise.

use crate::channel::Tail;
use crate::math::ln;

/// Fewest key-days to learn from.
const DAYS_MIN: usize = 100;
/// Share of the key-days that make the tail.
const TAIL: f64 = 0.01;
/// Weight of the exponent 1, in key-days of the tail.
const PRIOR: f64 = 10.0;

/// Why scores tell nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// Too little exposure.
    #[error("{have} clean key-days can not calibrate a method, at least {DAYS_MIN} are needed")]
    TooFew {
        /// Whole key-days.
        have: usize,
    },
    /// More scores than days, or an exposure that is not a number.
    #[error("the exposure must be a number of key-days, at least one for each score")]
    Exposure,
    /// A score that is not a number.
    #[error("a score is not a finite number")]
    NotFinite,
    /// No score above 0.
    #[error("no clean key-day has a score above 0: any score is rarer than these data can show")]
    NoScores,
}

/// What a method's scores mean.
#[derive(Clone, Debug, PartialEq)]
pub struct ReturnPeriods {
    tail: Tail,
    /// The highest score of each clean key-day, highest first.
    highest: Vec<f64>,
    days: usize,
}

impl ReturnPeriods {
    /// Learns from the highest score of each clean key-day with events, and the key-days in all, days without
    /// events included.
    ///
    /// # Errors
    ///
    /// When there are fewer than 100 key-days, no score is above 0, or a figure is not a number.
    pub fn fit(scores_per_key_day: &[f64], exposure_days: f64) -> Result<Self, FitError> {
        if !exposure_days.is_finite() || exposure_days < scores_per_key_day.len() as f64 {
            return Err(FitError::Exposure);
        }
        if !scores_per_key_day.iter().all(|score| score.is_finite()) {
            return Err(FitError::NotFinite);
        }
        let days = exposure_days as usize;
        if days < DAYS_MIN {
            return Err(FitError::TooFew { have: days });
        }
        let mut highest = scores_per_key_day.to_vec();
        highest.sort_unstable_by(|a, b| b.total_cmp(a));
        let positive = highest.partition_point(|&score| score > 0.0);
        let wanted = libm::ceil(TAIL * exposure_days) as usize;
        let from =
            *highest[..positive].get(wanted.min(positive).wrapping_sub(1)).ok_or(FitError::NoScores)?;
        let tail = highest.partition_point(|&score| score >= from);
        let logs: f64 = highest.iter().take(tail).map(|score| ln(score / from)).sum();
        let tail = Tail {
            from,
            days: exposure_days / tail as f64,
            slope: (PRIOR + tail as f64) / (PRIOR + logs),
            cap: exposure_days,
        };
        Ok(Self { tail, highest, days })
    }

    /// Once in how many days a clean key shows such a score; 0 for scores that are not rare.
    pub fn days(&self, score: f64) -> f64 {
        self.tail.return_period(score)
    }

    /// The threshold at which a clean key of the same kind has an alarm on at most this share of its days: alarm at
    /// scores from it on. `None` when the key-days are too few to promise that.
    pub fn threshold_for(&self, false_alarms_per_key_day: f64) -> Option<f64> {
        if !(0.0..=1.0).contains(&false_alarms_per_key_day) {
            return None;
        }
        // Rank of the score that may not be exceeded, counted from the lowest; days without events are lowest.
        let rank = libm::ceil((1.0 - false_alarms_per_key_day) * (self.days as f64 + 1.0)) as usize;
        let above = self.days.checked_sub(rank)?;
        let bound = self.highest.get(above).copied().unwrap_or(0.0);
        // An alarm is at the threshold or above it, so the threshold is above the bound.
        Some(bound.max(0.0).next_up())
    }

    /// Key-days it was learned from.
    pub const fn key_days(&self) -> usize {
        self.days
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Scores of a Pareto law with this exponent, at even quantiles.
    fn pareto(n: usize, slope: f64) -> Vec<f64> {
        (0..n).map(|i| libm::pow((i as f64 + 0.5) / n as f64, -1.0 / slope)).collect()
    }

    #[test]
    fn a_power_law_is_found_again() {
        for slope in [0.7, 1.0, 2.5] {
            let periods = ReturnPeriods::fit(&pareto(20_000, slope), 20_000.0).unwrap();
            assert!((periods.tail.slope / slope - 1.0).abs() < 0.12, "{slope} {}", periods.tail.slope);
            // The law itself: a score x comes once in x^slope days.
            for days in [200.0, 1_000.0, 5_000.0] {
                let got = periods.days(libm::pow(days, 1.0 / slope));
                assert!((0.7..1.4).contains(&(got / days)), "{slope} {days} {got}");
            }
            assert_eq!(periods.days(1.0), 0.0);
            assert_eq!(periods.days(1e30), 20_000.0, "no rarity beyond the exposure");
        }
    }

    #[test]
    fn few_days_lean_on_the_exponent_one() {
        let periods = ReturnPeriods::fit(&pareto(200, 5.0), 200.0).unwrap();
        assert!((1.0..1.5).contains(&periods.tail.slope), "{}", periods.tail.slope);
    }

    #[test]
    fn days_without_events_are_exposure() {
        let scores = pareto(1_000, 1.0);
        let busy = ReturnPeriods::fit(&scores, 1_000.0).unwrap();
        let quiet = ReturnPeriods::fit(&scores, 10_000.0).unwrap();
        let ratio = quiet.days(500.0) / busy.days(500.0);
        assert!((8.0..12.0).contains(&ratio), "{ratio}");
        assert!(quiet.threshold_for(0.05) < busy.threshold_for(0.05));
        // Nine of ten days are silent, so any score is rarer than one day in ten.
        assert_eq!(quiet.threshold_for(0.5), Some(0.0f64.next_up()));
    }

    #[test]
    fn nonsense_is_refused() {
        let fit = |scores: &[f64], days| ReturnPeriods::fit(scores, days).unwrap_err();
        assert_eq!(fit(&[1.0; 50], 50.0), FitError::TooFew { have: 50 });
        assert_eq!(fit(&[1.0; 150], 120.0), FitError::Exposure);
        assert_eq!(fit(&[1.0; 150], f64::NAN), FitError::Exposure);
        assert_eq!(fit(&[f64::INFINITY; 150], 150.0), FitError::NotFinite);
        assert_eq!(fit(&[0.0; 150], 150.0), FitError::NoScores);
        assert_eq!(fit(&[], 150.0), FitError::NoScores);
        let periods = ReturnPeriods::fit(&pareto(150, 1.0), 150.0).unwrap();
        assert_eq!(periods.threshold_for(0.001), None, "150 days can not promise one in a thousand");
        assert_eq!(periods.threshold_for(-1.0), None);
        assert_eq!(periods.threshold_for(f64::NAN), None);
    }

    #[test]
    fn one_score_is_a_tail() {
        let mut scores = vec![0.0; 400];
        scores[7] = 3.0;
        let periods = ReturnPeriods::fit(&scores, 400.0).unwrap();
        assert_eq!((periods.days(2.9), periods.days(3.0)), (0.0, 400.0));
    }

    proptest! {
        #[test]
        fn the_promise_is_kept_on_the_calibration_days(
            scores in proptest::collection::vec(0u32..40, 120..400),
            share in 0.0f64..0.5,
        ) {
            let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
            let Ok(periods) = ReturnPeriods::fit(&scores, scores.len() as f64) else { return Ok(()) };
            if let Some(threshold) = periods.threshold_for(share) {
                let alarms = scores.iter().filter(|&&score| score >= threshold).count() as f64;
                prop_assert!(alarms <= share * (scores.len() + 1) as f64, "{alarms} of {}", scores.len());
            }
            let mut last = 0.0;
            for score in 0..60 {
                let days = periods.days(f64::from(score));
                prop_assert!(days >= last && days <= scores.len() as f64);
                last = days;
            }
        }
    }
}
