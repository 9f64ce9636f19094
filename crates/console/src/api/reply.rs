//! Answers: JSON with the header fields that keep browsers and caches out.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::problem::Problem;

/// What a handler answers.
#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    revision: Option<u64>,
    location: Option<String>,
    /// Whether people look at it in a browser and press a button on it.
    is_page: bool,
}

const JSON: &str = "application/json";

impl Reply {
    pub(crate) fn json(value: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(value).map_err(|error| {
            tracing::error!(%error, "an answer of the admin API can not be written as JSON");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer can not be written")
        })?;
        Ok(Self::of(JSON, body))
    }

    pub(crate) fn of(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let (status, body) = (StatusCode::OK, body.into());
        Self { status, content_type, body, revision: None, location: None, is_page: false }
    }

    /// A page with a form that goes back to where it came from.
    pub(crate) fn page(html: String) -> Self {
        Self { is_page: true, ..Self::of("text/html; charset=utf-8", html) }
    }

    /// With the entity tag of a row's revision.
    pub(crate) fn tagged(self, revision: u64) -> Self {
        Self { revision: Some(revision), ..self }
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// 201, with where the new thing is.
    pub(crate) fn created(self, location: String) -> Self {
        Self { status: StatusCode::CREATED, location: Some(location), ..self }
    }
}

/// The answer on the wire.
pub(crate) fn respond(result: Result<Reply, Problem>) -> Response<Full<Bytes>> {
    match result {
        Ok(reply) => {
            let mut response = plain(reply.status, reply.content_type, reply.body);
            if reply.is_page {
                allow_form(&mut response);
            }
            put(&mut response, ETAG, reply.revision.map(|revision| format!("\"{revision}\"")));
            put(&mut response, LOCATION, reply.location);
            response
        }
        Err(problem) => {
            let mut response = plain(problem.status, JSON, problem.to_json().into());
            put(&mut response, RETRY_AFTER, problem.retry_after_s.map(|seconds| seconds.to_string()));
            put(&mut response, ALLOW, problem.allow);
            if problem.status == StatusCode::UNAUTHORIZED {
                put(&mut response, WWW_AUTHENTICATE, Some("Bearer realm=\"tokenwatch\"".to_owned()));
            }
            response
        }
    }
}

/// A form may go to this server alone. Its origin must be told, which browsers do not do where there is no referrer; to
/// others neither is told.
fn allow_form(response: &mut Response<Full<Bytes>>) {
    const FORM: &str = "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(FORM));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
}

fn put(response: &mut Response<Full<Bytes>>, name: HeaderName, value: Option<String>) {
    if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
        response.headers_mut().insert(name, value);
    }
}

fn plain(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
