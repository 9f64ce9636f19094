//! Laws that hold for every plan, checked on random situations and random weeks of findings.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tokenwatch_model::containment::{Action, Clamp, Containment, ContextMatch};
use tokenwatch_model::finding::{Finding, Tier};
use tokenwatch_model::id::{ActorId, ContainmentId, KeyId};
use tokenwatch_model::incident::IncidentState;
use tokenwatch_model::key::Mode;
use tokenwatch_model::time::{DAY, HOUR, MINUTE, Timestamp};

use crate::incident::{dismiss, resolve};
use crate::policy::BlastOverride;
use crate::situation::examples::{NOW, Scene, containment, context, finding, ids, normal, volume_finding};
use crate::{
    BlastRadius, Effects, Environment, Plan, RecentActions, ResponsePolicy, approve, execute, plan, undo,
};

/// What is in force: id, action and expiry.
type InForce = Vec<(ContainmentId, Action, Option<Timestamp>)>;

fn in_force(rows: &[Containment], now: Timestamp) -> InForce {
    let mut list: InForce = rows
        .iter()
        .filter(|row| row.in_force(now))
        .map(|row| (row.id, row.action.clone(), row.expires))
        .collect();
    list.sort_by_key(|(id, ..)| *id);
    list
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Observe), Just(Mode::Contain), Just(Mode::Full)]
}

fn findings() -> impl Strategy<Value = Finding> {
    let tier = prop_oneof![Just(Tier::Notice), Just(Tier::Alert), Just(Tier::Act)];
    (tier, 0u32..7, any::<bool>()).prop_map(|(tier, n, is_empty)| {
        if n == 0 {
            return volume_finding(tier);
        }
        let mut finding = finding(n, tier);
        if let Some(actor) = finding.actor.as_mut().filter(|_| is_empty && n > 5) {
            actor.context = ContextMatch::default();
        }
        finding
    })
}

fn policies() -> impl Strategy<Value = ResponsePolicy> {
    (any::<bool>(), any::<bool>(), 0u32..4, 0u32..3, 1u32..5).prop_map(
        |(suspend, revoke, keys, suspends, contexts)| ResponsePolicy {
            suspend_automatic: suspend,
            revoke_automatic: suspend && revoke,
            contexts_per_key: contexts,
            blast: BlastRadius { keys_per_hour: keys, suspends_per_hour: suspends.min(keys) },
            ..ResponsePolicy::default()
        },
    )
}

/// Containments that may be there already, some by hand, some over, some lifted.
fn present() -> impl Strategy<Value = Vec<Containment>> {
    let action = prop_oneof![
        (1u32..6).prop_map(|n| Action::RefuseContext(context(n))),
        Just(Action::Clamp(Clamp { requests_per_minute: Some(7), ..Clamp::default() })),
        Just(Action::Watch),
        Just(Action::Suspend),
    ];
    let one = (action, prop::option::of(0u64..200), any::<bool>(), any::<bool>());
    prop::collection::vec(one, 0..5).prop_map(|list| {
        let row = |(i, (action, hours, by_hand, is_lifted)): (usize, (Action, Option<u64>, bool, bool))| {
            let base = containment(1, action);
            Containment {
                id: ContainmentId::from_bits(10 + i as u64),
                incident: base.incident.filter(|_| !by_hand),
                expires: hours.map(|hours| NOW.plus(hours * HOUR)),
                lifted: is_lifted.then(|| (NOW, "admin:ops".into())),
                ..base
            }
        };
        list.into_iter().enumerate().map(row).collect()
    })
}

fn scenes() -> impl Strategy<Value = (ResponsePolicy, Scene)> {
    let recent = (0u32..5, any::<bool>(), 0u32..4, any::<bool>());
    (policies(), modes(), findings(), present(), any::<bool>(), recent).prop_map(
        |(policy, mode, finding, containments, has_normal, (keys, this_key, suspends, this_suspended))| {
            let mut scene = Scene::new(mode, finding);
            scene.containments = containments;
            scene.normal = has_normal.then(normal);
            scene.recent = RecentActions { keys, this_key, suspends, this_key_suspended: this_suspended };
            (policy, scene)
        },
    )
}

/// The laws of a single plan.
fn check_plan(policy: &ResponsePolicy, scene: &Scene, plan: &Plan) {
    let mut seen = BTreeSet::new();
    for step in &plan.steps {
        assert!(!step.reason.is_empty() && !step.undo.words.is_empty());
        assert!(seen.insert(step.containment), "a containment appears twice");
        match &step.action {
            Action::RefuseContext(context) => {
                assert!(!context.is_empty(), "an empty context");
                let equal = |row: &&Containment| row.in_force(scene.now) && row.action == step.action;
                if let Some(have) = scene.containments.iter().find(equal) {
                    assert!(step.is_extension(), "{have:?} is repeated");
                }
            }
            Action::Clamp(clamp) => {
                assert_ne!(clamp, &Clamp::default(), "an empty clamp");
                assert_ne!(clamp.requests_per_minute, Some(0));
            }
            Action::Revoke => {
                assert!(step.expires.is_none());
                assert!(!step.is_automatic() || (scene.mode == Mode::Full && policy.revoke_automatic));
            }
            Action::Suspend => {
                assert!(!step.is_automatic() || scene.mode == Mode::Full);
            }
            Action::Watch => {}
        }
        if step.action != Action::Revoke {
            assert!(step.expires.is_some_and(|expires| expires > scene.now), "no expiry");
        }
        assert!(!step.is_automatic() || scene.mode != Mode::Observe, "acted on an observed key");
    }
    let acts = plan.steps.iter().any(|step| step.is_automatic() && !step.is_extension());
    assert!(!acts || scene.recent.this_key || scene.recent.keys < policy.blast.keys_per_hour);
}

fn stored(scene: &Scene, effects: Effects) -> Scene {
    let mut after = scene.clone();
    after.store(effects);
    after
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn plans_obey_the_ladder((policy, scene) in scenes()) {
        let made = plan(&policy, &scene.situation(), &mut ids());
        check_plan(&policy, &scene, &made);
        prop_assert_eq!(&plan(&policy, &scene.situation(), &mut ids()), &made);
        prop_assert_eq!(execute(&made, NOW), execute(&made, NOW));
    }

    /// What an environment says is as if the policy itself said it, and what others say changes nothing.
    #[test]
    fn an_environment_is_a_policy_of_its_own((policy, scene) in scenes(), own in policies()) {
        let environment = Environment {
            contexts_per_key: Some(own.contexts_per_key),
            suspend_automatic: Some(own.suspend_automatic),
            revoke_automatic: Some(own.revoke_automatic),
            blast: BlastOverride {
                keys_per_hour: Some(own.blast.keys_per_hour),
                suspends_per_hour: Some(own.blast.suspends_per_hour),
            },
            ..Environment::default()
        };
        let with = |name: &str| ResponsePolicy {
            environments: [(name.into(), environment.clone())].into(),
            ..policy.clone()
        };
        let made = |policy: &ResponsePolicy| plan(policy, &scene.situation(), &mut ids());
        prop_assert_eq!(made(&with("production")), made(&own));
        prop_assert_eq!(made(&with("staging")), made(&policy));
    }

    #[test]
    fn undo_restores_what_was_in_force((policy, scene) in scenes(), all: bool, minutes in 0u64..300) {
        let made = plan(&policy, &scene.situation(), &mut ids());
        let effects = if all { approve(&made, |_| true, "admin:ops", NOW) } else { execute(&made, NOW) };
        let revokes = effects.containments.iter().any(|row| row.action == Action::Revoke);
        let done = stored(&scene, effects);
        let Some(incident) = done.incident.clone() else { return Ok(()) };
        let later = NOW.plus(minutes * MINUTE);
        let back = stored(&done, undo(&made, &incident, &done.containments, "admin:ops", later));
        let mut now_in_force = in_force(&back.containments, later);
        now_in_force.retain(|(_, action, _)| *action != Action::Revoke);
        prop_assert_eq!(now_in_force, in_force(&scene.containments, later));
        for row in &back.containments {
            let was = done.containments.iter().find(|have| have.id == row.id).unwrap();
            prop_assert!(row == was || row.revision == was.revision + 1);
        }
        // Undoing twice does nothing more.
        let twice = undo(&made, &back.incident.clone().unwrap(), &back.containments, "admin:ops", later);
        prop_assert!(revokes || twice.is_empty(), "{:?}", twice);
    }

    #[test]
    fn dismissing_lifts_everything_of_the_case((policy, scene) in scenes(), all: bool) {
        let made = plan(&policy, &scene.situation(), &mut ids());
        let effects = if all { approve(&made, |_| true, "admin:ops", NOW) } else { execute(&made, NOW) };
        let done = stored(&scene, effects);
        let Some(incident) = done.incident.clone() else { return Ok(()) };
        let effects = dismiss(&policy, &incident, &done.containments, "admin:ops", NOW).unwrap();
        prop_assert!(effects.feedback.iter().all(|feedback| !feedback.context.is_empty()));
        let closed = stored(&done, effects);
        let before: BTreeSet<_> = scene.containments.iter().map(|row| row.id).collect();
        for row in closed.containments.iter().filter(|row| row.in_force(NOW)) {
            let is_foreign = before.contains(&row.id) && !incident.containments.contains(&row.id);
            prop_assert!(is_foreign || row.action == Action::Revoke, "{:?}", row);
        }
        let incident = closed.incident.unwrap();
        prop_assert_eq!(incident.state, IncidentState::Dismissed);
        prop_assert!(resolve(&incident, &closed.containments, false, "admin:ops", NOW).is_err());
    }

    #[test]
    fn no_week_exceeds_the_blast_radius(
        policy in policies(),
        findings in prop::collection::vec((0u64..6, findings(), modes(), 0u64..40), 1..60),
    ) {
        let mut worlds: Vec<Scene> = (0..6).map(|n| {
            let mut scene = Scene::new(Mode::Contain, finding(1, Tier::Alert));
            scene.key.id = KeyId::from_bits(100 + n);
            scene
        }).collect();
        let (mut now, mut bits) = (NOW, 0u64);
        let mut acted: Vec<(Timestamp, KeyId, bool)> = Vec::new();
        for (key, finding, mode, minutes) in findings {
            now = now.plus(minutes * MINUTE);
            let everything: Vec<Containment> =
                worlds.iter().flat_map(|world| world.containments.clone()).collect();
            let scene = &mut worlds[usize::try_from(key).unwrap()];
            scene.mode = mode;
            scene.now = now;
            scene.finding = Finding { key: scene.key.id, time: now, ..finding };
            if let Some(actor) = scene.finding.actor.as_mut() {
                actor.id = ActorId::from_bits(actor.id.bits() + 1_000 * key);
            }
            scene.recent = RecentActions::count(&everything, scene.key.id, now);
            let mut fresh = || { bits += 1; bits };
            let made = plan(&policy, &scene.situation(), &mut fresh);
            check_plan(&policy, scene, &made);
            let effects = execute(&made, now);
            for row in effects.containments.iter().filter(|row| row.created == now && row.revision == 1) {
                acted.push((now, row.key, matches!(row.action, Action::Suspend | Action::Revoke)));
            }
            scene.store(effects);
            let lately = || acted.iter().filter(|(time, ..)| now.since(*time) < HOUR);
            let keys: BTreeSet<_> = lately().map(|(_, key, _)| key).collect();
            let suspended: BTreeSet<_> = lately().filter(|(.., hard)| *hard).map(|(_, key, _)| key).collect();
            prop_assert!(keys.len() <= policy.blast.keys_per_hour as usize, "{keys:?}");
            prop_assert!(suspended.len() <= policy.blast.suspends_per_hour as usize, "{suspended:?}");
        }
    }

    #[test]
    fn an_old_plan_contains_nobody((policy, scene) in scenes()) {
        let made = plan(&policy, &scene.situation(), &mut ids());
        let effects = execute(&made, NOW.plus(9 * DAY));
        prop_assert!(effects.containments.iter().all(|row| row.action == Action::Revoke));
    }
}
