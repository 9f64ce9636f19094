//! A key's false-alarm budget and who set it: what people see of it, in the CLI and in the admin API.

use serde::{Deserialize, Serialize};
use tokenwatch_model::key::Key;
use tokenwatch_model::owner::Owner;

/// How many false alarms a year are accepted on a key, as in force.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmBudget {
    /// The number.
    pub false_alarms_per_year: f64,
    /// An alert is what an honest key like this does less than once in so many days.
    pub alert_days: f64,
    /// Who set it.
    pub set_by: SetBy,
}

/// Who set a key's false-alarm budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetBy {
    /// The key itself.
    Key,
    /// Its owner.
    Owner,
    /// The configuration or the command line of the server, else what comes with TokenWatch.
    Default,
}

impl AlarmBudget {
    /// The budget of a key; `default` is that of keys that say nothing and whose owner says nothing.
    pub fn of(key: &Key, owner: Option<&Owner>, default: f64) -> Self {
        let own = key.policy.false_alarms_per_year;
        let owners = owner.and_then(|owner| owner.defaults.false_alarms_per_year);
        let (rate, set_by) = match (own, owners) {
            (Some(rate), _) => (rate, SetBy::Key),
            (None, Some(rate)) => (rate, SetBy::Owner),
            (None, None) => (default, SetBy::Default),
        };
        Self { false_alarms_per_year: rate, alert_days: 365.0 / rate, set_by }
    }
}
