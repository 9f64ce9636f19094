//! Which billing alarms are to be raised: thresholds of a day in typical days, a month that is going to cost too much, and
//! a month that did.
//!
//! Invariants:
//! * An alarm is raised once for a spender, a threshold and a period; of a day's thresholds one that was told says what the
//!   lower ones say.
//! * More spend never crosses less.
//! * Nothing is said of a day that cost less than the floor, and nothing of what is usual without a week of whole days.
//!   What a person allowed is a limit from the first dollar on.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use tokenwatch_model::SmolStr;
use tokenwatch_model::alarm::{Alarm, AlarmKind, Driver, Spender};
use tokenwatch_model::id::AlarmId;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::Timestamp;

use super::ledger::{KeySpend, Spent, total};
use super::{History, Proposal, TIMES, propose, propose_at};

/// Keys and models named as drivers.
const DRIVERS_MAX: usize = 3;

/// When alarms are raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlarmRules {
    /// Whether any is.
    pub enabled: bool,
    /// How often spend is looked at, in seconds.
    pub every_s: u64,
    /// Thresholds of a day in typical days, lowest first.
    pub multiples: [f64; 3],
    /// A day that cost less is never told of.
    pub floor: NanoUsd,
    /// What a UTC month may cost at a provider, by its name.
    pub provider_caps: BTreeMap<SmolStr, NanoUsd>,
    /// What a UTC month may cost all keys of an owner together, by its name.
    pub owner_caps: BTreeMap<SmolStr, NanoUsd>,
}

impl Default for AlarmRules {
    fn default() -> Self {
        Self {
            enabled: true,
            every_s: 60,
            multiples: TIMES,
            floor: NanoUsd::from_cents(500),
            provider_caps: BTreeMap::new(),
            owner_caps: BTreeMap::new(),
        }
    }
}

impl AlarmRules {
    /// What is wrong with them: the field, and what would be right.
    pub fn wrong(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let [low, medium, high] = self.multiples;
        if !(low >= 1.0 && low < medium && medium < high && high <= 1_000.0) {
            wrong.push(("multiples", "must be three numbers from 1 to 1000, lowest first".to_owned()));
        }
        if !(1..=3_600).contains(&self.every_s) {
            wrong.push(("every_s", "must be 1 to 3600".to_owned()));
        }
        for (field, caps) in [("provider_caps", &self.provider_caps), ("owner_caps", &self.owner_caps)] {
            for name in caps.iter().filter(|(_, cap)| **cap == NanoUsd::ZERO).map(|(name, _)| name) {
                wrong.push((field, format!("{name:?} must be more than 0 dollars; leave it out for no cap")));
            }
        }
        wrong
    }
}

/// A limit that spend is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossed {
    /// Which.
    pub kind: AlarmKind,
    /// In money.
    pub limit: NanoUsd,
    /// In typical days, for thresholds of a day.
    pub times: Option<f64>,
}

/// What spend is over: the highest threshold of the day, and the month's cap or, before that, its forecast. `cap` is what
/// the month may cost.
pub fn crossed(
    rules: &AlarmRules,
    history: &History,
    proposal: Option<&Proposal>,
    cap: Option<NanoUsd>,
) -> Vec<Crossed> {
    let mut all = Vec::new();
    let day = proposal.filter(|made| made.today >= rules.floor).into_iter().flat_map(|made| {
        AlarmKind::DAY.into_iter().zip(made.thresholds).filter(|(_, threshold)| threshold.crossed)
    });
    if let Some((kind, threshold)) = day.last() {
        all.push(Crossed { kind, limit: threshold.day, times: Some(threshold.times) });
    }
    // No budget is one that can not be used up.
    if let Some(limit) = cap.filter(|cap| *cap != NanoUsd::MAX) {
        if history.month >= limit {
            all.push(Crossed { kind: AlarmKind::MonthCap, limit, times: None });
        } else if proposal.is_some_and(|made| made.forecast > limit) {
            all.push(Crossed { kind: AlarmKind::MonthForecast, limit, times: None });
        }
    }
    all
}

/// What was raised before: whose, what, and in which day or month.
pub type Told = HashSet<(Spender, AlarmKind, u32)>;

/// What was told, and what nobody wants to hear.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Raised before.
    pub told: Told,
    /// Spenders that are snoozed.
    pub snoozed: HashSet<Spender>,
}

/// Whether it says something that was not told of its day or month.
fn is_new(told: &Told, spender: &Spender, kind: AlarmKind, now: Timestamp) -> bool {
    let says_it = |other: &AlarmKind| match kind.is_of_day() {
        true => other.is_of_day() && *other >= kind,
        false => *other == kind,
    };
    let period = kind.period(now);
    !AlarmKind::ALL
        .iter()
        .filter(|other| says_it(other))
        .any(|other| told.contains(&(spender.clone(), *other, period)))
}

/// The alarms that are to be raised at `now`: keys in their order, then owners, then providers. `id` makes ids.
pub fn due(
    rules: &AlarmRules,
    spent: &Spent,
    known: &Known,
    now: Timestamp,
    id: &mut dyn FnMut() -> u64,
) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    if !rules.enabled {
        return alarms;
    }
    let mut look =
        |spender: Spender, name: &SmolStr, history: &History, cap, drivers: &dyn Fn() -> Vec<Driver>| {
            if known.snoozed.contains(&spender) {
                return;
            }
            let proposal = propose_at(history, rules.multiples);
            for Crossed { kind, limit, times } in crossed(rules, history, proposal.as_ref(), cap) {
                if !is_new(&known.told, &spender, kind, now) {
                    continue;
                }
                alarms.push(Alarm {
                    id: AlarmId::from_bits(id()),
                    spender: spender.clone(),
                    name: name.clone(),
                    kind,
                    period: kind.period(now),
                    raised: now,
                    today: history.today,
                    month: history.month,
                    typical_day: proposal.as_ref().map(|made| made.typical_day),
                    days: proposal.as_ref().map_or(0, |made| u32::try_from(made.days).unwrap_or(u32::MAX)),
                    limit,
                    times,
                    forecast: proposal.as_ref().map(|made| made.forecast),
                    drivers: drivers(),
                });
            }
        };
    for key in &spent.keys {
        let drivers = || models(&[key], None);
        look(Spender::Key(key.id), &key.name, &key.history, key.budgets.month, &drivers);
    }
    let by_owner = spent.by_owner();
    for (id, name) in &spent.owners {
        let keys = by_owner.get(id).map_or(&[][..], Vec::as_slice);
        let cap = rules.owner_caps.get(name).copied();
        // What the only key that spends tells is not told again of its owner.
        if cap.is_none() && keys.iter().filter(|key| has_spent(&key.history)).count() < 2 {
            continue;
        }
        let drivers = || [dearest_keys(keys, None), models(keys, None)].concat();
        look(Spender::Owner(*id), name, &total(keys), cap, &drivers);
    }
    let keys: Vec<&KeySpend> = spent.keys.iter().collect();
    for (name, history) in &spent.providers {
        let cap = rules.provider_caps.get(name).copied();
        let drivers = || [dearest_keys(&keys, Some(name)), models(&keys, Some(name))].concat();
        look(Spender::Provider(name.clone()), name, history, cap, &drivers);
    }
    alarms
}

fn has_spent(history: &History) -> bool {
    history.month > NanoUsd::ZERO || history.days.iter().any(|day| *day > NanoUsd::ZERO)
}

/// The keys that spent most today, at one provider or anywhere.
fn dearest_keys(keys: &[&KeySpend], provider: Option<&SmolStr>) -> Vec<Driver> {
    let today = |key: &KeySpend| match provider {
        Some(provider) => key.providers.get(provider).copied().unwrap_or_default(),
        None => key.history.today,
    };
    let mut dearest: Vec<(NanoUsd, &KeySpend)> = keys.iter().map(|key| (today(key), *key)).collect();
    dearest.retain(|(today, _)| *today > NanoUsd::ZERO);
    dearest.sort_by(|(a, key), (b, other)| b.cmp(a).then_with(|| key.name.cmp(&other.name)));
    let driver = |(today, key): (NanoUsd, &KeySpend)| Driver {
        kind: SmolStr::new_static("key"),
        name: key.name.clone(),
        today,
        // What is usual is known of the key as a whole.
        typical_day: propose(&key.history).filter(|_| key.providers.len() < 2).map(|made| made.typical_day),
    };
    dearest.into_iter().take(DRIVERS_MAX).map(driver).collect()
}

/// The models that these keys spent most on today, at one provider or anywhere.
fn models(keys: &[&KeySpend], provider: Option<&SmolStr>) -> Vec<Driver> {
    let mut sums: BTreeMap<&SmolStr, NanoUsd> = BTreeMap::new();
    let of_them = keys.iter().flat_map(|key| &key.models);
    for spend in of_them.filter(|spend| provider.is_none_or(|provider| spend.provider == *provider)) {
        *sums.entry(&spend.model).or_default() += spend.today;
    }
    let mut dearest: Vec<(&SmolStr, NanoUsd)> = sums.into_iter().collect();
    dearest.sort_by(|(model, a), (other, b)| b.cmp(a).then_with(|| model.cmp(other)));
    let driver = |(model, today): (&SmolStr, NanoUsd)| Driver {
        kind: SmolStr::new_static("model"),
        name: model.clone(),
        today,
        typical_day: None,
    };
    dearest.into_iter().take(DRIVERS_MAX).map(driver).collect()
}

#[cfg(test)]
mod tests;
