//! Billing alarms as alerts: whose spend, how much against what is usual, who spends it, what the month comes to, and what
//! to press.

use tokenwatch_model::alarm::{Alarm, AlarmKind, Driver, Spender};
use tokenwatch_model::alert::AlertCause;
use tokenwatch_model::key::Key;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{DAY, Timestamp};

use super::mask::safe;
use super::press::{Link, Press};
use super::references::{self, Cites};
use super::subject::{AboutAlarm, AboutDriver, AboutSubject};
use super::{Alert, about_key, about_owner};
use crate::commands;
use crate::words::{clock, count};

/// A budget that lets a key go on is so much above the one that is used up.
const MORE: f64 = 1.5;

/// What a billing alarm is told with besides itself.
#[derive(Clone, Copy)]
pub struct Background<'a> {
    /// The key, of a key's alarm.
    pub key: Option<&'a Key>,
    /// The owner of that key, or the owner whose alarm it is.
    pub owner: Option<&'a Owner>,
    /// Where people read on about incidents; left out where it stands for one incident.
    pub link: Option<&'a str>,
    /// What to do about incidents.
    pub runbook: Option<&'a str>,
    /// What a rule is called and cites.
    pub cites: &'a dyn Fn(&str) -> Option<Cites>,
}

impl Alert {
    /// Makes an alert of a billing alarm. `sequence` is that of the stored one.
    pub fn of_alarm(alarm: &Alarm, sequence: u64, background: &Background<'_>) -> Self {
        let title = title(alarm);
        let severity = alarm.kind.severity().name();
        let rule = if alarm.kind.is_of_day() { "billing_thresholds" } else { "monthly_cap" };
        Self {
            schema: "tokenwatch.alarm.v1",
            id: format!("{}-{sequence}", alarm.id),
            sequence,
            cause: AlertCause::Opened,
            time: alarm.raised,
            headline: format!("{} spend: {title}", severity.to_uppercase()),
            drill: false,
            subject: AboutSubject::Alarm(about(alarm, title, severity, rule)),
            key: background.key.map(about_key),
            owner: background.owner.map(about_owner),
            what_happened: what_happened(alarm),
            who_spends: alarm.drivers.iter().map(who_spends).collect(),
            the_month: the_month(alarm),
            how_sure: None,
            what_was_done: vec![what_was_done(alarm)],
            cost: None,
            sources: Vec::new(),
            what_to_press: what_to_press(alarm),
            next_step: None,
            beside: Vec::new(),
            links: links(background),
            references: references::of([rule].into_iter(), background.cites),
        }
    }
}

fn about(alarm: &Alarm, title: String, severity: &'static str, rule: &'static str) -> AboutAlarm {
    let driver = |driver: &Driver| AboutDriver {
        kind: safe(&driver.kind),
        name: safe(&driver.name),
        today_dollars: driver.today.dollars(),
        typical_day_dollars: driver.typical_day.map(NanoUsd::dollars),
    };
    AboutAlarm {
        id: alarm.id.to_string(),
        kind: alarm.kind.name(),
        severity,
        title,
        raised: alarm.raised,
        period: period(alarm),
        spender: alarm.spender.kind(),
        spender_id: safe(&alarm.spender.id()),
        spender_name: safe(&alarm.name),
        today_dollars: alarm.today.dollars(),
        month_dollars: alarm.month.dollars(),
        typical_day_dollars: alarm.typical_day.map(NanoUsd::dollars),
        limit_dollars: alarm.limit.dollars(),
        limit_typical_days: alarm.times,
        forecast_dollars: alarm.forecast.map(NanoUsd::dollars),
        drivers: alarm.drivers.iter().map(driver).collect(),
        rule,
    }
}

/// `2026-03-17`, or `2026-03` of a month.
fn period(alarm: &Alarm) -> String {
    if alarm.kind.is_of_day() {
        let day = Timestamp(u64::from(alarm.period) * DAY).to_string();
        return day.chars().take(10).collect();
    }
    format!("{:04}-{:02}", alarm.period / 12, alarm.period % 12 + 1)
}

/// `key search-prod`.
fn whose(alarm: &Alarm) -> String {
    format!("{} {}", alarm.spender.kind(), safe(&alarm.name))
}

/// What a month may cost is called.
const fn limit_name(alarm: &Alarm) -> &'static str {
    match alarm.spender {
        Spender::Key(_) => "budget",
        Spender::Owner(_) | Spender::Provider(_) => "cap",
    }
}

fn title(alarm: &Alarm) -> String {
    let (whose, limit) = (whose(alarm), limit_name(alarm));
    match (alarm.kind, alarm.forecast) {
        (AlarmKind::MonthCap, _) => {
            format!("{whose} has used up its month's {limit} of {}: {} spent", alarm.limit, alarm.month)
        }
        (AlarmKind::MonthForecast, forecast) => {
            let forecast = forecast.unwrap_or(alarm.month);
            format!("this month of {whose} will come to {forecast}, over its {limit} of {}", alarm.limit)
        }
        (AlarmKind::DayLow | AlarmKind::DayMedium | AlarmKind::DayHigh, _) => {
            format!("{whose} spent {} today{}", alarm.today, against_usual(alarm))
        }
    }
}

/// `, 6.2 times a typical day ($10.02)`.
fn against_usual(alarm: &Alarm) -> String {
    match alarm.typical_day {
        Some(typical) if typical > NanoUsd::ZERO => {
            let times = alarm.today.dollars() / typical.dollars();
            let times = if times < 100.0 { format!("{times:.1}") } else { format!("{times:.0}") };
            format!(", {times} times a typical day ({typical})")
        }
        _ => String::new(),
    }
}

fn what_happened(alarm: &Alarm) -> Vec<String> {
    let whose = whose(alarm);
    let mut lines = vec![format!(
        "{}: {whose} spent {} this UTC day{}.",
        clock(alarm.raised),
        alarm.today,
        against_usual(alarm)
    )];
    if let Some(times) = alarm.times {
        lines.push(format!("That is over {}, the threshold of {times} typical days.", alarm.limit));
    }
    if alarm.days > 0 {
        let days = count(u64::from(alarm.days), "whole day");
        lines.push(format!("A typical day is the mean of {days}; days of thefts count as usual ones."));
    }
    lines
}

fn the_month(alarm: &Alarm) -> Vec<String> {
    let mut lines = vec![match alarm.forecast {
        Some(forecast) => format!(
            "{} spent this UTC month; it will come to {forecast} if the days that are left are like the latest week.",
            alarm.month
        ),
        None => format!("{} spent this UTC month.", alarm.month),
    }];
    if !alarm.kind.is_of_day() {
        lines.push(format!("The month's {} is {}.", limit_name(alarm), alarm.limit));
    }
    lines
}

fn who_spends(driver: &Driver) -> String {
    let usual = driver.typical_day.map(|typical| format!("; on a typical day {typical}")).unwrap_or_default();
    format!("{} {}: {} today{usual}", safe(&driver.kind), safe(&driver.name), driver.today)
}

fn what_was_done(alarm: &Alarm) -> String {
    let is_refused = alarm.kind == AlarmKind::MonthCap && matches!(alarm.spender, Spender::Key(_));
    match is_refused {
        true => "Requests of this key are refused until the month ends, because its budget is used up.",
        false => "Nothing: requests are served on. An alarm stops nobody, a budget does.",
    }
    .to_owned()
}

fn what_to_press(alarm: &Alarm) -> Vec<Press> {
    let press = |command: String, effect: &str| Press { command: safe(&command), effect: effect.to_owned() };
    let dearest = alarm.drivers.iter().find(|driver| driver.kind == "key");
    let (key, today) = match (&alarm.spender, dearest) {
        (Spender::Key(_), _) => (Some(&alarm.name), alarm.today),
        (_, Some(driver)) => (Some(&driver.name), driver.today),
        (_, None) => (None, alarm.today),
    };
    let mut steps = Vec::new();
    if let Some(key) = key {
        steps.push(press(
            commands::show_key(key),
            "shows who calls with it, its budgets and what contains it",
        ));
    }
    match (&alarm.spender, alarm.kind, key) {
        (Spender::Key(_), AlarmKind::MonthCap, Some(key)) => {
            let more = NanoUsd::from_dollars(alarm.limit.dollars() * MORE);
            steps.push(press(commands::budget_month(key, more), "lets it go on, up to that"));
        }
        (_, _, Some(key)) => {
            let effect = "lets this key spend that much a day and no more: it is refused from there on";
            steps.push(press(commands::budget_day(key, today), effect));
            let effect = "stops all of this key for some hours, its owner too";
            steps.push(press(commands::suspend_for_spend(key), effect));
        }
        (_, _, None) => {}
    }
    steps.push(press(commands::check_spend(), "says what is over now, of every key, owner and provider"));
    let effect = "you expect this: no alarm about its spend before then";
    steps.push(press(commands::snooze_spender(alarm.spender.kind(), &alarm.name), effect));
    steps
}

fn links(background: &Background<'_>) -> Vec<Link> {
    let link = |text: &'static str, url: &str| Link { text: text.into(), url: url.to_owned() };
    let general = background.link.filter(|url| !url.contains("{incident}"));
    let read_on = general.map(|url| link("the console", url));
    read_on.into_iter().chain(background.runbook.map(|url| link("what to do about incidents", url))).collect()
}

#[cfg(test)]
mod tests;
