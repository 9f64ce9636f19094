//! A theft of a real key, known by nothing but the events that were kept of it: what a drill sends.
//!
//! Owner and thief come as one stream. The owner's part is what the key did lately, played again a week later hour for
//! hour, so that it is as bursty and as idle as its owner is; content was never kept, so a played request says by its claims
//! what shape it had. The thief's part is the plan that the demo and the simulator know, fitted to the key's habits.
//!
//! Invariants: requests come in time order; the same events, seed and start give the same requests; the thief knows no more
//! of the key than in the simulator.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

use hyper::Method;
use tokenwatch_model::client::Client;
use tokenwatch_model::context::{Shape, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::provider::{Dialect, Endpoint};

use super::Theft;
use super::calls::{self, Stolen};
use super::habits::{Habits, rhythm};
use super::plan::{Act, Actor, Plan, Step};
use super::victim::ROWS_MAX;
use crate::body::Talk;
use crate::persona::conversation;
use crate::place::{Network, table};
use crate::rng::{self, Rng};
use crate::sim::{Label, SimRequest, Tokens};
use crate::software::{Family, Software};
use crate::traffic::{DAY_MS, Row};

const WEEK_MS: u64 = 7 * DAY_MS;
const HOUR_MS: u64 = 3_600_000;
/// From the start of a drill to the first call of its thief.
const LEAD_MS: u64 = 10 * 60_000;
/// The owner goes on at least so long after the thief's first call.
const AFTER_MS: u64 = 6 * HOUR_MS;
/// Size of a network that is in no table of ours.
const OWN_BITS: u8 = 22;

/// One request of a rehearsed theft.
#[derive(Clone, Debug)]
pub struct Played {
    /// The request as it goes on the wire; its label says who sent it.
    pub request: SimRequest,
    /// The software it is said to come from, where its headers do not say it.
    pub client: Option<Client>,
    /// Its shape, where its body does not have it.
    pub shape: Option<Shape>,
    /// Input tokens, where its body does not have them.
    pub input_tokens: Option<u64>,
}

/// Bounds of a rehearsal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RehearsalLimits {
    /// Most requests of the thief, and most of the owner; the first ones are kept. Where the owner's end first, so does all
    /// of it: nobody would be there to be kept working.
    pub requests_max: usize,
}

/// A rehearsed theft.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// Its requests, in the order of time.
    pub played: Vec<Played>,
    /// How long all of it would have taken, in milliseconds.
    pub planned_ms: u64,
    /// Whether `requests_max` cut it short.
    pub is_cut: bool,
}

impl Theft {
    /// Rehearses this theft on the key whose events are `kept`, oldest first, from `start_ms` (Unix milliseconds) on.
    pub fn rehearse(
        self,
        kept: &[UsageEvent],
        dialect: Dialect,
        seed: u64,
        start_ms: u64,
        limits: RehearsalLimits,
    ) -> Rehearsal {
        let mut played: Vec<Played> = Vec::new();
        let own: Vec<&UsageEvent> = kept.iter().filter(|event| is_playable(event)).collect();
        let rng = self.rng(seed);
        let first_ms = start_ms + LEAD_MS + self.silent_days() * DAY_MS;
        let habits = habits(&own, dialect, first_ms, &mut rng.fork("habits"));
        let plan = self.plan(&habits, &rng, first_ms);
        let last_ms = plan.steps.last().map_or(first_ms, |step| step.at_ms);
        let end_ms = last_ms.max(first_ms + AFTER_MS);
        let most = limits.requests_max;
        let mut steps = plan.steps.get(..plan.steps.len().min(most)).unwrap_or_default();
        let mut is_cut = steps.len() < plan.steps.len();
        // A key that nobody uses any more has no owner to keep serving.
        if self.silent_days() == 0 {
            let last_ms = steps.last().map_or(first_ms, |step| step.at_ms);
            let until_ms = last_ms.max(first_ms + AFTER_MS).min(end_ms);
            let mut times = again_at(&own, start_ms, until_ms);
            if times.len() > most {
                is_cut = true;
                times.truncate(most);
                let horizon = times.last().map_or(until_ms, |(at_ms, _)| *at_ms);
                steps = steps.get(..steps.partition_point(|step| step.at_ms <= horizon)).unwrap_or_default();
            }
            played.extend(times.into_iter().map(|(at_ms, event)| again(event, dialect, at_ms, Label::Owner)));
        }
        let thief = Thief {
            theft: self,
            habits: &habits,
            own: &own,
            usual: usual_chat(&own, dialect),
            plan: &plan,
            mark: rng.fork("own").next_u64(),
        };
        let seeds = rng.fork("calls");
        played.extend(steps.iter().zip(0..).filter_map(|(step, n)| thief.call(step, seeds.numbered(n))));
        played.sort_by_key(|played| played.request.at_ms);
        Rehearsal { played, planned_ms: end_ms - start_ms, is_cut }
    }
}

/// Whether an event can be sent again: it was answered, and its kind of body can be written.
fn is_playable(event: &UsageEvent) -> bool {
    event.outcome == Outcome::Served && event.status < 400 && path(event.request.endpoint).is_some()
}

const fn path(endpoint: Endpoint) -> Option<&'static str> {
    Some(match endpoint {
        Endpoint::ChatCompletions => "/v1/chat/completions",
        Endpoint::Responses => "/v1/responses",
        Endpoint::Embeddings => "/v1/embeddings",
        Endpoint::Messages => "/v1/messages",
        Endpoint::Models => "/v1/models",
        _ => return None,
    })
}

/// When the owner makes which of its requests again, from `start_ms` to `end_ms`, in the order of time: what was kept of the
/// last week (or of whole days, where less was kept), over and over.
fn again_at<'a>(own: &[&'a UsageEvent], start_ms: u64, end_ms: u64) -> Vec<(u64, &'a UsageEvent)> {
    let Some(first) = own.first() else { return Vec::new() };
    let kept_ms = start_ms.saturating_sub(first.request.time.ms());
    let period = if kept_ms >= WEEK_MS { WEEK_MS } else { (kept_ms / DAY_MS).max(1) * DAY_MS };
    let from = start_ms.saturating_sub(period);
    let last = own.iter().filter(|event| (from..start_ms).contains(&event.request.time.ms()));
    let mut times: Vec<(u64, &UsageEvent)> = Vec::new();
    for event in last {
        let mut at_ms = event.request.time.ms() + period;
        while at_ms < end_ms {
            times.push((at_ms, event));
            at_ms += period;
        }
    }
    times.sort_by_key(|(at_ms, _)| *at_ms);
    times
}

/// A conversation of the owner's with the model it uses most.
fn usual_chat<'a>(own: &[&'a UsageEvent], dialect: Dialect) -> Option<&'a UsageEvent> {
    let (_, endpoint) = conversation(dialect);
    let chats = own.iter().filter(|event| event.request.endpoint == endpoint);
    most(chats.map(|event| (event.request.model.to_string(), *event)))
}

/// A request like the one that an event tells of.
fn again(event: &UsageEvent, dialect: Dialect, at_ms: u64, label: Label) -> Played {
    let context = &event.request;
    let endpoint = context.endpoint;
    let usage = event.usage;
    let tokens = Tokens {
        input: u32::try_from(usage.input_total()).unwrap_or(u32::MAX),
        cached: u32::try_from(usage.cache_read).unwrap_or(u32::MAX),
        output: u32::try_from(usage.output).unwrap_or(u32::MAX),
    };
    let limit = i64::from(tokens.output.max(16));
    let body = match endpoint {
        Endpoint::Models => Vec::new(),
        Endpoint::Embeddings => {
            format!(r#"{{"model":{:?},"input":"drill"}}"#, context.model.as_str()).into_bytes()
        }
        Endpoint::Responses => format!(
            r#"{{"model":{:?},"input":"drill","max_output_tokens":{limit},"stream":{}}}"#,
            context.model.as_str(),
            context.stream
        )
        .into_bytes(),
        _ => Talk {
            model: &context.model,
            turns: vec!["drill".to_owned()],
            stream: context.stream,
            max_tokens: Some(limit),
            ..Talk::default()
        }
        .to_json(dialect),
    };
    let has_body = !body.is_empty();
    let silent = Software::plain(Family::Silent, "");
    Played {
        request: SimRequest {
            at_ms,
            source: context.source.address,
            method: if has_body { Method::POST } else { Method::GET },
            path: path(endpoint).unwrap_or_default(),
            headers: silent.headers(dialect, has_body),
            dialect,
            endpoint,
            model: context.model.clone(),
            stream: context.stream,
            output_tokens_max: limit as u32,
            body,
            tokens,
            status: 200,
            client: context.client.clone(),
            label,
        },
        client: Some(context.client.clone()),
        shape: has_body.then_some(context.shape),
        input_tokens: has_body.then_some(context.input_tokens_estimate),
    }
}

/// What a thief may know of a key that `own` events were kept of.
pub(crate) fn habits(own: &[&UsageEvent], dialect: Dialect, first_ms: u64, rng: &mut Rng) -> Habits {
    let rows_start_ms = own.first().map_or(first_ms, |event| event.request.time.ms());
    let rows: Vec<Row> = own
        .iter()
        .skip(own.len().saturating_sub(ROWS_MAX))
        .filter(|event| event.usage.input_total() > 0)
        .map(|event| Row {
            t_ms: event.request.time.ms() - rows_start_ms,
            input_tokens: u32::try_from(event.usage.input_total()).unwrap_or(u32::MAX),
            output_tokens: u32::try_from(event.usage.output).unwrap_or(u32::MAX),
        })
        .collect();
    let (calls_per_hour, quiet_hours) = rhythm(&rows, rows_start_ms);
    let usual = most(own.iter().map(|event| (event.request.source.prefix().to_string(), *event)));
    let inside = usual.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |event| event.request.source.address);
    Habits {
        dialect,
        network: usual.and_then(network).unwrap_or_else(|| rng.pick(&table::CLOUD_WIDE)),
        inside,
        software: Software::plain(Family::Silent, ""),
        client: usual.map(|event| event.request.client.clone()).unwrap_or_default(),
        rows,
        rows_start_ms,
        calls_per_hour,
        quiet_hours,
    }
}

/// The last event of the most frequent kind.
fn most<'a>(events: impl Iterator<Item = (String, &'a UsageEvent)>) -> Option<&'a UsageEvent> {
    let mut counts: BTreeMap<String, (usize, &UsageEvent)> = BTreeMap::new();
    for (kind, event) in events {
        let count = counts.entry(kind).or_insert((0, event));
        *count = (count.0 + 1, event);
    }
    counts.into_values().max_by_key(|(count, _)| *count).map(|(_, event)| event)
}

/// The network that an event came from. One that is in no table of ours is kept as long as the program runs, once.
fn network(event: &UsageEvent) -> Option<&'static Network> {
    static OWN: Mutex<Vec<&'static Network>> = Mutex::new(Vec::new());
    let Source { address, facts } = event.request.source;
    if let Some(network) = table::all().find(|network| network.contains(address)) {
        return Some(network);
    }
    let IpAddr::V4(address) = address else { return None };
    let base = Ipv4Addr::from(u32::from(address) & (u32::MAX << (32 - OWN_BITS)));
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = own.iter().find(|network| network.base == base && network.facts() == facts) {
        return Some(known);
    }
    let country = Box::leak(facts.country.to_string().into_boxed_str());
    let made = Network { name: "own", kind: facts.kind, country, asn: facts.asn, base, bits: OWN_BITS };
    own.push(Box::leak(Box::new(made)));
    own.last().copied()
}

/// One theft in the making.
struct Thief<'a> {
    theft: Theft,
    habits: &'a Habits,
    own: &'a [&'a UsageEvent],
    /// One of its usual conversations.
    usual: Option<&'a UsageEvent>,
    plan: &'a Plan,
    /// Makes the hashes of the thief's own prompts.
    mark: u64,
}

impl Thief<'_> {
    fn call(&self, step: &Step, mut rng: Rng) -> Option<Played> {
        let actor = self.plan.actors.get(step.actor)?;
        let label = Label::Thief(self.theft);
        let copied = rng.pick_from(self.own).copied();
        let copy = |event| again(event, self.habits.dialect, step.at_ms, label);
        match (step.act, copied) {
            (Act::Copy, Some(event)) => Some(copy(event)),
            (Act::Borrow, Some(event)) => Some(from(actor, copy(event))),
            (Act::Use { .. }, Some(_)) if actor.disguised => Some(self.disguised(step, actor, rng)),
            _ => Some(self.plain(step, actor, &mut rng)),
        }
    }

    /// With software and words of the thief's own.
    fn plain(&self, step: &Step, actor: &Actor, rng: &mut Rng) -> Played {
        let main_model = self.usual.map_or("", |event| event.request.model.as_str());
        let stolen = Stolen { theft: self.theft, dialect: self.habits.dialect, main_model };
        let request = calls::request(stolen, actor, step, rng);
        let input_tokens = (!request.body.is_empty()).then_some(u64::from(step.tokens.input));
        Played { request, client: None, shape: None, input_tokens: input_tokens.filter(|&tokens| tokens > 0) }
    }

    /// With the owner's software and the thief's own words.
    fn disguised(&self, step: &Step, actor: &Actor, mut rng: Rng) -> Played {
        let plain = self.plain(step, actor, &mut rng);
        let Some(usual) = self.usual else { return plain };
        let shape = Shape {
            template: rng::mix(self.mark ^ u64::from(step.chat).rotate_left(20)) | 1,
            tools: 0,
            tool_count: 0,
            prompt: rng.next_u64() | 1,
            topic: rng::mix(self.mark ^ 3) | 1,
            phrases: 0,
            ..usual.request.shape
        };
        Played {
            client: Some(self.habits.client.clone()),
            shape: Some(shape),
            input_tokens: Some(step.tokens.input.into()),
            ..plain
        }
    }
}

fn from(actor: &Actor, played: Played) -> Played {
    Played { request: SimRequest { source: actor.source, ..played.request }, ..played }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokenwatch_model::key::Workload;
    use tokenwatch_model::time::Timestamp;

    use super::*;
    use crate::fleet::{Fleet, FleetKey, FleetOptions, START_MS};
    use crate::theft::TheftGroup;

    /// Nine days of a simulated key's events, and the time after them.
    fn kept() -> (Vec<UsageEvent>, Dialect, u64) {
        let fleet = Fleet::new(3, &FleetOptions { keys_per_client: 1, ..FleetOptions::default() }).unwrap();
        let steady = |key: &&FleetKey| key.workload() == Workload::Service && key.calls_per_day() > 500.0;
        let key = fleet.keys().iter().find(steady).unwrap();
        (key.events(0, 9).collect(), key.dialect(), START_MS + 9 * DAY_MS)
    }

    fn rehearse(theft: Theft, requests_max: usize) -> (Rehearsal, u64) {
        let (kept, dialect, start_ms) = kept();
        (theft.rehearse(&kept, dialect, 1, start_ms, RehearsalLimits { requests_max }), start_ms)
    }

    #[test]
    fn every_theft_comes_in_order_beside_an_owner_who_goes_on() {
        for theft in Theft::ALL {
            let (rehearsal, start_ms) = rehearse(theft, 300);
            let played = &rehearsal.played;
            assert!(played.is_sorted_by_key(|played| played.request.at_ms), "{theft}");
            assert!(played.iter().all(|played| played.request.at_ms >= start_ms), "{theft}");
            let of =
                |is_theft| played.iter().filter(move |played| played.request.label.is_theft() == is_theft);
            let (thief, owner) = (of(true).count(), of(false).count());
            assert!((1..=300).contains(&thief) && owner <= 300, "{theft}: {thief} and {owner}");
            assert_eq!(owner > 0, theft.silent_days() == 0, "{theft}");
            for played in played {
                let request = &played.request;
                assert_eq!(request.body.is_empty(), request.method == Method::GET, "{theft}");
                if !request.body.is_empty() {
                    serde_json::from_slice::<serde_json::Value>(&request.body).unwrap();
                }
            }
        }
    }

    #[test]
    fn the_owner_is_as_last_week_and_the_thief_is_not() {
        let (kept, ..) = kept();
        let known: BTreeSet<IpAddr> = kept.iter().map(|event| event.request.source.address).collect();
        let (rehearsal, start_ms) = rehearse(Theft::Resale, 500);
        for played in rehearsal.played.iter().filter(|played| !played.request.label.is_theft()) {
            let at = Timestamp::from_ms(played.request.at_ms - WEEK_MS);
            let same = |event: &UsageEvent| {
                event.request.time.ms() == at.ms() && Some(event.request.shape) == played.shape
            };
            assert!(kept.iter().any(same) && played.request.at_ms < start_ms + 3 * DAY_MS);
            assert!(known.contains(&played.request.source));
        }
        let thief = rehearsal.played.iter().filter(|played| played.request.label.is_theft());
        assert!(thief.clone().all(|played| !known.contains(&played.request.source)));
        assert!(thief.clone().all(|played| played.client.is_none() && played.shape.is_none()));
    }

    #[test]
    fn careful_thieves_show_the_owners_software() {
        let (kept, ..) = kept();
        for theft in Theft::ALL.into_iter().filter(|theft| theft.group() == TheftGroup::Careful) {
            let (rehearsal, _) = rehearse(theft, 50);
            let thief: Vec<&Played> =
                rehearsal.played.iter().filter(|played| played.request.label.is_theft()).collect();
            let known = |client: &Client| kept.iter().any(|event| event.request.client == *client);
            assert!(thief.iter().any(|played| played.client.as_ref().is_some_and(known)), "{theft}");
        }
    }

    #[test]
    fn the_same_seed_is_the_same_thief() {
        let ((once, _), (again, _)) = (rehearse(Theft::Crowd, 100), rehearse(Theft::Crowd, 100));
        let requests = |rehearsal: &Rehearsal| -> Vec<SimRequest> {
            rehearsal.played.iter().map(|played| played.request.clone()).collect()
        };
        assert_eq!(requests(&once), requests(&again));
    }
}
