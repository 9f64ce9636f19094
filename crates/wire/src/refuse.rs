//! Refusals as the client's dialect expects them: status, body and headers.

use std::fmt::Write;

use tokenwatch_model::outcome::{Refusal, UpstreamFailure};
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::time::SECOND;

#[cfg(test)]
mod tests;

/// What is refused and how it is to be said.
#[derive(Clone, Copy, Debug)]
pub struct Refusing<'a> {
    /// The dialect of the route.
    pub dialect: Dialect,
    /// Why.
    pub refusal: Refusal,
    /// A sentence for the caller; empty for [`default_message`].
    pub message: &'a str,
    /// The body's field that is to blame, if one is.
    pub field: Option<&'a str>,
    /// When to try again, in microseconds from now.
    pub retry_after_us: Option<u64>,
    /// Our id of the request; empty for none.
    pub request_id: &'a str,
    /// Answer used-up budgets with 402 instead of 429.
    pub is_budget_402: bool,
}

/// An answer of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// JSON body.
    pub body: Vec<u8>,
    /// Headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
}

/// What a refusal means in words, and what to do about it.
pub const fn default_message(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::MissingCredential => {
            "No API key was sent. Send your TokenWatch key as `Authorization: Bearer sk-tw-…` or `x-api-key`."
        }
        Refusal::AmbiguousCredential => "More than one credential was sent. Send exactly one, in one place.",
        Refusal::MalformedCredential => {
            "The API key is not a TokenWatch key or was cut short. Check that it was copied whole."
        }
        Refusal::UnknownKey => "No such API key. Ask the owner of the service for a new one.",
        Refusal::Revoked => "The API key was revoked. Ask the owner of the service for a new one.",
        Refusal::Rotated => {
            "The API key was replaced and has ended. Ask the owner of the service for the new one."
        }
        Refusal::Disabled => "The API key is switched off. Its owner can switch it on.",
        Refusal::Expired => "The API key has expired. Ask the owner of the service for a new one.",
        // Said neutrally: the caller may be the thief.
        Refusal::Suspended => "The API key is suspended. Its owner can see why and lift it.",
        Refusal::ContextRefused => {
            "The API key is not accepted from this network or client at the moment. Its owner can see why and lift it."
        }
        Refusal::Judged => "This request was refused for this API key. Its owner can see why and allow it.",
        Refusal::Clamped => {
            "The API key is held to its usual rate at the moment. Slow down, or ask its owner to lift the limit."
        }
        Refusal::ProviderNotInScope => {
            "The API key may not use this provider. Its owner can extend its scope."
        }
        Refusal::ModelNotInScope => "The API key may not use this model. Its owner can extend its scope.",
        Refusal::EndpointNotInScope => {
            "The API key may not call this endpoint. Its owner can extend its scope."
        }
        Refusal::NetworkNotInScope => {
            "The API key may not be used from this network. Its owner can extend its scope."
        }
        Refusal::HourNotInScope => {
            "The API key may not be used at this hour. Its owner can extend its scope."
        }
        Refusal::PayloadTooLarge => {
            "The request body is larger than allowed. Send less, or ask the key's owner for more."
        }
        Refusal::Limit(_) => {
            "The API key has reached its rate limit. Wait as Retry-After says, or ask its owner for more."
        }
        Refusal::Budget(_) => "The API key has used up its budget. Ask its owner to raise it.",
        Refusal::BadHttp => "The request is malformed or ambiguous HTTP. Send it with a standard client.",
        Refusal::BadBody => {
            "The request body is malformed or ambiguous. Send one valid JSON object in UTF-8."
        }
        Refusal::BodyTimeout => "The request body did not arrive in time. Send it again.",
        Refusal::UnknownRoute => "No provider serves this path. Check the base URL and the path.",
        Refusal::NoProviderCredential => {
            "The gateway can not read its credential for the provider. Try again later; operators have been told."
        }
        Refusal::CircuitOpen => "The provider is failing and calls to it are held back. Try again later.",
        Refusal::Overloaded => "The gateway is shutting down or out of room. Try again.",
    }
}

/// Writes a refusal.
pub fn refuse(refusing: &Refusing<'_>) -> Refused {
    let refusal = refusing.refusal;
    let status = match refusal {
        Refusal::Budget(_) if refusing.is_budget_402 => 402,
        other => other.status(),
    };
    let message = if refusing.message.is_empty() { default_message(refusal) } else { refusing.message };
    let kind = match refusing.dialect {
        Dialect::OpenAi => openai_type(refusal, status),
        Dialect::Anthropic => anthropic_type(refusal, status),
    };
    let error = ErrorBody { kind, code: refusal.code(), message, field: refusing.field };
    let mut headers = common_headers(refusing.dialect, refusing.request_id);
    if status == 401 {
        headers.push(("www-authenticate", "Bearer".to_owned()));
    }
    if let Some(wait) = refusing.retry_after_us {
        headers.push(("retry-after", wait.div_ceil(SECOND).to_string()));
        headers.push(("retry-after-ms", wait.div_ceil(1_000).to_string()));
    }
    // A limit without a time to wait for is one that can never fit: a retry would only ask again.
    let can_never_fit =
        matches!(refusal, Refusal::Limit(_) | Refusal::Clamped) && refusing.retry_after_us.is_none();
    headers.push(("x-should-retry", (refusal.may_retry() && !can_never_fit).to_string()));
    Refused { status, body: error.write(refusing.dialect, refusing.request_id), headers }
}

/// Writes the answer to a request whose provider failed before anything of its answer was passed on.
pub fn report_failure(dialect: Dialect, failure: UpstreamFailure, request_id: &str) -> Refused {
    let (status, code, message) = match failure {
        UpstreamFailure::Connect => {
            (502, "provider_unreachable", "The provider could not be reached. Try again later.")
        }
        UpstreamFailure::Timeout => {
            (504, "provider_timeout", "The provider did not answer in time. Try again later.")
        }
        UpstreamFailure::Reset => (502, "provider_reset", "The provider closed the connection. Try again."),
        UpstreamFailure::Garbage => {
            (502, "provider_garbage", "The provider's answer was not valid HTTP. Try again later.")
        }
        UpstreamFailure::BodyBroken => {
            (502, "provider_cut_short", "The provider's answer broke off. Try again.")
        }
    };
    let kind = match dialect {
        Dialect::OpenAi => "server_error",
        Dialect::Anthropic if failure == UpstreamFailure::Timeout => "timeout_error",
        Dialect::Anthropic => "api_error",
    };
    let error = ErrorBody { kind, code, message, field: None };
    Refused { status, body: error.write(dialect, request_id), headers: common_headers(dialect, request_id) }
}

fn common_headers(dialect: Dialect, request_id: &str) -> Vec<(&'static str, String)> {
    let mut headers = vec![("content-type", "application/json".to_owned())];
    let name = match dialect {
        Dialect::OpenAi => "x-request-id",
        Dialect::Anthropic => "request-id",
    };
    if !request_id.is_empty() {
        headers.push((name, request_id.to_owned()));
    }
    headers
}

const fn openai_type(refusal: Refusal, status: u16) -> &'static str {
    match (refusal, status) {
        (Refusal::Budget(_), _) => "insufficient_quota",
        (_, 401) => "authentication_error",
        (_, 403) => "permission_error",
        (_, 429) => "rate_limit_error",
        (_, 500..) => "server_error",
        _ => "invalid_request_error",
    }
}

const fn anthropic_type(refusal: Refusal, status: u16) -> &'static str {
    match (refusal, status) {
        (_, 401) => "authentication_error",
        (_, 402) => "billing_error",
        (_, 403) => "permission_error",
        (_, 404) => "not_found_error",
        (_, 408) => "timeout_error",
        (_, 413) => "request_too_large",
        (_, 429) => "rate_limit_error",
        (Refusal::CircuitOpen | Refusal::Overloaded, _) => "overloaded_error",
        (_, 500..) => "api_error",
        _ => "invalid_request_error",
    }
}

/// An error in words, before it is written in a dialect.
#[derive(Clone, Copy)]
pub(crate) struct ErrorBody<'a> {
    pub(crate) kind: &'a str,
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    pub(crate) field: Option<&'a str>,
}

impl ErrorBody<'_> {
    /// `{"error":{…}}` or `{"type":"error","error":{…},"request_id":…}`.
    pub(crate) fn write(&self, dialect: Dialect, request_id: &str) -> Vec<u8> {
        let Self { kind, code, message, field } = *self;
        let (kind, code, message) = (quote(kind), quote(code), quote(message));
        let body = match dialect {
            Dialect::OpenAi => {
                let field = field.map_or_else(|| "null".to_owned(), quote);
                format!(r#"{{"error":{{"message":{message},"type":{kind},"param":{field},"code":{code}}}}}"#)
            }
            Dialect::Anthropic => {
                let id = if request_id.is_empty() { "null".to_owned() } else { quote(request_id) };
                format!(
                    r#"{{"type":"error","error":{{"type":{kind},"message":{message},"details":{{"error_code":{code}}}}},"request_id":{id}}}"#
                )
            }
        };
        body.into_bytes()
    }
}

/// A text as a JSON string.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
