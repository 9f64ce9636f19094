//! What arrived: for tests that assert which bytes reached the provider.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::http::request::Parts;
use memchr::memmem;
use sha2::{Digest, Sha256};

/// What to remember of requests. The number is how many; the oldest are forgotten first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Recording {
    /// Nothing.
    #[default]
    Off,
    /// Heads, and length and hash of the body.
    Heads(usize),
    /// The body as well.
    Bodies(usize),
}

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// Its headers in order of arrival by name; names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Length of the body in bytes.
    pub body_length: usize,
    /// SHA-256 of the body.
    pub body_sha256: [u8; 32],
    /// The body, when it is recorded.
    pub body: Option<Bytes>,
}

impl Seen {
    fn new(parts: &Parts, body: &Bytes, keep_body: bool) -> Self {
        let path = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
        Self {
            method: parts.method.to_string(),
            path,
            version: format!("{:?}", parts.version),
            headers: parts
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect(),
            body_length: body.len(),
            body_sha256: Sha256::digest(body).into(),
            body: keep_body.then(|| body.clone()),
        }
    }

    /// The first value of a header, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// Whether `secret` occurs anywhere: path, header values, recorded body.
    pub fn mentions(&self, secret: &str) -> bool {
        let needle = memmem::Finder::new(secret);
        let holds = |bytes: &[u8]| needle.find(bytes).is_some();
        holds(self.path.as_bytes())
            || self.headers.iter().any(|(name, value)| holds(name.as_bytes()) || holds(value))
            || self.body.as_deref().is_some_and(holds)
    }
}

/// The requests remembered.
#[derive(Debug)]
pub(crate) struct SeenLog {
    recording: Recording,
    list: Mutex<VecDeque<Seen>>,
}

impl SeenLog {
    pub(crate) fn new(recording: Recording) -> Self {
        Self { recording, list: Mutex::default() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.recording != Recording::Off
    }

    pub(crate) fn record(&self, parts: &Parts, body: &Bytes) {
        let (max, keep_body) = match self.recording {
            Recording::Off => return,
            Recording::Heads(max) => (max, false),
            Recording::Bodies(max) => (max, true),
        };
        let seen = Seen::new(parts, body, keep_body);
        let mut list = self.lock();
        list.push_back(seen);
        while list.len() > max {
            list.pop_front();
        }
    }

    pub(crate) fn list(&self) -> Vec<Seen> {
        self.lock().iter().cloned().collect()
    }

    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.lock()).into()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Seen>> {
        // A list of whole entries is whole even when a holder of the lock panicked.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
