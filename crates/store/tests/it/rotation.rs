//! Keys whose credential is replaced.

use rusqlite::Connection;
use tokenwatch_model::key::{Rotation, StoredKey};
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::time::HOUR;
use tokenwatch_store::{Change, UpdateError};

use crate::samples::{START, entry, key};
use crate::state::{check_key, check_refused, open};

/// A sample with the n-th credential, rotated `n` seconds after its birth.
fn rotated(revision: u64, n: u64, before: u64) -> StoredKey {
    let mut stored = key(1);
    stored.key.revision = revision;
    stored.key.rotation =
        Some(Rotation { rotated: stored.key.created.plus(n), previous_ends: stored.key.created.plus(HOUR) });
    stored.hash = SecretHash::of(&n.to_le_bytes());
    stored.previous = Some(SecretHash::of(&before.to_le_bytes()));
    stored
}

#[test]
fn a_rotation_moves_on_and_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let issued = store.insert_key(&key(1), &entry("key.issue", 1)).unwrap();
    check_refused(&store, Change::RotateKey(rotated(issued - 1, 100, 1)), |e| {
        matches!(e, UpdateError::Conflict { .. })
    });
    let once = store.rotate_key(&rotated(issued, 100, 1), &entry("key.rotate", 1)).unwrap();
    check_key(store.key(key(1).key.id).unwrap(), &rotated(once, 100, 1), once);
    // Neither of its credentials can be given out again, nor one that it never had be the one before.
    for (n, before) in [(100, 1), (1, 100), (101, 7)] {
        let again = StoredKey { key: rotated(once, 101, 1).key, ..rotated(once, n, before) };
        check_refused(&store, Change::RotateKey(again), |e| {
            matches!(e, UpdateError::Exists { .. } | UpdateError::Database(_))
        });
    }
    // The newest was lost: the one before stays.
    let twice = store.rotate_key(&rotated(once, 102, 1), &entry("key.rotate", 1)).unwrap();
    let next = store.rotate_key(&rotated(twice, 103, 102), &entry("key.rotate", 1)).unwrap();
    let mut edited = rotated(next, 103, 102);
    edited.key.service = "search".into();
    edited.key.rotation = edited.key.rotation.map(|rotation| Rotation { previous_ends: START, ..rotation });
    let edited_at = store.update_key(&edited.key, &entry("key.retire", 1)).unwrap();
    drop(store);
    let store = open(dir.path());
    check_key(store.key(edited.key.id).unwrap(), &edited, edited_at);
    assert_eq!(store.changes_since(next).unwrap().keys.len(), 1);
    // Nor by going around this program.
    let raw = Connection::open(dir.path().join("state.db")).unwrap();
    for statement in [
        "UPDATE keys SET previous = NULL, rotated = NULL, previous_ends = NULL, revision = revision + 1",
        "UPDATE keys SET previous = zeroblob(32), revision = revision + 1",
        "UPDATE keys SET hash = previous, revision = revision + 1",
        "UPDATE keys SET hash = previous, previous = hash, rotated = rotated + 1, revision = revision + 1",
        "UPDATE keys SET rotated = rotated + 1, revision = revision + 1",
        "UPDATE keys SET previous_ends = NULL, revision = revision + 1",
    ] {
        assert!(raw.execute_batch(statement).is_err(), "{statement}");
    }
}
