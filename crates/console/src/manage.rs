//! What administrators do with keys and owners; the CLI and the admin API both come here.
//!
//! Each operation reads, decides, and writes rows with their audit entries in one transaction. Nothing here
//! prints or keeps a credential: [`Issued`] hands it out once.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenwatch_model::SmolStr;
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::credential;
use tokenwatch_model::id::{KeyId, OwnerId};
use tokenwatch_model::key::{
    FALSE_ALARMS_BOUNDS, Key, KeyState, Policy, StoredKey, Workload, is_false_alarm_budget,
};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::ports::{Clock, Random};
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::Timestamp;

use crate::records::{Records, RecordsError};

/// Longest name of a key, owner, environment or service.
const NAME_MAX: usize = 64;
/// Longest free text: who is on call, a channel, a reason.
const TEXT_MAX: usize = 500;

/// What a new key is to be.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeySpec {
    /// Unique name.
    pub name: SmolStr,
    /// Name or id of its owner.
    pub owner: Option<SmolStr>,
    /// Environment, such as `production`.
    pub environment: SmolStr,
    /// Service that uses it.
    pub service: SmolStr,
    /// What kind of caller it is for.
    pub workload: Workload,
    /// Its own rules.
    pub policy: Policy,
    /// When it stops working by itself.
    pub expires: Option<Timestamp>,
}

/// What a new owner is to be, or is changed to.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnerSpec {
    /// Unique short name.
    pub name: SmolStr,
    /// Who is paged.
    pub on_call: SmolStr,
    /// Chat channel.
    pub channel: SmolStr,
    /// What its keys inherit.
    pub defaults: Policy,
}

/// A key that was just issued, with its credential: shown once, stored nowhere.
pub struct Issued {
    /// The key.
    pub key: Key,
    /// The credential.
    pub secret: Secret,
}

/// What to do with a key's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Switch off; can be enabled again.
    Disable,
    /// Switch on again.
    Enable,
    /// End for good.
    Revoke,
    /// Stop by itself at a time.
    Expire(Option<Timestamp>),
}

/// Administers one set of records.
#[derive(Clone)]
pub struct Manager {
    /// The records.
    pub records: Arc<dyn Records>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids and credentials.
    pub random: Arc<dyn Random>,
}

pub(crate) fn refused(text: impl Into<String>) -> RecordsError {
    RecordsError::Refused(text.into())
}

pub(crate) fn invalid(field: &str, text: impl Into<String>) -> RecordsError {
    RecordsError::Invalid { field: field.to_owned(), text: text.into() }
}

pub(crate) fn check_name(field: &str, name: &str, required: bool) -> Result<(), RecordsError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@' | ' ');
    if name.is_empty() && required {
        return Err(invalid(field, "a name is needed"));
    }
    if name.len() > NAME_MAX || !name.chars().all(plain) || name.trim() != name {
        let text =
            format!("at most {NAME_MAX} letters, digits, - _ . / @ and spaces between them, not {name:?}");
        return Err(invalid(field, text));
    }
    // Listing `key_…` as a name would make it ambiguous wherever a name or an id is taken.
    if name.starts_with(KeyId::PREFIX) || name.starts_with(OwnerId::PREFIX) {
        return Err(invalid(field, "a name can not start like an id"));
    }
    Ok(())
}

pub(crate) fn check_text(field: &str, text: &str) -> Result<(), RecordsError> {
    if text.chars().count() > TEXT_MAX || text.chars().any(char::is_control) {
        return Err(invalid(field, format!("at most {TEXT_MAX} characters on one line")));
    }
    Ok(())
}

pub(crate) fn check_revision(
    what: &str,
    name: &str,
    found: u64,
    expected: Option<u64>,
) -> Result<(), RecordsError> {
    match expected {
        Some(expected) if expected != found => Err(RecordsError::Stale(format!(
            "{what} {name} was changed meanwhile: it has revision {found} now, not {expected}; read it again and decide again"
        ))),
        _ => Ok(()),
    }
}

fn check_policy(within: &str, policy: &Policy) -> Result<(), RecordsError> {
    if policy.scope.hours.iter().flatten().any(|&hour| hour > 23) {
        return Err(invalid(&format!("{within}.scope.hours"), "hours are 0 to 23"));
    }
    for (field, is_empty) in [
        ("providers", policy.scope.providers.as_ref().is_some_and(Vec::is_empty)),
        ("models", policy.scope.models.as_ref().is_some_and(Vec::is_empty)),
        ("endpoints", policy.scope.endpoints.as_ref().is_some_and(Vec::is_empty)),
        ("networks", policy.scope.networks.as_ref().is_some_and(Vec::is_empty)),
        ("hours", policy.scope.hours.as_ref().is_some_and(Vec::is_empty)),
    ] {
        if is_empty {
            let text = "an empty list would allow nothing; leave it out, or disable the key";
            return Err(invalid(&format!("{within}.scope.{field}"), text));
        }
    }
    for (field, names) in [("providers", &policy.scope.providers), ("models", &policy.scope.models)] {
        if names.iter().flatten().any(|name| name.is_empty()) {
            return Err(invalid(&format!("{within}.scope.{field}"), "an empty name would match nothing"));
        }
    }
    match policy.false_alarms_per_year {
        Some(rate) if !is_false_alarm_budget(rate) => {
            Err(invalid(&format!("{within}.false_alarms_per_year"), FALSE_ALARMS_BOUNDS))
        }
        _ => Ok(()),
    }
}

impl Manager {
    pub(crate) fn entry(
        &self,
        who: &str,
        action: &'static str,
        subject: impl ToString,
        detail: &serde_json::Value,
    ) -> AuditEntry {
        AuditEntry {
            time: self.clock.now(),
            actor: who.into(),
            action: SmolStr::new_static(action),
            subject: subject.to_string().into(),
            detail: detail.to_string(),
        }
    }

    /// Issues keys, all or none, in one transaction.
    ///
    /// # Errors
    ///
    /// When a name is taken or not a name, an owner is unknown, or a rule makes no sense.
    pub fn issue(&self, specs: Vec<KeySpec>, who: &str) -> Result<Vec<Issued>, RecordsError> {
        let now = self.clock.now();
        let mut rows = Vec::with_capacity(specs.len());
        let mut issued = Vec::with_capacity(specs.len());
        for spec in specs {
            check_name("name", &spec.name, true)?;
            check_name("environment", &spec.environment, false)?;
            check_name("service", &spec.service, false)?;
            check_policy("policy", &spec.policy)?;
            if spec.expires.is_some_and(|expires| expires <= now) {
                return Err(invalid("expires", "lies in the past"));
            }
            let owner = spec.owner.as_deref().map(|owner| self.find_owner(owner)).transpose()?;
            let id = KeyId::from_bits(self.random.next_u64());
            let mut random = [0; 32];
            self.random.fill(&mut random);
            let (secret, hash) = credential::mint(id, &random);
            let key = Key {
                id,
                name: spec.name,
                owner: owner.as_ref().map(|owner| owner.id),
                environment: spec.environment,
                service: spec.service,
                workload: spec.workload,
                policy: spec.policy,
                state: KeyState::Active,
                state_reason: SmolStr::default(),
                created: now,
                expires: spec.expires,
                rotation: None,
                revision: 0,
            };
            let detail = json!({ "name": key.name, "owner": owner.map(|owner| owner.name), "environment": key.environment });
            let entry = self.entry(who, "key.issue", id, &detail);
            rows.push((StoredKey { key: key.clone(), hash, previous: None }, entry));
            issued.push(Issued { key, secret });
        }
        self.records.insert_keys(&rows)?;
        Ok(issued)
    }

    /// The key with this id or name.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find_key(&self, name: &str) -> Result<Key, RecordsError> {
        self.find_stored(name).map(|stored| stored.key)
    }

    pub(crate) fn find_stored(&self, name: &str) -> Result<StoredKey, RecordsError> {
        let found = match name.parse::<KeyId>() {
            Ok(id) => self.records.key(id)?,
            Err(_) => self.records.key_by_name(name)?,
        };
        found.ok_or_else(|| {
            RecordsError::Missing(format!("there is no key {name:?}; `tokenwatch key list` shows all"))
        })
    }

    /// The owner with this id or name.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find_owner(&self, name: &str) -> Result<Owner, RecordsError> {
        let found = match name.parse::<OwnerId>() {
            Ok(id) => self.records.owner(id)?,
            Err(_) => self.records.owner_by_name(name)?,
        };
        found.ok_or_else(|| {
            RecordsError::Missing(format!("there is no owner {name:?}; `tokenwatch owner list` shows all, `tokenwatch owner add` makes one"))
        })
    }

    /// Disables, enables, revokes or expires a key; the key as it is then.
    ///
    /// # Errors
    ///
    /// When the key is revoked already, or the time lies in the past.
    pub fn change_life(
        &self,
        name: &str,
        change: Lifecycle,
        reason: &str,
        who: &str,
    ) -> Result<Key, RecordsError> {
        self.change_life_at(name, None, change, reason, who)
    }

    /// As [`Manager::change_life`], if the key has the revision that the caller has seen.
    ///
    /// # Errors
    ///
    /// As [`Manager::change_life`], and [`RecordsError::Stale`].
    pub fn change_life_at(
        &self,
        name: &str,
        seen: Option<u64>,
        change: Lifecycle,
        reason: &str,
        who: &str,
    ) -> Result<Key, RecordsError> {
        let mut key = self.find_key(name)?;
        check_revision("key", &key.name, key.revision, seen)?;
        check_text("reason", reason.trim())?;
        let now = self.clock.now();
        if key.state == KeyState::Revoked {
            return Err(refused(format!("{} is revoked for good: issue a new key", key.name)));
        }
        let action = match change {
            Lifecycle::Disable => {
                key.state = KeyState::Disabled;
                "key.disable"
            }
            Lifecycle::Enable => {
                key.state = KeyState::Active;
                "key.enable"
            }
            Lifecycle::Revoke => {
                key.state = KeyState::Revoked;
                "key.revoke"
            }
            Lifecycle::Expire(at) => {
                if at.is_some_and(|at| at < now) {
                    let text = "lies in the past: `key disable` or `key revoke` ends a key now";
                    return Err(invalid("at", text));
                }
                key.expires = at;
                "key.expire"
            }
        };
        match change {
            Lifecycle::Enable => key.state_reason = SmolStr::default(),
            Lifecycle::Disable | Lifecycle::Revoke => key.state_reason = reason.trim().into(),
            Lifecycle::Expire(_) => {}
        }
        let detail = json!({ "name": key.name, "reason": reason.trim(), "expires": key.expires });
        self.records.update_key(&key, &self.entry(who, action, key.id, &detail))?;
        Ok(key)
    }

    /// Changes a key's rules, owner, environment, service or workload.
    ///
    /// # Errors
    ///
    /// As [`Manager::issue`].
    pub fn edit(&self, name: &str, who: &str, change: impl FnOnce(&mut Key)) -> Result<Key, RecordsError> {
        self.edit_at(name, None, who, change)
    }

    /// As [`Manager::edit`], if the key has the revision that the caller has seen.
    ///
    /// # Errors
    ///
    /// As [`Manager::edit`], and [`RecordsError::Stale`].
    pub fn edit_at(
        &self,
        name: &str,
        seen: Option<u64>,
        who: &str,
        change: impl FnOnce(&mut Key),
    ) -> Result<Key, RecordsError> {
        let before = self.find_key(name)?;
        check_revision("key", &before.name, before.revision, seen)?;
        if before.state == KeyState::Revoked {
            return Err(refused(format!("{} is revoked for good: issue a new key", before.name)));
        }
        let mut key = before.clone();
        change(&mut key);
        let fixed = Key {
            id: before.id,
            state: before.state,
            created: before.created,
            rotation: before.rotation,
            revision: before.revision,
            ..key
        };
        check_name("name", &fixed.name, true)?;
        check_name("environment", &fixed.environment, false)?;
        check_name("service", &fixed.service, false)?;
        check_policy("policy", &fixed.policy)?;
        let detail = json!({ "before": before, "after": fixed });
        self.records.update_key(&fixed, &self.entry(who, "key.edit", fixed.id, &detail))?;
        Ok(fixed)
    }

    /// Registers an owner.
    ///
    /// # Errors
    ///
    /// When the name is taken or not a name, or a rule makes no sense.
    pub fn add_owner(&self, spec: OwnerSpec, who: &str) -> Result<Owner, RecordsError> {
        let owner = Owner {
            id: OwnerId::from_bits(self.random.next_u64()),
            name: spec.name,
            on_call: spec.on_call,
            channel: spec.channel,
            defaults: spec.defaults,
            created: self.clock.now(),
            revision: 0,
        };
        check_owner(&owner)?;
        let entry =
            self.entry(who, "owner.add", owner.id, &json!({ "name": owner.name, "on_call": owner.on_call }));
        self.records.put_owner(&owner, &entry)?;
        Ok(owner)
    }

    /// Changes an owner.
    ///
    /// # Errors
    ///
    /// As [`Manager::add_owner`].
    pub fn edit_owner(
        &self,
        name: &str,
        who: &str,
        change: impl FnOnce(&mut Owner),
    ) -> Result<Owner, RecordsError> {
        self.edit_owner_at(name, None, who, change)
    }

    /// As [`Manager::edit_owner`], if the owner has the revision that the caller has seen.
    ///
    /// # Errors
    ///
    /// As [`Manager::edit_owner`], and [`RecordsError::Stale`].
    pub fn edit_owner_at(
        &self,
        name: &str,
        seen: Option<u64>,
        who: &str,
        change: impl FnOnce(&mut Owner),
    ) -> Result<Owner, RecordsError> {
        let before = self.find_owner(name)?;
        check_revision("owner", &before.name, before.revision, seen)?;
        let mut owner = before.clone();
        change(&mut owner);
        let owner = Owner { id: before.id, created: before.created, revision: before.revision, ..owner };
        check_owner(&owner)?;
        let entry = self.entry(who, "owner.edit", owner.id, &json!({ "before": before, "after": owner }));
        self.records.put_owner(&owner, &entry)?;
        Ok(owner)
    }
}

fn check_owner(owner: &Owner) -> Result<(), RecordsError> {
    check_name("name", &owner.name, true)?;
    check_text("on_call", &owner.on_call)?;
    check_text("channel", &owner.channel)?;
    check_policy("defaults", &owner.defaults)
}
