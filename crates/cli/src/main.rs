//! The binary `tokenwatch`: one module per command. Data goes to standard output, messages to standard error.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 found something wrong (`check`, `demo`,
//! `drill`, `incident persistence`), 130 interrupted again while it
//! shut down (`serve`).

mod adapters;
mod admin_api;
mod alerts;
mod app;
mod billing;
mod build;
mod commands;
mod config;
mod fleet_rates;
mod handover;
mod load;
mod mock;
mod output;
mod providers;
mod rebuild;
mod saver;
mod sockets;
mod state;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Guards LLM API keys: a gateway that notices when a key is stolen and stops the thief while the owner works on.
#[derive(Parser)]
#[command(name = "tokenwatch", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(clap::Args, Clone)]
pub(crate) struct Common {
    /// Folder with keys, incidents, events and what was learned [default: $XDG_DATA_HOME/tokenwatch or
    /// ~/.local/share/tokenwatch]
    #[arg(long, global = true, env = "TOKENWATCH_STATE_DIR", value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Configuration file; without one, OPENAI_API_KEY and ANTHROPIC_API_KEY in the environment are enough
    #[arg(long, global = true, env = "TOKENWATCH_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Common {
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(state::default_dir)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway and the admin API
    Serve(commands::serve::Args),
    /// Check the configuration and the state, and say what is wrong
    Check(commands::check::Args),
    /// Issue, list, show, change and end virtual keys
    #[command(subcommand)]
    Key(commands::key::Args),
    /// Register owners: teams and services with people to page
    #[command(subcommand)]
    Owner(commands::owner::Args),
    /// Show providers, their credentials and prices
    #[command(subcommand)]
    Provider(commands::provider::Args),
    /// List, show and close incidents
    #[command(subcommand)]
    Incident(commands::incident::Args),
    /// Say beforehand that a new network, client or prompt on a key will be you
    #[command(subcommand)]
    Context(commands::context::Args),
    /// See, test and steer who is told of incidents
    #[command(subcommand)]
    Alert(commands::alert::Args),
    /// Suppress alerts that are expected, for a while
    #[command(subcommand)]
    Suppression(commands::suppression::Args),
    /// Say which alerts would have fired under other settings, from the events that are kept; changes nothing
    DryRun(commands::dry_run::Args),
    /// Propose budgets and alarm thresholds from real spend, and say what is over them
    #[command(subcommand)]
    Spend(commands::spend::Args),
    /// Watch keys live: rates, spend, newcomers, containments
    Top(commands::top::Args),
    /// Issue, list and revoke tokens of the admin API
    #[command(subcommand)]
    Admin(commands::admin::Args),
    /// Rehearse thefts of a key on the running server, and check that everything works that has to
    #[command(subcommand)]
    Drill(commands::drill::Args),
    /// Steal a key and watch it be contained: real traffic, real gateway, no provider needed
    Demo(commands::demo::Args),
    /// Measure how good detection is: thefts on simulated fleets, or events of your own
    Evaluate(Box<commands::evaluate::Args>),
    /// Write a labelled data set of keys, thefts and harmless changes, to try a detector with
    Simulate(commands::simulate::Args),
    /// Show and verify the audit log
    #[command(subcommand)]
    Audit(commands::audit::Args),
    /// Print a completion script for a shell
    Completions(commands::completions::Args),
    /// Run the built-in mock provider, for tests
    #[command(hide = true)]
    MockProvider(commands::mock_provider::Args),
}

fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    let result = match command {
        Command::Serve(args) => commands::serve::run(&common, &args),
        Command::Check(args) => commands::check::run(&common, &args),
        Command::Key(args) => commands::key::run(&common, args),
        Command::Owner(args) => commands::owner::run(&common, args),
        Command::Provider(args) => commands::provider::run(&common, &args),
        Command::Incident(args) => commands::incident::run(&common, args),
        Command::Context(args) => commands::context::run(&common, args),
        Command::Alert(args) => commands::alert::run(&common, args),
        Command::Suppression(args) => commands::suppression::run(&common, args),
        Command::DryRun(args) => commands::dry_run::run(&common, &args),
        Command::Spend(args) => commands::spend::run(&common, &args),
        Command::Top(args) => commands::top::run(&common, &args),
        Command::Admin(args) => commands::admin::run(&common, args),
        Command::Drill(args) => commands::drill::run(&common, &args),
        Command::Demo(args) => commands::demo::run(&common, &args),
        Command::Evaluate(args) => commands::evaluate::run(&common, &args),
        Command::Simulate(args) => commands::simulate::run(&common, &args),
        Command::Audit(args) => commands::audit::run(&common, &args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::MockProvider(args) => commands::mock_provider::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}
