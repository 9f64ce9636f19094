//! Drills: started, listed, ended; what must not be drilled; and those whose driver went away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokenwatch_console::records::{Records as _, Role};
use tokenwatch_console::responder::{self, ResponderParts};
use tokenwatch_model::id::DrillId;
use tokenwatch_model::time::MINUTE;
use tokenwatch_respond::{Effects, Plan};

use crate::server::{Server, TestRandom};

fn start(server: &Server, more: Value) -> crate::server::Answer {
    let mut spec = json!({ "key": "search-prod", "theft": "resale" });
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    server.ask(Role::Responder, "POST", "/api/v1/drills", Some(spec))
}

#[test]
fn one_is_started_listed_and_ended() {
    let server = Server::start();
    let key = server.make_known_key("search-prod");
    server.ask(Role::Viewer, "POST", "/api/v1/drills", Some(json!({}))).expect_error(
        403,
        "role_too_low",
        None,
    );
    let started = start(&server, json!({})).expect(201);
    let path = started.field("location").unwrap().to_owned();
    let body = started.json();
    assert_eq!((&body["key"], &body["end"]), (&json!(key.to_string()), &Value::Null));
    let secret = body["secret"].as_str().unwrap();
    start(&server, json!({})).expect_error(409, "not_possible", None);
    let ask = |path: &str| server.ask(Role::Viewer, "GET", path, None).expect(200);
    let shown = ask(&path);
    assert!(!shown.json().to_string().contains(secret));
    assert_eq!(shown.json()["incidents"], json!([]));
    assert_eq!(ask("/api/v1/drills?key=search-prod").json()["drills"].as_array().unwrap().len(), 1);
    let post =
        |what: &str, body: Value| server.ask(Role::Responder, "POST", &format!("{path}/{what}"), Some(body));
    post("settle", json!({})).expect(200);
    post("end", json!({ "passed": true })).expect_error(400, "invalid", Some("summary"));
    let ended = post("end", json!({ "passed": true, "summary": "all well" })).expect(200).json();
    assert_eq!((&ended["end"]["passed"], &ended["end"]["summary"]), (&json!(true), &json!("all well")));
    post("end", json!({ "passed": true, "summary": "again" })).expect_error(409, "not_possible", None);
    // The next one may begin.
    start(&server, json!({})).expect(201);
    let audit = ask("/api/v1/audit?limit=3").json();
    let rows = audit["rows"].as_array().unwrap();
    let actions: Vec<&Value> = rows.iter().map(|row| &row["entry"]["action"]).collect();
    assert_eq!(actions, ["drill.start", "drill.end", "drill.start"]);
    assert!(!audit.to_string().contains(secret));
}

#[test]
fn what_makes_no_sense_is_told_by_its_field() {
    let server = Server::start();
    server.make_known_key("search-prod");
    let check = |more: Value, field: &str| start(&server, more).expect_error(400, "invalid", Some(field));
    check(json!({ "theft": "" }), "theft");
    check(json!({ "minutes": 0 }), "minutes");
    check(json!({ "minutes": 61 }), "minutes");
    start(&server, json!({ "key": "nobody" })).expect_error(404, "not_found", None);
    let ask = |path: &str| server.ask(Role::Viewer, "GET", path, None);
    ask("/api/v1/drills/drl_000000000000").expect_error(404, "not_found", None);
    ask("/api/v1/drills?key=nobody").expect_error(400, "invalid", Some("key"));
}

#[test]
fn a_key_with_a_case_or_without_use_is_left_alone() {
    let server = Server::start();
    let key = server.make_known_key("search-prod");
    server.steal(key);
    start(&server, json!({})).expect_error(409, "not_possible", None);
    let off = server.make_known_key("off");
    server.ask(Role::Admin, "POST", &format!("/api/v1/keys/{off}/disable"), Some(json!({}))).expect(200);
    start(&server, json!({ "key": "off" })).expect_error(409, "not_possible", None);
}

/// Runs a responder until `is_done`, and ends it.
fn respond_until(server: &Server, is_done: impl Fn() -> bool) {
    let (handle, queue) = responder::channel();
    let parts = ResponderParts {
        records: server.records.clone(),
        random: Arc::new(TestRandom::seeded(2)),
        policy: Arc::new(ArcSwap::default()),
        watcher: Box::new(|_: &Plan, _: &Effects| ()),
    };
    let thread = responder::start(server.gateway.clone(), handle.clone(), queue, parts).unwrap();
    let began = Instant::now();
    while !is_done() {
        assert!(began.elapsed() < Duration::from_secs(60), "it goes on and on");
        std::thread::sleep(Duration::from_millis(20));
    }
    handle.stop();
    thread.join().unwrap();
}

/// Its driver was killed, or the server that ran it: the responder ends it, and what it signed is refused.
#[test]
fn one_that_nobody_ends_ends_by_itself() {
    for is_restarted in [false, true] {
        let server = Server::start();
        server.make_known_key("search-prod");
        let started = start(&server, json!({ "minutes": 2 })).expect(201).json();
        let id: DrillId = started["id"].as_str().unwrap().parse().unwrap();
        assert!(server.gateway.drills.running(id).is_some());
        if is_restarted {
            server.gateway.drills.end(id);
        }
        server.clock.move_on(3 * MINUTE);
        let end = || server.records.drill(id).unwrap().unwrap().end;
        respond_until(&server, || end().is_some());
        let end = end().unwrap();
        assert!(!end.passed && end.summary.starts_with("broken off"), "{end:?}");
        assert!(server.gateway.drills.running(id).is_none());
    }
}
