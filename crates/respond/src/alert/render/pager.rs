//! Pagers: PagerDuty's Events API v2 (summary 1,024 characters, `dedup_key` 255) and Opsgenie's Alert API v2 (message
//! 130, alias 512, description 15,000). Both deduplicate by the id of the incident or alarm.

use serde_json::{Value, json};
use tokenwatch_model::alert::{AlertCause, Message, SecretPlace};

use super::post;
use super::text::{cut, plain, references};
use crate::alert::{AboutSubject, Alert};

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
    let resource = alert.resource();
    let mut body = json!({
        "event_action": action,
        "dedup_key": alert.subject.id(),
        "client": "TokenWatch",
        "payload": {
            "summary": cut(&alert.headline, SUMMARY_MAX),
            "source": resource.name,
            "severity": pagerduty_severity(alert),
            "timestamp": alert.time.to_string(),
            "component": resource.service,
            "group": alert.owner_name(),
            "class": alert.subject.rule(),
            "custom_details": details(alert),
        },
        "links": links,
    });
    if let (Some(link), Some(members)) = (alert.links.first(), body.as_object_mut()) {
        members.insert("client_url".to_owned(), json!(link.url));
    }
    post("/v2/enqueue".to_owned(), &body, SecretPlace::Field("routing_key"))
}

fn details(alert: &Alert) -> Value {
    let commands: Vec<String> =
        alert.what_to_press.iter().map(|press| format!("{}: {}", press.command, press.effect)).collect();
    let mut details = json!({
        "what_happened": alert.what_happened,
        "what_was_done": alert.what_was_done,
        "what_to_press": commands,
        "state": alert.subject.state(),
        "alert": alert.id,
        "references": references(alert),
    });
    let Some(members) = details.as_object_mut() else { return details };
    if let Some(how_sure) = &alert.how_sure {
        members.insert("how_sure".to_owned(), json!(how_sure.text));
        members.insert("why".to_owned(), json!(how_sure.reasons));
    }
    if let Some(cost) = &alert.cost {
        members.insert("cost_so_far".to_owned(), json!(cost.text));
    }
    if let Some(key) = &alert.key {
        members.insert("key".to_owned(), json!(key));
    }
    if let AboutSubject::Alarm(alarm) = &alert.subject {
        members.insert("who_spends".to_owned(), json!(alert.who_spends));
        members.insert("the_month".to_owned(), json!(alert.the_month));
        members.insert("alarm".to_owned(), json!(alarm));
    }
    details
}

fn pagerduty_severity(alert: &Alert) -> &'static str {
    match (alert.cause, alert.subject.severity()) {
        (AlertCause::Test, _) => "info",
        (_, "critical") => "critical",
        (_, "high") => "error",
        (_, "medium") => "warning",
        _ => "info",
    }
}

pub(super) fn opsgenie(alert: &Alert) -> Message {
    let secret = SecretPlace::Header("authorization", "GenieKey ".to_owned());
    let id = alert.subject.id();
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
    let priority = match (alert.cause, alert.subject.severity()) {
        (AlertCause::Test, _) => "P5",
        (_, "critical") => "P1",
        (_, "high") => "P2",
        (_, "medium") => "P3",
        _ => "P4",
    };
    let link = alert.links.first().map_or("", |link| link.url.as_str());
    let resource = alert.resource();
    json!({
        "message": cut(&alert.headline, MESSAGE_MAX),
        "alias": alert.subject.id(),
        "description": cut(&plain(alert), DESCRIPTION_MAX),
        "priority": priority,
        "source": "TokenWatch",
        "entity": resource.name,
        "tags": ["tokenwatch", alert.subject.severity(), alert.subject.state()],
        "details": {
            "alert": alert.id,
            resource.kind: resource.id,
            "environment": resource.environment,
            "owner": alert.owner_name(),
            "link": link,
            "references": references(alert),
        },
    })
}
