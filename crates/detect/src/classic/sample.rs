//! Events for the unit tests of the classic methods.

use std::net::{IpAddr, Ipv4Addr};

use tokenwatch_model::client::Client;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{Country, NetworkFacts, NetworkKind};
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};

/// Midnight of a Monday.
pub(super) const START: Timestamp = Timestamp(20_458 * DAY);

/// A served request of 100 input tokens, so many output tokens and a cent, so long after [`START`].
pub(crate) fn event(after: u64, output: u64) -> UsageEvent {
    let time = START.plus(after);
    UsageEvent {
        request: RequestContext {
            id: RequestId::from_bits(u128::from(after) + 1),
            key: KeyId::from_bits(1),
            time,
            source: Source {
                address: IpAddr::V4(Ipv4Addr::new(20, 1, 2, 3)),
                facts: NetworkFacts {
                    asn: 16_509,
                    country: Country::from_code("US"),
                    kind: NetworkKind::Hosting,
                },
            },
            client: Client {
                family: "openai-python".into(),
                version: "1.52.0".into(),
                tls: 5,
                ..Client::default()
            },
            provider: "openai".into(),
            endpoint: Endpoint::ChatCompletions,
            model: "gpt-4o-mini".into(),
            stream: false,
            shape: Shape { template: 7, ..Shape::default() },
            input_tokens_estimate: 100,
            output_tokens_max: 1_000,
            cost_worst: NanoUsd::from_cents(10),
            request_bytes: 400,
            siblings: Default::default(),
            previous_credential: false,
        },
        key_seq: 0,
        outcome: Outcome::Served,
        status: 200,
        usage: TokenUsage { input: 100, output, ..TokenUsage::default() },
        usage_source: UsageSource::Provider,
        cost: NanoUsd::from_cents(1),
        price_source: PriceSource::Exact,
        response_bytes: 800,
        first_byte_us: 300_000,
        duration_us: 2_000_000,
        completion: 0,
    }
}
