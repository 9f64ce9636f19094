//! A JSON answer read as it passes, in constant memory: only the few members of its top level that matter are
//! kept, wherever they stand and however large the rest is.

use super::said::Listener;
use crate::sketch::Answer;

/// Longest key that is compared, in bytes; longer ones are none of ours.
const KEY_LEN_MAX: usize = 16;

/// Members that are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Usage,
    Model,
    ServiceTier,
    Error,
}

impl Member {
    fn from_key(key: &[u8]) -> Option<Self> {
        match key {
            b"usage" => Some(Self::Usage),
            b"model" => Some(Self::Model),
            b"service_tier" => Some(Self::ServiceTier),
            b"error" => Some(Self::Error),
            _ => None,
        }
    }
}

/// Reads an answer chunk by chunk.
pub(super) struct BodyReader {
    limit: usize,
    depth: u32,
    is_in_string: bool,
    is_escaped: bool,
    /// Between a key and its value at the top level: what the value belongs to.
    member: Option<Member>,
    is_in_value: bool,
    key: Vec<u8>,
    value: Vec<u8>,
    is_value_too_large: bool,
    /// Bytes of the string that is being read or was read last.
    string_bytes: u64,
    text_bytes: u64,
    has_ended: bool,
    has_trailing: bool,
    is_blind: bool,
    usage: Option<Vec<u8>>,
    model: Option<Vec<u8>>,
    service_tier: Option<Vec<u8>>,
    has_error: bool,
    answer: Answer,
    listener: Listener,
}

impl BodyReader {
    pub(super) fn new(limit: usize, answer: Answer) -> Self {
        Self {
            limit,
            depth: 0,
            is_in_string: false,
            is_escaped: false,
            member: None,
            is_in_value: false,
            key: Vec::new(),
            value: Vec::new(),
            is_value_too_large: false,
            string_bytes: 0,
            text_bytes: 0,
            has_ended: false,
            has_trailing: false,
            is_blind: false,
            usage: None,
            model: None,
            service_tier: None,
            has_error: false,
            answer,
            listener: Listener::default(),
        }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.passes_over() {
                let (passed, rest) = bytes.split_at_checked(self.pass_over(bytes)).unwrap_or((bytes, &[]));
                self.keep_value(passed);
                bytes = rest;
                continue;
            }
            if self.is_in_string {
                let taken = self.push_string(bytes);
                bytes = bytes.get(taken..).unwrap_or_default();
                continue;
            }
            // White space, numbers and words matter only as part of a value that is kept.
            let plain =
                if self.depth == 0 { 0 } else { bytes.iter().take_while(|byte| is_plain(**byte)).count() };
            if plain == 0 {
                self.push_structure(first);
                bytes = rest;
                continue;
            }
            let (run, after) = bytes.split_at_checked(plain).unwrap_or((bytes, &[]));
            self.keep_value(run);
            bytes = after;
        }
    }

    /// Whether what comes next is inside of a member, and nobody listens: most of an answer.
    fn passes_over(&self) -> bool {
        self.depth > 1 && !self.is_in_string && !self.answer.listens()
    }

    /// Passes over such bytes up to the member's end, where only strings and depth count; the result is how many.
    fn pass_over(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => {
                    let Some(length) = string_length(bytes.get(at..).unwrap_or_default()) else {
                        // It goes on in bytes that have not come, or ends in an escape: read it piece by piece.
                        (self.is_in_string, self.string_bytes) = (true, 0);
                        return at;
                    };
                    self.string_bytes = length as u64;
                    self.text_bytes = self.text_bytes.saturating_add(self.string_bytes);
                    at += length + 1;
                }
                b':' => {
                    self.text_bytes = self.text_bytes.saturating_sub(std::mem::take(&mut self.string_bytes));
                }
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 1 {
                        return at;
                    }
                }
                _ => {}
            }
        }
        at
    }

    /// Bytes of strings below the top level, keys aside.
    pub(super) fn text_bytes(&self) -> u64 {
        let open = if self.is_in_string && self.depth > 1 { self.string_bytes } else { 0 };
        self.text_bytes.saturating_add(open)
    }

    /// Whether one whole object passed and nothing after it.
    pub(super) fn is_complete(&self) -> bool {
        self.has_ended && !self.has_trailing
    }

    /// Whether there was an `error` that is not null.
    pub(super) fn has_error(&self) -> bool {
        self.has_error
    }

    /// Whether a member was too large to be kept.
    pub(super) fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// The last `usage`, as text.
    pub(super) fn usage(&self) -> Option<&str> {
        as_text(self.usage.as_ref())
    }

    /// The last `model`, as text.
    pub(super) fn model(&self) -> Option<&str> {
        as_text(self.model.as_ref())
    }

    /// The last `service_tier`, as text.
    pub(super) fn service_tier(&self) -> Option<&str> {
        as_text(self.service_tier.as_ref())
    }

    /// What was gathered of the answer's text.
    pub(super) fn answer(&mut self) -> &mut Answer {
        &mut self.answer
    }

    /// Reads inside a string; the result is how many bytes were read.
    fn push_string(&mut self, bytes: &[u8]) -> usize {
        if std::mem::take(&mut self.is_escaped) {
            self.keep(bytes.get(..1).unwrap_or_default());
            self.listen(bytes.get(..1).unwrap_or_default());
            self.string_bytes += 1;
            return 1;
        }
        let end = memchr::memchr2(b'"', b'\\', bytes);
        let plain = end.unwrap_or(bytes.len());
        let taken = end.map_or(plain, |end| end + 1);
        self.string_bytes = self.string_bytes.saturating_add(plain as u64);
        let stop = end.and_then(|end| bytes.get(end)).copied();
        self.listen(bytes.get(..plain).unwrap_or_default());
        let kept = if self.is_key() { plain } else { taken };
        self.keep(bytes.get(..kept).unwrap_or_default());
        match stop {
            Some(b'\\') => {
                self.is_escaped = true;
                self.string_bytes += 1;
                self.listen(b"\\");
                if self.is_key() {
                    self.keep(b"\\");
                }
            }
            Some(_) => {
                self.is_in_string = false;
                if self.depth > 1 {
                    self.text_bytes = self.text_bytes.saturating_add(self.string_bytes);
                }
            }
            None => {}
        }
        taken
    }

    fn push_structure(&mut self, byte: u8) {
        if self.has_ended {
            self.has_trailing |= !byte.is_ascii_whitespace();
            return;
        }
        if self.depth == 0 {
            match byte {
                b'{' => self.depth = 1,
                b' ' | b'\t' | b'\r' | b'\n' => {}
                // Only an object has members; of anything else nothing is read.
                _ => (self.has_ended, self.has_trailing) = (true, true),
            }
            return;
        }
        self.listener.structure(byte, self.depth);
        match byte {
            b',' | b'}' if self.depth == 1 => {
                self.end_value();
                if byte == b'}' {
                    self.depth = 0;
                    self.has_ended = true;
                }
                return;
            }
            b':' if self.depth == 1 && !self.is_in_value => {
                self.member = Member::from_key(&self.key);
                if self.answer.listens() {
                    self.listener.enter(&self.key);
                }
                self.is_in_value = true;
                return;
            }
            b'"' => {
                self.is_in_string = true;
                self.string_bytes = 0;
                if self.is_key() {
                    self.key.clear();
                    return;
                }
                self.listener.open_string();
            }
            // A key, not text.
            b':' => {
                self.text_bytes = self.text_bytes.saturating_sub(std::mem::take(&mut self.string_bytes));
            }
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.keep_value(&[byte]);
    }

    /// Whether a string that begins or is being read here is a key of the top level.
    const fn is_key(&self) -> bool {
        self.depth == 1 && !self.is_in_value
    }

    /// Keeps part of a string: of a key, or of a value that matters.
    fn keep(&mut self, bytes: &[u8]) {
        if !self.is_key() {
            return self.keep_value(bytes);
        }
        let room = (KEY_LEN_MAX + 1).saturating_sub(self.key.len());
        self.key.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
    }

    /// Takes part of a string into the answer, if it is spoken.
    fn listen(&mut self, raw: &[u8]) {
        if self.answer.listens() && self.listener.push(raw) {
            self.answer.push(raw);
        }
    }

    /// Keeps part of a value, if it is one that matters.
    fn keep_value(&mut self, bytes: &[u8]) {
        if self.member.is_none() || !self.is_in_value {
            return;
        }
        if self.value.len() + bytes.len() > self.limit {
            self.is_value_too_large = true;
            self.value = Vec::new();
        }
        if !self.is_value_too_large {
            self.value.extend_from_slice(bytes);
        }
    }

    fn end_value(&mut self) {
        self.is_in_value = false;
        self.listener.enter(b"");
        let value = std::mem::take(&mut self.value);
        let Some(member) = self.member.take() else { return };
        if std::mem::take(&mut self.is_value_too_large) {
            // An error may be of any size; that there is one is enough.
            self.has_error |= member == Member::Error;
            self.is_blind |= member != Member::Error;
            return;
        }
        match member {
            Member::Usage if value.trim_ascii() == b"null" => {}
            Member::Usage => self.usage = Some(value),
            Member::Model => self.model = Some(value),
            Member::ServiceTier => self.service_tier = Some(value),
            Member::Error => self.has_error |= value.trim_ascii() != b"null",
        }
    }
}

/// Length of the rest of a string without its quotation mark, if all of it is there.
fn string_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

const fn is_plain(byte: u8) -> bool {
    !matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b':' | b',')
}

fn as_text(value: Option<&Vec<u8>>) -> Option<&str> {
    std::str::from_utf8(value?).ok()
}
