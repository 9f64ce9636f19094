//! The path of one request: hear → identify → read → admit and judge → forward → pass on.
//!
//! Each stage takes what the one before found and either goes on or says why not; a refusal at any stage ends
//! in [`crate::refuse`], and every way out finishes the ticket.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AsHeaderName, CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use smol_str::SmolStr;
use tokenwatch_model::account::Ask;
use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_model::scope::ScopeQuery;
use tokenwatch_model::usage::PriceSource;
use tokenwatch_wire::encoding::{self, DecodeError, Encoding};
use tokenwatch_wire::price::Price;
use tokenwatch_wire::request::{self, ParsedRequest};
use tokenwatch_wire::route::BodyKind;

use crate::answer::AnswerBody;
use crate::body::{BodyLimits, OutBody, ReadBodyError, Upload, discard, read_whole};
use crate::flight::Flight;
use crate::forward::{self, Outbound};
use crate::gateway::Gateway;
use crate::live::{Admitted, Denied};
use crate::pool::Pool;
use crate::refuse::{Stop, refuse};
use crate::registry::{Issue, KeyEntry};
use crate::sender::Sender;
use crate::settings::{HttpLimits, Settings};
use crate::source::Peer;
use crate::target::{Target, guess_dialect};
use crate::ticket::{Consumed, Ticket};
use crate::{batch, credential, drill, health, strict};

pub(crate) const NOT_REHEARSED: &str = "a drill rehearses requests with JSON bodies only, and no batches";

/// Answers one request, whatever it is.
pub(crate) async fn answer(
    gateway: Arc<Gateway>,
    pool: Arc<Pool>,
    peer: Peer,
    sender: &Sender,
    mut request: Request<Incoming>,
) -> Response<AnswerBody> {
    if let Some(response) = health::answer(&gateway, &request) {
        return response;
    }
    let settings: Arc<Settings> = gateway.settings().clone();
    let source = peer.source(&gateway, &settings, request.headers());
    let client = sender.client(request.headers());
    let mut ticket = Ticket::open(&gateway, source, client);
    let dialect = guess_dialect(request.headers(), request.uri().path());
    if let Some(open) = ticket.get() {
        open.dialect = dialect;
    }
    let heard = match hear(&settings, &mut ticket, &request).await {
        Ok(heard) => heard,
        Err(stop) => {
            // A client that asked whether to send its body must not be told to.
            if !request.headers().contains_key(http::header::EXPECT) {
                discard(request.into_body()).await;
            }
            return refuse(&settings, ticket, stop);
        }
    };
    if heard.target.endpoint == Endpoint::Realtime {
        if ticket.claimed().is_some() {
            return refuse(&settings, ticket, Stop::because(Refusal::BadHttp, NOT_REHEARSED));
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, _) = request.into_parts();
        // Boxed, so that ordinary requests do not carry its room.
        return Box::pin(crate::tunnel::open(settings, pool, ticket, heard, parts, upgrade)).await;
    }
    let (parts, body) = request.into_parts();
    let prepared = match prepare(&settings, &pool, &mut ticket, &heard, &parts, body).await {
        Ok(prepared) => prepared,
        Err(stop) => return refuse(&settings, ticket, stop),
    };
    let admitted = match admit(&mut ticket, &prepared) {
        Ok(admitted) => admitted,
        Err(stop) => return refuse(&settings, ticket, stop),
    };
    let outbound = Outbound { settings, pool, heard, parts, prepared, admitted };
    forward::send(outbound, ticket).await
}

/// What is known once the head was read.
pub(crate) struct Heard {
    pub(crate) target: Target,
    pub(crate) entry: Arc<KeyEntry>,
}

/// Checks the head, finds the key, and refuses what needs no body to refuse.
async fn hear(settings: &Settings, ticket: &mut Ticket, request: &Request<Incoming>) -> Result<Heard, Stop> {
    let head = HeadRef { method: request.method(), uri: request.uri(), headers: request.headers() };
    check_head(request)?;
    let gateway = ticket.gateway().clone();
    let (entry, issue) = identify(&gateway, ticket, &head)?;
    let mut target = Target::find(settings, head.method, head.uri, head.headers);
    if let (Some(claimed), Ok(target)) = (ticket.claimed(), &mut target) {
        let mock = claimed.provider(&target.provider.name);
        target.provider = mock.ok_or(Stop::plain(Refusal::UnknownRoute))?;
    }
    let Some(open) = ticket.get() else { return Err(Stop::plain(Refusal::Overloaded)) };
    open.context.key = entry.id;
    open.context.previous_credential = entry.replaced(issue).is_some();
    open.issue = issue;
    if let Ok(target) = &target {
        open.dialect = target.provider.dialect;
        open.context.endpoint = target.endpoint;
        open.context.provider = target.provider.name.clone();
        if let Some(model) = &target.model {
            open.context.model = model.clone();
        }
    }
    if ticket.claimed().is_none() {
        gateway.load_key(entry.id).await.map_err(Stop::plain)?;
    }
    let target = target?;
    let Some(open) = ticket.get() else { return Err(Stop::plain(Refusal::Overloaded)) };
    entry.usable_by(issue, open.context.time).map_err(Stop::plain)?;
    check_scope(&entry, open, target.model.as_deref())?;
    Ok(Heard { target, entry })
}

/// Finds the key by the credential. One that comes with the claim of a drill is looked for in the drill, and nowhere else.
fn identify(
    gateway: &Gateway,
    ticket: &mut Ticket,
    head: &HeadRef<'_>,
) -> Result<(Arc<KeyEntry>, Issue), Stop> {
    if let Some(claimed) = drill::claim(gateway, head.method, head.uri, head.headers)? {
        ticket.rehearse(Arc::new(claimed));
    }
    let presented = credential::find(head.headers, head.uri)
        .and_then(|bytes| {
            tokenwatch_model::credential::parse(bytes).map_err(|_| Refusal::MalformedCredential)
        })
        .map_err(Stop::plain)?;
    let found = ticket.live().entry(presented.key).and_then(|entry| {
        let issue = entry.recognise(&presented.hash)?;
        Some((entry, issue))
    });
    let (entry, issue) = found.ok_or(Stop::plain(Refusal::UnknownKey))?;
    Ok((entry, issue))
}

struct HeadRef<'a> {
    method: &'a Method,
    uri: &'a http::Uri,
    headers: &'a HeaderMap,
}

fn check_head(request: &Request<Incoming>) -> Result<(), Stop> {
    strict::check(request).map_err(|bad| Stop::because(Refusal::BadHttp, bad.0))
}

fn check_scope(entry: &KeyEntry, open: &crate::ticket::Open, model: Option<&str>) -> Result<(), Stop> {
    let context = &open.context;
    let query = ScopeQuery {
        provider: &context.provider,
        model,
        endpoint: context.endpoint,
        address: context.source.address,
        hour: context.time.hour_of_day(),
    };
    entry.policy.scope.check(&query).map_err(Stop::plain)
}

/// A request ready to be admitted.
pub(crate) struct Prepared {
    pub(crate) body: OutBody,
    /// Whether the usage chunk was asked for by us and must not reach the client.
    pub(crate) strip_usage: bool,
    /// Whether the body is no longer encoded as the client sent it.
    pub(crate) decoded: bool,
    pub(crate) ask: Ask,
}

async fn prepare(
    settings: &Settings,
    pool: &Pool,
    ticket: &mut Ticket,
    heard: &Heard,
    parts: &Parts,
    body: Incoming,
) -> Result<Prepared, Stop> {
    let limit =
        |default: u64| heard.entry.policy.scope.payload_bytes_max.map_or(default, |max| max.min(default));
    let http = &settings.http;
    // Some upload routes also take JSON, which is then read like any other.
    let is_json = header(&parts.headers, CONTENT_TYPE)
        .is_some_and(|kind| kind.trim_start().starts_with("application/json"));
    if heard.target.body == BodyKind::Upload && !is_json {
        // An upload may take as long as its answer: the body's own time is for what is held in memory.
        if ticket.claimed().is_some() {
            return Err(Stop::because(Refusal::BadHttp, NOT_REHEARSED));
        }
        let limits =
            BodyLimits { total: http.answer_timeout, ..body_limits(http, limit(http.upload_bytes_max)) };
        return prepare_upload(settings, ticket, heard, body, limits);
    }
    let limits = body_limits(http, limit(http.body_bytes_max));
    let bytes = read_whole(body, limits).await.map_err(stop_of_body)?;
    if ticket.claimed().is_some_and(|claimed| !claimed.is_for(&bytes)) {
        return Err(Stop::because(Refusal::MalformedCredential, "the drill claim is for another body"));
    }
    if heard.target.body == BodyKind::None && !bytes.is_empty() {
        return Err(Stop::because(Refusal::BadBody, "this call takes no body"));
    }
    let mut prepared = prepare_json(settings, ticket, heard, &parts.headers, bytes, limits.bytes_max)?;
    if batch::is_made_of_a_file(heard, &parts.method) {
        prepared.ask = batch::price(settings, pool, ticket, heard, &prepared.body).await?;
    }
    Ok(prepared)
}

fn body_limits(http: &HttpLimits, bytes_max: u64) -> BodyLimits {
    BodyLimits { bytes_max, stall: http.body_stall_timeout, total: http.body_timeout }
}

pub(crate) fn stop_of_body(error: ReadBodyError) -> Stop {
    match error {
        ReadBodyError::TooLarge(max) => Stop::because(
            Refusal::PayloadTooLarge,
            format!("The body is larger than the {max} bytes allowed."),
        ),
        ReadBodyError::Timeout => Stop::plain(Refusal::BodyTimeout),
        ReadBodyError::TooManyPieces => {
            Stop::because(Refusal::BadHttp, "the body comes in too many pieces: send larger ones")
        }
        ReadBodyError::Broken => {
            Stop::because(Refusal::BadHttp, "the body broke off or its framing is wrong")
        }
    }
}

fn prepare_json(
    settings: &Settings,
    ticket: &mut Ticket,
    heard: &Heard,
    headers: &HeaderMap,
    bytes: Bytes,
    limit: u64,
) -> Result<Prepared, Stop> {
    let gateway = ticket.gateway().clone();
    let claimed = ticket.claimed();
    let Some(open) = ticket.get() else { return Err(Stop::plain(Refusal::Overloaded)) };
    open.context.request_bytes = bytes.len() as u64;
    if bytes.is_empty() {
        return Ok(Prepared {
            body: OutBody::Whole(None),
            strip_usage: false,
            decoded: false,
            ask: Ask { tokens: 0, cost: Default::default() },
        });
    }
    let wrong = |error: DecodeError| match error {
        DecodeError::TooLarge { .. } => Stop::because(Refusal::PayloadTooLarge, error.to_string()),
        _ => Stop::because(Refusal::BadBody, error.to_string()),
    };
    let coding = Encoding::from_header(header(headers, CONTENT_ENCODING)).map_err(wrong)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let plain = encoding::decode(&bytes, coding, limit).map_err(wrong)?;
    let dialect = heard.target.provider.dialect;
    let key = &settings.shape_key;
    let mut read = request::parse_form(dialect, heard.target.endpoint, &plain, key).map_err(|error| {
        Stop { field: error.field(), ..Stop::because(Refusal::BadBody, error.to_string()) }
    })?;
    let rewritten = request::with_include_usage(&plain, &read.request);
    let ask = take_parsed(settings, open, heard, &read.request);
    let live = claimed.as_ref().map_or(&gateway.live, |claimed| &claimed.drilling.live);
    open.reads_content = live.reads_content(&open.context);
    if open.reads_content {
        read.read_content(key);
        open.context.shape = read.request.shape;
    }
    if let Some(claimed) = &claimed {
        claimed.body(open);
    }
    check_model(heard, open)?;
    if !read.request.further_models.iter().all(|model| heard.entry.policy.scope.allows_model(model)) {
        return Err(Stop::plain(Refusal::ModelNotInScope));
    }
    let strip_usage = rewritten.is_some();
    let (bytes, decoded) = match rewritten {
        Some(rewritten) => (Bytes::from(rewritten), coding != Encoding::Identity),
        None => (bytes, false),
    };
    Ok(Prepared { body: OutBody::Whole(Some(bytes)), strip_usage, decoded, ask })
}

/// A model scope holds wherever a model is used: a request that names none has to be refused too.
fn check_model(heard: &Heard, open: &crate::ticket::Open) -> Result<(), Stop> {
    let generates = !matches!(
        open.context.endpoint,
        Endpoint::Files | Endpoint::Models | Endpoint::Batches | Endpoint::Administration | Endpoint::Other
    );
    if generates && !heard.entry.policy.scope.allows_model(&open.context.model) {
        return Err(Stop::plain(Refusal::ModelNotInScope));
    }
    Ok(())
}

/// Copies what was read into the context and works out the worst case.
fn take_parsed(
    settings: &Settings,
    open: &mut crate::ticket::Open,
    heard: &Heard,
    parsed: &ParsedRequest,
) -> Ask {
    let context = &mut open.context;
    if !parsed.model.is_empty() {
        context.model = parsed.model.clone();
    }
    context.stream = parsed.stream;
    context.shape = parsed.shape;
    context.input_tokens_estimate = parsed.input_tokens_estimate;
    context.output_tokens_max = parsed.output_tokens_max;
    let provider = &heard.target.provider;
    open.price = settings.prices.find(&provider.prices_as, &open.context.model);
    // What an OpenAI batch consumes stands in a file, see `batch::price`.
    let is_unread = open.context.endpoint == Endpoint::Batches && provider.dialect == Dialect::OpenAi;
    if !consumes_tokens(open.context.endpoint) || is_unread {
        return Ask { tokens: 0, cost: Default::default() };
    }
    let reserve = settings.reserve_output_tokens;
    let output = match open.context.endpoint {
        Endpoint::Embeddings | Endpoint::Moderations => 0,
        _ => parsed.output_tokens_stated.saturating_add(reserve.saturating_mul(parsed.outputs_unlimited)),
    };
    if open.context.endpoint == Endpoint::Batches {
        open.context.output_tokens_max = output;
        open.price = batch_price(settings, &provider.prices_as, open.price, &parsed.further_models);
    }
    let input = open.context.input_tokens_estimate;
    open.context.cost_worst = tokenwatch_wire::price::worst_case(input, output, &open.price.0);
    Ask { tokens: input.saturating_add(output), cost: open.context.cost_worst }
}

/// A batch is priced as a whole, at the dearest of its models: how its tokens spread over them is not kept.
pub(crate) fn batch_price(
    settings: &Settings,
    prices_as: &str,
    first: (Price, PriceSource),
    further: &[SmolStr],
) -> (Price, PriceSource) {
    let others = further.iter().map(|model| settings.prices.find(prices_as, model));
    let (price, source) = others.fold(first, |(dearest, source), (price, other)| {
        (dearest.max(price), if other == PriceSource::Exact { source } else { other })
    });
    (price.in_batch(), source)
}

pub(crate) const fn consumes_tokens(endpoint: Endpoint) -> bool {
    !matches!(endpoint, Endpoint::Models | Endpoint::Files | Endpoint::CountTokens | Endpoint::Administration)
}

/// Uploads stream through: their content is not read, so they are priced at the provider's dearest rate.
fn prepare_upload(
    settings: &Settings,
    ticket: &mut Ticket,
    heard: &Heard,
    body: Incoming,
    limits: BodyLimits,
) -> Result<Prepared, Stop> {
    use http_body::Body as _;
    let size = body.size_hint();
    if size.lower() > limits.bytes_max {
        return Err(stop_of_body(ReadBodyError::TooLarge(limits.bytes_max)));
    }
    let Some(open) = ticket.get() else { return Err(Stop::plain(Refusal::Overloaded)) };
    open.context.request_bytes = size.exact().unwrap_or(0);
    open.price = settings.prices.find(&heard.target.provider.prices_as, &open.context.model);
    check_model(heard, open)?;
    let mut ask = Ask { tokens: 0, cost: Default::default() };
    if consumes_tokens(open.context.endpoint) {
        let input = size.lower() / 4;
        open.context.input_tokens_estimate = input;
        open.context.cost_worst =
            tokenwatch_wire::price::worst_case(input, settings.reserve_output_tokens, &open.price.0);
        ask = Ask {
            tokens: input.saturating_add(settings.reserve_output_tokens),
            cost: open.context.cost_worst,
        };
    }
    let body = OutBody::Upload(Upload::new(body, limits));
    Ok(Prepared { body, strip_usage: false, decoded: false, ask })
}

/// Admits and judges: one decision under one lock.
pub(crate) fn admit(ticket: &mut Ticket, prepared: &Prepared) -> Result<Admission, Stop> {
    let (gateway, claimed) = (ticket.gateway().clone(), ticket.claimed());
    let live = claimed.as_ref().map_or(&gateway.live, |claimed| &claimed.drilling.live);
    let Some(open) = ticket.get() else { return Err(Stop::plain(Refusal::Overloaded)) };
    // The owner's other keys are asked about a stand-in as about its key.
    let key = claimed.as_ref().map_or(open.context.key, |claimed| claimed.drilling.drill.key);
    open.context.siblings = gateway.live.siblings(key, &open.context);
    let actor = tokenwatch_detect::actor_of(&open.context);
    let flight = Arc::new(Flight::new(open.context.clone(), actor, open.issue));
    let Admitted { reservation, decision, requests_room, tokens_room } =
        live.admit(&flight, prepared.ask).map_err(|denied: Denied| {
            // The key was rotated since its credential was heard.
            open.context.previous_credential |= denied.refusal == Refusal::Rotated;
            Stop::denied(denied)
        })?;
    if claimed.is_none() {
        gateway.metrics.verdicts.inc((decision,));
    }
    open.reservation = Some(reservation);
    open.flight = Some(flight);
    Ok(Admission { requests_room, tokens_room })
}

/// Room left after admission, for headers.
pub(crate) struct Admission {
    pub(crate) requests_room: Option<tokenwatch_model::account::Room>,
    pub(crate) tokens_room: Option<tokenwatch_model::account::Room>,
}

/// Prices a request by the model that answered, where the model asked for has no price of its own.
pub(crate) fn reprice(settings: &Settings, ticket: &mut Ticket, model: &str) {
    let Some(open) = ticket.get() else { return };
    if open.price.1 == PriceSource::Exact || open.context.endpoint == Endpoint::Batches {
        return;
    }
    let prices_as = settings
        .providers
        .iter()
        .find(|provider| provider.name == open.context.provider)
        .map_or("", |provider| provider.prices_as.as_str());
    let found = settings.prices.find(prices_as, model);
    if found.1 != PriceSource::Dearest {
        open.price = found;
    }
}

/// The text of a header field, when it is text.
pub(crate) fn header(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A plain answer of our own that is not a refusal; finishes the ticket as served.
pub(crate) fn own_answer(
    mut ticket: Ticket,
    status: StatusCode,
    body: Bytes,
    consumed: Consumed,
) -> Response<AnswerBody> {
    if let Some(open) = ticket.get() {
        open.status = status.as_u16();
        open.response_bytes = body.len() as u64;
    }
    ticket.finish(Outcome::Served, consumed);
    let mut response = Response::new(AnswerBody::whole(body));
    *response.status_mut() = status;
    response
}

/// Records a connection whose bytes were not HTTP: somebody probing, or a broken client.
pub(crate) fn record_malformed(gateway: &Arc<Gateway>, peer: Peer) {
    let settings = gateway.settings().clone();
    let source = peer.source(gateway, &settings, &HeaderMap::new());
    let mut ticket = Ticket::open(gateway, source, Default::default());
    if let Some(open) = ticket.get() {
        open.status = Refusal::BadHttp.status();
    }
    ticket.finish(Outcome::Refused(Refusal::BadHttp), Consumed::default());
}
