//! How quickly thefts are found, contained and closed: what a review asks of the last weeks.
//!
//! An incident that was dismissed ("it was us") is a false alarm: it is counted, and left out of every time.

use serde::Serialize;
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::Timestamp;

/// Spans of time, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Spans {
    /// How many incidents it rests on; the others have not come so far.
    pub count: usize,
    /// The mean.
    pub mean_us: u64,
    /// The middle one.
    pub median_us: u64,
    /// Nine in ten are at most this.
    pub p90_us: u64,
    /// The longest.
    pub worst_us: u64,
}

impl Spans {
    fn of(mut spans: Vec<u64>) -> Self {
        spans.sort_unstable();
        let count = spans.len();
        // The smallest that at least such a share is no longer than.
        let at = |tenths: usize| spans.get((count * tenths).div_ceil(10).max(1) - 1).copied().unwrap_or(0);
        let sum: u128 = spans.iter().map(|&span| u128::from(span)).sum();
        // A mean of spans is no longer than the longest.
        let mean = sum.checked_div(count as u128).and_then(|mean| u64::try_from(mean).ok());
        Self {
            count,
            mean_us: mean.unwrap_or(0),
            median_us: at(5),
            p90_us: at(9),
            worst_us: spans.last().copied().unwrap_or(0),
        }
    }
}

/// Incidents of a time, and how quickly what was done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Times {
    /// Incidents that were opened.
    pub incidents: usize,
    /// Of these, those that nobody has closed.
    pub open: usize,
    /// Closed as thefts.
    pub thefts: usize,
    /// Closed as "it was us": false alarms.
    pub dismissed: usize,
    /// From the stranger's first request to the first finding: time to detect.
    pub to_detect: Spans,
    /// From the first finding to the first containment: time to contain.
    pub to_contain: Spans,
    /// From the first finding to the close: time to resolve.
    pub to_resolve: Spans,
    /// From the stranger's first request until it was contained; of one that never was, until its close or now.
    pub dwell: Spans,
    /// Requests of strangers that were forwarded.
    pub requests_forwarded: u64,
    /// Requests of strangers that were refused.
    pub requests_refused: u64,
    /// What the forwarded ones cost, in billionths of a dollar.
    pub cost_nano_usd: u64,
}

/// The times of the incidents that were opened from `since` on, at `now`. Incidents are as they stand now
/// ([`crate::incident::as_of`]).
pub fn times(incidents: &[Incident], since: Timestamp, now: Timestamp) -> Times {
    let opened: Vec<&Incident> = incidents.iter().filter(|incident| incident.opened >= since).collect();
    let count = |state| opened.iter().filter(|incident| incident.state == state).count();
    let real: Vec<&Incident> =
        opened.iter().copied().filter(|incident| incident.state != IncidentState::Dismissed).collect();
    let spans = |span: &dyn Fn(&Incident) -> Option<u64>| {
        Spans::of(real.iter().filter_map(|incident| span(incident)).collect())
    };
    Times {
        incidents: opened.len(),
        open: opened.iter().filter(|incident| incident.state.is_open()).count(),
        thefts: count(IncidentState::Resolved),
        dismissed: count(IncidentState::Dismissed),
        to_detect: spans(&|incident| Some(incident.opened.since(incident.first_seen))),
        to_contain: spans(&|incident| Some(incident.contained?.since(incident.opened))),
        to_resolve: spans(&|incident| Some(incident.closed?.since(incident.opened))),
        dwell: spans(&|incident| {
            let end = incident.contained.or(incident.closed).unwrap_or(now);
            Some(end.since(incident.first_seen))
        }),
        requests_forwarded: real.iter().map(|incident| incident.requests_forwarded).sum(),
        requests_refused: real.iter().map(|incident| incident.requests_refused).sum(),
        cost_nano_usd: real.iter().fold(NanoUsd::ZERO, |sum, incident| sum + incident.cost).0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenwatch_model::finding::{Severity, Tier};
    use tokenwatch_model::id::IncidentId;
    use tokenwatch_model::time::{DAY, HOUR, MINUTE, SECOND};

    use super::*;
    use crate::situation::examples;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// An incident that opened so long ago.
    fn incident(
        ago: u64,
        detect: u64,
        contain: Option<u64>,
        close: Option<(u64, IncidentState)>,
    ) -> Incident {
        let opened = Timestamp(NOW.0 - ago);
        Incident {
            opened,
            first_seen: Timestamp(opened.0 - detect),
            contained: contain.map(|after| opened.plus(after)),
            closed: close.map(|(after, _)| opened.plus(after)),
            state: close.map_or(IncidentState::Open, |(_, state)| state),
            requests_forwarded: 3,
            requests_refused: 40,
            cost: NanoUsd(1_000),
            ..crate::incident::open(
                IncidentId::from_bits(1),
                &examples::finding(1, Tier::Alert),
                "t",
                Severity::High,
                opened,
            )
        }
    }

    #[test]
    fn false_alarms_are_counted_and_left_out_of_times() {
        use IncidentState::{Dismissed, Resolved};
        let incidents = [
            incident(2 * DAY, SECOND, Some(0), Some((HOUR, Resolved))),
            incident(DAY, 3 * SECOND, Some(MINUTE), None),
            incident(DAY, 9 * HOUR, Some(0), Some((HOUR, Dismissed))),
            incident(HOUR, 5 * SECOND, None, None),
            incident(40 * DAY, DAY, None, None),
        ];
        let times = times(&incidents, Timestamp(NOW.0 - 30 * DAY), NOW);
        assert_eq!((times.incidents, times.open, times.thefts, times.dismissed), (4, 2, 1, 1));
        assert_eq!((times.to_detect.count, times.to_detect.median_us), (3, 3 * SECOND));
        assert_eq!((times.to_detect.mean_us, times.to_detect.worst_us), (3 * SECOND, 5 * SECOND));
        assert_eq!((times.to_contain.count, times.to_contain.worst_us), (2, MINUTE));
        assert_eq!((times.to_resolve.count, times.to_resolve.median_us), (1, HOUR));
        // The last one is not contained yet: the thief is still in.
        assert_eq!(times.dwell.worst_us, HOUR + 5 * SECOND);
        assert_eq!((times.requests_forwarded, times.requests_refused, times.cost_nano_usd), (9, 120, 3_000));
    }

    #[test]
    fn without_incidents_everything_is_zero() {
        assert_eq!(times(&[], Timestamp(0), NOW), Times::default());
    }

    proptest! {
        #[test]
        fn shares_of_spans_are_in_order(spans in prop::collection::vec(any::<u64>(), 1..40)) {
            let of = Spans::of(spans.clone());
            prop_assert_eq!(of.count, spans.len());
            prop_assert!(of.median_us <= of.p90_us && of.p90_us <= of.worst_us && of.mean_us <= of.worst_us);
            let within = spans.iter().filter(|&&span| span <= of.p90_us).count();
            prop_assert!(within * 10 >= spans.len() * 9);
        }
    }
}
