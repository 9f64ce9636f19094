//! `tokenwatch serve`: the gateway, until it is told to stop.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use serde_json::json;
use tokenwatch_console::admins::AdminSpec;
use tokenwatch_console::manage::{KeySpec, Manager};
use tokenwatch_console::records::Role;
use tokenwatch_model::id::KeyId;
use tokenwatch_telemetry::logs::{self, Format};
use tokenwatch_telemetry::told::ConfigReloaded;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::adapters::{StoreRecords, SystemClock, SystemRandom};
use crate::app::{App, AppParts, Offer};
use crate::config::Config;
use crate::load::{self, load};
use crate::state::{open_store, write_private};
use crate::{Common, build, handover, output};

/// `tokenwatch serve …`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on, instead of the configured one
    #[arg(long)]
    listen: Option<std::net::SocketAddr>,
    /// Address the admin API listens on, instead of the configured one
    #[arg(long)]
    admin_listen: Option<std::net::SocketAddr>,
    /// False alarms a year that are accepted on a key that says nothing else, 0.01 to 365, instead of the configured
    /// number
    #[arg(long, value_name = "N", value_parser = super::policy_args::parse_false_alarms)]
    false_alarms_per_key_year: Option<f64>,
    /// Write the addresses to this file, as JSON, once requests are served
    #[arg(long, value_name = "FILE", hide = true)]
    ready_file: Option<PathBuf>,
}

impl Args {
    /// What the command line says goes before what the file says.
    fn apply(&self, config: &mut Config) {
        config.server.listen = self.listen.unwrap_or(config.server.listen);
        config.admin.listen = self.admin_listen.unwrap_or(config.admin.listen);
        if let Some(rate) = self.false_alarms_per_key_year {
            config.detection.false_alarms_per_key_year = rate;
            config.defaults.false_alarms_per_year = Some(rate);
        }
    }
}

/// How often the configuration file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long to wait for a key that was just issued.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let mut loaded = load(common)?;
    // A change while everything starts is a change, too.
    let seen = loaded.path.as_deref().map(modified);
    args.apply(&mut loaded.config);
    anyhow::ensure!(
        !loaded.config.providers.is_empty(),
        "no provider is configured: set OPENAI_API_KEY or ANTHROPIC_API_KEY, or write a [[provider]] section and name the file with --config"
    );
    let format = Format::from_name(&loaded.config.log.format).unwrap_or(Format::Text);
    logs::init(format, &loaded.config.log.level)?;
    let dir = common.state_dir();
    let clock = Arc::new(SystemClock);
    let random = Arc::new(SystemRandom::open()?);
    let manager = Manager {
        records: Arc::new(StoreRecords(open_store(&dir)?)),
        clock: clock.clone(),
        random: random.clone(),
    };
    let parts = AppParts {
        config: loaded.config.clone(),
        clock,
        random,
        watcher: Box::new(|_: &_, _: &_| {}),
        listeners: handed_over()?,
        has_admin: true,
        checkpoints: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // From here on it does not end the process. The others do until everything runs: a start can take a while,
    // and to end it at any moment does no harm.
    let hangup = listen_for(&runtime, SignalKind::hangup())?;
    let mut app = App::start(&dir, parts)?;
    let mut signals = Signals {
        terminate: listen_for(&runtime, SignalKind::terminate())?,
        interrupt: listen_for(&runtime, SignalKind::interrupt())?,
        hangup,
    };
    logs::install_panic_hook(app.gateway.metrics.clone());
    let is_tls = loaded.config.server.tls_certificate.is_some() && loaded.config.server.tls_key.is_some();
    let scheme = if is_tls { "https" } else { "http" };
    let served = make_ready(&app, &manager, scheme, args).and_then(|()| {
        let offer = app.take_offer();
        let file = loaded.path.as_deref().zip(seen);
        runtime.block_on(watch(&app, &mut signals, offer, file, args))
    });
    tracing::info!("shutting down: running requests get their time; interrupt again to end at once");
    end_at_next_interrupt(runtime, signals.interrupt)?;
    app.stop()?;
    tracing::info!("stopped");
    served?;
    Ok(ExitCode::SUCCESS)
}

/// The signals that a server heeds.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

fn listen_for(runtime: &Runtime, kind: SignalKind) -> anyhow::Result<Signal> {
    let _inside = runtime.enter();
    Ok(signal(kind)?)
}

/// What a server exits with that was interrupted while it drained: 128 and the number of the signal, as shells do.
const INTERRUPTED: i32 = 130;

/// Ends the process when somebody interrupts it while running requests get their time. It is like a crash, which does
/// no harm: streams break off, and events that the disk has not yet are lost.
fn end_at_next_interrupt(runtime: Runtime, mut interrupt: Signal) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a person who does not want to wait for `main` to return")]
    let wait = move || {
        if runtime.block_on(interrupt.recv()).is_some() {
            tracing::warn!("interrupted again: ending at once, what still ran is broken off");
            std::process::exit(INTERRUPTED);
        }
    };
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(wait)?;
    Ok(())
}

/// Says to everybody who waits for it that requests are served.
fn make_ready(app: &App, manager: &Manager, scheme: &str, args: &Args) -> anyhow::Result<()> {
    welcome(app, manager, scheme)?;
    if let Some(path) = &args.ready_file {
        let ready = json!({ "gateway": app.address, "admin": app.admin_address });
        write_private(path, &ready.to_string())?;
    }
    let admin = app.admin_address.map(|address| address.to_string()).unwrap_or_default();
    tracing::info!(address = %app.address, admin, "serving");
    Ok(())
}

/// Issues a first key when there is none, and an admin token when there is none either, and prints them once.
fn welcome(app: &App, manager: &Manager, scheme: &str) -> anyhow::Result<()> {
    if !manager.records.keys()?.is_empty() {
        return Ok(());
    }
    let spec = KeySpec { name: "first".into(), ..KeySpec::default() };
    // There may be one: of a start that ended here, or of somebody who began with the admin API.
    if manager.admins()?.is_empty() {
        let spec_admin = AdminSpec { name: "first".into(), role: Role::Admin, expires: None };
        let admin = manager.issue_admin(spec_admin, "tokenwatch")?;
        output::line(&format!(
            "An admin token for the admin API, shown once:\n\n    {}\n",
            admin.secret.expose()
        ));
    }
    let issued = manager.issue(vec![spec], "tokenwatch")?;
    app.refresh();
    let address = app.address;
    for issued in issued {
        wait_until_known(app, issued.key.id);
        output::line(&format!("A first virtual key, shown once:\n\n    {}\n", issued.secret.expose()));
        output::line("Point an SDK at this gateway and use the key in place of the provider's:");
        output::line(&format!(
            "    OPENAI_BASE_URL={scheme}://{address}/v1   ANTHROPIC_BASE_URL={scheme}://{address}\n"
        ));
    }
    Ok(())
}

/// Waits a moment until a key that was just issued works.
fn wait_until_known(app: &App, key: KeyId) {
    let start = Instant::now();
    while app.gateway.live.entry(key).is_none() && start.elapsed() < KNOWN_WITHIN {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sockets handed over by a service manager (`LISTEN_FDS`), if any.
fn handed_over() -> anyhow::Result<Vec<TcpListener>> {
    let mut fds = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for i in 0..fds.len() {
        if let Some(listener) =
            fds.take_tcp_listener(i).context("a socket that was handed over is not a TCP listener")?
        {
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

/// Waits for signals and changes of the configuration file; returns when it is time to stop.
async fn watch(
    app: &App,
    signals: &mut Signals,
    offer: Option<Offer>,
    file: Option<(&Path, Option<Version>)>,
    args: &Args,
) -> anyhow::Result<()> {
    let (path, mut seen) = file.unzip();
    let door = offer.as_ref().map(|offer| UnixListener::from_std(offer.door.listener()?)).transpose()?;
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            _ = signals.hangup.recv() => reload(app, path, args),
            visitor = knock(door.as_ref()) => hand_over(visitor, offer.as_ref()),
            () = tokio::time::sleep(LOOK_EVERY) => {
                let now = path.map(modified);
                if now != seen {
                    seen = now;
                    reload(app, path, args);
                }
            }
        }
    }
}

/// Waits until a new server wants to take over.
async fn knock(door: Option<&UnixListener>) -> std::io::Result<UnixStream> {
    match door {
        Some(door) => door.accept().await.map(|(visitor, _)| visitor),
        None => std::future::pending().await,
    }
}

fn hand_over(visitor: std::io::Result<UnixStream>, offer: Option<&Offer>) {
    let Some(offer) = offer else { return };
    let given =
        visitor.and_then(UnixStream::into_std).and_then(|visitor| handover::give(&visitor, &offer.sockets));
    match given {
        Ok(()) => tracing::info!("the listening sockets were handed to another server"),
        // Whoever only looked whether this server runs has left already.
        Err(error) => tracing::debug!(%error, "the listening sockets could not be handed over"),
    }
}

/// When a file was last changed, and its length.
type Version = (SystemTime, u64);

/// The version of a file; `None` while it is away.
fn modified(path: &Path) -> Option<Version> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Reads the configuration again. A wrong one is told and the last good one stays in force.
fn reload(app: &App, path: Option<&Path>, args: &Args) {
    let Some(path) = path else {
        tracing::info!("there is no configuration file to read again");
        return;
    };
    // What can fail is done before the old configuration is given up.
    match read(path, args).and_then(|config| Ok((build::address_tables(&config)?, config))) {
        Ok((tables, config)) => {
            ConfigReloaded { errors: &[] }.emit(&app.gateway.metrics);
            app.reconfigure(config, tables);
        }
        Err(error) => ConfigReloaded { errors: &[format!("{error:#}")] }.emit(&app.gateway.metrics),
    }
}

fn read(path: &Path, args: &Args) -> anyhow::Result<Config> {
    let mut config = load::read(path)?;
    args.apply(&mut config);
    Ok(config)
}
