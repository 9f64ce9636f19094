//! Which steps a finding earns, as a table, and how plans read.

use tokenwatch_model::finding::{Severity, Tier};
use tokenwatch_model::id::IncidentId;
use tokenwatch_model::key::{KeyState, Mode};
use tokenwatch_model::time::{DAY, MINUTE};

use super::*;
use crate::policy::BlastRadius;
use crate::situation::RecentActions;
use crate::situation::examples::{NOW, Scene, containment, context, finding, ids_after, volume_finding};
use crate::{Plan, execute};

fn planned(scene: &Scene, policy: &ResponsePolicy) -> Plan {
    plan(policy, &scene.situation(), &mut ids_after(scene.containments.len()))
}

/// `clamp`, `~ clamp` when prolonged, `? clamp` when proposed.
fn steps(plan: &Plan) -> Vec<String> {
    let mark = |step: &Step| match (step.is_automatic(), step.is_extension()) {
        (true, false) => "",
        (true, true) => "~ ",
        (false, false) => "? ",
        (false, true) => "?~ ",
    };
    plan.steps.iter().map(|step| format!("{}{}", mark(step), step.action.name())).collect()
}

#[track_caller]
fn check(scene: &Scene, want: &[&str]) {
    check_policy(&ResponsePolicy::default(), scene, want);
}

#[track_caller]
fn check_policy(policy: &ResponsePolicy, scene: &Scene, want: &[&str]) {
    assert_eq!(steps(&planned(scene, policy)), want);
}

/// The scene after its plan was carried out, `gap` later, with the next finding.
fn next(mut scene: Scene, policy: &ResponsePolicy, gap: u64, finding: Finding) -> Scene {
    let effects = execute(&planned(&scene, policy), scene.now);
    scene.store(effects);
    scene.now = scene.now.plus(gap);
    scene.finding = Finding { time: scene.now, ..finding };
    scene.recent = RecentActions::count(&scene.containments, scene.key.id, scene.now);
    scene
}

#[test]
fn a_notice_is_not_a_case() {
    let scene = Scene::new(Mode::Full, finding(1, Tier::Notice));
    check(&scene, &[]);
    let plan = planned(&scene, &ResponsePolicy::default());
    assert_eq!((plan.incident.clone(), plan.tell.page), (IncidentChange::None, false));
    assert!(execute(&plan, NOW).is_empty());
}

#[test]
fn modes_decide_what_happens_by_itself() {
    let alert = || finding(1, Tier::Alert);
    check(&Scene::new(Mode::Observe, alert()), &["? refuse_context"]);
    check(&Scene::new(Mode::Contain, alert()), &["refuse_context"]);
    check(&Scene::new(Mode::Full, alert()), &["refuse_context"]);
    let act = || finding(1, Tier::Act);
    check(&Scene::new(Mode::Observe, act()), &["? refuse_context", "? suspend", "? revoke"]);
    check(&Scene::new(Mode::Contain, act()), &["refuse_context", "? suspend", "? revoke"]);
    check(&Scene::new(Mode::Full, act()), &["refuse_context", "suspend", "? revoke"]);
    let volume = || volume_finding(Tier::Alert);
    check(&Scene::new(Mode::Observe, volume()), &["? clamp"]);
    check(&Scene::new(Mode::Contain, volume()), &["clamp"]);
    check(&Scene::new(Mode::Full, volume_finding(Tier::Act)), &["clamp", "suspend", "? revoke"]);
}

#[test]
fn the_policy_decides_about_the_last_rungs() {
    let act = Scene::new(Mode::Full, finding(1, Tier::Act));
    let by_people = ResponsePolicy { suspend_automatic: false, ..Default::default() };
    check_policy(&by_people, &act, &["refuse_context", "? suspend", "? revoke"]);
    let all = ResponsePolicy { revoke_automatic: true, ..Default::default() };
    check_policy(&all, &act, &["refuse_context", "revoke"]);
    check_policy(
        &all,
        &Scene::new(Mode::Contain, finding(1, Tier::Act)),
        &["refuse_context", "? suspend", "? revoke"],
    );
    check_policy(&all, &Scene::new(Mode::Full, finding(1, Tier::Alert)), &["refuse_context"]);
}

#[test]
fn an_empty_context_becomes_a_clamp() {
    let mut scene = Scene::new(Mode::Contain, finding(1, Tier::Alert));
    scene.finding.actor.as_mut().unwrap().context = ContextMatch::default();
    check(&scene, &["clamp"]);
}

#[test]
fn without_a_normal_the_key_is_watched_and_a_person_asked() {
    let mut scene = Scene::new(Mode::Contain, volume_finding(Tier::Alert));
    scene.normal = None;
    check(&scene, &["watch", "? suspend"]);
    scene.mode = Mode::Full;
    check(&scene, &["watch", "? suspend"]);
    scene.finding.tier = Tier::Act;
    check(&scene, &["watch", "suspend", "? revoke"]);
}

#[test]
fn a_context_in_force_is_extended_and_never_repeated() {
    let policy = ResponsePolicy::default();
    let first = Scene::new(Mode::Contain, finding(1, Tier::Alert));
    // Ten minutes later nothing is won by an extension; a day later it is.
    let soon = next(first.clone(), &policy, 10 * MINUTE, finding(1, Tier::Alert));
    check(&soon, &[]);
    assert_eq!(planned(&soon, &policy).covered_by.len(), 1);
    let later = next(first, &policy, DAY, finding(1, Tier::Alert));
    check(&later, &["~ refuse_context"]);
    assert_eq!(planned(&later, &policy).steps[0].expires, Some(NOW.plus(8 * DAY)));
    // A wider context in force already refuses the narrower one.
    let mut narrow = later;
    narrow.finding.actor.as_mut().unwrap().context.client_version = Some("1.7.4".into());
    check(&narrow, &["~ refuse_context"]);
    // A narrower one does not refuse the wider one.
    narrow.finding.actor.as_mut().unwrap().context = ContextMatch { asn: Some(64_501), ..Default::default() };
    check(&narrow, &["refuse_context"]);
}

#[test]
fn one_in_force_until_lifted_needs_no_extension() {
    let mut scene = Scene::new(Mode::Contain, finding(1, Tier::Alert));
    let by_hand = containment(1, Action::RefuseContext(context(1)));
    scene.containments = vec![Containment { expires: None, incident: None, ..by_hand }];
    check(&scene, &[]);
    let effects = execute(&planned(&scene, &ResponsePolicy::default()), NOW);
    let incident = effects.incident.unwrap();
    assert_eq!(incident.state, tokenwatch_model::incident::IncidentState::Contained);
    assert_eq!(incident.containments, [scene.containments[0].id]);
}

#[test]
fn a_thief_who_comes_back_is_the_same_incident_and_worse() {
    let policy = ResponsePolicy::default();
    let first = Scene::new(Mode::Contain, finding(1, Tier::Alert));
    let second = next(first, &policy, 5 * MINUTE, finding(2, Tier::Alert));
    let plan = planned(&second, &policy);
    assert_eq!(steps(&plan), ["refuse_context"]);
    assert_eq!(plan.incident.id(), second.incident.as_ref().map(|i| i.id));
    assert_eq!((plan.severity, plan.tell.page), (Severity::Critical, true));
    let third = next(second, &policy, 5 * MINUTE, finding(3, Tier::Alert));
    check(&third, &["refuse_context", "clamp"]);
    // The clamp is in force already when the fourth comes, and an hour later the count starts again.
    let fourth = next(third.clone(), &policy, 5 * MINUTE, finding(4, Tier::Alert));
    check(&fourth, &["refuse_context"]);
    let much_later = next(third, &policy, 2 * HOUR, finding(4, Tier::Alert));
    check(&much_later, &["refuse_context"]);
}

#[test]
fn an_observed_key_counts_contexts_by_findings() {
    let policy = ResponsePolicy::default();
    let first = Scene::new(Mode::Observe, finding(1, Tier::Alert));
    let second = next(first, &policy, MINUTE, finding(2, Tier::Alert));
    let third = next(second, &policy, MINUTE, finding(3, Tier::Alert));
    check(&third, &["? refuse_context", "? clamp"]);
}

#[test]
fn contexts_on_one_key_are_bounded() {
    let policy = ResponsePolicy { contexts_per_key: 2, ..Default::default() };
    let mut scene = Scene::new(Mode::Contain, finding(9, Tier::Alert));
    scene.containments = (1..=2)
        .map(|n| Containment {
            key: scene.key.id,
            ..containment(n, Action::RefuseContext(context(u32::try_from(n).unwrap())))
        })
        .collect();
    check_policy(&policy, &scene, &["clamp", "? suspend"]);
}

#[test]
fn beyond_the_blast_radius_people_are_paged() {
    let mut scene = Scene::new(Mode::Full, finding(1, Tier::Act));
    scene.finding.severity = Severity::Low;
    scene.recent = RecentActions { keys: 20, suspends: 2, ..RecentActions::default() };
    check(&scene, &["? refuse_context", "? suspend", "? revoke"]);
    let plan = planned(&scene, &ResponsePolicy::default());
    let wanted = Disposition::Proposed { why: Why::KeysPerHour { done: 20, limit: 20 } };
    assert_eq!((plan.steps[0].disposition, plan.tell.page), (wanted, true));
    scene.recent.this_key = true;
    check(&scene, &["refuse_context", "suspend", "? revoke"]);
    scene.recent.suspends = 5;
    check(&scene, &["refuse_context", "? suspend", "? revoke"]);
    let nothing = BlastRadius { keys_per_hour: 0, suspends_per_hour: 0 };
    let policy = ResponsePolicy { blast: nothing, ..Default::default() };
    check_policy(&policy, &scene, &["? refuse_context", "? suspend", "? revoke"]);
}

#[test]
fn a_revoked_key_has_nothing_left_to_contain() {
    let mut scene = Scene::new(Mode::Full, finding(1, Tier::Act));
    scene.key.state = KeyState::Revoked;
    check(&scene, &[]);
    assert!(matches!(planned(&scene, &ResponsePolicy::default()).incident, IncidentChange::Open { .. }));
}

#[test]
fn closed_and_foreign_incidents_are_not_extended() {
    let policy = ResponsePolicy::default();
    let again =
        next(Scene::new(Mode::Contain, finding(1, Tier::Alert)), &policy, MINUTE, finding(2, Tier::Alert));
    for change in [
        |i: &mut tokenwatch_model::incident::Incident| {
            i.state = tokenwatch_model::incident::IncidentState::Resolved;
        },
        |i: &mut tokenwatch_model::incident::Incident| i.key = tokenwatch_model::id::KeyId::from_bits(99),
    ] {
        let mut scene = again.clone();
        change(scene.incident.as_mut().unwrap());
        assert!(matches!(planned(&scene, &policy).incident, IncidentChange::Open { .. }));
    }
}

#[test]
fn the_same_finding_twice_pages_once() {
    let policy = ResponsePolicy::default();
    let first = Scene::new(Mode::Contain, finding(1, Tier::Act));
    assert!(planned(&first, &policy).tell.page);
    let mut again = first.clone();
    again.store(execute(&planned(&first, &policy), NOW));
    let plan = planned(&again, &policy);
    assert!(!plan.tell.page);
    assert_eq!(execute(&plan, NOW).incident, None);
}

#[test]
fn plans_read_well() {
    let policy = ResponsePolicy::default();
    let first = Scene::new(Mode::Contain, finding(1, Tier::Act));
    insta::assert_snapshot!("first_alert", planned(&first, &policy));
    let second = next(first, &policy, 5 * MINUTE, finding(2, Tier::Alert));
    let third = next(second, &policy, 5 * MINUTE, finding(3, Tier::Alert));
    insta::assert_snapshot!("third_context", planned(&third, &policy));
    let back = next(third, &policy, DAY, finding(1, Tier::Alert));
    insta::assert_snapshot!("extension", planned(&back, &policy));
    insta::assert_snapshot!("extension_diff", planned(&back, &policy).diff(&back.containments));

    let mut stopped = Scene::new(Mode::Full, volume_finding(Tier::Act));
    stopped.owner = None;
    stopped.recent = RecentActions { keys: 21, suspends: 5, ..RecentActions::default() };
    insta::assert_snapshot!("blast_radius", planned(&stopped, &policy));
    insta::assert_snapshot!("blast_radius_diff", planned(&stopped, &policy).diff(&[]));
    let notice = Scene::new(Mode::Contain, finding(1, Tier::Notice));
    insta::assert_snapshot!("notice", planned(&notice, &policy));
}

#[test]
fn plans_are_data() {
    let plan = planned(&Scene::new(Mode::Full, finding(1, Tier::Act)), &ResponsePolicy::default());
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    insta::assert_json_snapshot!("plan_steps_json", &plan.steps);
}

#[test]
fn hostile_names_can_not_write_on_the_terminal() {
    let mut scene = Scene::new(Mode::Contain, finding(1, Tier::Act));
    scene.finding.summary = "model \u{1b}[31mred\n  undo nothing".into();
    let hostile = ContextMatch { client: Some("x\u{1b}]0;y\u{7}".into()), ..context(1) };
    scene.finding.actor.as_mut().unwrap().context = hostile;
    scene.key.name = "a\u{202e}b".into();
    let plan = planned(&scene, &ResponsePolicy::default());
    let text = format!("{plan}{}", plan.diff(&[]));
    assert!(text.contains("model ?[31mred?"), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text}");
}

#[test]
fn ids_are_taken_only_for_what_is_new() {
    let scene = Scene::new(Mode::Contain, finding(1, Tier::Alert));
    let mut taken = 0u64;
    let mut counting = || {
        taken += 1;
        taken
    };
    let plan = plan(&ResponsePolicy::default(), &scene.situation(), &mut counting);
    assert_eq!(taken, 2);
    assert_eq!(plan.incident.id(), Some(IncidentId::from_bits(1)));
    assert_eq!(plan.steps[0].containment, ContainmentId::from_bits(2));
}
