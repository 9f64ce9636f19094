//! What sent the requests of a connection: read from their headers once, and again when they say something else.
//!
//! A client sends the same few headers with every request, and reading them costs more than comparing them.

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use tokenwatch_model::client::Client;

/// The headers that are read.
static FIELDS: [HeaderName; 7] = [
    USER_AGENT,
    HeaderName::from_static("x-stainless-lang"),
    HeaderName::from_static("x-stainless-package-version"),
    HeaderName::from_static("x-stainless-runtime"),
    HeaderName::from_static("x-stainless-runtime-version"),
    HeaderName::from_static("x-stainless-os"),
    HeaderName::from_static("x-stainless-arch"),
];
/// Longest headers that are remembered, all together; longer ones are read each time.
const REMEMBERED_MAX: usize = 1_024;
/// Stands for a header that is not there: no value holds it.
const ABSENT: &[u8] = b"\n";

/// Remembers the client of a connection's latest request.
#[derive(Default)]
pub(crate) struct Sender(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    /// The values of the headers, each with a line end behind it.
    said: Box<[u8]>,
    client: Client,
}

impl Sender {
    /// The client that these headers tell of.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Client {
        let mut remembered = self.0.lock();
        if remembered.is_said_by(headers) {
            return remembered.client.clone();
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let client = tokenwatch_wire::client::client(text(USER_AGENT.as_str()), text);
        let said: Vec<u8> = values(headers).flat_map(|value| [value, b"\n"]).flatten().copied().collect();
        if said.len() <= REMEMBERED_MAX {
            *remembered = Remembered { said: said.into(), client: client.clone() };
        }
        client
    }
}

impl Remembered {
    fn is_said_by(&self, headers: &HeaderMap) -> bool {
        let mut said = &self.said[..];
        values(headers).all(|value| {
            let rest = said.strip_prefix(value).and_then(|rest| rest.strip_prefix(b"\n"));
            said = rest.unwrap_or_default();
            rest.is_some()
        })
    }
}

fn values(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    FIELDS.iter().map(|name| headers.get(name).map_or(ABSENT, |value| value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    /// What one connection's requests are taken for is what each of them alone would be.
    #[track_caller]
    fn check(requests: &[&[(&'static str, &'static str)]]) {
        let sender = Sender::default();
        for fields in requests {
            let headers = headers(fields);
            for _ in 0..2 {
                assert_eq!(sender.client(&headers), Sender::default().client(&headers), "{fields:?}");
            }
        }
    }

    #[test]
    fn each_request_is_taken_for_what_it_says() {
        let openai = [("user-agent", "OpenAI/Python 1.52.0"), ("x-stainless-os", "Linux")];
        let newer = [("user-agent", "OpenAI/Python 1.53.0"), ("x-stainless-os", "Linux")];
        let stainless = [("x-stainless-lang", "js"), ("x-stainless-runtime", "node")];
        check(&[&openai, &newer, &[], &openai, &stainless, &[("user-agent", "")], &[], &openai]);
        // Nothing runs over into its neighbour.
        check(&[
            &[("x-stainless-lang", "python"), ("x-stainless-package-version", "1.2")],
            &[("x-stainless-lang", "python1.2")],
            &[("x-stainless-package-version", "1.2")],
        ]);
    }

    #[test]
    fn long_headers_are_read_each_time() {
        let sender = Sender::default();
        let long: &'static str = "curl/8.5.0 ".repeat(200).leak();
        assert_eq!(sender.client(&headers(&[("user-agent", long)])).family, "curl");
        assert!(sender.0.lock().said.is_empty());
        assert_eq!(sender.client(&headers(&[("user-agent", "curl/8.5.0")])).version, "8.5.0");
        assert!(!sender.0.lock().said.is_empty());
    }
}
