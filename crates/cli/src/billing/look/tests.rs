//! Money counts once, whoever spent it and whenever it was read, and is told once.

use tokenwatch_console::manage::{KeySpec, Manager};
use tokenwatch_model::alarm::{AlarmKind, Spender};
use tokenwatch_model::event::{JournalRecord, UsageEvent};
use tokenwatch_model::id::KeyId;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::ports::EventSink as _;
use tokenwatch_store::{Journal, JournalOptions, Options, Stream};
use tokenwatch_telemetry::metrics::BuildInfo;

use super::*;
use crate::adapters::SystemRandom;
use crate::billing::tests::event;

/// 2026-03-17, in the afternoon.
const NOW: Timestamp = Timestamp(20_529 * DAY + 14 * HOUR);
const WITHIN: Duration = Duration::from_secs(60);

struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A process of an epoch: its journal, and its look-out.
struct Process {
    lookout: Lookout,
    journal: Journal,
    epoch: u32,
}

impl Process {
    fn start(store: &Store, epoch: u32) -> Self {
        let stream = Stream::new(NOW, &format!("p{epoch}")).unwrap();
        let journal = Journal::open(&store.journal_dir(), JournalOptions::new(stream)).unwrap();
        let parts = Parts {
            store: store.clone(),
            clock: Arc::new(At(NOW)),
            random: Arc::new(SystemRandom::open().unwrap()),
            metrics: Arc::new(Metrics::new(&BuildInfo { version: "0", commit: "unknown" })),
            meter: Arc::new(Meter::new(Arc::new(journal.handle()))),
            rules: Arc::default(),
            defaults: Arc::default(),
            is_teller: Arc::default(),
            epoch,
        };
        Self { lookout: Lookout::new(parts), journal, epoch }
    }

    /// A request of a key that cost so many cents, `days` ago.
    fn spend(&self, key: KeyId, days: u64, n: u64, cents: u64) {
        let mut event: UsageEvent = event();
        event.request.key = key;
        event.request.time = Timestamp(NOW.0 - days * DAY);
        event.key_seq = (u64::from(self.epoch) << 32) + n;
        event.cost = NanoUsd::from_cents(cents);
        assert!(self.lookout.parts.meter.push(JournalRecord::Usage(event)));
        self.journal.handle().flush(WITHIN).unwrap();
    }

    /// Looks; all alarms of the key, latest first: what and at which sum of the day in cents.
    fn look(&mut self, key: KeyId) -> Vec<(&'static str, u64)> {
        self.lookout.look(&AlarmRules { floor: NanoUsd::ZERO, ..AlarmRules::default() }).unwrap();
        let alarms = self.lookout.parts.store.alarms(99).unwrap();
        let ours = alarms.iter().filter(|alarm| alarm.spender == Spender::Key(key));
        let mut told: Vec<_> = ours.map(|alarm| (alarm.kind.name(), alarm.today.0 / 10_000_000)).collect();
        told.sort_by_key(|(_, cents)| std::cmp::Reverse(*cents));
        told
    }
}

#[test]
fn money_counts_once_whoever_spent_it_and_a_restart_tells_nothing_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let manager = Manager {
        records: Arc::new(StoreRecords(store.clone())),
        clock: Arc::new(At(NOW)),
        random: Arc::new(SystemRandom::open().unwrap()),
    };
    let spec = KeySpec { name: "search-prod".into(), ..KeySpec::default() };
    let key = manager.issue(vec![spec], "test").unwrap().remove(0).key.id;
    let first = Process::start(&store, 3);
    (1..=10).for_each(|day| first.spend(key, day, 11 - day, 100));
    let mut second = Process::start(&store, 7);
    assert_eq!(second.look(key), []);
    second.spend(key, 0, 1, 240);
    assert_eq!(second.look(key), [("day_low", 240)]);
    assert_eq!(second.look(key), [("day_low", 240)]);
    // The first one still ends a request; nobody reads the archive again before that is said.
    first.spend(key, 0, 11, 240);
    assert_eq!(second.look(key).len(), 1);
    second.lookout.parts.meter.note_others();
    assert_eq!(second.look(key), [("day_medium", 480), ("day_low", 240)]);
    // Killed, and started again: all that was spent is read, this process's part is added, and what was told is told.
    drop(second);
    let mut third = Process::start(&store, 8);
    third.spend(key, 0, 1, 10);
    assert_eq!(third.look(key).len(), 2);
    third.spend(key, 0, 2, 600);
    assert_eq!(third.look(key), [("day_high", 1_090), ("day_medium", 480), ("day_low", 240)]);
    // The key's, and its provider's.
    assert_eq!(third.lookout.parts.metrics.alerts.billing.get((AlarmKind::DayHigh,)), 2);
}
