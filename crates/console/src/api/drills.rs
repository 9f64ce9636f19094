//! Drills: started, looked at, ended. Their requests go to the gateway, like everybody's.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokenwatch_model::drill::Drill;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::time::{SECOND, Timestamp};

use super::input::Call;
use super::problem::Problem;
use super::reply::Reply;
use super::shapes::IncidentRow;
use crate::drills::DrillSpec;
use crate::records::RecordsError;
use crate::rotation::RotateSpec;

const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 1_000;

/// A drill that was just started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrillStarted {
    /// The drill.
    #[serde(flatten)]
    pub drill: Drill,
    /// The key that stands in for the drill's.
    pub stand_in: KeyId,
    /// Signs the drill's requests; shown once.
    pub secret: String,
    /// What the drill's requests present: the credential of the stand-in; shown once, and worth nothing without a signed claim.
    pub credential: String,
}

/// The new credential of a stand-in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrillRotated {
    /// Shown once, and worth nothing without a signed claim.
    pub credential: String,
}

/// A drill and what it led to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrillOut {
    /// The drill.
    #[serde(flatten)]
    pub drill: Drill,
    /// The key that stands in for the drill's.
    pub stand_in: KeyId,
    /// Its incidents, latest first.
    pub incidents: Vec<IncidentRow>,
}

/// Drills, latest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrillList {
    /// Running ones and those that ended.
    pub drills: Vec<Drill>,
}

pub(crate) fn list(call: &Call) -> Result<Reply, Problem> {
    let manager = &call.shared.api.manager;
    let limit = call.limit(LIST_DEFAULT, LIST_MAX)?;
    let key = call.parameter("key").map(|key| manager.find_key(key)).transpose();
    let key = key.map_err(|error| match error {
        RecordsError::Missing(text) => Problem::invalid("key", text),
        error => error.into(),
    })?;
    Reply::json(&DrillList { drills: manager.records.drills(key.map(|key| key.id), limit)? })
}

pub(crate) fn start(call: &Call) -> Result<Reply, Problem> {
    let spec: DrillSpec = call.parse()?;
    let api = &call.shared.api;
    let mock = (api.drills.mock)()
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error))?;
    let (drill, secrets) = api.manager.start_drill(&api.gateway, &mock, &spec, &call.caller.actor())?;
    let location = format!("/api/v1/drills/{}", drill.id);
    let (secret, credential) = (secrets.signer.expose().to_owned(), secrets.credential.expose().to_owned());
    let stand_in = drill.stand_in();
    Ok(Reply::json(&DrillStarted { drill, stand_in, secret, credential })?.created(location))
}

/// A rotation in a drill, at a time on the drill's clock.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotating {
    at: Timestamp,
    overlap_seconds: u64,
}

pub(crate) fn rotate(call: &Call) -> Result<Reply, Problem> {
    let Rotating { at, overlap_seconds } = call.parse()?;
    let api = &call.shared.api;
    let spec = RotateSpec { overlap: overlap_seconds.saturating_mul(SECOND), ..RotateSpec::default() };
    let credential = api.manager.rotate_in_drill(&api.gateway, call.value(), &spec, at)?;
    Reply::json(&DrillRotated { credential: credential.expose().to_owned() })
}

pub(crate) fn show(call: &Call) -> Result<Reply, Problem> {
    shown(call, call.shared.api.manager.find_drill(call.value())?)
}

fn shown(call: &Call, drill: Drill) -> Result<Reply, Problem> {
    let incidents = call.shared.api.manager.drill_incidents(&drill)?;
    let stand_in = drill.stand_in();
    Reply::json(&DrillOut { drill, stand_in, incidents: incidents.into_iter().map(Into::into).collect() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Answers when everything that the drill's requests showed so far has been acted on: its clock runs faster than ours, and
/// no hour of it must pass before what a real one would have had time for.
pub(crate) fn settle(call: &Call) -> Result<Reply, Problem> {
    let Nothing {} = call.parse()?;
    let drill = call.shared.api.manager.find_drill(call.value())?;
    (call.shared.api.drills.acted)();
    shown(call, drill)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    /// Whether everything on its checklist passed.
    passed: bool,
    /// In a sentence.
    summary: String,
}

pub(crate) fn end(call: &Call) -> Result<Reply, Problem> {
    let End { passed, summary } = call.parse()?;
    let api = &call.shared.api;
    let who = call.caller.actor();
    let drill =
        api.manager.end_drill(&api.gateway, &api.policy.load(), call.value(), passed, &summary, &who)?;
    shown(call, drill)
}
