//! What an alert says, and what it never says.

use tokenwatch_model::alert::Subject;
use tokenwatch_model::finding::Tier;
use tokenwatch_model::key::Mode;
use tokenwatch_model::time::MINUTE;

use super::render::{Carrier, Format, render};
use super::*;
use crate::incident::{acknowledge, dismiss, is_acknowledged, resolve};
use crate::runbook::Facts;
use crate::situation::examples::{NOW, Scene, finding, ids, volume_finding};
use crate::{Effects, ResponsePolicy, execute, plan};

pub(super) fn cites(rule: &str) -> Option<Cites> {
    (rule == "newcomer").then_some(Cites {
        title: "A stranger on the key",
        atlas: &["AML.T0012", "AML.T0040"],
        owasp: &["LLM10:2025"],
        nist: &["MEASURE 2.7", "MANAGE 4.1"],
    })
}

/// A scene in which a thief was found and acted on.
pub(super) fn found(mode: Mode) -> (Scene, Effects) {
    act(Scene::new(mode, finding(1, Tier::Alert)))
}

fn act(mut scene: Scene) -> (Scene, Effects) {
    let mut ids = ids();
    let plan = plan(&ResponsePolicy::default(), &scene.situation(), &mut ids);
    let effects = execute(&plan, scene.now.plus(250_000));
    scene.store(effects.clone());
    (scene, effects)
}

pub(super) fn alert_of(scene: &Scene, cause: AlertCause) -> Alert {
    alert_beside(scene, cause, &[])
}

fn alert_beside(scene: &Scene, cause: AlertCause, beside: &[(IncidentId, SmolStr)]) -> Alert {
    let incident = scene.incident.clone().unwrap();
    let time = incident.timeline.last().unwrap().time;
    let subject = Subject::Incident(Box::new(incident.clone()));
    let stored = StoredAlert { sequence: 17, time, cause, subject };
    let facts = Facts {
        incident: &incident,
        key: &scene.key,
        owner: scene.owner.as_ref(),
        containments: &scene.containments,
        created: None,
        now: time,
    };
    let steps = runbook::steps(&runbook::shipped(), &facts);
    let about = About {
        key: &scene.key,
        owner: scene.owner.as_ref(),
        containments: &scene.containments,
        steps: &steps,
        beside,
        link: Some("https://tokenwatch.example/incidents/{incident}"),
        runbook: Some("https://wiki.example/tokenwatch"),
        approvals: &[],
        cites: &cites,
    };
    Alert::new(&stored, &incident, cause, &about)
}

#[test]
fn one_thief_on_several_keys_is_told_of_with_each() {
    let (scene, _) = found(Mode::Contain);
    let beside =
        [(IncidentId::from_bits(7), "search-dev".into()), (IncidentId::from_bits(8), "batch".into())];
    let alert = alert_beside(&scene, AlertCause::Opened, &beside);
    let text = |alert: &Alert| format!("{:?}", render(alert, Format::Email, &Carrier::Syslog, "0"));
    let want =
        "Not alone: 2 more keys of search-team within the hour: search-dev (inc_000000000007), batch (inc_";
    assert!(text(&alert).contains(want), "{}", text(&alert));
    assert!(!text(&alert_of(&scene, AlertCause::Opened)).contains("Not alone"));
    let json = serde_json::to_value(&alert).unwrap();
    assert_eq!(json["beside"][0], serde_json::json!({ "incident": "inc_000000000007", "key": "search-dev" }));
}

#[test]
fn changes_that_people_want_to_hear_of_cause_alerts() {
    let (mut scene, opened) = found(Mode::Contain);
    assert_eq!(opened.alert, Some(AlertCause::Opened));
    // The same thief, seen again a minute later: nothing new.
    scene.now = NOW.plus(MINUTE);
    scene.finding.time = scene.now;
    let (mut scene, again) = act(scene);
    assert_eq!((again.incident.is_some(), again.alert), (true, None));
    // In another context: refused there, too.
    scene.finding = Finding { time: scene.now, ..finding(2, Tier::Alert) };
    let (scene, roams) = act(scene);
    assert_eq!(roams.alert, Some(AlertCause::Updated));
    let incident = scene.incident.clone().unwrap();
    let later = NOW.plus(5 * MINUTE);
    let taken = acknowledge(incident.clone(), "admin:ops", later).unwrap();
    assert_eq!(taken.alert, Some(AlertCause::Acknowledged));
    assert!(!is_acknowledged(&incident) && is_acknowledged(&taken.incident.unwrap()));
    let closed = resolve(&incident, &scene.containments, false, "admin:ops", later).unwrap();
    assert_eq!(closed.alert, Some(AlertCause::Resolved));
    assert!(acknowledge(closed.incident.unwrap(), "admin:ops", later).is_err());
    let policy = ResponsePolicy::default();
    let ours = dismiss(&policy, &incident, &scene.containments, "admin:ops", later).unwrap();
    assert_eq!(ours.alert, Some(AlertCause::Dismissed));
    // A notice opens no case, so nobody is told.
    let (_, notice) = act(Scene::new(Mode::Contain, finding(1, Tier::Notice)));
    assert_eq!(notice.alert, None);
}

#[test]
fn an_alert_as_json() {
    let (scene, _) = found(Mode::Contain);
    insta::assert_json_snapshot!("contained", alert_of(&scene, AlertCause::Opened));
}

#[test]
fn an_alert_without_owner_or_actor() {
    let mut scene = Scene::new(Mode::Observe, volume_finding(Tier::Act));
    (scene.owner, scene.finding.once_in_days) = (None, f64::INFINITY);
    let (scene, _) = act(scene);
    insta::assert_json_snapshot!("observed", alert_of(&scene, AlertCause::Escalated));
}

/// Everything that a caller, or a careless colleague, can put a credential into.
#[test]
fn no_format_carries_a_credential_or_a_line_break_of_others() {
    const SECRETS: [&str; 4] = [
        "sk-tw-0000000000w1-9f8e7d6c5b4a39281706f5e4d3c2b1a0",
        "sk-proj-Zm9vYmFyYmF6cXV4MDEy",
        "xoxb-123456789012-abcdefghijkl",
        "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OUFCQ0RFRg",
    ];
    for secret in SECRETS {
        let planted = format!("x\r\nBcc: all@example.com {secret} ` <!channel> [a](http://evil.example)");
        let (mut scene, _) = found(Mode::Contain);
        let owner = scene.owner.as_mut().unwrap();
        (owner.name, owner.on_call, owner.channel) =
            (planted.as_str().into(), planted.as_str().into(), planted.as_str().into());
        (scene.key.name, scene.key.environment, scene.key.service) =
            (planted.as_str().into(), planted.as_str().into(), planted.as_str().into());
        let incident = scene.incident.as_mut().unwrap();
        incident.title.clone_from(&planted);
        for finding in &mut incident.findings {
            finding.rule = planted.as_str().into();
            finding.summary.clone_from(&planted);
            finding.reasons[0].what.clone_from(&planted);
            let context = &mut finding.actor.as_mut().unwrap().context;
            (context.client, context.model) = (Some(planted.as_str().into()), Some(planted.as_str().into()));
            context.client_version = Some(planted.as_str().into());
        }
        for line in &mut incident.timeline {
            (line.who, line.what) = (planted.as_str().into(), planted.clone());
        }
        let alert = alert_of(&scene, AlertCause::Opened);
        for format in Format::ALL {
            for carrier in [Carrier::Http("Bearer".into()), Carrier::Syslog, Carrier::File] {
                let message = render(&alert, format, &carrier, "0.1.0");
                let text = format!("{message:?}");
                assert!(!text.contains(&secret[6..]), "{format:?}: {text}");
                assert!(!text.contains("\\nBcc") && !text.contains("\nBcc"), "{format:?}: {text}");
                // A header is plain text, in which nobody can be called.
                let calls = text.matches("<!channel>").count();
                assert!(format != Format::Slack || calls == 1, "{text}");
                assert!(format != Format::Teams || !text.contains("](http"), "{text}");
            }
        }
    }
}
