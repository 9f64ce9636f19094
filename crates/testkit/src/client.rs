//! A small HTTP/1.1 client that sends simulated requests: connections are kept alive and reused.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::secret::Secret;
use tokio::net::TcpStream;

use crate::sim::SimRequest;

/// Most bytes of an answer that are kept.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most idle connections kept for reuse.
const IDLE_MAX: usize = 1_024;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, or the whole stream.
    pub body: Bytes,
    /// Pieces the body arrived in.
    pub pieces: usize,
    /// From sending to the first byte of the body, or to the head when there is no body.
    pub first_byte: Duration,
    /// From sending to the end.
    pub total: Duration,
}

impl Answer {
    /// The value of a header, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection could be made.
    #[error("can not connect to {address}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The request has a header that HTTP does not allow.
    #[error("the request can not be written as HTTP")]
    Request(#[source] http::Error),
    /// The connection broke or did not speak HTTP before the head of the answer was there.
    #[error("no answer came back")]
    Head(#[source] hyper::Error),
    /// The body of the answer broke off. What had arrived is lost; see [`LoadClient::send_lossy`].
    #[error("the answer broke off after {bytes} bytes")]
    Body {
        /// How much had arrived.
        bytes: usize,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The answer is longer than this client keeps.
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// No whole answer in time.
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
}

type Sender = SendRequest<Full<Bytes>>;

/// Sends requests to one address. Cheap to clone; clones share the idle connections.
#[derive(Clone)]
pub struct LoadClient {
    address: SocketAddr,
    timeout: Duration,
    idle: Arc<Mutex<VecDeque<Sender>>>,
}

impl LoadClient {
    /// A client for one address with a deadline for each whole answer.
    pub fn new(address: SocketAddr, timeout: Duration) -> Self {
        Self { address, timeout, idle: Arc::default() }
    }

    /// Sends a simulated request with a credential, where its dialect puts it, and with its source as
    /// `x-forwarded-for`.
    ///
    /// # Errors
    ///
    /// See [`SendError`]. Error statuses are answers, not errors.
    pub async fn send(&self, request: &SimRequest, credential: &Secret) -> Result<Answer, SendError> {
        let mut builder = Request::builder().method(request.method.clone()).uri(request.path);
        for (name, value) in request.headers_to_send() {
            builder = builder.header(name, value);
        }
        let (name, value) = match request.dialect {
            Dialect::OpenAi => ("authorization", format!("Bearer {}", credential.expose())),
            Dialect::Anthropic => ("x-api-key", credential.expose().to_owned()),
        };
        let built = builder
            .header(name, value)
            .header("x-forwarded-for", request.source.to_string())
            .body(Full::new(Bytes::copy_from_slice(&request.body)))
            .map_err(SendError::Request)?;
        self.send_http(built).await
    }

    /// Sends any request; `host` is filled in when it is missing.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub async fn send_http(&self, request: Request<Full<Bytes>>) -> Result<Answer, SendError> {
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(result) => result.map_err(|(error, _)| error),
            Err(_) => Err(SendError::Timeout(self.timeout)),
        }
    }

    /// Like [`LoadClient::send_http`], but an answer that breaks off is handed back as far as it came, with the error.
    ///
    /// # Errors
    ///
    /// When there is not even a head; see [`SendError`].
    pub async fn send_lossy(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Answer, Option<SendError>), SendError> {
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(Ok(answer)) => Ok((answer, None)),
            Ok(Err((error, Some(partial)))) => Ok((*partial, Some(error))),
            Ok(Err((error, None))) => Err(error),
            Err(_) => Err(SendError::Timeout(self.timeout)),
        }
    }

    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Answer, (SendError, Option<Box<Answer>>)> {
        if let Ok(host) = HeaderValue::try_from(self.address.to_string()) {
            request.headers_mut().entry(header::HOST).or_insert(host);
        }
        let started = Instant::now();
        let (response, sender) = self.head(request).await.map_err(|error| (error, None))?;
        let answer = read(response, started).await?;
        self.keep(sender);
        Ok(answer)
    }

    /// Sends on an idle connection if one still lives, else on a new one.
    async fn head(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Sender), SendError> {
        while let Some(mut sender) = self.take_idle() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut failed) => match failed.take_message() {
                    // The connection closed before anything was written: safe to send again.
                    Some(unsent) => request = unsent,
                    None => return Err(SendError::Head(failed.into_error())),
                },
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await.map_err(SendError::Head)?;
        Ok((response, sender))
    }

    async fn connect(&self) -> Result<Sender, SendError> {
        let address = self.address;
        let stream =
            TcpStream::connect(address).await.map_err(|source| SendError::Connect { address, source })?;
        // Fails only on a dead socket, and then the next call does too.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(SendError::Head)?;
        // Its errors reach the requests on it; it ends when the sender is dropped.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn take_idle(&self) -> Option<Sender> {
        // The newest first: it is the least likely to have been closed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_back()
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && !sender.is_closed() {
            idle.push_back(sender);
        }
    }
}

async fn read(
    response: Response<Incoming>,
    started: Instant,
) -> Result<Answer, (SendError, Option<Box<Answer>>)> {
    let head = started.elapsed();
    let (parts, mut body) = response.into_parts();
    let mut data = BytesMut::new();
    let (mut pieces, mut first_byte) = (0, None);
    let mut failure = None;
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(piece)) => {
                first_byte.get_or_insert_with(|| started.elapsed());
                pieces += 1;
                data.extend_from_slice(&piece);
                if data.len() > ANSWER_BYTES_MAX {
                    return Err((SendError::TooLong, None));
                }
            }
            // Trailers.
            Ok(Err(_)) => {}
            Err(source) => {
                failure = Some(SendError::Body { bytes: data.len(), source });
                break;
            }
        }
    }
    let answer = Answer {
        status: parts.status,
        headers: parts.headers,
        body: data.freeze(),
        pieces,
        first_byte: first_byte.unwrap_or(head),
        total: started.elapsed(),
    };
    match failure {
        None => Ok(answer),
        Some(error) => Err((error, Some(Box::new(answer)))),
    }
}
