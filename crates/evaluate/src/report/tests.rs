//! The whole protocol on a tiny world.

use proptest::prelude::*;
use tokenwatch_detect::KeyProfile;

use super::*;
use crate::testing::{Tiny, contestants};
use crate::trial::Trial;

fn evaluate(seed: u64, options: &Options) -> Report {
    let world = Tiny::new(seed, 6, 2);
    let plan = Plan::new(&world, options);
    let contestants = contestants();
    let clock = || 0;
    let run =
        |keys: &[usize], thresholds: &[Vec<f64>], attacks: &[usize], is_judged: bool| -> Vec<KeyTrial> {
            let trial = Trial {
                world: &world,
                options,
                contestants: &contestants,
                thresholds,
                attacks,
                changes: &[],
                checks_budgets: is_judged,
                clock: &clock,
            };
            keys.iter().map(|&key| trial.run(key)).collect()
        };
    let calibration = run(&plan.calibration, &[], &[], false);
    let points = points(&contestants, &calibration, options);
    let thresholds: Vec<Vec<f64>> =
        points.iter().map(|points| points.iter().map(|point| point.threshold).collect()).collect();
    let test = run(&plan.test, &thresholds, &[0, 1, 2], true);
    let clean = run(&plan.clean, &[], &[], true);
    Report::build(Parts {
        world: &world,
        options,
        plan: &plan,
        contestants: &contestants,
        points: &points,
        calibration: &calibration,
        test: &test,
        clean: &clean,
        traces: Vec::new(),
    })
}

/// With the scores over time of a stranger on a test key.
pub(crate) fn evaluate_with_traces(seed: u64) -> Report {
    let world = Tiny::new(seed, 6, 2);
    let options = options();
    let contestants = contestants();
    let trial = Trial {
        world: &world,
        options: &options,
        contestants: &contestants,
        thresholds: &[],
        attacks: &[],
        changes: &[],
        checks_budgets: false,
        clock: &|| 0,
    };
    Report { traces: trial.trace(0, 0, &[50.0, 1_460.0]), ..evaluate(seed, &options) }
}

#[test]
fn traces_cover_the_theft() {
    for trace in evaluate_with_traces(1).traces {
        let (from, to) = trace.theft_hours;
        assert!(from >= 7.0 * 24.0 && to - from <= 6.0);
        assert!(trace.scores.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(trace.requests.iter().any(|&(_, _, thief)| thief > 0));
    }
}

fn options() -> Options {
    Options { rates: vec![0.05], resamples: 200, ..Options::default() }
}

#[test]
fn a_tiny_world_in_full() {
    insta::assert_json_snapshot!(evaluate(1, &options()));
}

#[test]
fn a_stranger_is_found_and_a_copy_is_not() {
    let report = evaluate(2, &options());
    let layered = report.methods.iter().find(|method| method.method == "layered").unwrap();
    let nominal = layered.points.first().unwrap();
    assert_eq!(nominal.point.threshold, KeyProfile::default().alert_days());
    let share =
        |name: &str| nominal.attacks.iter().find(|attack| attack.attack == name).unwrap().recall.value;
    assert_eq!((share("stranger"), share("copy")), (1.0, 0.0));
}

#[test]
fn without_identities_a_stranger_is_a_copy() {
    let report = evaluate(2, &Options { only_real: true, ..options() });
    let layered = report.methods.iter().find(|method| method.method == "layered").unwrap();
    assert!(layered.points.iter().flat_map(|point| &point.attacks).all(|attack| attack.found == 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn curves_rise_and_intervals_hold_the_estimate(seed in 0u64..1_000) {
        let report = evaluate(seed, &Options { resamples: 10, ..options() });
        for method in &report.methods {
            for pair in method.curve.windows(2) {
                prop_assert!(pair[0].threshold > pair[1].threshold);
                prop_assert!(pair[0].false_alarms <= pair[1].false_alarms);
            }
            for point in &method.points {
                for attack in &point.attacks {
                    let Estimate { value, low, high } = attack.recall;
                    prop_assert!(low <= value && value <= high);
                    prop_assert!((0.0..=1.0).contains(&attack.spend_gone));
                    prop_assert!(attack.owner_refused <= attack.owner_requests);
                }
            }
        }
    }
}
