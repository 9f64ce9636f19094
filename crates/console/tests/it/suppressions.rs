//! Suppressions: added, listed, lifted, in force at once, and the alerts that nobody was told of.

use serde_json::{Value, json};
use tokenwatch_console::records::{Records as _, Role};
use tokenwatch_model::finding::Tier;
use tokenwatch_model::id::SuppressionId;
use tokenwatch_model::suppression::SuppressedAlert;
use tokenwatch_model::time::{DAY, HOUR};

use crate::server::Server;
use crate::world;

fn spec(server: &Server, more: Value) -> Value {
    let expires = server.gateway.now().plus(4 * HOUR).0;
    let mut spec =
        json!({ "key": "search-prod", "rule": "newcomer", "reason": "load test", "expires": expires });
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

fn add(server: &Server, more: Value) -> crate::server::Answer {
    server.ask(Role::Responder, "POST", "/api/v1/suppressions", Some(spec(server, more)))
}

#[test]
fn one_is_added_listed_and_lifted_early() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    server.ask(Role::Viewer, "POST", "/api/v1/suppressions", Some(json!({}))).expect_error(
        403,
        "role_too_low",
        None,
    );
    let added = add(&server, json!({ "context": { "asn": 64500 } })).expect(201);
    let body = added.json();
    assert_eq!((&body["reach"]["key"], &body["state_now"]), (&json!(key.to_string()), &json!("in force")));
    let path = added.field("location").unwrap().to_owned();
    let ask = |path: &str| server.ask(Role::Viewer, "GET", path, None).expect(200).json();
    assert_eq!(ask(&path), body);
    assert_eq!(ask("/api/v1/suppressions")["suppressions"], json!([body]));
    let lift = || server.ask(Role::Responder, "POST", &format!("{path}/lift"), Some(json!({})));
    assert_eq!(lift().expect(200).json()["state_now"], "lifted");
    lift().expect_error(409, "not_possible", None);
    assert_eq!(ask("/api/v1/suppressions")["suppressions"], json!([]));
    assert_eq!(ask("/api/v1/suppressions?all=true")["suppressions"].as_array().unwrap().len(), 1);
    let audit = ask("/api/v1/audit?limit=2");
    let actions: Vec<&Value> =
        audit["rows"].as_array().unwrap().iter().map(|row| &row["entry"]["action"]).collect();
    assert_eq!(actions, ["suppression.lift", "suppression.add"]);
}

#[test]
fn what_makes_no_sense_is_told_by_its_field() {
    let server = Server::start();
    server.make_key("search-prod");
    let check = |more: Value, field: &str| add(&server, more).expect_error(400, "invalid", Some(field));
    check(json!({ "rule": null }), "rule");
    check(json!({ "rule": "no_such_rule" }), "rule");
    check(json!({ "rule": "monthly_cap" }), "rule");
    check(json!({ "rule": null, "context": {} }), "context");
    check(json!({ "reason": " " }), "reason");
    check(json!({ "expires": null }), "expires");
    check(json!({ "expires": server.gateway.now().0 }), "expires");
    check(json!({ "expires": server.gateway.now().plus(91 * DAY).0 }), "expires");
    check(json!({ "key": "nobody" }), "key");
    check(json!({ "owner": "search-team" }), "key");
    check(json!({ "key": null }), "key");
    check(json!({ "key": null, "owner": "nobody" }), "owner");
    add(&server, json!({ "key": null, "owner": "search-team" })).expect(201);
    let everywhere = json!({ "key": null, "everywhere": true });
    add(&server, everywhere.clone()).expect_error(403, "role_too_low", None);
    let spec = spec(&server, everywhere);
    server.ask(Role::Admin, "POST", "/api/v1/suppressions", Some(spec)).expect(201);
}

#[test]
fn suppressed_alerts_are_listed() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    server.make_key("other");
    let finding = world::finding(key, Tier::Alert, server.gateway.now());
    let alert = SuppressedAlert { suppression: SuppressionId::from_bits(7), finding };
    server.records.push_suppressed(&alert).unwrap();
    let ask =
        |query: &str| server.ask(Role::Viewer, "GET", &format!("/api/v1/suppressed-alerts{query}"), None);
    let alerts = |query| ask(query).expect(200).json()["alerts"].as_array().unwrap().len();
    assert_eq!((alerts(""), alerts("?key=search-prod"), alerts("?key=other")), (1, 1, 0));
    ask("?key=nobody").expect_error(400, "invalid", Some("key"));
}

#[test]
fn a_key_says_who_set_its_false_alarm_budget() {
    let server = Server::start();
    server.make_key("search-prod");
    let check = |budget: Value| {
        let shown = server.ask(Role::Viewer, "GET", "/api/v1/keys/search-prod", None).expect(200).json();
        assert_eq!(shown["alarm_budget"], budget);
    };
    check(json!({ "false_alarms_per_year": 0.365, "alert_days": 1000.0, "set_by": "default" }));
    let edit = |path: &str, body| server.ask(Role::Admin, "PATCH", path, Some(body));
    let owners = json!({ "defaults": { "false_alarms_per_year": 0.5 } });
    edit("/api/v1/owners/search-team", owners).expect(200);
    check(json!({ "false_alarms_per_year": 0.5, "alert_days": 730.0, "set_by": "owner" }));
    let own = |rate: f64| json!({ "policy": { "false_alarms_per_year": rate } });
    edit("/api/v1/keys/search-prod", own(2.0)).expect(200);
    check(json!({ "false_alarms_per_year": 2.0, "alert_days": 182.5, "set_by": "key" }));
    for wrong in [0.0, 0.001, 366.0, -1.0] {
        let field = Some("policy.false_alarms_per_year");
        edit("/api/v1/keys/search-prod", own(wrong)).expect_error(400, "invalid", field);
    }
}
