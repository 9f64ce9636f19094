//! `tokenwatch context`: callers that are expected on a key, said before they call.

use std::process::ExitCode;

use serde_json::json;
use tokenwatch_console::manage::Manager;
use tokenwatch_model::SmolStr;
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::time::human_span;
use tokenwatch_respond::words::clean;

use super::suppression::ContextArgs;
use super::{manager, who};
use crate::{Common, output};

/// `tokenwatch context …`
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// Say that a new network, client or prompt on a key will be you: it is let in and becomes the key's own
    Allow(Box<AllowArgs>),
    /// List the contexts that people said are a key's own, while it holds
    List {
        /// Name or id of the key
        key: SmolStr,
    },
    /// End what was allowed before its time; what was learned meanwhile stays the key's own
    End {
        /// Name or id of the key
        key: SmolStr,
        #[command(flatten)]
        context: ContextArgs,
    },
}

/// `tokenwatch context allow …`
#[derive(clap::Args)]
pub(crate) struct AllowArgs {
    /// Name or id of the key
    key: SmolStr,
    /// How long, such as 4h; at most 90d
    #[arg(long, value_name = "SPAN", value_parser = super::key::parse_span_arg)]
    r#for: u64,
    /// Why; whoever looks next reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    context: ContextArgs,
}

pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let manager = manager(common)?;
    match args {
        Args::Allow(args) => allow(common, &manager, *args)?,
        Args::List { key } => list(common, &manager, &key)?,
        Args::End { key, context } => {
            let context = context.context().unwrap_or_default();
            let key = manager.end_context(&key, &context, &who())?;
            let what =
                format!("is allowed no longer on {}; a running server knows within a second", key.name);
            told(common, &json!({ "key": key.id, "name": key.name, "context": context }), &context, &what)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn allow(common: &Common, manager: &Manager, args: AllowArgs) -> anyhow::Result<()> {
    let context = args.context.context().unwrap_or_default();
    let until = manager.clock.now().plus(args.r#for);
    let key = manager.allow_context(&args.key, &context, until, &args.reason, &who())?;
    let said = json!({ "key": key.id, "name": key.name, "context": context, "until": until });
    let what = format!("is let in on {} until {until}; a running server knows within a second", key.name);
    told(common, &said, &context, &what)
}

fn told(common: &Common, said: &serde_json::Value, context: &ContextMatch, what: &str) -> anyhow::Result<()> {
    if common.json {
        return output::json(said);
    }
    output::say(&format!("{} {what}", clean(&context.to_string())));
    Ok(())
}

fn list(common: &Common, manager: &Manager, key: &str) -> anyhow::Result<()> {
    let (key, allowed) = manager.contexts(key)?;
    if common.json {
        let row = |allowed: &tokenwatch_respond::allowance::Allowed| json!({ "context": allowed.context, "since": allowed.since, "until": allowed.until });
        let contexts: Vec<_> = allowed.iter().map(row).collect();
        return output::json(&json!({ "key": key.id, "name": key.name, "contexts": contexts }));
    }
    if allowed.is_empty() {
        output::say(&format!(
            "No context stands on {} by anybody's word. `tokenwatch context allow --help` tells how one is allowed.",
            key.name
        ));
        return Ok(());
    }
    let now = manager.clock.now();
    let cells = |allowed: &tokenwatch_respond::allowance::Allowed| {
        let left = format!("{} left", human_span(allowed.until.since(now)));
        vec![clean(&allowed.context.to_string()), allowed.since.to_string(), left]
    };
    let rows: Vec<_> = allowed.iter().map(cells).collect();
    output::line(&output::table(&["CONTEXT", "SINCE", "HOLDS"], &rows));
    Ok(())
}
