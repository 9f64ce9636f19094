//! Containment: policy, plans and incidents as pure values.
//!
//! One theft, from finding to closed case:
//!
//! ```text
//! finding + key + what is in force ──plan──► Plan ──execute──► Effects: rows for the store, in one batch
//!                                             │                   │
//!                                  printed, diffed, approved      └─ undo, dismiss, resolve ──► Effects
//! ```
//!
//! Invariants:
//! * Everything is a pure function of its arguments: the same [`Situation`] and ids give an equal [`Plan`].
//! * The ladder is watch, clamp, refuse context, suspend, revoke. Every step carries a reason, an expiry
//!   and what undoes it; revocation alone has neither expiry nor undo, and says so.
//! * No step ever holds an empty context, and none repeats a context that is in force: it extends it.
//! * In `observe` nothing is automatic; suspension is automatic only in `full`; revocation only in `full`
//!   and only where the policy says so.
//! * New automatic containments never go beyond the policy's [`BlastRadius`]: past it they are proposed; nor does what
//!   is relaxed by itself ([`mod@relax`]).

pub mod alert;
pub mod allowance;
pub mod commands;
pub mod effects;
pub mod ids;
pub mod incident;
pub mod ladder;
pub mod manual;
pub mod persistence;
pub mod plan;
pub mod policy;
pub mod relax;
pub mod runbook;
pub mod situation;
pub mod spend;
pub mod story;
pub mod suppression;
pub mod times;
pub mod words;

pub use alert::Alert;
pub use effects::{Effects, approve, execute, undo};
pub use ids::Ids;
pub use ladder::plan;
pub use plan::{Diff, Disposition, IncidentChange, Plan, Restore, Step, Tell, Undo, Why};
pub use policy::{BlastRadius, Environment, ResponsePolicy};
pub use situation::{Normal, RecentActions, Situation};
pub use story::{describe, one_line};
pub use suppression::Suppressions;

#[cfg(test)]
mod laws;
