//! Events of your own: read, put in order, labelled, replayed as a gateway would have met them.
//!
//! Invariant: what was passed over, moved or could not be matched is counted and shown, never silent.

pub(super) mod files;
mod notes;
pub(super) mod profiles;
pub(super) mod stream;
pub(super) mod truth;
pub(super) mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use serde::Serialize;
use tokenwatch_detect::{Engine, KeyProfile};
use tokenwatch_evaluate::record::Lookup;
use tokenwatch_evaluate::replay::{Beside, Counting, Replay, ReplayReport, Settings};
use tokenwatch_model::time::Timestamp;
use tokenwatch_network::Bundled;
use tokenwatch_wire::price::PriceTable;

use profiles::Profiles;
use stream::Stream;
use truth::Truth;

use super::parallel::bytes_bar;
use crate::{Common, fleet_rates, output};

/// Arguments about events of your own.
#[derive(clap::Args)]
#[command(next_help_heading = "Events of your own")]
pub(super) struct EventsArgs {
    /// Events to replay instead of a simulated fleet: JSON lines or Parquet, plain or gzip; several files are merged by
    /// time, - is standard input. The fields are in docs/events.md
    #[arg(long, value_name = "FILE", num_args = 1.., group = "own", conflicts_with_all = ["methods", "attacks", "keys", "calibration_keys", "clean_keys", "quick", "only", "rates", "pace", "theft_requests", "undeclared", "html", "volumes"])]
    pub(super) events: Vec<PathBuf>,
    /// Events to put simulated thefts into, for all methods, instead of a simulated fleet: files as of --events, of eight days
    /// or more on which nothing is known to be a theft but what --truth says
    #[arg(long, value_name = "FILE", num_args = 1.., group = "own", conflicts_with_all = ["pace", "undeclared", "volumes"])]
    pub(super) trace: Vec<PathBuf>,
    /// Which request belongs to which theft: JSON lines or CSV with the fields request and attack. Without it every request
    /// counts as the owner's, every alert as false, and the alerts that would have been raised are shown. A false alarm is
    /// a key's day without a thief's request on which an alert was raised or a request refused
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "own")]
    pub(super) truth: Vec<PathBuf>,
    /// What is declared about keys: JSON lines or CSV with the fields key, workload, owner, created
    #[arg(long, value_name = "FILE", requires = "own")]
    pub(super) profiles: Option<PathBuf>,
    /// Days from the first event on that only teach: nothing is refused on them and nothing counts [default: 0, with
    /// --trace 7]
    #[arg(long, value_name = "N", requires = "own", conflicts_with = "score_from")]
    pub(super) learn_days: Option<u32>,
    /// The time from which results count, such as 2026-03-08T00:00:00Z, instead of a number of days
    #[arg(long, value_name = "TIME", requires = "events")]
    score_from: Option<Timestamp>,
    /// How often honest newcomers come: counted on the days that only teach, the shipped tables, or a file that
    /// --write-fleet-rates wrote
    #[arg(long, value_name = "counted|shipped|FILE", default_value = "counted", requires = "own")]
    pub(super) fleet_rates: Rates,
    /// Write what was counted to a file, for --fleet-rates here or fleet_rates in the configuration of a gateway
    #[arg(long, value_name = "FILE", requires = "events")]
    write_fleet_rates: Option<PathBuf>,
    /// How late an event may come, by its own time, and still be put in its place, such as 10m
    #[arg(long, value_name = "SPAN", default_value = "10m", requires = "own", value_parser = super::span)]
    pub(super) disorder: u64,
}

/// Whose rates of honest newcomers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rates {
    Counted,
    Shipped,
    File(PathBuf),
}

impl std::str::FromStr for Rates {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "counted" => Self::Counted,
            "shipped" => Self::Shipped,
            path => Self::File(path.into()),
        })
    }
}

impl EventsArgs {
    /// The engine to begin with, and what is done about the fleet's own rates.
    fn engine(&self) -> anyhow::Result<(Engine, Counting)> {
        let only = if self.write_fleet_rates.is_some() { Counting::Only } else { Counting::No };
        Ok(match &self.fleet_rates {
            // What was counted before is not counted on.
            Rates::File(path) => (Engine::new(Default::default(), fleet_rates::read(path)?), only),
            Rates::Shipped => (Engine::default(), only),
            Rates::Counted if self.learn_days.unwrap_or(0) == 0 && self.score_from.is_none() => {
                (Engine::default(), only)
            }
            Rates::Counted => (Engine::default(), Counting::ThenUse),
        })
    }
}

/// What was read.
#[derive(Debug, Serialize)]
struct Input {
    /// Events read.
    events: u64,
    /// Events that came after a later one and were put in their place.
    moved: u64,
    /// Events that came too late for that; they were replayed when they came.
    late: u64,
    /// Events without a request id, which no truth can name.
    without_request: u64,
    /// Fields that are not known, and how often each occurred.
    unknown_fields: BTreeMap<String, u64>,
    /// Requests that the truth gives to a thief.
    truth_thief_requests: u64,
    /// Of these, found among the events.
    truth_matched: u64,
    /// Keys of the profiles that no event has.
    profiles_unseen: Vec<String>,
}

/// Everything that is printed.
#[derive(Debug, Serialize)]
struct Output {
    input: Input,
    /// What a reader of the figures should know.
    notes: Vec<String>,
    #[serde(flatten)]
    result: ReplayReport,
}

pub(super) fn run(common: &Common, args: &EventsArgs, false_alarms_per_year: f64) -> anyhow::Result<()> {
    let unknown = KeyProfile { false_alarms_per_year, ..KeyProfile::default() };
    let profiles = match &args.profiles {
        Some(path) => profiles::read(path, &unknown)?,
        None => Profiles::default(),
    };
    let truth = Truth::read(&args.truth)?;
    let (engine, counting) = args.engine()?;
    let settings = Settings {
        learn_days: args.learn_days.unwrap_or(0),
        score_from: args.score_from,
        unknown,
        is_labelled: !args.truth.is_empty(),
        counting,
    };
    let mut replay = Replay::new(Arc::new(engine), settings, profiles.by_key, truth.attacks().to_vec());
    let bundled = Bundled::new();
    let lookup = Lookup { addresses: &bundled, prices: PriceTable::bundled() };
    let bar = bytes_bar(&args.events);
    let mut input = Input {
        events: 0,
        moved: 0,
        late: 0,
        without_request: 0,
        unknown_fields: BTreeMap::new(),
        truth_thief_requests: truth.thief_requests(),
        truth_matched: 0,
        profiles_unseen: Vec::new(),
    };
    let summary = Stream::new(&args.events, args.disorder).run(&lookup, &bar, &mut |item| {
        let bits = item.event.request.id.bits();
        input.without_request += u64::from(bits == 0);
        let attack = truth.attack_of(bits);
        input.truth_matched += u64::from(attack.is_some());
        let beside = Beside { key: &item.key, request: &item.request, owner: item.owner, attack };
        replay.see(item.event, &beside);
    });
    bar.finish_and_clear();
    let summary = summary?;
    input.events = replay.events();
    (input.moved, input.late) = (summary.moved, summary.late);
    input.unknown_fields = summary.unknown.counts().map(|(name, count)| (name.to_owned(), count)).collect();
    ensure!(input.events > 0, "the files hold no events");
    truth.check_matched(input.truth_matched)?;
    let unseen = profiles.names.into_iter().filter(|(key, _)| !replay.has_seen(*key));
    input.profiles_unseen = unseen.map(|(_, name)| name).collect();
    if let (Some(path), Some(rates)) = (&args.write_fleet_rates, replay.rates()) {
        fleet_rates::write(path, rates)?;
    }
    let result = replay.finish();
    let output = Output { notes: notes::notes(&input, &result), input, result };
    output.notes.iter().for_each(|note| output::say(&format!("warning: {note}")));
    if common.json {
        return output::json(&output);
    }
    output::line(&view::tables(&output.result));
    Ok(())
}
