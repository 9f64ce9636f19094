//! What the tests of all carriers share: servers of a few lines, with and without TLS, and destinations.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokenwatch_model::alert::Message;
use tokenwatch_model::time::Timestamp;
use tokenwatch_outside::{Carrier, Destination, SendError, Trust, send};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_772_366_400);

/// A connection of either kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An authority of its own, and a server certificate for `localhost`.
pub(crate) fn certificates() -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .unwrap();
    let body = STANDARD.encode(authority.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    (pem, Arc::new(config))
}

/// Serves one connection with `work`, and gives what it made of it.
pub(crate) async fn once<T, F>(
    tls: Option<Arc<ServerConfig>>,
    work: impl FnOnce(Box<dyn Stream>) -> F + Send + 'static,
) -> (SocketAddr, JoinHandle<Option<T>>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        match tls {
            None => Some(work(Box::new(stream)).await),
            Some(tls) => {
                let stream = TlsAcceptor::from(tls).accept(stream).await.ok()?;
                Some(work(Box::new(stream)).await)
            }
        }
    });
    (address, task)
}

/// Reads an HTTP request whole and answers it.
pub(crate) async fn answer(mut stream: Box<dyn Stream>, answer: String) -> String {
    let mut got = Vec::new();
    loop {
        let mut piece = [0; 4_096];
        let n = stream.read(&mut piece).await.unwrap();
        got.extend_from_slice(&piece[..n]);
        let text = String::from_utf8_lossy(&got);
        let length = text
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
        let head = text.find("\r\n\r\n").map(|at| at + 4);
        if n == 0 || head.is_some_and(|head| got.len() >= head + length) {
            break;
        }
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    let _ = stream.shutdown().await;
    String::from_utf8(got).unwrap()
}

pub(crate) async fn try_send(carrier: Carrier, message: &Message, ca: Option<&str>) -> Result<(), SendError> {
    let trust = Trust::new(ca.map(str::as_bytes)).unwrap();
    send(&Destination { carrier, timeout: Duration::from_secs(5), trust }, message, NOW).await
}
