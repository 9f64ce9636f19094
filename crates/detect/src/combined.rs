//! Several methods under one false-alarm budget.
//!
//! Each part's score becomes days, by its calibration or because it is in days already, and the days are added with
//! weights that sum to at most one. The sum keeps the budget that each part would have had alone, however the parts
//! depend on each other, so adding a part never adds false alarms: it only divides the budget anew.
//!
//! A method that speaks when an hour is over is heard for an hour, so that its word and that of the next event can
//! add up. Only parts that are in days by themselves can refuse a request before it is forwarded: volume and other
//! statistics of the past never do.

use std::sync::Arc;

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::time::{HOUR, Timestamp};

use crate::calibrate::ReturnPeriods;
use crate::method::{Method, Scores, Watch};
use crate::profile::KeyProfile;

/// One method of several.
#[derive(Clone)]
pub struct Part {
    /// The method.
    pub method: Arc<dyn Method>,
    /// What its scores mean; `None` when they are days.
    pub periods: Option<ReturnPeriods>,
    /// Share of the budget.
    pub share: f64,
}

/// The shares are not shares.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("shares of the budget must each be above 0 and together at most 1, not {0}")]
pub struct SharesError(f64);

/// Several methods as one.
#[derive(Clone)]
pub struct Combined {
    parts: Arc<[Part]>,
}

impl Combined {
    /// Puts methods together.
    ///
    /// # Errors
    ///
    /// When a share is not above 0, or they sum to more than 1.
    pub fn new(parts: Vec<Part>) -> Result<Self, SharesError> {
        let sum: f64 = parts.iter().map(|part| part.share).sum();
        // Ten times a tenth is a little more or less than one.
        if sum > 1.0 + 1e-9 || !parts.iter().all(|part| part.share > 0.0) {
            return Err(SharesError(sum));
        }
        Ok(Self { parts: parts.into() })
    }
}

impl Method for Combined {
    fn id(&self) -> &'static str {
        "combined"
    }

    fn unit(&self) -> &'static str {
        "an honest key like this does that once in so many days"
    }

    fn watch(&self, profile: &KeyProfile) -> Box<dyn Watch> {
        let watches = self.parts.iter().map(|part| Heard::new(part.method.watch(profile))).collect();
        Box::new(CombinedWatch { parts: Arc::clone(&self.parts), watches })
    }
}

/// A part's watch, and its last word.
struct Heard {
    watch: Box<dyn Watch>,
    days: f64,
    since: Timestamp,
}

impl Heard {
    fn new(watch: Box<dyn Watch>) -> Self {
        Self { watch, days: 0.0, since: Timestamp::default() }
    }

    /// A part's days before and after an event.
    fn see(&mut self, part: &Part, event: &UsageEvent) -> Scores {
        let scores = self.watch.see(event);
        let Some(periods) = &part.periods else { return scores };
        let (now, days) = (event.request.time, periods.days(scores.max()));
        if now.0.abs_diff(self.since.0) > HOUR || days >= self.days {
            (self.days, self.since) = (days, now);
        }
        Scores { before: 0.0, after: self.days }
    }
}

struct CombinedWatch {
    parts: Arc<[Part]>,
    watches: Vec<Heard>,
}

impl Watch for CombinedWatch {
    fn see(&mut self, event: &UsageEvent) -> Scores {
        let mut sum = Scores::default();
        for (part, heard) in self.parts.iter().zip(&mut self.watches) {
            let days = heard.see(part, event);
            sum.before += part.share * days.before;
            sum.after += part.share * days.after;
        }
        sum
    }

    fn fork(&self) -> Box<dyn Watch> {
        let watches =
            self.watches.iter().map(|heard| Heard { watch: heard.watch.fork(), ..*heard }).collect();
        Box::new(Self { parts: Arc::clone(&self.parts), watches })
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.watches.capacity() * size_of::<Heard>()
            + self.watches.iter().map(|heard| heard.watch.bytes()).sum::<usize>()
    }
}
