//! Whether a connection is in use: counted from a request's head to the end of its answer's body.
//!
//! At shutdown an idle connection may carry a request that has not arrived yet, so idle ones are closed only
//! after they were quiet for a while.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// The use of one connection.
#[derive(Default)]
pub(crate) struct Pulse {
    begun: AtomicU64,
    running: AtomicUsize,
}

impl Pulse {
    /// Counts a request in, until the beat is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Beat {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        Beat(self.clone())
    }

    /// Requests so far.
    pub(crate) fn count(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether an answer is not finished.
    pub(crate) fn is_busy(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }
}

/// One request on a connection.
pub(crate) struct Beat(Arc<Pulse>);

impl Beat {
    /// Ties the request to its answer's body.
    pub(crate) fn over<B>(self, body: B) -> Beating<B> {
        Beating { body, beat: self }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// A body that keeps its connection in use until it is gone.
    pub(crate) struct Beating<B> {
        #[pin]
        body: B,
        beat: Beat,
    }
}

impl<B: Body> Body for Beating<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
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
    use http_body_util::Empty;

    use super::*;

    #[test]
    fn a_connection_is_in_use_until_the_body_is_gone() {
        let pulse = Arc::new(Pulse::default());
        assert!(!pulse.is_busy());
        let beat = pulse.begin();
        assert!(pulse.is_busy());
        let body = beat.over(Empty::<bytes::Bytes>::new());
        assert!(pulse.is_busy() && body.is_end_stream());
        drop(body);
        assert!(!pulse.is_busy());
        assert_eq!(pulse.count(), 1);
    }
}
