//! Thefts of a key of which nothing is known but its recorded events.
//!
//! The plans are those of simulated keys. A thief who copies the owner makes the owner's recorded calls again.

use tokenwatch_model::SmolStr;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::provider::{Dialect, Endpoint};

use super::super::day::{Slot, request_bits};
use super::super::identity::conversation;
use super::super::render::Call;
use super::{TheftLimits, Victim, WATCHED_DAYS, steal};
use crate::rng::{self, Rng};
use crate::sim::Tokens;
use crate::theft::rehearsal;
use crate::theft::{Theft, victim::ROWS_MAX};
use crate::traffic::DAY_MS;

/// A key, by its events.
#[derive(Clone, Copy, Debug)]
pub struct RecordedKey<'a> {
    id: KeyId,
    dialect: Dialect,
    /// In time order.
    events: &'a [UsageEvent],
}

impl<'a> RecordedKey<'a> {
    /// A key of which these events were recorded, in time order.
    pub fn new(id: KeyId, events: &'a [UsageEvent]) -> Self {
        let is_anthropic = |event: &&UsageEvent| {
            event.request.endpoint == Endpoint::Messages
                || event.request.provider == Dialect::Anthropic.name()
        };
        let anthropic = events.iter().filter(is_anthropic).count();
        let dialect = if anthropic * 2 > events.len() { Dialect::Anthropic } else { Dialect::OpenAi };
        Self { id, dialect, events }
    }

    /// The thief's events of a theft whose first call comes at `start_ms` (Unix milliseconds), in time order; `key_seq` is
    /// 0. The thief knows what the owner did before.
    pub fn theft(&self, theft: Theft, seed: u64, start_ms: u64, limits: TheftLimits) -> Vec<UsageEvent> {
        let rng = theft.rng(seed ^ rng::mix(self.id.bits()));
        let before = self.events.partition_point(|event| event.request.time.ms() < start_ms);
        let past: Vec<&UsageEvent> =
            self.events.iter().take(before).filter(|event| was_answered(event)).collect();
        let recent = past.partition_point(|event| {
            event.request.time.ms() < start_ms.saturating_sub(WATCHED_DAYS * DAY_MS)
        });
        // A key that was silent of late is known by what it did last.
        let from = recent.min(past.len().saturating_sub(24)).max(past.len().saturating_sub(ROWS_MAX));
        let watched = past.get(from..).unwrap_or_default();
        let habits = rehearsal::habits(watched, self.dialect, start_ms, &mut rng.fork("habits"));
        let owner = Owner::new(self, watched);
        let mut events = steal(&owner, theft, &habits, &rng, start_ms, limits);
        if let Some(usual) = watched.last() {
            for event in &mut events {
                event.request.provider = usual.request.provider.clone();
            }
        }
        events
    }
}

/// Whether an event was a call that went well; logs without a status have none that did not.
fn was_answered(event: &UsageEvent) -> bool {
    event.status < 400
}

/// The owner, as its thief knows it.
struct Owner<'a> {
    key: &'a RecordedKey<'a>,
    watched: &'a [&'a UsageEvent],
    /// Where its conversations are, and with which model most of them.
    conversation: Endpoint,
    main_model: SmolStr,
}

impl<'a> Owner<'a> {
    fn new(key: &'a RecordedKey<'a>, watched: &'a [&'a UsageEvent]) -> Self {
        let chats = || watched.iter().filter(|event| is_conversation(event.request.endpoint));
        let endpoint = most(chats().map(|event| event.request.endpoint));
        let conversation = endpoint.unwrap_or_else(|| conversation(key.dialect));
        let with = chats().filter(|event| event.request.endpoint == conversation);
        let main_model = most(with.map(|event| &event.request.model)).cloned().unwrap_or_default();
        Self { key, watched, conversation, main_model }
    }
}

const fn is_conversation(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages)
}

/// The most frequent value; the first of several.
fn most<T: PartialEq>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: Vec<(usize, T)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(_, counted)| *counted == value) {
            Some((count, _)) => *count += 1,
            None => counts.push((1, value)),
        }
    }
    let highest = counts.iter().map(|(count, _)| *count).max()?;
    counts.into_iter().find(|(count, _)| *count == highest).map(|(_, value)| value)
}

impl Victim for Owner<'_> {
    fn id(&self) -> KeyId {
        self.key.id
    }

    fn dialect(&self) -> Dialect {
        self.key.dialect
    }

    fn call(&self, slot: &Slot) -> Option<Call> {
        let mut rng = Rng::new(slot.seed);
        let event = rng.pick_from(self.watched)?;
        let (request, usage) = (&event.request, &event.usage);
        let cut = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
        Some(Call {
            at_us: slot.at_us,
            id_bits: request_bits(slot.seed, slot.tries),
            key: self.key.id,
            dialect: self.key.dialect,
            source: request.source,
            client: request.client.clone(),
            endpoint: request.endpoint,
            model: request.model.clone(),
            stream: request.stream,
            shape: request.shape,
            completion: event.completion,
            tokens: Tokens {
                input: cut(usage.input_total()),
                cached: cut(usage.cache_read),
                output: cut(usage.output),
            },
            limit: cut(request.output_tokens_max),
            status: slot.status,
        })
    }

    fn main_model(&self, _at_ms: u64) -> SmolStr {
        self.main_model.clone()
    }

    fn conversation(&self) -> Endpoint {
        self.conversation
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fleet::{Fleet, FleetKey, FleetOptions, START_MS};
    use crate::theft::TheftGroup;
    use tokenwatch_model::key::Workload;

    const AT: u64 = START_MS + 8 * DAY_MS;
    const LIMITS: TheftLimits = TheftLimits { events_max: 300, until_ms: u64::MAX };

    fn recorded() -> Vec<UsageEvent> {
        let fleet = Fleet::new(3, &FleetOptions { keys_per_client: 1, ..FleetOptions::default() }).unwrap();
        let steady = |key: &&FleetKey| key.workload() == Workload::Service && key.calls_per_day() > 500.0;
        fleet.keys().iter().find(steady).unwrap().events(0, 11).collect()
    }

    #[test]
    fn every_theft_can_be_put_on_recorded_events() {
        let own = recorded();
        let key = RecordedKey::new(own[0].request.key, &own);
        for theft in Theft::ALL {
            let events = key.theft(theft, 5, AT, LIMITS);
            assert!((1..=300).contains(&events.len()), "{theft}: {}", events.len());
            assert!(events.is_sorted_by_key(|event| event.request.time), "{theft}");
            assert!(
                events.iter().all(|event| event.request.time.ms() >= AT && event.key_seq == 0),
                "{theft}"
            );
            assert!(events.iter().all(|event| event.request.key == own[0].request.key), "{theft}");
            assert_eq!(key.theft(theft, 5, AT, LIMITS), events, "{theft}");
        }
    }

    #[test]
    fn careful_thieves_and_mimics_show_the_owners_software_and_others_do_not() {
        let own = recorded();
        let key = RecordedKey::new(own[0].request.key, &own);
        let owners: BTreeSet<String> =
            own.iter().map(|event| format!("{:?}", event.request.client)).collect();
        for theft in Theft::REFERENCE {
            let events = key.theft(theft, 5, AT, LIMITS);
            let shown = |event: &UsageEvent| owners.contains(&format!("{:?}", event.request.client));
            match theft.group() {
                TheftGroup::Careful | TheftGroup::Mimic => assert!(events.iter().all(shown), "{theft}"),
                _ => assert!(!events.iter().all(shown), "{theft}"),
            }
        }
    }

    #[test]
    fn a_key_without_a_past_can_be_stolen_too() {
        let key = RecordedKey::new(KeyId::from_bits(7), &[]);
        for theft in Theft::ALL {
            assert!(key.theft(theft, 5, AT, LIMITS).is_sorted_by_key(|event| event.request.time), "{theft}");
        }
    }
}
