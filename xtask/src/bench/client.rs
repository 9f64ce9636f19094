//! One kept-alive connection of the load generator.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::traffic::{self, Kind, STREAM_END};

/// Longest time for one exchange: far above anything a healthy proxy takes.
const EXCHANGE_MAX: Duration = Duration::from_secs(20);

/// The credential that is sent where any is taken: one of the usual length.
pub(super) const CREDENTIAL: &str = "sk-bench-000000000000000000000000000000000000000000";

/// Where load goes.
#[derive(Clone)]
pub(super) struct Target {
    /// Address of the proxy, or of the mock itself.
    pub(super) address: SocketAddr,
    /// Values of `Authorization`; connections take turns.
    pub(super) credentials: Vec<HeaderValue>,
    /// Header fields that only this target needs.
    pub(super) headers: HeaderMap,
    /// Whether answers must come byte for byte as the mock sends them.
    pub(super) is_verbatim: bool,
}

impl Target {
    /// A target that asks for no credential: a made-up one of the usual length is sent.
    pub(super) fn open(port: u16) -> Self {
        let made_up = HeaderValue::try_from(format!("Bearer {CREDENTIAL}"));
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            credentials: made_up.into_iter().collect(),
            headers: HeaderMap::new(),
            is_verbatim: true,
        }
    }
}

/// A connection.
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    headers: HeaderMap,
    is_verbatim: bool,
}

/// What one exchange was like.
pub(super) struct Exchange {
    /// From sending to the first bytes of the answer's body.
    pub(super) first: Duration,
    /// From sending to the end of the answer.
    pub(super) whole: Duration,
}

impl Client {
    /// Opens connection number `index`.
    ///
    /// # Errors
    /// When the target can not be reached.
    pub(super) async fn connect(target: &Target, index: usize) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address).await.context("can not connect")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender and reports through it.
        tokio::spawn(connection);
        let credential = index.checked_rem(target.credentials.len()).and_then(|i| target.credentials.get(i));
        let credential = credential.context("a target without credentials")?;
        let mut headers = target.headers.clone();
        headers.insert(HOST, HeaderValue::try_from(target.address.to_string())?);
        headers.insert(AUTHORIZATION, credential.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("OpenAI/Python 1.109.1"));
        Ok(Self { sender, headers, is_verbatim: target.is_verbatim })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When it is not the mock's answer, whole, within the time allowed.
    pub(super) async fn exchange(&mut self, kind: Kind, request: &Bytes) -> anyhow::Result<Exchange> {
        match tokio::time::timeout(EXCHANGE_MAX, self.exchange_untimed(kind, request)).await {
            Ok(result) => result,
            Err(_) => bail!("no whole answer within {} s", EXCHANGE_MAX.as_secs()),
        }
    }

    async fn exchange_untimed(&mut self, kind: Kind, request: &Bytes) -> anyhow::Result<Exchange> {
        self.sender.ready().await.context("the connection was closed")?;
        let sent = Instant::now();
        let response = self.send(request).await?;
        let mut body = response.into_body();
        let (mut first, mut length, mut end) = (None, 0_usize, Tail::default());
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame.context("the answer broke off")?.into_data() else { continue };
            first.get_or_insert_with(|| sent.elapsed());
            length += bytes.len();
            if kind != Kind::Chat || !self.is_verbatim {
                end.push(&bytes);
            }
        }
        if kind == Kind::Chat && !self.is_verbatim {
            ensure!(end.0.ends_with(b"}"), "the answer is no JSON: {length} bytes");
        } else if kind == Kind::Chat {
            let expected = traffic::answer().len();
            ensure!(length == expected, "the answer has {length} bytes instead of {expected}");
        } else {
            ensure!(end.0 == STREAM_END, "a stream ended without its end mark after {length} bytes");
        }
        Ok(Exchange { first: first.context("an answer without a body")?, whole: sent.elapsed() })
    }

    /// Starts a stream that stays open and reads its first bytes.
    ///
    /// # Errors
    /// When they do not come within the time allowed.
    pub(super) async fn hold(mut self) -> anyhow::Result<Held> {
        let opening = async {
            let mut response = self.send(&Kind::Held.request()).await?;
            response.body_mut().frame().await.context("the stream ended at once")??;
            anyhow::Ok(response.into_body())
        };
        let Ok(body) = tokio::time::timeout(EXCHANGE_MAX, opening).await else {
            bail!("a stream did not start within {} s", EXCHANGE_MAX.as_secs())
        };
        Ok(Held { body: body?, _client: self })
    }

    async fn send(&mut self, request: &Bytes) -> anyhow::Result<Response<Incoming>> {
        let mut message = Request::new(Full::new(request.clone()));
        *message.method_mut() = Method::POST;
        *message.uri_mut() = Uri::from_static(traffic::PATH);
        *message.headers_mut() = self.headers.clone();
        let response = self.sender.send_request(message).await.context("no answer")?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(body.get(..500).unwrap_or(&body)).into_owned();
        bail!("answered {status}: {}", text.trim())
    }
}

/// A stream that stays open until dropped.
pub(super) struct Held {
    body: Incoming,
    _client: Client,
}

impl Held {
    /// Whether the stream is still open, with nothing more to read.
    pub(super) fn is_open(&mut self) -> bool {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(self.body.frame()).poll(&mut cx).is_pending()
    }
}

/// The last bytes of a stream, as many as its end mark has.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let kept = bytes.len().saturating_sub(STREAM_END.len());
        self.0.extend_from_slice(bytes.get(kept..).unwrap_or(bytes));
        let old = self.0.len().saturating_sub(STREAM_END.len());
        self.0.drain(..old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_end_however_the_stream_was_cut() {
        let stream = [b"data: {}\n\n".as_slice(), STREAM_END].concat();
        for size in 1..=stream.len() {
            let mut tail = Tail::default();
            stream.chunks(size).for_each(|chunk| tail.push(chunk));
            assert_eq!(tail.0, STREAM_END, "in pieces of {size}");
        }
        let mut tail = Tail::default();
        tail.push(b"data: {}\n\n");
        assert_ne!(tail.0, STREAM_END);
    }
}
