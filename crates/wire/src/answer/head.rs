//! Heads of answers: where a body ends is decided here.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

use super::chunked::Chunked;
use super::{Framing, ReadAnswerError};

/// Header fields of an answer that are read; more are garbage.
const FIELDS_MAX: usize = 128;
/// Largest head of an answer.
pub const HEAD_MAX: usize = 256 * 1024;

/// What of a request decides how its answer is read.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Its method is HEAD: the answer has no body.
    pub is_head: bool,
    /// It asks for another protocol.
    pub is_upgrade: bool,
}

/// The head of an answer.
#[derive(Debug)]
pub struct Answer {
    /// Status, version and header fields.
    pub head: Response<()>,
    /// Where its body ends.
    pub framing: Framing,
    /// Whether the provider keeps the connection open after it.
    pub keeps: bool,
}

/// Takes the head of an answer from what has arrived; `None` when it is not all there. Interim answers are passed over.
///
/// # Errors
///
/// When it is not HTTP, too large, or says in two ways where its body ends.
pub fn take_head(arrived: &mut BytesMut, asked: Asked) -> Result<Option<Answer>, ReadAnswerError> {
    loop {
        let Some(head) = take_one(arrived)? else { return Ok(None) };
        let status = head.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            if !asked.is_upgrade {
                return Err(ReadAnswerError("an upgrade that nobody asked for"));
            }
            return Ok(Some(Answer { head, framing: Framing::Done, keeps: false }));
        }
        if status.is_informational() {
            continue;
        }
        let (framing, is_clear) = framing(&head, asked)?;
        let keeps = is_clear && keeps(&head);
        return Ok(Some(Answer { head, framing, keeps }));
    }
}

fn take_one(arrived: &mut BytesMut) -> Result<Option<Response<()>>, ReadAnswerError> {
    let mut fields = [MaybeUninit::uninit(); FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let length = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, arrived, &mut fields)
        .map_err(|_| ReadAnswerError("the head is not HTTP"))?;
    let length = match length {
        httparse::Status::Complete(length) if length <= HEAD_MAX => length,
        httparse::Status::Partial if arrived.len() < HEAD_MAX => return Ok(None),
        _ => return Err(ReadAnswerError("the head is too large")),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(ReadAnswerError("the status is none"))?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    // Values become slices of the head, found by where they stand in it.
    let base = arrived.as_ptr() as usize;
    let mut places = Vec::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| ReadAnswerError("a header field has no name"))?;
        let start = field.value.as_ptr() as usize - base;
        places.push((name, start..start + field.value.len()));
    }
    let head = arrived.split_to(length).freeze();
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    let headers = response.headers_mut();
    headers.reserve(places.len() + 8);
    for (name, place) in places {
        let value = HeaderValue::from_maybe_shared(head.slice(place))
            .map_err(|_| ReadAnswerError("a header field's value"))?;
        headers.append(name, value);
    }
    Ok(Some(response))
}

/// Where the body ends, and whether that is said in one way only. What two readers could take for different ends is
/// garbage, or at least ends the connection.
fn framing(head: &Response<()>, asked: Asked) -> Result<(Framing, bool), ReadAnswerError> {
    let headers = head.headers();
    if asked.is_head || matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok((Framing::Done, true));
    }
    let length = content_length(headers)?;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let is_chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !is_chunked || codings.next().is_some() || head.version() == Version::HTTP_10 {
            return Err(ReadAnswerError("a transfer coding other than chunked"));
        }
        return Ok((Framing::Chunked(Chunked::new()), length.is_none()));
    }
    Ok(match length {
        Some(0) => (Framing::Done, true),
        Some(length) => (Framing::Length(length), true),
        None => (Framing::Close, true),
    })
}

/// The one length that all fields agree on.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ReadAnswerError> {
    const WRONG: ReadAnswerError = ReadAnswerError("a content length that is none, or several");
    let mut found = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for text in value.to_str().map_err(|_| WRONG)?.split(',').map(str::trim) {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(WRONG);
            }
            let length: u64 = text.parse().map_err(|_| WRONG)?;
            if found.is_some_and(|found| found != length) {
                return Err(WRONG);
            }
            found = Some(length);
        }
    }
    Ok(found)
}

fn keeps(head: &Response<()>) -> bool {
    let says = |wanted: &str| {
        let values = head.headers().get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    if head.version() == Version::HTTP_10 { says("keep-alive") && !says("close") } else { !says("close") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Asked = Asked { is_head: false, is_upgrade: false };

    /// What an answer's head is read as: status, framing, whether the connection is kept, bytes left.
    fn read(head: &str, asked: Asked) -> String {
        let mut arrived = BytesMut::from(head);
        match take_head(&mut arrived, asked) {
            Ok(Some(Answer { head, framing, keeps })) => {
                let framing = match framing {
                    Framing::Chunked(_) => "chunked".to_owned(),
                    framing => format!("{framing:?}").to_lowercase(),
                };
                format!("{} {framing} {keeps} {}", head.status().as_u16(), arrived.len())
            }
            Ok(None) => "more".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_end_of_a_body_is_told_by_its_head() {
        let check = |head: &str, expected: &str| assert_eq!(read(head, PLAIN), expected, "{head:?}");
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "200 length(2) true 2");
        check("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\ncontent-length: 2\r\n\r\n", "200 length(2) true 0");
        check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "200 done true 0");
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", "200 chunked true 0");
        check("HTTP/1.1 200 OK\r\n\r\n", "200 close true 0");
        check("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", "204 done true 0");
        check(
            "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 1\r\n\r\n",
            "200 length(1) false 0",
        );
        check("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", "200 length(1) false 0");
        check(
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n",
            "200 length(1) true 0",
        );
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "200 close true 0",
        );
        check("HTTP/1.1 200 OK\r\ncontent-le", "more");
        check("HTTP/1.1 100 Continue\r\n\r\n", "more");
        let both = "content-length: 2\r\ntransfer-encoding: chunked\r\n";
        check(&format!("HTTP/1.1 200 OK\r\n{both}\r\n"), "200 chunked false 0");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_garbage() {
        let check = |head: &str, expected: &str| {
            let read = read(head, PLAIN);
            assert!(read.contains(expected), "{head:?}: {read}");
        };
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n", "content length");
        check("HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n", "content length");
        check("HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n", "content length");
        check("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", "content length");
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "transfer coding");
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n",
            "transfer coding",
        );
        check("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "transfer coding");
        check("HTTP/1.1 101 Switching\r\n\r\n", "upgrade");
        check("SSH-2.0-x\r\n", "not HTTP");
        check("HTTP/1.1 200 OK\r\nx y: z\r\n\r\n", "not HTTP");
        check(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200)), "not HTTP");
        check(&format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(300_000)), "too large");
        check(&format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(300_000)), "too large");
    }

    #[test]
    fn what_was_asked_decides_too() {
        let with_length = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(read(with_length, Asked { is_head: true, is_upgrade: false }), "200 done true 0");
        let switched = "HTTP/1.1 101 Switching\r\n\r\nrest";
        assert_eq!(read(switched, Asked { is_head: false, is_upgrade: true }), "101 done false 4");
    }
}
