//! `tokenwatch alert`: who is told of incidents and billing alarms, whether it arrives, and what waits.

use std::process::ExitCode;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokenwatch_console::alerts::{DeliveryOut, MessageOut, Named, Snooze, SnoozeSpec, TestSpec, Tried};
use tokenwatch_console::billing::{SpenderSnooze, SpenderSnoozeSpec};
use tokenwatch_console::manage::Manager;
use tokenwatch_model::SmolStr;
use tokenwatch_model::alert::{Delivery, DeliveryState};
use tokenwatch_model::time::{SECOND, Timestamp, human_span};
use tokenwatch_respond::words::{clean, clock};

use super::{manager, who};
use crate::alerts::Desk;
use crate::alerts::host::Host;
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
        /// Only those about this incident
        #[arg(long, value_name = "ID")]
        incident: Option<String>,
        /// Only those about this billing alarm
        #[arg(long, value_name = "ID", conflicts_with = "incident")]
        alarm: Option<String>,
    },
    /// Show one delivery and what it says
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
        key: Option<SmolStr>,
    },
    /// Say that you are on an incident: nobody else is called
    Ack {
        /// Id
        incident: String,
    },
    /// Keep back everything about an incident for a while: nothing is lost, it comes afterwards. Or raise no billing alarm
    /// about a key, owner or provider meanwhile
    Snooze {
        #[command(flatten)]
        whom: Whom,
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

/// What is snoozed.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Whom {
    /// Id of an incident
    incident: Option<String>,
    /// Name of a key: no alarm about its spend
    #[arg(long, value_name = "NAME")]
    key: Option<SmolStr>,
    /// Name of an owner: no alarm about the spend of its keys together
    #[arg(long, value_name = "NAME")]
    owner: Option<SmolStr>,
    /// Name of a provider: no alarm about the spend there
    #[arg(long, value_name = "NAME")]
    provider: Option<SmolStr>,
}

/// Most deliveries listed.
const LIST_MAX: u32 = 1_000;

pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let manager = manager(common)?;
    match args {
        Args::List { all, incident, alarm } => {
            let about = Named { incident: incident.as_deref(), alarm: alarm.as_deref() };
            list(common, &manager, all, about)?;
        }
        Args::Show { delivery } => show(common, &manager, &delivery.to_string())?,
        Args::Test { name, key } => return test(common, &manager, &TestSpec { name, key }),
        Args::Ack { incident } => {
            manager.acknowledge(&incident, &who())?;
            output::say(&format!("{incident} is yours: nobody else is called"));
        }
        Args::Snooze { whom, r#for } => snooze(&manager, whom, r#for)?,
        Args::Retry { delivery } => {
            let count = match delivery {
                Some(delivery) => manager.retry_delivery(&delivery.to_string(), &who()).map(|_| 1)?,
                None => manager.retry_deliveries(&who())?,
            };
            output::say(&format!("deliveries that are tried now: {count}; the server does it"));
        }
        Args::Drop { delivery, reason } => {
            manager.drop_delivery(&delivery.to_string(), &reason, &who())?;
            output::say(&format!("delivery {delivery} is given up"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(common: &Common, manager: &Manager, all: bool, about: Named<'_>) -> anyhow::Result<()> {
    let deliveries = manager.deliveries(all, about, LIST_MAX)?;
    if common.json {
        return output::json(&deliveries);
    }
    if deliveries.is_empty() {
        let none = if all { "No alert was sent in the last 30 days." } else { "No alert waits." };
        output::say(none);
        return Ok(());
    }
    let now = manager.clock.now();
    let row = |delivery: &Delivery| {
        vec![
            delivery.id.to_string(),
            state(delivery, now),
            delivery.subject.to_string(),
            delivery.cause.name().to_owned(),
            delivery.destination.to_string(),
            delivery.attempts.to_string(),
            clean(&delivery.error),
        ]
    };
    let rows: Vec<Vec<String>> = deliveries.iter().map(row).collect();
    output::line(&output::table(&["NR", "STATE", "ABOUT", "WHAT", "TO", "TRIES", "LAST ERROR"], &rows));
    Ok(())
}

fn state(delivery: &Delivery, now: Timestamp) -> String {
    match (delivery.state, delivery.due.since(now)) {
        (DeliveryState::Pending, 0) => "due".to_owned(),
        (DeliveryState::Pending, wait) => format!("in {}", human_span(wait)),
        (state, _) => state.name().to_owned(),
    }
}

fn show(common: &Common, manager: &Manager, number: &str) -> anyhow::Result<()> {
    let whole = match host(common) {
        Ok(host) => manager.delivery_whole(&host, number)?,
        Err(error) => {
            output::say(&format!("its message is not shown: {error:#}"));
            DeliveryOut { delivery: manager.find_delivery(number)?, message: None }
        }
    };
    if common.json {
        return output::json(&whole);
    }
    let DeliveryOut { delivery, message } = whole;
    let ended = delivery.ended.map_or_else(|| "not yet".to_owned(), clock);
    let facts = [
        (delivery.subject.kind(), delivery.subject.to_string()),
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
    if let Some(message) = message {
        print_message(&message)?;
    }
    Ok(())
}

/// The message, readable: JSON is spread over lines.
fn print_message(message: &MessageOut) -> anyhow::Result<()> {
    output::line("");
    if let Some(subject) = &message.subject {
        output::line(&clean(subject));
    }
    let spread = match serde_json::from_str::<serde_json::Value>(&message.text) {
        Ok(json) => serde_json::to_string_pretty(&json)?,
        Err(_) => message.text.clone(),
    };
    spread.lines().for_each(|line| output::line(&clean(line)));
    Ok(())
}

fn snooze(manager: &Manager, whom: Whom, span: u64) -> anyhow::Result<()> {
    let seconds = Some(span.div_ceil(SECOND));
    let Whom { incident, key, owner, provider } = whom;
    if let Some(incident) = incident {
        let spec = SnoozeSpec { until: None, seconds };
        let Snooze { incident, until } = manager.snooze(&incident, &spec, &who())?;
        output::say(&match until {
            Some(until) => {
                format!("nothing about {incident} is sent before {}; then all of it", clock(until))
            }
            None => format!("what waits about {incident} is sent now"),
        });
        return Ok(());
    }
    let spec = SpenderSnoozeSpec { key, owner, provider, until: None, seconds };
    let SpenderSnooze { spender, until } = manager.snooze_spender(&spec, &who())?;
    output::say(&match until {
        Some(until) => {
            format!(
                "no alarm about the spend of {spender} before {}; what is over then is told then",
                clock(until)
            )
        }
        None => format!("alarms about the spend of {spender} are raised again"),
    });
    Ok(())
}

/// What the server would send with, made of the configuration that it would read.
fn host(common: &Common) -> anyhow::Result<Host> {
    let desk = Desk::new(&load(common)?.config, None);
    Ok(Host { desk: Arc::new(ArcSwap::from_pointee(desk)), store: open_store(&common.state_dir())? })
}

fn test(common: &Common, manager: &Manager, spec: &TestSpec) -> anyhow::Result<ExitCode> {
    let results = manager.test_alert(&host(common)?, spec, &who())?;
    if common.json {
        output::json(&results)?;
    } else {
        for Tried { destination, error } in &results {
            let how =
                error.as_ref().map_or_else(|| "taken".to_owned(), |error| format!("NOT taken: {error}"));
            output::line(&format!("{destination}: {how}"));
        }
    }
    let is_taken = results.iter().all(|to| to.error.is_none());
    Ok(if is_taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
