//! `tokenwatch admin`: tokens of the people and programs that use the admin API.

use std::process::ExitCode;

use serde_json::json;
use tokenwatch_console::admins::{AdminSpec, IssuedAdmin};
use tokenwatch_console::manage::Manager;
use tokenwatch_console::records::{AdminToken, Role};
use tokenwatch_model::SmolStr;
use tokenwatch_model::time::Timestamp;

use super::key::parse_span_arg;
use super::{manager, who};
use crate::{Common, output};

/// `tokenwatch admin …`
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// Issue an admin token; it is shown once
    Issue(IssueArgs),
    /// List admin tokens
    List,
    /// End an admin token; a running server refuses it from the next request on
    Revoke {
        /// Name
        name: String,
    },
}

/// `tokenwatch admin issue …`
#[derive(clap::Args)]
pub(crate) struct IssueArgs {
    /// Unique name, which the audit log shows; one for each person or program
    #[arg(long)]
    name: SmolStr,
    /// What its holder may do: viewer (look), responder (also work on incidents and containments), admin (also
    /// change keys and owners)
    #[arg(long, value_parser = parse_role)]
    role: Role,
    /// Stop working after this time, such as 90d
    #[arg(long, value_name = "SPAN", value_parser = parse_span_arg)]
    expires_in: Option<u64>,
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| {
        let names = Role::ALL.map(Role::name);
        format!("there are {}", names.join(", "))
    })
}

pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let manager = manager(common)?;
    match args {
        Args::Issue(args) => issue(common, &manager, args)?,
        Args::List => list(common, &manager)?,
        Args::Revoke { name } => {
            manager.revoke_admin(&name, &who())?;
            if common.json {
                output::json(&json!({ "name": name, "state": "revoked" }))?;
            } else {
                output::say(&format!("{name} is revoked"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn issue(common: &Common, manager: &Manager, args: IssueArgs) -> anyhow::Result<()> {
    let expires = args.expires_in.map(|span| manager.clock.now().plus(span));
    let spec = AdminSpec { name: args.name, role: args.role, expires };
    let IssuedAdmin { token, secret } = manager.issue_admin(spec, &who())?;
    if common.json {
        return output::json_line(&json!({
            "token": secret.expose(), "name": token.name, "role": token.role,
            "expires": token.expires.map(|at| at.to_string()),
        }));
    }
    output::line(secret.expose());
    output::say(&format!(
        "\n{} is issued with the role {}. The line above is shown once: store it now.",
        token.name,
        token.role.name()
    ));
    Ok(())
}

fn list(common: &Common, manager: &Manager) -> anyhow::Result<()> {
    let now = manager.clock.now();
    let tokens = manager.admins()?;
    if common.json {
        return output::json(&tokens);
    }
    if tokens.is_empty() {
        output::say(
            "There is no admin token yet. `tokenwatch admin issue --name NAME --role ROLE` makes one.",
        );
        return Ok(());
    }
    let rows: Vec<Vec<String>> = tokens
        .iter()
        .map(|token| {
            let expires = token.expires.map_or_else(|| "never".to_owned(), |at| at.to_string());
            let role = token.role.name().to_owned();
            vec![
                token.name.to_string(),
                role,
                state(token, now).to_owned(),
                token.created.to_string(),
                expires,
            ]
        })
        .collect();
    output::line(&output::table(&["NAME", "ROLE", "STATE", "ISSUED", "EXPIRES"], &rows));
    Ok(())
}

fn state(token: &AdminToken, now: Timestamp) -> &'static str {
    match token.revoked {
        Some(_) => "revoked",
        None if token.is_usable(now) => "active",
        None => "expired",
    }
}
