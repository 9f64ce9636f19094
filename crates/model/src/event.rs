//! One request as a record: who, when, what, how much, from where, with what outcome.

use serde::{Deserialize, Serialize};

use crate::context::RequestContext;
use crate::finding::{Feedback, Finding};
use crate::id::{ActorId, KeyId, SuppressionId};
use crate::money::NanoUsd;
use crate::outcome::Outcome;
use crate::usage::{PriceSource, TokenUsage, UsageSource};

/// One finished request. The engine learns from it, the store keeps it, bills and reports come from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsageEvent {
    /// Everything that was known before it was forwarded. `request.key` is [`UsageEvent::NO_KEY`] when
    /// the credential named no key of ours.
    pub request: RequestContext,
    /// Ordinal among the key's events, counted from 1 in the order the engine observed them; replay skips
    /// what a snapshot already holds. 0 for events that no engine observes.
    pub key_seq: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// HTTP status the client got; 0 when it left before any.
    pub status: u16,
    /// Tokens consumed.
    pub usage: TokenUsage,
    /// Where the counts come from.
    pub usage_source: UsageSource,
    /// What it cost.
    pub cost: NanoUsd,
    /// How the price was found.
    pub price_source: PriceSource,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// Arrival to first byte of the answer, in microseconds; 0 when there was none.
    pub first_byte_us: u64,
    /// Arrival to end, in microseconds.
    pub duration_us: u64,
    /// Sketch of the answer's text, keyed like the hashes of [`Shape`](crate::context::Shape): answers that share
    /// most words differ in few bits (SimHash). 0 when there was no text or it was not looked at.
    pub completion: u64,
}

impl UsageEvent {
    /// Stands in `request.key` for a credential that named no key.
    pub const NO_KEY: KeyId = KeyId::from_bits(0);
}

/// One line of the journal: everything that changes what the engine knows, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum JournalRecord {
    /// A finished request.
    Usage(UsageEvent),
    /// A person's or policy's word about an actor; `key_seq` orders it among the key's events.
    Feedback {
        /// Ordinal among the key's events.
        key_seq: u64,
        /// What was said.
        feedback: Feedback,
    },
    /// What the engine found, kept for investigation; the engine does not read it back.
    Finding(Finding),
    /// A suppression silenced an alert about an actor: to the engine nobody was told of it. Stands before the finding
    /// itself; `key_seq` orders it among the key's events.
    Suppressed {
        /// Ordinal among the key's events.
        key_seq: u64,
        /// The key.
        key: KeyId,
        /// Who the alert is about.
        actor: ActorId,
        /// Which suppression.
        suppression: SuppressionId,
    },
}
