//! The realtime endpoint: a WebSocket that sends every message back.

use bytes::{Buf, BytesMut};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::answer::Call;
use super::ask::Refused;
use super::reply::Reply;
use crate::websocket::{self, Frame};

/// Answers the upgrade and starts the echo.
pub(crate) fn upgrade(call: Call<'_>) -> Result<Response<Reply>, Refused> {
    const NOT_WEBSOCKET: Refused = (StatusCode::BAD_REQUEST, "This endpoint requires a WebSocket upgrade.");
    let headers = &call.parts.headers;
    let key = header_text(headers, "sec-websocket-key").ok_or(NOT_WEBSOCKET)?;
    let wanted = header_text(headers, "upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let accept = HeaderValue::try_from(websocket::accept_key(key)).map_err(|_| NOT_WEBSOCKET)?;
    let protocol = header_text(headers, "sec-websocket-protocol")
        .and_then(|offered| offered.split(',').map(str::trim).find(|name| *name == "realtime"))
        .map(|_| HeaderValue::from_static("realtime"));
    let pending = call.parts.extensions.remove::<OnUpgrade>().filter(|_| wanted).ok_or(NOT_WEBSOCKET)?;
    tokio::spawn(echo(pending, call.state.gone()));
    let mut response = Response::new(Reply::Whole(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response)
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn echo(pending: OnUpgrade, mut gone: watch::Receiver<()>) {
    let Ok(upgraded) = pending.await else { return };
    let mut stream = TokioIo::new(upgraded);
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        let read = tokio::select! {
            read = stream.read_buf(&mut buffer) => read,
            _ = gone.changed() => return,
        };
        if !matches!(read, Ok(n) if n > 0) {
            return;
        }
        while let Some((mut frame, taken)) = match Frame::decode(&buffer) {
            Ok(decoded) => decoded,
            Err(_) => return,
        } {
            buffer.advance(taken);
            let closing = frame.opcode == websocket::CLOSE;
            if frame.opcode == websocket::PING {
                frame.opcode = websocket::PONG;
            }
            if stream.write_all(&frame.encode(None)).await.is_err() || closing {
                // The other side is gone or going; nothing is left to say.
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}
