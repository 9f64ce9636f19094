//! The outbox through the admin API of a real server: what waits is looked at, tried again, given up and kept back from
//! afar, and ways are tried with real receivers.

use serde_json::{Value, json};
use tokenwatch_model::alert::AlertCause;

use crate::alerts::{HOOK, PAGER, SIGN, configure, incident, open, owned_key, put};
use crate::harness::{Mock, Place, wait_for};
use crate::receiver::Receiver;

#[test]
fn ways_are_tried_from_afar_and_no_address_is_told() {
    let (mock, pager, hook) = (Mock::start(), Receiver::willing(), Receiver::willing());
    let room = Receiver::start(|got| format!("404 no_service\r\nx-echo: {}", got.path));
    let place = Place::with_config(&mock, "");
    configure(&place, &mock, &pager, &room, &hook);
    owned_key(&place);
    let server = place.serve();
    let one = server.admin_post("/api/v1/alerts/test", r#"{"name":"hook"}"#);
    assert_eq!(one, json!({ "taken": true, "tried": [{ "destination": "hook", "error": null }] }));
    let got = hook.taken().pop().unwrap().json();
    assert_eq!((&got["cause"], &got["key"]["name"]), (&json!("test"), &json!("no-key")));
    let owners = server.admin_post("/api/v1/alerts/test", r#"{"name":"owners","key":"search-prod"}"#);
    assert_eq!(pager.taken().len(), 1);
    assert_eq!((&owners["taken"], &owners["tried"][0]["error"]), (&json!(false), &Value::Null));
    assert!(owners["tried"][1]["error"].as_str().unwrap().starts_with("404"), "{owners}");
    // The command says the same, and both are audited alike.
    let said = place.run(&["alert", "test", "owners", "--key", "search-prod", "--json"]);
    assert_eq!((said.code, said.json()), (1, owners["tried"].clone()));
    let audit = server.admin("/api/v1/audit?limit=2");
    let row = |at: usize, name: &str| audit["rows"][at]["entry"][name].as_str().unwrap().to_owned();
    assert_eq!([row(0, "action"), row(1, "action")], ["alert.test", "alert.test"]);
    assert_eq!([row(0, "subject"), row(0, "detail")], [row(1, "subject"), row(1, "detail")]);
    assert!(row(0, "actor").starts_with("cli:") && row(1, "actor").starts_with("admin:"), "{audit}");
    let log = server.log();
    server.stop();
    for secret in [HOOK, PAGER, SIGN] {
        assert!(![&log, &owners.to_string(), &audit.to_string()].iter().any(|text| text.contains(secret)));
    }
}

#[test]
fn what_waits_is_worked_on_from_afar_as_on_the_machine() {
    let (mock, pager, room) = (Mock::start(), Receiver::willing(), Receiver::willing());
    let hook = Receiver::start(|_| "503 gone".to_owned());
    let place = Place::with_config(&mock, "");
    configure(&place, &mock, &pager, &room, &hook);
    let key = owned_key(&place);
    let server = place.serve();
    let mut case = incident(7, key);
    put(&open(&place), &mut case, AlertCause::Opened);
    let failed = wait_for("a failed try", || {
        let waiting = server.admin(&format!("/api/v1/alerts?incident={}", case.id));
        let row = waiting["deliveries"].as_array().unwrap().iter().find(|row| row["attempts"] != 0).cloned();
        row.filter(|row| row["destination"] == "hook")
    });
    let path = format!("/api/v1/alerts/{}", failed["id"]);
    let shown = server.admin(&path);
    let message = shown["message"]["text"].as_str().unwrap();
    assert!(message.contains("search-prod number 7") && !message.contains(SIGN), "{message}");
    assert_eq!(shown["message"]["carrier"], "http");
    let number = failed["id"].to_string();
    let told = place.ok(&["alert", "show", &number, "--json"]).json();
    assert_eq!((&told["message"], &told["incident"]), (&shown["message"], &shown["incident"]));
    let text = place.ok(&["alert", "show", &number]).stdout;
    assert!(text.contains("search-prod number 7") && text.contains("(route all)"), "{text}");
    let before = hook.all().len();
    server.admin_post(&format!("{path}/retry"), "{}");
    wait_for("another try", || (hook.all().len() > before).then_some(()));
    let dropped = server.admin_post(&format!("{path}/drop"), r#"{"reason":"the hook is gone"}"#);
    assert_eq!(dropped["state"], "dropped");
    assert_eq!(place.run(&["alert", "drop", &number, "--reason", "again"]).code, 1);
    assert_eq!(place.run(&["alert", "retry", &number]).code, 1);
    assert_eq!(server.admin_post("/api/v1/alerts/retry", "{}"), json!({ "count": 0 }));
    // Kept back: the next change is told when the snooze is ended.
    wait_for("the page", || (pager.taken().len() == 1).then_some(()));
    let snooze = format!("/api/v1/incidents/{}/snooze", case.id);
    assert!(server.admin_post(&snooze, r#"{"seconds":3600}"#)["until"].is_u64());
    put(&open(&place), &mut case, AlertCause::Updated);
    wait_for("the change in the outbox", || {
        let of = ["alert", "list", "--incident", &case.id.to_string(), "--json"];
        (place.ok(&of).json().as_array().unwrap().len() == 3).then_some(())
    });
    assert_eq!(pager.taken().len(), 1);
    assert_eq!(server.admin_post(&snooze, r#"{"seconds":0}"#)["until"], Value::Null);
    wait_for("the change", || (pager.taken().len() == 2).then_some(()));
    server.stop();
}
