//! Blanking identities out, so that only what is real in a world can speak: when requests came, and their tokens.
//!
//! Network, client, prompt form, model and endpoint of simulated keys are simulated; results that rest on them are only
//! as good as the simulation. With these made the same for owner and thief, what is found is found by times and tokens.

use std::net::{IpAddr, Ipv4Addr};

use tokenwatch_model::SmolStr;
use tokenwatch_model::client::Client;
use tokenwatch_model::context::{Shape, Siblings, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::network::NetworkFacts;
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_wire::price::{Price, PriceTable, cost};

/// What every blanked event of a key has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blank {
    provider: SmolStr,
    model: SmolStr,
    endpoint: Endpoint,
    price: Price,
}

/// An address for documentation, RFC 5737.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

impl Blank {
    /// Of a key whose clean events are these: all requests are for the first model that consumed tokens.
    pub fn of(clean: &[UsageEvent]) -> Option<Self> {
        let first = clean.iter().find(|event| event.usage.total() > 0).or_else(|| clean.first())?;
        Some(Self {
            provider: first.request.provider.clone(),
            model: first.request.model.clone(),
            endpoint: first.request.endpoint,
            price: PriceTable::bundled().find(&first.request.provider, &first.request.model).0,
        })
    }

    /// Blanks an event: everything but key, time and tokens is constant, and the cost is that of the tokens at the
    /// price of the key's model. Calls without tokens stay calls without tokens.
    pub fn apply(&self, event: &mut UsageEvent) {
        let request = &mut event.request;
        request.source = Source { address: ADDRESS, facts: NetworkFacts::default() };
        request.client = Client::default();
        request.provider = self.provider.clone();
        request.model = self.model.clone();
        request.endpoint = self.endpoint;
        request.shape = Shape::default();
        request.siblings = Siblings::default();
        request.stream = false;
        request.output_tokens_max = 0;
        request.request_bytes = 0;
        event.cost = cost(&event.usage, &self.price);
        request.cost_worst = event.cost;
        event.outcome = Outcome::Served;
        event.status = 200;
        event.response_bytes = 0;
        event.first_byte_us = 0;
        event.duration_us = 0;
    }
}
