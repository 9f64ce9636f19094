//! `tokenwatch drill …`: steals a key on purpose, on a running server, and checks that everything works that has to.
//!
//! * `drive`: sends the rehearsed theft; `rotate`: moves the owner to a new credential at its end; `score`: what is counted and what it is worth; `print`: the table and the checklist.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tokenwatch_console::api::drills::{DrillList, DrillOut};
use tokenwatch_model::SmolStr;
use tokenwatch_model::alert::{DeliveryState, SubjectId};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::IncidentId;
use tokenwatch_model::key::{Key, Mode};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_store::{Archive, Filter, Store};
use tokenwatch_testkit::theft::Theft;
use tokio::signal::unix::{SignalKind, signal};

use super::manager;
use crate::admin_api::{Server, url_of};
use crate::config::Config;
use crate::load::load;
use crate::state::{LOCAL_TOKEN, open_store};
use crate::{Common, build, output};

mod drive;
mod print;
mod relay;
mod rotate;
mod score;

use drive::{Driven, Driver};
use print::{Rehearsed, Report};
use score::{Check, Mark, Verdict, check_counts, verdict};

/// `tokenwatch drill …`
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// Rehearse thefts of a key on the running server: nothing is spent, and the key itself is not touched
    Run(RunArgs),
    /// List drills, latest first
    List(ListArgs),
    /// End a drill whose driver is gone, before it ends by itself
    End {
        /// Id of the drill
        drill: String,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show one drill and what it led to
    Show {
        /// Id of the drill
        drill: String,
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// Where the server is.
#[derive(clap::Args)]
pub(crate) struct ApiArgs {
    /// Address of the admin API [default: the configured one on this machine]
    #[arg(long, env = "TOKENWATCH_ADMIN_URL")]
    url: Option<String>,
    /// File with an admin token [default: the one that a server on the same state directory writes]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// Key to steal, by name or id
    key: String,
    /// Thefts to rehearse, separated by commas; `all` is every one that the simulator knows
    #[arg(long, value_name = "THEFTS", default_value = "resale")]
    theft: String,
    /// Seed of their details: another seed is another thief
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Most requests of the thief, and most of the owner, in one theft; the first ones are sent
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=90_000))]
    requests: u32,
    /// Page people of the first theft, marked as a drill, and check that it arrives
    #[arg(long)]
    page: bool,
    /// Also fail for a careful theft that was not found, and for gaps in the key's inventory
    #[arg(long)]
    strict: bool,
    /// Address of the gateway [default: the configured one on this machine]
    #[arg(long, value_name = "HOST:PORT")]
    gateway: Option<SocketAddr>,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// Only drills of this key, by name or id
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

/// What is kept is looked at so far back.
const KEPT_DAYS: u64 = 8;
/// Most of the key's requests that are looked at, the latest.
const KEPT_MAX: usize = 200_000;
/// Requests within at least a day from which on a key has a normal.
const LEARNED_REQUESTS: usize = 30;
/// How long a page may take to arrive.
const PAGE_WAIT: Duration = Duration::from_secs(15);
/// Exit code when something is not as it must be.
const FOUND_WRONG: u8 = 3;

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::Run(args) => rehearse(common, args),
        Args::List(args) => list(common, args),
        Args::End { drill, api } => {
            let (server, end) =
                (server(common, api)?, json!({ "passed": false, "summary": "broken off by hand" }));
            let out: DrillOut =
                runtime()?.block_on(server.post(&format!("/api/v1/drills/{drill}/end"), &end))?;
            if common.json {
                output::json(&out)?
            } else {
                output::line(&print::show(&out))
            }
            Ok(ExitCode::SUCCESS)
        }
        Args::Show { drill, api } => {
            let server = server(common, api)?;
            let out: DrillOut = runtime()?.block_on(server.get(&format!("/api/v1/drills/{drill}")))?;
            if common.json {
                output::json(&out)?
            } else {
                output::line(&print::show(&out))
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn server(common: &Common, api: &ApiArgs) -> anyhow::Result<Server> {
    let url = match &api.url {
        Some(url) => url.clone(),
        None => url_of(load(common)?.config.admin.listen),
    };
    let is_local = api.token_file.is_none();
    let token_file = api.token_file.clone().unwrap_or_else(|| common.state_dir().join(LOCAL_TOKEN));
    Server::new(&url, token_file, is_local)
}

fn list(common: &Common, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let key = args
        .key
        .as_deref()
        .map(|key| manager(common)?.find_key(key).map_err(anyhow::Error::from))
        .transpose()?;
    let path =
        key.map_or_else(|| "/api/v1/drills".to_owned(), |key| format!("/api/v1/drills?key={}", key.id));
    let list: DrillList = runtime()?.block_on(server(common, &args.api)?.get(&path))?;
    if common.json {
        output::json(&list)?;
    } else {
        let manager = manager(common)?;
        let name = |id| manager.records.key(id).ok().flatten().map(|stored| stored.key.name);
        output::line(&print::list(&list, &name, manager.clock.now()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The thefts that were asked for.
fn thefts(names: &str) -> anyhow::Result<Vec<Theft>> {
    if names == "all" {
        return Ok(Theft::ALL.to_vec());
    }
    let find = |name: &str| {
        let known = || Theft::ALL.map(Theft::name).join(", ");
        Theft::from_name(name).with_context(|| format!("--theft: {name:?} is none of all, {}", known()))
    };
    names.split(',').map(|name| find(name.trim())).collect()
}

fn rehearse(common: &Common, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let thefts = thefts(&args.theft)?;
    let config = load(common)?.config;
    let manager = manager(common)?;
    let key = manager.find_key(&args.key)?;
    let owner = key.owner.map(|owner| manager.records.owner(owner)).transpose()?.flatten();
    let mode = config.containment.mode_of(&key, owner.as_ref());
    let store = open_store(&common.state_dir())?;
    let now = manager.clock.now();
    let kept = kept(&store, &key, now)?;
    let (provider, dialect, prices_as) = provider(&config, &kept)?;
    let runtime = runtime()?;
    let gateway = runtime.block_on(relay::open(&config, gateway(&config, args)))?;
    let server = server(common, &args.api)?;
    let prices = build::prices(&config);
    let driver = Driver {
        server: &server,
        gateway,
        prices: &prices,
        key: key.name.clone(),
        provider,
        dialect,
        prices_as,
        kept: &kept,
        seed: args.seed,
        requests_max: args.requests as usize,
    };
    let mut report = Report {
        key: key.name.clone(),
        mode: mode.name(),
        seed: args.seed,
        kept_requests: kept.len(),
        kept_days: kept.first().map_or(0.0, |first| now.since(first.request.time) as f64 / DAY as f64),
        thefts: Vec::new(),
        inventory: inventory(&key, owner.as_ref(), mode, is_learned(&kept, now)),
        mean_seconds_to_detection: None,
        mean_seconds_to_refusal: None,
        thief_usd: 0.0,
        passed: false,
    };
    // Heard from before the first drill starts until after the last, so that none is left behind.
    let mut interrupts = runtime.block_on(async { signal(SignalKind::interrupt()) })?;
    for (number, theft) in thefts.into_iter().enumerate() {
        let pages = args.page && number == 0;
        let bar = bar(theft);
        let driven = runtime.block_on(driver.rehearse(theft, pages, &bar, &mut interrupts));
        bar.finish_and_clear();
        let driven = driven.with_context(|| format!("the drill of {}", theft.name()))?;
        let rehearsed = judge(&store, theft, driven, pages)?;
        let passed = rehearsed.verdict == Verdict::Passed;
        runtime.block_on(driver.end(rehearsed.drill, passed, &rehearsed.summary()))?;
        report.thefts.push(rehearsed);
    }
    report.finish(args.strict);
    if common.json {
        output::json(&report)?;
    } else {
        output::line(&print::describe(&report, args.strict));
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::from(FOUND_WRONG) })
}

/// Puts a checklist together of what one theft showed.
fn judge(store: &Store, theft: Theft, driven: Driven, pages: bool) -> anyhow::Result<Rehearsed> {
    let Driven { drill, counts, checks: aside, incidents, planned_ms, rehearsed_ms, is_cut } = driven;
    let mut checks = check_counts(theft, &counts);
    checks.extend(aside);
    checks.push(match (pages, incidents.first()) {
        (false, _) => {
            Check::skipped("paged", "nobody was to be told; --page tells people of the first theft")
        }
        (true, None) => Check::skipped("paged", "there was no incident to tell of"),
        (true, Some(incident)) => paged(store, *incident)?,
    });
    let verdict = verdict(theft, &checks, &counts);
    Ok(Rehearsed::new(theft, drill, verdict, counts, checks, planned_ms, rehearsed_ms, is_cut))
}

/// Whether the page of an incident arrived, waiting for it a while.
fn paged(store: &Store, incident: IncidentId) -> anyhow::Result<Check> {
    let began = Instant::now();
    loop {
        let deliveries = store.deliveries_of(SubjectId::Incident(incident))?;
        let waiting: Vec<_> = deliveries.iter().filter(|d| d.state == DeliveryState::Pending).collect();
        if !deliveries.is_empty() && waiting.is_empty() {
            let mut to: Vec<&str> = deliveries.iter().map(|delivery| delivery.destination.as_str()).collect();
            to.dedup();
            return Ok(Check::new("paged", true, format!("told, marked as a drill: {}", to.join(", "))));
        }
        if began.elapsed() >= PAGE_WAIT {
            let what = match waiting.first() {
                Some(first) if !first.error.is_empty() => {
                    format!("{} did not take it: {}", first.destination, first.error)
                }
                Some(first) => format!("{} has not taken it yet", first.destination),
                None => "no route leads anywhere for this key: see [alerts] in the configuration".to_owned(),
            };
            return Ok(Check::new("paged", false, what));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether there is a normal to compare a thief with: the engine judges nobody on a key before that.
fn is_learned(kept: &[UsageEvent], now: Timestamp) -> bool {
    kept.len() >= LEARNED_REQUESTS && kept.first().is_some_and(|first| now.since(first.request.time) >= DAY)
}

/// What somebody needs of the key at 3 a.m.
fn inventory(key: &Key, owner: Option<&Owner>, mode: Mode, is_learned: bool) -> Vec<Check> {
    let budgets = &key.policy.budgets;
    let has_budget = budgets.day.is_some() || budgets.month.is_some() || budgets.total.is_some();
    let owners = owner.map(|owner| &owner.defaults.budgets);
    let has_budget =
        has_budget || owners.is_some_and(|b| b.day.is_some() || b.month.is_some() || b.total.is_some());
    let line = |name, is_good: bool, good: &str, bad: &str| Check {
        name,
        mark: if is_good { Mark::Passed } else { Mark::Warning },
        what: if is_good { good } else { bad }.to_owned(),
    };
    vec![
        line(
            "learned",
            is_learned,
            "was used for long enough to have a normal",
            "was hardly used yet: whoever calls in its first hours and its first thirty requests defines it, so no thief is \
             found; until then its scope, limits and budgets protect it",
        ),
        line("owner", owner.is_some(), "has an owner", "has no owner: nobody is paged for it"),
        line(
            "on_call",
            owner.is_some_and(|owner| !owner.on_call.is_empty()),
            "its owner says who is on call",
            "nobody is named as on call for it",
        ),
        line("expiry", key.expires.is_some(), "expires", "never expires"),
        line("budget", has_budget, "has a budget", "has no budget, nor has its owner"),
        line(
            "mode",
            mode != Mode::Observe,
            "thieves are contained by themselves",
            "mode observe: nothing is contained by itself",
        ),
    ]
}

/// What is kept of the key's requests, oldest first.
fn kept(store: &Store, key: &Key, now: Timestamp) -> anyhow::Result<Vec<UsageEvent>> {
    let from = Timestamp(now.0.saturating_sub(KEPT_DAYS * DAY));
    let filter = Filter { key: Some(key.id), from: Some(from), ..Filter::default() };
    let archive = Archive::new(&store.archive_dir());
    let events = archive.events(Some(&store.journal_dir()), filter);
    let mut kept = Vec::new();
    for event in events.context("the events that are kept can not be read")? {
        match event {
            Ok(event) => kept.push(event),
            Err(error) => output::say(&format!("warning: {:#}", anyhow::Error::from(error))),
        }
        if kept.len() >= 2 * KEPT_MAX {
            keep_latest(&mut kept);
        }
    }
    keep_latest(&mut kept);
    anyhow::ensure!(
        !kept.is_empty(),
        "the key {} made no request in the last {KEPT_DAYS} days: a drill tells a thief from what the owner does, and nothing \
         is known of that",
        key.name
    );
    Ok(kept)
}

fn keep_latest(kept: &mut Vec<UsageEvent>) {
    kept.sort_by_key(|event| event.request.time);
    kept.drain(..kept.len().saturating_sub(KEPT_MAX));
}

/// The provider that the key uses most, with its protocol and price list.
fn provider(config: &Config, kept: &[UsageEvent]) -> anyhow::Result<(SmolStr, Dialect, SmolStr)> {
    let uses = |name: &str| kept.iter().filter(|event| event.request.provider == name).count();
    let used = config.providers.iter().max_by_key(|provider| uses(&provider.name));
    let used = used.filter(|provider| uses(&provider.name) > 0).with_context(
        || "no configured provider is one that the key used; is --config the file that the server runs with?",
    )?;
    let dialect =
        Dialect::from_name(&used.dialect).with_context(|| format!("provider {}: dialect", used.name))?;
    let prices_as = used.prices_as.clone().unwrap_or_else(|| dialect.name().into());
    Ok((used.name.clone(), dialect, prices_as))
}

/// Where the gateway is, as a command on the same machine reaches it.
fn gateway(config: &Config, args: &RunArgs) -> SocketAddr {
    let listen = config.server.listen;
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    args.gateway.unwrap_or_else(|| SocketAddr::new(ip, listen.port()))
}

/// A bar over a theft's requests, on standard error and only when that is a terminal.
fn bar(theft: Theft) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg:24} {wide_bar} {pos}/{len} requests, {eta} left") {
        bar.set_style(style);
    }
    bar.set_message(theft.name());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &str, want: Result<usize, &str>) {
        match (thefts(names), want) {
            (Ok(thefts), Ok(count)) => assert_eq!(thefts.len(), count, "{names}"),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{names}: {error}"),
            (got, _) => assert_eq!(got.map(|thefts| thefts.len()).ok(), want.ok(), "{names}"),
        }
    }

    #[test]
    fn thefts_are_named_or_all() {
        check("all", Ok(Theft::ALL.len()));
        check("resale, recon", Ok(2));
        check("resail", Err("--theft: \"resail\" is none of all, validation"));
        check("", Err("is none of"));
    }
}
