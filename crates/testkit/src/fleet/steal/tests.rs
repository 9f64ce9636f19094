//! Tests of thefts as events: the numbers that their descriptions state.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use proptest::prelude::ProptestConfig;
use proptest::{prop_assert, prop_assert_eq, proptest};
use tokenwatch_model::key::Workload;
use tokenwatch_model::network::{NetworkKind, Prefix};
use tokenwatch_model::provider::{Dialect, Endpoint};

use super::super::{Fleet, FleetOptions};
use super::*;

const HOUR_MS: u64 = 3_600_000;
const AT: u64 = START_MS + 7 * DAY_MS + 9 * HOUR_MS;

/// A key that calls all the time, without changes.
fn key(workload: Workload, dialect: Dialect) -> FleetKey {
    static FLEET: OnceLock<Fleet> = OnceLock::new();
    let options = FleetOptions { keys_per_client: 8, pace: 0.0, ..FleetOptions::default() };
    let fleet = FLEET.get_or_init(|| Fleet::new(21, &options).unwrap());
    let wanted = |key: &&FleetKey| {
        key.workload() == workload
            && key.dialect() == dialect
            && key.active_days().len() == 11
            && (600.0..1_800.0).contains(&key.calls_per_day())
    };
    fleet.keys().iter().find(wanted).unwrap().clone()
}

fn steal(key: &FleetKey, theft: Theft, seed: u64) -> Vec<UsageEvent> {
    key.theft(theft, seed, AT, TheftLimits { events_max: 100_000, until_ms: u64::MAX })
}

fn statuses(events: &[UsageEvent]) -> Vec<u16> {
    events.iter().map(|event| event.status).collect()
}

fn hours(events: &[UsageEvent]) -> f64 {
    let (first, last) = (events.first().unwrap(), events.last().unwrap());
    last.request.time.since(first.request.time) as f64 / 3.6e9
}

/// Real use, not checks: calls of conversations with more than a few tokens allowed.
fn used(events: &[UsageEvent]) -> Vec<UsageEvent> {
    events.iter().filter(|event| event.request.input_tokens_estimate > 20).cloned().collect()
}

fn distinct<T: Ord>(events: &[UsageEvent], of: impl Fn(&UsageEvent) -> T) -> usize {
    events.iter().map(of).collect::<BTreeSet<T>>().len()
}

#[test]
fn checkers_call_as_their_code_says() {
    let key = key(Workload::Service, Dialect::OpenAi);
    for seed in 0..10 {
        let check = steal(&key, Theft::Validation, seed);
        assert_eq!(statuses(&check), [200, 400, 400, 403]);
        assert!(hours(&check) * 3_600.0 < 2.0);
        assert!(check.iter().all(|event| event.cost.0 == 0));
        let sweep = steal(&key, Theft::ModelSweep, seed);
        assert!((20..=120).contains(&sweep.len()), "{}", sweep.len());
        assert!((4.0..=20.0).contains(&(hours(&sweep) * 3_600.0)), "{}", hours(&sweep) * 3_600.0);
        let refused = sweep.iter().filter(|event| matches!(event.status, 400 | 403)).count();
        assert_eq!(refused, sweep.len() - 1);
        let recon = steal(&key, Theft::Recon, seed);
        assert_eq!(recon.len(), 5);
        assert_eq!(recon[0].request.endpoint, Endpoint::Models);
        assert!(recon.iter().all(|event| event.usage.output <= 1));
        let visits = steal(&key, Theft::Recheckers, seed);
        assert!((3..=8).contains(&(visits.len() / 4)) && hours(&visits) < 6.0 * 24.0);
    }
}

/// Checks calls an hour and hours of the use, for ten draws of a theft.
#[track_caller]
fn check(key: &FleetKey, theft: Theft, rate: RangeInclusive<f64>, length: RangeInclusive<f64>) {
    for seed in 0..10 {
        let events = used(&steal(key, theft, seed));
        let long = hours(&events);
        // Calls that begin the theft say nothing of its rate.
        let got = (events.len() - 1) as f64 / long;
        assert!(rate.contains(&got), "{theft} {seed}: {got} an hour, not {rate:?}");
        assert!(length.contains(&long), "{theft} {seed}: {long} hours, not {length:?}");
    }
}

#[test]
fn rates_and_lengths_are_the_described_ones() {
    let key = key(Workload::Service, Dialect::OpenAi);
    let own = key.habits(AT, &mut Rng::new(1)).calls_per_hour;
    check(&key, Theft::SmashAndGrab, 19_000.0..=21_000.0, 2.9..=3.1);
    check(&key, Theft::Resale, 1_300.0..=1_800.0, 46.0..=49.0);
    check(&key, Theft::BurstResale, 270.0..=3_300.0, 0.9..=6.1);
    check(&key, Theft::LowAndSlow, own * 0.25..=own * 0.36, 46.0..=48.1);
    check(&key, Theft::DearestNear, 13.0..=240.0, 1.5..=8.1);
    check(&key, Theft::OrphanRevived, 6.0..=330.0, 3.5..=24.1);
    check(&key, Theft::NewCountry, own * 0.15..=own * 1.2, 22.0..=48.1);
    check(&key, Theft::MaxCost, 12.0..=150.0, 0.7..=6.1);
    check(&key, Theft::ModelUpgrade, own * 0.9..=own * 1.7, 22.0..=27.0);
    check(&key, Theft::QuietSharing, own * 0.03..=own * 0.18, 300.0..=337.0);
    check(&key, Theft::MimicNewNetwork, own * 0.2..=own * 1.2, 30.0..=48.1);
    check(&key, Theft::Mimic, own * 0.04..=own * 0.16, 24.0..=48.1);
}

#[test]
fn the_ramp_grows_as_described() {
    let key = key(Workload::Service, Dialect::OpenAi);
    let (mut early, mut late) = (0.0, 0.0);
    for seed in 0..20 {
        let events = steal(&key, Theft::SlowRamp, seed);
        let third = hours(&events) / 3.0 * 3.6e9;
        let first = events[0].request.time;
        early +=
            events.iter().filter(|event| (event.request.time.since(first) as f64) < third).count() as f64;
        late +=
            events.iter().filter(|event| event.request.time.since(first) as f64 > 2.0 * third).count() as f64;
    }
    // 1.03^48 is 4.1, 1.25^(14/3) is 2.8.
    assert!((2.0..6.0).contains(&(late / early)), "{late} after {early}");
}

#[test]
fn thieves_show_and_hide_what_is_described() {
    for workload in [Workload::Service, Workload::Team] {
        let key = key(workload, Dialect::Anthropic);
        let own: Vec<UsageEvent> = key.events(3, 10).collect();
        let habits = key.habits(AT, &mut Rng::new(1));
        let clients: BTreeSet<_> = own.iter().map(|event| format!("{:?}", event.request.client)).collect();
        let templates: BTreeSet<u64> = own.iter().map(|event| event.request.shape.template).collect();
        let prefixes: BTreeSet<Prefix> = own.iter().map(|event| event.request.source.prefix()).collect();
        let models: BTreeSet<_> = own.iter().map(|event| event.request.model.clone()).collect();
        for theft in Theft::ALL {
            let events = steal(&key, theft, 2);
            let events: Vec<UsageEvent> = events.into_iter().take(400).collect();
            let all = |of: &dyn Fn(&UsageEvent) -> bool| events.iter().all(of);
            let disguised = matches!(theft.group(), TheftGroup::Careful | TheftGroup::Mimic);
            let in_key = |event: &UsageEvent| clients.contains(&format!("{:?}", event.request.client));
            assert_eq!(all(&in_key), disguised, "{theft} {workload:?}");
            let own_prompts = !matches!(theft, Theft::Mimic | Theft::MimicVictimsPrompts);
            let told = |event: &UsageEvent| {
                let template = event.request.shape.template;
                template == 0 || templates.contains(&template)
            };
            if !matches!(theft.group(), TheftGroup::Documented) && theft != Theft::Recon {
                assert_eq!(all(&told), !own_prompts, "{theft} {workload:?}");
            }
            if disguised && theft != Theft::MaxCost {
                assert!(all(&|event| models.contains(&event.request.model)), "{theft}");
            }
            let at_home =
                events.iter().filter(|event| prefixes.contains(&event.request.source.prefix())).count();
            // Phones of a team meet new blocks whoever holds them.
            let inside = at_home * 20 >= events.len() * 19;
            assert_eq!(inside, matches!(theft, Theft::Mimic | Theft::InsideBurst), "{theft} {workload:?}");
            assert!(inside || at_home == 0, "{theft} {workload:?}");
            let facts = events[0].request.source.facts;
            match theft {
                Theft::NewCountry => {
                    assert_ne!(facts.country.code(), habits.network.country);
                    assert_eq!(facts.kind, habits.network.kind);
                }
                Theft::DearestNear | Theft::SlowRamp => {
                    assert_eq!(facts.country.code(), habits.network.country);
                    assert_ne!(facts.asn, habits.network.asn);
                }
                Theft::MaxCost | Theft::MimicOwnPrompts | Theft::MimicVictimsPrompts => {
                    assert_eq!(facts, habits.network.facts(), "{theft}");
                }
                Theft::BurstResale => {
                    // Public lists call some of these companies VPN exits.
                    assert!(matches!(
                        used(&events)[0].request.source.facts.kind,
                        NetworkKind::Hosting | NetworkKind::Vpn
                    ));
                }
                _ => {}
            }
        }
        let crowd = steal(&key, Theft::Crowd, 2);
        assert!((36..=41).contains(&distinct(&crowd, |event| event.request.source.address)));
    }
}

#[test]
fn sizes_are_the_described_ones() {
    let key = key(Workload::Pool, Dialect::OpenAi);
    let within = |theft: Theft, input: RangeInclusive<u64>, output: RangeInclusive<u64>| {
        let paid: Vec<UsageEvent> =
            used(&steal(&key, theft, 4)).into_iter().filter(|e| e.status == 200).collect();
        assert!(paid.iter().all(|event| input.contains(&event.usage.input_total())), "{theft}");
        assert!(paid.iter().all(|event| output.contains(&event.usage.output)), "{theft}");
    };
    within(Theft::SmashAndGrab, 499..=8_000, 99..=1_000);
    within(Theft::Resale, 2_000..=16_384, 120..=400);
    within(Theft::MaxCost, 29_999..=180_000, 2_999..=16_000);
    let agents = steal(&key, Theft::AgentSessions, 4);
    let tokens: u64 = agents.iter().map(|event| event.usage.total()).sum();
    assert!((100_000_000..102_000_000).contains(&tokens), "{tokens}");
    let grab = steal(&key, Theft::SmashAndGrab, 4);
    let limited = grab.iter().filter(|event| event.status == 429).count() as f64 / grab.len() as f64;
    assert!((0.13..0.17).contains(&limited), "{limited}");
    let dearest = used(&steal(&key, Theft::DearestNear, 4));
    assert!(dearest.iter().all(|event| event.request.model == "gpt-5.5-pro"));
}

#[test]
fn limits_are_kept() {
    let key = key(Workload::Service, Dialect::OpenAi);
    let until_ms = AT + 2 * HOUR_MS;
    let events = key.theft(Theft::Resale, 1, AT, TheftLimits { events_max: 500, until_ms });
    assert_eq!(events.len(), 500);
    let events = key.theft(Theft::QuietSharing, 1, AT, TheftLimits { events_max: 500, until_ms });
    assert!(events.iter().all(|event| event.request.time.ms() < until_ms));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_drawn_is_ordered_bounded_and_the_same_again(
        seed: u64,
        which in 0..Theft::ALL.len(),
        after_ms in 0..11 * DAY_MS,
        events_max in 1_usize..400,
    ) {
        let key = key(Workload::Pool, Dialect::OpenAi);
        let (theft, start_ms) = (Theft::ALL[which], START_MS + after_ms);
        let limits = TheftLimits { events_max, until_ms: start_ms + 2 * DAY_MS };
        let events = key.theft(theft, seed, start_ms, limits);
        prop_assert!(!events.is_empty() && events.len() <= events_max);
        prop_assert!(events.is_sorted_by_key(|event| event.request.time));
        let span = start_ms..limits.until_ms;
        prop_assert!(events.iter().all(|event| span.contains(&event.request.time.ms())));
        prop_assert_eq!(distinct(&events, |event| event.request.id), events.len());
        prop_assert_eq!(events, key.theft(theft, seed, start_ms, limits));
    }
}
