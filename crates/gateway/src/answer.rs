//! The answer on its way to the client: passes through at once while usage is read from it; can be cut.
//!
//! Frames that have already arrived are written together, up to 16 KiB: the body takes what the provider's
//! connection has before it hands anything on. It never waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::{Cut, Outcome, UpstreamFailure};
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::usage::{TokenUsage, UsageSource};
use tokenwatch_wire::tap::{Pass, Tap, TapSummary};
use tokio::time::{Sleep, sleep};

use crate::line::Inflow;
use crate::live::SoFar;
use crate::path::consumes_tokens;
use crate::pool::Pool;
use crate::settings::Provider;
use crate::ticket::{Consumed, Ticket};

/// Why a body ends early: the connection is closed so that the client can not take it for whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The provider's answer broke off.
    #[error("the provider's answer broke off")]
    Upstream,
    /// The gateway cut the answer.
    #[error("the answer was cut")]
    Cut,
}

/// A body the gateway answers with.
pub(crate) enum AnswerBody {
    /// In one piece: refusals, filtered lists, health.
    Whole(Option<Bytes>),
    /// Passing through.
    Passing(Box<Passing>),
}

impl AnswerBody {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes: Bytes = bytes.into();
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passing(passing) => passing.poll_written(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Passing(passing) => passing.done && passing.failed.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Passing(passing) if passing.keeps_length => {
                passing.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
            }
            Self::Passing(_) => SizeHint::default(),
        }
    }
}

/// Where the connection goes back to when the answer was read whole.
pub(crate) struct Return {
    pub(crate) pool: Arc<Pool>,
    pub(crate) provider: Arc<Provider>,
}

/// Bytes joined before they are handed on.
const JOIN_MAX: usize = 16 * 1024;
/// Output tokens between two looks at the budget.
const LOOK_EVERY: u64 = 32;
/// Longest time a finished client's answer is read on for the sake of its usage.
const DRAIN_MAX: Duration = Duration::from_secs(120);

/// An answer passing through.
pub(crate) struct Passing {
    body: Option<Inflow>,
    /// Taken when the answer ends, however it does.
    tap: Option<Tap>,
    stream: bool,
    keeps_length: bool,
    ticket: Option<Ticket>,
    back: Option<Return>,
    joined: Option<Bytes>,
    more: BytesMut,
    last: Instant,
    stall: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    looked_at: u64,
    /// What is held for the request; a stream that costs more has to draw on its budgets, and is cut when they end.
    held: NanoUsd,
    done: bool,
    /// What breaks the answer off once everything before it was written.
    failed: Option<AnswerError>,
}

/// What a [`Passing`] is made of.
pub(crate) struct PassingParts {
    pub(crate) body: Inflow,
    pub(crate) tap: Tap,
    pub(crate) stream: bool,
    pub(crate) keeps_length: bool,
    pub(crate) ticket: Ticket,
    /// `None` when the connection may not be used again.
    pub(crate) back: Option<Return>,
    pub(crate) stall: Duration,
    pub(crate) held: NanoUsd,
}

impl Passing {
    pub(crate) fn new(parts: PassingParts) -> Self {
        let PassingParts { body, tap, stream, keeps_length, ticket, back, stall, held } = parts;
        Self {
            body: Some(body),
            tap: Some(tap),
            stream,
            keeps_length,
            ticket: Some(ticket),
            back,
            joined: None,
            more: BytesMut::new(),
            last: Instant::now(),
            stall,
            timer: None,
            looked_at: 0,
            held,
            done: false,
            failed: None,
        }
    }

    /// An error closes the connection at once and what was handed on before is lost with it: the error is said
    /// at the next poll, after that was written.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match self.poll(cx) {
            Poll::Ready(Some(Err(error))) => {
                self.failed = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if let Some(cut) = self.poll_cut(cx) {
            return Poll::Ready(self.cut(cut));
        }
        loop {
            let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are dropped: they could be framing, routing or credentials.
                    let Ok(data) = frame.into_data() else { continue };
                    self.take_in(data);
                    // A body of known length is dropped unpolled once its last byte is written: end it here.
                    if self.body.as_ref().is_some_and(Body::is_end_stream) {
                        return self.end();
                    }
                    if let Some(cut) = self.find_cut() {
                        return Poll::Ready(self.cut(cut));
                    }
                    if (!self.stream || self.more.len() >= JOIN_MAX)
                        && let Some(bytes) = self.hand_on()
                    {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "the provider's answer broke off");
                    return self.broken();
                }
                Poll::Ready(None) => return self.end(),
                Poll::Pending => {
                    return match self.hand_on() {
                        Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                        None if self.poll_stall(cx).is_ready() => self.broken(),
                        None => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Registers for cuts and looks for one.
    fn poll_cut(&mut self, cx: &Context<'_>) -> Option<Cut> {
        let flight = self.ticket.as_mut()?.get()?.flight.as_ref()?;
        flight.poll_cut(cx)
    }

    fn find_cut(&self) -> Option<Cut> {
        self.ticket.as_ref()?.look_for_cut()
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let left = self.stall.saturating_sub(self.last.elapsed());
            if left.is_zero() {
                return Poll::Ready(());
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(left)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
        }
    }

    fn take_in(&mut self, data: Bytes) {
        self.last = Instant::now();
        let open = self.ticket.as_mut().and_then(Ticket::get);
        if let Some(open) = open
            && open.first_byte_us == 0
        {
            open.first_byte_us = open.started.elapsed().as_micros() as u64;
        }
        let passed = match self.tap.as_mut().map_or(Pass::All, |tap| tap.push(&data)) {
            Pass::All => data,
            Pass::Bytes(bytes) => bytes.into(),
        };
        if !passed.is_empty() {
            // The first frame is not copied; most answers have one.
            if self.joined.is_none() {
                self.joined = Some(passed);
            } else {
                if self.more.is_empty() {
                    self.more.extend_from_slice(self.joined.as_deref().unwrap_or_default());
                }
                self.more.extend_from_slice(&passed);
            }
        }
        self.look_at_budget();
    }

    fn hand_on(&mut self) -> Option<Bytes> {
        let first = self.joined.take()?;
        let bytes = if self.more.is_empty() { first } else { self.more.split().freeze() };
        if let Some(open) = self.ticket.as_mut().and_then(Ticket::get) {
            open.response_bytes += bytes.len() as u64;
        }
        Some(bytes)
    }

    /// Cuts the stream when it has cost more than was held for it and a budget ends there.
    fn look_at_budget(&mut self) {
        if !self.stream {
            return;
        }
        let output = self.tap.as_ref().map_or(0, Tap::estimate_so_far);
        if output < self.looked_at + LOOK_EVERY {
            return;
        }
        self.looked_at = output;
        let Some(ticket) = self.ticket.as_mut() else { return };
        let (gateway, claimed) = (ticket.gateway().clone(), ticket.claimed());
        let live = claimed.as_ref().map_or(&gateway.live, |claimed| &claimed.drilling.live);
        let Some(open) = ticket.get() else { return };
        // A drill has a clock of its own.
        let now = if claimed.is_some() { open.context.time } else { gateway.now() };
        let usage = TokenUsage { input: open.context.input_tokens_estimate, output, ..TokenUsage::default() };
        let cost = SoFar::new(&usage, &open.price.0);
        if let Some(flight) = &open.flight {
            flight.cost_so_far.store(cost.so_far.0, std::sync::atomic::Ordering::Relaxed);
            if cost.so_far > self.held {
                match live.cover(flight, now, self.held, cost) {
                    Some(held) => self.held = held,
                    None => flight.cut(Cut::Budget),
                }
            }
        }
    }

    /// The provider's answer is whole.
    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let (tail, summary) = self.finish_tap();
        if !tail.is_empty() {
            self.more.extend_from_slice(
                self.joined.take().as_deref().filter(|_| self.more.is_empty()).unwrap_or_default(),
            );
            self.more.extend_from_slice(&tail);
            self.joined = Some(Bytes::new());
        }
        let last = self.hand_on();
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && let Some(line) = body.into_line()
        {
            back.pool.give_back(&back.provider.origin, line);
        }
        self.settle(Outcome::Served, &summary);
        self.done = true;
        Poll::Ready(last.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn broken(&mut self) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let (_, summary) = self.finish_tap();
        self.stop();
        self.settle(Outcome::UpstreamFailed(UpstreamFailure::BodyBroken), &summary);
        Poll::Ready(Some(Err(AnswerError::Upstream)))
    }

    /// Ends the answer now. A stream says why in its own dialect; anything else is broken off.
    fn cut(&mut self, cut: Cut) -> Option<Result<Frame<Bytes>, AnswerError>> {
        self.done = true;
        if !self.stream {
            // The provider charges a whole answer: dropping this reads it on for its usage.
            return Some(Err(AnswerError::Cut));
        }
        let event = self.tap.as_ref().map_or_else(Vec::new, |tap| tap.cut(cut, ""));
        // What has arrived goes out in front: the event says whether it ends inside another one by it.
        let mut last = BytesMut::from(self.hand_on().unwrap_or_default());
        let (_, summary) = self.finish_tap();
        self.stop();
        self.settle(Outcome::Cut(cut), &summary);
        if event.is_empty() {
            return Some(Err(AnswerError::Cut));
        }
        last.extend_from_slice(&event);
        Some(Ok(Frame::data(last.freeze())))
    }

    /// Ends an answer that has no body at all: nobody would ask for it.
    pub(crate) fn end_if_empty(&mut self) {
        if self.body.as_ref().is_some_and(Body::is_end_stream) {
            // There is nothing to hand on.
            let _ = self.end();
        }
    }

    fn finish_tap(&mut self) -> (Vec<u8>, TapSummary) {
        self.tap.take().map_or_else(Default::default, Tap::finish)
    }

    fn stop(&mut self) {
        self.done = true;
        self.body = None;
        // A connection whose answer was not read to its end can not be used again.
        self.back = None;
    }

    fn settle(&mut self, outcome: Outcome, summary: &TapSummary) {
        let Some(mut ticket) = self.ticket.take() else { return };
        let Some(open) = ticket.get() else { return };
        let consumed = consumed(&open.context, open.status, outcome, summary);
        open.completion = summary.completion;
        if let Some(model) = &summary.model {
            crate::path::reprice(&ticket_settings(&ticket), &mut ticket, model);
        }
        ticket.finish(outcome, consumed);
    }
}

fn ticket_settings(ticket: &Ticket) -> Arc<crate::settings::Settings> {
    ticket.gateway().settings().clone()
}

/// What an answer consumed, from what was read of it.
pub(crate) fn consumed(
    context: &RequestContext,
    status: u16,
    outcome: Outcome,
    summary: &TapSummary,
) -> Consumed {
    if context.endpoint == Endpoint::Batches {
        return consumed_by_batch(context, status);
    }
    let seen = summary.output_tokens_estimate;
    match summary.usage {
        Some(usage) if summary.is_complete => Consumed { usage, source: UsageSource::Provider },
        // The final counts never came: the input is known, the output is at least what was seen.
        Some(usage) => Consumed { usage, source: UsageSource::Estimated },
        // Providers do not charge for errors.
        None if status >= 400 => Consumed::default(),
        None if outcome == Outcome::Served && !consumes_tokens(context.endpoint) => Consumed::default(),
        None => {
            let input = context.input_tokens_estimate;
            let usage = TokenUsage { input, output: seen, ..TokenUsage::default() };
            Consumed { usage, source: UsageSource::Estimated }
        }
    }
}

/// A batch is booked when it is made, at its worst case: what it consumes is known a day later, and read by whoever
/// likes, as often as they like. So looking at batches and their results is booked at nothing, whatever usage they tell.
pub(crate) fn consumed_by_batch(context: &RequestContext, status: u16) -> Consumed {
    let usage = TokenUsage {
        input: context.input_tokens_estimate,
        output: context.output_tokens_max,
        ..TokenUsage::default()
    };
    if status >= 400 || context.cost_worst == NanoUsd::ZERO {
        return Consumed::default();
    }
    Consumed { usage, source: UsageSource::Estimated }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let (Some(mut ticket), Some(body)) = (self.ticket.take(), self.body.take()) else { return };
        let Some(tap) = self.tap.take() else { return };
        match tokio::runtime::Handle::try_current() {
            // A whole answer is charged whether it is read or not: read it on, for its usage.
            Ok(runtime) if !self.stream => {
                runtime.spawn(drain(body, tap, ticket));
            }
            // Dropping the connection tells the provider to stop; what it wrote so far is what it charges.
            _ => {
                if let Some(open) = ticket.get() {
                    let (_, summary) = tap.finish();
                    let outcome = open.abandoned();
                    let consumed = consumed(&open.context, open.status, outcome, &summary);
                    open.completion = summary.completion;
                    ticket.finish(outcome, consumed);
                }
            }
        }
    }
}

/// Reads an answer nobody waits for, within [`DRAIN_MAX`], and books its usage.
pub(crate) async fn drain(mut body: Inflow, mut tap: Tap, mut ticket: Ticket) {
    let reading = async {
        while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            if let Some(data) = frame.data_ref() {
                tap.push(data);
            }
        }
    };
    // Running out of time leaves what was read, which is booked as an estimate.
    let _ = tokio::time::timeout(DRAIN_MAX, reading).await;
    let (_, summary) = tap.finish();
    if let Some(open) = ticket.get() {
        let outcome = open.abandoned();
        let consumed = consumed(&open.context, open.status, outcome, &summary);
        open.completion = summary.completion;
        ticket.finish(outcome, consumed);
    }
}
