//! Websockets (OpenAI realtime): the upgrade passes, then bytes flow both ways until either side ends, the
//! key is contained, its budget ends, or nothing moves for too long.
//!
//! What flows inside is not read; it is booked by bytes and flagged as estimated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use smol_str::SmolStr;
use tokenwatch_model::account::Ask;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::{Cut, Outcome, Refusal, UpstreamFailure};
use tokenwatch_model::usage::{TokenUsage, UsageSource};
use tokenwatch_wire::price::Price;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::answer::AnswerBody;
use crate::body::OutBody;
use crate::breaker::Permit;
use crate::credential::decode_percent;
use crate::flight::Flight;
use crate::forward::{clean_answer, outgoing_headers, report, tries_next, until_cut};
use crate::gateway::Gateway;
use crate::line::Inflow;
use crate::live::SoFar;
use crate::path::{Heard, Prepared, admit, header};
use crate::pool::Pool;
use crate::refuse::{Stop, refuse, report_cut, upstream_failed};
use crate::settings::{Provider, Settings, credential_field};
use crate::ticket::{Consumed, Ticket};

/// Time without a byte in either direction after which a tunnel ends.
const IDLE_MAX: Duration = Duration::from_secs(15 * 60);
/// Time to say goodbye to both sides.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
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
    let wanted = header(&parts.headers, UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
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
    let mut headers = outgoing_headers(parts.headers, false, true, &provider);
    clean_protocols(&mut headers);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let uri: Uri = heard.target.path_and_query.parse().unwrap_or_default();
    let flight = ticket.get().and_then(|open| open.flight.clone());
    let reaching = reach(&settings, &pool, &provider, &mut ticket, |value| {
        let mut request = Request::new(OutBody::Whole(None));
        *request.uri_mut() = uri.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(credential_field(provider.dialect), value);
        request
    });
    let reached = match until_cut(flight.as_deref(), reaching).await {
        Ok(reached) => reached,
        // The ticket ends as cut when it is dropped.
        Err(refusal) => return report_cut(&settings, provider.dialect, ticket.id(), refusal),
    };
    match reached {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            switch(ticket, response, client, ask.cost)
        }
        Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
            let message = "The provider refuses the gateway's credential.";
            refuse(&settings, ticket, Stop::because(Refusal::NoProviderCredential, message))
        }
        Ok(response) => {
            tracing::info!(provider.name = %provider.name, status = response.status().as_u16(), "upgrade refused by the provider");
            upstream_failed(ticket, UpstreamFailure::Garbage, Consumed::default())
        }
        Err(Unreached::Failed(failure)) => upstream_failed(ticket, failure, Consumed::default()),
        Err(Unreached::NotAsked(stop)) => refuse(&settings, ticket, stop),
    }
}

/// Why the provider gave no answer.
enum Unreached {
    /// It was asked and failed.
    Failed(UpstreamFailure),
    /// It was not asked.
    NotAsked(Stop),
}

/// Asks with one credential after the other, as other requests do: one whose circuit is open is passed over, the next
/// one is tried where it may do better, and each breaker hears how it went. What becomes of a session that is open
/// says nothing about the provider's health, so no breaker hears of it.
async fn reach(
    settings: &Settings,
    pool: &Pool,
    provider: &Provider,
    ticket: &mut Ticket,
    request: impl Fn(HeaderValue) -> Request<OutBody>,
) -> Result<Response<Inflow>, Unreached> {
    let gateway = ticket.gateway().clone();
    let http = &settings.http;
    let mut wait: Option<Duration> = None;
    let mut last = None;
    for credential in &provider.credentials {
        let Some(value) = credential.value() else { continue };
        if let Permit::Open(left) = credential.breaker.lock().permit(gateway.uptime()) {
            wait = Some(wait.map_or(left, |wait| wait.min(left)));
            continue;
        }
        if let Some(open) = ticket.get() {
            open.forwarded = true;
        }
        let asked = request((*value).clone());
        match pool.exchange(&provider.origin, asked, http.connect_timeout, http.answer_timeout).await {
            Ok(response) => {
                report(credential, response.status(), gateway.uptime());
                let ends = !tries_next(response.status());
                last = Some(Ok(response));
                if ends {
                    break;
                }
            }
            Err(error) => {
                credential.breaker.lock().fail(gateway.uptime());
                tracing::warn!(provider.name = %provider.name, failure = ?error.failure, detail = %error.detail, "provider failed");
                // An answer of another credential tells more than this.
                last = last.or(Some(Err(Unreached::Failed(error.failure))));
                if error.failure != UpstreamFailure::Connect {
                    break;
                }
            }
        }
    }
    let none = || Stop::plain(Refusal::NoProviderCredential);
    last.unwrap_or_else(|| {
        let held_back = wait.map(|wait| Stop {
            retry_after_us: Some(wait.as_micros() as u64),
            ..Stop::plain(Refusal::CircuitOpen)
        });
        Err(Unreached::NotAsked(held_back.unwrap_or_else(none)))
    })
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
    response: Response<Inflow>,
    client: OnUpgrade,
    held: NanoUsd,
) -> Response<AnswerBody> {
    let (mut head, body) = response.into_parts();
    let server = body.into_upgraded();
    clean_answer(&mut head.headers, false);
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(open) = ticket.get() {
        open.status = StatusCode::SWITCHING_PROTOCOLS.as_u16();
    }
    let session = Session::new(&mut ticket, held);
    tokio::spawn(async move {
        let outcome = match client.await {
            Ok(client) => relay(TokioIo::new(client), server, &session).await,
            Err(_) => ticket.get().map_or(Outcome::ClientLeft, |open| open.abandoned()),
        };
        let (up, down) = (session.up.load(Ordering::Relaxed), session.down.load(Ordering::Relaxed));
        if let Some(open) = ticket.get() {
            open.context.request_bytes = up;
            open.response_bytes = down;
        }
        ticket.finish(outcome, Consumed { usage: estimate(up, down), source: UsageSource::Estimated });
    });
    let mut answer = Response::new(AnswerBody::Whole(None));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = head.headers;
    answer
}

/// What a session has moved, and what may end it.
struct Session {
    gateway: Arc<Gateway>,
    flight: Option<Arc<Flight>>,
    price: Price,
    /// In nanodollars. Both directions are copied by one task, so it is read and set without a race.
    held: AtomicU64,
    started: Instant,
    up: AtomicU64,
    down: AtomicU64,
    /// When bytes moved last, in milliseconds since the start.
    moved_ms: AtomicU64,
}

/// Four bytes to a token: what flows inside is not read.
fn estimate(up: u64, down: u64) -> TokenUsage {
    TokenUsage { input: up / 4, output: down / 4, ..TokenUsage::default() }
}

impl Session {
    fn new(ticket: &mut Ticket, held: NanoUsd) -> Self {
        let gateway = ticket.gateway().clone();
        let (flight, price) =
            ticket.get().map(|open| (open.flight.clone(), open.price.0)).unwrap_or_default();
        let zero = || AtomicU64::new(0);
        Self {
            gateway,
            flight,
            price,
            held: AtomicU64::new(held.0),
            started: Instant::now(),
            up: zero(),
            down: zero(),
            moved_ms: zero(),
        }
    }

    /// Counts bytes that moved, and cuts the session when it has cost more than was held and a budget ends there.
    fn count(&self, moved: &AtomicU64, bytes: u64) {
        moved.fetch_add(bytes, Ordering::Relaxed);
        self.moved_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
        let usage = estimate(self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed));
        let cost = SoFar::new(&usage, &self.price);
        let Some(flight) = &self.flight else { return };
        flight.look_at_expiry(|| self.gateway.now());
        flight.cost_so_far.store(cost.so_far.0, Ordering::Relaxed);
        let held = NanoUsd(self.held.load(Ordering::Relaxed));
        if cost.so_far > held {
            match self.gateway.live.cover(flight, self.gateway.now(), held, cost) {
                Some(held) => self.held.store(held.0, Ordering::Relaxed),
                None => flight.cut(Cut::Budget),
            }
        }
    }

    /// Ends when nothing has moved in either direction for [`IDLE_MAX`].
    async fn idle(&self) {
        loop {
            let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
            let left = (moved + IDLE_MAX).saturating_sub(self.started.elapsed());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    async fn cut(&self) -> Cut {
        std::future::poll_fn(|cx| {
            self.flight.as_ref().and_then(|flight| flight.poll_cut(cx)).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    async fn copy(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        moved: &AtomicU64,
    ) {
        let mut buffer = vec![0; BUFFER];
        while let Ok(read) = from.read(&mut buffer).await {
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return };
            if to.write_all(bytes).await.is_err() || to.flush().await.is_err() {
                return;
            }
            self.count(moved, read as u64);
        }
    }
}

/// Copies both ways; returns why it ended.
async fn relay<A, B>(client: A, server: B, session: &Session) -> Outcome
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut server_read, mut server_write) = tokio::io::split(server);
    let outcome = tokio::select! {
        cut = session.cut() => Outcome::Cut(cut),
        () = session.copy(&mut client_read, &mut server_write, &session.up) => Outcome::Served,
        () = session.copy(&mut server_read, &mut client_write, &session.down) => Outcome::Served,
        () = session.idle() => Outcome::Served,
    };
    // Best effort: the peer may be gone already, or take nothing any more.
    let goodbye = async { tokio::join!(server_write.shutdown(), client_write.shutdown()) };
    let _ = tokio::time::timeout(GOODBYE_MAX, goodbye).await;
    outcome
}
