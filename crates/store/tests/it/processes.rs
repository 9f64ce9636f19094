//! Several processes on one state directory, and processes that are killed.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use tokenwatch_model::event::{JournalRecord, UsageEvent};
use tokenwatch_model::id::RequestId;
use tokenwatch_model::key::KeyState;
use tokenwatch_model::ports::EventSink;
use tokenwatch_store::{
    Archive, Batch, Change, Checkpoint, Filter, Journal, JournalOptions, JournalPositions, Store, Stream,
    UpdateError,
};

use crate::child::{self, say};
use crate::samples::{START, containment, entry, event, incident, key, mix, owner};
use crate::state::open;

const PATIENCE: Duration = Duration::from_secs(60);
/// Increments of each counting process or thread.
const COUNT: u64 = 60;

/// Writes keys, revocations, incidents, events, checkpoints and seals for ever, and says what is acknowledged.
pub(crate) fn write_everything(dir: &Path, first: u64) {
    let store = open(dir);
    std::thread::scope(|scope| {
        scope.spawn(|| write_rows(&store, first));
        write_events(&store, first);
    });
}

fn write_rows(store: &Store, first: u64) {
    for n in first.. {
        let issued = key(n);
        let mut changed = issued.key.clone();
        changed.revision = store.insert_key(&issued, &entry("key.issue", n)).unwrap();
        say(format_args!("key {n}"));
        if n % 3 != 0 {
            continue;
        }
        changed.state = KeyState::Revoked;
        let mut batch = Batch::of(Change::UpdateKey(changed), entry("key.revoke", n));
        batch.push(Change::Containment(containment(n))).push(Change::Incident(incident(n)));
        let applied = store.apply(&batch).unwrap();
        say(format_args!("revoked {n}"));
        say(format_args!("audit {}", applied.audit_seq));
    }
}

fn write_events(store: &Store, first: u64) {
    let stream = Stream::new(START.plus(first), "child").unwrap();
    let options = JournalOptions { segment_bytes: 20_000, ..JournalOptions::new(stream) };
    let journal = Journal::open(&store.journal_dir(), options).unwrap();
    let archive = Archive::new(&store.archive_dir());
    let mut next = first;
    for round in 1.. {
        for _ in 0..40 {
            assert!(journal.handle().push(JournalRecord::Usage(event(next))));
            next += 1;
        }
        let position = journal.handle().flush(PATIENCE).unwrap();
        say(format_args!("events {next}"));
        if round % 4 == 0 {
            let positions: JournalPositions = position.into_iter().collect();
            let checkpoint = Checkpoint { key: key(first).key.id, seq: next, body: vec![7; 500] };
            store.save_checkpoints([&checkpoint], &positions).unwrap();
            say(format_args!("checkpoint {next}"));
            let report = archive.seal(&store.journal_dir(), &store.journal_positions().unwrap()).unwrap();
            assert_eq!(report.failures, []);
        }
    }
}

/// What a child acknowledged.
#[derive(Default)]
struct Acknowledged {
    keys: BTreeSet<u64>,
    revoked: BTreeSet<u64>,
    audit_seq: u64,
    events_end: u64,
    checkpoint: u64,
}

impl Acknowledged {
    fn take(&mut self, line: &str) {
        let (what, number) = line.split_once(' ').unwrap();
        let number = number.parse().unwrap();
        match what {
            "key" => drop(self.keys.insert(number)),
            "revoked" => drop(self.revoked.insert(number)),
            "audit" => self.audit_seq = number,
            "events" => self.events_end = number,
            "checkpoint" => self.checkpoint = number,
            other => panic!("a child says {other}"),
        }
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut sealed = false;
    for round in 0..12 {
        let first = round * 100_000;
        let mut helper = child::start("everything", dir.path(), first);
        let mut acknowledged = Acknowledged::default();
        for _ in 0..10 + mix(round) % 150 {
            acknowledged.take(&helper.line().expect("the child ended by itself"));
        }
        helper.process.kill().unwrap();
        helper.process.wait().unwrap();
        while let Some(line) = helper.line() {
            acknowledged.take(&line);
        }
        let store = open(dir.path());
        check_rows(&store, &acknowledged);
        check_events(&store, first, &acknowledged);
        let checkpoint = store.load_checkpoint(key(first).key.id).unwrap();
        assert!(checkpoint.map_or(0, |checkpoint| checkpoint.seq) >= acknowledged.checkpoint);
        sealed |= store.archive_dir().join("events").exists();
    }
    assert!(sealed, "no child came as far as sealing");
}

#[track_caller]
fn check_rows(store: &Store, acknowledged: &Acknowledged) {
    for &n in &acknowledged.keys {
        assert!(store.key(key(n).key.id).unwrap().is_some(), "key {n} is lost");
    }
    for &n in &acknowledged.revoked {
        assert_eq!(store.key(key(n).key.id).unwrap().unwrap().key.state, KeyState::Revoked, "key {n}");
        assert!(store.containment(containment(n).id).unwrap().is_some(), "containment {n} is lost");
        assert!(store.incident(incident(n).id).unwrap().is_some(), "incident {n} is lost");
    }
    let report = store.verify_audit().unwrap();
    assert_eq!(report.fault, None);
    assert!(report.rows >= acknowledged.audit_seq, "audit rows are lost");
    // Each row has exactly one audit entry, also those that were written and not acknowledged.
    let keys = store.keys().unwrap();
    let revoked = keys.iter().filter(|key| key.key.state == KeyState::Revoked).count();
    assert_eq!(report.rows as usize, keys.len() + revoked);
}

#[track_caller]
fn check_events(store: &Store, first: u64, acknowledged: &Acknowledged) {
    let archive = Archive::new(&store.archive_dir());
    let mut found: HashMap<RequestId, UsageEvent> = HashMap::new();
    for event in archive.events(Some(&store.journal_dir()), Filter::default()).unwrap() {
        let event = event.unwrap();
        let twice = found.insert(event.request.id, event);
        assert!(twice.is_none(), "{twice:?} is there twice");
    }
    for n in first..acknowledged.events_end {
        let want = event(n);
        assert_eq!(found.get(&want.request.id), Some(&want), "event {n} is lost");
    }
}

/// Adds one to the number in an owner's channel, `COUNT` times, starting over whenever somebody else was faster.
pub(crate) fn count_up(dir: &Path, first: u64) {
    let store = open(dir);
    let shared = owner(1).id;
    let mut conflicts = 0;
    for n in first..first + COUNT {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut row = store.owner(shared).unwrap().unwrap();
            row.channel = (row.channel.parse::<u64>().unwrap() + 1).to_string().into();
            let mut batch = Batch::of(Change::Owner(row), entry("owner.count", n));
            batch.push(Change::InsertKey(key(n)));
            match store.apply(&batch) {
                Ok(_) => break,
                Err(UpdateError::Conflict { .. }) => conflicts += 1,
                Err(error) => panic!("{error:?}"),
            }
            assert!(Instant::now() < deadline, "always somebody else is faster");
        }
    }
    say(format_args!("conflicts {conflicts}"));
}

#[track_caller]
fn check_counted(store: &Store, counters: u64) {
    let counted = store.owner(owner(1).id).unwrap().unwrap();
    assert_eq!(counted.channel, (counters * COUNT).to_string(), "updates are lost");
    assert_eq!(store.revision().unwrap(), 1 + 2 * counters * COUNT);
    let report = store.verify_audit().unwrap();
    assert_eq!((report.rows, report.fault), (1 + counters * COUNT, None));
    assert_eq!(store.keys().unwrap().len() as u64, counters * COUNT);
}

fn prepare_counter(store: &Store) {
    let mut row = owner(1);
    row.channel = "0".into();
    store.put_owner(&row, &entry("owner.add", 1)).unwrap();
}

#[test]
fn threads_lose_no_update() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    prepare_counter(&store);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let path = dir.path();
            scope.spawn(move || count_up(path, n * 1_000));
        }
    });
    check_counted(&store, 4);
}

#[test]
fn processes_lose_no_update_and_see_each_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    prepare_counter(&store);
    let helpers = [1_000, 2_000].map(|first| child::start("count", dir.path(), first));
    // Meanwhile this process follows every change of theirs.
    let mut revision = store.revision().unwrap();
    let mut version = store.data_version().unwrap();
    let mut keys = 0;
    let deadline = Instant::now() + PATIENCE;
    while keys < 2 * COUNT {
        assert!(Instant::now() < deadline, "only {keys} changes are seen");
        let now = store.data_version().unwrap();
        if now == version {
            std::thread::yield_now();
            continue;
        }
        version = now;
        let changes = store.changes_since(revision).unwrap();
        assert!(changes.keys.is_sorted_by_key(|key| key.key.revision));
        assert!(changes.keys.iter().all(|key| (revision + 1..=changes.revision).contains(&key.key.revision)));
        keys += changes.keys.len() as u64;
        revision = changes.revision;
    }
    for mut helper in helpers {
        assert!(helper.line().unwrap().starts_with("conflicts "));
        assert!(helper.process.wait().unwrap().success());
    }
    assert!(store.changes_since(revision).unwrap().is_empty());
    check_counted(&store, 2);
}
