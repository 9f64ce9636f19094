//! Failures look on the wire as they are asked for.

use std::time::Duration;

use hyper::Method;
use tokenwatch_testkit::client::{LoadClient, SendError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

async fn fail(how: &str, body: &str) -> Result<tokenwatch_testkit::client::Answer, SendError> {
    Bench::new().call(Method::POST, "/v1/chat/completions", &[("x-mock-fail", how)], body).await
}

/// What a bare socket reads until the end, and the error it ends with.
async fn raw(bench: &Bench, how: &str, body: &str) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: mock\r\nauthorization: Bearer {KEY}\r\nx-mock-fail: {how}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    let error = stream.read_to_end(&mut read).await.err().map(|error| error.kind());
    (read, error)
}

#[tokio::test]
async fn connections_are_reset_where_asked() {
    let bench = Bench::new();
    let (read, error) = raw(&bench, "reset", CHAT).await;
    assert_eq!((read.len(), error), (0, Some(std::io::ErrorKind::ConnectionReset)));
    for body in [CHAT, CHAT_STREAM] {
        let (read, error) = raw(&bench, "reset-after=100", body).await;
        let text = String::from_utf8(read).unwrap();
        let (head, rest) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"));
        assert!((100..120).contains(&rest.len()), "{} bytes with framing: {rest}", rest.len());
        assert_eq!(error, Some(std::io::ErrorKind::ConnectionReset));
    }
    assert!(matches!(fail("reset", CHAT).await, Err(SendError::Head(_))));
    assert!(matches!(fail("reset-after=100", CHAT).await, Err(SendError::Body { bytes: 100, .. })));
}

#[tokio::test]
async fn garbage_is_not_http() {
    let (read, _) = raw(&Bench::new(), "garbage", CHAT).await;
    assert!(!read.is_empty() && !read.starts_with(b"HTTP"));
    assert!(matches!(fail("garbage", CHAT).await, Err(SendError::Head(_))));
}

#[tokio::test]
async fn hanging_answers_never_end() {
    let bench = Bench::new();
    let hurried = LoadClient::new(bench.address, Duration::from_millis(300));
    let hang = request(Method::POST, "/v1/chat/completions", &[("x-mock-fail", "hang")], CHAT);
    assert!(matches!(hurried.send_http(hang).await, Err(SendError::Timeout(_))));
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: mock\r\nauthorization: Bearer {KEY}\r\nx-mock-fail: hang-after=2\r\ncontent-length: {}\r\n\r\n{CHAT_STREAM}",
        CHAT_STREAM.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let quiet = Duration::from_millis(300);
    while let Ok(read) = tokio::time::timeout(quiet, stream.read_buf(&mut text)).await {
        assert!(read.unwrap() > 0, "the connection must stay open");
    }
    assert_eq!(String::from_utf8(text).unwrap().matches("data: ").count(), 2);
}

#[tokio::test]
async fn short_bodies_lie_about_their_length() {
    for body in [CHAT, CHAT_STREAM] {
        let (read, _) = raw(&Bench::new(), "short-body", body).await;
        let text = String::from_utf8(read).unwrap();
        let (head, rest) = text.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        assert_eq!(length.parse::<usize>().unwrap() / 2, rest.len());
        assert!(matches!(fail("short-body", body).await, Err(SendError::Body { .. })));
    }
}

#[tokio::test]
async fn statuses_come_in_the_dialect() {
    let bench = Bench::new();
    for (how, status, kind) in [
        ("429", 429, "rate_limit_error"),
        ("429=7", 429, "rate_limit_error"),
        ("500", 500, "api_error"),
        ("503", 503, "overloaded_error"),
        ("529", 529, "overloaded_error"),
        ("401", 401, "authentication_error"),
    ] {
        let answer = bench.post("/v1/messages", &[("x-mock-fail", how)], MESSAGES).await;
        assert_eq!(answer.status, status);
        assert_eq!(json(&answer)["error"]["type"], kind);
        let retry =
            if status == 429 { Some(how.split_once('=').map_or("1", |(_, seconds)| seconds)) } else { None };
        assert_eq!(answer.header("retry-after"), retry);
    }
    let limited = fail("429=7", CHAT).await.unwrap();
    assert_eq!(json(&limited)["error"]["code"], "rate_limit_exceeded");
}

#[tokio::test]
async fn heads_can_be_slow_or_huge() {
    let slow = fail("slow-head=3", CHAT).await.unwrap();
    assert_eq!(slow.status, 200);
    assert!(slow.first_byte > Duration::from_millis(64 * 3));
    let (read, _) = raw(&Bench::new(), "huge-headers=100000", CHAT).await;
    assert!(read.len() > 100_000);
    let delayed = Bench::new().post("/v1/chat/completions", &[("x-mock-delay-ms", "120")], CHAT).await;
    assert!(delayed.first_byte > Duration::from_millis(120));
}

#[tokio::test]
async fn leaving_is_noticed() {
    let bench = Bench::new();
    let whole = [("x-mock-chunks", "3"), ("x-mock-chunk-delay-ms", "1")];
    bench.post("/v1/chat/completions", &whole, CHAT_STREAM).await;
    assert_eq!(bench.provider.abandoned(), 0);
    let hurried = LoadClient::new(bench.address, Duration::from_millis(100));
    let slow = [("x-mock-chunks", "100"), ("x-mock-chunk-delay-ms", "1000")];
    for headers in [&slow[..], &[("x-mock-fail", "hang")], &[("x-mock-fail", "hang-after=1")]] {
        let before = bench.provider.abandoned();
        let call = request(Method::POST, "/v1/chat/completions", headers, CHAT_STREAM);
        assert!(matches!(hurried.send_http(call).await, Err(SendError::Timeout(_))));
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while bench.provider.abandoned() == before {
            assert!(std::time::Instant::now() < deadline, "{headers:?} was not noticed");
            tokio::task::yield_now().await;
        }
    }
}
