//! The bytes of one connection, with the failures that HTTP itself can not express.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Sleep;

const NONE: u8 = 0;
const RESET: u8 = 1;
const GARBAGE: u8 = 2;
const SLOW: u8 = 3;

/// Starts like a TLS handshake, so that no HTTP parser takes it for anything.
const GARBAGE_BYTES: &[u8] = b"\x16\x03\x03\x00\x2a\x01 this is not HTTP \x00\xff\xfe\r\n\r\n";

/// How many bytes a slow head is written one by one.
const SLOW_BYTES: usize = 64;

/// What is to go wrong on a connection; the service sets it, the line obeys.
#[derive(Debug, Default)]
pub(crate) struct Fault {
    mode: AtomicU8,
    pause_ms: AtomicU64,
}

impl Fault {
    /// The connection ends with RST instead of FIN when it is dropped.
    pub(crate) fn reset(&self) {
        self.mode.store(RESET, Ordering::Relaxed);
    }

    /// The next write puts something on the wire that is not HTTP, and ends the connection.
    pub(crate) fn garbage(&self) {
        self.mode.store(GARBAGE, Ordering::Relaxed);
    }

    /// The next bytes leave one by one with a pause before each.
    pub(crate) fn slow(&self, pause: Duration) {
        self.pause_ms.store(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.mode.store(SLOW, Ordering::Relaxed);
    }
}

/// A TCP stream that obeys a [`Fault`].
pub(crate) struct Line {
    stream: TokioIo<TcpStream>,
    fault: Arc<Fault>,
    sleep: Option<Pin<Box<Sleep>>>,
    slow_left: usize,
}

impl Line {
    pub(crate) fn new(stream: TcpStream) -> (Self, Arc<Fault>) {
        let fault = Arc::new(Fault::default());
        let line = Self {
            stream: TokioIo::new(stream),
            fault: Arc::clone(&fault),
            sleep: None,
            slow_left: SLOW_BYTES,
        };
        (line, fault)
    }

    fn mode(&self) -> u8 {
        self.fault.mode.load(Ordering::Relaxed)
    }

    fn write_garbage(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.stream).poll_write(cx, GARBAGE_BYTES))?;
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn write_slowly(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let pause = Duration::from_millis(self.fault.pause_ms.load(Ordering::Relaxed));
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        ready!(sleep.as_mut().poll(cx));
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes.get(..1).unwrap_or_default()))?;
        self.sleep = None;
        self.slow_left = self.slow_left.saturating_sub(1);
        if self.slow_left == 0 {
            self.slow_left = SLOW_BYTES;
            self.fault.mode.store(NONE, Ordering::Relaxed);
        }
        Poll::Ready(Ok(written))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.mode() == RESET {
            // Linger of zero makes the close an RST. Fails only when the socket is already gone.
            let _ = self.stream.inner().set_zero_linger();
        }
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.mode() {
            GARBAGE => self.write_garbage(cx),
            SLOW => self.write_slowly(cx, bytes),
            _ => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.mode() {
            NONE | RESET => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
            _ => {
                let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
                self.poll_write(cx, first)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
