//! Method beside method, in one table.

use tokenwatch_evaluate::report::{Burst, Compared, ComparedAt, Level, Published, Report};
use tokenwatch_evaluate::world::Group;

use super::{groups, percent, seconds};
use crate::output;

/// The table; none for a method alone.
pub(super) fn table(report: &Report) -> Option<String> {
    let groups: Vec<Group> = groups(report).into_iter().map(|(group, _)| group).collect();
    let names: Vec<String> = groups.iter().map(|group| group.name().to_uppercase()).collect();
    let is_beside = report.comparison.iter().flat_map(|method| &method.rows).any(|row| row.layered.is_some());
    let mut headings = vec!["METHOD", "SET FOR", "FALSE ALARMS"];
    headings.extend(names.iter().map(String::as_str));
    headings.extend(["BURST", "AFTER", "AN EVENT"]);
    if is_beside {
        headings.push("| LAYERED");
        headings.extend(names.iter().map(String::as_str));
    }
    headings.push("PUBLISHED");
    let row = |method: &Compared, at: &ComparedAt| {
        let mut row = vec![method.method.to_owned(), set_for(at), percent(at.level.false_alarms.share)];
        row.extend(found(&at.level, &groups));
        row.extend(burst(at.level.burst.as_ref()));
        row.push(format!("{:.2} µs", method.ms_per_event * 1_000.0));
        if is_beside {
            let beside = at.layered.as_ref();
            row.push(
                beside.map_or("| -".to_owned(), |level| format!("| {}", percent(level.false_alarms.share))),
            );
            row.extend(
                beside.map_or_else(|| vec!["-".to_owned(); groups.len()], |level| found(level, &groups)),
            );
        }
        // Said once.
        let is_first = method.rows.first().is_some_and(|first| std::ptr::eq(first, at));
        row.push(method.published.as_ref().filter(|_| is_first).map_or(String::new(), published));
        row
    };
    let rows: Vec<Vec<String>> = report
        .comparison
        .iter()
        .flat_map(|method| method.rows.iter().map(move |at| row(method, at)))
        .collect();
    (report.comparison.len() > 1).then(|| {
        format!(
            "Method by method: false alarms a clean key-day of unseen clients, mean share of thefts found, share of \
             bursts found and after how many requests and how long (medians), processor time an event; beside it the \
             layered detector, calibrated for as many false alarms\n{}",
            output::table(&headings, &rows)
        )
    })
}

fn set_for(at: &ComparedAt) -> String {
    let name = match at.point.as_str() {
        "nominal" => "its own".to_owned(),
        "published" => format!("{} (published)", percent(at.rate)),
        _ => percent(at.rate),
    };
    if at.level.is_supported { name } else { format!("{name} (too few key-days)") }
}

fn found(level: &Level, groups: &[Group]) -> Vec<String> {
    let of = |group: &Group| level.groups.iter().find(|report| report.group == *group);
    groups
        .iter()
        .map(|group| of(group).map_or("-".to_owned(), |report| percent(report.found.value)))
        .collect()
}

fn burst(burst: Option<&Burst>) -> [String; 2] {
    let Some(burst) = burst else { return ["-".to_owned(), "-".to_owned()] };
    let after = match (burst.requests.median, burst.seconds.median) {
        (Some(requests), Some(span)) => format!("{requests:.0} / {}", seconds(span)),
        _ => "-".to_owned(),
    };
    [percent(burst.found.share), after]
}

fn published(published: &Published) -> String {
    let (from, to) = published.latency_ms;
    let latency = if from > 0.0 { format!("{from:.0} to {to:.0} ms") } else { format!("below {to:.0} ms") };
    format!("{} at {}, {latency}", percent(published.found), percent(published.false_alarms))
}
