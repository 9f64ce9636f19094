//! What is declared about a key, as opposed to learned.

use tokenwatch_model::id::OwnerId;
use tokenwatch_model::key::{Key, Workload};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::Timestamp;

pub use tokenwatch_model::key::FALSE_ALARMS_PER_YEAR;

const DAYS_PER_YEAR: f64 = 365.0;

/// What the engine is told about a key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyProfile {
    /// What kind of caller it is for.
    pub workload: Workload,
    /// Whose it is: keys of one owner are asked about each other's newcomers, see [`crate::Household`].
    pub owner: Option<OwnerId>,
    /// When it was issued.
    pub created: Timestamp,
    /// The false-alarm budget.
    pub false_alarms_per_year: f64,
    /// Most money in 30 days before `monthly_cap` fires.
    pub monthly_cap: Option<NanoUsd>,
    /// A planted key that nobody may use: any use is a theft.
    pub canary: bool,
    /// When the key was found in public, if it was.
    pub leaked: Option<Timestamp>,
}

impl Default for KeyProfile {
    fn default() -> Self {
        Self {
            workload: Workload::Unknown,
            owner: None,
            created: Timestamp::default(),
            false_alarms_per_year: FALSE_ALARMS_PER_YEAR,
            monthly_cap: None,
            canary: false,
            leaked: None,
        }
    }
}

impl From<&Key> for KeyProfile {
    fn from(key: &Key) -> Self {
        Self {
            workload: key.workload,
            owner: key.owner,
            created: key.created,
            false_alarms_per_year: key.policy.false_alarms_per_year.unwrap_or(FALSE_ALARMS_PER_YEAR),
            monthly_cap: key.policy.budgets.month.filter(|&cap| cap != NanoUsd::MAX),
            canary: false,
            leaked: None,
        }
    }
}

impl KeyProfile {
    /// The alert threshold in days, `365 / false alarms a year`, between 4 hours a false alarm and one in
    /// a century; nonsense counts as the default.
    pub fn alert_days(&self) -> f64 {
        let rate = self.false_alarms_per_year;
        let rate = if rate.is_finite() && rate > 0.0 { rate } else { FALSE_ALARMS_PER_YEAR };
        DAYS_PER_YEAR / rate.clamp(0.01, 2_190.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_the_threshold() {
        let days = |rate| KeyProfile { false_alarms_per_year: rate, ..KeyProfile::default() }.alert_days();
        assert_eq!(days(0.25), 1_460.0);
        assert_eq!(days(1.0), 365.0);
        assert_eq!(days(0.0), 1_000.0);
        assert_eq!(days(f64::NAN), 1_000.0);
        assert_eq!(days(-3.0), 1_000.0);
        assert_eq!(days(1e9), 365.0 / 2_190.0);
    }
}
