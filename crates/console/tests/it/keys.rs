//! Keys: issued once, listed in pages, changed by those who saw what they change.

use serde_json::{Value, json};
use tokenwatch_console::records::{Records as _, Role};
use tokenwatch_model::credential;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::time::MINUTE;

use crate::server::{Answer, Server};

const KEYS: &str = "/api/v1/keys";

fn issue(server: &Server, spec: Value) -> Answer {
    server.ask(Role::Admin, "POST", KEYS, Some(spec))
}

#[test]
fn a_credential_is_shown_once_and_never_again() {
    let server = Server::start();
    let issued = issue(&server, json!({ "name": "search-prod", "environment": "production" })).expect(201);
    let body = issued.json();
    let secret = body["secret"].as_str().unwrap().to_owned();
    let id: KeyId = body["key"]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(issued.field("location"), Some(format!("/api/v1/keys/{id}").as_str()));
    assert_eq!(issued.field("etag"), Some(format!("\"{}\"", body["key"]["revision"]).as_str()));
    assert_eq!(issued.field("cache-control"), Some("no-store"));
    let stored = server.records.key(id).unwrap().unwrap();
    assert!(credential::parse(secret.as_bytes()).unwrap().hash.matches(&stored.hash));
    // In force at once.
    assert!(server.gateway.live.entry(id).is_some());
    // The part that is secret, wherever else anything is told.
    let hidden = &secret[secret.len() - 40..];
    let path = format!("{KEYS}/{id}");
    server.ask(Role::Admin, "PATCH", &path, Some(json!({ "service": "search" }))).expect(200);
    server
        .ask(Role::Admin, "POST", &format!("{path}/disable"), Some(json!({ "reason": "test" })))
        .expect(200);
    for path in [KEYS, &path, "/api/v1/audit", "/api/v1/live", "/metrics", "/api/v1/owners", "/readyz"] {
        let answer = server.ask(Role::Admin, "GET", path, None);
        assert!(!String::from_utf8_lossy(&answer.body).contains(hidden), "{path}");
    }
    let again = issue(&server, json!({ "name": "search-prod" }));
    again.expect_error(409, "not_possible", None);
    assert!(!String::from_utf8_lossy(&again.body).contains(hidden));
}

#[test]
fn bad_orders_name_their_field() {
    let server = Server::start();
    let check =
        |spec: Value, code: &str, field: Option<&str>| issue(&server, spec).expect_error(400, code, field);
    check(json!({}), "invalid", Some("name"));
    check(json!({ "name": 5 }), "invalid", Some("name"));
    check(json!({ "name": "" }), "invalid", Some("name"));
    check(json!({ "name": "key_x" }), "invalid", Some("name"));
    check(json!({ "name": "x\n" }), "invalid", Some("name"));
    check(json!({ "name": "x", "surprise": 1 }), "invalid", Some("surprise"));
    check(json!({ "name": "x", "owner": "nobody" }), "invalid", Some("owner"));
    check(json!({ "name": "x", "workload": "magic" }), "invalid", Some("workload"));
    check(json!({ "name": "x", "expires": 5 }), "invalid", Some("expires"));
    check(
        json!({ "name": "x", "policy": { "scope": { "hours": [24] } } }),
        "invalid",
        Some("policy.scope.hours"),
    );
    check(
        json!({ "name": "x", "policy": { "scope": { "models": [] } } }),
        "invalid",
        Some("policy.scope.models"),
    );
    check(json!({ "name": "x", "policy": { "scope": { "odd": 1 } } }), "invalid", Some("policy.scope.odd"));
    check(
        json!({ "name": "x", "policy": { "scope": { "networks": ["10.0.0.0/99"] } } }),
        "invalid",
        Some("policy.scope.networks[0]"),
    );
    check(
        json!({ "name": "x", "policy": { "false_alarms_per_year": 0 } }),
        "invalid",
        Some("policy.false_alarms_per_year"),
    );
    check(json!([]), "malformed", None);
    check(json!(["x"]), "malformed", None);
    assert!(server.records.keys().unwrap().is_empty());
}

#[test]
fn what_is_not_one_json_value_is_malformed() {
    let server = Server::start();
    for body in [
        "{",
        "{\"name\":\"x\"}{",
        "{\"name\":\"x\"} null",
        "nul",
        "\u{feff}{}",
        "{\"name\":\"x\",\"name\":\"y\"}",
    ] {
        let request = format!(
            "POST {KEYS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
            server.token(Role::Admin),
            body.len()
        );
        assert_eq!(server.send(request.as_bytes()).status, 400, "{body}");
    }
    assert!(server.records.keys().unwrap().is_empty());
}

#[test]
fn a_change_decided_on_an_old_revision_is_refused() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let path = format!("{KEYS}/{key}");
    let tag = server.ask(Role::Viewer, "GET", &path, None).expect(200).field("etag").unwrap().to_owned();
    let token = server.token(Role::Admin).to_owned();
    let ask = |method: &str, path: &str, tag: &str, body: Value| {
        server.ask_with(Some(&token), method, path, Some(body), &[("If-Match", tag)])
    };
    let changed = ask("PATCH", &path, &tag, json!({ "environment": "staging" })).expect(200);
    assert_ne!(changed.field("etag"), Some(tag.as_str()));
    assert_eq!(changed.json()["key"]["environment"], "staging");
    for verb in ["/disable", "/enable", "/revoke", "/expire"] {
        let body = if verb == "/expire" { json!({ "at": null }) } else { json!({}) };
        ask("POST", &format!("{path}{verb}"), &tag, body).expect_error(412, "revision_mismatch", None);
    }
    ask("PATCH", &path, &tag, json!({ "environment": "x" })).expect_error(412, "revision_mismatch", None);
    for wrong in ["5", "W/\"5\"", "\"x\"", "\"1\", \"2\""] {
        ask("PATCH", &path, wrong, json!({})).expect_error(400, "invalid", Some("if-match"));
    }
    ask("PATCH", &path, "*", json!({ "environment": "any" })).expect(200);
    // A route that can not honour it does not ignore it.
    ask("POST", &format!("{path}/containments"), &tag, json!({ "action": "watch", "reason": "x" }))
        .expect_error(400, "invalid", Some("if-match"));
}

#[test]
fn edits_change_what_they_name_and_nothing_else() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let path = format!("{KEYS}/search-prod");
    let edit = |body: Value| server.ask(Role::Admin, "PATCH", &path, Some(body));
    let before = server.ask(Role::Viewer, "GET", &path, None).expect(200).json();
    let after = edit(json!({ "policy": { "limits": { "requests_per_minute": 7 } } })).expect(200).json();
    assert_eq!(after["key"]["policy"]["limits"]["requests_per_minute"], 7);
    assert_eq!(after["key"]["owner"], before["key"]["owner"]);
    assert_eq!(after["owner"]["name"], "search-team");
    assert_eq!(server.gateway.live.entry(key).unwrap().policy.limits.requests_per_minute, Some(7));
    let orphaned = edit(json!({ "owner": null })).expect(200).json();
    assert_eq!(orphaned["key"]["owner"], Value::Null);
    assert_eq!(orphaned["key"]["policy"]["limits"]["requests_per_minute"], 7);
    edit(json!({ "state": "active" })).expect_error(400, "invalid", Some("state"));
    edit(json!({ "environment": "a\u{7}" })).expect_error(400, "invalid", Some("environment"));
    server.make_key("other");
    edit(json!({ "name": "other" })).expect_error(409, "not_possible", None);
    let renamed = edit(json!({ "name": "a/b c" })).expect(200).json();
    assert_eq!(renamed["key"]["name"], "a/b c");
    server.ask(Role::Viewer, "GET", "/api/v1/keys/a%2Fb%20c", None).expect(200);
    server.ask(Role::Viewer, "GET", &path, None).expect_error(404, "not_found", None);
}

#[test]
fn a_key_lives_and_ends_for_good() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let path = format!("{KEYS}/{key}");
    let say =
        |verb: &str, body: Value| server.ask(Role::Admin, "POST", &format!("{path}/{verb}"), Some(body));
    let state = |answer: Answer| answer.expect(200).json()["key"]["state_now"].clone();
    assert_eq!(state(say("disable", json!({ "reason": "rotation" }))), "disabled");
    assert_eq!(server.gateway.live.entry(key).unwrap().state.name(), "disabled");
    assert_eq!(state(say("enable", json!({}))), "active");
    let soon = server.manager.clock.now().plus(MINUTE);
    assert_eq!(state(say("expire", json!({ "at": soon }))), "active");
    server.clock.move_on(2 * MINUTE);
    assert_eq!(state(server.ask(Role::Viewer, "GET", &path, None)), "expired");
    say("expire", json!({ "at": soon })).expect_error(400, "invalid", Some("at"));
    say("expire", json!({})).expect_error(400, "invalid", Some("at"));
    assert_eq!(state(say("expire", json!({ "at": null }))), "active");
    say("revoke", json!({ "reason": "line\nbreak" })).expect_error(400, "invalid", Some("reason"));
    assert_eq!(state(say("revoke", json!({ "reason": "leaked" }))), "revoked");
    for verb in ["enable", "disable", "revoke"] {
        say(verb, json!({})).expect_error(409, "not_possible", None);
    }
    let actions: Vec<String> = server
        .records
        .audit_latest(5)
        .unwrap()
        .into_iter()
        .map(|row| format!("{} {}", row.entry.actor, row.entry.action))
        .collect();
    assert_eq!(
        actions,
        [
            "admin:admin key.revoke",
            "admin:admin key.expire",
            "admin:admin key.expire",
            "admin:admin key.enable",
            "admin:admin key.disable"
        ]
    );
}

fn names(page: &Value) -> Vec<&str> {
    page["keys"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect()
}

#[test]
fn pages_cover_every_key_once() {
    let server = Server::start();
    for i in 0..7 {
        server.make_key(&format!("key {i}"));
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = server
            .ask(Role::Viewer, "GET", &format!("{KEYS}?limit=3&after={after}"), None)
            .expect(200)
            .json();
        seen.extend(names(&page).into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => after = next.replace(' ', "+"),
            None => break,
        }
    }
    assert_eq!(seen, (0..7).map(|i| format!("key {i}")).collect::<Vec<_>>());
    let exact = server.ask(Role::Viewer, "GET", &format!("{KEYS}?limit=7"), None).expect(200).json();
    assert_eq!((names(&exact).len(), &exact["next"]), (7, &Value::Null));
}

#[test]
fn filters_narrow_a_list() {
    let server = Server::start();
    server.make_key("search-prod");
    server.make_key("search-batch");
    issue(&server, json!({ "name": "lone", "environment": "staging" })).expect(201);
    server.ask(Role::Admin, "POST", &format!("{KEYS}/search-batch/disable"), None).expect(200);
    let check = |query: &str, want: &[&str]| {
        let page = server.ask(Role::Viewer, "GET", &format!("{KEYS}?{query}"), None).expect(200).json();
        assert_eq!(names(&page), want, "{query}");
    };
    check("", &["lone", "search-batch", "search-prod"]);
    check("name=SEARCH", &["search-batch", "search-prod"]);
    check("state=disabled", &["search-batch"]);
    check("owner=search-team&state=active", &["search-prod"]);
    check("environment=staging", &["lone"]);
    check("environment=none", &[]);
    let wrong = |query: &str, field: &str| {
        let answer = server.ask(Role::Viewer, "GET", &format!("{KEYS}?{query}"), None);
        answer.expect_error(400, "invalid", Some(field));
    };
    wrong("state=odd", "state");
    wrong("owner=nobody", "owner");
    wrong("limit=0", "limit");
    wrong("limit=1001", "limit");
    wrong("limit=x", "limit");
    wrong("page=2", "page");
    wrong("limit=1&limit=2", "limit");
}
