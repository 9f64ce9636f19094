//! A mock provider: speaks OpenAI and Anthropic over HTTP/1.1 and HTTP/2, counts tokens deterministically, and
//! fails on demand.
//!
//! # What a request header can ask for
//!
//! | header | effect |
//! | --- | --- |
//! | `x-mock-input-tokens`, `x-mock-output-tokens`, `x-mock-cached-tokens` | token counts to report |
//! | `x-mock-chunks` | pieces of text in a stream (1 to 10,000) |
//! | `x-mock-chunk-delay-ms` | pause between pieces |
//! | `x-mock-delay-ms` | pause before the head |
//! | `x-mock-style` | comma-separated: `usage-on-last-choice`, `no-usage`, `tool-call`, `error-mid-stream`, `crlf`, `joined`, `split`, `pings`, `gzip`, `deflate` |
//! | `x-mock-age-s` | how many seconds ago what is created was created |
//! | `x-mock-fail` | one of `reset`, `reset-after=BYTES`, `garbage`, `hang`, `hang-after=CHUNKS`, `short-body`, `slow-head=MS_PER_BYTE`, `huge-headers=BYTES`, `401`, `403`, `429`, `429=RETRY_AFTER_SECONDS`, `500`, `503`, `529` |
//!
//! A value that is not understood is answered with 400 and the reason, so that a test never passes by a typing
//! error. Without headers, input tokens are a quarter of the body's bytes and output tokens what the request allows, at
//! most [`OUTPUT_TOKENS_MAX`], or [`OUTPUT_TOKENS_DEFAULT`] when it sets no limit.
//!
//! # What it keeps
//!
//! Files, batches, fine-tuning jobs, assistants and vector stores that are created stay, are listed page by page, newest
//! first, and can be deleted; the oldest are forgotten. Nothing is ever run.
//!
//! Invariants: the same request gets the same answer but for its running number and the time of what it created; no clock is
//! read but the one of [`MockConfig::clock`]; what is kept of requests is bounded; each piece of a stream is flushed by
//! itself unless the style joins them.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokenwatch_model::ports::Clock;
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::secret::Secret;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

mod answer;
mod anthropic;
mod ask;
mod directives;
mod failure;
mod files;
mod headers;
mod kept;
mod line;
mod openai;
mod realtime;
mod reply;
mod responses;
pub mod seen;
mod sse;
mod state;
mod text;

pub use seen::{Recording, Seen};

use line::Line;
use state::State;

/// Output tokens of a request that sets no limit and is not told otherwise.
pub const OUTPUT_TOKENS_DEFAULT: u64 = 16;
/// Most output tokens when they come from the request's own limit.
pub const OUTPUT_TOKENS_MAX: u64 = 4_096;

/// Connections that may wait to be accepted: a test opens thousands at once.
const BACKLOG: u32 = 4_096;
/// How long to wait after a failed `accept`, and how many failures in a row end the provider. Running out of file
/// descriptors is the usual reason, and passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const ACCEPT_FAILURES_MAX: u32 = 100;

/// What a mock provider does.
#[derive(Clone, Default)]
pub struct MockConfig {
    /// Credentials it accepts; none means that it does not check.
    pub keys: Vec<Secret>,
    /// The dialect of paths that both have (`/v1/models`) and of errors; `None` goes by the request's headers and path.
    pub dialect: Option<Dialect>,
    /// What to remember of requests.
    pub recording: Recording,
    /// When things are created; the first of January 2026 without one.
    pub clock: Option<Arc<dyn Clock>>,
    /// A ready body for every plain JSON `POST` that asks for no stream and carries no `x-mock-` header: the fast path for
    /// benchmarks. See [`canned_body`].
    pub canned: Option<Bytes>,
}

/// A chat completion of about `bytes` bytes, for [`MockConfig::canned`].
pub fn canned_body(bytes: usize) -> Bytes {
    openai::canned(bytes)
}

/// A running mock provider; dropping it stops it.
pub struct MockProvider {
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
}

impl MockProvider {
    /// Starts a provider on a free loopback port, on the given runtime.
    ///
    /// # Errors
    ///
    /// When no port can be bound.
    pub fn spawn(runtime: &Handle, config: MockConfig) -> io::Result<(SocketAddr, Self)> {
        let _inside = runtime.enter();
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(config));
        let (stop, stopped) = oneshot::channel();
        let task = runtime.spawn(accept(listener, Arc::clone(&state), async {
            // An error means that the handle was dropped: stop as well.
            let _ = stopped.await;
        }));
        Ok((address, Self { state, stop: Some(stop), task }))
    }

    /// The requests remembered so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.list()
    }

    /// Takes the requests remembered so far out of memory, oldest first.
    pub fn take_seen(&self) -> Vec<Seen> {
        self.state.seen.take()
    }

    /// How many requests arrived, remembered or not.
    pub fn requests(&self) -> u64 {
        self.state.requests()
    }

    /// How many answers were dropped before their end because the caller left: proof that a cancelled call reached the
    /// provider. Counted for streams and for answers that hang.
    pub fn abandoned(&self) -> u64 {
        self.state.abandoned()
    }

    /// Stops accepting and drops open connections, as a crash would; returns when all is gone.
    ///
    /// # Errors
    ///
    /// When the listener had failed.
    pub async fn stop(mut self) -> io::Result<()> {
        drop(self.stop.take());
        (&mut self.task).await.unwrap_or(Ok(()))
    }
}

impl Drop for MockProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves until `shutdown` completes; open connections are then dropped.
///
/// # Errors
///
/// When the listener fails for good. Failures of single connections are not errors.
pub async fn serve(
    listener: TcpListener,
    config: MockConfig,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    accept(listener, Arc::new(State::new(config)), shutdown).await
}

async fn accept(
    listener: TcpListener,
    state: Arc<State>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    let mut failures = 0;
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    failures = 0;
                    connections.spawn(connection(stream, Arc::clone(&state)));
                }
                Err(_) if failures < ACCEPT_FAILURES_MAX => {
                    failures += 1;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    // Without it small pieces of a stream wait for acknowledgements. Fails only on a dead socket.
    let _ = stream.set_nodelay(true);
    let (line, fault) = Line::new(stream);
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        let fault = Arc::clone(&fault);
        async move { answer::answer(state, fault, request).await }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).max_buf_size(1 << 20);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(1_000);
    // A connection that ends in an error is one that a client or an injected failure broke.
    let _ = builder.serve_connection_with_upgrades(line, service).await;
}
