//! Labels: closed sets of values, each with a position, so that a series is an array element.
//!
//! A variant added to an enum of the model does not compile until it has a position here; a test checks
//! that positions are dense and values distinct.

use tokenwatch_model::alarm::AlarmKind;
use tokenwatch_model::containment::Action;
use tokenwatch_model::finding::{Decision, Severity, Tier};
use tokenwatch_model::incident::IncidentState;
use tokenwatch_model::limit::{BudgetWindow, LimitKind};
use tokenwatch_model::outcome::{Outcome, Refusal, UpstreamFailure};
use tokenwatch_model::provider::{Dialect, ENDPOINTS, Endpoint};

/// One label: its key and every value it can have.
pub trait Label: Copy + Send + Sync + 'static {
    /// The label's key.
    const KEY: &'static str;
    /// Every value, at its own position.
    const VALUES: &'static [&'static str];

    /// Position in [`Label::VALUES`].
    fn position(self) -> usize;
}

/// The labels of a metric: none, one or two.
pub trait LabelSet: Copy + Send + Sync + 'static {
    /// How many series the metric has.
    const SERIES: usize;

    /// Position of these labels, below [`LabelSet::SERIES`].
    fn position(self) -> usize;

    /// The labels' keys.
    fn keys() -> Vec<&'static str>;

    /// Keys and values of the series at a position.
    fn pairs(position: usize) -> Vec<(&'static str, &'static str)>;
}

impl LabelSet for () {
    const SERIES: usize = 1;

    fn position(self) -> usize {
        0
    }

    fn keys() -> Vec<&'static str> {
        Vec::new()
    }

    fn pairs(_position: usize) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

impl<A: Label> LabelSet for (A,) {
    const SERIES: usize = A::VALUES.len();

    fn position(self) -> usize {
        self.0.position()
    }

    fn keys() -> Vec<&'static str> {
        vec![A::KEY]
    }

    fn pairs(position: usize) -> Vec<(&'static str, &'static str)> {
        A::VALUES.get(position).map(|value| (A::KEY, *value)).into_iter().collect()
    }
}

impl<A: Label, B: Label> LabelSet for (A, B) {
    const SERIES: usize = A::VALUES.len() * B::VALUES.len();

    fn position(self) -> usize {
        self.0.position() * B::VALUES.len() + self.1.position()
    }

    fn keys() -> Vec<&'static str> {
        vec![A::KEY, B::KEY]
    }

    fn pairs(position: usize) -> Vec<(&'static str, &'static str)> {
        let mut pairs = <(A,)>::pairs(position / B::VALUES.len());
        pairs.extend(<(B,)>::pairs(position % B::VALUES.len()));
        pairs
    }
}

/// An enum of this crate that is a label: variants in the order of their values.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $key:literal, { $($(#[$variant_doc:meta])* $variant:ident = $value:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl Label for $name {
            const KEY: &'static str = $key;
            const VALUES: &'static [&'static str] = &[$($value),+];

            fn position(self) -> usize {
                self as usize
            }
        }
    };
}

label!(
    /// The dialect of a route, or none for a request that no route serves.
    Route, "dialect", {
        /// OpenAI's API.
        OpenAi = "openai",
        /// Anthropic's API.
        Anthropic = "anthropic",
        /// No route serves the request, or it could not be read.
        Unknown = "none",
    }
);

impl From<Option<Dialect>> for Route {
    fn from(dialect: Option<Dialect>) -> Self {
        match dialect {
            Some(Dialect::OpenAi) => Self::OpenAi,
            Some(Dialect::Anthropic) => Self::Anthropic,
            None => Self::Unknown,
        }
    }
}

label!(
    /// What tokens were, by how they are billed; disjoint.
    Direction, "direction", {
        /// Input at the full price.
        Input = "input",
        /// Input read from a prompt cache.
        CacheRead = "cache_read",
        /// Input written to a prompt cache.
        CacheWrite = "cache_write",
        /// Output, reasoning included.
        Output = "output",
    }
);

label!(
    /// What a client connection is doing.
    ConnectionState, "state", {
        /// TLS or PROXY header in progress.
        Handshake = "handshake",
        /// Open, with or without a request.
        Open = "open",
    }
);

label!(
    /// What a key is, as people see it.
    KeyLabel, "state", {
        /// Usable.
        Active = "active",
        /// Its time is over.
        Expired = "expired",
        /// Switched off by a person.
        Disabled = "disabled",
        /// Ended for good.
        Revoked = "revoked",
    }
);

label!(
    /// How a drill ended.
    DrillResult, "result", {
        /// Everything on its checklist passed.
        Passed = "passed",
        /// Something did not, or it was broken off.
        Failed = "failed",
    }
);

label!(
    /// How reloading the configuration ended.
    ReloadResult, "result", {
        /// The new one is in force.
        Ok = "ok",
        /// The new one was wrong; the last good one stays in force.
        Rejected = "rejected",
    }
);

label!(
    /// How one try to send an alert ended.
    AlertResult, "result", {
        /// The receiver took it.
        Sent = "sent",
        /// It did not; it is tried again.
        Failed = "failed",
    }
);

label!(
    /// The rungs of the containment ladder.
    Rung, "action", {
        /// Look closer.
        Watch = "watch",
        /// Hold to the key's own normal.
        Clamp = "clamp",
        /// Refuse one context.
        RefuseContext = "refuse_context",
        /// Refuse everything until lifted.
        Suspend = "suspend",
        /// End the key.
        Revoke = "revoke",
    }
);

impl From<&Action> for Rung {
    fn from(action: &Action) -> Self {
        match action {
            Action::Watch => Self::Watch,
            Action::Clamp(_) => Self::Clamp,
            Action::RefuseContext(_) => Self::RefuseContext,
            Action::Suspend => Self::Suspend,
            Action::Revoke => Self::Revoke,
        }
    }
}

impl Label for Outcome {
    const KEY: &'static str = "outcome";
    const VALUES: &'static [&'static str] = &["served", "refused", "client_left", "cut", "upstream_failed"];

    fn position(self) -> usize {
        match self {
            Self::Served => 0,
            Self::Refused(_) => 1,
            Self::ClientLeft => 2,
            Self::Cut(_) => 3,
            Self::UpstreamFailed(_) => 4,
        }
    }
}

impl Label for Refusal {
    const KEY: &'static str = "reason";
    const VALUES: &'static [&'static str] = &[
        "missing_credential",
        "ambiguous_credential",
        "malformed_credential",
        "unknown_key",
        "key_revoked",
        "key_disabled",
        "key_expired",
        "key_suspended",
        "context_refused",
        "judged_not_owner",
        "clamped",
        "provider_not_in_scope",
        "model_not_in_scope",
        "endpoint_not_in_scope",
        "network_not_in_scope",
        "hour_not_in_scope",
        "payload_too_large",
        "requests_per_minute",
        "requests_per_hour",
        "requests_per_day",
        "tokens_per_minute",
        "tokens_per_hour",
        "tokens_per_day",
        "concurrency",
        "budget_day",
        "budget_month",
        "budget_total",
        "bad_http",
        "bad_body",
        "body_timeout",
        "unknown_route",
        "no_provider_credential",
        "provider_circuit_open",
        "overloaded",
        "key_rotated",
    ];

    fn position(self) -> usize {
        match self {
            Self::MissingCredential => 0,
            Self::AmbiguousCredential => 1,
            Self::MalformedCredential => 2,
            Self::UnknownKey => 3,
            Self::Revoked => 4,
            Self::Disabled => 5,
            Self::Expired => 6,
            Self::Suspended => 7,
            Self::ContextRefused => 8,
            Self::Judged => 9,
            Self::Clamped => 10,
            Self::ProviderNotInScope => 11,
            Self::ModelNotInScope => 12,
            Self::EndpointNotInScope => 13,
            Self::NetworkNotInScope => 14,
            Self::HourNotInScope => 15,
            Self::PayloadTooLarge => 16,
            Self::Limit(LimitKind::RequestsPerMinute) => 17,
            Self::Limit(LimitKind::RequestsPerHour) => 18,
            Self::Limit(LimitKind::RequestsPerDay) => 19,
            Self::Limit(LimitKind::TokensPerMinute) => 20,
            Self::Limit(LimitKind::TokensPerHour) => 21,
            Self::Limit(LimitKind::TokensPerDay) => 22,
            Self::Limit(LimitKind::Concurrency) => 23,
            Self::Budget(BudgetWindow::Day) => 24,
            Self::Budget(BudgetWindow::Month) => 25,
            Self::Budget(BudgetWindow::Total) => 26,
            Self::BadHttp => 27,
            Self::BadBody => 28,
            Self::BodyTimeout => 29,
            Self::UnknownRoute => 30,
            Self::NoProviderCredential => 31,
            Self::CircuitOpen => 32,
            Self::Overloaded => 33,
            Self::Rotated => 34,
        }
    }
}

impl Label for Endpoint {
    const KEY: &'static str = "endpoint";
    const VALUES: &'static [&'static str] = &{
        let mut values = [""; ENDPOINTS.len()];
        let mut i = 0;
        while i < ENDPOINTS.len() {
            values[i] = ENDPOINTS[i].name();
            i += 1;
        }
        values
    };

    fn position(self) -> usize {
        usize::from(self.index())
    }
}

impl Label for Decision {
    const KEY: &'static str = "decision";
    const VALUES: &'static [&'static str] = &["forward", "watch", "refuse"];

    fn position(self) -> usize {
        match self {
            Self::Forward => 0,
            Self::Watch => 1,
            Self::Refuse => 2,
        }
    }
}

impl Label for Severity {
    const KEY: &'static str = "severity";
    const VALUES: &'static [&'static str] = &["low", "medium", "high", "critical"];

    fn position(self) -> usize {
        match self {
            Self::Low => 0,
            Self::Medium => 1,
            Self::High => 2,
            Self::Critical => 3,
        }
    }
}

impl Label for AlarmKind {
    const KEY: &'static str = "kind";
    const VALUES: &'static [&'static str] =
        &["day_low", "day_medium", "day_high", "month_forecast", "month_cap"];

    fn position(self) -> usize {
        match self {
            Self::DayLow => 0,
            Self::DayMedium => 1,
            Self::DayHigh => 2,
            Self::MonthForecast => 3,
            Self::MonthCap => 4,
        }
    }
}

impl Label for Tier {
    const KEY: &'static str = "tier";
    const VALUES: &'static [&'static str] = &["notice", "alert", "act"];

    fn position(self) -> usize {
        match self {
            Self::Notice => 0,
            Self::Alert => 1,
            Self::Act => 2,
        }
    }
}

impl Label for IncidentState {
    const KEY: &'static str = "state";
    const VALUES: &'static [&'static str] = &["open", "contained", "resolved", "dismissed", "expired"];

    fn position(self) -> usize {
        match self {
            Self::Open => 0,
            Self::Contained => 1,
            Self::Resolved => 2,
            Self::Dismissed => 3,
            Self::Expired => 4,
        }
    }
}

impl Label for UpstreamFailure {
    const KEY: &'static str = "kind";
    const VALUES: &'static [&'static str] = &["connect", "timeout", "reset", "garbage", "body_broken"];

    fn position(self) -> usize {
        match self {
            Self::Connect => 0,
            Self::Timeout => 1,
            Self::Reset => 2,
            Self::Garbage => 3,
            Self::BodyBroken => 4,
        }
    }
}

#[cfg(test)]
mod tests;
