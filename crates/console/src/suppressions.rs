//! What people do with suppressions; the CLI and the admin API both come here.

use serde::{Deserialize, Serialize};
use tokenwatch_model::SmolStr;
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::id::SuppressionId;
use tokenwatch_model::suppression::{Reach, SuppressedAlert, Suppression};
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::suppression::{
    IN_FORCE_MAX, SuppressError, Suppressions, Wish, lift_suppression, suppress,
};

use crate::manage::{Manager, invalid};
use crate::records::RecordsError;

/// Most suppressions read: those in force and the latest that ended.
pub const LIST_MAX: u32 = 10_000;

/// What a new suppression is to be: where it holds, what it silences, until when and why.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SuppressionSpec {
    /// Name or id of the only key it holds on.
    pub key: Option<SmolStr>,
    /// Name or id of the owner on whose keys it holds.
    pub owner: Option<SmolStr>,
    /// Whether it holds on every key. Exactly one of the three must be given.
    pub everywhere: bool,
    /// Only findings of this rule.
    pub rule: Option<SmolStr>,
    /// Only findings that a request in this context raised.
    pub context: Option<ContextMatch>,
    /// Why.
    pub reason: String,
    /// Until when.
    pub expires: Option<Timestamp>,
}

fn refused(error: SuppressError) -> RecordsError {
    match error {
        SuppressError::All | SuppressError::Fact(_) => invalid("rule", error.to_string()),
        SuppressError::EmptyContext => invalid("context", error.to_string()),
        SuppressError::Reason => invalid("reason", error.to_string()),
        SuppressError::Short(_) | SuppressError::Long => invalid("expires", error.to_string()),
    }
}

impl Manager {
    /// Suppresses alerts that somebody expects.
    ///
    /// # Errors
    ///
    /// When it says not exactly one place, names what is unknown, would silence everything or a fact, does not end in
    /// time, or too many are in force.
    pub fn suppress(&self, spec: SuppressionSpec, who: &str) -> Result<Suppression, RecordsError> {
        let reach = self.reach(&spec)?;
        if let Some(rule) = &spec.rule {
            check_rule(rule)?;
        }
        let Some(expires) = spec.expires else {
            return Err(invalid("expires", "it must end: say when, within 90 days"));
        };
        let now = self.clock.now();
        let wish = Wish {
            id: SuppressionId::from_bits(self.random.next_u64()),
            reach,
            rule: spec.rule,
            context: spec.context,
            reason: &spec.reason,
            expires,
            who,
        };
        let (suppression, entry) = suppress(&wish, now).map_err(refused)?;
        let mut known = Suppressions::default();
        known.take(self.records.suppressions(LIST_MAX)?, now);
        if known.in_force(now) >= IN_FORCE_MAX {
            return Err(RecordsError::Refused(format!(
                "{IN_FORCE_MAX} suppressions are in force, as many as may be; lift some first"
            )));
        }
        self.records.put_suppression(&suppression, &entry)?;
        self.stored_suppression(suppression.id)
    }

    fn reach(&self, spec: &SuppressionSpec) -> Result<Reach, RecordsError> {
        let missing = |field: &str, error| match error {
            RecordsError::Missing(text) => invalid(field, text),
            other => other,
        };
        match (&spec.key, &spec.owner, spec.everywhere) {
            (Some(key), None, false) => {
                self.find_key(key).map(|key| Reach::Key(key.id)).map_err(|e| missing("key", e))
            }
            (None, Some(owner), false) => {
                self.find_owner(owner).map(|owner| Reach::Owner(owner.id)).map_err(|e| missing("owner", e))
            }
            (None, None, true) => Ok(Reach::Everywhere),
            _ => Err(invalid("key", "say where it holds: exactly one of key, owner and everywhere")),
        }
    }

    /// Lifts a suppression before its time.
    ///
    /// # Errors
    ///
    /// When there is none with this id, or it is not in force any more.
    pub fn lift_suppression(&self, id: &str, who: &str) -> Result<Suppression, RecordsError> {
        let suppression = self.find_suppression(id)?;
        let (lifted, entry) = lift_suppression(&suppression, who, self.clock.now())
            .map_err(|error| RecordsError::Refused(error.to_string()))?;
        self.records.put_suppression(&lifted, &entry)?;
        self.stored_suppression(lifted.id)
    }

    /// The suppression with this id.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find_suppression(&self, id: &str) -> Result<Suppression, RecordsError> {
        let missing = || {
            RecordsError::Missing(format!(
                "there is no suppression {id:?}; `tokenwatch suppression list --all` shows all"
            ))
        };
        let parsed = id.parse().map_err(|_| missing())?;
        self.records.suppression(parsed)?.ok_or_else(missing)
    }

    /// As it is stored: with the revision it got.
    fn stored_suppression(&self, id: SuppressionId) -> Result<Suppression, RecordsError> {
        self.find_suppression(&id.to_string())
    }

    /// Suppressions, latest first; those in force, or `all`.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub fn suppressions(&self, all: bool, limit: usize) -> Result<Vec<Suppression>, RecordsError> {
        let now = self.clock.now();
        let mut rows = self.records.suppressions(LIST_MAX)?;
        rows.retain(|row| all || row.in_force(now));
        rows.truncate(limit);
        Ok(rows)
    }

    /// Alerts that suppressions silenced, latest first.
    ///
    /// # Errors
    ///
    /// When the key is unknown, or the store does not answer.
    pub fn suppressed(&self, key: Option<&str>, limit: u32) -> Result<Vec<SuppressedAlert>, RecordsError> {
        let key = key.map(|key| self.find_key(key)).transpose()?;
        self.records.suppressed(key.map(|key| key.id), limit)
    }
}

fn check_rule(rule: &str) -> Result<(), RecordsError> {
    let known: Vec<&str> = tokenwatch_detect::catalogue().into_iter().map(|about| about.id).collect();
    if known.contains(&rule) {
        return Ok(());
    }
    Err(invalid("rule", format!("there is no rule {rule}; there are {}", known.join(", "))))
}
