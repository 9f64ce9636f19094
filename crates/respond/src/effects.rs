//! Effects: the rows that carrying out a plan, or taking it back, writes. One batch, all or nothing.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;
use smol_str::SmolStr;
use tokenwatch_model::alert::AlertCause;
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::containment::{Action, Containment};
use tokenwatch_model::finding::Feedback;
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::key::{Key, KeyState};
use tokenwatch_model::time::Timestamp;

use crate::incident::{belongs, holds_finding, open, settle_state, take_finding, tell};
use crate::plan::{Disposition, IncidentChange, Plan, Restore, Step, describe_action};
use crate::words::clock;

/// Who acts when TokenWatch acts by itself.
pub const SELF: &str = "tokenwatch";
/// What the story's line about a step that waits for a person starts with.
pub(crate) const PROPOSED: &str = "proposed: ";
/// What the story's line about a step that was carried out has before the step.
pub(crate) const IN_FORCE: &str = "in force: ";

/// Rows to write, in one transaction. Each row carries a revision one above the one it was made from, so
/// that a store can refuse a batch made from rows that changed meanwhile; the plan is then made again.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Effects {
    /// The key, when it is revoked.
    pub key: Option<Key>,
    /// The incident.
    pub incident: Option<Incident>,
    /// Containments, new and changed.
    pub containments: Vec<Containment>,
    /// What the engine is told.
    pub feedback: Vec<Feedback>,
    /// One entry per change.
    pub audit: Vec<AuditEntry>,
    /// What people are told of the incident; nothing when it is not worth a message.
    pub alert: Option<AlertCause>,
}

impl Effects {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Carries out what the plan does by itself; what it proposes is only written into the story.
///
/// Steps whose time is over at `now` are left out: an old plan contains nobody.
pub fn execute(plan: &Plan, now: Timestamp) -> Effects {
    carry_out(plan, |_| false, SELF, now)
}

/// Carries out the plan with those of its proposed steps that a person chose, in the person's name.
///
/// To approve what was proposed earlier, make the plan again from the stored incident and its last
/// finding: a finding the incident holds already is not counted twice.
pub fn approve(plan: &Plan, is_chosen: impl Fn(&Step) -> bool, who: &str, now: Timestamp) -> Effects {
    carry_out(plan, is_chosen, who, now)
}

fn carry_out(plan: &Plan, is_chosen: impl Fn(&Step) -> bool, who: &str, now: Timestamp) -> Effects {
    let mut effects = Effects::default();
    let Some(mut incident) = start(plan, now, &mut effects) else { return effects };
    for step in &plan.steps {
        if step.expires.is_some_and(|expires| expires <= now) {
            continue;
        }
        match step.disposition {
            Disposition::Automatic => apply(plan, step, SELF, now, &mut incident, &mut effects),
            Disposition::Proposed { .. } if is_chosen(step) => {
                apply(plan, step, who, now, &mut incident, &mut effects);
            }
            Disposition::Proposed { why } => {
                let action = SmolStr::new_static(step.action.name());
                // To prolong what is in force is no question of its own.
                if !step.is_extension() && !incident.handling.proposed.contains(&action) {
                    incident.handling.proposed.push(action);
                }
                let what = format!("{PROPOSED}{}; {why}", step.what());
                // The same proposal comes with every finding; the story says it once.
                if !incident.timeline.iter().any(|line| line.what == what) {
                    tell(&mut incident, now, SELF, what);
                }
            }
        }
    }
    for id in &plan.covered_by {
        if !incident.containments.contains(id) {
            incident.containments.push(*id);
        }
    }
    if !plan.covered_by.is_empty() || effects.containments.iter().any(|c| c.action != Action::Watch) {
        incident.state = IncidentState::Contained;
        incident.contained.get_or_insert(now);
    }
    let unchanged = matches!(&plan.incident, IncidentChange::Extend { before } if **before == incident);
    if unchanged {
        return effects;
    }
    effects.alert = match &plan.incident {
        IncidentChange::None => None,
        IncidentChange::Open { .. } => Some(AlertCause::Opened),
        IncidentChange::Extend { before } => {
            incident.revision = before.revision.saturating_add(1);
            is_news(before, &incident, &effects).then_some(AlertCause::Updated)
        }
    };
    effects.incident = Some(incident);
    effects
}

/// Whether people want to hear of a change: it is worse than they know, or something was done. The same thief, found
/// again, is not.
fn is_news(before: &Incident, after: &Incident, effects: &Effects) -> bool {
    before.severity != after.severity
        || before.state != after.state
        || before.actors.len() != after.actors.len()
        || !effects.containments.is_empty()
}

/// Opens the incident or adds the finding to it.
fn start(plan: &Plan, now: Timestamp, effects: &mut Effects) -> Option<Incident> {
    match &plan.incident {
        IncidentChange::None => None,
        IncidentChange::Open { id } => {
            let incident = open(*id, &plan.finding, &plan.title, plan.severity, now);
            let detail = json!({
                "key": plan.key.id, "rule": plan.finding.rule, "tier": plan.finding.tier.name(),
                "severity": plan.severity.name(), "title": plan.title,
            });
            effects.audit.push(audit(now, SELF, "incident.open", id, &detail));
            Some(incident)
        }
        IncidentChange::Extend { before } => {
            let mut incident = (**before).clone();
            if !holds_finding(&incident, &plan.finding) {
                take_finding(&mut incident, &plan.finding, now);
                let detail = json!({
                    "key": plan.key.id, "rule": plan.finding.rule, "tier": plan.finding.tier.name(),
                    "severity": incident.severity.name(),
                });
                effects.audit.push(audit(now, SELF, "incident.add_finding", before.id, &detail));
            }
            Some(incident)
        }
    }
}

fn apply(
    plan: &Plan,
    step: &Step,
    who: &str,
    now: Timestamp,
    incident: &mut Incident,
    effects: &mut Effects,
) {
    let row = match &step.undo.restore {
        Restore::Previous(before) => Containment {
            expires: step.expires,
            revision: before.revision.saturating_add(1),
            ..(**before).clone()
        },
        Restore::Lift | Restore::Nothing => Containment {
            id: step.containment,
            key: plan.key.id,
            incident: Some(incident.id),
            action: step.action.clone(),
            reason: step.reason.clone(),
            created: now,
            expires: step.expires,
            lifted: None,
            revision: 1,
        },
    };
    let name = if step.is_extension() { "containment.extend" } else { "containment.apply" };
    effects.audit.push(audit_containment(name, &row, who, now));
    let until = row.expires.map_or_else(|| "for good".to_owned(), |at| format!("until {}", clock(at)));
    let still = if step.is_extension() { "still " } else { "" };
    tell(incident, now, who, format!("{still}{IN_FORCE}{}, {until}", step.what()));
    if !incident.containments.contains(&row.id) {
        incident.containments.push(row.id);
    }
    incident.handling.proposed.retain(|action| action != step.action.name());
    match (who == SELF, step.is_extension()) {
        (true, false) => incident.handling.automatic.push(row.id),
        // What a person prolonged is the person's from then on.
        (false, _) => incident.handling.automatic.retain(|id| *id != row.id),
        (true, true) => {}
    }
    if step.action == Action::Revoke {
        let key = revoked(&plan.key, &step.reason);
        effects.audit.push(audit(now, who, "key.revoke", key.id, &json!({ "reason": step.reason })));
        effects.key = Some(key);
    }
    effects.containments.push(row);
}

/// The key, ended for good.
pub(crate) fn revoked(key: &Key, reason: &str) -> Key {
    Key {
        state: KeyState::Revoked,
        state_reason: SmolStr::new(reason),
        revision: key.revision.saturating_add(1),
        ..key.clone()
    }
}

/// Takes back what [`execute`] or [`approve`] did: the containments are as they were before the plan, and
/// the incident stays, with a line in its story. A revocation stays.
///
/// `incident` and `containments` are the rows as they are now; steps that were not carried out, or whose
/// containment was lifted or changed since, are left alone.
pub fn undo(
    plan: &Plan,
    incident: &Incident,
    containments: &[Containment],
    who: &str,
    now: Timestamp,
) -> Effects {
    let mut effects = Effects::default();
    let mut forgotten = Vec::new();
    for step in &plan.steps {
        let Some(row) = containments.iter().find(|row| row.id == step.containment) else { continue };
        if row.lifted.is_some() || row.expires != step.expires {
            continue;
        }
        match &step.undo.restore {
            Restore::Nothing => {}
            Restore::Lift => {
                effects.audit.push(audit_lift(row, who, now));
                effects.containments.push(lifted(row, who, now));
            }
            Restore::Previous(before) => {
                let restored = Containment { revision: row.revision.saturating_add(1), ..(**before).clone() };
                effects.audit.push(audit_containment("containment.restore", &restored, who, now));
                effects.containments.push(restored);
                // One that another case put in force is not this one's to lift any more.
                if before.incident != Some(incident.id) {
                    forgotten.push(before.id);
                }
            }
        }
    }
    if effects.containments.is_empty() {
        return effects;
    }
    let mut incident = incident.clone();
    let taken_back: Vec<String> =
        effects.containments.iter().map(|row| describe_action(&row.action)).collect();
    tell(&mut incident, now, who, format!("taken back: {}", taken_back.join("; ")));
    incident.containments.retain(|id| !forgotten.contains(id));
    let after = |row| effects.containments.iter().find(|new: &&Containment| new.id == row).cloned();
    let rows: Vec<Containment> = containments
        .iter()
        .filter(|row| belongs(&incident, row))
        .map(|row| after(row.id).unwrap_or_else(|| row.clone()))
        .collect();
    settle_state(&mut incident, &rows, now);
    incident.revision = incident.revision.saturating_add(1);
    effects.incident = Some(incident);
    effects.alert = Some(AlertCause::Updated);
    effects
}

/// The containment, lifted.
pub(crate) fn lifted(containment: &Containment, who: &str, now: Timestamp) -> Containment {
    Containment {
        lifted: Some((now, SmolStr::new(who))),
        revision: containment.revision.saturating_add(1),
        ..containment.clone()
    }
}

pub(crate) fn audit(
    time: Timestamp,
    who: &str,
    action: &'static str,
    subject: impl fmt::Display,
    detail: &serde_json::Value,
) -> AuditEntry {
    AuditEntry {
        time,
        actor: SmolStr::new(who),
        action: SmolStr::new_static(action),
        subject: SmolStr::new(subject.to_string()),
        detail: detail.to_string(),
    }
}

pub(crate) fn audit_containment(
    action: &'static str,
    row: &Containment,
    who: &str,
    now: Timestamp,
) -> AuditEntry {
    let detail = json!({
        "key": row.key, "incident": row.incident, "action": row.action,
        "expires": row.expires.map(|at| at.to_string()), "reason": row.reason,
    });
    audit(now, who, action, row.id, &detail)
}

pub(crate) fn audit_lift(row: &Containment, who: &str, now: Timestamp) -> AuditEntry {
    let detail = json!({ "key": row.key, "incident": row.incident, "action": row.action.name() });
    audit(now, who, "containment.lift", row.id, &detail)
}

#[cfg(test)]
mod tests;
