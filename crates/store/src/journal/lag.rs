//! How long records waited for the disk: each sync's worst, and the worst of the last minute or two.
//!
//! Invariant: memory is bounded, whether or not anybody takes the samples.

use std::time::{Duration, Instant};

/// Samples kept for whoever takes them: more than a minute of syncs.
const SAMPLES_MAX: usize = 4_096;
/// The worst is remembered for one to two of these.
const SPAN: Duration = Duration::from_secs(60);

/// What the writer measured.
pub(crate) struct Lags {
    samples: Vec<Duration>,
    span_began: Instant,
    worst: Duration,
    worst_before: Duration,
}

impl Lags {
    pub(crate) const fn new(now: Instant) -> Self {
        let zero = Duration::ZERO;
        Self { samples: Vec::new(), span_began: now, worst: zero, worst_before: zero }
    }

    /// Takes in what one sync's records waited at most.
    pub(crate) fn add(&mut self, now: Instant, lag: Duration) {
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(lag);
        }
        let spans = self.spans(now);
        if spans > 0 {
            self.worst_before = if spans == 1 { self.worst } else { Duration::ZERO };
            (self.worst, self.span_began) = (Duration::ZERO, now);
        }
        self.worst = self.worst.max(lag);
    }

    /// The worst of the last one to two spans.
    pub(crate) fn worst(&self, now: Instant) -> Duration {
        match self.spans(now) {
            0 => self.worst.max(self.worst_before),
            1 => self.worst,
            _ => Duration::ZERO,
        }
    }

    /// What was taken in since the last call.
    pub(crate) fn take(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.samples)
    }

    fn spans(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.span_began).as_secs() / SPAN.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_remembered_for_a_minute_and_then_forgotten() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ms = Duration::from_millis;
        let mut lags = Lags::new(start);
        lags.add(at(1), ms(7));
        lags.add(at(2), ms(300));
        lags.add(at(3), ms(5));
        assert_eq!(lags.worst(at(3)), ms(300));
        assert_eq!(lags.worst(at(61)), ms(300));
        lags.add(at(61), ms(9));
        assert_eq!(lags.worst(at(62)), ms(300));
        lags.add(at(122), ms(8));
        assert_eq!(lags.worst(at(122)), ms(9));
        assert_eq!(lags.worst(at(400)), Duration::ZERO);
        assert_eq!(lags.take(), [ms(7), ms(300), ms(5), ms(9), ms(8)]);
        assert!(lags.take().is_empty());
    }

    #[test]
    fn samples_that_nobody_takes_are_bounded() {
        let start = Instant::now();
        let mut lags = Lags::new(start);
        for _ in 0..SAMPLES_MAX + 10 {
            lags.add(start, Duration::from_millis(1));
        }
        assert_eq!(lags.take().len(), SAMPLES_MAX);
    }
}
