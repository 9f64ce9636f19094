//! Counting what one method found: by theft, by group, by client, by part of the keys.

use std::collections::BTreeMap;

use super::{AttackReport, ChangeReport, DelayCurve, GroupReport, Part, alarms};
use crate::plan::Options;
use crate::stats::{Share, Spread, by_client};
use crate::trial::{Detection, KeyTrial, MethodTrial, Trajectory};
use crate::world::{Attack, Change, Group, World, WorldKey};

/// The trials of one method on the test keys.
pub(super) struct Tally<'a> {
    attacks: &'a [Attack],
    changes: &'a [Change],
    keys: Vec<TestKey<'a>>,
}

struct TestKey<'a> {
    about: &'a WorldKey,
    /// Its client's number.
    client: usize,
    calls_per_day: f64,
    trial: &'a MethodTrial,
}

/// A part of the keys: its name and their places.
pub(super) type KeyPart = (String, Vec<usize>);

impl<'a> Tally<'a> {
    /// Of the contestant at a place, by all keys that it is judged by.
    pub(super) fn new(
        world: &'a dyn World,
        judged: impl Iterator<Item = &'a KeyTrial>,
        place: usize,
    ) -> Self {
        let mut clients: BTreeMap<&str, usize> = BTreeMap::new();
        let keys: Vec<TestKey<'a>> = judged
            .filter_map(|trial| {
                let about = world.keys().get(trial.key)?;
                let next = clients.len();
                let client = *clients.entry(about.client.as_str()).or_insert(next);
                let method = trial.methods.get(place)?;
                Some(TestKey { about, client, calls_per_day: trial.calls_per_day, trial: method })
            })
            .collect();
        Self { attacks: world.attacks(), changes: world.changes(), keys }
    }

    /// Highest scores of all clean days.
    pub(super) fn days(&self) -> impl Iterator<Item = f64> + '_ {
        self.keys.iter().flat_map(|key| key.trial.days.iter().copied())
    }

    /// The keys by what kind of caller they are.
    pub(super) fn archetypes(&self) -> Vec<KeyPart> {
        let mut parts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, key) in self.keys.iter().enumerate() {
            parts.entry(key.about.archetype).or_default().push(place);
        }
        parts.into_iter().map(|(name, keys)| (name.to_owned(), keys)).collect()
    }

    /// The keys in thirds by calls a day.
    pub(super) fn sizes(&self) -> Vec<KeyPart> {
        let mut places: Vec<usize> = (0..self.keys.len()).collect();
        let calls = |place: usize| self.keys.get(place).map_or(0.0, |key| key.calls_per_day);
        places.sort_by(|&a, &b| calls(a).total_cmp(&calls(b)).then(a.cmp(&b)));
        let third = places.len().div_ceil(3).max(1);
        let part = |places: &[usize]| {
            let ends = places.first().zip(places.last()).map(|(&a, &b)| (calls(a), calls(b)));
            let (low, high) = ends.unwrap_or_default();
            (format!("{low:.0} to {high:.0} calls a day"), places.to_vec())
        };
        places.chunks(third).map(part).collect()
    }

    /// Keys with an alarm after each harmless change.
    pub(super) fn changes(&self, threshold: f64) -> Vec<ChangeReport> {
        let report = |(place, change): (usize, &Change)| {
            let trials = || {
                let all = self.keys.iter().flat_map(|key| &key.trial.changes);
                all.filter(move |trial| trial.change == place)
            };
            let alarms = alarms(trials().map(|trial| trial.highest), threshold);
            let without = super::alarms(trials().map(|trial| trial.without), threshold);
            (alarms.of > 0).then_some(ChangeReport { change: change.name, alarms, without })
        };
        self.changes.iter().enumerate().filter_map(report).collect()
    }

    /// What a threshold finds.
    pub(super) fn at(&'a self, threshold: f64) -> Found<'a> {
        let detect = |theft: &'a Trajectory| (theft, theft.at(threshold));
        let thefts = self.keys.iter().map(|key| key.trial.thefts.iter().map(detect).collect()).collect();
        Found { tally: self, thefts }
    }
}

/// What one threshold finds: per key, its thefts.
pub(super) struct Found<'a> {
    tally: &'a Tally<'a>,
    thefts: Vec<Vec<(&'a Trajectory, Option<Detection>)>>,
}

/// Found and tried, per attack and client.
struct Counts {
    clients: usize,
    /// `attack * clients + client`.
    cells: Vec<(u32, u32)>,
}

impl Counts {
    /// Share found of an attack when clients are weighted; `None` when it was not tried.
    fn recall(&self, attack: usize, weights: Option<&[u32]>) -> Option<f64> {
        let row = self.cells.get(attack * self.clients..(attack + 1) * self.clients)?;
        let (mut found, mut tried) = (0, 0);
        for (client, cell) in row.iter().enumerate() {
            let weight = weights.map_or(1, |weights| weights.get(client).copied().unwrap_or(0));
            found += cell.0 * weight;
            tried += cell.1 * weight;
        }
        (tried > 0).then(|| f64::from(found) / f64::from(tried))
    }

    /// Mean share found over attacks; those that were not tried do not count.
    fn mean_recall(&self, attacks: &[usize], weights: Option<&[u32]>) -> Option<f64> {
        let recalls: Vec<f64> = attacks.iter().filter_map(|&attack| self.recall(attack, weights)).collect();
        (!recalls.is_empty()).then(|| recalls.iter().sum::<f64>() / recalls.len() as f64)
    }
}

impl Found<'_> {
    /// What became of each theft of a kind.
    pub(super) fn of_attack(&self, attack: usize) -> Vec<Option<Detection>> {
        let thefts = self.thefts.iter().flatten().filter(|(theft, _)| theft.attack == attack);
        thefts.map(|(_, found)| *found).collect()
    }

    /// Counts over some of the keys. Those that nothing was stolen on are no part of the sample.
    fn counts(&self, keys: impl Iterator<Item = usize>) -> Counts {
        let keys: Vec<usize> = keys.collect();
        let of_keys = || {
            let all = keys.iter().filter_map(|&place| self.tally.keys.get(place).zip(self.thefts.get(place)));
            all.filter(|(_, thefts)| !thefts.is_empty())
        };
        // Clients of these keys, numbered anew: the others are no part of the sample.
        let mut numbers: BTreeMap<usize, usize> = of_keys().map(|(key, _)| (key.client, 0)).collect();
        numbers.values_mut().zip(0..).for_each(|(number, next)| *number = next);
        let clients = numbers.len();
        let mut cells = vec![(0, 0); clients * self.tally.attacks.len()];
        for (key, thefts) in of_keys() {
            let client = numbers.get(&key.client).copied().unwrap_or(0);
            for (theft, detection) in thefts {
                if let Some(cell) = cells.get_mut(theft.attack * clients + client) {
                    cell.0 += u32::from(detection.is_some());
                    cell.1 += 1;
                }
            }
        }
        Counts { clients, cells }
    }

    /// Means per group over all keys.
    pub(super) fn groups(&self, options: &Options) -> Vec<GroupReport> {
        self.groups_of(&self.counts(0..self.tally.keys.len()), options)
    }

    fn groups_of(&self, counts: &Counts, options: &Options) -> Vec<GroupReport> {
        let report = |group: Group| {
            let tried = |&attack: &usize| counts.recall(attack, None).is_some();
            let attacks: Vec<usize> = self.attacks_of(group).filter(tried).collect();
            let value = counts.mean_recall(&attacks, None)?;
            let statistic = |weights: &[u32]| counts.mean_recall(&attacks, Some(weights));
            let found = by_client(counts.clients, options.resamples, options.seed, value, statistic);
            Some(GroupReport { group, attacks: attacks.len() as u64, found })
        };
        Group::ALL.into_iter().filter_map(report).collect()
    }

    fn attacks_of(&self, group: Group) -> impl Iterator<Item = usize> + '_ {
        let attacks = self.tally.attacks.iter().enumerate();
        attacks.filter(move |(_, attack)| attack.group == group).map(|(place, _)| place)
    }

    /// Mean share found per group, without intervals.
    pub(super) fn means(&self) -> Vec<(Group, f64)> {
        let counts = self.counts(0..self.tally.keys.len());
        let mean = |group: Group| {
            let attacks: Vec<usize> = self.attacks_of(group).collect();
            Some((group, counts.mean_recall(&attacks, None)?))
        };
        Group::ALL.into_iter().filter_map(mean).collect()
    }

    /// Each kind of theft. `index` is the threshold's place among those of interest.
    pub(super) fn attacks(&self, index: usize, options: &Options) -> Vec<AttackReport> {
        let counts = self.counts(0..self.tally.keys.len());
        let report = |(place, attack): (usize, &Attack)| {
            let value = counts.recall(place, None)?;
            let statistic = |weights: &[u32]| counts.recall(place, Some(weights));
            let recall = by_client(counts.clients, options.resamples, options.seed, value, statistic);
            let thefts = self.thefts.iter().flatten().filter(|(theft, _)| theft.attack == place);
            let thefts: Vec<&(&Trajectory, Option<Detection>)> = thefts.collect();
            let found = || thefts.iter().filter_map(|(_, found)| found.as_ref());
            let in_use = || thefts.iter().filter(|(theft, _)| theft.in_use);
            let found_in_use = in_use().filter(|(_, found)| found.is_some()).count();
            let gone: f64 = thefts.iter().map(|(theft, found)| theft.gone(found.as_ref())).sum();
            let refused = |theft: &Trajectory| theft.owner_refused.get(index).copied().unwrap_or(0);
            Some(AttackReport {
                attack: attack.name,
                thefts: thefts.len() as u64,
                found: found().count() as u64,
                recall,
                in_use: Share::new(found_in_use as u64, in_use().count() as u64),
                requests: Spread::of(found().map(|found| found.requests as f64).collect()),
                seconds: Spread::of(found().map(|found| found.seconds).collect()),
                dollars: Spread::of(found().map(|found| found.spent.dollars()).collect()),
                spend_gone: gone / thefts.len().max(1) as f64,
                owner_requests: thefts.iter().map(|(theft, _)| theft.owner_requests).sum(),
                owner_refused: thefts.iter().map(|(theft, _)| refused(theft)).sum(),
            })
        };
        self.tally.attacks.iter().enumerate().filter_map(report).collect()
    }

    /// Shares found within 1, 2, 5, 10, … requests.
    pub(super) fn delays(&self) -> Vec<DelayCurve> {
        let limits = || (0..6_u32).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)));
        let curve = |group: Group| {
            let attacks: Vec<usize> = self.attacks_of(group).collect();
            let all = self.thefts.iter().flatten().filter(|(theft, _)| attacks.contains(&theft.attack));
            let requests: Vec<Option<u64>> =
                all.map(|(_, found)| found.map(|found| found.requests)).collect();
            let share = |limit: u64| {
                let found =
                    requests.iter().filter(|requests| requests.is_some_and(|requests| requests <= limit));
                (limit, found.count() as f64 / requests.len() as f64)
            };
            (!requests.is_empty()).then(|| DelayCurve { group, found_within: limits().map(share).collect() })
        };
        Group::ALL.into_iter().filter_map(curve).collect()
    }

    /// Each part of the keys.
    pub(super) fn parts(&self, parts: &[KeyPart], threshold: f64, options: &Options) -> Vec<Part> {
        let report = |(name, keys): &KeyPart| {
            let of_part = keys.iter().filter_map(|&place| self.tally.keys.get(place));
            let days = of_part.flat_map(|key| key.trial.days.iter().copied());
            Part {
                part: name.clone(),
                keys: keys.len() as u64,
                false_alarms: alarms(days, threshold),
                groups: self.groups_of(&self.counts(keys.iter().copied()), options),
            }
        };
        parts.iter().map(report).collect()
    }
}
