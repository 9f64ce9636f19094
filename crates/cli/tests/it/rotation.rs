//! A key's credential is replaced while its application runs: nothing is refused that should not be.

use serde_json::Value;
use tokenwatch_model::secret::Secret;

use crate::harness::{Client, Mock, Place, wait_for};

fn rotate(place: &Place, more: &[&str]) -> Secret {
    let mut args = vec!["key", "rotate", "search-prod", "--json"];
    args.extend(more);
    Secret::new(place.ok(&args).json()["key"].as_str().unwrap())
}

/// What a request with this credential is told: `served`, or the code of the refusal.
fn told(client: &Client, secret: &Secret) -> String {
    let answer = client.chat(secret, &[("user-agent", "OpenAI/Python 1.99.1")]);
    if answer.status == 200 {
        return "served".to_owned();
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    body["error"]["code"].as_str().unwrap().to_owned()
}

#[track_caller]
fn until(client: &Client, secret: &Secret, want: &str) {
    wait_for(want, || (told(client, secret) == want).then_some(()));
}

#[test]
fn an_application_moves_to_a_new_credential_without_a_refusal() {
    let mock = Mock::start();
    let place = Place::with_config(&mock, "");
    let first = place.issue("search-prod", &["--budget-day", "50"]);
    let server = place.serve();
    let client = server.client();
    assert_eq!(told(&client, &first), "served");
    let spent = || -> f64 {
        let shown = server.admin("/api/v1/keys/search-prod");
        shown["live"]["spent_day"].as_str().unwrap().parse().unwrap()
    };
    let before = spent();
    let second = rotate(&place, &["--overlap", "2h"]);
    // The old one is taken all the time until the server knows the new one, and after.
    wait_for("the new credential", || {
        assert_eq!(told(&client, &first), "served");
        (told(&client, &second) == "served").then_some(())
    });
    assert_eq!(told(&client, &first), "served");
    // Budget and history are the key's, not the credential's.
    assert!(before > 0.0 && spent() > before, "{before} {}", spent());
    let shown = wait_for("the journal", || {
        let shown = place.ok(&["key", "show", "search-prod", "--json"]).json();
        (!shown["previous_callers"].as_array().unwrap().is_empty()).then_some(shown)
    });
    let caller = &shown["previous_callers"][0];
    assert_eq!((&caller["client"], &caller["refused"]), (&Value::from("openai-python"), &Value::from(0)));
    let text = place.ok(&["key", "show", "search-prod"]).stdout;
    assert!(text.contains("the credential before works for") && text.contains("openai-python"), "{text}");
    let again = place.run(&["key", "rotate", "search-prod"]);
    assert!(again.code == 1 && again.stderr.contains("key retire search-prod"), "{again:?}");
    place.ok(&["key", "retire", "search-prod", "--reason", "all moved"]);
    until(&client, &first, "key_rotated");
    assert_eq!(told(&client, &second), "served");
    // It outlives a crash.
    server.kill();
    let server = place.serve();
    let client = server.client();
    assert_eq!((told(&client, &first), told(&client, &second)), ("key_rotated".into(), "served".into()));
    // In an emergency there is no overlap.
    let third = rotate(&place, &["--overlap", "0", "--reason", "leaked"]);
    until(&client, &second, "key_rotated");
    // The first to hear it may have been on its way and was cut; now all are refused.
    let codes = [&first, &second, &third].map(|secret| told(&client, secret));
    assert_eq!(codes, ["unknown_key", "key_rotated", "served"]);
    let shown = wait_for("the refusals", || {
        let text = place.ok(&["key", "show", "search-prod"]).stdout;
        text.contains("of them refused").then_some(text)
    });
    assert!(shown.contains("is refused since"), "{shown}");
    for secret in [&first, &second, &third] {
        for file in place.files() {
            let bytes = std::fs::read(&file).unwrap_or_default();
            let secret = secret.expose().as_bytes();
            assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{}", file.display());
        }
    }
    server.stop();
}
