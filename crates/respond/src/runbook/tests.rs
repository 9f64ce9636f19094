//! The states of steps, their clocks, and people's words on them.

use tokenwatch_model::containment::Action;
use tokenwatch_model::containment::Containment;
use tokenwatch_model::finding::Tier;
use tokenwatch_model::key::{KeyState, Mode, Rotation};
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{DAY, HOUR};

use super::table::{CLAMP, NOTIFY, PERSISTENCE, REVIEW, REVOKE, ROTATE};
use super::*;
use crate::incident::{dismiss, resolve};
use crate::situation::examples::{NOW, Scene, finding, ids};
use crate::{ResponsePolicy, approve, execute, plan};

fn after(mode: Mode, tier: Tier) -> Scene {
    let mut scene = Scene::new(mode, finding(1, tier));
    let made = plan(&ResponsePolicy::default(), &scene.situation(), &mut ids());
    scene.store(execute(&made, NOW));
    scene
}

fn steps_at(scene: &Scene, now: Timestamp) -> Vec<Step> {
    steps_with(scene, None, now)
}

fn steps_with(scene: &Scene, created: Option<Created>, now: Timestamp) -> Vec<Step> {
    let incident = scene.incident.as_ref().unwrap();
    let facts = Facts {
        incident,
        key: &scene.key,
        owner: scene.owner.as_ref(),
        containments: &scene.containments,
        created,
        now,
    };
    steps(&shipped(), &facts)
}

#[track_caller]
fn check(steps: &[Step], want: &[(&str, StepState)]) {
    for (id, state) in want {
        let step = steps.iter().find(|step| step.id == *id).unwrap();
        assert_eq!(step.state, *state, "{id}: {}", step.why);
    }
}

#[test]
fn a_runbook_reads_like_this() {
    let scene = after(Mode::Contain, Tier::Act);
    let now = NOW.plus(70 * MINUTE);
    let steps = steps_at(&scene, now);
    insta::assert_snapshot!("runbook", format!("{}\n\n{}", summary(&steps, now), describe(&steps, now)));
}

#[test]
fn states_follow_from_key_and_containments() {
    use StepState::{Automatic, Done, NotNeeded, Open, Proposed};
    let mut scene = after(Mode::Contain, Tier::Alert);
    check(&steps_at(&scene, NOW), &[(ROTATE, Open), (CLAMP, Automatic), (REVOKE, Open), (NOTIFY, Open)]);
    // What ran out is to be done again.
    check(&steps_at(&scene, NOW.plus(30 * DAY)), &[(CLAMP, Open)]);
    scene.key.state = KeyState::Disabled;
    check(&steps_at(&scene, NOW.plus(30 * DAY)), &[(CLAMP, Done), (REVOKE, Open)]);
    scene.key.state = KeyState::Revoked;
    check(&steps_at(&scene, NOW.plus(30 * DAY)), &[(CLAMP, Done), (REVOKE, Done)]);
    scene.key.state = KeyState::Active;
    // Rotated before the theft: what was stolen is the new one.
    let first_seen = scene.incident.as_ref().unwrap().first_seen;
    let rotated = |rotated| Some(Rotation { rotated, previous_ends: NOW.plus(DAY) });
    scene.key.rotation = rotated(Timestamp(first_seen.0 - 1));
    check(&steps_at(&scene, NOW), &[(ROTATE, Open), (REVOKE, Open)]);
    scene.key.rotation = rotated(NOW);
    check(&steps_at(&scene, NOW), &[(ROTATE, Done), (REVOKE, Open)]);
    check(&steps_at(&scene, NOW.plus(DAY)), &[(ROTATE, Done), (REVOKE, Done)]);

    let observed = after(Mode::Observe, Tier::Act);
    check(&steps_at(&observed, NOW), &[(CLAMP, Proposed), (REVOKE, Proposed)]);
    let made = plan(&ResponsePolicy::default(), &observed.situation(), &mut ids());
    let mut approved = observed;
    approved.store(approve(&made, |step| step.action == Action::Suspend, "admin:ops", NOW));
    check(&steps_at(&approved, NOW), &[(CLAMP, Done), (REVOKE, Proposed)]);
    let mut refused_at_once = after(Mode::Contain, Tier::Alert);
    refused_at_once.incident.as_mut().unwrap().requests_forwarded = 0;
    check(
        &steps_at(&refused_at_once, NOW),
        &[(REVIEW, NotNeeded), (PERSISTENCE, NotNeeded), (NOTIFY, NotNeeded), (REVOKE, Open)],
    );
}

#[test]
fn what_tokenwatch_revoked_is_automatic() {
    let policy = ResponsePolicy { revoke_automatic: true, ..ResponsePolicy::default() };
    let mut scene = Scene::new(Mode::Full, finding(1, Tier::Act));
    let made = plan(&policy, &scene.situation(), &mut ids());
    scene.store(execute(&made, NOW));
    check(&steps_at(&scene, NOW), &[(REVOKE, StepState::Automatic), (CLAMP, StepState::Done)]);
}

#[test]
fn persistence_says_what_was_seen_and_that_no_provider_was_asked() {
    let mut scene = after(Mode::Contain, Tier::Alert);
    scene.key.policy.scope.endpoints =
        Some(vec![Endpoint::ChatCompletions, Endpoint::Files, Endpoint::Batches]);
    let mut created = Created::default();
    for endpoint in [Endpoint::Files, Endpoint::Files, Endpoint::FineTuning, Endpoint::ChatCompletions] {
        created.count(endpoint);
    }
    let why = |created| {
        let steps = steps_with(&scene, created, NOW);
        steps.iter().find(|step| step.id == PERSISTENCE).unwrap().why.clone()
    };
    let seen = why(Some(created));
    assert!(seen.contains("allows files, batches"), "{seen}");
    assert!(seen.contains("forwarded 2 calls to files, 1 call to fine-tuning for"), "{seen}");
    assert!(seen.starts_with("no provider was asked yet what was created since 2026-03-01 "), "{seen}");
    assert!(why(Some(Created::default())).contains("forwarded none there"));
    assert!(why(None).contains("incident runbook"));
}

#[test]
fn deadlines_count_from_the_opening_and_only_for_what_is_left() {
    let scene = after(Mode::Contain, Tier::Alert);
    let late = |now| {
        let steps = steps_at(&scene, now);
        steps.iter().filter(|step| step.overdue).map(|step| step.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(late(NOW.plus(HOUR - 1)), [""; 0]);
    assert_eq!(late(NOW.plus(HOUR)), [ROTATE]);
    assert_eq!(late(NOW.plus(4 * HOUR)), [ROTATE, REVIEW]);
    let steps = steps_at(&scene, NOW);
    assert_eq!(next(&steps).unwrap().id, ROTATE);
    assert_eq!(deadline(next(&steps).unwrap(), NOW.plus(39 * MINUTE)), "due in 21 min 0 s");
}

#[test]
fn a_persons_word_goes_before_what_is_computed_and_can_be_taken_back() {
    let mut scene = after(Mode::Contain, Tier::Alert);
    let say = |scene: &mut Scene, step: &str, tick, note: &str| {
        let effects = mark(scene.incident.clone().unwrap(), &shipped(), step, tick, note, "cli:ada", NOW)?;
        assert_eq!(effects.audit[0].action, "incident.step");
        scene.store(effects);
        Ok::<(), MarkStepError>(())
    };
    say(&mut scene, ROTATE, Tick::Done, "").unwrap();
    say(&mut scene, NOTIFY, Tick::Skip, "no personal data").unwrap();
    let steps = steps_at(&scene, NOW.plus(30 * DAY));
    check(&steps, &[(ROTATE, StepState::Done), (NOTIFY, StepState::NotNeeded)]);
    let why = &steps.iter().find(|step| step.id == NOTIFY).unwrap().why;
    assert_eq!(why, "skipped by cli:ada at 2026-03-01 12:00:00 UTC: no personal data");
    say(&mut scene, ROTATE, Tick::Open, "").unwrap();
    check(&steps_at(&scene, NOW), &[(ROTATE, StepState::Open)]);
    let told = scene.incident.as_ref().unwrap().timeline.last().unwrap().clone();
    assert_eq!((told.who.as_str(), told.what.as_str()), ("cli:ada", "step open again: rotate"));
    let unknown = say(&mut scene, "explode", Tick::Done, "").unwrap_err().to_string();
    assert!(
        unknown.starts_with("there is no step \"explode\"; the steps are rotate, clamp_spending,"),
        "{unknown}"
    );
    assert_eq!(say(&mut scene, NOTIFY, Tick::Skip, " "), Err(MarkStepError::NoNote));
    assert_eq!(say(&mut scene, NOTIFY, Tick::Done, &"x".repeat(2_001)), Err(MarkStepError::LongNote));
}

#[test]
fn a_dismissed_incident_needs_nothing_and_a_resolved_one_goes_on() {
    let scene = after(Mode::Contain, Tier::Alert);
    let incident = scene.incident.clone().unwrap();
    let mut ours = scene.clone();
    ours.store(
        dismiss(&ResponsePolicy::default(), &incident, &scene.containments, "admin:ops", NOW).unwrap(),
    );
    assert!(steps_at(&ours, NOW.plus(30 * DAY)).iter().all(|step| step.state == StepState::NotNeeded));
    let said = mark(ours.incident.unwrap(), &shipped(), ROTATE, Tick::Done, "", "cli:ada", NOW);
    assert_eq!(said, Err(MarkStepError::Dismissed(incident.id)));
    let mut theft = scene.clone();
    theft.store(resolve(&incident, &scene.containments, false, "admin:ops", NOW).unwrap());
    check(&steps_at(&theft, NOW), &[(REVOKE, StepState::Open)]);
    let closed = theft.incident.clone().unwrap();
    assert!(!is_followed(&closed), "who closes without the runbook is left in peace");
    let said = mark(closed, &shipped(), REVOKE, Tick::Done, "", "cli:ada", NOW).unwrap();
    assert!(is_followed(said.incident.as_ref().unwrap()));
}

#[test]
fn each_overdue_step_is_told_once() {
    let mut scene = after(Mode::Contain, Tier::Alert);
    let now = NOW.plus(HOUR);
    let told = note_overdue(scene.incident.as_ref().unwrap(), &steps_at(&scene, now), now).unwrap();
    assert_eq!(told.alert, Some(AlertCause::Updated));
    scene.store(told);
    let line = scene.incident.as_ref().unwrap().timeline.last().unwrap().what.clone();
    assert_eq!(line, "overdue: Rotate: give the owner a new credential, search-team");
    assert_eq!(note_overdue(scene.incident.as_ref().unwrap(), &steps_at(&scene, now), now), None);
    let later = NOW.plus(4 * HOUR);
    let told = note_overdue(scene.incident.as_ref().unwrap(), &steps_at(&scene, later), later).unwrap();
    assert_eq!(told.incident.unwrap().handling.overdue_told, [ROTATE, REVIEW]);
}

#[test]
fn people_s_containments_are_done_by_people() {
    let mut scene = after(Mode::Contain, Tier::Alert);
    let incident = scene.incident.as_ref().unwrap().id;
    scene.containments.push(Containment {
        incident: Some(incident),
        action: Action::Suspend,
        ..crate::situation::examples::containment(1, Action::Suspend)
    });
    check(&steps_at(&scene, NOW), &[(CLAMP, StepState::Done)]);
}
