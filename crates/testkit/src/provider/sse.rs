//! Server-sent events, written the ways that real servers and proxies write them.

use std::collections::VecDeque;
use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use hyper::Response;
use hyper::header::{self, HeaderValue};

use super::directives::{Directives, Encoding, Style};
use super::reply::{Ending, Reply};

/// Sizes that a split stream is cut into, in turn: none is a multiple of another, so cuts fall everywhere.
const SPLITS: [usize; 6] = [7, 1, 23, 2, 61, 5];
/// Events to a write in the `joined` style.
const JOINED: usize = 4;
/// Events between two comments in the `pings` style.
const PING_EVERY: usize = 3;

/// A stream of events being written.
pub(crate) struct Sse {
    style: Style,
    out: Vec<u8>,
    /// Where each event ends in `out`.
    ends: Vec<usize>,
}

impl Sse {
    pub(crate) fn new(style: Style) -> Self {
        Self { style, out: Vec::with_capacity(1024), ends: Vec::with_capacity(8) }
    }

    fn end_line(&mut self) {
        self.out.extend_from_slice(if self.style.crlf { b"\r\n" } else { b"\n" });
    }

    /// Appends an event; `name` is left out where the dialect has none.
    pub(crate) fn event(&mut self, name: Option<&str>, data: &str) {
        if self.style.pings && self.ends.len() % PING_EVERY == 1 {
            self.out.extend_from_slice(b": ping");
            self.end_line();
            self.end_line();
        }
        if let Some(name) = name {
            self.out.extend_from_slice(b"event: ");
            self.out.extend_from_slice(name.as_bytes());
            self.end_line();
        }
        self.out.extend_from_slice(b"data: ");
        self.out.extend_from_slice(data.as_bytes());
        self.end_line();
        self.end_line();
        self.ends.push(self.out.len());
    }

    /// The answer.
    pub(crate) fn into_response(self, directives: &Directives) -> Response<Reply> {
        let style = self.style;
        let (mut data, mut ends) = (self.out, self.ends);
        if style.joined {
            let last = ends.last().copied();
            ends = ends.chunks_exact(JOINED).filter_map(|group| group.last().copied()).collect();
            if ends.last().copied() != last {
                ends.extend(last);
            }
        }
        if let Some(encoding) = style.encoding {
            (data, ends) = compress(&data, &ends, encoding);
        }
        if style.split {
            ends = split(data.len());
        }
        let mut response =
            Response::new(Reply::pieces(slices(data, &ends), directives.chunk_delay, Ending::Done));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Some(encoding) = style.encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        }
        response
    }
}

fn slices(data: Vec<u8>, ends: &[usize]) -> VecDeque<Bytes> {
    let data = Bytes::from(data);
    let mut from = 0;
    ends.iter()
        .map(|&end| {
            let piece = data.slice(from..end);
            from = end;
            piece
        })
        .collect()
}

fn split(length: usize) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    for size in SPLITS.into_iter().cycle() {
        if at >= length {
            break;
        }
        at = (at + size).min(length);
        ends.push(at);
    }
    ends
}

impl Encoding {
    /// The value of `content-encoding`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }
}

/// Compresses with a flush at each end, so that every event can be unpacked as soon as it arrives.
fn compress(data: &[u8], ends: &[usize], encoding: Encoding) -> (Vec<u8>, Vec<usize>) {
    let packed = match encoding {
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            flushed(&mut encoder, data, ends, |encoder| encoder.get_ref().len())
                .and_then(|ends| Ok((encoder.finish()?, ends)))
        }
        Encoding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            flushed(&mut encoder, data, ends, |encoder| encoder.get_ref().len())
                .and_then(|ends| Ok((encoder.finish()?, ends)))
        }
    };
    // Compressing into memory does not fail; were it to, an empty stream says so loudly.
    let (packed, mut ends) = packed.unwrap_or_default();
    if let Some(last) = ends.last_mut() {
        *last = packed.len();
    }
    (packed, ends)
}

fn flushed<W: Write>(
    encoder: &mut W,
    data: &[u8],
    ends: &[usize],
    length: impl Fn(&W) -> usize,
) -> io::Result<Vec<usize>> {
    let mut from = 0;
    let mut packed_ends = Vec::with_capacity(ends.len());
    for &end in ends {
        encoder.write_all(data.get(from..end).unwrap_or_default())?;
        encoder.flush()?;
        packed_ends.push(length(encoder));
        from = end;
    }
    Ok(packed_ends)
}

/// Compresses a whole body.
pub(crate) fn compress_whole(data: &[u8], encoding: Encoding) -> Vec<u8> {
    compress(data, &[data.len()], encoding).0
}
