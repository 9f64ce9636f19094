//! Incidents: the case of one theft, from open to closed.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::finding::{Finding, Severity};
use crate::handling::Handling;
use crate::id::{ActorId, ContainmentId, IncidentId, KeyId};
use crate::money::NanoUsd;
use crate::time::Timestamp;

/// Where an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// Found, nothing in force.
    Open,
    /// Found, and a containment is in force. What is stored can say so for longer than it is true: time alone ends
    /// containments.
    Contained,
    /// Closed as a real theft.
    Resolved,
    /// Closed as "it was us" or a false alarm.
    Dismissed,
    /// Found, and what was in force has run out: nothing is in force, and nobody has closed it. Never stored; it
    /// follows from the containments and the time.
    Expired,
}

impl IncidentState {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Contained => "contained",
            Self::Resolved => "resolved",
            Self::Dismissed => "dismissed",
            Self::Expired => "expired",
        }
    }

    /// Whether somebody still has to look.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Contained | Self::Expired)
    }
}

/// One line of an incident's story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub time: Timestamp,
    /// `tokenwatch`, or the person who acted.
    pub who: SmolStr,
    /// What happened, in a sentence.
    pub what: String,
}

/// The case of one theft.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Identity.
    pub id: IncidentId,
    /// The key.
    pub key: KeyId,
    /// Where it is.
    pub state: IncidentState,
    /// The worst of its findings.
    pub severity: Severity,
    /// One line for lists.
    pub title: String,
    /// When the first finding came.
    pub opened: Timestamp,
    /// When the thief's first request came, as far as known.
    pub first_seen: Timestamp,
    /// When a containment came into force.
    pub contained: Option<Timestamp>,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// The actors it is about.
    pub actors: Vec<ActorId>,
    /// Its findings, at most [`Incident::FINDINGS_MAX`]; later ones only count.
    pub findings: Vec<Finding>,
    /// Findings in all.
    pub finding_count: u64,
    /// The containments put in force for it.
    pub containments: Vec<ContainmentId>,
    /// Requests of its actors that were forwarded.
    pub requests_forwarded: u64,
    /// Requests of its actors that were refused.
    pub requests_refused: u64,
    /// What the forwarded ones cost.
    pub cost: NanoUsd,
    /// Its story.
    pub timeline: Vec<TimelineEntry>,
    /// Whether it is a drill's: nothing was stolen, and its key is a stand-in.
    #[serde(default)]
    pub drill: bool,
    /// What is kept of how it is handled, beside its story.
    #[serde(default)]
    pub handling: Handling,
    /// Grows with every change.
    pub revision: u64,
}

impl Incident {
    /// Most findings kept whole.
    pub const FINDINGS_MAX: usize = 16;
}
