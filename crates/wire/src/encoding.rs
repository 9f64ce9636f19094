//! Content encodings: request bodies decoded whole, answers decoded as they pass.
//!
//! Invariant: no input makes a decoder hold more than its limit: the limit is kept while decoding.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};
use flate2::write;

#[cfg(test)]
mod tests;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// `gzip`.
    Gzip,
    /// `deflate`: zlib by the standard, raw deflate by some clients; told apart by the first two bytes.
    Deflate,
}

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// An encoding we do not read, or several.
    #[error("Content-Encoding must be gzip, deflate or identity, and only one of them")]
    Unknown,
    /// The body is not what `Content-Encoding` says, or is cut short.
    #[error("the body is not what Content-Encoding says, or is cut short")]
    Corrupt,
    /// Something follows the compressed data.
    #[error("the body goes on after its compressed data")]
    Trailing,
    /// More than the limit when decompressed.
    #[error("the decompressed body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl Encoding {
    /// Reads the value of `Content-Encoding`.
    ///
    /// # Errors
    ///
    /// When it names an encoding we do not read, or more than one.
    pub fn from_header(value: Option<&str>) -> Result<Self, DecodeError> {
        match value.unwrap_or_default().trim() {
            "" => Ok(Self::Identity),
            name if name.eq_ignore_ascii_case("identity") => Ok(Self::Identity),
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Ok(Self::Gzip)
            }
            name if name.eq_ignore_ascii_case("deflate") => Ok(Self::Deflate),
            _ => Err(DecodeError::Unknown),
        }
    }
}

/// Decodes a whole body; at most `limit` bytes come out.
///
/// # Errors
///
/// When the body is not what the encoding says, or larger than the limit.
pub fn decode(body: &[u8], encoding: Encoding, limit: usize) -> Result<Cow<'_, [u8]>, DecodeError> {
    let decoded = match encoding {
        Encoding::Identity if body.len() > limit => return Err(DecodeError::TooLarge { limit }),
        Encoding::Identity => return Ok(Cow::Borrowed(body)),
        Encoding::Gzip => read_limited(GzDecoder::new(body), limit, GzDecoder::into_inner),
        Encoding::Deflate if is_zlib(body) => {
            read_limited(ZlibDecoder::new(body), limit, ZlibDecoder::into_inner)
        }
        Encoding::Deflate => read_limited(DeflateDecoder::new(body), limit, DeflateDecoder::into_inner),
    };
    decoded.map(Cow::Owned)
}

fn read_limited<'a, D: Read>(
    mut decoder: D,
    limit: usize,
    into_rest: impl FnOnce(D) -> &'a [u8],
) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    // One byte more than allowed shows that there is more.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.by_ref().take(most).read_to_end(&mut out).map_err(|_| DecodeError::Corrupt)?;
    if out.len() > limit {
        return Err(DecodeError::TooLarge { limit });
    }
    if into_rest(decoder).is_empty() { Ok(out) } else { Err(DecodeError::Trailing) }
}

/// Whether data starts with a zlib header: method deflate and a valid check of the two bytes.
fn is_zlib(data: &[u8]) -> bool {
    match data {
        [method, flags, ..] => method & 0x0f == 8 && (u16::from(*method) * 256 + u16::from(*flags)) % 31 == 0,
        _ => false,
    }
}

/// What we ask the provider for: what the client accepts of what we can read as it passes.
pub fn accept_encoding(client: Option<&str>) -> &'static str {
    let (mut gzip, mut deflate, mut any) = (None, None, None);
    for item in client.unwrap_or_default().split(',') {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let is_refused = parts.any(is_zero_weight);
        let slot = match name {
            "*" => &mut any,
            _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => &mut gzip,
            _ if name.eq_ignore_ascii_case("deflate") => &mut deflate,
            _ => continue,
        };
        *slot = Some(!is_refused);
    }
    let any = any.unwrap_or(false);
    match (gzip.unwrap_or(any), deflate.unwrap_or(any)) {
        (true, true) => "gzip, deflate",
        (true, false) => "gzip",
        (false, true) => "deflate",
        (false, false) => "identity",
    }
}

fn is_zero_weight(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, weight)| {
        name.trim() == "q" && weight.trim().parse::<f32>().is_ok_and(|q| q <= 0.0)
    })
}

/// Decodes a body piece by piece, for reading an answer while it passes.
pub struct StreamDecoder {
    state: State,
    /// Bytes that may still come out.
    room: u64,
}

enum State {
    Identity,
    /// Deflate whose first two bytes are not here yet.
    Undecided(Vec<u8>),
    Gzip(write::GzDecoder<Vec<u8>>),
    Zlib(write::ZlibDecoder<Vec<u8>>),
    Raw(write::DeflateDecoder<Vec<u8>>),
    Failed,
}

/// Input given to a decoder at once: at the highest ratio of deflate this makes half a megabyte.
const SLICE: usize = 512;

impl StreamDecoder {
    /// A decoder from which at most `limit` bytes come.
    pub fn new(encoding: Encoding, limit: u64) -> Self {
        let state = match encoding {
            Encoding::Identity => State::Identity,
            Encoding::Gzip => State::Gzip(write::GzDecoder::new(Vec::new())),
            Encoding::Deflate => State::Undecided(Vec::new()),
        };
        Self { state, room: limit }
    }

    /// Whether bytes pass through unchanged.
    pub const fn is_identity(&self) -> bool {
        matches!(self.state, State::Identity)
    }

    /// Decodes the next bytes and hands them to `sink`, in pieces. Returns false, for good, once the data is
    /// corrupt or too large.
    pub fn push(&mut self, chunk: &[u8], sink: &mut impl FnMut(&[u8])) -> bool {
        if self.is_identity() {
            sink(chunk);
            return true;
        }
        if chunk.chunks(SLICE).all(|slice| self.push_slice(slice, sink)) {
            return true;
        }
        self.state = State::Failed;
        false
    }

    /// Ends the data: hands over what is left and says whether it was complete.
    pub fn finish(mut self, sink: &mut impl FnMut(&[u8])) -> bool {
        let ended = match &mut self.state {
            State::Identity => return true,
            State::Failed => return false,
            State::Undecided(held) => return held.is_empty(),
            State::Gzip(decoder) => decoder.try_finish(),
            State::Zlib(decoder) => decoder.try_finish(),
            State::Raw(decoder) => decoder.try_finish(),
        };
        self.drain(sink) && ended.is_ok()
    }

    fn push_slice(&mut self, slice: &[u8], sink: &mut impl FnMut(&[u8])) -> bool {
        let mut joined = Vec::new();
        let mut slice = slice;
        if let State::Undecided(held) = &mut self.state {
            held.extend_from_slice(slice);
            if held.len() < 2 {
                return true;
            }
            joined.append(held);
            slice = &joined;
            self.state = if is_zlib(slice) {
                State::Zlib(write::ZlibDecoder::new(Vec::new()))
            } else {
                State::Raw(write::DeflateDecoder::new(Vec::new()))
            };
        }
        let written = match &mut self.state {
            State::Gzip(decoder) => write_all(decoder, slice),
            State::Zlib(decoder) => write_all(decoder, slice),
            State::Raw(decoder) => write_all(decoder, slice),
            State::Identity | State::Undecided(_) => true,
            State::Failed => false,
        };
        self.drain(sink) && written
    }

    /// Hands over what came out; false when that is more than the limit.
    fn drain(&mut self, sink: &mut impl FnMut(&[u8])) -> bool {
        let out = match &mut self.state {
            State::Gzip(decoder) => decoder.get_mut(),
            State::Zlib(decoder) => decoder.get_mut(),
            State::Raw(decoder) => decoder.get_mut(),
            State::Identity | State::Undecided(_) | State::Failed => return true,
        };
        let Some(room) = self.room.checked_sub(out.len() as u64) else { return false };
        self.room = room;
        if !out.is_empty() {
            sink(out);
        }
        out.clear();
        true
    }
}

/// Writes a slice and flushes, so that everything decodable so far comes out.
fn write_all(decoder: &mut impl Write, mut slice: &[u8]) -> bool {
    while !slice.is_empty() {
        match decoder.write(slice) {
            // The data ended before its container did: what follows is not looked at.
            Ok(0) => return true,
            Ok(taken) => slice = slice.get(taken..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    decoder.flush().is_ok()
}
