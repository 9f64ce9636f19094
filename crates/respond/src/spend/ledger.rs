//! What was spent, by key, provider and day: sums that events are added to, and what they say of keys, owners and providers.

use std::collections::{BTreeMap, HashMap};

use tokenwatch_model::SmolStr;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::key::{Key, Policy};
use tokenwatch_model::limit::Budgets;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{DAY, Timestamp};

use super::{History, clean};

/// Models told apart on one key and day; those beyond are one.
const MODELS_MAX: usize = 32;
/// Stands for the models beyond.
const OTHERS: &str = "other models";

/// What one model cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpend {
    /// At which provider.
    pub provider: SmolStr,
    /// Its name.
    pub model: SmolStr,
    /// This UTC day so far.
    pub today: NanoUsd,
}

#[derive(Clone, Debug, Default)]
struct OfKey {
    /// By provider, and day since 1970.
    days: BTreeMap<SmolStr, BTreeMap<u64, NanoUsd>>,
    /// The latest day, by model.
    latest: u64,
    models: Vec<ModelSpend>,
}

impl OfKey {
    fn add(&mut self, provider: &SmolStr, day: u64, cost: NanoUsd) {
        match self.days.get_mut(provider) {
            Some(days) => *days.entry(day).or_default() += cost,
            None => drop(self.days.insert(provider.clone(), BTreeMap::from([(day, cost)]))),
        }
    }

    fn add_model(&mut self, provider: &SmolStr, model: &SmolStr, day: u64, cost: NanoUsd) {
        if day < self.latest {
            return;
        }
        if day > self.latest {
            (self.latest, self.models) = (day, Vec::new());
        }
        let is_full = self.models.len() >= MODELS_MAX;
        let known = self.models.iter_mut().find(|known| known.model == *model && known.provider == *provider);
        if let Some(known) = known {
            known.today += cost;
        } else if !is_full {
            self.models.push(ModelSpend { provider: provider.clone(), model: model.clone(), today: cost });
        } else if let Some(others) = self.models.iter_mut().find(|known| known.model == OTHERS) {
            others.today += cost;
        } else {
            let (provider, model) = (provider.clone(), SmolStr::new_static(OTHERS));
            self.models.push(ModelSpend { provider, model, today: cost });
        }
    }
}

/// Sums of what was spent. Adding is cheap, in any order and in parts.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    keys: HashMap<KeyId, OfKey>,
    /// The first day of which anything is kept, spend or not.
    oldest: Option<u64>,
}

impl Ledger {
    /// Adds what one request cost, on the UTC day on which it came.
    pub fn take(&mut self, event: &UsageEvent) {
        let request = &event.request;
        self.add(request.key, &request.provider, &request.model, request.time.0 / DAY, event.cost);
    }

    /// Adds a cost. One of nothing says that the day is one of which something is kept.
    pub fn add(&mut self, key: KeyId, provider: &SmolStr, model: &SmolStr, day: u64, cost: NanoUsd) {
        self.see(day);
        if cost > NanoUsd::ZERO {
            let of_key = self.keys.entry(key).or_default();
            of_key.add(provider, day, cost);
            of_key.add_model(provider, model, day, cost);
        }
    }

    /// Adds all that another one holds.
    pub fn absorb(&mut self, other: Self) {
        other.oldest.into_iter().for_each(|day| self.see(day));
        for (key, of_key) in other.keys {
            let mine = self.keys.entry(key).or_default();
            for (provider, days) in &of_key.days {
                days.iter().for_each(|(day, cost)| mine.add(provider, *day, *cost));
            }
            for model in &of_key.models {
                mine.add_model(&model.provider, &model.model, of_key.latest, model.today);
            }
        }
    }

    /// Keys of which any spend is known.
    pub fn keys(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.keys().copied()
    }

    /// Forgets a day and those after it, so that they can be read again.
    pub fn forget_from(&mut self, day: u64) {
        for of_key in self.keys.values_mut() {
            of_key.days.values_mut().for_each(|days| drop(days.split_off(&day)));
            if of_key.latest >= day {
                (of_key.latest, of_key.models) = (0, Vec::new());
            }
        }
    }

    /// Forgets the days before a day.
    pub fn forget_before(&mut self, day: u64) {
        self.keys.retain(|_, of_key| {
            of_key.days.retain(|_, days| {
                *days = days.split_off(&day);
                !days.is_empty()
            });
            !of_key.days.is_empty()
        });
    }

    fn see(&mut self, day: u64) {
        self.oldest = Some(self.oldest.map_or(day, |oldest| oldest.min(day)));
    }
}

/// The calendar at a time, in UTC days since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// First day that counts for what is usual.
    pub first: u64,
    /// First day of this month.
    pub month: u64,
    /// Today.
    pub today: u64,
    /// Days of this month after today.
    pub days_left: u32,
}

impl Calendar {
    /// With so many whole days before today.
    pub fn new(days: u64, now: Timestamp) -> Self {
        let today = now.0 / DAY;
        let of_month = |day: u64| Timestamp(day * DAY).month();
        // A month has at most 31 days.
        let month = (today.saturating_sub(31)..=today).find(|day| of_month(*day) == of_month(today));
        let days_left = (today + 1..today + 31).take_while(|day| of_month(*day) == of_month(today)).count();
        Self {
            first: today.saturating_sub(days),
            month: month.unwrap_or(today),
            today,
            days_left: u32::try_from(days_left).unwrap_or(0),
        }
    }

    /// The first day that anything has to be known of.
    pub fn from(&self) -> u64 {
        self.first.min(self.month)
    }
}

/// Days of thefts, by key: from a stranger's first request until he was contained or his incident closed.
#[derive(Clone, Debug, Default)]
pub struct Thefts(HashMap<KeyId, Vec<(u64, u64)>>);

impl Thefts {
    /// Those of incidents that were not dismissed; one that nothing ended goes on.
    pub fn of<'a>(incidents: impl IntoIterator<Item = &'a Incident>) -> Self {
        let mut all = Self::default();
        for theft in incidents {
            if theft.state != IncidentState::Dismissed {
                let end = theft.contained.or(theft.closed).map_or(u64::MAX, |end| end.0 / DAY);
                all.0.entry(theft.key).or_default().push((theft.first_seen.0 / DAY, end));
            }
        }
        all
    }

    fn holds(&self, key: KeyId, day: u64) -> bool {
        self.0.get(&key).is_some_and(|thefts| thefts.iter().any(|(from, to)| (*from..=*to).contains(&day)))
    }
}

/// Who spends.
#[derive(Clone, Copy)]
pub struct Spenders<'a> {
    /// Every key.
    pub keys: &'a [Key],
    /// Every owner.
    pub owners: &'a [Owner],
    /// What keys inherit from nobody else.
    pub defaults: &'a Policy,
    /// Days that are no usual ones.
    pub thefts: &'a Thefts,
}

/// What a key spent.
#[derive(Clone, Debug)]
pub struct KeySpend {
    /// Its id.
    pub id: KeyId,
    /// Its name.
    pub name: SmolStr,
    /// Its owner, if it has one that exists.
    pub owner: Option<OwnerId>,
    /// In force, inherited or not.
    pub budgets: Budgets,
    /// Its spend.
    pub history: History,
    /// This UTC day so far, by provider.
    pub providers: BTreeMap<SmolStr, NanoUsd>,
    /// This UTC day so far, by model.
    pub models: Vec<ModelSpend>,
}

/// What was spent.
#[derive(Clone, Debug)]
pub struct Spent {
    /// First whole day that is known, in days since 1970.
    pub first_day: u64,
    /// In the order of `Spenders`.
    pub keys: Vec<KeySpend>,
    /// By name.
    pub owners: Vec<(OwnerId, SmolStr)>,
    /// By name.
    pub providers: BTreeMap<SmolStr, History>,
}

impl Spent {
    /// The keys of each owner who has any.
    pub fn by_owner(&self) -> HashMap<OwnerId, Vec<&KeySpend>> {
        let mut owners: HashMap<OwnerId, Vec<&KeySpend>> = HashMap::new();
        for key in &self.keys {
            key.owner.into_iter().for_each(|owner| owners.entry(owner).or_default().push(key));
        }
        owners
    }
}

/// The sum of an owner's keys.
pub fn total(keys: &[&KeySpend]) -> History {
    let mut sum = History::default();
    keys.iter().for_each(|key| sum.add(&key.history));
    sum
}

/// What ledgers say of who spends. `read_from` is the first day that was asked for when they were filled.
pub fn sum_up(ledgers: &[&Ledger], read_from: u64, calendar: &Calendar, who: &Spenders<'_>) -> Spent {
    // The first day that is kept may lack its beginning, unless it is the first that was asked for.
    let oldest = ledgers.iter().filter_map(|ledger| ledger.oldest).min();
    let whole = oldest.map_or(calendar.today, |day| if day <= read_from { read_from } else { day + 1 });
    let first = calendar.first.max(whole);
    let mut spent = Spent {
        first_day: first,
        keys: Vec::with_capacity(who.keys.len()),
        owners: who.owners.iter().map(|owner| (owner.id, owner.name.clone())).collect(),
        providers: BTreeMap::new(),
    };
    let owners: HashMap<OwnerId, &Owner> = who.owners.iter().map(|owner| (owner.id, owner)).collect();
    for key in who.keys {
        let owner = key.owner.and_then(|id| owners.get(&id).copied());
        let of_key: Vec<&OfKey> = ledgers.iter().filter_map(|ledger| ledger.keys.get(&key.id)).collect();
        let spend = sum_up_key((key, owner), &of_key, first, calendar, who, &mut spent.providers);
        spent.keys.push(spend);
    }
    spent
}

fn sum_up_key(
    (key, owner): (&Key, Option<&Owner>),
    ledgers: &[&OfKey],
    first: u64,
    calendar: &Calendar,
    who: &Spenders<'_>,
    providers: &mut BTreeMap<SmolStr, History>,
) -> KeySpend {
    let inherited =
        owner.map_or(who.defaults.budgets, |owner| owner.defaults.budgets.or(who.defaults.budgets));
    let days = || ledgers.iter().flat_map(|of_key| &of_key.days);
    // The day of its birth is not whole. What is older than the key was brought in.
    let born = days().filter_map(|(_, days)| days.keys().next().copied()).min();
    let born = born.map_or(key.created.0 / DAY, |day| day.min(key.created.0 / DAY));
    let first = first.max(born + 1);
    let mut by_provider: BTreeMap<&SmolStr, Vec<&BTreeMap<u64, NanoUsd>>> = BTreeMap::new();
    days().for_each(|(provider, days)| by_provider.entry(provider).or_default().push(days));
    let mut spend = KeySpend {
        id: key.id,
        name: key.name.clone(),
        owner: owner.map(|owner| owner.id),
        budgets: key.policy.budgets.or(inherited),
        history: History { days_left: calendar.days_left, ..History::default() },
        providers: BTreeMap::new(),
        models: Vec::new(),
    };
    for (provider, costs) in by_provider {
        let on = |day: u64| costs.iter().filter_map(|costs| costs.get(&day)).copied().sum::<NanoUsd>();
        let days: Vec<NanoUsd> = (first..calendar.today).map(on).collect();
        let thefts: Vec<bool> = (first..calendar.today).map(|day| who.thefts.holds(key.id, day)).collect();
        let history = History {
            days: clean(&days, &thefts),
            today: on(calendar.today),
            month: (calendar.month..=calendar.today).map(on).sum(),
            days_left: calendar.days_left,
        };
        spend.history.add(&history);
        if history.today > NanoUsd::ZERO {
            spend.providers.insert(provider.clone(), history.today);
        }
        providers.entry(provider.clone()).or_default().add(&history);
    }
    let mut models = OfKey::default();
    for of_key in ledgers.iter().filter(|of_key| of_key.latest == calendar.today) {
        for model in &of_key.models {
            models.add_model(&model.provider, &model.model, of_key.latest, model.today);
        }
    }
    spend.models = models.models;
    spend
}

#[cfg(test)]
mod tests;
