//! Rebuilding what was learned and spent on a key, when its checkpoint can not be read: from the archive, the journal
//! and what people said.
//!
//! Invariants: a budget that forgets is none, so a key whose budgets or limits reach further back than its events are
//! kept is not rebuilt, but refused; each event counts once, also those that come while this goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokenwatch_gateway::Gateway;
use tokenwatch_gateway::live::{DecodeCheckpointError, KeyCheckpoint};
use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::finding::Feedback;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::key::Policy;
use tokenwatch_model::limit::Limits;
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_store::{Archive, Filter, JournalHandle, JournalPositions, JournalReader, Store};

use crate::state::FLUSH_WITHIN;

/// How long to wait before a key that could not be rebuilt is tried again: somebody may have changed its budgets, or
/// put a file back.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The longest month.
const MONTH_DAYS: u64 = 31;

/// Rebuilds damaged keys, one at a time, on a thread of its own.
#[derive(Default)]
pub(crate) struct Rebuilder {
    tried: BTreeMap<KeyId, Instant>,
    thread: Option<JoinHandle<()>>,
}

impl Rebuilder {
    /// Begins with the next key, if there is one and none is under way.
    pub(crate) fn tend(&mut self, gateway: &Arc<Gateway>, store: &Store, journal: JournalHandle, days: u32) {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let is_due = |key: &KeyId| self.tried.get(key).is_none_or(|at| at.elapsed() >= AGAIN_AFTER);
        let Some(key) = gateway.damaged().into_iter().find(is_due) else { return };
        self.tried.insert(key, Instant::now());
        let (gateway, store) = (gateway.clone(), store.clone());
        let work = move || match rebuild(&gateway, &store, &journal, key, days) {
            Ok(events) => {
                gateway.forget_damage(key);
                tracing::warn!(key.id = %key, events, "a damaged key was rebuilt from its events: its requests are served again");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(key.id = %key, error, "a damaged key can not be rebuilt: its requests stay refused");
            }
        };
        self.thread = std::thread::Builder::new().name("rebuilder".to_owned()).spawn(work).ok();
    }

    /// Waits for what is under way.
    pub(crate) fn end(self) {
        if self.thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that rebuilds keys ended with a panic");
        }
    }
}

/// Rebuilds one key; how many events it was made from.
fn rebuild(
    gateway: &Gateway,
    store: &Store,
    journal: &JournalHandle,
    key: KeyId,
    retention_days: u32,
) -> anyhow::Result<u64> {
    let (Some(entry), Some(stored)) = (gateway.live.entry(key), store.key(key)?) else { return Ok(0) };
    let saved = store.load_checkpoint(key)?;
    match saved.as_ref().map(|saved| KeyCheckpoint::check(&saved.body)) {
        // It could not be read for a while, or somebody put a whole one back.
        Some(Ok(())) => return put_back(gateway, store, key),
        Some(Err(error @ DecodeCheckpointError::Version(_))) => return Err(error.into()),
        _ => {}
    }
    let now = gateway.now();
    check_reach(&entry.policy, stored.key.created, now, retention_days)?;
    journal.flush(FLUSH_WITHIN)?;
    let mut rebuild = gateway.live.rebuild(key).context("there is no such key any more")?;
    rebuild.pass(saved.map_or(0, |saved| saved.seq));
    // What people said has ordinals as well, and stands in the journal only.
    let dir = store.journal_dir();
    let mut suppressed = BTreeSet::new();
    read_journal(&dir, |record| match record {
        JournalRecord::Feedback { key_seq, feedback } if feedback.key == key => rebuild.pass(*key_seq),
        JournalRecord::Suppressed { key_seq, key: of, actor, .. } if *of == key => {
            rebuild.pass(*key_seq);
            suppressed.insert(*actor);
        }
        _ => {}
    })?;
    let mut said: Vec<Feedback> =
        store.changes_since(0)?.feedback.into_iter().map(|row| row.feedback).collect();
    said.retain(|feedback| feedback.key == key);
    said.sort_by_key(|feedback| feedback.time);
    let mut said = said.into_iter().peekable();
    let mut events = 0;
    let filter = Filter { key: Some(key), ..Filter::default() };
    for event in Archive::new(&store.archive_dir()).events(Some(&dir), filter)? {
        // A file that can not be read would be forgotten money.
        let event = event?;
        while let Some(feedback) = said.next_if(|f| f.time <= event.request.time.plus(event.duration_us)) {
            rebuild.hear(&feedback);
        }
        rebuild.take(&event);
        events += 1;
    }
    said.for_each(|feedback| rebuild.hear(&feedback));
    // Last, so that whoever nobody was told of alerts with its next request: once too often rather than never.
    suppressed.into_iter().for_each(|actor| rebuild.suppress(actor));
    rebuild.finish();
    // What another process journalled meanwhile may have been passed over while there was no state to take it in.
    read_journal(&dir, |record| {
        if of_key(record, key) {
            gateway.live.replay(record);
        }
    })?;
    Ok(events)
}

/// Puts a state in place that can be read after all, with what the journal holds beyond it.
fn put_back(gateway: &Gateway, store: &Store, key: KeyId) -> anyhow::Result<u64> {
    if let Some(saved) = store.load_checkpoint(key)? {
        gateway.live.restore(key, &saved.body)?;
    }
    let mut records = 0;
    read_journal(&store.journal_dir(), |record| {
        if of_key(record, key) {
            gateway.live.replay(record);
            records += 1;
        }
    })?;
    Ok(records)
}

fn of_key(record: &JournalRecord, key: KeyId) -> bool {
    match record {
        JournalRecord::Usage(event) => event.request.key == key,
        JournalRecord::Feedback { feedback, .. } => feedback.key == key,
        JournalRecord::Suppressed { key: of, .. } => *of == key,
        JournalRecord::Finding(_) => false,
    }
}

fn read_journal(dir: &std::path::Path, mut look: impl FnMut(&JournalRecord)) -> anyhow::Result<()> {
    JournalReader::new(dir, JournalPositions::default()).read(|record| look(&record))?;
    Ok(())
}

/// Checks that every event is kept that the key's budgets and limits count.
fn check_reach(
    policy: &Policy,
    created: Timestamp,
    now: Timestamp,
    retention_days: u32,
) -> anyhow::Result<()> {
    let back = |days: u64| Timestamp(now.0.saturating_sub(days * DAY)).max(created);
    // Whole days are deleted.
    let kept = u64::from(retention_days);
    let kept = Timestamp(now.0.saturating_sub(kept * DAY) / DAY * DAY);
    let budgets = &policy.budgets;
    for (counts, what, since) in [
        (budgets.total.is_some(), "total budget", created),
        (budgets.month.is_some(), "budget of the month", back(MONTH_DAYS)),
        (budgets.day.is_some(), "budget of the day", back(1)),
        // Windows reach back twice their length.
        (policy.limits != Limits::default(), "limits", back(2)),
    ] {
        anyhow::ensure!(
            !counts || since >= kept,
            "its {what} counts from {since} on, and events are kept from {kept} on: issue another key, or take that \
             rule from this one"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::limit::Budgets;
    use tokenwatch_model::money::NanoUsd;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_772_366_400); // 2026-03-01 12:00

    #[track_caller]
    fn check(
        budgets: Budgets,
        limits: Limits,
        created_days_ago: u64,
        retention_days: u32,
        want: Option<&str>,
    ) {
        let policy = Policy { budgets, limits, ..Policy::default() };
        let created = Timestamp(NOW.0 - created_days_ago * DAY);
        let got = check_reach(&policy, created, NOW, retention_days).map_err(|error| error.to_string());
        match want {
            None => assert_eq!(got, Ok(())),
            Some(word) => assert!(got.as_ref().is_err_and(|text| text.contains(word)), "{got:?}"),
        }
    }

    #[test]
    fn a_budget_is_rebuilt_only_from_all_that_it_counts() {
        let (none, some) = (Budgets::default(), Some(NanoUsd::from_cents(1)));
        let (free, per_minute) =
            (Limits::default(), Limits { requests_per_minute: Some(9), ..Limits::default() });
        check(none, free, 400, 1, None);
        check(none, per_minute, 400, 1, Some("limits"));
        check(none, per_minute, 400, 2, None);
        check(Budgets { day: some, ..none }, free, 400, 1, None);
        check(Budgets { month: some, ..none }, free, 400, 30, Some("month"));
        check(Budgets { month: some, ..none }, free, 400, 31, None);
        check(Budgets { month: some, ..none }, free, 3, 3, None);
        check(Budgets { total: some, ..none }, free, 90, 90, None);
        check(Budgets { total: some, ..none }, free, 91, 90, Some("total"));
    }
}
