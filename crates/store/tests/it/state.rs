//! Keys, owners, containments, incidents, feedback, admin tokens.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;
use tokenwatch_model::containment::Containment;
use tokenwatch_model::drill::{Drill, DrillEnd};
use tokenwatch_model::id::DrillId;
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::key::{Key, KeyState, StoredKey};
use tokenwatch_model::ports::StateSource;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::time::{HOUR, MINUTE, Timestamp};
use tokenwatch_store::{
    AdminRole, AdminToken, Batch, Change, Checkpoint, IncidentFilter, JournalPosition, JournalPositions,
    OpenError, Options, Store, StoredAdminToken, Stream, UpdateError,
};

use crate::samples::{START, containment, entry, feedback, incident, key, owner};

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(dir, Options::default()).unwrap()
}

#[track_caller]
pub(crate) fn check_key(found: Option<StoredKey>, want: &StoredKey, revision: u64) {
    let found = found.unwrap();
    assert_eq!(found.key, Key { revision, ..want.key.clone() });
    assert_eq!(found.hash.bytes(), want.hash.bytes());
    assert_eq!(found.previous.map(|hash| *hash.bytes()), want.previous.map(|hash| *hash.bytes()));
}

#[test]
fn everything_is_read_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let team = owner(1);
    assert_eq!(store.put_owner(&team, &entry("owner.add", team.id)).unwrap(), 1);
    let mut owned = key(10);
    owned.key.owner = Some(team.id);
    assert_eq!(store.insert_key(&owned, &entry("key.issue", owned.key.id)).unwrap(), 2);
    assert_eq!(store.insert_key(&key(11), &entry("key.issue", 11)).unwrap(), 3);
    assert_eq!(store.put_containment(&containment(1), &entry("contain", 1)).unwrap(), 4);
    let mut wild = incident(1);
    wild.findings[0].once_in_days = f64::INFINITY;
    wild.findings[0].reasons[0].nats = f64::NAN;
    assert_eq!(store.put_incident(&wild, &entry("incident.open", 1)).unwrap(), 5);
    assert_eq!(store.push_feedback(&feedback(1), &entry("feedback", 1)).unwrap(), 6);
    assert_eq!(store.push_feedback(&feedback(2), &entry("feedback", 2)).unwrap(), 7);
    drop(store);

    let store = open(dir.path());
    let mut team = team;
    team.revision = 1;
    assert_eq!(store.owner(team.id).unwrap().as_ref(), Some(&team));
    assert_eq!(store.owner_by_name("team-1").unwrap().as_ref(), Some(&team));
    assert_eq!(store.owners().unwrap(), [team]);
    check_key(store.key(owned.key.id).unwrap(), &owned, 2);
    check_key(store.key_by_name("service-11").unwrap(), &key(11), 3);
    assert_eq!(store.keys().unwrap().len(), 2);
    let names = |after: &str, limit| -> Vec<String> {
        store
            .keys_after(after, limit)
            .unwrap()
            .into_iter()
            .map(|stored| stored.key.name.to_string())
            .collect()
    };
    assert_eq!(names("", 10), ["service-10", "service-11"]);
    assert_eq!(names("", 1), ["service-10"]);
    assert_eq!(names("service-10", 10), ["service-11"]);
    assert_eq!(names("service-11", 10), [""; 0]);
    let mut contained = containment(1);
    contained.revision = 4;
    assert_eq!(store.containment(contained.id).unwrap().as_ref(), Some(&contained));
    assert_eq!(store.containments_of(contained.key).unwrap(), [contained.clone()]);
    assert_eq!(store.active_containments(START).unwrap(), [contained]);
    assert_eq!(store.active_containments(START.plus(24 * HOUR)).unwrap(), []);
    wild.revision = 5;
    wild.findings[0].once_in_days = f64::MAX;
    wild.findings[0].reasons[0].nats = 0.0;
    assert_eq!(store.incident(wild.id).unwrap(), Some(wild));
    let said = store.feedback_since(0).unwrap();
    assert_eq!(said.iter().map(|said| said.revision).collect::<Vec<_>>(), [6, 7]);
    assert_eq!((&said[0].feedback, &said[1].feedback), (&feedback(1), &feedback(2)));
    assert_eq!(store.feedback_since(6).unwrap(), said[1..]);
    assert_eq!(store.revision().unwrap(), 7);
    assert_eq!(store.audit(0, 100).unwrap().len(), 7);
    assert_eq!(store.audit(5, 1).unwrap()[0].seq, 6);
    assert_eq!(store.audit_latest(1).unwrap()[0].seq, 7);
}

#[test]
fn incidents_are_listed_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..6 {
        let mut incident = incident(n);
        if n % 2 == 0 {
            incident.state = IncidentState::Resolved;
        }
        store.put_incident(&incident, &entry("incident.open", n)).unwrap();
    }
    let list = |filter| {
        let found = store.incidents(filter).unwrap();
        found.iter().map(|found| (0..6).find(|&n| incident(n).id == found.id).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(list(IncidentFilter::default()), [5, 4, 3, 2, 1, 0]);
    assert_eq!(list(IncidentFilter { open_only: true, ..Default::default() }), [5, 3, 1]);
    assert_eq!(list(IncidentFilter { limit: Some(2), ..Default::default() }), [5, 4]);
    assert_eq!(list(IncidentFilter { key: Some(key(4).key.id), ..Default::default() }), [4]);
}

#[test]
fn incidents_of_one_owner_at_one_time_stand_beside_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (team, others) = (owner(1), owner(2));
    for owner in [&team, &others] {
        store.put_owner(owner, &entry("owner.add", owner.id)).unwrap();
    }
    let at = START.plus(24 * HOUR);
    let put = |n: u64, owner, opened, state| {
        let mut stored = key(n);
        stored.key.owner = Some(owner);
        store.insert_key(&stored, &entry("key.issue", n)).unwrap();
        let case = Incident { key: stored.key.id, opened, state, ..incident(n) };
        store.put_incident(&case, &entry("incident.open", n)).unwrap();
        case
    };
    let first = put(1, team.id, at, IncidentState::Open);
    let second = put(2, team.id, at.plus(HOUR), IncidentState::Contained);
    put(3, team.id, at.plus(HOUR + 1), IncidentState::Open);
    put(4, team.id, at, IncidentState::Dismissed);
    put(5, others.id, at, IncidentState::Open);
    let beside = |case: &Incident| store.incidents_beside(case, team.id, HOUR).unwrap();
    assert_eq!(beside(&first), [(second.id, "service-2".into())]);
    assert_eq!(beside(&second).len(), 2);
}

/// The change is refused with an error that fits, and leaves nothing behind.
#[track_caller]
pub(crate) fn check_refused(store: &Store, change: Change, fits: fn(&UpdateError) -> bool) {
    let before = (store.revision().unwrap(), store.verify_audit().unwrap());
    let mut batch = Batch::new(entry("test", 1));
    batch.push(Change::Owner(owner(77))).push(change);
    let error = store.apply(&batch).err().unwrap();
    assert!(fits(&error), "{error:?}");
    assert_eq!((store.revision().unwrap(), store.verify_audit().unwrap()), before);
    assert_eq!(store.owner(owner(77).id).unwrap(), None);
}

#[test]
fn what_contradicts_the_stored_state_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.insert_key(&key(1), &entry("key.issue", 1)).unwrap();
    store.insert_key(&key(2), &entry("key.issue", 2)).unwrap();
    store.put_incident(&incident(1), &entry("incident.open", 1)).unwrap();

    check_refused(&store, Change::InsertKey(key(1)), |e| matches!(e, UpdateError::Exists { .. }));
    let mut same_hash = key(3);
    same_hash.hash = key(1).hash;
    check_refused(&store, Change::InsertKey(same_hash), |e| matches!(e, UpdateError::Exists { .. }));
    let mut same_name = key(3);
    same_name.key.name = "service-1".into();
    check_refused(&store, Change::InsertKey(same_name), |e| matches!(e, UpdateError::NameTaken { .. }));
    let mut no_owner = key(3);
    no_owner.key.owner = Some(owner(9).id);
    check_refused(&store, Change::InsertKey(no_owner), |e| matches!(e, UpdateError::UnknownOwner { .. }));
    check_refused(&store, Change::UpdateKey(key(9).key), |e| matches!(e, UpdateError::Missing { .. }));
    check_refused(&store, Change::UpdateKey(key(1).key), |e| {
        matches!(e, UpdateError::Conflict { expected: 0, found: 1, .. })
    });
    let mut renamed = key(1).key;
    (renamed.name, renamed.revision) = ("service-2".into(), 1);
    check_refused(&store, Change::UpdateKey(renamed), |e| matches!(e, UpdateError::NameTaken { .. }));
    check_refused(&store, Change::Incident(incident(1)), |e| matches!(e, UpdateError::Exists { .. }));
    let mut stale = incident(1);
    stale.revision = 2;
    check_refused(&store, Change::Incident(stale), |e| {
        matches!(e, UpdateError::Conflict { expected: 2, found: 3, .. })
    });
    let mut never_there = containment(1);
    never_there.revision = 2;
    check_refused(&store, Change::Containment(never_there), |e| matches!(e, UpdateError::Missing { .. }));
    let gone = Change::RevokeAdminToken { name: "nobody".into(), time: START };
    check_refused(&store, gone, |e| matches!(e, UpdateError::Missing { .. }));
}

#[test]
fn a_revoked_key_stays_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut revoked = key(1).key;
    revoked.revision = store.insert_key(&key(1), &entry("key.issue", 1)).unwrap();
    revoked.state = KeyState::Revoked;
    revoked.state_reason = "stolen".into();
    revoked.revision = store.update_key(&revoked, &entry("key.revoke", 1)).unwrap();
    for state in [KeyState::Active, KeyState::Disabled] {
        let mut back = revoked.clone();
        back.state = state;
        check_refused(&store, Change::UpdateKey(back), |e| matches!(e, UpdateError::Revoked { .. }));
    }
    // Its other properties may still be put right.
    revoked.service = "search".into();
    store.update_key(&revoked, &entry("key.edit", 1)).unwrap();

    // Nor by going around this program.
    let raw = Connection::open(dir.path().join("state.db")).unwrap();
    for statement in [
        "UPDATE keys SET state = 'active', revision = revision + 1",
        "UPDATE keys SET hash = zeroblob(32), revision = revision + 1",
        "UPDATE keys SET service = 'x'",
        "UPDATE keys SET state = 'odd', revision = revision + 1",
        "DELETE FROM keys",
        "UPDATE audit SET detail = ''",
        "DELETE FROM audit",
        "INSERT INTO audit VALUES (9, 0, '', '', '', '', '')",
    ] {
        assert!(raw.execute_batch(statement).is_err(), "{statement}");
    }
    assert_eq!(store.key(revoked.id).unwrap().unwrap().key.state, KeyState::Revoked);
}

#[test]
fn changes_since_a_revision_are_exact() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, watcher) = (open(dir.path()), open(dir.path()));
    let mut version = watcher.data_version().unwrap();
    let mut moved = || {
        let now = watcher.data_version().unwrap();
        std::mem::replace(&mut version, now) != now
    };
    assert!(!moved());
    let mut batch = Batch::new(entry("import", "all"));
    batch.push(Change::Owner(owner(1))).push(Change::InsertKey(key(1))).push(Change::InsertKey(key(2)));
    batch.push(Change::Containment(containment(1))).push(Change::Incident(incident(1)));
    batch.push(Change::Feedback(feedback(1)));
    batch.note(entry("import", "more"));
    let applied = writer.apply(&batch).unwrap();
    assert_eq!((applied.revisions.as_slice(), applied.audit_seq), ([1, 2, 3, 4, 5, 6].as_slice(), 2));
    assert!(moved());
    assert!(!moved());
    let all = watcher.changes_since(0).unwrap();
    assert_eq!((all.revision, all.keys.len(), all.owners.len()), (6, 2, 1));
    assert_eq!((all.containments.len(), all.incidents.len(), all.feedback.len()), (1, 1, 1));
    assert!(watcher.changes_since(6).unwrap().is_empty());

    let mut changed = all.keys[1].key.clone();
    changed.service = "other".into();
    writer.update_key(&changed, &entry("key.edit", changed.id)).unwrap();
    assert!(moved());
    let since = watcher.changes_since(all.revision).unwrap();
    assert_eq!(since.revision, 7);
    assert_eq!(since.keys.iter().map(|key| &key.key.service).collect::<Vec<_>>(), ["other"]);
    assert!(since.owners.is_empty() && since.feedback.is_empty());

    // Checkpoints are saved all the time and wake nobody.
    let checkpoint = Checkpoint { key: changed.id, seq: 1, body: vec![1] };
    writer.save_checkpoints([&checkpoint], &JournalPositions::default()).unwrap();
    assert!(!moved());
}

#[test]
fn a_late_checkpoint_never_replaces_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = key(1).key.id;
    let at = |ordinal, offset| {
        let segment = Stream::new(START, "a").unwrap().segment(ordinal);
        [JournalPosition { segment, offset }].into_iter().collect::<JournalPositions>()
    };
    let save = |seq, positions| {
        let checkpoint = Checkpoint { key: id, seq, body: seq.to_string().into_bytes() };
        store.save_checkpoints([&checkpoint], &positions).unwrap();
    };
    assert_eq!(store.load(id).unwrap(), None);
    save(5, at(1, 10));
    save(3, at(0, 90));
    assert_eq!(store.load(id).unwrap(), Some(b"5".to_vec()));
    assert_eq!(store.journal_positions().unwrap(), at(1, 10));
    save(6, at(1, 11));
    assert_eq!(store.load_checkpoint(id).unwrap().unwrap().seq, 6);
    assert_eq!(store.journal_positions().unwrap(), at(1, 11));
    store.forget_streams(&[Stream::new(START, "a").unwrap()]).unwrap();
    assert_eq!(store.journal_positions().unwrap(), at(1, 11));
    store.forget_streams(&[]).unwrap();
    assert_eq!(store.journal_positions().unwrap(), JournalPositions::default());
}

#[test]
fn admin_tokens_end_once_and_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let token = StoredAdminToken {
        token: AdminToken {
            name: "ops".into(),
            role: AdminRole::Responder,
            created: START,
            expires: Some(START.plus(HOUR)),
            revoked: None,
        },
        hash: SecretHash::of(b"token"),
    };
    store.apply(&Batch::of(Change::InsertAdminToken(token.clone()), entry("token.add", "ops"))).unwrap();
    let again = store.apply(&Batch::of(Change::InsertAdminToken(token.clone()), entry("token.add", "ops")));
    assert!(matches!(again, Err(UpdateError::NameTaken { .. })));
    let found = store.admin_token(&token.hash).unwrap().unwrap();
    assert_eq!(found.token, token.token);
    assert!(found.token.is_usable(START) && !found.token.is_usable(START.plus(HOUR)));
    assert!(store.admin_token(&SecretHash::of(b"other")).unwrap().is_none());
    for time in [START.plus(5), START.plus(9)] {
        let revoke = Change::RevokeAdminToken { name: "ops".into(), time };
        store.apply(&Batch::of(revoke, entry("token.revoke", "ops"))).unwrap();
    }
    let found = store.admin_tokens().unwrap();
    assert_eq!(found[0].token.revoked, Some(START.plus(5)));
    assert!(!found[0].token.is_usable(START));
}

#[test]
fn only_the_owner_can_read_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("new/state");
    let store = open(&state);
    store.insert_key(&key(1), &entry("key.issue", 1)).unwrap();
    store.shape_key(&[7; 16]).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    let mut names = Vec::new();
    for file in std::fs::read_dir(&state).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path);
    }
    assert!(names.len() >= 5, "{names:?}");
}

#[test]
fn the_key_of_links_is_made_once_and_stays_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open(dir.path()).links_key(&[7; 32]).unwrap(), [7; 32]);
    assert_eq!(open(dir.path()).links_key(&[8; 32]).unwrap(), [7; 32]);
    let file = dir.path().join("links.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for wrong in ["", "07", "+7", &"7".repeat(63), &"g".repeat(64)] {
        std::fs::write(&file, wrong).unwrap();
        assert!(matches!(open(dir.path()).links_key(&[1; 32]), Err(OpenError::Files { .. })), "{wrong}");
    }
}

#[test]
fn the_shape_key_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let winners: Vec<[u8; 16]> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u8)
            .map(|n| {
                scope.spawn({
                    let store = store.clone();
                    move || store.shape_key(&[n; 16]).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(winners.iter().all(|key| key == &winners[0]), "{winners:?}");
    assert_eq!(open(dir.path()).shape_key(&[99; 16]).unwrap(), winners[0]);
    std::fs::write(dir.path().join("shape.key"), "+0000000000000000000000000000000").unwrap();
    assert!(matches!(store.shape_key(&[1; 16]), Err(OpenError::Files { .. })));
}

#[test]
fn a_newer_or_foreign_directory_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("state.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(dir.path(), Options::default()).err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 99, supported: 6, .. }), "{error}");
    std::fs::write(&path, "not a database at all, but long enough to be looked at").unwrap();
    assert!(matches!(Store::open(dir.path(), Options::default()), Err(OpenError::Database { .. })));
}

#[test]
fn released_migrations_are_never_edited() {
    let sums = [
        crc32fast::hash(include_bytes!("../../src/store/schema.sql")),
        crc32fast::hash(include_bytes!("../../src/store/checkpoints.sql")),
        crc32fast::hash(include_bytes!("../../src/store/suppressions.sql")),
        crc32fast::hash(include_bytes!("../../src/store/alerts.sql")),
        crc32fast::hash(include_bytes!("../../src/store/drills.sql")),
        crc32fast::hash(include_bytes!("../../src/store/rotation.sql")),
        crc32fast::hash(include_bytes!("../../src/store/alarms.sql")),
    ];
    assert_eq!(
        sums,
        [0x4a27_738e, 0x4380_225d, 0xd8d8_6a58, 0x7561_8393, 0x6c01_039c, 0x376e_f854, 0x115d_bddf],
        "add a migration instead"
    );
}

#[test]
fn times_beyond_every_calendar_survive() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut far = key(1);
    far.key.expires = Some(Timestamp(u64::MAX));
    far.key.policy.limits.requests_per_minute = Some(u64::MAX);
    far.key.policy.false_alarms_per_year = Some(0.1 + 0.2);
    let revision = store.insert_key(&far, &entry("key.issue", 1)).unwrap();
    check_key(store.key(far.key.id).unwrap(), &far, revision);
}

#[test]
fn a_stand_in_is_its_key_and_stands_in_no_list() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let original = key(1);
    store.insert_key(&original, &entry("key.issue", 1)).unwrap();
    let drill = Drill {
        id: DrillId::from_bits(77),
        key: original.key.id,
        theft: "resale".into(),
        who: "test".into(),
        pages: false,
        started: original.key.created,
        until: original.key.created.plus(MINUTE),
        end: None,
    };
    let put = |drill: &Drill| {
        store.apply(&Batch::of(Change::Drill(Box::new(drill.clone())), entry("drill", 1))).unwrap();
    };
    put(&drill);
    let stand_in = store.key(drill.stand_in()).unwrap().unwrap().key;
    assert_eq!((stand_in.id, &stand_in.name), (drill.stand_in(), &original.key.name));
    let case = Incident { key: drill.stand_in(), drill: true, ..incident(1) };
    store.put_incident(&case, &entry("incident.open", 1)).unwrap();
    let held = Containment { key: drill.stand_in(), expires: None, lifted: None, ..containment(1) };
    store.put_containment(&held, &entry("contain", 1)).unwrap();
    assert!(store.incidents(IncidentFilter::default()).unwrap().is_empty());
    assert!(store.active_containments(held.created).unwrap().is_empty());
    assert_eq!(store.keys().unwrap().len(), 1);
    let of = IncidentFilter { key: Some(drill.stand_in()), ..IncidentFilter::default() };
    assert!(store.incidents(of).unwrap()[0].drill);
    assert_eq!(store.containments_of(drill.stand_in()).unwrap().len(), 1);
    let end = DrillEnd { time: drill.until, passed: true, summary: "passed".to_owned() };
    let ended = Drill { end: Some(end), ..drill };
    put(&ended);
    assert_eq!(store.drill(ended.id).unwrap(), Some(ended.clone()));
    assert_eq!(store.drills(Some(original.key.id), 9).unwrap(), [ended]);
    assert!(store.drills(Some(key(2).key.id), 9).unwrap().is_empty());
}
