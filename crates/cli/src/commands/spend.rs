//! `tokenwatch spend`: budgets and alarm thresholds proposed from what keys, owners and providers really spent, and what is
//! over them now. Reads the state directory as it is and changes nothing.

use std::process::ExitCode;

use serde::Serialize;
use tokenwatch_console::manage::Manager;
use tokenwatch_model::SmolStr;
use tokenwatch_model::alarm::AlarmKind;
use tokenwatch_model::key::{Key, Policy};
use tokenwatch_model::limit::Budgets;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_respond::commands::whole_dollars;
use tokenwatch_respond::spend::alarm::{AlarmRules, Crossed, crossed};
use tokenwatch_respond::spend::ledger::{Calendar, KeySpend, Ledger, Spenders, Spent, Thefts, sum_up, total};
use tokenwatch_respond::spend::{DAYS_MIN, History, Proposal, propose, propose_at};
use tokenwatch_respond::words::{clean, count};

use super::manager;
use crate::billing::{self, INCIDENTS_MAX};
use crate::load::load;
use crate::state::open_store;
use crate::{Common, output};

/// `tokenwatch spend …`
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// Propose budgets and alarm thresholds from real spend, with the commands that adopt them
    Propose {
        /// Whole days back that it rests on
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(7..=366))]
        days: u32,
    },
    /// Say what is over its thresholds today, or will exceed its budget this month; exit code 3 when something is
    Check {
        /// Whole days back that thresholds rest on
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(7..=366))]
        days: u32,
    },
}

/// A key, an owner, a provider, or all of them.
#[derive(Serialize)]
struct Subject {
    /// `key`, `owner`, `provider` or `all`.
    kind: &'static str,
    /// Its name.
    name: SmolStr,
    /// What is in force on it, inherited or not; of keys alone.
    in_force: Option<Budgets>,
    /// What follows from its spend; nothing where too little is known.
    proposal: Option<Proposal>,
    /// What adopts the proposal: a command, or what to change where.
    adopt: Vec<String>,
    /// What is over something now, in sentences.
    over: Vec<String>,
}

#[derive(Serialize)]
struct Report {
    /// First whole day, and the day that is not whole yet.
    from: Timestamp,
    today: Timestamp,
    /// Files or rows of events that could not be read.
    unreadable: u64,
    subjects: Vec<Subject>,
}

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let manager = manager(common)?;
    let config = load(common)?.config;
    let (Args::Propose { days } | Args::Check { days }) = *args;
    let now = manager.clock.now();
    let (spent, unreadable) = read(common, &manager, &config.defaults, u64::from(days), now)?;
    if unreadable > 0 {
        output::say(&format!(
            "warning: {} could not be read and were passed over",
            count(unreadable, "file or row")
        ));
    }
    let report = Report {
        from: Timestamp(spent.first_day * DAY),
        today: Timestamp(now.0 / DAY * DAY),
        unreadable,
        subjects: subjects(&spent, &config.alerts.billing),
    };
    let is_over = report.subjects.iter().any(|subject| !subject.over.is_empty());
    let is_check = matches!(args, Args::Check { .. });
    if common.json {
        output::json(&report)?;
    } else if is_check {
        output::line(&describe_over(&report));
    } else {
        output::line(&describe(&report));
    }
    Ok(if is_check && is_over { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// Reads what was spent in so many whole days before today, and today; and how many files or rows could not be read.
fn read(
    common: &Common,
    manager: &Manager,
    defaults: &Policy,
    days: u64,
    now: Timestamp,
) -> anyhow::Result<(Spent, u64)> {
    let calendar = Calendar::new(days, now);
    let store = open_store(&common.state_dir())?;
    let mut ledger = Ledger::default();
    let unreadable = billing::read(&store, calendar.from(), None, &mut ledger, &|| true)?;
    let thefts = Thefts::of(&manager.incidents(false, None, INCIDENTS_MAX)?);
    let keys: Vec<Key> = manager.records.keys()?.into_iter().map(|stored| stored.key).collect();
    let owners = manager.records.owners()?;
    let who = Spenders { keys: &keys, owners: &owners, defaults, thefts: &thefts };
    Ok((sum_up(&[&ledger], calendar.from(), &calendar, &who), unreadable))
}

/// Keys, then owners, providers, and all together.
fn subjects(spent: &Spent, rules: &AlarmRules) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = spent.keys.iter().map(|key| about_key(key, rules)).collect();
    let by_owner = spent.by_owner();
    for (id, name) in &spent.owners {
        subjects.push(about_owner(name, by_owner.get(id).map_or(&[], Vec::as_slice), rules));
    }
    for (name, history) in &spent.providers {
        let limit = |month| format!("set a monthly limit of {month} in the console of {}", clean(name));
        let cap = rules.provider_caps.get(name).copied();
        subjects.push(about_sum("provider", name.clone(), history, (rules, cap), limit));
    }
    let mut all = History::default();
    spent.keys.iter().for_each(|key| all.add(&key.history));
    let rule = |month: NanoUsd| {
        format!(
            "in tokenwatch.rules.yml, of the record tokenwatch:cost_usd:month_cap: expr: vector({})",
            whole_dollars(month)
        )
    };
    subjects.push(about_sum("all", SmolStr::new_static("all keys"), &all, (rules, None), rule));
    subjects
}

fn about_key(key: &KeySpend, rules: &AlarmRules) -> Subject {
    let proposal = propose_at(&key.history, rules.multiples);
    let in_force = key.budgets;
    let mut adopt = Vec::new();
    if let Some(made) = &proposal {
        let option = |name: &str, set: Option<NanoUsd>, made: NanoUsd| match set {
            None => format!(" --budget-{name} {}", whole_dollars(made)),
            Some(_) => String::new(),
        };
        let day = option("day", in_force.day, made.budget_day);
        let month = option("month", in_force.month, made.budget_month);
        if !day.is_empty() || !month.is_empty() {
            adopt.push(format!("tokenwatch key edit {}{day}{month}", clean(&key.name)));
        }
    }
    let over = over(rules, &key.history, proposal.as_ref(), in_force.month);
    Subject { kind: "key", name: key.name.clone(), in_force: Some(in_force), proposal, adopt, over }
}

/// An owner's budgets are what each of its keys inherits, so they must hold the dearest of them.
fn about_owner(name: &SmolStr, keys: &[&KeySpend], rules: &AlarmRules) -> Subject {
    let sum = total(keys);
    let proposal = propose_at(&sum, rules.multiples);
    let made: Vec<Proposal> = keys.iter().filter_map(|key| propose(&key.history)).collect();
    let day = made.iter().map(|made| made.budget_day).max();
    let month = made.iter().map(|made| made.budget_month).max();
    let command = day.zip(month).map(|(day, month)| {
        let (day, month) = (whole_dollars(day), whole_dollars(month));
        format!(
            "tokenwatch owner edit {} --budget-day {day} --budget-month {month}   (for each key that sets none)",
            clean(name)
        )
    });
    let over = over(rules, &sum, proposal.as_ref(), rules.owner_caps.get(name).copied());
    let adopt = command.into_iter().collect();
    Subject { kind: "owner", name: name.clone(), in_force: None, proposal, adopt, over }
}

fn about_sum(
    kind: &'static str,
    name: SmolStr,
    history: &History,
    (rules, cap): (&AlarmRules, Option<NanoUsd>),
    adopt: impl Fn(NanoUsd) -> String,
) -> Subject {
    let proposal = propose_at(history, rules.multiples);
    let over = over(rules, history, proposal.as_ref(), cap);
    let adopt = proposal.iter().map(|made| adopt(made.budget_month)).collect();
    Subject { kind, name, in_force: None, proposal, adopt, over }
}

/// What is over its limits, as billing alarms have it, in sentences. Where no month's budget is set, that of the proposal.
fn over(
    rules: &AlarmRules,
    history: &History,
    proposal: Option<&Proposal>,
    budget: Option<NanoUsd>,
) -> Vec<String> {
    let budget = budget.filter(|budget| *budget != NanoUsd::MAX);
    let what = if budget.is_some() { "the month's budget" } else { "the proposed month's budget" };
    let cap = budget.or(proposal.map(|made| made.budget_month));
    let sentence = |crossed: Crossed| match (crossed.kind, proposal) {
        (AlarmKind::MonthCap, _) => {
            format!("{} spent this month: {what} of {} is used up", history.month, crossed.limit)
        }
        (AlarmKind::MonthForecast, made) => {
            let forecast = made.map_or(history.month, |made| made.forecast);
            format!("this month will come to {forecast}, over {what} of {}", crossed.limit)
        }
        (AlarmKind::DayLow | AlarmKind::DayMedium | AlarmKind::DayHigh, made) => format!(
            "{} spent today, over {} times a typical day ({})",
            history.today,
            crossed.times.unwrap_or_default(),
            made.map_or(NanoUsd::ZERO, |made| made.typical_day)
        ),
    };
    crossed(rules, history, proposal, cap).into_iter().map(sentence).collect()
}

fn describe(report: &Report) -> String {
    let known = report.subjects.iter().filter_map(|subject| Some((subject, subject.proposal.as_ref()?)));
    let rows: Vec<Vec<String>> = known
        .map(|(subject, made)| {
            let [leak, misuse, abuse] = made.thresholds.map(|threshold| threshold.day.to_string());
            vec![
                subject.kind.to_owned(),
                clean(&subject.name),
                made.days.to_string(),
                made.typical_day.to_string(),
                made.dearest_day.to_string(),
                leak,
                misuse,
                abuse,
                made.budget_day.to_string(),
                made.budget_month.to_string(),
                made.forecast.to_string(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return format!(
            "Nothing can be proposed yet: it takes {DAYS_MIN} whole days of kept events with spend. Nothing was changed."
        );
    }
    let head = [
        "",
        "NAME",
        "DAYS",
        "TYPICAL DAY",
        "DEAREST",
        "1.5×",
        "3×",
        "10×",
        "BUDGET DAY",
        "BUDGET MONTH",
        "FORECAST",
    ];
    let mut text =
        format!("Whole days from {} on; days of thefts count as usual ones.\n\n", date(report.from));
    text.push_str(&output::table(&head, &rows));
    let adopt: Vec<&str> =
        report.subjects.iter().flat_map(|subject| &subject.adopt).map(String::as_str).collect();
    if !adopt.is_empty() {
        text.push_str("\n\nTo adopt, press or change:\n  ");
        text.push_str(&adopt.join("\n  "));
    }
    let none: Vec<String> = report
        .subjects
        .iter()
        .filter(|subject| subject.kind == "key" && subject.proposal.is_none())
        .map(|subject| clean(&subject.name))
        .collect();
    if !none.is_empty() {
        text.push_str(&format!("\n\nToo little is known of: {}", none.join(", ")));
    }
    text.push_str("\n\nNothing was changed.");
    text
}

fn date(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

fn describe_over(report: &Report) -> String {
    let lines: Vec<String> = report
        .subjects
        .iter()
        .flat_map(|subject| {
            let name = format!("{} {}", subject.kind, clean(&subject.name));
            subject.over.iter().map(move |over| format!("{name}: {over}"))
        })
        .collect();
    if lines.is_empty() { "Nothing is over its thresholds.".to_owned() } else { lines.join("\n") }
}
