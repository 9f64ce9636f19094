//! What a request brings: path, query, body. All of it is untrusted; unknown parts are refused by name.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, IF_MATCH};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::auth::Caller;
use super::problem::Problem;
use super::route::Route;
use super::server::Shared;

/// One request, identified and read.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) caller: Caller,
    /// Values of the path's placeholders, in order.
    pub(crate) values: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The revision that the caller has seen.
    pub(crate) seen: Option<u64>,
}

impl Call {
    /// The value of the path's placeholder; empty when it has none.
    pub(crate) fn value(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    /// The value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A query parameter that is a number from 1 to `max`.
    pub(crate) fn limit(&self, default: u32, max: u32) -> Result<u32, Problem> {
        let Some(text) = self.parameter("limit") else { return Ok(default) };
        let limit = text.parse::<u32>().ok().filter(|limit| (1..=max).contains(limit));
        limit.ok_or_else(|| Problem::invalid("limit", format!("expected a number from 1 to {max}")))
    }

    /// A query parameter that is `true` or `false`; false when it is missing.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.parameter(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::invalid(name, "expected true or false")),
        }
    }

    /// The body, read as `T`. No body is the same as `{}`.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        // Structs can also be read from arrays, by position: nobody means that.
        if body.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| *first != b'{') {
            let message = "the body must be a JSON object";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "malformed", message));
        }
        let mut json = serde_json::Deserializer::from_slice(body);
        let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let error = error.into_inner();
            if error.is_syntax() || error.is_eof() {
                return Problem::new(
                    StatusCode::BAD_REQUEST,
                    "malformed",
                    format!("the body is not JSON: {error}"),
                );
            }
            let message = error.to_string();
            Problem {
                field: Some(field_of(&path, &message)),
                ..Problem::new(StatusCode::BAD_REQUEST, "invalid", message)
            }
        })?;
        json.end().map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "malformed", "the body holds more than one JSON value")
        })?;
        Ok(read)
    }

    /// Takes over what was changed.
    pub(crate) fn changed(&self) {
        (self.shared.api.changed)();
    }
}

/// The field that an error is about: a missing field stands in the message only, between backticks.
fn field_of(path: &str, message: &str) -> String {
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
    match missing {
        Some((field, _)) if path == "." => field.to_owned(),
        Some((field, _)) => format!("{path}.{field}"),
        None => path.to_owned(),
    }
}

/// Reads the query, all of it known to the route, each parameter once.
pub(crate) fn read_query(route: &Route, query: Option<&str>) -> Result<Vec<(String, String)>, Problem> {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if !route.query.contains(&name.as_ref()) {
            let known = if route.query.is_empty() { "none".to_owned() } else { route.query.join(", ") };
            return Err(Problem::invalid(
                name.into_owned(),
                format!("unknown query parameter; known: {known}"),
            ));
        }
        if parameters.iter().any(|(known, _)| *known == name) {
            return Err(Problem::invalid(name.into_owned(), "a query parameter may stand once"));
        }
        parameters.push((name.into_owned(), value.into_owned()));
    }
    Ok(parameters)
}

/// The revision in `If-Match`: an entity tag that this API gave, or `*` for any.
pub(crate) fn read_if_match(route: &Route, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut fields = headers.get_all(IF_MATCH).iter();
    let (first, second) = (fields.next(), fields.next());
    let Some(field) = first else { return Ok(None) };
    if !route.takes_revision {
        return Err(Problem::invalid("if-match", "this request can not depend on a revision"));
    }
    let wrong = || {
        Problem::invalid("if-match", "expected one entity tag as this API gives them, such as \"17\", or *")
    };
    match (field.to_str(), second) {
        (Ok("*"), None) => Ok(None),
        (Ok(text), None) => {
            let tag = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(wrong)?;
            tag.parse().map(Some).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}

/// Time spent on what a client still sends of a body that is refused, so that it can read why.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);
const DISCARD_BYTES_MAX: usize = 8 << 20;

/// Reads a whole body within its limits.
pub(crate) async fn read_body(
    shared: &Shared,
    headers: &HeaderMap,
    mut body: Incoming,
) -> Result<Bytes, Problem> {
    let limits = &shared.api.limits;
    let max = limits.body_bytes_max;
    let too_large = || {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", format!("a body may have {max} bytes"))
    };
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > max) {
        discard(body).await;
        return Err(too_large());
    }
    let bytes = match tokio::time::timeout(limits.body_timeout, collect(&mut body, max)).await {
        Ok(Collected::Whole(bytes)) => bytes,
        Ok(Collected::TooLarge) => {
            discard(body).await;
            return Err(too_large());
        }
        Ok(Collected::Broken) => {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "malformed", "the body ended early"));
        }
        Err(_) => {
            let message = format!("the body did not arrive within {} s", limits.body_timeout.as_secs_f32());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message));
        }
    };
    check_type(headers, &bytes)?;
    Ok(bytes.into())
}

enum Collected {
    Whole(Vec<u8>),
    TooLarge,
    Broken,
}

async fn collect(body: &mut Incoming, max: usize) -> Collected {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) if bytes.len() + data.len() > max => return Collected::TooLarge,
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            // Trailers mean nothing here.
            Ok(Err(_)) => {}
            Err(_) => return Collected::Broken,
        }
    }
    Collected::Whole(bytes)
}

/// Only JSON that says so: a form that a web page of others sends can not.
fn check_type(headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    if body.is_empty() {
        return Ok(());
    }
    let stated = headers.get(CONTENT_TYPE).and_then(|stated| stated.to_str().ok()).unwrap_or_default();
    let essence = stated.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "a body must be JSON and say so: `Content-Type: application/json`";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message))
}

async fn discard(mut body: Incoming) {
    let discard = async {
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // What is still missing then is the client's loss.
    let _ = tokio::time::timeout(DISCARD_TIME_MAX, discard).await;
}

/// A field that is given: `null` is a value, and differs from no field at all.
pub(crate) fn given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}
