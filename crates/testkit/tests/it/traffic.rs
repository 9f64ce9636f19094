//! Simulated traffic through the client to the mock, and what the mock remembers of it.

use hyper::Version;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::{Digest, Sha256};
use tokenwatch_model::key::Workload;
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::secret::Secret;
use tokenwatch_testkit::persona::Persona;
use tokenwatch_testkit::provider::{MockConfig, Recording};
use tokenwatch_testkit::theft::{Start, Theft, Victim};
use tokenwatch_testkit::traffic::Sample;

use crate::support::*;

const MIDNIGHT: u64 = 1_772_409_600_000;

#[tokio::test]
async fn owners_and_thieves_are_answered_as_planned() {
    let bench = Bench::new();
    let sample = Sample::bundled().unwrap();
    let customer = sample.customer("steady").unwrap();
    let key = Secret::new(KEY);
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        let persona = Persona::with_dialect(1, customer.name, Workload::Service, dialect, MIDNIGHT);
        let victim = Victim::new(&persona, customer.history());
        let owner = persona.requests(&customer.live()[..20]);
        let thieves = Theft::ALL.into_iter().flat_map(|theft| {
            theft.campaign(&victim, 2, Start::FirstCall(MIDNIGHT + 9 * 86_400_000)).take(12)
        });
        for request in owner.chain(thieves) {
            let answer = bench.client.send(&request, &key).await.unwrap();
            assert_eq!(answer.status, request.status, "{:?}: {}", request.label, answer.text());
            if answer.status == 200 && !request.body.is_empty() && !request.stream {
                let usage = &json(&answer)["usage"];
                let input = match dialect {
                    Dialect::OpenAi => usage["prompt_tokens"].as_u64(),
                    Dialect::Anthropic => Some(
                        usage["input_tokens"].as_u64().unwrap()
                            + usage["cache_read_input_tokens"].as_u64().unwrap(),
                    ),
                };
                assert_eq!(input, Some(request.tokens.input.into()));
            }
            let seen = bench.provider.seen().pop().unwrap();
            assert_eq!(seen.header("x-forwarded-for"), Some(request.source.to_string().as_str()));
            assert_eq!(seen.body.as_deref(), Some(&request.body[..]));
            assert_eq!(seen.header("user-agent"), request.header("user-agent"));
        }
    }
}

#[tokio::test]
async fn the_provider_remembers_what_it_is_told_to() {
    let bench = Bench::with(MockConfig { recording: Recording::Heads(3), ..MockConfig::default() });
    for _ in 0..5 {
        bench.post("/v1/chat/completions?x=1", &[("x-marker", "virtual-key-7")], CHAT).await;
    }
    assert_eq!(bench.provider.requests(), 5);
    let seen = bench.provider.take_seen();
    assert_eq!(seen.len(), 3);
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("POST", "/v1/chat/completions?x=1"));
    assert_eq!(seen[0].body, None);
    assert_eq!(seen[0].body_length, CHAT.len());
    assert_eq!(seen[0].body_sha256[..], Sha256::digest(CHAT)[..]);
    assert!(seen[0].mentions("virtual-key-7") && !seen[0].mentions("virtual-key-8"));
    assert!(bench.provider.seen().is_empty());
    let off = Bench::with(MockConfig::default());
    off.post("/v1/chat/completions", &[], CHAT).await;
    assert!(off.provider.seen().is_empty());
}

#[tokio::test]
async fn http2_is_spoken_as_well() {
    let bench = Bench::new();
    let stream = tokio::net::TcpStream::connect(bench.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut call = request(hyper::Method::POST, "/v1/chat/completions", &[], CHAT_STREAM_USAGE);
    *call.uri_mut() = format!("http://{}/v1/chat/completions", bench.address).parse().unwrap();
    let response = sender.send_request(call).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert!(event_json(std::str::from_utf8(&body).unwrap()).last().unwrap()["usage"].is_object());
}

#[tokio::test]
async fn connections_are_reused_and_a_stopped_provider_is_gone() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.post("/v1/chat/completions", &[], CHAT).await;
    }
    let Bench { provider, client, .. } = bench;
    provider.stop().await.unwrap();
    let error = client.send_http(request(hyper::Method::GET, "/v1/models", &[], "")).await;
    assert!(error.is_err());
}
