//! Heads of requests to providers, written.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use http::Method;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http_body::Body;

use crate::body::OutBody;

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// Its bytes as they are.
    Plain,
    Chunked,
}

/// Writes the head of a request. The framing is ours alone: what the fields say about it is passed over.
pub(super) fn write(parts: &Parts, body: &OutBody) -> (BytesMut, Sending) {
    let fields: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut head = BytesMut::with_capacity(fields + target.len() + 64);
    head.put_slice(parts.method.as_str().as_bytes());
    head.put_u8(b' ');
    head.put_slice(target.as_bytes());
    head.put_slice(b" HTTP/1.1\r\n");
    for (name, value) in &parts.headers {
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            continue;
        }
        head.put_slice(name.as_str().as_bytes());
        head.put_slice(b": ");
        head.put_slice(value.as_bytes());
        head.put_slice(b"\r\n");
    }
    let mut sending = Sending::Plain;
    match body.size_hint().exact() {
        Some(0) if !matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) => {}
        Some(length) => {
            // Writing to memory does not fail.
            let _ = write!(head, "content-length: {length}\r\n");
        }
        None => {
            sending = Sending::Chunked;
            head.put_slice(b"transfer-encoding: chunked\r\n");
        }
    }
    head.put_slice(b"\r\n");
    (head, sending)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_framing_of_a_request_is_ours() {
        let check = |method: &str, body: Option<&'static str>, expected: &str| {
            let request = Request::builder().method(method).uri("/v1/x?y=z").header("host", "p");
            let request = request.header("content-length", "99").header("transfer-encoding", "x");
            let body = OutBody::Whole(body.map(|body| body.as_bytes().into()));
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let (head, sending) = write(&parts, &body);
            assert_eq!((std::str::from_utf8(&head).unwrap(), sending), (expected, Sending::Plain));
        };
        check("GET", None, "GET /v1/x?y=z HTTP/1.1\r\nhost: p\r\n\r\n");
        check("POST", None, "POST /v1/x?y=z HTTP/1.1\r\nhost: p\r\ncontent-length: 0\r\n\r\n");
        check("POST", Some("hi"), "POST /v1/x?y=z HTTP/1.1\r\nhost: p\r\ncontent-length: 2\r\n\r\n");
    }
}
