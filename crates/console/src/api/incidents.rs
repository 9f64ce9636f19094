//! Incidents and containments: look, decide, contain, lift.
//!
//! The responder changes an incident every second while its thief goes on, so a decision that meets such a change
//! is made again on the new state rather than handed back to the person.

use serde::Deserialize;
use tokenwatch_model::containment::Action;
use tokenwatch_model::id::ContainmentId;
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::{Effects, describe};

use super::input::Call;
use super::problem::Problem;
use super::reply::Reply;
use super::shapes::{ContainmentList, ContainmentOut, IncidentDetail, IncidentList, KeyOut, PlanOut};
use crate::records::{RecordsError, Role};

const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 1_000;
/// Tries when somebody else changed a row meanwhile.
const TRIES: usize = 5;

/// Decides again when somebody else changed a row meanwhile.
pub(super) fn decide(
    call: &Call,
    decide: impl Fn() -> Result<Effects, RecordsError>,
) -> Result<Effects, Problem> {
    let mut left = TRIES;
    loop {
        left -= 1;
        match decide() {
            Err(RecordsError::Conflict(_)) if left > 0 => {}
            Ok(effects) => {
                call.changed();
                return Ok(effects);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn list(call: &Call) -> Result<Reply, Problem> {
    let manager = &call.shared.api.manager;
    let limit = call.limit(LIST_DEFAULT, LIST_MAX)?;
    let all = call.flag("all")?;
    let key = call.parameter("key").map(|key| manager.find_key(key)).transpose();
    let key = key.map_err(|error| match error {
        RecordsError::Missing(text) => Problem::invalid("key", text),
        error => error.into(),
    })?;
    let incidents = manager.incidents(!all, key.map(|key| key.id), limit)?;
    Reply::json(&IncidentList { incidents: incidents.into_iter().map(Into::into).collect() })
}

/// The incident of the path, whole.
pub(crate) fn show(call: &Call) -> Result<Reply, Problem> {
    let manager = &call.shared.api.manager;
    let case = manager.case(call.value())?;
    let now = manager.clock.now();
    let incident = case.incident_at(now);
    let runbook = manager.runbook(&call.shared.api.policy.load(), &case, None);
    let story = describe(&incident, &case.key, case.owner.as_ref(), &runbook, now);
    let mut containments = case.containments;
    containments.retain(|containment| incident.containments.contains(&containment.id));
    Reply::json(&IncidentDetail {
        incident,
        key: KeyOut::new(case.key, now),
        owner: case.owner,
        containments,
        runbook,
        story,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolution {
    /// Lift its containments now, instead of letting them expire.
    #[serde(default)]
    lift: bool,
}

pub(crate) fn resolve(call: &Call) -> Result<Reply, Problem> {
    let Resolution { lift } = call.parse()?;
    decide(call, || call.shared.api.manager.resolve(call.value(), lift, &call.caller.actor()))?;
    show(call)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

pub(crate) fn acknowledge(call: &Call) -> Result<Reply, Problem> {
    let Nothing {} = call.parse()?;
    decide(call, || call.shared.api.manager.acknowledge(call.value(), &call.caller.actor()))?;
    show(call)
}

pub(crate) fn dismiss(call: &Call) -> Result<Reply, Problem> {
    let Nothing {} = call.parse()?;
    let policy = call.shared.api.policy.load();
    decide(call, || call.shared.api.manager.dismiss(&policy, call.value(), &call.caller.actor()))?;
    show(call)
}

pub(crate) fn plan(call: &Call) -> Result<Reply, Problem> {
    let api = &call.shared.api;
    let normal = |key| Ok(api.gateway.live_of(key).normal(key));
    Reply::json(&PlanOut::from(api.manager.plan_again(&api.policy.load(), &normal, call.value())?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    /// Which of the proposed steps: the name of its action.
    action: Rung,
}

/// The rungs of the ladder by name.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Rung {
    Watch,
    Clamp,
    RefuseContext,
    Suspend,
    Revoke,
}

impl Rung {
    const fn name(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Clamp => "clamp",
            Self::RefuseContext => "refuse_context",
            Self::Suspend => "suspend",
            Self::Revoke => "revoke",
        }
    }
}

pub(crate) fn approve(call: &Call) -> Result<Reply, Problem> {
    let Approval { action } = call.parse()?;
    if action == Rung::Revoke {
        check_may_revoke(call)?;
    }
    let policy = call.shared.api.policy.load();
    let (manager, who) = (&call.shared.api.manager, call.caller.actor());
    let normal = |key| Ok(call.shared.api.gateway.live_of(key).normal(key));
    decide(call, || manager.approve(&policy, &normal, call.value(), action.name(), &who))?;
    show(call)
}

/// What can not be undone is for administrators.
fn check_may_revoke(call: &Call) -> Result<(), Problem> {
    if call.caller.role >= Role::Admin {
        return Ok(());
    }
    let message =
        "revoking can not be undone, so it needs the role admin; `suspend` stops the key until lifted";
    Err(Problem::forbidden("role_too_low", message))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    text: String,
}

pub(crate) fn note(call: &Call) -> Result<Reply, Problem> {
    let Note { text } = call.parse()?;
    decide(call, || call.shared.api.manager.note(call.value(), &text, &call.caller.actor()))?;
    show(call)
}

/// A containment to put on a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    action: Action,
    reason: String,
    /// Until when; until lifted when not given.
    #[serde(default)]
    expires: Option<Timestamp>,
}

pub(crate) fn contain(call: &Call) -> Result<Reply, Problem> {
    let Order { action, reason, expires } = call.parse()?;
    if action == Action::Revoke {
        check_may_revoke(call)?;
    }
    let manager = &call.shared.api.manager;
    let who = call.caller.actor();
    let effects = decide(call, || manager.contain(call.value(), action.clone(), &reason, expires, &who))?;
    let id = effects.containments.first().map(|row| row.id);
    let id = id.ok_or_else(|| Problem::not_found("nothing was put in force"))?;
    Ok(one(call, id)?.created(format!("/api/v1/containments/{id}")))
}

pub(crate) fn containments(call: &Call) -> Result<Reply, Problem> {
    let manager = &call.shared.api.manager;
    let limit = call.limit(LIST_DEFAULT, LIST_MAX)? as usize;
    let mut containments = manager.records.active_containments(manager.clock.now())?;
    containments.sort_by_key(|containment| std::cmp::Reverse((containment.created, containment.id)));
    containments.truncate(limit);
    Reply::json(&ContainmentList { containments })
}

fn id_of(call: &Call) -> Result<ContainmentId, Problem> {
    call.value()
        .parse()
        .map_err(|_| Problem::not_found(format!("there is no containment {:?}", call.value())))
}

pub(crate) fn containment(call: &Call) -> Result<Reply, Problem> {
    one(call, id_of(call)?)
}

pub(crate) fn lift(call: &Call) -> Result<Reply, Problem> {
    let Nothing {} = call.parse()?;
    let id = id_of(call)?;
    decide(call, || call.shared.api.manager.lift(call.value(), &call.caller.actor()))?;
    one(call, id)
}

fn one(call: &Call, id: ContainmentId) -> Result<Reply, Problem> {
    let found = call.shared.api.manager.records.containment(id)?;
    let containment = found.ok_or_else(|| Problem::not_found(format!("there is no containment {id}")))?;
    Reply::json(&ContainmentOut { containment })
}
