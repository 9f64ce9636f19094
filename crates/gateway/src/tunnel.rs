//! Websockets (OpenAI realtime): the upgrade passes, then bytes flow both ways until either side ends, the
//! key is contained, or nothing moves for too long.
//!
//! What flows inside is not read; it is booked by bytes and flagged as estimated.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use smol_str::SmolStr;
use tokenwatch_model::account::Ask;
use tokenwatch_model::outcome::{Outcome, Refusal, UpstreamFailure};
use tokenwatch_model::usage::{TokenUsage, UsageSource};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::answer::AnswerBody;
use crate::body::OutBody;
use crate::credential::decode_percent;
use crate::flight::Flight;
use crate::forward::{clean_answer, outgoing_headers};
use crate::path::{Heard, Prepared, admit, header};
use crate::pool::Pool;
use crate::refuse::{Stop, refuse, upstream_failed};
use crate::settings::{Settings, credential_field};
use crate::ticket::{Consumed, Ticket};

/// Time without a byte in either direction after which a tunnel ends.
const IDLE_MAX: Duration = Duration::from_secs(15 * 60);
const BUFFER: usize = 16 * 1024;

/// Opens a tunnel to the provider, or refuses.
pub(crate) async fn open(
    settings: Arc<Settings>,
    pool: Arc<Pool>,
    mut ticket: Ticket,
    heard: Heard,
    parts: Parts,
    client: OnUpgrade,
) -> Response<AnswerBody> {
    let wanted =
        header(&parts.headers, UPGRADE.as_str()).is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
    if !wanted {
        let message = "This call needs an upgrade to a websocket.";
        return refuse(&settings, ticket, Stop::because(Refusal::BadHttp, message));
    }
    let Ok(in_query) = query_model(parts.uri.query()) else {
        let message = "The query must name the model once, without percent-encoding.";
        return refuse(&settings, ticket, Stop::because(Refusal::BadHttp, message));
    };
    let model = heard.target.model.clone().or(in_query);
    if let Some(open) = ticket.get() {
        open.context.model = model.unwrap_or_default();
        open.context.stream = true;
        open.price = settings.prices.find(&heard.target.provider.prices_as, &open.context.model);
        if !heard.entry.policy.scope.allows_model(&open.context.model) {
            return refuse(&settings, ticket, Stop::plain(Refusal::ModelNotInScope));
        }
    }
    let ask = ask(&settings, &mut ticket);
    let prepared = Prepared { body: OutBody::Whole(None), strip_usage: false, decoded: false, ask };
    if let Err(stop) = admit(&mut ticket, &prepared) {
        return refuse(&settings, ticket, stop);
    }
    let provider = heard.target.provider.clone();
    let Some(value) = provider.credentials.iter().find_map(|credential| credential.value()) else {
        return refuse(&settings, ticket, Stop::plain(Refusal::NoProviderCredential));
    };
    let mut request = Request::new(OutBody::Whole(None));
    *request.uri_mut() = heard.target.path_and_query.parse().unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = outgoing_headers(&parts.headers, false, true, &provider);
    let headers = request.headers_mut();
    clean_protocols(headers);
    headers.insert(credential_field(provider.dialect), (*value).clone());
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(open) = ticket.get() {
        open.forwarded = true;
    }
    let http = &settings.http;
    match pool.exchange(&provider.origin, request, http.connect_timeout, http.answer_timeout).await {
        Ok((response, _)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            switch(ticket, response, client)
        }
        Ok((response, _)) => {
            tracing::info!(provider.name = %provider.name, status = response.status().as_u16(), "upgrade refused by the provider");
            upstream_failed(ticket, UpstreamFailure::Garbage, Consumed::default())
        }
        Err(error) => upstream_failed(ticket, error.failure, Consumed::default()),
    }
}

/// The model in a query. What another reader could take for another model is an error: named twice, or
/// written with escapes.
fn query_model(query: Option<&str>) -> Result<Option<SmolStr>, ()> {
    let mut found = None;
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !decode_percent(name).eq_ignore_ascii_case(b"model") {
            continue;
        }
        if name != "model" || value.contains(['%', '+']) || found.replace(SmolStr::new(value)).is_some() {
            return Err(());
        }
    }
    Ok(found)
}

/// Browsers put a key into the list of protocols; it must not travel on.
fn clean_protocols(headers: &mut http::HeaderMap) {
    const KEY: &str = "openai-insecure-api-key.";
    let Some(protocols) = headers.remove("sec-websocket-protocol") else { return };
    let kept: Vec<&str> = protocols
        .to_str()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|protocol| !protocol.is_empty() && !protocol.starts_with(KEY))
        .collect();
    if let Ok(kept) = HeaderValue::from_str(&kept.join(", ")) {
        headers.insert("sec-websocket-protocol", kept);
    }
}

/// A session is open-ended: what is held for it is the output reserve of one request.
fn ask(settings: &Settings, ticket: &mut Ticket) -> Ask {
    let Some(open) = ticket.get() else { return Ask { tokens: 0, cost: Default::default() } };
    let tokens = settings.reserve_output_tokens;
    open.context.cost_worst = tokenwatch_wire::price::worst_case(0, tokens, &open.price.0);
    Ask { tokens, cost: open.context.cost_worst }
}

fn switch(
    mut ticket: Ticket,
    mut response: Response<hyper::body::Incoming>,
    client: OnUpgrade,
) -> Response<AnswerBody> {
    let server = hyper::upgrade::on(&mut response);
    let (mut head, _) = response.into_parts();
    clean_answer(&mut head.headers, false);
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(open) = ticket.get() {
        open.status = StatusCode::SWITCHING_PROTOCOLS.as_u16();
    }
    let flight = ticket.get().and_then(|open| open.flight.clone());
    tokio::spawn(async move {
        let (up, down, outcome) = match tokio::try_join!(client, server) {
            Ok((client, server)) => relay(TokioIo::new(client), TokioIo::new(server), flight).await,
            Err(_) => (0, 0, Outcome::ClientLeft),
        };
        if let Some(open) = ticket.get() {
            open.context.request_bytes = up;
            open.response_bytes = down;
        }
        let usage = TokenUsage { input: up / 4, output: down / 4, ..TokenUsage::default() };
        ticket.finish(outcome, Consumed { usage, source: UsageSource::Estimated });
    });
    let mut answer = Response::new(AnswerBody::Whole(None));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = head.headers;
    answer
}

/// Copies both ways; returns bytes up, bytes down, and why it ended.
async fn relay<A, B>(client: A, server: B, flight: Option<Arc<Flight>>) -> (u64, u64, Outcome)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut server_read, mut server_write) = tokio::io::split(server);
    let (mut up, mut down) = (0, 0);
    let outcome = {
        let cut = std::future::poll_fn(|cx| {
            let Some(flight) = &flight else { return Poll::Pending };
            flight.poll_cut(cx).map_or(Poll::Pending, Poll::Ready)
        });
        tokio::select! {
            cut = cut => Outcome::Cut(cut),
            () = copy(&mut client_read, &mut server_write, &mut up) => Outcome::Served,
            () = copy(&mut server_read, &mut client_write, &mut down) => Outcome::Served,
        }
    };
    // Best effort: the peer may be gone already.
    let _ = server_write.shutdown().await;
    let _ = client_write.shutdown().await;
    (up, down, outcome)
}

async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), count: &mut u64) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let Ok(Ok(read)) = tokio::time::timeout(IDLE_MAX, from.read(&mut buffer)).await else { return };
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return };
        if to.write_all(bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
        *count += read as u64;
    }
}
