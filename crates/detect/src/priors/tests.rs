//! Tests of `priors`.

use super::*;

const BLOCK: NewcomerType = NewcomerType { source: 1, client: 0, usage: 0, template_is_new: Some(false) };
const NETWORK_AND_PROMPT: NewcomerType = NewcomerType { source: 2, template_is_new: Some(true), ..BLOCK };
const COUNTRY_AND_PROMPT: NewcomerType = NewcomerType { source: 4, template_is_new: Some(true), ..BLOCK };
const STRANGER: NewcomerType = NewcomerType { client: 3, ..NETWORK_AND_PROMPT };
const CHECKER: NewcomerType = NewcomerType { source: 4, client: 3, usage: 2, template_is_new: None };

/// The rate must be within a factor of two of the fitted one.
#[track_caller]
fn check(workload: Workload, of: NewcomerType, want_days: f64) {
    let days = FleetPriors::shipped().once_in_days(workload, of);
    let ratio = days / want_days;
    assert!((0.5..=2.0).contains(&ratio), "{workload:?} {of:?}: {days:.3} days, wanted {want_days}");
}

#[test]
fn rates_agree_with_the_fitted_table() {
    for (workload, days) in [
        (Workload::Service, [40.0, 1_440.0, 1_780.0, 28_000.0, 690_000.0]),
        (Workload::Pool, [0.2, 1_740.0, 2_580.0, 25_000.0, 640_000.0]),
        (Workload::Team, [0.3, 50.0, 69.0, 14_000.0, 160_000.0]),
        (Workload::PublicApp, [0.02, 90.0, 307.0, 12_000.0, 270_000.0]),
    ] {
        let types = [BLOCK, NETWORK_AND_PROMPT, COUNTRY_AND_PROMPT, STRANGER, CHECKER];
        for (of, want) in types.into_iter().zip(days) {
            check(workload, of, want);
        }
    }
}

#[test]
fn laws_sum_to_one() {
    let priors = FleetPriors::shipped();
    let everything = Levels { source: 0b11_1111, client: 0b1111, usage: 0b111, template: 0b11 };
    for law in priors.cohorts.iter().flat_map(|cohort| &cohort.causes).map(|cause| &cause.law) {
        assert!((law.mass(everything) - 1.0).abs() < 1e-12);
    }
    for way in &priors.ways {
        assert!((way.law.mass(everything) - 1.0).abs() < 1e-12);
    }
    let bet: f64 = priors.ways.iter().map(|way| way.share).sum();
    assert!((bet - 1.0).abs() < 1e-12);
    let shares: f64 = priors.cohorts.iter().map(|cohort| cohort.share).sum();
    assert!((shares - 1.0).abs() < 1e-12);
}

#[test]
fn rates_of_single_types_add_up() {
    // A set of types has the summed rate of its members, so missing facts can never create evidence.
    let priors = FleetPriors::shipped();
    let m = [1.7, 0.4, 2.0, 1.0, 0.3, 5.0, 0.9, 1.0, 0.2, 30.0];
    for cohort in &priors.cohorts {
        let set = Levels { source: 0b11_0110, client: 0b1010, usage: 0b101, template: 0b11 };
        let mut total = 0.0;
        for (source, client, usage, template) in cells() {
            let cell = Levels {
                source: 1 << source,
                client: 1 << client,
                usage: 1 << usage,
                template: 1 << template,
            };
            if set.source & cell.source != 0
                && set.client & cell.client != 0
                && set.usage & cell.usage != 0
                && set.template & cell.template != 0
            {
                total += cohort.rate(cell, &m);
            }
        }
        let got = cohort.rate(set, &m);
        assert!((got / total - 1.0).abs() < 1e-9, "{got} {total}");
    }
}

fn cells() -> impl Iterator<Item = (u8, u8, u8, u8)> {
    (0..6u8).flat_map(|s| {
        (0..4u8).flat_map(move |c| (0..3u8).flat_map(move |u| (0..2u8).map(move |t| (s, c, u, t))))
    })
}

#[test]
fn a_key_that_churns_makes_novelty_cheap() {
    let priors = FleetPriors::shipped();
    let mut m = [1.0; dimension::COUNT];
    let levels = Levels::from(NETWORK_AND_PROMPT);
    let quiet = priors.cohorts[0].rate(levels, &m);
    m[dimension::TEMPLATE] = 5_000.0;
    assert!(priors.cohorts[0].rate(levels, &m) > 3.0 * quiet);
    m[dimension::NETWORK] = 50.0;
    assert!(priors.cohorts[0].rate(levels, &m) > 100.0 * quiet);
}
