//! Thefts of a fleet's keys: the same plans as the demo's requests, as usage events beside the victim's own.

use std::net::IpAddr;

use tokenwatch_model::SmolStr;
use tokenwatch_model::client::Client as ClientSoftware;
use tokenwatch_model::context::{Shape, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::provider::{Dialect, Endpoint};

use super::agents::Agent;
use super::content;
use super::day::{Slot, SlotKind, request_bits};
use super::identity::{Callers, conversation};
use super::prompts::{absent_is_zero, roles};
use super::render::{self, Call};
use super::{FleetKey, START_MS, day_of};
use crate::place::{Network, table};
use crate::rng::{self, Rng};
use crate::software::{Family, Software};
use crate::theft::habits::{Habits, rhythm};
use crate::theft::plan::{Act, Actor, Plan, Step, Taste};
use crate::theft::victim::ROWS_MAX;
use crate::theft::{Theft, TheftGroup, calls};
use crate::traffic::{DAY_MS, Row};

mod recorded;

pub use recorded::RecordedKey;

/// Days before a theft that its thief may have watched.
const WATCHED_DAYS: u64 = 3;
/// Share of a grabber's calls that run into the provider's limits (est.), and are retried.
const LIMITED: f64 = 0.15;

/// Bounds of what one theft generates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TheftLimits {
    /// Most events; the first ones are kept.
    pub events_max: usize,
    /// Events from this time on (Unix milliseconds) are left out.
    pub until_ms: u64,
}

impl Default for TheftLimits {
    fn default() -> Self {
        Self { events_max: 5_000, until_ms: u64::MAX }
    }
}

impl FleetKey {
    /// The thief's events of a theft whose first call comes at `start_ms` (Unix milliseconds), in time order; `key_seq` is
    /// 0. The victim goes on beside them with [`FleetKey::events_beside`].
    pub fn theft(&self, theft: Theft, seed: u64, start_ms: u64, limits: TheftLimits) -> Vec<UsageEvent> {
        let rng = theft.rng(seed ^ rng::mix(self.id.bits()));
        let habits = self.habits(start_ms, &mut rng.fork("habits"));
        steal(self, theft, &habits, &rng, start_ms, limits)
    }

    /// The victim's own events beside a theft: all of them, but for thefts of keys that nobody uses any more
    /// ([`Theft::silent_days`]).
    pub fn events_beside(
        &self,
        theft: Theft,
        start_ms: u64,
        from_day: u64,
        to_day: u64,
    ) -> impl Iterator<Item = UsageEvent> + Send + use<> {
        let silent = theft.silent_days();
        let until_ms = if silent > 0 { start_ms.saturating_sub(silent * DAY_MS) } else { u64::MAX };
        self.events(from_day, to_day).filter(move |event| event.request.time.ms() < until_ms)
    }

    /// What a thief may know of the key at a time.
    fn habits(&self, at_ms: u64, rng: &mut Rng) -> Habits {
        let day = day_of(at_ms);
        let events: Vec<UsageEvent> = self.events(day.saturating_sub(WATCHED_DAYS), day + 1).collect();
        let past = events.partition_point(|event| event.request.time.ms() < at_ms);
        let rows: Vec<Row> = events
            .iter()
            .take(past)
            .skip(past.saturating_sub(ROWS_MAX))
            .filter(|event| event.usage.input_total() > 0)
            .map(|event| Row {
                t_ms: event.request.time.ms() - START_MS,
                input_tokens: event.usage.input_total() as u32,
                output_tokens: event.usage.output as u32,
            })
            .collect();
        let (mut calls_per_hour, quiet_hours) = rhythm(&rows, START_MS);
        if rows.len() < 24 {
            // Too few to go by.
            calls_per_hour = self.calls_per_day / 24.0;
        }
        let (source, agent) = self.seen_at(at_ms, rng);
        let network =
            table::all().find(|network| network.contains(source.address) && network.facts() == source.facts);
        Habits {
            dialect: self.dialect(),
            network: network.unwrap_or(&table::CLOUD_WIDE[0]),
            inside: source.address,
            software: agent.software,
            client: agent.client,
            rows,
            rows_start_ms: START_MS,
            calls_per_hour,
            quiet_hours,
        }
    }

    /// Where the key's usual callers are at a time, and their software.
    fn seen_at(&self, at_ms: u64, rng: &mut Rng) -> (Source, Agent) {
        let part = self.life().crew(at_ms).and_then(super::identity::Crew::main);
        let home = |callers: &Callers, rng: &mut Rng| match callers {
            // Not from where one of them is for the day.
            Callers::People { people, office } => {
                let person = people.first()?;
                let site = if person.office > 0.0 { office } else { &person.home };
                Some((site.source(at_ms, rng).0, person.agent.clone()))
            }
            _ => render::caller(callers, at_ms, rng).map(|(source, agent)| (source, agent.clone())),
        };
        part.and_then(|part| home(&part.callers, rng)).unwrap_or_else(|| {
            let network = &table::CLOUD_WIDE[0];
            let silent = Software::plain(Family::Silent, "");
            (network.source(network.host(rng)), Agent::new(silent, self.dialect(), 0))
        })
    }
}

/// A key that can be stolen: what a thief who copies its owner needs.
trait Victim {
    fn id(&self) -> KeyId;

    fn dialect(&self) -> Dialect;

    /// A call as its owner would make it; `None` when nothing is known of the owner.
    fn call(&self, slot: &Slot) -> Option<Call>;

    /// The model its owner mostly asks for at a time; empty when that is not known.
    fn main_model(&self, at_ms: u64) -> SmolStr;

    /// Where its owner has conversations.
    fn conversation(&self) -> Endpoint {
        conversation(self.dialect())
    }
}

impl Victim for FleetKey {
    fn id(&self) -> KeyId {
        self.id
    }

    fn dialect(&self) -> Dialect {
        self.dialect()
    }

    fn call(&self, slot: &Slot) -> Option<Call> {
        render::call(self, slot)
    }

    fn main_model(&self, at_ms: u64) -> SmolStr {
        let main = self.life().crew(at_ms).and_then(super::identity::Crew::main);
        SmolStr::new_static(main.map_or("", super::identity::Part::main_model))
    }
}

/// The events of a theft of a key whose thief knows these habits, in time order.
fn steal(
    key: &dyn Victim,
    theft: Theft,
    habits: &Habits,
    rng: &Rng,
    start_ms: u64,
    limits: TheftLimits,
) -> Vec<UsageEvent> {
    let plan = theft.plan(habits, rng, start_ms);
    let own = rng.fork("own").next_u64();
    let thief = Thief { key, theft, plan: &plan, victims: &habits.client, near: habits.network, own };
    let actors: Vec<(Source, ClientSoftware)> =
        plan.actors.iter().map(|actor| thief.appearance(actor)).collect();
    let seeds = rng.fork("calls");
    let steps = plan.steps.iter().take_while(|step| step.at_ms < limits.until_ms).take(limits.events_max);
    let mut calls: Vec<Call> = steps
        .zip(0..)
        .filter_map(|(step, number)| {
            let (source, client) = actors.get(step.actor)?;
            thief.call(step, *source, client, seeds.numbered(number))
        })
        .collect();
    // Steps are planned in milliseconds.
    calls.sort_by_key(|call| call.at_us);
    calls.into_iter().map(Call::event).collect()
}

/// One theft in the making.
struct Thief<'a> {
    key: &'a dyn Victim,
    theft: Theft,
    plan: &'a Plan,
    /// Software of one of the victim's callers.
    victims: &'a ClientSoftware,
    /// Where the victim mostly is.
    near: &'static Network,
    /// Makes the hashes of the thief's own prompts.
    own: u64,
}

impl Thief<'_> {
    /// How an actor looks from outside.
    fn appearance(&self, actor: &Actor) -> (Source, ClientSoftware) {
        let client =
            if actor.disguised { self.victims.clone() } else { actor.software.client(self.key.dialect()) };
        (self.resolve(actor.source), client)
    }

    /// An address with its facts, from the tables or from the victim's network.
    fn resolve(&self, address: IpAddr) -> Source {
        let network = table::all().chain([self.near]).find(|network| network.contains(address));
        network.map_or(Source { address, facts: Default::default() }, |network| network.source(address))
    }

    fn call(&self, step: &Step, source: Source, client: &ClientSoftware, mut rng: Rng) -> Option<Call> {
        let actor = self.plan.actors.get(step.actor)?;
        let seed = rng.next_u64();
        let slot = Slot {
            at_us: step.at_ms * 1_000 + rng.below(1_000),
            seed,
            tries: 0,
            status: 200,
            kind: SlotKind::Call,
        };
        let victims = || self.key.call(&slot);
        if step.act == Act::Copy {
            return victims();
        }
        if actor.disguised {
            let mut call = victims()?;
            call.source = source;
            // Mimics copy the mix of the victim's callers, others the software of one.
            if self.theft.group() != TheftGroup::Mimic && self.theft != Theft::MimicNewNetwork {
                call.client = client.clone();
            }
            if step.act != Act::Borrow {
                self.own_prompt(step, actor, &mut call, &mut rng);
                self.own_content(actor, &mut call, seed);
            }
            return Some(call);
        }
        let dialect = self.key.dialect();
        let mut call = Call {
            at_us: slot.at_us,
            id_bits: request_bits(seed, 0),
            key: self.key.id(),
            dialect,
            source,
            client: client.clone(),
            endpoint: self.key.conversation(),
            model: SmolStr::default(),
            stream: false,
            shape: Shape::default(),
            completion: 0,
            tokens: step.tokens,
            limit: 0,
            status: 200,
        };
        self.fill(step, actor, &mut call, &mut rng);
        match step.act {
            Act::Probe | Act::Tiny => {
                let said = content::of_checker(seed);
                (call.shape, call.completion) = (said.on(call.shape), said.completion);
            }
            Act::Use { .. } => self.own_content(actor, &mut call, seed),
            _ => {}
        }
        Some(call)
    }

    /// What a step without disguise asks for, as `theft::calls` writes it into a body.
    fn fill(&self, step: &Step, actor: &Actor, call: &mut Call, rng: &mut Rng) {
        let dialect = self.key.dialect();
        let small = |text: &[u8]| Shape {
            roles: roles(false, false),
            prompt: rng::hash(text) | 1,
            messages: 1,
            parameters: rng::hash(b"limit") | 1,
            ..Shape::default()
        };
        match step.act {
            Act::ListModels => call.endpoint = Endpoint::Models,
            Act::Organisation => {
                call.endpoint = Endpoint::Administration;
                call.status = 403;
            }
            Act::EmptyChat => {
                (call.model, call.status, call.shape) =
                    (SmolStr::new_static(calls::checked(dialect)), 400, small(b""));
            }
            Act::Sweep { model, allowed } => {
                let status = if allowed { 400 } else { 403 };
                (call.model, call.status, call.shape) =
                    (SmolStr::new_static(calls::swept(dialect, model)), status, small(b""));
            }
            Act::Probe => {
                let dearest = actor.taste == Taste::Dearest;
                let model =
                    if dearest { calls::wanted(dialect, actor.taste) } else { calls::checked(dialect) };
                call.model = SmolStr::new_static(model);
                (call.limit, call.shape) = (256, small(b"hi"));
            }
            Act::Tiny => {
                let model = SmolStr::new_static(calls::checked(dialect));
                (call.model, call.limit, call.shape) = (model, 1, small(b"hi"));
            }
            Act::Use { .. } | Act::Copy | Act::Borrow => {
                call.model = self.model(step, actor.taste);
                call.stream = rng.chance(actor.stream_share);
                call.limit = actor.limit.map_or(0, |limit| limit.max(step.tokens.output));
                call.shape.parameters = rng::mix(self.own ^ 7) | 1;
                self.own_prompt(step, actor, call, rng);
                if self.theft == Theft::SmashAndGrab && rng.chance(LIMITED) {
                    call.status = 429;
                }
            }
        }
    }

    /// Puts the thief's own words into a call: one template to a conversation or end user.
    fn own_prompt(&self, step: &Step, actor: &Actor, call: &mut Call, rng: &mut Rng) {
        let turn = if let Act::Use { turn } = step.act { turn } else { 0 };
        let (tools, tool_count) = if actor.codes { (rng::mix(self.own ^ 11) | 1, 2) } else { (0, 0) };
        // Coding agents of one kind have one system prompt.
        let chat = if actor.codes { 0 } else { u64::from(step.chat) };
        if call.endpoint != self.key.conversation() {
            call.endpoint = self.key.conversation();
            call.model = SmolStr::default();
        }
        call.shape = Shape {
            template: absent_is_zero(self.own ^ chat.rotate_left(20)),
            tools,
            roles: roles(true, turn > 0),
            parameters: call.shape.parameters,
            prompt: rng.next_u64() | 1,
            messages: 2 + 2 * turn,
            tool_count,
            topic: call.shape.topic,
            phrases: 0,
        };
        call.tokens = step.tokens;
        call.limit = call.limit.max(if call.limit > 0 { step.tokens.output } else { 0 });
        if call.model.is_empty() || actor.taste != Taste::Victims {
            call.model = self.model(step, actor.taste);
        }
    }

    /// What the thief's own words are about: a mimic asks about what the victim does.
    fn own_content(&self, actor: &Actor, call: &mut Call, seed: u64) {
        let is_mimic = actor.disguised && self.theft.group() == TheftGroup::Mimic;
        let victims = Some(call.shape.topic).filter(|&topic| is_mimic && topic != 0);
        let said = content::of_thief(self.own, call.shape.template, actor.codes, victims, seed);
        (call.shape, call.completion) = (said.on(call.shape), said.completion);
    }

    fn model(&self, step: &Step, taste: Taste) -> SmolStr {
        match taste {
            Taste::Victims => self.key.main_model(step.at_ms),
            _ => SmolStr::new_static(calls::wanted(self.key.dialect(), taste)),
        }
    }
}

#[cfg(test)]
mod tests;
