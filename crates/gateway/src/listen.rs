//! Sockets: our own accept loop, TLS, the PROXY protocol, and one task per connection.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::answer::AnswerBody;
use crate::forward::OverTls;
use crate::gateway::{ConnectionSlot, Gateway};
use crate::io::StallGuard;
use crate::pool::Pool;
use crate::proxy_protocol::{self, FIXED_LEN};
use crate::pulse::{Beating, Pulse};
use crate::sender::Sender;
use crate::source::{Peer, is_trusted};
use tokenwatch_telemetry::labels::ConnectionState;

/// Opens a listening socket that shares its port: a new process can take over while the old one drains, and
/// each worker has its own queue of connections.
///
/// # Errors
///
/// When the address is in use by something that does not share it, or may not be opened.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A request being answered.
type Answering = Pin<Box<dyn Future<Output = Result<Response<Beating<AnswerBody>>, Infallible>> + Send>>;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// What a worker accepts with.
pub(crate) struct Acceptor {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// Becomes true when the gateway shuts down.
    pub(crate) stop: watch::Receiver<bool>,
}

/// Time for a TLS handshake or a PROXY protocol head.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a kept-alive connection must be quiet before it is closed at shutdown.
const LINGER: Duration = Duration::from_millis(750);
const LINGER_STEP: Duration = Duration::from_millis(50);

impl Acceptor {
    /// Accepts until told to stop.
    pub(crate) async fn run(self: Arc<Self>, listener: StdListener) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut stop) => break,
            };
            match accepted {
                Ok((stream, address)) => self.take(stream, address),
                Err(error) => {
                    // Out of file descriptors, or the client was gone already: go on, but do not spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        // Closing the socket resets what waits in its queue: those clients are connected already.
        let listener = listener.into_std()?;
        for _ in 0..BACKLOG {
            let Ok((stream, address)) = listener.accept() else { break };
            stream.set_nonblocking(true)?;
            self.take(TcpStream::from_std(stream)?, address);
        }
        Ok(())
    }

    fn take(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let Some(slot) = self.gateway.take_connection() else {
            tracing::warn!("a connection was refused: [server] connections_max are open");
            return;
        };
        // A failed option costs latency, not correctness.
        let _ = stream.set_nodelay(true);
        let acceptor = self.clone();
        tokio::spawn(async move {
            if let Err(error) = acceptor.serve(stream, address, slot).await {
                tracing::debug!(%error, "connection ended with an error");
            }
        });
    }

    async fn serve(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
        slot: ConnectionSlot,
    ) -> io::Result<()> {
        let _slot = slot;
        let mut counted = self.gateway.metrics.connections.enter((ConnectionState::Handshake,));
        let settings = self.gateway.settings().clone();
        let mut address = address;
        if settings.proxy_protocol && is_trusted(&settings.trusted_proxies, address.ip()) {
            let head = tokio::time::timeout(HANDSHAKE_MAX, read_proxy_head(&mut stream)).await;
            // The proxy's own health checks come from the proxy.
            address = head.map_err(|_| io::ErrorKind::TimedOut)??.unwrap_or(address);
        }
        let peer = Peer::new(&self.gateway, address);
        let stall = settings.http.write_stall_timeout;
        let Some(tls) = &self.tls else {
            counted.switch((ConnectionState::Open,));
            return self.speak_http1(StallGuard::new(stream, stall), peer).await;
        };
        let handshake = TlsAcceptor::from(tls.clone()).accept(stream);
        let stream =
            tokio::time::timeout(HANDSHAKE_MAX, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
        counted.switch((ConnectionState::Open,));
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = StallGuard::new(stream, stall);
        // Boxed, so that a connection holds only the room of the protocol it speaks.
        if is_h2 {
            Box::pin(self.speak_http2(stream, peer)).await
        } else {
            Box::pin(self.speak_http1(stream, peer)).await
        }
    }

    async fn speak_http2<S>(&self, stream: S, peer: Peer) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.gateway.settings().http.clone();
        let service = self.service(peer, &Arc::default(), true);
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .max_header_list_size(limits.head_bytes_max as u32)
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut stop = self.stop.clone();
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            self.note_failure(&error, peer);
        }
        Ok(())
    }

    async fn speak_http1<S>(&self, stream: S, peer: Peer) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let pulse = Arc::new(Pulse::default());
        let mut builder = http1::Builder::new();
        {
            let limits = &self.gateway.settings().http;
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head_timeout)
                .max_buf_size(limits.head_bytes_max.max(8 * 1024))
                // Not `pipeline_flush`: it buffers an answer without bounds for a client that does not read, and
                // holds a stream back while the head of a further request waits.
                .half_close(true);
        }
        let service = self.service(peer, &pulse, false);
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let mut stop = self.stop.clone();
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = async { stopped(&mut stop).await; quiet(&pulse).await } => {
                connection.as_mut().graceful_shutdown();
                // A connection that never carried a request does not end by itself.
                tokio::select! {
                    result = connection => result,
                    () = quiet(&pulse) => Ok(()),
                }
            }
        };
        if let Err(error) = result {
            self.note_failure(&error, peer);
        }
        Ok(())
    }

    /// What answers the requests of one connection.
    fn service(
        &self,
        peer: Peer,
        pulse: &Arc<Pulse>,
        is_h2: bool,
    ) -> impl HttpService<Incoming, ResBody = Beating<AnswerBody>, Error = Infallible, Future = Answering> + use<>
    {
        let (gateway, pool) = (self.gateway.clone(), self.pool.clone());
        let is_tls = self.tls.is_some();
        let (beats, sender) = (pulse.clone(), Arc::new(Sender::default()));
        service_fn(move |mut request: Request<Incoming>| -> Answering {
            let (gateway, pool, beat) = (gateway.clone(), pool.clone(), beats.begin());
            let sender = sender.clone();
            if is_tls {
                request.extensions_mut().insert(OverTls);
            }
            // Boxed, so that its room is given back when the answer begins: ten thousand open streams hold only
            // what they need.
            Box::pin(async move {
                let mut answer = crate::path::answer(gateway.clone(), pool, peer, &sender, request).await;
                // HTTP/2 has its own word for it; a tunnel has no next request.
                if gateway.is_draining() && !is_h2 && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok(answer.map(|body| beat.over(body)))
            })
        })
    }

    /// A head that is not HTTP never reaches a handler: it is answered by the library and recorded here.
    fn note_failure(&self, error: &hyper::Error, peer: Peer) {
        if error.is_parse() || error.is_parse_too_large() {
            crate::path::record_malformed(&self.gateway, peer);
        }
        tracing::debug!(%error, "connection ended");
    }
}

/// Reads a PROXY protocol head; `None` when the connection's own address counts.
async fn read_proxy_head(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let wrong =
        |error: proxy_protocol::ProxyHeadError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let mut fixed = [0; FIXED_LEN];
    stream.read_exact(&mut fixed).await?;
    let mut variable = vec![0; proxy_protocol::variable_len(&fixed).map_err(wrong)?];
    stream.read_exact(&mut variable).await?;
    proxy_protocol::source(&fixed, &variable).map_err(wrong)
}

/// Waits until a connection was quiet for [`LINGER`]. At shutdown each answer says that the connection closes;
/// to close an idle one at once would break a request that is on its way.
async fn quiet(pulse: &Pulse) {
    let mut seen = pulse.count();
    let mut quiet = Duration::ZERO;
    while quiet < LINGER {
        tokio::time::sleep(LINGER_STEP).await;
        let count = pulse.count();
        quiet = if pulse.is_busy() || count != seen { Duration::ZERO } else { quiet + LINGER_STEP };
        seen = count;
    }
}

/// Waits until the gateway shuts down.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A closed channel means that whoever would say it is gone: then it is over, too.
    let _ = stop.wait_for(|stop| *stop).await;
}
