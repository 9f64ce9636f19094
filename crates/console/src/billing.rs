//! Billing alarms: those that were raised, and spenders that nobody wants to hear of; the CLI and the admin API both come here.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenwatch_model::SmolStr;
use tokenwatch_model::alarm::{Alarm, Spender};
use tokenwatch_model::id::AlarmId;
use tokenwatch_model::time::Timestamp;

use crate::alerts::{SnoozeSpec, check_snooze, entry};
use crate::manage::{Manager, invalid};
use crate::records::RecordsError;

/// Whose billing alarms are to be kept back, and until when. Exactly one of the first three must be given, and one of the
/// other two.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpenderSnoozeSpec {
    /// Name or id of a key.
    pub key: Option<SmolStr>,
    /// Name or id of an owner.
    pub owner: Option<SmolStr>,
    /// Name of a provider.
    pub provider: Option<SmolStr>,
    /// A time to come.
    pub until: Option<Timestamp>,
    /// From now; 0 ends a snooze.
    pub seconds: Option<u64>,
}

/// A spender's snooze as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpenderSnooze {
    /// Whose spend.
    pub spender: Spender,
    /// Until when no alarm is raised about it; nothing when it was ended.
    pub until: Option<Timestamp>,
}

impl Manager {
    /// Billing alarms, latest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub fn alarms(&self, limit: u32) -> Result<Vec<Alarm>, RecordsError> {
        self.records.alarms(limit)
    }

    /// A billing alarm by its id.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find_alarm(&self, id: &str) -> Result<Alarm, RecordsError> {
        let missing = || RecordsError::Missing(format!("there is no billing alarm {id:?}"));
        let parsed: AlarmId = id.parse().map_err(|_| missing())?;
        self.records.alarm(parsed)?.ok_or_else(missing)
    }

    /// Has no billing alarm raised about a spender for a while. What is over its limits afterwards is told then.
    ///
    /// # Errors
    ///
    /// When there is no such key or owner, not exactly one spender is named, or the time is not one to come, or too far away.
    pub fn snooze_spender(&self, spec: &SpenderSnoozeSpec, who: &str) -> Result<SpenderSnooze, RecordsError> {
        let now = self.clock.now();
        let until = check_snooze(&SnoozeSpec { until: spec.until, seconds: spec.seconds }, now)?;
        let named = |field: &'static str| {
            move |error| match error {
                RecordsError::Missing(text) => invalid(field, text),
                error => error,
            }
        };
        let spender = match (&spec.key, &spec.owner, &spec.provider) {
            (Some(key), None, None) => Spender::Key(self.find_key(key).map_err(named("key"))?.id),
            (None, Some(owner), None) => Spender::Owner(self.find_owner(owner).map_err(named("owner"))?.id),
            (None, None, Some(provider)) => Spender::Provider(provider.clone()),
            _ => return Err(invalid("key", "say whose: exactly one of key, owner and provider")),
        };
        let detail = json!({ "until": until.to_string() });
        let entry = entry(now, who, "alarm.snooze", &spender.to_string(), &detail);
        self.records.snooze_spender(&spender, until, &entry)?;
        Ok(SpenderSnooze { spender, until: (until > now).then_some(until) })
    }
}
