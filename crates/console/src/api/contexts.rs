//! Contexts that people said are a key's own: allowed beforehand, listed, ended.

use serde::{Deserialize, Serialize};
use tokenwatch_model::SmolStr;
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::time::Timestamp;

use super::input::Call;
use super::problem::Problem;
use super::reply::Reply;

/// A context that stands on a key by somebody's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedOut {
    /// Who is let in.
    pub context: ContextMatch,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// The contexts of a key that stand by somebody's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedList {
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub name: SmolStr,
    /// In the order they were said.
    pub contexts: Vec<AllowedOut>,
}

pub(crate) fn list(call: &Call) -> Result<Reply, Problem> {
    let (key, allowed) = call.shared.api.manager.contexts(call.value())?;
    let contexts = allowed
        .into_iter()
        .map(|allowed| AllowedOut { context: allowed.context, since: allowed.since, until: allowed.until })
        .collect();
    Reply::json(&AllowedList { key: key.id, name: key.name, contexts })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    context: ContextMatch,
    until: Timestamp,
    reason: String,
}

pub(crate) fn allow(call: &Call) -> Result<Reply, Problem> {
    let Allow { context, until, reason } = call.parse()?;
    let manager = &call.shared.api.manager;
    manager.allow_context(call.value(), &context, until, &reason, &call.caller.actor())?;
    call.changed();
    list(call)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    context: ContextMatch,
}

pub(crate) fn end(call: &Call) -> Result<Reply, Problem> {
    let End { context } = call.parse()?;
    call.shared.api.manager.end_context(call.value(), &context, &call.caller.actor())?;
    call.changed();
    list(call)
}
