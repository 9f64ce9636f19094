//! What the learned methods are trained on: hours of keys that are known to be clean.
//!
//! Rows are sampled one by one for the forest, and in runs of consecutive rows for the recurrent network. Each row
//! and run draws its lot from the seed, its key and its ordinal, and the smallest lots are kept: the sample is
//! even over everything seen, and does not depend on how the keys' events were interleaved.
//!
//! Invariants: memory is bounded whatever is seen; the same events of the same keys give the same sample. Feed it
//! calibration keys only, without days of incidents: it believes everything.

use std::collections::BTreeMap;

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::KeyId;

use super::hours::{Hours, Row, Scope};
use crate::math::join;
use crate::profile::KeyProfile;

/// Rows kept.
const ROWS_MAX: usize = 16_384;
/// Runs kept.
const RUNS_MAX: usize = 2_048;
/// Rows of a run.
pub(super) const RUN: usize = 32;
/// Keys followed at the same time; [`Training::finish`] makes room.
const KEYS_MAX: usize = 20_000;

/// Why a model can not be trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// There are too few rows.
    #[error(
        "the calibration keys gave {have} hours to train on, at least {need} are needed; feed more keys or days"
    )]
    Rows {
        /// Rows collected.
        have: usize,
        /// Rows needed.
        need: usize,
    },
    /// There are too few runs of consecutive rows.
    #[error(
        "the calibration keys gave {have} runs of {RUN} hours to train on, at least {need} are needed; feed more keys or days"
    )]
    Runs {
        /// Runs collected.
        have: usize,
        /// Runs needed.
        need: usize,
    },
    /// A setting makes no sense.
    #[error("{0} can not be used to train with")]
    Setting(&'static str),
}

/// The smallest lots.
#[derive(Clone, Debug)]
struct Sample<T> {
    kept: BTreeMap<u64, T>,
    most: usize,
}

impl<T> Sample<T> {
    const fn new(most: usize) -> Self {
        Self { kept: BTreeMap::new(), most }
    }

    fn offer(&mut self, lot: u64, item: T) {
        let is_full = self.kept.len() >= self.most;
        if is_full && self.kept.last_key_value().is_some_and(|(&last, _)| lot > last) {
            return;
        }
        self.kept.insert(lot, item);
        if self.kept.len() > self.most {
            self.kept.pop_last();
        }
    }
}

/// One calibration key.
#[derive(Clone, Debug)]
struct Collector {
    hours: Hours,
    rows: u64,
    run: Vec<Row>,
}

/// Collects hours of calibration keys.
#[derive(Clone, Debug)]
pub struct Training {
    seed: u64,
    keys: BTreeMap<KeyId, Collector>,
    rows: Sample<Row>,
    runs: Sample<Vec<Row>>,
}

impl Training {
    /// Nothing collected yet; the seed decides what is kept when there is too much.
    pub const fn new(seed: u64) -> Self {
        Self { seed, keys: BTreeMap::new(), rows: Sample::new(ROWS_MAX), runs: Sample::new(RUNS_MAX) }
    }

    /// Takes in the next clean event of a calibration key; beyond 20,000 unfinished keys, new ones are ignored. The
    /// methods have no use for the profile yet.
    pub fn see(&mut self, key: KeyId, _: &KeyProfile, event: &UsageEvent) {
        if self.keys.len() >= KEYS_MAX && !self.keys.contains_key(&key) {
            return;
        }
        let collector = self.keys.entry(key).or_insert_with(|| Collector {
            hours: Hours::new(Scope::Novelty),
            rows: 0,
            run: Vec::with_capacity(RUN),
        });
        let Some(row) = collector.hours.see(event) else { return };
        let lot = join(join(self.seed, key.bits()), collector.rows);
        collector.rows += 1;
        self.rows.offer(lot, row);
        collector.run.push(row);
        if collector.run.len() >= RUN {
            let run = std::mem::replace(&mut collector.run, Vec::with_capacity(RUN));
            self.runs.offer(lot, run);
        }
    }

    /// Forgets what was needed to follow a key that has no more events; its rows stay.
    pub fn finish(&mut self, key: KeyId) {
        self.keys.remove(&key);
    }

    /// Rows collected and kept.
    pub fn rows(&self) -> usize {
        self.rows.kept.len()
    }

    /// The kept rows, in the order of their lots.
    pub(super) fn sampled_rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.kept.values()
    }

    /// The kept runs, in the order of their lots.
    pub(super) fn sampled_runs(&self) -> impl ExactSizeIterator<Item = &[Row]> {
        self.runs.kept.values().map(Vec::as_slice)
    }
}
