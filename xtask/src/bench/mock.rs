//! The upstream mock: a lean HTTP/1.1 server with canned answers, run as its own process.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, Sleep};

use super::traffic::{self, Kind};

/// Time between two frames of a paced stream.
const PACE: Duration = Duration::from_millis(20);

/// The pause in a brief stream: long enough that the first frame travels alone.
const PAUSE: Duration = Duration::from_millis(5);

/// Serves on `port` of the loopback address until the process is ended.
///
/// # Errors
/// When the port can not be listened on.
pub(super) async fn serve(port: u16) -> anyhow::Result<()> {
    serve_on(listen(port).with_context(|| format!("the mock can not listen on port {port}"))?).await
}

/// Serves on a socket.
///
/// # Errors
/// When no more connections can be accepted.
pub(super) async fn serve_on(listener: TcpListener) -> anyhow::Result<()> {
    let canned = Arc::new(Canned { answer: traffic::answer(), frames: traffic::frames() });
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve_connection(stream, canned.clone()));
    }
}

/// Listens on `port` of the loopback address; 0 finds a free one.
///
/// # Errors
/// When the port is taken.
pub(super) fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    socket.listen(4_096)
}

async fn serve_connection(stream: TcpStream, canned: Arc<Canned>) {
    // A failed option would show in the figures of every target alike.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let canned = canned.clone();
        async move { Ok::<_, Infallible>(answer(request, &canned).await) }
    });
    // The error is that the peer went away, which is how every connection here ends.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Answers prepared once.
struct Canned {
    answer: Bytes,
    frames: Vec<Bytes>,
}

async fn answer(request: Request<Incoming>, canned: &Arc<Canned>) -> Response<Answer> {
    let kind = match request.into_body().collect().await {
        Ok(body) => Kind::of_request(&body.to_bytes()),
        Err(_) => None,
    };
    let Some(kind) = kind else {
        let mut response =
            Response::new(Answer::Whole(Some(Bytes::from_static(b"not a request of the bench"))));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let (body, content_type) = match kind {
        Kind::Chat => (Answer::Whole(Some(canned.answer.clone())), "application/json"),
        Kind::Burst => (Answer::Burst(Cursor::new(canned)), "text/event-stream"),
        Kind::Paced => (Answer::paced(canned), "text/event-stream"),
        Kind::Brief => {
            (Answer::Brief(Cursor::new(canned), Box::pin(tokio::time::sleep(PAUSE))), "text/event-stream")
        }
        Kind::Held => (Answer::Held(canned.frames.first().cloned()), "text/event-stream"),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The frames of a stream that are still to be sent.
struct Cursor {
    canned: Arc<Canned>,
    next: usize,
}

impl Cursor {
    fn new(canned: &Arc<Canned>) -> Self {
        Self { canned: canned.clone(), next: 0 }
    }

    fn take(&mut self) -> Option<Bytes> {
        let frame = self.canned.frames.get(self.next).cloned();
        self.next += 1;
        frame
    }
}

enum Answer {
    Whole(Option<Bytes>),
    Burst(Cursor),
    Paced { cursor: Cursor, started: Instant, timer: Pin<Box<Sleep>> },
    Brief(Cursor, Pin<Box<Sleep>>),
    Held(Option<Bytes>),
}

impl Answer {
    fn paced(canned: &Arc<Canned>) -> Self {
        let started = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(started));
        Self::Paced { cursor: Cursor::new(canned), started, timer }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Burst(cursor) => cursor.take(),
            Self::Paced { cursor, started, timer } => {
                if cursor.next > 0 {
                    ready!(timer.as_mut().poll(cx));
                }
                let frame = cursor.take();
                let ahead = u32::try_from(cursor.next).unwrap_or(u32::MAX);
                timer.as_mut().reset(*started + PACE.saturating_mul(ahead));
                frame
            }
            Self::Brief(cursor, pause) => {
                if cursor.next == 1 && !pause.is_elapsed() {
                    ready!(pause.as_mut().poll(cx));
                }
                cursor.take()
            }
            Self::Held(first) => match first.take() {
                Some(first) => Some(first),
                None => return Poll::Pending,
            },
        };
        Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            _ => SizeHint::default(),
        }
    }
}
