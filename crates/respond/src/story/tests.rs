//! How incidents read.

use tokenwatch_model::containment::Action;
use tokenwatch_model::finding::Tier;
use tokenwatch_model::key::Mode;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::{DAY, MINUTE};

use super::*;
use crate::incident::{as_of, count_forwarded, count_refused, dismiss, note, resolve};
use crate::runbook::Facts;
use crate::situation::examples::{NOW, Scene, finding, ids, volume_finding};
use crate::{ResponsePolicy, execute, plan};

fn after(mode: Mode, findings: &[Finding]) -> Scene {
    let mut scene = Scene::new(mode, findings[0].clone());
    let mut ids = ids();
    for (i, finding) in findings.iter().enumerate() {
        scene.now = NOW.plus(i as u64 * MINUTE);
        scene.finding = Finding { time: scene.now, ..finding.clone() };
        let plan = plan(&ResponsePolicy::default(), &scene.situation(), &mut ids);
        scene.store(execute(&plan, scene.now.plus(250_000)));
    }
    scene
}

fn story(scene: &Scene, now: Timestamp) -> String {
    let incident = scene.incident.as_ref().unwrap();
    let facts = Facts {
        incident,
        key: &scene.key,
        owner: scene.owner.as_ref(),
        containments: &scene.containments,
        created: None,
        now,
    };
    let steps = runbook::steps(&runbook::shipped(), &facts);
    describe(incident, &scene.key, scene.owner.as_ref(), &steps, now)
}

#[test]
fn a_contained_theft() {
    let mut scene = after(Mode::Contain, &[finding(1, Tier::Alert), finding(2, Tier::Act)]);
    let incident = scene.incident.as_mut().unwrap();
    count_refused(incident, 4_112, &[], NOW);
    count_forwarded(incident, 1, NanoUsd::from_cents(3));
    insta::assert_snapshot!("contained", story(&scene, NOW.plus(40 * MINUTE)));
    insta::assert_snapshot!("one_line", one_line(scene.incident.as_ref().unwrap(), NOW.plus(40 * MINUTE)));
}

#[test]
fn an_observed_theft_without_an_owner() {
    let mut scene = after(Mode::Observe, &[volume_finding(Tier::Act)]);
    scene.owner = None;
    scene.incident.as_mut().unwrap().findings[0].once_in_days = 0.0;
    insta::assert_snapshot!("observed", story(&scene, NOW.plus(2 * DAY)));
}

#[test]
fn what_ran_out_is_told() {
    let scene = after(Mode::Contain, &[finding(1, Tier::Alert)]);
    let stored = scene.incident.clone().unwrap();
    let expires = scene.containments.iter().filter_map(|c| c.expires).max().unwrap();
    let at = |now| as_of(&stored, &scene.containments, now);
    assert_eq!(at(Timestamp(expires.0 - 1)), stored, "in force to the last moment");
    let mut expired = at(expires);
    assert_eq!((expired.state, expired.state.is_open()), (IncidentState::Expired, true));
    let since = |now| crate::incident::expired(&stored, &scene.containments, now);
    assert_eq!((since(Timestamp(expires.0 - 1)), since(expires)), (None, Some((expired.clone(), expires))));
    let later = expires.plus(3 * DAY);
    assert!(one_line(&expired, later).contains(" expired "));
    // What was said afterwards stands after it.
    let noted = note(stored.clone(), "still thinking", "admin:ops", expires.plus(MINUTE)).unwrap();
    expired = as_of(&noted.incident.unwrap(), &scene.containments, later);
    let text = describe(&expired, &scene.key, scene.owner.as_ref(), &[], later);
    insta::assert_snapshot!("expired", text);
    // Lists know what is in force alone: the state is the same, the story does not say since when.
    let listed = as_of(&stored, &[], later);
    assert_eq!((listed.state, listed.timeline.len()), (IncidentState::Expired, stored.timeline.len()));
    // Watching contains nothing, and neither does what belongs to another incident.
    let mut others = scene.containments.clone();
    for other in &mut others {
        (other.expires, other.action) = (None, Action::Watch);
    }
    assert_eq!(as_of(&stored, &others, later).state, IncidentState::Expired);
    // What is put in force again contains it again.
    let mut again = scene.containments.clone();
    again[0].expires = Some(later.plus(DAY));
    assert_eq!(as_of(&stored, &again, later), stored);
    for state in [IncidentState::Open, IncidentState::Resolved, IncidentState::Dismissed] {
        let other = Incident { state, ..stored.clone() };
        assert_eq!(as_of(&other, &scene.containments, later), other);
    }
}

#[test]
fn closed_cases() {
    let scene = after(Mode::Contain, &[finding(1, Tier::Alert)]);
    let incident = scene.incident.clone().unwrap();
    let later = NOW.plus(30 * MINUTE);
    let policy = ResponsePolicy::default();
    let mut closed = scene.clone();
    closed.store(dismiss(&policy, &incident, &scene.containments, "admin:ops", later).unwrap());
    insta::assert_snapshot!("dismissed", story(&closed, later));
    let mut closed = scene.clone();
    closed.store(resolve(&incident, &scene.containments, false, "admin:ops", later).unwrap());
    insta::assert_snapshot!("resolved", story(&closed, later));
}

#[test]
fn long_stories_show_beginning_and_end() {
    let mut scene = after(Mode::Contain, &[finding(1, Tier::Alert)]);
    for n in 0..40 {
        let incident = scene.incident.clone().unwrap();
        scene.store(note(incident, &format!("note number {n}"), "admin:ops", NOW).unwrap());
    }
    let text = story(&scene, NOW);
    assert!(text.contains("… 26 lines between"), "{text}");
    assert!(text.contains("found by newcomer") && text.contains("note number 39"));
    assert!(!text.contains("note number 20"));
}
