//! The state machine, its limits and its errors.

use tokenwatch_model::finding::Tier;
use tokenwatch_model::id::{ContainmentId, KeyId};
use tokenwatch_model::key::Mode;
use tokenwatch_model::time::{DAY, SECOND};

use super::*;
use crate::execute;
use crate::situation::examples::{NOW, Scene, containment, context, finding, ids, volume_finding};

/// A contained case with its containments.
fn contained() -> Scene {
    let mut scene = Scene::new(Mode::Contain, finding(1, Tier::Alert));
    scene.store(execute(&crate::plan(&ResponsePolicy::default(), &scene.situation(), &mut ids()), NOW));
    scene
}

fn case() -> Incident {
    contained().incident.unwrap()
}

#[test]
fn a_case_starts_with_what_the_thief_did_before() {
    let case = case();
    assert_eq!(case.state, IncidentState::Contained);
    assert_eq!((case.requests_forwarded, case.requests_refused), (10, 2));
    assert_eq!(case.cost, NanoUsd::from_cents(42));
    assert_eq!(time_to_detect_us(&case), 43 * SECOND);
    assert_eq!(time_to_contain_us(&case), Some(0));
}

#[test]
fn dismissing_trusts_and_lifts() {
    let scene = contained();
    let policy = ResponsePolicy::default();
    let effects = dismiss(&policy, &case(), &scene.containments, "admin:ops", NOW).unwrap();
    assert_eq!(
        effects.feedback,
        [Feedback {
            key: scene.key.id,
            time: NOW,
            context: context(1),
            says: Says::Ours { until: NOW.plus(90 * DAY) },
        }]
    );
    assert_eq!(effects.containments.len(), 1);
    assert!(!effects.containments[0].in_force(NOW));
    let actions: Vec<&str> = effects.audit.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["containment.lift", "incident.dismiss"]);
    let closed = effects.incident.unwrap();
    assert_eq!((closed.state, closed.closed), (IncidentState::Dismissed, Some(NOW)));
}

#[test]
fn resolving_keeps_or_lifts() {
    let scene = contained();
    for (lift, lifted_rows) in [(false, 0), (true, 1)] {
        let effects = resolve(&case(), &scene.containments, lift, "admin:ops", NOW).unwrap();
        assert_eq!(effects.containments.len(), lifted_rows);
        assert_eq!(effects.feedback.iter().map(|f| f.says).collect::<Vec<_>>(), [Says::Theft]);
        assert_eq!(effects.incident.unwrap().state, IncidentState::Resolved);
    }
}

#[test]
fn only_the_containments_of_the_case_are_lifted() {
    let mut scene = contained();
    let own = scene.containments[0].id;
    let others = [
        containment(1, Action::Suspend),
        Containment { incident: None, id: ContainmentId::from_bits(7), ..containment(1, Action::Watch) },
        Containment {
            key: KeyId::from_bits(9),
            incident: Some(case().id),
            ..containment(9, Action::Suspend)
        },
        Containment { incident: Some(case().id), ..containment(2, Action::Revoke) },
    ];
    scene.containments.extend(others);
    let effects =
        dismiss(&ResponsePolicy::default(), &case(), &scene.containments, "admin:ops", NOW).unwrap();
    assert_eq!(effects.containments.iter().map(|row| row.id).collect::<Vec<_>>(), [own]);
}

#[test]
fn closed_cases_stay_closed() {
    let policy = ResponsePolicy::default();
    let closed = dismiss(&policy, &case(), &[], "admin:ops", NOW).unwrap().incident.unwrap();
    let error = ChangeIncidentError::Closed { id: closed.id, state: IncidentState::Dismissed };
    assert_eq!(dismiss(&policy, &closed, &[], "a", NOW), Err(error.clone()));
    assert_eq!(resolve(&closed, &[], true, "a", NOW), Err(error.clone()));
    assert_eq!(add_finding(closed.clone(), &finding(2, Tier::Alert), NOW), Err(error.clone()));
    assert_eq!(
        error.to_string(),
        format!("{} is already dismissed; a theft that goes on opens a new incident", closed.id)
    );
    // A repeated delivery of what it holds is no change, and a note is always possible.
    assert_eq!(add_finding(closed.clone(), &closed.findings[0].clone(), NOW), Ok(closed.clone()));
    assert!(note(closed, "credited by the provider", "admin:ops", NOW).is_ok());
}

#[test]
fn findings_of_other_keys_do_not_mix() {
    let foreign = Finding { key: KeyId::from_bits(9), ..finding(2, Tier::Alert) };
    let error = ChangeIncidentError::OtherKey { id: case().id, finding: foreign.key };
    assert_eq!(add_finding(case(), &foreign, NOW), Err(error));
}

#[test]
fn severity_grows_when_the_thief_comes_back() {
    let with =
        |n, severity| severity_with(&case(), &Finding { severity, time: NOW, ..finding(n, Tier::Alert) });
    assert_eq!(with(1, Severity::Low), Severity::High);
    assert_eq!(with(2, Severity::Low), Severity::Critical);
    assert_eq!(with(1, Severity::Critical), Severity::Critical);
    let unknown = severity_with(&case(), &Finding { severity: Severity::Low, ..volume_finding(Tier::Alert) });
    assert_eq!(unknown, Severity::High);
}

#[test]
fn a_case_is_bounded() {
    let mut case = case();
    for n in 0..500u32 {
        let time = NOW.plus(u64::from(n) * SECOND);
        case = add_finding(case, &Finding { time, ..finding(n + 2, Tier::Alert) }, time).unwrap();
    }
    assert_eq!(case.findings.len(), Incident::FINDINGS_MAX);
    assert_eq!((case.finding_count, case.actors.len()), (501, ACTORS_MAX));
    assert_eq!(case.timeline.len(), TIMELINE_MAX);
    assert_eq!(case.timeline[0].time, NOW);
    assert_eq!(case.timeline[TIMELINE_MAX - 1].time, NOW.plus(499 * SECOND));
}

#[test]
fn notes_need_text_of_bounded_length() {
    assert_eq!(note(case(), "  ", "a", NOW), Err(ChangeIncidentError::EmptyNote));
    let long = "x".repeat(NOTE_CHARS_MAX + 1);
    assert_eq!(note(case(), &long, "a", NOW), Err(ChangeIncidentError::LongNote { chars: 2_001 }));
    let effects = note(case(), " asked search-team ", "admin:ops", NOW).unwrap();
    let incident = effects.incident.unwrap();
    assert_eq!(incident.timeline.last().unwrap().what, "note: asked search-team");
    assert_eq!(incident.revision, case().revision + 1);
    assert_eq!(effects.audit[0].action, "incident.note");
}

#[test]
fn counters_add_up_and_saturate() {
    let mut case = case();
    count_forwarded(&mut case, 3, NanoUsd::from_cents(8));
    count_refused(&mut case, 40, &[], NOW);
    assert_eq!((case.requests_forwarded, case.requests_refused), (13, 42));
    assert_eq!(case.cost, NanoUsd::from_cents(50));
    count_refused(&mut case, u64::MAX, &[], NOW);
    assert_eq!(case.requests_refused, u64::MAX);
}
