//! A changed configuration is in force without a restart, a wrong one changes nothing, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::Request;
use http_body_util::Full;
use rustix::process::Signal;
use tokenwatch_model::secret::Secret;

use crate::harness::{Client, Mock, Place, Server, chat, wait_for};

const ONE_A_MINUTE: &str = "[defaults.limits]\nrequests_per_minute = 1\n";
const REJECTED: &str = "tokenwatch_config_reloads_total{result=\"rejected\"}";

#[track_caller]
fn wait_for_status(server: &Server, key: &Secret, status: u16) {
    let client = server.client();
    wait_for("a status", || (client.status(key) == status).then_some(()));
}

#[test]
fn new_limits_are_in_force_after_a_signal_and_after_a_change_of_the_file() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let key = place.issue("k", &[]);
    let server = place.serve();
    wait_for_status(&server, &key, 200);
    place.configure(&place.config(&mock, ONE_A_MINUTE));
    server.process.signal(Signal::HUP);
    wait_for_status(&server, &key, 429);
    place.configure(&place.config(&mock, ""));
    wait_for_status(&server, &key, 200);
    server.stop();
}

#[test]
fn a_wrong_file_changes_nothing_and_every_error_is_told() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let key = place.issue("k", &[]);
    let server = place.serve();
    let wrong = "[storage]\nretention_days = 0\n[log]\nformat = \"loud\"\nnoise = 3\n[detektion]\n";
    place.configure(&place.config(&mock, &format!("{ONE_A_MINUTE}{wrong}")));
    server.process.signal(Signal::HUP);
    wait_for("the file to be rejected", || (server.metric(REJECTED) >= 1.0).then_some(()));
    let log = server.log();
    for told in ["retention_days: must be at least 1", "noise", "[detektion]: no such section"] {
        assert!(log.contains(told), "{told}: {log}");
    }
    assert!(log.contains("the last good one stays in force"), "{log}");
    // A file that is named but not there is the file's error, too.
    let rejected = server.metric(REJECTED);
    place
        .configure(&place.config(&mock, &format!("{ONE_A_MINUTE}[network]\nasn_database = \"none.mmdb\"\n")));
    server.process.signal(Signal::HUP);
    wait_for("the file to be rejected", || (server.metric(REJECTED) > rejected).then_some(()));
    let rejected = server.metric(REJECTED);
    std::fs::remove_file(place.path("tokenwatch.toml")).unwrap();
    server.process.signal(Signal::HUP);
    wait_for("the missing file to be told", || (server.metric(REJECTED) > rejected).then_some(()));
    for _ in 0..3 {
        assert_eq!(server.client().status(&key), 200);
    }
    place.configure(&place.config(&mock, ONE_A_MINUTE));
    wait_for_status(&server, &key, 429);
    server.stop();
}

fn models(client: &Client, path: &str, key: &Secret) -> u16 {
    let request = Request::builder().uri(path).header("authorization", format!("Bearer {}", key.expose()));
    client.send(request.body(Full::default()).unwrap()).unwrap().status.as_u16()
}

#[test]
fn providers_come_and_go_while_requests_run() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let key = place.issue("k", &[]);
    let server = place.serve();
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = [true, false]
        .map(|stream| {
            let (client, key, stop, served) = (server.client(), key.clone(), stop.clone(), served.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    let pace = [("x-mock-chunks", "5"), ("x-mock-chunk-delay-ms", "10")];
                    let answer = client.send(chat(&key, stream, if stream { &pace } else { &[] })).unwrap();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    assert!(!stream || answer.text().contains("[DONE]"));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .into_iter()
        .collect();
    let client = server.client();
    let second = place.provider(&mock, "second", "openai");
    for _ in 0..5 {
        place.configure(&place.config(&mock, &second));
        server.process.signal(Signal::HUP);
        wait_for("the second provider", || (models(&client, "/second/v1/models", &key) == 200).then_some(()));
        place.configure(&place.config(&mock, ""));
        server.process.signal(Signal::HUP);
        wait_for("its end", || (models(&client, "/second/v1/models", &key) != 200).then_some(()));
    }
    stop.store(true, Ordering::Release);
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    assert!(served.load(Ordering::Relaxed) > 20);
    server.stop();
}
