//! What carrying out a plan writes.

use tokenwatch_model::finding::Tier;
use tokenwatch_model::key::Mode;
use tokenwatch_model::time::SECOND;

use super::*;
use crate::policy::ResponsePolicy;
use crate::situation::examples::{NOW, Scene, containment, context, finding, ids_after};

fn planned(scene: &Scene) -> Plan {
    crate::plan(&ResponsePolicy::default(), &scene.situation(), &mut ids_after(scene.containments.len()))
}

#[test]
fn everything_written_is_audited() {
    let effects = execute(&planned(&Scene::new(Mode::Full, finding(1, Tier::Act))), NOW);
    let actions: Vec<&str> = effects.audit.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["incident.open", "containment.apply", "containment.apply"]);
    assert!(effects.audit.iter().all(|entry| entry.actor == SELF && entry.time == NOW));
    insta::assert_json_snapshot!("full_act", effects);
}

#[test]
fn proposals_are_told_and_not_done() {
    let effects = execute(&planned(&Scene::new(Mode::Observe, finding(1, Tier::Act))), NOW);
    let incident = effects.incident.unwrap();
    assert_eq!((incident.state, incident.contained), (IncidentState::Open, None));
    assert!(effects.containments.is_empty());
    let proposals = incident.timeline.iter().filter(|line| line.what.starts_with(PROPOSED)).count();
    assert_eq!(proposals, 3);
}

#[test]
fn a_person_may_approve_the_rest() {
    let mut scene = Scene::new(Mode::Contain, finding(1, Tier::Act));
    scene.store(execute(&planned(&scene), NOW));
    // Planned again from what is stored, as `incident approve` does: the context is in force, the rest waits.
    scene.now = NOW.plus(60 * SECOND);
    let plan = planned(&scene);
    let suspended = approve(&plan, |step| step.action == Action::Suspend, "admin:ops", scene.now);
    let done = |effects: &Effects| -> Vec<&str> {
        effects.containments.iter().map(|row| row.action.name()).collect()
    };
    assert_eq!((done(&suspended), suspended.key), (vec!["suspend"], None));
    let effects = approve(&plan, |_| true, "admin:ops", scene.now);
    assert_eq!(done(&effects), ["suspend", "revoke"]);
    let key = effects.key.clone().unwrap();
    assert_eq!((key.state, key.revision), (KeyState::Revoked, scene.key.revision + 1));
    let actions: Vec<&str> = effects.audit.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["containment.apply", "containment.apply", "key.revoke"]);
    assert!(effects.audit.iter().all(|entry| entry.actor == "admin:ops"));
    let incident = effects.incident.unwrap();
    assert_eq!((incident.finding_count, incident.revision), (1, 2));
    assert_eq!(incident.timeline.last().unwrap().who, "admin:ops");
}

#[test]
fn undo_leaves_what_changed_since_alone() {
    let mut scene = Scene::new(Mode::Contain, finding(1, Tier::Alert));
    let plan = planned(&scene);
    scene.store(execute(&plan, NOW));
    let incident = scene.incident.clone().unwrap();
    scene.containments[0].expires = Some(NOW.plus(5 * SECOND));
    assert!(undo(&plan, &incident, &scene.containments, "admin:ops", NOW).is_empty());
    assert!(undo(&plan, &incident, &[], "admin:ops", NOW).is_empty());
}

#[test]
fn undone_to_nothing_the_case_is_open_again() {
    let mut scene = Scene::new(Mode::Contain, finding(1, Tier::Alert));
    let plan = planned(&scene);
    scene.store(execute(&plan, NOW));
    let incident = scene.incident.clone().unwrap();
    assert_eq!(incident.state, IncidentState::Contained);
    let effects = undo(&plan, &incident, &scene.containments, "admin:ops", NOW);
    let undone = effects.incident.unwrap();
    assert_eq!((undone.state, undone.revision), (IncidentState::Open, incident.revision + 1));
    assert_eq!(effects.containments[0].lifted, Some((NOW, "admin:ops".into())));
}

#[test]
fn undoing_an_extension_gives_it_back_to_its_own_case() {
    let mut scene = Scene::new(Mode::Contain, finding(1, Tier::Alert));
    let by_hand = containment(1, Action::RefuseContext(context(1)));
    scene.containments = vec![Containment { incident: None, ..by_hand }];
    let before = scene.containments[0].clone();
    let plan = planned(&scene);
    scene.store(execute(&plan, NOW));
    let incident = scene.incident.clone().unwrap();
    assert_eq!(incident.containments, [before.id]);
    scene.store(undo(&plan, &incident, &scene.containments.clone(), "admin:ops", NOW));
    let undone = scene.incident.clone().unwrap();
    assert_eq!((undone.state, undone.containments.as_slice()), (IncidentState::Open, [].as_slice()));
    assert_eq!(scene.containments, [Containment { revision: before.revision + 2, ..before }]);
}
