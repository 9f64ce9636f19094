//! The body of an answer: whole, or in pieces with pauses and a chosen end.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::state::Watch;

/// A connection that an injected failure breaks off.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken off on purpose")
    }
}

impl std::error::Error for Broken {}

/// How a body in pieces ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Properly.
    Done,
    /// As if it were whole, though its head announced more.
    Early,
    /// Never: silence with the connection open.
    Hang,
    /// The connection breaks.
    Broken,
}

/// A body in pieces.
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    pause: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether a piece was just handed on and must reach the wire before the next.
    flushing: bool,
    ending: Ending,
    watch: Option<Watch>,
}

/// The body of an answer.
pub(crate) enum Reply {
    /// In one piece, with its length in the head.
    Whole(Bytes),
    /// In pieces, each flushed by itself; its length is not announced.
    Pieces(Box<Pieces>),
}

impl Reply {
    pub(crate) fn pieces(pieces: VecDeque<Bytes>, pause: Duration, ending: Ending) -> Self {
        Self::Pieces(Box::new(Pieces { pieces, pause, sleep: None, flushing: false, ending, watch: None }))
    }
}

impl Pieces {
    /// Has it noticed when the body is dropped before its end.
    pub(crate) fn watched_by(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// Keeps the first `count` pieces and ends otherwise.
    pub(crate) fn stop_after(&mut self, count: usize, ending: Ending) {
        self.pieces.truncate(count);
        self.ending = ending;
    }

    /// The pieces, without pauses and end.
    pub(crate) fn into_pieces(self) -> VecDeque<Bytes> {
        self.pieces
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        } else if self.flushing {
            // hyper flushes what it has when a body is not ready; being asked again at once costs one poll.
            self.flushing = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.pieces.pop_front() {
            Some(piece) => {
                let paced = !self.pause.is_zero() && !self.pieces.is_empty();
                self.sleep = paced.then(|| Box::pin(tokio::time::sleep(self.pause)));
                self.flushing = !paced && (!self.pieces.is_empty() || self.ending != Ending::Done);
                Poll::Ready(Some(Ok(piece)))
            }
            None => self.poll_end(),
        }
    }

    fn poll_end(&mut self) -> Poll<Option<Result<Bytes, Broken>>> {
        // A body that hangs has no end: whoever leaves it abandons it.
        if let Some(watch) = self.watch.as_mut().filter(|_| self.ending != Ending::Hang) {
            watch.ended();
        }
        match self.ending {
            Ending::Done | Ending::Early => Poll::Ready(None),
            // Nobody will wake it: only the client's leaving ends it.
            Ending::Hang => Poll::Pending,
            Ending::Broken => Poll::Ready(Some(Err(Broken))),
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pieces(pieces) => {
                pieces.poll_piece(cx).map(|piece| piece.map(|result| result.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}
