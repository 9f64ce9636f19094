//! A server that is killed at any moment has lost nothing that it, or a command, acknowledged. An event is
//! acknowledged when the server counts it among those on the disk.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::Timestamp;
use tokenwatch_testkit::rng::Rng;

use crate::harness::{Client, Mock, Place, Server, chat, wait_for};
use crate::past::{journalled, open_store, stolen};

const ROUNDS: u64 = 20;
const CALLERS: usize = 4;
/// Answers of a round that have to be on the disk when the server is killed.
const ANSWERS: usize = 20;

/// Callers that send until they are told to stop, and what they were answered.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<Mutex<Vec<String>>>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(server: &Server, keys: &[Secret]) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let caller = |(i, key): (usize, &Secret)| {
            let (stop, served, key) = (stop.clone(), served.clone(), key.clone());
            let client = Client::new(server.gateway);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    // The server is killed under them, so anything may fail.
                    let Ok(answer) = client.send(chat(&key, i % 2 == 1, &[])) else { continue };
                    if answer.status == 200 {
                        let id = answer.header("x-tokenwatch-request-id").unwrap().to_owned();
                        served.lock().unwrap().push(id);
                    }
                }
            })
        };
        let callers = keys.iter().enumerate().map(caller).collect();
        Self { stop, served, callers }
    }

    /// Waits until so many answers are whole.
    #[track_caller]
    fn wait(&self, answers: usize) {
        wait_for("answers", || (self.served.lock().unwrap().len() >= answers).then_some(()));
    }

    /// Ids of the answers that are whole by now. Their events were handed to the journal before.
    fn served(&self) -> Vec<String> {
        self.served.lock().unwrap().clone()
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.callers.into_iter().for_each(|caller| caller.join().unwrap());
    }
}

/// What commands acknowledged.
#[derive(Default)]
struct Acknowledged {
    issued: BTreeSet<String>,
    revoked: BTreeSet<String>,
    audit_rows: u64,
    incidents: BTreeSet<String>,
}

impl Acknowledged {
    fn change(&mut self, place: &Place, round: u64) {
        let name = format!("made-{round}");
        place.issue(&name, &[]);
        if round.is_multiple_of(2) {
            place.ok(&["key", "revoke", &name, "--reason", "test"]);
            self.revoked.insert(name.clone());
        }
        self.issued.insert(name);
        let verified = place.ok(&["audit", "verify", "--json"]).json();
        self.audit_rows = verified["rows"].as_u64().unwrap();
    }

    #[track_caller]
    fn check(&self, place: &Place) {
        let keys = place.ok(&["key", "list", "--json"]).json();
        let of = |state: Option<&str>| -> BTreeSet<String> {
            let keys = keys.as_array().unwrap().iter();
            let keys = keys.filter(|key| state.is_none_or(|state| key["state_now"] == state));
            keys.map(|key| key["name"].as_str().unwrap().to_owned()).collect()
        };
        assert!(of(None).is_superset(&self.issued));
        assert!(of(Some("revoked")).is_superset(&self.revoked));
        let verified = place.ok(&["audit", "verify", "--json"]).json();
        assert_eq!(verified["whole"], true);
        assert!(verified["rows"].as_u64().unwrap() >= self.audit_rows);
        let incidents = incident_ids(place);
        assert!(incidents.is_superset(&self.incidents), "{incidents:?} {:?}", self.incidents);
    }
}

fn incident_ids(place: &Place) -> BTreeSet<String> {
    let incidents = place.ok(&["incident", "list", "--all", "--json"]).json();
    incidents.as_array().unwrap().iter().map(|i| i["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until what the server has booked on each key equals the sum of the journal's events of this month.
#[track_caller]
pub(crate) fn assert_books_equal_journal(place: &Place, server: &Server, names: &[String]) {
    let store = open_store(place);
    for name in names {
        let id = store.key_by_name(name).unwrap().unwrap().key.id;
        let mut last = String::new();
        let start = Instant::now();
        loop {
            let events = journalled(place);
            // A history that was made up may have begun in the month before.
            let month = events.iter().map(|event| event.request.time).max().map(Timestamp::month);
            let counts =
                |event: &&UsageEvent| event.request.key == id && Some(event.request.time.month()) == month;
            let sum: NanoUsd = events.iter().filter(counts).map(|event| event.cost).sum();
            let shown = server.admin(&format!("/api/v1/keys/{name}"));
            let spent = &shown["live"]["spent_month"];
            if *spent == serde_json::to_value(sum).unwrap() && sum > NanoUsd::ZERO {
                break;
            }
            last.clear();
            last.push_str(&format!("{name}: booked {spent}, journalled {sum:?}"));
            assert!(start.elapsed() < Duration::from_secs(20), "{last}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "[storage]\ncheckpoint_every_s = 1\n");
    let names: Vec<String> = (0..CALLERS).map(|i| format!("caller-{i}")).collect();
    let keys: Vec<Secret> = names.iter().map(|name| place.issue(name, &[])).collect();
    let theft = stolen(&place, "steady");
    let mut rng = Rng::new(20_260_101);
    let mut acknowledged = Acknowledged::default();
    let mut server = place.serve();
    let refused = theft.steal(&server);
    wait_for("a containment", || containment(&place));
    // With the containment lifted, only what was learned can tell the thief.
    place.ok(&["incident", "lift", &wait_for("a containment", || containment(&place))]);
    acknowledged.incidents = incident_ids(&place);
    let (mut seen, mut start_slowest, mut started_fastest) = (0, Duration::ZERO, Duration::MAX);
    for round in 0..ROUNDS {
        let load = Load::start(&server, &keys);
        acknowledged.change(&place, round);
        load.wait(ANSWERS);
        // Some load more, so that the kill comes at another moment of the journal's work each time.
        load.wait(ANSWERS + rng.below(40) as usize);
        let served = load.served();
        wait_until_durable(&server);
        server.kill();
        load.stop();
        seen += served.len();
        let start = Instant::now();
        server = place.serve();
        start_slowest = start_slowest.max(start.elapsed());
        started_fastest = started_fastest.min(start.elapsed());
        assert_eq!(theft.send(&server, &refused).status, 403, "round {round}");
        acknowledged.check(&place);
        let kept: HashSet<String> =
            journalled(&place).iter().map(|event| event.request.id.to_string()).collect();
        let lost: Vec<&String> = served.iter().filter(|id| !kept.contains(*id)).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?} of {}", served.len());
    }
    assert!(seen >= ANSWERS * ROUNDS as usize, "too little load to tell: {seen}");
    assert!(started_fastest < Duration::from_secs(1), "{started_fastest:?} to {start_slowest:?}");
    // Every key is used once more, so that the server has it in memory.
    for key in &keys {
        assert_eq!(server.client().status(key), 200);
    }
    assert_books_equal_journal(&place, &server, &names);
    theft.assert_owner_is_served(&server);
    server.stop();
}

/// Waits until the server says that all it had taken by now is on the disk.
#[track_caller]
fn wait_until_durable(server: &Server) {
    let taken = server.metric("tokenwatch_journal_records_taken");
    assert!(taken > 0.0);
    let durable = || server.metric("tokenwatch_journal_records_durable");
    wait_for("the journal", || (durable() >= taken).then_some(()));
}

fn containment(place: &Place) -> Option<String> {
    let shown: Value = place.ok(&["key", "show", "steady", "--json"]).json();
    shown["containments"].as_array()?.iter().find_map(|c| Some(c["id"].as_str()?.to_owned()))
}
