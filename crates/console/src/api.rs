//! The admin API: JSON over HTTP/1, for people's tools and for `tokenwatch top`.
//!
//! * `route`: the table of routes, with the role each needs; `docs/openapi.json` is held to it by a test.
//! * `server`: sockets and limits; `guard`: what browsers must not do; `auth`: who asks.
//! * `approve`: pages of signed links; `keys`, [`contexts`], `owners`, `incidents`, [`runbook`], [`drills`], `suppressions`, [`alerts`],
//!   `system`: what the routes do; [`shapes`]: what they say.
//!
//! Invariants:
//! * Nothing but `/healthz`, `/readyz`, `/metrics` and the API's own description is answered without a token,
//!   and those hold no secret; what a signed link opens is answered to whoever has the link.
//! * A request that a web page may have forged is refused before its token is looked at.
//! * Store calls block, so handlers run off the runtime; nothing here runs on the data plane's threads.
//! * A credential leaves in one answer, the one that issues it.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokenwatch_gateway::Gateway;
use tokenwatch_gateway::settings::Origin;
use tokenwatch_model::SmolStr;
use tokenwatch_model::key::Policy;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_respond::ResponsePolicy;
use tokio::sync::watch;

use crate::alerts::AlertHost;
use crate::links::Issuer;
use crate::manage::Manager;
use crate::persistence::ProviderHost;

pub mod alerts;
mod approve;
mod auth;
pub mod contexts;
pub mod drills;
mod gauges;
mod guard;
mod incidents;
mod input;
mod keys;
mod owners;
mod problem;
mod reply;
mod route;
pub mod runbook;
mod server;
pub mod shapes;
pub mod suppressions;
mod system;

pub use route::{Needs, Route, routes};
pub use server::serve;

/// What the admin API works with.
pub struct Api {
    /// Keys, owners, incidents.
    pub manager: Manager,
    /// The data plane.
    pub gateway: Arc<Gateway>,
    /// What containment may do; the one in force.
    pub policy: Arc<ArcSwap<ResponsePolicy>>,
    /// What keys inherit that neither say it themselves nor have it from their owner; the one in force.
    pub defaults: Arc<ArcSwap<Policy>>,
    /// Called after every change, so that the running server takes it over at once. Must not block.
    pub changed: Arc<dyn Fn() + Send + Sync>,
    /// What the rest of the process has to say to `/readyz`, such as a journal that can not be written.
    pub conditions: Arc<dyn Fn() -> Vec<Condition> + Send + Sync>,
    /// Called before metrics are told, so that what others keep is as of now. Must not block for long.
    pub before_scrape: Arc<dyn Fn() + Send + Sync>,
    /// What alerts need of the rest of the process.
    pub alerts: Arc<dyn AlertHost>,
    /// What asking providers needs of the rest of the process.
    pub providers: Arc<dyn ProviderHost>,
    /// What drills need of the rest of the process.
    pub drills: DrillHost,
    /// Reads signed links, as configured now; nothing when they are switched off.
    pub links: Arc<dyn Fn() -> Option<Issuer> + Send + Sync>,
    /// Who may ask, and from where.
    pub access: Access,
    /// Limits of the protocol.
    pub limits: ApiLimits,
}

/// What drills need of the rest of the process.
#[derive(Clone)]
pub struct DrillHost {
    /// Where the mock provider that answers them is; it is started when it is first needed. The error says why it is not.
    pub mock: Arc<dyn Fn() -> Result<Origin, String> + Send + Sync>,
    /// Waits until everything that was found so far has been acted on.
    pub acted: Arc<dyn Fn() + Send + Sync>,
}

/// Something to tell whoever asks whether the server is ready.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Condition {
    /// Stable machine-readable name.
    pub code: SmolStr,
    /// What is wrong, in a sentence.
    pub message: String,
    /// Whether traffic should go elsewhere.
    pub is_fatal: bool,
}

/// Who may ask, and from where.
#[derive(Clone, Default)]
pub struct Access {
    /// Names that may stand in `Host`. Addresses and `localhost` always may: a web page that points a name of its
    /// own at this server (DNS rebinding) can use neither.
    pub hosts: Vec<SmolStr>,
    /// Web origins that may call, such as `https://console.example.com`, besides the server's own.
    pub origins: Vec<SmolStr>,
    /// Hash of the token that this process made for programs on the same machine; it may do what a responder may.
    pub local: Option<SecretHash>,
}

/// Limits of the admin API: everything has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// Open connections; more wait in the system's queue.
    pub connections_max: usize,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Time for a request's head, and so the longest idle time of a kept-alive connection.
    pub head_timeout: Duration,
    /// Bytes of a body.
    pub body_bytes_max: usize,
    /// Time for a whole body.
    pub body_timeout: Duration,
    /// Time for a client to take bytes of an answer before it counts as gone.
    pub write_stall_timeout: Duration,
    /// Time that running requests get when the server stops.
    pub drain_timeout: Duration,
}

impl Default for ApiLimits {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            connections_max: 256,
            head_bytes_max: 32 << 10,
            head_timeout: s(15),
            body_bytes_max: 1 << 20,
            body_timeout: s(10),
            write_stall_timeout: s(15),
            drain_timeout: s(5),
        }
    }
}

/// Store calls at the same time: as many as the store reads in parallel, and one that writes.
const BLOCKING_THREADS: usize = 5;

/// Starts the thread of the admin API: a runtime of its own, so that it takes no time from the data plane.
/// It ends when `stop` becomes true or its sender is gone.
///
/// # Errors
///
/// When the thread or the runtime can not be made.
pub fn start(
    listener: TcpListener,
    api: Api,
    stop: watch::Receiver<bool>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("admin-store")
        .build()?;
    let work = move || runtime.block_on(serve(listener, api, stop));
    std::thread::Builder::new().name("admin".to_owned()).spawn(work)
}
