//! The demo, as people start it.

use serde_json::Value;

use crate::harness::Place;

#[track_caller]
fn score(theft: &str) -> Value {
    // Nine days of history are always played; two hours of the live part are enough for a verdict.
    let done = Place::new().ok(&["demo", "--json", "--theft", theft, "--live-hours", "2"]);
    serde_json::from_str(done.stdout.lines().last().unwrap()).unwrap()
}

#[test]
fn a_thief_is_contained_and_the_owner_works_on() {
    let score = score("resale");
    assert_eq!(score["contained"], true, "{score}");
    assert_eq!(score["owner_requests_refused_live"], 0, "{score}");
    assert_eq!((&score["failed_requests"], &score["false_alerts"]), (&Value::from(0), &Value::from(0)));
    assert!(score["owner_requests_after_containment"].as_u64().unwrap() > 0, "{score}");
}

#[test]
fn without_a_thief_nothing_happens() {
    let score = score("none");
    for quiet in ["alerts", "owner_requests_refused_live", "history_requests_refused", "failed_requests"] {
        assert_eq!(score[quiet], 0, "{score}");
    }
    assert!(score["history_requests"].as_u64().unwrap() > 20_000, "{score}");
}
