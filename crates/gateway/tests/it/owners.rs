//! Keys of one owner: each is asked about the other's newcomers, and the answer is in the event.

use std::sync::Arc;

use serde_json::json;
use tokenwatch_gateway::registry::KeyEntry;
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::context::{Siblings, SiblingsKnow};
use tokenwatch_model::finding::{Feedback, Says};
use tokenwatch_model::id::OwnerId;
use tokenwatch_model::key::{KeyState, Policy};
use tokenwatch_model::secret::Secret;

use crate::rig::{Rig, chat, key_entry, key_id, post, rig};

/// Where key number `n` is called from, and with what.
const CALLERS: [(&str, &str); 5] = [
    ("", ""),
    ("198.51.100.7", "OpenAI/Python 1.99.1"),
    ("203.0.113.9", "OpenAI/JS 4.70.0"),
    ("198.51.102.4", "Anthropic/JS 0.40.0"),
    ("198.51.103.4", "OpenAI/Python 1.99.1"),
];

fn entry(n: u64, revision: u64, state: KeyState, owner: u64) -> (Secret, Arc<KeyEntry>) {
    let (secret, entry) = key_entry(n, revision, state, None, Policy::default());
    let mut entry = Arc::into_inner(entry).unwrap();
    entry.profile.owner = Some(OwnerId::from_bits(owner));
    (secret, Arc::new(entry))
}

struct Owners {
    rig: Rig,
    secrets: Vec<Secret>,
}

impl Owners {
    /// Keys 1 and 2 of one owner, and keys 3 and 4 of two others, called once an hour for so many days.
    fn with_history(days: u64) -> Self {
        let rig = rig();
        let mut secrets = vec![Secret::new("")];
        for (n, owner) in [(1, 1), (2, 1), (3, 2), (4, 3)] {
            let (secret, entry) = entry(n, 1, KeyState::Active, owner);
            rig.gateway.live.put_key(entry, rig.clock_now());
            secrets.push(secret);
        }
        let owners = Self { rig, secrets };
        for _ in 0..days * 24 {
            owners.rig.clock.advance(3_600);
            for n in 1..5 {
                owners.ask(n, n as usize);
            }
        }
        owners
    }

    /// What the siblings of a key said of a request from one of [`CALLERS`].
    fn ask(&self, n: u64, caller: usize) -> Siblings {
        let (address, agent) = CALLERS[caller];
        let headers = [("x-forwarded-for", address), ("user-agent", agent)];
        let body = chat(&json!({}));
        let before = self.rig.memory.events().len();
        let secret = self.secrets[n as usize].expose();
        drop(self.rig.run(self.rig.client.send_http(post("/v1/chat/completions", &body, secret, &headers))));
        self.rig.events(before + 1).remove(before).request.siblings
    }

    /// A call from elsewhere with other software.
    fn stranger(&self, n: u64) {
        let headers = [("x-forwarded-for", "203.0.200.7"), ("user-agent", "curl/8.5.0")];
        let before = self.rig.memory.events().len();
        let request =
            post("/v1/chat/completions", &chat(&json!({})), self.secrets[n as usize].expose(), &headers);
        drop(self.rig.run(self.rig.client.send_http(request)));
        self.rig.events(before + 1);
    }

    fn put(&self, n: u64, revision: u64, state: KeyState, owner: u64) {
        self.rig.gateway.live.put_key(entry(n, revision, state, owner).1, self.rig.clock_now());
    }
}

const PLACE: SiblingsKnow = SiblingsKnow::PREFIX.and(SiblingsKnow::FAMILY);

#[test]
fn siblings_know_each_others_callers() {
    let owners = Owners::with_history(4);
    let siblings = owners.ask(2, 1);
    assert_eq!((siblings.keys, siblings.known.has(PLACE)), (1, true), "{siblings:?}");
    // Its own caller is known to it, and not to the other key; both use one model.
    let own = owners.ask(2, 2);
    assert!(own.known.has(SiblingsKnow::MODEL) && !own.known.has(SiblingsKnow::PREFIX), "{own:?}");
    // The key of another owner asks nobody, whoever calls.
    assert_eq!(owners.ask(3, 1), Siblings::default());
}

#[test]
fn young_keys_are_not_asked() {
    let owners = Owners::with_history(2);
    assert_eq!(owners.ask(2, 1), Siblings::default());
}

#[test]
fn revoked_and_moved_keys_vouch_for_nothing() {
    let owners = Owners::with_history(4);
    owners.put(1, 2, KeyState::Revoked, 1);
    // A request that is refused does not bring its word back.
    owners.rig.clock.advance(3_600);
    owners.ask(1, 1);
    assert_eq!(owners.ask(2, 1), Siblings::default());

    let owners = Owners::with_history(4);
    owners.put(1, 2, KeyState::Active, 2);
    assert_eq!(owners.ask(2, 1), Siblings::default());
    // It vouches where it is now, from its next hour on.
    owners.rig.clock.advance(3_600);
    owners.ask(1, 1);
    let siblings = owners.ask(3, 1);
    assert_eq!((siblings.keys, siblings.known.has(PLACE)), (1, true), "{siblings:?}");
}

#[test]
fn what_a_person_calls_a_theft_is_vouched_for_no_longer() {
    let owners = Owners::with_history(4);
    let context = ContextMatch { client: Some("openai-python".into()), ..ContextMatch::default() };
    let prefix = owners.rig.memory.events()[0].request.source.prefix();
    let context = ContextMatch { prefix: Some(prefix), ..context };
    let time = owners.rig.clock_now();
    owners.rig.gateway.tell_engine(&Feedback { key: key_id(1), time, context, says: Says::Theft });
    let siblings = owners.ask(2, 1);
    assert_eq!((siblings.keys, siblings.known.has(SiblingsKnow::PREFIX)), (1, false), "{siblings:?}");
}

#[test]
fn who_comes_to_keys_of_three_owners_is_told_of() {
    let owners = Owners::with_history(4);
    let told = || {
        let findings = owners.rig.memory.findings();
        findings.iter().filter(|finding| finding.rule == "many_owners").count()
    };
    // Keys 1 and 2 have one owner: only the last call is to a third.
    for (n, want) in [(1, 0), (2, 0), (3, 0), (4, 1), (4, 1), (3, 2)] {
        owners.stranger(n);
        assert_eq!(told(), want, "after a call on key {n}");
    }
}
