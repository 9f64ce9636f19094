//! Keys: what TokenWatch knows of a credential, without the credential.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::{KeyId, OwnerId};
use crate::limit::{Budgets, Limits};
use crate::outcome::Refusal;
use crate::scope::Scope;
use crate::secret::SecretHash;
use crate::time::Timestamp;

/// What automatic containment may do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing: findings are told, plans only proposed.
    Observe,
    /// Refuse contexts and clamp by itself; suspend and revoke are proposed.
    #[default]
    Contain,
    /// The whole ladder by itself.
    Full,
}

impl Mode {
    /// The word used in output and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Contain => "contain",
            Self::Full => "full",
        }
    }

    /// The inverse of [`Mode::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Observe, Self::Contain, Self::Full].into_iter().find(|mode| mode.name() == name)
    }
}

/// What kind of caller a key is for: which prior the engine starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Not declared: learned.
    #[default]
    Unknown,
    /// A service with fixed addresses.
    Service,
    /// An autoscaled or serverless pool whose addresses rotate inside a cloud.
    Pool,
    /// Build and test pipelines.
    Ci,
    /// People on laptops.
    Team,
    /// An application whose end users call directly.
    PublicApp,
}

impl Workload {
    /// Every workload.
    pub const ALL: [Self; 6] =
        [Self::Unknown, Self::Service, Self::Pool, Self::Ci, Self::Team, Self::PublicApp];

    /// The word used in output and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Service => "service",
            Self::Pool => "pool",
            Self::Ci => "ci",
            Self::Team => "team",
            Self::PublicApp => "public_app",
        }
    }

    /// The inverse of [`Workload::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }
}

/// False alarms a year that an owner who said nothing accepts on a key: one in a thousand days.
pub const FALSE_ALARMS_PER_YEAR: f64 = 0.365;
/// Fewest false alarms a year that may be set on a key: one in a century. With fewer, nothing would be found.
pub const FALSE_ALARMS_PER_YEAR_MIN: f64 = 0.01;
/// Most: one a day.
pub const FALSE_ALARMS_PER_YEAR_MAX: f64 = 365.0;
/// What a false-alarm budget must be, for people.
pub const FALSE_ALARMS_BOUNDS: &str =
    "must be 0.01 (one in a hundred years) to 365 (one a day); 0.365 is the default, one in a thousand days";

/// Whether a number can be a key's false-alarm budget.
pub fn is_false_alarm_budget(rate: f64) -> bool {
    (FALSE_ALARMS_PER_YEAR_MIN..=FALSE_ALARMS_PER_YEAR_MAX).contains(&rate)
}

/// Rules of use that a key may set or inherit from its owner.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What it may be used for.
    pub scope: Scope,
    /// Requests, tokens, concurrency.
    pub limits: Limits,
    /// Money.
    pub budgets: Budgets,
    /// What automatic containment may do.
    pub mode: Option<Mode>,
    /// How many false alarms a year the owner accepts on this key.
    pub false_alarms_per_year: Option<f64>,
}

impl Policy {
    /// Fills what is not set from `defaults`.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        Self {
            scope: self.scope.or(&defaults.scope),
            limits: self.limits.or(defaults.limits),
            budgets: self.budgets.or(defaults.budgets),
            mode: self.mode.or(defaults.mode),
            false_alarms_per_year: self.false_alarms_per_year.or(defaults.false_alarms_per_year),
        }
    }
}

/// Where a key is in its life. Order matters only for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Usable.
    #[default]
    Active,
    /// Switched off by a person; can be enabled again.
    Disabled,
    /// Ended for good.
    Revoked,
}

impl KeyState {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
        }
    }
}

/// The latest rotation of a key: its credential was replaced, and the one before goes on for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rotation {
    /// When the credential that is in use now was issued.
    pub rotated: Timestamp,
    /// From when on the one before is refused.
    pub previous_ends: Timestamp,
}

impl Rotation {
    /// Whether both credentials are taken at `now`.
    pub fn overlaps(&self, now: Timestamp) -> bool {
        now < self.previous_ends
    }
}

/// A virtual key. The credential itself is not here: see [`StoredKey`] for its hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// Identity; also inside the credential.
    pub id: KeyId,
    /// Unique name for people, such as `search-prod`.
    pub name: SmolStr,
    /// Who it belongs to.
    pub owner: Option<OwnerId>,
    /// Environment, such as `production`; may be empty.
    pub environment: SmolStr,
    /// Service that uses it; may be empty.
    pub service: SmolStr,
    /// What kind of caller it is for.
    pub workload: Workload,
    /// Its own rules; the owner's and the system's defaults fill the rest.
    pub policy: Policy,
    /// Where it is in its life.
    pub state: KeyState,
    /// Why it is disabled or revoked; empty while active.
    pub state_reason: SmolStr,
    /// When it was issued.
    pub created: Timestamp,
    /// When it stops working by itself.
    pub expires: Option<Timestamp>,
    /// Its latest rotation; `None` while it has the credential it was issued with.
    #[serde(default)]
    pub rotation: Option<Rotation>,
    /// Grows with every change; a newer revision always wins.
    pub revision: u64,
}

impl Key {
    /// Whether the key may be used at `now`.
    ///
    /// # Errors
    ///
    /// The refusal that says why not.
    pub fn usable(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            KeyState::Revoked => Err(Refusal::Revoked),
            KeyState::Disabled => Err(Refusal::Disabled),
            KeyState::Active if self.expires.is_some_and(|expires| expires <= now) => Err(Refusal::Expired),
            KeyState::Active => Ok(()),
        }
    }

    /// `active`, `disabled`, `revoked` or `expired`, as people see it at `now`.
    pub fn state_at(&self, now: Timestamp) -> &'static str {
        match self.usable(now) {
            Err(Refusal::Expired) => "expired",
            _ => self.state.name(),
        }
    }
}

/// A key with the hashes that recognise its credentials.
#[derive(Clone)]
pub struct StoredKey {
    /// What is known of the key.
    pub key: Key,
    /// SHA-256 of the credential.
    pub hash: SecretHash,
    /// SHA-256 of the credential before the latest rotation. Kept when that has ended, so that whoever still presents it
    /// hears why it is refused.
    pub previous: Option<SecretHash>,
}
