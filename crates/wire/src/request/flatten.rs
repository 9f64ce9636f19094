//! Hashing a text with its variable parts flattened, so that all uses of one template coincide.
//!
//! Runs of digits, identifiers (hexadecimal, UUID, mixed letters and digits), and names of months and days
//! become `0`; white space folds to one space; case is kept. Work is bounded: see [`HEAD`] and [`TAIL`].

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::json::{Piece, RawStr};

/// Flattened bytes that are hashed from the start of a text.
pub(super) const HEAD: usize = 4_096;
/// Bytes at the end of a longer text that are looked at, when the whole is meant to count.
pub(super) const TAIL: usize = 1_024;
const BUFFER: usize = 256;

/// What stands for everything variable.
const FOLDED: &[u8] = b"0";

/// Names that change from day to day in "today is …".
const CALENDAR: [&[u8]; 40] = [
    b"January",
    b"February",
    b"March",
    b"April",
    b"May",
    b"June",
    b"July",
    b"August",
    b"September",
    b"October",
    b"November",
    b"December",
    b"Jan",
    b"Feb",
    b"Mar",
    b"Apr",
    b"Jun",
    b"Jul",
    b"Aug",
    b"Sep",
    b"Sept",
    b"Oct",
    b"Nov",
    b"Dec",
    b"Monday",
    b"Tuesday",
    b"Wednesday",
    b"Thursday",
    b"Friday",
    b"Saturday",
    b"Sunday",
    b"Mon",
    b"Tue",
    b"Wed",
    b"Thu",
    b"Fri",
    b"Sat",
    b"Sun",
    b"AM",
    b"PM",
];

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

    fn literal(&mut self, text: &[u8]) {
        let mut rest = text.get(..text.len().min(self.work)).unwrap_or_default();
        self.work -= rest.len();
        while let Some(&first) = rest.first() {
            if self.room == 0 {
                return;
            }
            let class = class(first);
            let length = rest.iter().position(|&byte| self::class(byte) != class).unwrap_or(rest.len());
            let (run, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = after;
            match class {
                Class::Space => self.pending_space = true,
                Class::Word => self.word(run),
                Class::Other => self.emit(run),
            }
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
            let is_date = name.first().is_some_and(u8::is_ascii_uppercase) && CALENDAR.contains(&name);
            return self.emit(if is_date { FOLDED } else { name });
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Word,
    Other,
}

const fn class(byte: u8) -> Class {
    match byte {
        b' ' | b'\t' | b'\n' | b'\r' => Class::Space,
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => Class::Word,
        _ => Class::Other,
    }
}

fn is_uuid(run: &[u8]) -> bool {
    run.len() == 36
        && run.iter().enumerate().all(|(at, &byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
