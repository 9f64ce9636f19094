//! Request bodies: one strict pass that takes everything the gateway needs before it forwards.
//!
//! Invariants:
//! * What is accepted reads the same to every JSON parser: valid UTF-8 throughout, no byte order mark, one
//!   object, no key twice and none that differs from a known one only in case, at every level that is read.
//! * Neither errors nor the result hold content: only the model, the service tier, counts and keyed hashes.

use smol_str::SmolStr;
use tokenwatch_model::context::Shape;
use tokenwatch_model::provider::{Dialect, Endpoint};

use crate::json::{DEPTH_MAX, Kind, ScanError, ScanErrorKind, Scanner};

mod body;
mod content;
mod flatten;
mod keys;
mod shape;
#[cfg(test)]
mod tests;
mod topic;

pub use shape::ShapeKey;
use shape::Texts;

/// Longest model name that is accepted, in bytes.
pub const MODEL_LEN_MAX: usize = 256;
/// Most different models that one request may name.
pub const MODELS_MAX: usize = 64;
/// Most keys in an object that is read.
pub const KEYS_MAX: usize = 256;

/// What a request body says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ParsedRequest {
    /// The model; empty when the body names none.
    pub model: SmolStr,
    /// Models beyond the first that a batch, or a list to fall back to, names; each once, in order.
    pub further_models: Vec<SmolStr>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// Most output tokens over all choices and, in a batch, all requests; 0 when any part sets no limit.
    pub output_tokens_max: u64,
    /// Most output tokens of the parts that set a limit.
    pub output_tokens_stated: u64,
    /// Choices, over all requests of a batch, that set none.
    pub outputs_unlimited: u64,
    /// Choices asked for, at least 1.
    pub n: u64,
    /// Form of the prompt.
    pub shape: Shape,
    /// Input tokens: a quarter of the text's bytes, plus flat rates for images, audio and documents.
    pub input_tokens_estimate: u64,
    /// What to change so that a chat or completions stream reports its usage; `None` when it will, or cannot.
    pub usage_splice: Option<UsageSplice>,
    /// The service tier asked for.
    pub service_tier: Option<SmolStr>,
}

/// A change of the body: the bytes from `start` to `end` become `text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageSplice {
    /// First byte that is replaced.
    pub start: usize,
    /// First byte after that is kept.
    pub end: usize,
    /// What stands there instead.
    pub text: &'static str,
}

/// Why a request body is refused: a sentence for the client, without any content of the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseRequestError {
    /// Nothing but white space.
    #[error("the body is empty: send a JSON object")]
    Empty,
    /// A byte order mark, or UTF-16 or UTF-32.
    #[error("the body starts with a byte order mark or is UTF-16: send plain UTF-8")]
    ByteOrderMark,
    /// Not UTF-8.
    #[error("the body is not valid UTF-8 at byte {at}")]
    NotUtf8 {
        /// Byte offset.
        at: usize,
    },
    /// A JSON value of another kind.
    #[error("the body must be a JSON object")]
    NotObject,
    /// Not JSON.
    #[error("the body is not valid JSON at byte {at}: expected {expected}")]
    Syntax {
        /// Byte offset.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// Nested too deeply.
    #[error("the body is nested deeper than {DEPTH_MAX} levels at byte {at}")]
    TooDeep {
        /// Byte offset.
        at: usize,
    },
    /// Something follows the object.
    #[error("the body goes on after its JSON object at byte {at}: send one object and nothing else")]
    Trailing {
        /// Byte offset.
        at: usize,
    },
    /// A key occurs twice, perhaps in an escaped spelling.
    #[error("the key at byte {at} stands twice in the same object: send it once")]
    DuplicateKey {
        /// The key, if it is one we know.
        field: Option<&'static str>,
        /// Byte offset of the second.
        at: usize,
    },
    /// A key differs from a known one only in case, which some servers ignore.
    #[error("the key at byte {at} differs from {field} only in case: write {field}")]
    MiscasedKey {
        /// The known key.
        field: &'static str,
        /// Byte offset.
        at: usize,
    },
    /// A key holds half a surrogate pair.
    #[error("the key at byte {at} is not valid Unicode")]
    BrokenKey {
        /// Byte offset.
        at: usize,
    },
    /// An object has too many keys.
    #[error("the object around byte {at} has more than {KEYS_MAX} keys")]
    TooManyKeys {
        /// Byte offset of the first too many.
        at: usize,
    },
    /// A field holds another kind of value, or a number out of range.
    #[error("{field} (byte {at}): expected {expected}")]
    WrongValue {
        /// The field.
        field: &'static str,
        /// What it must hold.
        expected: &'static str,
        /// Byte offset of the value.
        at: usize,
    },
    /// A batch, or a list to fall back to, names too many models.
    #[error("the request names more than {MODELS_MAX} models: split it")]
    TooManyModels,
}

impl ParseRequestError {
    /// The field to name in an error body, where one is to blame.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::MiscasedKey { field, .. } | Self::WrongValue { field, .. } => Some(field),
            Self::DuplicateKey { field, .. } => *field,
            _ => None,
        }
    }
}

impl From<ScanError> for ParseRequestError {
    fn from(error: ScanError) -> Self {
        let at = error.at;
        match error.kind {
            ScanErrorKind::Expected(expected) => Self::Syntax { at, expected },
            ScanErrorKind::TooDeep => Self::TooDeep { at },
            ScanErrorKind::Trailing => Self::Trailing { at },
        }
    }
}

/// Reads a decoded JSON body in one pass, content signals included.
///
/// # Errors
///
/// As [`parse_form`].
pub fn parse(
    dialect: Dialect,
    endpoint: Endpoint,
    body: &[u8],
    key: &ShapeKey,
) -> Result<ParsedRequest, ParseRequestError> {
    let mut parsed = parse_form(dialect, endpoint, body, key)?;
    parsed.read_content(key);
    Ok(parsed.request)
}

/// A body that was read, and the texts that its content signals can still be read from.
pub struct Parsed<'a> {
    /// What it says; `topic` and `phrases` of its shape are absent until [`Parsed::read_content`].
    pub request: ParsedRequest,
    template: Texts<'a>,
    prompt: Texts<'a>,
}

impl Parsed<'_> {
    /// Reads what the prompt is about and after, unless content signals are off: a fifth of the work on a body of a
    /// kilobyte, which most requests of a known caller can do without.
    pub fn read_content(&mut self, key: &ShapeKey) {
        if let Some(content) = key.content() {
            let shape = &mut self.request.shape;
            (shape.topic, shape.phrases) =
                topic::read(&content, self.template.pieces(), self.prompt.pieces());
        }
    }
}

/// Reads a decoded JSON body in one pass, its form and not its content.
///
/// # Errors
///
/// When the body is not one unambiguous JSON object, or a field that is read holds what it cannot.
pub fn parse_form<'a>(
    dialect: Dialect,
    endpoint: Endpoint,
    body: &'a [u8],
    key: &ShapeKey,
) -> Result<Parsed<'a>, ParseRequestError> {
    let text = check_encoding(body)?;
    let mut scanner = Scanner::new(text);
    if scanner.peek()? != Kind::Object {
        // Broken text is reported as such, not as the wrong kind.
        scanner.skip()?;
        return Err(ParseRequestError::NotObject);
    }
    body::read(dialect, endpoint, scanner, key)
}

fn check_encoding(body: &[u8]) -> Result<&str, ParseRequestError> {
    let start = body.get(..body.len().min(4)).unwrap_or_default();
    let is_marked =
        [&b"\xEF\xBB\xBF"[..], b"\xFE\xFF", b"\xFF\xFE"].iter().any(|mark| start.starts_with(mark));
    if is_marked || start.contains(&0) {
        return Err(ParseRequestError::ByteOrderMark);
    }
    let text =
        std::str::from_utf8(body).map_err(|error| ParseRequestError::NotUtf8 { at: error.valid_up_to() })?;
    if text.bytes().all(|byte| byte.is_ascii_whitespace()) {
        return Err(ParseRequestError::Empty);
    }
    Ok(text)
}

/// The body with `stream_options.include_usage` set, spliced into the client's own bytes; `None` when the
/// body is to be forwarded as it is.
pub fn with_include_usage(body: &[u8], request: &ParsedRequest) -> Option<Vec<u8>> {
    let splice = request.usage_splice?;
    let (before, after) = (body.get(..splice.start)?, body.get(splice.end..)?);
    Some([before, splice.text.as_bytes(), after].concat())
}
