//! A key's volume as two series: requests and money in ten minutes, each judged by [`Series`].
//!
//! A method beside the layered detector, whose own channel of volume is simpler ([`crate::surge`]). Square roots are taken, which makes the noise of counts even; 5 requests or
//! 2 cents more than never are nothing special.
//!
//! Invariants: ten minutes are scored when an event shows that they are over; silence is told to the series, at most
//! two days of it at once. Memory is fixed.

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::time::{MINUTE, Timestamp};

use super::Series;
use crate::classic::{Clock, Tick};
use crate::method::{Method, Scores, Watch};
use crate::profile::KeyProfile;

const STEP: u64 = 10 * MINUTE;
/// Silent steps that are told at once: two days.
const SILENCE_MAX: u64 = 288;
/// What is nothing special in a step.
const REQUESTS_GRAIN: f64 = 5.0;
const DOLLARS_GRAIN: f64 = 0.02;

/// Volume as a method.
#[derive(Clone, Copy, Debug, Default)]
pub struct VolumeSeries;

impl Method for VolumeSeries {
    fn id(&self) -> &'static str {
        "volume_series"
    }

    fn unit(&self) -> &'static str {
        "such a volume comes once in so many ten minutes"
    }

    fn watch(&self, _: &KeyProfile) -> Box<dyn Watch> {
        Box::new(VolumeWatch {
            clock: Clock::default(),
            step: None,
            requests: 0.0,
            dollars: 0.0,
            by_requests: Series::with_grain(REQUESTS_GRAIN.sqrt()),
            by_dollars: Series::with_grain(DOLLARS_GRAIN.sqrt()),
        })
    }
}

#[derive(Clone, Debug)]
struct VolumeWatch {
    clock: Clock,
    /// The ten minutes that are open, since the epoch.
    step: Option<u64>,
    requests: f64,
    dollars: f64,
    by_requests: Series,
    by_dollars: Series,
}

impl VolumeWatch {
    /// Tells the series of one step that is over; returns how rare it was.
    fn tell(&mut self, step: u64, requests: f64, dollars: f64) -> f64 {
        let time = Timestamp(step * STEP);
        let requests = self.by_requests.see(time, requests.sqrt());
        let dollars = self.by_dollars.see(time, dollars.sqrt());
        requests.once_in.max(dollars.once_in)
    }

    /// Ends the steps before `step`.
    fn roll(&mut self, step: u64) -> f64 {
        let mut rarity = 0.0;
        match self.step {
            Some(open) if step == open => return 0.0,
            Some(open) if step > open => {
                rarity = self.tell(open, self.requests, self.dollars);
                // Silence is no sign of theft, whatever it is for the series.
                for silent in (open + 1).max(step.saturating_sub(SILENCE_MAX))..step {
                    self.tell(silent, 0.0, 0.0);
                }
            }
            _ => {}
        }
        (self.step, self.requests, self.dollars) = (Some(step), 0.0, 0.0);
        rarity
    }
}

impl Watch for VolumeWatch {
    fn see(&mut self, event: &UsageEvent) -> Scores {
        let (Tick::At(time) | Tick::Rewound(time)) = self.clock.follow(event) else {
            return Scores::default();
        };
        if !event.outcome.was_forwarded() {
            return Scores::default();
        }
        let after = self.roll(time.0 / STEP);
        self.requests += 1.0;
        self.dollars += event.cost.dollars();
        Scores { before: 0.0, after }
    }

    fn fork(&self) -> Box<dyn Watch> {
        Box::new(self.clone())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}
