//! What people read of a billing alarm, to the byte in every format; and that nothing leaves with it that must not.

use tokenwatch_model::alert::Message;
use tokenwatch_model::id::{AlarmId, OwnerId};
use tokenwatch_model::key::Mode;
use tokenwatch_model::time::HOUR;

use super::*;
use crate::alert::render::{Carrier, Format, render};
use crate::alert::tests::{cites, found};
use crate::situation::examples::Scene;

/// 2026-03-17.
const TODAY: u64 = 20_529;

fn usd(dollars: f64) -> NanoUsd {
    NanoUsd::from_dollars(dollars)
}

fn driver(kind: &str, name: &str, today: f64, typical_day: Option<f64>) -> Driver {
    Driver { kind: kind.into(), name: name.into(), today: usd(today), typical_day: typical_day.map(usd) }
}

fn alarm(spender: Spender, name: &str, kind: AlarmKind) -> Alarm {
    let raised = Timestamp(TODAY * DAY + 14 * HOUR);
    let key = driver("key", "search-prod", 98.0, Some(9.5));
    let model = driver("model", "gpt-4o", 90.25, None);
    let drivers = if matches!(spender, Spender::Key(_)) { vec![model] } else { vec![key, model] };
    Alarm {
        id: AlarmId::from_bits(0x5eed),
        spender,
        name: name.into(),
        kind,
        period: kind.period(raised),
        raised,
        today: usd(104.5),
        month: usd(310.0),
        typical_day: Some(usd(10.02)),
        days: 30,
        limit: if kind.is_of_day() { usd(100.2) } else { usd(500.0) },
        times: kind.is_of_day().then_some(10.0),
        forecast: Some(usd(561.0)),
        drivers,
    }
}

fn of_key(scene: &Scene, kind: AlarmKind) -> Alarm {
    alarm(Spender::Key(scene.key.id), &scene.key.name, kind)
}

fn told(alarm: &Alarm, scene: &Scene) -> Alert {
    let is_provider = matches!(alarm.spender, Spender::Provider(_));
    Alert::of_alarm(
        alarm,
        21,
        &Background {
            key: matches!(alarm.spender, Spender::Key(_)).then_some(&scene.key),
            owner: scene.owner.as_ref().filter(|_| !is_provider),
            link: Some("https://tokenwatch.example/incidents/{incident}"),
            runbook: Some("https://wiki.example/tokenwatch"),
            cites: &cites,
        },
    )
}

fn http() -> Carrier {
    Carrier::Http("Bearer".to_owned())
}

fn shown(message: &Message) -> String {
    match message {
        Message::Http { path, body, .. } => {
            let body = serde_json::from_str::<serde_json::Value>(body)
                .map_or_else(|_| body.clone(), |body| serde_json::to_string_pretty(&body).unwrap());
            format!("POST {path}\n\n{body}")
        }
        Message::Mail { subject, text, id, thread } => {
            format!("Subject: {subject}\nMessage-ID: {id}\nReferences: {thread}\n\n{text}")
        }
        Message::Syslog { priority, time, kind, text } => format!("<{priority}> {time} {kind}\n{text}"),
        Message::Line(line) => line.clone(),
    }
}

#[test]
fn every_format() {
    let (scene, _) = found(Mode::Contain);
    let told = told(&of_key(&scene, AlarmKind::DayHigh), &scene);
    for format in Format::ALL {
        insta::assert_snapshot!(format.name(), shown(&render(&told, format, &http(), "0.1.0")));
    }
    let syslog = render(&told, Format::Cef, &Carrier::Syslog, "0.1.0");
    insta::assert_snapshot!("cef_syslog", shown(&syslog));
}

#[test]
fn every_kind_of_every_spender_as_people_read_it() {
    let (scene, _) = found(Mode::Contain);
    let mut texts = Vec::new();
    for kind in AlarmKind::ALL {
        texts.push(told(&of_key(&scene, kind), &scene).headline);
    }
    let spenders = [
        (Spender::Owner(OwnerId::from_bits(5)), "search-team", AlarmKind::DayMedium),
        (Spender::Provider("openai".into()), "openai", AlarmKind::MonthForecast),
        (Spender::Provider("openai".into()), "openai", AlarmKind::MonthCap),
    ];
    for (spender, name, kind) in spenders {
        let told = told(&alarm(spender, name, kind), &scene);
        texts.push(shown(&render(&told, Format::Email, &http(), "0.1.0")));
    }
    // Of a spender of which too little is known only the cap is told.
    let mut new = of_key(&scene, AlarmKind::MonthCap);
    (new.typical_day, new.forecast, new.days, new.drivers) = (None, None, 0, Vec::new());
    texts.push(shown(&render(&told(&new, &scene), Format::Email, &http(), "0.1.0")));
    insta::assert_snapshot!("texts", texts.join("\n----\n"));
}

#[test]
fn no_format_carries_a_credential_or_a_line_break_of_others_and_all_fit() {
    let secret = "sk-proj-Zm9vYmFyYmF6cXV4MDEy";
    let planted = format!("x\r\nBcc: all@example.com {secret} ` <!channel> [a](http://evil.example)");
    for name in [planted, "\u{1f600}".repeat(3_000), "&".repeat(3_000)] {
        let (mut scene, _) = found(Mode::Contain);
        scene.key.name = name.as_str().into();
        scene.owner.as_mut().unwrap().name = name.as_str().into();
        for spender in [Spender::Key(scene.key.id), Spender::Provider(name.as_str().into())] {
            let mut alarm = alarm(spender, &name, AlarmKind::DayHigh);
            alarm.drivers = vec![driver("key", &name, 1.0, None), driver("model", &name, 1.0, None)];
            let told = told(&alarm, &scene);
            for format in Format::ALL {
                let message = render(&told, format, &http(), "0.1.0");
                let text = format!("{message:?}");
                assert!(!text.contains(&secret[6..]) && !text.contains("\\nBcc"), "{format:?}: {text}");
                let Message::Http { body, .. } = message else { continue };
                assert!(format != Format::Teams || body.len() <= 28 << 10, "{}", body.len());
                if format == Format::Opsgenie {
                    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
                    assert!(body["message"].as_str().unwrap().chars().count() <= 130);
                }
            }
        }
    }
}
