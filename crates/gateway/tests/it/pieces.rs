//! Bodies in pieces of odd sizes, and lines that end oddly: bounded, and clean when they go on.

use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::secret::Secret;

use crate::rig::{Rig, rig};

const BODY: &str = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}"#;

/// A head whose lines end as told.
fn head(secret: &Secret, fields: &[&str], end: &str) -> String {
    let credential = format!("authorization: Bearer {}", secret.expose());
    let mut lines = vec!["POST /v1/chat/completions HTTP/1.1", "host: gateway", &credential];
    lines.extend(fields);
    lines.iter().map(|line| format!("{line}{end}")).collect::<String>() + end
}

/// A body in chunks of so many bytes, white space in front so that it has at least `length` bytes.
fn chunks(length: usize, size: usize) -> String {
    let body = format!("{}{BODY}", " ".repeat(length.saturating_sub(BODY.len())));
    let chunk = |chunk: &[u8]| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk));
    body.as_bytes().chunks(size).map(chunk).collect::<String>() + "0\r\n\r\n"
}

/// Sends a chunked body and returns the head of the answer.
fn send_chunked(rig: &Rig, secret: &Secret, body: &str) -> String {
    let mut raw = rig.connect();
    let mut writer = raw.0.try_clone().unwrap();
    let bytes = head(secret, &["transfer-encoding: chunked"], "\r\n") + body;
    // Beside reading: the gateway may answer long before it has all, and take no more.
    let writing = std::thread::spawn(move || drop(std::io::Write::write_all(&mut writer, bytes.as_bytes())));
    let read = raw.read_until(|read| read.contains("\r\n\r\n"));
    drop(raw);
    writing.join().unwrap();
    read
}

#[test]
fn a_body_in_too_many_pieces_is_refused() {
    let rig = rig();
    let secret = rig.key();
    // As many as a program that writes its body as it comes about may need.
    let read = send_chunked(&rig, &secret, &chunks(16_000, 1));
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
    let read = send_chunked(&rig, &secret, &chunks(2_000_000, 64));
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
    let before = rig.mock.requests();
    let read = send_chunked(&rig, &secret, &chunks(400_000, 1));
    assert!(read.starts_with("HTTP/1.1 400"), "{read}");
    assert_eq!(rig.events(3)[2].outcome, Outcome::Refused(Refusal::BadHttp));
    assert_eq!(rig.mock.requests(), before);
    rig.check_settled(1, &secret);
}

#[test]
fn what_stands_around_chunks_is_bounded() {
    let rig = rig();
    let secret = rig.key();
    let size = format!("{:x}", BODY.len());
    let long = "x".repeat(200_000);
    let many: String = (0..1_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let extended: String = chunks(20_000, 1).replace("1\r\n", "1;extension=value\r\n");
    for body in [
        format!("{size};{long}\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{size}\r\n{BODY}\r\n0;{long}\r\n\r\n"),
        format!("{size}\r\n{BODY}\r\n0\r\nx-trailer: {long}\r\n\r\n"),
        format!("{size}\r\n{BODY}\r\n0\r\n{many}\r\n"),
        extended,
    ] {
        let read = send_chunked(&rig, &secret, &body);
        let shown = &body[..60];
        assert!(read.is_empty() || read.starts_with("HTTP/1.1 4"), "{shown}: {read}");
    }
    assert_eq!(rig.mock.requests(), 0);
}

#[test]
fn heads_with_bare_line_feeds_come_out_clean() {
    let rig = rig();
    let secret = rig.key();
    let length = format!("content-length: {}", BODY.len());
    // RFC 9112 section 2.2 lets a server take a bare line feed for the end of a line. What goes on has none.
    let mut raw = rig.connect();
    raw.write(head(&secret, &[&length, "x-kept: 1"], "\n") + BODY);
    let read = raw.read_until(|read| read.contains("chatcmpl-mock"));
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
    let seen = rig.mock.seen().remove(0);
    assert_eq!((seen.header("x-kept"), seen.body_length), (Some("1"), BODY.len()));
    // A line feed can not hide a field from us that others would see.
    for hidden in ["host: other", "content-length: 5", "transfer-encoding: chunked", "x-api-key: other"] {
        let field = format!("x-a: b\n{hidden}");
        let mut raw = rig.connect();
        raw.write(head(&secret, &[&length, &field], "\r\n") + BODY);
        let read = raw.read_until(|read| read.contains("\r\n\r\n"));
        let is_clean = read.starts_with("HTTP/1.1 200") && hidden.starts_with("transfer-encoding");
        assert!(read.starts_with("HTTP/1.1 4") || is_clean, "{hidden}: {read}");
    }
    assert!(rig.mock.seen().iter().all(|seen| seen.header("transfer-encoding").is_none()));
}
