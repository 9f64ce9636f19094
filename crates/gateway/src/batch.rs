//! What an OpenAI batch can cost: its requests stand in a file at the provider, which is read before the batch is made.
//!
//! Invariant: a batch whose file was not read whole is not forwarded. What can not be priced would be spent past every budget.

use std::pin::Pin;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body::Body as _;
use tokenwatch_model::account::Ask;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_model::scope::Scope;
use tokenwatch_wire::batch::{BatchReader, BatchTotals, input_file};

use crate::body::OutBody;
use crate::line::Inflow;
use crate::path::{Heard, NOT_REHEARSED, batch_price};
use crate::pool::Pool;
use crate::refuse::Stop;
use crate::settings::{Provider, Settings, credential_field};
use crate::ticket::Ticket;

/// Longest id of a file.
const ID_MAX: usize = 128;

/// Whether a request makes a batch of a file that lies at the provider.
pub(crate) fn is_made_of_a_file(heard: &Heard, method: &Method) -> bool {
    heard.target.endpoint == Endpoint::Batches
        && heard.target.provider.dialect == Dialect::OpenAi
        && *method == Method::POST
        && heard.target.path_and_query.split('?').next().is_some_and(|path| path.ends_with("/batches"))
}

/// The worst case of an OpenAI batch, from the file it is made of.
pub(crate) async fn price(
    settings: &Settings,
    pool: &Pool,
    ticket: &mut Ticket,
    heard: &Heard,
    body: &OutBody,
) -> Result<Ask, Stop> {
    let OutBody::Whole(Some(bytes)) = body else {
        return Err(Stop::because(Refusal::BadBody, "a batch needs a body"));
    };
    let gateway = ticket.gateway().clone();
    if ticket.claimed().is_some() {
        return Err(Stop::because(Refusal::BadHttp, NOT_REHEARSED));
    }
    if let Some(open) = ticket.get() {
        // Reading a file costs more than refusing whoever asks for it.
        open.context.siblings = gateway.live.siblings(open.context.key, &open.context);
        gateway.live.look(&open.context).map_err(Stop::denied)?;
    }
    let totals = read(settings, pool, heard, bytes).await?;
    let Some(open) = ticket.get() else { return Err(Stop::plain(Refusal::Overloaded)) };
    let unlimited = settings.reserve_output_tokens.saturating_mul(totals.outputs_unlimited);
    let output = totals.output_tokens_stated.saturating_add(unlimited);
    let prices_as = &heard.target.provider.prices_as;
    if let [first, further @ ..] = totals.models.as_slice() {
        open.price = batch_price(settings, prices_as, settings.prices.find(prices_as, first), further);
        open.context.model = first.clone();
    }
    open.context.input_tokens_estimate = totals.input_tokens;
    open.context.output_tokens_max = output;
    open.context.cost_worst = tokenwatch_wire::price::worst_case(totals.input_tokens, output, &open.price.0);
    Ok(Ask { tokens: totals.input_tokens.saturating_add(output), cost: open.context.cost_worst })
}

/// Reads the file that a call makes a batch of, and checks that the key may make each of its requests.
async fn read(settings: &Settings, pool: &Pool, heard: &Heard, body: &[u8]) -> Result<BatchTotals, Stop> {
    let about_file = |stop: Stop| Stop { field: Some("input_file_id"), ..stop };
    let id = input_file(body).filter(|id| is_id(id)).ok_or_else(|| {
        about_file(Stop::because(
            Refusal::BadBody,
            "a batch needs the id of an uploaded file as input_file_id",
        ))
    })?;
    let reading = fetch(settings, pool, &heard.target.provider, &id);
    let totals = match tokio::time::timeout(settings.http.answer_timeout, reading).await {
        Ok(totals) => totals.map_err(about_file)?,
        Err(_) => return Err(about_file(unread("reading it took too long"))),
    };
    check_scope(&heard.entry.policy.scope, &totals)?;
    Ok(totals)
}

fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !id.is_empty() && id.len() <= ID_MAX && id.bytes().all(plain) && !id.starts_with('.')
}

fn unread(why: &str) -> Stop {
    Stop::because(
        Refusal::BadBody,
        format!("what the batch can cost is not known: its file could not be read ({why})"),
    )
}

/// What a batch asks for must be in the key's scope as if it were asked for by itself.
fn check_scope(scope: &Scope, totals: &BatchTotals) -> Result<(), Stop> {
    let in_scope = |endpoint: &Endpoint| match &scope.endpoints {
        Some(list) => list.contains(endpoint),
        None => endpoint.is_default(),
    };
    if !totals.endpoints.iter().all(in_scope) {
        return Err(Stop::plain(Refusal::EndpointNotInScope));
    }
    if !totals.models.iter().all(|model| scope.allows_model(model)) {
        return Err(Stop::plain(Refusal::ModelNotInScope));
    }
    Ok(())
}

/// Reads the file by the first credential that may.
async fn fetch(settings: &Settings, pool: &Pool, provider: &Provider, id: &str) -> Result<BatchTotals, Stop> {
    let uri = format!("{}/v1/files/{id}/content", provider.origin.path).parse::<Uri>();
    let uri = uri.map_err(|_| unread("its id can not stand in an address"))?;
    let mut last = unread("no credential of the provider is usable");
    for credential in &provider.credentials {
        let Some(value) = credential.value() else { continue };
        let mut request = Request::new(OutBody::Whole(None));
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(credential_field(provider.dialect), (*value).clone());
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Ok(host) = HeaderValue::from_str(&provider.origin.authority()) {
            headers.insert(HOST, host);
        }
        let http = &settings.http;
        let answer =
            pool.exchange(&provider.origin, request, http.connect_timeout, http.answer_timeout).await;
        last = match answer {
            Ok(answer)
                if answer.status() == StatusCode::OK && !answer.headers().contains_key(CONTENT_ENCODING) =>
            {
                return total(settings, answer.into_body()).await;
            }
            Ok(answer) => unread(&format!("the provider answered {}", answer.status().as_u16())),
            Err(error) => {
                tracing::warn!(provider.name = %provider.name, detail = %error.detail, "the file of a batch can not be read");
                unread("the provider did not answer")
            }
        };
    }
    Err(last)
}

async fn total(settings: &Settings, mut body: Inflow) -> Result<BatchTotals, Stop> {
    let line_max = usize::try_from(settings.http.body_bytes_max).unwrap_or(usize::MAX);
    let mut reader = BatchReader::new(&settings.shape_key, line_max);
    let wrong =
        |error: tokenwatch_wire::batch::ReadBatchError| Stop::because(Refusal::BadBody, error.to_string());
    loop {
        let next = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        match tokio::time::timeout(settings.http.answer_stall_timeout, next).await {
            Ok(Some(Ok(frame))) => {
                let data: Bytes = frame.into_data().unwrap_or_default();
                reader.push(&data).map_err(wrong)?;
            }
            Ok(None) => return reader.finish().map_err(wrong),
            Ok(Some(Err(_))) | Err(_) => return Err(unread("it broke off")),
        }
    }
}
