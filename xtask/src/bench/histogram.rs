//! Latencies in logarithmic buckets: 128 to each doubling, so a figure is off by less than 0.8 %.

use std::time::Duration;

/// Buckets to each doubling, as a power of two.
const STEPS_LOG2: u32 = 7;
const STEPS: u64 = 1 << STEPS_LOG2;
/// Values from here on share the last bucket: 2^40 ns are 18 minutes.
const LOG2_MAX: u32 = 40;
const BUCKETS: usize = ((LOG2_MAX - STEPS_LOG2 + 1) as usize) << STEPS_LOG2;

/// Counts of durations.
#[derive(Clone)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    /// Counts a duration.
    pub(super) fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
    }

    /// The duration in microseconds that `share` (0 to 1) of all stay within; `None` when nothing was counted.
    pub(super) fn quantile_us(&self, share: f64) -> Option<f64> {
        let rank = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.filter(|_| self.total > 0).map(|bucket| middle_ns(bucket) / 1e3)
    }
}

/// Below `STEPS` a value is its own bucket; above, the leading bits of the value are.
fn bucket(ns: u64) -> usize {
    let ns = ns.min((1 << LOG2_MAX) - 1);
    if ns < STEPS {
        return ns as usize;
    }
    let shift = ns.ilog2() - STEPS_LOG2;
    ((u64::from(shift) << STEPS_LOG2) + (ns >> shift)) as usize
}

/// The middle of a bucket's range, in nanoseconds.
fn middle_ns(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket as f64;
    }
    let shift = (bucket >> STEPS_LOG2) - 1;
    let low = (STEPS + bucket % STEPS) << shift;
    low as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lands_in_a_bucket_that_reads_back_within_a_percent() {
        let mut ns = 1_u64;
        while ns < 1 << LOG2_MAX {
            for ns in [ns, ns + ns / 3, ns + ns / 2] {
                let read = middle_ns(bucket(ns));
                assert!((read - ns as f64).abs() <= ns as f64 * 0.008, "{ns} reads back as {read}");
            }
            ns *= 2;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn buckets_never_decrease() {
        let buckets: Vec<usize> = (0..100_000).map(bucket).collect();
        assert!(buckets.is_sorted());
        assert!(buckets.windows(2).all(|pair| pair[1] - pair[0] <= 1), "a bucket is skipped");
    }

    #[test]
    fn quantiles_are_those_of_all_that_was_merged() {
        let (mut low, mut high) = (Histogram::default(), Histogram::default());
        (1..=99).for_each(|us| low.record(Duration::from_micros(us)));
        high.record(Duration::from_millis(5));
        low.merge(&high);
        let read = |share| low.quantile_us(share).unwrap();
        assert!((read(0.5) - 50.0).abs() < 0.5);
        assert!((read(0.99) - 99.0).abs() < 1.0);
        assert!((read(1.0) - 5_000.0).abs() < 50.0);
        assert_eq!(Histogram::default().quantile_us(0.5), None);
    }
}
