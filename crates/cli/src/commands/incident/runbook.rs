//! `tokenwatch incident runbook` and `step`: what is to be done about an incident, by whom and by when, and ticking it off.

use anyhow::Context as _;
use serde_json::json;
use tokenwatch_console::cases::Case;
use tokenwatch_console::manage::Manager;
use tokenwatch_console::runbooks::Word;
use tokenwatch_respond::ResponsePolicy;
use tokenwatch_respond::runbook::{self, Created, Step, Tick};
use tokenwatch_respond::words::{clean, count, key_name};
use tokenwatch_store::{Archive, Filter};

use super::super::who;
use crate::load::load;
use crate::state::open_store;
use crate::{Common, output};

/// `tokenwatch incident step …`
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("word").required(true).args(["done", "skip", "open"])))]
pub(crate) struct StepArgs {
    /// Id of the incident
    incident: String,
    /// Id of the step, as `incident runbook` shows it
    step: String,
    /// It was done
    #[arg(long)]
    done: bool,
    /// It is not needed; the note says why
    #[arg(long, requires = "note")]
    skip: bool,
    /// Take back what was said of it
    #[arg(long)]
    open: bool,
    /// What whoever reviews the incident should know
    #[arg(long, default_value = "")]
    note: String,
}

pub(super) fn show(common: &Common, manager: &Manager, id: &str) -> anyhow::Result<()> {
    let policy = load(common)?.config.containment;
    let case = manager.case(id)?;
    let (created, unreadable) = read_created(common, &case)?;
    let steps = manager.runbook(&policy, &case, Some(created));
    let now = manager.clock.now();
    if common.json {
        let incident = case.incident_at(now);
        return output::json(&json!({
            "incident": incident.id, "key": case.key.id, "state": incident.state.name(), "opened": incident.opened,
            "created": created, "unreadable": unreadable, "steps": steps,
        }));
    }
    if unreadable > 0 {
        output::say(&format!("warning: {} could not be read", count(unreadable, "file or row of events")));
    }
    output::line(&format!("{} on {}", case.incident.id, key_name(&case.key)));
    output::line(&format!("{}\n", runbook::summary(&steps, now)));
    output::line(runbook::describe(&steps, now).trim_end());
    Ok(())
}

pub(super) fn tick(common: &Common, manager: &Manager, args: &StepArgs) -> anyhow::Result<()> {
    let policy = load(common)?.config.containment;
    let tick = match (args.done, args.skip) {
        (true, _) => Tick::Done,
        (false, true) => Tick::Skip,
        (false, false) => Tick::Open,
    };
    let word = Word { step: &args.step, tick, note: &args.note };
    manager.tick(&policy, &args.incident, word, &who())?;
    let steps = short(manager, &policy, &manager.case(&args.incident)?);
    if common.json {
        return output::json(&json!({ "steps": steps }));
    }
    let state = steps.iter().find(|step| step.id == args.step).map_or("", |step| step.state.name());
    output::say(&format!("{} is {state}", clean(&args.step)));
    output::say(&runbook::summary(&steps, manager.clock.now()));
    Ok(())
}

/// The steps without what only the events tell.
pub(super) fn short(manager: &Manager, policy: &ResponsePolicy, case: &Case) -> Vec<Step> {
    manager.runbook(policy, case, None)
}

/// What the gateway forwarded for the incident's strangers to where things are created that outlive a key; and how many
/// files or rows could not be read.
fn read_created(common: &Common, case: &Case) -> anyhow::Result<(Created, u64)> {
    let contexts = case.strangers();
    let mut created = Created::default();
    let mut unreadable = 0;
    if contexts.is_empty() {
        return Ok((created, unreadable));
    }
    let store = open_store(&common.state_dir())?;
    let filter = Filter { key: Some(case.key.id), from: Some(case.incident.first_seen), ..Filter::default() };
    let events = Archive::new(&store.archive_dir())
        .events(Some(&store.journal_dir()), filter)
        .context("the events that are kept can not be read")?;
    for event in events {
        let Ok(event) = event else {
            unreadable += 1;
            continue;
        };
        if event.outcome.was_forwarded() && contexts.iter().any(|context| context.matches(&event.request)) {
            created.count(event.request.endpoint);
        }
    }
    Ok((created, unreadable))
}
