//! The exposition as a whole, and its document.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::labels::Label;

const DOCUMENT: &str = include_str!("../../../../docs/metrics.md");

fn metrics() -> Metrics {
    Metrics::new(&BuildInfo { version: "0.1.0", commit: "0123abc" })
}

#[test]
fn the_exposition_is_closed() {
    let metrics = metrics();
    metrics.requests.inc((Outcome::Served, Route::OpenAi));
    metrics.cost.add((), 1_250_000_000);
    metrics.journal_lag.set((), 250_000);
    metrics.gateway_overhead.observe_us((), 42);
    let circuits = metrics.circuits.configure(&["openai".into(), "an\"odd\nname".into()]);
    circuits[0].set(CircuitState::Open);
    let held = metrics.in_flight.enter(());
    insta::assert_snapshot!("exposition", metrics.encode());
    drop(held);
    assert_eq!(metrics.in_flight.get(()), 0);
}

/// What the exposition itself says: type by family, and names of the samples with their label keys.
fn scraped(text: &str) -> (BTreeMap<String, String>, BTreeSet<String>) {
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    let samples = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect();
    (types, samples)
}

#[test]
fn descriptions_are_what_is_scraped() {
    let metrics = metrics();
    metrics.circuits.configure(&["openai".into()]);
    let text = metrics.encode();
    let (types, samples) = scraped(&text);
    assert_eq!(types.len(), metrics.described().len());
    for described in metrics.described() {
        let family = described.name.trim_end_matches("_total").trim_end_matches("_info");
        assert_eq!(types.get(family).map(String::as_str), Some(described.kind), "{family}");
        let sample =
            if described.kind == "histogram" { format!("{family}_count") } else { described.name.clone() };
        assert!(samples.contains(&sample), "{sample}");
        let line = text.lines().find(|line| line.starts_with(&format!("{sample}{{"))).unwrap_or_default();
        for label in &described.labels {
            assert!(line.contains(&format!("{label}=\"")), "{line} has no {label}");
        }
        assert_eq!(line.matches("=\"").count(), described.labels.len(), "{line}");
    }
    assert!(text.ends_with("# EOF\n"));
}

/// The table of the document: name, type, labels, unit, meaning.
fn rows(document: &str) -> Vec<Vec<String>> {
    document
        .lines()
        .skip_while(|line| !line.starts_with("| metric |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

#[test]
fn the_document_lists_exactly_what_is_exported() {
    let code = |text: &str| format!("`{text}`");
    let mut want: Vec<Vec<String>> = metrics()
        .described()
        .iter()
        .map(|d| {
            let labels: Vec<String> = d.labels.iter().map(|label| code(label)).collect();
            vec![code(&d.name), d.kind.to_owned(), labels.join(", "), d.unit.to_owned(), d.help.to_owned()]
        })
        .collect();
    let mut have = rows(DOCUMENT);
    want.sort();
    have.sort();
    assert_eq!(have, want, "docs/metrics.md and crates/telemetry/src/metrics.rs differ");
}

#[test]
fn the_document_names_no_other_metric() {
    let names: BTreeSet<String> = metrics().described().iter().map(|d| d.name.clone()).collect();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    for (start, _) in DOCUMENT.match_indices("tokenwatch_") {
        let name: String = DOCUMENT[start..].chars().take_while(|&c| is_name(c)).collect();
        assert!(names.contains(&name), "{name} does not exist");
    }
}

#[test]
fn the_document_names_every_label_value() {
    fn check<L: Label>() {
        for value in L::VALUES {
            assert!(DOCUMENT.contains(&format!("`{value}`")), "{} {value} is missing", L::KEY);
        }
    }
    check::<Outcome>();
    check::<Refusal>();
    check::<Route>();
    check::<Endpoint>();
    check::<Direction>();
    check::<ConnectionState>();
    check::<Decision>();
    check::<Tier>();
    check::<Severity>();
    check::<IncidentState>();
    check::<Rung>();
    check::<KeyLabel>();
    check::<UpstreamFailure>();
    check::<AlertResult>();
    check::<ReloadResult>();
}

#[test]
fn buckets_rise_and_are_cumulative() {
    for bounds in [OVERHEAD_BOUNDS_US, ANSWER_BOUNDS_US] {
        assert!(bounds.is_sorted_by(|a, b| a < b));
    }
    let metrics = metrics();
    for us in [5, 42, 42, 1_000_000] {
        metrics.gateway_overhead.observe_us((), us);
    }
    let text = metrics.encode();
    let bucket = |le: &str| -> u64 {
        let start = format!("tokenwatch_gateway_overhead_seconds_bucket{{le=\"{le}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
    };
    assert_eq!(["0.00001", "0.00005", "0.1", "+Inf"].map(bucket), [1, 3, 3, 4]);
    assert!(text.contains("tokenwatch_gateway_overhead_seconds_count 4\n"));
    assert!(text.contains("tokenwatch_gateway_overhead_seconds_sum 1.000089\n"));
}

#[test]
fn providers_come_and_go_with_configuration() {
    let metrics = metrics();
    let first = metrics.circuits.configure(&["a".into(), "b".into(), "a".into()]);
    first[0].set(CircuitState::Trying);
    assert_eq!((first.len(), first[2].provider()), (3, "a"));
    let second = metrics.circuits.configure(&["a".into()]);
    second[0].set(CircuitState::Open);
    first[1].set(CircuitState::Open);
    let text = metrics.encode();
    assert!(text.contains("tokenwatch_circuit_state{provider=\"a\"} 2\n"), "{text}");
    assert!(!text.contains("provider=\"b\""), "{text}");
}
