//! The words and figures of `top`, and the whole as a table for scripts and logs.

use tokenwatch_console::api::shapes::{Live, LiveKey, Suspect};

use super::state::rate;
use crate::output;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Counts as a row of bars, `width` characters; equally many seconds to each. Nothing at all is a space.
pub(super) fn spark(counts: &[u64], width: usize) -> String {
    let per = counts.len().div_ceil(width.max(1)).max(1);
    // From the newest backwards: what is left over is the oldest.
    let chunks = counts.rchunks(per).rev();
    let sums: Vec<u128> = chunks.map(|chunk| chunk.iter().map(|&n| u128::from(n)).sum()).collect();
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    let bar = |sum: &u128| match sum {
        0 => ' ',
        sum => {
            let height = (sum * 8).div_ceil(most) as usize;
            BARS.get(height.saturating_sub(1)).copied().unwrap_or('█')
        }
    };
    sums.iter().map(bar).collect()
}

/// A rate with three significant figures at most.
pub(super) fn per_second(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        rate if rate < 9.95 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

/// Days as people say them: `-` for none, `12 d`, `11 y`.
pub(super) fn days(days: f64) -> String {
    match days {
        days if days <= 0.0 => "-".to_owned(),
        days if days < 1.0 => "<1 d".to_owned(),
        days if days < 730.0 => format!("{days:.0} d"),
        days if days < 365_000.0 => format!("{:.0} y", days / 365.0),
        _ => ">1000 y".to_owned(),
    }
}

/// What is in force on a key, in two words.
pub(super) fn contained(key: &LiveKey) -> String {
    let mut names: Vec<&str> =
        key.containments.iter().map(|text| text.split(':').next().unwrap_or_default()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// A newcomer in one line.
pub(super) fn suspect(suspect: &Suspect) -> String {
    let alerted = if suspect.alerted { ", alerted" } else { "" };
    format!(
        "{}: once in {}; {} requests, {} served, {}{alerted}",
        suspect.context,
        days(suspect.once_in_days),
        suspect.requests,
        suspect.forwarded,
        suspect.cost
    )
}

/// The figures over all keys.
pub(super) fn head(live: &Live) -> Vec<(String, &'static str)> {
    let many = |count: u64, one: &'static str, more: &'static str| {
        (count.to_string(), if count == 1 { one } else { more })
    };
    vec![
        (per_second(rate(&live.requests_by_second)), "requests/s"),
        (live.spent_day.to_string(), "today"),
        (live.in_flight.to_string(), "in flight"),
        many(live.incidents_open, "open incident", "open incidents"),
        many(live.connections, "connection", "connections"),
        many(live.keys_known, "key", "keys"),
    ]
}

/// Headings of the table.
pub(super) const HEADINGS: [&str; 12] = [
    "KEY",
    "STATE",
    "MODE",
    "LAST 60 S",
    "REQ/S",
    "REFUSED",
    "TODAY",
    "MONTH",
    "SCORE",
    "NETS",
    "NEW",
    "CONTAINED",
];
/// Characters of the bars.
pub(super) const SPARK: usize = 20;

/// The cells of a key's row.
pub(super) fn cells(key: &LiveKey, spark_width: usize) -> [String; 12] {
    [
        key.name.to_string(),
        key.state.to_string(),
        key.mode.name().to_owned(),
        spark(&key.requests_by_second, spark_width),
        per_second(rate(&key.requests_by_second)),
        key.refused.to_string(),
        key.spent_day.to_string(),
        key.spent_month.to_string(),
        days(key.score_days),
        key.known.networks.to_string(),
        key.suspects.len().to_string(),
        contained(key),
    ]
}

/// Everything as text.
pub(super) fn describe(live: &Live) -> String {
    let figures: Vec<String> = head(live).into_iter().map(|(figure, of)| format!("{figure} {of}")).collect();
    let draining = if live.draining { "; the server is shutting down" } else { "" };
    let rows: Vec<Vec<String>> = live.keys.iter().map(|key| cells(key, SPARK).to_vec()).collect();
    if rows.is_empty() {
        return format!("{}{draining}\n\nNo key was used since the server started.", figures.join(", "));
    }
    format!("{}{draining}\n\n{}", figures.join(", "), output::table(&HEADINGS, &rows))
}
