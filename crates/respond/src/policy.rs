//! What operators decide beforehand: how long, how far, and what needs a person.

mod environment;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use tokenwatch_model::key::{Key, Mode};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{DAY, HOUR};

pub use self::environment::{BlastOverride, Environment};
use crate::runbook::{self, StepOverride, StepRule};

/// The `[respond]` table of the configuration. Every field may be left out; unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResponsePolicy {
    /// Mode of keys for which neither the key, its owner nor its environment says one. Default `contain`.
    pub mode: Mode,
    /// What differs in an environment, by its name: its mode alone, such as `staging = "observe"`, or any of the
    /// ladder's settings. The mode is for keys that neither say one themselves nor inherit one from their owner.
    /// Default none.
    pub environments: BTreeMap<SmolStr, Environment>,
    /// Hours a refused context stays refused, 1 to 8,760. Default 168: a week, so that the thief does not
    /// outlast a weekend.
    pub context_hours: u32,
    /// Hours a clamp or a closer watch lasts, 1 to 8,760. Default 24.
    pub clamp_hours: u32,
    /// Hours a suspension lasts, 1 to 8,760. Default 24.
    pub suspend_hours: u32,
    /// Most contexts refused on one key at the same time, 1 to 1,000; past it the thief is changing
    /// contexts faster than they can be refused, and suspension is proposed. Default 32.
    pub contexts_per_key: u32,
    /// Days for which a dismissed incident's contexts are trusted, 1 to 365. Default 90.
    pub trust_days: u32,
    /// Whether `full` suspends by itself when a finding is certain enough to act. Default true.
    pub suspend_automatic: bool,
    /// Whether `full` also revokes by itself then. It can not be undone. Default false.
    pub revoke_automatic: bool,
    /// Hours without a sign of a stranger after which what TokenWatch put in force by itself is relaxed by a rung, 24
    /// to 8,760; 0 never relaxes. Default 72: longer than a weekend.
    pub relax_after_hours: u32,
    /// Whether people are told when a step of the runbook is overdue. Default false.
    pub overdue_alerts: bool,
    /// What differs from the runbook that comes with TokenWatch. Default nothing.
    pub runbook: Vec<StepOverride>,
    /// How much may happen without a person.
    pub blast: BlastRadius,
}

/// Limits on what happens by itself across all keys: a wrong rule must not stop the company. Past them,
/// steps are proposed and people are paged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlastRadius {
    /// Distinct keys an hour on which containments come into force by themselves; 0 proposes everything.
    /// Default 20.
    pub keys_per_hour: u32,
    /// Of these, keys suspended or revoked. At most `keys_per_hour`. Default 5.
    pub suspends_per_hour: u32,
}

impl Default for BlastRadius {
    fn default() -> Self {
        Self { keys_per_hour: 20, suspends_per_hour: 5 }
    }
}

impl Default for ResponsePolicy {
    fn default() -> Self {
        Self {
            mode: Mode::Contain,
            environments: BTreeMap::new(),
            context_hours: 168,
            clamp_hours: 24,
            suspend_hours: 24,
            contexts_per_key: 32,
            trust_days: 90,
            suspend_automatic: true,
            revoke_automatic: false,
            relax_after_hours: 72,
            overdue_alerts: false,
            runbook: Vec::new(),
            blast: BlastRadius::default(),
        }
    }
}

/// One thing that is wrong in a policy; the text names the field and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidatePolicyError {
    /// A number outside its range.
    #[error("respond.{field} is {value}; it must be {min} to {max}")]
    Range {
        /// The field.
        field: &'static str,
        /// What it says.
        value: u32,
        /// Least allowed.
        min: u32,
        /// Most allowed.
        max: u32,
    },
    /// An environment without a name.
    #[error("respond.environments has an entry without a name; use respond.mode for keys without one")]
    UnnamedEnvironment,
    /// More suspensions than keys.
    #[error(
        "respond.blast.suspends_per_hour is {suspends}, above keys_per_hour ({keys}); lower it or raise keys_per_hour"
    )]
    SuspendsAboveKeys {
        /// What `suspends_per_hour` says.
        suspends: u32,
        /// What `keys_per_hour` says.
        keys: u32,
    },
    /// The irreversible step by itself while the reversible one needs a person.
    #[error(
        "respond.revoke_automatic needs suspend_automatic: what can not be undone must not be easier than what can"
    )]
    RevokeWithoutSuspend,
    /// A quiet time too short to mean anything.
    #[error(
        "respond.relax_after_hours is {0}; it must be 0 (never) or 24 to 8760: a day's silence is a thief's night"
    )]
    Relax(u32),
    /// A step of the runbook.
    #[error("respond.runbook {0}")]
    Runbook(String),
    /// What an environment makes of it.
    #[error("respond.environments.{name}: {}", error.to_string().replace("respond.", ""))]
    Environment {
        /// Its name.
        name: SmolStr,
        /// What is wrong there.
        error: Box<Self>,
    },
}

impl ResponsePolicy {
    /// Checks the policy.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once, in the order of the fields.
    pub fn validate(&self) -> Result<(), Vec<ValidatePolicyError>> {
        let mut errors = Vec::new();
        self.check_environment_names(&mut errors);
        self.check_ladder(&mut errors);
        errors.extend(runbook::check(&self.runbook).into_iter().map(ValidatePolicyError::Runbook));
        let general = errors.clone();
        for name in self.environments.keys() {
            let mut wrong = Vec::new();
            self.in_environment(name).check_ladder(&mut wrong);
            let own = wrong.into_iter().filter(|error| !general.contains(error));
            errors.extend(own.map(|error| ValidatePolicyError::Environment {
                name: name.clone(),
                error: Box::new(error),
            }));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn check_environment_names(&self, errors: &mut Vec<ValidatePolicyError>) {
        if self.environments.keys().any(|name| name.trim().is_empty()) {
            errors.push(ValidatePolicyError::UnnamedEnvironment);
        }
    }

    /// What an environment can differ in.
    fn check_ladder(&self, errors: &mut Vec<ValidatePolicyError>) {
        for (field, value, max) in [
            ("context_hours", self.context_hours, 8_760),
            ("clamp_hours", self.clamp_hours, 8_760),
            ("suspend_hours", self.suspend_hours, 8_760),
            ("contexts_per_key", self.contexts_per_key, 1_000),
            ("trust_days", self.trust_days, 365),
        ] {
            if value == 0 || value > max {
                errors.push(ValidatePolicyError::Range { field, value, min: 1, max });
            }
        }
        if self.revoke_automatic && !self.suspend_automatic {
            errors.push(ValidatePolicyError::RevokeWithoutSuspend);
        }
        let BlastRadius { keys_per_hour: keys, suspends_per_hour: suspends } = self.blast;
        if suspends > keys {
            errors.push(ValidatePolicyError::SuspendsAboveKeys { suspends, keys });
        }
        let relax = self.relax_after_hours;
        if relax != 0 && !(24..=8_760).contains(&relax) {
            errors.push(ValidatePolicyError::Relax(relax));
        }
    }

    /// The policy as it is in an environment.
    pub fn in_environment(&self, name: &str) -> Cow<'_, Self> {
        match self.environments.get(name) {
            Some(environment) if *environment != Environment::of_mode(environment.mode) => {
                Cow::Owned(environment.over(self))
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// Which keys share one blast radius with those of an environment: its own name where it has limits of its own,
    /// else that of all others, which is empty.
    pub fn radius_of<'a>(&self, environment: &'a str) -> &'a str {
        let own = self.environments.get(environment).is_some_and(|e| e.blast != BlastOverride::default());
        if own { environment } else { "" }
    }

    /// The steps of the runbook, in order.
    pub fn steps(&self) -> Vec<StepRule> {
        runbook::merged(&self.runbook)
    }

    /// The mode in effect on a key: its own, else its owner's, else its environment's, else the default.
    pub fn mode_of(&self, key: &Key, owner: Option<&Owner>) -> Mode {
        key.policy
            .mode
            .or_else(|| owner.and_then(|owner| owner.defaults.mode))
            .or_else(|| self.environments.get(&key.environment).and_then(|environment| environment.mode))
            .unwrap_or(self.mode)
    }

    /// How long a refused context lasts, in microseconds.
    pub fn context_us(&self) -> u64 {
        u64::from(self.context_hours) * HOUR
    }

    /// How long a clamp or a watch lasts, in microseconds.
    pub fn clamp_us(&self) -> u64 {
        u64::from(self.clamp_hours) * HOUR
    }

    /// How long a suspension lasts, in microseconds.
    pub fn suspend_us(&self) -> u64 {
        u64::from(self.suspend_hours) * HOUR
    }

    /// How long no sign of a stranger may have been seen before something is relaxed, in microseconds; nothing when
    /// nothing is relaxed.
    pub fn relax_after_us(&self) -> Option<u64> {
        (self.relax_after_hours > 0).then(|| u64::from(self.relax_after_hours) * HOUR)
    }

    /// How long a dismissed context is trusted, in microseconds.
    pub fn trust_us(&self) -> u64 {
        u64::from(self.trust_days) * DAY
    }
}

#[cfg(test)]
mod tests;
