//! `tokenwatch evaluate`: how good detection is, method by method, on simulated fleets or on events of your own.

mod contest;
mod events;
mod methods;
mod parallel;
mod table;
mod trace;
mod volumes;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use tokenwatch_evaluate::html;
use tokenwatch_model::time::{ParseSpanError, parse_span};

use crate::{Common, output};

/// `tokenwatch evaluate …`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Methods to compare, comma-separated, or all; `--methods list` names them
    #[arg(long, value_delimiter = ',', default_value = "layered", value_name = "NAMES")]
    methods: Vec<String>,
    /// Thefts to try, comma-separated, or all; `--attacks list` names them
    #[arg(long, value_delimiter = ',', default_value = "all", value_name = "NAMES")]
    attacks: Vec<String>,
    /// Seed of everything that is drawn: keys, identities, split, thefts, resampling
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Simulated keys that thefts are put on [default: 300, with --quick 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keys: Option<u32>,
    /// Keys of other clients that thresholds come from, four clean key-days each; a rate of 0.1 % wants some 20,000
    /// key-days [default: 5250, with --quick 60]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    calibration_keys: Option<u32>,
    /// Further keys of the judged clients on which false alarms alone are counted [default: 5250, with --quick 60]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    clean_keys: Option<u32>,
    /// False alarms a year that the layered detector is set to accept on a key
    #[arg(long, value_name = "X", default_value_t = tokenwatch_detect::FALSE_ALARMS_PER_YEAR)]
    false_alarms_per_key_year: f64,
    /// Rates of false alarms per key-day that all methods are calibrated to, comma-separated
    #[arg(long, value_delimiter = ',', value_name = "RATES", default_values_t = [0.001, 0.01])]
    rates: Vec<f64>,
    /// Multiplies the rate of every harmless change in the keys' lives: deployments, travels, new colleagues
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pace: f64,
    /// Most requests of a theft; the first ones are kept
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    theft_requests: u32,
    /// Do not tell methods what kind of caller each key is for
    #[arg(long)]
    undeclared: bool,
    /// What methods may look at
    #[arg(long, value_enum, default_value_t = Only::All)]
    only: Only,
    /// Few keys: a first look in seconds
    #[arg(long)]
    quick: bool,
    /// Also write the report as a page with plots to this file; nothing in it is loaded from elsewhere
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Threads; the result does not depend on it [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    threads: Option<u16>,
    #[command(flatten)]
    volumes: volumes::VolumeArgs,
    #[command(flatten)]
    events: events::EventsArgs,
}

/// What methods may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Everything
    All,
    /// Times and tokens alone, which are real: simulated networks, clients and prompts are the same for owner and thief
    Real,
    /// Everything but what is read from prompts and answers, as where content_signals is off or events have no such columns
    Metadata,
}

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let per_year = args.false_alarms_per_key_year;
    ensure!(
        per_year.is_finite() && per_year > 0.0,
        "--false-alarms-per-key-year: a number above 0, such as 0.365"
    );
    if !args.events.events.is_empty() {
        events::run(common, &args.events, per_year)?;
        return Ok(ExitCode::SUCCESS);
    }
    let contest = contest::Contest::new(args)?;
    let Some(contest) = contest else { return Ok(ExitCode::SUCCESS) };
    let report = contest.run()?;
    if let Some(path) = &args.html {
        std::fs::write(path, html::page(&report))
            .with_context(|| format!("{} can not be written", path.display()))?;
    }
    if common.json {
        output::json(&report)?;
    } else {
        output::line(&table::report(&report));
    }
    Ok(ExitCode::SUCCESS)
}

/// A span of time as an argument, in microseconds.
fn span(text: &str) -> Result<u64, ParseSpanError> {
    parse_span(text)
}
