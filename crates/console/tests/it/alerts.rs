//! Alerts on their way: looked at, tried again, given up, kept back, and a way tried.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::{Value, json};
use tokenwatch_console::alerts::{AlertHost, MessageOut, StandIn, Ways};
use tokenwatch_console::records::Role;
use tokenwatch_model::SmolStr;
use tokenwatch_model::alarm::{Alarm, AlarmKind, Driver, Spender};
use tokenwatch_model::alert::{AlertCause, Delivery, DeliveryState, StoredAlert, SubjectId};
use tokenwatch_model::id::{AlarmId, IncidentId, KeyId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::{DAY, HOUR};
use tokenwatch_respond::alert::route::Route;

use crate::server::{Answer, START, Server};

/// Two rooms, of which `broken` takes nothing, a route to both, and one to the key's owner.
#[derive(Default)]
pub(crate) struct TestHost {
    /// Who was sent what, as if about which key.
    sent: Mutex<Vec<(SmolStr, String, SmolStr)>>,
    /// While set, sending says that it began and waits for a word.
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl AlertHost for TestHost {
    fn ways(&self) -> Ways {
        let route = |name: &str, to: &[&str]| Route {
            name: name.into(),
            to: to.iter().map(|to| (*to).into()).collect(),
            ..Route::default()
        };
        Ways {
            routes: vec![route("all", &["room", "broken", "room"]), route("owners", &["@on_call"])],
            destinations: vec!["broken".into(), "room".into()],
        }
    }

    fn send(&self, to: &[SmolStr], alert: &StoredAlert, stand_in: &StandIn) -> Vec<Result<(), String>> {
        if let Some((began, go_on)) = &*self.gate.lock().unwrap() {
            began.send(()).unwrap();
            go_on.recv().unwrap();
        }
        let mut sent = self.sent.lock().unwrap();
        to.iter()
            .map(|name| {
                sent.push((
                    name.clone(),
                    alert.subject.incident().unwrap().title.clone(),
                    stand_in.key.name.clone(),
                ));
                if name == "broken" { Err("503 gone".to_owned()) } else { Ok(()) }
            })
            .collect()
    }

    fn message(&self, delivery: &Delivery) -> Result<Option<MessageOut>, String> {
        let text = format!("{} {}", delivery.subject, delivery.cause.name());
        let message = MessageOut { carrier: "http".into(), subject: None, text };
        Ok((delivery.destination == "room").then_some(message))
    }
}

/// One that failed once and waits for another try.
pub(crate) fn delivery(id: u64, incident: IncidentId) -> Delivery {
    Delivery {
        id,
        sequence: id,
        subject: SubjectId::Incident(incident),
        destination: "room".into(),
        route: "all".into(),
        cause: AlertCause::Opened,
        state: DeliveryState::Pending,
        due: START.plus(HOUR),
        attempts: 1,
        error: "503 gone".to_owned(),
        created: START,
        ended: None,
    }
}

/// A server with an incident and three deliveries of it: one failed, one that was not tried yet, and one that was sent.
fn with_deliveries() -> (Server, IncidentId) {
    let server = Server::start();
    let key = server.make_known_key("search-prod");
    let incident = server.steal(key);
    server.records.put_delivery(delivery(1, incident));
    let untried = Delivery { attempts: 0, error: String::new(), ..delivery(2, incident) };
    server.records.put_delivery(Delivery { destination: "old".into(), ..untried });
    let sent = Delivery { state: DeliveryState::Sent, ended: Some(START), ..delivery(3, incident) };
    server.records.put_delivery(sent);
    server.records.put_delivery(delivery(4, IncidentId::from_bits(99)));
    (server, incident)
}

fn get(server: &Server, path: &str) -> Answer {
    server.ask(Role::Viewer, "GET", &format!("/api/v1/{path}"), None)
}

fn post(server: &Server, path: &str, body: Value) -> Answer {
    server.ask(Role::Responder, "POST", &format!("/api/v1/{path}"), Some(body))
}

/// Actions of the audit log, newest first.
fn audited(server: &Server, count: usize) -> Vec<(String, String, String)> {
    let rows = get(server, &format!("audit?limit={count}")).json();
    let text = |row: &Value, name: &str| row["entry"][name].as_str().unwrap().to_owned();
    let row = |row: &Value| (text(row, "actor"), text(row, "action"), text(row, "subject"));
    rows["rows"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn deliveries_are_listed_latest_first_and_shown_with_what_they_say() {
    let (server, incident) = with_deliveries();
    let numbers = |query: &str| -> Vec<u64> {
        let list = get(&server, &format!("alerts{query}")).expect(200).json();
        list["deliveries"].as_array().unwrap().iter().map(|row| row["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(""), [4, 2, 1]);
    assert_eq!(numbers("?all=true"), [4, 3, 2, 1]);
    assert_eq!(numbers(&format!("?all=true&incident={incident}&limit=2")), [3, 2]);
    let shown = get(&server, "alerts/1").expect(200).json();
    assert_eq!((&shown["destination"], &shown["error"]), (&json!("room"), &json!("503 gone")));
    assert_eq!(shown["message"]["text"], format!("{incident} opened"));
    assert_eq!(get(&server, "alerts/2").expect(200).json()["message"], Value::Null);
    get(&server, "alerts?incident=inc_000000000000").expect_error(400, "invalid", Some("incident"));
    get(&server, "alerts?limit=0").expect_error(400, "invalid", Some("limit"));
    for number in ["9", "retry", "-1", "18446744073709551615"] {
        get(&server, &format!("alerts/{number}")).expect_error(404, "not_found", None);
    }
}

#[test]
fn what_waits_is_tried_again_or_given_up_and_what_ended_stays() {
    let (server, _) = with_deliveries();
    let now = server.gateway.now().0;
    let retried = post(&server, "alerts/2/retry", json!({})).expect(200).json();
    assert_eq!((&retried["due"], &retried["attempts"]), (&json!(now), &json!(0)));
    // Of the others only those that failed; what was not tried yet is not late.
    assert_eq!(post(&server, "alerts/retry", json!({})).expect(200).json(), json!({ "count": 2 }));
    assert_eq!(get(&server, "alerts/1").json()["due"], now);
    let dropped = post(&server, "alerts/1/drop", json!({ "reason": "a wrong room" })).expect(200).json();
    assert_eq!((&dropped["state"], &dropped["ended"]), (&json!("dropped"), &json!(now)));
    for number in [1, 3] {
        post(&server, &format!("alerts/{number}/retry"), json!({})).expect_error(409, "not_possible", None);
        let drop = post(&server, &format!("alerts/{number}/drop"), json!({ "reason": "again" }));
        drop.expect_error(409, "not_possible", None);
    }
    post(&server, "alerts/2/drop", json!({})).expect_error(400, "invalid", Some("reason"));
    post(&server, "alerts/2/drop", json!({ "reason": "" })).expect_error(400, "invalid", Some("reason"));
    post(&server, "alerts/9/drop", json!({ "reason": "r" })).expect_error(404, "not_found", None);
    let by =
        |action: &str, subject: &str| ("admin:responder".to_owned(), action.to_owned(), subject.to_owned());
    let want = [by("alert.drop", "1"), by("alert.retry", "all"), by("alert.retry", "2")];
    assert_eq!(audited(&server, 3), want, "and nothing of what was refused");
}

#[test]
fn an_incident_is_snoozed_for_a_bounded_time_and_woken() {
    let (server, incident) = with_deliveries();
    let path = format!("incidents/{incident}/snooze");
    let now = server.gateway.now();
    let snooze = |body: Value| post(&server, &path, body);
    let for_two_hours = snooze(json!({ "seconds": 7200 })).expect(200).json();
    let until = now.plus(2 * HOUR);
    assert_eq!(for_two_hours, json!({ "incident": incident.to_string(), "until": until.0 }));
    assert_eq!(server.records.snoozed(incident), Some(until));
    let until = now.plus(30 * DAY);
    assert_eq!(snooze(json!({ "until": until.0 })).expect(200).json()["until"], until.0);
    assert_eq!(snooze(json!({ "seconds": 0 })).expect(200).json()["until"], Value::Null);
    assert_eq!(server.records.snoozed(incident), Some(now));
    let check = |body: Value, field: &str| snooze(body).expect_error(400, "invalid", Some(field));
    check(json!({}), "until");
    check(json!({ "until": until.0, "seconds": 1 }), "until");
    // Seconds where microseconds are meant.
    check(json!({ "until": now.0 / 1_000_000 }), "until");
    check(json!({ "until": until.plus(1).0 }), "until");
    check(json!({ "seconds": u64::MAX }), "seconds");
    let nothing = post(&server, "incidents/inc_000000000000/snooze", json!({ "seconds": 1 }));
    nothing.expect_error(404, "not_found", None);
    assert!(
        audited(&server, 3)
            .iter()
            .all(|(_, action, on)| { action == "alert.snooze" && *on == incident.to_string() })
    );
}

#[test]
fn a_way_is_tried_and_says_how_each_destination_took_it() {
    let (server, _) = with_deliveries();
    let test = |body: Value| post(&server, "alerts/test", body);
    let both = test(json!({ "name": "all", "key": "search-prod" })).expect(200).json();
    let tried = json!([
        { "destination": "room", "error": null },
        { "destination": "broken", "error": "503 gone" },
    ]);
    assert_eq!(both, json!({ "taken": false, "tried": tried }));
    assert_eq!(test(json!({ "name": "room" })).expect(200).json()["taken"], true);
    let sent = server.alerts.sent.lock().unwrap().clone();
    let keys: Vec<(&str, &str)> = sent.iter().map(|(to, _, key)| (to.as_str(), key.as_str())).collect();
    assert_eq!(keys, [("room", "search-prod"), ("broken", "search-prod"), ("room", "no-key")]);
    assert!(sent.iter().all(|(_, title, _)| title.starts_with("admin:responder tries ")), "{sent:?}");
    let by = |subject: &str| ("admin:responder".to_owned(), "alert.test".to_owned(), subject.to_owned());
    let check = |body: Value, field: &str| test(body).expect_error(400, "invalid", Some(field));
    check(json!({ "name": "pigeon" }), "name");
    check(json!({ "name": "owners" }), "key");
    check(json!({ "name": "room", "key": "nobody" }), "key");
    assert_eq!(audited(&server, 2), [by("room"), by("all")], "and nothing of what was not sent");
}

#[test]
fn one_way_is_tried_at_a_time() {
    let (server, _) = with_deliveries();
    let ((began, has_begun), (go_on, goes_on)) = (channel(), channel());
    *server.alerts.gate.lock().unwrap() = Some((began, goes_on));
    let test = || post(&server, "alerts/test", json!({ "name": "room" }));
    std::thread::scope(|scope| {
        let first = scope.spawn(test);
        has_begun.recv().unwrap();
        test().expect_error(409, "conflict", None);
        go_on.send(()).unwrap();
        first.join().unwrap().expect(200);
    });
}

pub(crate) fn alarm(n: u64, spender: Spender) -> Alarm {
    Alarm {
        id: AlarmId::from_bits(n),
        spender,
        name: "openai".into(),
        kind: AlarmKind::DayHigh,
        period: AlarmKind::DayHigh.period(START),
        raised: START,
        today: NanoUsd::from_cents(12_000),
        month: NanoUsd::from_cents(30_000),
        typical_day: Some(NanoUsd::from_cents(1_000)),
        days: 30,
        limit: NanoUsd::from_cents(10_000),
        times: Some(10.0),
        forecast: None,
        drivers: vec![Driver {
            kind: "key".into(),
            name: "search-prod".into(),
            today: NanoUsd::from_cents(11_000),
            typical_day: None,
        }],
    }
}

#[test]
fn billing_alarms_are_listed_and_their_deliveries_are_handled_as_others() {
    let (server, _) = with_deliveries();
    let raised = alarm(7, Spender::Provider("openai".into()));
    server.records.put_alarm(alarm(6, Spender::Key(KeyId::from_bits(1))));
    server.records.put_alarm(raised.clone());
    let listed = get(&server, "alarms?limit=1").expect(200).json();
    assert_eq!(listed, json!({ "alarms": [raised] }));
    assert_eq!(get(&server, &format!("alarms/{}", raised.id)).expect(200).json()["limit"], "100.00");
    get(&server, "alarms/alm_000000000000").expect_error(404, "not_found", None);
    let about = SubjectId::Alarm(raised.id);
    server.records.put_delivery(Delivery { subject: about, ..delivery(5, IncidentId::from_bits(1)) });
    let of_alarm = get(&server, &format!("alerts?alarm={}", raised.id)).expect(200).json();
    let rows = of_alarm["deliveries"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["alarm"]), (1, &json!(raised.id.to_string())));
    assert_eq!(rows[0].get("incident"), None);
    assert_eq!(
        get(&server, "alerts/5").expect(200).json()["message"]["text"],
        format!("{} opened", raised.id)
    );
    post(&server, "alerts/5/drop", json!({ "reason": "we know" })).expect(200);
    get(&server, "alerts?alarm=inc_000000000001").expect_error(400, "invalid", Some("alarm"));
    let both = format!("alerts?incident={}&alarm={}", server.steal(server.make_key("b")), raised.id);
    get(&server, &both).expect_error(400, "invalid", Some("alarm"));
}

#[test]
fn one_spender_is_snoozed() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let snooze = |body: Value| post(&server, "alarms/snooze", body);
    let until = server.gateway.now().plus(2 * HOUR);
    let of_key = snooze(json!({ "key": "search-prod", "seconds": 7200 })).expect(200).json();
    assert_eq!(of_key, json!({ "spender": { "key": key.to_string() }, "until": until.0 }));
    let ended = snooze(json!({ "provider": "openai", "seconds": 0 })).expect(200).json();
    assert_eq!(ended, json!({ "spender": { "provider": "openai" }, "until": null }));
    let check = |body: Value, field: &str| snooze(body).expect_error(400, "invalid", Some(field));
    check(json!({ "seconds": 1 }), "key");
    check(json!({ "key": "search-prod", "provider": "openai", "seconds": 1 }), "key");
    check(json!({ "key": "nobody", "seconds": 1 }), "key");
    check(json!({ "owner": "nobody", "seconds": 1 }), "owner");
    check(json!({ "key": "search-prod" }), "until");
    let by = |subject: String| ("admin:responder".to_owned(), "alarm.snooze".to_owned(), subject);
    assert_eq!(audited(&server, 2), [by("provider:openai".to_owned()), by(format!("key:{key}"))]);
}
