//! Prometheus Alertmanager, `POST /api/v2/alerts`.
//!
//! Alertmanager tells alerts apart by their labels, severity among them. So one that got worse is a new alert there,
//! and the milder ones are ended with it; and an alert without an end is forgotten after `resolve_timeout`, so an open
//! one gets an end far away.

use serde_json::{Value, json};
use tokenwatch_model::alert::{AlertCause, Message, SecretPlace};
use tokenwatch_model::time::{DAY, MINUTE};

use super::text::{cut, plain, references};
use super::{Carrier, post};
use crate::alert::{AboutSubject, Alert};

/// How long Alertmanager holds an open incident that nothing more is heard of.
const OPEN_FOR: u64 = 30 * DAY;
/// How long it holds a billing alarm.
const ALARM_FOR: u64 = DAY;
/// How long it holds a test.
const TEST_FOR: u64 = 5 * MINUTE;
/// Mildest first.
const SEVERITIES: [&str; 4] = ["low", "medium", "high", "critical"];

pub(super) fn render(alert: &Alert, carrier: &Carrier) -> Message {
    let scheme = match carrier {
        Carrier::Http(scheme) => scheme.as_str(),
        Carrier::Syslog | Carrier::File => "Bearer",
    };
    let now = alert.time;
    let ends = match (alert.cause, &alert.subject) {
        (AlertCause::Resolved | AlertCause::Dismissed, _) => now,
        (AlertCause::Test, _) => now.plus(TEST_FOR),
        // Nothing ends an alarm but its day or month.
        (_, AboutSubject::Alarm(_)) => now.plus(ALARM_FOR),
        (_, AboutSubject::Incident(_)) => now.plus(OPEN_FOR),
    };
    let severity = alert.subject.severity();
    let mut alerts = vec![one(alert, severity, &ends.to_string())];
    // An alarm does not get worse: that is another one.
    let is_incident = matches!(alert.subject, AboutSubject::Incident(_));
    let milder = SEVERITIES.iter().take_while(|milder| is_incident && **milder != severity);
    alerts.extend(milder.map(|severity| one(alert, severity, &now.to_string())));
    let secret = SecretPlace::Header("authorization", format!("{scheme} "));
    post("/api/v2/alerts".to_owned(), &Value::Array(alerts), secret)
}

fn one(alert: &Alert, severity: &str, ends: &str) -> Value {
    let resource = alert.resource();
    let name = match alert.subject {
        AboutSubject::Incident(_) => "TokenWatchIncident",
        AboutSubject::Alarm(_) => "TokenWatchBillingAlarm",
    };
    let mut labels = json!({
        "alertname": name,
        "severity": severity,
        alert.subject.noun(): alert.subject.id(),
        resource.kind: resource.name,
        "environment": resource.environment,
        "service": resource.service,
    });
    if let Some(labels) = labels.as_object_mut() {
        labels.insert("owner".to_owned(), json!(alert.owner_name()));
    }
    if let Some(labels) = labels.as_object_mut() {
        // An empty label is none.
        labels.retain(|_, value| value.as_str().is_none_or(|text| !text.is_empty()));
        if alert.cause == AlertCause::Test {
            labels.insert("alertname".to_owned(), json!("TokenWatchTest"));
        }
    }
    let mut body = json!({
        "labels": labels,
        "annotations": {
            "summary": cut(&alert.headline, 500),
            "description": cut(&plain(alert), 8_000),
            "references": references(alert),
        },
        "startsAt": alert.subject.opened().to_string(),
        "endsAt": ends,
    });
    if let (Some(link), Some(members)) = (alert.links.first(), body.as_object_mut()) {
        members.insert("generatorURL".to_owned(), json!(link.url));
    }
    body
}
