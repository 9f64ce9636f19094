//! "It will be us": a context that is allowed on a key before anybody calls from it, for a bounded time.
//!
//! What is allowed is the key's own at once: its requests are forwarded and teach the key, so that it stays known when its time
//! is over, like any caller of the key's own.

use serde_json::json;
use tokenwatch_model::containment::{Action, Containment, ContextMatch};
use tokenwatch_model::finding::{Feedback, Says};
use tokenwatch_model::id::{ContainmentId, KeyId};
use tokenwatch_model::key::{Key, KeyState};
use tokenwatch_model::time::{DAY, MINUTE, Timestamp};

use crate::effects::{Effects, audit};
use crate::words::{clean, clock};

/// The longest that a context is allowed beforehand, in microseconds: by then it is the key's own.
pub const SPAN_MAX: u64 = 90 * DAY;
/// The shortest, in microseconds.
pub const SPAN_MIN: u64 = MINUTE;
/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// A context that a person allows.
#[derive(Clone, Debug)]
pub struct Allowance<'a> {
    /// The key.
    pub key: &'a Key,
    /// Who is let in.
    pub context: ContextMatch,
    /// Until when.
    pub until: Timestamp,
    /// Why, in the person's words.
    pub reason: &'a str,
    /// Whose word it is.
    pub who: &'a str,
}

/// Why a context can not be allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// Nothing that tells one caller from most others.
    #[error(
        "name a network, an AS, a client or a template: a country, kind or model alone would let most thieves in"
    )]
    Broad,
    /// No reason, or a long one.
    #[error("a reason is needed, of at most {REASON_CHARS_MAX} characters: whoever looks next reads it")]
    Reason,
    /// Too short or over already.
    #[error("it would end at {}; it must hold for at least a minute", clock(*.0))]
    Short(Timestamp),
    /// Too long.
    #[error("it must end within 90 days: whoever calls until then is the key's own")]
    Long,
    /// The key is revoked.
    #[error("the key is revoked: nobody is let in any more")]
    Revoked,
    /// A containment refuses it, which goes before any word of trust.
    #[error(
        "{0} refuses that context: dismiss its incident if it was you, or lift it: `tokenwatch incident list`"
    )]
    Refused(ContainmentId),
}

/// Allows a context on a key; `containments` are the key's.
///
/// # Errors
///
/// When it would let anybody in, gives no reason, does not end in time, or the key or the context is contained.
pub fn allow(
    allowance: &Allowance<'_>,
    containments: &[Containment],
    now: Timestamp,
) -> Result<Effects, AllowError> {
    let Allowance { key, context, until, reason, who } = allowance;
    let tells_apart = context.prefix.is_some()
        || context.asn.is_some()
        || context.client.is_some()
        || context.tls.is_some()
        || context.template.is_some();
    if !tells_apart {
        return Err(AllowError::Broad);
    }
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        return Err(AllowError::Reason);
    }
    match until.since(now) {
        ..SPAN_MIN => return Err(AllowError::Short(*until)),
        span if span > SPAN_MAX => return Err(AllowError::Long),
        _ => {}
    }
    if key.state == KeyState::Revoked {
        return Err(AllowError::Revoked);
    }
    let refuses = |row: &&Containment| {
        row.in_force(now)
            && matches!(&row.action, Action::RefuseContext(refused) if overlap(refused, context))
    };
    if let Some(row) = containments.iter().find(refuses) {
        return Err(AllowError::Refused(row.id));
    }
    let detail = json!({ "context": context, "until": until.to_string(), "reason": clean(reason) });
    Ok(said(key.id, context, *until, audit(now, who, "context.allow", key.id, &detail), now))
}

/// Ends what [`allow`] allowed before its time. What was learned meanwhile stays the key's own.
pub fn end(key: KeyId, context: &ContextMatch, who: &str, now: Timestamp) -> Effects {
    let detail = json!({ "context": context });
    said(key, context, now, audit(now, who, "context.end", key, &detail), now)
}

fn said(
    key: KeyId,
    context: &ContextMatch,
    until: Timestamp,
    entry: tokenwatch_model::audit::AuditEntry,
    now: Timestamp,
) -> Effects {
    let feedback = Feedback { key, time: now, context: context.clone(), says: Says::Ours { until } };
    Effects { feedback: vec![feedback], audit: vec![entry], ..Effects::default() }
}

/// Whether one caller could be in both: no field is set in both that differs.
pub(crate) fn overlap(a: &ContextMatch, b: &ContextMatch) -> bool {
    fn may_agree<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
        a.zip(b).is_none_or(|(a, b)| a == b)
    }
    may_agree(a.prefix.as_ref(), b.prefix.as_ref())
        && may_agree(a.asn.as_ref(), b.asn.as_ref())
        && may_agree(a.country.as_ref(), b.country.as_ref())
        && may_agree(a.kind.as_ref(), b.kind.as_ref())
        && may_agree(a.client.as_ref(), b.client.as_ref())
        && may_agree(a.client_version.as_ref(), b.client_version.as_ref())
        && may_agree(a.tls.as_ref(), b.tls.as_ref())
        && may_agree(a.model.as_ref(), b.model.as_ref())
        && may_agree(a.template.as_ref(), b.template.as_ref())
}

/// A context that people have said is theirs, on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The context.
    pub context: ContextMatch,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// The contexts that stand on a key at `now` by what was said about it, in the order it was said.
pub fn standing(said: &[Feedback], key: KeyId, now: Timestamp) -> Vec<Allowed> {
    let mut standing: Vec<Allowed> = Vec::new();
    for feedback in said.iter().filter(|feedback| feedback.key == key) {
        standing.retain(|allowed| allowed.context != feedback.context);
        if let Says::Ours { until } = feedback.says {
            standing.push(Allowed { context: feedback.context.clone(), since: feedback.time, until });
        }
    }
    standing.retain(|allowed| now < allowed.until);
    standing
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::network::Country;
    use tokenwatch_model::time::HOUR;

    use super::*;
    use crate::situation::examples;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn asn(asn: u32) -> ContextMatch {
        ContextMatch { asn: Some(asn), ..ContextMatch::default() }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Allowance<'_>), want: Result<(), AllowError>) {
        let key = examples::key();
        let mut allowance = Allowance {
            key: &key,
            context: asn(64_500),
            until: NOW.plus(4 * HOUR),
            reason: "the nightly import moves to Frankfurt",
            who: "ana",
        };
        change(&mut allowance);
        let got = allow(&allowance, &[], NOW);
        assert_eq!(got.as_ref().map(|_| &()), want.as_ref());
        if let Ok(effects) = got {
            assert_eq!(effects.feedback.len(), 1);
            assert_eq!(effects.audit.len(), 1);
        }
    }

    #[test]
    fn what_would_let_anybody_in_is_refused() {
        check(|_| {}, Ok(()));
        check(|a| a.context = ContextMatch::default(), Err(AllowError::Broad));
        let country = ContextMatch { country: Some(Country::from_code("NL")), ..ContextMatch::default() };
        check(|a| a.context = country, Err(AllowError::Broad));
        check(|a| a.reason = "  ", Err(AllowError::Reason));
        check(|a| a.until = NOW, Err(AllowError::Short(NOW)));
        check(|a| a.until = NOW.plus(SPAN_MAX + 1), Err(AllowError::Long));
        let revoked = Key { state: KeyState::Revoked, ..examples::key() };
        check(|a| a.key = Box::leak(Box::new(revoked)), Err(AllowError::Revoked));
    }

    #[test]
    fn a_refused_context_is_not_allowed_over_its_containment() {
        let key = examples::key();
        let order = crate::manual::Order {
            key: &key,
            incident: None,
            id: ContainmentId::from_bits(7),
            action: Action::RefuseContext(ContextMatch { client: Some("axios".into()), ..asn(64_500) }),
            reason: "a thief",
            expires: None,
            who: "ana",
        };
        let rows = crate::manual::contain(&order, NOW).unwrap().containments;
        let allowed = |context| {
            let until = NOW.plus(4 * HOUR);
            allow(&Allowance { key: &key, context, until, reason: "r", who: "ana" }, &rows, NOW).map(|_| ())
        };
        assert_eq!(allowed(asn(64_500)), Err(AllowError::Refused(ContainmentId::from_bits(7))));
        assert_eq!(allowed(asn(64_501)), Ok(()));
    }

    #[test]
    fn the_last_word_stands_until_its_time() {
        let key = examples::key();
        let allowed = |context, until| {
            let reason = "moves";
            allow(&Allowance { key: &key, context, until, reason, who: "ana" }, &[], NOW).unwrap().feedback
        };
        let mut said = allowed(asn(1), NOW.plus(HOUR));
        said.extend(allowed(asn(2), NOW.plus(2 * HOUR)));
        said.extend(allowed(asn(1), NOW.plus(3 * HOUR)));
        let untils = |said: &[Feedback], at| -> Vec<(Option<u32>, Timestamp)> {
            standing(said, key.id, at).into_iter().map(|a| (a.context.asn, a.until)).collect()
        };
        assert_eq!(untils(&said, NOW), [(Some(2), NOW.plus(2 * HOUR)), (Some(1), NOW.plus(3 * HOUR))]);
        assert_eq!(untils(&said, NOW.plus(2 * HOUR)), [(Some(1), NOW.plus(3 * HOUR))]);
        said.extend(end(key.id, &asn(1), "ana", NOW.plus(HOUR)).feedback);
        assert_eq!(untils(&said, NOW.plus(HOUR)), [(Some(2), NOW.plus(2 * HOUR))]);
        assert!(standing(&said, KeyId::from_bits(99), NOW).is_empty());
    }
}
