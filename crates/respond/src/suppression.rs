//! What people expect beforehand: which alert a suppression silences, and how one is made and lifted.
//!
//! Invariants:
//! * One that is lifted, expired or not yet in force silences nothing, and none silences alerts outside its reach.
//! * The answer does not depend on the order in which suppressions became known.
//! * Facts are never silenced ([`is_fact`]); refusals of scope, limits, budgets and revoked keys are no alerts, so no
//!   suppression touches them.

use std::collections::BTreeMap;

use serde_json::json;
use smol_str::SmolStr;
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::finding::Finding;
use tokenwatch_model::id::{KeyId, OwnerId, SuppressionId};
use tokenwatch_model::suppression::{Reach, Suppression};
use tokenwatch_model::time::{DAY, MINUTE, Timestamp};

use crate::effects::audit;
use crate::words::{clean, clock};

/// The longest a suppression holds, in microseconds: what is expected for longer is the key's normal.
pub const SPAN_MAX: u64 = 90 * DAY;
/// The shortest, in microseconds.
pub const SPAN_MIN: u64 = MINUTE;
/// Most suppressions in force at the same time: past it nobody oversees what is silent.
pub const IN_FORCE_MAX: usize = 1_000;
/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 500;
/// Rules that tell facts, not odds.
const FACTS: [&str; 2] = ["canary_key_used", "monthly_cap"];

/// Whether a rule tells a fact: a planted key was used, a cap is exceeded. Nobody expects those.
pub fn is_fact(rule: &str) -> bool {
    FACTS.contains(&rule)
}

/// A suppression that a person orders.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// Id of the suppression.
    pub id: SuppressionId,
    /// Where it is to hold.
    pub reach: Reach,
    /// Only findings of this rule.
    pub rule: Option<SmolStr>,
    /// Only findings that a request in this context raised.
    pub context: Option<ContextMatch>,
    /// Why, in the person's words.
    pub reason: &'a str,
    /// Until when.
    pub expires: Timestamp,
    /// Whose word it is.
    pub who: &'a str,
}

/// Why something can not be suppressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuppressError {
    /// Neither a rule nor a context.
    #[error("name a rule or a context: with neither, every alert would be silent, a thief's too")]
    All,
    /// A context that says nothing.
    #[error("no field of the context is set; set at least one, or leave the context out")]
    EmptyContext,
    /// A rule that tells a fact.
    #[error("{0} tells a fact, which can not be suppressed")]
    Fact(SmolStr),
    /// No reason, or a long one.
    #[error("a reason is needed, of at most {REASON_CHARS_MAX} characters: whoever looks next reads it")]
    Reason,
    /// Too short or over already.
    #[error("it would end at {}; it must hold for at least a minute", clock(*.0))]
    Short(Timestamp),
    /// Too long.
    #[error(
        "it must end within 90 days; what is expected for longer is the key's normal: see `incident dismiss`"
    )]
    Long,
}

/// Why a suppression can not be lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not in force any more")]
pub struct LiftSuppressionError(pub SuppressionId);

/// Makes a suppression, with its audit entry.
///
/// # Errors
///
/// When it would silence everything or a fact, gives no reason, or does not end in time.
pub fn suppress(wish: &Wish<'_>, now: Timestamp) -> Result<(Suppression, AuditEntry), SuppressError> {
    if wish.context.as_ref().is_some_and(ContextMatch::is_empty) {
        return Err(SuppressError::EmptyContext);
    }
    match &wish.rule {
        None if wish.context.is_none() => return Err(SuppressError::All),
        Some(rule) if is_fact(rule) => return Err(SuppressError::Fact(rule.clone())),
        _ => {}
    }
    let reason = wish.reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        return Err(SuppressError::Reason);
    }
    if wish.expires.since(now) < SPAN_MIN {
        return Err(SuppressError::Short(wish.expires));
    }
    if wish.expires.since(now) > SPAN_MAX {
        return Err(SuppressError::Long);
    }
    let suppression = Suppression {
        id: wish.id,
        reach: wish.reach,
        rule: wish.rule.clone(),
        context: wish.context.clone(),
        reason: clean(reason),
        by: wish.who.into(),
        created: now,
        expires: wish.expires,
        lifted: None,
        revision: 0,
    };
    let detail = json!({
        "reach": suppression.reach, "rule": suppression.rule, "context": suppression.context,
        "expires": suppression.expires.to_string(), "reason": suppression.reason,
    });
    let entry = audit(now, wish.who, "suppression.add", suppression.id, &detail);
    Ok((suppression, entry))
}

/// Lifts a suppression before its time, with the audit entry.
///
/// # Errors
///
/// When it is not in force any more.
pub fn lift_suppression(
    suppression: &Suppression,
    who: &str,
    now: Timestamp,
) -> Result<(Suppression, AuditEntry), LiftSuppressionError> {
    if suppression.lifted.is_some() || now >= suppression.expires {
        return Err(LiftSuppressionError(suppression.id));
    }
    let lifted = Suppression { lifted: Some((now, who.into())), ..suppression.clone() };
    let detail = json!({ "reach": lifted.reach, "rule": lifted.rule, "reason": lifted.reason });
    Ok((lifted, audit(now, who, "suppression.lift", suppression.id, &detail)))
}

/// The suppressions that are known, of each the newest revision.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Suppressions(BTreeMap<SuppressionId, Suppression>);

impl Suppressions {
    /// Takes in what was read from the store, all or what changed. Those whose time is over are forgotten; lifted ones
    /// are kept until then, so that an older revision that comes late does not bring one back.
    pub fn take(&mut self, read: impl IntoIterator<Item = Suppression>, now: Timestamp) {
        for row in read {
            if self.0.get(&row.id).is_none_or(|known| known.revision <= row.revision) {
                self.0.insert(row.id, row);
            }
        }
        self.0.retain(|_, row| now < row.expires);
    }

    /// The suppression that silences a finding, if one does: of several the one with the lowest id. `owner` is that of
    /// the finding's key, `request` what raised it. A context fits findings about a caller alone: what is found about a
    /// key as a whole is as much about everybody else on it.
    pub fn find(
        &self,
        finding: &Finding,
        owner: Option<OwnerId>,
        request: &RequestContext,
        now: Timestamp,
    ) -> Option<SuppressionId> {
        if is_fact(&finding.rule) {
            return None;
        }
        let fits = |row: &&Suppression| {
            row.in_force(now)
                && row.reach.holds(finding.key, owner)
                && row.rule.as_ref().is_none_or(|rule| *rule == finding.rule)
                && row
                    .context
                    .as_ref()
                    .is_none_or(|context| finding.actor.is_some() && context.matches(request))
        };
        self.0.values().find(fits).map(|row| row.id)
    }

    /// The same for a key's stand-in in a drill: what holds on the key holds on it.
    #[must_use]
    pub fn for_stand_in(&self, key: KeyId, stand_in: KeyId) -> Self {
        let mut rows = self.0.clone();
        for row in rows.values_mut().filter(|row| row.reach == Reach::Key(key)) {
            row.reach = Reach::Key(stand_in);
        }
        Self(rows)
    }

    /// How many are in force.
    pub fn in_force(&self, now: Timestamp) -> usize {
        self.0.values().filter(|row| row.in_force(now)).count()
    }
}

#[cfg(test)]
mod tests;
