//! What is booked is what the provider reported, whatever way it reports; every request ends in one event.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::{Outcome, UpstreamFailure};
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};
use tokenwatch_testkit::client::{Answer, LoadClient};
use tokenwatch_wire::encoding::Encoding;

use crate::rig::{
    CACHED, INPUT, OUTPUT, PATIENCE, PROVIDER_KEYS, Raw, Rig, Setup, chat, eventually, message, post,
    post_bytes, raw_post, rig,
};

/// One request and what it must be booked at.
struct Case {
    path: &'static str,
    body: Value,
    mock: &'static [(&'static str, &'static str)],
}

fn usage(input: u64, cache_read: u64, output: u64) -> TokenUsage {
    TokenUsage { input, cache_read, output, ..TokenUsage::default() }
}

fn cost_of(usage: &TokenUsage) -> NanoUsd {
    NanoUsd(usage.input * INPUT + usage.cache_read * CACHED + usage.output * OUTPUT)
}

/// The running number of the mock's answers is the one thing that differs between two equal requests.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("mock0") {
        let (before, after) = rest.split_at(at + 4);
        out.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out + rest
}

fn plain_text(answer: &Answer) -> String {
    let coding = Encoding::from_header(answer.header("content-encoding")).unwrap();
    let plain = tokenwatch_wire::encoding::decode(&answer.body, coding, 1 << 20).unwrap();
    String::from_utf8(plain.into_owned()).unwrap()
}

/// Sends the case through the gateway and straight to the mock: the bytes must be the same, the event true.
#[track_caller]
fn check(case: &Case, want: TokenUsage) -> UsageEvent {
    let rig = rig();
    let secret = rig.key();
    let through =
        rig.run(rig.client.send_http(post(case.path, &case.body, secret.expose(), case.mock))).unwrap();
    let event = rig.event();
    let direct = LoadClient::new(rig.mock_address, PATIENCE);
    let direct = rig.run(direct.send_http(post(case.path, &case.body, PROVIDER_KEYS[0], case.mock))).unwrap();
    let asks_for_usage = case.body["stream_options"]["include_usage"] == true;
    let is_chat_stream = case.body["stream"] == true && case.path.ends_with("completions");
    if is_chat_stream && !asks_for_usage {
        // The gateway asked for usage, which makes the provider write `"usage":null` on every other chunk.
        let got = without_numbers(&through.text()).replace(r#","usage":null"#, "");
        assert_eq!(got, without_numbers(&direct.text()));
    } else {
        assert_eq!(without_numbers(&plain_text(&through)), without_numbers(&plain_text(&direct)));
        assert_eq!(through.header("content-encoding"), direct.header("content-encoding"));
    }
    assert_eq!(through.status, direct.status);
    assert_eq!(event.outcome, Outcome::Served);
    assert_eq!((event.usage, event.usage_source), (want, UsageSource::Provider), "{:?}", case.mock);
    assert_eq!((event.cost, event.price_source), (cost_of(&want), PriceSource::Exact));
    assert_eq!(event.response_bytes, through.body.len() as u64);
    assert_eq!(event.status, 200);
    assert!(event.duration_us >= event.first_byte_us && event.first_byte_us > 0);
    rig.check_settled(1, &secret);
    event
}

const CHAT: &str = "/v1/chat/completions";
const TOKENS: (&str, &str) = ("x-mock-input-tokens", "120");
const OUT: (&str, &str) = ("x-mock-output-tokens", "77");

#[test]
fn whole_answers_are_booked_as_reported() {
    let plain: &[_] = &[TOKENS, OUT];
    let cached: &[_] = &[TOKENS, OUT, ("x-mock-cached-tokens", "20")];
    let tool: &[_] = &[TOKENS, OUT, ("x-mock-style", "tool-call")];
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]});
    check(&Case { path: "/v1/chat/completions", body: chat(&json!({})), mock: plain }, usage(120, 0, 77));
    check(&Case { path: "/v1/chat/completions", body: chat(&json!({})), mock: cached }, usage(100, 20, 77));
    check(&Case { path: "/v1/chat/completions", body: chat(&tools), mock: tool }, usage(120, 0, 77));
    let body = json!({"model": "gpt-4o-mini", "prompt": "Say hello."});
    check(&Case { path: "/v1/completions", body, mock: cached }, usage(100, 20, 77));
    let body = json!({"model": "gpt-4o-mini", "input": "Say hello."});
    check(&Case { path: "/v1/responses", body, mock: cached }, usage(100, 20, 77));
    let body = json!({"model": "text-embedding-3-small", "input": ["one", "two"]});
    check(&Case { path: "/v1/embeddings", body, mock: plain }, usage(120, 0, 0));
    check(&Case { path: "/v1/messages", body: message(&json!({})), mock: cached }, usage(100, 20, 77));
}

#[test]
fn streams_are_booked_as_reported_and_pass_byte_for_byte() {
    for style in ["", "crlf", "split", "joined", "pings", "crlf,split", "split,joined,pings"] {
        let styled: &'static [_] = Box::leak(Box::new([
            TOKENS,
            OUT,
            ("x-mock-cached-tokens", "20"),
            ("x-mock-chunks", "9"),
            ("x-mock-style", style),
        ]));
        let mock = if style.is_empty() { &styled[..4] } else { styled };
        let want = usage(100, 20, 77);
        let stream = json!({"stream": true});
        let asking = json!({"stream": true, "stream_options": {"include_usage": true}});
        check(&Case { path: "/v1/chat/completions", body: chat(&stream), mock }, want);
        check(&Case { path: "/v1/chat/completions", body: chat(&asking), mock }, want);
        let body = json!({"model": "gpt-4o-mini", "prompt": "Say hello.", "stream": true});
        check(&Case { path: "/v1/completions", body, mock }, want);
        let body = json!({"model": "gpt-4o-mini", "input": "Say hello.", "stream": true});
        check(&Case { path: "/v1/responses", body, mock }, want);
        // Anthropic's counts are cumulative: one token at the start, all of them at the end.
        check(&Case { path: "/v1/messages", body: message(&stream), mock }, want);
    }
    let on_choice: &[_] = &[TOKENS, OUT, ("x-mock-style", "usage-on-last-choice")];
    check(
        &Case { path: "/v1/chat/completions", body: chat(&json!({"stream": true})), mock: on_choice },
        usage(120, 0, 77),
    );
}

#[test]
fn compressed_answers_are_read_and_pass_compressed() {
    for style in ["gzip", "deflate"] {
        let mock: &'static [_] =
            Box::leak(Box::new([TOKENS, OUT, ("x-mock-style", style), ("accept-encoding", "gzip, deflate")]));
        let body = json!({"model": "gpt-4o-mini", "input": "Say hello."});
        check(&Case { path: "/v1/responses", body: body.clone(), mock }, usage(120, 0, 77));
        check(&Case { path: "/v1/chat/completions", body: chat(&json!({})), mock }, usage(120, 0, 77));
        check(
            &Case { path: "/v1/messages", body: message(&json!({"stream": true})), mock },
            usage(120, 0, 77),
        );
    }
}

#[test]
fn compressed_requests_are_read_and_forwarded() {
    let rig = rig();
    let secret = rig.key();
    for (n, stream) in [false, true].into_iter().enumerate() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(chat(&json!({"stream": stream})).to_string().as_bytes()).unwrap();
        let body = encoder.finish().unwrap();
        // The mock does not read gzip itself, so a body that is forwarded as it came is answered with 400.
        let headers = [("content-encoding", "gzip"), TOKENS, OUT];
        let request = post_bytes("/v1/chat/completions", body.clone(), secret.expose(), &headers);
        let answer = rig.run(rig.client.send_http(request)).unwrap();
        let event = rig.events(n + 1).remove(n);
        assert_eq!(event.request.model, "gpt-4o-mini");
        assert_eq!(event.request.stream, stream);
        let seen = rig.mock.take_seen().remove(0);
        if stream {
            assert_eq!(seen.header("content-encoding"), None);
            assert!(seen.body.unwrap().starts_with(b"{"));
            assert_eq!((answer.status.as_u16(), event.usage), (200, usage(120, 0, 77)));
        } else {
            assert_eq!(seen.header("content-encoding"), Some("gzip"));
            assert_eq!(seen.body.unwrap(), body);
        }
    }
    rig.check_settled(1, &secret);
}

/// Sends one request whose answer goes wrong or says nothing of usage; returns its event.
#[track_caller]
fn check_odd(
    path: &str,
    body: &Value,
    mock: &[(&str, &str)],
    status: u16,
    outcome: Outcome,
    source: UsageSource,
) -> UsageEvent {
    let http = tokenwatch_gateway::settings::HttpLimits {
        answer_timeout: std::time::Duration::from_millis(400),
        answer_stall_timeout: std::time::Duration::from_millis(400),
        ..Setup::default().http
    };
    let rig = Rig::start(Setup { http, ..Setup::default() });
    let secret = rig.key();
    let answer = rig.run(rig.client.send_lossy(post(path, body, secret.expose(), mock))).unwrap();
    let event = rig.event();
    assert_eq!(answer.0.status.as_u16(), status, "{mock:?}");
    assert_eq!((event.outcome, event.status), (outcome, status), "{mock:?}");
    assert_eq!(event.usage_source, source, "{mock:?} {event:#?}");
    if source == UsageSource::None {
        assert_eq!(event.cost, NanoUsd::ZERO);
    } else {
        assert_eq!(event.cost, cost_of(&event.usage));
    }
    let is_broken = matches!(outcome, Outcome::UpstreamFailed(UpstreamFailure::BodyBroken));
    assert_eq!(answer.1.is_some(), is_broken, "a broken answer must not look whole: {mock:?}");
    rig.check_settled(1, &secret);
    event
}

#[test]
fn silence_about_usage_is_estimated_and_flagged() {
    let style = [OUT, ("x-mock-style", "no-usage")];
    let (served, estimated) = (Outcome::Served, UsageSource::Estimated);
    for stream in [false, true] {
        let body = chat(&json!({"stream": stream}));
        let event = check_odd("/v1/chat/completions", &body, &style, 200, served, estimated);
        assert!((40..160).contains(&event.usage.output), "{:?}", event.usage);
        let body = message(&json!({"stream": stream}));
        let event = check_odd("/v1/messages", &body, &style, 200, served, estimated);
        assert!((40..160).contains(&event.usage.output), "{:?}", event.usage);
    }
}

#[test]
fn errors_of_the_provider_pass_and_cost_nothing() {
    for (fail, status) in [("429", 429), ("500", 500), ("503", 503), ("529", 529)] {
        let mock = [("x-mock-fail", fail)];
        for (path, body) in [
            ("/v1/chat/completions", chat(&json!({}))),
            ("/v1/chat/completions", chat(&json!({"stream": true}))),
            ("/v1/messages", message(&json!({}))),
        ] {
            check_odd(path, &body, &mock, status, Outcome::Served, UsageSource::None);
        }
    }
    let body = chat(&json!({"model": "unknown-model"}));
    check_odd("/v1/chat/completions", &body, &[], 404, Outcome::Served, UsageSource::None);
}

#[test]
fn failures_of_the_provider_end_in_one_event() {
    use UpstreamFailure::{BodyBroken, Garbage, Reset, Timeout};
    let (chat_path, estimated) = ("/v1/chat/completions", UsageSource::Estimated);
    let stream = chat(&json!({"stream": true, "max_tokens": 500}));
    let whole = chat(&json!({"max_tokens": 500}));
    for body in [&whole, &stream] {
        let odd = |fail, status, failure| {
            let mock = [("x-mock-fail", fail), ("x-mock-chunks", "50")];
            check_odd(chat_path, body, &mock, status, Outcome::UpstreamFailed(failure), estimated)
        };
        odd("reset", 502, Reset);
        odd("garbage", 502, Garbage);
        // The provider may have done the work: booked at the most it can cost.
        let event = odd("hang", 504, Timeout);
        assert_eq!(event.usage.output, 500);
        odd("reset-after=700", 200, BodyBroken);
        odd("short-body", 200, BodyBroken);
    }
    let mock = [("x-mock-fail", "hang-after=20"), ("x-mock-chunks", "50")];
    let event = check_odd(chat_path, &stream, &mock, 200, Outcome::UpstreamFailed(BodyBroken), estimated);
    assert!((100..300).contains(&event.usage.output), "what was seen of 500: {:?}", event.usage);
    let mock = [OUT, ("x-mock-style", "error-mid-stream")];
    let event = check_odd(chat_path, &stream, &mock, 200, Outcome::Served, estimated);
    assert!(event.usage.output < 77, "{:?}", event.usage);
}

/// A client that leaves when `leave` holds of what it has read; returns the one event.
#[track_caller]
fn check_leaving(path: &str, body: &Value, mock: &str, leave: impl Fn(&str) -> bool) -> (Rig, UsageEvent) {
    let rig = rig();
    let secret = rig.key();
    let mut raw: Raw = rig.connect();
    raw.write(raw_post(path, &secret, &body.to_string(), mock));
    raw.read_until(leave);
    eventually("the provider has the request", || rig.mock.requests() == 1);
    // Closes with RST, as a process that is killed does.
    socket2::SockRef::from(&raw.0).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(raw);
    let event = rig.event();
    assert_eq!(event.cost, cost_of(&event.usage));
    rig.check_settled(1, &secret);
    (rig, event)
}

#[test]
fn a_client_that_leaves_a_stream_pays_for_what_was_written() {
    let body = chat(&json!({"stream": true, "max_tokens": 4000}));
    let mock = "x-mock-output-tokens: 4000\r\nx-mock-chunks: 400\r\nx-mock-chunk-delay-ms: 20\r\n";
    let (rig, event) = check_leaving(CHAT, &body, mock, |read| read.matches("data:").count() > 5);
    assert_eq!((event.outcome, event.usage_source), (Outcome::ClientLeft, UsageSource::Estimated));
    assert!((30..2000).contains(&event.usage.output), "{:?}", event.usage);
    eventually("the provider is told to stop", || rig.mock.abandoned() == 1);
    // Before the first byte of the answer.
    let mock = "x-mock-output-tokens: 4000\r\nx-mock-chunks: 400\r\nx-mock-chunk-delay-ms: 20\r\nx-mock-delay-ms: 200\r\n";
    let (rig, event) = check_leaving(CHAT, &body, mock, |_| true);
    assert_eq!((event.outcome, event.usage_source), (Outcome::ClientLeft, UsageSource::Estimated));
    eventually("the provider is told to stop", || rig.mock.abandoned() == 1);
}

#[test]
fn a_whole_answer_is_read_on_for_its_usage_when_the_client_leaves() {
    let body = chat(&json!({}));
    let mock = "x-mock-output-tokens: 77\r\nx-mock-input-tokens: 120\r\nx-mock-delay-ms: 200\r\n";
    let (_, event) = check_leaving(CHAT, &body, mock, |_| true);
    assert_eq!((event.usage, event.usage_source), (usage(120, 0, 77), UsageSource::Provider));
    // Far more than fits into the buffers of the sockets: the rest is still at the provider.
    let texts = vec!["x"; 500];
    let body = json!({"model": "text-embedding-3-small", "input": texts, "dimensions": 4096});
    let (_, event) =
        check_leaving("/v1/embeddings", &body, "x-mock-input-tokens: 120\r\n", |read| read.len() > 1000);
    assert_eq!((event.usage, event.usage_source), (usage(120, 0, 0), UsageSource::Provider));
    assert_eq!(event.outcome, Outcome::ClientLeft);
}

#[test]
fn answers_without_a_body_are_served_and_connections_are_reused() {
    let rig = rig();
    let secret = rig.key();
    for n in 0..20 {
        let body = chat(&json!({"stream": n % 2 == 0}));
        let request = post("/v1/chat/completions", &body, secret.expose(), &[]);
        assert_eq!(rig.run(rig.client.send_http(request)).unwrap().status, 200);
    }
    let head = http::Request::head("/v1/models")
        .header("authorization", format!("Bearer {}", secret.expose()))
        .body(http_body_util::Full::default())
        .unwrap();
    rig.run(rig.client.send_http(head)).unwrap();
    let events = rig.events(21);
    assert!(events.iter().all(|event| event.outcome == Outcome::Served), "{events:#?}");
    rig.check_settled(1, &secret);
}
