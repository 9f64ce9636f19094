//! Prices of models, and what tokens cost.
//!
//! Invariants:
//! * What is not known is never free: it is priced at the provider's dearest rates, and says so.
//! * Costs are exact: trillionths of a dollar summed as integers, rounded up once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use tokenwatch_model::money::{NanoUsd, PicoUsdPerToken, round_up};
use tokenwatch_model::usage::{PriceSource, TokenUsage};

mod find;
#[cfg(test)]
mod tests;

/// When the bundled prices were collected.
const DATE: &str = "2026-11";
/// The bundled prices; see `data/README.md`.
const BUNDLED: &str = include_str!("../data/prices.csv");

/// Prices of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Price {
    /// An input token.
    pub input: PicoUsdPerToken,
    /// An output token, reasoning included.
    pub output: PicoUsdPerToken,
    /// An input token read from a cache.
    pub cache_read: PicoUsdPerToken,
    /// An input token written to a cache with the usual lifetime.
    pub cache_write: PicoUsdPerToken,
    /// An input token written to a cache that lives an hour.
    pub cache_write_1h: PicoUsdPerToken,
}

impl Price {
    /// A price from the two figures everybody publishes: cached tokens cost as much as others, an hour in the
    /// cache twice that.
    pub const fn new(input: PicoUsdPerToken, output: PicoUsdPerToken) -> Self {
        Self {
            input,
            output,
            cache_read: input,
            cache_write: input,
            cache_write_1h: PicoUsdPerToken(input.0.saturating_mul(2)),
        }
    }

    /// Whether nothing costs anything.
    pub const fn is_free(&self) -> bool {
        let Self { input, output, cache_read, cache_write, cache_write_1h } = self;
        input.0 == 0 && output.0 == 0 && cache_read.0 == 0 && cache_write.0 == 0 && cache_write_1h.0 == 0
    }

    /// What the same tokens cost in a batch: half, at both vendors (their pricing pages, 2026-11), rounded up.
    #[must_use]
    pub const fn in_batch(self) -> Self {
        const fn half(price: PicoUsdPerToken) -> PicoUsdPerToken {
            PicoUsdPerToken(price.0.div_ceil(2))
        }
        Self {
            input: half(self.input),
            output: half(self.output),
            cache_read: half(self.cache_read),
            cache_write: half(self.cache_write),
            cache_write_1h: half(self.cache_write_1h),
        }
    }

    /// The higher rate of each kind.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
        }
    }
}

/// What tokens cost.
pub fn cost(usage: &TokenUsage, price: &Price) -> NanoUsd {
    let TokenUsage { input, cache_read, cache_write, cache_write_1h, output, reasoning: _ } = *usage;
    round_up(
        [
            price.input.times(input),
            price.cache_read.times(cache_read),
            price.cache_write.times(cache_write),
            price.cache_write_1h.times(cache_write_1h),
            price.output.times(output),
        ]
        .into_iter()
        .fold(0, u128::saturating_add),
    )
}

/// The most a request can cost, given its input estimate and the most output it may have; what a budget
/// reserves. Writes to an hour-long cache, which must be asked for, are not assumed.
pub fn worst_case(input_estimate: u64, output_max: u64, price: &Price) -> NanoUsd {
    let input = price.input.max(price.cache_write);
    round_up(input.times(input_estimate).saturating_add(price.output.times(output_max)))
}

/// Prices by provider and model.
#[derive(Clone, Debug, Default)]
pub struct PriceTable {
    providers: HashMap<Cow<'static, str>, Provider>,
    dearest: Price,
}

#[derive(Clone, Debug, Default)]
struct Provider {
    models: HashMap<Cow<'static, str>, Price>,
    /// The highest rate of each kind.
    dearest: Price,
    /// Stands for every model that has no price of its own.
    default: Option<Price>,
}

impl PriceTable {
    /// The model name that sets the price of all models of a provider without one of their own.
    pub const ANY: &'static str = "*";

    /// The prices that come with this version.
    pub fn bundled() -> &'static Self {
        static TABLE: OnceLock<PriceTable> = OnceLock::new();
        TABLE.get_or_init(|| {
            let mut table = Self::default();
            BUNDLED.lines().skip(1).filter_map(parse_row).for_each(|row| table.insert_row(row));
            table
        })
    }

    /// When the bundled prices were collected, as `year-month`.
    pub const fn date(&self) -> &'static str {
        DATE
    }

    /// How many models have a price.
    pub fn len(&self) -> usize {
        self.providers.values().map(|provider| provider.models.len()).sum()
    }

    /// Whether no model has a price.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The table with the operator's price for a model, or with [`PriceTable::ANY`] for all models of the
    /// provider that have none.
    #[must_use]
    pub fn with_override(mut self, provider: &str, model: &str, price: Price) -> Self {
        let entry = self.providers.entry(Cow::Owned(provider.to_owned())).or_default();
        if model == Self::ANY {
            entry.default = Some(price);
        } else {
            entry.models.insert(Cow::Owned(model.to_owned()), price);
        }
        entry.dearest = entry.dearest.max(price);
        self.dearest = self.dearest.max(price);
        self
    }

    fn insert_row(&mut self, row: Row) {
        let provider = self.providers.entry(Cow::Borrowed(row.provider)).or_default();
        provider.models.insert(Cow::Borrowed(row.model), row.price);
        provider.dearest = provider.dearest.max(row.price);
        self.dearest = self.dearest.max(row.price);
    }
}

struct Row {
    provider: &'static str,
    model: &'static str,
    price: Price,
}

/// `provider,model,input,output,cache_read,cache_write,mode`, in dollars for a million tokens.
fn parse_row(line: &'static str) -> Option<Row> {
    let mut fields = line.split(',');
    let (provider, model) = (fields.next()?, fields.next()?);
    let price = Price::new(parse_rate(fields.next()?)?, parse_rate(fields.next()?)?);
    let cache_read = parse_rate(fields.next()?).unwrap_or(price.cache_read);
    let cache_write = parse_rate(fields.next()?).unwrap_or(price.cache_write);
    Some(Row { provider, model, price: Price { cache_read, cache_write, ..price } })
}

/// Dollars for a million tokens, exactly; `None` when the field is empty or no decimal number.
fn parse_rate(text: &str) -> Option<PicoUsdPerToken> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_decimal = (whole.len() + fraction.len() > 0) && fraction.len() <= 6;
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_decimal || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let digits = |part: &str| if part.is_empty() { Some(0) } else { part.parse::<u64>().ok() };
    let scale = 10u64.checked_pow(6 - u32::try_from(fraction.len()).ok()?)?;
    let whole = digits(whole)?.checked_mul(1_000_000)?;
    whole.checked_add(digits(fraction)?.checked_mul(scale)?).map(PicoUsdPerToken)
}

impl PriceTable {
    /// The price of a model, and how it was found: its own; that of the same model under another name (alias,
    /// date or region removed, or the longest known name it begins with); else the provider's dearest rates.
    /// For a provider without prices the two vendors' own tables are tried first.
    pub fn find(&self, provider: &str, model: &str) -> (Price, PriceSource) {
        if let Some(known) = self.providers.get(provider) {
            if let Some(price) = known.models.get(model) {
                return (*price, PriceSource::Exact);
            }
            // An operator's word for the whole provider goes before any guess of ours.
            if let Some(price) = known.default {
                return (price, PriceSource::Exact);
            }
            let similar = find::similar(&known.models, model).or_else(|| self.find_alias(model));
            return similar
                .map_or((known.dearest, PriceSource::Dearest), |price| (price, PriceSource::Similar));
        }
        ["openai", "anthropic"]
            .into_iter()
            .filter_map(|vendor| self.providers.get(vendor))
            .find_map(|vendor| {
                vendor.models.get(model).copied().or_else(|| find::similar(&vendor.models, model))
            })
            .or_else(|| self.find_alias(model))
            .map_or((self.dearest, PriceSource::Dearest), |price| (price, PriceSource::Similar))
    }

    fn find_alias(&self, model: &str) -> Option<Price> {
        let (provider, row) = find::alias(model)?;
        self.providers.get(provider)?.models.get(row).copied()
    }
}
