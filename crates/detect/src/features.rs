//! What the engine reads from a request: prints of the fields that can be new to a key.
//!
//! Invariant: a print of 0 means "absent", and absent is never new.

use serde::{Deserialize, Serialize};
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::id::ActorId;
use tokenwatch_model::network::{Country, NetworkKind, is_private};
use tokenwatch_model::provider::Endpoint;

use crate::math::{hash, join, print};

/// Who a request may come from, told apart only by what is in it: the key, the block of addresses, the
/// client family. The gateway counts requests in flight by it.
///
/// The family is part of it so that two callers behind one address stay apart; a thief who changes the
/// family at each request is a new newcomer each time, and they are summed as a crowd.
pub fn actor_of(request: &RequestContext) -> ActorId {
    let source = join(request.key.bits(), block(request));
    ActorId::from_bits(join(source, hash(&request.client.family)))
}

/// Prints of one request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Features {
    /// The /24 or /48.
    pub(crate) prefix: u32,
    /// Inside somebody's own network: the address says nothing.
    pub(crate) private: bool,
    /// Autonomous system; 0 when unknown.
    pub(crate) asn: u32,
    /// Country; unknown when no table knows it.
    pub(crate) country: Country,
    /// Kind of network.
    pub(crate) kind: NetworkKind,
    /// Client family; "no user agent" is a family too.
    pub(crate) family: u32,
    /// Family and version; 0 when no version was sent.
    pub(crate) version: u32,
    /// TLS print.
    pub(crate) tls: u32,
    /// Model.
    pub(crate) model: u32,
    /// Endpoint.
    pub(crate) endpoint: Endpoint,
    /// Prompt template, or the tool set where there is no template; [`no_template`] in a conversation that has
    /// neither, 0 where there could be none.
    pub(crate) template: u32,
    /// Tool set.
    pub(crate) tools: u32,
}

/// The template print of a conversation without a system prompt or tools.
pub(crate) const fn no_template() -> u32 {
    print(0x6e6f_6e65)
}

/// The block of addresses; where the address was left out, the network stands in for it.
pub(crate) fn block(request: &RequestContext) -> u64 {
    let source = &request.source;
    if source.address.is_unspecified() && source.facts.asn != 0 {
        join(u64::from(source.facts.asn), u64::from(source.facts.country.packed()))
    } else {
        source.prefix().bits()
    }
}

const fn is_conversation(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Messages | Endpoint::Responses)
}

/// The family print of a request without a user agent.
pub(crate) fn no_agent() -> u32 {
    print(hash(""))
}

impl Features {
    /// Reads a request.
    pub(crate) fn of(request: &RequestContext) -> Self {
        let or_absent = |bits: u64| if bits == 0 { 0 } else { print(bits) };
        let facts = request.source.facts;
        let family = hash(&request.client.family);
        let version = &request.client.version;
        let template = if request.shape.template != 0 { request.shape.template } else { request.shape.tools };
        Self {
            prefix: print(block(request)),
            // Where a network is stated, a record's address was masked, not local.
            private: is_private(request.source.address) && facts.asn == 0,
            asn: facts.asn,
            country: facts.country,
            kind: facts.kind,
            family: print(family),
            version: if version.is_empty() { 0 } else { print(join(family, hash(version))) },
            tls: or_absent(request.client.tls),
            model: if request.model.is_empty() { 0 } else { print(hash(&request.model)) },
            endpoint: request.endpoint,
            template: if template == 0 && is_conversation(request.endpoint) {
                no_template()
            } else {
                or_absent(template)
            },
            tools: or_absent(request.shape.tools),
        }
    }

    /// The widest network the request can be put into: its autonomous system, else its block.
    pub(crate) fn network(&self) -> u32 {
        if self.asn == 0 || self.private { self.prefix } else { print(u64::from(self.asn)) }
    }
}
