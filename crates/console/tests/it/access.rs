//! Who may do what.

use serde_json::{Value, json};
use tokenwatch_console::admins::{self, AdminSpec};
use tokenwatch_console::api::{Needs, Route, routes};
use tokenwatch_console::drills::DrillSpec;
use tokenwatch_console::records::{Records as _, Role};
use tokenwatch_model::alarm::Spender;
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::finding::Tier;
use tokenwatch_model::id::SuppressionId;
use tokenwatch_model::suppression::{Reach, Suppression};
use tokenwatch_model::time::{HOUR, MINUTE};

use crate::alerts::{alarm, delivery};
use crate::server::{START, Server, TestRandom};

/// A body that each route takes; `None` for routes without one.
fn body_for(route: &Route) -> Option<Value> {
    let path = route.path.trim_start_matches("/api/v1");
    Some(match (route.method.as_str(), path) {
        ("GET", _) => return None,
        ("POST", "/keys") => json!({ "name": "fresh" }),
        ("PATCH", "/keys/{key}") => json!({ "service": "search" }),
        ("POST", "/keys/{key}/expire") => json!({ "at": null }),
        ("POST", "/keys/{key}/contexts") => json!({
            "context": { "asn": 64_510 }, "until": START.plus(HOUR).0, "reason": "the import moves",
        }),
        ("POST", "/keys/{key}/contexts/end") => json!({ "context": { "asn": 64_511 } }),
        ("POST", "/keys/{key}/containments") => json!({ "action": "watch", "reason": "odd hours" }),
        ("POST", "/owners") => json!({ "name": "billing-team" }),
        ("PATCH", "/owners/{owner}") => json!({ "channel": "#search" }),
        ("POST", "/drills") => json!({ "key": "free", "theft": "resale" }),
        ("POST", "/drills/{drill}/rotate") => json!({ "at": START.plus(HOUR).0, "overlap_seconds": 60 }),
        ("POST", "/drills/{drill}/end") => json!({ "passed": true, "summary": "all well" }),
        ("POST", "/alerts/test") => json!({ "name": "room" }),
        ("POST", "/alerts/{delivery}/drop") => json!({ "reason": "a wrong room" }),
        ("POST", "/incidents/{incident}/snooze") => json!({ "seconds": 3600 }),
        ("POST", "/alarms/snooze") => json!({ "provider": "openai", "seconds": 3600 }),
        ("POST", "/suppressions") => json!({
            "key": "search-prod", "rule": "newcomer", "reason": "load test", "expires": START.plus(HOUR).0,
        }),
        ("POST", "/incidents/{incident}/approve") => json!({ "action": "suspend" }),
        ("POST", "/incidents/{incident}/steps/{step}") => json!({ "says": "done" }),
        ("POST", "/incidents/{incident}/note") => json!({ "text": "called the team" }),
        _ => json!({}),
    })
}

/// A server with one of everything, and the path of the route with real names in it.
fn prepare(route: &Route) -> (Server, String) {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let incident = server.steal_for_sure(key, Tier::Act);
    let containment = server.records.containments_of(key).unwrap()[0].id;
    if route.path.ends_with("/enable") {
        server.ask(Role::Admin, "POST", &format!("/api/v1/keys/{key}/disable"), None).expect(200);
    }
    if route.path.ends_with("/retire") {
        server.ask(Role::Admin, "POST", &format!("/api/v1/keys/{key}/rotate"), None).expect(200);
    }
    if route.path.ends_with("/contexts/end") {
        let body = json!({ "context": { "asn": 64_511 }, "until": START.plus(HOUR).0, "reason": "r" });
        server.ask(Role::Admin, "POST", &format!("/api/v1/keys/{key}/contexts"), Some(body)).expect(200);
    }
    if route.path.ends_with("/restore") {
        server.relax(incident);
    }
    let suppression = Suppression {
        id: SuppressionId::from_bits(1),
        reach: Reach::Key(key),
        rule: Some("newcomer".into()),
        context: None,
        reason: "load test".to_owned(),
        by: "test".into(),
        created: START,
        expires: START.plus(HOUR),
        lifted: None,
        revision: 0,
    };
    let entry = AuditEntry {
        time: START,
        actor: "test".into(),
        action: "suppression.add".into(),
        subject: "".into(),
        detail: String::new(),
    };
    server.records.put_suppression(&suppression, &entry).unwrap();
    let drill = route.path.contains("/drills").then(|| start_drill(&server, route.path.contains("{drill}")));
    let drill = drill.flatten().unwrap_or_default();
    server.records.put_delivery(delivery(7, incident));
    let raised = alarm(7, Spender::Key(key));
    server.records.put_alarm(raised.clone());
    let mut path = route
        .path
        .replace("{delivery}", "7")
        .replace("{drill}", &drill)
        .replace("{alarm}", &raised.id.to_string())
        .replace("{key}", &key.to_string())
        .replace("{owner}", "search-team")
        .replace("{incident}", &incident.to_string())
        .replace("{step}", "rotate")
        .replace("{containment}", &containment.to_string())
        .replace("{suppression}", &suppression.id.to_string());
    if path == "/api/v1/prices" {
        path.push_str("?provider=openai&model=gpt-4o-mini");
    }
    (server, path)
}

/// A key that is free for a drill, and the id of one that runs on it, if it is to run.
fn start_drill(server: &Server, runs: bool) -> Option<String> {
    server.make_known_key("free");
    let (key, theft) = ("free".into(), "resale".into());
    let spec = DrillSpec { key, theft, pages: false, minutes: 5 };
    let mock = "http://127.0.0.1:1".parse().unwrap();
    let start = || server.manager.start_drill(&server.gateway, &mock, &spec, "test").unwrap();
    runs.then(|| start().0.id.to_string())
}

#[test]
fn every_route_takes_its_role_and_those_above_and_no_other() {
    // What a signed link may is in the link.
    for route in routes().iter().filter(|route| route.needs != Needs::Link) {
        for (i, role) in Role::ALL.into_iter().enumerate() {
            let (server, path) = prepare(route);
            let answer = server.ask(role, route.method.as_str(), &path, body_for(route));
            let may = match route.needs {
                Needs::Token(needed) => role >= needed,
                Needs::Nothing | Needs::KnownHost | Needs::Link => true,
            };
            if may {
                assert!(matches!(answer.status, 200 | 201), "{} {path} as {}", route.method, role.name());
            } else {
                answer.expect_error(403, "role_too_low", None);
                assert_eq!(
                    server.changes.load(std::sync::atomic::Ordering::Acquire),
                    usize::from(
                        ["/enable", "/contexts/end", "/retire"].iter().any(|end| path.ends_with(end))
                    )
                );
            }
            if i == 0 {
                check_without_token(&server, route, &path);
            }
        }
    }
}

#[track_caller]
fn check_without_token(server: &Server, route: &Route, path: &str) {
    let answer = server.ask_with(None, route.method.as_str(), path, body_for(route), &[]);
    match route.needs {
        Needs::Token(_) => {
            answer.expect_error(401, "missing_token", None);
            assert_eq!(answer.field("www-authenticate"), Some("Bearer realm=\"tokenwatch\""));
        }
        Needs::Nothing | Needs::KnownHost | Needs::Link => assert_eq!(answer.status, 200, "{path}"),
    }
}

#[test]
fn revoking_by_containment_needs_more_than_a_responder() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let path = format!("/api/v1/keys/{key}/containments");
    let order = json!({ "action": "revoke", "reason": "it is on a paste site" });
    server.ask(Role::Responder, "POST", &path, Some(order.clone())).expect_error(403, "role_too_low", None);
    server.ask(Role::Admin, "POST", &path, Some(order)).expect(201);
    let shown = server.ask(Role::Viewer, "GET", &format!("/api/v1/keys/{key}"), None).expect(200).json();
    assert_eq!(shown["key"]["state_now"], "revoked");
}

#[test]
fn the_local_token_may_what_a_responder_may() {
    let server = Server::start();
    let shown = server.ask_with(Some(&server.local), "GET", "/api/v1/whoami", None, &[]).expect(200).json();
    assert_eq!(shown, json!({ "name": "local", "role": "responder" }));
    let refused =
        server.ask_with(Some(&server.local), "POST", "/api/v1/keys", Some(json!({ "name": "x" })), &[]);
    refused.expect_error(403, "role_too_low", None);
}

#[test]
fn revoked_and_expired_tokens_are_unknown_at_once() {
    let server = Server::start();
    server.manager.revoke_admin("viewer", "test").unwrap();
    server.ask(Role::Viewer, "GET", "/api/v1/whoami", None).expect_error(401, "unknown_token", None);
    let now = server.manager.clock.now();
    let spec = AdminSpec { name: "short".into(), role: Role::Viewer, expires: Some(now.plus(MINUTE)) };
    let issued = server.manager.issue_admin(spec, "test").unwrap();
    let ask = || server.ask_with(Some(issued.secret.expose()), "GET", "/api/v1/whoami", None, &[]);
    ask().expect(200);
    server.clock.move_on(MINUTE);
    ask().expect_error(401, "unknown_token", None);
}

#[test]
fn admin_tokens_are_stored_without_themselves_and_named_once() {
    let server = Server::start();
    let spec = |name: &str| AdminSpec { name: name.into(), role: Role::Admin, expires: None };
    assert!(server.manager.issue_admin(spec("viewer"), "test").is_err());
    assert!(server.manager.issue_admin(spec(admins::LOCAL), "test").is_err());
    assert!(server.manager.issue_admin(spec(""), "test").is_err());
    assert!(server.manager.revoke_admin("nobody", "test").is_err());
    let secret = server.manager.issue_admin(spec("ops"), "test").unwrap().secret;
    let audit = format!("{:?}", server.records.audit_latest(100).unwrap());
    assert!(audit.contains("admin.issue") && !audit.contains(&secret.expose()[8..30]));
    let names: Vec<_> = server.manager.admins().unwrap().into_iter().map(|token| token.name).collect();
    assert_eq!(names, ["admin", "ops", "responder", "viewer"]);
}

#[test]
fn wrong_tokens_are_slowed_down_and_told_once_a_minute() {
    let server = Server::start();
    let (wrong, _) = admins::mint(&TestRandom::seeded(99));
    let ask = |token: &str| server.ask_with(Some(token), "GET", "/api/v1/whoami", None, &[]);
    for i in 0..10 {
        // Malformed ones count as well.
        ask(if i % 2 == 0 { wrong.expose() } else { "guess" }).expect_error(401, "unknown_token", None);
    }
    let slowed = ask(wrong.expose());
    slowed.expect_error(429, "too_many_failures", None);
    assert_eq!(slowed.field("retry-after"), Some("60"));
    // The person who comes to look is not locked out.
    server.ask(Role::Viewer, "GET", "/api/v1/whoami", None).expect(200);
    let refused = |server: &Server| {
        let rows = server.records.audit_latest(100).unwrap().into_iter();
        let rows = rows.filter(|row| row.entry.action == "admin.refused");
        rows.map(|row| (row.entry.subject.to_string(), row.entry.detail)).collect::<Vec<_>>()
    };
    let first = ("127.0.0.1".to_owned(), "{\"attempts\":1}".to_owned());
    assert_eq!(refused(&server), std::slice::from_ref(&first));
    server.clock.move_on(MINUTE);
    ask(wrong.expose()).expect_error(401, "unknown_token", None);
    assert_eq!(refused(&server), [("127.0.0.1".to_owned(), "{\"attempts\":11}".to_owned()), first]);
}

#[test]
fn a_credential_stands_once_as_a_bearer_token() {
    let server = Server::start();
    let token = server.token(Role::Admin).to_owned();
    let check = |token: Option<&str>, field: &str, status: u16| {
        let answer = server.ask_with(token, "GET", "/api/v1/whoami", None, &[("Authorization", field)]);
        assert_eq!(answer.status, status, "{field}");
        if status == 400 {
            answer.expect_error(400, "invalid", Some("authorization"));
        }
    };
    check(None, &format!("Bearer {token}"), 200);
    check(None, &format!("bearer {token}"), 200);
    check(Some(&token), &format!("Bearer {token}"), 400);
    check(None, &format!("Basic {token}"), 400);
    check(None, &token, 400);
}
