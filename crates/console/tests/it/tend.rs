//! What time alone changes: relaxation and overdue steps, on records as a server has them.

use std::sync::Arc;

use serde_json::json;
use tokenwatch_console::manage::KeySpec;
use tokenwatch_console::records::{Records, Role};
use tokenwatch_console::tend::tend;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::time::{DAY, HOUR};
use tokenwatch_respond::ResponsePolicy;

use crate::server::Server;

const QUIET: u64 = 72 * HOUR;

fn policy(json: &str) -> ResponsePolicy {
    let policy: ResponsePolicy = serde_json::from_str(json).unwrap();
    policy.validate().unwrap();
    policy
}

fn look(server: &Server, policy: &ResponsePolicy) {
    let records: Arc<dyn Records> = server.records.clone();
    tend(&records, &server.gateway, policy);
}

fn in_force(server: &Server, key: KeyId) -> usize {
    let rows = server.records.active_containments(server.manager.clock.now()).unwrap();
    rows.iter().filter(|row| row.key == key).count()
}

fn key_in(server: &Server, name: &str, environment: &str) -> KeyId {
    let spec = KeySpec { name: name.into(), environment: environment.into(), ..KeySpec::default() };
    server.manager.issue(vec![spec], "test").unwrap().remove(0).key.id
}

#[test]
fn who_stays_away_is_let_in_again_and_the_story_says_so() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let id = server.steal(key);
    // So that the data plane knows the key.
    let path = format!("/api/v1/incidents/{id}/note");
    server.ask(Role::Responder, "POST", &path, Some(json!({ "text": "asked the team" }))).expect(200);
    let contained = || server.gateway.live.view_key(key, server.gateway.now()).unwrap().containments.len();
    assert_eq!(contained(), 1);
    look(&server, &ResponsePolicy::default());
    server.clock.move_on(QUIET - 1);
    look(&server, &ResponsePolicy::default());
    assert_eq!(in_force(&server, key), 1);
    server.clock.move_on(1);
    look(&server, &policy(r#"{"relax_after_hours":0}"#));
    assert_eq!(in_force(&server, key), 1, "switched off");
    look(&server, &ResponsePolicy::default());
    assert_eq!(in_force(&server, key), 0);
    let shown = server.ask(Role::Viewer, "GET", &format!("/api/v1/incidents/{id}"), None).expect(200).json();
    let said = |line: &serde_json::Value| line["what"].as_str().unwrap().starts_with("relaxed: refuse");
    assert!(shown["incident"]["timeline"].as_array().unwrap().iter().any(said), "{shown:#}");
    assert_eq!(shown["incident"]["state"], "expired");
    let audit = server.records.audit_latest(1).unwrap();
    let last = &audit[0].entry;
    assert_eq!((last.actor.as_str(), last.action.as_str()), ("tokenwatch", "containment.relax"));
    // In force in the data plane, too, and nothing is done twice.
    assert_eq!(contained(), 0);
    look(&server, &ResponsePolicy::default());
    assert_eq!(server.records.audit_latest(1).unwrap(), audit);
}

#[test]
fn what_a_person_put_in_force_or_called_a_theft_stays() {
    let server = Server::start();
    let (by_hand, theft) = (server.make_key("by-hand"), server.make_key("theft"));
    server.steal(by_hand);
    let order = json!({ "action": "watch", "reason": "odd hours" });
    server.ask(Role::Responder, "POST", "/api/v1/keys/by-hand/containments", Some(order)).expect(201);
    let closed = server.steal(theft);
    server
        .ask(Role::Responder, "POST", &format!("/api/v1/incidents/{closed}/resolve"), Some(json!({})))
        .expect(200);
    server.clock.move_on(QUIET);
    look(&server, &ResponsePolicy::default());
    assert_eq!((in_force(&server, by_hand), in_force(&server, theft)), (1, 1));
}

#[test]
fn an_environment_has_a_radius_and_a_patience_of_its_own() {
    let server = Server::start();
    let policy = policy(
        r#"{"blast":{"keys_per_hour":1,"suspends_per_hour":0},"environments":{
            "staging":{"blast":{"keys_per_hour":2}},"vault":{"relax_after_hours":0}}}"#,
    );
    let keys = |environment: &str| -> Vec<KeyId> {
        (0..3).map(|n| key_in(&server, &format!("{environment}-{n}"), environment)).collect()
    };
    let (production, staging, vault) = (keys("production"), keys("staging"), keys("vault"));
    for key in production.iter().chain(&staging).chain(&vault) {
        server.steal(*key);
    }
    let held = |keys: &[KeyId]| keys.iter().filter(|key| in_force(&server, **key) > 0).count();
    let left = || [held(&production), held(&staging), held(&vault)];
    server.clock.move_on(QUIET);
    look(&server, &policy);
    assert_eq!(left(), [2, 1, 3]);
    look(&server, &policy);
    assert_eq!(left(), [2, 1, 3], "the hour is not over");
    server.clock.move_on(HOUR);
    look(&server, &policy);
    assert_eq!(left(), [1, 0, 3]);
}

#[test]
fn overdue_steps_are_told_where_the_policy_wants_it() {
    let server = Server::start();
    let incident = server.steal(server.make_key("search-prod"));
    server.clock.move_on(2 * HOUR);
    let told = || server.records.incident(incident).unwrap().unwrap().handling.overdue_told.len();
    look(&server, &ResponsePolicy::default());
    assert_eq!(told(), 0);
    let wants = policy(r#"{"overdue_alerts":true}"#);
    look(&server, &wants);
    look(&server, &wants);
    assert_eq!(told(), 1);
    server.clock.move_on(DAY);
    look(&server, &wants);
    assert_eq!(told(), 4);
}
