//! Relaxation: what was put in force by itself is taken back, a rung at a time, when the stranger stays away.
//!
//! ```text
//! refuse context ──quiet──► clamp that context to the key's own normal ──quiet──► lifted
//! clamp, watch   ──quiet──────────────────────────────────────────────────────► lifted
//!        ▲                                                     │
//!        └── he comes back: the ladder again, twice as long ◄──┘
//! ```
//!
//! Each containment of a context has a quiet of its own: no finding about a stranger who could be in that context, and no
//! refused request that was in it. So one context is let in again though another one of the same key is still being
//! hammered. What is on the whole key waits until nobody comes to the key.
//!
//! Invariants:
//! * Only what TokenWatch itself put in force is relaxed: never what a person ordered, approved or prolonged, never a
//!   suspension or revocation.
//! * Never on a key under `leaked`, never a context that a person called a theft, never in mode `observe`.
//! * On no more keys an hour than the blast radius lets be contained: a wrong rule must not open the company.
//! * A relaxation never lasts longer nor refuses more than what it replaces, and the row before is kept: it is undone by
//!   value, and what a person brought back is not relaxed again.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;
use smol_str::SmolStr;
use tokenwatch_model::alert::AlertCause;
use tokenwatch_model::containment::{Action, Clamp, Containment, ContextMatch};
use tokenwatch_model::finding::{Feedback, Says};
use tokenwatch_model::handling::Relaxed;
use tokenwatch_model::id::{ContainmentId, IncidentId, KeyId};
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::{Key, KeyState, Mode};
use tokenwatch_model::time::{HOUR, Timestamp, human_span};

use crate::allowance::overlap;
use crate::effects::{Effects, SELF, audit, audit_containment, lifted};
use crate::incident::{belongs, settle_state, tell};
use crate::plan::{context_of, describe_action};
use crate::policy::ResponsePolicy;
use crate::situation::{Normal, Situation};
use crate::words::clock;

/// Most relaxed rows kept with an incident; the oldest go, and can then be brought back by hand only.
const RELAXED_MAX: usize = 64;

/// What a relaxation is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Fading<'a> {
    /// The key.
    pub key: &'a Key,
    /// The mode in effect on it.
    pub mode: Mode,
    /// Whether somebody declared it leaked.
    pub leaked: bool,
    /// Its open incident.
    pub incident: &'a Incident,
    /// Its containments, as they are.
    pub containments: &'a [Containment],
    /// What people said of contexts.
    pub said: &'a [Feedback],
    /// Its own normal, where enough of it was learned.
    pub normal: Option<&'a Normal>,
    /// What was relaxed lately, across all keys of its radius.
    pub recent: RecentRelaxations,
    /// The time.
    pub now: Timestamp,
}

/// On how many keys something was relaxed in the last hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RecentRelaxations {
    /// Distinct keys.
    pub keys: u32,
    /// Whether this key is one of them.
    pub this_key: bool,
}

impl RecentRelaxations {
    /// Counts the keys on whose incidents something was relaxed in the hour before `now`.
    pub fn count<'a>(incidents: impl IntoIterator<Item = &'a Incident>, this: KeyId, now: Timestamp) -> Self {
        let lately = |relaxed: &Relaxed| now.since(relaxed.time) < HOUR;
        let mut keys: Vec<KeyId> = incidents
            .into_iter()
            .filter(|incident| incident.handling.relaxed.iter().any(lately))
            .map(|incident| incident.key)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        Self { keys: u32::try_from(keys.len()).unwrap_or(u32::MAX), this_key: keys.contains(&this) }
    }
}

/// What is to be relaxed on one key, readable before it is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relaxation {
    /// The incident as it was when this was planned.
    pub incident: Incident,
    /// What happens to which containment.
    pub steps: Vec<Loosen>,
    /// Why, in a sentence.
    pub reason: String,
    /// When it was planned.
    pub planned: Timestamp,
}

/// One containment that is relaxed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loosen {
    /// The row before.
    pub before: Containment,
    /// What it does from now on; nothing when it is lifted.
    pub to: Option<Action>,
}

impl Loosen {
    /// `refuse network AS64500 → clamp network AS64500 to 40 requests a minute`.
    pub fn what(&self) -> String {
        let before = describe_action(&self.before.action);
        match &self.to {
            Some(action) => format!("{before} → {}", describe_action(action)),
            None => format!("{before} → lifted"),
        }
    }
}

impl fmt::Display for Relaxation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.incident.id, self.reason)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {} {}", step.before.id, step.what()))
    }
}

/// How often something that was put on the key, or on a context that overlaps this one, was relaxed before. A stranger
/// who comes back after that is contained for longer each time.
pub(crate) fn times(situation: &Situation<'_>, context: Option<&ContextMatch>) -> u32 {
    let by_itself = |row: &&Containment| {
        let was_lifted = row.lifted.as_ref().is_some_and(|(_, who)| who == SELF);
        // No other step clamps one context.
        let was_loosened =
            row.incident.is_some() && matches!(&row.action, Action::Clamp(c) if c.only.is_some());
        row.key == situation.key.id && (was_lifted || was_loosened)
    };
    let same = |row: &&Containment| match (context, context_of(&row.action)) {
        (Some(context), Some(relaxed)) => overlap(context, relaxed),
        (None, None) => true,
        _ => false,
    };
    u32::try_from(situation.containments.iter().filter(by_itself).filter(same).count()).unwrap_or(u32::MAX)
}

/// Decides what to relax on a key; nothing when the stranger was seen lately, or nothing may be relaxed.
pub fn relax(policy: &ResponsePolicy, fading: &Fading<'_>) -> Option<Relaxation> {
    let policy = policy.in_environment(&fading.key.environment);
    let quiet_us = policy.relax_after_us()?;
    let Fading { key, incident, recent, now, .. } = *fading;
    let may = fading.mode != Mode::Observe && !fading.leaked && key.state != KeyState::Revoked;
    let limit = policy.blast.keys_per_hour;
    let has_room = limit > 0 && (recent.this_key || recent.keys < limit);
    if !may || !has_room || !incident.state.is_open() || incident.key != key.id {
        return None;
    }
    incident.handling.last_seen?;
    let is_quiet = |row: &&Containment| {
        let relaxed = incident.handling.relaxed.iter().filter(|relaxed| relaxed.before.id == row.id);
        let since = relaxed.map(|relaxed| relaxed.time).chain([row.created, last_met(incident, row)]).max();
        since.is_some_and(|since| now.since(since) >= quiet_us)
    };
    let quiet = fading.containments.iter().filter(|row| may_relax(fading, row)).filter(is_quiet);
    let quiet: Vec<&Containment> = quiet.collect();
    // The one that was met last says for how long at least nobody came to any of them.
    let seen = quiet.iter().map(|row| last_met(incident, row)).max()?;
    let steps: Vec<Loosen> = quiet
        .into_iter()
        .map(|row| Loosen { before: row.clone(), to: rung_below(&row.action, fading.normal) })
        .collect();
    let reason = format!(
        "nobody came back for {}, since {}; {} of quiet is enough here",
        human_span(now.since(seen)),
        clock(seen),
        human_span(quiet_us)
    );
    Some(Relaxation { incident: incident.clone(), steps, reason, planned: now })
}

/// When somebody was last seen whom a containment meets, or would have met; the beginning of its incident when nobody was.
fn last_met(incident: &Incident, row: &Containment) -> Timestamp {
    let Some(context) = context_of(&row.action) else {
        return incident.handling.last_seen.map_or(incident.opened, |seen| seen.max(incident.opened));
    };
    let found = incident.findings.iter().filter(|finding| {
        let of = finding.actor.as_ref().map(|actor| &actor.context);
        of.is_none_or(|of| overlap(of, context))
    });
    let found = found.map(|finding| finding.time).max();
    found.max(incident.handling.met(row.id)).map_or(incident.opened, |seen| seen.max(incident.opened))
}

fn may_relax(fading: &Fading<'_>, row: &Containment) -> bool {
    let mild = matches!(row.action, Action::Watch | Action::Clamp(_) | Action::RefuseContext(_));
    let is_theft = |context: &ContextMatch| {
        let words = fading.said.iter().filter(|said| said.key == row.key);
        words.clone().any(|said| said.says == Says::Theft && overlap(&said.context, context))
    };
    mild && row.in_force(fading.now)
        && belongs(fading.incident, row)
        && fading.incident.handling.automatic.contains(&row.id)
        && !context_of(&row.action).is_some_and(is_theft)
}

/// The next milder thing to do; nothing is to lift it.
fn rung_below(action: &Action, normal: Option<&Normal>) -> Option<Action> {
    let Action::RefuseContext(context) = action else { return None };
    // Without models: whoever is let in again is held to the key's pace and money, and the engine judges the rest.
    let clamp = normal.and_then(Normal::clamp).map(|clamp| Clamp { models: None, ..clamp })?;
    if clamp == Clamp::default() {
        return None;
    }
    Some(Action::Clamp(Clamp { only: Some(context.clone()), ..clamp }))
}

/// Carries a relaxation out: rows, audit, story. Told once: by an update, or, where nothing is in force any more, by the
/// message that everything ran out.
pub fn loosen(plan: &Relaxation, containments: &[Containment], now: Timestamp) -> Effects {
    let mut effects = Effects::default();
    let mut incident = plan.incident.clone();
    for step in &plan.steps {
        let row = match &step.to {
            Some(action) => Containment {
                action: action.clone(),
                reason: format!("{}; before: {}", plan.reason, step.before.reason),
                revision: step.before.revision.saturating_add(1),
                ..step.before.clone()
            },
            None => lifted(&step.before, SELF, now),
        };
        let detail = json!({
            "key": row.key, "incident": incident.id, "from": step.before.action, "to": step.to, "reason": plan.reason,
        });
        effects.audit.push(audit(now, SELF, "containment.relax", row.id, &detail));
        tell(&mut incident, now, SELF, format!("relaxed: {}; {}", step.what(), plan.reason));
        if incident.handling.relaxed.len() >= RELAXED_MAX {
            incident.handling.relaxed.remove(0);
        }
        let relaxed = Relaxed { time: now, before: step.before.clone(), to: step.to.clone() };
        incident.handling.relaxed.push(relaxed);
        effects.containments.push(row);
    }
    let is_changed = |row: &&Containment| effects.containments.iter().any(|changed| changed.id == row.id);
    let others = containments.iter().filter(|row| belongs(&incident, row) && !is_changed(row));
    let holds = |row: &Containment| row.in_force(now) && row.action != Action::Watch;
    let is_held = others.chain(&effects.containments).any(holds);
    incident.revision = incident.revision.saturating_add(1);
    effects.alert = is_held.then_some(AlertCause::Updated);
    effects.incident = Some(incident);
    effects
}

/// Why nothing can be brought back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Nothing was relaxed, or it changed since.
    #[error("nothing of {0} was relaxed by itself and still is as it was left")]
    Nothing(IncidentId),
    /// The incident is closed.
    #[error("{0} is closed: put a containment on the key by hand instead")]
    Closed(IncidentId),
}

/// Takes back what was relaxed by itself: the rows are as they were, and from then on a person's: they are not relaxed
/// again. Those whose time is over, or that somebody changed since, are left alone.
///
/// # Errors
///
/// When there is nothing to take back, or the incident is closed.
pub fn restore(
    incident: &Incident,
    containments: &[Containment],
    who: &str,
    now: Timestamp,
) -> Result<Effects, RestoreError> {
    if !incident.state.is_open() {
        return Err(RestoreError::Closed(incident.id));
    }
    let mut effects = Effects::default();
    let mut after = incident.clone();
    let mut done: Vec<ContainmentId> = Vec::new();
    // Of a containment, the newest relaxation says how it was left, the oldest what was in force before any.
    for relaxed in incident.handling.relaxed.iter().rev() {
        let id = relaxed.before.id;
        let Some(row) = containments.iter().find(|row| row.id == id).filter(|_| !done.contains(&id)) else {
            continue;
        };
        done.push(id);
        if !is_as_left(row, relaxed) {
            continue;
        }
        let first = incident.handling.relaxed.iter().find(|first| first.before.id == id).unwrap_or(relaxed);
        let restored =
            Containment { revision: row.revision.saturating_add(1), lifted: None, ..first.before.clone() };
        if !restored.in_force(now) {
            continue;
        }
        effects.audit.push(audit_containment("containment.restore", &restored, who, now));
        tell(&mut after, now, who, format!("in force again: {}", describe_action(&restored.action)));
        after.handling.automatic.retain(|automatic| *automatic != id);
        effects.containments.push(restored);
    }
    if effects.containments.is_empty() {
        return Err(RestoreError::Nothing(incident.id));
    }
    after
        .handling
        .relaxed
        .retain(|relaxed| !effects.containments.iter().any(|row| row.id == relaxed.before.id));
    let changed = |row: &Containment| effects.containments.iter().find(|new| new.id == row.id).cloned();
    let rows: Vec<Containment> = containments
        .iter()
        .filter(|row| belongs(&after, row))
        .map(|row| changed(row).unwrap_or_else(|| row.clone()))
        .collect();
    settle_state(&mut after, &rows, now);
    after.revision = after.revision.saturating_add(1);
    effects.incident = Some(after);
    effects.alert = Some(AlertCause::Updated);
    Ok(effects)
}

fn is_as_left(row: &Containment, relaxed: &Relaxed) -> bool {
    match &relaxed.to {
        Some(action) => row.lifted.is_none() && row.action == *action,
        None => row.lifted == Some((relaxed.time, SmolStr::new_static(SELF))),
    }
}

#[cfg(test)]
mod tests;
