//! Errors as clients see them: a status, a stable code, a sentence, and the field it is about.

use http::StatusCode;
use serde::Serialize;

use crate::records::RecordsError;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) field: Option<String>,
    /// For `Retry-After`.
    pub(crate) retry_after_s: Option<u64>,
    /// For `Allow`.
    pub(crate) allow: Option<String>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    message: &'a str,
    field: Option<&'a str>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None, retry_after_s: None, allow: None }
    }

    /// A field of the body, the query or the head that is wrong.
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(StatusCode::BAD_REQUEST, "invalid", message) }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let error = Body { code: self.code, message: &self.message, field: self.field.as_deref() };
        // Strings alone can always be written as JSON.
        serde_json::to_vec(&Envelope { error }).unwrap_or_default()
    }
}

impl From<RecordsError> for Problem {
    fn from(error: RecordsError) -> Self {
        match error {
            RecordsError::Conflict(text) => Self::new(StatusCode::CONFLICT, "conflict", text),
            RecordsError::Stale(text) => {
                Self::new(StatusCode::PRECONDITION_FAILED, "revision_mismatch", text)
            }
            RecordsError::Missing(text) => Self::not_found(text),
            RecordsError::Invalid { field, text } => Self::invalid(field, text),
            RecordsError::Refused(text) => Self::new(StatusCode::CONFLICT, "not_possible", text),
            RecordsError::Unavailable(text) => {
                tracing::error!(error = %text, "the store does not answer the admin API");
                let retry_after_s = Some(1);
                Self {
                    retry_after_s,
                    ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", text)
                }
            }
        }
    }
}
