//! Elastic Common Schema 9.4.0, an event of kind `alert`.

use serde_json::{Value, json};
use tokenwatch_model::alert::AlertCause;

use crate::alert::Alert;

pub(super) fn render(alert: &Alert, version: &str) -> Value {
    let (number, risk) = match alert.incident.severity {
        "critical" => (99, 99.0),
        "high" => (73, 73.0),
        "medium" => (47, 47.0),
        _ => (21, 21.0),
    };
    let techniques = &alert.references.mitre_atlas;
    let mut document = json!({
        "@timestamp": alert.time.to_string(),
        "ecs": {"version": "9.4.0"},
        "message": alert.headline,
        "event": {
            "kind": "alert", "category": ["intrusion_detection"],
            "type": [if alert.cause == AlertCause::Test { "info" } else { "indicator" }],
            "action": format!("incident-{}", alert.cause.name()),
            "severity": number, "risk_score": risk, "id": alert.id, "sequence": alert.sequence,
            "created": alert.time.to_string(), "start": alert.incident.first_seen.to_string(),
            "module": "tokenwatch", "dataset": "tokenwatch.alerts", "provider": "tokenwatch",
            "reason": alert.what_happened.join(" "),
        },
        "rule": {"id": alert.incident.rule, "name": alert.incident.rule, "description": alert.how_sure.text},
        "threat": {
            "framework": "MITRE ATLAS",
            "technique": {
                "id": techniques.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(),
                "name": techniques.iter().map(|r| r.name).collect::<Vec<_>>(),
            },
        },
        "service": {"name": alert.key.service, "environment": alert.key.environment},
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
    json!({
        "incident": alert.incident.id, "state": alert.incident.state,
        "key_id": alert.key.id, "key_name": alert.key.name,
        "owner": alert.owner.as_ref().map_or("", |owner| owner.name.as_str()),
        "cost_usd": alert.cost.dollars.map(|dollars| format!("{dollars:.6}")).unwrap_or_default(),
        "owasp_llm": list(&references.owasp_llm), "nist_ai_rmf": list(&references.nist_ai_rmf),
    })
}
