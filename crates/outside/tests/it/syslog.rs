//! Syslog receivers over every transport.

use tokenwatch_model::alert::Message;
use tokenwatch_outside::Carrier;
use tokio::io::AsyncReadExt as _;
use tokio::net::{UdpSocket, UnixDatagram};

use crate::server::{NOW, Stream, certificates, once, try_send};

fn message() -> Message {
    Message::Syslog { priority: 35, time: NOW, kind: "opened", text: "CEF:0|…".to_owned() }
}

fn to(place: &str) -> Carrier {
    Carrier::Syslog { place: place.parse().unwrap(), host: "gate way-1".to_owned() }
}

fn want() -> String {
    format!("<35>1 2026-03-01T12:00:00.000Z gateway-1 tokenwatch {} opened - CEF:0|…", std::process::id())
}

async fn read_all(mut stream: Box<dyn Stream>) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn datagrams_hold_one_message() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let place = format!("udp://{}", socket.local_addr().unwrap());
    try_send(to(&place), &message(), None).await.unwrap();
    let mut buffer = [0; 1_024];
    let n = socket.recv(&mut buffer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer[..n]), want());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    try_send(to(&format!("unix://{}", path.display())), &message(), None).await.unwrap();
    let n = socket.recv(&mut buffer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer[..n]), want());
}

#[tokio::test]
async fn streams_count_octets_and_are_ended() {
    let counted = format!("{} {}", want().len(), want());
    let (address, got) = once(None, read_all).await;
    try_send(to(&format!("tcp://{address}")), &message(), None).await.unwrap();
    assert_eq!(got.await.unwrap().unwrap(), counted);
    let (ca, tls) = certificates();
    let (address, got) = once(Some(tls), read_all).await;
    try_send(to(&format!("tls://localhost:{}", address.port())), &message(), Some(&ca)).await.unwrap();
    assert_eq!(got.await.unwrap().unwrap(), counted);
}

#[tokio::test]
async fn a_receiver_that_is_away_is_told() {
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = try_send(to(&format!("tcp://{away}")), &message(), None).await.unwrap_err();
    assert!(error.what.starts_with(&format!("tcp://{away}: ")), "{error}");
    let (_, tls) = certificates();
    let (address, _) = once(Some(tls), read_all).await;
    let place = format!("tls://localhost:{}", address.port());
    assert!(try_send(to(&place), &message(), None).await.is_err(), "an authority that nobody trusts");
}
