//! Flood control: what happens a thousand times a second is logged a few times, with how often it was not.

use std::sync::atomic::{AtomicU64, Ordering};

use tokenwatch_model::time::Timestamp;

/// Bits of the state that count passes in the current interval.
const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Lets so many through per interval and counts the rest; one per kind of line, usually a `static`.
///
/// Intervals are fixed and aligned to the epoch. A time that steps back stays in the interval reached, so
/// that a clock that jumps can not open the flood gates.
#[derive(Debug)]
pub struct RateLimited {
    passes_max: u64,
    interval_us: u64,
    /// Interval number plus one in the upper bits, so that zero is "never", and passes in the lower.
    state: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimited {
    /// `passes` per `interval_us` microseconds: at most a million, in at least a millisecond.
    pub const fn new(passes: u32, interval_us: u64) -> Self {
        let passes_max = if (passes as u64) < COUNT_MASK { passes as u64 } else { COUNT_MASK - 1 };
        let interval_us = if interval_us < 1_000 { 1_000 } else { interval_us };
        Self { passes_max, interval_us, state: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Whether this one may be logged: then how many were suppressed since the last that was.
    pub fn pass(&self, now: Timestamp) -> Option<u64> {
        let interval = (now.0 / self.interval_us).saturating_add(1).min(u64::MAX >> COUNT_BITS);
        let next = |state: u64| {
            let (current, count) = (state >> COUNT_BITS, state & COUNT_MASK);
            if interval > current {
                return (self.passes_max > 0).then_some((interval << COUNT_BITS) | 1);
            }
            (count < self.passes_max).then_some(state + 1)
        };
        match self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Some(self.suppressed.swap(0, Ordering::Relaxed)),
            Err(_) => {
                self.suppressed.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenwatch_model::time::SECOND;

    /// Passes at these seconds, two per ten seconds.
    #[track_caller]
    fn check(at_seconds: &[u64], want: &[Option<u64>]) {
        let limited = RateLimited::new(2, 10 * SECOND);
        let got: Vec<_> = at_seconds.iter().map(|&at| limited.pass(Timestamp::from_seconds(at))).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn so_many_per_interval_and_the_rest_counted() {
        check(&[0, 1, 2, 9, 10, 11, 12], &[Some(0), Some(0), None, None, Some(2), Some(0), None]);
        check(&[100, 50, 60, 109], &[Some(0), Some(0), None, None]);
        check(&[u64::MAX / SECOND, u64::MAX / SECOND], &[Some(0), Some(0)]);
    }

    #[test]
    fn zero_passes_nothing() {
        let limited = RateLimited::new(0, 0);
        assert_eq!([0, 1, 2].map(|at| limited.pass(Timestamp(at))), [None; 3]);
    }

    #[test]
    fn threads_together_get_no_more() {
        let limited = RateLimited::new(100, SECOND);
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1_000).filter(|_| limited.pass(Timestamp(5)).is_some()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let suppressed = limited.pass(Timestamp(SECOND)).unwrap();
        assert_eq!((passed, suppressed), (100, 3_900));
    }
}
