//! Settings of the engine: thresholds and which rules are on.

use crate::rules::RULES;

/// Settings of the engine. The alert threshold is not here: it is each key's false-alarm budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Score in days at which the owner is asked "was this you?".
    pub notice_days: f64,
    /// Score in days that is certain enough for the whole ladder.
    pub act_days: f64,
    /// Rules that are on.
    pub rules: RuleSet,
}

impl Default for Config {
    fn default() -> Self {
        Self { notice_days: 100.0, act_days: 20_000.0, rules: RuleSet::all() }
    }
}

/// A set of rules by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleSet(u32);

/// Why a name is not a rule's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no rule is named {0:?}; `tokenwatch_detect::catalogue` lists them")]
pub struct UnknownRuleError(pub String);

impl RuleSet {
    /// Every rule.
    pub const fn all() -> Self {
        Self(u32::MAX)
    }

    /// No rule: the newcomer channel alone.
    pub const fn none() -> Self {
        Self(0)
    }

    /// This set with a rule switched on or off.
    ///
    /// # Errors
    ///
    /// When no rule has that name.
    pub fn switch(self, name: &str, on: bool) -> Result<Self, UnknownRuleError> {
        let place = RULES
            .iter()
            .position(|rule| rule.about().id == name)
            .ok_or_else(|| UnknownRuleError(name.to_owned()))?;
        Ok(if on { Self(self.0 | 1 << place) } else { Self(self.0 & !(1 << place)) })
    }

    /// Whether the rule at a place of the catalogue is on.
    pub(crate) const fn has(self, place: usize) -> bool {
        place < 32 && self.0 >> place & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_switched_by_name() {
        let set = RuleSet::all().switch("volume_spike", false).unwrap();
        let place = RULES.iter().position(|rule| rule.about().id == "volume_spike").unwrap();
        assert!(!set.has(place) && set.has(place + 1));
        assert!(set.switch("volume_spike", true).unwrap().has(place));
        assert_eq!(RuleSet::all().switch("nope", true), Err(UnknownRuleError("nope".to_owned())));
    }
}
