//! Pagers: PagerDuty's Events API v2 (summary 1,024 characters, `dedup_key` 255) and Opsgenie's Alert API v2 (message
//! 130, alias 512, description 15,000). Both deduplicate by the incident's id.

use serde_json::{Value, json};
use tokenwatch_model::alert::{AlertCause, Message, SecretPlace};

use super::post;
use super::text::{cut, plain, references};
use crate::alert::Alert;

const SUMMARY_MAX: usize = 1_024;
const MESSAGE_MAX: usize = 130;
const DESCRIPTION_MAX: usize = 15_000;

pub(super) fn pagerduty(alert: &Alert) -> Message {
    let action = match alert.cause {
        AlertCause::Acknowledged => "acknowledge",
        AlertCause::Resolved | AlertCause::Dismissed => "resolve",
        AlertCause::Opened | AlertCause::Updated | AlertCause::Escalated | AlertCause::Test => "trigger",
    };
    let links: Vec<Value> =
        alert.links.iter().map(|link| json!({"href": link.url, "text": link.text})).collect();
    let commands: Vec<String> =
        alert.what_to_press.iter().map(|press| format!("{}: {}", press.command, press.effect)).collect();
    let mut body = json!({
        "event_action": action,
        "dedup_key": alert.incident.id,
        "client": "TokenWatch",
        "payload": {
            "summary": cut(&alert.headline, SUMMARY_MAX),
            "source": alert.key.name,
            "severity": pagerduty_severity(alert),
            "timestamp": alert.time.to_string(),
            "component": alert.key.service,
            "group": alert.owner.as_ref().map_or("", |owner| owner.name.as_str()),
            "class": alert.incident.rule,
            "custom_details": {
                "what_happened": alert.what_happened,
                "how_sure": alert.how_sure.text,
                "why": alert.how_sure.reasons,
                "what_was_done": alert.what_was_done,
                "cost_so_far": alert.cost.text,
                "what_to_press": commands,
                "key": alert.key,
                "state": alert.incident.state,
                "alert": alert.id,
                "references": references(alert),
            },
        },
        "links": links,
    });
    if let (Some(link), Some(members)) = (alert.links.first(), body.as_object_mut()) {
        members.insert("client_url".to_owned(), json!(link.url));
    }
    post("/v2/enqueue".to_owned(), &body, SecretPlace::Field("routing_key"))
}

fn pagerduty_severity(alert: &Alert) -> &'static str {
    match (alert.cause, alert.incident.severity) {
        (AlertCause::Test, _) => "info",
        (_, "critical") => "critical",
        (_, "high") => "error",
        (_, "medium") => "warning",
        _ => "info",
    }
}

pub(super) fn opsgenie(alert: &Alert) -> Message {
    let secret = SecretPlace::Header("authorization", "GenieKey ".to_owned());
    let id = &alert.incident.id;
    let note = json!({"source": "TokenWatch", "note": cut(&plain(alert), DESCRIPTION_MAX)});
    let on = |what: &str| format!("/v2/alerts/{id}/{what}?identifierType=alias");
    match alert.cause {
        AlertCause::Acknowledged => post(on("acknowledge"), &note, secret),
        AlertCause::Resolved | AlertCause::Dismissed => post(on("close"), &note, secret),
        AlertCause::Opened | AlertCause::Updated | AlertCause::Escalated | AlertCause::Test => {
            post("/v2/alerts".to_owned(), &opsgenie_alert(alert), secret)
        }
    }
}

fn opsgenie_alert(alert: &Alert) -> Value {
    let priority = match (alert.cause, alert.incident.severity) {
        (AlertCause::Test, _) => "P5",
        (_, "critical") => "P1",
        (_, "high") => "P2",
        (_, "medium") => "P3",
        _ => "P4",
    };
    let link = alert.links.first().map_or("", |link| link.url.as_str());
    json!({
        "message": cut(&alert.headline, MESSAGE_MAX),
        "alias": alert.incident.id,
        "description": cut(&plain(alert), DESCRIPTION_MAX),
        "priority": priority,
        "source": "TokenWatch",
        "entity": alert.key.name,
        "tags": ["tokenwatch", alert.incident.severity, alert.incident.state],
        "details": {
            "alert": alert.id,
            "key": alert.key.id,
            "environment": alert.key.environment,
            "owner": alert.owner.as_ref().map_or("", |owner| owner.name.as_str()),
            "link": link,
            "references": references(alert),
        },
    })
}
