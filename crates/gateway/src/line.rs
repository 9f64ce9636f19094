//! A connection to a provider, driven by the task that waits for its answer: no task of its own, so no hop
//! between tasks for a request, its answer, or any frame of a stream.
//!
//! Invariants:
//! * Bytes move only while somebody drives the line. An idle line is looked at before it is used again.
//! * A line is asked again only after its bell rang: being polled for other reasons costs almost nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};

use crate::body::OutBody;

/// Largest head of an answer, and most bytes of it read at once.
const BUFFER_MAX: usize = 256 * 1024;
/// Time for a connection to say goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;
type Unsent = TrySendError<Request<OutBody>>;

/// Tells the task that drives a line that something happened on it.
struct Bell {
    task: AtomicWaker,
    rung: AtomicBool,
    /// Whether the line is being driven at this moment: what rings then is seen when that ends.
    driven: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order, with the mirror image in `Line::drive`: one of the two sees the other.
        self.rung.store(true, Ordering::SeqCst);
        if !self.driven.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

/// A connection to a provider.
pub(crate) struct Line {
    sender: SendRequest<OutBody>,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
    bell: Arc<Bell>,
    waker: Waker,
}

impl Line {
    /// Speaks HTTP/1.1 over a connected socket.
    pub(crate) async fn open<I>(io: I) -> hyper::Result<Self>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER_MAX).handshake(io).await?;
        let bell =
            Bell { task: AtomicWaker::new(), rung: AtomicBool::new(true), driven: AtomicBool::new(false) };
        let bell = Arc::new(bell);
        let waker = Waker::from(bell.clone());
        Ok(Self { sender, driver: Some(Box::pin(connection.with_upgrades())), bell, waker })
    }

    /// Whether a request can be sent. Looks at the connection, so that one which the provider has closed
    /// meanwhile is known to be.
    pub(crate) fn is_open(&mut self) -> bool {
        // Nobody waits for it now.
        drop(self.bell.task.take());
        self.move_bytes();
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn exchange(mut self, request: Request<OutBody>) -> Result<Response<Inflow>, Unsent> {
        let mut sending = std::pin::pin!(self.sender.try_send_request(request));
        self.bell.rung.store(true, Ordering::SeqCst);
        let response = std::future::poll_fn(|cx| self.drive(cx, |cx| sending.as_mut().poll(cx))).await?;
        Ok(response.map(|body| Inflow { body, line: self }))
    }

    /// Moves bytes both ways as far as they go.
    fn move_bytes(&mut self) {
        let mut cx = Context::from_waker(&self.waker);
        if self.driver.as_mut().is_some_and(|driver| driver.as_mut().poll(&mut cx).is_ready()) {
            self.driver = None;
        }
    }

    /// Asks `ready` before and after bytes were moved. Pending means that the task is woken when the bell rings.
    fn drive<T>(&mut self, cx: &Context<'_>, mut ready: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.bell.task.register(cx.waker());
        if !self.bell.rung.swap(false, Ordering::SeqCst) {
            return Poll::Pending;
        }
        self.bell.driven.store(true, Ordering::SeqCst);
        let mut polled = ready(&mut Context::from_waker(&self.waker));
        if polled.is_pending() {
            self.move_bytes();
            polled = ready(&mut Context::from_waker(&self.waker));
        }
        self.bell.driven.store(false, Ordering::SeqCst);
        if polled.is_ready() {
            // There may be more behind it.
            self.bell.rung.store(true, Ordering::SeqCst);
        } else if self.bell.rung.load(Ordering::SeqCst) {
            // Rung while it was driven: other tasks come first, then this one looks again.
            cx.waker().wake_by_ref();
        }
        polled
    }
}

impl Drop for Line {
    /// Lets the connection go on by itself: into an upgrade, or, without its sender, to a polite end.
    fn drop(&mut self) {
        let Some(driver) = self.driver.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        // An error says that it ended otherwise than politely.
        runtime.spawn(async { drop(tokio::time::timeout(GOODBYE_MAX, driver).await) });
    }
}

/// The body of a provider's answer with the line that it comes over. Dropping it before its end closes the line,
/// which tells the provider to stop.
pub(crate) struct Inflow {
    body: Incoming,
    line: Line,
}

impl Inflow {
    /// The line of an answer that was read to its end.
    pub(crate) fn into_line(self) -> Line {
        self.line
    }
}

impl Body for Inflow {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, line } = self.get_mut();
        line.drive(cx, |cx| Pin::new(&mut *body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Runs a test with a line and the provider's end of it.
    fn check(test: impl AsyncFnOnce(Line, TcpStream)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let within = Duration::from_secs(20);
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (provider, _) = listener.accept().await.unwrap();
            let line = Line::open(TokioIo::new(client)).await.unwrap();
            tokio::time::timeout(within, test(line, provider)).await.unwrap();
        });
    }

    fn request() -> Request<OutBody> {
        Request::get("/").header("host", "provider").body(OutBody::Whole(None)).unwrap()
    }

    /// Reads a request and answers it.
    async fn answer(provider: &mut TcpStream, answer: &str) {
        let read = provider.read(&mut [0; 1_024]).await.unwrap();
        assert!(read > 0, "no request came");
        provider.write_all(answer.as_bytes()).await.unwrap();
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    #[test]
    fn a_line_serves_again_until_the_provider_closes_it() {
        check(async |mut line, mut provider| {
            for _ in 0..3 {
                assert!(line.is_open());
                let exchange = line.exchange(request());
                let (response, ()) = tokio::join!(exchange, answer(&mut provider, OK));
                let mut inflow = response.unwrap_or_else(|_| panic!("not sent")).into_body();
                let data = inflow.frame().await.unwrap().unwrap().into_data().unwrap();
                assert_eq!(data, "ok");
                line = inflow.into_line();
            }
            drop(provider);
            while line.is_open() {
                tokio::task::yield_now().await;
            }
            let unsent = line.exchange(request()).await.err().unwrap().take_message();
            assert!(unsent.is_some(), "a request that was not sent comes back");
        });
    }

    #[test]
    fn a_line_is_asked_again_only_after_its_bell_rang() {
        check(async |line, mut provider| {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let (response, ()) = tokio::join!(line.exchange(request()), answer(&mut provider, head));
            let mut inflow = response.unwrap_or_else(|_| panic!("not sent")).into_body();
            let mut cx = Context::from_waker(Waker::noop());
            while inflow.line.bell.rung.load(Ordering::SeqCst) {
                assert!(Pin::new(&mut inflow).poll_frame(&mut cx).is_pending());
            }
            let mut asked = 0;
            let polled = inflow.line.drive(&cx, |_| {
                asked += 1;
                Poll::<()>::Pending
            });
            assert!(polled.is_pending() && asked == 0, "asked {asked} times");
            provider.write_all(b"2\r\nhi\r\n").await.unwrap();
            let data = inflow.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data, "hi");
        });
    }

    #[test]
    fn dropping_an_answer_before_its_end_closes_the_line() {
        check(async |line, mut provider| {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
            let (response, ()) = tokio::join!(line.exchange(request()), answer(&mut provider, head));
            drop(response);
            assert_eq!(provider.read(&mut [0; 16]).await.unwrap_or(0), 0);
        });
    }
}
