//! What a command changes is in force on a running server, streams in flight included. That it is after one tick of
//! following the store is tested where ticks can be counted (`crates/console/tests/it/follow.rs`); how long that took
//! here is printed: `cargo test -p tokenwatch-cli --test it power -- --nocapture`.

use std::time::Instant;

use serde_json::Value;
use tokenwatch_model::secret::Secret;

use crate::harness::{Client, Mock, Place, Server, chat, wait_for};
use crate::past::stolen;

const LONG: [(&str, &str); 2] = [("x-mock-chunks", "1200"), ("x-mock-chunk-delay-ms", "50")];

/// Waits until a request with the key is answered with the status, and prints how long that took.
fn until(client: &Client, key: &Secret, status: u16, what: &str) {
    let start = Instant::now();
    let answered = || match status {
        200 => client.status(key),
        // A whole answer that is under way when its key ends is broken off; then the next one tells.
        _ => client.send(chat(key, false, &[])).map_or(0, |answer| answer.status.as_u16()),
    };
    wait_for("another status", || (answered() == status).then_some(()));
    println!("{what}: {status} after {:?}", start.elapsed());
}

fn in_flight(server: &Server, name: &str) -> u64 {
    server.admin(&format!("/api/v1/keys/{name}"))["live"]["in_flight"].as_u64().unwrap_or(0)
}

/// Runs a long stream on a key, changes the key, and checks that both the key and the stream ended.
#[track_caller]
fn cut(place: &Place, server: &Server, name: &str, change: &[&str], status: u16) {
    let key = place.issue(name, &[]);
    let client = server.client();
    until(&client, &key, 200, "issued");
    let streaming = std::thread::spawn({
        let (client, request) = (server.client(), chat(&key, true, &LONG));
        move || client.lossy(request)
    });
    wait_for("a stream in flight", || (in_flight(server, name) == 1).then_some(()));
    place.ok(change);
    until(&client, &key, status, &change.join(" "));
    let start = Instant::now();
    let (answer, _) = streaming.join().unwrap();
    println!("its stream ended {:?} later", start.elapsed());
    // It would have gone on for a minute, to its whole end.
    let text = answer.text();
    assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
}

#[test]
fn ended_keys_are_refused_and_their_streams_are_cut() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let server = place.serve();
    for (name, change, status) in [("a", "revoke", 401), ("b", "disable", 403)] {
        cut(&place, &server, name, &["key", change, name], status);
    }
    cut(&place, &server, "c", &["key", "expire", "c", "--in", "1s"], 403);
    let change = ["incident", "contain", "d", "--action", "suspend", "--reason", "looks odd"];
    cut(&place, &server, "d", &change, 403);
    server.stop();
}

#[test]
fn what_is_switched_on_again_works_again() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    place.ok(&["owner", "add", "--name", "search", "--on-call", "rota"]);
    let key = place.issue("k", &["--owner", "search"]);
    let server = place.serve();
    let client = server.client();
    assert_eq!(client.status(&key), 200);
    place.ok(&["key", "disable", "k", "--reason", "leaked?"]);
    until(&client, &key, 403, "disable");
    place.ok(&["key", "enable", "k"]);
    until(&client, &key, 200, "enable");
    place.ok(&["owner", "edit", "search", "--model", "claude-*"]);
    until(&client, &key, 403, "owner edit");
    let refused = client.chat(&key, &[]).text();
    assert!(refused.contains("model_not_in_scope"), "{refused}");
    place.ok(&["key", "edit", "k", "--model", "gpt-*"]);
    until(&client, &key, 200, "key edit");
    place.ok(&["key", "edit", "k", "--reset"]);
    until(&client, &key, 403, "key reset");
    place.ok(&["owner", "edit", "search", "--reset"]);
    until(&client, &key, 200, "owner reset");
    place.ok(&["key", "expire", "k", "--in", "1s"]);
    until(&client, &key, 403, "expire in 1s");
    place.ok(&["key", "expire", "k", "--in", "never"]);
    until(&client, &key, 200, "never expire");
    server.stop();
}

#[track_caller]
fn incidents(place: &Place) -> Vec<Value> {
    place.ok(&["incident", "list", "--all", "--json"]).json().as_array().unwrap().clone()
}

#[test]
fn a_dismissed_incident_is_lifted_and_stays_so() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "[storage]\ncheckpoint_every_s = 3600\n");
    let key = stolen(&place, "steady");
    let server = place.serve();
    key.assert_owner_is_served(&server);
    let refused = key.steal(&server);
    key.assert_owner_is_served(&server);
    let open = wait_for("an incident", || {
        let open = incidents(&place);
        (!open.is_empty() && open[0]["containments"][0].is_string()).then_some(open)
    });
    assert_eq!(open.len(), 1, "{open:?}");
    place.ok(&["incident", "dismiss", open[0]["id"].as_str().unwrap()]);
    let start = Instant::now();
    wait_for("the thief to be let in", || (key.send(&server, &refused).status == 200).then_some(()));
    println!("dismissed: let in after {:?}", start.elapsed());
    for _ in 0..30 {
        assert_eq!(key.send(&server, &refused).status, 200);
    }
    // A crash does not bring the suspicion back, nor one that hits before the server has heard of it.
    server.kill();
    let server = place.serve();
    assert_eq!(key.send(&server, &refused).status, 200);
    server.stop();
    assert_eq!(incidents(&place).len(), 1);
}

#[test]
fn what_is_said_while_no_server_runs_is_heard() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let key = stolen(&place, "steady");
    let server = place.serve();
    let refused = key.steal(&server);
    let open = wait_for("an incident", || {
        let open = incidents(&place);
        (!open.is_empty() && open[0]["containments"][0].is_string()).then_some(open)
    });
    server.kill();
    place.ok(&["incident", "dismiss", open[0]["id"].as_str().unwrap()]);
    let server = place.serve();
    assert_eq!(key.send(&server, &refused).status, 200);
    server.stop();
}
