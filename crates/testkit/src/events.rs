//! Usage events straight from simulated requests, so that an engine can be tested without HTTP.

use serde_json::Value;
use tokenwatch_model::SmolStr;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::AddressFacts;
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::time::Timestamp;
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};

use crate::rng;
use crate::sim::SimRequest;

/// Turns the requests of one key into its events.
pub struct EventMaker<'a> {
    /// The key the requests present.
    pub key: KeyId,
    /// Name of the provider they go to.
    pub provider: SmolStr,
    /// What is known of addresses.
    pub facts: &'a dyn AddressFacts,
    /// Form of a request; [`outline`] will do where no real one is at hand.
    pub shape: &'a dyn Fn(&SimRequest) -> Shape,
    /// Price of so many tokens of a model.
    pub price: &'a dyn Fn(&str, &TokenUsage) -> NanoUsd,
}

impl EventMaker<'_> {
    /// The event of a request that a provider served, with the ordinal `key_seq`, counted from 1.
    pub fn event(&self, request: &SimRequest, key_seq: u64) -> UsageEvent {
        let tokens = request.tokens;
        let usage = TokenUsage {
            input: u64::from(tokens.input.saturating_sub(tokens.cached)),
            cache_read: tokens.cached.into(),
            output: tokens.output.into(),
            ..TokenUsage::default()
        };
        let consumed = usage.total() > 0;
        let worst = TokenUsage { output: u64::from(request.output_tokens_max).max(usage.output), ..usage };
        // Four bytes a token, and about 50 tokens a second: for records that look alive, not for statistics.
        let first_byte_us = 200_000 + u64::from(tokens.input) * 20;
        UsageEvent {
            request: RequestContext {
                id: RequestId::new(request.at_ms, rng::mix(self.key.bits() ^ key_seq).into()),
                key: self.key,
                time: Timestamp::from_ms(request.at_ms),
                source: Source { address: request.source, facts: self.facts.facts(request.source) },
                client: request.client.clone(),
                provider: self.provider.clone(),
                endpoint: request.endpoint,
                model: request.model.clone(),
                stream: request.stream,
                shape: (self.shape)(request),
                input_tokens_estimate: tokens.input.into(),
                output_tokens_max: request.output_tokens_max.into(),
                cost_worst: (self.price)(&request.model, &worst),
                request_bytes: request.body.len() as u64,
                siblings: Default::default(),
                previous_credential: false,
            },
            key_seq,
            outcome: Outcome::Served,
            status: request.status,
            usage,
            usage_source: if consumed { UsageSource::Provider } else { UsageSource::None },
            cost: if consumed { (self.price)(&request.model, &usage) } else { NanoUsd::ZERO },
            price_source: if consumed { PriceSource::Exact } else { PriceSource::None },
            response_bytes: 400 + u64::from(tokens.output) * 4,
            first_byte_us,
            duration_us: first_byte_us + u64::from(tokens.output) * 20_000,
            completion: 0,
        }
    }
}

/// A plain stand-in for the real reader of shapes: hashes with runs of letters-and-digits that hold a digit folded, so
/// that dates and ids do not make a new template of each prompt. Unkeyed: for tests only.
pub fn outline(request: &SimRequest) -> Shape {
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else { return Shape::default() };
    let messages = body.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let role = |message: &Value| message.get("role").and_then(Value::as_str).map(str::to_owned);
    let content = |message: &Value| message.get("content").and_then(Value::as_str).map(str::to_owned);
    let of_role = |wanted: &str| messages.iter().rev().find(|m| role(m).as_deref() == Some(wanted));
    let system = body.get("system").and_then(Value::as_str).map(str::to_owned);
    let system = system.or_else(|| of_role("system").and_then(content));
    let mut roles: Vec<String> = messages.iter().filter_map(role).collect();
    roles.dedup();
    let tools = body.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut names: Vec<&str> = tools
        .iter()
        .filter_map(|tool| tool.get("name").or_else(|| tool.get("function")?.get("name"))?.as_str())
        .collect();
    names.sort_unstable();
    let parameters: Vec<String> = body
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !matches!(name.as_str(), "model" | "messages" | "system" | "tools"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let hash = |text: &str| if text.is_empty() { 0 } else { rng::hash(text.as_bytes()).max(1) };
    Shape {
        template: system.map_or(0, |system| hash(&fold(&system))),
        tools: hash(&names.join(",")),
        roles: hash(&roles.join(" ")),
        parameters: hash(&parameters.join("&")),
        prompt: of_role("user").and_then(content).map_or(0, |text| hash(&fold(&text))),
        messages: messages.len() as u32,
        tool_count: tools.len() as u32,
        ..Shape::default()
    }
}

/// Replaces every word that holds a digit by `0`.
fn fold(text: &str) -> String {
    text.split_inclusive(|c: char| !c.is_ascii_alphanumeric())
        .map(|word| if word.bytes().any(|b| b.is_ascii_digit()) { "0" } else { word })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokenwatch_model::key::Workload;
    use tokenwatch_model::network::NetworkFacts;

    use super::*;
    use crate::persona::{BenignChange, Persona};
    use crate::traffic::Row;

    struct OneNetwork;

    impl AddressFacts for OneNetwork {
        fn facts(&self, _: IpAddr) -> NetworkFacts {
            NetworkFacts { asn: 64_500, ..NetworkFacts::default() }
        }

        fn organisation(&self, _: u32) -> Option<&str> {
            None
        }
    }

    fn rows() -> Vec<Row> {
        (0..200).map(|i| Row { t_ms: i * 60_000, input_tokens: 100, output_tokens: 7 }).collect()
    }

    #[test]
    fn events_carry_what_the_request_carries() {
        let persona = Persona::new(1, "x", Workload::Service, 1_772_409_600_000);
        let maker = EventMaker {
            key: KeyId::from_bits(9),
            provider: "openai".into(),
            facts: &OneNetwork,
            shape: &outline,
            price: &|_, usage| NanoUsd(usage.total()),
        };
        let rows = rows();
        let request = persona.requests(&rows).next().unwrap();
        let event = maker.event(&request, 1);
        assert_eq!(event.request.source.facts.asn, 64_500);
        assert_eq!((event.usage.input, event.usage.output, event.cost), (100, 7, NanoUsd(107)));
        assert_eq!(event.request.time, Timestamp::from_ms(request.at_ms));
        assert_eq!(event.request.client, request.client);
        assert_eq!(event, maker.event(&request, 1));
        assert_ne!(event.request.id, maker.event(&request, 2).request.id);
    }

    #[test]
    fn prompts_fall_into_few_templates() {
        let persona = Persona::new(1, "x", Workload::Service, 1_772_409_600_000);
        let templates = |persona: &Persona| {
            let rows = rows();
            let mut seen: Vec<u64> = persona.requests(&rows).map(|r| outline(&r).template).collect();
            seen.sort_unstable();
            seen.dedup();
            seen.len()
        };
        let before = templates(&persona);
        assert!((1..=2).contains(&before), "{before}");
        let at = persona.start_ms() + 100 * 60_000;
        assert_eq!(templates(&persona.with_change(BenignChange::NewPrompt, at)), 2 * before);
    }
}
