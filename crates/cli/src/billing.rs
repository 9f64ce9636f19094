//! Billing alarms of a running server: sums of what is spent, looked at every minute by the server that tells people.
//!
//! ```text
//! events of this process ──meter──► own sums ─┐
//! archive and journal, once ──────► others' ──┴──► sums of keys, owners, providers ──► alarms, each raised once
//! ```
//!
//! Invariants:
//! * The archive is read once, at the start, and not again: this process's events are added up as they happen. What another
//!   process writes while it drains is read again from the day before on.
//! * Each event counts once: those of this process are told from others by the epoch in their ordinals.
//! * Only the server that holds the lock of the outbox looks, and whoever looks beside it raises nothing twice.
//! * A drill's money is in none of these events.

mod look;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use parking_lot::Mutex;
use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::ports::EventSink;
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_respond::spend::ledger::Ledger;
use tokenwatch_store::{Archive, Filter, Store};

pub(crate) use self::look::{Handle, Parts, start};

/// A power of two, so that the workers rarely meet.
const SHARDS: usize = 64;
/// How often reading asks whether to go on, in events.
const ASK_EVERY: u64 = 4_096;
/// Incidents whose days are no usual ones, latest first.
pub(crate) const INCIDENTS_MAX: u32 = 100_000;

/// The journal's sink, with sums of what passes.
pub(crate) struct Meter {
    journal: Arc<dyn EventSink>,
    shards: Box<[Mutex<Ledger>]>,
    others_wrote: AtomicBool,
}

impl Meter {
    pub(crate) fn new(journal: Arc<dyn EventSink>) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { journal, shards, others_wrote: AtomicBool::new(false) }
    }

    /// What passed since the last time.
    fn drain(&self) -> Ledger {
        let mut sum = Ledger::default();
        self.shards.iter().for_each(|shard| sum.absorb(std::mem::take(&mut *shard.lock())));
        sum
    }

    /// Says that another process wrote events.
    pub(crate) fn note_others(&self) {
        self.others_wrote.store(true, Ordering::Relaxed);
    }

    /// Whether another process wrote events since the last time.
    fn take_others(&self) -> bool {
        self.others_wrote.swap(false, Ordering::Relaxed)
    }
}

impl EventSink for Meter {
    fn push(&self, record: JournalRecord) -> bool {
        if let JournalRecord::Usage(event) = &record
            && event.cost > NanoUsd::ZERO
        {
            // Key ids are random, so their low bits spread evenly. The mask keeps the index in range.
            let shard = (event.request.key.bits() as usize) & (SHARDS - 1);
            self.shards.get(shard).into_iter().for_each(|shard| shard.lock().take(event));
        }
        self.journal.push(record)
    }
}

/// Adds what was spent from a day on, by whomever but the process of an epoch; how many files or rows could not be read.
///
/// # Errors
///
/// When the archive or the journal can not be listed, or `go_on` says no.
pub(crate) fn read(
    store: &Store,
    from_day: u64,
    without_epoch: Option<u32>,
    ledger: &mut Ledger,
    go_on: &dyn Fn() -> bool,
) -> anyhow::Result<u64> {
    let from = Some(Timestamp(from_day * DAY));
    let events = Archive::new(&store.archive_dir())
        .events(Some(&store.journal_dir()), Filter { from, ..Filter::default() })
        .context("the events that are kept can not be read")?;
    let (mut unreadable, mut seen) = (0, 0_u64);
    for event in events {
        seen += 1;
        anyhow::ensure!(!seen.is_multiple_of(ASK_EVERY) || go_on(), "the server is stopping");
        match event {
            Ok(event) if without_epoch.is_some_and(|epoch| event.key_seq >> 32 == u64::from(epoch)) => {}
            Ok(event) => ledger.take(&event),
            Err(_) => unreadable += 1,
        }
    }
    Ok(unreadable)
}

#[cfg(test)]
mod tests;
