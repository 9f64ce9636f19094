//! Request bodies: read whole with limits and deadlines, or streamed through with the same.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadBodyError {
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the body did not arrive in time")]
    Timeout,
    #[error("the body broke off or its framing is wrong")]
    Broken,
    #[error("the body comes in too many pieces")]
    TooManyPieces,
}

/// Counts the pieces of a body: a million chunks of one byte cost far more than their megabyte.
#[derive(Default)]
struct Pieces(u64);

impl Pieces {
    /// So many may be of any size: whoever writes a body as it comes about writes small ones.
    const FREE: u64 = 16_384;
    /// Beyond that they have to hold so many bytes each, on average.
    const BYTES_MIN: u64 = 16;

    /// Takes in a piece; `bytes` is what came so far, with it.
    fn take(&mut self, bytes: u64) -> Result<(), ReadBodyError> {
        self.0 += 1;
        let is_too_fine = self.0 > Self::FREE && bytes / self.0 < Self::BYTES_MIN;
        if is_too_fine { Err(ReadBodyError::TooManyPieces) } else { Ok(()) }
    }
}

/// Limits of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) bytes_max: u64,
    pub(crate) stall: Duration,
    pub(crate) total: Duration,
}

/// A timer that costs nothing until something has to be waited for.
struct Deadline {
    end: Instant,
    last: Instant,
    stall: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(stall: Duration, total: Duration) -> Self {
        let now = Instant::now();
        Self { end: now + total, last: now, stall, timer: None }
    }

    fn touch(&mut self) {
        self.last = Instant::now();
    }

    /// Ready when the time is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = (self.last + self.stall).min(self.end);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            ready!(timer.as_mut().poll(cx));
            // Bytes may have come since the timer was set: wait for what is left.
            let due = (self.last + self.stall).min(self.end);
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

/// Reads a body whole.
pub(crate) async fn read_whole(mut body: Incoming, limits: BodyLimits) -> Result<Bytes, ReadBodyError> {
    if body.size_hint().lower() > limits.bytes_max {
        return Err(ReadBodyError::TooLarge(limits.bytes_max));
    }
    let mut deadline = Deadline::new(limits.stall, limits.total);
    let mut pieces = Pieces::default();
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    loop {
        let frame = std::future::poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => deadline.poll(cx).map(|()| Err(ReadBodyError::Timeout)),
        })
        .await?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| ReadBodyError::Broken)?.into_data() else { continue };
        deadline.touch();
        let have = rest.as_ref().map_or(first.len(), BytesMut::len);
        if (have + data.len()) as u64 > limits.bytes_max {
            return Err(ReadBodyError::TooLarge(limits.bytes_max));
        }
        pieces.take((have + data.len()) as u64)?;
        // One frame is the usual case and is not copied.
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                let hint = (body.size_hint().lower() as usize).min(1 << 20);
                let mut joined = BytesMut::with_capacity(first.len() + data.len() + hint);
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&data);
                rest = Some(joined);
            }
        }
    }
    Ok(rest.map_or(first, BytesMut::freeze))
}

/// Reads what a client still sends of a body that is refused, within bounds: closing a connection with unread
/// bytes would reset it, and the client would lose the refusal.
pub(crate) async fn discard(body: Incoming) {
    const DISCARD_MAX: u64 = 1 << 20;
    const DISCARD_TIME: Duration = Duration::from_secs(2);
    let limits = BodyLimits { bytes_max: u64::MAX, stall: DISCARD_TIME, total: DISCARD_TIME };
    if body.is_end_stream() || body.size_hint().lower() > DISCARD_MAX {
        return;
    }
    let mut upload = Upload::new(body, BodyLimits { bytes_max: DISCARD_MAX, ..limits });
    while let Some(Ok(_)) = std::future::poll_fn(|cx| upload.poll_data(cx)).await {}
}

/// A body on its way to a provider.
pub(crate) enum OutBody {
    /// In one piece.
    Whole(Option<Bytes>),
    /// Streams through.
    Upload(Upload),
}

/// An upload that streams through within its limits.
pub(crate) struct Upload {
    body: Incoming,
    left: u64,
    bytes_max: u64,
    pieces: Pieces,
    deadline: Deadline,
}

impl Upload {
    pub(crate) fn new(body: Incoming, limits: BodyLimits) -> Self {
        let bytes_max = limits.bytes_max;
        let deadline = Deadline::new(limits.stall, limits.total);
        Self { body, left: bytes_max, bytes_max, pieces: Pieces::default(), deadline }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = ReadBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadBodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => {
                Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))))
            }
            Self::Upload(upload) => upload.poll_data(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Upload(upload) => upload.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Upload(upload) => upload.body.size_hint(),
        }
    }
}

impl Upload {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReadBodyError>>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return self.deadline.poll(cx).map(|()| Some(Err(ReadBodyError::Timeout)));
            };
            let frame = match frame {
                None => return Poll::Ready(None),
                Some(Err(_)) => return Poll::Ready(Some(Err(ReadBodyError::Broken))),
                Some(Ok(frame)) => frame,
            };
            // Trailers are dropped: they could be framing, routing or credentials.
            let Ok(data) = frame.into_data() else { continue };
            self.deadline.touch();
            let Some(left) = self.left.checked_sub(data.len() as u64) else {
                return Poll::Ready(Some(Err(ReadBodyError::TooLarge(self.bytes_max))));
            };
            self.left = left;
            if let Err(error) = self.pieces.take(self.bytes_max - left) {
                return Poll::Ready(Some(Err(error)));
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }
}
