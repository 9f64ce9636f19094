//! `tokenwatch dry-run`: which alerts the events that are kept would have raised, under other settings and those in
//! force. Reads the state directory as it is, beside a server that may be running, and changes nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokenwatch_console::manage::Manager;
use tokenwatch_detect::{Engine, FleetPriors};
use tokenwatch_evaluate::dry::{DryAlert, DryReport, DryRun, Fires, KeyCounts, Mark, Profiles, Under};
use tokenwatch_evaluate::replay::{Counted, Reorder};
use tokenwatch_gateway::registry::KeyEntry;
use tokenwatch_model::SmolStr;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::Feedback;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::key::Policy;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{DAY, HOUR, Timestamp};
use tokenwatch_respond::words::{clean, clock, count, rarity};
use tokenwatch_store::{Archive, Filter, Store};

use super::manager;
use crate::load::load;
use crate::state::open_store;
use crate::{Common, build, fleet_rates, output};

/// `tokenwatch dry-run …`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Days back from now on which alerts count; older events that are kept teach
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
    /// Propose so many false alarms a year and key, 0.01 to 365; without it, the settings in force are run alone
    #[arg(long, value_name = "N", value_parser = super::policy_args::parse_false_alarms)]
    false_alarms_per_key_year: Option<f64>,
    /// Propose the rates of honest newcomers that an earlier --write-fleet-rates counted
    #[arg(long, value_name = "FILE")]
    fleet_rates: Option<PathBuf>,
    /// Count how often this fleet's honest newcomers come on all days that are kept, and write that to a file for
    /// --fleet-rates here and fleet_rates in the configuration
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    write_fleet_rates: Option<PathBuf>,
    /// Only this key, by name or id
    #[arg(long)]
    key: Option<String>,
}

/// How far events of the archive may be out of order: it is sorted by hours.
const DISORDER: u64 = HOUR;
/// Alerts shown to a person.
const ROWS_MAX: usize = 50;

/// Everything that is printed.
#[derive(Serialize)]
struct Output<'a> {
    /// What is proposed.
    false_alarms_per_key_year: Option<f64>,
    /// Files or rows that could not be read.
    unreadable: u64,
    #[serde(flatten)]
    report: &'a DryReport,
}

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let manager = manager(common)?;
    let config = load(common)?.config;
    let key = args.key.as_deref().map(|key| manager.find_key(key)).transpose()?.map(|key| key.id);
    let keys = Keys::read(&manager, &config.defaults, key)?;
    let store = open_store(&common.state_dir())?;
    let now = manager.clock.now();
    let from = Timestamp(now.0.saturating_sub(u64::from(args.days) * DAY));
    let feedback: Vec<Feedback> = store
        .feedback_since(0)?
        .into_iter()
        .map(|row| row.feedback)
        .filter(|f| keys.names.contains_key(&f.key))
        .collect();
    let in_force = fleet_rates::tables(&config)?;
    let proposed = args.proposed(&keys, &in_force)?;
    let under = |(tables, profiles): (FleetPriors, Profiles)| Under {
        engine: Arc::new(Engine::new(build::engine_config(&config), tables)),
        profiles,
    };
    let in_force = under((in_force, keys.in_force.clone()));
    let counts = args.write_fleet_rates.is_some();
    let mut dry = DryRun::new(from, in_force, proposed.map(under), feedback, counts);
    let unreadable = replay(&store, &keys, key, now, &mut dry)?;
    if let (Some(path), Some(rates)) = (&args.write_fleet_rates, dry.rates()) {
        fleet_rates::write(path, rates)?;
    }
    let report = dry.finish();
    if unreadable > 0 {
        output::say(&format!(
            "warning: {} could not be read and were passed over",
            count(unreadable, "file or row")
        ));
    }
    if common.json {
        let rate = args.false_alarms_per_key_year;
        output::json(&Output { false_alarms_per_key_year: rate, unreadable, report: &report })?;
    } else {
        output::line(&describe(&report, args));
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// What is proposed: other rates, another budget, or both.
    fn proposed(
        &self,
        keys: &Keys,
        in_force: &FleetPriors,
    ) -> anyhow::Result<Option<(FleetPriors, Profiles)>> {
        if self.fleet_rates.is_none() && self.false_alarms_per_key_year.is_none() {
            return Ok(None);
        }
        let tables = match &self.fleet_rates {
            Some(path) => fleet_rates::read(path).context("--fleet-rates")?,
            None => in_force.clone(),
        };
        let profiles =
            self.false_alarms_per_key_year.map_or_else(|| keys.in_force.clone(), |rate| keys.proposed(rate));
        Ok(Some((tables, profiles)))
    }
}

/// The keys of a dry run.
struct Keys {
    names: HashMap<KeyId, SmolStr>,
    in_force: Profiles,
}

impl Keys {
    /// What is declared about keys and accepted on them, as a server would have it.
    fn read(manager: &Manager, defaults: &Policy, only: Option<KeyId>) -> anyhow::Result<Self> {
        let owners: HashMap<_, Owner> =
            manager.records.owners()?.into_iter().map(|owner| (owner.id, owner)).collect();
        let (mut names, mut in_force) = (HashMap::new(), HashMap::new());
        for stored in manager.records.keys()? {
            let key = &stored.key;
            if only.is_some_and(|only| only != key.id) {
                continue;
            }
            let mut policy = key.policy.clone();
            if let Some(owner) = key.owner.and_then(|owner| owners.get(&owner)) {
                policy = policy.or(&owner.defaults);
            }
            let entry = KeyEntry::new(&stored, Arc::new(policy.or(defaults)));
            names.insert(key.id, key.name.clone());
            in_force.insert(key.id, entry.profile);
        }
        Ok(Self { names, in_force })
    }

    /// The same keys with another false-alarm budget.
    fn proposed(&self, rate: f64) -> Profiles {
        let mut profiles = self.in_force.clone();
        profiles.values_mut().for_each(|profile| profile.false_alarms_per_year = rate);
        profiles
    }
}

/// Replays what is kept in the order of time; how many files or rows could not be read.
fn replay(
    store: &Store,
    keys: &Keys,
    key: Option<KeyId>,
    now: Timestamp,
    dry: &mut DryRun,
) -> anyhow::Result<u64> {
    let filter = Filter { key, ..Filter::default() };
    let archive = Archive::new(&store.archive_dir());
    let records = archive
        .events(Some(&store.journal_dir()), filter)
        .context("the events that are kept can not be read")?;
    let bar = hours_bar();
    let mut order: Reorder<UsageEvent> = Reorder::new(DISORDER);
    let (mut unreadable, mut first) = (0, None);
    let mut see = |event: UsageEvent| {
        let time = event.request.time;
        let first = *first.get_or_insert_with(|| {
            bar.set_length(now.since(time) / HOUR);
            time
        });
        bar.set_position(time.since(first) / HOUR);
        // Requests without a key of ours are nobody's.
        if let Some(name) = keys.names.get(&event.request.key) {
            dry.see(event, name);
        }
    };
    for record in records {
        match record {
            Ok(event) => order.push(event.request.time, event),
            Err(error) => {
                unreadable += 1;
                output::say(&format!("warning: {:#}", anyhow::Error::from(error)));
            }
        }
        while let Some(event) = order.pop(false) {
            see(event);
        }
    }
    while let Some(event) = order.pop(true) {
        see(event);
    }
    bar.finish_and_clear();
    Ok(unreadable)
}

/// A bar over hours of events, on standard error and only when that is a terminal.
fn hours_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("replaying {wide_bar} {pos}/{len} hours, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// The report for a person: how much is covered, what would have fired, what differs.
fn describe(report: &DryReport, args: &Args) -> String {
    let (Some(first), Some(last)) = (report.first, report.last) else {
        return "There are no events to replay yet: the archive and the journal hold none. Nothing was changed."
            .to_owned();
    };
    let mut parts = vec![format!(
        "{} from {} to {}; alerts count on {:.1} of the last {} days",
        count(report.events, "event"),
        clock(first),
        clock(last),
        report.days_covered,
        args.days
    )];
    if report.days_covered < f64::from(args.days) {
        parts.push(
            "Days that are not kept, and those that a key's first 24 hours touch, raise no alert here."
                .to_owned(),
        );
    }
    parts.push(headline(report, args));
    if !report.alerts.is_empty() {
        parts.push(alerts(&report.alerts));
        parts.push(keys(&report.keys, report.proposed.is_some()));
    }
    if report.alerts_left_out > 0 {
        parts.push(format!("{} more are only counted", report.alerts_left_out));
    }
    match (&report.fleet_rates, &args.write_fleet_rates) {
        (Some(rates), Some(path)) if rates.machine_key_days + rates.people_key_days > 0.0 => {
            parts.push(counted(rates, path));
        }
        _ => parts.push("Nothing was changed.".to_owned()),
    }
    parts.join("\n\n")
}

fn headline(report: &DryReport, args: &Args) -> String {
    let fired = |number: u64| match number {
        0 => "no alert would have fired".to_owned(),
        1 => "this 1 alert would have fired".to_owned(),
        n => format!("these {n} alerts would have fired"),
    };
    let budget = args.false_alarms_per_key_year.map(|rate| format!("{rate} false alarms a year and key"));
    let rates = args.fleet_rates.as_ref().map(|path| format!("the rates of {}", path.display()));
    let with: Vec<String> = budget.into_iter().chain(rates).collect();
    match report.proposed {
        Some(proposed) => {
            let of = |fires| report.alerts.iter().filter(|alert| alert.fires == fires).count();
            format!(
                "With {}, {}; under the settings in force {} ({} added, {} gone).",
                with.join(" and "),
                fired(proposed),
                report.in_force,
                of(Fires::Added),
                of(Fires::Gone)
            )
        }
        None => format!("Under the settings in force, {}.", fired(report.in_force)),
    }
}

/// What was counted, and what to do with it.
fn counted(counted: &Counted, path: &Path) -> String {
    let days = [counted.machine_key_days, counted.people_key_days];
    let text = fleet_rates::describe(days, counted.newcomers, &counted.differences);
    let file = path.display();
    format!(
        "This fleet's own rates, written to {file}: {text}\nWhat they change: tokenwatch dry-run --fleet-rates {file}. To judge \
         by them: [detection] fleet_rates = \"{file}\" in the configuration, and restart."
    )
}

fn alerts(alerts: &[DryAlert]) -> String {
    let row = |alert: &DryAlert| {
        let fires = match alert.fires {
            Fires::Both | Fires::InForce => "",
            Fires::Added => "added",
            Fires::Gone => "gone",
        };
        let marked = match alert.marked {
            None => "-",
            Some(Mark::Dismissed) => "dismissed",
            Some(Mark::Confirmed) => "confirmed",
        };
        vec![
            clock(alert.time),
            alert.key.to_string(),
            alert.tier.name().to_owned(),
            rarity(alert.once_in_days).unwrap_or_default(),
            fires.to_owned(),
            marked.to_owned(),
            clean(&alert.summary),
        ]
    };
    let rows: Vec<Vec<String>> = alerts.iter().take(ROWS_MAX).map(row).collect();
    let table = output::table(&["TIME", "KEY", "TIER", "HOW RARE", "DIFFERS", "MARKED", "WHAT"], &rows);
    match alerts.len().saturating_sub(ROWS_MAX) {
        0 => table,
        more => format!("{table}\n… and {more} more, all with --json"),
    }
}

fn keys(keys: &[KeyCounts], has_proposal: bool) -> String {
    let row = |key: &KeyCounts| {
        let mut row = vec![key.key.to_string(), key.in_force.to_string()];
        if has_proposal {
            row.extend([key.proposed.unwrap_or(0), key.added, key.gone].map(|number| number.to_string()));
        }
        row
    };
    let headings: &[&str] =
        if has_proposal { &["KEY", "IN FORCE", "PROPOSED", "ADDED", "GONE"] } else { &["KEY", "ALERTS"] };
    let rows: Vec<Vec<String>> = keys.iter().take(ROWS_MAX).map(row).collect();
    output::table(headings, &rows)
}
