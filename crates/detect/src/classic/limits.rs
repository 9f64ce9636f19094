//! Static limiting: requests, tokens and money an hour against limits that never move.
//!
//! The score is the worst ratio of the running hour to its limits, so that a threshold on the score is the
//! same as other limits: all of them at once, in proportion.
//!
//! Invariants: a key's own limits are set once, by its first week; until then it scores 0. Limits have floors,
//! so that a key that hardly worked in its first week does not break them with its second request.

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::time::DAY;

use super::clock::{Clock, Tick};
use crate::method::{Method, Scores, Watch};
use crate::profile::KeyProfile;

/// How long a key's own limits are looked for.
const FIRST_WEEK: u64 = 7 * DAY;
/// The least that a key's own limits can be.
const FLOOR: Hourly = Hourly { requests: 5.0, tokens: 2_000.0, dollars: 0.02 };

/// Amounts in an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hourly {
    /// Requests.
    pub requests: f64,
    /// Input and output tokens.
    pub tokens: f64,
    /// Money in US dollars.
    pub dollars: f64,
}

impl Hourly {
    const ZERO: Self = Self { requests: 0.0, tokens: 0.0, dollars: 0.0 };

    /// The worst ratio to a limit.
    fn ratio(&self, limit: &Self) -> f64 {
        (self.requests / limit.requests).max(self.tokens / limit.tokens).max(self.dollars / limit.dollars)
    }

    fn max(&self, other: &Self) -> Self {
        Self {
            requests: self.requests.max(other.requests),
            tokens: self.tokens.max(other.tokens),
            dollars: self.dollars.max(other.dollars),
        }
    }
}

/// Static limits as a method.
#[derive(Clone, Copy, Debug)]
pub struct StaticLimits {
    absolute: Option<Hourly>,
}

impl StaticLimits {
    /// What people write into a gateway's configuration when they know nothing of a key: 500 calls, a
    /// million tokens, 20 dollars.
    pub const USUAL: Hourly = Hourly { requests: 500.0, tokens: 1_000_000.0, dollars: 20.0 };

    /// Multiples of the busiest hour of each key's first week.
    pub const fn of_own_peak() -> Self {
        Self { absolute: None }
    }

    /// The same numbers for every key; limits below 1 request, 1 token or a millionth of a dollar count as
    /// these.
    pub fn absolute(limits: Hourly) -> Self {
        let least = Hourly { requests: 1.0, tokens: 1.0, dollars: 1e-6 };
        Self { absolute: Some(limits.max(&least)) }
    }
}

impl Method for StaticLimits {
    fn id(&self) -> &'static str {
        if self.absolute.is_some() { "static_limits_absolute" } else { "static_limits" }
    }

    fn unit(&self) -> &'static str {
        if self.absolute.is_some() {
            "times the limit of an hour"
        } else {
            "times the busiest hour of the first week"
        }
    }

    fn watch(&self, _: &KeyProfile) -> Box<dyn Watch> {
        Box::new(LimitsWatch {
            absolute: self.absolute,
            clock: Clock::default(),
            hour: 0,
            used: Hourly::ZERO,
            peak: FLOOR,
        })
    }
}

#[derive(Clone, Debug)]
struct LimitsWatch {
    absolute: Option<Hourly>,
    clock: Clock,
    hour: u32,
    used: Hourly,
    peak: Hourly,
}

impl Watch for LimitsWatch {
    fn see(&mut self, event: &UsageEvent) -> Scores {
        let (Tick::At(time) | Tick::Rewound(time)) = self.clock.follow(event) else {
            return Scores::default();
        };
        if !event.outcome.was_forwarded() {
            return Scores::default();
        }
        if time.hour() != self.hour {
            (self.hour, self.used) = (time.hour(), Hourly::ZERO);
        }
        self.used.requests += 1.0;
        self.used.tokens += event.usage.total() as f64;
        self.used.dollars += event.cost.dollars();
        let after = match &self.absolute {
            Some(limits) => self.used.ratio(limits),
            None if self.clock.age() < FIRST_WEEK => {
                self.peak = self.peak.max(&self.used);
                0.0
            }
            None => self.used.ratio(&self.peak),
        };
        Scores { before: 0.0, after }
    }

    fn fork(&self) -> Box<dyn Watch> {
        Box::new(self.clone())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::time::{HOUR, MINUTE};

    use super::*;
    use crate::classic::sample::event;

    #[test]
    fn the_worst_ratio_counts_and_the_hour_starts_anew() {
        let limits = Hourly { requests: 10.0, tokens: 1_000.0, dollars: 1.0 };
        let mut watch = StaticLimits::absolute(limits).watch(&KeyProfile::default());
        let mut see = |after: u64, output: u64| watch.see(&event(after, output)).after;
        // A request of 150 tokens and a cent: tokens are the worst.
        assert_eq!((see(0, 50), see(1, 50)), (0.15, 0.3));
        assert_eq!(see(HOUR, 0), 0.1);
    }

    #[test]
    fn the_first_week_sets_the_limit_for_ever() {
        let mut watch = StaticLimits::of_own_peak().watch(&KeyProfile::default());
        for day in 0..8 {
            // Ten requests of 500 tokens in an hour.
            for i in 0..10 {
                let score = watch.see(&event(day * DAY + i * MINUTE, 400)).after;
                let share = (i + 1) as f64 / 10.0;
                assert!((score - if day < 7 { 0.0 } else { share }).abs() < 1e-9, "{day} {i} {score}");
            }
        }
        let flood = (0..100).map(|i| watch.see(&event(20 * DAY + i, 400)).after).fold(0.0, f64::max);
        assert!((flood - 10.0).abs() < 1e-9, "{flood}");
        // The flood did not move the limit.
        let again = (0..100).map(|i| watch.see(&event(21 * DAY + i, 400)).after).fold(0.0, f64::max);
        assert_eq!(flood, again);
    }

    #[test]
    fn limits_that_make_no_sense_are_the_least() {
        let limits = Hourly { requests: f64::NAN, tokens: -1.0, dollars: 0.0 };
        let mut watch = StaticLimits::absolute(limits).watch(&KeyProfile::default());
        let score = watch.see(&event(0, 0)).after;
        assert!((score - 10_000.0).abs() < 1e-6, "a cent is ten thousand millionths of a dollar: {score}");
    }
}
