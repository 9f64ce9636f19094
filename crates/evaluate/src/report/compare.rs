//! Method beside method: what each finds at its own threshold, at calibrated rates, and at the rate that is published for
//! methods like it, and what the layered detector finds at as many false alarms.
//!
//! Invariant: all thresholds come from calibration keys, also those of "as many": for a method's own threshold the rate
//! is its share of calibration key-days with an alarm.

use serde::Serialize;

use super::tally::{Found, Tally};
use super::{GroupReport, Point, alarms, days_of};
use crate::plan::Options;
use crate::stats::{Share, Spread};
use crate::threshold::calibrate;
use crate::trial::{Contestant, KeyTrial};
use crate::world::Attack;

/// The theft by which delays are compared: many requests at once.
const BURST: &str = "burst-resale";

/// What is published about a kind of method, shares between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Published {
    /// Thefts found.
    pub found: f64,
    /// False alarms; of what is not said.
    pub false_alarms: f64,
    /// Least and most milliseconds that are added to a request.
    pub latency_ms: (f64, f64),
}

/// One method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Stable id.
    pub method: &'static str,
    /// What is published about methods like it.
    pub published: Option<Published>,
    /// Processor time of an event, in milliseconds; 0 when nobody measured.
    pub ms_per_event: f64,
    /// One per threshold.
    pub rows: Vec<ComparedAt>,
}

/// One method at one threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedAt {
    /// What it was set for: `nominal`, `rate_…` or `published`.
    pub point: String,
    /// False alarms per key-day it was calibrated for; for `nominal` the share of calibration key-days with an alarm.
    pub rate: f64,
    /// What it found.
    #[serde(flatten)]
    pub level: Level,
    /// The layered detector, calibrated for the same rate; none when it did not take part, or is the method itself.
    pub layered: Option<Level>,
}

/// What a threshold finds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Level {
    /// Scores at or above it are alarms.
    pub threshold: f64,
    /// Whether the calibration days are enough for the rate.
    pub is_supported: bool,
    /// Clean key-days of unseen clients with an alarm.
    pub false_alarms: Share,
    /// Mean share found over the thefts of a group.
    pub groups: Vec<GroupReport>,
    /// How soon a burst is found; none when it was not tried.
    pub burst: Option<Burst>,
}

/// How soon a theft of many requests at once is found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Burst {
    /// The theft.
    pub attack: &'static str,
    /// Share found, and of how many.
    pub found: Share,
    /// The thief's requests until it was found, of those found.
    pub requests: Spread,
    /// Seconds from its first request.
    pub seconds: Spread,
}

/// What the comparison is made from.
pub(super) struct Field<'a> {
    pub(super) options: &'a Options,
    pub(super) contestants: &'a [Contestant],
    pub(super) points: &'a [Vec<Point>],
    pub(super) calibration: &'a [KeyTrial],
    /// Of each contestant.
    pub(super) tallies: &'a [Tally<'a>],
    /// Nanoseconds an event of each contestant.
    pub(super) nanos: &'a [f64],
    pub(super) attacks: &'a [Attack],
}

impl Field<'_> {
    /// Every method beside the layered detector.
    pub(super) fn compare(&self) -> Vec<Compared> {
        let compared = |(place, contestant): (usize, &Contestant)| Compared {
            method: contestant.method.id(),
            published: contestant.published,
            ms_per_event: self.nanos.get(place).copied().unwrap_or(0.0) / 1e6,
            rows: self.rows(place, contestant),
        };
        self.contestants.iter().enumerate().map(compared).collect()
    }

    fn rows(&self, place: usize, contestant: &Contestant) -> Vec<ComparedAt> {
        let layered = self.contestants.iter().position(|contestant| contestant.engine.is_some());
        let layered = layered.filter(|&layered| layered != place);
        let beside = |rate: f64| {
            let layered = layered?;
            let threshold = calibrate(days_of(self.calibration, layered).collect(), rate);
            self.level(layered, threshold.score, threshold.is_supported)
        };
        let at = |point: &Point| {
            let share = || alarms(days_of(self.calibration, place), point.threshold).share;
            let rate = point.rate.unwrap_or_else(share);
            let level = self.level(place, point.threshold, point.is_supported)?;
            Some(ComparedAt { point: point.point.clone(), rate, level, layered: beside(rate) })
        };
        let published = contestant.published.and_then(|published| {
            let rate = published.false_alarms;
            let threshold = calibrate(days_of(self.calibration, place).collect(), rate);
            let level = self.level(place, threshold.score, threshold.is_supported)?;
            Some(ComparedAt { point: "published".to_owned(), rate, level, layered: beside(rate) })
        });
        let points = self.points.get(place).into_iter().flatten();
        points.filter_map(at).chain(published).collect()
    }

    fn level(&self, place: usize, threshold: f64, is_supported: bool) -> Option<Level> {
        let tally = self.tallies.get(place)?;
        let found = tally.at(threshold);
        Some(Level {
            threshold,
            is_supported,
            false_alarms: alarms(tally.days(), threshold),
            groups: found.groups(self.options),
            burst: self.burst(&found),
        })
    }

    fn burst(&self, found: &Found<'_>) -> Option<Burst> {
        let place = self.attacks.iter().position(|attack| attack.name == BURST)?;
        let detections = found.of_attack(place);
        let all = || detections.iter().flatten();
        (!detections.is_empty()).then(|| Burst {
            attack: BURST,
            found: Share::new(all().count() as u64, detections.len() as u64),
            requests: Spread::of(all().map(|found| found.requests as f64).collect()),
            seconds: Spread::of(all().map(|found| found.seconds).collect()),
        })
    }
}
