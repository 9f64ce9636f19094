//! The file of an OpenAI batch: one request a line, read as it arrives, for what all of them can cost at most.
//!
//! Invariants: a file gives the same totals however it is cut into pieces; no more than one line is held; a line that can not be
//! read ends it all, because what is not read can not be priced.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use smol_str::SmolStr;
use tokenwatch_model::provider::{Dialect, Endpoint};

use crate::request::{self, MODELS_MAX, ShapeKey};
use crate::route;

/// What the requests of a batch come to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BatchTotals {
    /// How many there are.
    pub requests: u64,
    /// Their input tokens, estimated.
    pub input_tokens: u64,
    /// Most output tokens of those that set a limit.
    pub output_tokens_stated: u64,
    /// Answers, over all requests, that set none.
    pub outputs_unlimited: u64,
    /// Their models, each once.
    pub models: Vec<SmolStr>,
    /// What they call, each once.
    pub endpoints: Vec<Endpoint>,
}

/// Why a file can not be priced: a sentence for the client, without any content of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadBatchError {
    /// A line is not a request.
    #[error("line {line} of the batch's file is no request: {what}")]
    Line {
        /// Which, counted from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// A line is longer than a body may be.
    #[error("line {line} of the batch's file is longer than the {max} bytes allowed")]
    Long {
        /// Which.
        line: u64,
        /// How long it may be.
        max: usize,
    },
    /// More models than are looked at.
    #[error("the batch's file names more than {MODELS_MAX} models")]
    Models,
}

/// One line.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// Reads a file as it arrives.
pub struct BatchReader<'a> {
    key: &'a ShapeKey,
    line_max: usize,
    /// The line that has begun.
    held: Vec<u8>,
    line: u64,
    totals: BatchTotals,
}

impl<'a> BatchReader<'a> {
    /// For lines of at most `line_max` bytes.
    pub fn new(key: &'a ShapeKey, line_max: usize) -> Self {
        Self { key, line_max, held: Vec::new(), line: 1, totals: BatchTotals::default() }
    }

    /// Takes in a piece.
    ///
    /// # Errors
    ///
    /// See [`ReadBatchError`].
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), ReadBatchError> {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (head, rest) = piece.split_at(end);
            self.hold(head)?;
            self.end_line()?;
            piece = rest.get(1..).unwrap_or_default();
        }
        self.hold(piece)
    }

    /// The file is whole.
    ///
    /// # Errors
    ///
    /// See [`ReadBatchError`].
    pub fn finish(mut self) -> Result<BatchTotals, ReadBatchError> {
        self.end_line()?;
        Ok(self.totals)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), ReadBatchError> {
        if self.held.len() + bytes.len() > self.line_max {
            return Err(ReadBatchError::Long { line: self.line, max: self.line_max });
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), ReadBatchError> {
        let held = std::mem::take(&mut self.held);
        if !held.trim_ascii().is_empty() {
            self.read(&held)?;
        }
        self.held = held;
        self.held.clear();
        self.line += 1;
        Ok(())
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), ReadBatchError> {
        let wrong = |what: String| ReadBatchError::Line { line: self.line, what };
        let Line { url, body } = serde_json::from_slice(bytes)
            .map_err(|error| wrong(format!("not an object with url and body (column {})", error.column())))?;
        let endpoint = route::route(Dialect::OpenAi, "POST", &url).endpoint;
        let parsed = request::parse(Dialect::OpenAi, endpoint, body.get().as_bytes(), self.key)
            .map_err(|error| wrong(error.to_string()))?;
        let totals = &mut self.totals;
        totals.requests += 1;
        totals.input_tokens = totals.input_tokens.saturating_add(parsed.input_tokens_estimate);
        if !matches!(endpoint, Endpoint::Embeddings | Endpoint::Moderations) {
            totals.output_tokens_stated =
                totals.output_tokens_stated.saturating_add(parsed.output_tokens_stated);
            totals.outputs_unlimited = totals.outputs_unlimited.saturating_add(parsed.outputs_unlimited);
        }
        if !totals.endpoints.contains(&endpoint) {
            totals.endpoints.push(endpoint);
        }
        for model in std::iter::once(parsed.model).chain(parsed.further_models) {
            if !totals.models.contains(&model) {
                if totals.models.len() >= MODELS_MAX {
                    return Err(ReadBatchError::Models);
                }
                totals.models.push(model);
            }
        }
        Ok(())
    }
}

/// The file that a call makes a batch of; `None` when it names none.
pub fn input_file(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Create {
        input_file_id: String,
    }
    serde_json::from_slice::<Create>(body).ok().map(|create| create.input_file_id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = concat!(
        r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o-mini","#,
        r#""messages":[{"role":"user","content":"one two three"}],"max_tokens":50}}"#,
        "\n\n",
        r#"{"custom_id":"b","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o","n":2,"#,
        r#""messages":[{"role":"user","content":"four"}]}}"#,
        "\r\n",
        r#"{"custom_id":"c","method":"POST","url":"/v1/embeddings","body":{"model":"text-embedding-3-small","input":"five six"}}"#,
    );

    fn read(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<BatchTotals, ReadBatchError> {
        let key = ShapeKey::new([1; 16]);
        let mut reader = BatchReader::new(&key, 1_000);
        for piece in pieces {
            reader.push(piece.as_ref())?;
        }
        reader.finish()
    }

    #[test]
    fn all_requests_count_at_their_worst() {
        let totals = read([FILE]).unwrap();
        assert_eq!((totals.requests, totals.output_tokens_stated, totals.outputs_unlimited), (3, 50, 2));
        assert!((5..40).contains(&totals.input_tokens), "{totals:?}");
        assert_eq!(totals.models, ["gpt-4o-mini", "gpt-4o", "text-embedding-3-small"]);
        assert_eq!(totals.endpoints, [Endpoint::ChatCompletions, Endpoint::Embeddings]);
        assert_eq!(read([""]).unwrap(), BatchTotals::default());
    }

    #[track_caller]
    fn check_wrong(file: &str, want: &str) {
        let error = read([file]).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn what_can_not_be_read_is_told_by_its_line() {
        check_wrong("{}", "line 1 of the batch's file is no request: not an object with url and body");
        check_wrong(&format!("{}\nnonsense", FILE.lines().next().unwrap()), "line 2");
        check_wrong(r#"{"url":"/v1/chat/completions","body":[1]}"#, "line 1");
        check_wrong(
            &format!(r#"{{"url":"/v1/chat/completions","body":{{"model":"{}"}}}}"#, "m".repeat(2_000)),
            "longer than the 1000 bytes",
        );
    }

    #[test]
    fn the_file_of_a_batch_is_found() {
        assert_eq!(
            input_file(br#"{"input_file_id":"file-1","endpoint":"/v1/x"}"#).as_deref(),
            Some("file-1")
        );
        assert_eq!(input_file(b"{}"), None);
        assert_eq!(input_file(br#"{"input_file_id":"a","input_file_id":"b"}"#), None);
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(cuts in prop::collection::vec(0..FILE.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, FILE.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &FILE.as_bytes()[pair[0]..pair[1]]);
            prop_assert_eq!(read(pieces), read([FILE]));
        }
    }
}
