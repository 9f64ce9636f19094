//! What answers look like. Every type here is a contract: fields are added, never renamed or removed.
//!
//! Times are whole microseconds since 1970, money is text in US dollars, exact to a billionth, as in every other
//! output of TokenWatch.

use serde::{Deserialize, Serialize};
use tokenwatch_gateway::live::KeyView;
use tokenwatch_model::SmolStr;
use tokenwatch_model::containment::{Action, Containment};
use tokenwatch_model::finding::Severity;
use tokenwatch_model::id::{IncidentId, KeyId};
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::key::{Key, Mode, Rotation};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::Timestamp;
use tokenwatch_model::usage::PriceSource;
use tokenwatch_respond::{Disposition, Plan, Step};

use super::Condition;
use crate::alarms::AlarmBudget;
use crate::records::Role;
use crate::rotation::Caller;

/// A key, and what people see of it now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyOut {
    /// What is stored.
    #[serde(flatten)]
    pub key: Key,
    /// `active`, `disabled`, `revoked` or `expired`.
    pub state_now: SmolStr,
}

impl KeyOut {
    /// As it is at `now`.
    pub fn new(key: Key, now: Timestamp) -> Self {
        let state_now = SmolStr::new_static(key.state_at(now));
        Self { key, state_now }
    }
}

/// A page of keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyPage {
    /// By name.
    pub keys: Vec<KeyOut>,
    /// What `after` has to be for the next page; `null` on the last one.
    pub next: Option<SmolStr>,
}

/// A key that was just issued.
#[derive(Serialize)]
pub(crate) struct IssuedOut<'a> {
    pub(crate) key: KeyOut,
    /// The credential: in this answer and never again.
    pub(crate) secret: &'a str,
}

/// A key's latest rotation, and who still presents the credential before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RotationOut {
    /// `null` of a key that has the credential it was issued with.
    pub rotation: Option<Rotation>,
    /// Who presented the credential before in the last 24 hours, busiest first.
    pub callers: Vec<Caller>,
}

/// All about one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyDetail {
    /// The key.
    pub key: KeyOut,
    /// Who it belongs to.
    pub owner: Option<Owner>,
    /// How many false alarms are accepted on it, and who set that.
    pub alarm_budget: AlarmBudget,
    /// Containments in force.
    pub containments: Vec<Containment>,
    /// What it does now; `null` while no server has it in memory.
    pub live: Option<LiveKey>,
}

/// Owners by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnerList {
    /// All of them.
    pub owners: Vec<Owner>,
}

/// An incident in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentRow {
    /// Identity.
    pub id: IncidentId,
    /// The key.
    pub key: KeyId,
    /// Where it is.
    pub state: IncidentState,
    /// The worst of its findings.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// When the first finding came.
    pub opened: Timestamp,
    /// When a containment came into force.
    pub contained: Option<Timestamp>,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// Findings in all.
    pub finding_count: u64,
    /// Requests of its actors that were forwarded.
    pub requests_forwarded: u64,
    /// Requests of its actors that were refused.
    pub requests_refused: u64,
    /// What the forwarded ones cost.
    pub cost: NanoUsd,
}

impl From<Incident> for IncidentRow {
    fn from(incident: Incident) -> Self {
        Self {
            id: incident.id,
            key: incident.key,
            state: incident.state,
            severity: incident.severity,
            title: incident.title,
            opened: incident.opened,
            contained: incident.contained,
            closed: incident.closed,
            finding_count: incident.finding_count,
            requests_forwarded: incident.requests_forwarded,
            requests_refused: incident.requests_refused,
            cost: incident.cost,
        }
    }
}

/// Incidents, latest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentList {
    /// Open ones, or all.
    pub incidents: Vec<IncidentRow>,
}

/// All about one incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentDetail {
    /// The incident.
    pub incident: Incident,
    /// Its key.
    pub key: KeyOut,
    /// Who is paged.
    pub owner: Option<Owner>,
    /// The containments put in force for it, lifted ones included.
    pub containments: Vec<Containment>,
    /// The steps of its runbook as they are now, in order.
    pub runbook: Vec<tokenwatch_respond::runbook::Step>,
    /// What happened, how sure and why, what was done, what it cost, what to do next: text for people.
    pub story: String,
}

/// What would be done now about an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanOut {
    /// One line.
    pub title: String,
    /// What to do, in order.
    pub steps: Vec<StepOut>,
    /// What is worth knowing about the steps and why others are missing.
    pub notes: Vec<String>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepOut {
    /// What is done.
    pub action: Action,
    /// Why, in a sentence with numbers.
    pub reason: String,
    /// Until when; `null` only for revocation, which is for good.
    pub expires: Option<Timestamp>,
    /// Why TokenWatch leaves it to a person; `null` when it does it by itself.
    pub left_to_a_person: Option<String>,
}

impl From<Plan> for PlanOut {
    fn from(plan: Plan) -> Self {
        let step = |step: Step| StepOut {
            left_to_a_person: match step.disposition {
                Disposition::Automatic => None,
                Disposition::Proposed { why } => Some(why.to_string()),
            },
            action: step.action,
            reason: step.reason,
            expires: step.expires,
        };
        Self { title: plan.title, steps: plan.steps.into_iter().map(step).collect(), notes: plan.notes }
    }
}

/// Containments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainmentList {
    /// In force now.
    pub containments: Vec<Containment>,
}

/// One containment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainmentOut {
    /// The containment.
    pub containment: Containment,
}

/// The moment as `tokenwatch top` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// The server's time.
    pub time: Timestamp,
    /// Whether the server is shutting down.
    pub draining: bool,
    /// Open client connections.
    pub connections: u64,
    /// Incidents that somebody still has to look at.
    pub incidents_open: u64,
    /// Keys known.
    pub keys_known: u64,
    /// Requests in flight on all keys.
    pub in_flight: u64,
    /// Requests on all keys in each of the last 60 seconds, oldest first.
    pub requests_by_second: Vec<u64>,
    /// Money spent on all keys this UTC day.
    pub spent_day: NanoUsd,
    /// Money spent on all keys this UTC month.
    pub spent_month: NanoUsd,
    /// The keys used most recently, by name.
    pub keys: Vec<LiveKey>,
}

/// A key at the moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveKey {
    /// The key.
    pub id: KeyId,
    /// Its name.
    pub name: SmolStr,
    /// `active`, `disabled`, `revoked`.
    pub state: SmolStr,
    /// What automatic containment may do.
    pub mode: Mode,
    /// Requests in each of the last 60 seconds, oldest first.
    pub requests_by_second: Vec<u64>,
    /// Requests in flight.
    pub in_flight: u64,
    /// Money spent this UTC day.
    pub spent_day: NanoUsd,
    /// Money spent this UTC month.
    pub spent_month: NanoUsd,
    /// Requests forwarded since the server started.
    pub forwarded: u64,
    /// Requests refused since the server started.
    pub refused: u64,
    /// Containments in force, as `action: reason`.
    pub containments: Vec<String>,
    /// The highest score of a newcomer on it, in days; 0 when there is none.
    pub score_days: f64,
    /// How many contexts it is known by.
    pub known: Known,
    /// Newcomers on probation, the strangest first.
    pub suspects: Vec<Suspect>,
    /// Last request.
    pub last_used: Option<Timestamp>,
}

/// How many contexts a key is known by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Address blocks.
    pub prefixes: u64,
    /// Autonomous systems.
    pub networks: u64,
    /// Countries.
    pub countries: u64,
    /// Client families.
    pub clients: u64,
    /// Models.
    pub models: u64,
    /// Prompt templates.
    pub templates: u64,
}

/// A newcomer on probation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// What is new about it, in words.
    pub context: String,
    /// An honest key like this meets such a newcomer once in so many days.
    pub once_in_days: f64,
    /// First request.
    pub first_seen: Timestamp,
    /// Requests, refused ones included.
    pub requests: u64,
    /// Of these, forwarded.
    pub forwarded: u64,
    /// What they cost.
    pub cost: NanoUsd,
    /// Whether it was alerted on.
    pub alerted: bool,
}

/// JSON has no infinity; past a million years it makes no difference.
fn finite(days: f64) -> f64 {
    const MOST: f64 = 365e6;
    if days.is_nan() { 0.0 } else { days.clamp(0.0, MOST) }
}

impl From<KeyView> for LiveKey {
    fn from(view: KeyView) -> Self {
        let count = |n: usize| n as u64;
        Self {
            id: view.id,
            name: view.name,
            state: SmolStr::new_static(view.state),
            mode: view.mode,
            requests_by_second: view.requests_by_second.into_iter().map(u64::from).collect(),
            in_flight: view.in_flight,
            spent_day: view.spent_day,
            spent_month: view.spent_month,
            forwarded: view.forwarded,
            refused: view.refused,
            containments: view.containments,
            score_days: finite(view.score_days),
            known: Known {
                prefixes: count(view.known.prefixes),
                networks: count(view.known.networks),
                countries: count(view.known.countries),
                clients: count(view.known.clients),
                models: count(view.known.models),
                templates: count(view.known.templates),
            },
            suspects: view
                .suspects
                .into_iter()
                .map(|suspect| Suspect {
                    context: suspect.context,
                    once_in_days: finite(suspect.once_in_days),
                    first_seen: suspect.first_seen,
                    requests: suspect.requests,
                    forwarded: suspect.forwarded,
                    cost: suspect.cost,
                    alerted: suspect.alerted,
                })
                .collect(),
            last_used: view.last_used,
        }
    }
}

/// Whose token was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whoami {
    /// The token's name.
    pub name: SmolStr,
    /// What it may do.
    pub role: Role,
}

/// Whether the server is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether traffic should come here.
    pub ready: bool,
    /// What is wrong; fatal ones first.
    pub reasons: Vec<Condition>,
}

/// Providers in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderList {
    /// All of them.
    pub providers: Vec<ProviderOut>,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderOut {
    /// Unique name.
    pub name: SmolStr,
    /// Protocol.
    pub dialect: SmolStr,
    /// Where it is.
    pub base_url: String,
    /// Which prices apply.
    pub prices_as: SmolStr,
    /// What the best of its circuit breakers does: `closed`, `trying`, `open`; `unusable` when no credential can
    /// be read.
    pub circuit: SmolStr,
    /// Its credentials, in the order they are tried.
    pub credentials: Vec<ProviderCredential>,
}

/// Where a provider credential is kept, and how it does; never the credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderCredential {
    /// Such as `env:OPENAI_API_KEY`.
    pub source: SmolStr,
    /// `ok`, `unreadable`, or `refused` by the provider last time.
    pub state: SmolStr,
    /// Its circuit breaker: `closed`, `trying`, `open`.
    pub circuit: SmolStr,
}

/// What a model costs, in US dollars per million tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PriceOut {
    /// Provider name of the price table.
    pub provider: String,
    /// Model.
    pub model: String,
    /// How the price was found: `exact`, `similar`, or the provider's `dearest`.
    pub source: PriceSource,
    /// When the bundled table was collected.
    pub table_date: String,
    /// Input tokens.
    pub input_usd_per_mtok: f64,
    /// Output tokens.
    pub output_usd_per_mtok: f64,
    /// Input tokens read from a cache.
    pub cache_read_usd_per_mtok: f64,
    /// Input tokens written to a cache.
    pub cache_write_usd_per_mtok: f64,
}

/// Audit rows, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditList {
    /// Each with the hash that chains it to all before it.
    pub rows: Vec<tokenwatch_model::audit::AuditRow>,
}
