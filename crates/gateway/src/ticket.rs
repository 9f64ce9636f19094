//! One request's way through the gateway as a value that must end in exactly one outcome.
//!
//! A ticket that is dropped without an outcome means that the client left: hyper drops the request's future
//! then. So every request is accounted for, whatever path it takes.

use std::sync::Arc;
use std::time::Instant;

use tokenwatch_model::account::Reservation;
use tokenwatch_model::client::Client;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::event::{JournalRecord, UsageEvent};
use tokenwatch_model::id::{ContainmentId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::{Cut, Outcome};
use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};
use tokenwatch_telemetry::cells::Entered;
use tokenwatch_telemetry::told::{EventsDropped, RequestEnded};
use tokenwatch_wire::price::Price;

use crate::drill::{Claimed, Nowhere};
use crate::flight::Flight;
use crate::gateway::Gateway;
use crate::live::Live;
use crate::registry::Issue;

/// A request under way.
pub(crate) struct Ticket {
    gateway: Arc<Gateway>,
    /// The drill it is part of.
    claimed: Option<Arc<Claimed>>,
    open: Option<Box<Open>>,
}

/// What is known of it so far.
pub(crate) struct Open {
    pub(crate) context: RequestContext,
    /// Which of its key's credentials was presented.
    pub(crate) issue: Issue,
    pub(crate) dialect: Dialect,
    pub(crate) started: Instant,
    pub(crate) flight: Option<Arc<Flight>>,
    pub(crate) reservation: Option<Reservation>,
    pub(crate) price: (Price, PriceSource),
    pub(crate) status: u16,
    pub(crate) first_byte_us: u64,
    /// Time spent waiting for the provider, up to the head of its answer.
    pub(crate) provider_us: u64,
    pub(crate) response_bytes: u64,
    /// Whether what prompt and answer are about is looked at.
    pub(crate) reads_content: bool,
    /// Sketch of the answer's text.
    pub(crate) completion: u64,
    /// Whether the provider has, or may have, the request.
    pub(crate) forwarded: bool,
    /// Counts it among the requests being served until it is closed.
    _serving: Entered<()>,
}

/// What a request consumed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Consumed {
    pub(crate) usage: TokenUsage,
    pub(crate) source: UsageSource,
}

impl Ticket {
    pub(crate) fn open(gateway: &Arc<Gateway>, source: Source, client: Client) -> Self {
        let time = gateway.now();
        let context = RequestContext {
            id: gateway.next_id(time),
            key: UsageEvent::NO_KEY,
            time,
            source,
            client,
            provider: Default::default(),
            endpoint: Endpoint::Other,
            model: Default::default(),
            stream: false,
            shape: Shape::default(),
            input_tokens_estimate: 0,
            output_tokens_max: 0,
            cost_worst: NanoUsd::ZERO,
            request_bytes: 0,
            siblings: Default::default(),
            previous_credential: false,
        };
        let open = Open {
            context,
            issue: Issue::default(),
            dialect: Dialect::OpenAi,
            started: Instant::now(),
            flight: None,
            reservation: None,
            price: (Price::default(), PriceSource::None),
            status: 0,
            first_byte_us: 0,
            provider_us: 0,
            response_bytes: 0,
            reads_content: false,
            completion: 0,
            forwarded: false,
            _serving: gateway.metrics.in_flight.enter(()),
        };
        Self { gateway: gateway.clone(), claimed: None, open: Some(Box::new(open)) }
    }

    /// What is known so far; `None` only after the end.
    pub(crate) fn get(&mut self) -> Option<&mut Open> {
        self.open.as_deref_mut()
    }

    pub(crate) fn id(&self) -> RequestId {
        self.open.as_ref().map_or_else(RequestId::default, |open| open.context.id)
    }

    /// See [`Open::worst_case`].
    pub(crate) fn worst_case(&mut self) -> Consumed {
        self.get().map_or_else(Consumed::default, |open| open.worst_case())
    }

    /// What a request is booked at that the provider has read and then failed.
    pub(crate) fn input_only(&mut self) -> Consumed {
        self.get().map_or_else(Consumed::default, |open| {
            let usage = TokenUsage { input: open.context.input_tokens_estimate, ..TokenUsage::default() };
            Consumed { usage, source: UsageSource::Estimated }
        })
    }

    /// Why it was cut, if it was; cuts it when its key's time is over.
    pub(crate) fn look_for_cut(&self) -> Option<Cut> {
        let flight = self.open.as_ref()?.flight.as_ref()?;
        flight.look_at_expiry(|| self.gateway.now());
        flight.is_cut()
    }

    pub(crate) fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Makes the request part of a drill: it is what its claim says.
    pub(crate) fn rehearse(&mut self, claimed: Arc<Claimed>) {
        if let Some(open) = self.open.as_deref_mut() {
            claimed.head(&self.gateway, open);
        }
        self.claimed = Some(claimed);
    }

    /// What the request claims, when it is part of a drill.
    pub(crate) fn claimed(&self) -> Option<Arc<Claimed>> {
        self.claimed.clone()
    }

    /// Where its key is judged and counted.
    pub(crate) fn live(&self) -> &Live {
        self.claimed.as_ref().map_or(&self.gateway.live, |claimed| &claimed.drilling.live)
    }

    /// Ends the request. Booked, learned, journalled, counted: once.
    pub(crate) fn finish(mut self, outcome: Outcome, consumed: Consumed) {
        if let Some(open) = self.open.take() {
            close(&self, *open, outcome, consumed);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let consumed = if open.forwarded { open.worst_case() } else { Consumed::default() };
            let outcome = open.abandoned();
            close(self, *open, outcome, consumed);
        }
    }
}

impl Open {
    /// Why we cut it, if we did.
    pub(crate) fn find_cut(&self) -> Option<Cut> {
        self.flight.as_ref().and_then(|flight| flight.is_cut())
    }

    /// The outcome of a request whose answer nobody reads: we cut it, or the client left.
    pub(crate) fn abandoned(&self) -> Outcome {
        self.find_cut().map_or(Outcome::ClientLeft, Outcome::Cut)
    }

    /// What a forwarded request whose answer nobody read is booked at: the provider may charge it all, so
    /// the doubt is not in the spender's favour.
    fn worst_case(&self) -> Consumed {
        let held = self.reservation.as_ref().map_or(0, |reservation| reservation.ask().tokens);
        let input = self.context.input_tokens_estimate;
        let usage = TokenUsage { input, output: held.saturating_sub(input), ..TokenUsage::default() };
        Consumed { usage, source: UsageSource::Estimated }
    }
}

fn close(ticket: &Ticket, open: Open, outcome: Outcome, consumed: Consumed) {
    let gateway = &ticket.gateway;
    let duration_us = open.started.elapsed().as_micros() as u64;
    let (price, price_source) = open.price;
    let cost = if consumed.source == UsageSource::None {
        NanoUsd::ZERO
    } else {
        tokenwatch_wire::price::cost(&consumed.usage, &price)
    };
    let event = UsageEvent {
        request: open.context,
        key_seq: 0,
        outcome,
        status: open.status,
        usage: consumed.usage,
        usage_source: consumed.source,
        cost,
        price_source: if consumed.source == UsageSource::None { PriceSource::None } else { price_source },
        response_bytes: open.response_bytes,
        first_byte_us: open.first_byte_us,
        duration_us,
        completion: open.completion,
    };
    if ticket.claimed.is_some() {
        close_rehearsed(ticket, event, open.reservation);
        return;
    }
    RequestEnded { event: &event, dialect: Some(open.dialect) }.emit(&gateway.metrics);
    let met = met_by(&gateway.live, &event);
    let key = event.request.key;
    let (findings, taken) = if event.request.key == UsageEvent::NO_KEY {
        (Vec::new(), gateway.ports.events.push(JournalRecord::Usage(event)))
    } else {
        gateway.live.finish(event, open.reservation, gateway.ports.events.as_ref())
    };
    if !taken {
        EventsDropped { count: 1, now: gateway.now() }.emit(&gateway.metrics);
    }
    if let Some(met) = met {
        gateway.ports.findings.contained(key, &met);
    }
    for found in findings {
        found.tell(&gateway.metrics, gateway.ports.findings.as_ref());
    }
}

/// The containments that a request was in, where it was refused because of a theft.
fn met_by(live: &Live, event: &UsageEvent) -> Option<Vec<ContainmentId>> {
    let contained = matches!(event.outcome, Outcome::Refused(refusal) if refusal.is_containment());
    contained.then(|| live.met_by(&event.request))
}

/// The end of a drill's request: what it showed is acted on, and nothing else remembers it.
fn close_rehearsed(ticket: &Ticket, event: UsageEvent, reservation: Option<Reservation>) {
    let gateway = &ticket.gateway;
    gateway.metrics.drill_requests.inc(());
    let key = event.request.key;
    if key == UsageEvent::NO_KEY {
        return;
    }
    let met = met_by(ticket.live(), &event);
    let (findings, _) = ticket.live().finish(event, reservation, &Nowhere);
    if let Some(met) = met {
        gateway.ports.findings.contained(key, &met);
    }
    findings.into_iter().for_each(|found| found.rehearse(gateway.ports.findings.as_ref()));
}
