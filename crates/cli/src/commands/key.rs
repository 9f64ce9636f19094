//! `tokenwatch key`: virtual keys from issue to revocation.

mod rotate;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;
use tokenwatch_console::alarms::{AlarmBudget, SetBy};
use tokenwatch_console::manage::{Issued, KeySpec, Lifecycle, Manager};
use tokenwatch_model::SmolStr;
use tokenwatch_model::containment::Containment;
use tokenwatch_model::key::{FALSE_ALARMS_PER_YEAR, Key, Workload};
use tokenwatch_model::limit::Limits;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{Timestamp, human_span, parse_span};
use tokenwatch_respond::words::grouped;

use super::policy_args::PolicyArgs;
use super::{manager, who};
use crate::load::{Loaded, load};
use crate::{Common, output};

/// `tokenwatch key …`
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// Issue a key and print it once
    Issue(Box<IssueArgs>),
    /// Issue a key for each line of a JSON Lines file, all or none
    Import(ImportArgs),
    /// List keys
    List,
    /// Show a key: rules, state, containments
    Show {
        /// Name or id
        key: String,
    },
    /// Change a key's rules, owner, environment, service or workload
    Edit(Box<EditArgs>),
    /// Switch a key off until it is enabled
    Disable(ChangeArgs),
    /// Switch a key on again
    Enable(ChangeArgs),
    /// Let a key end by itself at a time
    Expire {
        /// Name or id
        key: String,
        /// From now, such as 30d or 12h; "never" takes an expiry away
        #[arg(long, value_name = "SPAN")]
        r#in: String,
    },
    /// Give a key a new credential and print it once; the one before goes on for a while
    Rotate(rotate::RotateArgs),
    /// End the credential before the latest rotation
    Retire(rotate::RetireArgs),
    /// End a key for good
    Revoke(ChangeArgs),
}

/// `tokenwatch key issue …`
#[derive(clap::Args)]
pub(crate) struct IssueArgs {
    /// Unique name, such as search-prod
    #[arg(long)]
    name: SmolStr,
    /// Name or id of its owner
    #[arg(long)]
    owner: Option<SmolStr>,
    /// Environment, such as production
    #[arg(long, default_value = "")]
    environment: SmolStr,
    /// Service that uses it
    #[arg(long, default_value = "")]
    service: SmolStr,
    /// What kind of caller it is for: service, pool, ci, team, public_app
    #[arg(long, value_parser = parse_workload, default_value = "unknown")]
    workload: Workload,
    /// Time until it stops working by itself, such as 90d
    #[arg(long, value_name = "SPAN", value_parser = parse_span_arg)]
    expires_in: Option<u64>,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// `tokenwatch key edit …`
#[derive(clap::Args)]
pub(crate) struct EditArgs {
    /// Name or id
    key: String,
    /// Name or id of its new owner
    #[arg(long)]
    owner: Option<SmolStr>,
    /// Environment
    #[arg(long)]
    environment: Option<SmolStr>,
    /// Service
    #[arg(long)]
    service: Option<SmolStr>,
    /// Kind of caller
    #[arg(long, value_parser = parse_workload)]
    workload: Option<Workload>,
    /// Forget the key's own rules first: everything not given is inherited again
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// `tokenwatch key disable|enable|revoke …`
#[derive(clap::Args)]
pub(crate) struct ChangeArgs {
    /// Name or id
    key: String,
    /// Why, for the audit log and whoever looks next
    #[arg(long, default_value = "")]
    reason: String,
}

/// `tokenwatch key import …`
#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    /// File with one JSON object a line; its fields: name, owner, environment, service, workload, policy, expires
    #[arg(long)]
    file: PathBuf,
    /// Write the issued keys with their credentials to this new file, readable by you alone
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn parse_workload(text: &str) -> Result<Workload, String> {
    Workload::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Workload::ALL.iter().map(|workload| workload.name()).collect();
        format!("there are {}", names.join(", "))
    })
}

pub(super) fn parse_span_arg(text: &str) -> Result<u64, String> {
    parse_span(text).map_err(|error| error.to_string())
}

/// A key as printed.
#[derive(Serialize)]
struct KeyOut<'a> {
    #[serde(flatten)]
    key: &'a Key,
    state_now: &'static str,
}

pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let manager = manager(common)?;
    match args {
        Args::Issue(args) => issue(common, &manager, *args)?,
        Args::Import(args) => import(&manager, &args)?,
        Args::List => list(common, &manager)?,
        Args::Show { key } => show(common, &manager, &key)?,
        Args::Edit(args) => edit(common, &manager, *args)?,
        Args::Disable(args) => change(common, &manager, &args, Lifecycle::Disable)?,
        Args::Enable(args) => change(common, &manager, &args, Lifecycle::Enable)?,
        Args::Rotate(args) => rotate::rotate(common, &manager, args)?,
        Args::Retire(args) => rotate::retire(common, &manager, &args)?,
        Args::Revoke(args) => change(common, &manager, &args, Lifecycle::Revoke)?,
        Args::Expire { key, r#in } => {
            let at = match r#in.as_str() {
                "never" => None,
                span => Some(manager.clock.now().plus(parse_span(span)?)),
            };
            change(common, &manager, &ChangeArgs { key, reason: String::new() }, Lifecycle::Expire(at))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn issue(common: &Common, manager: &Manager, args: IssueArgs) -> anyhow::Result<()> {
    let mut spec = KeySpec {
        name: args.name,
        owner: args.owner,
        environment: args.environment,
        service: args.service,
        workload: args.workload,
        expires: args.expires_in.map(|span| manager.clock.now().plus(span)),
        ..KeySpec::default()
    };
    args.policy.apply(&mut spec.policy);
    let issued = manager.issue(vec![spec], &who())?;
    for Issued { key, secret } in &issued {
        if common.json {
            output::json_line(&issued_json(key, secret.expose()))?;
        } else {
            output::line(secret.expose());
            output::say(&format!(
                "\n{} ({}) is issued. The line above is shown once: store it now.",
                key.name, key.id
            ));
            if key.owner.is_none() {
                output::say(
                    "It has no owner: nobody would be told of a theft. `tokenwatch key edit --owner` gives it one.",
                );
            }
        }
    }
    Ok(())
}

fn issued_json(key: &Key, secret: &str) -> serde_json::Value {
    json!({ "key": secret, "id": key.id, "name": key.name, "expires": key.expires.map(|at| at.to_string()) })
}

/// Keys issued in one transaction each.
const IMPORT_CHUNK: usize = 100_000;

fn import(manager: &Manager, args: &ImportArgs) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("{} can not be read", args.file.display()))?;
    let mut specs: Vec<KeySpec> = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        specs.push(serde_json::from_str(line).with_context(|| format!("line {}", i + 1))?);
    }
    anyhow::ensure!(
        specs.len() <= IMPORT_CHUNK,
        "at most {IMPORT_CHUNK} keys at a time; the file has {}",
        specs.len()
    );
    let issued = manager.issue(specs, &who())?;
    if let Some(path) = &args.out {
        write_issued(path, &issued)?;
    } else {
        for Issued { key, secret } in &issued {
            output::json_line(&issued_json(key, secret.expose()))?;
        }
    }
    output::say(&format!("{} keys are issued", issued.len()));
    Ok(())
}

fn write_issued(path: &std::path::Path, issued: &[Issued]) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file =
        std::io::BufWriter::new(file.with_context(|| format!("{} can not be made", path.display()))?);
    for Issued { key, secret } in issued {
        serde_json::to_writer(&mut file, &issued_json(key, secret.expose()))?;
        writeln!(file)?;
    }
    file.flush()?;
    Ok(())
}

fn list(common: &Common, manager: &Manager) -> anyhow::Result<()> {
    let now = manager.clock.now();
    let mut keys: Vec<Key> = manager.records.keys()?.into_iter().map(|stored| stored.key).collect();
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    if common.json {
        let out: Vec<_> = keys.iter().map(|key| KeyOut { key, state_now: key.state_at(now) }).collect();
        return output::json(&out);
    }
    if keys.is_empty() {
        output::say("There is no key yet. `tokenwatch key issue --name NAME` makes one.");
        return Ok(());
    }
    let owners = manager.records.owners()?;
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            let owner = owners.iter().find(|owner| Some(owner.id) == key.owner);
            vec![
                key.name.to_string(),
                key.id.to_string(),
                key.state_at(now).to_owned(),
                owner.map_or_else(|| "-".to_owned(), |owner| owner.name.to_string()),
                or_dash(&key.environment),
                expiry(key, now),
            ]
        })
        .collect();
    output::line(&output::table(&["NAME", "ID", "STATE", "OWNER", "ENVIRONMENT", "EXPIRES"], &rows));
    Ok(())
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn expiry(key: &Key, now: Timestamp) -> String {
    match key.expires {
        None => "never".to_owned(),
        Some(at) if at <= now => format!("{} ago", human_span(now.since(at))),
        Some(at) => format!("in {}", human_span(at.since(now))),
    }
}

fn show(common: &Common, manager: &Manager, name: &str) -> anyhow::Result<()> {
    let now = manager.clock.now();
    let key = manager.find_key(name)?;
    let containments = manager.records.containments_of(key.id)?;
    let in_force: Vec<&Containment> = containments.iter().filter(|c| c.in_force(now)).collect();
    let owner = key.owner.map(|id| manager.records.owner(id)).transpose()?.flatten();
    // A configuration with errors is no reason to show nothing: `check` tells what is wrong with it.
    let loaded = load(common).ok();
    let default = loaded.as_ref().and_then(|loaded| loaded.config.defaults.false_alarms_per_year);
    let budget = AlarmBudget::of(&key, owner.as_ref(), default.unwrap_or(FALSE_ALARMS_PER_YEAR));
    let callers = manager.still_presents(&key)?;
    if common.json {
        let shown = KeyOut { key: &key, state_now: key.state_at(now) };
        return output::json(&json!({
            "key": shown, "alarm_budget": budget, "containments": in_force, "previous_callers": callers
        }));
    }
    output::line(&format!("{} ({})", key.name, key.id));
    let state = match key.state_reason.as_str() {
        "" => key.state_at(now).to_owned(),
        reason => format!("{}: {reason}", key.state_at(now)),
    };
    let rows = [
        ("state", state),
        (
            "owner",
            owner
                .as_ref()
                .map_or_else(|| "none".to_owned(), |o| format!("{}, on call: {}", o.name, o.on_call)),
        ),
        ("environment", or_dash(&key.environment)),
        ("service", or_dash(&key.service)),
        ("workload", key.workload.name().to_owned()),
        ("issued", key.created.to_string()),
        ("expires", expiry(&key, now)),
        ("rotated", rotate::describe(&key, now)),
        ("false alarms", describe_budget(&budget, owner.as_ref(), loaded.as_ref())),
        ("own rules", serde_json::to_string(&compact(&key.policy)?)?),
    ];
    for (name, value) in rows {
        output::line(&format!("  {name:<12} {value}"));
    }
    if key.rotation.is_some() {
        for line in rotate::describe_callers(&callers, now) {
            output::line(&format!("  {:<12} {line}", "before"));
        }
    }
    if in_force.is_empty() {
        output::line("  contained    no");
    }
    for containment in in_force {
        let until = containment.expires.map_or_else(|| "until lifted".to_owned(), |at| format!("until {at}"));
        output::line(&format!(
            "  {:<12} {} {until}: {}",
            containment.action.name(),
            containment.id,
            containment.reason
        ));
    }
    Ok(())
}

/// `0.365 a year, the default: an alert is rarer than once in 1,000 days`.
fn describe_budget(budget: &AlarmBudget, owner: Option<&Owner>, loaded: Option<&Loaded>) -> String {
    let from = match (budget.set_by, owner, loaded) {
        (SetBy::Key, ..) => "set on the key".to_owned(),
        (SetBy::Owner, Some(owner), _) => format!("from its owner {}", owner.name),
        (SetBy::Owner, None, _) => "from its owner".to_owned(),
        (SetBy::Default, _, None) => {
            "the default; the configuration has errors, see `tokenwatch check`".to_owned()
        }
        (SetBy::Default, _, Some(Loaded { path: Some(path), .. })) => {
            format!("from the configuration {}", path.display())
        }
        (SetBy::Default, _, Some(Loaded { path: None, .. })) => "the default".to_owned(),
    };
    let days = grouped(budget.alert_days.round() as u64);
    format!("{} a year, {from}: an alert is rarer than once in {days} days", budget.false_alarms_per_year)
}

/// A value without its empty fields and with `unlimited` in words, for people.
pub(super) fn compact(value: &impl Serialize) -> anyhow::Result<serde_json::Value> {
    fn strip(value: serde_json::Value) -> Option<serde_json::Value> {
        match value {
            serde_json::Value::Null => None,
            serde_json::Value::Number(n) if n.as_u64() == Some(Limits::UNLIMITED) => Some(json!("unlimited")),
            serde_json::Value::Object(map) => {
                let map: serde_json::Map<_, _> =
                    map.into_iter().filter_map(|(name, value)| Some((name, strip(value)?))).collect();
                (!map.is_empty()).then_some(serde_json::Value::Object(map))
            }
            other => Some(other),
        }
    }
    Ok(strip(serde_json::to_value(value)?).unwrap_or_else(|| json!({})))
}

fn edit(common: &Common, manager: &Manager, args: EditArgs) -> anyhow::Result<()> {
    let owner = args.owner.as_deref().map(|owner| manager.find_owner(owner)).transpose()?;
    let key = manager.edit(&args.key, &who(), |key| {
        if args.reset {
            key.policy = Default::default();
        }
        args.policy.apply(&mut key.policy);
        key.owner = owner.map(|owner| owner.id).or(key.owner);
        key.environment = args.environment.unwrap_or_else(|| key.environment.clone());
        key.service = args.service.unwrap_or_else(|| key.service.clone());
        key.workload = args.workload.unwrap_or(key.workload);
    })?;
    told(common, manager, &key, "is changed")
}

fn change(common: &Common, manager: &Manager, args: &ChangeArgs, change: Lifecycle) -> anyhow::Result<()> {
    let key = manager.change_life(&args.key, change, &args.reason, &who())?;
    let state = key.state_at(manager.clock.now());
    told(common, manager, &key, &format!("is {state}"))
}

fn told(common: &Common, manager: &Manager, key: &Key, what: &str) -> anyhow::Result<()> {
    if common.json {
        // Read again: its revision is a new one.
        let key = manager.find_key(&key.id.to_string())?;
        return output::json(&KeyOut { key: &key, state_now: key.state_at(manager.clock.now()) });
    }
    output::say(&format!("{} ({}) {what}; a running server knows within a second", key.name, key.id));
    Ok(())
}
