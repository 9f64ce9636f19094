//! Health, metrics, live view, providers, prices; and what every answer looks like.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokenwatch_console::api::Condition;
use tokenwatch_console::records::Role;
use tokenwatch_model::key::KeyState;

use crate::server::{Answer, Choices, Server};
use crate::world::{self, PROVIDER_SECRET};

#[test]
fn readiness_says_what_is_wrong_and_whether_it_matters() {
    let late = Condition { code: "journal_late".into(), message: "events wait".to_owned(), is_fatal: false };
    let server = Server::with(Choices { conditions: vec![late.clone()], ..Choices::default() });
    let ready = || server.ask_with(None, "GET", "/readyz", None, &[("Host", "any.example")]);
    assert_eq!(ready().expect(200).json(), json!({ "ready": true, "reasons": [late] }));
    server.records.is_away.store(true, Ordering::Release);
    let codes = |body: Value| -> Vec<String> {
        let reasons = body["reasons"].as_array().unwrap().clone();
        reasons.iter().map(|reason| reason["code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(codes(ready().expect(200).json()), ["store_unavailable", "journal_late"]);
    server
        .gateway
        .put_settings(tokenwatch_gateway::settings::Settings { providers: Vec::new(), ..world::settings() });
    assert_eq!(
        codes(ready().expect(503).json()),
        ["no_provider_credential", "store_unavailable", "journal_late"]
    );
    server.gateway.start_draining();
    assert_eq!(codes(ready().expect(503).json())[0], "draining");
    assert_eq!(server.ask_with(None, "GET", "/healthz", None, &[]).expect(200).body, b"ok\n");
}

#[test]
fn a_store_that_does_not_answer_is_a_503() {
    let server = Server::start();
    server.make_key("search-prod");
    server.records.is_away.store(true, Ordering::Release);
    // The token can not be looked up either; the local one needs no look-up.
    let refused = server.ask(Role::Viewer, "GET", "/api/v1/keys", None);
    refused.expect_error(503, "store_unavailable", None);
    assert_eq!(refused.field("retry-after"), Some("1"));
    let local = Some(server.local.as_str());
    server.ask_with(local, "GET", "/api/v1/keys", None, &[]).expect_error(503, "store_unavailable", None);
    server.ask_with(local, "GET", "/api/v1/live", None, &[]).expect(200);
    server.ask_with(None, "GET", "/metrics", None, &[]).expect(200);
}

#[test]
fn a_stuck_disk_does_not_make_the_process_look_dead() {
    let server = Server::start();
    let stuck = server.records.hold();
    let mut waiting: Vec<TcpStream> = (0..8).map(|_| server.connect()).collect();
    for stream in &mut waiting {
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    }
    server.ask_with(None, "GET", "/healthz", None, &[]).expect(200);
    drop(stuck);
    for stream in &mut waiting {
        assert_eq!(Answer::read(stream).unwrap().status, 200);
    }
}

fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn metrics_count_keys_containments_and_incidents() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    server.make_key("other");
    let ask = |path: &str, body| server.ask(Role::Admin, "POST", path, Some(body)).expect(200);
    ask("/api/v1/keys/other/disable", json!({}));
    server.steal(key);
    ask("/api/v1/keys/search-prod/enable", json!({}));
    let answer = server.ask_with(None, "GET", "/metrics", None, &[]).expect(200);
    assert!(answer.field("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(metric(&text, "tokenwatch_keys{state=\"active\"}"), Some(1.0));
    assert_eq!(metric(&text, "tokenwatch_keys{state=\"disabled\"}"), Some(1.0));
    assert_eq!(metric(&text, "tokenwatch_containments{action=\"refuse_context\"}"), Some(1.0));
    assert_eq!(metric(&text, "tokenwatch_incidents{state=\"contained\"}"), Some(1.0));
    assert_eq!(metric(&text, "tokenwatch_circuit_state{provider=\"openai\"}"), Some(0.0));
    assert!(!text.contains(PROVIDER_SECRET));
}

#[test]
fn the_live_view_shows_keys_and_open_incidents() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    server.steal(key);
    server.ask(Role::Admin, "POST", "/api/v1/keys/search-prod/enable", None).expect(200);
    let live = server.ask(Role::Viewer, "GET", "/api/v1/live", None).expect(200).json();
    assert_eq!((&live["incidents_open"], &live["keys_known"]), (&json!(1), &json!(1)));
    assert_eq!(live["requests_by_second"].as_array().unwrap().len(), 60);
    let detail = server.ask(Role::Viewer, "GET", &format!("/api/v1/keys/{key}"), None).expect(200).json();
    assert_eq!(detail["live"]["mode"], "contain");
    assert_eq!(detail["live"]["containments"].as_array().unwrap().len(), 1);
    assert_eq!(server.gateway.live.entry(key).unwrap().state, KeyState::Active);
}

#[test]
fn providers_are_shown_without_their_credentials() {
    let server = Server::start();
    let answer = server.ask(Role::Viewer, "GET", "/api/v1/providers", None).expect(200);
    assert!(!String::from_utf8_lossy(&answer.body).contains(&PROVIDER_SECRET[..12]));
    insta::assert_json_snapshot!(answer.json());
}

#[test]
fn prices_are_found_and_need_both_names() {
    let server = Server::start();
    let ask = |query: &str| server.ask(Role::Viewer, "GET", &format!("/api/v1/prices{query}"), None);
    let price = ask("?provider=openai&model=gpt-4o-mini").expect(200).json();
    assert_eq!((&price["source"], &price["input_usd_per_mtok"]), (&json!("exact"), &json!(0.15)));
    assert_eq!(ask("?provider=openai&model=no-such-model-x").expect(200).json()["source"], "dearest");
    ask("?provider=openai").expect_error(400, "invalid", Some("model"));
    ask("?model=x&provider=").expect_error(400, "invalid", Some("provider"));
}

#[test]
fn every_change_is_in_the_audit_log_with_who_made_it() {
    let server = Server::start();
    server.ask(Role::Admin, "POST", "/api/v1/keys", Some(json!({ "name": "x" }))).expect(201);
    let rows = server.ask(Role::Viewer, "GET", "/api/v1/audit?limit=1", None).expect(200).json();
    assert_eq!(rows["rows"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&rows["rows"][0]["entry"]["actor"], &rows["rows"][0]["entry"]["action"]),
        (&json!("admin:admin"), &json!("key.issue"))
    );
}

#[test]
fn answers_look_like_this() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let incident = server.steal(key);
    let enabled = server.ask(Role::Admin, "POST", "/api/v1/keys/search-prod/enable", None).expect(200).json();
    insta::assert_json_snapshot!("key_detail", enabled);
    for (name, path) in [
        ("key_page", "/api/v1/keys?limit=1".to_owned()),
        ("owner_list", "/api/v1/owners".to_owned()),
        ("incident_list", "/api/v1/incidents".to_owned()),
        ("incident_detail", format!("/api/v1/incidents/{incident}")),
        ("containment_list", "/api/v1/containments".to_owned()),
        ("audit_list", "/api/v1/audit?limit=2".to_owned()),
        ("live", "/api/v1/live".to_owned()),
        ("whoami", "/api/v1/whoami".to_owned()),
        ("not_found", "/api/v1/nothing".to_owned()),
        ("invalid_parameter", "/api/v1/keys?limit=0".to_owned()),
    ] {
        insta::assert_json_snapshot!(name, server.ask(Role::Viewer, "GET", &path, None).json());
    }
}
