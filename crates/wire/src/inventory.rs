//! What exists at a provider: the requests that list artifacts, their answers page by page, and the requests that remove
//! one again.
//!
//! ```text
//! question ──► (the provider) ──► page ──► Listing::take ──► the next question, or the end
//! ```
//!
//! Invariants: a listing ends, whatever the provider says; what can not be read is an error and never an empty list;
//! texts are cut, and ids that are long or hold more than letters, digits and `-_.:` stand in no request.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value};
use smol_str::SmolStr;
use tokenwatch_model::artifact::{Artifact, ArtifactKind, Question};
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::time::{MINUTE, Timestamp};

mod removal;

pub use removal::removals;

/// Entries of a page: as many as every list of either dialect allows.
pub const PAGE_LEN: usize = 100;
/// Most pages of a list that are read.
pub const PAGES_MAX: usize = 50;
/// Longest id.
const ID_LEN_MAX: usize = 200;
/// Longest text that is kept, in characters.
const TEXT_CHARS_MAX: usize = 120;
/// What a provider's clock may be behind. Its times are whole seconds, too.
const CLOCK_SLACK: u64 = MINUTE;
/// From here on a number of seconds is one of milliseconds: some servers confuse them. In seconds it is the year 5138.
const MILLISECONDS_FROM: u64 = 100_000_000_000;

const ASSISTANTS: &[(&str, &str)] = &[("openai-beta", "assistants=v2")];
const ANTHROPIC: &[(&str, &str)] = &[("anthropic-version", "2023-06-01")];
const ANTHROPIC_FILES: &[(&str, &str)] =
    &[("anthropic-version", "2023-06-01"), ("anthropic-beta", "files-api-2025-04-14")];

/// The kinds of artifacts that a dialect knows.
pub const fn kinds(dialect: Dialect) -> &'static [ArtifactKind] {
    use ArtifactKind::{Assistant, Batch, File, FineTuningJob, VectorStore};
    match dialect {
        Dialect::OpenAi => &[File, FineTuningJob, Batch, Assistant, VectorStore],
        Dialect::Anthropic => &[File, Batch],
    }
}

/// Where a kind is listed, and the header fields that it takes there.
const fn place(
    dialect: Dialect,
    kind: ArtifactKind,
) -> (&'static str, &'static [(&'static str, &'static str)]) {
    match (dialect, kind) {
        (Dialect::Anthropic, ArtifactKind::Batch) => ("/v1/messages/batches", ANTHROPIC),
        (Dialect::Anthropic, _) => ("/v1/files", ANTHROPIC_FILES),
        (Dialect::OpenAi, ArtifactKind::File) => ("/v1/files", &[]),
        (Dialect::OpenAi, ArtifactKind::Batch) => ("/v1/batches", &[]),
        (Dialect::OpenAi, ArtifactKind::FineTuningJob) => ("/v1/fine_tuning/jobs", &[]),
        (Dialect::OpenAi, ArtifactKind::Assistant) => ("/v1/assistants", ASSISTANTS),
        (Dialect::OpenAi, ArtifactKind::VectorStore) => ("/v1/vector_stores", ASSISTANTS),
    }
}

/// Asks for a page of a list: the first, or the one behind an entry.
pub fn question(dialect: Dialect, kind: ArtifactKind, after: Option<&str>) -> Question {
    let (path, headers) = place(dialect, kind);
    let mut target = format!("{path}?limit={PAGE_LEN}");
    // The lists that can be sorted are asked for newest first. Of the others it is found out, see `Listing`.
    if dialect == Dialect::OpenAi && !matches!(kind, ArtifactKind::Batch | ArtifactKind::FineTuningJob) {
        target.push_str("&order=desc");
    }
    if let Some(after) = after {
        let name = if dialect == Dialect::OpenAi { "after" } else { "after_id" };
        target.push_str(&format!("&{name}={after}"));
    }
    Question { method: "GET", target, headers }
}

/// Why an answer is no page of a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadPageError {
    /// Not JSON, or no object with a list.
    #[error("its answer is no list: {0}")]
    NoList(String),
    /// An entry without what every one has.
    #[error("entry {0} of its list has no usable id")]
    NoId(usize),
    /// An entry without a time.
    #[error("entry {0} of its list does not say when it was created")]
    NoTime(usize),
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its entries, in its order.
    pub artifacts: Vec<Artifact>,
    /// Whether the provider says that there are more; nothing when it does not say.
    pub has_more: Option<bool>,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Map<String, Value>>,
    has_more: Option<bool>,
}

/// Reads a page.
///
/// # Errors
///
/// When it is no list, or an entry has no id or no time.
pub fn read_page(kind: ArtifactKind, body: &[u8]) -> Result<Page, ReadPageError> {
    // The error's own text may repeat the body, which is a stranger's.
    let list: List = serde_json::from_slice(body).map_err(|error| {
        let what = if error.is_data() { "it has another form" } else { "it is not JSON" };
        ReadPageError::NoList(what.to_owned())
    })?;
    let read = |(i, entry): (usize, &Map<String, Value>)| read_entry(kind, i + 1, entry);
    let artifacts: Result<Vec<Artifact>, ReadPageError> = list.data.iter().enumerate().map(read).collect();
    Ok(Page { artifacts: artifacts?, has_more: list.has_more })
}

fn read_entry(
    kind: ArtifactKind,
    number: usize,
    entry: &Map<String, Value>,
) -> Result<Artifact, ReadPageError> {
    let id = entry.get("id").and_then(Value::as_str);
    let id = id.filter(|id| !id.is_empty() && id.len() <= ID_LEN_MAX).ok_or(ReadPageError::NoId(number))?;
    let created = entry.get("created_at").and_then(read_time).ok_or(ReadPageError::NoTime(number))?;
    let status = match kind {
        ArtifactKind::Batch => text(entry, "status").or_else(|| text(entry, "processing_status")),
        _ => text(entry, "status"),
    };
    let made = match kind {
        ArtifactKind::FineTuningJob => text(entry, "fine_tuned_model"),
        ArtifactKind::Batch => text(entry, "output_file_id"),
        _ => None,
    };
    Ok(Artifact {
        kind,
        id: id.into(),
        created,
        what: describe(kind, entry),
        status: status.unwrap_or_default().into(),
        made: made.unwrap_or_default().into(),
    })
}

/// Seconds since 1970, as OpenAI says it, or RFC 3339, as Anthropic does.
fn read_time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => {
            // Some servers write seconds with a fraction.
            let whole = number.as_u64().or_else(|| {
                let seconds = number.as_f64().filter(|seconds| (0.0..1e18).contains(seconds))?;
                Some(seconds as u64)
            })?;
            match whole {
                MILLISECONDS_FROM.. => Some(Timestamp::from_ms(whole)),
                _ => Some(Timestamp::from_seconds(whole)),
            }
        }
        _ => None,
    }
}

/// A text of an entry, cut; nothing where it is missing, empty or of another type.
fn text(entry: &Map<String, Value>, name: &str) -> Option<String> {
    let text = entry.get(name)?.as_str().filter(|text| !text.is_empty())?;
    Some(text.chars().take(TEXT_CHARS_MAX).collect())
}

/// What a person recognises an artifact by.
fn describe(kind: ArtifactKind, entry: &Map<String, Value>) -> String {
    let said = |label: &str, name: &str| text(entry, name).map(|text| format!("{label}{text}"));
    let number = |name: &str, unit: &str| entry.get(name)?.as_u64().map(|n| format!("{n} {unit}"));
    let requests = || {
        let counts = entry.get("request_counts")?.as_object()?;
        // OpenAI has a total, Anthropic the numbers that make it.
        let total = counts.get("total").and_then(Value::as_u64);
        let sum = || counts.values().filter_map(Value::as_u64).fold(0, u64::saturating_add);
        Some(format!("{} requests", total.unwrap_or_else(sum)))
    };
    let parts = match kind {
        ArtifactKind::File => vec![
            said("", "filename"),
            said("purpose ", "purpose"),
            said("", "mime_type"),
            number("bytes", "bytes").or_else(|| number("size_bytes", "bytes")),
        ],
        ArtifactKind::Batch => {
            vec![said("", "endpoint"), said("model ", "model"), said("of ", "input_file_id"), requests()]
        }
        ArtifactKind::FineTuningJob => {
            vec![said("model ", "model"), said("of ", "training_file"), said("made ", "fine_tuned_model")]
        }
        ArtifactKind::Assistant => vec![said("", "name"), said("model ", "model")],
        ArtifactKind::VectorStore => vec![said("", "name"), number("usage_bytes", "bytes")],
    };
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Whether an id may stand in an address and in a command.
pub(crate) fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
}

/// What comes after a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The page behind this entry.
    After(SmolStr),
    /// Nothing: the list was read as far as it matters.
    Whole,
    /// Nothing: it can not be read to its end.
    Broken(&'static str),
}

/// Reads a list until its end, or until everything further is older than what is looked for.
///
/// Lists are sorted newest first, as far as providers say; not all do. So reading stops at a page that is old from its
/// first to its last entry only while the list has come down in time and never gone up.
#[derive(Clone, Debug)]
pub struct Listing {
    since: Timestamp,
    until: Option<Timestamp>,
    found: Vec<Artifact>,
    seen: HashSet<SmolStr>,
    pages: usize,
    last: Option<Timestamp>,
    falls: bool,
    rises: bool,
}

impl Listing {
    /// Looks for what was created since a time, and until another where there is one. A provider's clock that is a minute
    /// off is allowed for.
    pub fn new(since: Timestamp, until: Option<Timestamp>) -> Self {
        Self {
            since: Timestamp(since.0.saturating_sub(CLOCK_SLACK)),
            until: until.map(|until| until.plus(CLOCK_SLACK)),
            found: Vec::new(),
            seen: HashSet::new(),
            pages: 0,
            last: None,
            falls: false,
            rises: false,
        }
    }

    /// What was found so far, in the list's order.
    pub fn found(self) -> Vec<Artifact> {
        self.found
    }

    /// Takes a page; what is to be asked next.
    pub fn take(&mut self, page: Page) -> Next {
        self.pages += 1;
        let len = page.artifacts.len();
        let (mut is_old, mut is_new) = (true, false);
        let last = page.artifacts.last().map(|artifact| artifact.id.clone());
        for artifact in page.artifacts {
            self.falls |= self.last.is_some_and(|last| artifact.created < last);
            self.rises |= self.last.is_some_and(|last| artifact.created > last);
            self.last = Some(artifact.created);
            is_old &= artifact.created < self.since;
            if !self.seen.insert(artifact.id.clone()) {
                continue;
            }
            is_new = true;
            if artifact.created >= self.since && self.until.is_none_or(|until| artifact.created <= until) {
                self.found.push(artifact);
            }
        }
        // Without a word on it, a page that is not full is the last.
        let is_last = !page.has_more.unwrap_or(len >= PAGE_LEN);
        match last {
            _ if is_last || (is_old && self.falls && !self.rises) => Next::Whole,
            // A server that does not know pages gives the same one for ever.
            _ if !is_new && page.has_more.is_none() => Next::Whole,
            _ if !is_new => Next::Broken("its list repeats itself"),
            _ if self.pages >= PAGES_MAX => Next::Broken("its list is longer than 5,000 entries"),
            Some(id) if is_plain(&id) => Next::After(id),
            _ => Next::Broken("its list can not be read on: the last id is not plain"),
        }
    }
}

/// What a provider says is wrong, of an answer that is an error; nothing when it says nothing readable.
pub fn complaint(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let message = match &body["error"] {
        Value::String(text) => text,
        error => error["message"].as_str().or_else(|| body["message"].as_str())?,
    };
    Some(message.chars().take(TEXT_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests;
