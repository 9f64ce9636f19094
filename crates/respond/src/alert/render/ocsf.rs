//! Open Cybersecurity Schema Framework 1.8.0, class Detection Finding (2004).

use serde_json::{Value, json};
use tokenwatch_model::alert::AlertCause;
use tokenwatch_model::time::Timestamp;

use crate::alert::references::ATLAS_VERSION;
use crate::alert::{AboutSubject, Alert, Source};

pub(super) fn render(alert: &Alert, version: &str) -> Value {
    let (activity, activity_name) = match alert.cause {
        AlertCause::Opened | AlertCause::Test => (1, "Create"),
        AlertCause::Updated | AlertCause::Acknowledged | AlertCause::Escalated => (2, "Update"),
        AlertCause::Resolved | AlertCause::Dismissed => (3, "Close"),
    };
    let (status, status_name) = match (alert.cause, alert.subject.state()) {
        (AlertCause::Dismissed, _) => (3, "Suppressed"),
        (AlertCause::Resolved, _) => (4, "Resolved"),
        (AlertCause::Opened | AlertCause::Test, _) => (1, "New"),
        _ => (2, "In Progress"),
    };
    let (severity, severity_name) = match alert.subject.severity() {
        "critical" => (5, "Critical"),
        "high" => (4, "High"),
        "medium" => (3, "Medium"),
        _ => (2, "Low"),
    };
    let (confidence, confidence_name) = if alert.how_sure.as_ref().is_none_or(|sure| sure.tier == "act") {
        (3, "High")
    } else {
        (2, "Medium")
    };
    let resource = alert.resource();
    let commands: Vec<&str> = alert.what_to_press.iter().map(|press| press.command.as_str()).collect();
    let evidences: Vec<Value> = alert.sources.iter().map(evidence).collect();
    let (kind, is_key) = match resource.kind {
        "key" => ("api_key", true),
        other => (other, false),
    };
    let credential =
        json!({"type_id": 19, "type": "User Credential ID", "name": "resources.uid", "value": resource.id});
    let observables = if is_key { vec![credential] } else { Vec::new() };
    json!({
        "activity_id": activity, "activity_name": activity_name,
        "category_uid": 2, "category_name": "Findings",
        "class_uid": 2004, "class_name": "Detection Finding", "type_uid": 200_400 + activity,
        "severity_id": severity, "severity": severity_name,
        "status_id": status, "status": status_name, "status_detail": alert.subject.state(),
        "confidence_id": confidence, "confidence": confidence_name,
        "time": alert.time.ms(), "is_alert": alert.cause != AlertCause::Test,
        "message": alert.headline,
        "metadata": {
            "version": "1.8.0", "uid": alert.id, "sequence": alert.sequence,
            "product": {"name": "TokenWatch", "vendor_name": "TokenWatch", "version": version},
            "original_time": alert.time.to_string(),
        },
        "finding_info": finding_info(alert),
        "resources": [{
            "uid": resource.id, "name": resource.name, "type": kind,
            "labels": labels(alert),
            "owner": {"name": alert.owner_name()},
        }],
        "evidences": evidences,
        "observables": observables,
        "remediation": {"desc": if commands.is_empty() { "nothing".to_owned() } else { commands.join("; ") }},
        "unmapped": unmapped(alert),
    })
}

/// What the class has no place for.
fn unmapped(alert: &Alert) -> Value {
    let mut unmapped = json!({
        "what_was_done": alert.what_was_done,
        "owasp_llm": ids(&alert.references.owasp_llm), "nist_ai_rmf": ids(&alert.references.nist_ai_rmf),
    });
    let Some(members) = unmapped.as_object_mut() else { return unmapped };
    if let Some(cost) = &alert.cost {
        members.insert("cost_usd".to_owned(), json!(cost.dollars));
        members.insert("requests_served".to_owned(), json!(cost.served));
        members.insert("requests_refused".to_owned(), json!(cost.refused));
    }
    if let AboutSubject::Alarm(alarm) = &alert.subject {
        members.insert("billing_alarm".to_owned(), json!(alarm));
    }
    unmapped
}

fn finding_info(alert: &Alert) -> Value {
    let attacks: Vec<Value> = alert
        .references
        .mitre_atlas
        .iter()
        .map(|r| json!({"technique": {"uid": r.id, "name": r.name}, "version": format!("ATLAS {ATLAS_VERSION}")}))
        .collect();
    let ms = |time: Timestamp| time.ms();
    let mut info = json!({
        "uid": alert.subject.id(), "title": alert.subject.title(), "desc": alert.what_happened.join(" "),
        "created_time": ms(alert.subject.opened()), "first_seen_time": ms(alert.subject.first_seen()),
        "modified_time": ms(alert.time),
        "analytic": {"type_id": 2, "type": "Behavioral", "name": alert.subject.rule(), "uid": alert.subject.rule()},
        "attacks": attacks,
    });
    if let (Some(link), Some(members)) = (alert.links.first(), info.as_object_mut()) {
        members.insert("src_url".to_owned(), json!(link.url));
    }
    info
}

fn evidence(source: &Source) -> Value {
    let mut endpoint = json!({"name": source.text});
    if let Some(members) = endpoint.as_object_mut() {
        if let Some(country) = &source.country {
            members.insert("location".to_owned(), json!({"country": country}));
        }
        if let Some(asn) = source.asn {
            members.insert("autonomous_system".to_owned(), json!({"number": asn}));
        }
    }
    let mut evidence = json!({"src_endpoint": endpoint});
    if let (Some(client), Some(members)) = (&source.client, evidence.as_object_mut()) {
        members.insert("http_request".to_owned(), json!({"user_agent": client}));
    }
    evidence
}

fn labels(alert: &Alert) -> Vec<String> {
    let resource = alert.resource();
    let pairs = [("environment", resource.environment), ("service", resource.service)];
    let written = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    written.map(|(name, value)| format!("{name}:{value}")).collect()
}

fn ids(references: &[crate::alert::references::Reference]) -> Vec<&str> {
    references.iter().map(|r| r.id.as_str()).collect()
}
