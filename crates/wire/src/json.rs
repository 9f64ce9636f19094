//! A strict JSON scanner over borrowed text: one pass, no recursion, no allocation.
//!
//! Invariants:
//! * Accepts exactly RFC 8259 text nested at most [`DEPTH_MAX`] deep; everything that is skipped is checked as
//!   strictly as what is read, so no other parser can see another document than we did.
//! * The stack does not grow with the nesting of the input.

mod string;
#[cfg(test)]
mod tests;

pub(crate) use string::{Piece, RawStr};

/// Deepest nesting that is read. One bit of a `u128` is kept for each level.
pub(crate) const DEPTH_MAX: u32 = 128;

/// What is wrong with a text, and where. Never contains any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanError {
    /// Byte offset.
    pub(crate) at: usize,
    /// What was expected.
    pub(crate) kind: ScanErrorKind,
}

/// See [`ScanError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanErrorKind {
    /// The text breaks the grammar; the words say what was expected.
    Expected(&'static str),
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// Something follows the document.
    Trailing,
}

/// The kind of the value that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// Where the iteration over an object or array stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Before the first member.
    First,
    /// After a member.
    Next,
}

/// Reads a text from front to back.
#[derive(Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    key_at: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, key_at: 0, depth: 0 }
    }

    /// Byte offset of the key that was read last.
    pub(crate) fn key_offset(&self) -> usize {
        self.key_at
    }

    /// Byte offset of what comes next, white space aside.
    pub(crate) fn offset(&mut self) -> usize {
        self.space();
        self.at
    }

    /// Byte offset right after what was read last.
    pub(crate) fn end_offset(&self) -> usize {
        self.at
    }

    /// The text from a byte offset to right after what was read last.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The kind of the next value.
    pub(crate) fn peek(&mut self) -> Result<Kind, ScanError> {
        self.space();
        match self.byte() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => self.expected("a value"),
        }
    }

    /// Enters an object.
    pub(crate) fn open_object(&mut self) -> Result<Step, ScanError> {
        self.space();
        self.open(b'{', "an object")
    }

    /// Enters an array.
    pub(crate) fn open_array(&mut self) -> Result<Step, ScanError> {
        self.space();
        self.open(b'[', "an array")
    }

    /// The next key of the object that was entered; `None` after its last member, when it is left.
    pub(crate) fn next_key(&mut self, step: &mut Step) -> Result<Option<RawStr<'a>>, ScanError> {
        if !self.next_member(step, b'}', "a comma or a closing brace")? {
            return Ok(None);
        }
        self.key().map(Some)
    }

    /// Whether the array that was entered has another item; false leaves it.
    pub(crate) fn next_item(&mut self, step: &mut Step) -> Result<bool, ScanError> {
        self.next_member(step, b']', "a comma or a closing bracket")
    }

    /// Reads a string.
    pub(crate) fn string(&mut self) -> Result<RawStr<'a>, ScanError> {
        self.space();
        if self.byte() != Some(b'"') {
            return self.expected("a string");
        }
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = find_special(self.text.as_bytes(), self.at);
            match self.byte() {
                Some(b'"') => {
                    let raw = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(RawStr { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.expected("no control character inside a string"),
                None => return self.expected("the end of a string"),
            }
        }
    }

    /// Reads a number; the result is its text.
    pub(crate) fn number(&mut self) -> Result<&'a str, ScanError> {
        self.space();
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(self.since(start))
    }

    /// Reads `true` or `false`.
    pub(crate) fn boolean(&mut self) -> Result<bool, ScanError> {
        self.space();
        let value = self.byte() == Some(b't');
        self.word(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Reads `null`.
    pub(crate) fn null(&mut self) -> Result<(), ScanError> {
        self.space();
        self.word("null")
    }

    /// Checks and skips any value; the result is its text.
    pub(crate) fn skip(&mut self) -> Result<&'a str, ScanError> {
        self.space();
        let (start, base) = (self.at, self.depth);
        // The lowest bit says whether the innermost open container is an array.
        let mut arrays = 0u128;
        loop {
            let is_complete = match self.peek()? {
                kind @ (Kind::Object | Kind::Array) => self.skip_open(kind, &mut arrays)?,
                scalar => {
                    self.scalar(scalar)?;
                    true
                }
            };
            if is_complete && self.skip_closers(base, &mut arrays)? {
                return Ok(self.since(start));
            }
        }
    }

    /// Refuses anything but white space from here on.
    pub(crate) fn end(&mut self) -> Result<(), ScanError> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.fail(ScanErrorKind::Trailing) }
    }

    /// Enters a container while skipping. True when it was empty, and so is complete.
    fn skip_open(&mut self, kind: Kind, arrays: &mut u128) -> Result<bool, ScanError> {
        let (opener, closer) = if kind == Kind::Object { (b'{', b'}') } else { (b'[', b']') };
        self.open(opener, "a value")?;
        self.space();
        if self.byte() == Some(closer) {
            self.close();
            return Ok(true);
        }
        *arrays = (*arrays << 1) | u128::from(kind == Kind::Array);
        if kind == Kind::Object {
            self.key()?;
        }
        Ok(false)
    }

    /// After a value: closes what ends here. True when the skipped value is complete.
    fn skip_closers(&mut self, base: u32, arrays: &mut u128) -> Result<bool, ScanError> {
        while self.depth > base {
            self.space();
            let in_array = *arrays & 1 == 1;
            match self.byte() {
                Some(b',') => {
                    self.at += 1;
                    if !in_array {
                        self.key()?;
                    }
                    return Ok(false);
                }
                Some(b'}') if !in_array => self.close(),
                Some(b']') if in_array => self.close(),
                _ => return self.expected("a comma or the end of an object or array"),
            }
            *arrays >>= 1;
        }
        Ok(true)
    }

    fn scalar(&mut self, kind: Kind) -> Result<(), ScanError> {
        match kind {
            Kind::String => self.string().map(|_| ()),
            Kind::Number => self.number().map(|_| ()),
            Kind::Bool => self.boolean().map(|_| ()),
            _ => self.null(),
        }
    }

    fn open(&mut self, opener: u8, expected: &'static str) -> Result<Step, ScanError> {
        if self.byte() != Some(opener) {
            return self.expected(expected);
        }
        if self.depth == DEPTH_MAX {
            return self.fail(ScanErrorKind::TooDeep);
        }
        self.at += 1;
        self.depth += 1;
        Ok(Step::First)
    }

    fn close(&mut self) {
        self.at += 1;
        self.depth = self.depth.saturating_sub(1);
    }

    fn next_member(
        &mut self,
        step: &mut Step,
        closer: u8,
        expected: &'static str,
    ) -> Result<bool, ScanError> {
        self.space();
        match (self.byte(), *step) {
            (Some(byte), _) if byte == closer => {
                self.close();
                return Ok(false);
            }
            (_, Step::First) => *step = Step::Next,
            (Some(b','), Step::Next) => self.at += 1,
            _ => return self.expected(expected),
        }
        Ok(true)
    }

    fn key(&mut self) -> Result<RawStr<'a>, ScanError> {
        self.space();
        if self.byte() != Some(b'"') {
            return self.expected("a key");
        }
        self.key_at = self.at;
        let key = self.string()?;
        self.space();
        if self.byte() != Some(b':') {
            return self.expected("a colon");
        }
        self.at += 1;
        Ok(key)
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        let bytes = self.text.as_bytes();
        let length = match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => {
                let digits = bytes.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return self.expected("four hexadecimal digits after \\u");
                }
                6
            }
            _ => return self.expected("a valid escape"),
        };
        self.at += length;
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.expected("a digit") } else { Ok(()) }
    }

    fn word(&mut self, word: &'static str) -> Result<(), ScanError> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return self.expected("a value");
        }
        self.at += word.len();
        Ok(())
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expected<T>(&self, what: &'static str) -> Result<T, ScanError> {
        self.fail(ScanErrorKind::Expected(what))
    }

    fn fail<T>(&self, kind: ScanErrorKind) -> Result<T, ScanError> {
        Err(ScanError { at: self.at, kind })
    }
}

const fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Position of the first quote, backslash or control character at or after `from`, else the length.
///
/// The first bytes are tested eight at a time, which suits keys and words; then whole blocks without
/// branches, which compiles to vector instructions and suits prompts.
fn find_special(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    let (near, far) = rest.split_at_checked(32).unwrap_or((rest, &[]));
    if let Some(at) = find_in_words(near) {
        return from + at;
    }
    let plain = far
        .as_chunks::<32>()
        .0
        .iter()
        .take_while(|block| !block.iter().fold(false, |found, &byte| found | is_special(byte)))
        .count()
        * 32;
    let tail = far.get(plain..).unwrap_or_default();
    from + near.len() + plain + find_in_words(tail).unwrap_or(tail.len())
}

fn find_in_words(bytes: &[u8]) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = special_bytes(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    tail.iter().position(|&byte| is_special(byte)).map(|at| words.len() * 8 + at)
}

/// The high bit of each special byte. Bytes above the lowest special one may be marked wrongly, because the
/// subtractions borrow; the lowest is exact.
const fn special_bytes(word: u64) -> u64 {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(LOW) & !word
    }
    let control = word.wrapping_sub(LOW * 0x20) & !word;
    (control | zeros(word ^ (LOW * b'"' as u64)) | zeros(word ^ (LOW * b'\\' as u64))) & HIGH
}
