//! The first minute: with nothing but a provider's key in the environment, and everything that can be wrong then.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use tokenwatch_model::secret::Secret;

use crate::harness::{Mock, PROVIDER_KEY, Place, Start, free_port, wait_for};

fn bare(mock: Option<&Mock>) -> Start {
    let mut start = Start::default();
    if let Some(mock) = mock {
        start.env.insert("OPENAI_API_KEY", PROVIDER_KEY.to_owned());
        start.env.insert("OPENAI_UPSTREAM_URL", format!("http://{}", mock.address));
    }
    start.args = vec!["--listen".to_owned(), free_port().to_string()];
    start
}

/// A configuration that only keeps the admin API off its usual port, which other tests share.
fn quiet(place: &Place) {
    place.configure("[admin]\nlisten = \"127.0.0.1:0\"\n");
}

#[test]
fn a_key_in_the_environment_is_enough() {
    let mock = Mock::start();
    let place = Place::new();
    quiet(&place);
    let start = bare(Some(&mock));
    let address = start.args[1].clone();
    let mut server = place.serve_with(start);
    let printed = server.stdout();
    let key = printed.split_whitespace().find(|word| word.starts_with("sk-tw-")).unwrap();
    assert!(printed.contains(&format!("OPENAI_BASE_URL=http://{address}/v1")), "{printed}");
    assert_eq!(server.client().status(&Secret::new(key)), 200);
    assert!(!server.log().contains(key));
    server.process.signal(Signal::INT);
    assert_eq!(server.process.ended().code(), Some(0), "{}", server.log());
    let again = place.serve_with(bare(Some(&mock)));
    assert_eq!(again.stdout(), "");
    assert_eq!(again.client().status(&Secret::new(key)), 200);
    again.stop();
}

/// Starts a server that has to fail, and returns what it says.
#[track_caller]
fn fails(place: &Place, start: Start) -> String {
    let mut server = place.spawn(start);
    assert_eq!(server.process.ended().code(), Some(1), "{}", server.log());
    assert_eq!(server.stdout(), "");
    server.log()
}

#[track_caller]
fn says(log: &str, words: &[&str]) {
    for word in words {
        assert!(log.contains(word), "{word}: {log}");
    }
}

#[test]
fn without_a_provider_it_says_what_to_set() {
    let place = Place::new();
    let log = fails(&place, bare(None));
    says(&log, &["error: no provider is configured", "OPENAI_API_KEY", "[[provider]]"]);
    assert!(!place.state().exists());
}

#[test]
fn a_port_in_use_is_told_whoever_has_it() {
    let mock = Mock::start();
    let (place, other) = (Place::new(), Place::new());
    quiet(&place);
    quiet(&other);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut start = bare(Some(&mock));
    start.args[1] = taken.local_addr().unwrap().to_string();
    says(
        &fails(&place, start),
        &[&taken.local_addr().unwrap().to_string(), "is another program using the port"],
    );
    // Another TokenWatch on another state directory is another program: they must not share connections.
    let server = other.serve_with(bare(Some(&mock)));
    let mut start = bare(Some(&mock));
    start.args[1] = server.gateway.to_string();
    says(&fails(&place, start), &["is another program using the port", "[server] listen"]);
    server.stop();
}

#[test]
fn a_state_directory_that_can_not_be_used_is_told() {
    let mock = Mock::start();
    let place = Place::new();
    quiet(&place);
    std::fs::write(place.state(), "a file where the folder belongs").unwrap();
    let log = fails(&place, bare(Some(&mock)));
    says(&log, &["the state directory", "can not be used", &place.state().display().to_string()]);
    std::fs::remove_file(place.state()).unwrap();
    std::fs::create_dir(place.state()).unwrap();
    std::fs::set_permissions(place.state(), std::fs::Permissions::from_mode(0o500)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Rights do not bind the superuser.
        return;
    }
    says(&fails(&place, bare(Some(&mock))), &["the state directory", "can not be used"]);
}

#[test]
fn an_interrupt_during_a_request_lets_it_end() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let key = place.issue("k", &[]);
    let mut server = place.serve();
    let streaming = std::thread::spawn({
        let pace = [("x-mock-chunks", "20"), ("x-mock-chunk-delay-ms", "50")];
        let (client, request) = (server.client(), crate::harness::chat(&key, true, &pace));
        move || client.send(request).unwrap()
    });
    wait_for("a stream in flight", || {
        (server.admin("/api/v1/keys/k")["live"]["in_flight"] == 1).then_some(())
    });
    server.process.signal(Signal::INT);
    assert!(streaming.join().unwrap().text().contains("[DONE]"));
    assert_eq!(server.process.ended().code(), Some(0), "{}", server.log());
}
