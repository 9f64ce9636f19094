//! One simulated request: everything a gateway or an engine is to see of it, and the truth about who sent it.

use std::net::IpAddr;

use hyper::Method;
use tokenwatch_model::SmolStr;
use tokenwatch_model::client::Client;
use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_model::usage::TokenUsage;

use crate::theft::Theft;

/// Who really sent a request; detectors never see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// The key's owner.
    Owner,
    /// A thief, by this theft.
    Thief(Theft),
}

impl Label {
    /// Whether a thief sent it.
    pub const fn is_theft(self) -> bool {
        matches!(self, Self::Thief(_))
    }
}

/// Token counts of a request, dictated to the mock provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tokens {
    /// All input tokens.
    pub input: u32,
    /// Of those, how many the provider reads from its cache.
    pub cached: u32,
    /// Output tokens.
    pub output: u32,
}

/// A simulated request.
#[derive(Clone, Debug, PartialEq)]
pub struct SimRequest {
    /// When it is sent, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Where it comes from.
    pub source: IpAddr,
    /// Method.
    pub method: Method,
    /// Path.
    pub path: &'static str,
    /// Headers as the client software sends them: no credential, no `x-forwarded-for`, no length.
    pub headers: Vec<(String, String)>,
    /// The protocol it speaks.
    pub dialect: Dialect,
    /// What it calls.
    pub endpoint: Endpoint,
    /// Model it asks for; empty when the endpoint has none.
    pub model: SmolStr,
    /// Whether it asks for a stream.
    pub stream: bool,
    /// Most output tokens it allows; 0 when it sets no limit.
    pub output_tokens_max: u32,
    /// Valid JSON; empty for `GET`.
    pub body: Vec<u8>,
    /// What it consumes.
    pub tokens: Tokens,
    /// The status a provider answers with.
    pub status: u16,
    /// What a correct reader makes of the headers.
    pub client: Client,
    /// The truth.
    pub label: Label,
}

impl SimRequest {
    /// What it consumes, as a provider reports it.
    pub fn usage(&self) -> TokenUsage {
        let Tokens { input, cached, output } = self.tokens;
        TokenUsage {
            input: input.saturating_sub(cached).into(),
            cache_read: cached.into(),
            output: output.into(),
            ..TokenUsage::default()
        }
    }

    /// The headers to send: the client's own, and the `x-mock-` headers that dictate tokens and
    /// refusals to [`crate::provider`].
    pub fn headers_to_send(&self) -> impl Iterator<Item = (&str, String)> {
        let Tokens { input, cached, output } = self.tokens;
        let dictated = [
            ("x-mock-input-tokens", input),
            ("x-mock-cached-tokens", cached),
            ("x-mock-output-tokens", output),
        ];
        let billed = self.status == 200 && !self.body.is_empty();
        // Which models a key may use is the provider's to say.
        let denied = self.status == 403 && !self.body.is_empty();
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .chain(dictated.into_iter().filter(move |_| billed).map(|(name, n)| (name, n.to_string())))
            .chain(denied.then(|| ("x-mock-fail", "403".to_owned())))
    }

    /// The value of a client header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
