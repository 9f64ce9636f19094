//! `tokenwatch check`: what is wrong with configuration and state, before a server is started with them.

use std::process::ExitCode;

use serde_json::json;
use tokenwatch_model::ports::Clock as _;
use tokenwatch_network::Bundled;
use tokenwatch_respond::alert::route::{CHANNEL, ON_CALL};

use crate::adapters::SystemClock;
use crate::alerts::Desk;
use crate::config::Config;
use crate::load::load;
use crate::state::open_store;
use crate::{Common, build, fleet_rates, output};

/// `tokenwatch check …`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Look at the configuration only, not at the state directory
    #[arg(long)]
    config_only: bool,
}

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    match load(common) {
        Ok(loaded) => {
            let config = &loaded.config;
            if config.providers.is_empty() {
                errors.push("no provider is configured: set OPENAI_API_KEY or ANTHROPIC_API_KEY, or write a [[provider]] section".to_owned());
            }
            for provider in &config.providers {
                for reference in &provider.credentials {
                    if let Err(error) = build::read_secret(reference) {
                        errors.push(format!("provider {}: {error:#}", provider.name));
                    }
                }
            }
            errors.extend(build::server_tls(config).err().map(|error| format!("{error:#}")));
            errors.extend(build::address_tables(config).err().map(|error| format!("{error:#}")));
            errors.extend(fleet_rates::tables(config).err().map(|error| format!("{error:#}")));
            if !config.server.listen.ip().is_loopback() && config.server.tls_certificate.is_none() {
                warnings.push(format!("[server] listen {} is not loopback and TLS is off: keys cross the network in the clear unless something in front ends TLS", config.server.listen));
            }
            if !config.admin.listen.ip().is_loopback() {
                warnings.push(format!(
                    "[admin] listen {} is not loopback: the admin API has no TLS of its own",
                    config.admin.listen
                ));
            }
            check_alerts(config, &mut errors, &mut warnings);
            let bundled = Bundled::new();
            let own_tables =
                config.network.country_database.is_some() && config.network.asn_database.is_some();
            if !own_tables && bundled.is_stale(SystemClock.now()) {
                warnings.push(format!("the bundled address table is of {} and older than 90 days: set [network] country_database and asn_database", bundled.date()));
            }
        }
        Err(error) => errors.push(format!("{error:#}")),
    }
    if !args.config_only {
        check_state(common, &mut errors);
        warnings.extend(check_owners(common));
    }
    if common.json {
        output::json(&json!({ "errors": errors, "warnings": warnings }))?;
    } else {
        errors.iter().for_each(|error| output::line(&format!("error: {error}")));
        warnings.iter().for_each(|warning| output::line(&format!("warning: {warning}")));
        if errors.is_empty() {
            output::line("ok");
        }
    }
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// Whether every destination can be reached as far as it is known here, and whether everybody is told.
fn check_alerts(config: &Config, errors: &mut Vec<String>, warnings: &mut Vec<String>) {
    let desk = Desk::new(config, None);
    for (name, ready) in &desk.destinations {
        if let Err(error) = ready.way() {
            errors.push(format!("[alerts.destination.{name}] {error:#}"));
        }
    }
    if desk.routes.is_empty() {
        warnings.push("no [[alerts.route]] is configured: nobody is told of incidents".to_owned());
    }
}

/// Owners whom a route would page, and who name no destination. What can not be read is told elsewhere.
fn check_owners(common: &Common) -> Vec<String> {
    let dir = common.state_dir();
    let (true, Ok(loaded)) = (dir.exists(), load(common)) else { return Vec::new() };
    let alerts = &loaded.config.alerts;
    let uses = |name: &str| alerts.routes.iter().any(|route| route.to.iter().any(|to| to == name));
    let owners = open_store(&dir).and_then(|store| Ok(store.owners()?)).unwrap_or_default();
    let mut warnings = Vec::new();
    let is_known = |name: &str| owners.iter().any(|owner| owner.name == name);
    for name in alerts.billing.owner_caps.keys().filter(|name| !is_known(name)) {
        warnings.push(format!(
            "[alerts.billing] owner_caps: there is no owner {name:?}, so that cap caps nothing; `tokenwatch owner list` shows all"
        ));
    }
    for owner in owners {
        for (stands_for, names) in [(ON_CALL, &owner.on_call), (CHANNEL, &owner.channel)] {
            if uses(stands_for) && !alerts.destinations.contains_key(names) {
                warnings.push(format!(
                    "owner {}: routes to {stands_for} pass it over, because {names:?} is no [alerts.destination]",
                    owner.name
                ));
            }
        }
    }
    warnings
}

fn check_state(common: &Common, errors: &mut Vec<String>) {
    let dir = common.state_dir();
    // Looking must not create anything.
    if !dir.exists() {
        return;
    }
    match open_store(&dir).and_then(|store| Ok(store.verify_audit()?)) {
        Ok(report) if report.is_whole() => {}
        Ok(report) => errors.push(format!("the audit log was altered after {} entries", report.rows)),
        Err(error) => errors.push(format!("{error:#}")),
    }
}
