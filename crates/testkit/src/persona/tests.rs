//! Tests of simulated identities.

use std::collections::BTreeSet;

use serde_json::Value;
use tokenwatch_model::network::Prefix;

use super::*;

/// 2026-03-02, a Monday.
const START_MS: u64 = 1_772_409_600_000;

fn rows(count: u64) -> Vec<Row> {
    (0..count).map(|i| Row { t_ms: i * 600_000, input_tokens: 300 + i as u32, output_tokens: 40 }).collect()
}

fn persona(workload: Workload) -> Persona {
    Persona::new(7, "search", workload, START_MS)
}

#[test]
fn the_same_seed_gives_the_same_requests() {
    let rows = rows(50);
    for workload in Workload::ALL {
        let all: Vec<_> = persona(workload).requests(&rows).collect();
        assert_eq!(all, persona(workload).requests(&rows).collect::<Vec<_>>());
        let tail: Vec<_> = persona(workload).requests(&rows[20..]).collect();
        assert_eq!(all[20..], tail, "a part gives what the whole gives");
        let other: Vec<_> = Persona::new(8, "search", workload, START_MS).requests(&rows).collect();
        assert_ne!(all, other);
    }
}

#[test]
fn bodies_say_what_the_request_says() {
    for (seed, workload) in (0..12).zip(Workload::ALL.into_iter().cycle()) {
        let persona = Persona::new(seed, "search", workload, START_MS);
        for request in persona.requests(&rows(30)) {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(body["model"], request.model.as_str());
            assert_eq!(body["stream"].as_bool().unwrap_or(false), request.stream);
            let limit = body.get("max_tokens").or_else(|| body.get("max_completion_tokens")).unwrap();
            assert_eq!(limit, request.output_tokens_max);
            assert!(request.tokens.output <= request.output_tokens_max);
            assert!(body["messages"].as_array().unwrap().len() <= 4);
            assert!(request.body.len() < 3_000);
            assert_eq!(request.label, Label::Owner);
            assert!(request.header("user-agent").is_some());
        }
    }
}

/// How many /24s a customer of this kind calls from in a week, and how many addresses.
#[track_caller]
fn check(workload: Workload, prefixes: std::ops::RangeInclusive<usize>, addresses: usize) {
    let seen: Vec<IpAddr> = persona(workload).requests(&rows(1_000)).map(|request| request.source).collect();
    let blocks: BTreeSet<_> = seen.iter().map(|&address| Prefix::of(address)).collect();
    assert!(prefixes.contains(&blocks.len()), "{workload:?}: {} prefixes", blocks.len());
    let hosts: BTreeSet<_> = seen.iter().collect();
    assert!(hosts.len() <= addresses, "{workload:?}: {} addresses", hosts.len());
}

#[test]
fn places_follow_the_workload() {
    check(Workload::Service, 1..=1, 3);
    check(Workload::Pool, 7..=8, 1_000);
    check(Workload::Ci, 12..=16, 1_000);
    check(Workload::Team, 5..=8, 8);
    check(Workload::PublicApp, 50..=60, 60);
}

#[test]
fn changes_begin_when_they_are_told_to() {
    let rows = rows(400);
    let at = START_MS + 200 * 600_000;
    for change in BenignChange::ALL {
        let plain: Vec<_> = persona(Workload::Service).requests(&rows).collect();
        let changed: Vec<_> = persona(Workload::Service).with_change(change, at).requests(&rows).collect();
        assert_eq!(plain[..200], changed[..200], "{change:?}");
        let differing = plain[200..].iter().zip(&changed[200..]).filter(|(a, b)| a != b).count();
        assert!(differing > 40, "{change:?}: {differing}");
    }
}
