//! What signals do to a server that is busy.

use rustix::process::Signal;

use crate::harness::{Mock, Place, chat, wait_for};

/// A stream that would go on for a minute.
const LONG: [(&str, &str); 2] = [("x-mock-chunks", "1200"), ("x-mock-chunk-delay-ms", "50")];

/// Sends a busy server the first signals, after which it drains, and then an interrupt.
#[track_caller]
fn check(first: &[Signal]) {
    let mock = Mock::start();
    // The stream has an hour: only the interrupt can end the server before it.
    let place = Place::with_config(&mock, "");
    let text = std::fs::read_to_string(place.path("tokenwatch.toml")).unwrap();
    place.configure(&text.replace("drain_timeout_s = 20", "drain_timeout_s = 3600"));
    let key = place.issue("k", &[]);
    let mut server = place.serve();
    let client = server.client();
    let streaming = std::thread::spawn(move || client.send(chat(&key, true, &LONG)));
    wait_for("a stream in flight", || (server.metric("tokenwatch_in_flight") == 1.0).then_some(()));
    for signal in first {
        server.process.signal(*signal);
        wait_for("the drain", || server.log().contains("shutting down").then_some(()));
    }
    assert_eq!(server.process.0.try_wait().unwrap(), None, "it drains: {}", server.log());
    server.process.signal(Signal::INT);
    assert_eq!(server.process.ended().code(), Some(130), "{}", server.log());
    assert!(server.log().contains("interrupted again"));
    assert!(streaming.join().unwrap().is_err(), "the stream broke off");
    // As harmless as a crash.
    place.serve().stop();
}

#[test]
fn a_second_interrupt_ends_a_draining_server_at_once() {
    check(&[Signal::INT]);
}

#[test]
fn a_second_termination_changes_nothing() {
    check(&[Signal::TERM, Signal::TERM]);
}
