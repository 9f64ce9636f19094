//! TLS towards clients, with HTTP/1.1 and HTTP/2 on it: the same rules, the same accounts.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokenwatch_model::containment::Action;
use tokenwatch_model::key::Policy;
use tokenwatch_model::outcome::{Cut, Outcome, Refusal};
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::scope::Scope;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::rig::{Rig, Setup, chat, eventually, message, post};

const CHAT: &str = "/v1/chat/completions";

/// A gateway with a certificate of its own, and a client configuration that trusts it.
fn encrypted() -> (Rig, rustls::ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let certificate = made.cert.der().clone();
    let mut server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let rig = Rig::start(Setup { server_tls: Some(Arc::new(server)), ..Setup::default() });
    (rig, client)
}

async fn connect(rig: &Rig, mut config: rustls::ClientConfig, protocol: &[u8]) -> TlsStream<TcpStream> {
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    stream
}

type Sender = http2::SendRequest<Full<Bytes>>;

async fn speak_h2(rig: &Rig, config: rustls::ClientConfig) -> Sender {
    let stream = connect(rig, config, b"h2").await;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A request as HTTP/2 clients write it: the authority in the target.
fn to_h2(request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let (mut parts, body) = request.into_parts();
    parts.uri = format!("https://localhost{}", parts.uri).parse().unwrap();
    parts.version = Version::HTTP_2;
    Request::from_parts(parts, body)
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

const TOKENS: [(&str, &str); 2] = [("x-mock-input-tokens", "120"), ("x-mock-output-tokens", "77")];

#[test]
fn http2_is_served_and_booked_like_http1() {
    let (rig, config) = encrypted();
    let secret = rig.key();
    let (calls, path) = (20, CHAT);
    rig.run(async {
        let sender = speak_h2(&rig, config.clone()).await;
        let mut running = tokio::task::JoinSet::new();
        for n in 0..calls {
            let request = post(path, &chat(&json!({"stream": n % 2 == 0})), secret.expose(), &TOKENS);
            let mut sender = sender.clone();
            running.spawn(async move {
                let response = sender.send_request(to_h2(request)).await.unwrap();
                assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
                let text = text(response).await;
                assert!(if n % 2 == 0 { text.ends_with("data: [DONE]\n\n") } else { text.contains("usage") });
            });
        }
        while let Some(ended) = running.join_next().await {
            ended.unwrap();
        }
        let stream = connect(&rig, config, b"http/1.1").await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = post(path, &chat(&json!({})), secret.expose(), &TOKENS);
        request.headers_mut().insert("host", "localhost".parse().unwrap());
        assert!(text(sender.send_request(request).await.unwrap()).await.contains("usage"));
    });
    let events = rig.events(calls + 1);
    assert!(events.iter().all(|event| (event.usage.input, event.usage.output) == (120, 77)));
    assert!(events.iter().all(|event| event.outcome == Outcome::Served));
    assert!(rig.mock.seen().iter().all(|seen| !seen.mentions("sk-tw-") && seen.version == "HTTP/1.1"));
}

#[test]
fn a_stream_on_http2_is_cut_and_dropped_by_itself() {
    let (rig, config) = encrypted();
    let secret = rig.key();
    let slowly =
        [("x-mock-output-tokens", "4000"), ("x-mock-chunks", "1200"), ("x-mock-chunk-delay-ms", "100")];
    let request = || to_h2(post(CHAT, &chat(&json!({"stream": true})), secret.expose(), &slowly));
    rig.run(async {
        let mut sender = speak_h2(&rig, config).await;
        let mut left = sender.send_request(request()).await.unwrap();
        left.body_mut().frame().await.unwrap().unwrap();
        // The client resets one stream and keeps the connection.
        drop(left);
        let cut = sender.send_request(request()).await.unwrap();
        rig.contain(1, 1, 1, Action::Suspend);
        assert!(text(cut).await.trim_end().ends_with("}}"));
        let refused = sender.send_request(request()).await.unwrap();
        assert_eq!(refused.status(), 403);
    });
    let mut outcomes: Vec<String> =
        rig.events(3).iter().map(|event| format!("{:?}", event.outcome)).collect();
    outcomes.sort();
    let mut want =
        [Outcome::ClientLeft, Outcome::Cut(Cut::Containment), Outcome::Refused(Refusal::Suspended)]
            .map(|outcome| format!("{outcome:?}"));
    want.sort();
    assert_eq!(outcomes, want);
    eventually("the provider is told to stop", || rig.mock.abandoned() == 2);
}

#[test]
fn a_host_that_disagrees_is_refused_on_http2_too() {
    let (rig, config) = encrypted();
    let secret = rig.key();
    rig.run(async {
        let mut sender = speak_h2(&rig, config).await;
        let mut request = to_h2(post(CHAT, &chat(&json!({})), secret.expose(), &[]));
        request.headers_mut().insert("host", "other".parse().unwrap());
        assert_eq!(sender.send_request(request).await.unwrap().status(), 400);
    });
    assert_eq!(rig.event().outcome, Outcome::Refused(Refusal::BadHttp));
    assert_eq!(rig.mock.requests(), 0);
}

#[test]
fn results_lead_back_over_tls() {
    let (rig, config) = encrypted();
    let scope = Scope { endpoints: Some(vec![Endpoint::Batches]), ..Scope::default() };
    let secret = rig.add_key(1, Policy { scope, ..Policy::default() });
    let body = json!({"requests": [{"custom_id": "a", "params": message(&json!({}))}]});
    let answer = rig.run(async {
        let mut sender = speak_h2(&rig, config).await;
        let request = to_h2(post("/v1/messages/batches", &body, secret.expose(), &[]));
        text(sender.send_request(request).await.unwrap()).await
    });
    let batch: Value = serde_json::from_str(&answer).unwrap();
    assert!(batch["results_url"].as_str().unwrap().starts_with("https://localhost/v1/messages/batches/"));
}
