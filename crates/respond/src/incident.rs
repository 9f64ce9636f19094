//! The state machine of an incident: open, contained, then resolved or dismissed.
//!
//! ```text
//! finding ──► open ◄──────────────► contained        first containment / last one undone
//!              │                        │
//!              ├── resolve ─────────────┤──► resolved    it was a theft: never learn from it
//!              └── dismiss ─────────────┘──► dismissed   it was us: everything lifted, contexts trusted
//! ```
//!
//! A contained one whose containments ran out is `expired`: no transition, but what [`as_of`] says of it.
//!
//! Invariants:
//! * A closed incident is never opened again: a thief who comes back is a new incident.
//! * Adding a finding that is already in it changes nothing, so that delivery may repeat.
//! * Every list has a limit: findings [`Incident::FINDINGS_MAX`], actors [`ACTORS_MAX`], lines of the story
//!   [`TIMELINE_MAX`]. Containments are not cut, because every one must be lifted; the policy's
//!   `contexts_per_key` bounds them.

use serde_json::json;
use smol_str::SmolStr;
use tokenwatch_model::alert::AlertCause;
use tokenwatch_model::containment::{Action, Containment};
use tokenwatch_model::finding::{Feedback, Finding, Says, Severity};
use tokenwatch_model::handling::Handling;
use tokenwatch_model::id::{ContainmentId, IncidentId};
use tokenwatch_model::incident::{Incident, IncidentState, TimelineEntry};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::Timestamp;

use crate::effects::{Effects, SELF, audit, audit_lift, lifted};
use crate::ladder::contexts_of;
use crate::policy::ResponsePolicy;
use crate::words::{clean, count};

/// Most actors kept by id; a thief with more is one incident all the same.
pub const ACTORS_MAX: usize = 64;
/// Most lines of a story. Past it, lines in the middle go: how it began and how it ended matter most, and
/// the audit log has all of them.
pub const TIMELINE_MAX: usize = 200;
/// Lines at the beginning of a story that always stay.
const TIMELINE_HEAD: usize = 50;
/// Longest note, in characters.
pub const NOTE_CHARS_MAX: usize = 2_000;

/// Why an incident can not be changed like that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeIncidentError {
    /// It is closed.
    #[error("{id} is already {}; a theft that goes on opens a new incident", state.name())]
    Closed {
        /// Which.
        id: IncidentId,
        /// How it was closed.
        state: IncidentState,
    },
    /// The finding is about another key.
    #[error("the finding is about {finding}, and {id} is about another key")]
    OtherKey {
        /// Which incident.
        id: IncidentId,
        /// The finding's key.
        finding: tokenwatch_model::id::KeyId,
    },
    /// A note without text.
    #[error("a note needs text")]
    EmptyNote,
    /// A note that is too long.
    #[error("a note has at most {NOTE_CHARS_MAX} characters, this one has {chars}; link to the rest")]
    LongNote {
        /// How long it is.
        chars: usize,
    },
}

/// Opens the case of a finding.
pub(crate) fn open(
    id: IncidentId,
    finding: &Finding,
    title: &str,
    severity: Severity,
    now: Timestamp,
) -> Incident {
    let actor = finding.actor.as_ref();
    let mut incident = Incident {
        id,
        key: finding.key,
        state: IncidentState::Open,
        severity,
        title: title.to_owned(),
        opened: now,
        first_seen: actor.map_or(finding.time, |actor| actor.first_seen).min(now),
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
        revision: 1,
    };
    take_finding(&mut incident, finding, now);
    incident
}

/// Adds a finding: the same thief, seen again or in another context.
///
/// # Errors
///
/// When the incident is closed or about another key.
pub fn add_finding(
    mut incident: Incident,
    finding: &Finding,
    now: Timestamp,
) -> Result<Incident, ChangeIncidentError> {
    let id = incident.id;
    if incident.key != finding.key {
        return Err(ChangeIncidentError::OtherKey { id, finding: finding.key });
    }
    if holds_finding(&incident, finding) {
        return Ok(incident);
    }
    check_open(&incident)?;
    take_finding(&mut incident, finding, now);
    incident.revision = incident.revision.saturating_add(1);
    Ok(incident)
}

/// Adds a finding that is not in the incident yet.
pub(crate) fn take_finding(incident: &mut Incident, finding: &Finding, now: Timestamp) {
    incident.severity = severity_with(incident, finding);
    if let Some(actor) = &finding.actor
        && !incident.actors.contains(&actor.id)
    {
        // What it did before it was found; afterwards `count_forwarded` and `count_refused` count.
        incident.requests_forwarded = incident.requests_forwarded.saturating_add(actor.requests_forwarded);
        let refused = actor.requests.saturating_sub(actor.requests_forwarded);
        incident.requests_refused = incident.requests_refused.saturating_add(refused);
        incident.cost += actor.cost;
        incident.first_seen = incident.first_seen.min(actor.first_seen);
        if incident.actors.len() < ACTORS_MAX {
            incident.actors.push(actor.id);
        }
    }
    // A finding that is kept says itself whose it is.
    let is_placed = finding.actor.is_some() && incident.findings.len() < Incident::FINDINGS_MAX;
    incident.handling.see(&[], is_placed, finding.time);
    incident.finding_count = incident.finding_count.saturating_add(1);
    if incident.findings.len() < Incident::FINDINGS_MAX {
        incident.findings.push(finding.clone());
    }
    let what = format!("found by {} ({}, {})", clean(&finding.rule), finding.tier.name(), finding.severity);
    tell(incident, now, SELF, what);
}

/// Whether the incident was told of exactly this finding.
pub(crate) fn holds_finding(incident: &Incident, finding: &Finding) -> bool {
    let actor = |finding: &Finding| finding.actor.as_ref().map(|actor| actor.id);
    incident
        .findings
        .iter()
        .any(|have| have.rule == finding.rule && have.time == finding.time && actor(have) == actor(finding))
}

/// Whether the finding is about somebody the incident does not know: the same thief in another context.
pub(crate) fn is_new_actor(incident: &Incident, finding: &Finding) -> bool {
    finding.actor.as_ref().is_some_and(|actor| !incident.actors.contains(&actor.id))
}

/// How bad the incident is with this finding in it: the worse of the two, and one worse when the thief
/// came back as somebody else, because he does not give up.
pub fn severity_with(incident: &Incident, finding: &Finding) -> Severity {
    if holds_finding(incident, finding) {
        return incident.severity;
    }
    let worst = incident.severity.max(finding.severity);
    if incident.actors.is_empty() || !is_new_actor(incident, finding) {
        return worst;
    }
    match worst {
        Severity::Low => Severity::Medium,
        Severity::Medium => Severity::High,
        Severity::High | Severity::Critical => Severity::Critical,
    }
}

/// Adds a line to the story.
pub(crate) fn tell(incident: &mut Incident, time: Timestamp, who: &str, what: String) {
    if incident.timeline.len() >= TIMELINE_MAX {
        incident.timeline.remove(TIMELINE_HEAD);
    }
    incident.timeline.push(TimelineEntry { time, who: SmolStr::new(who), what });
}

/// Writes a person's note into the story; closed incidents take notes too, for the review afterwards.
///
/// # Errors
///
/// When the note is empty or longer than [`NOTE_CHARS_MAX`].
pub fn note(
    mut incident: Incident,
    text: &str,
    who: &str,
    now: Timestamp,
) -> Result<Effects, ChangeIncidentError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ChangeIncidentError::EmptyNote);
    }
    let chars = text.chars().count();
    if chars > NOTE_CHARS_MAX {
        return Err(ChangeIncidentError::LongNote { chars });
    }
    tell(&mut incident, now, who, format!("note: {text}"));
    incident.revision = incident.revision.saturating_add(1);
    let entry = audit(now, who, "incident.note", incident.id, &json!({ "note": text }));
    Ok(Effects { incident: Some(incident), audit: vec![entry], ..Effects::default() })
}

/// What a story says when a person took the case.
const ACKNOWLEDGED: &str = "acknowledged";

/// A person says that they are on it, so that nobody else is called.
///
/// # Errors
///
/// When the incident is closed already.
pub fn acknowledge(
    mut incident: Incident,
    who: &str,
    now: Timestamp,
) -> Result<Effects, ChangeIncidentError> {
    check_open(&incident)?;
    tell(&mut incident, now, who, ACKNOWLEDGED.to_owned());
    incident.revision = incident.revision.saturating_add(1);
    let entry = audit(now, who, "incident.acknowledge", incident.id, &json!({ "key": incident.key }));
    let alert = Some(AlertCause::Acknowledged);
    Ok(Effects { incident: Some(incident), audit: vec![entry], alert, ..Effects::default() })
}

/// Whether a person is on it: somebody who is not TokenWatch wrote into its story.
pub fn is_acknowledged(incident: &Incident) -> bool {
    incident.timeline.iter().any(|line| line.who != SELF)
}

/// Counts requests of its actors that were forwarded after they were found, and what they cost.
pub fn count_forwarded(incident: &mut Incident, requests: u64, cost: NanoUsd) {
    incident.requests_forwarded = incident.requests_forwarded.saturating_add(requests);
    incident.cost += cost;
    incident.revision = incident.revision.saturating_add(1);
}

/// Counts requests of its actors that were refused after they were found. Closed incidents count on:
/// containments outlive a resolved case, and what they keep out belongs to its story. `met` are the containments
/// whose contexts the requests were in.
pub fn count_refused(incident: &mut Incident, requests: u64, met: &[ContainmentId], now: Timestamp) {
    incident.requests_refused = incident.requests_refused.saturating_add(requests);
    incident.handling.see(met, true, now);
    incident.revision = incident.revision.saturating_add(1);
}

/// Closes the incident as "it was us": lifts everything put in force for it, also what it only prolonged,
/// and trusts its contexts for the policy's `trust_days`. A revocation stays: it has no undo.
///
/// `containments` are those of the key; others are ignored.
///
/// # Errors
///
/// When the incident is closed already.
pub fn dismiss(
    policy: &ResponsePolicy,
    incident: &Incident,
    containments: &[Containment],
    who: &str,
    now: Timestamp,
) -> Result<Effects, ChangeIncidentError> {
    let says = Says::Ours { until: now.plus(policy.trust_us()) };
    close(incident, containments, IncidentState::Dismissed, true, says, who, now)
}

/// Closes the incident as a theft: its contexts are never learned from. Containments stay in force until
/// they expire, or are lifted when `lift` is set.
///
/// # Errors
///
/// When the incident is closed already.
pub fn resolve(
    incident: &Incident,
    containments: &[Containment],
    lift: bool,
    who: &str,
    now: Timestamp,
) -> Result<Effects, ChangeIncidentError> {
    close(incident, containments, IncidentState::Resolved, lift, Says::Theft, who, now)
}

fn close(
    incident: &Incident,
    containments: &[Containment],
    state: IncidentState,
    lift: bool,
    says: Says,
    who: &str,
    now: Timestamp,
) -> Result<Effects, ChangeIncidentError> {
    check_open(incident)?;
    let ours: Vec<&Containment> = containments.iter().filter(|c| belongs(incident, c)).collect();
    let mut effects = Effects::default();
    if lift {
        for containment in ours.iter().filter(|c| c.in_force(now) && c.action != Action::Revoke) {
            effects.containments.push(lifted(containment, who, now));
            effects.audit.push(audit_lift(containment, who, now));
        }
    }
    let contexts = contexts_of(&incident.findings, ours.iter().copied());
    let mut closed = incident.clone();
    closed.state = state;
    closed.closed = Some(now);
    closed.revision = closed.revision.saturating_add(1);
    let lifted_count = effects.containments.len();
    let lifts = count(lifted_count as u64, "containment");
    let what = match says {
        Says::Ours { until } => {
            format!(
                "dismissed as \"it was us\": {lifts} lifted, trusted until {}",
                crate::words::clock(until)
            )
        }
        Says::Theft if lift => format!("resolved as a theft: {lifts} lifted"),
        Says::Theft => "resolved as a theft: containments stay until they expire".to_owned(),
    };
    tell(&mut closed, now, who, what);
    let action = if state == IncidentState::Dismissed { "incident.dismiss" } else { "incident.resolve" };
    let detail = json!({ "key": incident.key, "lifted": lifted_count, "contexts": contexts });
    effects.audit.push(audit(now, who, action, incident.id, &detail));
    effects.feedback = contexts
        .into_iter()
        .map(|context| Feedback { key: incident.key, time: now, context, says })
        .collect();
    effects.incident = Some(closed);
    effects.alert = Some(match says {
        Says::Ours { .. } => AlertCause::Dismissed,
        Says::Theft => AlertCause::Resolved,
    });
    Ok(effects)
}

/// Whether a containment was put in force or prolonged for this incident.
pub(crate) fn belongs(incident: &Incident, containment: &Containment) -> bool {
    containment.key == incident.key
        && (containment.incident == Some(incident.id) || incident.containments.contains(&containment.id))
}

fn check_open(incident: &Incident) -> Result<(), ChangeIncidentError> {
    if incident.state.is_open() {
        return Ok(());
    }
    Err(ChangeIncidentError::Closed { id: incident.id, state: incident.state })
}

/// Sets open or contained by what is in force for it; watching alone contains nothing.
pub(crate) fn settle_state<'a>(
    incident: &mut Incident,
    in_force: impl IntoIterator<Item = &'a Containment>,
    now: Timestamp,
) {
    if !incident.state.is_open() {
        return;
    }
    if in_force.into_iter().any(|c| c.in_force(now) && c.action != Action::Watch) {
        incident.state = IncidentState::Contained;
        incident.contained.get_or_insert(now);
    } else {
        incident.state = IncidentState::Open;
    }
}

/// The incident as it stands now. One that is stored as contained is [`IncidentState::Expired`] once nothing is in
/// force for it any more, and its story says since when, if that is known.
///
/// `containments` are those of its key, or all that are in force; others are ignored.
#[must_use]
pub fn as_of(incident: &Incident, containments: &[Containment], now: Timestamp) -> Incident {
    let mut incident = incident.clone();
    let contains = |c: &&Containment| belongs(&incident, c) && c.action != Action::Watch;
    if incident.state != IncidentState::Contained
        || containments.iter().filter(contains).any(|c| c.in_force(now))
    {
        return incident;
    }
    let ended = |c: &Containment| c.lifted.as_ref().map(|(at, _)| *at).or(c.expires);
    let ended = containments.iter().filter(contains).filter_map(ended).max();
    incident.state = IncidentState::Expired;
    if let Some(ended) = ended {
        let at =
            incident.timeline.iter().position(|line| line.time > ended).unwrap_or(incident.timeline.len());
        let what = EXPIRED.to_owned();
        incident.timeline.insert(at, TimelineEntry { time: ended, who: SmolStr::new(SELF), what });
    }
    incident
}

/// The incident as it stands now, and since when, if everything that was in force for it ran out.
pub fn expired(
    incident: &Incident,
    containments: &[Containment],
    now: Timestamp,
) -> Option<(Incident, Timestamp)> {
    let incident = as_of(incident, containments, now);
    let since = incident.timeline.iter().rfind(|line| line.what == EXPIRED)?.time;
    (incident.state == IncidentState::Expired).then_some((incident, since))
}

/// What a story says when time ended the last containment.
pub(crate) const EXPIRED: &str = "what was in force ran out: nothing is contained any more";

/// Microseconds from the thief's first request to the finding: the time to detect.
pub const fn time_to_detect_us(incident: &Incident) -> u64 {
    incident.opened.since(incident.first_seen)
}

/// Microseconds from the finding to the first containment; `None` while there is none.
pub fn time_to_contain_us(incident: &Incident) -> Option<u64> {
    incident.contained.map(|contained| contained.since(incident.opened))
}

#[cfg(test)]
mod tests;
