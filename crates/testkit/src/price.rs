//! List prices of the models that simulated callers use, so that simulated events have a cost.
//!
//! In dollars for a million tokens: input, output, input read from a cache. As published for 2026; a model that is not
//! here costs what the dearest does, as in the gateway.

use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::usage::TokenUsage;

const PRICES: [(&str, f64, f64, f64); 26] = [
    ("gpt-4o-mini", 0.15, 0.6, 0.075),
    ("gpt-4.1-mini", 0.4, 1.6, 0.1),
    ("gpt-4.1-nano", 0.1, 0.4, 0.025),
    ("gpt-4o", 2.5, 10.0, 1.25),
    ("gpt-4.1", 2.0, 8.0, 0.5),
    ("gpt-5-nano", 0.05, 0.4, 0.005),
    ("gpt-5-mini", 0.25, 2.0, 0.025),
    ("gpt-5", 1.25, 10.0, 0.125),
    ("gpt-5.1", 1.25, 10.0, 0.125),
    ("gpt-5.4-mini", 0.75, 4.5, 0.075),
    ("gpt-5.4", 2.5, 15.0, 0.25),
    ("gpt-5.5", 5.0, 30.0, 0.5),
    ("gpt-5.5-pro", 30.0, 180.0, 30.0),
    ("o4-mini", 1.1, 4.4, 0.275),
    ("text-embedding-3-small", 0.02, 0.0, 0.02),
    ("text-embedding-3-large", 0.13, 0.0, 0.13),
    ("omni-moderation-latest", 0.0, 0.0, 0.0),
    ("claude-haiku-4-5", 1.0, 5.0, 0.1),
    ("claude-haiku-5-5", 0.1, 0.5, 0.01),
    ("claude-sonnet-4-5", 3.0, 15.0, 0.3),
    ("claude-sonnet-4-6", 3.0, 15.0, 0.3),
    ("claude-sonnet-5", 2.0, 10.0, 0.2),
    ("claude-opus-4-8", 5.0, 25.0, 0.5),
    ("claude-opus-5", 5.0, 25.0, 0.5),
    ("claude-fable-5", 10.0, 50.0, 1.0),
    ("claude-mythos-5", 10.0, 50.0, 1.0),
];

/// The price of one model in billionths of a dollar a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelPrice {
    input: f64,
    output: f64,
    cache_read: f64,
}

impl ModelPrice {
    /// The price of a model; the dearest there is when it is not known, nothing for no model.
    pub fn of(model: &str) -> Self {
        if model.is_empty() {
            return Self { input: 0.0, output: 0.0, cache_read: 0.0 };
        }
        let (_, input, output, cache_read) =
            PRICES.iter().find(|price| price.0 == model).copied().unwrap_or(("", 30.0, 180.0, 30.0));
        // Dollars a million tokens are thousands of billionths a token.
        Self { input: input * 1e3, output: output * 1e3, cache_read: cache_read * 1e3 }
    }

    /// What these tokens cost.
    pub fn cost(&self, usage: &TokenUsage) -> NanoUsd {
        let tokens = |count: u64, price: f64| count as f64 * price;
        let dollars = tokens(usage.input, self.input)
            + tokens(usage.cache_read, self.cache_read)
            + tokens(usage.cache_write, self.input * 1.25)
            + tokens(usage.cache_write_1h, self.input * 2.0)
            + tokens(usage.output, self.output);
        NanoUsd(dollars as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_tokens_cost_what_is_published() {
        let usage = TokenUsage {
            input: 1_000_000,
            output: 1_000_000,
            cache_read: 1_000_000,
            ..TokenUsage::default()
        };
        let cost = |model: &str| ModelPrice::of(model).cost(&usage).dollars();
        assert!((cost("gpt-4o-mini") - 0.825).abs() < 1e-9);
        assert!((cost("claude-opus-5") - 30.5).abs() < 1e-9);
        assert_eq!(cost(""), 0.0);
        assert!(PRICES.iter().all(|price| cost(price.0) <= cost("a model of tomorrow")));
    }
}
