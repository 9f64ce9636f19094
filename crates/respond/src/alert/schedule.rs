//! When deliveries are tried, and tried again: pure decisions over the outbox.
//!
//! ```text
//!               due, not snoozed, first of its incident
//!   pending ───────────────────────────────────────────► sent        those it says all of: merged
//!      ▲  │ receiver away, busy: the destination waits, doubling from 5 s to 10 min, or as long as it asked
//!      └──┘ message refused: this message alone waits, doubling from 1 min to 1 h
//! ```
//!
//! Invariants:
//! * Nothing is ever given up by itself.
//! * Of one incident and destination, messages are sent in order: the next one only after the one before it was taken.
//!   An escalation is a message of its own and waits for nobody.
//! * Only updates are merged, and only into a later update of the same run: openings and ends are always sent.

use tokenwatch_model::alert::{AlertCause, Delivery, Failure, SubjectId};
use tokenwatch_model::time::{DAY, HOUR, MINUTE, SECOND, Timestamp};

/// First and longest wait for a receiver that is away, in microseconds.
const AWAY: (u64, u64) = (5 * SECOND, 10 * MINUTE);
/// First and longest wait with a message that was refused, in microseconds.
const REJECTED: (u64, u64) = (MINUTE, HOUR);
/// The longest wait that a receiver may ask for: one that asks for a year makes a mistake.
const ASKED_MAX: u64 = DAY;

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// This message, not before.
    pub due: Timestamp,
    /// Any message to the destination, not before.
    pub hold: Option<Timestamp>,
}

/// When to try again after a failure. `attempts` counts those that failed, this one included; `random` spreads those
/// who wait for the same receiver.
pub fn after_failure(failure: Failure, attempts: u32, now: Timestamp, random: u64) -> Retry {
    let wait = |(first, longest): (u64, u64)| {
        let doubled = first.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(longest);
        // Four fifths to six fifths of it.
        doubled / 5 * 4 + random % (doubled / 5 * 2).max(1)
    };
    match failure {
        Failure::Rejected => Retry { due: now.plus(wait(REJECTED)), hold: None },
        Failure::Unreachable => {
            let due = now.plus(wait(AWAY));
            Retry { due, hold: Some(due) }
        }
        Failure::Busy(asked) => {
            // Not sooner than asked, and not all at the same moment.
            let asked = asked.map(|asked| asked.min(ASKED_MAX).saturating_add(random % SECOND));
            let due = now.plus(asked.unwrap_or_else(|| wait(AWAY)));
            Retry { due, hold: Some(due) }
        }
    }
}

/// What to send next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The delivery.
    pub id: u64,
    /// Those that it says all of.
    pub merged: Vec<u64>,
}

/// The next message for a destination, from what is pending for it in the order of ids. `snoozed` tells until when
/// nobody wants to hear of an incident.
pub fn pick(
    pending: &[Delivery],
    snoozed: impl Fn(SubjectId) -> Option<Timestamp>,
    now: Timestamp,
) -> Option<Pick> {
    let mut seen: Vec<SubjectId> = Vec::new();
    for (at, delivery) in pending.iter().enumerate() {
        let is_escalation = delivery.cause == AlertCause::Escalated;
        if !is_escalation {
            if seen.contains(&delivery.subject) {
                continue;
            }
            seen.push(delivery.subject);
        }
        if now < delivery.due || snoozed(delivery.subject).is_some_and(|until| now < until) {
            continue;
        }
        let run =
            if is_escalation { Vec::new() } else { updates_after(pending.get(at..).unwrap_or_default()) };
        return Some(match run.split_last() {
            Some((last, earlier)) => Pick { id: *last, merged: earlier.to_vec() },
            None => Pick { id: delivery.id, merged: Vec::new() },
        });
    }
    None
}

/// Ids of the updates that begin a list, of the first one's incident, up to what is no update.
fn updates_after(pending: &[Delivery]) -> Vec<u64> {
    let Some(first) = pending.first() else { return Vec::new() };
    let ours = pending.iter().filter(|d| d.subject == first.subject && d.cause != AlertCause::Escalated);
    ours.take_while(|d| d.cause == AlertCause::Updated).map(|d| d.id).collect()
}

#[cfg(test)]
mod tests;
