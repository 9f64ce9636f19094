//! Positions are dense, values distinct, names those of the model.

use super::*;
use std::collections::BTreeSet;
use tokenwatch_model::containment::{Clamp, ContextMatch};
use tokenwatch_model::outcome::Cut;

/// Each item of `all` must stand at its own position, under its own name.
#[track_caller]
fn check<L: Label>(all: &[L], name: impl Fn(L) -> &'static str) {
    assert_eq!(all.len(), L::VALUES.len());
    let distinct: BTreeSet<_> = L::VALUES.iter().collect();
    assert_eq!(distinct.len(), L::VALUES.len());
    for (i, &label) in all.iter().enumerate() {
        assert_eq!((label.position(), L::VALUES[i]), (i, name(label)));
    }
}

#[test]
fn labels_of_the_model_carry_its_names() {
    check(&ENDPOINTS, Endpoint::name);
    check(&[Severity::Low, Severity::Medium, Severity::High, Severity::Critical], Severity::name);
    check(&[Tier::Notice, Tier::Alert, Tier::Act], Tier::name);
    use IncidentState as State;
    check(&[State::Open, State::Contained, State::Resolved, State::Dismissed, State::Expired], State::name);
    let outcomes = [
        Outcome::Served,
        Outcome::Refused(Refusal::Judged),
        Outcome::ClientLeft,
        Outcome::Cut(Cut::Budget),
        Outcome::UpstreamFailed(UpstreamFailure::Reset),
    ];
    check(&outcomes, Outcome::code);
    let decisions = [Decision::Forward, Decision::Watch, Decision::Refuse];
    check(&decisions, |decision| match decision {
        Decision::Forward => "forward",
        Decision::Watch => "watch",
        Decision::Refuse => "refuse",
    });
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        assert_eq!(Route::VALUES[Route::from(Some(dialect)).position()], dialect.name());
    }
    assert_eq!(Route::VALUES[Route::from(None).position()], "none");
    let actions = [
        Action::Watch,
        Action::Clamp(Clamp::default()),
        Action::RefuseContext(ContextMatch::default()),
        Action::Suspend,
        Action::Revoke,
    ];
    for action in &actions {
        assert_eq!(Rung::VALUES[Rung::from(action).position()], action.name());
    }
}

#[test]
fn every_refusal_has_its_own_series() {
    let all = [
        Refusal::MissingCredential,
        Refusal::AmbiguousCredential,
        Refusal::MalformedCredential,
        Refusal::UnknownKey,
        Refusal::Revoked,
        Refusal::Disabled,
        Refusal::Expired,
        Refusal::Suspended,
        Refusal::ContextRefused,
        Refusal::Judged,
        Refusal::Clamped,
        Refusal::ProviderNotInScope,
        Refusal::ModelNotInScope,
        Refusal::EndpointNotInScope,
        Refusal::NetworkNotInScope,
        Refusal::HourNotInScope,
        Refusal::PayloadTooLarge,
        Refusal::Limit(LimitKind::RequestsPerMinute),
        Refusal::Limit(LimitKind::RequestsPerHour),
        Refusal::Limit(LimitKind::RequestsPerDay),
        Refusal::Limit(LimitKind::TokensPerMinute),
        Refusal::Limit(LimitKind::TokensPerHour),
        Refusal::Limit(LimitKind::TokensPerDay),
        Refusal::Limit(LimitKind::Concurrency),
        Refusal::Budget(BudgetWindow::Day),
        Refusal::Budget(BudgetWindow::Month),
        Refusal::Budget(BudgetWindow::Total),
        Refusal::BadHttp,
        Refusal::BadBody,
        Refusal::BodyTimeout,
        Refusal::UnknownRoute,
        Refusal::NoProviderCredential,
        Refusal::CircuitOpen,
        Refusal::Overloaded,
        Refusal::Rotated,
    ];
    check(&all, Refusal::code);
}

#[test]
fn pairs_of_labels_are_dense() {
    type Set = (Tier, Severity);
    assert_eq!(Set::SERIES, 12);
    let last = (Tier::Act, Severity::Critical);
    assert_eq!(last.position(), 11);
    assert_eq!(Set::pairs(11), [("tier", "act"), ("severity", "critical")]);
    assert_eq!(Set::pairs(4), [("tier", "alert"), ("severity", "low")]);
    assert_eq!((Tier::Alert, Severity::Low).position(), 4);
}
