//! What an alert is about, as every format needs it: an incident or a billing alarm.

use serde::Serialize;
use tokenwatch_model::time::Timestamp;

use super::Alert;

/// What an alert is about. In JSON a member of its own name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AboutSubject {
    /// An incident.
    Incident(AboutIncident),
    /// A billing alarm.
    Alarm(AboutAlarm),
}

/// The incident of an alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AboutIncident {
    /// Id.
    pub id: String,
    /// State by name.
    pub state: &'static str,
    /// Severity by name.
    pub severity: &'static str,
    /// One line.
    pub title: String,
    /// When it was opened.
    #[serde(serialize_with = "super::rfc3339")]
    pub opened: Timestamp,
    /// First request of the stranger, as far as it is known.
    #[serde(serialize_with = "super::rfc3339")]
    pub first_seen: Timestamp,
    /// When it was first contained.
    #[serde(serialize_with = "super::rfc3339_or_null")]
    pub contained: Option<Timestamp>,
    /// When it was closed.
    #[serde(serialize_with = "super::rfc3339_or_null")]
    pub closed: Option<Timestamp>,
    /// How many findings it holds.
    pub findings: u64,
    /// The rule of the strongest one.
    pub rule: String,
}

/// The billing alarm of an alert. Money is in US dollars.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AboutAlarm {
    /// Id.
    pub id: String,
    /// What was crossed, by name.
    pub kind: &'static str,
    /// Severity by name.
    pub severity: &'static str,
    /// One line.
    pub title: String,
    /// When it was raised.
    #[serde(serialize_with = "super::rfc3339")]
    pub raised: Timestamp,
    /// The UTC day or month that it is told once in.
    pub period: String,
    /// `key`, `owner` or `provider`.
    pub spender: &'static str,
    /// Id of a key or owner, name of a provider.
    pub spender_id: String,
    /// Name.
    pub spender_name: String,
    /// Spent this UTC day.
    pub today_dollars: f64,
    /// Spent this UTC month.
    pub month_dollars: f64,
    /// A typical day; nothing when too little is known.
    pub typical_day_dollars: Option<f64>,
    /// What was crossed.
    pub limit_dollars: f64,
    /// The same in typical days, for thresholds of a day.
    pub limit_typical_days: Option<f64>,
    /// What the month will come to; nothing when too little is known.
    pub forecast_dollars: Option<f64>,
    /// What drives it.
    pub drivers: Vec<AboutDriver>,
    /// The name of what was crossed among rules.
    #[serde(skip)]
    pub(super) rule: &'static str,
}

/// A key or model that drives a billing alarm.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AboutDriver {
    /// `key` or `model`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Spent this UTC day.
    pub today_dollars: f64,
    /// A typical day; nothing when it is not known.
    pub typical_day_dollars: Option<f64>,
}

/// The credential, team or provider that an alert is about, in the words of receivers.
pub(super) struct Resource<'a> {
    /// `key`, `owner` or `provider`.
    pub(super) kind: &'static str,
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) environment: &'a str,
    pub(super) service: &'a str,
}

impl AboutSubject {
    /// Its id: what alerts are grouped by.
    pub fn id(&self) -> &str {
        match self {
            Self::Incident(incident) => &incident.id,
            Self::Alarm(alarm) => &alarm.id,
        }
    }

    /// Severity by name.
    pub const fn severity(&self) -> &'static str {
        match self {
            Self::Incident(incident) => incident.severity,
            Self::Alarm(alarm) => alarm.severity,
        }
    }

    /// State by name.
    pub const fn state(&self) -> &'static str {
        match self {
            Self::Incident(incident) => incident.state,
            Self::Alarm(_) => "raised",
        }
    }

    /// One line.
    pub fn title(&self) -> &str {
        match self {
            Self::Incident(incident) => &incident.title,
            Self::Alarm(alarm) => &alarm.title,
        }
    }

    /// When it was opened or raised.
    pub const fn opened(&self) -> Timestamp {
        match self {
            Self::Incident(incident) => incident.opened,
            Self::Alarm(alarm) => alarm.raised,
        }
    }

    /// When it began, as far as it is known.
    pub const fn first_seen(&self) -> Timestamp {
        match self {
            Self::Incident(incident) => incident.first_seen,
            Self::Alarm(alarm) => alarm.raised,
        }
    }

    /// The rule that found it.
    pub fn rule(&self) -> &str {
        match self {
            Self::Incident(incident) => &incident.rule,
            Self::Alarm(alarm) => alarm.rule,
        }
    }

    /// `incident` or `alarm`.
    pub const fn noun(&self) -> &'static str {
        match self {
            Self::Incident(_) => "incident",
            Self::Alarm(_) => "alarm",
        }
    }
}

impl Alert {
    pub(super) fn resource(&self) -> Resource<'_> {
        match (&self.key, &self.subject) {
            (Some(key), _) => Resource {
                kind: "key",
                id: &key.id,
                name: &key.name,
                environment: &key.environment,
                service: &key.service,
            },
            (None, AboutSubject::Alarm(alarm)) => Resource {
                kind: alarm.spender,
                id: &alarm.spender_id,
                name: &alarm.spender_name,
                environment: "",
                service: "",
            },
            // An incident is of a key.
            (None, AboutSubject::Incident(_)) => {
                Resource { kind: "key", id: "", name: "", environment: "", service: "" }
            }
        }
    }

    pub(super) fn owner_name(&self) -> &str {
        self.owner.as_ref().map_or("", |owner| owner.name.as_str())
    }

    /// Why it is told, in a sentence.
    pub(super) fn reason(&self) -> &str {
        match &self.how_sure {
            Some(how_sure) => &how_sure.text,
            None => self.what_happened.first().map_or("", String::as_str),
        }
    }
}
