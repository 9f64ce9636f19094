//! The ports in memory: a clock that is set, a journal that can be read, stored states, networks by number.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokenwatch_gateway::FindingSink;
use tokenwatch_model::event::{JournalRecord, UsageEvent};
use tokenwatch_model::finding::Finding;
use tokenwatch_model::id::{ContainmentId, KeyId};
use tokenwatch_model::network::{AddressFacts, NetworkFacts, NetworkKind};
use tokenwatch_model::ports::{Clock, EventSink, Random, StateError, StateSource};
use tokenwatch_model::suppression::SuppressedAlert;
use tokenwatch_model::time::{SECOND, Timestamp};
use tokenwatch_testkit::rng::Rng;

/// A clock that stands still until it is told.
pub(crate) struct TestClock(pub(crate) AtomicU64);

impl TestClock {
    pub(crate) fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds * SECOND, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct Seeded(pub(crate) Mutex<Rng>);

impl Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let mut rng = self.0.lock().unwrap();
        bytes.fill_with(|| rng.next_u64() as u8);
    }
}

/// The journal, the findings and the stored states in memory.
#[derive(Default)]
pub(crate) struct Memory {
    records: Mutex<Vec<JournalRecord>>,
    findings: Mutex<Vec<Finding>>,
    suppressed: Mutex<Vec<SuppressedAlert>>,
    contained: AtomicU64,
    met: Mutex<Vec<Vec<ContainmentId>>>,
    /// Stored states; an error stands for a store that can not be read.
    pub(crate) states: Mutex<HashMap<KeyId, Result<Vec<u8>, String>>>,
}

impl Memory {
    pub(crate) fn records(&self) -> Vec<JournalRecord> {
        self.records.lock().unwrap().clone()
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.findings.lock().unwrap().clone()
    }

    pub(crate) fn suppressed(&self) -> Vec<SuppressedAlert> {
        self.suppressed.lock().unwrap().clone()
    }

    pub(crate) fn contained(&self) -> u64 {
        self.contained.load(Ordering::SeqCst)
    }

    /// The containments that each refused request was in.
    pub(crate) fn met(&self) -> Vec<Vec<ContainmentId>> {
        self.met.lock().unwrap().clone()
    }

    pub(crate) fn events(&self) -> Vec<UsageEvent> {
        let usage = |record: &JournalRecord| match record {
            JournalRecord::Usage(event) => Some(event.clone()),
            _ => None,
        };
        self.records.lock().unwrap().iter().filter_map(usage).collect()
    }
}

impl EventSink for Memory {
    fn push(&self, record: JournalRecord) -> bool {
        self.records.lock().unwrap().push(record);
        true
    }
}

impl FindingSink for Memory {
    fn found(&self, finding: Finding) {
        self.findings.lock().unwrap().push(finding);
    }

    fn suppressed(&self, alert: SuppressedAlert) {
        self.suppressed.lock().unwrap().push(alert);
    }

    fn contained(&self, _: KeyId, met: &[ContainmentId]) {
        self.met.lock().unwrap().push(met.to_vec());
        self.contained.fetch_add(1, Ordering::SeqCst);
    }
}

impl StateSource for Memory {
    fn load(&self, key: KeyId) -> Result<Option<Vec<u8>>, StateError> {
        let found = self.states.lock().unwrap().get(&key).cloned();
        found.transpose().map_err(|detail| StateError { key, detail })
    }
}

/// Networks by the first number of an address.
pub(crate) struct Networks;

impl AddressFacts for Networks {
    fn facts(&self, address: IpAddr) -> NetworkFacts {
        let IpAddr::V4(v4) = address else { return NetworkFacts::default() };
        let (asn, kind) = match v4.octets()[0] {
            198 => (64_500, NetworkKind::Hosting),
            203 => (64_666, NetworkKind::Vpn),
            _ => (0, NetworkKind::Private),
        };
        NetworkFacts { asn, kind, ..NetworkFacts::default() }
    }

    fn organisation(&self, _: u32) -> Option<&str> {
        None
    }
}
