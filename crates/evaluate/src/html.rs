//! The report as one page: tables, plots and their words, with nothing loaded from elsewhere and no script.
//!
//! Invariant: every figure on the page is one of the report's.

use std::fmt::Write as _;

use crate::report::{MethodReport, PointReport, Report};
use crate::stats::{Estimate, Share};
use crate::trial::Trace;
use crate::world::Group;

mod compare;
mod plot;
#[cfg(test)]
mod tests;

use plot::{Axis, Bars, Line, Plot};

const STYLE: &str = include_str!("html/page.css");

/// The page.
pub fn page(report: &Report) -> String {
    let mut body = String::new();
    for part in [
        headline(report),
        methods(report),
        compare::section(report),
        curves(report),
        budgets(report),
        delays(report),
        attacks(report),
        parts(report),
        changes(report),
        traces(report),
        costs(report),
    ] {
        body.push_str(&part);
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>TokenWatch: how good detection is</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\
         </main>\n</body>\n</html>\n"
    )
}

/// Text that may stand in HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A share in per cent with enough digits to see it.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0 %".to_owned(),
        p if p >= 10.0 => format!("{p:.0} %"),
        p if p >= 1.0 => format!("{p:.1} %"),
        p => format!("{p:.2} %"),
    }
}

fn share(share: &Share) -> String {
    format!(
        "{} <span class=\"interval\">{:.2} to {:.2}, {} of {}</span>",
        percent(share.share),
        share.low * 100.0,
        share.high * 100.0,
        share.count,
        share.of
    )
}

fn estimate(estimate: &Estimate) -> String {
    format!(
        "{:.1} % <span class=\"interval\">{:.0} to {:.0}</span>",
        estimate.value * 100.0,
        estimate.low * 100.0,
        estimate.high * 100.0
    )
}

fn point_name(point: &PointReport) -> String {
    let name = point
        .point
        .rate
        .map_or("its own threshold".to_owned(), |rate| format!("{} a key-day", percent(rate)));
    if point.point.is_supported { name } else { format!("{name}, too few key-days") }
}

/// Cells are HTML already.
fn table(headings: &[String], rows: &[Vec<String>]) -> String {
    let mut html = "<div class=\"wide\"><table>\n<thead><tr>".to_owned();
    headings.iter().for_each(|heading| html.push_str(&format!("<th>{heading}</th>")));
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        row.iter().for_each(|cell| html.push_str(&format!("<td>{cell}</td>")));
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

fn section(title: &str, words: &str, content: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n<p>{words}</p>\n{content}</section>\n")
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn headline(report: &Report) -> String {
    let (protocol, options) = (&report.protocol, &report.protocol.options);
    let thefts: u64 = report.attacks.iter().map(|attack| attack.thefts).sum();
    let looks = if options.only_real {
        " Methods saw times and tokens alone: identities are simulated and were made the same for owner and thief."
    } else if options.without_content {
        " Methods did not see what is read from prompts and answers."
    } else {
        ""
    };
    format!(
        "<h1>How good detection is</h1>\n<p>{} thefts on {} keys of {} real clients, false alarms on {} clean key-days of \
         {} keys of theirs. Thresholds and trained methods come from {} keys of {} other clients ({} key-days). Days 0 to {} teach, the \
         {} after them are scored. Seed {}.{looks}</p>\n<p>Volumes, times and token sizes are real; networks, \
         software, prompts, harmless changes and thefts are simulated. Intervals are of 95 %: Wilson's for key-days, \
         resampled clients for thefts.</p>\n",
        thefts,
        protocol.test.keys,
        protocol.test.clients,
        protocol.test.key_days + protocol.clean.key_days,
        protocol.test.keys + protocol.clean.keys,
        protocol.calibration.keys,
        protocol.calibration.clients,
        protocol.calibration.key_days,
        options.teach_days.saturating_sub(1),
        options.score_days,
        options.seed,
    )
}

/// The groups that were tried, and how many kinds of theft each has.
fn groups(report: &Report) -> Vec<(Group, usize)> {
    let count = |group| report.attacks.iter().filter(|attack| attack.group == group).count();
    Group::ALL.into_iter().map(|group| (group, count(group))).filter(|(_, count)| *count > 0).collect()
}

fn methods(report: &Report) -> String {
    let groups = groups(report);
    let mut headings = strings(&["method", "set for", "false alarms a key-day"]);
    headings.extend(groups.iter().map(|(group, count)| format!("{} ({count})", group.name())));
    let mut rows = Vec::new();
    for method in &report.methods {
        for point in &method.points {
            let mut row = vec![escape(method.method), point_name(point), share(&point.false_alarms)];
            row.extend(groups.iter().map(|(group, _)| {
                let found = point.groups.iter().find(|report| report.group == *group);
                found.map_or("–".to_owned(), |report| estimate(&report.found))
            }));
            rows.push(row);
        }
    }
    let words = "False alarms first: a share found means nothing without them. Each group is the mean over its kinds \
                 of theft.";
    section("False alarms and thefts found", words, &table(&headings, &rows))
}

fn curves(report: &Report) -> String {
    let mut plots = String::new();
    for (group, count) in groups(report) {
        let line = |(place, method): (usize, &MethodReport)| {
            let points = method.curve.iter().filter_map(|point| {
                let found = point.groups.iter().find(|(of, _)| *of == group)?.1;
                (point.false_alarms > 0.0).then_some((point.false_alarms, found))
            });
            Line { name: method.method.to_owned(), colour: place, points: points.collect(), is_step: true }
        };
        plots.push_str(
            &Plot {
                title: format!("{} ({count} kinds)", group.name()),
                x: Axis::log("false alarms a key-day", true),
                y: Axis::share("found"),
                lines: report.methods.iter().enumerate().map(line).collect(),
                ..Plot::default()
            }
            .svg(),
        );
    }
    let words = "Every threshold that the clean days tell apart; further left and further up is better. Thresholds of \
                 these curves are set on the judged keys themselves, so they describe and promise nothing. Far to \
                 the right less may be found: an alarm that stood already when the thief came tells nobody anything.";
    section("Detection against false alarms", words, &format!("<div class=\"plots\">{plots}</div>\n"))
}

fn budgets(report: &Report) -> String {
    if report.budgets.is_empty() {
        return String::new();
    }
    let row = |check: &crate::report::BudgetCheck| {
        vec![format!("one in {:.0} days", check.days), percent(check.stated), share(&check.realised)]
    };
    let rows: Vec<Vec<String>> = report.budgets.iter().map(row).collect();
    let words =
        "The layered detector is told how many false alarms a key may have; this is what clean keys had.";
    section(
        "Is the promise kept?",
        words,
        &table(&strings(&["budget of a key", "stated a key-day", "false alarms a key-day"]), &rows),
    )
}

/// Methods at the threshold that details are given for.
fn main_points(report: &Report) -> impl Iterator<Item = (usize, &MethodReport, &PointReport)> {
    report
        .methods
        .iter()
        .enumerate()
        .filter_map(|(place, method)| Some((place, method, method.main_point()?)))
}

fn delays(report: &Report) -> String {
    let mut plots = String::new();
    for (group, _) in groups(report) {
        let lines = main_points(report).filter_map(|(place, method, point)| {
            let curve = point.delays.iter().find(|curve| curve.group == group)?;
            let points =
                curve.found_within.iter().map(|&(requests, share)| (requests as f64, share)).collect();
            Some(Line { name: method.method.to_owned(), colour: place, points, is_step: false })
        });
        plots.push_str(
            &Plot {
                title: group.name().to_owned(),
                x: Axis::log("requests of the thief", false),
                y: Axis::share("found by then"),
                lines: lines.collect(),
                ..Plot::default()
            }
            .svg(),
        );
    }
    let set =
        main_points(report).map(|(_, method, point)| format!("{}: {}", method.method, point_name(point)));
    let words = format!(
        "How many of a group's thefts are found within so many of the thief's requests. Set for: {}.",
        escape(&set.collect::<Vec<_>>().join("; "))
    );
    section("How fast", &words, &format!("<div class=\"plots\">{plots}</div>\n"))
}

fn attacks(report: &Report) -> String {
    let mut html = String::new();
    for (place, method, point) in main_points(report) {
        let bars: Vec<(String, Estimate)> =
            point.attacks.iter().map(|attack| (attack.attack.to_owned(), attack.recall)).collect();
        let title = format!("{}, {}", method.method, point_name(point));
        html.push_str(&Bars { title, colour: place, bars }.svg());
    }
    if let Some((_, method, point)) = main_points(report).next() {
        html.push_str(&format!("<h3>{}, {}</h3>\n", escape(method.method), point_name(point)));
        html.push_str(&attack_table(report, point));
    }
    let words = "Every kind of theft that was tried, the hopeless ones included. The control is the perfect copy of \
                 its victim: what is found of it is chance.";
    section("Theft by theft", words, &html)
}

fn attack_table(report: &Report, point: &PointReport) -> String {
    let headings = [
        "theft",
        "found",
        "of keys in use before",
        "requests until found, median / 90 %",
        "seconds",
        "dollars",
        "spend gone",
        "owner's requests refused meanwhile",
        "what happens",
    ];
    let pair = |spread: &crate::stats::Spread, digits: usize| match (spread.median, spread.p90) {
        (Some(median), Some(p90)) => format!("{median:.digits$} / {p90:.digits$}"),
        _ => "–".to_owned(),
    };
    let row = |attack: &crate::report::AttackReport| {
        let about = report.attacks.iter().find(|about| about.attack == attack.attack);
        let control = if about.is_some_and(|about| about.is_control) { " (control)" } else { "" };
        vec![
            format!("{}{control}", escape(attack.attack)),
            estimate(&attack.recall),
            format!("{} of {}", attack.in_use.count, attack.in_use.of),
            pair(&attack.requests, 0),
            pair(&attack.seconds, 0),
            pair(&attack.dollars, 2),
            percent(attack.spend_gone),
            format!("{} of {}", attack.owner_refused, attack.owner_requests),
            escape(about.map_or("", |about| about.description)),
        ]
    };
    let rows: Vec<Vec<String>> = point.attacks.iter().map(row).collect();
    table(&strings(&headings), &rows)
}

fn parts(report: &Report) -> String {
    let mut html = String::new();
    for (_, method, point) in main_points(report) {
        let mut headings = strings(&["keys", "how many", "false alarms a key-day"]);
        headings.extend(point.groups.iter().map(|group| group.group.name().to_owned()));
        let row = |part: &crate::report::Part| {
            let mut row = vec![escape(&part.part), part.keys.to_string(), share(&part.false_alarms)];
            row.extend(point.groups.iter().map(|group| {
                let found = part.groups.iter().find(|report| report.group == group.group);
                found.map_or("–".to_owned(), |report| estimate(&report.found))
            }));
            row
        };
        let rows: Vec<Vec<String>> = point.archetypes.iter().chain(&point.sizes).map(row).collect();
        let _ = write!(
            html,
            "<h3>{}, {}</h3>\n{}",
            escape(method.method),
            point_name(point),
            table(&headings, &rows)
        );
    }
    section("By kind and size of key", "Kinds of caller, and the keys in thirds by calls a day.", &html)
}

fn changes(report: &Report) -> String {
    let points: Vec<(usize, &MethodReport, &PointReport)> = main_points(report).collect();
    let Some((_, _, first)) = points.first() else { return String::new() };
    if first.changes.is_empty() {
        return String::new();
    }
    let mut headings = strings(&["harmless change"]);
    headings.extend(points.iter().map(|(_, method, _)| escape(method.method)));
    let row = |(place, change): (usize, &crate::report::ChangeReport)| {
        let mut row = vec![escape(change.change)];
        row.extend(points.iter().map(|(_, _, point)| {
            point.changes.get(place).map_or("–".to_owned(), |change| {
                format!(
                    "{} <span class=\"interval\">without it {}</span>",
                    share(&change.alarms),
                    change.without.count
                )
            })
        }));
        row
    };
    let rows: Vec<Vec<String>> = first.changes.iter().enumerate().map(row).collect();
    let days = report.protocol.options.change_days;
    let words = format!(
        "Keys with an alarm within {days} days of a change that is no theft, and as many days without it."
    );
    section("Harmless changes", &words, &table(&headings, &rows))
}

fn traces(report: &Report) -> String {
    if report.traces.is_empty() {
        return String::new();
    }
    let plot = |trace: &Trace| {
        let colour = report.methods.iter().position(|method| method.method == trace.method).unwrap_or(0);
        let days = |hours: f64| hours / 24.0;
        let points = trace.scores.iter().map(|&(hours, score)| (days(hours), score)).collect();
        Plot {
            title: format!("{}: {} on a {} key", trace.method, trace.attack, trace.archetype),
            x: Axis::plain("day"),
            y: Axis::log("score", false),
            lines: vec![Line { name: String::new(), colour, points, is_step: false }],
            shaded: Some((days(trace.theft_hours.0), days(trace.theft_hours.1))),
            level: Some(trace.threshold),
            are_dots: true,
        }
        .svg()
    };
    let plots: String = report.traces.iter().map(plot).collect();
    let words = "Highest score of each ten minutes; the theft is shaded, the threshold is the dashed line. Scores of 0 \
                 are not drawn.";
    section("Scores over time", words, &format!("<div class=\"plots\">{plots}</div>\n"))
}

fn costs(report: &Report) -> String {
    let row = |method: &MethodReport| {
        vec![
            escape(method.method),
            format!("{:.2} µs", method.cost.ns_per_event / 1_000.0),
            format!("{:.1} KiB", method.cost.bytes_per_key / 1_024.0),
            format!("{:.1} KiB", method.cost.bytes_per_key_p95 / 1_024.0),
            escape(method.unit),
        ]
    };
    let rows: Vec<Vec<String>> = report.methods.iter().map(row).collect();
    let headings = ["method", "processor time an event", "memory a key", "95 % of keys below", "a score is"];
    section(
        "What it costs",
        "Measured on the clean days of the judged keys.",
        &table(&strings(&headings), &rows),
    )
}
