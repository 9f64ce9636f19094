//! Suppressions: what people expect, and the alerts that nobody was told of for it.

use serde::{Deserialize, Serialize};
use tokenwatch_model::SmolStr;
use tokenwatch_model::suppression::{SuppressedAlert, Suppression};
use tokenwatch_model::time::Timestamp;

use super::input::Call;
use super::problem::Problem;
use super::reply::Reply;
use crate::records::{RecordsError, Role};
use crate::suppressions::SuppressionSpec;

const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 1_000;

/// A suppression, and how it stands now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuppressionOut {
    /// What is stored.
    #[serde(flatten)]
    pub suppression: Suppression,
    /// `in force`, `lifted` or `expired`.
    pub state_now: SmolStr,
}

impl SuppressionOut {
    /// As it is at `now`.
    pub fn new(suppression: Suppression, now: Timestamp) -> Self {
        let state_now = SmolStr::new_static(suppression.state_at(now));
        Self { suppression, state_now }
    }
}

/// Suppressions, latest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuppressionList {
    /// Those in force, or all.
    pub suppressions: Vec<SuppressionOut>,
}

/// Suppressed alerts, latest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuppressedList {
    /// What was found, and by which suppression it is silenced.
    pub alerts: Vec<SuppressedAlert>,
}

pub(crate) fn list(call: &Call) -> Result<Reply, Problem> {
    let manager = &call.shared.api.manager;
    let limit = call.limit(LIST_DEFAULT, LIST_MAX)? as usize;
    let rows = manager.suppressions(call.flag("all")?, limit)?;
    let now = manager.clock.now();
    let suppressions = rows.into_iter().map(|row| SuppressionOut::new(row, now)).collect();
    Reply::json(&SuppressionList { suppressions })
}

pub(crate) fn add(call: &Call) -> Result<Reply, Problem> {
    let spec: SuppressionSpec = call.parse()?;
    if spec.everywhere && call.caller.role < Role::Admin {
        let message =
            "a suppression everywhere blinds all keys, so it needs the role admin; name a key or an owner";
        return Err(Problem::forbidden("role_too_low", message));
    }
    let suppression = call.shared.api.manager.suppress(spec, &call.caller.actor())?;
    call.changed();
    let location = format!("/api/v1/suppressions/{}", suppression.id);
    Ok(shown(call, suppression)?.created(location))
}

pub(crate) fn show(call: &Call) -> Result<Reply, Problem> {
    shown(call, call.shared.api.manager.find_suppression(call.value())?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(crate) fn lift(call: &Call) -> Result<Reply, Problem> {
    let Nothing {} = call.parse()?;
    let suppression = call.shared.api.manager.lift_suppression(call.value(), &call.caller.actor())?;
    call.changed();
    shown(call, suppression)
}

fn shown(call: &Call, suppression: Suppression) -> Result<Reply, Problem> {
    Reply::json(&SuppressionOut::new(suppression, call.shared.api.manager.clock.now()))
}

pub(crate) fn alerts(call: &Call) -> Result<Reply, Problem> {
    let limit = call.limit(LIST_DEFAULT, LIST_MAX)?;
    let alerts = call.shared.api.manager.suppressed(call.parameter("key"), limit);
    let alerts = alerts.map_err(|error| match error {
        RecordsError::Missing(text) => Problem::invalid("key", text),
        error => error.into(),
    })?;
    Reply::json(&SuppressedList { alerts })
}
