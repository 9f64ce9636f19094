//! `tokenwatch simulate`: a labelled data set of keys, thefts and harmless changes, to try any detector with.
//!
//! Volumes, rhythms and token sizes are those of real clients; identities, changes and thefts are simulated. Three
//! files are written: events with the archive's columns, the truth about them, and what is declared about the keys.

mod write;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokenwatch_testkit::fleet::Change;
use tokenwatch_testkit::scenario::{Scenario, ScenarioOptions, Story};
use tokenwatch_testkit::theft::Theft;

use crate::{Common, output};
use write::{Files, Written};

/// `tokenwatch simulate …`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder that the files are written to; made when it is not there
    #[arg(required_unless_present_any = ["list_thefts", "list_changes"])]
    out: Option<PathBuf>,
    /// Keys
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    keys: u32,
    /// Days, from Monday, 2026-01-05
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u64).range(2..=11))]
    days: u64,
    /// Days without thefts and changes of --change at the start, to learn from
    #[arg(long, default_value_t = 7, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(0..=10))]
    quiet_days: u64,
    /// Seed of everything that is drawn: the same options and seed give the same files
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Thefts that take turns on the stolen keys: names, `reference` for the fifteen of the reference
    /// evaluation, `all`, or `none`
    #[arg(long = "theft", value_name = "NAME", default_value = "reference", value_delimiter = ',')]
    thefts: Vec<String>,
    /// Share of the keys that are stolen
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    stolen: f64,
    /// Harmless changes to put on keys that are not stolen, each on one: names, or `hard` for those that a
    /// detector must not take for a theft
    #[arg(long = "change", value_name = "NAME", value_delimiter = ',')]
    changes: Vec<String>,
    /// How many times the assumed rates of harmless changes the fleet changes by itself; 0 for never
    #[arg(long, default_value_t = 1.0, value_name = "TIMES")]
    pace: f64,
    /// Most events of one theft; the first ones are kept
    #[arg(long, default_value_t = 5_000, value_name = "EVENTS")]
    theft_events: u32,
    /// Pack the files with gzip
    #[arg(long)]
    gzip: bool,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
    /// Print the thefts and end
    #[arg(long)]
    list_thefts: bool,
    /// Print the harmless changes and end
    #[arg(long)]
    list_changes: bool,
}

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    if args.list_thefts {
        list_thefts(common.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.list_changes {
        list_changes(common.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = options(args)?;
    let out = args.out.as_ref().context("name the folder that the files are to be written to")?;
    let mut files = Files::create(out, args.gzip, args.force)?;
    let scenario = Scenario::new(&options)?;
    scenario.stories().iter().try_for_each(|story| files.key(story))?;
    let bar = progress(&scenario);
    for labelled in scenario.events() {
        let story = scenario.stories().get(labelled.story).context("an event of no key")?;
        let attack = if labelled.is_theft { story.attack.as_ref() } else { None };
        files.event(&labelled.event, attack.map_or("", |attack| attack.id.as_str()))?;
        if files.count().is_multiple_of(1_024) {
            bar.set_position(labelled.event.request.time.ms().saturating_sub(scenario.start_ms()));
        }
    }
    bar.finish_and_clear();
    let written = files.finish()?;
    if common.json {
        output::json(&summary(&scenario, &written))?;
    } else {
        report(&scenario, &written);
    }
    Ok(ExitCode::SUCCESS)
}

/// How far the simulated time is; drawn on standard error, and only when that is a terminal.
fn progress(scenario: &Scenario) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(scenario.length_ms()), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("simulating {wide_bar} {percent} %, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn options(args: &Args) -> anyhow::Result<ScenarioOptions> {
    anyhow::ensure!(
        args.quiet_days < args.days,
        "--quiet-days: {} quiet days leave none of {} to steal on; write fewer, or more --days",
        args.quiet_days,
        args.days
    );
    anyhow::ensure!((0.0..=1.0).contains(&args.stolen), "--stolen: write a share from 0 to 1, such as 0.5");
    anyhow::ensure!((0.0..=1_000.0).contains(&args.pace), "--pace: write a number from 0 to 1000, such as 1");
    Ok(ScenarioOptions {
        seed: args.seed,
        keys: args.keys as usize,
        days: args.days,
        pace: args.pace,
        thefts: thefts(&args.thefts)?,
        stolen: args.stolen,
        changes: changes(&args.changes)?,
        quiet_days: args.quiet_days,
        events_max: args.theft_events as usize,
    })
}

fn thefts(names: &[String]) -> anyhow::Result<Vec<Theft>> {
    let mut thefts = Vec::new();
    for name in names {
        match name.as_str() {
            "none" => {}
            "all" => thefts.extend(Theft::ALL),
            "reference" => thefts.extend(Theft::REFERENCE),
            name => {
                let theft = Theft::from_name(name);
                thefts.push(theft.with_context(|| {
                    format!("--theft: there is no {name}; `tokenwatch simulate --list-thefts` names them")
                })?);
            }
        }
    }
    Ok(thefts)
}

fn changes(names: &[String]) -> anyhow::Result<Vec<Change>> {
    let mut changes = Vec::new();
    for name in names {
        match name.as_str() {
            "hard" => changes.extend(Change::HARD),
            name => {
                let change = Change::from_name(name);
                changes.push(change.with_context(|| {
                    format!("--change: there is no {name}; `tokenwatch simulate --list-changes` names them")
                })?);
            }
        }
    }
    Ok(changes)
}

fn list_thefts(json: bool) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Listed {
        name: &'static str,
        group: &'static str,
        title: &'static str,
        description: &'static str,
        source: &'static str,
    }
    let listed = Theft::ALL.map(|theft| Listed {
        name: theft.name(),
        group: theft.group().name(),
        title: theft.title(),
        description: theft.description(),
        source: theft.source(),
    });
    if json {
        return output::json(&listed);
    }
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|theft| {
            let about = format!("{} ({})", theft.description, theft.source);
            vec![theft.name.to_owned(), theft.group.to_owned(), about]
        })
        .collect();
    output::line(&output::table(&["THEFT", "GROUP", "WHAT HAPPENS"], &rows));
    Ok(())
}

fn list_changes(json: bool) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Listed {
        name: &'static str,
        /// Days from one to the next on a key, or on each colleague of a team; none for those on demand only.
        every_days: Option<f64>,
        is_hard: bool,
        description: &'static str,
    }
    let listed = Change::ALL.map(|change| Listed {
        name: change.name(),
        every_days: change.every_days(),
        is_hard: Change::HARD.contains(&change),
        description: change.description(),
    });
    if json {
        return output::json(&listed);
    }
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|change| {
            let every = change.every_days.map_or_else(|| "on demand".to_owned(), |days| format!("{days} d"));
            vec![change.name.to_owned(), every, change.description.to_owned()]
        })
        .collect();
    output::line(&output::table(&["CHANGE", "EVERY", "WHAT HAPPENS"], &rows));
    Ok(())
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    written: &'a Written,
    days: u64,
    keys: usize,
    thefts: Vec<Theftly<'a>>,
    changes: Vec<Changely>,
}

#[derive(Serialize)]
struct Theftly<'a> {
    attack: &'a str,
    theft: &'static str,
    key: String,
    leaked: String,
    first_call: String,
    events: u64,
}

#[derive(Serialize)]
struct Changely {
    change: &'static str,
    key: String,
    at: String,
}

fn at(ms: u64) -> String {
    tokenwatch_model::time::Timestamp::from_ms(ms).to_string()
}

fn summary<'a>(scenario: &'a Scenario, written: &'a Written) -> Summary<'a> {
    let theft = |story: &'a Story| {
        let attack = story.attack.as_ref()?;
        Some(Theftly {
            attack: &attack.id,
            theft: attack.theft.name(),
            key: story.key.id().to_string(),
            leaked: at(attack.leaked_ms),
            first_call: at(attack.first_call_ms),
            events: written.events_of(&attack.id),
        })
    };
    let change = |story: &Story| {
        let (change, at_ms) = story.change?;
        Some(Changely { change: change.name(), key: story.key.id().to_string(), at: at(at_ms) })
    };
    Summary {
        written,
        days: scenario.days(),
        keys: scenario.stories().len(),
        thefts: scenario.stories().iter().filter_map(theft).collect(),
        changes: scenario.stories().iter().filter_map(change).collect(),
    }
}

fn report(scenario: &Scenario, written: &Written) {
    let summary = summary(scenario, written);
    output::line(&format!(
        "{} events of {} keys in {} days, {} of them by thieves in {} thefts; {} changes on demand",
        written.events,
        summary.keys,
        summary.days,
        written.theft_events,
        summary.thefts.len(),
        summary.changes.len()
    ));
    for (what, path) in
        [("events", &written.files.events), ("truth", &written.files.truth), ("keys", &written.files.keys)]
    {
        output::line(&format!("{what:<7} {}", path.display()));
    }
}
