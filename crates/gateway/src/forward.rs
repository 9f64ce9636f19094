//! Forwarding: the client's bytes with the provider's credential, and the head of the answer back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, PROXY_AUTHENTICATE,
    SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version};
use tokenwatch_model::account::Room;
use tokenwatch_model::id::RequestId;
use tokenwatch_model::outcome::{Refusal, UpstreamFailure};
use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_wire::encoding::{self, Encoding};
use tokenwatch_wire::tap::{Tap, TapConfig};

use crate::answer::{AnswerBody, Passing, PassingParts, Return, drain};
use crate::body::OutBody;
use crate::breaker::Permit;
use crate::credential::{is_credential_field, mentions_key};
use crate::flight::Flight;
use crate::line::Inflow;
use crate::path::{Admission, Heard, Prepared, header, stop_of_body};
use crate::pool::{ExchangeError, Pool};
use crate::refuse::{Stop, refuse, report_cut, upstream_failed};
use crate::settings::{Credential, Provider, Settings, credential_field};
use crate::strict::{is_hop_or_override, named_in_connection};
use crate::ticket::{Consumed, Open, Ticket};

/// An admitted request.
pub(crate) struct Outbound {
    pub(crate) settings: Arc<Settings>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) heard: Heard,
    pub(crate) parts: Parts,
    pub(crate) prepared: Prepared,
    pub(crate) admitted: Admission,
}

/// What must be known of the request when its answer arrives.
struct Sent {
    settings: Arc<Settings>,
    pool: Arc<Pool>,
    provider: Arc<Provider>,
    endpoint: Endpoint,
    scope_filters_models: bool,
    /// Our own address, where Anthropic's batches must not lead the client past us.
    results_base: Option<String>,
    strip_usage: bool,
    reads_content: bool,
    admitted: Admission,
    held: tokenwatch_model::money::NanoUsd,
    /// Whether the connection can serve others afterwards: not when an upload may still be under way on it.
    reusable: bool,
    entry: Arc<crate::registry::KeyEntry>,
}

/// Sends an admitted request and passes the answer on. When the client leaves meanwhile, a request that the
/// provider charges whole is seen through for its usage.
pub(crate) async fn send(outbound: Outbound, mut ticket: Ticket) -> Response<AnswerBody> {
    let Outbound { settings, pool, heard, parts, prepared, admitted } = outbound;
    let provider = heard.target.provider.clone();
    let Prepared { body, strip_usage, decoded, ask } = prepared;
    let is_batch = heard.target.endpoint == Endpoint::Batches && provider.dialect == Dialect::Anthropic;
    let results_base = is_batch.then(|| own_base(&parts, &heard.target.prefix)).flatten();
    let headers = outgoing_headers(parts.headers, decoded, strip_usage, &provider);
    let Ok(uri) = heard.target.path_and_query.parse::<Uri>() else {
        return refuse(&settings, ticket, Stop::plain(Refusal::BadHttp));
    };
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    *request.version_mut() = Version::HTTP_11;
    let (stream, reads_content) =
        ticket.get().map_or((false, false), |open| (open.context.stream, open.reads_content));
    let is_whole = matches!(request.body(), OutBody::Whole(_));
    let sent = Sent {
        settings,
        pool,
        provider,
        endpoint: heard.target.endpoint,
        scope_filters_models: heard.target.endpoint == Endpoint::Models && heard.target.model.is_none(),
        results_base,
        strip_usage,
        reads_content,
        admitted,
        held: ask.cost,
        entry: heard.entry,
        reusable: is_whole,
    };
    // A stream stops at the provider when its connection goes; an upload has lost its source.
    let see_through = is_whole && !stream;
    let (id, flight) = (ticket.id(), ticket.get().and_then(|open| open.flight.clone()));
    let (settings, dialect) = (sent.settings.clone(), sent.provider.dialect);
    let exchange = SeeThrough { running: Some(Box::pin(exchange(sent, request, ticket))), see_through };
    match until_cut(flight.as_deref(), exchange).await {
        Ok(Exchanged::Answer(sent, ticket, response)) => pass_on(sent, ticket, response).await,
        Ok(Exchanged::Done(response)) => response,
        Err(refusal) => report_cut(&settings, dialect, id, refusal),
    }
}

/// Waits for `future`, but no longer than until the request is cut; the future is then dropped. What the caller is to
/// be told instead is the error.
pub(crate) async fn until_cut<F: Future>(flight: Option<&Flight>, future: F) -> Result<F::Output, Refusal> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        if let Some((flight, cut)) = flight.and_then(|flight| Some((flight, flight.poll_cut(cx)?))) {
            return Poll::Ready(Err(flight.refusal(cut)));
        }
        future.as_mut().poll(cx).map(Ok)
    })
    .await
}

enum Exchanged {
    Answer(Sent, Ticket, Response<Inflow>),
    Done(Response<AnswerBody>),
}

type Running = Pin<Box<dyn Future<Output = Exchanged> + Send>>;

/// An exchange that goes on by itself when its waiter is dropped, if the provider charges it whole anyway.
struct SeeThrough {
    running: Option<Running>,
    see_through: bool,
}

impl Future for SeeThrough {
    type Output = Exchanged;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Exchanged> {
        let Some(running) = self.running.as_mut() else { return Poll::Pending };
        let polled = running.as_mut().poll(cx);
        if polled.is_ready() {
            self.running = None;
        }
        polled
    }
}

impl Drop for SeeThrough {
    fn drop(&mut self) {
        let Some(running) = self.running.take().filter(|_| self.see_through) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Exchanged::Answer(sent, mut ticket, response) = running.await {
                let Some(open) = ticket.get() else { return };
                open.status = response.status().as_u16();
                let (tap, _) = make_tap(&sent, &response);
                drain(response.into_body(), tap, ticket).await;
            }
        });
    }
}

/// Tries the provider's credentials in order until one gives an answer to pass on.
async fn exchange(sent: Sent, request: Request<OutBody>, mut ticket: Ticket) -> Exchanged {
    let gateway = ticket.gateway().clone();
    let provider = sent.provider.clone();
    let mut template = Some(request);
    let mut wait = None;
    let mut last: Option<ExchangeError> = None;
    // What one credential was answered, should no other do better.
    let mut spare = None;
    for (i, credential) in provider.credentials.iter().enumerate() {
        let Some(value) = credential.value() else { continue };
        match credential.breaker.lock().permit(gateway.uptime()) {
            Permit::Closed | Permit::Probe => {}
            Permit::Open(left) => {
                wait = Some(wait.map_or(left, |wait: std::time::Duration| wait.min(left)));
                continue;
            }
        }
        let is_last = i + 1 == provider.credentials.len();
        let Some(mut attempt) = next_attempt(&mut template, is_last) else { break };
        attempt.headers_mut().insert(credential_field(provider.dialect), (*value).clone());
        let http = &sent.settings.http;
        if let Some(open) = ticket.get() {
            open.forwarded = true;
        }
        let asked = std::time::Instant::now();
        let exchanged =
            sent.pool.exchange(&provider.origin, attempt, http.connect_timeout, http.answer_timeout).await;
        if let Some(open) = ticket.get() {
            open.provider_us += asked.elapsed().as_micros() as u64;
        }
        match exchanged {
            Ok(response) => {
                let status = response.status();
                report(credential, status, gateway.uptime());
                if is_last || template.is_none() || !tries_next(status) {
                    return Exchanged::Answer(sent, ticket, response);
                }
                spare = Some(response);
            }
            Err(ExchangeError { body: Some(error), .. }) => {
                // The client's upload broke off: no fault of the provider's.
                return Exchanged::Done(refuse(&sent.settings, ticket, stop_of_body(error)));
            }
            Err(error) => {
                credential.breaker.lock().fail(gateway.uptime());
                tracing::warn!(provider.name = %provider.name, failure = ?error.failure, detail = %error.detail, "provider failed");
                let unsent = error.failure == UpstreamFailure::Connect;
                last = Some(error);
                if !unsent {
                    break;
                }
                if let Some(open) = ticket.get() {
                    open.forwarded = false;
                }
            }
        }
    }
    // A later credential's provider may have begun to work, and charge for it: that is what has to be told then.
    let in_doubt = last.as_ref().is_some_and(|error| error.failure != UpstreamFailure::Connect);
    match spare.filter(|_| !in_doubt) {
        Some(response) => {
            if let Some(open) = ticket.get() {
                open.forwarded = true;
            }
            Exchanged::Answer(sent, ticket, response)
        }
        None => Exchanged::Done(give_up(&sent.settings, ticket, last, wait)),
    }
}

/// The request for one more attempt: a copy while others may follow, the request itself for the last.
fn next_attempt(template: &mut Option<Request<OutBody>>, is_last: bool) -> Option<Request<OutBody>> {
    let copy = match template.as_ref()?.body() {
        OutBody::Whole(bytes) if !is_last => Some(OutBody::Whole(bytes.clone())),
        // A stream can be sent once.
        _ => None,
    };
    let Some(body) = copy else { return template.take() };
    let template = template.as_ref()?;
    let mut request = Request::new(body);
    *request.method_mut() = template.method().clone();
    *request.uri_mut() = template.uri().clone();
    *request.headers_mut() = template.headers().clone();
    Some(request)
}

/// Statuses after which another credential may do better: ours is refused, or its quota is used up.
pub(crate) fn tries_next(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS)
}

/// Tells a credential's breaker, and the log, what the provider answered.
pub(crate) fn report(credential: &Credential, status: StatusCode, now: std::time::Duration) {
    let refused = status == StatusCode::UNAUTHORIZED;
    if refused && !credential.refused.swap(true, Ordering::AcqRel) {
        tracing::error!(credential.source = %credential.source, "the provider refuses this credential");
    } else if !refused {
        credential.refused.store(false, Ordering::Release);
    }
    let mut breaker = credential.breaker.lock();
    if status.is_server_error() {
        breaker.fail(now);
    } else {
        breaker.succeed();
    }
}

fn give_up(
    settings: &Settings,
    mut ticket: Ticket,
    last: Option<ExchangeError>,
    wait: Option<std::time::Duration>,
) -> Response<AnswerBody> {
    if let Some(error) = last {
        let consumed = match error.failure {
            UpstreamFailure::Connect => Consumed::default(),
            // The provider may have worked, and charge for it: doubt is not in the spender's favour.
            UpstreamFailure::Timeout => ticket.worst_case(),
            _ => ticket.input_only(),
        };
        return upstream_failed(ticket, error.failure, consumed);
    }
    let stop = match wait {
        Some(wait) => {
            Stop { retry_after_us: Some(wait.as_micros() as u64), ..Stop::plain(Refusal::CircuitOpen) }
        }
        None => Stop::plain(Refusal::NoProviderCredential),
    };
    refuse(settings, ticket, stop)
}

/// The client's header fields without what must not travel. `plain` asks for an answer that is not compressed,
/// because something will be taken out of it.
pub(crate) fn outgoing_headers(
    mut headers: HeaderMap,
    decoded: bool,
    plain: bool,
    provider: &Provider,
) -> HeaderMap {
    let mut dropped = named_in_connection(&headers);
    for (name, value) in &headers {
        let is_dropped = is_hop_or_override(name)
            || is_credential_field(name.as_str())
            || name == crate::drill::HEADER
            || mentions_key(value.as_bytes())
            || name == CONTENT_LENGTH
            || (decoded && name == CONTENT_ENCODING);
        if is_dropped {
            dropped.push(name.clone());
        }
    }
    // Most fields stay: taking out the others is less work than copying these.
    for name in dropped {
        headers.remove(name);
    }
    let accepted =
        if plain { "identity" } else { encoding::accept_encoding(header(&headers, ACCEPT_ENCODING)) };
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
    if let Ok(host) = HeaderValue::from_str(&provider.origin.authority()) {
        headers.insert(HOST, host);
    } else {
        headers.remove(HOST);
    }
    headers
}

/// The address the client reached us by.
fn own_base(parts: &Parts, prefix: &str) -> Option<String> {
    let host = header(&parts.headers, HOST).or_else(|| parts.uri.authority().map(|a| a.as_str()))?;
    let is_tls = parts.extensions.get::<OverTls>().is_some()
        || header(&parts.headers, "x-forwarded-proto")
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    Some(format!("{}://{host}{prefix}", if is_tls { "https" } else { "http" }))
}

/// Marks requests that came over our own TLS.
#[derive(Clone, Copy)]
pub(crate) struct OverTls;

fn is_json(response: &Response<Inflow>) -> bool {
    header(response.headers(), CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"))
}

/// The tap for an answer, and whether the answer is an event stream.
fn make_tap(sent: &Sent, response: &Response<Inflow>) -> (Tap, bool) {
    let content_type = header(response.headers(), CONTENT_TYPE).unwrap_or_default();
    let stream = content_type.trim_start().to_ascii_lowercase().starts_with("text/event-stream");
    // An encoding we did not ask for and can not read: the answer passes, its usage is estimated.
    let encoding = Encoding::from_header(header(response.headers(), CONTENT_ENCODING)).unwrap_or_default();
    let tap = Tap::new(TapConfig {
        dialect: sent.provider.dialect,
        endpoint: sent.endpoint,
        stream,
        strip_usage: sent.strip_usage && stream,
        encoding,
        body_limit: TAP_MAX,
        content: sent.settings.shape_key.content().filter(|_| sent.reads_content),
    });
    (tap, stream)
}

/// Most bytes the tap holds of one event or member.
const TAP_MAX: usize = 1 << 20;

/// Turns the provider's head into ours and lets the body pass through.
async fn pass_on(sent: Sent, mut ticket: Ticket, response: Response<Inflow>) -> Response<AnswerBody> {
    if response.status() == StatusCode::UNAUTHORIZED {
        // The provider refuses our credential, not the client's: a 401 would make the client doubt its key.
        let failed =
            Stop::because(Refusal::NoProviderCredential, "The provider refuses the gateway's credential.");
        return refuse(&sent.settings, ticket, failed);
    }
    if sent.scope_filters_models && sent.entry.policy.scope.models.is_some() && response.status().is_success()
    {
        return crate::lists::filtered_models(&sent.entry, &sent.admitted, ticket, response).await;
    }
    if let Some(base) = sent.results_base.as_deref().filter(|_| is_json(&response)) {
        return crate::lists::own_results_url(base, &sent.admitted, ticket, response).await;
    }
    let (tap, stream) = make_tap(&sent, &response);
    let (mut head, body) = response.into_parts();
    let keeps_length = !(stream && sent.strip_usage);
    clean_answer(&mut head.headers, keeps_length);
    let Some(open) = ticket.get() else { return Response::new(AnswerBody::Whole(None)) };
    open.status = head.status.as_u16();
    let overhead_us = overhead_us(open);
    add_own_headers(&mut head.headers, ticket.id(), overhead_us, &sent.admitted);
    let back = Return { pool: sent.pool, provider: sent.provider };
    let mut passing = Passing::new(PassingParts {
        body,
        tap,
        stream,
        keeps_length,
        ticket,
        back: sent.reusable.then_some(back),
        stall: sent.settings.http.answer_stall_timeout,
        held: sent.held,
    });
    passing.end_if_empty();
    let mut answer = Response::new(AnswerBody::Passing(Box::new(passing)));
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    answer
}

/// Removes hop-by-hop fields of the provider's connection.
pub(crate) fn clean_answer(headers: &mut HeaderMap, keeps_length: bool) {
    for name in named_in_connection(headers) {
        headers.remove(name);
    }
    for name in &DROPPED_OF_ANSWER {
        headers.remove(name);
    }
    if !keeps_length {
        headers.remove(CONTENT_LENGTH);
    }
}

/// Hop-by-hop fields, and cookies: those of the provider's edge belong to the gateway, not to the client.
static DROPPED_OF_ANSWER: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    SET_COOKIE,
];

static REQUEST_ID: HeaderName = HeaderName::from_static("x-tokenwatch-request-id");
static OVERHEAD_US: HeaderName = HeaderName::from_static("x-tokenwatch-overhead-us");
/// Limit, remaining, reset.
static REQUESTS_ROOM: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
static TOKENS_ROOM: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Time the gateway itself took so far.
pub(crate) fn overhead_us(open: &Open) -> u64 {
    (open.started.elapsed().as_micros() as u64).saturating_sub(open.provider_us)
}

pub(crate) fn add_own_headers(
    headers: &mut HeaderMap,
    id: RequestId,
    overhead_us: u64,
    admitted: &Admission,
) {
    headers.reserve(8);
    if let Ok(id) = HeaderValue::from_bytes(&id.to_ascii()) {
        headers.insert(&REQUEST_ID, id);
    }
    headers.insert(&OVERHEAD_US, overhead_us.into());
    // The key's own limits where it has some; otherwise the provider's stand.
    if let Some(room) = &admitted.requests_room {
        put_room(headers, &REQUESTS_ROOM, room);
    }
    if let Some(room) = &admitted.tokens_room {
        put_room(headers, &TOKENS_ROOM, room);
    }
}

fn put_room(headers: &mut HeaderMap, names: &'static [HeaderName; 3], room: &Room) {
    let [limit, remaining, reset] = names;
    headers.insert(limit, room.limit.into());
    headers.insert(remaining, room.remaining.into());
    if let Ok(value) = HeaderValue::try_from(format!("{}ms", room.reset_us.div_ceil(1_000))) {
        headers.insert(reset, value);
    }
}
