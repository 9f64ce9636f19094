//! The context of a request: network, client, shape, model, endpoint, hour. Hashed fields, never content.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::client::Client;
use crate::id::{KeyId, RequestId};
use crate::money::NanoUsd;
use crate::network::{NetworkFacts, Prefix};
use crate::provider::Endpoint;
use crate::time::Timestamp;

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The client's address, after trusted proxies were peeled off and transition encodings stripped.
    pub address: IpAddr,
    /// What the tables know of it.
    pub facts: NetworkFacts,
}

impl Source {
    /// The /24 or /48 of the address.
    pub fn prefix(&self) -> Prefix {
        Prefix::of(self.address)
    }
}

/// The form of a request without its content: hashes keyed with a secret of the deployment, and counts.
/// A hash of 0 means "absent".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Shape {
    /// The prompt template: the system prompt with its variable parts (numbers, ids) flattened.
    pub template: u64,
    /// The set of tool names, in any order.
    pub tools: u64,
    /// The pattern of roles, runs folded: `system user (assistant user)*`.
    pub roles: u64,
    /// Which parameters are set, and the values of those that are configuration rather than content.
    pub parameters: u64,
    /// The last user message, flattened like the template: identical or templated prompts coincide.
    pub prompt: u64,
    /// Messages in the conversation.
    pub messages: u32,
    /// Tools offered.
    pub tool_count: u32,
    /// Sketch of what the prompt is about: prompts that share most words differ in few bits (SimHash).
    pub topic: u64,
    /// Which phrase rules matched the prompt, one bit a rule; the rules' text stays in the request path.
    pub phrases: u32,
}

/// What the owner's other keys know of a request: evidence from outside the key. The gateway looks it up when a
/// request arrives and it is kept with the event, so a replay needs no other key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Siblings {
    /// How many other keys of the owner have learned enough to be asked; 0 when there is none.
    pub keys: u16,
    /// Which of the request's values at least one of them knows.
    pub known: SiblingsKnow,
}

/// Values of a request that the owner's other keys know, as bits. New ones are appended: they are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SiblingsKnow(pub u8);

impl SiblingsKnow {
    /// The block of addresses.
    pub const PREFIX: Self = Self(1);
    /// The autonomous system.
    pub const NETWORK: Self = Self(1 << 1);
    /// The country.
    pub const COUNTRY: Self = Self(1 << 2);
    /// The client family.
    pub const FAMILY: Self = Self(1 << 3);
    /// The client's version.
    pub const VERSION: Self = Self(1 << 4);
    /// The TLS print.
    pub const TLS: Self = Self(1 << 5);
    /// The model.
    pub const MODEL: Self = Self(1 << 6);
    /// The prompt template.
    pub const TEMPLATE: Self = Self(1 << 7);

    /// Whether all of `other`'s values are known.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and the others.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Everything known of a request before it is forwarded: what the engine judges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestContext {
    /// The request.
    pub id: RequestId,
    /// The key it presented.
    pub key: KeyId,
    /// When it arrived.
    pub time: Timestamp,
    /// Where it came from.
    pub source: Source,
    /// What sent it.
    pub client: Client,
    /// Name of the provider it is for.
    pub provider: SmolStr,
    /// What it calls.
    pub endpoint: Endpoint,
    /// Model as asked for; empty when the endpoint has none.
    pub model: SmolStr,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Form of the prompt.
    pub shape: Shape,
    /// Input tokens, estimated from the bytes of the request.
    pub input_tokens_estimate: u64,
    /// Most output tokens the request allows; 0 when it sets no limit.
    pub output_tokens_max: u64,
    /// What the request would cost if the model wrote every token it may.
    pub cost_worst: NanoUsd,
    /// Body length in bytes.
    pub request_bytes: u64,
    /// What the owner's other keys know of it.
    pub siblings: Siblings,
    /// Whether it presented the credential before the key's latest rotation.
    pub previous_credential: bool,
}
