//! Keys: list, issue, show, change, end.

use http::StatusCode;
use serde::Deserialize;
use tokenwatch_model::SmolStr;
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::key::{FALSE_ALARMS_PER_YEAR, Key, Policy, Workload};
use tokenwatch_model::time::{SECOND, Timestamp};

use super::input::{Call, given};
use super::problem::Problem;
use super::reply::Reply;
use super::shapes::{IssuedOut, KeyDetail, KeyOut, KeyPage, RotationOut};
use crate::alarms::AlarmBudget;
use crate::manage::{Issued, KeySpec, Lifecycle};
use crate::records::RecordsError;
use crate::rotation::{OVERLAP, OVERLAP_MAX, RotateSpec};

const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;
/// Rows read at a time, and in all for one page: a filter that matches little ends a page early, with a cursor.
const SCAN_STEP: u32 = 1_000;
const SCAN_MAX: usize = 20_000;

/// Which keys a list shows.
struct Filter<'a> {
    name: Option<String>,
    state: Option<&'a str>,
    owner: Option<OwnerId>,
    environment: Option<&'a str>,
    now: Timestamp,
}

impl Filter<'_> {
    fn matches(&self, key: &Key) -> bool {
        self.name.as_ref().is_none_or(|part| key.name.to_ascii_lowercase().contains(part))
            && self.state.is_none_or(|state| key.state_at(self.now) == state)
            && self.owner.is_none_or(|owner| key.owner == Some(owner))
            && self.environment.is_none_or(|environment| key.environment == environment)
    }
}

pub(crate) fn list(call: &Call) -> Result<Reply, Problem> {
    let manager = &call.shared.api.manager;
    let limit = call.limit(PAGE_DEFAULT, PAGE_MAX)? as usize;
    let state = call.parameter("state");
    if state.is_some_and(|state| !["active", "disabled", "revoked", "expired"].contains(&state)) {
        return Err(Problem::invalid("state", "expected active, disabled, revoked or expired"));
    }
    let owner = call.parameter("owner").map(|owner| known_owner(call, owner)).transpose()?;
    let now = manager.clock.now();
    let name = call.parameter("name").map(str::to_ascii_lowercase);
    let filter = Filter { name, state, owner, environment: call.parameter("environment"), now };
    let mut after = SmolStr::new(call.parameter("after").unwrap_or_default());
    let mut keys = Vec::new();
    let mut scanned = 0;
    let next = loop {
        let rows = manager.records.keys_after(&after, SCAN_STEP)?;
        let is_last = rows.len() < SCAN_STEP as usize;
        scanned += rows.len();
        let mut rows = rows.into_iter().map(|stored| stored.key);
        for key in rows.by_ref() {
            after = key.name.clone();
            if filter.matches(&key) {
                keys.push(KeyOut::new(key, now));
            }
            if keys.len() == limit {
                break;
            }
        }
        if rows.len() == 0 && is_last {
            break None;
        }
        if keys.len() == limit || scanned >= SCAN_MAX {
            break Some(after);
        }
    };
    Reply::json(&KeyPage { keys, next })
}

/// The owner that a field names: an unknown one is an error of that field, not of the path.
fn known_owner(call: &Call, owner: &str) -> Result<OwnerId, Problem> {
    match call.shared.api.manager.find_owner(owner) {
        Ok(owner) => Ok(owner.id),
        Err(RecordsError::Missing(text)) => Err(Problem::invalid("owner", text)),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn issue(call: &Call) -> Result<Reply, Problem> {
    let manager = &call.shared.api.manager;
    let spec: KeySpec = call.parse()?;
    if let Some(owner) = &spec.owner {
        known_owner(call, owner)?;
    }
    let issued = manager.issue(vec![spec], &call.caller.actor())?;
    call.changed();
    let Some(Issued { key, secret }) = issued.into_iter().next() else {
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "no key was issued"));
    };
    let id = key.id;
    // As stored: with the revision it got.
    let key = manager.records.key(id)?.map_or(key, |stored| stored.key);
    let revision = key.revision;
    let key = KeyOut::new(key, manager.clock.now());
    let reply = Reply::json(&IssuedOut { key, secret: secret.expose() })?;
    Ok(reply.tagged(revision).created(format!("/api/v1/keys/{id}")))
}

pub(crate) fn show(call: &Call) -> Result<Reply, Problem> {
    let key = call.shared.api.manager.find_key(call.value())?;
    detail(call, key)
}

/// Everything about a key, with its revision as entity tag.
fn detail(call: &Call, key: Key) -> Result<Reply, Problem> {
    let manager = &call.shared.api.manager;
    let gateway = &call.shared.api.gateway;
    let now = manager.clock.now();
    let owner = key.owner.map(|owner| manager.records.owner(owner)).transpose()?.flatten();
    let mut containments = manager.records.containments_of(key.id)?;
    containments.retain(|containment| containment.in_force(now));
    let live = gateway.live.view_key(key.id, gateway.now()).map(Into::into);
    let revision = key.revision;
    let default = call.shared.api.defaults.load().false_alarms_per_year.unwrap_or(FALSE_ALARMS_PER_YEAR);
    let alarm_budget = AlarmBudget::of(&key, owner.as_ref(), default);
    let detail = KeyDetail { key: KeyOut::new(key, now), owner, alarm_budget, containments, live };
    Reply::json(&detail).map(|reply| reply.tagged(revision))
}

/// After a change: the new state is in force, and shown as it is stored.
fn changed(call: &Call, id: KeyId) -> Result<Reply, Problem> {
    call.changed();
    let stored = call.shared.api.manager.records.key(id)?;
    let stored = stored.ok_or_else(|| Problem::not_found(format!("there is no key {id}")))?;
    detail(call, stored.key)
}

/// What can be changed of a key; what is left out stays. `policy` replaces the key's own rules whole.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyPatch {
    name: Option<SmolStr>,
    #[serde(default, deserialize_with = "given")]
    owner: Option<Option<SmolStr>>,
    environment: Option<SmolStr>,
    service: Option<SmolStr>,
    workload: Option<Workload>,
    policy: Option<Policy>,
}

pub(crate) fn edit(call: &Call) -> Result<Reply, Problem> {
    let patch: KeyPatch = call.parse()?;
    let owner = match &patch.owner {
        None => None,
        Some(None) => Some(None),
        Some(Some(owner)) => Some(Some(known_owner(call, owner)?)),
    };
    let manager = &call.shared.api.manager;
    let key = manager.edit_at(call.value(), call.seen, &call.caller.actor(), |key| {
        key.name = patch.name.unwrap_or_else(|| key.name.clone());
        key.owner = owner.unwrap_or(key.owner);
        key.environment = patch.environment.unwrap_or_else(|| key.environment.clone());
        key.service = patch.service.unwrap_or_else(|| key.service.clone());
        key.workload = patch.workload.unwrap_or(key.workload);
        key.policy = patch.policy.unwrap_or_else(|| key.policy.clone());
    })?;
    changed(call, key.id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    /// For the audit log and whoever looks next.
    #[serde(default)]
    reason: String,
}

fn change_life(call: &Call, change: Lifecycle, reason: &str) -> Result<Reply, Problem> {
    let manager = &call.shared.api.manager;
    let key = manager.change_life_at(call.value(), call.seen, change, reason, &call.caller.actor())?;
    changed(call, key.id)
}

pub(crate) fn disable(call: &Call) -> Result<Reply, Problem> {
    change_life(call, Lifecycle::Disable, &call.parse::<Why>()?.reason)
}

pub(crate) fn enable(call: &Call) -> Result<Reply, Problem> {
    change_life(call, Lifecycle::Enable, &call.parse::<Why>()?.reason)
}

pub(crate) fn revoke(call: &Call) -> Result<Reply, Problem> {
    change_life(call, Lifecycle::Revoke, &call.parse::<Why>()?.reason)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expiry {
    /// `null` is never; it must be said.
    #[serde(deserialize_with = "Option::deserialize")]
    at: Option<Timestamp>,
    #[serde(default)]
    reason: String,
}

pub(crate) fn expire(call: &Call) -> Result<Reply, Problem> {
    let Expiry { at, reason } = call.parse()?;
    change_life(call, Lifecycle::Expire(at), &reason)
}

/// How a key is to be rotated; times in seconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotating {
    overlap_seconds: Option<u64>,
    #[serde(default)]
    again: bool,
    expires: Option<Timestamp>,
    #[serde(default)]
    reason: String,
}

pub(crate) fn rotate(call: &Call) -> Result<Reply, Problem> {
    let Rotating { overlap_seconds, again, expires, reason } = call.parse()?;
    let overlap = overlap_seconds.map_or(OVERLAP, |seconds| seconds.saturating_mul(SECOND));
    if overlap > OVERLAP_MAX {
        let text = format!("at most {}, which are 90 days", OVERLAP_MAX / SECOND);
        return Err(Problem::invalid("overlap_seconds", text));
    }
    let manager = &call.shared.api.manager;
    let spec = RotateSpec { overlap, again, expires, reason };
    let Issued { key, secret } = manager.rotate(call.value(), call.seen, &spec, &call.caller.actor())?;
    call.changed();
    // As stored: with the revision it got.
    let key = manager.records.key(key.id)?.map_or(key, |stored| stored.key);
    let revision = key.revision;
    let key = KeyOut::new(key, manager.clock.now());
    Ok(Reply::json(&IssuedOut { key, secret: secret.expose() })?.tagged(revision))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retiring {
    at: Option<Timestamp>,
    #[serde(default)]
    reason: String,
}

pub(crate) fn retire(call: &Call) -> Result<Reply, Problem> {
    let Retiring { at, reason } = call.parse()?;
    let manager = &call.shared.api.manager;
    let key = manager.retire(call.value(), call.seen, at, &reason, &call.caller.actor())?;
    changed(call, key.id)
}

pub(crate) fn rotation(call: &Call) -> Result<Reply, Problem> {
    let manager = &call.shared.api.manager;
    let key = manager.find_key(call.value())?;
    let callers = manager.still_presents(&key)?;
    Reply::json(&RotationOut { rotation: key.rotation, callers })
}
