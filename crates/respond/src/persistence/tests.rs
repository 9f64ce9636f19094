//! Checks as they are kept, told and judged; whose call made what.

use tokenwatch_model::artifact::Artifact;
use tokenwatch_model::containment::Containment;
use tokenwatch_model::finding::Tier;
use tokenwatch_model::handling::NotAsked;
use tokenwatch_model::key::{Mode, Rotation};
use tokenwatch_model::time::{DAY, HOUR, MINUTE};

use super::*;
use crate::runbook::{Step, StepState, Tick, mark, shipped, steps};
use crate::situation::examples::{NOW, Scene, containment, context, finding, ids, key_id};
use crate::{ResponsePolicy, execute, plan};

fn found(kind: ArtifactKind, id: &str, created: Timestamp) -> Found {
    let artifact = Artifact {
        kind,
        id: id.into(),
        created,
        what: String::new(),
        status: SmolStr::default(),
        made: SmolStr::default(),
    };
    Found {
        provider: "openai".into(),
        credential: "env:OPENAI_API_KEY".into(),
        artifact,
        call: CreatingCall::Unknown,
        other_key: None,
        accounted: None,
    }
}

fn asked(provider: &str, kinds: &[ArtifactKind], failed: &[(&[ArtifactKind], &str)]) -> Asked {
    let failed = failed.iter().map(|(kinds, why)| NotAsked { kinds: kinds.to_vec(), why: (*why).to_owned() });
    Asked {
        provider: provider.into(),
        credential: "env:KEY".into(),
        kinds: kinds.to_vec(),
        failed: failed.collect(),
    }
}

fn check_of(time: Timestamp, asked: Vec<Asked>, found: Vec<Found>) -> PersistenceCheck {
    let since = Timestamp(NOW.0 - 43 * SECOND);
    PersistenceCheck { time, who: "cli:ada".into(), since, until: None, asked, found, more: 0 }
}

/// A theft that was contained at `NOW`, in this mode.
fn scene(mode: Mode) -> Scene {
    let mut scene = Scene::new(mode, finding(1, Tier::Act));
    let made = plan(&ResponsePolicy::default(), &scene.situation(), &mut ids());
    scene.store(execute(&made, NOW));
    scene
}

fn step(scene: &Scene, now: Timestamp) -> Step {
    let facts = Facts {
        incident: scene.incident.as_ref().unwrap(),
        key: &scene.key,
        owner: None,
        containments: &scene.containments,
        created: None,
        now,
    };
    steps(&shipped(), &facts).into_iter().find(|step| step.id == PERSISTENCE).unwrap()
}

#[track_caller]
fn check_step(scene: &Scene, now: Timestamp, state: StepState, why: &str) {
    let step = step(scene, now);
    assert_eq!((step.state, step.why.as_str()), (state, why));
}

fn ask(scene: &mut Scene, check: PersistenceCheck, accounted: &[&str]) -> Effects {
    let accounted: Vec<SmolStr> = accounted.iter().copied().map(SmolStr::new).collect();
    let effects = record(scene.incident.clone().unwrap(), check, &accounted);
    scene.store(effects.clone());
    effects
}

const FILE: &[ArtifactKind] = &[ArtifactKind::File];
const BATCH: &[ArtifactKind] = &[ArtifactKind::Batch];

#[test]
fn what_was_found_is_told_kept_and_opens_the_step() {
    let mut scene = scene(Mode::Contain);
    let at = NOW.plus(MINUTE);
    let three = vec![
        found(ArtifactKind::Batch, "batch_1", NOW),
        found(ArtifactKind::File, "file-2", NOW.plus(SECOND)),
        found(ArtifactKind::File, "file-1", NOW),
    ];
    let answered = vec![
        asked("openai", &[ArtifactKind::File, ArtifactKind::Batch], &[]),
        asked("anthropic", &[], &[(&[ArtifactKind::File, ArtifactKind::Batch], "403: may not list")]),
    ];
    let effects = ask(&mut scene, check_of(at, answered, three), &[]);
    let incident = effects.incident.as_ref().unwrap();
    let line = incident.timeline.last().unwrap();
    assert_eq!(line.who, "cli:ada");
    assert_eq!(
        line.what,
        "checked persistence at openai: 2 files, 1 batch since 2026-03-01 11:59:17 UTC; anthropic could not be asked: \
         403: may not list"
    );
    assert_eq!(effects.audit[0].action, "incident.persistence");
    assert!(effects.audit[0].detail.contains("\"unaccounted\":[\"batch_1\",\"file-1\",\"file-2\"]"));
    assert_eq!(effects.alert, Some(AlertCause::Updated));
    assert_eq!(verdict(incident.handling.persistence.as_ref().unwrap()), Verdict::Found);
    check_step(
        &scene,
        at,
        StepState::Open,
        "asked at 2026-03-01 12:01:00 UTC by cli:ada: nobody has accounted for 2 files, 1 batch (batch_1, file-1, file-2), \
         created since the stranger came; anthropic could not be asked: 403: may not list",
    );
}

#[test]
fn a_gap_is_not_nothing() {
    let mut scene = scene(Mode::Contain);
    let kinds = [ArtifactKind::File, ArtifactKind::VectorStore];
    let gap = asked("openai", FILE, &[(&kinds[1..], "404: no such URL")]);
    let effects = ask(&mut scene, check_of(NOW, vec![gap], Vec::new()), &[]);
    assert_eq!(effects.alert, None);
    let check = scene.incident.as_ref().unwrap().handling.persistence.clone().unwrap();
    assert_eq!(verdict(&check), Verdict::NotAsked);
    check_step(
        &scene,
        NOW,
        StepState::Open,
        "asked at 2026-03-01 12:00:00 UTC by cli:ada: openai: nothing since 2026-03-01 11:59:17 UTC; openai could not be asked \
         for vector stores: 404: no such URL",
    );
    let nobody = check_of(NOW, Vec::new(), Vec::new());
    assert_eq!(verdict(&nobody), Verdict::NotAsked);
    assert_eq!(summary(&nobody), "no provider: none that the key may use is configured");
}

#[test]
fn nothing_answers_the_step_once_the_stranger_is_stopped() {
    let nothing = |at| check_of(at, vec![asked("openai", FILE, &[])], Vec::new());
    let mut contained = scene(Mode::Contain);
    ask(&mut contained, nothing(Timestamp(NOW.0 - SECOND)), &[]);
    assert!(step(&contained, NOW).why.ends_with("stopped only at 2026-03-01 12:00:00 UTC: ask again"));
    ask(&mut contained, nothing(NOW), &[]);
    check_step(
        &contained,
        NOW,
        StepState::Done,
        "asked at 2026-03-01 12:00:00 UTC by cli:ada: openai: nothing since 2026-03-01 11:59:17 UTC",
    );
    // What stopped it ran out: it may be back.
    let later = NOW.plus(30 * DAY);
    assert!(step(&contained, later).why.ends_with("the stranger is not stopped: ask again once it is"));
    // Its credential has ended since.
    contained.key.rotation = Some(Rotation { rotated: NOW, previous_ends: NOW.plus(HOUR) });
    assert!(step(&contained, later).why.ends_with("stopped only at 2026-03-01 13:00:00 UTC: ask again"));
    ask(&mut contained, nothing(NOW.plus(HOUR)), &[]);
    assert_eq!(step(&contained, later).state, StepState::Done);

    // A second context of the thief was refused only later; a suspension before that stops both.
    let mut second = scene(Mode::Contain);
    let row = |action, after| Containment {
        incident: second.incident.as_ref().map(|incident| incident.id),
        created: NOW.plus(after),
        ..containment(1, action)
    };
    let (later, suspended) = (row(Action::RefuseContext(context(2)), HOUR), row(Action::Suspend, MINUTE));
    ask(&mut second, nothing(NOW.plus(2 * MINUTE)), &[]);
    second.containments.push(later);
    assert!(
        step(&second, NOW.plus(HOUR)).why.ends_with("stopped only at 2026-03-01 13:00:00 UTC: ask again")
    );
    second.containments.push(suspended);
    assert_eq!(step(&second, NOW.plus(HOUR)).state, StepState::Done);

    let mut observed = scene(Mode::Observe);
    ask(&mut observed, nothing(NOW), &[]);
    assert_eq!(step(&observed, NOW).state, StepState::Open);
}

#[test]
fn what_a_person_accounts_for_stays_so_and_news_open_the_step_again() {
    let mut scene = scene(Mode::Contain);
    let both = |at, ids: &[&str]| {
        let found = ids.iter().map(|id| found(ArtifactKind::File, id, NOW)).collect();
        check_of(at, vec![asked("openai", FILE, &[])], found)
    };
    ask(&mut scene, both(NOW, &["file-1", "file-2"]), &["file-1"]);
    assert!(step(&scene, NOW).why.contains("1 file (file-2)"), "{}", step(&scene, NOW).why);
    ask(&mut scene, both(NOW, &["file-1", "file-2"]), &["file-2"]);
    assert!(step(&scene, NOW).why.ends_with("; accounted for by cli:ada"));
    assert_eq!(step(&scene, NOW).state, StepState::Done);

    ask(&mut scene, both(NOW, &["file-1", "file-3"]), &[]);
    assert_eq!(step(&scene, NOW).state, StepState::Open);
    let tick = |scene: &mut Scene, tick| {
        let incident = scene.incident.clone().unwrap();
        let at = NOW.plus(MINUTE);
        scene.store(mark(incident, &shipped(), PERSISTENCE, tick, "", "cli:bob", at).unwrap());
    };
    let unaccounted = |scene: &Scene| {
        let check = scene.incident.as_ref().unwrap().handling.persistence.clone().unwrap();
        check.unaccounted().map(|one| one.artifact.id.to_string()).collect::<Vec<_>>()
    };
    tick(&mut scene, Tick::Done);
    assert_eq!((step(&scene, NOW).state, unaccounted(&scene)), (StepState::Done, vec![]));
    tick(&mut scene, Tick::Open);
    assert_eq!((step(&scene, NOW).state, unaccounted(&scene)), (StepState::Open, vec!["file-3".into()]));
    tick(&mut scene, Tick::Done);
    // The same again is no news, something else is.
    let same = ask(&mut scene, both(NOW, &["file-1", "file-3"]), &[]);
    assert_eq!((step(&scene, NOW).state, same.alert), (StepState::Done, None));
    let news = ask(&mut scene, both(NOW, &["file-1", "file-3", "file-4"]), &[]);
    assert_eq!((step(&scene, NOW).state, news.alert), (StepState::Open, Some(AlertCause::Updated)));
    assert_eq!(unaccounted(&scene), ["file-4"]);
    let told = news.incident.unwrap().timeline.last().unwrap().what.clone();
    assert_eq!(told, "step open again: check_persistence; 1 artifact came to light since");
}

#[test]
fn what_was_found_is_not_forgotten_because_the_provider_is_away() {
    let mut scene = scene(Mode::Contain);
    let file = || vec![found(ArtifactKind::File, "file-1", NOW), found(ArtifactKind::File, "file-2", NOW)];
    let key = |asked: Asked| Asked { credential: "env:OPENAI_API_KEY".into(), ..asked };
    let whole = || vec![key(asked("openai", FILE, &[]))];
    ask(&mut scene, check_of(NOW, whole(), file()), &["file-1"]);
    let away = vec![key(asked("openai", &[], &[(FILE, "no connection")]))];
    let again = ask(&mut scene, check_of(NOW, away, Vec::new()), &[]);
    let kept = again.incident.unwrap().handling.persistence.unwrap();
    assert_eq!((kept.found.len(), verdict(&kept), again.alert), (2, Verdict::Found, None));
    let back = ask(&mut scene, check_of(NOW, whole(), file()), &[]);
    let check = back.incident.unwrap().handling.persistence.unwrap();
    let left: Vec<&str> = check.unaccounted().map(|one| one.artifact.id.as_str()).collect();
    assert_eq!((left, back.alert), (vec!["file-2"], None), "words stay, and nothing is news");
    ask(&mut scene, check_of(NOW, whole(), Vec::new()), &[]);
    assert_eq!(step(&scene, NOW).state, StepState::Done, "it was removed");
}

#[test]
fn what_is_kept_is_bounded_and_the_rest_is_counted() {
    let mut scene = scene(Mode::Contain);
    let many = (0..150).map(|i| found(ArtifactKind::File, &format!("file-{i:03}"), NOW)).collect();
    ask(&mut scene, check_of(NOW, vec![asked("openai", FILE, &[])], many), &[]);
    let check = scene.incident.as_ref().unwrap().handling.persistence.clone().unwrap();
    assert_eq!((check.found.len(), check.more), (100, 50));
    let why = step(&scene, NOW).why;
    assert!(why.contains("file-003, file-004, 145 more)"), "{why}");
    // Whoever accounts for all that is kept has not seen the rest.
    let mut accounted = check;
    accounted.found.clear();
    assert_eq!(verdict(&accounted), Verdict::Found);
}

fn call(key: u64, is_stranger: bool, endpoint: Endpoint, began: Timestamp) -> GatewayCall {
    let ended = began.plus(SECOND);
    GatewayCall { key: key_id(key), provider: "openai".into(), endpoint, began, ended, is_stranger }
}

/// Two files, created at `NOW` and so many seconds later, and a batch at `NOW`.
#[track_caller]
fn check_calls(calls: &[GatewayCall], apart: u64, want: [CreatingCall; 3]) {
    let mut all = [
        found(ArtifactKind::File, "file-1", NOW),
        found(ArtifactKind::File, "file-2", NOW.plus(apart * SECOND)),
        found(ArtifactKind::Batch, "batch_1", NOW),
    ];
    attribute(&mut all, key_id(1), calls);
    assert_eq!(all.map(|one| one.call), want);
}

#[test]
fn calls_are_told_apart_by_time_as_far_as_that_goes() {
    use CreatingCall::{Key, Nobody, OtherKey, Stranger, Unclear};
    let files = |key, is_stranger, at| call(key, is_stranger, Endpoint::Files, at);
    check_calls(&[], 9, [Nobody; 3]);
    check_calls(&[files(1, true, NOW)], 9, [Stranger, Nobody, Nobody]);
    check_calls(&[call(1, true, Endpoint::Batches, NOW)], 9, [Nobody, Nobody, Stranger]);
    check_calls(&[files(1, false, NOW), files(2, false, NOW.plus(9 * SECOND))], 9, [Key, OtherKey, Nobody]);
    // One call and two files of the same second: one was made in another way, and nobody knows which.
    check_calls(&[files(1, true, NOW)], 0, [Unclear, Unclear, Nobody]);
    check_calls(&[files(1, true, NOW), files(1, true, NOW)], 0, [Stranger, Stranger, Nobody]);
    check_calls(&[files(1, true, NOW), files(1, false, NOW)], 9, [Unclear, Nobody, Nobody]);
    // A clock that is two seconds off still fits, three do not.
    check_calls(&[files(1, true, NOW.plus(2 * SECOND))], 9, [Stranger, Nobody, Nobody]);
    check_calls(&[files(1, true, NOW.plus(3 * SECOND))], 9, [Nobody; 3]);
    let other = GatewayCall { provider: "azure".into(), ..files(1, true, NOW) };
    check_calls(&[other], 9, [Nobody; 3]);
    let mut one = [found(BATCH[0], "batch_1", NOW)];
    attribute(&mut one, key_id(1), &[call(7, true, Endpoint::Batches, NOW)]);
    assert_eq!(one[0].other_key, Some(key_id(7)));
}
