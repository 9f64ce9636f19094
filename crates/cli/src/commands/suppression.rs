//! `tokenwatch suppression`: alerts that somebody expects, for a bounded time.

use std::process::ExitCode;

use tokenwatch_console::api::suppressions::SuppressionOut;
use tokenwatch_console::manage::Manager;
use tokenwatch_console::suppressions::SuppressionSpec;
use tokenwatch_model::SmolStr;
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::network::{Country, NetworkKind, ParsePrefixError, Prefix};
use tokenwatch_model::suppression::{Reach, SuppressedAlert, Suppression};
use tokenwatch_model::time::human_span;
use tokenwatch_respond::words::{clean, clock};

use super::{manager, who};
use crate::{Common, output};

/// `tokenwatch suppression …`
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// Say that certain alerts are expected for a while: they are recorded, and nobody is told or refused for them
    Add(Box<AddArgs>),
    /// List suppressions in force
    List {
        /// Those that ended too
        #[arg(long)]
        all: bool,
    },
    /// List the alerts that suppressions silenced, latest first
    Alerts {
        /// Only of this key, by name or id
        #[arg(long)]
        key: Option<String>,
    },
    /// End a suppression before its time
    Lift {
        /// Id, as `suppression list` shows it
        suppression: String,
    },
}

/// `tokenwatch suppression add …`
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["key", "owner", "everywhere"]))]
pub(crate) struct AddArgs {
    /// Name or id of the key it holds on
    #[arg(long)]
    key: Option<SmolStr>,
    /// Name or id of the owner on whose keys it holds
    #[arg(long)]
    owner: Option<SmolStr>,
    /// Let it hold on every key
    #[arg(long)]
    everywhere: bool,
    /// How long, such as 4h; at most 90d
    #[arg(long, value_name = "SPAN", value_parser = super::key::parse_span_arg)]
    r#for: u64,
    /// Why; whoever looks next reads it
    #[arg(long)]
    reason: String,
    /// Only findings of this rule, such as newcomer
    #[arg(long)]
    rule: Option<SmolStr>,
    #[command(flatten)]
    context: ContextArgs,
}

/// What the requests are like that are expected.
#[derive(clap::Args)]
#[command(next_help_heading = "Context: all that is given must match")]
pub(crate) struct ContextArgs {
    /// Block of addresses: a /24, or a /48 of IPv6, such as 203.0.113.0/24
    #[arg(long, value_name = "BLOCK", value_parser = parse_block)]
    network: Option<Prefix>,
    /// Autonomous system by its number, such as 64500
    #[arg(long, value_name = "NUMBER")]
    asn: Option<u32>,
    /// Country, such as NL
    #[arg(long, value_parser = parse_country)]
    country: Option<Country>,
    /// Kind of network: private, access, hosting, vpn or tor
    #[arg(long, value_parser = parse_kind)]
    kind: Option<NetworkKind>,
    /// Client, such as openai-python
    #[arg(long)]
    client: Option<SmolStr>,
    /// Version of the client
    #[arg(long, value_name = "VERSION")]
    client_version: Option<SmolStr>,
    /// Model as asked for
    #[arg(long)]
    model: Option<SmolStr>,
    /// Prompt template: the 16 digits that incidents show
    #[arg(long, value_name = "DIGITS", value_parser = parse_template)]
    template: Option<u64>,
}

impl ContextArgs {
    pub(super) fn context(self) -> Option<ContextMatch> {
        let context = ContextMatch {
            prefix: self.network,
            asn: self.asn,
            country: self.country,
            kind: self.kind,
            client: self.client,
            client_version: self.client_version,
            tls: None,
            model: self.model,
            template: self.template,
        };
        (!context.is_empty()).then_some(context)
    }
}

fn parse_block(text: &str) -> Result<Prefix, String> {
    text.parse().map_err(|error: ParsePrefixError| error.to_string())
}

fn parse_country(text: &str) -> Result<Country, String> {
    let is_code = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_code {
        Ok(Country::from_code(&text.to_ascii_uppercase()))
    } else {
        Err("expected a country's two letters, such as NL".to_owned())
    }
}

fn parse_kind(text: &str) -> Result<NetworkKind, String> {
    let kinds =
        [NetworkKind::Private, NetworkKind::Access, NetworkKind::Hosting, NetworkKind::Vpn, NetworkKind::Tor];
    let found = kinds.into_iter().find(|kind| kind.to_string() == text);
    found.ok_or_else(|| "there are private, access, hosting, vpn and tor".to_owned())
}

fn parse_template(text: &str) -> Result<u64, String> {
    let wrong = || "expected the 16 hexadecimal digits that incidents show".to_owned();
    if text.len() != 16 || text.starts_with('+') {
        return Err(wrong());
    }
    u64::from_str_radix(text, 16).map_err(|_| wrong())
}

/// Most rows listed.
const LIST_MAX: u32 = 1_000;

pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let manager = manager(common)?;
    match args {
        Args::Add(args) => add(common, &manager, *args)?,
        Args::List { all } => list(common, &manager, all)?,
        Args::Alerts { key } => alerts(common, &manager, key.as_deref())?,
        Args::Lift { suppression } => {
            let lifted = manager.lift_suppression(&suppression, &who())?;
            told(common, &manager, lifted, "is lifted: what it silenced alerts again")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn add(common: &Common, manager: &Manager, args: AddArgs) -> anyhow::Result<()> {
    let spec = SuppressionSpec {
        key: args.key,
        owner: args.owner,
        everywhere: args.everywhere,
        rule: args.rule,
        context: args.context.context(),
        reason: args.reason,
        expires: Some(manager.clock.now().plus(args.r#for)),
    };
    let suppression = manager.suppress(spec, &who())?;
    let until = format!("is in force until {}", suppression.expires);
    told(common, manager, suppression, &until)
}

fn told(common: &Common, manager: &Manager, row: Suppression, what: &str) -> anyhow::Result<()> {
    if common.json {
        return output::json(&SuppressionOut::new(row, manager.clock.now()));
    }
    output::say(&format!("{} {what}; a running server knows within a second", row.id));
    Ok(())
}

fn list(common: &Common, manager: &Manager, all: bool) -> anyhow::Result<()> {
    let rows = manager.suppressions(all, LIST_MAX as usize)?;
    let now = manager.clock.now();
    if common.json {
        let rows: Vec<_> = rows.into_iter().map(|row| SuppressionOut::new(row, now)).collect();
        return output::json(&rows);
    }
    if rows.is_empty() {
        let hint = "`tokenwatch suppression add --help` tells how alerts are suppressed that are expected.";
        let none = if all { "There was no suppression yet." } else { "No suppression is in force." };
        output::say(&format!("{none} {hint}"));
        return Ok(());
    }
    let cells = |row: &Suppression| -> anyhow::Result<Vec<String>> {
        let state = match (&row.lifted, row.in_force(now)) {
            (None, true) => format!("{} left", human_span(row.expires.since(now))),
            _ => row.state_at(now).to_owned(),
        };
        Ok(vec![
            row.id.to_string(),
            state,
            place(manager, row.reach)?,
            what(row),
            row.by.to_string(),
            row.reason.clone(),
        ])
    };
    let rows = rows.iter().map(cells).collect::<anyhow::Result<Vec<_>>>()?;
    output::line(&output::table(&["ID", "STATE", "ON", "SILENCES", "BY", "REASON"], &rows));
    Ok(())
}

/// Where a suppression holds, by name.
fn place(manager: &Manager, reach: Reach) -> anyhow::Result<String> {
    Ok(match reach {
        Reach::Everywhere => "every key".to_owned(),
        Reach::Key(id) => {
            let key = manager.records.key(id)?;
            key.map_or_else(|| id.to_string(), |stored| format!("key {}", stored.key.name))
        }
        Reach::Owner(id) => {
            let owner = manager.records.owner(id)?;
            owner.map_or_else(|| id.to_string(), |owner| format!("owner {}", owner.name))
        }
    })
}

/// What a suppression silences, in words.
fn what(row: &Suppression) -> String {
    let rule = row.rule.as_ref().map(ToString::to_string);
    let context = row.context.as_ref().map(|context| clean(&context.to_string()));
    [rule, context].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn alerts(common: &Common, manager: &Manager, key: Option<&str>) -> anyhow::Result<()> {
    let alerts = manager.suppressed(key, LIST_MAX)?;
    if common.json {
        return output::json(&alerts);
    }
    if alerts.is_empty() {
        output::say("No alert was suppressed.");
        return Ok(());
    }
    for alert in &alerts {
        output::line(&one_line(manager, alert)?);
    }
    Ok(())
}

/// A suppressed alert in one line.
pub(super) fn one_line(manager: &Manager, alert: &SuppressedAlert) -> anyhow::Result<String> {
    let finding = &alert.finding;
    let key = manager.records.key(finding.key)?;
    let name = key.map_or_else(|| finding.key.to_string(), |stored| stored.key.name.to_string());
    Ok(format!(
        "suppressed  {}  {name}  {} {} ({}): {}",
        clock(finding.time),
        finding.tier.name(),
        clean(&finding.rule),
        alert.suppression,
        clean(&finding.summary)
    ))
}
