//! A key whose credential is being replaced: both are taken for a while, then the newest alone.

use serde_json::json;
use tokenwatch_gateway::registry::KeyEntry;
use tokenwatch_model::credential;
use tokenwatch_model::key::{Key, KeyState, Policy, Rotation, StoredKey, Workload};
use tokenwatch_model::outcome::{Cut, Outcome, Refusal};
use tokenwatch_model::secret::{Secret, SecretHash};
use tokenwatch_model::time::{HOUR, SECOND, Timestamp};

use crate::rig::{NOON, Rig, chat, error_code, eventually, key_id, post, raw_post, rig};

const CHAT: &str = "/v1/chat/completions";
/// A stream that would go on for two minutes.
const SLOWLY: &str = "x-mock-output-tokens: 4000\r\nx-mock-chunks: 1200\r\nx-mock-chunk-delay-ms: 100\r\n";

/// The n-th credential of key 1.
fn credential(n: u8) -> (Secret, SecretHash) {
    credential::mint(key_id(1), &[n; 32])
}

/// Puts key 1 with its n-th credential in place, and the one before it until `ends`.
fn put(rig: &Rig, n: u8, before: Option<u8>, ends: Timestamp) -> Secret {
    let (secret, hash) = credential(n);
    let rotation =
        before.map(|_| Rotation { rotated: Timestamp(NOON.0 + u64::from(n)), previous_ends: ends });
    let key = Key {
        id: key_id(1),
        name: "key-1".into(),
        owner: None,
        environment: "test".into(),
        service: "it".into(),
        workload: Workload::Service,
        policy: Policy::default(),
        state: KeyState::Active,
        state_reason: "".into(),
        created: Timestamp(NOON.0 - HOUR),
        expires: None,
        rotation,
        revision: 10 * u64::from(n) + u64::from(ends < NOON.plus(HOUR)),
    };
    let stored = StoredKey { key, hash, previous: before.map(|n| credential(n).1) };
    let entry = KeyEntry::new(&stored, Policy::default().into());
    rig.gateway.live.put_key(entry.into(), rig.clock_now());
    secret
}

/// The credential of a key whose time is over, because the key has another one.
pub(crate) fn replaced(rig: &Rig) -> Secret {
    let first = put(rig, 1, None, NOON);
    put(rig, 2, Some(1), NOON);
    first
}

#[track_caller]
fn check(rig: &Rig, secret: &Secret, want: &str) {
    let body = chat(&json!({"max_tokens": 20}));
    let answer = rig.run(rig.client.send_http(post(CHAT, &body, secret.expose(), &[]))).unwrap();
    let told = if answer.status == 200 { "served".to_owned() } else { error_code(&answer.body) };
    assert_eq!(told, want);
}

#[test]
fn both_credentials_work_until_the_one_before_ends() {
    let rig = rig();
    let first = put(&rig, 1, None, NOON);
    check(&rig, &first, "served");
    let second = put(&rig, 2, Some(1), NOON.plus(2 * HOUR));
    check(&rig, &first, "served");
    check(&rig, &second, "served");
    rig.clock.advance(2 * 3_600 - 1);
    check(&rig, &first, "served");
    rig.clock.advance(1);
    check(&rig, &first, "key_rotated");
    check(&rig, &second, "served");
    // The one before the one before is nobody's.
    let third = put(&rig, 3, Some(2), NOON.plus(4 * HOUR));
    check(&rig, &first, "unknown_key");
    check(&rig, &second, "served");
    check(&rig, &third, "served");
    let events = rig.events(9);
    let presented: Vec<bool> = events.iter().map(|event| event.request.previous_credential).collect();
    assert_eq!(presented, [false, true, false, true, true, false, false, true, false]);
    assert_eq!(events[4].outcome, Outcome::Refused(Refusal::Rotated));
    // It is known whose it was, so that its owner can be told who still has it.
    assert_eq!((events[4].request.key, events[4].status), (key_id(1), 401));
}

/// What waits at the provider is told why it is not waited for any longer.
#[track_caller]
fn check_cut(end: impl Fn(&Rig), cut: &[&str]) {
    let rig = rig();
    let first = put(&rig, 1, None, NOON);
    let stream = chat(&json!({"stream": true})).to_string();
    let mut old = rig.connect();
    old.write(raw_post(CHAT, &first, &stream, SLOWLY));
    old.read_until(|read| read.matches("data:").count() > 1);
    let second = put(&rig, 2, Some(1), NOON.plus(2 * HOUR));
    let mut new = rig.connect();
    new.write(raw_post(CHAT, &second, &stream, SLOWLY));
    new.read_until(|read| read.matches("data:").count() > 1);
    let more = old.read_until(|read| read.matches("data:").count() > 2);
    assert!(!more.contains("error"), "the overlap has begun only: {more}");
    end(&rig);
    let last = old.read_until(|read| read.ends_with("0\r\n\r\n"));
    assert!(last.contains("data: {\"error\":") && cut.iter().all(|word| last.contains(word)), "{last}");
    let more = new.read_until(|read| read.matches("data:").count() > 2);
    assert!(!more.contains("error"), "{more}");
    drop(new);
    let events = rig.events(2);
    assert_eq!(events.iter().map(|event| event.request.previous_credential).collect::<Vec<_>>(), [false; 2]);
    assert_eq!(events[0].outcome, Outcome::Cut(Cut::Expired));
    check(&rig, &first, "key_rotated");
    check(&rig, &second, "served");
}

#[test]
fn streams_of_the_one_before_end_with_it_and_others_go_on() {
    check_cut(|rig| rig.clock.advance(2 * 3_600), &["key_expired"]);
    // A person ends it sooner.
    check_cut(|rig| drop(put(rig, 2, Some(1), NOON)), &["key_expired"]);
}

#[test]
fn what_waits_ends_with_the_credential_it_presented() {
    let rig = rig();
    let first = put(&rig, 1, None, NOON);
    let mut raw = rig.connect();
    raw.write(raw_post(CHAT, &first, &chat(&json!({"stream": true})).to_string(), "x-mock-fail: hang\r\n"));
    eventually("the provider has it", || rig.mock.requests() == 1);
    put(&rig, 2, Some(1), NOON.plus(2 * HOUR));
    rig.clock.advance(2 * 3_600 - 1);
    rig.gateway.live.cut_expired(rig.clock_now());
    assert_eq!(rig.gateway.live.totals().in_flight, 1);
    rig.clock.set(NOON.plus(2 * HOUR + SECOND));
    rig.gateway.live.cut_expired(rig.clock_now());
    let read = raw.read_until(|read| read.contains("\"code\""));
    assert!(read.starts_with("HTTP/1.1 401") && read.contains("key_rotated"), "{read}");
}

#[test]
fn one_that_never_came_into_use_is_replaced_and_the_one_before_goes_on() {
    let rig = rig();
    let first = put(&rig, 1, None, NOON);
    let lost = put(&rig, 2, Some(1), NOON.plus(2 * HOUR));
    let second = put(&rig, 3, Some(1), NOON.plus(2 * HOUR));
    check(&rig, &first, "served");
    check(&rig, &lost, "unknown_key");
    check(&rig, &second, "served");
}
