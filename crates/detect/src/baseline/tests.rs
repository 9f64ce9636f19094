//! Tests of `baseline`.

use tokenwatch_model::time::{DAY, HOUR, MINUTE};

use super::*;

const START: Timestamp = Timestamp::from_seconds(1_767_225_600); // 2026-01-01, a Thursday

/// Learns `requests[d]` requests in the 10th hour of day `d`, one a minute as far as they fit.
fn taught(requests: &[u32]) -> Baseline {
    let mut baseline = Baseline::new(START);
    for (day, &count) in requests.iter().enumerate() {
        for i in 0..u64::from(count) {
            let time = START.plus(day as u64 * DAY + 10 * HOUR + (i % 60) * MINUTE);
            baseline.roll(time);
            let usage = TokenUsage { input: 500, output: 100, ..TokenUsage::default() };
            baseline.learn(time, i % 3, &usage, NanoUsd::from_cents(1), 1);
        }
    }
    baseline.roll(START.plus(requests.len() as u64 * DAY));
    baseline
}

#[test]
fn days_are_summed_up() {
    let baseline = taught(&[60, 120]);
    let days = baseline.days();
    assert_eq!(days.len(), 2);
    assert_eq!((days[1].requests, days[1].peak_requests, days[1].sources), (120, 120, 3));
    assert_eq!(days[1].cost, NanoUsd::from_cents(120));
    let spread = baseline.spread(|day| f64::from(day.requests)).unwrap();
    assert_eq!((spread.mean, spread.sigma.round()), (90.0, 42.0));
    assert_eq!(baseline.requests_per_minute().map(f64::round), Some(1.0));
}

#[test]
fn the_window_is_thirty_days() {
    let baseline = taught(&[10; 45]);
    assert_eq!(baseline.days().len(), DAYS);
    assert!(baseline.is_sound());
}

#[test]
fn references_grow_slowly() {
    let mut counts = vec![100; 7];
    counts.push(100_000);
    let baseline = taught(&counts);
    assert_eq!(baseline.reference_requests(), 150.0);
}

#[test]
fn silence_keeps_the_reference() {
    let mut baseline = taught(&[100; 7]);
    baseline.roll(START.plus(100 * DAY));
    assert!(baseline.days().is_empty());
    assert_eq!(baseline.reference_requests(), 100.0);
}

#[test]
fn hours_are_compared_with_the_same_hour() {
    let baseline = taught(&[70; 7]);
    assert_eq!(baseline.same_hour(START.plus(7 * DAY + 10 * HOUR)), 70.0);
    assert_eq!(baseline.same_hour(START.plus(7 * DAY + 3 * HOUR)), 0.0);
    assert_eq!(baseline.hour_share(3), Some(0.0));
    assert_eq!(baseline.hour_share(9), Some(1.0));
    assert!(baseline.any_hour_nats(START.plus(7 * DAY + 3 * HOUR)) > 0.5);
    assert!(baseline.any_hour_nats(START.plus(7 * DAY + 10 * HOUR)) < -1.0);
}

#[test]
fn a_clock_that_ran_ahead_is_forgotten() {
    let mut baseline = taught(&[10; 5]);
    baseline.roll(START.plus(20_000 * DAY));
    baseline.rewind(START.plus(5 * DAY));
    baseline.roll(START.plus(6 * DAY));
    assert!(baseline.is_sound());
    assert!(baseline.days().is_empty());
}
