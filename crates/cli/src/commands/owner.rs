//! `tokenwatch owner`: teams and services with people to page.

use std::process::ExitCode;

use tokenwatch_console::manage::{Manager, OwnerSpec};
use tokenwatch_model::SmolStr;

use super::key::compact;
use super::policy_args::PolicyArgs;
use super::{manager, who};
use crate::{Common, output};

/// `tokenwatch owner …`
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// Register an owner
    Add(Box<AddArgs>),
    /// List owners
    List,
    /// Show an owner and its keys
    Show {
        /// Name or id
        owner: String,
    },
    /// Change an owner, or what its keys inherit
    Edit(Box<EditArgs>),
}

/// `tokenwatch owner add …`
#[derive(clap::Args)]
pub(crate) struct AddArgs {
    /// Unique short name, such as search-team
    #[arg(long)]
    name: SmolStr,
    /// Who is paged: a rota, an e-mail address
    #[arg(long)]
    on_call: SmolStr,
    /// Chat channel
    #[arg(long, default_value = "")]
    channel: SmolStr,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// `tokenwatch owner edit …`
#[derive(clap::Args)]
pub(crate) struct EditArgs {
    /// Name or id
    owner: String,
    /// Who is paged
    #[arg(long)]
    on_call: Option<SmolStr>,
    /// Chat channel
    #[arg(long)]
    channel: Option<SmolStr>,
    /// Forget the owner's defaults first
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    policy: PolicyArgs,
}

pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let manager = manager(common)?;
    match args {
        Args::Add(args) => {
            let mut spec = OwnerSpec {
                name: args.name,
                on_call: args.on_call,
                channel: args.channel,
                ..OwnerSpec::default()
            };
            args.policy.apply(&mut spec.defaults);
            let owner = manager.add_owner(spec, &who())?;
            if common.json {
                // Read again: its revision is a new one.
                output::json(&manager.find_owner(&owner.id.to_string())?)?;
            } else {
                output::say(&format!("{} ({}) is registered", owner.name, owner.id));
            }
        }
        Args::List => list(common, &manager)?,
        Args::Show { owner } => show(common, &manager, &owner)?,
        Args::Edit(args) => {
            let args = *args;
            let owner = manager.edit_owner(&args.owner, &who(), |owner| {
                if args.reset {
                    owner.defaults = Default::default();
                }
                args.policy.apply(&mut owner.defaults);
                owner.on_call = args.on_call.unwrap_or_else(|| owner.on_call.clone());
                owner.channel = args.channel.unwrap_or_else(|| owner.channel.clone());
            })?;
            if common.json {
                // Read again: its revision is a new one.
                output::json(&manager.find_owner(&owner.id.to_string())?)?;
            } else {
                output::say(&format!("{} is changed; its keys follow within a second", owner.name));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(common: &Common, manager: &Manager) -> anyhow::Result<()> {
    let owners = manager.records.owners()?;
    if common.json {
        return output::json(&owners);
    }
    if owners.is_empty() {
        output::say("There is no owner yet. `tokenwatch owner add --name NAME --on-call WHO` registers one.");
        return Ok(());
    }
    let keys = manager.records.keys()?;
    let rows: Vec<Vec<String>> = owners
        .iter()
        .map(|owner| {
            let count = keys.iter().filter(|stored| stored.key.owner == Some(owner.id)).count();
            vec![owner.name.to_string(), owner.id.to_string(), owner.on_call.to_string(), count.to_string()]
        })
        .collect();
    output::line(&output::table(&["NAME", "ID", "ON CALL", "KEYS"], &rows));
    Ok(())
}

fn show(common: &Common, manager: &Manager, name: &str) -> anyhow::Result<()> {
    let owner = manager.find_owner(name)?;
    if common.json {
        return output::json(&owner);
    }
    output::line(&format!("{} ({})", owner.name, owner.id));
    output::line(&format!("  on call   {}", owner.on_call));
    output::line(&format!("  channel   {}", if owner.channel.is_empty() { "-" } else { &owner.channel }));
    output::line(&format!("  defaults  {}", serde_json::to_string(&compact(&owner.defaults)?)?));
    let now = manager.clock.now();
    for stored in manager.records.keys()? {
        if stored.key.owner == Some(owner.id) {
            output::line(&format!(
                "  key       {} ({}), {}",
                stored.key.name,
                stored.key.id,
                stored.key.state_at(now)
            ));
        }
    }
    Ok(())
}
