//! The report for a terminal: false alarms first, then what was found and how fast.

mod compare;

use tokenwatch_evaluate::report::{
    AttackReport, ChangeReport, GroupReport, MethodReport, PointReport, Report,
};
use tokenwatch_evaluate::stats::{Estimate, Share};
use tokenwatch_evaluate::world::Group;
use tokenwatch_model::time::human_span;

use crate::output;

/// All tables.
pub(super) fn report(report: &Report) -> String {
    let mut parts = vec![headline(report), methods(report)];
    if !report.budgets.is_empty() {
        parts.push(budgets(report));
    }
    parts.extend(report.methods.iter().filter_map(attacks));
    parts.extend(report.methods.iter().filter_map(keys));
    parts.extend(changes(report));
    parts.push(costs(report));
    parts.extend(compare::table(report));
    parts.join("\n\n")
}

fn headline(report: &Report) -> String {
    let protocol = &report.protocol;
    let (test, clean, calibration) = (protocol.test, protocol.clean, protocol.calibration);
    let looks = if protocol.options.only_real {
        "; times and tokens alone, identities are the same for owner and thief"
    } else if protocol.options.without_content {
        "; without what is read from prompts and answers"
    } else {
        ""
    };
    format!(
        "{} thefts on {} keys of {} clients, false alarms on {} clean key-days of {} keys of theirs, thresholds from {} \
         keys of {} other clients ({} key-days); seed {}{looks}",
        report.attacks.iter().map(|attack| attack.thefts).sum::<u64>(),
        test.keys,
        test.clients,
        test.key_days + clean.key_days,
        test.keys + clean.keys,
        calibration.keys,
        calibration.clients,
        calibration.key_days,
        protocol.options.seed,
    )
}

/// A share in per cent with enough digits to see it.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 10.0 {
        format!("{percent:.0} %")
    } else if percent >= 1.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.2} %")
    }
}

fn share(share: &Share) -> String {
    format!("{} [{:.2}, {:.2}]", percent(share.share), share.low * 100.0, share.high * 100.0)
}

fn estimate(estimate: &Estimate) -> String {
    let Estimate { value, low, high } = estimate;
    format!("{:.1} % [{:.0}, {:.0}]", value * 100.0, low * 100.0, high * 100.0)
}

/// What a threshold was set by.
fn point_name(point: &PointReport) -> String {
    let name = match point.point.rate {
        None => "its own".to_owned(),
        Some(rate) => percent(rate),
    };
    if point.point.is_supported { name } else { format!("{name} (too few key-days)") }
}

fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn group_of(groups: &[GroupReport], group: Group) -> String {
    groups
        .iter()
        .find(|report| report.group == group)
        .map_or("-".to_owned(), |report| estimate(&report.found))
}

/// The groups that were tried, with how many kinds of theft are in each.
fn groups(report: &Report) -> Vec<(Group, String)> {
    let count = |group| report.attacks.iter().filter(|attack| attack.group == group).count();
    let named = |group: Group| (group, format!("{} ({})", group.name().to_uppercase(), count(group)));
    Group::ALL.into_iter().filter(|&group| count(group) > 0).map(named).collect()
}

fn methods(report: &Report) -> String {
    let groups = groups(report);
    let mut headings = vec!["METHOD", "SET FOR", "THRESHOLD", "FALSE ALARMS A KEY-DAY"];
    headings.extend(groups.iter().map(|(_, name)| name.as_str()));
    let row = |method: &MethodReport, point: &PointReport| {
        let mut row = vec![
            method.method.to_owned(),
            point_name(point),
            number(point.point.threshold),
            share(&point.false_alarms),
        ];
        row.extend(groups.iter().map(|&(group, _)| group_of(&point.groups, group)));
        row
    };
    let rows: Vec<Vec<String>> = report
        .methods
        .iter()
        .flat_map(|method| method.points.iter().map(move |point| row(method, point)))
        .collect();
    output::table(&headings, &rows)
}

fn budgets(report: &Report) -> String {
    let row = |check: &tokenwatch_evaluate::report::BudgetCheck| {
        let within = if check.realised.low <= check.stated { "yes" } else { "NO" };
        vec![
            format!("one in {:.0} days", check.days),
            percent(check.stated),
            share(&check.realised),
            format!("{} of {}", check.realised.count, check.realised.of),
            within.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = report.budgets.iter().map(row).collect();
    output::table(&["LAYERED IS SET TO", "STATED", "FALSE ALARMS A KEY-DAY", "KEY-DAYS", "KEPT"], &rows)
}

pub(super) fn seconds(seconds: f64) -> String {
    human_span((seconds * 1e6) as u64)
}

pub(super) fn pair(spread: &tokenwatch_evaluate::stats::Spread, write: impl Fn(f64) -> String) -> String {
    match (spread.median, spread.p90) {
        (Some(median), Some(p90)) => format!("{} / {}", write(median), write(p90)),
        _ => "-".to_owned(),
    }
}

fn attacks(method: &MethodReport) -> Option<String> {
    let point = method.main_point()?;
    let row = |attack: &AttackReport| {
        vec![
            attack.attack.to_owned(),
            format!("{} of {}", attack.found, attack.thefts),
            estimate(&attack.recall),
            format!("{} of {}", attack.in_use.count, attack.in_use.of),
            pair(&attack.requests, |n| format!("{n:.0}")),
            pair(&attack.seconds, seconds),
            pair(&attack.dollars, |dollars| format!("${dollars:.2}")),
            percent(attack.spend_gone),
            format!("{} of {}", attack.owner_refused, attack.owner_requests),
        ]
    };
    let rows: Vec<Vec<String>> = point.attacks.iter().map(row).collect();
    let headings = [
        "THEFT",
        "FOUND",
        "SHARE",
        "KEYS IN USE",
        "REQUESTS",
        "TIME",
        "SPENT",
        "SPEND GONE",
        "OWNER REFUSED",
    ];
    Some(format!(
        "{}, set for {}; keys in use for a day before; requests, time and spend until found: median / 90 % point\n{}",
        method.method,
        point_name(point),
        output::table(&headings, &rows)
    ))
}

fn keys(method: &MethodReport) -> Option<String> {
    let point = method.main_point()?;
    let mut headings = vec!["KEYS".to_owned(), "HOW MANY".to_owned(), "FALSE ALARMS A KEY-DAY".to_owned()];
    headings.extend(point.groups.iter().map(|group| group.group.name().to_uppercase()));
    let row = |part: &tokenwatch_evaluate::report::Part| {
        let mut row = vec![part.part.clone(), part.keys.to_string(), share(&part.false_alarms)];
        row.extend(point.groups.iter().map(|group| group_of(&part.groups, group.group)));
        row
    };
    let rows: Vec<Vec<String>> = point.archetypes.iter().chain(&point.sizes).map(row).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    Some(format!("{}, set for {}\n{}", method.method, point_name(point), output::table(&headings, &rows)))
}

/// Keys that alarm after harmless changes, a column per method.
fn changes(report: &Report) -> Option<String> {
    let points: Vec<(&MethodReport, &PointReport)> =
        report.methods.iter().filter_map(|method| Some((method, method.main_point()?))).collect();
    let mut headings = vec!["HARMLESS CHANGE"];
    headings.extend(points.iter().map(|(method, _)| method.method));
    let (_, first) = points.first()?;
    let row = |(place, change): (usize, &ChangeReport)| {
        let mut row = vec![change.change.to_owned()];
        row.extend(points.iter().filter_map(|(_, point)| point.changes.get(place)).map(|change| {
            let Share { count, of, share, .. } = change.alarms;
            format!("{count} of {of}: {} (without {})", percent(share), change.without.count)
        }));
        row
    };
    let rows: Vec<Vec<String>> = first.changes.iter().enumerate().map(row).collect();
    let days = report.protocol.options.change_days;
    let title =
        format!("Keys with an alarm within {days} days of a harmless change, and of as many days without it");
    (!rows.is_empty()).then(|| format!("{title}\n{}", output::table(&headings, &rows)))
}

fn costs(report: &Report) -> String {
    let row = |method: &MethodReport| {
        let cost = method.cost;
        vec![
            method.method.to_owned(),
            format!("{:.2} µs", cost.ns_per_event / 1_000.0),
            format!("{:.1} KiB", cost.bytes_per_key / 1_024.0),
            format!("{:.1} KiB", cost.bytes_per_key_p95 / 1_024.0),
            method.unit.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = report.methods.iter().map(row).collect();
    output::table(&["METHOD", "TIME AN EVENT", "MEMORY A KEY", "95 % BELOW", "A SCORE IS"], &rows)
}
