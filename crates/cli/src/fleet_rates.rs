//! Fleet rates in files: how often this fleet's honest newcomers come, as `dry-run` and `evaluate` count it.

use std::path::Path;

use anyhow::Context as _;
use tokenwatch_detect::{Difference, FleetPriors, FleetRates};

use crate::config::Config;
use crate::output;

/// Rows of a table that a person reads.
const ROWS_MAX: usize = 10;

/// The tables that ship with the program, with what was counted on this fleet where the configuration names it.
pub(crate) fn tables(config: &Config) -> anyhow::Result<FleetPriors> {
    match &config.detection.fleet_rates {
        None => Ok(FleetPriors::shipped()),
        Some(path) => {
            let tables = read(path).context("[detection] fleet_rates")?;
            tracing::info!(file = %path.display(), "judging by this fleet's own rates");
            Ok(tables)
        }
    }
}

/// The shipped tables with the rates of a file.
pub(crate) fn read(path: &Path) -> anyhow::Result<FleetPriors> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{} can not be read", path.display()))?;
    let rates: FleetRates =
        serde_json::from_str(&text).with_context(|| format!("{} holds no fleet rates", path.display()))?;
    FleetPriors::shipped().with_rates(&rates).with_context(|| path.display().to_string())
}

/// Writes them in one step: a server that reads the file finds the old or the new rates. Where nothing could be counted
/// nothing is written, and that is said.
pub(crate) fn write(path: &Path, rates: &FleetRates) -> anyhow::Result<()> {
    if rates.key_days().iter().sum::<f64>() <= 0.0 {
        output::say(&format!(
            "warning: no day could be counted, because a key counts from its third day on: {} was not written",
            path.display()
        ));
        return Ok(());
    }
    let text = serde_json::to_string_pretty(rates).context("the fleet rates")?;
    let unfinished = path.with_extension("tmp");
    std::fs::write(&unfinished, text + "\n")
        .and_then(|()| std::fs::rename(&unfinished, path))
        .with_context(|| format!("{} can not be written", path.display()))
}

/// Where the fleet differs most from the shipped tables.
pub(crate) fn describe(key_days: [f64; 2], newcomers: f64, differences: &[Difference]) -> String {
    let [machines, people] = key_days;
    let counted = format!(
        "counted on {:.0} key-days of machines and {:.0} of people: {newcomers:.0} honest newcomers",
        machines, people
    );
    let rows: Vec<Vec<String>> = differences
        .iter()
        .filter(|row| !(0.8..=1.25).contains(&row.factor) && (row.met - row.expected).abs() >= 1.0)
        .take(ROWS_MAX)
        .map(|row| {
            vec![
                row.keys.to_owned(),
                what(row),
                format!("{:.1}", row.met),
                format!("{:.1}", row.expected),
                format!("{:.2}", row.factor),
            ]
        })
        .collect();
    if rows.is_empty() {
        return format!("{counted}, none much oftener or more seldom than the shipped tables say");
    }
    let headings = ["KEYS", "NEWCOMER WITH", "CAME", "EXPECTED", "RATE TIMES"];
    format!("{counted}\n{}", output::table(&headings, &rows))
}

/// What is new about a newcomer, in words.
fn what(row: &Difference) -> String {
    let software = match row.client {
        "new_version" => Some("new version of software"),
        "new_tls" => Some("new TLS print"),
        "new_family" => Some("new software"),
        _ => None,
    };
    let new = [
        (row.source != "known").then(|| row.source.replace('_', " ")),
        software.map(str::to_owned),
        (row.usage == "new").then(|| "new model or endpoint".to_owned()),
        (row.template == "new").then(|| "new prompt".to_owned()),
    ];
    new.into_iter().flatten().collect::<Vec<String>>().join(", ")
}
