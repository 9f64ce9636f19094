//! Hostile HTTP: whatever two parsers could read in two ways is refused, answered and recorded, and never
//! reaches the provider; slow and half-gone clients are let go of in time.

use std::io::Write as _;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tokenwatch_gateway::settings::HttpLimits;
use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::secret::Secret;

use crate::rig::{Rig, Setup, chat, error_code, eventually, get, post, post_bytes, raw_post, rig};

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}"#;

/// Sends bytes as they are; `KEY` stands for the credential, `BODY` for a good body. The answer must be a
/// client error or none, one event must say so unless nothing of a request came, and nothing is forwarded.
#[track_caller]
fn check(rig: &Rig, secret: &Secret, bytes: &str) {
    let before = rig.memory.events().len();
    let sent = bytes.replace("KEY", secret.expose()).replace("BODY", BODY);
    let mut raw = rig.connect();
    raw.write(&sent);
    let _ = raw.0.shutdown(Shutdown::Write);
    let read = raw.read_all();
    let status: u16 = read.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    assert!(read.is_empty() || (400..500).contains(&status) || status == 503, "{bytes:?}: {read}");
    if !read.is_empty() {
        eventually(bytes, || rig.memory.events().len() > before);
        let event = rig.memory.events().remove(before);
        assert!(matches!(event.outcome, Outcome::Refused(_)), "{bytes:?}: {event:?}");
    }
    assert_eq!(rig.mock.requests(), 0, "forwarded: {bytes:?}");
}

/// A good request with one part replaced.
fn with(line: &str, host: &str, framing: &str, rest: &str) -> String {
    format!("{line}\r\n{host}authorization: Bearer KEY\r\n{framing}\r\n{rest}")
}

const LINE: &str = "POST /v1/chat/completions HTTP/1.1";
const HOST: &str = "host: gateway\r\n";

fn with_line(line: &str) -> String {
    with(line, HOST, &format!("content-length: {}\r\n", BODY.len()), "BODY")
}

fn with_host(host: &str) -> String {
    with(LINE, host, &format!("content-length: {}\r\n", BODY.len()), "BODY")
}

fn with_framing(framing: &str, rest: &str) -> String {
    with(LINE, HOST, framing, rest)
}

#[test]
fn ambiguous_targets_are_refused() {
    let rig = rig();
    let secret = rig.key();
    for line in [
        "POST /v1/../v1/chat/completions HTTP/1.1",
        "POST /v1/./chat/completions HTTP/1.1",
        "POST /v1//chat/completions HTTP/1.1",
        "POST /v1/%2e%2e/chat/completions HTTP/1.1",
        "POST /v1/%2E/chat/completions HTTP/1.1",
        "POST /v1/.%2e/chat/completions HTTP/1.1",
        "POST /v1/%252e%252e/chat/completions HTTP/1.1",
        "POST /v1%2fchat/completions HTTP/1.1",
        "POST /v1%2Fchat/completions HTTP/1.1",
        "POST /v1/chat%5ccompletions HTTP/1.1",
        "POST /v1/chat\\completions HTTP/1.1",
        "POST /v1/chat/completions%00 HTTP/1.1",
        "POST /v1/chat/complet\u{ef}ons HTTP/1.1",
        "POST ftp://gateway/v1/chat/completions HTTP/1.1",
        "POST http://gateway:99999/v1/chat/completions HTTP/1.1",
        "POST http://other/v1/chat/completions HTTP/1.1",
        "POST * HTTP/1.1",
        "POST gateway:443 HTTP/1.1",
        "CONNECT gateway:443 HTTP/1.1",
        "CONNECT /v1/chat/completions HTTP/1.1",
        "TRACE /v1/chat/completions HTTP/1.1",
        "POST  /v1/chat/completions HTTP/1.1",
        "POST /v1/chat/completions HTTP/1.1 HTTP/1.1",
        "POST /v1/chat/completions HTTP/2.0",
        "POST /v1/chat/completions http/1.1",
        "POST /v1/chat/completions",
        "PO ST /v1/chat/completions HTTP/1.1",
        "\u{16}\u{3}\u{1}\u{2}\u{0}",
    ] {
        check(&rig, &secret, &with_line(line));
    }
}

#[test]
fn ambiguous_hosts_are_refused() {
    let rig = rig();
    let secret = rig.key();
    for host in [
        "",
        "host: gateway\r\nhost: gateway\r\n",
        "host: user@gateway\r\n",
        "host: gateway/path\r\n",
        "host: gateway, other\r\n",
        "host: gate way\r\n",
        "host: gateway:port\r\n",
        "host: gateway:0\r\n",
        "host: gateway?x\r\n",
        "host: gateway#x\r\n",
        "host: gate\\way\r\n",
        "host: [::1\r\n",
        "host: http://gateway\r\n",
        "host: g\u{e4}teway\r\n",
        "host : gateway\r\n",
        " host: gateway\r\n",
        "host: gateway\r\nx-folded: a\r\n b\r\n",
        "host: gateway\r\nx_y: 1\r\n",
        "host: gateway\r\nx-a: \u{0}\r\n",
    ] {
        check(&rig, &secret, &with_host(host));
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    let rig = rig();
    let secret = rig.key();
    let chunked = format!("{:x}\r\nBODY\r\n0\r\n\r\n", BODY.len());
    for coding in [
        "gzip, chunked",
        "identity, chunked",
        ", chunked",
        "chunked, chunked",
        "chunked\r\ntransfer-encoding: chunked",
        "identity",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked, identity",
    ] {
        check(&rig, &secret, &with_framing(&format!("transfer-encoding: {coding}\r\n"), &chunked));
    }
    let old = with("POST /v1/chat/completions HTTP/1.0", HOST, "transfer-encoding: chunked\r\n", &chunked);
    check(&rig, &secret, &old);
    for length in ["-1", "+5", "5, 5", "0x5", "5\r\ncontent-length: 6", "99999999999999999999", "5 5", ""] {
        check(&rig, &secret, &with_framing(&format!("content-length: {length}\r\n"), "BODY"));
    }
    for chunks in [
        "zz\r\nBODY\r\n0\r\n\r\n",
        "-1\r\nBODY\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nBODY\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "",
    ] {
        check(&rig, &secret, &with_framing("transfer-encoding: chunked\r\n", chunks));
    }
    // More was promised than came.
    check(&rig, &secret, &with_framing("content-length: 500\r\n", "BODY"));
}

#[test]
fn a_length_beside_chunks_is_dropped_and_ends_the_connection() {
    let rig = rig();
    let secret = rig.key();
    // The server library takes the length out before we see it (RFC 9112 section 6.3 allows that), so this can not be
    // refused; what goes on has one length, ours, and nothing after it is read as a request.
    let chunked = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let head = with_framing("content-length: 3\r\ntransfer-encoding: chunked\r\n", &chunked);
    let mut raw = rig.connect();
    raw.write(head.replace("KEY", secret.expose()).repeat(2));
    let read = raw.read_all();
    assert_eq!(read.matches("HTTP/1.1 200").count(), 1, "{read}");
    assert!(read.contains("connection: close"), "{read}");
    let seen = rig.mock.seen();
    assert_eq!((seen.len(), seen[0].body_length), (1, BODY.len()));
    assert_eq!(seen[0].header("transfer-encoding"), None);
    rig.events(1);
}

#[test]
fn hostile_heads_are_refused() {
    let rig = rig();
    let secret = rig.key();
    let length = format!("content-length: {}\r\n", BODY.len());
    let many: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    check(&rig, &secret, &with_framing(&format!("{length}{many}"), "BODY"));
    let large = format!("{length}x-large: {}\r\n", "y".repeat(200_000));
    check(&rig, &secret, &with_framing(&large, "BODY"));
    let long = format!("POST /v1/{} HTTP/1.1", "y".repeat(100_000));
    check(&rig, &secret, &with_line(&long));
    check(&rig, &secret, &with_framing(&format!("{length}authorization: Bearer KEY\r\n"), "BODY"));
    check(&rig, &secret, &with_framing(&format!("{length}x-api-key: other\r\n"), "BODY"));
}

#[test]
fn hostile_bodies_are_the_clients_fault() {
    let rig = rig();
    let secret = rig.key();
    let deep =
        format!("{{\"model\":\"gpt-4o-mini\",\"messages\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let utf16: Vec<u8> = BODY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bodies: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        deep.into_bytes(),
        utf16,
        format!("\u{feff}{BODY}").into_bytes(),
        format!("{BODY}{BODY}").into_bytes(),
        format!("{BODY}x").into_bytes(),
        BODY.replace("\"hi\"", "\"hi\",\"content\":\"ho\"").into_bytes(),
        BODY.replace("{\"model\"", "{\"model\":\"gpt-4o\",\"model\"").into_bytes(),
        BODY.replace("{\"model\"", "{\"mod\\u0065l\":\"gpt-4o\",\"model\"").into_bytes(),
        [&BODY.as_bytes()[..20], b"\xff\xfe", &BODY.as_bytes()[20..]].concat(),
        BODY.replace("{\"model\"", "{\"max_tokens\":1e400,\"model\"").into_bytes(),
        BODY.replace("{\"model\"", "{\"max_tokens\":-5,\"model\"").into_bytes(),
        BODY.replace("{\"model\"", "{\"stream\":\"yes\",\"model\"").into_bytes(),
    ];
    for (n, body) in bodies.into_iter().enumerate() {
        let shown = String::from_utf8_lossy(&body[..body.len().min(90)]).into_owned();
        let answer = rig.run(rig.client.send_http(post_bytes(CHAT, body, secret.expose(), &[]))).unwrap();
        let event = rig.events(n + 1).remove(n);
        assert_eq!(answer.status, 400, "{shown}");
        assert_eq!(
            (error_code(&answer.body), event.outcome),
            ("bad_body".into(), Outcome::Refused(Refusal::BadBody)),
            "{shown}"
        );
    }
    assert_eq!(rig.mock.requests(), 0);
    rig.check_settled(1, &secret);
}

fn impatient() -> Rig {
    let http = HttpLimits {
        head_timeout: Duration::from_millis(300),
        body_stall_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(600),
        body_bytes_max: 100_000,
        write_stall_timeout: Duration::from_millis(300),
        ..Setup::default().http
    };
    Rig::start(Setup { http, ..Setup::default() })
}

#[test]
fn bombs_and_lies_about_encodings_are_refused() {
    let rig = impatient();
    let secret = rig.key();
    let squeeze = |plain: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let bomb = squeeze(&vec![b' '; 50_000_000]);
    assert!(bomb.len() < 100_000);
    let cut_short = squeeze(BODY.as_bytes())[..30].to_vec();
    for (n, (body, coding, code)) in [
        (bomb, "gzip", "payload_too_large"),
        (BODY.into(), "gzip", "bad_body"),
        (cut_short, "gzip", "bad_body"),
        (BODY.into(), "br", "bad_body"),
        (squeeze(&squeeze(BODY.as_bytes())), "gzip", "bad_body"),
        (squeeze(&squeeze(BODY.as_bytes())), "gzip, gzip", "bad_body"),
        (vec![b' '; 100_001], "identity", "payload_too_large"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = post_bytes(CHAT, body, secret.expose(), &[("content-encoding", coding)]);
        let answer = rig.run(rig.client.send_http(request)).unwrap();
        assert_eq!(error_code(&answer.body), code, "{coding} {n}");
        rig.events(n + 1);
    }
    assert_eq!(rig.mock.requests(), 0);
}

#[test]
fn a_length_above_the_limit_is_refused_before_the_body_is_read() {
    let rig = impatient();
    let secret = rig.key();
    let mut raw = rig.connect();
    raw.write(with_framing("content-length: 100001\r\n", "").replace("KEY", secret.expose()));
    let read = raw.read_until(|read| read.contains("payload_too_large"));
    assert!(read.starts_with("HTTP/1.1 413"), "{read}");
    // A chunked body says nothing in advance: it is refused when it is too long.
    let mut raw = rig.connect();
    raw.write(with_framing("transfer-encoding: chunked\r\n", "").replace("KEY", secret.expose()));
    for _ in 0..3 {
        raw.write(format!("{:x}\r\n{}\r\n", 40_000, " ".repeat(40_000)));
    }
    let read = raw.read_until(|read| read.contains("payload_too_large"));
    assert!(read.starts_with("HTTP/1.1 413"), "{read}");
    assert_eq!(rig.mock.requests(), 0);
}

/// Writes `head` and then `drip` again and again; the connection must end, or be answered with 408, in time.
#[track_caller]
fn check_slow(head: &str, drip: &str, is_answered: bool) {
    let rig = impatient();
    let secret = rig.key();
    let mut raw = rig.connect();
    raw.0.set_read_timeout(Some(Duration::from_millis(40))).unwrap();
    raw.write(head.replace("KEY", secret.expose()));
    let (started, mut read) = (Instant::now(), String::new());
    loop {
        let mut buffer = [0; 1024];
        match std::io::Read::read(&mut raw.0, &mut buffer) {
            Ok(0) => break,
            Ok(n) => read.push_str(&String::from_utf8_lossy(&buffer[..n])),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        assert!(started.elapsed() < Duration::from_secs(10), "still open: {head:?} {drip:?}");
        raw.write(drip);
    }
    assert_eq!(read.contains("body_timeout"), is_answered, "{head:?}: {read}");
    assert_eq!(rig.mock.requests(), 0);
    if is_answered {
        assert_eq!(rig.event().outcome, Outcome::Refused(Refusal::BodyTimeout));
    }
    eventually("the connection is let go of", || rig.gateway.connections() == 0);
}

#[test]
fn slow_clients_are_let_go_of_in_time() {
    check_slow("", "", false);
    check_slow("POST", "", false);
    check_slow("POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\n", "x-a: b\r\n", false);
    let length = with_framing("content-length: 5000\r\n", "");
    check_slow(&length, "", true);
    check_slow(&length, " ", true);
    let chunked = with_framing("transfer-encoding: chunked\r\n", "");
    check_slow(&chunked, "", true);
    check_slow(&chunked, "1\r\n \r\n", true);
    check_slow(&format!("{chunked}5"), "", true);
    // A size of noughts never ends.
    check_slow(&chunked, "0", true);
    check_slow(&format!("{chunked}5;ext"), "e", true);
    check_slow(&format!("{chunked}0\r\nx-trailer: "), "e", true);
    let expect = with_framing("content-length: 5000\r\nexpect: 100-continue\r\n", "");
    check_slow(&expect, "", true);
}

#[test]
fn a_reader_that_stops_is_gone_after_a_while() {
    let rig = impatient();
    let secret = rig.key();
    let mut raw = rig.connect();
    let body = json!({"model": "text-embedding-3-small", "input": vec!["x"; 500], "dimensions": 4096});
    raw.write(raw_post("/v1/embeddings", &secret, &body.to_string(), "x-mock-input-tokens: 9\r\n"));
    raw.read_until(|read| read.len() > 1000);
    let event = rig.event();
    assert_eq!((event.outcome, event.usage.input), (Outcome::ClientLeft, 9));
    eventually("the connection is let go of", || rig.gateway.connections() == 0);
}

#[test]
fn a_client_that_half_closes_still_gets_its_answer() {
    let rig = rig();
    let secret = rig.key();
    for stream in [false, true] {
        let mut raw = rig.connect();
        let body = chat(&json!({"stream": stream})).to_string();
        raw.write(raw_post(CHAT, &secret, &body, "x-mock-delay-ms: 100\r\nx-mock-chunk-delay-ms: 2\r\n"));
        raw.0.shutdown(Shutdown::Write).unwrap();
        let read = raw.read_all();
        assert!(read.starts_with("HTTP/1.1 200") && read.contains("chatcmpl-mock"), "{read}");
        assert!(!stream || read.contains("[DONE]"), "{read}");
    }
    assert!(rig.events(2).iter().all(|event| event.outcome == Outcome::Served));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let rig = rig();
    let secret = rig.key();
    let body = |n: u64| chat(&json!({"max_tokens": n, "stream": n == 2})).to_string();
    let delay = ["x-mock-delay-ms: 150\r\n", "x-mock-chunk-delay-ms: 30\r\n", ""];
    let all: String = (1..=3).map(|n| raw_post(CHAT, &secret, &body(n), delay[n as usize - 1])).collect();
    let mut raw = rig.connect();
    raw.write(all);
    let read = raw.read_until(|read| read.matches("\"completion_tokens\":3").count() == 1);
    let at = |needle: &str| read.find(needle).unwrap_or_else(|| panic!("{needle} in {read}"));
    assert!(at("\"completion_tokens\":1,") < at("data: [DONE]"));
    assert!(at("data: [DONE]") < at("\"completion_tokens\":3,"));
    assert_eq!(rig.events(3).iter().map(|event| event.usage.output).collect::<Vec<_>>(), [1, 2, 3]);
    rig.check_settled(1, &secret);
}

#[test]
fn a_body_that_waits_for_leave_is_asked_for_and_only_when_wanted() {
    let rig = rig();
    let secret = rig.key();
    let body = chat(&json!({})).to_string();
    let head = with_framing(&format!("content-length: {}\r\nexpect: 100-continue\r\n", body.len()), "");
    let mut raw = rig.connect();
    raw.write(head.replace("KEY", secret.expose()));
    let read = raw.read_until(|read| read.contains("\r\n\r\n"));
    assert!(read.starts_with("HTTP/1.1 100"), "{read}");
    let read = raw.write(body).read_until(|read| read.contains("chatcmpl-mock"));
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
    // A request that is refused by its head is answered without asking for the body.
    let mut raw = rig.connect();
    raw.write(head.replace("KEY", "sk-tw-nobody"));
    let read = raw.read_until(|read| read.contains("malformed_credential"));
    assert!(read.starts_with("HTTP/1.1 401"), "{read}");
    assert_eq!(rig.mock.requests(), 1);
}

#[test]
fn what_must_not_travel_stays_behind() {
    let rig = rig();
    let secret = rig.key();
    let headers = [
        ("connection", "x-hop, close"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("keep-alive", "timeout=5"),
        ("x-original-url", "/v1/models"),
        ("x-rewrite-url", "/v1/models"),
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
        ("proxy", "evil:1"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authenticate", "Basic"),
        ("proxy-features", "x"),
        ("x-forwarded-host", "evil"),
        ("forwarded", "for=evil"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
        ("x-kept", "1"),
    ];
    let answer =
        rig.run(rig.client.send_http(post(CHAT, &chat(&json!({})), secret.expose(), &headers))).unwrap();
    assert_eq!(answer.status, 200);
    let seen = rig.mock.seen().remove(0);
    assert_eq!(seen.header("x-kept"), Some("1"));
    for (name, _) in &headers[..headers.len() - 1] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("host"), Some(rig.mock_address.to_string().as_str()));
    // Trailers are dropped, whatever they say.
    let chunked =
        format!("{:x}\r\n{BODY}\r\n0\r\nauthorization: Bearer x\r\nx-trailer: 1\r\n\r\n", BODY.len());
    let mut raw = rig.connect();
    raw.write(
        with_framing("transfer-encoding: chunked\r\ntrailer: x-trailer\r\n", &chunked)
            .replace("KEY", secret.expose()),
    );
    let read = raw.read_until(|read| read.contains("chatcmpl-mock"));
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
    let seen = rig.mock.seen().remove(1);
    assert_eq!((seen.header("x-trailer"), seen.header("trailer")), (None, None));
    assert_eq!(seen.header("content-length"), Some(BODY.len().to_string().as_str()));
    rig.check_settled(1, &secret);
}

#[test]
fn health_is_told_without_a_key() {
    let rig = rig();
    let nobody = Secret::new("nobody");
    for (path, status) in [("/healthz", 200), ("/readyz", 200)] {
        assert_eq!(rig.run(rig.client.send_http(get(path, &nobody))).unwrap().status, status, "{path}");
    }
    rig.gateway.put_settings(rig.settings_with(&[""]));
    assert_eq!(rig.run(rig.client.send_http(get("/readyz", &nobody))).unwrap().status, 503);
    rig.gateway.put_settings(rig.settings());
    rig.gateway.start_draining();
    assert_eq!(rig.run(rig.client.send_http(get("/readyz", &nobody))).unwrap().status, 503);
    assert!(rig.memory.events().is_empty());
}
