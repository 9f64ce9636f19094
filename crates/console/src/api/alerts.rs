//! Alerts on their way to people: what waits and why, tried again, given up, kept back, and a way tried.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokenwatch_model::alarm::Alarm;
use tokenwatch_model::alert::Delivery;

use super::incidents::Nothing;
use super::input::Call;
use super::problem::Problem;
use super::reply::Reply;
use crate::alerts::{Named, SnoozeSpec, TestSpec, Tried};
use crate::billing::SpenderSnoozeSpec;

const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 1_000;

/// Deliveries, latest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryList {
    /// Those that wait, or all.
    pub deliveries: Vec<Delivery>,
}

/// Billing alarms, latest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmList {
    /// Those that were raised.
    pub alarms: Vec<Alarm>,
}

/// What was retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// How many deliveries are tried now.
    pub count: usize,
}

/// How a test went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestOut {
    /// Whether every destination took it.
    pub taken: bool,
    /// Each destination.
    pub tried: Vec<Tried>,
}

pub(crate) fn list(call: &Call) -> Result<Reply, Problem> {
    let limit = call.limit(LIST_DEFAULT, LIST_MAX)?;
    let manager = &call.shared.api.manager;
    let about = Named { incident: call.parameter("incident"), alarm: call.parameter("alarm") };
    let deliveries = manager.deliveries(call.flag("all")?, about, limit)?;
    Reply::json(&DeliveryList { deliveries })
}

pub(crate) fn show(call: &Call) -> Result<Reply, Problem> {
    let api = &call.shared.api;
    Reply::json(&api.manager.delivery_whole(api.alerts.as_ref(), call.value())?)
}

pub(crate) fn retry_all(call: &Call) -> Result<Reply, Problem> {
    let Nothing {} = call.parse()?;
    let count = call.shared.api.manager.retry_deliveries(&call.caller.actor())?;
    Reply::json(&Retried { count })
}

pub(crate) fn retry(call: &Call) -> Result<Reply, Problem> {
    let Nothing {} = call.parse()?;
    call.shared.api.manager.retry_delivery(call.value(), &call.caller.actor())?;
    show(call)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GiveUp {
    reason: String,
}

pub(crate) fn give_up(call: &Call) -> Result<Reply, Problem> {
    let GiveUp { reason } = call.parse()?;
    call.shared.api.manager.drop_delivery(call.value(), &reason, &call.caller.actor())?;
    show(call)
}

pub(crate) fn snooze(call: &Call) -> Result<Reply, Problem> {
    let spec: SnoozeSpec = call.parse()?;
    Reply::json(&call.shared.api.manager.snooze(call.value(), &spec, &call.caller.actor())?)
}

pub(crate) fn alarms(call: &Call) -> Result<Reply, Problem> {
    let limit = call.limit(LIST_DEFAULT, LIST_MAX)?;
    Reply::json(&AlarmList { alarms: call.shared.api.manager.alarms(limit)? })
}

pub(crate) fn alarm(call: &Call) -> Result<Reply, Problem> {
    Reply::json(&call.shared.api.manager.find_alarm(call.value())?)
}

pub(crate) fn snooze_spender(call: &Call) -> Result<Reply, Problem> {
    let spec: SpenderSnoozeSpec = call.parse()?;
    Reply::json(&call.shared.api.manager.snooze_spender(&spec, &call.caller.actor())?)
}

/// Answers when every destination took the test or failed. One at a time: receivers may be slow, and few threads answer here.
pub(crate) fn test(call: &Call) -> Result<Reply, Problem> {
    let spec: TestSpec = call.parse()?;
    let Some(_turn) = call.shared.testing.try_lock() else {
        let message = "another test is under way; ask again when it has ended";
        return Err(Problem::new(StatusCode::CONFLICT, "conflict", message));
    };
    let api = &call.shared.api;
    let tried = api.manager.test_alert(api.alerts.as_ref(), &spec, &call.caller.actor())?;
    Reply::json(&TestOut { taken: tried.iter().all(|to| to.error.is_none()), tried })
}
