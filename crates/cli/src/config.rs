//! The configuration file: parse, validate purely and report every error at once, then build.
//!
//! One TOML file. Every field has a default, unknown fields are refused, secrets stand only as references.
//! `docs/configuration.md` documents every field; a test keeps the two together.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use tokenwatch_model::SmolStr;
use tokenwatch_model::key::Policy;
use tokenwatch_model::network::Cidr;
use tokenwatch_model::provider::SecretRef;
use tokenwatch_respond::policy::ResponsePolicy;

mod alerts;
mod parse;
mod validate;

pub(crate) use alerts::{Alerts, Destination};
pub(crate) use parse::parse;

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) admin: Admin,
    pub(crate) providers: Vec<Provider>,
    pub(crate) defaults: Policy,
    pub(crate) detection: Detection,
    pub(crate) containment: ResponsePolicy,
    pub(crate) network: Network,
    pub(crate) storage: Storage,
    pub(crate) prices: Vec<PriceOverride>,
    pub(crate) log: Log,
    pub(crate) alerts: Alerts,
}

/// `[server]`: the gateway's own side.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// Address the gateway listens on.
    pub(crate) listen: SocketAddr,
    /// Worker threads; 0 is one for each core.
    pub(crate) workers: usize,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<Cidr>,
    /// Connections from trusted proxies start with a PROXY protocol v2 head.
    pub(crate) proxy_protocol: bool,
    /// PEM file with the certificate chain; TLS is on when both are set.
    pub(crate) tls_certificate: Option<PathBuf>,
    /// PEM file with the private key.
    pub(crate) tls_key: Option<PathBuf>,
    /// Open client connections.
    pub(crate) connections_max: usize,
    /// Bytes of a request's head.
    pub(crate) head_bytes_max: usize,
    /// Seconds for a request's head; also the idle time of kept-alive connections.
    pub(crate) head_timeout_s: u64,
    /// Bytes of a JSON body.
    pub(crate) body_bytes_max: u64,
    /// Bytes of an upload.
    pub(crate) upload_bytes_max: u64,
    /// Seconds without any byte of a body.
    pub(crate) body_stall_timeout_s: u64,
    /// Seconds for a whole body.
    pub(crate) body_timeout_s: u64,
    /// Seconds for a client to take bytes of an answer.
    pub(crate) write_stall_timeout_s: u64,
    /// Seconds to connect to a provider.
    pub(crate) connect_timeout_s: u64,
    /// Seconds until the head of a provider's answer.
    pub(crate) answer_timeout_s: u64,
    /// Seconds without any byte of a provider's answer.
    pub(crate) answer_stall_timeout_s: u64,
    /// Seconds that running requests get at shutdown.
    pub(crate) drain_timeout_s: u64,
    /// Output tokens reserved for a request that sets no limit.
    pub(crate) reserve_output_tokens: u64,
    /// Answer 402 instead of 429 when a budget is used up.
    pub(crate) budget_is_402: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            workers: 0,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            tls_certificate: None,
            tls_key: None,
            connections_max: 20_000,
            head_bytes_max: 64 * 1024,
            head_timeout_s: 75,
            body_bytes_max: 32 << 20,
            upload_bytes_max: 512 << 20,
            body_stall_timeout_s: 15,
            body_timeout_s: 120,
            write_stall_timeout_s: 120,
            connect_timeout_s: 10,
            answer_timeout_s: 600,
            answer_stall_timeout_s: 300,
            drain_timeout_s: 30,
            reserve_output_tokens: 4_096,
            budget_is_402: false,
        }
    }
}

/// `[admin]`: the admin API.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admin {
    /// Address the admin API and `/metrics` listen on.
    pub(crate) listen: SocketAddr,
    /// Host names under which it is reached, besides addresses and `localhost`.
    pub(crate) hosts: Vec<SmolStr>,
    /// Origins of web pages that may call it, besides its own.
    pub(crate) origins: Vec<SmolStr>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8081)), hosts: Vec::new(), origins: Vec::new() }
    }
}

/// `[[provider]]`: an upstream.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    /// Unique name; also the first path segment that selects it.
    pub(crate) name: SmolStr,
    /// `openai` or `anthropic`.
    pub(crate) dialect: SmolStr,
    /// Such as `https://api.openai.com`.
    pub(crate) base_url: String,
    /// References to its credentials, tried in order.
    pub(crate) credentials: Vec<SecretRef>,
    /// Which prices apply; the dialect's own provider by default.
    #[serde(default)]
    pub(crate) prices_as: Option<SmolStr>,
}

/// `[detection]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Detection {
    /// How many false alarms a year are accepted on each key.
    pub(crate) false_alarms_per_key_year: f64,
    /// Rules that are switched off, by id.
    pub(crate) rules_off: Vec<SmolStr>,
    /// How often this fleet's honest newcomers come, as `tokenwatch dry-run --write-fleet-rates` counted it.
    pub(crate) fleet_rates: Option<PathBuf>,
    /// Whether events get sketches of prompts and answers, and the phrase rules they match.
    pub(crate) content_signals: bool,
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            false_alarms_per_key_year: tokenwatch_model::key::FALSE_ALARMS_PER_YEAR,
            rules_off: Vec::new(),
            fleet_rates: None,
            content_signals: true,
        }
    }
}

/// `[network]`: address tables of your own; the bundled one fills the gaps.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Network {
    /// MaxMind-format database with countries.
    pub(crate) country_database: Option<PathBuf>,
    /// MaxMind-format database with autonomous systems.
    pub(crate) asn_database: Option<PathBuf>,
    /// MaxMind-format database with anonymisers: VPN, proxy, Tor, hosting.
    pub(crate) anonymity_database: Option<PathBuf>,
}

/// `[storage]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Storage {
    /// Days that usage events are kept.
    pub(crate) retention_days: u32,
    /// Seconds between two checkpoints of the learned state.
    pub(crate) checkpoint_every_s: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self { retention_days: 90, checkpoint_every_s: 60 }
    }
}

/// `[[price]]`: a price of your own, in US dollars per million tokens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriceOverride {
    /// Provider name of the price table.
    pub(crate) provider: SmolStr,
    /// Model.
    pub(crate) model: SmolStr,
    /// Input tokens.
    pub(crate) input: f64,
    /// Output tokens.
    pub(crate) output: f64,
    /// Cached input tokens; the input price by default.
    #[serde(default)]
    pub(crate) cache_read: Option<f64>,
    /// Input tokens written to the cache; the input price by default.
    #[serde(default)]
    pub(crate) cache_write: Option<f64>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// `text` or `json`.
    pub(crate) format: SmolStr,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,tokenwatch_gateway=debug`.
    pub(crate) level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: "text".into(), level: "info".into() }
    }
}
