//! The runbook over the API: states, words on steps, what is overdue, and what was relaxed brought back.

use serde_json::{Value, json};
use tokenwatch_console::records::{Records as _, Role};
use tokenwatch_model::time::HOUR;

use crate::server::Server;

fn state_of(runbook: &Value, step: &str) -> String {
    let steps = runbook["steps"].as_array().unwrap();
    let step = steps.iter().find(|found| found["id"] == step).unwrap();
    step["state"].as_str().unwrap().to_owned()
}

fn overdue(server: &Server) -> String {
    let text = server.ask_with(None, "GET", "/metrics", None, &[]).expect(200);
    let text = String::from_utf8(text.body).unwrap();
    text.lines().find_map(|line| line.strip_prefix("tokenwatch_runbook_steps_overdue ")).unwrap().to_owned()
}

#[test]
fn steps_are_ticked_off_and_taken_back() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let path = format!("/api/v1/incidents/{}", server.steal(key));
    let runbook = || server.ask(Role::Viewer, "GET", &format!("{path}/runbook"), None).expect(200).json();
    let say = |step: &str, body: Value| {
        server.ask(Role::Responder, "POST", &format!("{path}/steps/{step}"), Some(body))
    };
    assert_eq!(["rotate", "clamp_spending"].map(|step| state_of(&runbook(), step)), ["open", "automatic"]);
    let said = say("notify", json!({ "says": "skip", "note": "no personal data" })).expect(200).json();
    assert_eq!(state_of(&said, "notify"), "not_needed");
    say("notify", json!({ "says": "open" })).expect(200);
    assert_eq!(state_of(&runbook(), "notify"), "open");
    say("notify", json!({ "says": "skip" })).expect_error(400, "invalid", Some("note"));
    say("notify", json!({ "says": "maybe" })).expect_error(400, "invalid", Some("says"));
    say("explode", json!({ "says": "done" })).expect_error(404, "not_found", None);
    let audit = server.ask(Role::Viewer, "GET", "/api/v1/audit?limit=2", None).expect(200).json();
    let last = &audit["rows"][0]["entry"];
    assert_eq!((&last["action"], &last["actor"]), (&json!("incident.step"), &json!("admin:responder")));
    // What the step tells people to press answers it.
    server.ask(Role::Admin, "POST", &format!("/api/v1/keys/{key}/rotate"), None).expect(200);
    assert_eq!(state_of(&runbook(), "rotate"), "done");
    let shown = server.ask(Role::Viewer, "GET", &path, None).expect(200).json();
    assert_eq!(shown["runbook"], runbook()["steps"]);
    assert!(shown["story"].as_str().unwrap().contains("2 of 7 steps done or not needed"), "{shown:#}");
}

#[test]
fn overdue_steps_are_counted_while_the_incident_is_open() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let incident = server.steal(key);
    server.clock.move_on(5 * HOUR);
    assert_eq!(overdue(&server), "2", "rotation and review");
    let server = Server::start();
    let key = server.make_key("search-prod");
    let closed = server.steal(key);
    let path = format!("/api/v1/incidents/{closed}/resolve");
    server.ask(Role::Responder, "POST", &path, Some(json!({}))).expect(200);
    server.clock.move_on(5 * HOUR);
    assert_eq!((overdue(&server).as_str(), incident == closed), ("0", true));
}

#[test]
fn what_was_relaxed_is_brought_back() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let incident = server.steal(key);
    let path = format!("/api/v1/incidents/{incident}/restore");
    let restore = || server.ask(Role::Responder, "POST", &path, Some(json!({})));
    restore().expect_error(409, "not_possible", None);
    server.relax(incident);
    assert!(server.records.active_containments(server.manager.clock.now()).unwrap().is_empty());
    let shown = restore().expect(200).json();
    assert_eq!(shown["incident"]["state"], "contained");
    assert_eq!(shown["incident"]["handling"]["automatic"], json!([]));
    assert_eq!(server.records.active_containments(server.manager.clock.now()).unwrap().len(), 1);
    restore().expect_error(409, "not_possible", None);
}
