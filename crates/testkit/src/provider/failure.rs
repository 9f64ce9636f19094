//! Failures: answers that are refused, broken off, stuck or lying.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use std::time::Duration;
use tokenwatch_model::provider::Dialect;

use super::answer::error;
use super::directives::Failure;
use super::headers::bloat;
use super::line::Fault;
use super::reply::{Ending, Reply};

/// An answer with an error status, as the provider words it.
pub(crate) fn refused(
    dialect: Dialect,
    status: u16,
    retry_after: Option<u64>,
    number: u64,
) -> Response<Reply> {
    let message = match status {
        401 => "The API key is not valid.",
        403 => "The API key may not use this.",
        429 => "Rate limit reached. Try again later.",
        503 | 529 => "The service is overloaded.",
        _ => "The server had an error while processing your request.",
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = error(dialect, status, message, number);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Spoils a good answer.
pub(crate) fn spoil(mut response: Response<Reply>, failure: Failure, fault: &Fault) -> Response<Reply> {
    match failure {
        Failure::ResetAfter(bytes) => {
            fault.reset();
            response.map(|reply| {
                let data = flatten(reply);
                let kept = data.slice(..bytes.min(data.len()));
                Reply::pieces(one(kept), Duration::ZERO, Ending::Broken)
            })
        }
        Failure::HangAfter(pieces) => response.map(|reply| match reply {
            Reply::Whole(data) => {
                let kept = if pieces == 0 { VecDeque::new() } else { one(data) };
                Reply::pieces(kept, Duration::ZERO, Ending::Hang)
            }
            Reply::Pieces(mut stream) => {
                stream.stop_after(pieces, Ending::Hang);
                Reply::Pieces(stream)
            }
        }),
        Failure::ShortBody => {
            let (mut parts, reply) = response.into_parts();
            let data = flatten(reply);
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(data.len()));
            let kept = data.slice(..data.len() / 2);
            Response::from_parts(parts, Reply::pieces(one(kept), Duration::ZERO, Ending::Early))
        }
        Failure::SlowHead(pause) => {
            fault.slow(pause);
            response
        }
        Failure::HugeHeaders(bytes) => {
            bloat(response.headers_mut(), bytes);
            response
        }
        // These are over before there is an answer to spoil.
        Failure::Reset | Failure::Garbage | Failure::Hang | Failure::Status { .. } => response,
    }
}

fn one(data: Bytes) -> VecDeque<Bytes> {
    VecDeque::from([data])
}

fn flatten(reply: Reply) -> Bytes {
    match reply {
        Reply::Whole(data) => data,
        Reply::Pieces(stream) => {
            let mut all = BytesMut::new();
            for piece in stream.into_pieces() {
                all.extend_from_slice(&piece);
            }
            all.freeze()
        }
    }
}
