//! Method beside method at equal false alarms.

use super::{escape, groups, percent, share, strings, table};
use crate::report::{Burst, Compared, ComparedAt, Level, Published, Report};
use crate::world::Group;

/// The section; empty for a method alone.
pub(super) fn section(report: &Report) -> String {
    if report.comparison.len() < 2 {
        return String::new();
    }
    let groups: Vec<Group> = groups(report).into_iter().map(|(group, _)| group).collect();
    let names = || groups.iter().map(|group| group.name().to_owned());
    let mut headings = strings(&["method", "published", "set for", "false alarms a key-day"]);
    headings.extend(names());
    headings.extend(strings(&["bursts found, after", "an event", "layered: false alarms"]));
    headings.extend(names());
    let row = |method: &Compared, at: &ComparedAt| {
        let published = method.published.as_ref().map_or("–".to_owned(), published);
        let mut row = vec![escape(method.method), published, set_for(at), share(&at.level.false_alarms)];
        row.extend(found(&at.level, &groups));
        row.push(at.level.burst.as_ref().map_or("–".to_owned(), burst));
        row.push(format!("{:.2} µs", method.ms_per_event * 1_000.0));
        match &at.layered {
            None => row.extend(vec!["–".to_owned(); groups.len() + 1]),
            Some(level) => {
                row.push(share(&level.false_alarms));
                row.extend(found(level, &groups));
            }
        }
        row
    };
    let rows: Vec<Vec<String>> = report
        .comparison
        .iter()
        .flat_map(|method| method.rows.iter().map(move |at| row(method, at)))
        .collect();
    let words = "Each method at its own threshold, at calibrated rates, and at the false alarms that are published for \
                 methods like it; beside it the layered detector, calibrated for as many. Requests and time until a \
                 burst is found are medians of those found.";
    super::section("Method by method", words, &table(&headings, &rows))
}

fn set_for(at: &ComparedAt) -> String {
    let name = match at.point.as_str() {
        "nominal" => "its own threshold".to_owned(),
        "published" => format!("{}, as published", percent(at.rate)),
        _ => percent(at.rate),
    };
    if at.level.is_supported { name } else { format!("{name}, too few key-days") }
}

fn found(level: &Level, groups: &[Group]) -> Vec<String> {
    let of = |group: &Group| level.groups.iter().find(|report| report.group == *group);
    groups
        .iter()
        .map(|group| of(group).map_or("–".to_owned(), |report| percent(report.found.value)))
        .collect()
}

fn burst(burst: &Burst) -> String {
    match (burst.requests.median, burst.seconds.median) {
        (Some(requests), Some(seconds)) => {
            format!("{}, {requests:.0} requests, {seconds:.0} s", percent(burst.found.share))
        }
        _ => percent(burst.found.share),
    }
}

fn published(published: &Published) -> String {
    let (from, to) = published.latency_ms;
    let found = format!("{} at {}", percent(published.found), percent(published.false_alarms));
    if from > 0.0 {
        format!("{found}, {from:.0} to {to:.0} ms")
    } else {
        format!("{found}, below {to:.0} ms")
    }
}
