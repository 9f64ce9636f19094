//! From a planned call to the usage event that a gateway would write.

use tokenwatch_model::client::Client as ClientSoftware;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_model::time::Timestamp;
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};
use tokenwatch_model::{SmolStr, money::NanoUsd};

use super::FleetKey;
use super::agents::Agent;
use super::day::{Slot, SlotKind, request_bits};
use super::identity::{Callers, Crew, Part, Person, conversation};
use super::prompts::uneven;
use super::sites::Site;
use crate::price::ModelPrice;
use crate::rng::{self, Rng};
use crate::sim::Tokens;

const WINDOW_US: u64 = 600_000_000;

/// All that an event is made from; the rest follows.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at_us: u64,
    pub(crate) id_bits: u128,
    pub(crate) key: KeyId,
    pub(crate) dialect: Dialect,
    pub(crate) source: Source,
    pub(crate) client: ClientSoftware,
    pub(crate) endpoint: Endpoint,
    pub(crate) model: SmolStr,
    pub(crate) stream: bool,
    pub(crate) shape: Shape,
    pub(crate) completion: u64,
    pub(crate) tokens: Tokens,
    pub(crate) limit: u32,
    pub(crate) status: u16,
}

impl Call {
    /// The event. Failed calls consume nothing; times follow the tokens: 0.2 s and 20 us an input token to the first
    /// byte, 15 ms an output token, so that they look alive.
    pub(crate) fn event(self) -> UsageEvent {
        let Tokens { input, cached, output } = self.tokens;
        let paid = self.status == 200 && input > 0;
        let sent = TokenUsage {
            input: input.saturating_sub(cached).into(),
            cache_read: cached.into(),
            output: output.into(),
            ..TokenUsage::default()
        };
        let usage = if paid { sent } else { TokenUsage::default() };
        let price = ModelPrice::of(&self.model);
        let first_byte_us = if self.status == 200 {
            200_000 + u64::from(input) * 20
        } else {
            40_000 + (self.id_bits as u64 & 0xffff)
        };
        let bytes = u64::from(input) * 4;
        let worst = TokenUsage { output: u64::from(self.limit.max(output)), ..sent };
        UsageEvent {
            request: RequestContext {
                id: RequestId::new(self.at_us / 1_000, self.id_bits),
                key: self.key,
                time: Timestamp(self.at_us),
                source: self.source,
                client: self.client,
                provider: SmolStr::new_static(self.dialect.name()),
                endpoint: self.endpoint,
                model: self.model,
                stream: self.stream,
                shape: self.shape,
                input_tokens_estimate: estimate(input, self.id_bits as u64),
                output_tokens_max: self.limit.into(),
                cost_worst: price.cost(&worst),
                request_bytes: if input > 0 { 300 + bytes } else { 0 },
                siblings: Default::default(),
                previous_credential: false,
            },
            key_seq: 0,
            outcome: Outcome::Served,
            status: self.status,
            usage,
            usage_source: if paid { UsageSource::Provider } else { UsageSource::None },
            cost: if paid { price.cost(&usage) } else { NanoUsd::ZERO },
            price_source: if paid { PriceSource::Exact } else { PriceSource::None },
            response_bytes: if paid { 400 + u64::from(output) * 4 } else { 180 },
            first_byte_us,
            duration_us: first_byte_us + if paid { u64::from(output) * 15_000 } else { 0 },
            completion: if paid && output > 0 { self.completion } else { 0 },
        }
    }
}

/// An estimate from bytes is some per cent off.
fn estimate(input: u32, bits: u64) -> u64 {
    let off = 0.9 + 0.2 * (bits >> 40 & 0xff) as f64 / 255.0;
    (f64::from(input) * off) as u64
}

/// The call that a slot stands for; `None` for a key without callers, which no fleet has.
pub(crate) fn call(key: &FleetKey, slot: &Slot) -> Option<Call> {
    let at_ms = slot.at_us / 1_000;
    let crew = key.life().crew(at_ms)?;
    let mut rng = Rng::new(slot.seed);
    let part = match slot.kind {
        SlotKind::By(part) => crew.parts.get(part)?,
        SlotKind::Call => pick_part(crew, &mut rng)?,
        SlotKind::List => crew.main()?,
    };
    let (source, agent) = caller(&part.callers, at_ms, &mut rng)?;
    let key_id = match key.life().rotated {
        Some((from_ms, other)) if from_ms <= at_ms => other,
        _ => key.id,
    };
    let mut call = Call {
        at_us: slot.at_us,
        id_bits: request_bits(slot.seed, slot.tries),
        key: key_id,
        dialect: crew.dialect,
        source,
        client: agent.client.clone(),
        endpoint: Endpoint::Models,
        model: SmolStr::default(),
        stream: false,
        shape: Shape::default(),
        completion: 0,
        tokens: Tokens::default(),
        limit: 0,
        status: slot.status,
    };
    if slot.kind != SlotKind::List {
        ask(key, part, &mut call, slot.seed, &mut rng);
    }
    Some(call)
}

fn pick_part<'a>(crew: &'a Crew, rng: &mut Rng) -> Option<&'a Part> {
    if let [only] = &crew.parts[..] {
        return Some(only);
    }
    let total: f64 = crew.parts.iter().map(|part| part.weight).sum();
    let mut left = rng.unit() * total;
    crew.parts.iter().find(|part| {
        left -= part.weight;
        left < 0.0
    })
}

/// Who calls, and from where.
pub(crate) fn caller<'a>(callers: &'a Callers, at_ms: u64, rng: &mut Rng) -> Option<(Source, &'a Agent)> {
    match callers {
        Callers::Machines { agent, sites } => {
            let open = sites.iter().filter(|placed| placed.until_ms > at_ms);
            let total: f64 = open.clone().map(|placed| placed.share).sum();
            let mut left = rng.unit() * total;
            let placed = open.clone().find(|placed| {
                left -= placed.share;
                left < 0.0
            });
            let placed = placed.or_else(|| sites.last())?;
            Some((placed.site.source(at_ms, rng).0, agent))
        }
        Callers::People { people, office } => {
            let person = uneven(people, rng)?;
            Some((person_at(person, office, at_ms, rng), &person.agent))
        }
        Callers::Users { site, agents, phone } => {
            let (source, user) = site.source(at_ms, rng);
            let agent = agents.get((user % agents.len().max(1) as u64) as usize)?;
            match phone {
                Some((from_ms, carrier)) if *from_ms <= at_ms => Some((carrier.source(at_ms, rng).0, agent)),
                _ => Some((source, agent)),
            }
        }
    }
}

fn person_at(person: &Person, office: &Site, at_ms: u64, rng: &mut Rng) -> Source {
    let away = person.stays.iter().rev().find(|stay| (stay.from_ms..stay.until_ms).contains(&at_ms));
    if let Some(stay) = away {
        return stay.site.source(at_ms, rng).0;
    }
    let at = Timestamp::from_ms(at_ms);
    // One day in seven they are on the way and call over their phone, too.
    let on_the_way = rng::mix(person.seed ^ u64::from(at.day())).is_multiple_of(7);
    let site = match rng.unit() {
        u if on_the_way && u > 0.8 => &person.phone,
        u if (8..19).contains(&at.hour_of_day()) && u < person.office => office,
        _ => &person.home,
    };
    site.source(at_ms, rng).0
}

/// What is asked.
fn ask(key: &FleetKey, part: &Part, call: &mut Call, seed: u64, rng: &mut Rng) {
    let tokens = sizes(key, call.at_us, part.size, rng);
    let mut share = rng.unit();
    let other = part.extra.iter().find(|(_, of)| {
        share -= of;
        share < 0.0
    });
    call.endpoint = other.map_or(conversation(call.dialect), |(endpoint, _)| *endpoint);
    match call.endpoint {
        Endpoint::ChatCompletions | Endpoint::Messages | Endpoint::Responses => {
            let Some(prompt) = uneven(&part.prompts, rng) else { return };
            let shape = prompt.shape(rng);
            let content = prompt.content(&shape, seed);
            (call.shape, call.completion) = (content.on(shape), content.completion);
            call.model = SmolStr::new_static(pick_model(&part.models, rng));
            call.stream = rng.chance(part.stream);
            call.limit = prompt.limit;
            let most = if prompt.limit == 0 { u32::MAX } else { prompt.limit };
            call.tokens = Tokens {
                input: tokens.input,
                cached: (f64::from(tokens.input) * prompt.cached) as u32,
                output: tokens.output.min(most),
            };
        }
        Endpoint::Embeddings => {
            call.model = SmolStr::new_static("text-embedding-3-small");
            call.tokens = Tokens { input: tokens.input, cached: 0, output: 0 };
        }
        Endpoint::Moderations => {
            call.model = SmolStr::new_static("omni-moderation-latest");
            call.tokens = Tokens { input: tokens.input, cached: 0, output: 0 };
        }
        Endpoint::CountTokens => call.model = SmolStr::new_static(part.main_model()),
        _ => {}
    }
}

fn pick_model(models: &[(&'static str, f64)], rng: &mut Rng) -> &'static str {
    let total: f64 = models.iter().map(|(_, share)| share).sum();
    let mut left = rng.unit() * total;
    let picked = models.iter().find(|(_, share)| {
        left -= share;
        left < 0.0
    });
    picked.or(models.first()).map_or("", |(model, _)| model)
}

/// Sizes by the client's law of the hour; input and output are drawn apart, as their correlation is about 0.
pub(crate) fn sizes(key: &FleetKey, at_us: u64, (input, output): (f64, f64), rng: &mut Rng) -> Tokens {
    let window = at_us.saturating_sub(super::START_MS * 1_000) / WINDOW_US;
    let Some(law) = key.client.sizes(window as usize) else { return Tokens::default() };
    Tokens {
        input: (law.input.at(rng.unit()) * input).max(1.0) as u32,
        cached: 0,
        output: (law.output.at(rng.unit()) * output).max(1.0) as u32,
    }
}
