//! Who calibrates, who is judged, and when each theft starts: all drawn from one seed.
//!
//! Invariant: keys of one client are all on one side.

use std::collections::BTreeMap;

use serde::Serialize;
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_testkit::rng::Rng;

use crate::world::World;

/// The protocol's settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Options {
    /// Seed of split, starts and resampling.
    pub seed: u64,
    /// Days that only teach, from day 0.
    pub teach_days: u32,
    /// Days that are scored after them.
    pub score_days: u32,
    /// Share of the clients that calibrate.
    pub calibration_share: f64,
    /// Keys of those that give thresholds and train; all of them when nothing is said. Clean traffic alone is cheap, and
    /// a rate needs many more clean key-days than `1 / rate`.
    pub calibration_keys: Option<u32>,
    /// Keys of the others that thefts are put on; all of them when nothing is said.
    pub test_keys: Option<u32>,
    /// Further keys of the others on which false alarms alone are counted.
    pub clean_keys: u32,
    /// False alarms per key-day that thresholds are calibrated for, rising.
    pub rates: Vec<f64>,
    /// Stated budgets of the layered detector that are checked, in days a false alarm.
    pub budgets: Vec<f64>,
    /// Resamples of clients behind each interval.
    pub resamples: u32,
    /// Days after a harmless change in which an alarm counts as its own.
    pub change_days: u32,
    /// Whether identities are blanked out, so that times and tokens alone speak.
    pub only_real: bool,
    /// Whether what is read from prompts and answers is left out, as where events have no such columns.
    pub without_content: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            teach_days: 7,
            score_days: 4,
            calibration_share: 0.5,
            calibration_keys: None,
            test_keys: None,
            clean_keys: 0,
            rates: vec![0.001, 0.01],
            budgets: vec![100.0, 300.0, 1_000.0, 2_000.0, 3_000.0],
            resamples: 1_000,
            change_days: 2,
            only_real: false,
            without_content: false,
        }
    }
}

impl Options {
    /// The day after the last.
    pub const fn end_day(&self) -> u32 {
        self.teach_days + self.score_days
    }
}

/// The split of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Keys that thresholds and trained methods come from, rising.
    pub calibration: Vec<usize>,
    /// Keys that thefts are put on, rising; false alarms are counted on their clean days.
    pub test: Vec<usize>,
    /// Further keys of the same clients, on which false alarms alone are counted, rising.
    pub clean: Vec<usize>,
}

impl Plan {
    /// Splits a world by client. Clients are shuffled by the seed, and the first share of them calibrates; with at
    /// least two clients neither side is empty. Of each side the first keys are taken, in the order of the world.
    pub fn new(world: &dyn World, options: &Options) -> Self {
        let mut clients: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, key) in world.keys().iter().enumerate() {
            clients.entry(key.client.as_str()).or_default().push(index);
        }
        let mut clients: Vec<Vec<usize>> = clients.into_values().collect();
        shuffle(&mut clients, &mut Rng::new(options.seed).fork("split"));
        let test: Vec<Vec<usize>> = clients.split_off(Self::calibrating(clients.len(), options));
        let sorted = |groups: Vec<Vec<usize>>| {
            let mut keys: Vec<usize> = groups.into_iter().flatten().collect();
            keys.sort_unstable();
            keys
        };
        let most = |keys: Option<u32>| keys.map_or(usize::MAX, |keys| keys as usize);
        let mut calibration = sorted(clients);
        calibration.truncate(most(options.calibration_keys));
        let mut test = sorted(test);
        let mut clean = test.split_off(most(options.test_keys).min(test.len()));
        clean.truncate(options.clean_keys as usize);
        Self { calibration, test, clean }
    }

    /// Keys of a world in which every client has as many as the populations need; the least that has them all.
    pub fn keys_of(clients: usize, options: &Options) -> u32 {
        let calibrating = Self::calibrating(clients, options);
        let each = |keys: u32, clients: usize| keys.div_ceil(clients.max(1) as u32);
        let judged = options.test_keys.unwrap_or(0).saturating_add(options.clean_keys);
        let calibration = options.calibration_keys.unwrap_or(0);
        let most = each(calibration, calibrating).max(each(judged, clients - calibrating));
        most.saturating_mul(clients as u32)
    }

    /// How many of so many clients calibrate.
    pub fn calibrating(clients: usize, options: &Options) -> usize {
        let wanted = (clients as f64 * options.calibration_share).round() as usize;
        wanted.clamp(1.min(clients), clients.saturating_sub(1).max(1)).min(clients)
    }
}

/// Puts items into a drawn order.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.below(last as u64 + 1) as usize);
    }
}

/// When a theft or change starts on a key: any time of the scored days but the last two, so that it can be seen.
pub fn start_of(world: &dyn World, options: &Options, key: usize, name: &str) -> Timestamp {
    let mut rng = Rng::new(options.seed).fork("start").fork(name).fork(&key.to_string());
    let days = u64::from(options.score_days.saturating_sub(2).max(1));
    let first = u64::from(options.teach_days) * DAY;
    world.start().plus(first + rng.below(days * DAY))
}

/// The seed of a theft or change on a key.
pub fn seed_of(options: &Options, key: usize, name: &str) -> u64 {
    Rng::new(options.seed).fork("attack").fork(name).fork(&key.to_string()).next_u64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Tiny;

    proptest! {
        #[test]
        fn clients_are_never_split(seed: u64, clients in 2usize..12, each in 1usize..4, share in 0.0f64..1.0) {
            let world = Tiny::new(seed, clients, each);
            let options = Options { seed, calibration_share: share, ..Options::default() };
            let plan = Plan::new(&world, &options);
            prop_assert_eq!(plan.calibration.len() + plan.test.len(), clients * each);
            prop_assert!(plan.clean.is_empty());
            prop_assert!(!plan.calibration.is_empty() && !plan.test.is_empty());
            for &a in &plan.calibration {
                for &b in &plan.test {
                    prop_assert_ne!(&world.keys()[a].client, &world.keys()[b].client);
                }
            }
            prop_assert_eq!(Plan::new(&world, &options), plan);
        }

        #[test]
        fn each_population_has_its_own_size(seed: u64, sizes in (1u32..5, 1u32..5, 0u32..5)) {
            let world = Tiny::new(seed, 6, 4);
            let whole = Options { seed, ..Options::default() };
            let (calibration_keys, test_keys) = (Some(sizes.0), Some(sizes.1));
            let plan = Plan::new(&world, &Options { calibration_keys, test_keys, clean_keys: sizes.2, ..whole.clone() });
            let lengths = [&plan.calibration, &plan.test, &plan.clean].map(Vec::len);
            prop_assert_eq!(lengths, [sizes.0, sizes.1, sizes.2].map(|size| size as usize));
            let whole = Plan::new(&world, &whole);
            let judged: Vec<usize> = plan.test.into_iter().chain(plan.clean).collect();
            prop_assert!(whole.calibration.starts_with(&plan.calibration) && whole.test.starts_with(&judged));
        }

        #[test]
        fn thefts_start_on_scored_days(seed: u64, key in 0usize..4) {
            let world = Tiny::new(1, 2, 2);
            let options = Options { seed, ..Options::default() };
            let start = start_of(&world, &options, key, "any");
            let day = start.since(world.start()) / DAY;
            prop_assert!((7..9).contains(&day), "{day}");
        }
    }
}
