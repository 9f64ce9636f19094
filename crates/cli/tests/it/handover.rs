//! A server is replaced by the next one without a failed request, and what one knows the other knows.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::secret::Secret;

use crate::crash::assert_books_equal_journal;
use crate::harness::{Client, Mock, Place, Server, Start, chat, free_port, wait_for};
use crate::past::{journalled, stolen};

const HANDOVERS: usize = 5;

/// How a caller connects and what it asks for.
#[derive(Clone, Copy, Debug)]
struct Habit {
    keeps_alive: bool,
    streams: bool,
    /// Pause between its requests.
    pause: Duration,
}

/// Callers that must never fail.
struct Crowd {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<String>>>,
    callers: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn start(server: &Server, path: Option<&'static str>, callers: &[(Habit, Secret)]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let failures = Arc::new(Mutex::new(Vec::new()));
        let address = server.gateway;
        let caller = |(habit, key): &(Habit, Secret)| {
            let (habit, key) = (*habit, key.clone());
            let (stop, served, failures) = (stop.clone(), served.clone(), failures.clone());
            std::thread::spawn(move || {
                let mut client = Client::new(address);
                while !stop.load(Ordering::Acquire) {
                    if !habit.keeps_alive {
                        client = Client::new(address);
                    }
                    let pace = [("x-mock-chunks", "6"), ("x-mock-chunk-delay-ms", "20")];
                    let mut request = chat(&key, habit.streams, if habit.streams { &pace } else { &[] });
                    if let Some(path) = path {
                        *request.uri_mut() = path.parse().unwrap();
                    }
                    match client.send(request) {
                        Ok(answer) if answer.status == 200 && is_whole(habit, &answer.text()) => {
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => {
                            let text = format!("{habit:?}: {} {}", answer.status, answer.text());
                            failures.lock().unwrap().push(text);
                        }
                        Err(error) => failures.lock().unwrap().push(format!("{habit:?}: {error}")),
                    }
                    std::thread::sleep(habit.pause);
                }
            })
        };
        let callers = callers.iter().map(caller).collect();
        Self { stop, served, failures, callers }
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests were served.
    #[track_caller]
    fn go_on(&self, more: u64) {
        let until = self.served() + more;
        wait_for("requests to be served", || (self.served() >= until).then_some(()));
    }

    /// Ends it; how many were served.
    #[track_caller]
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.callers.into_iter().for_each(|caller| caller.join().unwrap());
        let failures = self.failures.lock().unwrap();
        assert!(failures.is_empty(), "{} failed: {:#?}", failures.len(), &failures[..failures.len().min(20)]);
        self.served.load(Ordering::Relaxed)
    }
}

fn is_whole(habit: Habit, text: &str) -> bool {
    !habit.streams || text.trim_end().ends_with("data: [DONE]")
}

fn habits() -> Vec<Habit> {
    let mut habits = Vec::new();
    for keeps_alive in [true, false] {
        for streams in [true, false] {
            // Some never rest, some idle so long that the drain finds them idle.
            for pause_ms in [0, 0, 130] {
                habits.push(Habit { keeps_alive, streams, pause: Duration::from_millis(pause_ms) });
            }
        }
    }
    habits
}

/// A configuration with ports of its own, so that the next server listens on the same.
fn fix_ports(place: &Place, mock: &Mock, more: &str) {
    let (gateway, admin) = (free_port(), free_port());
    let text = place.config(mock, more);
    let text = text.replacen("127.0.0.1:0", &gateway.to_string(), 1);
    place.configure(&text.replacen("127.0.0.1:0", &admin.to_string(), 1));
}

#[test]
fn no_request_fails_while_servers_replace_each_other() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    fix_ports(&place, &mock, "[storage]\ncheckpoint_every_s = 1\n");
    let names: Vec<String> = (0..4).map(|i| format!("k{i}")).collect();
    let keys: Vec<Secret> = names.iter().map(|name| place.issue(name, &[])).collect();
    let callers: Vec<(Habit, Secret)> = habits().into_iter().zip(keys.iter().cloned().cycle()).collect();
    let mut server = place.serve();
    let crowd = Crowd::start(&server, None, &callers);
    for _ in 0..HANDOVERS {
        crowd.go_on(30);
        let next = place.serve();
        assert!(next.log().contains("taken over from the server that runs"), "{}", next.log());
        crowd.go_on(10);
        std::mem::replace(&mut server, next).stop();
    }
    crowd.go_on(30);
    let served = crowd.end();
    for key in &keys {
        assert_eq!(server.client().status(key), 200);
    }
    assert_books_equal_journal(&place, &server, &names);
    assert_eq!(journalled(&place).len() as u64, served + keys.len() as u64);
    // Who took over is reachable by the admin API, too.
    assert_eq!(server.admin("/api/v1/whoami")["name"], "local");
    server.stop();
}

#[test]
fn budgets_and_what_was_learned_go_over() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    fix_ports(&place, &mock, "");
    let theft = stolen(&place, "steady");
    let slow = place.issue("slow", &["--concurrency", "5"]);
    let old = place.serve();
    let refused = theft.steal(&old);
    // A stream that the old server ends long after the new one has begun.
    let streaming = std::thread::spawn({
        let client = Client::new(old.gateway);
        let pace =
            [("x-mock-chunks", "40"), ("x-mock-chunk-delay-ms", "100"), ("x-mock-output-tokens", "90")];
        let request = chat(&slow, true, &pace);
        move || client.send(request).unwrap()
    });
    let in_flight = |server: &Server| server.admin("/api/v1/keys/slow")["live"]["in_flight"] == 1;
    wait_for("a stream in flight", || in_flight(&old).then_some(()));
    let new = place.serve();
    old.stop();
    let answer = streaming.join().unwrap();
    assert!(answer.text().trim_end().ends_with("data: [DONE]"), "{}", answer.text());
    let spent = wait_for("the old server's event to be taken in", || {
        let shown = new.admin("/api/v1/keys/slow");
        let spent: NanoUsd = serde_json::from_value(shown["live"]["spent_month"].clone()).ok()?;
        (spent > NanoUsd::ZERO).then_some(spent)
    });
    let events = journalled(&place);
    let of_slow = |event: &&UsageEvent| event.request.key != theft.id;
    let slow_cost: NanoUsd = events.iter().filter(of_slow).map(|event| event.cost).sum();
    assert_eq!(spent, slow_cost);
    assert_eq!(theft.send(&new, &refused).status, 403);
    theft.assert_owner_is_served(&new);
    new.stop();
}

#[test]
fn a_successor_that_is_gone_leaves_everything_to_the_old_server() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    fix_ports(&place, &mock, "[storage]\ncheckpoint_every_s = 1\n");
    let key = place.issue("k", &[]);
    let old = place.serve();
    let serving = || std::fs::read_to_string(place.state().join("serving")).unwrap();
    let first = serving();
    place.serve().kill();
    assert_ne!(serving(), first);
    // The old one saves checkpoints again, and is there for another successor.
    let name = first.split(' ').next().unwrap();
    wait_for("the old server to be back in its place", || serving().starts_with(name).then_some(()));
    assert_eq!(old.client().status(&key), 200);
    let next = place.serve();
    old.stop();
    assert_eq!(next.client().status(&key), 200);
    next.stop();
}

#[test]
fn sockets_of_a_service_manager_are_used() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let key = place.issue("k", &[]);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let script = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
    let by = || Some(["/bin/sh", "-c", script, "sh"].map(str::to_owned).to_vec());
    let start = |socket: &std::net::TcpListener| Start {
        by: by(),
        stdin: Some(OwnedFd::from(socket.try_clone().unwrap())),
        ..Start::default()
    };
    let server = place.serve_with(start(&socket));
    assert_eq!(server.gateway, address);
    let habit = Habit { keeps_alive: false, streams: false, pause: Duration::ZERO };
    let crowd = Crowd::start(&server, None, &[(habit, key.clone()), (habit, key)]);
    crowd.go_on(20);
    // The manager holds the socket, so nobody is turned away while no server runs.
    server.stop();
    let server = place.serve_with(start(&socket));
    crowd.go_on(20);
    crowd.end();
    server.stop();
}
