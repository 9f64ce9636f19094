//! Real clients of your own instead of the bundled ones: requests in ten minutes and token sizes, from tables.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tokenwatch_evaluate::fleet::FleetWorld;
use tokenwatch_testkit::fleet::clients::{self, Client, ClientTables, SizeField};
use tokenwatch_testkit::traffic::DAYS;

use super::events::files::read_table;
use crate::output;

/// Arguments about the clients that simulated keys are made from.
#[derive(clap::Args)]
#[command(next_help_heading = "Volumes of your own")]
pub(crate) struct VolumeArgs {
    /// Requests of real clients to make the simulated keys from, instead of the bundled ones: CSV or JSON lines, plain or
    /// gzip, with client, t (seconds since midnight of day 0, start of ten minutes), requests and, if known, cv (spread of
    /// the gaps). Ten minutes without a row had none
    #[arg(long, value_name = "FILE")]
    volumes: Option<PathBuf>,
    /// Token sizes of these clients: client, t (start of six hours), field (in or out), quantiles in columns such as q05, q50
    /// and q99_9 and, if known, n (requests of the six hours). Clients without borrow another's
    #[arg(long, value_name = "FILE", requires = "volumes")]
    sizes: Option<PathBuf>,
    /// The first of the eleven days of --volumes that are used
    #[arg(long, value_name = "N", default_value_t = 0, requires = "volumes")]
    volumes_from_day: u32,
}

/// The clients to make keys from.
pub(super) fn clients(args: &VolumeArgs) -> anyhow::Result<Vec<Client>> {
    let Some(path) = &args.volumes else { return Ok(FleetWorld::fit(clients::bundled()?)) };
    let mut tables = ClientTables::new(args.volumes_from_day);
    read_requests(path, &mut tables)?;
    if let Some(path) = &args.sizes {
        read_sizes(path, &mut tables)?;
    }
    if tables.outside() > 0 {
        output::say(&format!(
            "{} rows lie outside the {DAYS} days from day {} on and were left out; --volumes-from-day moves them",
            tables.outside(),
            args.volumes_from_day
        ));
    }
    let all = tables.finish()?;
    let known = all.len();
    let fit = FleetWorld::fit(all);
    let lent = fit.iter().filter(|client| !client.has_tokens()).count();
    ensure!(
        fit.len() >= 2,
        "--volumes: {} of {known} clients have requests on three of the {DAYS} days from day {} on; it takes two, one to \
         calibrate on and one to judge",
        fit.len(),
        args.volumes_from_day
    );
    output::say(&format!(
        "{} clients of {known} have requests on three days or more; {lent} of them borrow token sizes",
        fit.len()
    ));
    Ok(fit)
}

/// The number in a cell; an empty one is none.
fn number(name: &str, cell: Option<&String>) -> anyhow::Result<Option<f64>> {
    let parse = |text: &String| text.parse().with_context(|| format!("field {name}: {text:?} is no number"));
    cell.map(parse).transpose()
}

fn client_and_time<'a>(client: Option<&'a String>, t: Option<&String>) -> anyhow::Result<(&'a str, u64)> {
    let client = client.context("field client: missing; write a name for each client")?;
    let t = number("t", t)?.filter(|t| (0.0..1e12).contains(t));
    Ok((client, t.context("field t: missing or negative; write seconds since midnight of day 0")? as u64))
}

fn read_requests(path: &Path, tables: &mut ClientTables) -> anyhow::Result<()> {
    read_table(path, &["client", "t", "requests", "cv"], 3, |row| {
        let [client, t, requests, cv] = row else { return Ok(()) };
        let (client, t) = client_and_time(client.as_ref(), t.as_ref())?;
        let requests = number("requests", requests.as_ref())?.context("field requests: missing")?;
        // A window of one request has no gaps: 0 says as much as nothing.
        let spread = number("cv", cv.as_ref())?.filter(|&cv| cv != 0.0);
        Ok(tables.add_requests(client, t, requests, spread)?)
    })
}

/// Columns of quantiles that are read, with their levels.
fn quantiles() -> Vec<(&'static str, f64)> {
    let level = |name: &'static str| {
        let per_cent = name.strip_prefix('q')?.replace('_', ".").parse::<f64>().ok()?;
        Some((name, per_cent / 100.0))
    };
    QUANTILES.iter().filter_map(|name| level(name)).collect()
}

fn read_sizes(path: &Path, tables: &mut ClientTables) -> anyhow::Result<()> {
    let quantiles = quantiles();
    let names = ["client", "t", "field", "n"];
    let fields: Vec<&'static str> =
        names.into_iter().chain(quantiles.iter().map(|(name, _)| *name)).collect();
    read_table(path, &fields, 3, |row| {
        let [client, t, field, n, cells @ ..] = row else { return Ok(()) };
        let (client, t) = client_and_time(client.as_ref(), t.as_ref())?;
        let field = match field.as_deref() {
            Some("in" | "input") => SizeField::Input,
            Some("out" | "output") => SizeField::Output,
            other => anyhow::bail!("field field: {:?}; write in or out", other.unwrap_or_default()),
        };
        let mut points = Vec::with_capacity(quantiles.len());
        for ((name, level), cell) in quantiles.iter().zip(cells) {
            points.extend(number(name, cell.as_ref())?.map(|tokens| (*level, tokens)));
        }
        Ok(tables.add_sizes(client, t, field, number("n", n.as_ref())?, &points)?)
    })
}

/// Per cent, with an underscore for the point, in rising order.
#[rustfmt::skip]
const QUANTILES: [&str; 104] = [
    "q00", "q01", "q02", "q03", "q04", "q05", "q06", "q07", "q08", "q09", "q10", "q11", "q12", "q13", "q14", "q15",
    "q16", "q17", "q18", "q19", "q20", "q21", "q22", "q23", "q24", "q25", "q26", "q27", "q28", "q29", "q30", "q31",
    "q32", "q33", "q34", "q35", "q36", "q37", "q38", "q39", "q40", "q41", "q42", "q43", "q44", "q45", "q46", "q47",
    "q48", "q49", "q50", "q51", "q52", "q53", "q54", "q55", "q56", "q57", "q58", "q59", "q60", "q61", "q62", "q63",
    "q64", "q65", "q66", "q67", "q68", "q69", "q70", "q71", "q72", "q73", "q74", "q75", "q76", "q77", "q78", "q79",
    "q80", "q81", "q82", "q83", "q84", "q85", "q86", "q87", "q88", "q89", "q90", "q91", "q92", "q93", "q94", "q95",
    "q96", "q97", "q98", "q99", "q99_5", "q99_9", "q99_99", "q100",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_rise_from_none_to_all() {
        let levels: Vec<f64> = quantiles().into_iter().map(|(_, level)| level).collect();
        assert_eq!(levels.len(), QUANTILES.len());
        assert!(levels.is_sorted_by(|a, b| a < b));
        assert_eq!((levels.first(), levels.last()), (Some(&0.0), Some(&1.0)));
    }
}
