//! ArcSight's Common Event Format (revision 25), and syslog (RFC 5424) around it or around JSON.

use tokenwatch_model::alert::Message;

use super::text::cut;
use crate::alert::Alert;

/// Facility `security/authorization messages` of RFC 5424.
const FACILITY: u8 = 4;

/// `CEF:0|vendor|product|version|rule|headline|severity|extension`.
pub(super) fn render(alert: &Alert, version: &str) -> String {
    let (subject, resource) = (&alert.subject, alert.resource());
    let (id_label, name_label) = match resource.kind {
        "owner" => ("ownerId", "ownerName"),
        "provider" => ("providerId", "providerName"),
        _ => ("keyId", "keyName"),
    };
    let mut text = format!(
        "CEF:0|TokenWatch|TokenWatch|{}|{}|{}|{}|",
        header(version),
        header(subject.rule()),
        header(&cut(&alert.headline, 512)),
        severity(subject.severity())
    );
    let source = alert.sources.first();
    let served = alert.cost.as_ref().map(|cost| cost.served.to_string());
    let fields: Vec<(&str, String)> = vec![
        ("rt", alert.time.ms().to_string()),
        ("externalId", subject.id().to_owned()),
        ("cat", alert.cause.name().to_owned()),
        ("act", subject.state().to_owned()),
        ("suser", alert.owner_name().to_owned()),
        ("requestClientApplication", source.and_then(|s| s.client.clone()).unwrap_or_default()),
        ("cs1Label", id_label.to_owned()),
        ("cs1", resource.id.to_owned()),
        ("cs2Label", name_label.to_owned()),
        ("cs2", resource.name.to_owned()),
        ("cs3Label", "source".to_owned()),
        ("cs3", source.map(|s| s.text.clone()).unwrap_or_default()),
        ("cs4Label", "atlas".to_owned()),
        ("cs4", ids(alert)),
        ("cn1Label", served.as_ref().map(|_| "requestsServed".to_owned()).unwrap_or_default()),
        ("cn1", served.unwrap_or_default()),
        ("msg", cut(&alert.what_happened.join(" "), 900)),
    ];
    let written = fields.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> = written.map(|(name, value)| format!("{name}={}", extension(value))).collect();
    text.push_str(&pairs.join(" "));
    text
}

fn ids(alert: &Alert) -> String {
    alert.references.mitre_atlas.iter().map(|r| r.id.as_str()).collect::<Vec<_>>().join(",")
}

fn severity(name: &str) -> u8 {
    match name {
        "critical" => 10,
        "high" => 8,
        "medium" => 5,
        _ => 3,
    }
}

fn header(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn extension(text: &str) -> String {
    text.replace('\\', "\\\\").replace('=', "\\=").replace('\n', "\\n").replace('\r', "")
}

/// A syslog message around a text.
pub(super) fn syslog(alert: &Alert, text: String) -> Message {
    let level = match alert.subject.severity() {
        _ if alert.cause.is_end() => 5,
        "critical" => 2,
        "high" => 3,
        "medium" => 4,
        _ => 5,
    };
    Message::Syslog { priority: FACILITY * 8 + level, time: alert.time, kind: alert.cause.name(), text }
}
