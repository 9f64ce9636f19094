//! Shares with intervals, quantiles, and resampling of clients.

use serde::Serialize;
use tokenwatch_testkit::rng::Rng;

/// The 97.5 % point of the standard normal, for intervals of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// A figure with its interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// So many of so many, with Wilson's interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How many.
    pub count: u64,
    /// Of how many.
    pub of: u64,
    /// `count / of`; 0 of none.
    pub share: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Share {
    /// `count` of `of`; Wilson (1927), `(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)`.
    pub fn new(count: u64, of: u64) -> Self {
        if of == 0 {
            return Self { count, of, share: 0.0, low: 0.0, high: 1.0 };
        }
        let (low, high) = wilson(count as f64 / of as f64, of as f64);
        Self { count, of, share: count as f64 / of as f64, low, high }
    }
}

/// Wilson's interval of 95 % for a share of `n`.
fn wilson(p: f64, n: f64) -> (f64, f64) {
    let z2 = Z * Z;
    let middle = p + z2 / (2.0 * n);
    let half = Z * libm::sqrt((p * (1.0 - p) / n + z2 / (4.0 * n * n)).max(0.0));
    let scale = 1.0 + z2 / n;
    // Rounding must not push the estimate out.
    (((middle - half) / scale).clamp(0.0, p), ((middle + half) / scale).clamp(p, 1.0))
}

/// Median and 90 % point; absent when there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Default)]
pub struct Spread {
    /// Half are at most this.
    pub median: Option<f64>,
    /// Nine in ten are at most this.
    pub p90: Option<f64>,
}

impl Spread {
    /// Of these values.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { median: quantile(&values, 0.5), p90: quantile(&values, 0.9) }
    }
}

/// The smallest of the rising values that at least a share `q` of them does not exceed.
pub fn quantile(rising: &[f64], q: f64) -> Option<f64> {
    let rank = libm::ceil(q * rising.len() as f64) as usize;
    rising.get(rank.clamp(1, rising.len().max(1)) - 1).copied()
}

/// The interval of a statistic when clients are drawn anew with replacement (percentile bootstrap). `statistic` gets
/// how often each client was drawn. Ends are moved to hold `value`. Where every resample says the same, because all
/// thefts or none were found or there is one client only, the interval is Wilson's with the clients as the sample.
pub fn by_client(
    clients: usize,
    resamples: u32,
    seed: u64,
    value: f64,
    mut statistic: impl FnMut(&[u32]) -> Option<f64>,
) -> Estimate {
    let mut rng = Rng::new(seed).fork("resample");
    let mut drawn = vec![0_u32; clients];
    let mut values = Vec::with_capacity(resamples as usize);
    for _ in 0..resamples {
        drawn.fill(0);
        for _ in 0..clients {
            if let Some(times) = drawn.get_mut(rng.below(clients as u64) as usize) {
                *times += 1;
            }
        }
        values.extend(statistic(&drawn));
    }
    values.sort_by(f64::total_cmp);
    let mut low = quantile(&values, 0.025).unwrap_or(0.0).min(value);
    let mut high = quantile(&values, 0.975).unwrap_or(1.0).max(value);
    if clients > 0 && low >= high {
        let (wide_low, wide_high) = wilson(value.clamp(0.0, 1.0), clients as f64);
        low = low.min(wide_low);
        high = high.max(wide_high);
    }
    Estimate { value, low, high }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wilson_is_what_the_books_say() {
        // R: binom.confint(7, 5943, methods = "wilson") gives 0.000571 and 0.002429.
        let share = Share::new(7, 5_943);
        assert!((share.low - 0.000_571).abs() < 1e-6 && (share.high - 0.002_429).abs() < 1e-6, "{share:?}");
        assert_eq!((Share::new(0, 0).low, Share::new(0, 0).high), (0.0, 1.0));
    }

    #[test]
    fn quantiles_are_values() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.9), Some(4.0));
        assert_eq!(Spread::of(vec![9.0]), Spread { median: Some(9.0), p90: Some(9.0) });
    }

    proptest! {
        #[test]
        fn intervals_hold_the_estimate(of in 1u64..5_000, part in 0.0f64..=1.0) {
            let share = Share::new((of as f64 * part) as u64, of);
            prop_assert!(share.low <= share.share && share.share <= share.high);
            prop_assert!(0.0 <= share.low && share.high <= 1.0);
        }

        #[test]
        fn resampled_intervals_hold_the_estimate(
            found in proptest::collection::vec((0u32..6, 0u32..6), 1..20),
            seed: u64,
        ) {
            let ratio = |weights: &[u32]| {
                let sum = |f: &dyn Fn(&(u32, u32)) -> u32| {
                    f64::from(found.iter().zip(weights).map(|(client, w)| f(client) * w).sum::<u32>())
                };
                let of = sum(&|&(a, b)| a + b);
                (of > 0.0).then(|| sum(&|&(a, _)| a) / of)
            };
            let value = ratio(&vec![1; found.len()]).unwrap_or(0.0);
            let estimate = by_client(found.len(), 50, seed, value, ratio);
            prop_assert!(estimate.low <= value && value <= estimate.high);
            prop_assert!(0.0 <= estimate.low && estimate.high <= 1.0);
            prop_assert_eq!(by_client(found.len(), 50, seed, value, ratio), estimate);
        }
    }
}
