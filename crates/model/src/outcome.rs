//! The one outcome every request ends in, and the closed set of reasons to refuse.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limit::{BudgetWindow, LimitKind};

/// Why a request was not forwarded. New variants are appended: the order is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No credential was presented.
    MissingCredential,
    /// More than one credential, or one in two places.
    AmbiguousCredential,
    /// The credential is not one of ours, or its checksum is wrong.
    MalformedCredential,
    /// Well formed, but no such key.
    UnknownKey,
    /// The key was revoked.
    Revoked,
    /// The key is switched off by a person.
    Disabled,
    /// The key's time is over.
    Expired,
    /// The key is suspended by a containment.
    Suspended,
    /// A containment refuses this context on the key.
    ContextRefused,
    /// The engine judged the request not to be the owner's.
    Judged,
    /// A clamp allows the key no more than its own normal.
    Clamped,
    /// The scope has no such provider.
    ProviderNotInScope,
    /// The scope has no such model.
    ModelNotInScope,
    /// The scope has no such endpoint.
    EndpointNotInScope,
    /// The scope does not allow this network.
    NetworkNotInScope,
    /// The scope does not allow this hour.
    HourNotInScope,
    /// The body is larger than the key or the gateway allows.
    PayloadTooLarge,
    /// A rate or concurrency limit is used up.
    Limit(LimitKind),
    /// A budget is used up.
    Budget(BudgetWindow),
    /// Malformed or ambiguous HTTP.
    BadHttp,
    /// Malformed, ambiguous or hostile body.
    BadBody,
    /// The body did not arrive in time.
    BodyTimeout,
    /// No provider serves this route.
    UnknownRoute,
    /// The provider's credential can not be read.
    NoProviderCredential,
    /// The circuit breaker holds calls to the provider back.
    CircuitOpen,
    /// The gateway is shutting down or out of room.
    Overloaded,
    /// The credential was replaced, and its time is over.
    Rotated,
}

impl Refusal {
    /// Every refusal, in the order on disk.
    pub const ALL: [Self; 35] = [
        Self::MissingCredential,
        Self::AmbiguousCredential,
        Self::MalformedCredential,
        Self::UnknownKey,
        Self::Revoked,
        Self::Disabled,
        Self::Expired,
        Self::Suspended,
        Self::ContextRefused,
        Self::Judged,
        Self::Clamped,
        Self::ProviderNotInScope,
        Self::ModelNotInScope,
        Self::EndpointNotInScope,
        Self::NetworkNotInScope,
        Self::HourNotInScope,
        Self::PayloadTooLarge,
        Self::Limit(LimitKind::RequestsPerMinute),
        Self::Limit(LimitKind::RequestsPerHour),
        Self::Limit(LimitKind::RequestsPerDay),
        Self::Limit(LimitKind::TokensPerMinute),
        Self::Limit(LimitKind::TokensPerHour),
        Self::Limit(LimitKind::TokensPerDay),
        Self::Limit(LimitKind::Concurrency),
        Self::Budget(BudgetWindow::Day),
        Self::Budget(BudgetWindow::Month),
        Self::Budget(BudgetWindow::Total),
        Self::BadHttp,
        Self::BadBody,
        Self::BodyTimeout,
        Self::UnknownRoute,
        Self::NoProviderCredential,
        Self::CircuitOpen,
        Self::Overloaded,
        Self::Rotated,
    ];

    /// The inverse of [`Refusal::code`].
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    /// The HTTP status it is answered with.
    pub const fn status(self) -> u16 {
        match self {
            Self::MissingCredential
            | Self::MalformedCredential
            | Self::UnknownKey
            | Self::Revoked
            | Self::Rotated => 401,
            Self::Disabled
            | Self::Expired
            | Self::Suspended
            | Self::ContextRefused
            | Self::Judged
            | Self::ProviderNotInScope
            | Self::ModelNotInScope
            | Self::EndpointNotInScope
            | Self::NetworkNotInScope
            | Self::HourNotInScope => 403,
            Self::AmbiguousCredential | Self::BadHttp | Self::BadBody => 400,
            Self::PayloadTooLarge => 413,
            Self::BodyTimeout => 408,
            Self::Limit(_) | Self::Budget(_) | Self::Clamped => 429,
            Self::UnknownRoute => 404,
            Self::NoProviderCredential | Self::CircuitOpen | Self::Overloaded => 503,
        }
    }

    /// Whether the same request may succeed later by itself; SDKs are told not to retry otherwise.
    pub const fn may_retry(self) -> bool {
        matches!(
            self,
            Self::Limit(_)
                | Self::Clamped
                | Self::NoProviderCredential
                | Self::CircuitOpen
                | Self::Overloaded
                | Self::BodyTimeout
        )
    }

    /// Stable machine-readable name, also the `code` of error bodies and a metric label.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MissingCredential => "missing_credential",
            Self::AmbiguousCredential => "ambiguous_credential",
            Self::MalformedCredential => "malformed_credential",
            Self::UnknownKey => "unknown_key",
            Self::Revoked => "key_revoked",
            Self::Disabled => "key_disabled",
            Self::Expired => "key_expired",
            Self::Suspended => "key_suspended",
            Self::ContextRefused => "context_refused",
            Self::Judged => "judged_not_owner",
            Self::Clamped => "clamped",
            Self::ProviderNotInScope => "provider_not_in_scope",
            Self::ModelNotInScope => "model_not_in_scope",
            Self::EndpointNotInScope => "endpoint_not_in_scope",
            Self::NetworkNotInScope => "network_not_in_scope",
            Self::HourNotInScope => "hour_not_in_scope",
            Self::PayloadTooLarge => "payload_too_large",
            Self::Limit(kind) => kind.code(),
            Self::Budget(window) => window.code(),
            Self::BadHttp => "bad_http",
            Self::BadBody => "bad_body",
            Self::BodyTimeout => "body_timeout",
            Self::UnknownRoute => "unknown_route",
            Self::NoProviderCredential => "no_provider_credential",
            Self::CircuitOpen => "provider_circuit_open",
            Self::Overloaded => "overloaded",
            Self::Rotated => "key_rotated",
        }
    }

    /// Whether the refusal means that somebody other than the owner may be calling.
    pub const fn is_containment(self) -> bool {
        matches!(self, Self::Suspended | Self::ContextRefused | Self::Judged | Self::Clamped)
    }
}

/// How the provider failed a request that was forwarded. New variants are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamFailure {
    /// No connection could be made.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke before the answer's head.
    Reset,
    /// The answer's head could not be read as HTTP.
    Garbage,
    /// The answer broke off in its body.
    BodyBroken,
}

impl UpstreamFailure {
    /// Every failure, in the order on disk.
    pub const ALL: [Self; 5] = [Self::Connect, Self::Timeout, Self::Reset, Self::Garbage, Self::BodyBroken];

    /// Stable name for metrics and tables.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Garbage => "garbage",
            Self::BodyBroken => "body_broken",
        }
    }

    /// The inverse of [`UpstreamFailure::code`].
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.code() == code)
    }
}

/// Why an answer was cut while it streamed. New variants are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// A budget ran out.
    Budget,
    /// A containment came into force.
    Containment,
    /// The gateway shut down before the stream ended.
    Shutdown,
    /// The key's time was over.
    Expired,
}

impl Cut {
    /// Every reason, in the order on disk.
    pub const ALL: [Self; 4] = [Self::Budget, Self::Containment, Self::Shutdown, Self::Expired];

    /// Stable name for metrics and tables.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Containment => "containment",
            Self::Shutdown => "shutdown",
            Self::Expired => "expired",
        }
    }

    /// The inverse of [`Cut::code`].
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cut| cut.code() == code)
    }
}

/// The one outcome of a request. New variants are appended: the order is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The provider's answer reached the client whole, whatever its status.
    Served,
    /// Not forwarded.
    Refused(Refusal),
    /// The client left before the answer was whole.
    ClientLeft,
    /// Forwarded, then cut by us.
    Cut(Cut),
    /// Forwarded, and the provider failed.
    UpstreamFailed(UpstreamFailure),
}

impl Outcome {
    /// Stable name for metrics and tables.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused(_) => "refused",
            Self::ClientLeft => "client_left",
            Self::Cut(_) => "cut",
            Self::UpstreamFailed(_) => "upstream_failed",
        }
    }

    /// Whether the provider saw the request.
    pub const fn was_forwarded(self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "refused: {}", refusal.code()),
            other => f.write_str(other.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;

    use super::*;

    /// Walks the variants as they are numbered on disk, so that a list that lacks a new one is noticed.
    #[track_caller]
    fn check_all<T: DeserializeOwned + PartialEq + Debug + Copy>(
        all: &[T],
        code: fn(T) -> &'static str,
        from_code: fn(&str) -> Option<T>,
    ) {
        let mut on_disk = Vec::new();
        for variant in 0..128 {
            for inner in 0..128 {
                if let Ok(value) = postcard::from_bytes::<T>(&[variant, inner])
                    && on_disk.last() != Some(&value)
                {
                    on_disk.push(value);
                }
            }
        }
        assert_eq!(all, on_disk);
        for &value in all {
            assert_eq!(from_code(code(value)), Some(value));
        }
        assert_eq!(from_code("no such code"), None);
    }

    #[test]
    fn every_reason_has_a_code_of_its_own() {
        check_all(&Refusal::ALL, Refusal::code, Refusal::from_code);
        check_all(&UpstreamFailure::ALL, UpstreamFailure::code, UpstreamFailure::from_code);
        check_all(&Cut::ALL, Cut::code, Cut::from_code);
    }
}
