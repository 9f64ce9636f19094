//! Every refusal: status, dialect body, retry headers, and the end of the ticket.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokenwatch_model::id::RequestId;
use tokenwatch_model::outcome::{Outcome, Refusal, UpstreamFailure};
use tokenwatch_model::provider::Dialect;
use tokenwatch_wire::refuse::{self, Refused, Refusing};

use crate::answer::AnswerBody;
use crate::drill;
use crate::live::Denied;
use crate::settings::Settings;
use crate::ticket::{Consumed, Ticket};

/// Why a request goes no further.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) refusal: Refusal,
    pub(crate) message: Option<Cow<'static, str>>,
    /// The field of the body that is to blame.
    pub(crate) field: Option<&'static str>,
    pub(crate) retry_after_us: Option<u64>,
}

impl Stop {
    pub(crate) const fn plain(refusal: Refusal) -> Self {
        Self { refusal, message: None, field: None, retry_after_us: None }
    }

    pub(crate) fn because(refusal: Refusal, message: impl Into<Cow<'static, str>>) -> Self {
        Self { refusal, message: Some(message.into()), field: None, retry_after_us: None }
    }

    /// A thief learns no more than that the context is refused: the reason goes to the incident, not to it.
    pub(crate) fn denied(denied: Denied) -> Self {
        if let Some(containment) = &denied.containment {
            tracing::debug!(refusal = denied.refusal.code(), reason = %containment, "request contained");
        }
        Self { refusal: denied.refusal, message: None, field: None, retry_after_us: denied.retry_after_us }
    }
}

/// Refuses a request: ends its ticket and answers in its dialect.
pub(crate) fn refuse(settings: &Settings, mut ticket: Ticket, stop: Stop) -> Response<AnswerBody> {
    let id = ticket.id();
    let dialect = ticket.get().map_or(Dialect::OpenAi, |open| open.dialect);
    let request_id = id.to_string();
    let refused = refuse::refuse(&Refusing {
        dialect,
        refusal: stop.refusal,
        message: stop.message.as_deref().unwrap_or_default(),
        field: stop.field,
        retry_after_us: stop.retry_after_us,
        request_id: &request_id,
        is_budget_402: settings.budget_is_402,
    });
    if let Some(open) = ticket.get() {
        open.status = refused.status;
        open.response_bytes = refused.body.len() as u64;
    }
    let is_drill = ticket.claimed().is_some();
    ticket.finish(Outcome::Refused(stop.refusal), Consumed::default());
    let mut response = respond(refused, &request_id);
    if is_drill {
        // Tells our refusals from those that the mock was asked for. A thief is not told.
        response.headers_mut().insert(&drill::HEADER, HeaderValue::from_static(stop.refusal.code()));
    }
    response
}

/// Answers for a provider that failed before its answer began; the ticket ends as a failure of the provider.
pub(crate) fn upstream_failed(
    mut ticket: Ticket,
    failure: UpstreamFailure,
    consumed: Consumed,
) -> Response<AnswerBody> {
    let id = ticket.id();
    let dialect = ticket.get().map_or(Dialect::OpenAi, |open| open.dialect);
    let request_id = id.to_string();
    let refused = refuse::report_failure(dialect, failure, &request_id);
    if let Some(open) = ticket.get() {
        open.status = refused.status;
        open.response_bytes = refused.body.len() as u64;
    }
    ticket.finish(Outcome::UpstreamFailed(failure), consumed);
    respond(refused, &request_id)
}

/// Answers a request that was cut before its answer began; its ticket ends by itself.
pub(crate) fn report_cut(
    settings: &Settings,
    dialect: Dialect,
    id: RequestId,
    refusal: Refusal,
) -> Response<AnswerBody> {
    let request_id = id.to_string();
    let refused = refuse::refuse(&Refusing {
        dialect,
        refusal,
        message: "",
        field: None,
        retry_after_us: None,
        request_id: &request_id,
        is_budget_402: settings.budget_is_402,
    });
    respond(refused, &request_id)
}

fn respond(refused: Refused, request_id: &str) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(refused.body));
    *response.status_mut() =
        StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(HeaderName::from_static("x-tokenwatch-request-id"), id);
    }
    for (name, value) in refused.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}
