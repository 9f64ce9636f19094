//! Token counts of one request, in one disjoint form for every provider.

use serde::{Deserialize, Serialize};

/// Tokens by how they are billed. The fields are disjoint: OpenAI's `cached_tokens`, which are part of its
/// prompt tokens, are subtracted; Anthropic's are disjoint already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Input tokens billed at the full input price.
    pub input: u64,
    /// Input tokens read from a prompt cache.
    pub cache_read: u64,
    /// Input tokens written to a prompt cache with the provider's usual lifetime.
    pub cache_write: u64,
    /// Input tokens written to a prompt cache that lives an hour (Anthropic, twice the input price).
    pub cache_write_1h: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Of the output tokens, those spent on reasoning.
    pub reasoning: u64,
}

impl TokenUsage {
    /// All input tokens, cached or not.
    pub const fn input_total(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.cache_write_1h)
    }

    /// Input and output tokens.
    pub const fn total(&self) -> u64 {
        self.input_total().saturating_add(self.output)
    }
}

/// Where the counts come from. New variants are appended: the order is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// Nothing was consumed: the request was refused or failed before the provider did any work.
    #[default]
    None,
    /// The provider reported them.
    Provider,
    /// Estimated from bytes, because the provider reported nothing or the answer ended early.
    Estimated,
}

/// How the price was found. New variants are appended: the order is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceSource {
    /// Nothing to price.
    #[default]
    None,
    /// The model's own price.
    Exact,
    /// The price of the same model under another name: date suffix or region prefix removed.
    Similar,
    /// Unknown model: priced at the provider's dearest rate.
    Dearest,
}
