//! Only hashes at rest: no credential is found anywhere in a state directory, wherever it strayed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::credential;
use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::key::KeyState;
use tokenwatch_model::ports::EventSink;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_store::{
    AdminRole, AdminToken, Archive, Batch, Change, Journal, JournalOptions, StoredAdminToken, Stream,
};

use crate::samples::{START, containment, entry, event, feedback, finding, incident, key, owner};
use crate::state::open;

const PATIENCE: Duration = Duration::from_secs(60);

fn holds(dir: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holds(&path, needle));
        } else if fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn no_credential_is_found_at_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (secret, hash) = credential::mint(KeyId::from_bits(5), &[11; 32]);
    let stray = format!("seen {} in a log", secret.expose());

    let mut issued = key(5);
    issued.hash = hash;
    issued.key.service = stray.as_str().into();
    let loud = AuditEntry { detail: stray.clone(), subject: stray.as_str().into(), ..entry("key.issue", 5) };
    issued.key.revision = store.insert_key(&issued, &loud).unwrap();
    issued.key.state = KeyState::Revoked;
    issued.key.state_reason = stray.as_str().into();
    store.update_key(&issued.key, &loud).unwrap();
    let mut team = owner(1);
    team.channel = stray.as_str().into();
    let mut contained = containment(1);
    contained.reason = stray.clone();
    contained.lifted = Some((START, stray.as_str().into()));
    let mut case = incident(1);
    case.title = stray.clone();
    case.timeline[0].what = stray.clone();
    case.findings[0].summary = stray.clone();
    let mut said = feedback(1);
    said.context.model = Some(stray.as_str().into());
    let token = AdminToken {
        name: "ops".into(),
        role: AdminRole::Admin,
        created: START,
        expires: None,
        revoked: None,
    };
    let token_hash = SecretHash::of(b"an-admin-token-in-plain");
    let mut batch = Batch::new(loud);
    batch.push(Change::Owner(team)).push(Change::Containment(contained)).push(Change::Incident(case));
    batch.push(Change::Feedback(said));
    batch.push(Change::InsertAdminToken(StoredAdminToken { token, hash: token_hash }));
    store.apply(&batch).unwrap();

    let journal =
        Journal::open(&store.journal_dir(), JournalOptions::new(Stream::new(START, "test").unwrap()))
            .unwrap();
    let mut used = event(5);
    used.request.model = secret.expose().into();
    used.request.client.family = stray.as_str().into();
    let mut found = finding(5);
    found.summary = stray.clone();
    for record in [JournalRecord::Usage(used), JournalRecord::Finding(found)] {
        assert!(journal.handle().push(record));
    }
    let covered = journal.close(PATIENCE).unwrap().into_iter().collect();
    let check = || {
        for needle in [secret.expose(), &secret.expose()[20..50], "an-admin-token-in-plain"] {
            assert_eq!(holds(dir.path(), needle.as_bytes()), [] as [String; 0]);
        }
        // The search itself works: what may be seen is found.
        assert_ne!(holds(dir.path(), &secret.expose().as_bytes()[..18]), [] as [String; 0]);
    };
    check();
    Archive::new(&store.archive_dir()).seal(&store.journal_dir(), &covered).unwrap();
    check();
    assert!(store.verify_audit().unwrap().is_whole());
    let read = store.key(issued.key.id).unwrap().unwrap();
    assert!(read.hash.matches(&hash));
    drop(store);
    check();
    // Nothing about the batch was lost by masking.
    let store = open(dir.path());
    store.apply(&Batch::new(entry("test", 1))).unwrap();
    assert_eq!(store.incident(incident(1).id).unwrap().unwrap().finding_count, 2);
}
