//! Limits (requests, tokens, concurrency) and budgets (money), with inheritance from the owner.

use serde::{Deserialize, Serialize};

use crate::money::NanoUsd;

/// A limit that was hit. New variants are appended: the order is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Requests in a minute.
    RequestsPerMinute,
    /// Requests in an hour.
    RequestsPerHour,
    /// Requests in a day.
    RequestsPerDay,
    /// Tokens in a minute.
    TokensPerMinute,
    /// Tokens in an hour.
    TokensPerHour,
    /// Tokens in a day.
    TokensPerDay,
    /// Requests at the same time.
    Concurrency,
}

impl LimitKind {
    /// Stable machine-readable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests_per_minute",
            Self::RequestsPerHour => "requests_per_hour",
            Self::RequestsPerDay => "requests_per_day",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::TokensPerHour => "tokens_per_hour",
            Self::TokensPerDay => "tokens_per_day",
            Self::Concurrency => "concurrency",
        }
    }
}

/// A budget that was used up. New variants are appended: the order is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetWindow {
    /// A UTC day.
    Day,
    /// A UTC calendar month.
    Month,
    /// The key's whole life.
    Total,
}

impl BudgetWindow {
    /// Stable machine-readable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Day => "budget_day",
            Self::Month => "budget_month",
            Self::Total => "budget_total",
        }
    }
}

/// Limits of a key or the defaults of an owner. `None` inherits; [`Limits::UNLIMITED`] lifts.
///
/// Windows slide: a request counts against the last 60 seconds, 60 minutes, 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Most requests in an hour.
    pub requests_per_hour: Option<u64>,
    /// Most requests in a day.
    pub requests_per_day: Option<u64>,
    /// Most tokens (input and output) in a minute.
    pub tokens_per_minute: Option<u64>,
    /// Most tokens in an hour.
    pub tokens_per_hour: Option<u64>,
    /// Most tokens in a day.
    pub tokens_per_day: Option<u64>,
    /// Most requests at the same time.
    pub concurrency: Option<u64>,
}

impl Limits {
    /// Stands for "no limit" where `None` would inherit one.
    pub const UNLIMITED: u64 = u64::MAX;

    /// Fills what is not set from `defaults`.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        Self {
            requests_per_minute: self.requests_per_minute.or(defaults.requests_per_minute),
            requests_per_hour: self.requests_per_hour.or(defaults.requests_per_hour),
            requests_per_day: self.requests_per_day.or(defaults.requests_per_day),
            tokens_per_minute: self.tokens_per_minute.or(defaults.tokens_per_minute),
            tokens_per_hour: self.tokens_per_hour.or(defaults.tokens_per_hour),
            tokens_per_day: self.tokens_per_day.or(defaults.tokens_per_day),
            concurrency: self.concurrency.or(defaults.concurrency),
        }
    }
}

/// Budgets of a key or the defaults of an owner. `None` inherits; [`NanoUsd::MAX`] lifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    /// Most money in a UTC day.
    pub day: Option<NanoUsd>,
    /// Most money in a UTC calendar month.
    pub month: Option<NanoUsd>,
    /// Most money in the key's whole life.
    pub total: Option<NanoUsd>,
}

impl Budgets {
    /// Fills what is not set from `defaults`.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        Self {
            day: self.day.or(defaults.day),
            month: self.month.or(defaults.month),
            total: self.total.or(defaults.total),
        }
    }
}
