//! What the events of a stream, or the members of a JSON answer, say.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use smol_str::SmolStr;
use tokenwatch_model::provider::{Dialect, Endpoint};

use super::TapSummary;
use super::body::BodyReader;
use super::said::{is_spoken, speaks};
use crate::json::{Kind, RawStr, ScanError, Scanner, Step};
use crate::sketch::Answer;
use crate::usage::{RawUsage, scan_usage};

// A quote inside a string is escaped, so these match members of the event itself, or at worst a string that
// equals the word; text can not fake them. Whether it is the right member is decided by reading the event.
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usage\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"error\""));
static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"delta\":"));
static TEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"text\":"));

/// Events at the start that are read whole until one names the model.
const FIRST_EVENTS: u64 = 4;
/// Events up to this size are read whole: the ends of streams are short.
const SHORT_EVENT: usize = 64;
/// Longest model or tier that is kept, in bytes.
const NAME_LEN_MAX: usize = 256;

/// Members of a delta that are not generated text.
const NOT_TEXT: [&str; 9] =
    ["type", "role", "id", "name", "index", "stop_reason", "stop_sequence", "signature", "finish_reason"];

/// What was read so far.
pub(super) struct Reading {
    dialect: Dialect,
    endpoint: Endpoint,
    usage: RawUsage,
    model: Option<SmolStr>,
    service_tier: Option<SmolStr>,
    is_complete: bool,
    has_error: bool,
    events: u64,
    deltas: u64,
    delta_bytes: u64,
    answer: Answer,
}

/// What one event holds besides its usage.
#[derive(Default)]
struct Event<'a> {
    kind: &'a str,
    usage: RawUsage,
    has_empty_choices: bool,
    has_error: bool,
}

impl Reading {
    pub(super) fn new(dialect: Dialect, endpoint: Endpoint, answer: Answer) -> Self {
        Self {
            dialect,
            endpoint,
            usage: RawUsage::default(),
            model: None,
            service_tier: None,
            is_complete: false,
            has_error: false,
            events: 0,
            deltas: 0,
            delta_bytes: 0,
            answer,
        }
    }

    pub(super) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(super) const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    pub(super) const fn events(&self) -> u64 {
        self.events
    }

    /// Output tokens of the events so far: at least one for each that carries text.
    pub(super) fn estimate(&self) -> u64 {
        self.deltas.max(self.delta_bytes.div_ceil(4))
    }

    /// Output tokens of a JSON answer of which so many bytes are text.
    pub(super) fn estimate_body(&self, text_bytes: u64) -> u64 {
        match self.endpoint {
            Endpoint::ChatCompletions
            | Endpoint::Completions
            | Endpoint::Responses
            | Endpoint::Messages
            | Endpoint::Assistants
            | Endpoint::Other => text_bytes.div_ceil(4),
            _ => 0,
        }
    }

    pub(super) fn summarize(self, estimate: u64) -> TapSummary {
        let usage = self.usage.normalize(self.dialect).map(|mut usage| {
            if !self.is_complete {
                usage.output = usage.output.max(estimate);
            }
            usage
        });
        TapSummary {
            usage,
            model: self.model,
            service_tier: self.service_tier,
            is_complete: self.is_complete,
            output_tokens_estimate: estimate,
            has_error: self.has_error,
            is_blind: false,
            completion: self.answer.sketch(),
        }
    }

    /// Reads one event. True when it is the extra chunk of a chat or completions stream that holds the usage
    /// and nothing else.
    pub(super) fn read_event(&mut self, name: &[u8], data: &[u8]) -> bool {
        self.events += 1;
        if data == b"[DONE]" {
            self.is_complete = true;
            return false;
        }
        if let Some(bytes) = self.find_text(name, data) {
            self.deltas += 1;
            self.delta_bytes += bytes;
        }
        let is_worth_reading = data.len() <= SHORT_EVENT
            || (self.model.is_none() && self.events <= FIRST_EVENTS)
            || USAGE.find(data).is_some()
            || ERROR.find(data).is_some()
            || is_terminal(name)
            || name == b"error";
        if !is_worth_reading {
            return false;
        }
        let Some(event) = std::str::from_utf8(data).ok().and_then(|text| self.scan_event(text).ok()) else {
            return false;
        };
        self.apply(name, &event)
    }

    /// Takes over what a JSON answer said.
    pub(super) fn take_body(&mut self, mut body: BodyReader) {
        self.is_complete = body.is_complete();
        self.has_error = body.has_error();
        std::mem::swap(&mut self.answer, body.answer());
        self.keep_name(Name::Model, body.model().and_then(|text| Scanner::new(text).string().ok()));
        self.keep_name(Name::Tier, body.service_tier().and_then(|text| Scanner::new(text).string().ok()));
        if let Some((usage, tier)) = body.usage().and_then(|text| scan_usage(&mut Scanner::new(text)).ok()) {
            self.keep_usage(usage);
            self.keep_name(Name::Tier, tier);
        }
    }

    fn apply(&mut self, name: &[u8], event: &Event<'_>) -> bool {
        self.keep_usage(event.usage);
        let kind = event.kind.as_bytes();
        let failed = kind == b"response.failed" || name == b"thread.run.failed";
        self.has_error |= event.has_error || kind == b"error" || name == b"error" || failed;
        self.is_complete |= is_terminal(kind) || is_terminal(name);
        let is_chat = matches!(self.endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
        self.dialect == Dialect::OpenAi && is_chat && event.has_empty_choices && !event.usage.is_empty()
    }

    fn keep_usage(&mut self, usage: RawUsage) {
        match self.dialect {
            // Cumulative, and later events leave out what has not changed.
            Dialect::Anthropic => self.usage.update(usage),
            Dialect::OpenAi if !usage.is_empty() => self.usage = usage,
            Dialect::OpenAi => {}
        }
    }

    fn keep_name(&mut self, which: Name, sent: Option<RawStr<'_>>) {
        let Some(name) = sent.and_then(RawStr::decode).filter(|name| name.len() <= NAME_LEN_MAX) else {
            return;
        };
        match which {
            Name::Model if self.model.is_none() && !name.is_empty() => self.model = Some(SmolStr::new(name)),
            // The last one is the tier that was really used.
            Name::Tier => self.service_tier = Some(SmolStr::new(name)),
            Name::Model => {}
        }
    }

    fn scan_event<'a>(&mut self, text: &'a str) -> Result<Event<'a>, ScanError> {
        let mut scan = Scanner::new(text);
        let mut event = Event::default();
        let mut step = scan.open_object()?;
        while let Some(key) = scan.next_key(&mut step)? {
            match (key.raw, scan.peek()?) {
                ("type", Kind::String) => event.kind = scan.string()?.raw,
                ("choices", Kind::Array) => {
                    event.has_empty_choices =
                        scan.skip()?.bytes().all(|b| matches!(b, b'[' | b']') || b.is_ascii_whitespace());
                }
                // Anthropic's `message_start`; the Responses events that end or begin a stream.
                ("message" | "response", Kind::Object) => self.scan_answer(&mut scan, &mut event)?,
                ("error", kind) => {
                    event.has_error = kind != Kind::Null;
                    scan.skip()?;
                }
                (key, kind) => self.scan_member(&mut scan, key, kind, &mut event)?,
            }
        }
        Ok(event)
    }

    fn scan_answer<'a>(&mut self, scan: &mut Scanner<'a>, event: &mut Event<'a>) -> Result<(), ScanError> {
        let mut step = scan.open_object()?;
        while let Some(key) = scan.next_key(&mut step)? {
            let kind = scan.peek()?;
            self.scan_member(scan, key.raw, kind, event)?;
        }
        Ok(())
    }

    fn scan_member<'a>(
        &mut self,
        scan: &mut Scanner<'a>,
        key: &str,
        kind: Kind,
        event: &mut Event<'a>,
    ) -> Result<(), ScanError> {
        match (key, kind) {
            ("usage", _) => {
                let (usage, tier) = scan_usage(scan)?;
                if !usage.is_empty() {
                    event.usage = usage;
                }
                self.keep_name(Name::Tier, tier);
            }
            ("model", Kind::String) => {
                let name = scan.string()?;
                self.keep_name(Name::Model, Some(name));
            }
            ("service_tier", Kind::String) => {
                let name = scan.string()?;
                self.keep_name(Name::Tier, Some(name));
            }
            _ => drop(scan.skip()?),
        }
        Ok(())
    }

    /// Bytes of generated text in an event; `None` when it carries none. What is spoken joins the answer.
    fn find_text(&mut self, name: &[u8], data: &[u8]) -> Option<u64> {
        let (finder, len) = match self.endpoint {
            Endpoint::Completions => (&*TEXT, "\"text\":".len()),
            _ => (&*DELTA, "\"delta\":".len()),
        };
        let value = data.get(finder.find(data)? + len..)?;
        let mut scan = Scanner::new(std::str::from_utf8(value).ok()?);
        let listens = self.answer.listens() && (self.endpoint != Endpoint::Responses || speaks(name, data));
        let mut text = Text { bytes: 0, answer: listens.then_some(&mut self.answer) };
        text.read(&mut scan, true).ok()?;
        Some(text.bytes).filter(|bytes| *bytes > 0)
    }
}

#[derive(Clone, Copy)]
enum Name {
    Model,
    Tier,
}

/// Whether an event of this name or type is the last one that says anything.
fn is_terminal(kind: &[u8]) -> bool {
    matches!(
        kind,
        b"message_stop"
            | b"response.completed"
            | b"response.incomplete"
            | b"response.failed"
            | b"thread.run.completed"
            | b"thread.run.incomplete"
            | b"thread.run.failed"
            | b"thread.run.cancelled"
            | b"thread.run.expired"
            | b"image_generation.completed"
            | b"image_edit.completed"
            | b"transcript.text.done"
            | b"speech.audio.done"
    )
}

/// Generated text in a value: how much, and what of it is spoken.
struct Text<'a> {
    bytes: u64,
    answer: Option<&'a mut Answer>,
}

impl Text<'_> {
    /// Reads the strings of a value, but for members that are not generated text. `spoken` is whether a string here is
    /// part of what the answer says.
    fn read(&mut self, scan: &mut Scanner<'_>, spoken: bool) -> Result<(), ScanError> {
        match scan.peek()? {
            Kind::String => {
                let text = scan.string()?.raw;
                self.bytes += text.len() as u64;
                if spoken && let Some(answer) = &mut self.answer {
                    answer.push(text.as_bytes());
                }
            }
            Kind::Object => {
                let mut step = scan.open_object()?;
                while let Some(key) = scan.next_key(&mut step)? {
                    if NOT_TEXT.contains(&key.raw) {
                        scan.skip()?;
                    } else {
                        self.read(scan, is_spoken(key.raw.as_bytes()))?;
                    }
                }
            }
            Kind::Array => {
                let mut step: Step = scan.open_array()?;
                while scan.next_item(&mut step)? {
                    self.read(scan, spoken)?;
                }
            }
            _ => {
                scan.skip()?;
            }
        }
        Ok(())
    }
}
