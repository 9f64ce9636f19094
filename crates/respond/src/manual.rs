//! What people do by hand: put a containment in force, or lift one.

use serde_json::json;
use tokenwatch_model::alert::AlertCause;
use tokenwatch_model::containment::{Action, Clamp, Containment};
use tokenwatch_model::id::ContainmentId;
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::key::{Key, KeyState};
use tokenwatch_model::time::Timestamp;

use crate::effects::{Effects, IN_FORCE, audit, audit_containment, audit_lift, lifted, revoked};
use crate::incident::{belongs, settle_state, tell};
use crate::plan::describe_action;
use crate::words::{clean, clock};

/// A containment that a person orders.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// The key.
    pub key: &'a Key,
    /// The open incident it belongs to, if any.
    pub incident: Option<&'a Incident>,
    /// Id of the containment.
    pub id: ContainmentId,
    /// What is done.
    pub action: Action,
    /// Why, in the person's words.
    pub reason: &'a str,
    /// Until when; `None` until lifted.
    pub expires: Option<Timestamp>,
    /// Who orders it.
    pub who: &'a str,
}

/// Why an order can not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A context or clamp that says nothing.
    #[error("nothing is set: name at least one field of the context, or one bound of the clamp")]
    Empty,
    /// No reason.
    #[error("a containment needs a reason: whoever is paged next reads it")]
    NoReason,
    /// Its time is over already.
    #[error("it would end at {}, which is over", clock(*.0))]
    Over(Timestamp),
    /// The key is revoked.
    #[error("the key is revoked: nothing is left to contain")]
    Revoked,
}

/// Puts a containment in force by hand. Revoking also ends the key.
///
/// # Errors
///
/// When it would do nothing, gives no reason, is over already, or the key is revoked.
pub fn contain(order: &Order<'_>, now: Timestamp) -> Result<Effects, OrderError> {
    let says_nothing = match &order.action {
        Action::RefuseContext(context) => context.is_empty(),
        Action::Clamp(clamp) => {
            let is_void = clamp.only.as_ref().is_some_and(|context| context.is_empty());
            is_void || Clamp { only: None, ..clamp.clone() } == Clamp::default()
        }
        Action::Watch | Action::Suspend | Action::Revoke => false,
    };
    if says_nothing {
        return Err(OrderError::Empty);
    }
    let reason = order.reason.trim();
    if reason.is_empty() {
        return Err(OrderError::NoReason);
    }
    if let Some(expires) = order.expires.filter(|&expires| expires <= now) {
        return Err(OrderError::Over(expires));
    }
    if order.key.state == KeyState::Revoked {
        return Err(OrderError::Revoked);
    }
    let incident = order.incident.filter(|i| i.key == order.key.id && i.state.is_open());
    let is_final = order.action == Action::Revoke;
    let row = Containment {
        id: order.id,
        key: order.key.id,
        incident: incident.map(|incident| incident.id),
        action: order.action.clone(),
        reason: clean(reason),
        created: now,
        expires: order.expires.filter(|_| !is_final),
        lifted: None,
        revision: 1,
    };
    let mut effects = Effects::default();
    effects.audit.push(audit_containment("containment.apply", &row, order.who, now));
    if is_final {
        let detail = json!({ "reason": row.reason });
        effects.audit.push(audit(now, order.who, "key.revoke", order.key.id, &detail));
        effects.key = Some(revoked(order.key, &row.reason));
    }
    effects.incident = incident.map(|incident| {
        let mut incident = incident.clone();
        incident.containments.push(row.id);
        incident.handling.proposed.retain(|action| action != row.action.name());
        if row.action != Action::Watch {
            incident.state = IncidentState::Contained;
            incident.contained.get_or_insert(now);
        }
        tell(
            &mut incident,
            now,
            order.who,
            format!("{IN_FORCE}{}: {}", describe_action(&row.action), row.reason),
        );
        incident.revision = incident.revision.saturating_add(1);
        incident
    });
    effects.alert = effects.incident.as_ref().map(|_| AlertCause::Updated);
    effects.containments.push(row);
    Ok(effects)
}

/// Why a containment can not be lifted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiftError {
    /// It is not in force.
    #[error("{0} is not in force any more")]
    NotInForce(ContainmentId),
    /// A revocation has no undo.
    #[error("{0} revoked the key: that has no undo; issue a new key")]
    Final(ContainmentId),
}

/// Lifts one containment by hand. `incident` is the one it belongs to, `containments` are those of the key
/// as they are now: when the last one goes, the incident is open again.
///
/// # Errors
///
/// When it is not in force, or a revocation.
pub fn lift(
    containment: &Containment,
    incident: Option<&Incident>,
    containments: &[Containment],
    who: &str,
    now: Timestamp,
) -> Result<Effects, LiftError> {
    if containment.action == Action::Revoke {
        return Err(LiftError::Final(containment.id));
    }
    if !containment.in_force(now) {
        return Err(LiftError::NotInForce(containment.id));
    }
    let incident = incident.filter(|incident| belongs(incident, containment)).map(|incident| {
        let mut incident = incident.clone();
        tell(&mut incident, now, who, format!("lifted: {}", describe_action(&containment.action)));
        let rest = containments.iter().filter(|c| c.id != containment.id && belongs(&incident, c));
        let rest: Vec<Containment> = rest.cloned().collect();
        settle_state(&mut incident, &rest, now);
        incident.revision = incident.revision.saturating_add(1);
        incident
    });
    Ok(Effects {
        alert: incident.as_ref().map(|_| AlertCause::Updated),
        incident,
        containments: vec![lifted(containment, who, now)],
        audit: vec![audit_lift(containment, who, now)],
        ..Effects::default()
    })
}

#[cfg(test)]
mod tests;
