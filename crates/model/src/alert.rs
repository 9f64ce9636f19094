//! Alerts on their way to people: what happened to an incident or that a billing alarm was raised, to whom it must be sent,
//! and the rendered message.
//!
//! An alert is written in the transaction that changed its incident or raised its alarm. A delivery is one alert for one destination; it
//! is pending until a receiver took it or a person dropped it, and never given up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::alarm::Alarm;
use crate::finding::Severity;
use crate::id::{AlarmId, IncidentId, ParseIdError};
use crate::incident::Incident;
use crate::time::Timestamp;

/// What happened to an incident that people are told of. Stored by name, so the names are append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertCause {
    /// It was opened, or raised.
    Opened,
    /// It got worse, or something was put in force or taken back.
    Updated,
    /// A person said that they are on it.
    Acknowledged,
    /// It was closed as a theft.
    Resolved,
    /// It was closed as "it was us".
    Dismissed,
    /// It is still open, and nobody acknowledged it in time.
    Escalated,
    /// Nothing: a person tries the way to a destination.
    Test,
}

impl AlertCause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::Opened,
        Self::Updated,
        Self::Acknowledged,
        Self::Resolved,
        Self::Dismissed,
        Self::Escalated,
        Self::Test,
    ];

    /// The word on disk and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
            Self::Dismissed => "dismissed",
            Self::Escalated => "escalated",
            Self::Test => "test",
        }
    }

    /// Whether it ends the incident.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Resolved | Self::Dismissed)
    }
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// An incident, as it was right after what happened.
    Incident(Box<Incident>),
    /// A billing alarm.
    Alarm(Box<Alarm>),
}

impl Subject {
    /// Its id.
    pub fn id(&self) -> SubjectId {
        match self {
            Self::Incident(incident) => SubjectId::Incident(incident.id),
            Self::Alarm(alarm) => SubjectId::Alarm(alarm.id),
        }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Incident(incident) => incident.severity,
            Self::Alarm(alarm) => alarm.kind.severity(),
        }
    }

    /// The incident, if it is one.
    pub fn incident(&self) -> Option<&Incident> {
        match self {
            Self::Incident(incident) => Some(incident),
            Self::Alarm(_) => None,
        }
    }
}

/// The id of what an alert is about. In JSON a member of its own name: `"incident": "inc_…"` or `"alarm": "alm_…"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectId {
    /// An incident.
    Incident(IncidentId),
    /// A billing alarm.
    Alarm(AlarmId),
}

impl SubjectId {
    /// The word on disk: `incident` or `alarm`.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Incident(_) => "incident",
            Self::Alarm(_) => "alarm",
        }
    }

    /// The 60 bits of the id.
    pub const fn bits(self) -> u64 {
        match self {
            Self::Incident(id) => id.bits(),
            Self::Alarm(id) => id.bits(),
        }
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incident(id) => id.fmt(f),
            Self::Alarm(id) => id.fmt(f),
        }
    }
}

impl FromStr for SubjectId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.starts_with(AlarmId::PREFIX) {
            return text.parse().map(Self::Alarm);
        }
        text.parse().map(Self::Incident)
    }
}

/// An alert as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAlert {
    /// Position among all alerts, given by the store; 0 before.
    pub sequence: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub cause: AlertCause,
    /// What it is about, as it was then.
    pub subject: Subject,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is to be sent.
    Pending,
    /// The receiver took it.
    Sent,
    /// A later one about the same, which says all of it, was sent in its place.
    Merged,
    /// An escalation that was not needed any more.
    Needless,
    /// A person gave it up.
    Dropped,
}

impl DeliveryState {
    /// The word on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Merged => "merged",
            Self::Needless => "needless",
            Self::Dropped => "dropped",
        }
    }
}

/// One alert for one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Position among all deliveries, given by the store; 0 before.
    pub id: u64,
    /// The alert.
    pub sequence: u64,
    /// What the alert is about.
    #[serde(flatten)]
    pub subject: SubjectId,
    /// Name of the destination.
    pub destination: SmolStr,
    /// Name of the route that led there.
    pub route: SmolStr,
    /// What the receiver is told: the alert's own cause, or that nobody acknowledged it.
    pub cause: AlertCause,
    /// What became of it.
    pub state: DeliveryState,
    /// Not before.
    pub due: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last try failed; empty when none did.
    pub error: String,
    /// Since when it waits.
    pub created: Timestamp,
    /// When it was sent or given up.
    pub ended: Option<Timestamp>,
}

/// Why a receiver did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// It can not be reached, answers nonsense, or says that it is broken.
    Unreachable,
    /// It asks to come back later; after so many microseconds, if it says when.
    Busy(Option<u64>),
    /// It does not want this message: the same one will hardly do better, others may.
    Rejected,
}

/// Where a destination's secret goes in an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// Nowhere; what is secret is the address.
    None,
    /// In a header, after a prefix such as `Bearer `.
    Header(&'static str, String),
    /// In a field of the JSON body.
    Field(&'static str),
    /// It signs the request: `webhook-id`, `webhook-timestamp` and `webhook-signature` of the Standard Webhooks
    /// specification, with this id.
    Signature(String),
}

/// A message, rendered but for secrets and addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// For HTTP: a POST.
    Http {
        /// What is put behind the destination's address.
        path: String,
        /// Headers besides those of every request.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: String,
        /// Where the secret goes.
        secret: SecretPlace,
    },
    /// For e-mail.
    Mail {
        /// One line.
        subject: String,
        /// Plain text.
        text: String,
        /// Left part of its `Message-ID`: the same whenever it is sent again.
        id: String,
        /// Left part of the `Message-ID` that it belongs to.
        thread: String,
    },
    /// For syslog (RFC 5424) without the host's name.
    Syslog {
        /// Facility and severity.
        priority: u8,
        /// When it happened.
        time: Timestamp,
        /// `MSGID`: the cause.
        kind: &'static str,
        /// The text, on one line.
        text: String,
    },
    /// One line of a file.
    Line(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde() {
        for cause in AlertCause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
        }
        use DeliveryState::{Dropped, Merged, Needless, Pending, Sent};
        for state in [Pending, Sent, Merged, Needless, Dropped] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        for id in [SubjectId::Incident(IncidentId::from_bits(7)), SubjectId::Alarm(AlarmId::from_bits(7))] {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(serde_json::to_value(id).unwrap(), serde_json::json!({ id.kind(): id.to_string() }));
        }
    }
}
