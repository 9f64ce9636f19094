//! A key whose saved state is damaged: rebuilt where its events tell everything, refused where not.

use serde_json::Value;
use tokenwatch_store::{Checkpoint, JournalPositions};

use crate::crash::assert_books_equal_journal;
use crate::harness::{Mock, Place, Server, wait_for};
use crate::past::{Stolen, open_store, stolen};

const CONFIG: &str = "[storage]\ncheckpoint_every_s = 1\n";

/// Uses a key with a past until a checkpoint holds some of it, and kills the server.
fn live_and_die(place: &Place) -> (Stolen, Checkpoint) {
    let key = stolen(place, "steady");
    place.ok(&["key", "edit", "steady", "--budget-total", "1000", "--rpm", "100000"]);
    let server = place.serve();
    key.assert_owner_is_served(&server);
    let store = open_store(place);
    let first = wait_for("a checkpoint", || store.load_checkpoint(key.id).unwrap());
    key.assert_owner_is_served(&server);
    let saved = wait_for("another one", || {
        store.load_checkpoint(key.id).unwrap().filter(|saved| saved.seq > first.seq)
    });
    server.kill();
    (key, saved)
}

fn save(place: &Place, saved: &Checkpoint, body: Vec<u8>) {
    let damaged = Checkpoint { body, ..saved.clone() };
    open_store(place).save_checkpoints([&damaged], &JournalPositions::default()).unwrap();
}

fn conditions(server: &Server) -> Vec<Value> {
    server.admin("/readyz")["reasons"].as_array().unwrap().clone()
}

#[test]
fn a_damaged_key_is_rebuilt_from_its_events() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, CONFIG);
    let (key, saved) = live_and_die(&place);
    let half = saved.body[..saved.body.len() / 2].to_vec();
    save(&place, &saved, half);
    let server = place.serve();
    let request = &key.owner[0];
    // What it gets before it is rebuilt is a refusal, never a fresh budget.
    wait_for("the key", || {
        let answer = key.send(&server, request);
        let is_refused = answer.status == 503 && answer.text().contains("overloaded");
        assert!(is_refused || answer.status.as_u16() == request.status, "{}", answer.text());
        (!is_refused).then_some(())
    });
    assert_books_equal_journal(&place, &server, &["steady".to_owned()]);
    wait_for("the log", || server.log().contains("was rebuilt from its events").then_some(()));
    assert!(conditions(&server).iter().all(|reason| reason["code"] != "damaged_keys"));
    key.assert_owner_is_served(&server);
    let saved_again =
        || open_store(&place).load_checkpoint(key.id).unwrap().filter(|now| now.seq > saved.seq);
    wait_for("a checkpoint", saved_again);
    server.kill();
    // It is saved like any other, and comes back with the same money.
    let server = place.serve();
    key.assert_owner_is_served(&server);
    assert_books_equal_journal(&place, &server, &["steady".to_owned()]);
    assert!(!server.log().contains("is damaged"), "{}", server.log());
    server.stop();
}

#[test]
fn a_key_that_can_not_be_rebuilt_is_refused_and_named() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, CONFIG);
    let (stolen, saved) = live_and_die(&place);
    let mut later = saved.body.clone();
    later[0] = 2;
    save(&place, &saved, later.clone());
    let key = place.issue("other", &[]);
    let server = place.serve();
    assert_eq!(stolen.send(&server, &stolen.owner[0]).status, 503);
    let named = wait_for("the reason", || {
        let mut reasons = conditions(&server).into_iter();
        reasons.find(|reason| reason["code"] == "damaged_keys")
    });
    assert!(named["message"].as_str().unwrap().contains(&stolen.id.to_string()), "{named}");
    wait_for("the attempt", || server.log().contains("can not be rebuilt").then_some(()));
    assert!(server.log().contains("version 2"), "{}", server.log());
    // The others are served, and nothing is written over what a later version may read.
    assert_eq!(server.client().status(&key), 200);
    assert_eq!(stolen.send(&server, &stolen.owner[0]).status, 503);
    server.stop();
    assert_eq!(open_store(&place).load_checkpoint(stolen.id).unwrap().unwrap().body, later);
}
