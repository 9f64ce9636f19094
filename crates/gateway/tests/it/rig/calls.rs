//! Requests, and connections on which bytes of any kind are written.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tokenwatch_model::secret::Secret;

use super::PATIENCE;

/// A chat request body.
pub(crate) fn chat(fields: &Value) -> Value {
    let mut body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]});
    merge(&mut body, fields);
    body
}

/// A message request body, Anthropic's.
pub(crate) fn message(fields: &Value) -> Value {
    let mut body = json!({"model": "claude-haiku-4-5", "max_tokens": 64,
        "messages": [{"role": "user", "content": "Say hello."}]});
    merge(&mut body, fields);
    body
}

fn merge(body: &mut Value, fields: &Value) {
    for (name, value) in fields.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
}

pub(crate) fn get(path: &str, secret: &Secret) -> Request<Full<Bytes>> {
    Request::get(path)
        .header("authorization", format!("Bearer {}", secret.expose()))
        .body(Full::default())
        .unwrap()
}

/// A JSON request with the credential where its dialect has it.
pub(crate) fn post(path: &str, body: &Value, secret: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    post_bytes(path, body.to_string().into_bytes(), secret, headers)
}

pub(crate) fn post_bytes(
    path: &str,
    body: Vec<u8>,
    secret: &str,
    headers: &[(&str, &str)],
) -> Request<Full<Bytes>> {
    let mut builder = Request::post(path).header("content-type", "application/json");
    builder = if path.contains("/messages") {
        builder.header("x-api-key", secret).header("anthropic-version", "2023-06-01")
    } else {
        builder.header("authorization", format!("Bearer {secret}"))
    };
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body.into())).unwrap()
}

/// `code` of an error body in either dialect.
pub(crate) fn error_code(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    let code = error["code"].as_str().or_else(|| error["details"]["error_code"].as_str());
    code.unwrap_or_default().to_owned()
}

/// Everything an answer says, for looking for secrets.
pub(crate) fn everything(headers: &HeaderMap, body: &[u8]) -> String {
    format!("{headers:?} {}", String::from_utf8_lossy(body))
}

/// A connection on which a test writes bytes of its choice.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Writes; a peer that is gone already is no failure.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.0.write_all(bytes.as_ref());
        self
    }

    /// Reads until `enough` of what came so far, or the end.
    pub(crate) fn read_until(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        while !enough(&String::from_utf8_lossy(&all)) {
            match self.0.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(n) => all.extend_from_slice(&buffer[..n]),
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Reads to the end of the connection.
    pub(crate) fn read_all(&mut self) -> String {
        self.read_until(|_| false)
    }
}

/// A raw request with `Content-Length`.
pub(crate) fn raw_post(path: &str, secret: &Secret, body: &str, headers: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n{headers}\r\n{body}",
        secret.expose(),
        body.len()
    )
}

/// For assertions about a value's printed form.
pub(crate) fn printed(value: &impl Debug) -> String {
    format!("{value:?}")
}
