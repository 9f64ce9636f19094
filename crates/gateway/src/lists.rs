//! Answers that are read whole and changed: model lists, filtered to the key's scope, and Anthropic's batches,
//! whose results address must lead back here.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::response::Parts;
use http_body::Body;

use tokenwatch_model::outcome::UpstreamFailure;
use tokenwatch_wire::encoding::Encoding;

use crate::answer::{AnswerBody, consumed_by_batch};
use crate::forward::{add_own_headers, clean_answer, overhead_us};
use crate::line::Inflow;
use crate::path::{Admission, own_answer};
use crate::refuse::upstream_failed;
use crate::registry::KeyEntry;
use crate::ticket::{Consumed, Ticket};

/// Longest answer read; providers list some hundred models in well under a megabyte.
const LIST_BYTES_MAX: usize = 8 << 20;

/// The provider's list of models without those the key may not use.
pub(crate) async fn filtered_models(
    entry: &KeyEntry,
    admitted: &Admission,
    ticket: Ticket,
    response: Response<Inflow>,
) -> Response<AnswerBody> {
    let (head, body) = response.into_parts();
    let filtered = match read_plain(&head, body, ticket.gateway().settings().http.body_timeout).await {
        Ok(plain) => {
            tokenwatch_wire::models::filter_models(&plain, |model| entry.policy.scope.allows_model(model))
        }
        Err(failure) => return upstream_failed(ticket, failure, Consumed::default()),
    };
    // What is no list can not be filtered, and so must not be shown.
    match filtered {
        Some(filtered) => answer(head, filtered.into(), admitted, ticket, Consumed::default()),
        None => upstream_failed(ticket, UpstreamFailure::Garbage, Consumed::default()),
    }
}

/// A batch or a list of them: SDKs follow the results address with the client's key, which must not reach the
/// provider.
pub(crate) async fn own_results_url(
    base: &str,
    admitted: &Admission,
    mut ticket: Ticket,
    response: Response<Inflow>,
) -> Response<AnswerBody> {
    let (head, body) = response.into_parts();
    match read_plain(&head, body, ticket.gateway().settings().http.body_timeout).await {
        Ok(plain) => {
            let rewritten = tokenwatch_wire::models::rewrite_results_url(&plain, base);
            let consumed = consumed(&mut ticket, &head);
            answer(head, rewritten.map_or(plain, Bytes::from), admitted, ticket, consumed)
        }
        Err(failure) => {
            // The batch may have been made all the same.
            let consumed = consumed(&mut ticket, &head);
            upstream_failed(ticket, failure, consumed)
        }
    }
}

fn consumed(ticket: &mut Ticket, head: &Parts) -> Consumed {
    let status = head.status.as_u16();
    ticket.get().map_or_else(Consumed::default, |open| consumed_by_batch(&open.context, status))
}

fn answer(
    mut head: Parts,
    body: Bytes,
    admitted: &Admission,
    mut ticket: Ticket,
    consumed: Consumed,
) -> Response<AnswerBody> {
    let (id, overhead_us) = (ticket.id(), ticket.get().map_or(0, |open| overhead_us(open)));
    let mut answer = own_answer(ticket, head.status, body, consumed);
    clean_answer(&mut head.headers, false);
    head.headers.remove(CONTENT_ENCODING);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    add_own_headers(&mut head.headers, id, overhead_us, admitted);
    *answer.headers_mut() = head.headers;
    answer
}

/// Reads an answer whole, in time, and decodes it.
async fn read_plain(head: &Parts, body: Inflow, within: Duration) -> Result<Bytes, UpstreamFailure> {
    let bytes = tokio::time::timeout(within, read(body)).await.map_err(|_| UpstreamFailure::Timeout)??;
    let coding = head.headers.get(CONTENT_ENCODING).and_then(|coding| coding.to_str().ok());
    let decoded = Encoding::from_header(coding)
        .and_then(|coding| tokenwatch_wire::encoding::decode(&bytes, coding, LIST_BYTES_MAX));
    match decoded {
        Ok(plain) => Ok(Bytes::from(plain.into_owned())),
        Err(_) => Err(UpstreamFailure::Garbage),
    }
}

async fn read(mut body: Inflow) -> Result<BytesMut, UpstreamFailure> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| UpstreamFailure::BodyBroken)?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > LIST_BYTES_MAX {
            return Err(UpstreamFailure::Garbage);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
