//! What is relaxed when, what never is, and that it can be taken back.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokenwatch_model::finding::{Finding, Tier};
use tokenwatch_model::id::ActorId;
use tokenwatch_model::time::DAY;

use super::*;
use crate::incident::{count_refused, resolve};
use crate::situation::RecentActions;
use crate::situation::examples::{NOW, Scene, finding, ids_after, key_id, normal, volume_finding};
use crate::{BlastRadius, execute, plan};

const QUIET: u64 = 72 * HOUR;

/// A key on which a stranger was found and contained by itself.
fn contained(finding: Finding) -> Scene {
    let mut scene = Scene::new(Mode::Contain, finding);
    find_again(&mut scene, NOW);
    scene
}

/// The scene's finding comes again at a time.
fn find_again(scene: &mut Scene, now: Timestamp) {
    scene.now = now;
    scene.finding.time = now;
    let made = plan(&ResponsePolicy::default(), &scene.situation(), &mut ids_after(scene.containments.len()));
    scene.store(execute(&made, now));
}

fn fading<'a>(scene: &'a Scene, normal: Option<&'a Normal>, now: Timestamp) -> Fading<'a> {
    Fading {
        key: &scene.key,
        mode: scene.mode,
        leaked: false,
        incident: scene.incident.as_ref().unwrap(),
        containments: &scene.containments,
        said: &[],
        normal,
        recent: RecentRelaxations::default(),
        now,
    }
}

/// Owns what differs between cases.
struct Differs {
    scene: Scene,
    leaked: bool,
    said: Vec<Feedback>,
    recent: RecentRelaxations,
}

#[track_caller]
fn check(change: impl FnOnce(&mut Differs), after_us: u64, is_relaxed: bool) {
    let mut case = Differs {
        scene: contained(finding(1, Tier::Alert)),
        leaked: false,
        said: Vec::new(),
        recent: RecentRelaxations::default(),
    };
    change(&mut case);
    let normal = normal();
    let fading = fading(&case.scene, Some(&normal), NOW.plus(after_us));
    let fading = Fading { leaked: case.leaked, said: &case.said, recent: case.recent, ..fading };
    assert_eq!(relax(&ResponsePolicy::default(), &fading).is_some(), is_relaxed);
}

#[test]
fn only_quiet_relaxes() {
    check(|_| {}, QUIET, true);
    check(|_| {}, QUIET - 1, false);
    let knock = |case: &mut Differs| {
        let row = case.scene.containments[0].id;
        count_refused(case.scene.incident.as_mut().unwrap(), 1, &[row], NOW.plus(DAY));
    };
    check(knock, QUIET, false);
    check(knock, QUIET + DAY, true);
    // Somebody else on the key is refused, too: that is no sign of the one who was contained.
    let other = |case: &mut Differs| {
        let met = [ContainmentId::from_bits(4_711)];
        count_refused(case.scene.incident.as_mut().unwrap(), 1, &met, NOW.plus(DAY));
    };
    check(other, QUIET, true);
    // What an older version wrote does not say who it was.
    let older = |case: &mut Differs| {
        let handling = &mut case.scene.incident.as_mut().unwrap().handling;
        (handling.last_seen, handling.sightings) = (Some(NOW.plus(DAY)), None);
    };
    check(older, QUIET, false);
    check(older, QUIET + DAY, true);
}

#[test]
fn what_is_on_the_whole_key_waits_until_nobody_comes_to_it() {
    let mut scene = contained(volume_finding(Tier::Alert));
    assert!(scene.containments.iter().any(|row| context_of(&row.action).is_none()));
    let met = [ContainmentId::from_bits(4_711)];
    count_refused(scene.incident.as_mut().unwrap(), 1, &met, NOW.plus(DAY));
    let policy = ResponsePolicy { clamp_hours: 2_000, ..ResponsePolicy::default() };
    scene.containments.iter_mut().for_each(|row| row.expires = None);
    assert_eq!(relax(&policy, &fading(&scene, None, NOW.plus(QUIET))), None);
    assert!(relax(&policy, &fading(&scene, None, NOW.plus(QUIET + DAY))).is_some());
}

#[test]
fn some_things_are_never_relaxed() {
    check(|case| case.leaked = true, QUIET, false);
    check(|case| case.scene.mode = Mode::Observe, QUIET, false);
    let said = |key| {
        let context = crate::situation::examples::context(1);
        vec![Feedback { key: key_id(key), time: NOW, context, says: Says::Theft }]
    };
    check(|case| case.said = said(1), QUIET, false);
    check(|case| case.said = said(2), QUIET, true);
    check(|case| case.scene.incident.as_mut().unwrap().handling.automatic.clear(), QUIET, false);
    let close = |case: &mut Differs| {
        let incident = case.scene.incident.clone().unwrap();
        let closed = resolve(&incident, &case.scene.containments, false, "admin:ops", NOW).unwrap();
        case.scene.store(closed);
    };
    check(close, QUIET, false);
    check(|case| case.recent = RecentRelaxations { keys: 20, this_key: false }, QUIET, false);
    check(|case| case.recent = RecentRelaxations { keys: 20, this_key: true }, QUIET, true);
    let never = ResponsePolicy { relax_after_hours: 0, ..ResponsePolicy::default() };
    let scene = contained(finding(1, Tier::Alert));
    assert_eq!(relax(&never, &fading(&scene, None, NOW.plus(QUIET))), None);
}

#[test]
fn a_context_is_let_in_slowly_then_wholly_and_told_once() {
    let mut scene = contained(finding(1, Tier::Alert));
    let policy = ResponsePolicy::default();
    let normal = normal();
    let now = NOW.plus(QUIET);
    let made = relax(&policy, &fading(&scene, Some(&normal), now)).unwrap();
    assert_eq!(relax(&policy, &fading(&scene, Some(&normal), now)).as_ref(), Some(&made));
    insta::assert_snapshot!("relaxation", made.to_string());
    let effects = loosen(&made, &scene.containments, now);
    assert_eq!(
        (effects.alert, effects.audit[0].action.as_str()),
        (Some(AlertCause::Updated), "containment.relax")
    );
    assert_eq!(effects.containments[0].expires, scene.containments[0].expires);
    scene.store(effects);
    assert!(matches!(&scene.containments[0].action, Action::Clamp(clamp) if clamp.only.is_some()));
    assert_eq!(relax(&policy, &fading(&scene, Some(&normal), now.plus(QUIET - 1))), None);
    let later = now.plus(QUIET);
    let made = relax(&policy, &fading(&scene, Some(&normal), later)).unwrap();
    let effects = loosen(&made, &scene.containments, later);
    assert_eq!(effects.alert, None, "the message that everything ran out tells it");
    scene.store(effects);
    let (expired, since) =
        crate::incident::expired(scene.incident.as_ref().unwrap(), &scene.containments, later).unwrap();
    assert_eq!((expired.state.name(), since), ("expired", later));
    // Without a normal to hold it to, it is let in at once.
    let scene = contained(finding(1, Tier::Alert));
    let made = relax(&policy, &fading(&scene, None, now)).unwrap();
    assert_eq!(made.steps[0].to, None);
}

#[test]
fn who_comes_back_is_contained_for_longer_each_time() {
    let mut scene = contained(finding(1, Tier::Alert));
    let mut now = NOW;
    let mut hours = Vec::new();
    for _ in 0..3 {
        let refused =
            |row: &&Containment| row.in_force(now) && matches!(row.action, Action::RefuseContext(_));
        let row = scene.containments.iter().find(refused).unwrap();
        hours.push(row.expires.unwrap().since(row.created) / HOUR);
        now = now.plus(QUIET);
        let made = relax(&ResponsePolicy::default(), &fading(&scene, None, now)).unwrap();
        scene.store(loosen(&made, &scene.containments, now));
        now = now.plus(HOUR);
        find_again(&mut scene, now);
    }
    assert_eq!(hours, [168, 336, 672]);
}

#[test]
fn a_person_brings_back_what_was_relaxed_and_it_stays() {
    let mut scene = contained(finding(1, Tier::Alert));
    let before = scene.containments.clone();
    let now = NOW.plus(QUIET);
    let nothing = restore(scene.incident.as_ref().unwrap(), &scene.containments, "admin:ops", now);
    assert!(matches!(nothing, Err(RestoreError::Nothing(_))));
    let made = relax(&ResponsePolicy::default(), &fading(&scene, None, now)).unwrap();
    scene.store(loosen(&made, &scene.containments, now));
    let back = restore(scene.incident.as_ref().unwrap(), &scene.containments, "admin:ops", now).unwrap();
    scene.store(back);
    assert_eq!(scene.containments[0].action, before[0].action);
    assert_eq!(scene.incident.as_ref().unwrap().state.name(), "contained");
    let long_after = now.plus(2 * QUIET);
    assert_eq!(relax(&ResponsePolicy::default(), &fading(&scene, None, long_after)), None);
}

/// What is in force, without revisions and words.
fn in_force(rows: &[Containment], now: Timestamp) -> BTreeMap<ContainmentId, (Action, Option<Timestamp>)> {
    let ours = rows.iter().filter(|row| row.in_force(now));
    ours.map(|row| (row.id, (row.action.clone(), row.expires))).collect()
}

fn findings() -> impl Strategy<Value = Finding> {
    prop_oneof![
        (1u32..5).prop_map(|n| finding(n, Tier::Alert)),
        (1u32..5).prop_map(|n| finding(n, Tier::Act)),
        Just(volume_finding(Tier::Alert)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Undo restores exactly what was in force, and a relaxation never lasts longer nor adds anything.
    #[test]
    fn undo_restores_the_state(found in prop::collection::vec(findings(), 1..5), has_normal: bool, rungs in 1u64..3) {
        let mut scene = contained(found[0].clone());
        for (i, finding) in found.iter().enumerate().skip(1) {
            scene.finding = finding.clone();
            find_again(&mut scene, NOW.plus(i as u64 * HOUR));
        }
        let policy = ResponsePolicy { context_hours: 2_000, clamp_hours: 2_000, ..ResponsePolicy::default() };
        let normal = normal();
        let start = scene.clone();
        let mut now = NOW;
        for _ in 0..rungs {
            now = now.plus(QUIET + 5 * HOUR);
            let Some(made) = relax(&policy, &fading(&scene, has_normal.then_some(&normal), now)) else { continue };
            let before = in_force(&scene.containments, now);
            scene.store(loosen(&made, &scene.containments, now));
            for (id, (_, expires)) in in_force(&scene.containments, now) {
                prop_assert_eq!(before.get(&id).map(|(_, at)| *at), Some(expires), "nothing is new or longer");
            }
        }
        let incident = scene.incident.clone().unwrap();
        if !incident.handling.relaxed.is_empty() {
            if let Ok(back) = restore(&incident, &scene.containments, "admin:ops", now) {
                scene.store(back);
            }
            prop_assert_eq!(in_force(&scene.containments, now), in_force(&start.containments, now));
        }
    }

    /// A context is taken back a rung when nobody was met in it for long enough, and not before, whatever happens in
    /// others.
    #[test]
    fn each_context_has_a_quiet_of_its_own(
        found in prop::collection::vec(1u32..5, 1..5),
        knocks in prop::collection::vec((0usize..5, 0u64..200), 0..12),
        look in 72u64..300,
    ) {
        let mut scene = contained(finding(found[0], Tier::Alert));
        for (i, n) in found.iter().enumerate().skip(1) {
            scene.finding = finding(*n, Tier::Alert);
            find_again(&mut scene, NOW.plus(i as u64));
        }
        let now = NOW.plus(look * HOUR);
        scene.containments.iter_mut().for_each(|row| row.expires = None);
        let rows = scene.containments.clone();
        let mut last: BTreeMap<ContainmentId, Timestamp> =
            rows.iter().map(|row| (row.id, NOW)).collect();
        for (at, hours) in &knocks {
            let time = NOW.plus(hours % look * HOUR);
            let Some(row) = rows.get(*at) else { continue };
            count_refused(scene.incident.as_mut().unwrap(), 1, &[row.id], time);
            last.entry(row.id).and_modify(|known| *known = time.max(*known));
        }
        let made = relax(&ResponsePolicy::default(), &fading(&scene, None, now));
        let relaxed: Vec<ContainmentId> = made.iter().flat_map(|made| &made.steps).map(|step| step.before.id).collect();
        for row in rows.iter().filter(|row| context_of(&row.action).is_some()) {
            // The findings came within the first second.
            let quiet = now.since(last[&row.id]);
            if quiet >= QUIET + HOUR {
                prop_assert!(relaxed.contains(&row.id), "{quiet} of quiet");
            } else if quiet < QUIET {
                prop_assert!(!relaxed.contains(&row.id), "{quiet} of quiet");
            }
        }
    }

    /// In no hour is something relaxed on more keys than the blast radius lets be contained.
    #[test]
    fn no_hour_relaxes_more_than_the_blast_radius(limit in 0u32..4, minutes in prop::collection::vec(0u64..40, 8)) {
        let policy = ResponsePolicy {
            blast: BlastRadius { keys_per_hour: limit, suspends_per_hour: 0 },
            ..ResponsePolicy::default()
        };
        let mut worlds: Vec<Scene> = (0..8).map(|n| {
            let mut scene = Scene::new(Mode::Contain, finding(1, Tier::Alert));
            scene.key.id = key_id(100 + n);
            scene.finding.key = scene.key.id;
            if let Some(actor) = scene.finding.actor.as_mut() {
                actor.id = ActorId::from_bits(100 + n);
            }
            scene.recent = RecentActions::default();
            find_again(&mut scene, NOW);
            scene
        }).collect();
        let mut now = NOW.plus(QUIET);
        let mut done: Vec<(Timestamp, KeyId)> = Vec::new();
        for (n, minutes) in minutes.iter().enumerate() {
            now = now.plus(minutes * tokenwatch_model::time::MINUTE);
            let incidents: Vec<Incident> = worlds.iter().filter_map(|world| world.incident.clone()).collect();
            let scene = &mut worlds[n];
            let recent = RecentRelaxations::count(&incidents, scene.key.id, now);
            let made = relax(&policy, &Fading { recent, ..fading(scene, None, now) });
            let Some(made) = made else { continue };
            done.push((now, scene.key.id));
            let effects = loosen(&made, &scene.containments, now);
            scene.store(effects);
            let lately = done.iter().filter(|(time, _)| now.since(*time) < HOUR).count();
            prop_assert!(lately <= limit as usize, "{lately} keys");
        }
        prop_assert!(limit == 0 || !done.is_empty());
    }
}
