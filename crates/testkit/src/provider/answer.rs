//! From a request to its answer: credential, recording, directives, route, failure.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use tokenwatch_model::provider::Dialect;

use super::directives::{Directives, Failure};
use super::line::Fault;
use super::reply::{Broken, Reply};
use super::state::State;
use super::{anthropic, failure, headers, openai};

/// Most bytes of a request body.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A request with all that its route needs.
pub(crate) struct Call<'a> {
    pub(crate) state: &'a State,
    pub(crate) parts: &'a mut Parts,
    pub(crate) body: &'a Bytes,
    pub(crate) directives: &'a Directives,
    pub(crate) number: u64,
}

/// Answers one request.
pub(crate) async fn answer(
    state: Arc<State>,
    fault: Arc<Fault>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Broken> {
    let number = state.next_number();
    let (mut parts, body) = request.into_parts();
    let dialect = state.dialect(&parts);
    let mut response = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            if state.seen.is_on() {
                state.seen.record(&parts, &body);
            }
            if !state.accepts(&parts) {
                error(dialect, StatusCode::UNAUTHORIZED, "The API key is not valid.", number)
            } else if let Some(canned) = state.canned_for(&parts, &body) {
                json(StatusCode::OK, canned)
            } else {
                Box::pin(directed(&state, &fault, &mut parts, &body, dialect, number)).await?
            }
        }
        Err(_) => error(dialect, StatusCode::PAYLOAD_TOO_LARGE, "The request is too large.", number),
    };
    if let Reply::Pieces(pieces) = response.body_mut() {
        pieces.watched_by(state.watch());
    }
    headers::stamp(&mut response, dialect, number);
    Ok(response)
}

/// Answers a request as its `x-mock-` headers ask.
async fn directed(
    state: &State,
    fault: &Fault,
    parts: &mut Parts,
    body: &Bytes,
    dialect: Dialect,
    number: u64,
) -> Result<Response<Reply>, Broken> {
    let directives = match Directives::read(&parts.headers) {
        Ok(directives) => directives,
        Err(reason) => return Ok(error(dialect, StatusCode::BAD_REQUEST, &reason, number)),
    };
    if !directives.delay.is_zero() {
        tokio::time::sleep(directives.delay).await;
    }
    match directives.failure {
        Some(Failure::Reset) => {
            fault.reset();
            return Err(Broken);
        }
        Some(Failure::Garbage) => fault.garbage(),
        Some(Failure::Hang) => {
            let _watch = state.watch();
            std::future::pending().await
        }
        Some(Failure::Status { status, retry_after }) => {
            return Ok(failure::refused(dialect, status, retry_after, number));
        }
        _ => {}
    }
    let call = Call { state, parts, body, directives: &directives, number };
    let response = match dialect {
        Dialect::OpenAi => openai::route(call),
        Dialect::Anthropic => anthropic::route(call),
    };
    Ok(match directives.failure {
        Some(failure) => failure::spoil(response, failure, fault),
        None => response,
    })
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error in the dialect's own form.
pub(crate) fn error(dialect: Dialect, status: StatusCode, message: &str, number: u64) -> Response<Reply> {
    let body = match dialect {
        Dialect::OpenAi => openai::error_body(status, message),
        Dialect::Anthropic => anthropic::error_body(status, message, number),
    };
    json(status, body)
}

/// A text as a JSON string, quotes included.
pub(crate) fn quoted(text: &str) -> String {
    // Writing a string into memory can not fail.
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}
