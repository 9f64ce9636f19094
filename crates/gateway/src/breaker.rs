//! Circuit breaker of one provider credential: after repeated failures calls are held back, then one probe
//! at a time finds out whether the provider is well again. Pure: time comes in, a decision goes out.

use std::time::Duration;

/// When the circuit opens and how long it stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BreakerConfig {
    /// Failures in a row that open the circuit.
    pub(crate) failures: u32,
    /// First time it stays open; doubles with each failed probe.
    pub(crate) open_for: Duration,
    /// Longest time it stays open.
    pub(crate) open_for_max: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(2), open_for_max: Duration::from_secs(60) }
    }
}

/// What the breaker says about one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// Go ahead.
    Closed,
    /// Go ahead as the one probe; its result decides.
    Probe,
    /// Held back; try again after so long.
    Open(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    /// `since` is on the caller's monotonic clock.
    Open {
        since: Duration,
        for_: Duration,
    },
    HalfOpen {
        probe_since: Duration,
        for_: Duration,
    },
}

/// The breaker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    state: State,
}

impl Breaker {
    /// A closed circuit.
    pub(crate) const fn new(config: BreakerConfig) -> Self {
        Self { config, state: State::Closed { failures: 0 } }
    }

    /// Asks to call at `now`, a point on any monotonic clock.
    pub(crate) fn permit(&mut self, now: Duration) -> Permit {
        match self.state {
            State::Closed { .. } => Permit::Closed,
            State::Open { since, for_ } | State::HalfOpen { probe_since: since, for_ }
                if now.saturating_sub(since) >= for_ =>
            {
                // A probe that never reported (its caller vanished) is given up after the same time.
                self.state = State::HalfOpen { probe_since: now, for_ };
                Permit::Probe
            }
            State::Open { since, for_ } | State::HalfOpen { probe_since: since, for_ } => {
                Permit::Open(for_.saturating_sub(now.saturating_sub(since)))
            }
        }
    }

    /// Reports that a call got an answer.
    pub(crate) const fn succeed(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// Reports that a call failed on the provider's side.
    pub(crate) fn fail(&mut self, now: Duration) {
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < self.config.failures => {
                State::Closed { failures: failures + 1 }
            }
            State::Closed { .. } => State::Open { since: now, for_: self.config.open_for },
            State::HalfOpen { for_, .. } => {
                State::Open { since: now, for_: (for_ * 2).min(self.config.open_for_max) }
            }
            open @ State::Open { .. } => open,
        };
    }

    /// Whether a probe is finding out if the provider is well again.
    pub(crate) const fn is_trying(&self) -> bool {
        matches!(self.state, State::HalfOpen { .. })
    }

    /// Whether calls are held back.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn opens_after_failures_in_a_row_and_probes_with_growing_pauses() {
        let mut breaker = Breaker::new(BreakerConfig { failures: 2, open_for: s(2), open_for_max: s(5) });
        breaker.fail(s(0));
        breaker.succeed();
        breaker.fail(s(0));
        assert_eq!(breaker.permit(s(0)), Permit::Closed);
        breaker.fail(s(1));
        assert_eq!(breaker.permit(s(2)), Permit::Open(s(1)));
        assert_eq!(breaker.permit(s(3)), Permit::Probe);
        assert_eq!(breaker.permit(s(3)), Permit::Open(s(2)));
        breaker.fail(s(4));
        assert_eq!(breaker.permit(s(5)), Permit::Open(s(3)));
        assert_eq!(breaker.permit(s(8)), Permit::Probe);
        breaker.fail(s(8));
        assert_eq!(breaker.permit(s(12)), Permit::Open(s(1)));
        assert_eq!(breaker.permit(s(13)), Permit::Probe);
        breaker.succeed();
        assert_eq!(breaker.permit(s(13)), Permit::Closed);
    }

    #[test]
    fn a_probe_that_never_reports_is_replaced() {
        let mut breaker = Breaker::new(BreakerConfig { failures: 1, open_for: s(2), open_for_max: s(5) });
        breaker.fail(s(0));
        assert_eq!(breaker.permit(s(2)), Permit::Probe);
        assert_eq!(breaker.permit(s(4)), Permit::Probe);
    }
}
