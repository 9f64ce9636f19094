//! Findings, verdicts and feedback: what goes out of the engine and what comes back.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::containment::ContextMatch;
use crate::context::RequestContext;
use crate::id::{ActorId, KeyId, RequestId};
use crate::money::NanoUsd;
use crate::time::Timestamp;

/// How bad a finding is. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look today.
    Medium,
    /// Somebody should look now.
    High,
    /// Money or data is being lost.
    Critical,
}

impl Severity {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a finding is sure enough for. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// A note for the owner: "was this you?" Not an alert.
    Notice,
    /// An alert: a person is told, and containment of the context may act by itself.
    Alert,
    /// Certain enough for the whole ladder.
    Act,
}

impl Tier {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Alert => "alert",
            Self::Act => "act",
        }
    }
}

/// One reason behind a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Evidence in natural-log units; negative speaks for the owner.
    pub nats: f64,
    /// The reason in words, with its numbers.
    pub what: String,
}

/// The newcomer a finding is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Actor {
    /// Identity on its key: stable across restarts and replays.
    pub id: ActorId,
    /// Recognises the actor's requests and none of the owner's.
    pub context: ContextMatch,
    /// First request seen from it.
    pub first_seen: Timestamp,
    /// Requests seen from it, refused ones included.
    pub requests: u64,
    /// Of these, forwarded.
    pub requests_forwarded: u64,
    /// What they cost.
    pub cost: NanoUsd,
}

/// Evidence that crossed a threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable id of the rule, such as `newcomer` or `volume_spike`.
    pub rule: SmolStr,
    /// The key.
    pub key: KeyId,
    /// Time of the event that crossed the threshold.
    pub time: Timestamp,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub tier: Tier,
    /// An honest key like this does that once in so many days; the false-alarm budget is stated in the
    /// same unit. 0 for rules without a rate.
    pub once_in_days: f64,
    /// One sentence with the numbers.
    pub summary: String,
    /// The reasons, strongest first.
    pub reasons: Vec<Reason>,
    /// Who it is about; `None` when the evidence is on the key as a whole.
    pub actor: Option<Actor>,
    /// The events behind it, latest last, at most a few.
    pub events: Vec<RequestId>,
}

/// What to do with a request before it is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Nothing is wrong.
    Forward,
    /// Forward and look closer.
    Watch,
    /// Not the owner: do not forward.
    Refuse,
}

/// The engine's answer about a request before it is forwarded.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What to do.
    pub decision: Decision,
    /// An honest key like this sends such a request once in so many days.
    pub once_in_days: f64,
    /// Why, when the decision is to refuse.
    pub finding: Option<Box<Finding>>,
}

impl Verdict {
    /// Nothing is wrong.
    pub const FORWARD: Self = Self { decision: Decision::Forward, once_in_days: 0.0, finding: None };
}

/// What a person or policy says about a context on a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// The key.
    pub key: KeyId,
    /// When it was said.
    pub time: Timestamp,
    /// What it is about.
    pub context: ContextMatch,
    /// What was said.
    pub says: Says,
}

/// The two things that can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// "It was us": trust the context until the time given.
    Ours {
        /// When the trust ends.
        until: Timestamp,
    },
    /// "It was a theft": never learn from this context, and judge newcomers on this key more strictly.
    Theft,
}

/// A short description of where a request came from, for people: `203.0.113.7, AS64500 (NL, hosting), axios 1.7.4`.
pub fn describe_origin(request: &RequestContext) -> String {
    let facts = request.source.facts;
    let mut text = request.source.address.to_string();
    if facts.asn != 0 {
        text.push_str(&format!(", AS{} ({}, {})", facts.asn, facts.country, facts.kind));
    }
    if request.client.family.is_empty() {
        text.push_str(", no user agent");
    } else {
        text.push_str(&format!(", {} {}", request.client.family, request.client.version));
    }
    text.trim_end().to_owned()
}
