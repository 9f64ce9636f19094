//! Incidents reach people: a real server, real receivers on sockets, outages and kills.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use rustix::process::Signal;
use tokenwatch_model::alert::{AlertCause, StoredAlert, Subject};
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::finding::Severity;
use tokenwatch_model::id::{IncidentId, KeyId};
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::Timestamp;
use tokenwatch_outside::signature;
use tokenwatch_respond::alert::rehearsal;
use tokenwatch_store::{Batch, Change, Options, Store};

use crate::harness::{Client, Mock, Place, Server, wait_for};
use crate::past;
use crate::receiver::{Got, Receiver};

/// The key that incidents are about, of an owner who names destinations.
pub(crate) fn owned_key(place: &Place) -> KeyId {
    place.ok(&["owner", "add", "--name", "search-team", "--on-call", "pager", "--channel", "room"]);
    place.issue("search-prod", &["--owner", "search-team", "--environment", "production"]);
    let shown = place.ok(&["key", "show", "search-prod", "--json"]).json();
    shown["id"].as_str().or(shown["key"]["id"].as_str()).unwrap().parse().unwrap()
}

pub(crate) fn open(place: &Place) -> Store {
    Store::open(&place.state(), Options::default()).unwrap()
}

/// Writes an incident and the alert about it, as the responder does: in one transaction.
pub(crate) fn put(store: &Store, incident: &mut Incident, cause: AlertCause) {
    let entry = AuditEntry {
        time: incident.opened,
        actor: "test".into(),
        action: "incident.test".into(),
        subject: incident.id.to_string().into(),
        detail: "{}".to_owned(),
    };
    let mut batch = Batch::of(Change::Incident(incident.clone()), entry);
    let subject = Subject::Incident(Box::new(incident.clone()));
    let alert = StoredAlert { sequence: 0, time: incident.opened, cause, subject };
    batch.push(Change::Alert(Box::new(alert)));
    incident.revision = store.apply(&batch).unwrap().revisions[0];
}

pub(crate) fn incident(n: u64, key: KeyId) -> Incident {
    let opened = Timestamp::from_seconds(1_772_366_400);
    let (incident, _) = rehearsal(IncidentId::from_bits(n), "nothing", "tokenwatch", opened);
    let title = format!("newcomer on search-prod number {n}");
    Incident { key, title, severity: Severity::High, ..incident }
}

/// Secrets of the destinations below; none may ever be printed or stored.
pub(crate) const HOOK: &str = "T000-hook-4fd1c0ffee";
pub(crate) const PAGER: &str = "pager-routing-key-0123456789abcdef";
pub(crate) const SIGN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) fn configure(place: &Place, mock: &Mock, pager: &Receiver, room: &Receiver, hook: &Receiver) {
    std::fs::write(place.path("room.url"), format!("http://{}/services/{HOOK}", room.address)).unwrap();
    std::fs::write(place.path("hook.url"), format!("http://{}/tokenwatch", hook.address)).unwrap();
    std::fs::write(place.path("pager.key"), PAGER).unwrap();
    std::fs::write(place.path("sign.key"), SIGN).unwrap();
    let path = |name: &str| place.path(name).display().to_string();
    let more = format!(
        "[alerts]\nlink = \"https://tokenwatch.example/{{incident}}\"\n\
         [alerts.destination.pager]\nkind = \"pagerduty\"\napi = \"http://{}\"\nsecret = \"file:{}\"\n\
         [alerts.destination.room]\nkind = \"slack\"\nurl = \"file:{}\"\n\
         [alerts.destination.hook]\nkind = \"webhook\"\nurl = \"file:{}\"\nsecret = \"file:{}\"\n\
         [[alerts.route]]\nname = \"owners\"\nto = [\"@on_call\", \"@channel\"]\ncontinue = true\ngroup_s = 0\n\
         [[alerts.route]]\nname = \"all\"\nto = [\"hook\"]\ngroup_s = 0\n",
        pager.address,
        path("pager.key"),
        path("room.url"),
        path("hook.url"),
        path("sign.key"),
    );
    place.configure(&place.config(mock, &more));
}

#[test]
fn an_incident_pages_the_owner_of_the_key_and_its_end_is_told() {
    let (mock, pager, room, hook) =
        (Mock::start(), Receiver::willing(), Receiver::willing(), Receiver::willing());
    let place = Place::with_config(&mock, "");
    configure(&place, &mock, &pager, &room, &hook);
    let key = owned_key(&place);
    let server = place.serve();
    let mut case = incident(7, key);
    put(&open(&place), &mut case, AlertCause::Opened);
    let id = case.id.to_string();
    let paged = wait_for("a page", || pager.taken().pop());
    let body = paged.json();
    assert_eq!((paged.path.as_str(), body["event_action"].as_str()), ("/v2/enqueue", Some("trigger")));
    assert_eq!((body["routing_key"].as_str(), body["dedup_key"].as_str()), (Some(PAGER), Some(id.as_str())));
    let written = wait_for("a message in the room", || room.taken().pop());
    assert_eq!(written.path, format!("/services/{HOOK}"));
    assert!(written.json()["blocks"][0]["text"]["text"].as_str().unwrap().contains("search-prod number 7"));
    let posted = wait_for("a webhook", || hook.taken().pop());
    check_signature(&posted);
    assert_eq!(posted.json()["incident"]["id"], id.as_str());
    place.ok(&["alert", "ack", &id]);
    place.ok(&["incident", "resolve", &id]);
    let actions = || -> Vec<String> {
        let text = |got: &Got| got.json()["event_action"].as_str().unwrap().to_owned();
        pager.taken().iter().map(text).collect()
    };
    wait_for("the end", || (actions() == ["trigger", "acknowledge", "resolve"]).then_some(()));
    wait_for("the end in the room", || (room.taken().len() == 3).then_some(()));
    wait_for("an empty outbox", || place.ok(&["alert", "list"]).stdout.is_empty().then_some(()));
    assert!(server.metric("tokenwatch_alert_tries_total{result=\"sent\"}") >= 8.0);
    let log = server.log();
    server.stop();
    let listed = place.ok(&["alert", "list", "--all", "--json"]).stdout;
    for secret in [HOOK, PAGER, SIGN] {
        assert!(!log.contains(secret) && !listed.contains(secret));
        let holds = |file: &std::path::PathBuf| {
            file.starts_with(place.state())
                && String::from_utf8_lossy(&std::fs::read(file).unwrap()).contains(secret)
        };
        assert_eq!(place.files().iter().find(|file| holds(file)), None);
    }
}

#[test]
fn a_real_theft_is_told_with_its_reasons_and_without_key_or_prompt() {
    let (mock, pager, room, hook) =
        (Mock::start(), Receiver::willing(), Receiver::willing(), Receiver::willing());
    let place = Place::with_config(&mock, "");
    configure(&place, &mock, &pager, &room, &hook);
    place.ok(&["owner", "add", "--name", "search-team", "--on-call", "pager", "--channel", "room"]);
    let stolen = past::stolen(&place, "search-prod");
    place.ok(&["key", "edit", "search-prod", "--owner", "search-team"]);
    let server = place.serve();
    stolen.steal(&server);
    let posted = wait_for("a webhook", || hook.taken().first().cloned());
    let body = posted.json();
    assert_eq!((body["cause"].as_str(), body["key"]["name"].as_str()), (Some("opened"), Some("search-prod")));
    assert_eq!(body["incident"]["state"], "contained");
    assert!(body["how_sure"]["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()), "{body:#}");
    assert!(
        body["what_to_press"][0]["command"].as_str().unwrap().starts_with("tokenwatch incident show inc_")
    );
    assert_eq!(body["references"]["mitre_atlas"][0]["id"], "AML.T0012");
    let paged = wait_for("a page", || pager.taken().first().cloned());
    let written = wait_for("a message in the room", || room.taken().first().cloned());
    server.stop();
    let secret = stolen.key.expose();
    for message in [&posted, &paged, &written] {
        assert!(!message.body.contains(&secret[secret.len() - 20..]));
        for request in &stolen.thief {
            // Lists of models are asked for without a body.
            let Ok(sent) = serde_json::from_slice::<serde_json::Value>(&request.body) else { continue };
            for said in sent["messages"].as_array().into_iter().flatten() {
                let Some(start) = said["content"].as_str().and_then(|text| text.get(..20)) else { continue };
                assert!(!message.body.contains(start), "{start}");
            }
        }
    }
}

/// What a receiver does that verifies: see `docs/operating.md`.
fn check_signature(got: &Got) {
    let seconds = got.header("webhook-timestamp").parse().unwrap();
    let id = got.header("webhook-id");
    assert_eq!(got.json()["id"], id);
    let want = signature(&Secret::new(SIGN), id, seconds, got.body.as_bytes());
    assert_eq!(got.header("webhook-signature"), want);
}

#[test]
fn a_test_says_whether_it_was_taken_and_never_an_address() {
    let (mock, pager, hook) = (Mock::start(), Receiver::willing(), Receiver::willing());
    let room = Receiver::start(|got| format!("404 no_service\r\nx-echo: {}", got.path));
    let place = Place::with_config(&mock, "");
    configure(&place, &mock, &pager, &room, &hook);
    owned_key(&place);
    let all = place.ok(&["alert", "test", "all"]);
    assert_eq!(all.stdout, "hook: taken\n");
    assert_eq!(hook.taken()[0].json()["cause"], "test");
    let no_key = place.run(&["alert", "test", "owners"]);
    assert!(no_key.code == 1 && no_key.stderr.contains("--key"), "{no_key:?}");
    let owners = place.run(&["alert", "test", "owners", "--key", "search-prod"]);
    assert_eq!(owners.code, 1);
    assert!(owners.stdout.starts_with("pager: taken\nroom: NOT taken: 404"), "{owners:?}");
    place.ok(&["owner", "add", "--name", "other-team", "--on-call", "somebody", "--channel", "room"]);
    let checked = place.ok(&["check"]).stdout;
    assert!(checked.contains("owner other-team: routes to @on_call pass it over"), "{checked}");
    assert!(!checked.contains("search-team"), "{checked}");
    let unknown = place.run(&["alert", "test", "pigeon"]);
    assert!(unknown.stderr.contains("there are: owners, all, hook, pager, room"), "{unknown:?}");
    assert!(![owners, unknown].iter().any(|done| format!("{done:?}").contains(HOOK)));
}

#[test]
fn a_receiver_that_is_away_or_busy_gets_everything_later_and_in_order() {
    let mock = Mock::start();
    let away = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = away.local_addr().unwrap();
    drop(away);
    let mut busy = 2;
    let pager = Receiver::start(move |_| {
        busy -= 1;
        if busy >= 0 { "429 Busy\r\nretry-after: 1".to_owned() } else { "202 Accepted".to_owned() }
    });
    let room = Receiver::willing();
    let place = Place::with_config(&mock, "");
    configure(&place, &mock, &pager, &room, &Receiver::willing());
    std::fs::write(place.path("hook.url"), format!("http://{address}/")).unwrap();
    let key = owned_key(&place);
    let server = place.serve();
    let store = open(&place);
    let mut case = incident(1, key);
    put(&store, &mut case, AlertCause::Opened);
    wait_for("failed tries", || {
        let waiting = place.ok(&["alert", "list", "--json"]).json();
        waiting.as_array().unwrap().iter().any(|d| d["attempts"].as_u64() > Some(0)).then_some(())
    });
    // It is killed, time passes, the incident goes on, and the receiver comes back.
    server.kill();
    case.state = IncidentState::Contained;
    put(&store, &mut case, AlertCause::Updated);
    case.state = IncidentState::Resolved;
    put(&store, &mut case, AlertCause::Resolved);
    let hook = Receiver::at(TcpListener::bind(address).unwrap(), |_| "200 OK".to_owned());
    let server = place.serve();
    place.ok(&["alert", "retry"]);
    let causes = |receiver: &Receiver| -> Vec<String> {
        receiver.taken().iter().map(|got| got.json()["cause"].as_str().unwrap().to_owned()).collect()
    };
    wait_for("everything", || (causes(&hook) == ["opened", "updated", "resolved"]).then_some(()));
    wait_for("the pager", || (pager.taken().len() == 3).then_some(()));
    assert_eq!(pager.all().iter().map(|got| got.status).collect::<Vec<_>>(), [429, 429, 202, 202, 202]);
    server.stop();
}

#[test]
fn a_person_may_snooze_and_drop_and_both_are_audited() {
    let (mock, pager, room, hook) =
        (Mock::start(), Receiver::willing(), Receiver::willing(), Receiver::willing());
    let place = Place::with_config(&mock, "");
    configure(&place, &mock, &pager, &room, &hook);
    let key = owned_key(&place);
    let store = open(&place);
    let (mut first, mut second) = (incident(1, key), incident(2, key));
    put(&store, &mut first, AlertCause::Opened);
    put(&store, &mut second, AlertCause::Opened);
    place.ok(&["alert", "snooze", &first.id.to_string(), "--for", "1h"]);
    let server = place.serve();
    wait_for("the other incident", || (hook.taken().len() == 1).then_some(()));
    assert_eq!(hook.taken()[0].json()["incident"]["id"], second.id.to_string());
    let waiting = place.ok(&["alert", "list", "--json"]).json();
    let of_hook = waiting.as_array().unwrap().iter().find(|d| d["destination"] == "hook").unwrap();
    let number = of_hook["id"].to_string();
    place.ok(&["alert", "drop", &number, "--reason", "a test"]);
    assert_eq!(place.run(&["alert", "drop", &number, "--reason", "again"]).code, 1);
    place.ok(&["alert", "snooze", &first.id.to_string(), "--for", "0s"]);
    wait_for("the page", || (pager.taken().len() == 2).then_some(()));
    assert_eq!(hook.taken().len(), 1);
    assert!(place.ok(&["alert", "show", &number]).stdout.contains("state        dropped"));
    let log = place.ok(&["audit", "show"]).stdout;
    assert!(log.contains("alert.snooze") && log.contains("alert.drop"), "{log}");
    server.stop();
}

#[test]
fn what_ran_out_is_told_though_nobody_changed_anything() {
    let (mock, pager, room, hook) =
        (Mock::start(), Receiver::willing(), Receiver::willing(), Receiver::willing());
    let place = Place::with_config(&mock, "");
    configure(&place, &mock, &pager, &room, &hook);
    let key = owned_key(&place);
    let store = open(&place);
    let mut case = incident(1, key);
    case.opened = store.key(key).unwrap().unwrap().key.created;
    put(&store, &mut case, AlertCause::Opened);
    place.ok(&["incident", "contain", "search-prod", "--action", "suspend", "--reason", "r", "--for", "1s"]);
    wait_for("the end of the containment", || {
        let shown = place.ok(&["incident", "show", &case.id.to_string()]).stdout;
        shown.contains("expired").then_some(())
    });
    let server = place.serve();
    let states = || -> Vec<String> {
        let text = |got: &Got| got.json()["incident"]["state"].as_str().unwrap().to_owned();
        hook.taken().iter().map(text).collect()
    };
    // What was put in force while nobody delivered is said by the later update, too.
    wait_for("what ran out", || (states() == ["open", "expired"]).then_some(()));
    // One that is killed could send what was taken again.
    server.stop();
    // The next server does not tell it again.
    let server = place.serve();
    place.ok(&["incident", "resolve", &case.id.to_string()]);
    wait_for("the end", || states().contains(&"resolved".to_owned()).then_some(()));
    assert_eq!(states().len(), 3);
    server.stop();
}

/// Kills in the ordinary run; `TOKENWATCH_ALERT_KILLS=1000` for more.
const KILLS: usize = 20;

/// Killed again and again while it delivers: nothing is lost, incidents keep their order, and what comes twice has
/// the same id.
#[test]
fn a_server_that_is_killed_again_and_again_loses_no_alert() {
    let kills = std::env::var("TOKENWATCH_ALERT_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let mut count = 0_u32;
    // Some answers fail, so that tries, failures and kills meet.
    let hook = Receiver::start(move |_| {
        count += 1;
        std::thread::sleep(std::time::Duration::from_millis(5));
        if count.is_multiple_of(7) { "429 Busy\r\nretry-after: 0".to_owned() } else { "200 OK".to_owned() }
    });
    let (mock, pager, room) = (Mock::start(), Receiver::willing(), Receiver::willing());
    let place = Place::with_config(&mock, "");
    configure(&place, &mock, &pager, &room, &hook);
    let key = owned_key(&place);
    let store = open(&place);
    let mut want: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    // In a long run fewer at a time, or it would mostly work off what has piled up.
    let cases = if kills > 100 { 1 } else { 4 };
    for round in 0..kills {
        let mut server = place.spawn(crate::harness::Start::default());
        for n in 0..cases {
            let mut case = incident((round * cases + n + 1) as u64, key);
            for (cause, state) in [
                (AlertCause::Opened, IncidentState::Open),
                (AlertCause::Acknowledged, IncidentState::Contained),
                (AlertCause::Resolved, IncidentState::Resolved),
            ] {
                case.state = state;
                put(&store, &mut case, cause);
                want.entry(case.id.to_string()).or_default().push(cause.name());
            }
        }
        // Later in every round, so that a kill falls into every stage of a start and of a delivery.
        let before = hook.all().len();
        if round % 4 != 0 {
            let reach = before + round % 9 + 1;
            wait_or_tell(&server, &store, || hook.all().len() >= reach || is_empty(&store));
        } else {
            std::thread::sleep(std::time::Duration::from_millis((round as u64 * 13) % 150));
        }
        server.process.signal(Signal::KILL);
        server.process.ended();
    }
    let server = place.serve();
    // However much has piled up: it has to go on.
    while !is_empty(&store) {
        let before = hook.taken().len();
        wait_or_tell(&server, &store, || hook.taken().len() > before || is_empty(&store));
    }
    server.stop();
    for receiver in [&hook, &room, &pager] {
        check_complete(&receiver.taken(), receiver.address == hook.address, &want);
    }
}

/// Waits, and says what the server logged and what waits when it was in vain.
fn wait_or_tell(server: &Server, store: &Store, is_so: impl Fn() -> bool) {
    // Steps, not a clock: a machine that stands still for a while is no failure.
    for _ in 0..12_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let waiting = store.deliveries(false, None, 9).unwrap();
    panic!("{}\nunrouted {}, waiting {waiting:#?}", server.log(), store.unrouted_alerts(9).unwrap().len());
}

fn is_empty(store: &Store) -> bool {
    store.unrouted_alerts(1).unwrap().is_empty() && store.deliveries(false, None, 1).unwrap().is_empty()
}

/// Everything was taken at least once; of the webhook, also in order and with ids that tell repetitions.
fn check_complete(taken: &[Got], is_hook: bool, want: &BTreeMap<String, Vec<&str>>) {
    if !is_hook {
        assert!(taken.len() >= want.len() * 3);
        return;
    }
    let mut seen = BTreeSet::new();
    let mut got: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in taken {
        check_signature(message);
        let body = message.json();
        // What a receiver does: drop what it has by its id.
        if seen.insert(message.header("webhook-id").to_owned()) {
            let incident = body["incident"]["id"].as_str().unwrap().to_owned();
            got.entry(incident).or_default().push(body["cause"].as_str().unwrap().to_owned());
        }
    }
    let got: BTreeMap<String, Vec<&str>> =
        got.iter().map(|(id, causes)| (id.clone(), causes.iter().map(String::as_str).collect())).collect();
    assert_eq!(&got, want);
}

#[test]
fn who_does_not_acknowledge_is_escalated_and_who_does_is_not() {
    let (mock, pager, room, hook) =
        (Mock::start(), Receiver::willing(), Receiver::willing(), Receiver::willing());
    let place = Place::with_config(&mock, "");
    configure(&place, &mock, &pager, &room, &hook);
    let path = place.path("tokenwatch.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let step = "name = \"all\"\nescalate = [{ after_s = 2, to = [\"room\"] }]";
    let text = text.replace("name = \"all\"", step).replace("\"@channel\"", "\"pager\"");
    place.configure(&text);
    let key = owned_key(&place);
    let store = open(&place);
    let (mut first, mut second) = (incident(1, key), incident(2, key));
    put(&store, &mut first, AlertCause::Opened);
    put(&store, &mut second, AlertCause::Opened);
    place.ok(&["alert", "ack", &second.id.to_string()]);
    // It waits over a restart.
    place.serve().kill();
    let server = place.serve();
    wait_for("an escalation", || (!room.taken().is_empty()).then_some(()));
    wait_for("an empty outbox", || is_empty(&store).then_some(()));
    let told = room.taken();
    let title = told[0].json()["blocks"][0]["text"]["text"].as_str().unwrap().to_owned();
    assert!(title.contains("NOT ACKNOWLEDGED") && title.ends_with("number 1"), "{title}");
    assert_eq!(told.len(), 1);
    let all = place.ok(&["alert", "list", "--all"]).stdout;
    assert!(all.contains("needless"), "{all}");
    // Who was called hears how it ends.
    place.ok(&["incident", "resolve", &first.id.to_string()]);
    wait_for("the end", || (room.taken().len() == 2).then_some(()));
    server.stop();
}

/// Against a real Alertmanager, where `TOKENWATCH_ALERTMANAGER` says host and port of one.
#[test]
fn a_real_alertmanager_holds_one_alert_for_an_incident_until_it_ends() {
    let Ok(address) = std::env::var("TOKENWATCH_ALERTMANAGER") else { return };
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let more = format!(
        "[alerts.destination.am]\nkind = \"alertmanager\"\napi = \"http://{address}\"\n\
         [[alerts.route]]\nname = \"all\"\nto = [\"am\"]\ngroup_s = 0\n"
    );
    place.configure(&place.config(&mock, &more));
    let key = owned_key(&place);
    let store = open(&place);
    let server = place.serve();
    let created = store.key(key).unwrap().unwrap().key.created;
    // Another run's incidents may be there.
    let id = created.0 % 1_000_000 + 1;
    let mut case = incident(id, key);
    let client = Client::new(address.parse().unwrap());
    let active = || -> Vec<String> {
        let request = http::Request::get("/api/v2/alerts").body(http_body_util::Full::default()).unwrap();
        let all: serde_json::Value = serde_json::from_str(&client.send(request).unwrap().text()).unwrap();
        let labels = all.as_array().unwrap().iter().map(|alert| alert["labels"].clone());
        let ours = labels.filter(|labels| labels["incident"] == case_id(id));
        ours.map(|labels| labels["severity"].as_str().unwrap().to_owned()).collect()
    };
    case.opened = created;
    put(&store, &mut case, AlertCause::Opened);
    wait_for("an alert", || (active() == ["high"]).then_some(()));
    case.severity = Severity::Critical;
    put(&store, &mut case, AlertCause::Updated);
    wait_for("a worse one in its place", || (active() == ["critical"]).then_some(()));
    case.state = IncidentState::Resolved;
    put(&store, &mut case, AlertCause::Resolved);
    wait_for("its end", || active().is_empty().then_some(()));
    server.stop();
}

fn case_id(n: u64) -> String {
    IncidentId::from_bits(n).to_string()
}
