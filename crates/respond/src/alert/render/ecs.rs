//! Elastic Common Schema 9.4.0, an event of kind `alert`.

use serde_json::{Value, json};
use tokenwatch_model::alert::AlertCause;

use crate::alert::{AboutSubject, Alert};

pub(super) fn render(alert: &Alert, version: &str) -> Value {
    let (number, risk) = match alert.subject.severity() {
        "critical" => (99, 99.0),
        "high" => (73, 73.0),
        "medium" => (47, 47.0),
        _ => (21, 21.0),
    };
    let (category, kind) = match (&alert.subject, alert.cause) {
        (AboutSubject::Alarm(_), _) => ("api", "info"),
        (AboutSubject::Incident(_), AlertCause::Test) => ("intrusion_detection", "info"),
        (AboutSubject::Incident(_), _) => ("intrusion_detection", "indicator"),
    };
    let resource = alert.resource();
    let techniques = &alert.references.mitre_atlas;
    let mut document = json!({
        "@timestamp": alert.time.to_string(),
        "ecs": {"version": "9.4.0"},
        "message": alert.headline,
        "event": {
            "kind": "alert", "category": [category],
            "type": [kind],
            "action": format!("{}-{}", alert.subject.noun(), alert.cause.name()),
            "severity": number, "risk_score": risk, "id": alert.id, "sequence": alert.sequence,
            "created": alert.time.to_string(), "start": alert.subject.first_seen().to_string(),
            "module": "tokenwatch", "dataset": "tokenwatch.alerts", "provider": "tokenwatch",
            "reason": alert.what_happened.join(" "),
        },
        "rule": {"id": alert.subject.rule(), "name": alert.subject.rule(), "description": alert.reason()},
        "threat": {
            "framework": "MITRE ATLAS",
            "technique": {
                "id": techniques.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(),
                "name": techniques.iter().map(|r| r.name).collect::<Vec<_>>(),
            },
        },
        "service": {"name": resource.service, "environment": resource.environment},
        "observer": {"vendor": "TokenWatch", "product": "TokenWatch", "type": "gateway", "version": version},
        "labels": labels(alert),
        "tags": ["tokenwatch"],
    });
    if let (Some(source), Some(members)) = (alert.sources.first(), document.as_object_mut()) {
        let mut about = json!({});
        if let Some(about) = about.as_object_mut() {
            if let Some(country) = &source.country {
                about.insert("geo".to_owned(), json!({"country_iso_code": country}));
            }
            if let Some(asn) = source.asn {
                about.insert("as".to_owned(), json!({"number": asn}));
            }
        }
        members.insert("source".to_owned(), about);
        if let Some(client) = &source.client {
            members.insert("user_agent".to_owned(), json!({"original": client}));
        }
        if let Some(model) = &source.model {
            members.insert("gen_ai".to_owned(), json!({"request": {"model": model}}));
        }
    }
    document
}

/// A flat map of keywords.
fn labels(alert: &Alert) -> Value {
    let references = &alert.references;
    let list = |of: &[crate::alert::references::Reference]| {
        of.iter().map(|r| r.id.as_str()).collect::<Vec<_>>().join(",")
    };
    let resource = alert.resource();
    let mut labels = json!({
        alert.subject.noun(): alert.subject.id(), "state": alert.subject.state(),
        format!("{}_id", resource.kind): resource.id, format!("{}_name", resource.kind): resource.name,
        "owner": alert.owner_name(),
        "owasp_llm": list(&references.owasp_llm), "nist_ai_rmf": list(&references.nist_ai_rmf),
    });
    let dollars = match &alert.subject {
        AboutSubject::Alarm(alarm) => Some(alarm.today_dollars),
        AboutSubject::Incident(_) => alert.cost.as_ref().and_then(|cost| cost.dollars),
    };
    if let Some(labels) = labels.as_object_mut() {
        let dollars = dollars.map(|dollars| format!("{dollars:.6}")).unwrap_or_default();
        labels.insert("cost_usd".to_owned(), json!(dollars));
    }
    labels
}
