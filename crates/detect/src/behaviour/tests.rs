//! Tests of `behaviour`.

use super::*;

#[track_caller]
fn check_repeats(asks: u16, asked: u32, want: std::ops::Range<f64>) {
    let acts = Acts { asks: Few { distinct: asks, ..Few::EMPTY }, asked, ..Acts::NONE };
    let nats = acts.repeat_nats();
    assert!(want.contains(&nats), "{asks} of {asked}: {nats}");
}

#[test]
fn who_asks_the_same_again_and_again_is_no_thief() {
    check_repeats(0, 0, -1e-9..1e-9);
    check_repeats(1, 1, -1e-9..1e-9);
    check_repeats(1, 2, -2.1..-0.3);
    check_repeats(1, 1_000, -2.13..-2.1);
    check_repeats(6, 60, -2.13..-2.1);
    check_repeats(20, 20, 0.2..0.3);
    check_repeats(u16::MAX, u32::MAX, -2.13..0.3);
    // One repetition in a hundred requests is none.
    check_repeats(99, 100, 0.2..0.3);
}

#[test]
fn a_burst_is_evidence_from_the_keys_busiest_hour_on() {
    assert_eq!((excess(0.0), excess(1.0), excess(f64::NAN)), (1.0, 1.0, 1.0));
    assert!(excess(1.1) > 1.0 && excess(4.0) > 4.0 && excess(30.0) > 60.0);
    // The mean over benign newcomers: three of four never come to half the busiest hour.
    let (mut mean, steps) = (0.75, 100_000);
    for i in 0..steps {
        let share = (f64::from(i) + 0.5) / f64::from(steps);
        mean += 0.25 * excess((0.5 * libm::pow(share, -1.0 / 1.5)).min(TAKES_MAX)) / f64::from(steps);
    }
    assert!(mean < 1.6, "{mean}");
    assert_eq!(quiet_nats(0.0), 0.0);
    assert!(quiet_nats(4.0) > 1.0 && quiet_nats(4.0) < 4.0);
}
