//! What came of a replay. Field names are the ones of `--json` and stable: fields are added, never renamed.

use std::collections::BTreeMap;

use serde::Serialize;
use tokenwatch_model::SmolStr;
use tokenwatch_model::finding::{Reason, Tier};
use tokenwatch_model::id::{ActorId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::{SECOND, Timestamp};

use super::case::Case;
use super::{Counted, Day, KeyRun, Replay};
use crate::stats::{Share, Spread};

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplayReport {
    /// Events replayed.
    pub events: u64,
    /// Keys among them.
    pub keys: u64,
    /// From when on requests could be refused and results count; in microseconds since 1970, as all times.
    pub score_from: Timestamp,
    /// Time of the last event.
    pub last: Timestamp,
    /// Whether labels were given. Without them nothing is known to be a theft, and every alert counts as false.
    pub is_labelled: bool,
    /// The fleet's own rates of honest newcomers; `null` when they were not counted.
    pub fleet_rates: Option<Counted>,
    /// Scored days.
    pub overall: Counts,
    /// Per kind of theft: ids that differ only in a number at the end, such as `resale-1` and `resale-2`, are one kind.
    pub kinds: Vec<AttackSummary>,
    /// Per theft.
    pub attacks: Vec<AttackSummary>,
    /// Per theft and key, thefts that began on days of learning included.
    pub cases: Vec<CaseReport>,
    /// Per key.
    pub per_key: Vec<KeySummary>,
    /// Alerts in the order of time.
    pub alerts: Vec<Alert>,
    /// Alerts beyond those listed.
    pub alerts_left_out: u64,
}

/// Counts over scored days.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counts {
    /// Days of keys without a thief's request on which an alert was raised or the owner refused; of all such days on
    /// which the key was used.
    pub false_alarms: Share,
    /// Of the same days, those on which an alert was raised by the owner's requests.
    pub false_alarms_with_alert: Share,
    /// Of the same days, those on which nothing but the owner's requests being refused tells of it.
    pub false_alarms_only_refused: Share,
    /// The same as `false_alarms` on days that only taught.
    pub learning_false_alarms: Share,
    /// Days with requests of a thief, and how many of them had an alert by a request of the owner's, or one refused.
    pub theft_days_owner_alerts: Share,
    /// Alerts that a thief's request raised, of all alerts; one per newcomer.
    pub precision: Share,
    /// Thefts, one per key they are on, that were found.
    pub found: Share,
    /// The thief's requests until it was found, of those found.
    pub requests: Spread,
    /// Seconds from its first request.
    pub seconds: Spread,
    /// Dollars it had spent.
    pub dollars: Spread,
    /// Thieves' requests.
    pub thief_requests: u64,
    /// Of these, forwarded.
    pub thief_served: u64,
    /// Of these, refused by the engine.
    pub thief_refused: u64,
    /// What thieves spent, in dollars.
    pub thief_spent_usd: f64,
    /// What they would have spent, had nothing been refused.
    pub thief_offered_usd: f64,
    /// Owners' requests.
    pub owner_requests: u64,
    /// Of these, refused by the engine.
    pub owner_refused: u64,
    /// Notices raised by requests of owners: questions, not alerts.
    pub owner_notices: u64,
    /// Notices raised by requests of thieves.
    pub thief_notices: u64,
}

/// One theft or one kind of theft, over all keys that it is on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttackSummary {
    /// Its id in the truth, or the name of its kind.
    pub attack: SmolStr,
    /// Keys on which it was found, of those it is on; thefts that began on days of learning are not counted.
    pub found: Share,
    /// Thefts that began on days of learning.
    pub in_learning: u64,
    /// The thief's requests until it was found, of those found.
    pub requests: Spread,
    /// Seconds from its first request.
    pub seconds: Spread,
    /// Dollars it had spent.
    pub dollars: Spread,
    /// The thief's requests.
    pub thief_requests: u64,
    /// Of these, forwarded.
    pub thief_served: u64,
    /// Of these, refused by the engine.
    pub thief_refused: u64,
    /// Notices that its requests raised.
    pub thief_notices: u64,
    /// Dollars spent.
    pub thief_spent_usd: f64,
    /// Dollars it would have spent.
    pub thief_offered_usd: f64,
}

/// A theft on a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    /// Its id in the truth.
    pub attack: SmolStr,
    /// The key.
    pub key: SmolStr,
    /// Whether it began while the key was only learned.
    pub in_learning: bool,
    /// Its first request.
    pub first: Timestamp,
    /// Its last request.
    pub last: Timestamp,
    /// Whether it was found.
    pub found: bool,
    /// Whether the request that told was refused itself.
    pub by_refusal: Option<bool>,
    /// The thief's requests until then.
    pub requests: Option<u64>,
    /// Seconds from its first request.
    pub seconds: Option<f64>,
    /// Dollars it had spent.
    pub dollars: Option<f64>,
    /// The thief's requests.
    pub thief_requests: u64,
    /// Of these, forwarded.
    pub thief_served: u64,
    /// Of these, refused by the engine.
    pub thief_refused: u64,
    /// Notices that its requests raised.
    pub thief_notices: u64,
    /// Dollars spent.
    pub thief_spent_usd: f64,
    /// Dollars it would have spent.
    pub thief_offered_usd: f64,
    /// An alert on this key takes a score of so many days.
    pub alert_once_in_days: f64,
    /// The highest score that its requests reached, in days; 0 when nothing about them was weighed.
    pub highest_once_in_days: f64,
    /// That score in one sentence.
    pub highest_summary: Option<String>,
    /// Its reasons, strongest first.
    pub highest_reasons: Vec<Reason>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeySummary {
    /// The key as the events name it.
    pub key: SmolStr,
    /// Owners' requests, days of learning included.
    pub owner_requests: u64,
    /// Of these, refused.
    pub owner_refused: u64,
    /// Scored days without a thief's request.
    pub clean_days: u64,
    /// Of these, with a false alarm.
    pub false_alarm_days: u64,
    /// Of these, with an alert.
    pub false_alarm_days_with_alert: u64,
    /// The others, on which requests were refused without one.
    pub false_alarm_days_only_refused: u64,
    /// Alerts raised by owners' requests on scored days.
    pub owner_alerts: u64,
    /// Alerts raised by thieves' requests on scored days.
    pub thief_alerts: u64,
    /// Notices raised by owners' requests on scored days.
    pub owner_notices: u64,
    /// Notices raised by thieves' requests on scored days.
    pub thief_notices: u64,
    /// Thefts on it that began on scored days.
    pub thefts: u64,
    /// Of these, found.
    pub thefts_found: u64,
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// When.
    pub time: Timestamp,
    /// The key as the events name it.
    pub key: SmolStr,
    /// How sure.
    pub tier: Tier,
    /// What found it.
    pub rule: SmolStr,
    /// An honest key does that once in so many days.
    pub once_in_days: f64,
    /// One sentence with the numbers.
    pub summary: String,
    /// The reasons, strongest first.
    pub reasons: Vec<Reason>,
    /// The request that raised it.
    pub request: RequestId,
    /// The same as its event has it; null when it has none, or a very long one.
    pub request_as_written: Option<SmolStr>,
    /// Whether a thief's request raised it; null without labels.
    pub is_true: Option<bool>,
    /// The theft it is about.
    pub attack: Option<SmolStr>,
    /// Whether it fell on a day that only taught.
    pub learning: bool,
    /// Who it is about.
    #[serde(skip)]
    pub actor: Option<ActorId>,
}

impl Day {
    /// Whether the owner was troubled: an alert was raised by its requests, or one of them was refused.
    const fn is_alarm(&self) -> bool {
        self.owner_alerts > 0 || self.owner_refused > 0
    }

    const fn has_alert(&self) -> bool {
        self.owner_alerts > 0
    }

    const fn is_only_refused(&self) -> bool {
        self.is_alarm() && !self.has_alert()
    }
}

pub(super) fn build(replay: Replay) -> ReplayReport {
    let fleet_rates = replay.count.report();
    let Replay { settings, attacks, keys, alerts, alerts_left_out, events, last, score_from, .. } = replay;
    let mut runs: Vec<KeyRun> = keys.into_values().collect();
    runs.sort_by(|a, b| a.name.cmp(&b.name));
    let name = |attack: u32| attacks.get(attack as usize).cloned().unwrap_or_default();
    let summarise = |group: &dyn Fn(&SmolStr) -> SmolStr| {
        let mut groups: BTreeMap<SmolStr, Vec<&Case>> = BTreeMap::new();
        for case in runs.iter().flat_map(|run| run.cases.values()) {
            groups.entry(group(&name(case.attack))).or_default().push(case);
        }
        groups.into_iter().map(|(attack, cases)| attack_summary(attack, &cases)).collect::<Vec<_>>()
    };
    let (kinds, summaries) = (summarise(&kind_of), summarise(&SmolStr::clone));
    let mut cases: Vec<CaseReport> = runs
        .iter()
        .flat_map(|run| run.cases.values().map(|case| case_report(case, name(case.attack), run)))
        .collect();
    cases.sort_by(|a, b| (a.first, &a.key, &a.attack).cmp(&(b.first, &b.key, &b.attack)));
    ReplayReport {
        events,
        keys: runs.len() as u64,
        score_from: score_from.unwrap_or_default(),
        last,
        is_labelled: settings.is_labelled,
        fleet_rates,
        overall: count(&runs),
        kinds,
        attacks: summaries,
        cases,
        per_key: runs.iter().map(key_summary).collect(),
        alerts,
        alerts_left_out,
    }
}

/// An id without the number at its end, and without the sign before that. A letter and a number are a name: `T1` and `T2`
/// are two kinds.
pub fn kind_of(attack: &SmolStr) -> SmolStr {
    let text = attack.trim_end_matches(|c: char| c.is_ascii_digit());
    let kind = text.trim_end_matches(['-', '_', '#', ' ', '.']);
    let is_name =
        text.len() == kind.len() && kind.chars().rev().take_while(|c| c.is_alphabetic()).count() < 2;
    if kind.is_empty() || text.len() == attack.len() || is_name { attack.clone() } else { kind.into() }
}

/// Thefts that began on scored days.
fn scored<'a>(cases: impl IntoIterator<Item = &'a Case>) -> Vec<&'a Case> {
    cases.into_iter().filter(|case| !case.is_learning).collect()
}

fn found(cases: &[&Case]) -> Share {
    Share::new(cases.iter().filter(|case| case.found.is_some()).count() as u64, cases.len() as u64)
}

fn seconds(case: &Case) -> Option<f64> {
    case.found.map(|found| found.time.since(case.first) as f64 / SECOND as f64)
}

/// Requests, seconds and dollars until thefts were found.
fn delays(cases: &[&Case]) -> [Spread; 3] {
    let found = || cases.iter().filter_map(|case| case.found);
    [
        Spread::of(found().map(|found| found.requests as f64).collect()),
        Spread::of(cases.iter().filter_map(|case| seconds(case)).collect()),
        Spread::of(found().map(|found| found.spent.dollars()).collect()),
    ]
}

fn sum(cases: &[&Case], of: impl Fn(&Case) -> u64) -> u64 {
    cases.iter().map(|case| of(case)).sum()
}

fn dollars(cases: &[&Case], of: impl Fn(&Case) -> NanoUsd) -> f64 {
    cases.iter().map(|case| of(case)).sum::<NanoUsd>().dollars()
}

fn count(runs: &[KeyRun]) -> Counts {
    let days = || runs.iter().flat_map(|run| run.days.values());
    let share = |learning: bool, with_thief: bool, is_alarm: fn(&Day) -> bool| {
        let wanted =
            || days().filter(|day| day.is_learning == learning && (day.thief_requests > 0) == with_thief);
        Share::new(wanted().filter(|day| is_alarm(day)).count() as u64, wanted().count() as u64)
    };
    let scored_days = || days().filter(|day| !day.is_learning);
    let thief_alerts: u64 = scored_days().map(|day| day.thief_alerts).sum();
    let owner_alerts: u64 = scored_days().map(|day| day.owner_alerts).sum();
    let cases = scored(runs.iter().flat_map(|run| run.cases.values()));
    let [requests, seconds, dollars_until] = delays(&cases);
    Counts {
        false_alarms: share(false, false, Day::is_alarm),
        false_alarms_with_alert: share(false, false, Day::has_alert),
        false_alarms_only_refused: share(false, false, Day::is_only_refused),
        learning_false_alarms: share(true, false, Day::is_alarm),
        theft_days_owner_alerts: share(false, true, Day::is_alarm),
        precision: Share::new(thief_alerts, thief_alerts + owner_alerts),
        found: found(&cases),
        requests,
        seconds,
        dollars: dollars_until,
        thief_requests: sum(&cases, |case| case.requests),
        thief_served: sum(&cases, |case| case.served),
        thief_refused: sum(&cases, |case| case.refused),
        thief_spent_usd: dollars(&cases, |case| case.spent),
        thief_offered_usd: dollars(&cases, |case| case.offered),
        owner_requests: scored_days().map(|day| day.owner_requests).sum(),
        owner_refused: scored_days().map(|day| day.owner_refused).sum(),
        owner_notices: scored_days().map(|day| day.owner_notices).sum(),
        thief_notices: scored_days().map(|day| day.thief_notices).sum(),
    }
}

fn attack_summary(attack: SmolStr, all: &[&Case]) -> AttackSummary {
    let cases = scored(all.iter().copied());
    let [requests, seconds, dollars_until] = delays(&cases);
    AttackSummary {
        attack,
        found: found(&cases),
        in_learning: (all.len() - cases.len()) as u64,
        requests,
        seconds,
        dollars: dollars_until,
        thief_requests: sum(&cases, |case| case.requests),
        thief_served: sum(&cases, |case| case.served),
        thief_refused: sum(&cases, |case| case.refused),
        thief_notices: sum(&cases, |case| case.notices),
        thief_spent_usd: dollars(&cases, |case| case.spent),
        thief_offered_usd: dollars(&cases, |case| case.offered),
    }
}

fn case_report(case: &Case, attack: SmolStr, run: &KeyRun) -> CaseReport {
    CaseReport {
        attack,
        key: run.name.clone(),
        in_learning: case.is_learning,
        first: case.first,
        last: case.last,
        found: case.found.is_some(),
        by_refusal: case.found.map(|found| found.by_refusal),
        requests: case.found.map(|found| found.requests),
        seconds: seconds(case),
        dollars: case.found.map(|found| found.spent.dollars()),
        thief_requests: case.requests,
        thief_served: case.served,
        thief_refused: case.refused,
        thief_spent_usd: case.spent.dollars(),
        thief_offered_usd: case.offered.dollars(),
        thief_notices: case.notices,
        alert_once_in_days: run.profile.alert_days(),
        highest_once_in_days: case.highest.once_in_days,
        highest_summary: case.highest.summary.clone(),
        highest_reasons: case.highest.reasons.clone(),
    }
}

fn key_summary(run: &KeyRun) -> KeySummary {
    let days = || run.days.values();
    let scored_days = || days().filter(|day| !day.is_learning);
    let clean = || scored_days().filter(|day| day.thief_requests == 0);
    let cases = scored(run.cases.values());
    KeySummary {
        key: run.name.clone(),
        owner_requests: days().map(|day| day.owner_requests).sum(),
        owner_refused: days().map(|day| day.owner_refused).sum(),
        clean_days: clean().count() as u64,
        false_alarm_days: clean().filter(|day| day.is_alarm()).count() as u64,
        false_alarm_days_with_alert: clean().filter(|day| day.has_alert()).count() as u64,
        false_alarm_days_only_refused: clean().filter(|day| day.is_only_refused()).count() as u64,
        owner_alerts: scored_days().map(|day| day.owner_alerts).sum(),
        thief_alerts: scored_days().map(|day| day.thief_alerts).sum(),
        owner_notices: scored_days().map(|day| day.owner_notices).sum(),
        thief_notices: scored_days().map(|day| day.thief_notices).sum(),
        thefts: cases.len() as u64,
        thefts_found: cases.iter().filter(|case| case.found.is_some()).count() as u64,
    }
}
