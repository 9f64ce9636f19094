//! Tests of fleets.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use tokenwatch_model::network::Prefix;

use super::*;
use crate::place::table;
use crate::theft::Theft;

fn fleet(seed: u64, keys_per_client: u32, pace: f64) -> Fleet {
    Fleet::new(seed, &FleetOptions { keys_per_client, pace, ..FleetOptions::default() }).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_events_and_days_are_independent() {
    let (one, same, other) = (fleet(1, 1, 1.0), fleet(1, 1, 1.0), fleet(2, 1, 1.0));
    for index in (0..one.keys().len()).step_by(11) {
        let key = &one.keys()[index];
        let all: Vec<UsageEvent> = key.events(2, 7).collect();
        assert_eq!(all, same.keys()[index].events(2, 7).collect::<Vec<_>>());
        let parts: Vec<UsageEvent> = key.events(2, 4).chain(key.events(4, 7)).collect();
        assert_eq!(all, parts);
        assert!(all.is_sorted_by_key(|event| event.request.time));
        let days = |event: &UsageEvent| day_of(event.request.time.ms());
        assert!(all.iter().all(|event| (2..7).contains(&days(event))));
        assert_ne!(key.id(), other.keys()[index].id());
        let ids: BTreeSet<_> = all.iter().map(|event| event.request.id).collect();
        assert_eq!(ids.len(), all.len(), "ids are unique");
    }
}

#[test]
fn addresses_agree_with_their_facts() {
    let networks: Vec<_> = table::all().collect();
    for key in fleet(3, 1, 5.0).keys().iter().step_by(7) {
        for event in key.events(3, 6).step_by(7) {
            let source = event.request.source;
            let holds = |network: &&&crate::place::Network| {
                network.contains(source.address) && network.facts() == source.facts
            };
            assert!(networks.iter().any(|network| holds(&network)), "{source:?}");
        }
    }
}

#[test]
fn shares_and_rates_are_the_stated_ones() {
    let fleet = fleet(5, 8, 0.0);
    let keys = fleet.keys();
    let share = |workload: Workload| {
        keys.iter().filter(|key| key.workload() == workload).count() as f64 / keys.len() as f64
    };
    for (workload, want) in [
        (Workload::Service, 0.35),
        (Workload::Pool, 0.25),
        (Workload::Ci, 0.10),
        (Workload::Team, 0.20),
        (Workload::PublicApp, 0.10),
    ] {
        assert!((share(workload) - want).abs() < 0.05, "{workload:?}: {}", share(workload));
    }
    assert!(keys.iter().all(|key| (40.0..2_500.0).contains(&key.calls_per_day())));
    let (mut got, mut want, mut failed) = (0.0, 0.0, 0.0);
    for key in keys.iter().step_by(29) {
        for event in key.events(0, DAYS) {
            got += 1.0;
            failed += f64::from(u8::from(event.status != 200));
        }
        want += key.calls_per_day() * key.active_days().len() as f64;
    }
    // Failures are tried again, so there are a few more.
    assert!((0.97..1.06).contains(&(got / want)), "{got} calls, not {want}");
    assert!((0.005..0.025).contains(&(failed / got)), "{failed} of {got} failed");
}

#[test]
fn owners_have_one_client_and_share_things() {
    let fleet = fleet(7, 6, 1.0);
    let mut owners = std::collections::BTreeMap::<_, Vec<&FleetKey>>::new();
    fleet.keys().iter().for_each(|key| owners.entry(key.owner().to_string()).or_default().push(key));
    let mut shared = 0;
    for keys in owners.values() {
        assert!((1..=6).contains(&keys.len()));
        assert!(keys.iter().all(|key| key.client() == keys[0].client()));
        let templates = |key: &FleetKey| -> BTreeSet<u64> {
            let of = |part: &identity::Part| part.prompts.iter().map(|p| p.template).collect::<Vec<_>>();
            key.crew.parts.iter().flat_map(of).collect()
        };
        let pairs = keys.windows(2).filter(|pair| !templates(pair[0]).is_disjoint(&templates(pair[1])));
        shared += pairs.count();
    }
    assert!(shared > owners.len() / 10, "{shared} pairs share a prompt among {} owners", owners.len());
}

/// Events of one key of a workload that has enough of them, without other changes.
fn quiet_key(workload: Workload) -> FleetKey {
    static FLEET: OnceLock<Fleet> = OnceLock::new();
    let fleet = FLEET.get_or_init(|| fleet(11, 6, 0.0));
    let busy = |key: &&FleetKey| {
        key.workload() == workload
            && key.active_days().len() == 11
            && (600.0..1_500.0).contains(&key.calls_per_day())
    };
    fleet.keys().iter().find(busy).unwrap().clone()
}

#[test]
fn who_travels_is_not_at_home() {
    let key = quiet_key(Workload::Team);
    let at = START_MS + 4 * DAY_MS;
    let countries = |key: &FleetKey| -> BTreeSet<String> {
        key.events(4, 11).map(|event| event.request.source.facts.country.to_string()).collect()
    };
    let all = |seed| countries(&key.with_change(Change::Travel, at, seed));
    assert_eq!(countries(&key).len(), 1);
    assert!((0..10).filter(|&seed| all(seed).len() == 2).count() >= 7, "most journeys go abroad");
}

#[test]
fn migrations_leave_the_old_place() {
    let key = quiet_key(Workload::Service);
    let at = START_MS + 5 * DAY_MS;
    let prefixes = |key: &FleetKey, from, to| -> BTreeSet<Prefix> {
        key.events(from, to).map(|event| Prefix::of(event.request.source.address)).collect()
    };
    let moved = key.with_change(Change::Migration, at, 3);
    assert_eq!(prefixes(&key, 0, 5), prefixes(&moved, 0, 5));
    assert!(prefixes(&moved, 5, 11).is_disjoint(&prefixes(&key, 0, 11)));
    let wider = key.with_change(Change::NewRegion, at, 3);
    assert!(prefixes(&wider, 5, 11).is_superset(&prefixes(&key, 5, 11)));
    assert!(prefixes(&wider, 5, 11).len() > prefixes(&key, 0, 11).len());
}

#[test]
fn every_change_changes_something_and_only_from_its_time_on() {
    for workload in [Workload::Service, Workload::Pool, Workload::Ci, Workload::Team, Workload::PublicApp] {
        let key = quiet_key(workload);
        let before: Vec<UsageEvent> = key.events(5, 6).collect();
        let after: Vec<UsageEvent> = key.events(6, 9).collect();
        // Just before a call, so that there is something to change at once.
        let at = after[after.len() / 3].request.time.ms();
        for change in Change::ALL.into_iter().filter(|change| change.fits(workload)) {
            let differs = |key: &FleetKey| key.events(6, 9).ne(after.iter().cloned());
            let mut changed = (0..8).map(|seed| key.with_change(change, at, seed));
            let changed = changed.find(differs);
            let changed = changed.unwrap_or_else(|| panic!("{change} changes nothing on {workload:?}"));
            assert_eq!(before, changed.events(5, 6).collect::<Vec<_>>(), "{change}");
            assert!(changed.events(6, 9).is_sorted_by_key(|event| event.request.time), "{change}");
        }
    }
}

#[test]
fn swells_have_their_size() {
    let key = quiet_key(Workload::Pool);
    let at = START_MS + 6 * DAY_MS;
    let count = |key: &FleetKey, from, to| key.events(from, to).count() as f64;
    let batch = key.with_change(Change::BatchJob, at, 1);
    let more = (count(&batch, 6, 7) - count(&key, 6, 7)) / (9.0 * key.calls_per_day() / 6.0);
    assert!((0.9..1.1).contains(&more), "{more}");
    let away = key.with_change(Change::Holiday, at, 1);
    assert_eq!(count(&away, 6, 9), 0.0);
    let growing = key.with_change(Change::Growth, at, 1);
    let grown = count(&growing, 6, 11) / count(&key, 6, 11);
    assert!((1.05..1.25).contains(&grown), "{grown}");
    let rotated = key.with_change(Change::KeyRotation, at, 1);
    assert!(rotated.events(6, 8).all(|event| event.request.key != key.id()));
    assert!(rotated.events(4, 6).all(|event| event.request.key == key.id()));
}

#[test]
fn every_theft_is_deterministic_ordered_and_agrees_with_its_facts() {
    let at = START_MS + 7 * DAY_MS + DAY_MS / 2;
    let networks: Vec<_> = table::all().collect();
    let limits = TheftLimits { events_max: 300, ..TheftLimits::default() };
    for workload in [Workload::Service, Workload::Pool, Workload::Ci, Workload::Team, Workload::PublicApp] {
        let key = quiet_key(workload);
        for theft in Theft::ALL {
            let events = key.theft(theft, 3, at, limits);
            assert!(!events.is_empty() && events.len() <= 300, "{theft}");
            assert_eq!(events, key.theft(theft, 3, at, limits), "{theft}");
            assert_ne!(events, key.theft(theft, 4, at, limits), "{theft}");
            assert!(events.is_sorted_by_key(|event| event.request.time), "{theft}");
            assert!(events[0].request.time.ms() >= at, "{theft}");
            for event in &events {
                let source = event.request.source;
                let known = networks.iter().any(|n| n.contains(source.address) && n.facts() == source.facts);
                assert!(known && event.request.key == key.id(), "{theft}: {source:?}");
                assert!(
                    event.usage.output <= event.request.output_tokens_max
                        || event.request.output_tokens_max == 0
                );
            }
        }
    }
}

/// Mean new blocks, networks and countries of keys a day, over days 4 to 10.
fn newcomers(workload: Workload) -> [f64; 3] {
    static FLEET: OnceLock<Fleet> = OnceLock::new();
    let fleet = FLEET.get_or_init(|| fleet(31, 6, 1.0));
    let busy = |key: &&FleetKey| key.workload() == workload && key.active_days().len() == 11;
    let keys: Vec<&FleetKey> = fleet.keys().iter().filter(busy).take(24).collect();
    let mut counts = [0_u32; 3];
    for key in &keys {
        let mut seen = [const { BTreeSet::<u64>::new() }; 3];
        for event in key.events(0, 11) {
            let source = event.request.source;
            let day = day_of(event.request.time.ms());
            let values =
                [source.prefix().bits(), source.facts.asn.into(), source.facts.country.packed().into()];
            for ((seen, value), count) in seen.iter_mut().zip(values).zip(&mut counts) {
                *count += u32::from(seen.insert(value) && day >= 4);
            }
        }
    }
    counts.map(|count| f64::from(count) / (7 * keys.len()) as f64)
}

#[track_caller]
fn check_newcomers(workload: Workload, low: [f64; 3], high: [f64; 3]) {
    let got = newcomers(workload);
    for ((got, low), high) in got.iter().zip(low).zip(high) {
        assert!((low..=high).contains(got), "{workload:?}: {got} a day, not {low} to {high}");
    }
}

#[test]
fn new_places_come_at_the_assumed_rates() {
    check_newcomers(Workload::Service, [0.0, 0.0, 0.0], [0.15, 0.03, 0.03]);
    check_newcomers(Workload::Pool, [3.0, 0.0, 0.0], [7.0, 0.04, 0.04]);
    check_newcomers(Workload::Ci, [1.2, 0.0, 0.0], [3.2, 0.04, 0.04]);
    check_newcomers(Workload::Team, [2.0, 0.15, 0.08], [6.0, 0.9, 0.6]);
    check_newcomers(Workload::PublicApp, [8.0, 0.5, 0.2], [60.0, 5.0, 2.0]);
}
