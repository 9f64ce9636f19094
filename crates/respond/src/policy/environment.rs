//! What differs in one environment: the ladder of production need not be that of staging.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tokenwatch_model::key::Mode;

use super::{BlastRadius, ResponsePolicy};

/// What an environment says; what it does not say is as everywhere. Read from a mode alone or from a table.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Environment {
    /// Mode of keys that neither say one themselves nor inherit one from their owner.
    pub mode: Option<Mode>,
    /// Hours a refused context stays refused.
    pub context_hours: Option<u32>,
    /// Hours a clamp or a closer watch lasts.
    pub clamp_hours: Option<u32>,
    /// Hours a suspension lasts.
    pub suspend_hours: Option<u32>,
    /// Most contexts refused on one key at the same time.
    pub contexts_per_key: Option<u32>,
    /// Whether `full` suspends by itself.
    pub suspend_automatic: Option<bool>,
    /// Whether `full` also revokes by itself.
    pub revoke_automatic: Option<bool>,
    /// Hours without a sign of a stranger before something is relaxed.
    pub relax_after_hours: Option<u32>,
    /// How much may happen without a person in this environment; its keys then have a radius of their own.
    pub blast: BlastOverride,
}

/// Limits of an environment's own blast radius.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlastOverride {
    /// Distinct keys an hour on which containments come into force by themselves.
    pub keys_per_hour: Option<u32>,
    /// Of these, keys suspended or revoked.
    pub suspends_per_hour: Option<u32>,
}

impl Environment {
    /// One that says its mode alone.
    pub fn of_mode(mode: Option<Mode>) -> Self {
        Self { mode, ..Self::default() }
    }

    /// The policy with what this environment says put over it.
    pub(super) fn over(&self, policy: &ResponsePolicy) -> ResponsePolicy {
        let BlastRadius { keys_per_hour, suspends_per_hour } = policy.blast;
        ResponsePolicy {
            context_hours: self.context_hours.unwrap_or(policy.context_hours),
            clamp_hours: self.clamp_hours.unwrap_or(policy.clamp_hours),
            suspend_hours: self.suspend_hours.unwrap_or(policy.suspend_hours),
            contexts_per_key: self.contexts_per_key.unwrap_or(policy.contexts_per_key),
            suspend_automatic: self.suspend_automatic.unwrap_or(policy.suspend_automatic),
            revoke_automatic: self.revoke_automatic.unwrap_or(policy.revoke_automatic),
            relax_after_hours: self.relax_after_hours.unwrap_or(policy.relax_after_hours),
            blast: BlastRadius {
                keys_per_hour: self.blast.keys_per_hour.unwrap_or(keys_per_hour),
                suspends_per_hour: self.blast.suspends_per_hour.unwrap_or(suspends_per_hour),
            },
            ..policy.clone()
        }
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Written {
    mode: Option<Mode>,
    context_hours: Option<u32>,
    clamp_hours: Option<u32>,
    suspend_hours: Option<u32>,
    contexts_per_key: Option<u32>,
    suspend_automatic: Option<bool>,
    revoke_automatic: Option<bool>,
    relax_after_hours: Option<u32>,
    blast: BlastOverride,
}

impl From<Written> for Environment {
    fn from(written: Written) -> Self {
        Self {
            mode: written.mode,
            context_hours: written.context_hours,
            clamp_hours: written.clamp_hours,
            suspend_hours: written.suspend_hours,
            contexts_per_key: written.contexts_per_key,
            suspend_automatic: written.suspend_automatic,
            revoke_automatic: written.revoke_automatic,
            relax_after_hours: written.relax_after_hours,
            blast: written.blast,
        }
    }
}

impl<'de> Deserialize<'de> for Environment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Environment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a mode (\"observe\", \"contain\" or \"full\") or a table with settings of the ladder",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Environment, E> {
                let mode = Mode::deserialize(serde::de::value::StrDeserializer::new(text))?;
                Ok(Environment::of_mode(Some(mode)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Environment, A::Error> {
                Written::deserialize(MapAccessDeserializer::new(map)).map(Into::into)
            }
        }

        deserializer.deserialize_any(Either)
    }
}
