//! Chunked transfer coding, read: a state machine over what has arrived, strict where readers could differ.

use bytes::{Buf, Bytes, BytesMut};

use super::{ReadAnswerError, Step};

/// Longest line of a chunk's size with its extensions, and of a trailer.
const LINE_MAX: usize = 4 * 1024;
/// Most bytes of extensions and trailers in one body: they are thrown away, and a body must not consist of them.
const EXTRA_MAX: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A line with a chunk's size comes next.
    Size,
    /// So many bytes of a chunk are left.
    Data(u64),
    /// The line break after a chunk comes next.
    DataEnd,
    /// Trailers or the last empty line come next.
    Trailer,
    Done,
}

/// Reads one chunked body.
#[derive(Clone, Debug)]
pub struct Chunked {
    state: State,
    extra: usize,
}

const fn garbage(why: &'static str) -> ReadAnswerError {
    ReadAnswerError(why)
}

impl Chunked {
    /// At its beginning.
    pub(crate) const fn new() -> Self {
        Self { state: State::Size, extra: 0 }
    }

    /// Whether its end was read.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next piece of the body from what has arrived.
    pub(crate) fn take(&mut self, arrived: &mut BytesMut) -> Result<Step, ReadAnswerError> {
        loop {
            match self.state {
                State::Done => return Ok(Step::End),
                State::Data(left) => {
                    if arrived.is_empty() {
                        return Ok(Step::More);
                    }
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(arrived.len());
                    let data = arrived.split_to(length).freeze();
                    let left = left - length as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    self.look_ahead(arrived);
                    return Ok(Step::Data(data));
                }
                State::Size | State::DataEnd | State::Trailer => {
                    if !self.advance(arrived)? {
                        return Ok(Step::More);
                    }
                }
            }
        }
    }

    /// Finds out whether the body ends here, so that nobody has to ask once more for nothing. What is wrong is said when
    /// it is asked for: an error takes nothing from what has arrived.
    fn look_ahead(&mut self, arrived: &mut BytesMut) {
        while matches!(self.state, State::Size | State::DataEnd | State::Trailer)
            && matches!(self.advance(arrived), Ok(true))
        {}
    }

    /// One step over what is not data; false when too little has arrived.
    fn advance(&mut self, arrived: &mut BytesMut) -> Result<bool, ReadAnswerError> {
        if self.state == State::DataEnd {
            return match arrived.get(..2) {
                Some(b"\r\n") => {
                    arrived.advance(2);
                    self.state = State::Size;
                    Ok(true)
                }
                Some(_) => Err(garbage("a chunk is longer than its size")),
                None => Ok(false),
            };
        }
        let Some(end) = arrived.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
            return if arrived.len() < LINE_MAX {
                Ok(false)
            } else {
                Err(garbage("a chunk's line is too long"))
            };
        };
        let line = arrived.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        let line = line.ok_or(garbage("a line of the framing ends without a carriage return"))?;
        let (state, extra) = if self.state == State::Size {
            let (size, extension) = read_size(line)?;
            (if size == 0 { State::Trailer } else { State::Data(size) }, extension)
        } else {
            (if line.is_empty() { State::Done } else { State::Trailer }, line.len())
        };
        self.extra += extra;
        if self.extra > EXTRA_MAX {
            return Err(garbage("too many extensions or trailers"));
        }
        arrived.advance(end + 1);
        self.state = state;
        Ok(true)
    }
}

/// A chunk's size and the length of its extensions.
fn read_size(line: &[u8]) -> Result<(u64, usize), ReadAnswerError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    // Sixteen digits are 64 bits.
    if digits.is_empty() || digits.len() > 16 {
        return Err(garbage("a chunk's size is not a number"));
    }
    let is_extension = rest.trim_ascii_start().first().is_none_or(|byte| *byte == b';');
    if !is_extension {
        return Err(garbage("a chunk's size is followed by something else"));
    }
    let size = digits.iter().fold(0, |size, digit| {
        let value = (*digit as char).to_digit(16).unwrap_or_default();
        (size << 4) | u64::from(value)
    });
    Ok((size, rest.len()))
}

/// Frames a piece of a body: what goes before it and after it.
pub fn frame(length: usize) -> (Bytes, &'static [u8]) {
    (Bytes::from(format!("{length:x}\r\n")), b"\r\n")
}

/// What ends a chunked body.
pub const LAST: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `wire` in pieces cut at `cuts`: the body, whether it ended, and what was left over.
    fn read(wire: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool, usize), ReadAnswerError> {
        let (mut chunked, mut arrived, mut body) = (Chunked::new(), BytesMut::new(), Vec::new());
        let mut from = 0;
        for to in cuts.iter().copied().chain([wire.len()]) {
            arrived.extend_from_slice(&wire[from..to]);
            from = to;
            loop {
                match chunked.take(&mut arrived)? {
                    Step::Data(data) => body.extend_from_slice(&data),
                    Step::More => break,
                    Step::End => {
                        let left = arrived.len() + wire.len() - from;
                        return Ok((body, true, left));
                    }
                }
            }
        }
        Ok((body, false, arrived.len()))
    }

    #[test]
    fn reads_what_is_right_and_refuses_what_is_not() {
        let check = |wire: &str, expected: Option<(&str, bool, usize)>| {
            let read = read(wire.as_bytes(), &[]);
            let read = read
                .as_ref()
                .ok()
                .map(|(body, ended, left)| (std::str::from_utf8(body).unwrap(), *ended, *left));
            assert_eq!(read, expected, "{wire:?}");
        };
        check("2\r\nhi\r\n0\r\n\r\n", Some(("hi", true, 0)));
        check("002\r\nhi\r\n1;a=b\r\n!\r\n0\r\nx: y\r\n\r\nrest", Some(("hi!", true, 4)));
        check("A ;x\r\n0123456789\r\n0\r\n\r\n", Some(("0123456789", true, 0)));
        check("0\r\n\r\n", Some(("", true, 0)));
        check("2\r\nhi\r\n", Some(("hi", false, 0)));
        check("2\r\nhi", Some(("hi", false, 0)));
        check("2\nhi\r\n0\r\n\r\n", None);
        check("2\r\nhi\n0\r\n\r\n", None);
        check("1\r\nhi\r\n0\r\n\r\n", None);
        check("\r\nhi\r\n", None);
        check("-2\r\nhi\r\n", None);
        check("0x2\r\nhi\r\n", None);
        check("2 2\r\nhi\r\n", None);
        check("10000000000000000\r\nhi\r\n", None);
        check(&"2".repeat(5_000), None);
        check(&format!("2;{}\r\nhi\r\n", "x".repeat(5_000)), None);
        check(&format!("{}0\r\n\r\n", format!("1;{}\r\n!\r\n", "x".repeat(4_000)).repeat(5)), None);
    }

    #[test]
    fn the_end_is_known_with_the_last_piece() {
        let mut arrived = BytesMut::from("2\r\nhi\r\n0\r\n\r\n");
        let mut chunked = Chunked::new();
        assert!(matches!(chunked.take(&mut arrived), Ok(Step::Data(data)) if data == "hi"));
        assert!(chunked.is_done());
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut wire = Vec::new();
            for piece in &pieces {
                let (before, after) = frame(piece.len());
                wire.extend_from_slice(&before);
                wire.extend_from_slice(piece);
                wire.extend_from_slice(after);
            }
            wire.extend_from_slice(LAST);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
            cuts.sort_unstable();
            let (body, ended, left) = read(&wire, &cuts).unwrap();
            prop_assert_eq!((body, ended, left), (pieces.concat(), true, 0));
        }

        #[test]
        fn nothing_panics(wire in prop::collection::vec(prop::sample::select(b"0123aF;\r\nx ".to_vec()), 0..60)) {
            let _ = read(&wire, &[]);
        }
    }
}
