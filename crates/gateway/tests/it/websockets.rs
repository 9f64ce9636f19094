//! Websockets: what flows, what ends them, and that they are tried and held back like other calls.

use tokenwatch_model::containment::Action;
use tokenwatch_model::key::Policy;
use tokenwatch_model::limit::Budgets;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::{Cut, Outcome};
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::scope::Scope;
use tokenwatch_model::secret::Secret;
use tokenwatch_testkit::websocket::{Frame, accept_key};

use crate::rig::{OUTPUT, PROVIDER_KEYS, Raw, Rig, Setup, error_code, get, rig};

fn with_endpoints(endpoints: &[Endpoint]) -> Policy {
    let scope = Scope { endpoints: Some(endpoints.to_vec()), ..Scope::default() };
    Policy { scope, ..Policy::default() }
}

fn upgrade(secret: &Secret, query: &str) -> String {
    format!(
        "GET /v1/realtime{query} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        secret.expose()
    )
}

#[test]
fn a_websocket_echoes_until_it_is_cut() {
    let rig = rig();
    let secret = rig.add_key(1, with_endpoints(&[Endpoint::Realtime]));
    let mut raw: Raw = rig.connect();
    raw.write(upgrade(&secret, "?model=gpt-4o-mini"));
    let read = raw.read_until(|read| read.contains("\r\n\r\n"));
    assert!(read.starts_with("HTTP/1.1 101"), "{read}");
    assert!(read.contains(&accept_key("dGhlIHNhbXBsZSBub25jZQ==")), "{read}");
    for text in ["hello", "once more"] {
        raw.write(Frame::text(text).encode(Some([1, 2, 3, 4])));
        assert!(raw.read_until(|read| read.contains(text)).contains(text));
    }
    assert_eq!(rig.gateway.live.totals().in_flight, 1);
    rig.contain(1, 1, 1, Action::Suspend);
    assert_eq!(raw.read_all(), "");
    let event = rig.event();
    assert_eq!((event.outcome, event.status), (Outcome::Cut(Cut::Containment), 101));
    assert!(event.response_bytes > 10 && event.request.request_bytes > 10, "{event:?}");
    assert_eq!(event.request.model, "gpt-4o-mini");
    assert!(rig.mock.seen().iter().all(|seen| !seen.mentions("sk-tw-")));
}

#[test]
fn a_websocket_ends_with_its_budget() {
    let rig = Rig::start(Setup { reserve_output_tokens: 10, ..Setup::default() });
    let budget = NanoUsd(1_000 * OUTPUT);
    let policy = with_endpoints(&[Endpoint::Realtime]);
    let secret =
        rig.add_key(1, Policy { budgets: Budgets { total: Some(budget), ..Budgets::default() }, ..policy });
    let mut raw: Raw = rig.connect();
    raw.write(upgrade(&secret, "?model=gpt-4o-mini"));
    raw.read_until(|read| read.contains("\r\n\r\n"));
    // Each is echoed: some 100 bytes up and down.
    for n in 0..10_000 {
        let text = format!("{n:0100}");
        raw.write(Frame::text(&text).encode(Some([1, 2, 3, 4])));
        if !raw.read_until(|read| read.contains(&text)).contains(&text) {
            break;
        }
    }
    let event = rig.event();
    assert_eq!(event.outcome, Outcome::Cut(Cut::Budget));
    assert!(event.cost >= budget && event.cost.0 < budget.0 + 100 * OUTPUT, "{:?}", event.cost);
}

#[test]
fn a_websocket_needs_its_scope_and_one_model() {
    let rig = rig();
    let scope = Scope {
        endpoints: Some(vec![Endpoint::Realtime]),
        models: Some(vec!["gpt-4o-mini".into()]),
        ..Scope::default()
    };
    let secret = rig.add_key(1, Policy { scope, ..Policy::default() });
    let plain = rig.add_key(2, Policy::default());
    for (secret, query, code) in [
        (&plain, "?model=gpt-4o-mini", "endpoint_not_in_scope"),
        (&secret, "?model=gpt-5", "model_not_in_scope"),
        (&secret, "", "model_not_in_scope"),
        (&secret, "?model=gpt-4o-mini&model=gpt-5", "bad_http"),
        (&secret, "?model=gpt-4o-mini&mod%65l=gpt-5", "bad_http"),
        (&secret, "?model=gpt-4o%2dmini", "bad_http"),
    ] {
        let read = rig.connect().write(upgrade(secret, query)).read_until(|read| read.contains(code));
        assert!(read.contains(code), "{query}: {read}");
    }
    let without = get("/v1/realtime?model=gpt-4o-mini", &secret);
    assert_eq!(error_code(&rig.run(rig.client.send_http(without)).unwrap().body), "bad_http");
    rig.events(7);
    assert_eq!(rig.mock.requests(), 0);
}

/// Asks for a websocket and returns the answer's head.
fn ask_for_websocket(rig: &Rig, secret: &Secret, more: &str) -> String {
    let request = upgrade(secret, "?model=gpt-4o-mini");
    let request = request.replacen("\r\n\r\n", &format!("\r\n{more}\r\n"), 1);
    rig.connect().write(request).read_until(|read| read.contains("\r\n\r\n"))
}

#[test]
fn websockets_feed_the_circuit_breaker_and_heed_it() {
    let rig = rig();
    let secret = rig.add_key(1, with_endpoints(&[Endpoint::Realtime, Endpoint::Models]));
    let fail = "x-mock-fail: 503\r\n";
    for _ in 0..4 {
        assert!(ask_for_websocket(&rig, &secret, fail).starts_with("HTTP/1.1 502"));
    }
    // One that works ends the row of failures.
    assert!(ask_for_websocket(&rig, &secret, "").starts_with("HTTP/1.1 101"));
    for _ in 0..5 {
        assert!(ask_for_websocket(&rig, &secret, fail).starts_with("HTTP/1.1 502"));
    }
    let asked = rig.mock.requests();
    let held = ask_for_websocket(&rig, &secret, "");
    assert!(held.starts_with("HTTP/1.1 503") && held.contains("retry-after: "), "{held}");
    // The circuit is the credential's: plain requests wait as well.
    let plain = rig.run(rig.client.send_http(get("/v1/models", &secret))).unwrap();
    assert_eq!(error_code(&plain.body), "provider_circuit_open");
    assert_eq!(rig.mock.requests(), asked);
    rig.events(12);
}

#[test]
fn websockets_try_the_next_credential() {
    let rig = Rig::start(Setup {
        credentials: PROVIDER_KEYS.to_vec(),
        accepted: vec![PROVIDER_KEYS[1]],
        ..Setup::default()
    });
    let secret = rig.add_key(1, with_endpoints(&[Endpoint::Realtime]));
    assert!(ask_for_websocket(&rig, &secret, "").starts_with("HTTP/1.1 101"));
    assert_eq!(rig.mock.requests(), 2);
    rig.events(1);
}
