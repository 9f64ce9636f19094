//! What operators decide beforehand: how long, how far, and what needs a person.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use tokenwatch_model::key::{Key, Mode};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{DAY, HOUR};

/// The `[respond]` table of the configuration. Every field may be left out; unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResponsePolicy {
    /// Mode of keys for which neither the key, its owner nor its environment says one. Default `contain`.
    pub mode: Mode,
    /// Mode by name of environment, such as `staging = "observe"`, for keys that neither say one
    /// themselves nor inherit one from their owner. Default none.
    pub environments: BTreeMap<SmolStr, Mode>,
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
}

impl ResponsePolicy {
    /// Checks the policy.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once, in the order of the fields.
    pub fn validate(&self) -> Result<(), Vec<ValidatePolicyError>> {
        let mut errors = Vec::new();
        if self.environments.keys().any(|name| name.trim().is_empty()) {
            errors.push(ValidatePolicyError::UnnamedEnvironment);
        }
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
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The mode in effect on a key: its own, else its owner's, else its environment's, else the default.
    pub fn mode_of(&self, key: &Key, owner: Option<&Owner>) -> Mode {
        key.policy
            .mode
            .or_else(|| owner.and_then(|owner| owner.defaults.mode))
            .or_else(|| self.environments.get(&key.environment).copied())
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

    /// How long a dismissed context is trusted, in microseconds.
    pub fn trust_us(&self) -> u64 {
        u64::from(self.trust_days) * DAY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::situation::examples;

    #[track_caller]
    fn check(json: &str, want: &[&str]) {
        let policy: ResponsePolicy = serde_json::from_str(json).unwrap();
        let got: Vec<String> =
            policy.validate().err().unwrap_or_default().iter().map(ToString::to_string).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        check("{}", &[]);
        check(r#"{"blast":{"keys_per_hour":0,"suspends_per_hour":0}}"#, &[]);
        check(
            r#"{"context_hours":0,"trust_days":9999,"environments":{"":"full"},"revoke_automatic":true,
                "suspend_automatic":false,"blast":{"keys_per_hour":3}}"#,
            &[
                "respond.environments has an entry without a name; use respond.mode for keys without one",
                "respond.context_hours is 0; it must be 1 to 8760",
                "respond.trust_days is 9999; it must be 1 to 365",
                "respond.revoke_automatic needs suspend_automatic: what can not be undone must not be easier than what can",
                "respond.blast.suspends_per_hour is 5, above keys_per_hour (3); lower it or raise keys_per_hour",
            ],
        );
    }

    #[test]
    fn unknown_fields_are_refused() {
        for wrong in [r#"{"contexthours":3}"#, r#"{"blast":{"keys":3}}"#, r#"{"mode":"maximum"}"#] {
            assert!(serde_json::from_str::<ResponsePolicy>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_nearest_mode_wins() {
        let policy =
            ResponsePolicy { environments: [("staging".into(), Mode::Observe)].into(), ..Default::default() };
        let mut key = examples::key();
        let mut owner = examples::owner();
        assert_eq!(policy.mode_of(&key, Some(&owner)), Mode::Contain);
        key.environment = "staging".into();
        assert_eq!(policy.mode_of(&key, Some(&owner)), Mode::Observe);
        owner.defaults.mode = Some(Mode::Full);
        assert_eq!(policy.mode_of(&key, Some(&owner)), Mode::Full);
        assert_eq!(policy.mode_of(&key, None), Mode::Observe);
        key.policy.mode = Some(Mode::Contain);
        assert_eq!(policy.mode_of(&key, Some(&owner)), Mode::Contain);
    }
}
