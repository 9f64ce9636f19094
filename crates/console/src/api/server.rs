//! Sockets: the accept loop, one task per connection, and the way of one request.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokenwatch_gateway::StallGuard;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::auth::{self, Caller, Failures};
use super::gauges::Gauges;
use super::input::{self, Call};
use super::problem::Problem;
use super::reply::{Reply, respond};
use super::route::{self, Needs, Route};
use super::{Api, guard};
use crate::records::Role;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) api: Api,
    pub(crate) failures: Mutex<Failures>,
    pub(crate) gauges: Gauges,
    /// Held while an alert is sent as a test.
    pub(crate) testing: Mutex<()>,
    /// Held while providers are asked.
    pub(crate) asking: Mutex<()>,
}

/// Pause after a connection could not be accepted: out of file descriptors, or the client was gone already.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves until `stop` becomes true or its sender is gone, then lets running requests end.
///
/// # Errors
///
/// When the listening socket can not be used.
pub async fn serve(listener: StdListener, api: Api, stop: watch::Receiver<bool>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(api.limits.connections_max));
    let drain = api.limits.drain_timeout;
    let all = u32::try_from(api.limits.connections_max).unwrap_or(u32::MAX);
    let shared = Arc::new(Shared {
        api,
        failures: Mutex::default(),
        gauges: Gauges::default(),
        testing: Mutex::default(),
        asking: Mutex::default(),
    });
    let mut stopped = stop.clone();
    loop {
        // A slot is taken first: connections past the limit wait in the system's queue.
        let accept = async {
            let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, peer)| (stream, peer, slot))
        };
        let accepted = tokio::select! {
            accepted = accept => accepted,
            () = is_true(&mut stopped) => break,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                tokio::spawn(connection(shared.clone(), stream, peer, slot, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "the admin API could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(drain, slots.acquire_many(all)).await.is_err() {
        tracing::warn!("the admin API stops with requests still running");
    }
    Ok(())
}

/// Waits until the value is true or its sender is gone.
async fn is_true(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
    mut stop: watch::Receiver<bool>,
) {
    let _slot = slot;
    // A failed option costs latency, not correctness.
    let _ = stream.set_nodelay(true);
    let limits = shared.api.limits.clone();
    let stream = TokioIo::new(StallGuard::new(stream, limits.write_stall_timeout));
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(shared, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes_max)
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = is_true(&mut stop) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the admin API ended with an error");
    }
}

async fn answer(shared: Arc<Shared>, peer: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    respond(handle(shared, peer, request).await)
}

async fn handle(shared: Arc<Shared>, peer: SocketAddr, request: Request<Incoming>) -> Result<Reply, Problem> {
    let (head, body) = request.into_parts();
    let found = route::find(&head.method, head.uri.path());
    match &found {
        Ok((Route { needs: Needs::Nothing, .. }, _)) => {}
        // People come to it from wherever they read the alert. Its button is on a page of this server.
        Ok((Route { needs: Needs::Link, method, .. }, _)) if *method == Method::GET => {
            guard::check_host(&shared.api.access, &head.headers)?;
        }
        _ => guard::check(&shared.api.access, &head.headers)?,
    }
    let (route, values) = found?;
    let caller = admit(&shared, peer, route, &head.headers).await?;
    let query = input::read_query(route, head.uri.query())?;
    let seen = input::read_if_match(route, &head.headers)?;
    let body =
        if route.takes_body { input::read_body(&shared, &head.headers, body).await? } else { Bytes::new() };
    let call = Call { shared: shared.clone(), caller, values, query, body, seen };
    if !route.blocks {
        return (route.handler)(&call);
    }
    off_the_runtime(&shared, move || (route.handler)(&call)).await?
}

/// Finds out who asks, and whether it may.
async fn admit(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    route: &'static Route,
    headers: &http::HeaderMap,
) -> Result<Caller, Problem> {
    let Needs::Token(role) = route.needs else {
        return Ok(Caller { name: tokenwatch_model::SmolStr::new_static("anybody"), role: Role::Viewer });
    };
    let presented = auth::presented(headers)?;
    let of = shared.clone();
    let caller =
        off_the_runtime(shared, move || auth::identify(&of, peer.ip(), presented.as_deref())).await??;
    if caller.role < role {
        let message = format!(
            "this needs the role {}; the token {} has {}",
            role.name(),
            caller.name,
            caller.role.name()
        );
        return Err(Problem::forbidden("role_too_low", message));
    }
    Ok(caller)
}

/// Runs what may block on a disk. A panic is counted, and the client learns that it was ours.
async fn off_the_runtime<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        shared.api.gateway.metrics.panics.inc(());
        tracing::error!(%error, "a handler of the admin API panicked");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "a defect of TokenWatch; its log says more",
        )
    })
}
