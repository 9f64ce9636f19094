//! Incidents and containments: looked at, decided on, lifted.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokenwatch_console::records::{Records as _, Role};
use tokenwatch_model::finding::{Says, Tier};
use tokenwatch_model::time::HOUR;

use crate::server::{Answer, Server};

fn prepare() -> (Server, String, String) {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let incident = server.steal(key);
    (server, key.to_string(), format!("/api/v1/incidents/{incident}"))
}

fn respond(server: &Server, path: &str, body: Value) -> Answer {
    server.ask(Role::Responder, "POST", path, Some(body))
}

#[test]
fn an_incident_tells_its_story() {
    let (server, key, path) = prepare();
    let listed = server.ask(Role::Viewer, "GET", "/api/v1/incidents", None).expect(200).json();
    assert_eq!(listed["incidents"][0]["state"], "contained");
    let shown = server.ask(Role::Viewer, "GET", &path, None).expect(200).json();
    assert_eq!(shown["key"]["id"], key.as_str());
    assert_eq!(shown["owner"]["name"], "search-team");
    assert_eq!(shown["containments"].as_array().unwrap().len(), 1);
    let story = shown["story"].as_str().unwrap();
    assert!(story.contains("search-prod") && story.contains("AS64500"), "{story}");
    let of_key = server
        .ask(Role::Viewer, "GET", "/api/v1/incidents?key=search-prod&all=true", None)
        .expect(200)
        .json();
    assert_eq!(of_key["incidents"].as_array().unwrap().len(), 1);
    let ask = |path: &str| server.ask(Role::Viewer, "GET", path, None);
    ask("/api/v1/incidents?key=nobody").expect_error(400, "invalid", Some("key"));
    ask("/api/v1/incidents?all=yes").expect_error(400, "invalid", Some("all"));
    ask("/api/v1/incidents/inc_000000000000").expect_error(404, "not_found", None);
    ask("/api/v1/incidents/x").expect_error(404, "not_found", None);
}

#[test]
fn an_incident_whose_containments_ran_out_says_so() {
    let (server, _, path) = prepare();
    let metric = |state: &str| {
        let text = server.ask_with(None, "GET", "/metrics", None, &[]).expect(200);
        let text = String::from_utf8(text.body).unwrap();
        let name = format!("tokenwatch_incidents{{state=\"{state}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().to_owned()
    };
    server.clock.move_on(24 * 365 * HOUR);
    let listed = server.ask(Role::Viewer, "GET", "/api/v1/incidents", None).expect(200).json();
    assert_eq!(listed["incidents"][0]["state"], "expired");
    let shown = server.ask(Role::Viewer, "GET", &path, None).expect(200).json();
    assert_eq!(shown["incident"]["state"], "expired");
    let said = &shown["incident"]["timeline"].as_array().unwrap().last().unwrap()["time"];
    assert_eq!(*said, shown["containments"][0]["expires"]);
    assert!(shown["story"].as_str().unwrap().contains("nothing is contained any more"), "{shown:#}");
    assert_eq!([metric("expired"), metric("contained"), metric("open")], ["1", "0", "0"]);
    // Whoever acts on it acts on an open case.
    let noted = respond(&server, &format!("{path}/note"), json!({ "text": "quiet" })).expect(200).json();
    assert_eq!(noted["incident"]["state"], "expired");
    let closed = respond(&server, &format!("{path}/resolve"), json!({})).expect(200).json();
    assert_eq!(closed["incident"]["state"], "resolved");
    assert!(!closed["story"].as_str().unwrap().contains("nothing is contained any more"));
}

#[test]
fn acknowledging_is_told_in_the_story() {
    let (server, _, path) = prepare();
    let shown = respond(&server, &format!("{path}/acknowledge"), json!({})).expect(200).json();
    let line = shown["incident"]["timeline"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&line["who"], &line["what"]), (&json!("admin:responder"), &json!("acknowledged")));
}

#[test]
fn dismissing_lifts_everything_and_trusts_the_context() {
    let (server, key, path) = prepare();
    let shown = respond(&server, &format!("{path}/dismiss"), json!({})).expect(200).json();
    assert_eq!(shown["incident"]["state"], "dismissed");
    assert!(shown["containments"][0]["lifted"][1] == "admin:responder", "{shown:#}");
    assert!(server.records.active_containments(server.manager.clock.now()).unwrap().is_empty());
    assert!(matches!(server.records.feedback()[0].says, Says::Ours { .. }));
    let listed = server.ask(Role::Viewer, "GET", "/api/v1/incidents", None).expect(200).json();
    assert_eq!(listed, json!({ "incidents": [] }));
    let detail = server.ask(Role::Viewer, "GET", &format!("/api/v1/keys/{key}"), None).expect(200).json();
    assert_eq!(detail["containments"], json!([]));
    respond(&server, &format!("{path}/dismiss"), json!({})).expect_error(409, "not_possible", None);
    respond(&server, &format!("{path}/acknowledge"), json!({})).expect_error(409, "not_possible", None);
    respond(&server, &format!("{path}/note"), json!({ "text": "late" })).expect(200);
}

#[test]
fn resolving_keeps_containments_unless_told_to_lift_them() {
    let (server, _, path) = prepare();
    respond(&server, &format!("{path}/resolve"), json!({ "lift": 1 })).expect_error(
        400,
        "invalid",
        Some("lift"),
    );
    let shown = respond(&server, &format!("{path}/resolve"), json!({})).expect(200).json();
    assert_eq!(
        (&shown["incident"]["state"], &shown["containments"][0]["lifted"]),
        (&json!("resolved"), &Value::Null)
    );
    assert_eq!(server.records.feedback()[0].says, Says::Theft);
    let (server, _, path) = prepare();
    let shown = respond(&server, &format!("{path}/resolve"), json!({ "lift": true })).expect(200).json();
    assert!(shown["containments"][0]["lifted"].is_array());
}

#[test]
fn a_decision_that_meets_the_responder_is_made_again() {
    let (server, _, path) = prepare();
    server.records.rivals.store(3, Ordering::Release);
    let shown = respond(&server, &format!("{path}/resolve"), json!({})).expect(200).json();
    assert_eq!(shown["incident"]["state"], "resolved");
    let (server, _, path) = prepare();
    server.records.rivals.store(1_000, Ordering::Release);
    respond(&server, &format!("{path}/resolve"), json!({})).expect_error(409, "conflict", None);
    assert_eq!(server.changes.load(Ordering::Acquire), 0);
}

#[test]
fn what_is_proposed_is_carried_out_when_a_person_says_so() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let path = format!("/api/v1/incidents/{}", server.steal_for_sure(key, Tier::Act));
    let plan = server.ask(Role::Viewer, "GET", &format!("{path}/plan"), None).expect(200).json();
    let proposed = |plan: &Value| -> Vec<Value> {
        let steps = plan["steps"].as_array().unwrap().clone();
        steps
            .into_iter()
            .filter(|step| step["left_to_a_person"].is_string())
            .map(|step| step["action"].clone())
            .collect()
    };
    let approve = |role, action: &str| {
        server.ask(role, "POST", &format!("{path}/approve"), Some(json!({ "action": action })))
    };
    assert_eq!(proposed(&plan), ["suspend", "revoke"], "{plan:#}");
    approve(Role::Responder, "revoke").expect_error(403, "role_too_low", None);
    approve(Role::Admin, "clamp").expect_error(409, "not_possible", None);
    approve(Role::Responder, "explode").expect_error(400, "invalid", Some("action"));
    let shown = approve(Role::Responder, "suspend").expect(200).json();
    assert_eq!(shown["containments"].as_array().unwrap().len(), 2);
    let detail = server.ask(Role::Viewer, "GET", &format!("/api/v1/keys/{key}"), None).expect(200).json();
    let actions: Vec<&Value> =
        detail["containments"].as_array().unwrap().iter().map(|row| &row["action"]).collect();
    assert!(actions.contains(&&json!("suspend")), "{actions:?}");
    respond(&server, &format!("{path}/resolve"), json!({})).expect(200);
    server.ask(Role::Viewer, "GET", &format!("{path}/plan"), None).expect_error(409, "not_possible", None);
}

#[test]
fn notes_are_short_and_have_text() {
    let (server, _, path) = prepare();
    let note = |text: &str| respond(&server, &format!("{path}/note"), json!({ "text": text }));
    let shown = note("called the team").expect(200).json();
    let last = shown["incident"]["timeline"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["who"], "admin:responder");
    assert!(last["what"].as_str().unwrap().contains("called the team"));
    note("  ").expect_error(400, "invalid", Some("text"));
    note(&"x".repeat(2_001)).expect_error(400, "invalid", Some("text"));
    respond(&server, &format!("{path}/note"), json!({})).expect_error(400, "invalid", Some("text"));
}

#[test]
fn containments_are_put_in_force_and_lifted_by_hand() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let contain = |body: Value| respond(&server, "/api/v1/keys/search-prod/containments", body);
    let made = contain(json!({ "action": "suspend", "reason": "until we know" })).expect(201);
    let id = made.json()["containment"]["id"].as_str().unwrap().to_owned();
    assert_eq!(made.field("location"), Some(format!("/api/v1/containments/{id}").as_str()));
    assert_eq!(
        server.gateway.live.view_key(key, server.gateway.now()).unwrap().containments,
        ["suspend: until we know"]
    );
    let listed = server.ask(Role::Viewer, "GET", "/api/v1/containments", None).expect(200).json();
    assert_eq!(listed["containments"][0]["id"], id.as_str());
    let lift = || respond(&server, &format!("/api/v1/containments/{id}/lift"), json!({}));
    assert!(lift().expect(200).json()["containment"]["lifted"].is_array());
    assert_eq!(server.gateway.live.view_key(key, server.gateway.now()).unwrap().containments, [""; 0]);
    lift().expect_error(409, "not_possible", None);
    let context = json!({ "refuse_context": { "asn": 64500, "client": "axios" } });
    contain(json!({ "action": context, "reason": "x" })).expect(201);
    let clamp = json!({ "clamp": { "requests_per_minute": 5 } });
    let until = server.manager.clock.now().plus(HOUR);
    contain(json!({ "action": clamp, "reason": "x", "expires": until })).expect(201);
    respond(&server, "/api/v1/containments/con_000000000000/lift", json!({})).expect_error(
        404,
        "not_found",
        None,
    );
    respond(&server, "/api/v1/containments/x/lift", json!({})).expect_error(404, "not_found", None);
}

#[test]
fn orders_that_say_nothing_name_their_field() {
    let server = Server::start();
    server.make_key("search-prod");
    let check = |body: Value, field: &str| {
        respond(&server, "/api/v1/keys/search-prod/containments", body).expect_error(
            400,
            "invalid",
            Some(field),
        );
    };
    check(json!({ "action": "suspend" }), "reason");
    check(json!({ "action": "suspend", "reason": " " }), "reason");
    check(json!({ "reason": "x" }), "action");
    check(json!({ "action": "explode", "reason": "x" }), "action");
    check(json!({ "action": { "refuse_context": {} }, "reason": "x" }), "action");
    check(
        json!({ "action": { "refuse_context": { "asn": 1, "odd": 2 } }, "reason": "x" }),
        "action.refuse_context.odd",
    );
    check(json!({ "action": "suspend", "reason": "x", "expires": 1 }), "expires");
    let nobody = json!({ "action": "suspend", "reason": "x" });
    respond(&server, "/api/v1/keys/nobody/containments", nobody).expect_error(404, "not_found", None);
}
