//! What all connections of a mock provider share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::{Method, header};
use memchr::memmem;
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::time::{SECOND, Timestamp};
use tokio::sync::watch;

use super::directives::Directives;
use super::kept::Kept;
use super::openai::CREATED;
use super::seen::SeenLog;
use super::{MockConfig, anthropic};

/// How many message batches, and how many files, are kept.
const BATCHES_MAX: usize = 64;
/// Longest file that is kept.
const FILE_BYTES_MAX: usize = 1 << 20;

pub(crate) struct State {
    config: MockConfig,
    pub(crate) seen: SeenLog,
    requests: AtomicU64,
    abandoned: Arc<AtomicU64>,
    batches: Mutex<VecDeque<anthropic::Batch>>,
    files: Mutex<VecDeque<(String, Bytes)>>,
    pub(crate) kept: Kept,
    /// Closed when the provider is gone: tunnels end then.
    alive: watch::Sender<()>,
}

impl State {
    pub(crate) fn new(config: MockConfig) -> Self {
        Self {
            seen: SeenLog::new(config.recording),
            config,
            requests: AtomicU64::new(0),
            abandoned: Arc::default(),
            batches: Mutex::default(),
            files: Mutex::default(),
            kept: Kept::default(),
            alive: watch::Sender::new(()),
        }
    }

    /// Completes when the provider is gone.
    pub(crate) fn gone(&self) -> watch::Receiver<()> {
        self.alive.subscribe()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Counts as abandoned when it is dropped without being told that the answer ended.
    pub(crate) fn watch(&self) -> Watch {
        Watch(Some(Arc::clone(&self.abandoned)))
    }

    /// When what this request creates was created.
    pub(crate) fn created(&self, directives: &Directives) -> Timestamp {
        let now = self.config.clock.as_ref().map_or(Timestamp::from_seconds(CREATED), |clock| clock.now());
        Timestamp(now.0.saturating_sub(directives.age_s.saturating_mul(SECOND)))
    }

    /// The running number of a request, from 1.
    pub(crate) fn next_number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The dialect a request is answered in.
    pub(crate) fn dialect(&self, parts: &Parts) -> Dialect {
        self.config.dialect.unwrap_or_else(|| {
            let anthropic = parts.headers.contains_key("anthropic-version")
                || parts.headers.contains_key("x-api-key")
                || parts.uri.path().starts_with("/v1/messages");
            if anthropic { Dialect::Anthropic } else { Dialect::OpenAi }
        })
    }

    /// Whether the request carries a credential the provider accepts.
    pub(crate) fn accepts(&self, parts: &Parts) -> bool {
        if self.config.keys.is_empty() {
            return true;
        }
        let bearer = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let presented = bearer.or_else(|| parts.headers.get("x-api-key").map(|value| value.as_bytes()));
        presented
            .is_some_and(|presented| self.config.keys.iter().any(|key| key.expose().as_bytes() == presented))
    }

    /// The ready body, when the request may have it.
    pub(crate) fn canned_for(&self, parts: &Parts, body: &[u8]) -> Option<Bytes> {
        let canned = self.config.canned.as_ref()?;
        let plain = parts.method == Method::POST
            && memmem::find(body, b"\"stream\"").is_none()
            && !Directives::present(&parts.headers);
        plain.then(|| canned.clone())
    }

    pub(crate) fn store_batch(&self, batch: anthropic::Batch) {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.push_back(batch);
        if batches.len() > BATCHES_MAX {
            batches.pop_front();
        }
    }

    pub(crate) fn batch(&self, id: &str) -> Option<anthropic::Batch> {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.iter().find(|batch| batch.id == id).cloned()
    }
}

impl State {
    /// Keeps an uploaded file, unless it is large.
    pub(crate) fn store_file(&self, id: &str, content: Bytes) {
        if content.len() > FILE_BYTES_MAX {
            return;
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.push_back((id.to_owned(), content));
        if files.len() > BATCHES_MAX {
            files.pop_front();
        }
    }

    pub(crate) fn file(&self, id: &str) -> Option<Bytes> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.iter().find(|(of, _)| of == id).map(|(_, content)| content.clone())
    }
}

/// Notices that an answer was given up.
pub(crate) struct Watch(Option<Arc<AtomicU64>>);

impl Watch {
    /// The answer ended as it should.
    pub(crate) fn ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(abandoned) = &self.0 {
            abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}
