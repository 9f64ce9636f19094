//! Factors from counts: what keeps the shipped rates, what is learned and shared, and files that are wrong.

use proptest::prelude::*;

use super::*;
use crate::{FleetPriors, NewcomerType};
use tokenwatch_model::key::Workload;

/// A fleet of so many key-days of each group, on which every type was expected so often and met so often.
fn fleet(days: f64, of: impl Fn(Place) -> (f64, f64)) -> FleetRates {
    let mut rates = FleetRates::new(FleetPriors::shipped().version);
    let mut expected = [[0.0; GROUPS]; CELLS];
    for (cell, expected) in expected.iter_mut().enumerate() {
        *expected = [of(place_of(cell)).0 / days; GROUPS];
    }
    rates.expect(&expected, days, 0.0);
    rates.expect(&[[0.0; GROUPS]; CELLS], days, 1.0);
    for cell in 0..CELLS {
        let (expected, met) = of(place_of(cell));
        if expected > 0.0 {
            rates.count(cell, [met; GROUPS], days / expected);
        }
    }
    rates
}

fn factor(rates: &FleetRates, at: Place) -> f64 {
    rates.factors().of(cell_at(at))[0]
}

#[test]
fn a_fleet_that_was_not_seen_keeps_the_shipped_rates() {
    let none = FleetRates::new(4);
    assert!((0..CELLS).all(|cell| none.factors().of(cell) == [1.0; GROUPS]));
    let little = fleet(1.0, |_| (0.001, 0.0));
    assert!((0..CELLS).all(|cell| little.factors().of(cell)[0] > 0.9));
}

#[test]
fn a_fleet_that_is_as_expected_keeps_them_too() {
    let rates = fleet(1_000.0, |_| (20.0, 20.0));
    for cell in 0..CELLS {
        assert!((rates.factors().of(cell)[0] - 1.0).abs() < 1e-9, "{:?}", place_of(cell));
    }
}

#[test]
fn habits_are_learned_and_shared_with_like_types() {
    // New software with prompts of its own comes twenty times as often from the key's own networks; nothing else was seen.
    let rates = fleet(2_000.0, |[source, client, _, template]| match (source, client, template) {
        (0 | 1, 3, 1) => (1.0, 20.0),
        (0 | 1, ..) => (5.0, 5.0),
        _ => (0.01, 0.0),
    });
    let near = factor(&rates, [1, 3, 0, 1]);
    assert!((10.0..=25.0).contains(&near), "{near}");
    let far = factor(&rates, [4, 3, 0, 1]);
    assert!(far > 2.0 && far < near, "{far}");
    assert!((factor(&rates, [1, 0, 0, 1]) - 1.0).abs() < 0.2);
    assert_eq!(factor(&rates, [0, 0, 1, 1]), 1.0, "who comes from the key's own machine with its software");
}

#[test]
fn what_never_comes_is_rarer_but_not_beyond_bounds() {
    let rates = fleet(9_000.0, |_| (300.0, 0.0));
    assert_eq!(factor(&rates, [2, 0, 0, 1]), FACTORS.0);
    let rates = fleet(9_000.0, |_| (0.5, 400.0));
    assert_eq!(factor(&rates, [2, 0, 0, 1]), FACTORS.1);
}

#[test]
fn a_newcomer_on_a_quiet_key_counts_for_more() {
    let on = |days: f64| {
        let mut rates = fleet(1_000.0, |_| (2.0, 0.0));
        (0..3).for_each(|_| rates.count(cell_at([4, 3, 0, 1]), [1.0, 0.0], days));
        factor(&rates, [4, 3, 0, 1])
    };
    assert!(on(2_000.0) > 2.0 * on(100.0));
    assert_eq!(on(SPACED_MAX), on(1e9), "a few counts of what hardly ever comes");
}

#[test]
fn counted_rates_move_the_tables() {
    let of = NewcomerType { source: 1, client: 3, usage: 0, template_is_new: Some(true) };
    let before = FleetPriors::shipped().once_in_days(Workload::Service, of);
    let rates = fleet(2_000.0, |_| (1.0, 30.0));
    let after =
        FleetPriors::shipped().with_rates(&rates).map(|tables| tables.once_in_days(Workload::Service, of));
    assert!(after.is_ok_and(|after| after < before / 10.0), "{before}");
}

#[test]
fn parts_cover_a_type_once() {
    for cell in 0..CELLS {
        let parts: Vec<usize> = parts_of(levels_of(cell)).map(|(cell, _)| cell).collect();
        assert_eq!(parts, [cell]);
    }
    let any = Levels {
        source: 0b11_1111,
        client: Levels::ANY_CLIENT,
        usage: Levels::ANY_USAGE,
        template: Levels::ANY_TEMPLATE,
    };
    let mut parts: Vec<usize> = parts_of(any).map(|(cell, _)| cell).collect();
    parts.sort_unstable();
    assert_eq!(parts, (0..CELLS).collect::<Vec<usize>>());
}

fn read(text: &str) -> String {
    match serde_json::from_str::<FleetRates>(text) {
        Ok(_) => "read".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn wrong_files_say_what_is_wrong() {
    let row = |row: &str| {
        read(&format!(
            r#"{{"version":1,"tables":6,"key_days":{{"machines":1,"people":0}},"newcomers":[{row}]}}"#
        ))
    };
    let check = |text: String, says: &str| assert!(text.contains(says), "{text} against {says}");
    let whole = r#"{"keys":"people","source":"new_kind","client":"known","usage":"new","template":"known","expected":1.5,"met":2,"spaced_days":9}"#;
    check(row(whole), "read");
    check(row(&whole.replace("people", "persons")), "row 1: `keys` is machines or people");
    check(row(&whole.replace("new_kind", "new_moon")), "row 1: `source` is known, new_block");
    check(row(&whole.replace("1.5", "-1.5")), "row 1: `expected`, `met` and `spaced_days` are numbers");
    check(row(&whole.replace("\"met\"", "\"mat\"")), "unknown field `mat`");
    check(
        read(r#"{"version":9,"tables":6,"key_days":{"machines":1,"people":0},"newcomers":[]}"#),
        "`version` is 9",
    );
    check(read("[]"), "invalid");
    let other = FleetPriors::shipped().with_rates(&FleetRates::new(3));
    check(
        other.map_or_else(|error| error.to_string(), |_| String::new()),
        "`tables` is 3, and this program has tables",
    );
}

proptest! {
    #[test]
    fn rates_are_written_and_read_whole(
        expected in prop::collection::vec((0.0f64..1e6, 0.0f64..1e6, 0.5f64..1e5), 8),
        days in 1.0f64..1e6,
    ) {
        let pick = |at: Place| expected[cell_at(at) % expected.len()];
        let rates = fleet(days, |at| (pick(at).0, pick(at).1));
        // What is no newcomer is not written.
        let text = serde_json::to_string(&rates).unwrap();
        let back: FleetRates = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(back.factors(), rates.factors());
        prop_assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }

    #[test]
    fn factors_are_bounded_and_grow_with_what_came(
        counts in prop::collection::vec((0.0f64..1e4, 0.0f64..1e4), CELLS),
        at in 0..CELLS,
        more in 0.0f64..1e4,
    ) {
        let of = |at: Place| counts[cell_at(at)];
        let mut rates = fleet(1e4, of);
        let before = rates.factors();
        for cell in 0..CELLS {
            let [machines, people] = before.of(cell);
            prop_assert!(machines >= FACTORS.0 && people <= FACTORS.1 && machines == people);
        }
        rates.count(at, [more; GROUPS], 1e4 / of(place_of(at)).0.max(1e-3));
        prop_assert!(rates.factors().of(at)[0] >= before.of(at)[0] - 1e-12);
    }

    #[test]
    fn counts_add_up_in_any_order(a in 0.0f64..1e3, b in 0.0f64..1e3, days in 1.0f64..1e3) {
        let (one, two) = (fleet(days, |_| (a, b)), fleet(2.0 * days, |_| (b, a)));
        let sum = |mut left: FleetRates, right: &FleetRates| { left.add(right); left };
        prop_assert_eq!(sum(one.clone(), &two), sum(two, &one));
    }
}
