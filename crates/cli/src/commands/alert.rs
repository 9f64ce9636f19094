//! `tokenwatch alert`: who is told of incidents, whether it arrives, and what waits.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use tokenwatch_console::manage::Manager;
use tokenwatch_model::SmolStr;
use tokenwatch_model::alert::{AlertCause, Delivery, DeliveryState};
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::id::IncidentId;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{Timestamp, human_span};
use tokenwatch_outside::send;
use tokenwatch_respond::alert::rehearsal;
use tokenwatch_respond::alert::route::{CHANNEL, ON_CALL};
use tokenwatch_respond::words::{clean, clock};
use tokenwatch_store::Store;

use super::{manager, who};
use crate::alerts::{Case, Desk, Sending};
use crate::load::load;
use crate::state::open_store;
use crate::{Common, output};

/// `tokenwatch alert …`
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// List deliveries that wait, latest first, with why the last try failed
    List {
        /// Those that were sent or given up, too
        #[arg(long)]
        all: bool,
    },
    /// Show one delivery
    Show {
        /// Number, as `alert list` shows it
        delivery: u64,
    },
    /// Send a harmless alert now, by a route or to a destination, and say whether it was taken
    Test {
        /// Name of a route or destination
        name: SmolStr,
        /// Stand in for this key, so that @on_call and @channel lead to its owner's
        #[arg(long)]
        key: Option<String>,
    },
    /// Say that you are on an incident: nobody else is called
    Ack {
        /// Id
        incident: String,
    },
    /// Keep back everything about an incident for a while; nothing is lost, it comes afterwards
    Snooze {
        /// Id
        incident: String,
        /// How long, such as 2h; 0s ends it
        #[arg(long, value_name = "SPAN", value_parser = super::key::parse_span_arg)]
        r#for: u64,
    },
    /// Try deliveries now that failed before
    Retry {
        /// Number; all that failed when not given
        delivery: Option<u64>,
    },
    /// Give one delivery up: it is never sent
    Drop {
        /// Number
        delivery: u64,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// Most deliveries listed.
const LIST_MAX: u32 = 1_000;

pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let manager = manager(common)?;
    let store = open_store(&common.state_dir())?;
    let now = manager.clock.now();
    match args {
        Args::List { all } => list(common, &store, all, now)?,
        Args::Show { delivery } => show(common, &store, delivery)?,
        Args::Test { name, key } => return test(common, &manager, &name, key.as_deref()),
        Args::Ack { incident } => {
            manager.acknowledge(&incident, &who())?;
            output::say(&format!("{incident} is yours: nobody else is called"));
        }
        Args::Snooze { incident, r#for } => snooze(&manager, &store, &incident, r#for)?,
        Args::Retry { delivery } => {
            let subject = delivery.map_or_else(|| "all".to_owned(), |id| id.to_string());
            let entry = entry("alert.retry", &subject, json!({}), now);
            let count = store.retry_deliveries(delivery, now, &entry)?;
            anyhow::ensure!(delivery.is_none() || count > 0, "delivery {subject} does not wait");
            output::say(&format!("deliveries that are tried now: {count}; the server does it"));
        }
        Args::Drop { delivery, reason } => {
            let entry = entry("alert.drop", &delivery.to_string(), json!({ "reason": clean(&reason) }), now);
            anyhow::ensure!(store.drop_delivery(delivery, now, &entry)?, "delivery {delivery} does not wait");
            output::say(&format!("delivery {delivery} is given up"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn entry(action: &'static str, subject: &str, detail: serde_json::Value, now: Timestamp) -> AuditEntry {
    AuditEntry {
        time: now,
        actor: who().into(),
        action: SmolStr::new_static(action),
        subject: subject.into(),
        detail: detail.to_string(),
    }
}

fn list(common: &Common, store: &Store, all: bool, now: Timestamp) -> anyhow::Result<()> {
    let deliveries = store.deliveries(all, LIST_MAX)?;
    if common.json {
        return output::json(&deliveries);
    }
    if deliveries.is_empty() {
        let none = if all { "No alert was sent in the last 30 days." } else { "No alert waits." };
        output::say(none);
        return Ok(());
    }
    let row = |delivery: &Delivery| {
        vec![
            delivery.id.to_string(),
            state(delivery, now),
            delivery.incident.to_string(),
            delivery.cause.name().to_owned(),
            delivery.destination.to_string(),
            delivery.attempts.to_string(),
            clean(&delivery.error),
        ]
    };
    let rows: Vec<Vec<String>> = deliveries.iter().map(row).collect();
    output::line(&output::table(&["NR", "STATE", "INCIDENT", "WHAT", "TO", "TRIES", "LAST ERROR"], &rows));
    Ok(())
}

fn state(delivery: &Delivery, now: Timestamp) -> String {
    match (delivery.state, delivery.due.since(now)) {
        (DeliveryState::Pending, 0) => "due".to_owned(),
        (DeliveryState::Pending, wait) => format!("in {}", human_span(wait)),
        (state, _) => state.name().to_owned(),
    }
}

fn show(common: &Common, store: &Store, id: u64) -> anyhow::Result<()> {
    let delivery = store.delivery(id)?.with_context(|| format!("there is no delivery {id}"))?;
    if common.json {
        return output::json(&delivery);
    }
    let ended = delivery.ended.map_or_else(|| "not yet".to_owned(), clock);
    let facts = [
        ("incident", delivery.incident.to_string()),
        ("what", delivery.cause.name().to_owned()),
        ("to", format!("{} (route {})", delivery.destination, delivery.route)),
        ("state", delivery.state.name().to_owned()),
        ("tries", delivery.attempts.to_string()),
        ("error", clean(&delivery.error)),
        ("waits since", clock(delivery.created)),
        ("not before", clock(delivery.due)),
        ("ended", ended),
    ];
    for (name, value) in facts {
        output::line(&format!("{name:<12} {value}"));
    }
    Ok(())
}

fn snooze(manager: &Manager, store: &Store, incident: &str, span: u64) -> anyhow::Result<()> {
    let case = manager.case(incident)?;
    let now = manager.clock.now();
    let until = now.plus(span);
    let id: IncidentId = case.incident.id;
    let detail = json!({ "until": until.to_string() });
    store.snooze(id, until, &entry("alert.snooze", &id.to_string(), detail, now))?;
    output::say(&format!("nothing about {id} is sent before {}; then all of it", clock(until)));
    Ok(())
}

fn test(common: &Common, manager: &Manager, name: &SmolStr, key: Option<&str>) -> anyhow::Result<ExitCode> {
    let desk = Desk::new(&load(common)?.config, None);
    let key = key.map(|key| manager.find_key(key)).transpose()?;
    let owner = match key.as_ref().and_then(|key| key.owner) {
        Some(id) => manager.records.owner(id)?,
        None => None,
    };
    let destinations = resolve(&desk, name, owner.as_ref())?;
    let id = IncidentId::from_bits(manager.random.next_u64());
    let now = manager.clock.now();
    let (stored, no_key) = rehearsal(id, name, &who(), now);
    let case = Case { key: key.unwrap_or(no_key), replacement: None, owner, containments: Vec::new() };
    let sending = Sending { now, random: manager.random.as_ref() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut results = Vec::new();
    for destination in destinations {
        let sent = desk.destinations.get(&destination).context("no such destination").and_then(|ready| {
            let (_, message) = desk.render((&destination, ready), &stored, AlertCause::Test, &case, &sending);
            Ok(runtime.block_on(send(&ready.way()?, &message, now))?)
        });
        results.push((destination, sent.err().map(|error| format!("{error:#}"))));
    }
    let is_taken = results.iter().all(|(_, error)| error.is_none());
    if common.json {
        let told = results.iter().map(|(to, error)| json!({ "destination": to, "error": error }));
        output::json(&told.collect::<Vec<_>>())?;
    } else {
        for (to, error) in &results {
            let how =
                error.as_ref().map_or_else(|| "taken".to_owned(), |error| format!("NOT taken: {error}"));
            output::line(&format!("{to}: {how}"));
        }
    }
    Ok(if is_taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The destinations of a route, or the one of that name.
fn resolve(desk: &Desk, name: &SmolStr, owner: Option<&Owner>) -> anyhow::Result<Vec<SmolStr>> {
    if let Some(route) = desk.routes.iter().find(|route| route.name == *name) {
        let mut found = Vec::new();
        for to in route.to.iter().chain(route.escalate.iter().flat_map(|step| &step.to)) {
            let to = match to.as_str() {
                ON_CALL => owner.map(|owner| owner.on_call.clone()),
                CHANNEL => owner.map(|owner| owner.channel.clone()),
                _ => Some(to.clone()),
            };
            let to = to.context("the route leads to the key's owner: name a key of one with --key")?;
            if !found.contains(&to) {
                found.push(to);
            }
        }
        return Ok(found);
    }
    if desk.destinations.contains_key(name) {
        return Ok(vec![name.clone()]);
    }
    let known: Vec<&str> = desk
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .chain(desk.destinations.keys().map(SmolStr::as_str))
        .collect();
    anyhow::bail!("no route or destination is named {name:?}; there are: {}", known.join(", "))
}
