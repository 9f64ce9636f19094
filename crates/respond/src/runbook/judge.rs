//! The state of each step of a runbook, as far as it follows from what is known.

use tokenwatch_model::containment::{Action, Containment};
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::key::{Key, KeyState, Rotation};
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::Timestamp;

use super::table::{CLAMP, NOTIFY, PERSISTENCE, REVIEW, REVOKE, ROTATE};
use super::{Created, Facts, StepState};
use crate::incident::belongs;
use crate::persistence;
use crate::words::clock;

/// The state of a step of which nobody said anything.
pub(super) fn judge(id: &str, facts: &Facts<'_>) -> (StepState, String) {
    if facts.incident.state == IncidentState::Dismissed {
        return (StepState::NotNeeded, "it was us".to_owned());
    }
    match id {
        ROTATE => judge_rotation(facts),
        CLAMP => judge_clamp(facts),
        REVIEW | NOTIFY if served_nothing(facts.incident) => {
            (StepState::NotNeeded, "nothing was served to the stranger".to_owned())
        }
        PERSISTENCE => judge_persistence(facts),
        REVOKE => judge_revocation(facts),
        _ => (StepState::Open, String::new()),
    }
}

/// The rotation of the key since the theft began, if there was one.
fn rotation(facts: &Facts<'_>) -> Option<Rotation> {
    facts.key.rotation.filter(|rotation| rotation.rotated >= facts.incident.first_seen)
}

fn judge_rotation(facts: &Facts<'_>) -> (StepState, String) {
    match rotation(facts) {
        Some(rotation) => {
            let since = clock(rotation.rotated);
            (
                StepState::Done,
                format!("it has a new credential since {since}; {}", old_one(rotation, facts.now)),
            )
        }
        None => (StepState::Open, String::new()),
    }
}

fn old_one(rotation: Rotation, now: Timestamp) -> String {
    let ends = clock(rotation.previous_ends);
    if rotation.overlaps(now) {
        format!("the one before works until {ends}")
    } else {
        format!("the one before is refused since {ends}")
    }
}

/// Whether the stranger is known and got nothing: it was refused from its first request on.
fn served_nothing(incident: &Incident) -> bool {
    !incident.actors.is_empty() && incident.requests_forwarded == 0
}

fn judge_clamp(facts: &Facts<'_>) -> (StepState, String) {
    let incident = facts.incident;
    if facts.key.state == KeyState::Revoked {
        return (StepState::Done, "the key is revoked".to_owned());
    }
    let ours = facts.containments.iter().filter(|c| belongs(incident, c) && c.in_force(facts.now));
    let strict: Vec<&Containment> = ours.filter(|c| c.action != Action::Watch).collect();
    let until = |c: &Containment| {
        let what = crate::plan::describe_action(&c.action);
        c.expires.map_or_else(|| what.clone(), |at| format!("{what}, until {}", clock(at)))
    };
    let by_itself = |c: &&&Containment| incident.handling.automatic.contains(&c.id);
    if let Some(by_person) = strict.iter().find(|c| !by_itself(c)) {
        return (StepState::Done, until(by_person));
    }
    if let Some(automatic) = strict.first() {
        return (StepState::Automatic, until(automatic));
    }
    if facts.key.state == KeyState::Disabled {
        return (StepState::Done, "the key is switched off".to_owned());
    }
    if let Some(action) = incident.handling.proposed.first().filter(|_| incident.state.is_open()) {
        return (StepState::Proposed, format!("{action} is proposed"));
    }
    (StepState::Open, "nothing is in force".to_owned())
}

/// What the key's scope lets through of what outlives it.
fn lasting(key: &Key) -> Vec<&'static str> {
    let scope = &key.policy.scope;
    let allows =
        |endpoint: &Endpoint| scope.endpoints.as_ref().is_some_and(|allowed| allowed.contains(endpoint));
    Created::ENDPOINTS.into_iter().filter(allows).map(Endpoint::name).collect()
}

fn judge_persistence(facts: &Facts<'_>) -> (StepState, String) {
    if let Some(check) = &facts.incident.handling.persistence {
        let (is_done, why) = persistence::judge(check, facts);
        return (if is_done { StepState::Done } else { StepState::Open }, why);
    }
    if served_nothing(facts.incident) {
        return (StepState::NotNeeded, "nothing was served to the stranger".to_owned());
    }
    let scope = match lasting(facts.key).as_slice() {
        [] => "the key's own scope names no endpoint that creates what outlives it".to_owned(),
        names => format!("the key's scope allows {}", names.join(", ")),
    };
    let seen = match facts.created {
        None => "`tokenwatch incident runbook` counts what the gateway forwarded there".to_owned(),
        Some(created) if created == Created::default() => {
            "of the strangers' calls that are kept the gateway forwarded none there".to_owned()
        }
        Some(created) => format!("the gateway forwarded {} for the strangers", created.words()),
    };
    let since = clock(facts.incident.first_seen);
    let why = format!("no provider was asked yet what was created since {since}; {scope}; {seen}");
    (StepState::Open, why)
}

fn judge_revocation(facts: &Facts<'_>) -> (StepState, String) {
    if facts.key.state == KeyState::Revoked {
        let revocation =
            facts.containments.iter().find(|c| c.action == Action::Revoke && belongs(facts.incident, c));
        return match revocation.filter(|row| facts.incident.handling.automatic.contains(&row.id)) {
            Some(row) => (StepState::Automatic, format!("revoked at {}", clock(row.created))),
            None => (StepState::Done, "the key is revoked".to_owned()),
        };
    }
    if let Some(rotation) = rotation(facts) {
        let state = if rotation.overlaps(facts.now) { StepState::Open } else { StepState::Done };
        return (state, old_one(rotation, facts.now));
    }
    let is_proposed =
        facts.incident.state.is_open() && facts.incident.handling.proposed.iter().any(|a| a == "revoke");
    let why = if is_proposed { "proposed: it has no undo" } else { "" };
    (if is_proposed { StepState::Proposed } else { StepState::Open }, why.to_owned())
}
