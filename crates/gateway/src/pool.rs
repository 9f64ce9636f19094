//! Connections to providers: HTTP/1.1, kept alive, one pool per worker so that no lock is ever contended.
//!
//! HTTP/1.1 on purpose: on one HTTP/2 connection streams queue at the provider's limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::{Request, Response};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokenwatch_model::outcome::UpstreamFailure;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::body::{OutBody, ReadBodyError};
use crate::line::{Inflow, Line, LineError, Wire};
use crate::settings::Origin;

/// Idle connections kept per origin and worker.
const IDLE_MAX: usize = 1024;
/// Shorter than the keep-alive time of common servers (nginx 75 s, AWS load balancers 60 s), so that a pooled
/// connection is rarely one that the server is just closing.
const IDLE_TIME: Duration = Duration::from_secs(50);
/// Pause between two looks for idle connections that are old or closed.
const TIDY_EVERY: Duration = Duration::from_secs(5);

struct Idle {
    line: Box<Line>,
    since: Instant,
}

/// Pool of one worker.
pub(crate) struct Pool {
    /// A list, because there are few origins.
    idle: Mutex<Vec<(Origin, Vec<Idle>)>>,
    /// Whether a task looks after the idle ones.
    tidied: AtomicBool,
    tls: Arc<rustls::ClientConfig>,
}

/// Why an exchange failed before the answer's head.
pub(crate) struct ExchangeError {
    pub(crate) failure: UpstreamFailure,
    pub(crate) detail: String,
    /// Set when it was the request's own body that failed.
    pub(crate) body: Option<ReadBodyError>,
}

impl Pool {
    pub(crate) fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        Self { idle: Mutex::default(), tidied: AtomicBool::new(false), tls }
    }

    fn take_idle(&self, origin: &Origin) -> Option<Box<Line>> {
        let mut idle = self.idle.lock();
        let (_, list) = idle.iter_mut().find(|(of, _)| of == origin)?;
        // The most recent first: the others grow old and are dropped.
        while let Some(Idle { mut line, since }) = list.pop() {
            if since.elapsed() > IDLE_TIME {
                list.clear();
                break;
            }
            if line.is_open() {
                return Some(line);
            }
        }
        None
    }

    /// Returns a connection whose answer was read to its end.
    pub(crate) fn give_back(self: &Arc<Self>, origin: &Origin, line: Box<Line>) {
        {
            let mut idle = self.idle.lock();
            let idle_line = Idle { line, since: Instant::now() };
            match idle.iter_mut().find(|(of, _)| of == origin) {
                Some((_, list)) if list.len() < IDLE_MAX => list.push(idle_line),
                Some(_) => {}
                None => idle.push((origin.clone(), vec![idle_line])),
            }
        }
        if !self.tidied.swap(true, Ordering::AcqRel) {
            tokio::spawn(tidy(Arc::downgrade(self)));
        }
    }

    /// Drops idle connections that are old or that the provider has closed; false when none is left.
    fn drop_stale(&self) -> bool {
        let mut idle = self.idle.lock();
        for (_, list) in idle.iter_mut() {
            list.retain_mut(|idle| idle.since.elapsed() <= IDLE_TIME && idle.line.is_open());
        }
        idle.retain(|(_, list)| !list.is_empty());
        if idle.is_empty() {
            self.tidied.store(false, Ordering::Release);
        }
        !idle.is_empty()
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn exchange(
        &self,
        origin: &Origin,
        mut request: Request<OutBody>,
        connect_timeout: Duration,
        answer_timeout: Duration,
    ) -> Result<Response<Inflow>, ExchangeError> {
        // Every pooled connection may turn out closed before anything was written; a fresh one ends the loop.
        loop {
            let idle = self.take_idle(origin);
            let reused = idle.is_some();
            let line = match idle {
                Some(line) => line,
                None => match tokio::time::timeout(connect_timeout, self.connect(origin)).await {
                    Ok(Ok(line)) => line,
                    Ok(Err(detail)) => return Err(connect_failed(detail)),
                    Err(_) => return Err(connect_failed("connecting took too long".to_owned())),
                },
            };
            match tokio::time::timeout(answer_timeout, line.exchange(request)).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(failed)) => match failed.unsent {
                    Some(unsent) if reused => request = unsent,
                    Some(_) => return Err(connect_failed("closed by the provider at once".to_owned())),
                    None => return Err(answer_failed(&failed.error)),
                },
                Err(_) => {
                    let detail = "no answer in time".to_owned();
                    return Err(ExchangeError { failure: UpstreamFailure::Timeout, detail, body: None });
                }
            }
        }
    }

    async fn connect(&self, origin: &Origin) -> Result<Box<Line>, String> {
        let addresses = tokio::net::lookup_host((origin.host.trim_matches(['[', ']']), origin.port))
            .await
            .map_err(|error| format!("the name {} can not be resolved: {error}", origin.host))?;
        let mut last = format!("the name {} has no address", origin.host);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return self.handshake(origin, stream).await,
                Err(error) => last = format!("{address} can not be reached: {error}"),
            }
        }
        Err(last)
    }

    async fn handshake(&self, origin: &Origin, stream: TcpStream) -> Result<Box<Line>, String> {
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        if !origin.tls {
            return Ok(Line::new(Wire::Tcp(stream)));
        }
        let name = ServerName::try_from(origin.host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| format!("{} is not a name TLS can verify", origin.host))?;
        let stream = TlsConnector::from(self.tls.clone())
            .connect(name, stream)
            .await
            .map_err(|error| format!("TLS with {} failed: {error}", origin.host))?;
        Ok(Line::new(Wire::Tls(Box::new(stream))))
    }
}

/// Looks after the idle connections of a pool until there are none.
async fn tidy(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        if !pool.upgrade().is_some_and(|pool| pool.drop_stale()) {
            return;
        }
    }
}

fn connect_failed(detail: String) -> ExchangeError {
    ExchangeError { failure: UpstreamFailure::Connect, detail, body: None }
}

fn answer_failed(error: &LineError) -> ExchangeError {
    let (failure, body) = match error {
        LineError::Garbage(_) => (UpstreamFailure::Garbage, None),
        LineError::Body(error) => (UpstreamFailure::Reset, Some(*error)),
        LineError::Ended | LineError::Io(_) => (UpstreamFailure::Reset, None),
    };
    ExchangeError { failure, detail: error.to_string(), body }
}
