//! Owners: teams and services with people to page.

use serde::Deserialize;
use tokenwatch_model::SmolStr;
use tokenwatch_model::id::OwnerId;
use tokenwatch_model::key::Policy;
use tokenwatch_model::owner::Owner;

use super::input::Call;
use super::problem::Problem;
use super::reply::Reply;
use super::shapes::OwnerList;
use crate::manage::OwnerSpec;

pub(crate) fn list(call: &Call) -> Result<Reply, Problem> {
    Reply::json(&OwnerList { owners: call.shared.api.manager.records.owners()? })
}

pub(crate) fn show(call: &Call) -> Result<Reply, Problem> {
    shown(&call.shared.api.manager.find_owner(call.value())?)
}

fn shown(owner: &Owner) -> Result<Reply, Problem> {
    Reply::json(owner).map(|reply| reply.tagged(owner.revision))
}

fn stored(call: &Call, id: OwnerId) -> Result<Owner, Problem> {
    let owner = call.shared.api.manager.records.owner(id)?;
    owner.ok_or_else(|| Problem::not_found(format!("there is no owner {id}")))
}

pub(crate) fn add(call: &Call) -> Result<Reply, Problem> {
    let spec: OwnerSpec = call.parse()?;
    let owner = call.shared.api.manager.add_owner(spec, &call.caller.actor())?;
    call.changed();
    let location = format!("/api/v1/owners/{}", owner.id);
    shown(&stored(call, owner.id)?).map(|reply| reply.created(location))
}

/// What can be changed of an owner; what is left out stays. `defaults` replaces what its keys inherit whole.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnerPatch {
    name: Option<SmolStr>,
    on_call: Option<SmolStr>,
    channel: Option<SmolStr>,
    defaults: Option<Policy>,
}

pub(crate) fn edit(call: &Call) -> Result<Reply, Problem> {
    let patch: OwnerPatch = call.parse()?;
    let manager = &call.shared.api.manager;
    let owner = manager.edit_owner_at(call.value(), call.seen, &call.caller.actor(), |owner| {
        owner.name = patch.name.unwrap_or_else(|| owner.name.clone());
        owner.on_call = patch.on_call.unwrap_or_else(|| owner.on_call.clone());
        owner.channel = patch.channel.unwrap_or_else(|| owner.channel.clone());
        owner.defaults = patch.defaults.unwrap_or_else(|| owner.defaults.clone());
    })?;
    call.changed();
    shown(&stored(call, owner.id)?)
}
