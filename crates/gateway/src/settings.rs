//! What the data plane is told: providers, prices, limits of the protocol. One immutable value, swapped
//! whole; a request uses the one it started with.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use parking_lot::Mutex;
use smol_str::SmolStr;
use tokenwatch_model::network::Cidr;
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::secret::Secret;
use tokenwatch_telemetry::metrics::CircuitState;
use tokenwatch_wire::price::PriceTable;
use tokenwatch_wire::request::ShapeKey;

use crate::breaker::{Breaker, BreakerConfig};

/// Everything the data plane is told.
pub struct Settings {
    /// Limits of the protocol.
    pub http: HttpLimits,
    /// Proxies whose `X-Forwarded-For` and PROXY protocol are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Whether connections from trusted proxies start with a PROXY protocol v2 head.
    pub proxy_protocol: bool,
    /// Providers; the first of each dialect serves requests that name none.
    pub providers: Vec<Arc<Provider>>,
    /// Prices.
    pub prices: Arc<PriceTable>,
    /// Keys the hashes of prompts: they tell nothing outside this deployment. It also says whether content signals
    /// are on.
    pub shape_key: ShapeKey,
    /// Output tokens reserved for a request that sets no limit itself.
    pub reserve_output_tokens: u64,
    /// Answer 402 instead of 429 when a budget is used up.
    pub budget_is_402: bool,
}

/// Limits of the protocol: everything has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Open client connections.
    pub connections_max: usize,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Time for a request's head, and so the longest idle time of a kept-alive connection.
    pub head_timeout: Duration,
    /// Bytes of a JSON body, on the wire and after decompression.
    pub body_bytes_max: u64,
    /// Bytes of an upload that streams through.
    pub upload_bytes_max: u64,
    /// Time without any byte of a body.
    pub body_stall_timeout: Duration,
    /// Time for a whole JSON body.
    pub body_timeout: Duration,
    /// Time to connect to a provider, TLS included.
    pub connect_timeout: Duration,
    /// Time from a request to the head of its answer.
    pub answer_timeout: Duration,
    /// Time without any byte of an answer's body.
    pub answer_stall_timeout: Duration,
    /// Time for a client to take bytes of an answer before it counts as gone.
    pub write_stall_timeout: Duration,
    /// Time that running requests get when the gateway shuts down.
    pub drain_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            connections_max: 20_000,
            head_bytes_max: 64 * 1024,
            head_timeout: s(75),
            body_bytes_max: 32 << 20,
            upload_bytes_max: 512 << 20,
            body_stall_timeout: s(15),
            body_timeout: s(120),
            connect_timeout: s(10),
            answer_timeout: s(600),
            answer_stall_timeout: s(300),
            write_stall_timeout: s(120),
            drain_timeout: s(30),
        }
    }
}

/// An upstream.
pub struct Provider {
    /// Unique name; also the first path segment that selects it.
    pub name: SmolStr,
    /// Protocol.
    pub dialect: Dialect,
    /// Where it is.
    pub origin: Origin,
    /// Which prices apply: a provider name of the price table.
    pub prices_as: SmolStr,
    /// Its credentials, tried in order.
    pub credentials: Vec<Arc<Credential>>,
}

/// Scheme, host, port and path prefix of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether TLS is used.
    pub tls: bool,
    /// Host name or address.
    pub host: SmolStr,
    /// Port.
    pub port: u16,
    /// Path in front of `/v1`, without a trailing slash; usually empty.
    pub path: SmolStr,
}

/// Why a text is not the base address of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address such as https://api.openai.com, without credentials, query or the /v1 part")]
pub struct ParseOriginError;

impl std::str::FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, ParseOriginError> {
        let uri: http::Uri = text.trim().parse().map_err(|_| ParseOriginError)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(ParseOriginError),
        };
        let authority = uri.authority().ok_or(ParseOriginError)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(ParseOriginError);
        }
        let path = uri.path().trim_end_matches('/');
        // People paste the base address of an SDK, which ends in /v1; the path of a request has it already.
        let path = path.strip_suffix("/v1").unwrap_or(path);
        Ok(Self {
            tls,
            host: authority.host().into(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: path.into(),
        })
    }
}

impl Origin {
    /// Host, with the port where it is not the scheme's own.
    pub fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.to_string(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

/// A provider credential, in memory only.
pub struct Credential {
    /// Where it comes from, such as `env:OPENAI_API_KEY`: shown in place of the secret.
    pub source: SmolStr,
    /// The header value it is sent as, marked sensitive; `None` while it can not be read.
    value: ArcSwapOption<HeaderValue>,
    /// Holds calls back while the provider fails.
    pub(crate) breaker: Mutex<Breaker>,
    /// Whether the provider refused it last time.
    pub(crate) refused: std::sync::atomic::AtomicBool,
}

impl Credential {
    /// A credential that is not read yet.
    pub fn new(source: SmolStr) -> Self {
        Self {
            source,
            value: ArcSwapOption::empty(),
            breaker: Mutex::new(Breaker::new(BreakerConfig::default())),
            refused: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Puts a secret in place, or takes it away. Returns false when the secret can not stand in a header.
    pub fn set(&self, dialect: Dialect, secret: Option<&Secret>) -> bool {
        let Some(secret) = secret else {
            self.value.store(None);
            return true;
        };
        let text = zeroize_join(dialect, secret);
        let Ok(mut value) = HeaderValue::from_bytes(&text) else { return false };
        value.set_sensitive(true);
        self.value.store(Some(Arc::new(value)));
        true
    }

    /// The header value, if there is one.
    pub(crate) fn value(&self) -> Option<Arc<HeaderValue>> {
        self.value.load_full()
    }

    /// Whether it can be used at all.
    pub fn is_set(&self) -> bool {
        self.value.load().is_some()
    }

    /// Whether its circuit is open.
    pub fn is_open(&self) -> bool {
        self.breaker.lock().is_open()
    }

    /// Whether the provider refused it last time.
    pub fn is_refused(&self) -> bool {
        self.refused.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// What its circuit breaker does.
    pub fn circuit(&self) -> CircuitState {
        let breaker = self.breaker.lock();
        match (breaker.is_open(), breaker.is_trying()) {
            (false, _) => CircuitState::Closed,
            (true, true) => CircuitState::Trying,
            (true, false) => CircuitState::Open,
        }
    }
}

impl Provider {
    /// What the best of its circuit breakers does; `None` when no credential can be read.
    pub fn circuit(&self) -> Option<CircuitState> {
        let usable = self.credentials.iter().filter(|credential| credential.is_set());
        usable.map(|credential| credential.circuit()).min_by_key(|state| *state as u8)
    }
}

fn zeroize_join(dialect: Dialect, secret: &Secret) -> Vec<u8> {
    let prefix: &[u8] = match dialect {
        Dialect::OpenAi => b"Bearer ",
        Dialect::Anthropic => b"",
    };
    [prefix, secret.expose().trim().as_bytes()].concat()
}

/// The header field a dialect's credential stands in.
pub(crate) const fn credential_field(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi => "authorization",
        Dialect::Anthropic => "x-api-key",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<(&str, u16, &str)>) {
        let origin = text.parse::<Origin>().ok();
        assert_eq!(origin.as_ref().map(|o| (o.host.as_str(), o.port, o.path.as_str())), want, "{text}");
    }

    #[test]
    fn origins_are_addresses_without_v1() {
        check("https://api.openai.com", Some(("api.openai.com", 443, "")));
        check("https://api.openai.com/v1/", Some(("api.openai.com", 443, "")));
        check("http://127.0.0.1:9000/base/", Some(("127.0.0.1", 9000, "/base")));
        check("ftp://x", None);
        check("https://user:pw@x", None);
        check("https://x?key=1", None);
        check("api.openai.com", None);
    }
}
