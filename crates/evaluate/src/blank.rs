//! Hiding a part of events from the methods: identities, so that only what is real in a world can speak, when requests
//! came and their tokens; or what is read from content.
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

use crate::plan::Options;

/// What of a key's events is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// Nothing is.
    Nothing,
    /// What was read from prompts and answers.
    Content,
    /// Everything but time and tokens.
    Identities(Blank),
}

impl Hidden {
    /// Of a key whose clean events are these.
    pub fn of(options: &Options, clean: &[UsageEvent]) -> Self {
        let blank = options.only_real.then(|| Blank::of(clean)).flatten();
        match blank {
            Some(blank) => Self::Identities(blank),
            None if options.without_content => Self::Content,
            None => Self::Nothing,
        }
    }

    /// Hides it in an event.
    pub fn apply(&self, event: &mut UsageEvent) {
        match self {
            Self::Nothing => {}
            Self::Content => {
                (event.request.shape.topic, event.request.shape.phrases, event.completion) = (0, 0, 0);
            }
            Self::Identities(blank) => blank.apply(event),
        }
    }
}

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

#[cfg(test)]
mod tests {
    use tokenwatch_model::time::Timestamp;

    use super::*;
    use crate::testing::event;

    #[test]
    fn without_content_everything_else_is_as_it_was() {
        let plain = event(1, Timestamp::from_seconds(1));
        let mut read = plain.clone();
        (read.request.shape.topic, read.request.shape.phrases, read.completion) = (7, 3, 9);
        let options = Options { without_content: true, ..Options::default() };
        let apply = |options: &Options| {
            let mut event = read.clone();
            Hidden::of(options, std::slice::from_ref(&read)).apply(&mut event);
            event
        };
        assert_eq!(apply(&options), plain);
        assert_eq!(apply(&Options::default()), read);
        let real = Options { only_real: true, ..options };
        assert_eq!(apply(&real).request.client, Client::default());
    }
}
