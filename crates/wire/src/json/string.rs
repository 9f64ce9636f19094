//! Strings as they are written in JSON, and their values.

use std::borrow::Cow;

/// A string as written: the text between the quotes, and whether it holds escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawStr<'a> {
    pub(crate) raw: &'a str,
    pub(crate) escaped: bool,
}

/// A stretch of a string: literal text, or one escaped character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Escape(char),
    /// Half of a surrogate pair: no character.
    Lone,
}

impl<'a> RawStr<'a> {
    /// The string's value; `None` when it holds half a surrogate pair.
    #[inline]
    pub(crate) fn decode(self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.raw));
        }
        self.unescape().map(Cow::Owned)
    }

    fn unescape(self) -> Option<String> {
        let mut text = String::with_capacity(self.raw.len());
        for piece in self.pieces() {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Escape(character) => text.push(character),
                Piece::Lone => return None,
            }
        }
        Some(text)
    }

    /// The string's stretches in order.
    pub(crate) fn pieces(self) -> Pieces<'a> {
        Pieces { rest: self.raw }
    }
}

/// Iterator over the stretches of a checked string.
pub(crate) struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        match memchr::memchr(b'\\', self.rest.as_bytes()) {
            None if self.rest.is_empty() => None,
            None => Some(Piece::Text(std::mem::take(&mut self.rest))),
            Some(0) => Some(self.escape()),
            Some(at) => {
                let (literal, rest) = self.rest.split_at_checked(at)?;
                self.rest = rest;
                Some(Piece::Text(literal))
            }
        }
    }
}

impl Pieces<'_> {
    fn escape(&mut self) -> Piece<'static> {
        let letter = self.rest.as_bytes().get(1).copied().unwrap_or(b'\\');
        let simple = match letter {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            other => char::from(other),
        };
        self.advance(2);
        Piece::Escape(simple)
    }

    fn unicode(&mut self) -> Piece<'static> {
        let unit = hex4(self.rest, 2);
        self.advance(6);
        match unit {
            0xD800..0xDC00 if self.rest.starts_with("\\u") => {
                let low = hex4(self.rest, 2);
                if !(0xDC00..0xE000).contains(&low) {
                    return Piece::Lone;
                }
                self.advance(6);
                char::from_u32(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
                    .map_or(Piece::Lone, Piece::Escape)
            }
            unit => char::from_u32(unit).map_or(Piece::Lone, Piece::Escape),
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }
}

fn hex4(text: &str, from: usize) -> u32 {
    text.get(from..from + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0xD800)
}
