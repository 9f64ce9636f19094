//! Usage objects of both dialects as [`TokenUsage`].
//!
//! Tolerant: members that are null, absent or of another kind count as zero; sums saturate. Of a member
//! that stands twice the last one wins.

use tokenwatch_model::provider::Dialect;
use tokenwatch_model::usage::TokenUsage;

use crate::json::{Kind, RawStr, ScanError, Scanner};

#[cfg(test)]
mod tests;

/// A usage object as written. The dialects overlap in names but never in meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct RawUsage {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    cache_creation: Option<u64>,
    reasoning: Option<u64>,
}

impl RawUsage {
    /// Takes over every count that `later` has: Anthropic's stream completes its usage event by event.
    pub(crate) fn update(&mut self, later: Self) {
        let Self { input, output, total, cached, cache_write, cache_write_1h, cache_creation, reasoning } =
            later;
        self.input = input.or(self.input);
        self.output = output.or(self.output);
        self.total = total.or(self.total);
        self.cached = cached.or(self.cached);
        self.cache_write = cache_write.or(self.cache_write);
        self.cache_write_1h = cache_write_1h.or(self.cache_write_1h);
        self.cache_creation = cache_creation.or(self.cache_creation);
        self.reasoning = reasoning.or(self.reasoning);
    }

    /// Whether it states no tokens at all.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The counts in disjoint form; `None` when no tokens are stated at all.
    pub(crate) fn normalize(self, dialect: Dialect) -> Option<TokenUsage> {
        if self.is_empty() {
            return None;
        }
        let cache_read = self.cached.unwrap_or(0);
        let output = self.output.unwrap_or(0);
        let reasoning = self.reasoning.unwrap_or(0).min(output);
        let stated = match dialect {
            // Cached tokens are part of the input; embeddings and the like state the total alone.
            Dialect::OpenAi => {
                let input = self.input.or(self.total.map(|total| total.saturating_sub(output))).unwrap_or(0);
                let cache_read = cache_read.min(input);
                let cache_write = self.cache_write.unwrap_or(0).min(input - cache_read);
                TokenUsage {
                    input: input - cache_read - cache_write,
                    cache_read,
                    cache_write,
                    cache_write_1h: 0,
                    output,
                    reasoning,
                }
            }
            // All disjoint; the split by lifetime is newer than the total, which covers what it leaves out.
            Dialect::Anthropic => {
                let cache_write_1h = self.cache_write_1h.unwrap_or(0);
                let split = self.cache_write.unwrap_or(0);
                let rest = self.cache_creation.unwrap_or(0).saturating_sub(cache_write_1h);
                TokenUsage {
                    input: self.input.unwrap_or(0),
                    cache_read,
                    cache_write: split.max(rest),
                    cache_write_1h,
                    output,
                    reasoning,
                }
            }
        };
        Some(stated)
    }
}

/// Reads a usage object; `None` when the text is not an object or states no tokens.
pub fn read_usage(dialect: Dialect, json: &str) -> Option<TokenUsage> {
    scan_usage(&mut Scanner::new(json)).ok()?.0.normalize(dialect)
}

/// Reads the usage object, or any other value, that comes next; and the service tier, which Anthropic keeps there.
pub(crate) fn scan_usage<'a>(scan: &mut Scanner<'a>) -> Result<(RawUsage, Option<RawStr<'a>>), ScanError> {
    let (mut usage, mut tier) = (RawUsage::default(), None);
    if scan.peek()? != Kind::Object {
        scan.skip()?;
        return Ok((usage, tier));
    }
    let mut step = scan.open_object()?;
    while let Some(key) = scan.next_key(&mut step)? {
        match (key.raw, scan.peek()?) {
            ("prompt_tokens" | "input_tokens", Kind::Number) => usage.input = count(scan)?,
            ("completion_tokens" | "output_tokens", Kind::Number) => usage.output = count(scan)?,
            ("total_tokens", Kind::Number) => usage.total = count(scan)?,
            ("cache_read_input_tokens", Kind::Number) => usage.cached = count(scan)?,
            ("service_tier", Kind::String) => tier = Some(scan.string()?),
            ("cache_creation_input_tokens", Kind::Number) => usage.cache_creation = count(scan)?,
            (
                "prompt_tokens_details"
                | "input_tokens_details"
                | "completion_tokens_details"
                | "output_tokens_details"
                | "cache_creation",
                Kind::Object,
            ) => scan_details(scan, &mut usage)?,
            _ => drop(scan.skip()?),
        }
    }
    Ok((usage, tier))
}

fn scan_details(scan: &mut Scanner<'_>, usage: &mut RawUsage) -> Result<(), ScanError> {
    let mut step = scan.open_object()?;
    while let Some(key) = scan.next_key(&mut step)? {
        match (key.raw, scan.peek()?) {
            ("cached_tokens", Kind::Number) => usage.cached = count(scan)?,
            ("cache_write_tokens" | "ephemeral_5m_input_tokens", Kind::Number) => {
                usage.cache_write = count(scan)?
            }
            ("ephemeral_1h_input_tokens", Kind::Number) => usage.cache_write_1h = count(scan)?,
            ("reasoning_tokens" | "thinking_tokens", Kind::Number) => usage.reasoning = count(scan)?,
            _ => drop(scan.skip()?),
        }
    }
    Ok(())
}

/// A count. Fractions are cut off, negative numbers become zero, and what is too large saturates.
fn count(scan: &mut Scanner<'_>) -> Result<Option<u64>, ScanError> {
    let text = scan.number()?;
    // A float-to-int cast saturates.
    Ok(text.parse().ok().or_else(|| text.parse::<f64>().ok().map(|number| number as u64)))
}
