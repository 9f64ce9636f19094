//! A POST over HTTP/1.1, a connection for each: alerts are few, and a connection that is kept would be the one that
//! broke when it matters. Redirects are not followed: they would carry the alert and its credential elsewhere.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokenwatch_model::alert::{Failure, Message, SecretPlace};
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::{SECOND, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{SendError, Trust, signature};

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Most characters of an answer that are told.
const TOLD_CHARS_MAX: usize = 200;

pub(crate) async fn post(
    url: &Secret,
    secret: Option<&Secret>,
    message: &Message,
    trust: &Trust,
    now: Timestamp,
) -> Result<(), SendError> {
    let place = Place::of(url)?;
    let request = build(&place, secret, message, now)?;
    judge(connect(&place, trust, request).await?, &[Some(url), secret]).await
}

/// Sends a request over a connection of its own; the answer's head.
pub(crate) async fn connect(
    place: &Place,
    trust: &Trust,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, SendError> {
    let stream = TcpStream::connect((place.host.as_str(), place.port))
        .await
        .map_err(|error| SendError::away(format_args!("no connection: {error}")))?;
    // A small request that waits for an acknowledgement waits for nothing.
    let _ = stream.set_nodelay(true);
    if !place.tls {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(place.host.clone())
        .map_err(|_| SendError::away("the address has no usable host name"))?;
    let stream = TlsConnector::from(trust.tls.clone())
        .connect(name, stream)
        .await
        .map_err(|error| SendError::away(format_args!("no TLS connection: {error}")))?;
    exchange(stream, request).await
}

/// An address, taken apart.
pub(crate) struct Place {
    tls: bool,
    host: String,
    port: u16,
    pub(crate) authority: String,
    /// Path and query.
    target: String,
}

impl Place {
    pub(crate) fn of(url: &Secret) -> Result<Self, SendError> {
        // What stands in the address is a secret: the error says only what is expected.
        let wrong = || {
            SendError::away("the address must be http:// or https:// with a host, without user and password")
        };
        let uri: Uri = url.expose().parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.to_string(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        })
    }

    /// The path as the base of others: without the slash at its end and the `/v1` that an SDK's address has.
    pub(crate) fn base(&self) -> &str {
        let path = self.target.trim_end_matches('/');
        path.strip_suffix("/v1").unwrap_or(path)
    }
}

fn build(
    place: &Place,
    secret: Option<&Secret>,
    message: &Message,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, SendError> {
    let wrong = || SendError::rejected("the message can not be written as an HTTP request");
    let Message::Http { path, headers, body, secret: where_to } = message else { return Err(wrong()) };
    let mut body = body.clone();
    let target = match path.as_str() {
        "" => place.target.clone(),
        path => format!("{}{path}", place.target.trim_end_matches('/')),
    };
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(HOST, &place.authority)
        .header(USER_AGENT, concat!("tokenwatch/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    match (where_to, secret) {
        (SecretPlace::None, _) | (_, None) => {}
        (SecretPlace::Header(name, prefix), Some(secret)) => {
            let text = format!("{prefix}{}", secret.expose());
            let mut value = HeaderValue::from_str(&text)
                .map_err(|_| SendError::away("the credential holds characters that a header can not"))?;
            value.set_sensitive(true);
            request = request.header(*name, value);
        }
        (SecretPlace::Field(name), Some(secret)) => {
            let mut value: serde_json::Value = serde_json::from_str(&body).map_err(|_| wrong())?;
            let members = value.as_object_mut().ok_or_else(wrong)?;
            members.insert((*name).to_owned(), secret.expose().into());
            body = value.to_string();
        }
        (SecretPlace::Signature(id), Some(secret)) => {
            let seconds = now.seconds();
            request = request
                .header("webhook-id", id)
                .header("webhook-timestamp", seconds)
                .header("webhook-signature", signature(secret, id, seconds, body.as_bytes()));
        }
    }
    request.body(Full::from(body)).map_err(|_| wrong())
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broke = |error: hyper::Error| SendError::away(format_args!("the connection broke: {error}"));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
    // Ends with the connection, which ends when the answer was read or given up.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(broke)
}

/// What an answer means.
async fn judge(answer: Response<Incoming>, secrets: &[Option<&Secret>]) -> Result<(), SendError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(retry_after_us);
    // An answer that is too long or breaks off is told as it is known: by its status.
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let said = told(&body, secrets);
    let what = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    let failure = match status {
        StatusCode::TOO_MANY_REQUESTS => Failure::Busy(retry_after),
        _ if status.is_server_error() && retry_after.is_some() => Failure::Busy(retry_after),
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Failure::Rejected,
        // A wrong address or credential is wrong for every message.
        _ => Failure::Unreachable,
    };
    Err(SendError { failure, what })
}

/// The start of an answer on one line, without the secrets it may repeat.
fn told(body: &[u8], secrets: &[Option<&Secret>]) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    for secret in secrets.iter().flatten() {
        text = text.replace(secret.expose(), "****");
    }
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().chars().take(TOLD_CHARS_MAX).collect()
}

/// Seconds, or a date (RFC 9110, 10.2.3), in microseconds from now. A date is compared with the receiver's clock being
/// ours: a receiver whose clock is off asks for too much or too little, within the bounds of who decides.
fn retry_after_us(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(SECOND));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let wait = date.duration_since(now_of_system()).unwrap_or_default();
    u64::try_from(wait.as_micros()).ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a receiver's date is told in its own clock, which is the system's"
)]
fn now_of_system() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_says_is_told_without_secrets() {
        let url = Secret::new("https://hooks.example/T0/secret");
        let key = Secret::new("key-0123456789");
        let body = b"bad key-0123456789\r\nat https://hooks.example/T0/secret";
        assert_eq!(told(body, &[Some(&url), Some(&key), None]), "bad ****  at ****");
        assert_eq!(told(&[b'x'; 900], &[]).len(), TOLD_CHARS_MAX);
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        let parse = |text: &str| retry_after_us(&HeaderValue::from_str(text).unwrap());
        assert_eq!(parse("120"), Some(120 * SECOND));
        assert_eq!(parse("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("-1"), None);
    }

    #[track_caller]
    fn check_place(url: &str, want: Option<(bool, &str, u16, &str)>) {
        let place = Place::of(&Secret::new(url)).ok();
        let got = place.as_ref().map(|p| (p.tls, p.host.as_str(), p.port, p.target.as_str()));
        assert_eq!(got, want, "{url}");
    }

    #[test]
    fn addresses_are_taken_apart() {
        check_place(
            "https://hooks.example/services/T/B?x=1",
            Some((true, "hooks.example", 443, "/services/T/B?x=1")),
        );
        check_place("http://[::1]:9093", Some((false, "::1", 9093, "/")));
        check_place("https://user:pw@hooks.example/", None);
        check_place("ftp://hooks.example/", None);
        check_place("hooks.example", None);
    }
}
