//! A theft's trajectory: how the highest score grew, and what the thief had had by then.
//!
//! Invariant: steps have rising scores, and none of their other figures ever falls, so a higher threshold is never
//! reached earlier.

use super::refusals::Refusals;
use super::{NanoUsd, SECOND, Scores, Timestamp, UsageEvent};

/// Steps closer together than this are one, but for those that cross a threshold of interest and the highest.
const GRAIN: f64 = 1.001;

/// The highest score so far, and what had happened when it was reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The score.
    pub score: f64,
    /// The thief's requests so far, the one that raised the score included.
    pub requests: u64,
    /// Since the thief's first request.
    pub seconds: f64,
    /// What the thief had spent; without the request itself when it would have been stopped before it was forwarded.
    pub spent: NanoUsd,
}

/// What a threshold would have made of a theft.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// The thief's requests, the one that told included.
    pub requests: u64,
    /// Since the thief's first request.
    pub seconds: f64,
    /// What the thief had spent.
    pub spent: NanoUsd,
}

/// A theft's scores on one key by one method.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// The theft, by place in the world.
    pub attack: usize,
    /// Highest clean score of the day before the theft began: an alarm that stood already tells nobody anything.
    pub already: f64,
    /// Whether the key was in use before: for a day at least, with thirty requests.
    pub in_use: bool,
    /// Rising scores of the whole theft.
    steps: Vec<Step>,
    /// Rising scores from the next day on, when an alarm may sound anew.
    later: Vec<Step>,
    /// The thief's requests.
    pub requests: u64,
    /// What they cost.
    pub spend: NanoUsd,
    /// The owner's requests meanwhile.
    pub owner_requests: u64,
    /// Of these, refused at each threshold of interest.
    pub owner_refused: Vec<u64>,
}

impl Trajectory {
    /// When a threshold was reached; `None` when it never was, or stood reached before the theft and was not reached
    /// on a later day.
    pub fn at(&self, threshold: f64) -> Option<Detection> {
        let steps = if self.already >= threshold { &self.later } else { &self.steps };
        let first = steps.partition_point(|step| step.score < threshold);
        let step = steps.get(first)?;
        Some(Detection { requests: step.requests, seconds: step.seconds, spent: step.spent })
    }

    /// The highest score of the whole theft.
    pub fn highest(&self) -> f64 {
        self.steps.last().map_or(0.0, |step| step.score)
    }

    /// Share of the theft's spend that was gone when it was found; all of it when it was not. A theft that costs
    /// nothing counts its requests instead.
    pub fn gone(&self, found: Option<&Detection>) -> f64 {
        let Some(found) = found else { return 1.0 };
        match self.spend {
            NanoUsd::ZERO => found.requests.saturating_sub(1) as f64 / self.requests.max(1) as f64,
            spend => found.spent.0 as f64 / spend.0 as f64,
        }
    }
}

/// Steps as they come.
#[derive(Default)]
struct Steps {
    steps: Vec<Step>,
    /// Higher than the last step, but by too little to be one.
    pending: Option<Step>,
}

impl Steps {
    fn note(&mut self, step: Step, thresholds: &[f64]) {
        let highest = self.pending.or(self.steps.last().copied()).map_or(0.0, |step| step.score);
        if step.score <= highest {
            return;
        }
        let last = self.steps.last().map_or(0.0, |step| step.score);
        let crosses = thresholds.iter().any(|&threshold| highest < threshold && threshold <= step.score);
        if crosses || step.score >= last * GRAIN {
            // What came before a crossing must not be taken for it.
            self.pending = None;
            self.steps.push(step);
        } else {
            self.pending = Some(step);
        }
    }

    fn finish(mut self) -> Vec<Step> {
        self.steps.extend(self.pending.take());
        self.steps
    }
}

/// Records one theft.
pub(super) struct Recorder<'a> {
    thresholds: &'a [f64],
    first: Timestamp,
    steps: Steps,
    later: Steps,
    trajectory: Trajectory,
}

impl<'a> Recorder<'a> {
    /// Of a theft with these events.
    pub(super) fn new(
        attack: usize,
        theft: &[UsageEvent],
        already: f64,
        in_use: bool,
        thresholds: &'a [f64],
    ) -> Self {
        let first = theft.first().map_or(Timestamp::default(), |event| event.request.time);
        let trajectory = Trajectory {
            attack,
            already,
            in_use,
            steps: Vec::new(),
            later: Vec::new(),
            requests: 0,
            spend: NanoUsd::ZERO,
            owner_requests: 0,
            owner_refused: vec![0; thresholds.len()],
        };
        Self { thresholds, first, steps: Steps::default(), later: Steps::default(), trajectory }
    }

    pub(super) fn thief(&mut self, event: &UsageEvent, scores: Scores) {
        self.trajectory.requests += 1;
        self.note(event, scores.before);
        self.trajectory.spend += event.cost;
        self.note(event, scores.after);
    }

    pub(super) fn owner(&mut self, event: &UsageEvent, scores: Scores, refusals: &mut Refusals<'_>) {
        self.trajectory.owner_requests += 1;
        refusals.count(event, scores, &mut self.trajectory.owner_refused);
        self.note(event, scores.max());
    }

    fn note(&mut self, event: &UsageEvent, score: f64) {
        let time = event.request.time;
        let step = Step {
            score,
            requests: self.trajectory.requests,
            seconds: time.since(self.first) as f64 / SECOND as f64,
            spent: self.trajectory.spend,
        };
        self.steps.note(step, self.thresholds);
        if self.trajectory.already > 0.0 && time.day() > self.first.day() {
            self.later.note(step, self.thresholds);
        }
    }

    pub(super) fn finish(self) -> Trajectory {
        Trajectory { steps: self.steps.finish(), later: self.later.finish(), ..self.trajectory }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::event;

    /// Scores of thief and owner events, one a minute, a dollar each, from ten minutes before midnight.
    fn record(scores: &[(bool, f64, f64)], already: f64, thresholds: &[f64]) -> Trajectory {
        let start = Timestamp::from_seconds(86_400 - 600);
        let mut recorder = Recorder::new(0, &[event(1, start)], already, true, thresholds);
        let mut refusals = Refusals::ByScore(thresholds);
        for (minute, &(is_thief, before, after)) in scores.iter().enumerate() {
            let mut event = event(1, start.plus(minute as u64 * 60 * SECOND));
            event.cost = NanoUsd::from_cents(100);
            let scores = Scores { before, after };
            if is_thief {
                recorder.thief(&event, scores)
            } else {
                recorder.owner(&event, scores, &mut refusals)
            }
        }
        recorder.finish()
    }

    #[test]
    fn a_request_stopped_before_it_is_forwarded_costs_nothing() {
        let theft = record(&[(true, 0.0, 5.0), (false, 0.0, 0.0), (true, 9.0, 9.0)], 0.0, &[]);
        let at = |threshold| {
            theft.at(threshold).map(|found| (found.requests, found.seconds, found.spent.dollars()))
        };
        assert_eq!(at(5.0), Some((1, 0.0, 1.0)));
        assert_eq!(at(6.0), Some((2, 120.0, 1.0)));
        assert_eq!(at(9.5), None);
        assert_eq!(theft.gone(theft.at(6.0).as_ref()), 0.5);
        assert_eq!(theft.gone(None), 1.0);
    }

    #[test]
    fn an_alarm_that_stood_already_is_no_detection() {
        let mut scores = vec![(true, 0.0, 9.0); 9];
        assert!(record(&scores, 9.0, &[]).at(9.0).is_none());
        assert_eq!(record(&scores, 8.0, &[]).at(9.0).map(|found| found.requests), Some(1));
        scores.extend([(true, 0.0, 9.0); 9]);
        // The eleventh minute is the next day.
        assert_eq!(record(&scores, 9.0, &[]).at(9.0).map(|found| found.requests), Some(11));
    }

    #[test]
    fn refusals_of_the_owner_are_counted_per_threshold() {
        let scores = [(true, 0.0, 5.0), (false, 3.0, 0.0), (false, 7.0, 0.0)];
        assert_eq!(record(&scores, 0.0, &[2.0, 5.0, 9.0]).owner_refused, [2, 1, 0]);
    }

    fn arbitrary() -> impl Strategy<Value = Vec<(bool, f64, f64)>> {
        proptest::collection::vec((any::<bool>(), 0.0f64..10.0, 0.0f64..10.0), 1..60)
    }

    proptest! {
        #[test]
        fn a_lower_threshold_is_never_reached_later(scores in arbitrary(), low in 0.1f64..10.0, by in 0.0f64..5.0) {
            let theft = record(&scores, 0.0, &[]);
            if let Some(high) = theft.at(low + by) {
                let low = theft.at(low).unwrap();
                prop_assert!(low.requests <= high.requests && low.seconds <= high.seconds && low.spent <= high.spent);
                prop_assert!(theft.gone(Some(&low)) <= theft.gone(Some(&high)));
                prop_assert!((0.0..=1.0).contains(&theft.gone(Some(&high))));
            }
        }

        #[test]
        fn a_lower_threshold_that_did_not_stand_already_finds_no_less(
            scores in arbitrary(),
            already in 0.0f64..5.0,
            low in 0.1f64..10.0,
            by in 0.0f64..5.0,
        ) {
            let theft = record(&scores, already, &[]);
            if low > already && theft.at(low + by).is_some() {
                prop_assert!(theft.at(low).is_some());
            }
        }

        #[test]
        fn thresholds_of_interest_are_exact(scores in arbitrary(), threshold in 0.1f64..10.0) {
            let theft = record(&scores, 0.0, &[threshold]);
            let first = scores.iter().position(|&(_, before, after)| before.max(after) >= threshold);
            prop_assert_eq!(theft.at(threshold).map(|found| found.seconds), first.map(|i| i as f64 * 60.0));
        }

        #[test]
        fn whether_a_theft_is_found_is_exact(scores in arbitrary(), threshold in 0.1f64..10.0) {
            let found = scores.iter().any(|&(_, before, after)| before.max(after) >= threshold);
            prop_assert_eq!(record(&scores, 0.0, &[]).at(threshold).is_some(), found);
        }
    }
}
