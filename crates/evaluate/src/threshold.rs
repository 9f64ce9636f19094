//! Thresholds from clean days: what a false-alarm budget buys.

use serde::Serialize;

/// A threshold for a rate of false alarms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// Scores at or above it are alarms.
    pub score: f64,
    /// Whether there were enough clean days to support the rate; otherwise the threshold is just above all of them,
    /// and the true rate may be higher than asked for.
    pub is_supported: bool,
}

/// The lowest threshold that promises at most `rate` false alarms per key-day for a new key-day like the clean ones:
/// just above the `⌈(1 - rate)(n + 1)⌉`-th smallest of the days' highest scores (split conformal prediction; Vovk,
/// Gammerman and Shafer, 2005). With fewer than `1 / rate - 1` days no score supports the rate.
pub fn calibrate(mut days: Vec<f64>, rate: f64) -> Threshold {
    days.sort_by(f64::total_cmp);
    let rank = libm::ceil((1.0 - rate) * (days.len() as f64 + 1.0)) as usize;
    let is_supported = (1..=days.len()).contains(&rank);
    let highest = days.get(rank.clamp(1, days.len().max(1)) - 1).copied().unwrap_or(0.0);
    Threshold { score: highest.max(0.0).next_up(), is_supported }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rank_is_the_conformal_one() {
        let days: Vec<f64> = (1..=999).map(f64::from).collect();
        let threshold = calibrate(days.clone(), 0.001);
        assert!(threshold.is_supported && threshold.score > 999.0 && threshold.score < 999.001);
        assert_eq!(calibrate(days.clone(), 0.01).score, 990_f64.next_up());
        assert!(!calibrate(days[..500].to_vec(), 0.001).is_supported);
        assert!(calibrate(Vec::new(), 0.1).score > 0.0);
    }

    proptest! {
        #[test]
        fn at_most_the_rate_of_the_days_are_alarms(
            days in proptest::collection::vec(0.0f64..100.0, 0..300),
            rate in 0.001f64..0.5,
        ) {
            let threshold = calibrate(days.clone(), rate);
            let alarms = days.iter().filter(|&&score| score >= threshold.score).count();
            prop_assert!(alarms as f64 <= rate * (days.len() as f64 + 1.0));
        }

        #[test]
        fn a_stricter_rate_never_lowers_the_threshold(
            days in proptest::collection::vec(0.0f64..100.0, 0..300),
            rate in 0.001f64..0.2,
        ) {
            prop_assert!(calibrate(days.clone(), rate).score >= calibrate(days, rate * 2.0).score);
        }
    }
}
