//! Headers that the real providers put on every answer.

use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Response};
use tokenwatch_model::provider::Dialect;

use super::reply::Reply;

const OPENAI: [(&str, &str); 9] = [
    ("openai-organization", "org-mock"),
    ("openai-processing-ms", "12"),
    ("openai-version", "2020-10-01"),
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-limit-tokens", "2000000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-remaining-tokens", "1999000"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("x-ratelimit-reset-tokens", "30ms"),
];

const ANTHROPIC: [(&str, &str); 7] = [
    ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
    ("anthropic-ratelimit-requests-limit", "4000"),
    ("anthropic-ratelimit-requests-remaining", "3999"),
    ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:00Z"),
    ("anthropic-ratelimit-tokens-limit", "2000000"),
    ("anthropic-ratelimit-tokens-remaining", "1999000"),
    ("anthropic-ratelimit-tokens-reset", "2026-01-01T00:00:00Z"),
];

/// The id of the request with this running number, as the dialect writes it.
pub(crate) fn request_id(dialect: Dialect, number: u64) -> String {
    match dialect {
        Dialect::OpenAi => format!("req_{number:032x}"),
        Dialect::Anthropic => format!("req_011{number:021x}"),
    }
}

/// Puts the provider's headers on an answer.
pub(crate) fn stamp(response: &mut Response<Reply>, dialect: Dialect, number: u64) {
    let headers = response.headers_mut();
    let (name, fixed) = match dialect {
        Dialect::OpenAi => ("x-request-id", &OPENAI[..]),
        Dialect::Anthropic => ("request-id", &ANTHROPIC[..]),
    };
    headers.reserve(fixed.len() + 1);
    for &(name, value) in fixed {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::try_from(request_id(dialect, number)) {
        headers.insert(HeaderName::from_static(name), id);
    }
}

/// Adds about `bytes` bytes of headers.
pub(crate) fn bloat(headers: &mut HeaderMap, bytes: usize) {
    const LINE: usize = 8 * 1024;
    let line = HeaderValue::from_str(&"h".repeat(LINE.min(bytes)));
    for index in 0..bytes.div_ceil(LINE) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(format!("x-mock-huge-{index}")), &line) {
            headers.append(name, value.clone());
        }
    }
}
