//! What was spent, day by day, from the events that are kept.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use tokenwatch_console::manage::Manager;
use tokenwatch_model::SmolStr;
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::key::Policy;
use tokenwatch_model::limit::Budgets;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_respond::spend::{History, clean};
use tokenwatch_store::{Archive, Filter};

use crate::Common;
use crate::state::open_store;

/// Incidents whose days are no usual ones, latest first.
const INCIDENTS_MAX: u32 = 100_000;

/// What a key spent.
pub(super) struct KeySpend {
    pub(super) name: SmolStr,
    pub(super) owner: Option<OwnerId>,
    /// In force, inherited or not.
    pub(super) budgets: Budgets,
    pub(super) history: History,
}

/// What was spent.
pub(super) struct Spent {
    /// First whole day that is kept, in days since 1970.
    pub(super) first_day: u64,
    /// By name.
    pub(super) keys: Vec<KeySpend>,
    pub(super) owners: Vec<(OwnerId, SmolStr)>,
    pub(super) providers: BTreeMap<SmolStr, History>,
    pub(super) unreadable: u64,
}

/// Cost by key and provider, and day since 1970.
type Costs = HashMap<(KeyId, SmolStr), BTreeMap<u64, NanoUsd>>;

/// The calendar at a time.
struct Calendar {
    /// First day that counts, the first of this month, and today.
    first: u64,
    month: u64,
    today: u64,
    days_left: u32,
}

impl Calendar {
    fn new(days: u64, now: Timestamp) -> Self {
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
}

/// Reads what was spent in so many whole days before today, and today.
pub(super) fn read(
    common: &Common,
    manager: &Manager,
    defaults: &Policy,
    days: u64,
    now: Timestamp,
) -> anyhow::Result<Spent> {
    let mut calendar = Calendar::new(days, now);
    let (costs, unreadable, oldest) = read_costs(common, &calendar)?;
    // The first day that is kept may lack its beginning.
    calendar.first = calendar.first.max(oldest.map_or(calendar.today, |day| day + 1));
    let mut thefts: HashMap<KeyId, Vec<Incident>> = HashMap::new();
    for incident in manager.incidents(false, None, INCIDENTS_MAX)? {
        thefts.entry(incident.key).or_default().push(incident);
    }
    let owners = manager.records.owners()?;
    let mut keys = Vec::new();
    let mut providers: BTreeMap<SmolStr, History> = BTreeMap::new();
    for stored in manager.records.keys()? {
        let key = stored.key;
        let owner = key.owner.and_then(|id| owners.iter().find(|owner| owner.id == id));
        let inherited = owner.map_or(defaults.budgets, |owner| owner.defaults.budgets.or(defaults.budgets));
        let mine: Vec<_> = costs.iter().filter(|((id, _), _)| *id == key.id).collect();
        // The day of its birth is not whole. What is older than the key was brought in.
        let born = mine.iter().filter_map(|(_, costs)| costs.keys().next().copied()).min();
        let born = born.map_or(key.created.0 / DAY, |day| day.min(key.created.0 / DAY));
        let first = calendar.first.max(born + 1);
        let of_key = thefts.get(&key.id).map(Vec::as_slice).unwrap_or_default();
        let mut history = History { days_left: calendar.days_left, ..History::default() };
        for ((_, provider), costs) in mine {
            let of_provider = history_of(costs, first, &calendar, &|day| is_theft(of_key, day, now));
            history.add(&of_provider);
            providers.entry(provider.clone()).or_default().add(&of_provider);
        }
        let budgets = key.policy.budgets.or(inherited);
        keys.push(KeySpend { name: key.name, owner: key.owner, budgets, history });
    }
    let owners = owners.into_iter().map(|owner| (owner.id, owner.name)).collect();
    Ok(Spent { first_day: calendar.first, keys, owners, providers, unreadable })
}

fn read_costs(common: &Common, calendar: &Calendar) -> anyhow::Result<(Costs, u64, Option<u64>)> {
    let store = open_store(&common.state_dir())?;
    let from = Timestamp(calendar.first.min(calendar.month) * DAY);
    let events = Archive::new(&store.archive_dir())
        .events(Some(&store.journal_dir()), Filter { from: Some(from), ..Filter::default() })
        .context("the events that are kept can not be read")?;
    let (mut costs, mut unreadable, mut oldest) = (Costs::new(), 0, None::<u64>);
    for event in events {
        let Ok(event) = event else {
            unreadable += 1;
            continue;
        };
        let day = event.request.time.0 / DAY;
        oldest = Some(oldest.map_or(day, |oldest| oldest.min(day)));
        if event.cost > NanoUsd::ZERO {
            let by_day = costs.entry((event.request.key, event.request.provider.clone())).or_default();
            *by_day.entry(day).or_default() += event.cost;
        }
    }
    // Events from the first moment on are whole days, unless nothing older was kept.
    let starts_whole = oldest == Some(from.0 / DAY);
    Ok((costs, unreadable, oldest.map(|day| if starts_whole { day.saturating_sub(1) } else { day })))
}

fn history_of(
    costs: &BTreeMap<u64, NanoUsd>,
    first: u64,
    calendar: &Calendar,
    is_theft: &dyn Fn(u64) -> bool,
) -> History {
    let on = |day: u64| costs.get(&day).copied().unwrap_or_default();
    let days: Vec<NanoUsd> = (first..calendar.today).map(on).collect();
    let thefts: Vec<bool> = (first..calendar.today).map(is_theft).collect();
    History {
        days: clean(&days, &thefts),
        today: on(calendar.today),
        month: (calendar.month..=calendar.today).map(on).sum(),
        days_left: calendar.days_left,
    }
}

/// Whether a day of a key was one of a theft: from the stranger's first request until it was contained or closed.
fn is_theft(of_key: &[Incident], day: u64, now: Timestamp) -> bool {
    of_key.iter().filter(|theft| theft.state != IncidentState::Dismissed).any(|theft| {
        let end = theft.contained.or(theft.closed).unwrap_or(now);
        (theft.first_seen.0 / DAY..=end.0 / DAY).contains(&day)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(now: &str, month: &str, days_left: u32) {
        let now: Timestamp = now.parse().unwrap();
        let calendar = Calendar::new(30, now);
        let first: Timestamp = month.parse().unwrap();
        assert_eq!((calendar.month, calendar.days_left), (first.0 / DAY, days_left), "{now}");
        assert_eq!(calendar.today - calendar.first, 30);
    }

    #[test]
    fn months_have_their_length() {
        check("2026-02-10T12:00:00Z", "2026-02-01T00:00:00Z", 18);
        check("2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", 30);
        check("2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", 0);
        check("2028-02-29T01:00:00Z", "2028-02-01T00:00:00Z", 0);
    }
}
