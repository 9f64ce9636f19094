//! The admin API of a running server: its token for programs on the same machine, what it tells of the process, what it needs
//! of it.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokenwatch_console::admins;
use tokenwatch_console::api::{self, Access, Api, ApiLimits, Condition, DrillHost};
use tokenwatch_console::manage::Manager;
use tokenwatch_console::responder::ResponderHandle;
use tokenwatch_gateway::Gateway;
use tokenwatch_model::ports::Random;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_store::{JournalHandle, Store};
use tokenwatch_telemetry::metrics::Metrics;
use tokio::sync::watch;

use super::{InForce, Keep};
use crate::alerts::host::Host;
use crate::mock::Mock;
use crate::{providers, state};

/// The token for programs on this machine. A server that takes over goes on with the one that is there: both
/// serve for a while.
pub(super) fn local_token(dir: &Path, inherits: bool, random: &dyn Random) -> anyhow::Result<SecretHash> {
    let path = dir.join(state::LOCAL_TOKEN);
    if inherits
        && let Ok(text) = std::fs::read(&path)
        && let Some(hash) = admins::parse(&text)
    {
        return Ok(hash);
    }
    let (secret, hash) = admins::mint(random);
    state::write_private(&path, secret.expose())?;
    Ok(hash)
}

/// What drills need of a server.
fn drill_host(responder: Arc<ResponderHandle>) -> DrillHost {
    let mock = Mock::default();
    DrillHost { mock: Arc::new(move || mock.origin()), acted: Arc::new(move || responder.catch_up()) }
}

/// What the admin API speaks to besides the gateway.
pub(super) struct Beside {
    pub(super) keeper: Sender<Keep>,
    pub(super) journal: JournalHandle,
    pub(super) responder: Arc<ResponderHandle>,
    pub(super) store: Store,
}

/// Starts the admin API.
pub(super) fn start_admin(
    listener: TcpListener,
    access: Access,
    manager: Manager,
    gateway: &Arc<Gateway>,
    in_force: InForce,
    beside: Beside,
) -> anyhow::Result<(watch::Sender<bool>, JoinHandle<std::io::Result<()>>)> {
    let Beside { keeper, journal, responder, store } = beside;
    let metrics = gateway.metrics.clone();
    let scraped = journal.clone();
    let damaged = gateway.clone();
    let desk = in_force.desk.clone();
    let api = Api {
        manager,
        gateway: gateway.clone(),
        policy: in_force.policy,
        defaults: in_force.defaults,
        links: Arc::new(move || desk.load().issuer().cloned()),
        // The keeper may be gone while the last requests end.
        changed: Arc::new(move || drop(keeper.send(Keep::Refresh))),
        conditions: Arc::new(move || {
            journal_conditions(&journal).into_iter().chain(damage(&damaged)).collect()
        }),
        before_scrape: Arc::new(move || report_journal(&scraped, &metrics)),
        alerts: Arc::new(Host { desk: in_force.desk.clone(), store }),
        providers: Arc::new(providers::Host { places: in_force.providers }),
        drills: drill_host(responder),
        access,
        limits: ApiLimits::default(),
    };
    let (stop, stopped) = watch::channel(false);
    let thread = api::start(listener, api, stopped).context("the admin API can not be started")?;
    Ok((stop, thread))
}

/// What the journal has to say to `/readyz`. Requests go on without it, so it does not take traffic away.
fn journal_conditions(journal: &JournalHandle) -> Vec<Condition> {
    /// What is promised.
    const LAG_MS_MAX: u64 = 100;
    let health = journal.health();
    let message = match health.error {
        Some(error) => format!("the journal can not be written: {error}"),
        None if health.lag_worst_ms > LAG_MS_MAX => format!(
            "events waited up to {} ms for the disk in the last minute; a crash loses what waits, and {LAG_MS_MAX} ms \
             are promised",
            health.lag_worst_ms
        ),
        None => return Vec::new(),
    };
    vec![Condition { code: "journal".into(), message, is_fatal: false }]
}

/// Keys whose requests are refused because what was learned and spent on them can not be read.
fn damage(gateway: &Gateway) -> Option<Condition> {
    let damaged = gateway.damaged();
    let first = damaged.first()?;
    let others = match damaged.len() - 1 {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let message = format!(
        "what was learned and spent on {first}{others} is damaged and not rebuilt; the log says why. Requests of such \
         keys are refused"
    );
    Some(Condition { code: "damaged_keys".into(), message, is_fatal: false })
}

/// Takes the journal's state over into the metrics.
pub(super) fn report_journal(journal: &JournalHandle, metrics: &Metrics) {
    // Waits first: whoever sees a record on disk finds what it waited counted.
    for lag in journal.take_lags() {
        metrics.journal_wait.observe_us((), lag.as_micros() as u64);
    }
    let health = journal.health();
    metrics.journal_lag.set((), health.lag_ms.saturating_mul(1_000));
    metrics.journal_taken.set((), health.pushed);
    metrics.journal_durable.set((), health.durable);
}
