//! What people are told of an incident or a billing alarm: one value that every format is rendered from.
//!
//! ```text
//! effects of a change ──► stored alert ──decide──► deliveries ──pick──► Alert ──render──► message ──► receiver
//! ```
//!
//! Invariants:
//! * Everything is pure: the same incident, key and time give the same bytes.
//! * No text leaves without [`mask::safe`]: no credential, control character or line break that a caller chose.
//! * Every list and text has a limit, so that a message fits what its receiver takes.

mod billing;
pub mod mask;
mod press;
pub mod references;
pub mod render;
pub mod route;
pub mod schedule;
mod subject;

use serde::{Serialize, Serializer};
use smol_str::SmolStr;
use tokenwatch_model::alert::{AlertCause, StoredAlert};
use tokenwatch_model::containment::Containment;
use tokenwatch_model::finding::{Finding, Severity};
use tokenwatch_model::handling::Handling;
use tokenwatch_model::id::{IncidentId, KeyId};
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::key::{Key, KeyState, Policy, Workload};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{Timestamp, human_span};

pub use self::billing::Background;
use self::mask::safe;
pub use self::press::{Approval, Link, NextStep, Press, approvable};
use self::press::{links, next_step, what_to_press};
use self::references::{Cites, References};
pub use self::subject::{AboutAlarm, AboutDriver, AboutIncident, AboutSubject};
use crate::incident::{tell, time_to_contain_us, time_to_detect_us};
use crate::story::strongest;
use crate::words::{clean, clock, count, grouped, key_name, odds, rarity};
use crate::{plan, runbook};

/// Findings, reasons, lines and sources told; the rest is in the incident.
const FINDINGS_MAX: usize = 3;
const REASONS_MAX: usize = 6;
const DONE_MAX: usize = 8;
const SOURCES_MAX: usize = 5;

/// An alert, ready to be rendered. As JSON it is the body of the webhook; fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// Version of this shape.
    pub schema: &'static str,
    /// The same whenever it is sent again: receivers that have it already can drop it.
    pub id: String,
    /// Order among all alerts.
    pub sequence: u64,
    /// What happened.
    pub cause: AlertCause,
    /// When it happened.
    #[serde(serialize_with = "rfc3339")]
    pub time: Timestamp,
    /// One line.
    pub headline: String,
    /// Whether it is a drill: nothing was stolen, and nobody has to do anything but see that this arrived.
    pub drill: bool,
    /// The incident or billing alarm; its id is what alerts are grouped by.
    #[serde(flatten)]
    pub subject: AboutSubject,
    /// The key; of a billing alarm only where it is a key's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<AboutKey>,
    /// Who answers for it.
    pub owner: Option<AboutOwner>,
    /// What happened, a sentence each.
    pub what_happened: Vec<String>,
    /// Who spends it, a line each, dearest first; of billing alarms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub who_spends: Vec<String>,
    /// What the month comes to, a sentence each; of billing alarms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub the_month: Vec<String>,
    /// How sure TokenWatch is, and why; of incidents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how_sure: Option<HowSure>,
    /// What was done, a line each, oldest first.
    pub what_was_done: Vec<String>,
    /// What it cost so far; of incidents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Who called.
    pub sources: Vec<Source>,
    /// What to press, exactly.
    pub what_to_press: Vec<Press>,
    /// The step of the runbook that somebody has to do next.
    pub next_step: Option<NextStep>,
    /// Other keys of the owner that an incident was opened about at about the same time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<AboutBeside>,
    /// Where to read on.
    pub links: Vec<Link>,
    /// The field's names for what happened.
    pub references: References,
}

/// The key of an alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AboutKey {
    /// Id; never the credential.
    pub id: String,
    /// Name.
    pub name: String,
    /// Environment.
    pub environment: String,
    /// Service.
    pub service: String,
}

/// The owner of an alert's key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AboutOwner {
    /// Name.
    pub name: String,
    /// Whom to page.
    pub on_call: String,
    /// Where to write.
    pub channel: String,
}

/// An incident on another key of the same owner: one thief often has several keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AboutBeside {
    /// Id of the incident.
    pub incident: String,
    /// Name of its key.
    pub key: String,
}

/// How sure an alert is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HowSure {
    /// In a sentence.
    pub text: String,
    /// `alert` or `act`.
    pub tier: &'static str,
    /// An honest key does this once in so many days; nothing for rules without a rate.
    pub once_in_days: Option<f64>,
    /// Reasons with their weights, strongest first as the finding has them.
    pub reasons: Vec<String>,
}

/// What an incident cost so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// In a sentence.
    pub text: String,
    /// US dollars; nothing when the evidence is on the key as a whole.
    pub dollars: Option<f64>,
    /// Requests served to the stranger.
    pub served: u64,
    /// Requests refused.
    pub refused: u64,
}

/// Somebody who called, as far as it stands out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// All of it in words.
    pub text: String,
    /// Block of addresses.
    pub network: Option<String>,
    /// Autonomous system.
    pub asn: Option<u32>,
    /// Country.
    pub country: Option<String>,
    /// Client.
    pub client: Option<String>,
    /// Model.
    pub model: Option<String>,
}

/// What an alert is made from besides its incident.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// The incident's key.
    pub key: &'a Key,
    /// The key's owner.
    pub owner: Option<&'a Owner>,
    /// The key's containments as they are now.
    pub containments: &'a [Containment],
    /// The steps of the runbook as they are now.
    pub steps: &'a [runbook::Step],
    /// Incidents on other keys of the owner at about the same time, with the keys' names.
    pub beside: &'a [(IncidentId, SmolStr)],
    /// Where people read on about an incident; `{incident}` stands for its id.
    pub link: Option<&'a str>,
    /// What to do about incidents, in the operator's own words somewhere.
    pub runbook: Option<&'a str>,
    /// Signed links for proposed steps.
    pub approvals: &'a [Approval],
    /// What a rule is called and cites.
    pub cites: &'a dyn Fn(&str) -> Option<Cites>,
}

/// An incident in which nothing happened, and a key that is none, to try the way to a destination with.
pub fn rehearsal(id: IncidentId, what: &str, who: &str, now: Timestamp) -> (Incident, Key) {
    let mut incident = Incident {
        id,
        key: KeyId::from_bits(0),
        state: IncidentState::Open,
        severity: Severity::Low,
        title: format!("{} tries {}", clean(who), clean(what)),
        opened: now,
        first_seen: now,
        contained: None,
        closed: None,
        actors: Vec::new(),
        findings: Vec::new(),
        finding_count: 0,
        containments: Vec::new(),
        requests_forwarded: 0,
        requests_refused: 0,
        cost: NanoUsd::ZERO,
        timeline: Vec::new(),
        drill: false,
        handling: Handling::default(),
        revision: 0,
    };
    tell(
        &mut incident,
        now,
        who,
        "sent this to see whether it arrives; nobody has to do anything".to_owned(),
    );
    let key = Key {
        id: incident.key,
        name: "no-key".into(),
        owner: None,
        environment: SmolStr::default(),
        service: SmolStr::default(),
        workload: Workload::Unknown,
        policy: Policy::default(),
        state: KeyState::Active,
        state_reason: SmolStr::default(),
        created: now,
        expires: None,
        rotation: None,
        revision: 0,
    };
    (incident, key)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[expect(clippy::ref_option, reason = "the shape that serde calls")]
fn rfc3339_or_null<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

impl Alert {
    /// Makes an alert of what is stored about an incident. `cause` is the delivery's: it says more than the stored one when
    /// nobody acknowledged it.
    pub fn new(stored: &StoredAlert, incident: &Incident, cause: AlertCause, about: &About<'_>) -> Self {
        let finding = strongest(&incident.findings);
        let suffix = if cause == AlertCause::Escalated { "-escalated" } else { "" };
        Self {
            schema: "tokenwatch.alert.v1",
            id: format!("{}-{}{suffix}", incident.id, stored.sequence),
            sequence: stored.sequence,
            cause,
            time: stored.time,
            headline: match incident.drill {
                true => format!("DRILL, nothing was stolen. {}", headline(incident, cause)),
                false => headline(incident, cause),
            },
            drill: incident.drill,
            subject: AboutSubject::Incident(about_incident(incident, finding)),
            key: Some(about_key(about.key)),
            owner: about.owner.map(about_owner),
            what_happened: what_happened(incident),
            who_spends: Vec::new(),
            the_month: Vec::new(),
            how_sure: Some(how_sure(finding)),
            what_was_done: what_was_done(incident),
            cost: Some(cost(incident)),
            sources: sources(incident, about.containments),
            what_to_press: what_to_press(incident, about.key, cause, stored.time),
            next_step: next_step(incident, stored.time, about.steps),
            beside: about.beside.iter().map(about_beside).collect(),
            links: links(incident, about),
            references: references::of(incident.findings.iter().map(|f| f.rule.as_str()), about.cites),
        }
    }
}

fn about_key(key: &Key) -> AboutKey {
    AboutKey {
        id: key.id.to_string(),
        name: safe(&key_name(key)),
        environment: safe(&key.environment),
        service: safe(&key.service),
    }
}

fn about_beside((incident, key): &(IncidentId, SmolStr)) -> AboutBeside {
    AboutBeside { incident: incident.to_string(), key: safe(&clean(key)) }
}

fn about_owner(owner: &Owner) -> AboutOwner {
    AboutOwner { name: safe(&owner.name), on_call: safe(&owner.on_call), channel: safe(&owner.channel) }
}

fn headline(incident: &Incident, cause: AlertCause) -> String {
    let title = safe(&incident.title);
    let severity = incident.severity.name().to_uppercase();
    match cause {
        AlertCause::Opened => format!("{severity} {}: {title}", incident.state.name()),
        AlertCause::Updated => format!("{severity} update, {}: {title}", incident.state.name()),
        AlertCause::Acknowledged => format!("Acknowledged: {title}"),
        AlertCause::Resolved => format!("Closed as a theft: {title}"),
        AlertCause::Dismissed => format!("Closed, it was us: {title}"),
        AlertCause::Escalated => format!("{severity} NOT ACKNOWLEDGED, {}: {title}", incident.state.name()),
        AlertCause::Test => format!("Test, nothing happened: {title}"),
    }
}

fn about_incident(incident: &Incident, finding: Option<&Finding>) -> AboutIncident {
    AboutIncident {
        id: incident.id.to_string(),
        state: incident.state.name(),
        severity: incident.severity.name(),
        title: safe(&incident.title),
        opened: incident.opened,
        first_seen: incident.first_seen,
        contained: incident.contained,
        closed: incident.closed,
        findings: incident.finding_count,
        rule: finding.map(|finding| safe(&finding.rule)).unwrap_or_default(),
    }
}

fn what_happened(incident: &Incident) -> Vec<String> {
    let told = incident.findings.iter().take(FINDINGS_MAX);
    let mut lines: Vec<String> =
        told.map(|finding| format!("{}: {}", clock(finding.time), safe(&finding.summary))).collect();
    let more = incident.finding_count.saturating_sub(lines.len() as u64);
    if more > 0 {
        lines.push(format!("and {}", count(more, "more finding")));
    }
    let began = match incident.actors.is_empty() {
        true => "When it began is not known".to_owned(),
        false => {
            format!("Found {} after the stranger's first request", human_span(time_to_detect_us(incident)))
        }
    };
    lines.push(match time_to_contain_us(incident) {
        Some(0) => format!("{began}; contained at once."),
        Some(us) => format!("{began}; contained {} later.", human_span(us)),
        None => format!("{began}; nothing is contained."),
    });
    lines
}

fn how_sure(finding: Option<&Finding>) -> HowSure {
    let Some(finding) = finding else {
        let text = "No finding is kept with this incident.".to_owned();
        return HowSure { text, tier: "alert", once_in_days: None, reasons: Vec::new() };
    };
    let rare = rarity(finding.once_in_days);
    let text = match &rare {
        Some(rare) => format!("An honest key like this does that {rare}."),
        None => format!("The rule {} has no rate of false alarms.", safe(&finding.rule)),
    };
    let reasons = finding.reasons.iter().take(REASONS_MAX);
    HowSure {
        text,
        tier: finding.tier.name(),
        // JSON has no infinities.
        once_in_days: rare.map(|_| finding.once_in_days.min(f64::MAX)),
        reasons: reasons.map(|reason| format!("{}: {}", safe(&reason.what), odds(reason.nats))).collect(),
    }
}

fn what_was_done(incident: &Incident) -> Vec<String> {
    let lines = &incident.timeline;
    let shown = lines.iter().skip(lines.len().saturating_sub(DONE_MAX));
    shown.map(|line| format!("{} {}: {}", clock(line.time), safe(&line.who), safe(&line.what))).collect()
}

fn cost(incident: &Incident) -> Cost {
    let (served, refused) = (incident.requests_forwarded, incident.requests_refused);
    if incident.actors.is_empty() {
        let text = "Not known: the evidence is on the key as a whole, not on one stranger.".to_owned();
        return Cost { text, dollars: None, served, refused };
    }
    let text = format!(
        "{} for {} served to the stranger; {} refused.",
        incident.cost,
        count(served, "request"),
        grouped(refused)
    );
    Cost { text, dollars: Some(incident.cost.dollars()), served, refused }
}

/// The strangers of the findings, else whom containments name.
fn sources(incident: &Incident, containments: &[Containment]) -> Vec<Source> {
    let found = incident.findings.iter().filter_map(|finding| Some(&finding.actor.as_ref()?.context));
    let ours = containments.iter().filter(|c| incident.containments.contains(&c.id));
    let contained = ours.filter_map(|c| plan::context_of(&c.action));
    let mut sources = Vec::new();
    for context in found.chain(contained) {
        let source = Source {
            text: safe(&context.to_string()),
            network: context.prefix.map(|prefix| prefix.to_string()),
            asn: context.asn,
            country: context.country.map(|country| country.to_string()),
            client: context.client.as_ref().map(|client| {
                let version = context.client_version.as_deref().unwrap_or_default();
                safe(format!("{client} {version}").trim_end())
            }),
            model: context.model.as_ref().map(|model| safe(model)),
        };
        if sources.len() < SOURCES_MAX && !sources.contains(&source) {
            sources.push(source);
        }
    }
    sources
}

#[cfg(test)]
mod tests;
