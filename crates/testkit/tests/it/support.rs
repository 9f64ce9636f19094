//! A provider, a client, and short ways to ask.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use serde_json::Value;
use tokenwatch_model::secret::Secret;
use tokenwatch_testkit::client::{Answer, LoadClient, SendError};
use tokenwatch_testkit::provider::{MockConfig, MockProvider, Recording};
use tokio::runtime::Handle;

pub(crate) const KEY: &str = "sk-provider-real-key";

pub(crate) struct Bench {
    pub(crate) address: SocketAddr,
    pub(crate) provider: MockProvider,
    pub(crate) client: LoadClient,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(MockConfig {
            keys: vec![Secret::new(KEY)],
            recording: Recording::Bodies(100),
            ..MockConfig::default()
        })
    }

    pub(crate) fn with(config: MockConfig) -> Self {
        let (address, provider) = MockProvider::spawn(&Handle::current(), config).unwrap();
        Self { address, provider, client: LoadClient::new(address, Duration::from_secs(20)) }
    }

    /// Sends a call in OpenAI's way (`Authorization`), or in Anthropic's when the path is `/v1/messages…` or a header
    /// `anthropic-version` is given.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, SendError> {
        self.client.send_http(request(method, path, headers, body)).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.call(Method::POST, path, headers, body).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::GET, path, headers, "").await.unwrap()
    }
}

pub(crate) fn request(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Request<Full<Bytes>> {
    let anthropic =
        path.starts_with("/v1/messages") || headers.iter().any(|(name, _)| *name == "anthropic-version");
    let mut builder = Request::builder().method(method).uri(path);
    builder = if anthropic {
        builder.header("x-api-key", KEY)
    } else {
        builder.header("authorization", format!("Bearer {KEY}"))
    };
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

pub(crate) fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.text()))
}

/// Events of a stream: name (empty when there is none) and data.
pub(crate) fn events(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\r\n", "\n");
    text.split("\n\n")
        .filter_map(|block| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let data = field("data: ")?;
            Some((field("event: ").unwrap_or_default().to_owned(), data.to_owned()))
        })
        .collect()
}

/// The JSON of all events but `[DONE]`.
pub(crate) fn event_json(text: &str) -> Vec<Value> {
    events(text)
        .into_iter()
        .filter(|(_, data)| data != "[DONE]")
        .map(|(_, data)| serde_json::from_str(&data).unwrap())
        .collect()
}

pub(crate) const CHAT: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
pub(crate) const CHAT_STREAM: &str =
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
pub(crate) const CHAT_STREAM_USAGE: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}"#;
pub(crate) const MESSAGES: &str =
    r#"{"model":"claude-opus-5","max_tokens":50,"messages":[{"role":"user","content":"hi"}]}"#;
pub(crate) const MESSAGES_STREAM: &str =
    r#"{"model":"claude-opus-5","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
pub(crate) const TOKENS: [(&str, &str); 3] =
    [("x-mock-input-tokens", "1200"), ("x-mock-output-tokens", "300"), ("x-mock-cached-tokens", "1024")];
