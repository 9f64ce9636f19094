//! What receivers get, to the byte; and that it fits them whatever an incident holds.

use insta::assert_snapshot;
use tokenwatch_model::key::Mode;

use super::*;
use crate::alert::tests::{alert_of, found};
use tokenwatch_model::alert::AlertCause;

/// A message as people can compare it: JSON indented, everything else as it is.
fn shown(message: &Message) -> String {
    match message {
        Message::Http { path, headers, body, secret } => {
            let body = match serde_json::from_str::<serde_json::Value>(body) {
                Ok(body) => serde_json::to_string_pretty(&body).unwrap(),
                Err(_) => body.clone(),
            };
            format!("POST {path}\n{headers:?}\n{secret:?}\n\n{body}")
        }
        Message::Mail { subject, text, id, thread } => {
            format!("Subject: {subject}\nMessage-ID: {id}\nReferences: {thread}\n\n{text}")
        }
        Message::Syslog { priority, time, kind, text } => format!("<{priority}> {time} {kind}\n{text}"),
        Message::Line(line) => line.clone(),
    }
}

fn of(cause: AlertCause, format: Format, carrier: &Carrier) -> Message {
    let (scene, _) = found(Mode::Contain);
    render(&alert_of(&scene, cause), format, carrier, "0.1.0")
}

fn http() -> Carrier {
    Carrier::Http("Bearer".to_owned())
}

#[test]
fn every_format() {
    for format in Format::ALL {
        assert_snapshot!(format.name(), shown(&of(AlertCause::Opened, format, &http())));
        assert_eq!(Format::from_name(format.name()), Some(format));
    }
    assert_snapshot!("cef_syslog", shown(&of(AlertCause::Updated, Format::Cef, &Carrier::Syslog)));
}

#[test]
fn pagers_are_told_of_every_turn() {
    let turns: Vec<String> = AlertCause::ALL
        .into_iter()
        .map(|cause| {
            let path = |format| match of(cause, format, &http()) {
                Message::Http { path, body, .. } => (path, body),
                _ => panic!("no POST"),
            };
            let (_, body) = path(Format::PagerDuty);
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            let (opsgenie, _) = path(Format::Opsgenie);
            format!("{}: {} {} {opsgenie}", cause.name(), body["event_action"], body["dedup_key"])
        })
        .collect();
    assert_snapshot!("pager_turns", turns.join("\n"));
}

#[test]
fn everything_fits_its_receiver() {
    for filler in ["x", "&", "\u{1f600}", "<"] {
        let (mut scene, _) = found(Mode::Contain);
        let long: String = filler.repeat(3_000);
        let incident = scene.incident.as_mut().unwrap();
        incident.title.clone_from(&long);
        let finding = incident.findings[0].clone();
        incident.findings = vec![finding; 16];
        incident.finding_count = 400;
        for finding in &mut incident.findings {
            finding.summary.clone_from(&long);
            finding.reasons = vec![finding.reasons[0].clone(); 40];
            finding.reasons.iter_mut().for_each(|reason| reason.what.clone_from(&long));
        }
        let line = incident.timeline[0].clone();
        incident.timeline = vec![line; 60];
        incident.timeline.iter_mut().for_each(|line| line.what.clone_from(&long));
        scene.key.name = long.as_str().into();
        let alert = alert_of(&scene, AlertCause::Opened);
        check_slack(&alert);
        let size = |format| match render(&alert, format, &http(), "0.1.0") {
            Message::Http { body, .. } => body,
            _ => panic!("no POST"),
        };
        let json = |format| serde_json::from_str::<serde_json::Value>(&size(format)).unwrap();
        let chars = |value: &serde_json::Value| value.as_str().unwrap().chars().count();
        assert!(size(Format::Teams).len() <= 28 << 10, "{} {filler}", size(Format::Teams).len());
        assert!(size(Format::PagerDuty).len() < 512 << 10);
        assert!(chars(&json(Format::PagerDuty)["payload"]["summary"]) <= 1_024);
        assert!(chars(&json(Format::Opsgenie)["message"]) <= 130);
        assert!(chars(&json(Format::Opsgenie)["description"]) <= 15_000);
    }
}

#[track_caller]
fn check_slack(alert: &Alert) {
    let Message::Http { body, .. } = render(alert, Format::Slack, &http(), "0.1.0") else {
        panic!("no POST")
    };
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let chars = |value: &serde_json::Value| value.as_str().map_or(0, |text| text.chars().count());
    let blocks = body["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50);
    for block in blocks {
        let most = if block["type"] == "header" { 150 } else { 3_000 };
        assert!(chars(&block["text"]["text"]) <= most, "{block}");
        for field in block["fields"].as_array().into_iter().flatten() {
            assert!(chars(&field["text"]) <= 2_000, "{field}");
        }
    }
}
