//! The result of a replay for a terminal: false alarms first.

use tokenwatch_evaluate::replay::{Alert, AttackSummary, Counted, Counts, KeySummary, ReplayReport, kind_of};
use tokenwatch_evaluate::stats::{Share, Spread};
use tokenwatch_model::finding::Reason;

use super::super::table::{pair, percent, seconds};
use crate::{fleet_rates, output};

/// Rows of a table that a person reads.
const ROWS_MAX: usize = 30;

/// All tables.
pub(super) fn tables(report: &ReplayReport) -> String {
    let mut parts = vec![headline(report), overall(report)];
    if !report.attacks.is_empty() {
        parts.push(attacks(&report.kinds));
        parts.push(cases(report));
        parts.extend(misses(report));
    }
    if report.is_labelled {
        parts.extend(keys(&report.per_key));
    }
    parts.extend(alerts(report));
    parts.extend(report.fleet_rates.as_ref().map(rates));
    parts.join("\n\n")
}

fn headline(report: &ReplayReport) -> String {
    format!(
        "{} events of {} keys until {}; results count from {} and after each key's first 24 hours",
        report.events, report.keys, report.last, report.score_from
    )
}

/// What was counted of the fleet's own rates.
pub(in super::super) fn rates(counted: &Counted) -> String {
    let days = [counted.machine_key_days, counted.people_key_days];
    let used = if counted.used { "used once results count" } else { "not used" };
    let text = fleet_rates::describe(days, counted.newcomers, &counted.differences);
    format!("This fleet's own rates, {used}: {text}")
}

fn share(share: &Share) -> String {
    format!(
        "{} of {}: {} [{:.2}, {:.2}]",
        share.count,
        share.of,
        percent(share.share),
        share.low * 100.0,
        share.high * 100.0
    )
}

fn part(count: u64, of: u64) -> String {
    let share = if of == 0 { 0.0 } else { count as f64 / of as f64 };
    format!("{count} of {of}: {}", percent(share))
}

fn overall(report: &ReplayReport) -> String {
    let Counts { false_alarms, learning_false_alarms, theft_days_owner_alerts, precision, found, .. } =
        &report.overall;
    let counts = &report.overall;
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    let (days, learning) = if report.is_labelled {
        ("false alarms, of key-days without theft", "the same on days of learning, not counted")
    } else {
        ("key-days with an alert or a refused request", "the same on days of learning")
    };
    let mut rows = vec![
        row(days, share(false_alarms)),
        row("  with an alert", counts.false_alarms_with_alert.count.to_string()),
        row("  with refused requests only", counts.false_alarms_only_refused.count.to_string()),
        row(learning, share(learning_false_alarms)),
        row("owners' requests refused", part(counts.owner_refused, counts.owner_requests)),
        row("notices to owners, which are questions", counts.owner_notices.to_string()),
    ];
    if report.is_labelled {
        rows.extend([
            row("notices about thieves", counts.thief_notices.to_string()),
            row("owner alerts or refusals, of key-days with theft", share(theft_days_owner_alerts)),
            row("alerts that were about a thief", share(precision)),
            row("thefts found", share(found)),
            row("thief requests until found, median / 90 %", pair(&counts.requests, |n| format!("{n:.0}"))),
            row("time until found", pair(&counts.seconds, seconds)),
            row("spent until found", pair(&counts.dollars, money)),
            row("thief requests served", part(counts.thief_served, counts.thief_requests)),
            row(
                "thief spend, of what was tried",
                format!("{} of {}", money(counts.thief_spent_usd), money(counts.thief_offered_usd)),
            ),
        ]);
    }
    output::table(&["OVERALL", ""], &rows)
}

fn money(dollars: f64) -> String {
    format!("${dollars:.2}")
}

fn delays(requests: &Spread, time: &Spread, dollars: &Spread) -> [String; 3] {
    [pair(requests, |n| format!("{n:.0}")), pair(time, seconds), pair(dollars, money)]
}

fn attacks(attacks: &[AttackSummary]) -> String {
    let row = |attack: &AttackSummary| {
        let [requests, time, dollars] = delays(&attack.requests, &attack.seconds, &attack.dollars);
        vec![
            attack.attack.to_string(),
            share(&attack.found),
            requests,
            time,
            dollars,
            part(attack.thief_served, attack.thief_requests),
            format!("{} of {}", money(attack.thief_spent_usd), money(attack.thief_offered_usd)),
            attack.in_learning.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = attacks.iter().map(row).collect();
    let headings = ["THEFT", "FOUND", "REQUESTS", "TIME", "SPENT", "SERVED", "SPEND", "WHILE LEARNING"];
    cut(&headings, rows)
}

fn cases(report: &ReplayReport) -> String {
    let rows = report.cases.iter().map(|case| {
        let found = match (case.found, case.by_refusal) {
            (true, Some(true)) => "refused",
            (true, _) => "alert",
            (false, _) => "NOT FOUND",
        };
        vec![
            case.attack.to_string(),
            case.key.to_string(),
            case.first.to_string(),
            if case.in_learning { "while learning".to_owned() } else { found.to_owned() },
            case.requests.map_or("-".to_owned(), |n| n.to_string()),
            case.seconds.map_or("-".to_owned(), seconds),
            case.dollars.map_or("-".to_owned(), money),
            part(case.thief_served, case.thief_requests),
        ]
    });
    cut(&["THEFT", "KEY", "BEGAN", "FOUND BY", "REQUESTS", "TIME", "SPENT", "SERVED"], rows.collect())
}

/// Of each kind of theft the one that came nearest of those that were not found.
fn misses(report: &ReplayReport) -> Option<String> {
    let mut lines = Vec::new();
    for kind in &report.kinds {
        let missed = report
            .cases
            .iter()
            .filter(|case| !case.found && !case.in_learning && kind_of(&case.attack) == kind.attack);
        let nearest = missed.max_by(|a, b| a.highest_once_in_days.total_cmp(&b.highest_once_in_days));
        let Some(case) = nearest else { continue };
        lines.push(format!(
            "\n{}  {}  {}  reached {:.1} days, an alert takes {:.0}",
            kind.attack, case.attack, case.key, case.highest_once_in_days, case.alert_once_in_days
        ));
        let nothing =
            "Nothing about its requests was weighed: the key knows such a caller, or was being learned.";
        lines.push(format!("  {}", case.highest_summary.as_deref().unwrap_or(nothing)));
        lines.extend(case.highest_reasons.iter().map(|Reason { nats, what }| format!("  {nats:+.1} {what}")));
    }
    let head = "Nearest misses, by kind of theft; the numbers before reasons are nats, negative ones speak for the owner:";
    (!lines.is_empty()).then(|| format!("{head}\n{}", lines.join("\n")))
}

/// Keys with false alarms, worst first.
fn keys(keys: &[KeySummary]) -> Option<String> {
    let mut alarmed: Vec<&KeySummary> =
        keys.iter().filter(|key| key.false_alarm_days > 0 || key.owner_alerts > 0).collect();
    alarmed.sort_by_key(|key| std::cmp::Reverse((key.false_alarm_days, key.owner_alerts)));
    let row = |key: &&KeySummary| {
        vec![
            key.key.to_string(),
            format!("{} of {}", key.false_alarm_days, key.clean_days),
            key.owner_alerts.to_string(),
            part(key.owner_refused, key.owner_requests),
        ]
    };
    let rows: Vec<Vec<String>> = alarmed.iter().map(row).collect();
    (!rows.is_empty()).then(|| cut(&["KEYS WITH FALSE ALARMS", "DAYS", "ALERTS", "OWNER REFUSED"], rows))
}

/// Without labels all alerts; else those that owners raised, which somebody will want to understand.
fn alerts(report: &ReplayReport) -> Option<String> {
    let shown = || report.alerts.iter().filter(|alert| !alert.learning && alert.is_true != Some(true));
    let count = shown().count();
    if count == 0 {
        return (!report.is_labelled).then(|| "No alert would have been raised.".to_owned());
    }
    let mut lines = vec![if report.is_labelled {
        format!("{count} alerts were raised by owners' requests:")
    } else {
        format!("{} alerts would have been raised:", count as u64 + report.alerts_left_out)
    }];
    for Alert { time, key, tier, rule, summary, reasons, .. } in shown().take(ROWS_MAX) {
        lines.push(format!("\n{time}  {key}  {}  {rule}\n  {summary}", tier.name()));
        lines.extend(reasons.iter().map(|reason| format!("  - {}", reason.what)));
    }
    if count > ROWS_MAX {
        lines.push(format!("\n… and {} more, all with --json", count - ROWS_MAX));
    }
    Some(lines.join("\n"))
}

/// A table of the first rows, and how many more there are.
fn cut(headings: &[&str], mut rows: Vec<Vec<String>>) -> String {
    let more = rows.len().saturating_sub(ROWS_MAX);
    rows.truncate(ROWS_MAX);
    let table = output::table(headings, &rows);
    if more == 0 { table } else { format!("{table}\n… and {more} more, all with --json") }
}
