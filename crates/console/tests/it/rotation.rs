//! Rotation of a key's credential over the admin API.

use serde_json::{Value, json};
use tokenwatch_console::manage::Issued;
use tokenwatch_console::records::{Records as _, RecordsError, Role};
use tokenwatch_console::rotation::{Callers, OVERLAP, RotateSpec};
use tokenwatch_model::client::Client;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::NetworkFacts;
use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::secret::{Secret, SecretHash};
use tokenwatch_model::time::{DAY, HOUR, MINUTE, Timestamp};
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};

use crate::server::{Answer, Server};

/// A request on a key.
fn event(key: KeyId, time: Timestamp) -> UsageEvent {
    UsageEvent {
        request: RequestContext {
            id: RequestId::new(1, 1),
            key,
            time,
            source: Source { address: "203.0.113.7".parse().unwrap(), facts: NetworkFacts::default() },
            client: Client::default(),
            provider: "openai".into(),
            endpoint: Endpoint::ChatCompletions,
            model: "gpt-4o-mini".into(),
            stream: false,
            shape: Shape::default(),
            input_tokens_estimate: 10,
            output_tokens_max: 100,
            cost_worst: NanoUsd::from_cents(1),
            request_bytes: 300,
            siblings: Default::default(),
            previous_credential: false,
        },
        key_seq: 1,
        outcome: Outcome::Served,
        status: 200,
        usage: TokenUsage::default(),
        usage_source: UsageSource::None,
        cost: NanoUsd::ZERO,
        price_source: PriceSource::None,
        response_bytes: 0,
        first_byte_us: 0,
        duration_us: 0,
        completion: 0,
    }
}

fn say(server: &Server, key: KeyId, verb: &str, body: Value) -> Answer {
    server.ask(Role::Admin, "POST", &format!("/api/v1/keys/{key}/{verb}"), Some(body))
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

/// The newest credential of a key, and the one before it.
#[track_caller]
fn check_credentials(server: &Server, key: KeyId, newest: &str, previous: &SecretHash) {
    let stored = server.records.key(key).unwrap().unwrap();
    assert!(stored.hash.matches(&SecretHash::of(newest.as_bytes())));
    assert!(stored.previous.unwrap().matches(previous));
}

#[test]
fn a_key_gets_a_new_credential_and_stays_the_key_it_is() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    server.clock.move_on(HOUR);
    let before = server.records.key(key).unwrap().unwrap();
    let answer = say(&server, key, "rotate", json!({ "reason": "quarterly" })).expect(200);
    let rotated = answer.json();
    let secret = rotated["secret"].as_str().unwrap();
    let now = server.manager.clock.now();
    assert_eq!(rotated["key"]["rotation"], json!({ "rotated": now, "previous_ends": now.plus(OVERLAP) }));
    check_credentials(&server, key, secret, &before.hash);
    let stored = server.records.key(key).unwrap().unwrap();
    assert_eq!(
        (stored.key.id, stored.key.name, stored.key.created),
        (before.key.id, before.key.name, before.key.created)
    );
    // In force at once on the server that made it.
    let live = server.gateway.live.entry(key).unwrap();
    assert_eq!(live.revision, stored.key.revision);
    let shown = server.ask(Role::Viewer, "GET", &format!("/api/v1/keys/{key}"), None).expect(200);
    assert!(!text(&shown).contains(secret));
    let row = server.records.audit_latest(1).unwrap().remove(0);
    assert_eq!((row.entry.action.as_str(), row.entry.actor.as_str()), ("key.rotate", "admin:admin"));
    assert!(row.entry.detail.contains("quarterly") && !row.entry.detail.contains(secret));
    server.ask(Role::Responder, "POST", &format!("/api/v1/keys/{key}/rotate"), Some(json!({}))).expect_error(
        403,
        "role_too_low",
        None,
    );
}

#[test]
fn one_rotation_at_a_time() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let hash_of = |answer: &Answer| Secret::new(answer.json()["secret"].as_str().unwrap());
    say(&server, key, "retire", json!({})).expect_error(409, "not_possible", None);
    say(&server, key, "rotate", json!({ "again": true })).expect_error(409, "not_possible", None);
    let field = Some("overlap_seconds");
    say(&server, key, "rotate", json!({ "overlap_seconds": 91 * 86_400 }))
        .expect_error(400, "invalid", field);
    say(&server, key, "rotate", json!({ "expires": 1 })).expect_error(400, "invalid", Some("expires"));
    say(&server, key, "rotate", json!({ "overlap": "1h" })).expect_error(400, "invalid", Some("overlap"));
    let first = server.records.key(key).unwrap().unwrap().hash;
    let lost = hash_of(&say(&server, key, "rotate", json!({ "overlap_seconds": 3_600 })).expect(200));
    let busy = say(&server, key, "rotate", json!({}));
    assert!(text(&busy).contains("--again") && !text(&busy).contains(lost.expose()), "{}", text(&busy));
    busy.expect_error(409, "not_possible", None);
    // The lost one is replaced, the first goes on.
    let second = hash_of(&say(&server, key, "rotate", json!({ "again": true })).expect(200));
    check_credentials(&server, key, second.expose(), &first);
    let now = server.manager.clock.now();
    // Its end moves, within bounds, until it has come.
    for at in [Timestamp(now.0 - 1), now.plus(91 * DAY)] {
        say(&server, key, "retire", json!({ "at": at })).expect_error(400, "invalid", Some("at"));
    }
    say(&server, key, "retire", json!({ "at": now.plus(3 * DAY) })).expect(200);
    let ended = say(&server, key, "retire", json!({ "reason": "all moved" })).expect(200).json();
    assert_eq!(ended["key"]["rotation"]["previous_ends"], json!(now));
    say(&server, key, "retire", json!({})).expect_error(409, "not_possible", None);
    // An edit changes no credential.
    let path = format!("/api/v1/keys/{key}");
    let edited = server.ask(Role::Admin, "PATCH", &path, Some(json!({ "service": "x" }))).expect(200).json();
    assert_eq!(edited["key"]["rotation"], ended["key"]["rotation"]);
    let third = hash_of(&say(&server, key, "rotate", json!({ "overlap_seconds": 0 })).expect(200));
    check_credentials(&server, key, third.expose(), &SecretHash::of(second.expose().as_bytes()));
    // In an emergency all but the newest end, also those of a rotation under way.
    let fourth = hash_of(&say(&server, key, "rotate", json!({})).expect(200));
    let fifth = hash_of(&say(&server, key, "rotate", json!({ "overlap_seconds": 0 })).expect(200));
    check_credentials(&server, key, fifth.expose(), &SecretHash::of(fourth.expose().as_bytes()));
    say(&server, key, "retire", json!({})).expect_error(409, "not_possible", None);
    say(&server, key, "revoke", json!({})).expect(200);
    say(&server, key, "rotate", json!({})).expect_error(409, "not_possible", None);
}

#[test]
fn a_rotation_decided_on_an_old_revision_is_refused() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let revision = server.records.key(key).unwrap().unwrap().key.revision;
    let Issued { key: rotated, .. } =
        server.manager.rotate("search-prod", Some(revision), &RotateSpec::default(), "cli:ada").unwrap();
    assert_eq!(rotated.expires, None);
    let spec = RotateSpec { again: true, ..RotateSpec::default() };
    let stale =
        server.manager.rotate("search-prod", Some(revision), &spec, "cli:ada").map(|issued| issued.key);
    assert!(matches!(stale, Err(RecordsError::Stale(_))), "{stale:?}");
}

#[test]
fn who_still_presents_the_one_before_is_shown() {
    let server = Server::start();
    let key = server.make_key("search-prod");
    let path = format!("/api/v1/keys/{key}/rotation");
    let shown = || server.ask(Role::Viewer, "GET", &path, None).expect(200).json();
    assert_eq!(shown(), json!({ "rotation": null, "callers": [] }));
    say(&server, key, "rotate", json!({})).expect(200);
    let rotated = server.manager.clock.now();
    server.clock.move_on(HOUR);
    let now = server.manager.clock.now();
    let mut events = Vec::new();
    for (client, at, previous, outcome) in [
        ("openai-python", now, true, Outcome::Served),
        ("openai-python", Timestamp(now.0 - MINUTE), true, Outcome::Served),
        ("openai-python", now, false, Outcome::Served),
        ("curl", now, true, Outcome::Refused(Refusal::Rotated)),
        // Before the rotation, and of another key.
        ("old", Timestamp(rotated.0 - 1), true, Outcome::Served),
    ] {
        let mut seen = event(key, at);
        seen.request.client.family = client.into();
        seen.request.previous_credential = previous;
        seen.outcome = outcome;
        events.push(seen);
    }
    let mut other = event(KeyId::from_bits(99), now);
    other.request.previous_credential = true;
    events.push(other);
    *server.records.events.lock().unwrap() = events;
    let callers = shown()["callers"].clone();
    let network = json!({ "asn": 0, "country": "??", "kind": "unknown" });
    assert_eq!(
        callers,
        json!([
            { "network": network, "client": "openai-python", "requests": 2, "refused": 0, "last": now },
            { "network": network, "client": "curl", "requests": 1, "refused": 1, "last": now },
        ])
    );
}

#[test]
fn many_callers_are_counted_whole() {
    let key = KeyId::from_bits(1);
    let mut callers = Callers::default();
    for n in 0..120 {
        let mut seen = event(key, Timestamp(n));
        seen.request.client.family = format!("client-{n}").into();
        seen.request.previous_credential = true;
        callers.see(key, &seen);
    }
    let busiest = callers.busiest();
    assert_eq!(busiest.len(), 50);
    assert_eq!(busiest.iter().map(|caller| caller.requests).sum::<u64>(), 120);
}
