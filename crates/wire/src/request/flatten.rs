//! Hashing a text with its variable parts flattened, so that all uses of one template coincide.
//!
//! Runs of digits, identifiers (hexadecimal, UUID, mixed letters and digits), and names of months and days
//! become `0`; white space folds to one space; case is kept. Work is bounded: see [`HEAD`] and [`TAIL`].

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::json::{Piece, RawStr};

/// Flattened bytes that are hashed from the start of a text.
pub(super) const HEAD: usize = 2_048;
/// Bytes at the end of a longer text that are looked at, when the whole is meant to count.
pub(super) const TAIL: usize = 512;
const BUFFER: usize = 256;

/// What stands for everything variable.
const FOLDED: &[u8] = b"0";

/// Hashes texts as one. With `with_tail` the end of a long text counts too: equal heads are then not enough.
pub(super) fn hash_flat(key: &[u8; 16], texts: &[RawStr<'_>], with_tail: bool) -> u64 {
    if texts.iter().all(|text| text.raw.is_empty()) {
        return 0;
    }
    let mut flat = Flattener::new(key);
    for text in texts {
        flat.pending_space = true;
        flat.feed(*text);
    }
    if with_tail
        && flat.room == 0
        && let Some(tail) = texts.last().and_then(|text| find_tail(*text))
    {
        flat.room = TAIL;
        flat.work = TAIL;
        flat.feed(tail);
    }
    flat.finish()
}

/// The last bytes of a text from a literal space on: never the inside of an escape.
fn find_tail(text: RawStr<'_>) -> Option<RawStr<'_>> {
    let start = text.raw.len().saturating_sub(TAIL);
    let bytes = text.raw.as_bytes().get(start..)?;
    let space = memchr::memchr(b' ', bytes)?;
    Some(RawStr { raw: text.raw.get(start + space..)?, escaped: text.escaped })
}

struct Flattener {
    hasher: SipHasher24,
    buffer: [u8; BUFFER],
    filled: usize,
    /// Flattened bytes that may still be hashed. Counted after flattening, so that the length of an id does
    /// not move the point where hashing stops.
    room: usize,
    /// Bytes that may still be looked at.
    work: usize,
    pending_space: bool,
    is_started: bool,
}

impl Flattener {
    fn new(key: &[u8; 16]) -> Self {
        Self {
            hasher: SipHasher24::new_with_key(key),
            buffer: [0; BUFFER],
            filled: 0,
            room: HEAD,
            work: 4 * HEAD,
            pending_space: false,
            is_started: false,
        }
    }

    fn feed(&mut self, text: RawStr<'_>) {
        for piece in text.pieces() {
            if self.room == 0 || self.work == 0 {
                self.room = 0;
                return;
            }
            match piece {
                Piece::Text(literal) => self.literal(literal.as_bytes()),
                Piece::Escape(character) => self.literal(character.encode_utf8(&mut [0; 4]).as_bytes()),
                Piece::Lone => self.emit("\u{fffd}".as_bytes()),
            }
        }
    }

    /// Most of a text is hashed as it stands, in long stretches; words that may vary are looked at one by one.
    fn literal(&mut self, text: &[u8]) {
        let text = text.get(..text.len().min(self.work)).unwrap_or_default();
        self.work -= text.len();
        let mut rest = text;
        while !rest.is_empty() && self.room > 0 {
            let (plain, notable) = rest.split_at_checked(find_notable(rest)).unwrap_or((rest, &[]));
            if notable.first().is_some_and(|&byte| is(byte, WORD)) {
                let word_before = plain.iter().rev().take_while(|&&byte| is(byte, WORD)).count();
                let from = plain.len() - word_before;
                let end = plain.len() + span(notable, WORD);
                self.stretch(rest.get(..from).unwrap_or_default());
                self.word(rest.get(from..end).unwrap_or_default());
                rest = rest.get(end..).unwrap_or_default();
            } else {
                self.stretch(plain);
                self.pending_space |= !notable.is_empty();
                rest = notable.get(span(notable, SPACE)..).unwrap_or_default();
            }
        }
    }

    /// Text that holds no notable byte: spaces in it stand alone.
    fn stretch(&mut self, text: &[u8]) {
        let inner = text.trim_ascii();
        self.pending_space |= text.first() == Some(&b' ');
        if !inner.is_empty() {
            self.emit(inner);
            self.pending_space = text.last() == Some(&b' ');
        }
    }

    /// A run of letters, digits, dashes and underscores.
    fn word(&mut self, run: &[u8]) {
        if !run.iter().any(u8::is_ascii_digit) && !run.first().is_some_and(u8::is_ascii_uppercase) {
            return self.emit(run);
        }
        if is_uuid(run) {
            return self.emit(FOLDED);
        }
        for segment in run.split_inclusive(|&byte| matches!(byte, b'-' | b'_')) {
            let (name, joint) = match segment.split_last() {
                Some((b'-' | b'_', name)) => (name, segment.get(name.len()..).unwrap_or_default()),
                _ => (segment, &[][..]),
            };
            self.segment(name);
            self.emit(joint);
        }
    }

    fn segment(&mut self, name: &[u8]) {
        let has_digit = name.iter().any(u8::is_ascii_digit);
        if !has_digit {
            return self.emit(if is_calendar_name(name) { FOLDED } else { name });
        }
        if name.len() >= 8 || name.iter().all(u8::is_ascii_hexdigit) {
            return self.emit(FOLDED);
        }
        for part in name.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
            self.emit(if part.first().is_some_and(u8::is_ascii_digit) { FOLDED } else { part });
        }
    }

    fn emit(&mut self, bytes: &[u8]) {
        if std::mem::take(&mut self.pending_space) && self.is_started {
            self.put(b" ");
        }
        self.put(bytes);
        self.is_started = true;
    }

    fn put(&mut self, bytes: &[u8]) {
        let bytes = bytes.get(..bytes.len().min(self.room)).unwrap_or_default();
        self.room -= bytes.len();
        match self.buffer.get_mut(self.filled..self.filled + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.filled += bytes.len();
            }
            None => {
                self.flush();
                self.hasher.write(bytes);
            }
        }
    }

    fn flush(&mut self) {
        self.hasher.write(self.buffer.get(..self.filled).unwrap_or_default());
        self.filled = 0;
    }

    fn finish(mut self) -> u64 {
        self.flush();
        // 0 means absent.
        self.hasher.finish().max(1)
    }
}

/// What a byte can be part of.
static CLASSES: [u8; 256] = classes();
/// A digit, a capital, white space but the space: something variable may start here.
const NOTABLE: u8 = 1;
/// A space.
const BLANK: u8 = 2;
/// White space.
const SPACE: u8 = 4;
/// A letter, digit, dash or underscore.
const WORD: u8 = 8;

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b' ' => BLANK | SPACE,
            b'\t' | b'\n' | b'\r' => NOTABLE | SPACE,
            b'0'..=b'9' | b'A'..=b'Z' => NOTABLE | WORD,
            b'a'..=b'z' | b'-' | b'_' => WORD,
            _ => 0,
        };
        byte += 1;
    }
    classes
}

/// Whether a byte is of one of the classes.
fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Length of the start of a text that is all of a class.
fn span(text: &[u8], class: u8) -> usize {
    text.iter().take_while(|&&byte| is(byte, class)).count()
}

/// Length of the start of a text without notable bytes and without two spaces in a row.
fn find_notable(text: &[u8]) -> usize {
    let mut before = 0;
    let stop = text.iter().position(|&byte| {
        let class = CLASSES[usize::from(byte)];
        let is_double = class & before & BLANK;
        before = class;
        (class & NOTABLE) | is_double != 0
    });
    stop.unwrap_or(text.len())
}

/// Names that change from day to day in "today is …".
const fn is_calendar_name(name: &[u8]) -> bool {
    matches!(
        name,
        b"January"
            | b"February"
            | b"March"
            | b"April"
            | b"May"
            | b"June"
            | b"July"
            | b"August"
            | b"September"
            | b"October"
            | b"November"
            | b"December"
            | b"Jan"
            | b"Feb"
            | b"Mar"
            | b"Apr"
            | b"Jun"
            | b"Jul"
            | b"Aug"
            | b"Sep"
            | b"Sept"
            | b"Oct"
            | b"Nov"
            | b"Dec"
            | b"Monday"
            | b"Tuesday"
            | b"Wednesday"
            | b"Thursday"
            | b"Friday"
            | b"Saturday"
            | b"Sunday"
            | b"Mon"
            | b"Tue"
            | b"Wed"
            | b"Thu"
            | b"Fri"
            | b"Sat"
            | b"Sun"
            | b"AM"
            | b"PM"
    )
}

fn is_uuid(run: &[u8]) -> bool {
    run.len() == 36
        && run.iter().enumerate().all(|(at, &byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
