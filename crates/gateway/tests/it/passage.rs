//! What passes besides JSON calls, which provider and credential serve, and how settings and processes change.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokenwatch_gateway::settings::HttpLimits;
use tokenwatch_model::key::{KeyState, Policy};
use tokenwatch_model::outcome::{Cut, Outcome, Refusal, UpstreamFailure};
use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_model::scope::Scope;
use tokenwatch_model::secret::Secret;

use crate::rig::{
    OUTPUT, PROVIDER_KEYS, Raw, Rig, Setup, chat, error_code, eventually, get, message, post, provider,
    raw_post, rig,
};

const CHAT: &str = "/v1/chat/completions";

fn with_endpoints(endpoints: &[Endpoint]) -> Policy {
    let scope = Scope { endpoints: Some(endpoints.to_vec()), ..Scope::default() };
    Policy { scope, ..Policy::default() }
}

/// The first and last part of a multipart upload of `filling` bytes.
fn upload_head(secret: &Secret, framing: &str) -> (String, &'static str, &'static str) {
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\ncontent-type: multipart/form-data; \
         boundary=b\r\n{framing}\r\n\r\n",
        secret.expose()
    );
    let first = "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\n\
                 content-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    (head, first, "\r\n--b--\r\n")
}

#[test]
fn uploads_stream_through() {
    const FILLING: usize = 24 << 20;
    let rig = rig();
    let secret = rig.add_key(1, with_endpoints(&[Endpoint::Files, Endpoint::Models]));
    let (_, first, last) = upload_head(&secret, "");
    let (head, ..) = upload_head(&secret, &format!("content-length: {}", first.len() + FILLING + last.len()));
    let mut raw = rig.connect();
    raw.write(head).write(first);
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..FILLING >> 20 {
        raw.write(&piece);
    }
    let read = raw.write(last).read_until(|read| read.contains("file-mock"));
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
    let event = rig.event();
    assert_eq!((event.outcome, event.request.endpoint), (Outcome::Served, Endpoint::Files));
    assert_eq!(event.request.request_bytes as usize, first.len() + FILLING + last.len());
    assert_eq!(rig.mock.seen()[0].body_length, first.len() + FILLING + last.len());
    rig.check_settled(1, &secret);
}

#[test]
fn an_upload_reaches_the_provider_before_it_is_complete() {
    // A provider of our own that answers when it has read a megabyte: proof that nothing waits for the end.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let rig = rig();
    let mut settings = rig.settings();
    settings.providers =
        vec![provider("openai", Dialect::OpenAi, listener.local_addr().unwrap(), &[PROVIDER_KEYS[0]])];
    rig.gateway.put_settings(settings);
    let secret = rig.add_key(1, with_endpoints(&[Endpoint::Files]));
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut all, mut buffer) = (0, vec![0; 64 * 1024]);
        while all < 1 << 20 {
            all += stream.read(&mut buffer).unwrap();
        }
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        stream
    });
    let (head, first, _) = upload_head(&secret, "content-length: 100000000");
    let mut raw = rig.connect();
    raw.write(head).write(first).write(vec![b'x'; 1 << 20]);
    let read = raw.read_until(|read| read.ends_with("{}"));
    assert!(read.starts_with("HTTP/1.1 413"), "{read}");
    assert_eq!(rig.event().status, 413);
    drop(serving.join().unwrap());
}

#[test]
fn an_upload_that_breaks_off_is_the_clients_fault() {
    let http = HttpLimits {
        body_stall_timeout: Duration::from_millis(200),
        upload_bytes_max: 1 << 20,
        ..Setup::default().http
    };
    let rig = Rig::start(Setup { http, ..Setup::default() });
    let secret = rig.add_key(1, with_endpoints(&[Endpoint::Files, Endpoint::Models]));
    let (head, first, _) = upload_head(&secret, "content-length: 500000");
    // More often than failures of the provider open its circuit.
    for n in 0..7 {
        let mut raw = rig.connect();
        raw.write(&head).write(first);
        let read = raw.read_until(|read| read.contains("body_timeout"));
        assert!(read.starts_with("HTTP/1.1 408"), "{read}");
        assert_eq!(rig.events(n + 1)[n].outcome, Outcome::Refused(Refusal::BodyTimeout));
    }
    let mut raw = rig.connect();
    raw.write(&head).write(first);
    raw.0.shutdown(std::net::Shutdown::Write).unwrap();
    let read = raw.read_all();
    assert!(read.starts_with("HTTP/1.1 400"), "{read}");
    let (head, ..) = upload_head(&secret, "transfer-encoding: chunked");
    let mut raw = rig.connect();
    raw.write(head);
    for _ in 0..40 {
        raw.write(format!("{:x}\r\n{}\r\n", 40_000, " ".repeat(40_000)));
    }
    let read = raw.read_until(|read| read.contains("payload_too_large"));
    assert!(read.starts_with("HTTP/1.1 413"), "{read}");
    let (head, ..) = upload_head(&secret, "content-length: 2000000");
    let read = rig.connect().write(head).read_until(|read| read.contains("payload_too_large"));
    assert!(read.starts_with("HTTP/1.1 413"), "{read}");
    rig.events(10);
    rig.check_settled(1, &secret);
}

#[test]
fn models_are_listed_as_far_as_the_scope_goes() {
    let rig = rig();
    let scope = Scope { models: Some(vec!["gpt-4o*".into(), "claude-haiku*".into()]), ..Scope::default() };
    let secret = rig.add_key(1, Policy { scope, ..Policy::default() });
    let names = |path: &str| {
        let answer = rig.run(rig.client.send_http(get(path, &secret))).unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let names = body["data"].as_array().unwrap().iter();
        names.map(|model| model["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("/v1/models"), ["gpt-4o", "gpt-4o-mini"]);
    assert!(names("/anthropic/v1/models").iter().all(|name| name.starts_with("claude-haiku")));
    let one = |path: &str| rig.run(rig.client.send_http(get(path, &secret))).unwrap().status.as_u16();
    assert_eq!((one("/v1/models/gpt-4o"), one("/v1/models/gpt-4.1")), (200, 403));
    rig.events(4);
}

#[test]
fn results_of_batches_lead_back_through_the_gateway() {
    let rig = rig();
    let secret = rig.add_key(1, with_endpoints(&[Endpoint::Batches]));
    let body = json!({"requests": [{"custom_id": "a", "params": {"model": "claude-haiku-4-5", "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}]}}]});
    for prefix in ["", "/anthropic"] {
        let path = format!("{prefix}/v1/messages/batches");
        let answer = rig.run(rig.client.send_http(post(&path, &body, secret.expose(), &[]))).unwrap();
        let batch: Value = serde_json::from_slice(&answer.body).unwrap();
        let url = batch["results_url"].as_str().unwrap_or_else(|| panic!("{batch}"));
        let (_, after) = url.split_once("://").unwrap();
        let (authority, path) = after.split_at(after.find('/').unwrap());
        assert_eq!(authority, rig.address.to_string());
        assert!(path.starts_with(&format!("{prefix}/v1/messages/batches/")), "{path}");
        // SDKs follow it with the key they have.
        let request = Request::get(path).header("x-api-key", secret.expose());
        let request =
            request.header("anthropic-version", "2023-06-01").body(Full::<Bytes>::default()).unwrap();
        let results = rig.run(rig.client.send_http(request)).unwrap();
        assert!(results.text().contains("\"custom_id\":\"a\""), "{}", results.text());
    }
    assert!(rig.mock.seen().iter().all(|seen| !seen.mentions("sk-tw-")));
}

#[test]
fn a_path_prefix_selects_the_provider() {
    let rig = rig();
    let secret = rig.key();
    for (n, (path, body, name)) in [
        ("/v1/chat/completions", chat(&json!({})), "openai"),
        ("/openai/v1/chat/completions", chat(&json!({})), "openai"),
        ("/v1/messages", message(&json!({})), "anthropic"),
        ("/anthropic/v1/messages", message(&json!({})), "anthropic"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = rig.run(rig.client.send_http(post(path, &body, secret.expose(), &[]))).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(rig.events(n + 1)[n].request.provider, name);
        assert!(rig.mock.seen()[n].path.starts_with("/v1/"));
    }
}

/// Which credentials the provider saw for one request, and what came back.
#[track_caller]
fn check_failover(
    credentials: &[&'static str],
    accepted: &[&'static str],
    mock: &[(&str, &str)],
    want: (u16, usize),
) {
    let rig = Rig::start(Setup {
        credentials: credentials.to_vec(),
        accepted: accepted.to_vec(),
        ..Setup::default()
    });
    let secret = rig.key();
    let answer = rig.run(rig.client.send_http(post(CHAT, &chat(&json!({})), secret.expose(), mock))).unwrap();
    let seen = rig.mock.seen().len();
    assert_eq!((answer.status.as_u16(), seen), want, "{credentials:?} {mock:?}: {}", answer.text());
    let event = rig.event();
    assert_eq!(event.outcome == Outcome::Served, want.0 != 503, "{event:?}");
}

#[test]
fn the_next_credential_is_tried_when_one_is_refused_or_used_up() {
    let [first, second] = PROVIDER_KEYS;
    check_failover(&[first, second], &[first, second], &[], (200, 1));
    check_failover(&[first, second], &[second], &[], (200, 2));
    check_failover(&[first, second], &["other"], &[], (503, 2));
    check_failover(&[first, second], &[first, second], &[("x-mock-fail", "429")], (429, 2));
    // What one was answered stands when there is no other to try.
    check_failover(&[first, ""], &[first], &[("x-mock-fail", "429")], (429, 1));
    check_failover(&["", second], &[second], &[], (200, 1));
    check_failover(&[first, ""], &["other"], &[], (503, 1));
    // A failure of the provider itself is not tried again: it may have done the work.
    check_failover(&[first, second], &[first, second], &[("x-mock-fail", "500")], (500, 1));
}

#[test]
fn a_provider_that_can_not_be_reached_costs_nothing_and_opens_its_circuit() {
    let rig = rig();
    let secret = rig.key();
    let mut settings = rig.settings();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    settings.providers = vec![provider("openai", Dialect::OpenAi, closed, &PROVIDER_KEYS)];
    rig.gateway.put_settings(settings);
    let ask = || rig.run(rig.client.send_http(post(CHAT, &chat(&json!({})), secret.expose(), &[]))).unwrap();
    for n in 0..5 {
        let answer = ask();
        assert_eq!(
            (answer.status.as_u16(), error_code(&answer.body)),
            (502, "provider_unreachable".to_owned())
        );
        let event = rig.events(n + 1).remove(n);
        assert_eq!(event.outcome, Outcome::UpstreamFailed(UpstreamFailure::Connect));
        assert_eq!(event.cost.0, 0);
    }
    let answer = ask();
    assert_eq!(error_code(&answer.body), "provider_circuit_open");
    assert_eq!(answer.header("retry-after"), Some("2"));
}

#[test]
fn an_open_circuit_lets_one_probe_through_and_closes_again() {
    let rig = rig();
    let secret = rig.key();
    let ask = |fail: &[(&str, &str)]| {
        rig.run(rig.client.send_http(post(CHAT, &chat(&json!({})), secret.expose(), fail))).unwrap()
    };
    for _ in 0..5 {
        ask(&[("x-mock-fail", "500")]);
    }
    let answer = ask(&[]);
    assert_eq!(error_code(&answer.body), "provider_circuit_open");
    let wait: u64 = answer.header("retry-after-ms").unwrap().parse().unwrap();
    assert!(wait <= 2_000, "{wait}");
    let opened = Instant::now();
    eventually("the probe goes through", || ask(&[]).status == 200);
    assert!(opened.elapsed() >= Duration::from_millis(wait.saturating_sub(50)), "too early");
    assert_eq!(ask(&[]).status, 200);
    // The other provider was never held back.
    assert_eq!(rig.mock.requests(), 7);
}

fn proxy_head(command: u8, source: [u8; 4]) -> Vec<u8> {
    let mut head = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    head.extend([command, 0x11, 0, 12]);
    head.extend(source);
    head.extend([10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb]);
    head
}

#[test]
fn the_proxy_protocol_tells_the_source() {
    let rig = Rig::start(Setup { proxy_protocol: true, ..Setup::default() });
    let secret = rig.key();
    let request = raw_post(CHAT, &secret, &chat(&json!({})).to_string(), "x-forwarded-for: 192.0.2.99\r\n");
    let send = |head: Vec<u8>| {
        let mut raw = rig.connect();
        raw.write(head).write(&request);
        raw.read_until(|read| read.contains("chatcmpl-mock"))
    };
    assert!(send(proxy_head(0x21, [203, 0, 113, 9])).starts_with("HTTP/1.1 200"));
    // The client behind the proxy is not trusted to tell more.
    assert_eq!(rig.events(1)[0].request.source.address.to_string(), "203.0.113.9");
    assert_eq!(rig.events(1)[0].request.source.facts.asn, 64_666);
    // The proxy's own health check.
    assert!(send(proxy_head(0x20, [0; 4])).starts_with("HTTP/1.1 200"));
    rig.events(2);
    // Without a head, or with another, nothing is served.
    assert_eq!(send(Vec::new()), "");
    assert_eq!(send(proxy_head(0x22, [203, 0, 113, 9])), "");
    assert_eq!(send(b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n".to_vec()), "");
    rig.events(2);
}

#[test]
fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
    let rig = rig();
    let secret = rig.key();
    let ask = |forwarded: &str| {
        let headers = [("x-forwarded-for", forwarded)];
        let before = rig.memory.events().len();
        rig.run(rig.client.send_http(post(CHAT, &chat(&json!({})), secret.expose(), &headers))).unwrap();
        rig.events(before + 1).pop().unwrap().request.source.address.to_string()
    };
    assert_eq!(ask("198.51.100.7"), "198.51.100.7");
    assert_eq!(ask("1.2.3.4, 203.0.113.9"), "203.0.113.9");
    assert_eq!(ask("not an address"), "127.0.0.1");
    let mut settings = rig.settings();
    settings.trusted_proxies = Vec::new();
    rig.gateway.put_settings(settings);
    assert_eq!(ask("198.51.100.7"), "127.0.0.1");
}

#[test]
fn a_request_keeps_the_settings_it_started_with() {
    let rig = rig();
    let secret = rig.key();
    let mut raw = rig.connect();
    let mock = "x-mock-output-tokens: 40\r\nx-mock-chunks: 20\r\nx-mock-chunk-delay-ms: 20\r\nx-mock-input-tokens: 1\r\n";
    raw.write(raw_post(CHAT, &secret, &chat(&json!({"stream": true})).to_string(), mock));
    raw.read_until(|read| read.contains("data:"));
    let mut settings = rig.settings();
    settings.providers = Vec::new();
    settings.prices = Arc::default();
    rig.gateway.put_settings(settings);
    assert!(raw.read_until(|read| read.contains("[DONE]")).contains("[DONE]"));
    let event = rig.event();
    assert_eq!((event.outcome, event.usage.output), (Outcome::Served, 40));
    assert_eq!(event.cost.0, 1_000 + 40 * OUTPUT);
    let answer = rig.run(rig.client.send_http(post(CHAT, &chat(&json!({})), secret.expose(), &[]))).unwrap();
    assert_eq!(error_code(&answer.body), "unknown_route");
}

#[test]
fn draining_lets_requests_end_and_refuses_connections() {
    let http = HttpLimits { drain_timeout: Duration::from_secs(15), ..Setup::default().http };
    let mut rig = Rig::start(Setup { http, workers: 2, ..Setup::default() });
    let secret = rig.key();
    let mut raw = rig.connect();
    let mock = "x-mock-output-tokens: 40\r\nx-mock-chunks: 30\r\nx-mock-chunk-delay-ms: 20\r\n";
    raw.write(raw_post(CHAT, &secret, &chat(&json!({"stream": true})).to_string(), mock));
    raw.read_until(|read| read.contains("data:"));
    // An idle connection does not hold the shutdown up.
    let mut idle = rig.connect();
    idle.write(raw_post(CHAT, &secret, &chat(&json!({})).to_string(), ""));
    idle.read_until(|read| read.contains("chatcmpl-mock"));
    let workers = rig.take_workers();
    let started = Instant::now();
    let draining = std::thread::spawn(move || workers.drain());
    eventually("new connections are refused", || std::net::TcpStream::connect(rig.address).is_err());
    assert!(raw.read_until(|read| read.contains("[DONE]")).contains("[DONE]"));
    draining.join().unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "waited for an idle connection");
    assert_eq!(idle.read_all(), "");
    assert!(rig.events(2).iter().all(|event| event.outcome == Outcome::Served));
}

#[test]
fn what_outlasts_the_drain_time_is_cut_and_told_so() {
    let mut rig = rig();
    let secret = rig.key();
    let slowly = "x-mock-output-tokens: 4000\r\nx-mock-chunks: 1200\r\nx-mock-chunk-delay-ms: 100\r\n";
    let mut raw = rig.connect();
    raw.write(raw_post(CHAT, &secret, &chat(&json!({"stream": true})).to_string(), slowly));
    raw.read_until(|read| read.contains("data:"));
    let mut waiting = rig.connect();
    waiting.write(raw_post(CHAT, &secret, &chat(&json!({})).to_string(), "x-mock-delay-ms: 60000\r\n"));
    eventually("both are at the provider", || rig.mock.requests() == 2);
    rig.drain();
    let last = raw.read_all();
    assert!(last.contains("The gateway shut down") && last.ends_with("0\r\n\r\n"), "{last}");
    let read = waiting.read_all();
    assert!(read.starts_with("HTTP/1.1 503") && read.contains("overloaded"), "{read}");
    let events = rig.events(2);
    assert!(events.iter().all(|event| event.outcome == Outcome::Cut(Cut::Shutdown)), "{events:#?}");
}

#[test]
fn too_many_connections_are_turned_away() {
    let http = HttpLimits { connections_max: 3, ..Setup::default().http };
    let rig = Rig::start(Setup { http, ..Setup::default() });
    let kept: Vec<Raw> = (0..3).map(|_| rig.connect()).collect();
    eventually("they are counted", || rig.gateway.connections() == 3);
    assert_eq!(rig.connect().write("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").read_all(), "");
    drop(kept);
    eventually("they are gone", || rig.gateway.connections() == 0);
    let read =
        rig.connect().write("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").read_until(|r| r.ends_with("ok\n"));
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
}

#[test]
fn an_expired_or_unknown_state_is_looked_up_when_the_request_comes() {
    let rig = rig();
    let secret =
        rig.put_key(1, 1, KeyState::Active, Some(rig.clock_now().plus(60_000_000)), Policy::default());
    let ask = || rig.run(rig.client.send_http(post(CHAT, &chat(&json!({})), secret.expose(), &[]))).unwrap();
    assert_eq!(ask().status, 200);
    rig.clock.advance(60);
    assert_eq!(error_code(&ask().body), "key_expired");
}
