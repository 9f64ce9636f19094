//! The realtime endpoint sends messages back after the upgrade.

use tokenwatch_testkit::websocket::{CLOSE, Frame, accept_key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

const UPGRADE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

async fn frame(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Frame {
    loop {
        if let Some((frame, taken)) = Frame::decode(buffer).unwrap() {
            buffer.drain(..taken);
            return frame;
        }
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "the tunnel closed");
    }
}

#[tokio::test]
async fn messages_come_back() {
    let bench = Bench::new();
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    let head = format!(
        "GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nhost: mock\r\nauthorization: Bearer {KEY}\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: {UPGRADE_KEY}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = Vec::new();
    while !buffer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        buffer.extend(byte);
    }
    let head = String::from_utf8(std::mem::take(&mut buffer)).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains(&accept_key(UPGRADE_KEY)));
    for text in ["{\"type\":\"response.create\"}", &"long ".repeat(20_000)] {
        stream.write_all(&Frame::text(text).encode(Some([1, 2, 3, 4]))).await.unwrap();
        assert_eq!(frame(&mut stream, &mut buffer).await, Frame::text(text));
    }
    let close = Frame { fin: true, opcode: CLOSE, payload: vec![3, 232] };
    stream.write_all(&close.encode(Some([9; 4]))).await.unwrap();
    assert_eq!(frame(&mut stream, &mut buffer).await, close);
    assert_eq!(stream.read_buf(&mut buffer).await.unwrap(), 0);
}

#[tokio::test]
async fn a_plain_get_is_refused() {
    assert_eq!(Bench::new().get("/v1/realtime", &[]).await.status, 400);
}
