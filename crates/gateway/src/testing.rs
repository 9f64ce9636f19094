//! Builders for the unit tests of this crate.

use tokenwatch_model::client::Client;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::NetworkFacts;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::Timestamp;

/// A plain chat request of `key`.
pub(crate) fn request(key: KeyId) -> RequestContext {
    RequestContext {
        id: RequestId::new(0, 1),
        key,
        time: Timestamp::from_seconds(1_767_225_600),
        source: Source { address: [192, 0, 2, 1].into(), facts: NetworkFacts::default() },
        client: Client::default(),
        provider: "openai".into(),
        endpoint: Endpoint::ChatCompletions,
        model: "gpt-4o-mini".into(),
        stream: false,
        shape: Shape::default(),
        input_tokens_estimate: 10,
        output_tokens_max: 100,
        cost_worst: NanoUsd::from_cents(1),
        request_bytes: 100,
        siblings: Default::default(),
        previous_credential: false,
    }
}
