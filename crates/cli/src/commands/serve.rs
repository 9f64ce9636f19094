//! `tokenwatch serve`: the gateway, until it is told to stop.

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokenwatch_console::admins::AdminSpec;
use tokenwatch_console::manage::{KeySpec, Manager};
use tokenwatch_console::records::Role;
use tokenwatch_telemetry::logs::{self, Format};
use tokenwatch_telemetry::told::ConfigReloaded;
use tokio::signal::unix::{SignalKind, signal};

use crate::adapters::{StoreRecords, SystemClock, SystemRandom};
use crate::app::{App, AppParts};
use crate::config::Config;
use crate::load::{self, load};
use crate::state::open_store;
use crate::{Common, output};

/// `tokenwatch serve …`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on, instead of the configured one
    #[arg(long)]
    listen: Option<std::net::SocketAddr>,
}

/// How often the configuration file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let mut loaded = load(common)?;
    if let Some(listen) = args.listen {
        loaded.config.server.listen = listen;
    }
    anyhow::ensure!(
        !loaded.config.providers.is_empty(),
        "no provider is configured: set OPENAI_API_KEY or ANTHROPIC_API_KEY, or write a [[provider]] section and name the file with --config"
    );
    let format = Format::from_name(&loaded.config.log.format).unwrap_or(Format::Text);
    logs::init(format, &loaded.config.log.level)?;
    let dir = common.state_dir();
    let clock = Arc::new(SystemClock);
    let random = Arc::new(SystemRandom::open()?);
    welcome(&dir, &clock, &random)?;
    let parts = AppParts {
        config: loaded.config.clone(),
        clock,
        random,
        watcher: Box::new(|_: &_, _: &_| {}),
        listeners: handed_over()?,
        has_admin: true,
    };
    let app = App::start(&dir, parts)?;
    logs::install_panic_hook(app.gateway.metrics.clone());
    let admin = app.admin_address.map(|address| address.to_string()).unwrap_or_default();
    tracing::info!(address = %app.address, admin, state = %dir.display(), "serving");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(&app, loaded.path.as_deref(), args))?;
    tracing::info!("shutting down: running requests get their time");
    app.stop()?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Issues a first key when there is none, and prints it once.
fn welcome(dir: &Path, clock: &Arc<SystemClock>, random: &Arc<SystemRandom>) -> anyhow::Result<()> {
    let manager = Manager {
        records: Arc::new(StoreRecords(open_store(dir)?)),
        clock: clock.clone(),
        random: random.clone(),
    };
    if !manager.records.keys()?.is_empty() {
        return Ok(());
    }
    let spec = KeySpec { name: "first".into(), ..KeySpec::default() };
    let spec_admin = AdminSpec { name: "first".into(), role: Role::Admin, expires: None };
    let admin = manager.issue_admin(spec_admin, "tokenwatch")?;
    output::line(&format!(
        "An admin token for the admin API, shown once:\n\n    {}\n",
        admin.secret.expose()
    ));
    for issued in manager.issue(vec![spec], "tokenwatch")? {
        output::line(&format!("A first virtual key, shown once:\n\n    {}\n", issued.secret.expose()));
        output::line("Point an SDK at this gateway and use the key in place of the provider's:");
        output::line(
            "    OPENAI_BASE_URL=http://127.0.0.1:8080/v1   ANTHROPIC_BASE_URL=http://127.0.0.1:8080\n",
        );
    }
    Ok(())
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
async fn watch(app: &App, path: Option<&Path>, args: &Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut changed = path.map(modified);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => reload(app, path, args),
            () = tokio::time::sleep(LOOK_EVERY) => {
                let now = path.map(modified);
                if now != changed {
                    changed = now;
                    reload(app, path, args);
                }
            }
        }
    }
}

/// When a file was last changed, and its length; `None` while it is away.
fn modified(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Reads the configuration again. A wrong one is told and the last good one stays in force.
fn reload(app: &App, path: Option<&Path>, args: &Args) {
    let Some(path) = path else {
        tracing::info!("there is no configuration file to read again");
        return;
    };
    match read(path, args) {
        Ok(config) => {
            ConfigReloaded { errors: &[] }.emit(&app.gateway.metrics);
            app.reconfigure(config);
        }
        Err(error) => ConfigReloaded { errors: &[format!("{error:#}")] }.emit(&app.gateway.metrics),
    }
}

fn read(path: &Path, args: &Args) -> anyhow::Result<Config> {
    let mut config = load::read(path)?;
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    Ok(config)
}
