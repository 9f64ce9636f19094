//! The thread that looks.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::json;
use tokenwatch_console::records::Records as _;
use tokenwatch_model::alarm::Alarm;
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::key::{Key, Policy};
use tokenwatch_model::ports::{Clock, Random};
use tokenwatch_model::time::{DAY, HOUR, Timestamp};
use tokenwatch_respond::effects::SELF;
use tokenwatch_respond::spend::alarm::{AlarmRules, Known, due};
use tokenwatch_respond::spend::ledger::{Calendar, Ledger, Spenders, Thefts, sum_up};
use tokenwatch_store::Store;
use tokenwatch_telemetry::metrics::Metrics;
use tokenwatch_telemetry::told::AlarmRaised;

use super::{INCIDENTS_MAX, Meter, read};
use crate::adapters::StoreRecords;

/// Whole days that a typical one is the mean of.
const DAYS: u64 = 30;
/// Days that are kept: more than those, and more than the longest month.
const KEEP_DAYS: u64 = 40;
/// How often days of thefts are looked up anew.
const THEFTS_EVERY: u64 = HOUR;
/// How often it is asked whether it is time, and whether this server is the one.
const STEP: Duration = Duration::from_millis(200);

/// What it works with.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) meter: Arc<Meter>,
    /// As configured now.
    pub(crate) rules: Arc<ArcSwap<AlarmRules>>,
    /// What keys inherit from nobody else.
    pub(crate) defaults: Arc<ArcSwap<Policy>>,
    /// Whether this server holds the lock of the outbox.
    pub(crate) is_teller: Arc<AtomicBool>,
    /// This process's epoch.
    pub(crate) epoch: u32,
}

/// A running look-out.
pub(crate) struct Handle {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Ends it.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let _ = self.thread.join();
    }
}

/// Starts the thread: reading the archive may take long, and nothing waits for it.
pub(crate) fn start(parts: Parts) -> std::io::Result<Handle> {
    let mut lookout = Lookout::new(parts);
    let stop = lookout.stop.clone();
    let thread = std::thread::Builder::new().name("billing".to_owned()).spawn(move || lookout.run())?;
    Ok(Handle { stop, thread })
}

struct Lookout {
    parts: Parts,
    stop: Arc<AtomicBool>,
    /// What this process's requests cost.
    own: Ledger,
    /// What those of others cost, and the first day that was read; nothing before it was.
    others: Option<(Ledger, u64)>,
    /// Days that are no usual ones, and when they were looked up.
    thefts: (Thefts, Option<Timestamp>),
}

impl Lookout {
    fn new(parts: Parts) -> Self {
        Self {
            parts,
            stop: Arc::default(),
            own: Ledger::default(),
            others: None,
            thefts: (Thefts::default(), None),
        }
    }

    fn run(&mut self) {
        let mut looked: Option<Instant> = None;
        while !self.stop.load(Ordering::Relaxed) {
            let rules = self.parts.rules.load_full();
            let every = Duration::from_secs(rules.every_s);
            let is_time = looked.is_none_or(|at| at.elapsed() >= every);
            if is_time && rules.enabled && self.parts.is_teller.load(Ordering::Relaxed) {
                looked = Some(Instant::now());
                if let Err(error) = self.look(&rules)
                    && !self.stop.load(Ordering::Relaxed)
                {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "spend can not be looked at: no billing alarm is raised; trying again"
                    );
                }
            }
            std::thread::park_timeout(STEP);
        }
    }

    fn look(&mut self, rules: &AlarmRules) -> anyhow::Result<()> {
        let now = self.parts.clock.now();
        let calendar = Calendar::new(DAYS, now);
        self.own.absorb(self.parts.meter.drain());
        let read_from = self.follow_others(&calendar)?;
        let oldest = calendar.today.saturating_sub(KEEP_DAYS);
        self.own.forget_before(oldest);
        self.look_up_thefts(now)?;
        let others = self.others.as_mut().map(|(ledger, _)| ledger);
        let others = others.map(|ledger| {
            ledger.forget_before(oldest);
            &*ledger
        });
        let ledgers: Vec<&Ledger> = others.into_iter().chain([&self.own]).collect();
        let records = StoreRecords(self.parts.store.clone());
        let keys = spenders(&records, &ledgers)?;
        let owners = records.owners()?;
        let defaults = self.parts.defaults.load();
        let who = Spenders { keys: &keys, owners: &owners, defaults: &defaults, thefts: &self.thefts.0 };
        let spent = sum_up(&ledgers, read_from, &calendar, &who);
        let known = self.known(now)?;
        let random = &self.parts.random;
        for alarm in due(rules, &spent, &known, now, &mut || random.next_u64()) {
            self.raise(&alarm)?;
        }
        Ok(())
    }

    /// Reads what other processes wrote, as far as it is not known; the first day that was read.
    fn follow_others(&mut self, calendar: &Calendar) -> anyhow::Result<u64> {
        let (store, stop) = (&self.parts.store, &self.stop);
        let go_on = || !stop.load(Ordering::Relaxed);
        let epoch = Some(self.parts.epoch);
        // Asked before reading, so that what is written meanwhile is read the next time.
        let they_wrote = self.parts.meter.take_others();
        let (from, mut ledger, first) = match self.others.take() {
            None => (calendar.from(), Ledger::default(), calendar.from()),
            Some(known) if !they_wrote => {
                let first = known.1;
                self.others = Some(known);
                return Ok(first);
            }
            // A request that began before midnight is of the day before.
            Some((mut ledger, first)) => {
                let from = calendar.today.saturating_sub(1);
                ledger.forget_from(from);
                (from, ledger, first)
            }
        };
        // Should this fail, all is read at the next look.
        let unreadable = read(store, from, epoch, &mut ledger, &go_on)?;
        if unreadable > 0 {
            tracing::warn!(
                unreadable,
                "files or rows of events could not be read: what was spent may be more than billing alarms know"
            );
        }
        self.others = Some((ledger, first));
        Ok(first)
    }

    fn look_up_thefts(&mut self, now: Timestamp) -> anyhow::Result<()> {
        if self.thefts.1.is_none_or(|at| now.since(at) >= THEFTS_EVERY) {
            let records = StoreRecords(self.parts.store.clone());
            let incidents = records.incidents(false, None, INCIDENTS_MAX)?;
            self.thefts = (Thefts::of(&incidents), Some(now));
        }
        Ok(())
    }

    fn known(&self, now: Timestamp) -> anyhow::Result<Known> {
        let store = &self.parts.store;
        // A month's alarm may be as old as a month.
        let since = Timestamp(now.0.saturating_sub(KEEP_DAYS * DAY));
        let raised = store.raised_alarms(since)?;
        let told: HashSet<_> =
            raised.into_iter().map(|told| (told.spender, told.kind, told.period)).collect();
        let snoozed = store.spender_snoozes(now)?.into_iter().map(|(spender, _)| spender).collect();
        Ok(Known { told, snoozed })
    }

    fn raise(&self, alarm: &Alarm) -> anyhow::Result<()> {
        let detail = json!({
            "spender": alarm.spender, "kind": alarm.kind, "today": alarm.today, "month": alarm.month,
            "limit": alarm.limit,
        });
        let entry = AuditEntry {
            time: alarm.raised,
            actor: SELF.into(),
            action: "alarm.raise".into(),
            subject: alarm.id.to_string().into(),
            detail: detail.to_string(),
        };
        // False where another server was faster: it told.
        if self.parts.store.raise_alarm(alarm, &entry)? {
            AlarmRaised { alarm }.emit(&self.parts.metrics);
        }
        Ok(())
    }
}

/// The keys that spent anything, by name: of a hundred thousand most may have spent nothing.
fn spenders(records: &StoreRecords, ledgers: &[&Ledger]) -> anyhow::Result<Vec<Key>> {
    let ids: BTreeSet<KeyId> = ledgers.iter().flat_map(|ledger| ledger.keys()).collect();
    let mut keys = Vec::with_capacity(ids.len());
    for id in ids {
        keys.extend(records.key(id)?.map(|stored| stored.key));
    }
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(keys)
}

#[cfg(test)]
mod tests;
