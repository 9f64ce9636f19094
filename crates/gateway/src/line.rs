//! A connection to a provider: HTTP/1.1, driven by the task that waits for its answer. No task of its own, no channel:
//! what arrives is handed on by whoever reads it.
//!
//! It is ours, and not the HTTP library's client, because every piece of every stream goes this way. Framing is
//! strict: what two readers could take for different bodies is refused, or at least ends the connection.
//!
//! Invariants:
//! * Bytes move only while somebody polls. An idle line is looked at before it is used again.
//! * A line is used again only when request and answer are over and nothing is left over.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::header::UPGRADE;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokenwatch_wire::answer::{Answer, Asked, Framing, ReadAnswerError, Step, chunked, take_head};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use self::head::Sending;
use crate::body::{OutBody, ReadBodyError};

mod head;

/// Room for the first read; most pieces of streams fit.
const READ_MIN: usize = 4 * 1024;
/// Most bytes read at once.
const READ_MAX: usize = 64 * 1024;

/// Why an exchange with a provider ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// The connection ended before the answer did.
    #[error("the connection ended before the answer did")]
    Ended,
    #[error("reading or writing failed: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Garbage(#[from] ReadAnswerError),
    #[error("the request's own body failed: {0}")]
    Body(ReadBodyError),
}

/// Why an exchange gave no answer.
pub(crate) struct Failed {
    pub(crate) error: LineError,
    /// The request, when nothing of it was written.
    pub(crate) unsent: Option<Request<OutBody>>,
}

/// The bytes below HTTP.
pub(crate) enum Wire {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! over_wire {
    ($self:expr, $io:ident => $call:expr) => {
        match $self {
            Wire::Tcp($io) => {
                let $io = Pin::new($io);
                $call
            }
            Wire::Tls($io) => {
                let $io = Pin::new(&mut **$io);
                $call
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        over_wire!(self.get_mut(), io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        over_wire!(self.get_mut(), io => io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        over_wire!(self.get_mut(), io => io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        over_wire!(self.get_mut(), io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        over_wire!(self.get_mut(), io => io.poll_shutdown(cx))
    }
}

/// A request on its way out.
struct Outgoing {
    /// What is to be written next: framing, data, framing.
    before: Bytes,
    data: Bytes,
    after: &'static [u8],
    body: OutBody,
    sending: Sending,
    is_over: bool,
    written: u64,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self {
            before: Bytes::new(),
            data: Bytes::new(),
            after: &[],
            body: OutBody::Whole(None),
            sending: Sending::Plain,
            is_over: true,
            written: 0,
        }
    }
}

impl Outgoing {
    fn advance(&mut self, mut count: usize) {
        self.written += count as u64;
        for part in [&mut self.before, &mut self.data] {
            let taken = count.min(part.len());
            part.advance(taken);
            count -= taken;
        }
        self.after.advance(count.min(self.after.len()));
        // A long prompt is not kept while its answer comes.
        if self.data.is_empty() {
            self.data = Bytes::new();
        }
        if let OutBody::Whole(bytes) = &mut self.body {
            *bytes = None;
        }
    }

    /// Puts the next piece of the body in place; ready with false when there is none any more.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ReadBodyError>> {
        if self.is_over {
            return Poll::Ready(Ok(false));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Err(error)) => return Poll::Ready(Err(error)),
            Some(Ok(frame)) => {
                // Trailers do not travel.
                self.data = frame.into_data().unwrap_or_default();
                // A chunk without bytes would end the body.
                if self.sending == Sending::Chunked && !self.data.is_empty() {
                    (self.before, self.after) = chunked::frame(self.data.len());
                }
            }
            None => {
                self.is_over = true;
                if self.sending == Sending::Chunked {
                    self.after = chunked::LAST;
                }
            }
        }
        Poll::Ready(Ok(true))
    }

    fn is_written(&self) -> bool {
        self.before.is_empty() && self.data.is_empty() && self.after.is_empty()
    }
}

/// A connection to a provider.
pub(crate) struct Line {
    wire: Wire,
    arrived: BytesMut,
    /// Room made for the next read.
    room: usize,
    out: Outgoing,
}

impl Line {
    pub(crate) fn new(wire: Wire) -> Box<Self> {
        Box::new(Self { wire, arrived: BytesMut::new(), room: READ_MIN, out: Outgoing::default() })
    }

    /// Whether a request can be sent: the provider has not closed the connection, and has said nothing unasked.
    pub(crate) fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.wire).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn exchange(
        mut self: Box<Self>,
        request: Request<OutBody>,
    ) -> Result<Response<Inflow>, Failed> {
        let (parts, body) = request.into_parts();
        let (head, sending) = head::write(&parts, &body);
        let asked =
            Asked { is_head: parts.method == Method::HEAD, is_upgrade: parts.headers.contains_key(UPGRADE) };
        // A whole body goes out with its head, and is kept until something was written.
        let (data, is_over) = match &body {
            OutBody::Whole(bytes) => (bytes.clone().unwrap_or_default(), true),
            OutBody::Upload(_) => (Bytes::new(), false),
        };
        self.out = Outgoing { before: head.freeze(), data, body, sending, is_over, ..Outgoing::default() };
        match std::future::poll_fn(|cx| self.poll_answer(cx, asked)).await {
            Ok(Answer { head, framing, keeps }) => Ok(head.map(|()| Inflow { line: self, framing, keeps })),
            Err(error) => {
                let is_unsent = self.out.written == 0 && !matches!(error, LineError::Body(_));
                let unsent = is_unsent.then(|| Request::from_parts(parts, self.out.body));
                Err(Failed { error, unsent })
            }
        }
    }

    /// Writes the request and reads the head of its answer, which may come before all was written.
    fn poll_answer(&mut self, cx: &mut Context<'_>, asked: Asked) -> Poll<Result<Answer, LineError>> {
        let sent = match self.poll_send(cx) {
            Poll::Ready(Err(error @ LineError::Body(_))) => return Poll::Ready(Err(error)),
            Poll::Ready(Err(error)) => Some(error),
            _ => None,
        };
        loop {
            if !self.arrived.is_empty()
                && let Some(answer) = take_head(&mut self.arrived, asked)?
            {
                return Poll::Ready(Ok(answer));
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                // Who answers and closes before all was written has answered; who has not, has failed.
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(sent.unwrap_or(LineError::Ended))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(sent.unwrap_or(error.into()))),
                Poll::Pending => return sent.map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
            }
        }
    }

    /// Ready when the request is written whole.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LineError>> {
        loop {
            while !self.out.is_written() {
                let Outgoing { before, data, after, .. } = &self.out;
                let parts = [before, data, *after].map(io::IoSlice::new);
                match ready!(Pin::new(&mut self.wire).poll_write_vectored(cx, &parts))? {
                    0 => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into())),
                    count => self.out.advance(count),
                }
            }
            match self.out.poll_next(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(LineError::Body(error))),
                next => {
                    // What waits for more of the body must not keep what was written.
                    ready!(Pin::new(&mut self.wire).poll_flush(cx))?;
                    return next.map(|_| Ok(()));
                }
            }
        }
    }

    /// Reads what has arrived: how many bytes; none at the end of the connection.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.arrived.capacity() - self.arrived.len() < READ_MIN {
            self.arrived.reserve(self.room);
        }
        let room = self.arrived.capacity() - self.arrived.len();
        let read = std::pin::pin!(self.wire.read_buf(&mut self.arrived)).poll(cx);
        if let Poll::Ready(Ok(count)) = read {
            self.room = if count == room { (self.room * 2).min(READ_MAX) } else { self.room };
        }
        read
    }
}

/// The body of a provider's answer with the line that it comes over. Dropping it before its end closes the line,
/// which tells the provider to stop.
pub(crate) struct Inflow {
    /// Boxed, because it goes from hand to hand.
    line: Box<Line>,
    framing: Framing,
    keeps: bool,
}

impl Inflow {
    /// The line, if it can be used again.
    pub(crate) fn into_line(self) -> Option<Box<Line>> {
        let Self { mut line, framing, keeps } = self;
        let is_clean = keeps && framing.is_done() && line.arrived.is_empty();
        let is_sent = line.out.is_over && line.out.is_written();
        line.out = Outgoing::default();
        // A long answer's room is not kept for an idle line.
        line.arrived = BytesMut::new();
        (is_clean && is_sent).then_some(line)
    }

    /// The bytes both ways, after the provider has switched protocols.
    pub(crate) fn into_upgraded(self) -> Upgraded {
        let Line { arrived, wire, .. } = *self.line;
        Upgraded { first: arrived.freeze(), wire }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LineError>>> {
        let Self { line, framing, keeps } = self;
        if !(line.out.is_over && line.out.is_written()) {
            match line.poll_send(cx) {
                Poll::Ready(Err(error @ LineError::Body(_))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Err(_)) => {
                    // It has answered and reads no further.
                    line.out = Outgoing::default();
                    *keeps = false;
                }
                _ => {}
            }
        }
        loop {
            match framing.take(&mut line.arrived)? {
                Step::Data(data) => return Poll::Ready(Some(Ok(data))),
                Step::End => return Poll::Ready(None),
                Step::More if ready!(line.poll_fill(cx))? > 0 => {}
                Step::More if matches!(framing, Framing::Close) => *framing = Framing::Done,
                Step::More => return Poll::Ready(Some(Err(LineError::Ended))),
            }
        }
    }
}

impl Body for Inflow {
    type Data = Bytes;
    type Error = LineError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LineError>>> {
        self.get_mut().poll_data(cx).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.framing.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            Framing::Done => SizeHint::with_exact(0),
            Framing::Chunked(_) | Framing::Close => SizeHint::default(),
        }
    }
}

/// A connection that has switched protocols.
pub(crate) struct Upgraded {
    /// What arrived with the head.
    first: Bytes,
    wire: Wire,
}

impl AsyncRead for Upgraded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { first, wire } = self.get_mut();
        if first.is_empty() {
            return Pin::new(wire).poll_read(cx, buf);
        }
        let length = first.len().min(buf.remaining());
        buf.put_slice(&first.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
