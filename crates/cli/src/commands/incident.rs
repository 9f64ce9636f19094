//! `tokenwatch incident`: what happened, why, what was done, and what to do next.

mod persistence;
mod runbook;

use std::process::ExitCode;

use serde_json::json;
use tokenwatch_console::manage::Manager;
use tokenwatch_console::records::RecordsError;
use tokenwatch_gateway::live::KeyCheckpoint;
use tokenwatch_model::containment::Action;
use tokenwatch_model::id::{IncidentId, KeyId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::ports::StateSource as _;
use tokenwatch_model::time::{Timestamp, human_span};
use tokenwatch_respond::times::Spans;
use tokenwatch_respond::{Effects, Normal, Plan, describe, one_line};
use tokenwatch_store::Store;

use super::{manager, who};
use crate::load::load;
use crate::state::open_store;
use crate::{Common, output};

/// `tokenwatch incident …`
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// List incidents that somebody still has to look at
    List {
        /// Closed ones and suppressed alerts too
        #[arg(long)]
        all: bool,
    },
    /// Tell an incident's story: what happened, how sure and why, what was done, what it cost, what to press
    Show {
        /// Id
        incident: String,
    },
    /// Say how quickly thefts were found, contained and closed
    Times {
        /// Of incidents that were opened in this span until now, such as 30d
        #[arg(long, value_name = "SPAN", default_value = "30d", value_parser = super::key::parse_span_arg)]
        last: u64,
    },
    /// Close an incident as a theft
    Resolve {
        /// Id
        incident: String,
        /// Lift its containments now, instead of letting them expire
        #[arg(long)]
        lift: bool,
    },
    /// Close an incident as "it was us": lift everything and trust the context
    Dismiss {
        /// Id
        incident: String,
    },
    /// Carry out a step that was proposed
    Approve {
        /// Id
        incident: String,
        /// Which: watch, clamp, refuse_context, suspend or revoke
        #[arg(required_unless_present = "dry_run")]
        action: Option<String>,
        /// Show the plan and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Add a line to an incident's story
    Note {
        /// Id
        incident: String,
        /// Text
        text: String,
    },
    /// Show every step of an incident's runbook: its state, who does it, what to press, by when
    Runbook {
        /// Id
        incident: String,
    },
    /// Ask the providers what was created there since the stranger came; exit code 3 when something is there
    Persistence(persistence::Args),
    /// Tick a step of the runbook off, or take that back
    Step(runbook::StepArgs),
    /// Bring back what was relaxed because nobody came back; it is not relaxed again
    Restore {
        /// Id
        incident: String,
    },
    /// Put a containment on a key by hand
    Contain(ContainArgs),
    /// Lift one containment
    Lift {
        /// Id, as `key show` lists it
        containment: String,
    },
}

/// `tokenwatch incident contain …`
#[derive(clap::Args)]
pub(crate) struct ContainArgs {
    /// Name or id of the key
    key: String,
    /// What to do: watch, suspend or revoke
    #[arg(long, value_parser = ["watch", "suspend", "revoke"])]
    action: String,
    /// Why; whoever is paged next reads it
    #[arg(long)]
    reason: String,
    /// For how long, such as 4h; until lifted when not given
    #[arg(long, value_name = "SPAN", value_parser = super::key::parse_span_arg)]
    r#for: Option<u64>,
}

/// Most incidents listed.
const LIST_MAX: u32 = 1_000;
/// Most incidents that times are made of, the latest.
const TIMES_MAX: u32 = 100_000;

pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let manager = manager(common)?;
    match args {
        Args::List { all } => list(common, &manager, all)?,
        Args::Show { incident } => show(common, &manager, &incident)?,
        Args::Times { last } => times(common, &manager, last)?,
        Args::Resolve { incident, lift } => {
            done(common, "resolved", &manager.resolve(&incident, lift, &who())?)?
        }
        Args::Dismiss { incident } => {
            let policy = load(common)?.config.containment;
            done(common, "dismissed", &manager.dismiss(&policy, &incident, &who())?)?;
        }
        Args::Approve { incident, action, dry_run } => {
            let policy = load(common)?.config.containment;
            let store = open_store(&common.state_dir())?;
            let normal = |key| normal_of(&store, key);
            match action.filter(|_| !dry_run) {
                Some(action) => {
                    let effects = manager.approve(&policy, &normal, &incident, &action, &who())?;
                    done(common, "acted on", &effects)?;
                }
                None => show_plan(common, &manager.plan_again(&policy, &normal, &incident)?)?,
            }
        }
        Args::Runbook { incident } => runbook::show(common, &manager, &incident)?,
        Args::Persistence(args) => return persistence::run(common, &manager, args),
        Args::Step(args) => runbook::tick(common, &manager, &args)?,
        Args::Restore { incident } => done(common, "restored", &manager.restore(&incident, &who())?)?,
        Args::Note { incident, text } => done(common, "noted", &manager.note(&incident, &text, &who())?)?,
        Args::Contain(args) => {
            let action = match args.action.as_str() {
                "watch" => Action::Watch,
                "suspend" => Action::Suspend,
                _ => Action::Revoke,
            };
            let expires = args.r#for.map(|span| manager.clock.now().plus(span));
            done(common, "contained", &manager.contain(&args.key, action, &args.reason, expires, &who())?)?;
        }
        Args::Lift { containment } => done(common, "lifted", &manager.lift(&containment, &who())?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn times(common: &Common, manager: &Manager, last: u64) -> anyhow::Result<()> {
    let now = manager.clock.now();
    let incidents = manager.incidents(false, None, TIMES_MAX)?;
    let times = tokenwatch_respond::times::times(&incidents, Timestamp(now.0.saturating_sub(last)), now);
    if common.json {
        return output::json(&times);
    }
    if times.incidents == 0 {
        output::say(&format!("No incident was opened in the last {}.", human_span(last)));
        return Ok(());
    }
    output::line(&format!(
        "{} incidents in the last {}: {} closed as thefts, {} as \"it was us\", {} still open",
        times.incidents,
        human_span(last),
        times.thefts,
        times.dismissed,
        times.open
    ));
    let row = |what: &str, spans: &Spans| -> Vec<String> {
        let span = |us| if spans.count == 0 { "–".to_owned() } else { human_span(us) };
        let spans_of = [spans.median_us, spans.mean_us, spans.p90_us, spans.worst_us].map(span);
        [what.to_owned(), spans.count.to_string()].into_iter().chain(spans_of).collect()
    };
    let rows = [
        row("first request to finding", &times.to_detect),
        row("finding to containment", &times.to_contain),
        row("finding to close", &times.to_resolve),
        row("thief's time on the key", &times.dwell),
    ];
    output::line(&output::table(&["", "OF", "MEDIAN", "MEAN", "90 %", "LONGEST"], &rows));
    output::line(&format!(
        "Strangers: {} requests forwarded for {}, {} refused.",
        times.requests_forwarded,
        NanoUsd(times.cost_nano_usd),
        times.requests_refused
    ));
    Ok(())
}

/// What a key usually does, as its last checkpoint knows it: a clamp is made from it.
fn normal_of(store: &Store, key: KeyId) -> Result<Option<Normal>, RecordsError> {
    let unavailable = |error: &dyn std::fmt::Display| RecordsError::Unavailable(error.to_string());
    match store.load(key).map_err(|error| unavailable(&error))? {
        Some(bytes) => KeyCheckpoint::normal(&bytes).map_err(|error| unavailable(&error)),
        None => Ok(None),
    }
}

fn list(common: &Common, manager: &Manager, all: bool) -> anyhow::Result<()> {
    let incidents = manager.incidents(!all, None, LIST_MAX)?;
    if common.json {
        return output::json(&incidents);
    }
    let suppressed = if all { manager.suppressed(None, LIST_MAX)? } else { Vec::new() };
    if incidents.is_empty() {
        output::say(if all { "There was no incident yet." } else { "No incident is open." });
    }
    let now = manager.clock.now();
    for incident in &incidents {
        output::line(&one_line(incident, now));
    }
    for alert in &suppressed {
        output::line(&super::suppression::one_line(manager, alert)?);
    }
    Ok(())
}

fn show(common: &Common, manager: &Manager, id: &str) -> anyhow::Result<()> {
    let case = manager.case(id)?;
    let now = manager.clock.now();
    let incident = case.incident_at(now);
    let steps = runbook::short(manager, &load(common)?.config.containment, &case);
    if common.json {
        let containments: Vec<_> =
            case.containments.iter().filter(|c| c.incident == Some(incident.id)).collect();
        return output::json(&json!({
            "incident": incident, "key": case.key, "owner": case.owner, "containments": containments,
            "runbook": steps,
        }));
    }
    output::line(describe(&incident, &case.key, case.owner.as_ref(), &steps, now).trim_end());
    Ok(())
}

fn show_plan(common: &Common, plan: &Plan) -> anyhow::Result<()> {
    if common.json {
        return output::json(plan);
    }
    output::line(plan.to_string().trim_end());
    Ok(())
}

fn done(common: &Common, what: &str, effects: &Effects) -> anyhow::Result<()> {
    if common.json {
        return output::json(effects);
    }
    let incident: Option<IncidentId> = effects.incident.as_ref().map(|incident| incident.id);
    let subject = incident.map_or_else(|| "no incident".to_owned(), |id| id.to_string());
    if effects.containments.is_empty() {
        output::say(&format!("{what} ({subject})"));
        return Ok(());
    }
    output::say(&format!(
        "{what} ({subject}); {} changed; a running server knows within a second",
        tokenwatch_respond::words::count(effects.containments.len() as u64, "containment")
    ));
    Ok(())
}
