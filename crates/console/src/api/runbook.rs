//! The runbook of an incident: its steps, people's words on them, and what was relaxed brought back.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokenwatch_respond::runbook::{Step, Tick};

use super::incidents::{self, Nothing, decide};
use super::input::Call;
use super::problem::Problem;
use super::reply::Reply;
use crate::persistence::PersistenceSpec;
use crate::runbooks::Word;

/// The steps of an incident's runbook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunbookOut {
    /// In order, as they are now.
    pub steps: Vec<Step>,
}

pub(crate) fn show(call: &Call) -> Result<Reply, Problem> {
    let api = &call.shared.api;
    let case = api.manager.case(call.value())?;
    Reply::json(&RunbookOut { steps: api.manager.runbook(&api.policy.load(), &case, None) })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// `done`, `skip`, or `open` to take a word back.
    says: Tick,
    /// In the person's words.
    #[serde(default)]
    note: String,
}

pub(crate) fn tick(call: &Call) -> Result<Reply, Problem> {
    let Said { says, note } = call.parse()?;
    let step = call.values.get(1).map_or("", String::as_str);
    let policy = call.shared.api.policy.load();
    let word = Word { step, tick: says, note: &note };
    decide(call, || call.shared.api.manager.tick(&policy, call.value(), word, &call.caller.actor()))?;
    show(call)
}

/// Answers when every provider answered or did not in time. One at a time: providers may be slow, and few threads answer here.
pub(crate) fn check_persistence(call: &Call) -> Result<Reply, Problem> {
    let spec: PersistenceSpec = call.parse()?;
    let Some(_turn) = call.shared.asking.try_lock() else {
        let message = "providers are being asked; ask again when that has ended";
        return Err(Problem::new(StatusCode::CONFLICT, "conflict", message));
    };
    let api = &call.shared.api;
    let (defaults, actor) = (api.defaults.load(), call.caller.actor());
    let host = api.providers.as_ref();
    let out = api.manager.check_persistence(&defaults, host, call.value(), &spec, &actor, &mut |_| ())?;
    call.changed();
    Reply::json(&out)
}

pub(crate) fn restore(call: &Call) -> Result<Reply, Problem> {
    let Nothing {} = call.parse()?;
    decide(call, || call.shared.api.manager.restore(call.value(), &call.caller.actor()))?;
    incidents::show(call)
}
