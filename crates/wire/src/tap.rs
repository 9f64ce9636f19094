//! Reading usage, model and progress from an answer while it passes.
//!
//! Invariants:
//! * What is forwarded never depends on how the bytes were cut into chunks, and nothing is held back but, when
//!   a usage chunk is to be stripped, an event that is not complete yet.
//! * Memory is bounded by [`TapConfig::body_limit`], whatever passes.
//! * Text inside an answer is never taken for its usage: only members of the answer's own objects count.

use smol_str::SmolStr;
use tokenwatch_model::outcome::Cut;
use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_model::usage::TokenUsage;

use crate::encoding::{Encoding, StreamDecoder};
use crate::refuse::{ErrorBody, quote};
use crate::sketch::{Answer, ContentKey};

mod body;
mod reading;
mod said;
mod sse;
#[cfg(test)]
mod tests;

use body::BodyReader;
use reading::Reading;
use sse::{Advance, Sse};

/// Bytes that are decoded of one answer before it is no longer read.
const DECODED_MAX: u64 = 1 << 30;

/// What answer passes, and what to do with it.
#[derive(Clone, Copy, Debug)]
pub struct TapConfig {
    /// The dialect of the route.
    pub dialect: Dialect,
    /// What was called.
    pub endpoint: Endpoint,
    /// Whether the answer is an event stream (`Content-Type: text/event-stream`).
    pub stream: bool,
    /// Whether to take out the usage chunk that the client did not ask for. Not possible, and not done, when
    /// the answer is compressed: ask for `identity` upstream.
    pub strip_usage: bool,
    /// The answer's `Content-Encoding`.
    pub encoding: Encoding,
    /// Most bytes held of one event, or of one member of a JSON answer.
    pub body_limit: usize,
    /// Keys the sketch of the answer's text; `None` when content signals are off.
    pub content: Option<ContentKey>,
}

/// What to forward for a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The chunk as it is.
    All,
    /// These bytes instead; perhaps none.
    Bytes(Vec<u8>),
}

/// What an answer said.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TapSummary {
    /// Tokens as the provider reported them. Of a stream that ended early the output is raised to the
    /// estimate: Anthropic states a token or two at the start.
    pub usage: Option<TokenUsage>,
    /// The model that answered.
    pub model: Option<SmolStr>,
    /// The service tier that was used.
    pub service_tier: Option<SmolStr>,
    /// Whether the answer came to its end: the last event, or the whole JSON document.
    pub is_complete: bool,
    /// Output tokens, estimated from what passed.
    pub output_tokens_estimate: u64,
    /// Whether the answer was, or held, an error.
    pub has_error: bool,
    /// Whether some of it could not be read: too large an event, or broken compression.
    pub is_blind: bool,
    /// Sketch of the start of the answer's text; 0 when it has none, or content signals are off.
    pub completion: u64,
}

/// Reads one answer.
pub struct Tap {
    decoder: StreamDecoder,
    reader: Reader,
    reading: Reading,
    strip: Option<Strip>,
    is_blind: bool,
}

enum Reader {
    Events(Sse),
    Body(BodyReader),
}

/// State of taking out the usage chunk.
#[derive(Default)]
struct Strip {
    /// Bytes of the event that is not complete yet.
    held: Vec<u8>,
    /// Whether the last event was taken out: a line feed that completes its end goes with it.
    was_stripped: bool,
}

impl Tap {
    /// A tap for one answer.
    pub fn new(config: TapConfig) -> Self {
        let reader = if config.stream {
            Reader::Events(Sse::new(config.body_limit))
        } else {
            Reader::Body(BodyReader::new(config.body_limit, Answer::new(config.content)))
        };
        let can_strip = config.strip_usage && config.stream && config.encoding == Encoding::Identity;
        Self {
            decoder: StreamDecoder::new(config.encoding, DECODED_MAX),
            reader,
            reading: Reading::new(config.dialect, config.endpoint, Answer::new(config.content)),
            strip: can_strip.then(Strip::default),
            is_blind: false,
        }
    }

    /// Reads a chunk as it came from the provider; says what to forward for it.
    pub fn push(&mut self, chunk: &[u8]) -> Pass {
        let Self { decoder, reader, reading, strip, is_blind } = self;
        match (reader, strip) {
            (Reader::Events(sse), Some(strip)) => return push_stripping(sse, reading, strip, chunk),
            (Reader::Events(sse), None) => {
                *is_blind |= !decoder.push(chunk, &mut |bytes| push_events(sse, reading, bytes));
            }
            (Reader::Body(body), _) => *is_blind |= !decoder.push(chunk, &mut |bytes| body.push(bytes)),
        }
        Pass::All
    }

    /// Output tokens that have passed so far, estimated.
    pub fn estimate_so_far(&self) -> u64 {
        match &self.reader {
            Reader::Events(_) => self.reading.estimate(),
            Reader::Body(body) => self.reading.estimate_body(body.text_bytes()),
        }
    }

    /// Ends the answer: bytes that remain to be forwarded, and what was read.
    pub fn finish(self) -> (Vec<u8>, TapSummary) {
        let Self { decoder, mut reader, mut reading, strip, mut is_blind } = self;
        let is_whole = match &mut reader {
            Reader::Events(sse) => decoder.finish(&mut |bytes| push_events(sse, &mut reading, bytes)),
            Reader::Body(body) => decoder.finish(&mut |bytes| body.push(bytes)),
        };
        let mut tail = strip.map(|strip| strip.held).unwrap_or_default();
        let estimate = match reader {
            Reader::Events(mut sse) => {
                if sse.finish() && reading.read_event(sse.name(), sse.data()) {
                    tail.clear();
                }
                is_blind |= sse.is_blind();
                reading.estimate()
            }
            Reader::Body(body) => {
                let estimate = reading.estimate_body(body.text_bytes());
                is_blind |= body.is_blind();
                reading.take_body(body);
                estimate
            }
        };
        let mut summary = reading.summarize(estimate);
        summary.is_complete &= is_whole;
        summary.is_blind = is_blind;
        (tail, summary)
    }

    /// The event that ends a stream which we cut after what was forwarded so far; empty when the answer is no
    /// stream, or compressed, so that no event can be said.
    pub fn cut(&self, cut: Cut, message: &str) -> Vec<u8> {
        let Reader::Events(sse) = &self.reader else { return Vec::new() };
        if !self.decoder.is_identity() {
            return Vec::new();
        }
        // Ends an event that was forwarded in part; its rest will never come.
        let is_inside = sse.is_inside() && self.strip.as_ref().is_none_or(|_| sse.is_too_large());
        let mut out = if is_inside { b"\n\n".to_vec() } else { Vec::new() };
        let event =
            cut_event(self.reading.dialect(), self.reading.endpoint(), cut, message, self.reading.events());
        out.extend_from_slice(&event);
        out
    }
}

fn push_events(sse: &mut Sse, reading: &mut Reading, mut rest: &[u8]) {
    while !rest.is_empty() {
        let (taken, advance) = sse.advance(rest);
        if let Advance::Event = advance {
            reading.read_event(sse.name(), sse.data());
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
}

fn push_stripping(sse: &mut Sse, reading: &mut Reading, strip: &mut Strip, chunk: &[u8]) -> Pass {
    let had_held = !strip.held.is_empty();
    let mut is_changed = false;
    let mut out = Vec::new();
    let mut rest = chunk;
    while !rest.is_empty() {
        let (taken, advance) = sse.advance(rest);
        let (bytes, after) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
        rest = after;
        match advance {
            Advance::LineFeed if strip.was_stripped => is_changed = true,
            Advance::LineFeed if strip.held.is_empty() => out.extend_from_slice(bytes),
            Advance::Event if reading.read_event(sse.name(), sse.data()) => {
                strip.held.clear();
                strip.was_stripped = true;
                is_changed = true;
                continue;
            }
            Advance::Event | Advance::Boundary => {
                out.append(&mut strip.held);
                out.extend_from_slice(bytes);
            }
            Advance::Inside | Advance::LineFeed => {
                strip.held.extend_from_slice(bytes);
                if sse.is_too_large() {
                    out.append(&mut strip.held);
                }
            }
        }
        strip.was_stripped = false;
    }
    if had_held || is_changed || !strip.held.is_empty() { Pass::Bytes(out) } else { Pass::All }
}

/// The event that says that we cut a stream, in the dialect of the route. `sequence_number` is for Responses
/// streams, which number their events from 0. An empty message stands for a default one.
pub fn cut_event(
    dialect: Dialect,
    endpoint: Endpoint,
    cut: Cut,
    message: &str,
    sequence_number: u64,
) -> Vec<u8> {
    let (code, openai, anthropic, default) = match cut {
        Cut::Budget => (
            "budget",
            "insufficient_quota",
            "rate_limit_error",
            "The API key has used up its budget; the answer was cut. Ask its owner to raise it.",
        ),
        Cut::Containment => (
            "contained",
            "permission_error",
            "permission_error",
            "The API key may no longer be used like this; the answer was cut. Its owner can see why.",
        ),
        Cut::Shutdown => (
            "overloaded",
            "server_error",
            "overloaded_error",
            "The gateway shut down before the answer was complete. Try again.",
        ),
        Cut::Expired => (
            "key_expired",
            "permission_error",
            "permission_error",
            "The time of the API key is over; the answer was cut. Ask its owner for a new one.",
        ),
    };
    let message = if message.is_empty() { default } else { message };
    let kind = if dialect == Dialect::OpenAi { openai } else { anthropic };
    let body = ErrorBody { kind, code, message, field: None }.write(dialect, "");
    let body = String::from_utf8_lossy(&body);
    match (dialect, endpoint) {
        (Dialect::OpenAi, Endpoint::Responses) => format!(
            "event: error\ndata: {{\"type\":\"error\",\"code\":{},\"message\":{},\"param\":null,\"sequence_number\":{sequence_number}}}\n\n",
            quote(code),
            quote(message),
        ),
        (Dialect::OpenAi, Endpoint::Assistants) | (Dialect::Anthropic, _) => {
            format!("event: error\ndata: {body}\n\n")
        }
        (Dialect::OpenAi, _) => format!("data: {body}\n\n"),
    }
    .into_bytes()
}
