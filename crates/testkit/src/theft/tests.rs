//! Tests of simulated thefts.

use std::collections::BTreeSet;

use serde_json::Value;
use tokenwatch_model::key::Workload;
use tokenwatch_model::network::Prefix;
use tokenwatch_model::provider::Dialect;

use super::*;
use crate::persona::Persona;
use crate::sim::Label;
use crate::traffic::{DAY_MS, Row};

const MIDNIGHT: u64 = 1_772_409_600_000;
const FIRST: u64 = MIDNIGHT + 8 * DAY_MS + 40_000_000;
const HOUR: u64 = 3_600_000;

/// A victim of 60 calls an hour by day and 6 by night.
fn victim(dialect: Dialect) -> Victim {
    let persona = Persona::with_dialect(3, "search", Workload::Service, dialect, MIDNIGHT);
    let rows: Vec<Row> = (0..8 * 1_440)
        .filter(|minute| (8..20).contains(&(minute / 60 % 24)) || minute % 10 == 0)
        .map(|minute| Row { t_ms: minute * 60_000, input_tokens: 700, output_tokens: 90 })
        .collect();
    Victim::new(&persona, &rows)
}

/// The first requests of a theft: enough to judge single requests by.
fn begin(theft: Theft, dialect: Dialect, seed: u64) -> Vec<SimRequest> {
    theft.campaign(&victim(dialect), seed, Start::FirstCall(FIRST)).take(2_000).collect()
}

fn run(theft: Theft, dialect: Dialect, seed: u64) -> Vec<SimRequest> {
    theft.campaign(&victim(dialect), seed, Start::FirstCall(FIRST)).collect()
}

fn count<T: Ord>(requests: &[SimRequest], of: impl Fn(&SimRequest) -> T) -> usize {
    requests.iter().map(of).collect::<BTreeSet<T>>().len()
}

/// The calls that are not a checker's, their number an hour, and the hours they last.
fn usage(requests: Vec<SimRequest>) -> (Vec<SimRequest>, f64, f64) {
    let used: Vec<SimRequest> =
        requests.into_iter().filter(|r| r.status == 200 && r.tokens.input > 10).collect();
    let hours = (used.last().unwrap().at_ms - used[0].at_ms) as f64 / HOUR as f64;
    let rate = used.len() as f64 / hours;
    (used, rate, hours)
}

fn statuses(requests: &[SimRequest]) -> Vec<u16> {
    requests.iter().map(|request| request.status).collect()
}

#[test]
fn every_theft_is_deterministic_ordered_and_valid() {
    for theft in Theft::ALL {
        assert_eq!(Theft::from_name(theft.name()), Some(theft));
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            let requests = begin(theft, dialect, 5);
            assert!(!requests.is_empty(), "{theft}");
            assert_eq!(requests, begin(theft, dialect, 5), "{theft}");
            assert!(requests.is_sorted_by_key(|request| request.at_ms), "{theft}");
            assert!(requests[0].at_ms >= FIRST, "{theft}");
            for request in &requests {
                assert_eq!(request.label, Label::Thief(theft));
                assert!(request.body.len() <= 2_048, "{theft}: {}", request.body.len());
                if request.body.is_empty() {
                    assert_eq!(request.method, hyper::Method::GET);
                    continue;
                }
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                assert_eq!(body["model"], request.model.as_str());
                assert_eq!(body["stream"].as_bool().unwrap_or(false), request.stream);
                assert!(dialect == Dialect::OpenAi || body["max_tokens"].is_number(), "{theft}");
                assert!(
                    request.status != 200 || request.tokens.output <= request.output_tokens_max.max(4_096)
                );
            }
        }
        assert_ne!(begin(theft, Dialect::OpenAi, 5), begin(theft, Dialect::OpenAi, 6), "{theft}");
    }
}

#[test]
fn checkers_call_as_their_code_says() {
    let checks = run(Theft::Validation, Dialect::OpenAi, 1);
    assert_eq!(statuses(&checks), [200, 400, 400, 403]);
    assert!(checks[3].at_ms - checks[0].at_ms < 2_000);
    assert_eq!(count(&checks, |r| r.source), 1);
    assert!(checks.iter().all(|r| r.header("user-agent") == Some("Python/3.11 aiohttp/3.9.5")));
    let body: Value = serde_json::from_slice(&checks[1].body).unwrap();
    assert_eq!((&body["max_tokens"], &body["messages"][0]["content"]), (&0.into(), &"".into()));
    let check = run(Theft::Validation, Dialect::Anthropic, 1);
    assert_eq!(check.len(), 1);
    assert_eq!(check[0].model, "claude-haiku-4-5");
    assert_eq!(check[0].output_tokens_max, 256);
    for seed in 0..20 {
        let visits = run(Theft::Recheckers, Dialect::OpenAi, seed);
        assert!((3..=8).contains(&(visits.len() / 4)), "{}", visits.len());
        assert_eq!(count(&visits, |r| r.source), visits.len() / 4);
        assert!(visits.last().unwrap().at_ms - FIRST < 6 * DAY_MS);
    }
}

/// Checks rate an hour (within a share) and length in hours (within 30 %) of what follows the checks, and the number of
/// addresses.
#[track_caller]
fn check(theft: Theft, rate: f64, within: f64, hours: f64, addresses: std::ops::RangeInclusive<usize>) {
    let (used, got, length) = usage(run(theft, Dialect::OpenAi, 3));
    assert!((1.0 - within..1.0 + within).contains(&(got / rate)), "{theft}: {got} an hour, not {rate}");
    assert!((0.7..1.3).contains(&(length / hours)), "{theft}: {length} h, not {hours}");
    let sources = count(&used, |r| r.source);
    assert!(addresses.contains(&sources), "{theft}: {sources} addresses");
}

#[test]
fn rates_are_the_documented_ones() {
    check(Theft::SmashAndGrab, 20_000.0, 0.05, 3.0, 1..=4);
    check(Theft::Resale, 1_560.0, 0.3, 48.0, 1..=1);
    check(Theft::Crowd, 1_560.0, 0.05, 24.0, 36..=40);
    let mean = victim(Dialect::OpenAi).calls_per_hour();
    assert!((32.0..34.0).contains(&mean), "{mean}");
    check(Theft::ModelUpgrade, mean * 1.3, 0.3, 24.0, 1..=1);
    // Between 5 and 15 %.
    check(Theft::QuietSharing, mean * 0.1, 0.6, 14.0 * 24.0, 1..=3);
    check(Theft::Mimic, mean * 0.1, 0.3, 48.0, 1..=3);
}

#[test]
fn sizes_are_the_documented_ones() {
    let (grab, ..) = usage(run(Theft::SmashAndGrab, Dialect::OpenAi, 1));
    assert!(grab.iter().all(|r| (500..=8_000).contains(&r.tokens.input)));
    assert!(grab.iter().all(|r| (99..=1_000).contains(&r.tokens.output)));
    let (resold, ..) = usage(run(Theft::Resale, Dialect::OpenAi, 1));
    assert!(resold.iter().all(|r| (2_000..=16_384).contains(&r.tokens.input) && r.tokens.output <= 400));
    let streamed = resold.iter().filter(|r| r.stream).count();
    assert!(2 * streamed > resold.len(), "streaming more often than blocking");
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        let (agents, _, hours) = usage(run(Theft::AgentSessions, dialect, 1));
        let total: u64 = agents.iter().map(|r| u64::from(r.tokens.input) + u64::from(r.tokens.output)).sum();
        assert!((100_000_000..102_000_000).contains(&total), "{total}");
        assert!((20.0..73.0).contains(&hours));
        assert!(agents.iter().all(|r| r.tokens.cached <= r.tokens.input && r.stream));
    }
}

#[test]
fn thieves_come_from_where_they_come_from() {
    let victim = victim(Dialect::OpenAi);
    let home: BTreeSet<Prefix> =
        victim.persona.requests(&victim.rows).map(|r| Prefix::of(r.source)).collect();
    for theft in Theft::ALL {
        let inside = matches!(theft, Theft::InsideBurst | Theft::Mimic);
        let requests = begin(theft, Dialect::OpenAi, 9);
        assert!(requests.iter().all(|r| home.contains(&Prefix::of(r.source)) == inside), "{theft}");
    }
    let night = run(Theft::OffHours, Dialect::OpenAi, 9);
    let quiet = &victim.quiet_hours[..6];
    assert!(night.iter().all(|r| quiet.contains(&(r.at_ms % DAY_MS / HOUR))));
    let upgraded = run(Theft::ModelUpgrade, Dialect::OpenAi, 9);
    assert!(upgraded.iter().all(|r| !victim.persona.models().contains(&r.model.as_str())));
    let burst = run(Theft::InsideBurst, Dialect::OpenAi, 9);
    assert!((1_800..6_300).contains(&burst.len()));
    assert!(burst.iter().all(|r| r.header("x-stainless-lang").is_none()));
}

#[test]
fn first_calls_come_as_soon_as_is_documented() {
    let mut rng = Rng::new(11);
    let mut delays: Vec<u64> = (0..10_000).map(|_| leak_to_first_call_ms(&mut rng) / 1_000).collect();
    delays.sort_unstable();
    let minutes = |share: usize| delays[share * 100] as f64 / 60.0;
    assert!((8.5..9.5).contains(&minutes(10)), "{}", minutes(10));
    assert!((16.0..18.0).contains(&minutes(50)), "{}", minutes(50));
    assert!((135.0..165.0).contains(&minutes(90)), "{}", minutes(90));
    let leaked = Theft::Resale.campaign(&victim(Dialect::OpenAi), 4, Start::Leaked(FIRST));
    assert!(leaked.span_ms().unwrap().0 > FIRST + 60_000);
}
