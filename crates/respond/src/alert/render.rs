//! Alerts in the words of their receivers. Every function is pure; secrets and addresses are put in where it is sent.
//!
//! Formats and their limits are those of the receivers' own documents, named in each module.

mod alertmanager;
mod cef;
mod chat;
mod ecs;
mod mail;
mod ocsf;
mod pager;
mod text;
mod webhook;

use tokenwatch_model::alert::{Message, SecretPlace};

use super::Alert;

/// What a receiver understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The alert itself as JSON, signed as the Standard Webhooks specification says.
    Webhook,
    /// Slack's incoming webhooks.
    Slack,
    /// Microsoft Teams' workflows: an Adaptive Card.
    Teams,
    /// PagerDuty's Events API v2.
    PagerDuty,
    /// Opsgenie's Alert API v2.
    Opsgenie,
    /// E-mail.
    Email,
    /// ArcSight's Common Event Format, in syslog.
    Cef,
    /// Detection Finding of the Open Cybersecurity Schema Framework.
    Ocsf,
    /// Elastic Common Schema.
    Ecs,
    /// Prometheus Alertmanager's API v2.
    Alertmanager,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 10] = [
        Self::Webhook,
        Self::Slack,
        Self::Teams,
        Self::PagerDuty,
        Self::Opsgenie,
        Self::Email,
        Self::Cef,
        Self::Ocsf,
        Self::Ecs,
        Self::Alertmanager,
    ];

    /// The word in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::PagerDuty => "pagerduty",
            Self::Opsgenie => "opsgenie",
            Self::Email => "email",
            Self::Cef => "cef",
            Self::Ocsf => "ocsf",
            Self::Ecs => "ecs",
            Self::Alertmanager => "alertmanager",
        }
    }

    /// The inverse of [`Format::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// How a message travels, where the format leaves a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// HTTP; the secret goes behind this word in the `Authorization` header.
    Http(String),
    /// Syslog.
    Syslog,
    /// Lines of a file.
    File,
}

/// Renders an alert. Formats that leave no choice of carrier ignore it.
pub fn render(alert: &Alert, format: Format, carrier: &Carrier, version: &str) -> Message {
    match format {
        Format::Webhook => webhook::render(alert),
        Format::Slack => chat::slack(alert),
        Format::Teams => chat::teams(alert),
        Format::PagerDuty => pager::pagerduty(alert),
        Format::Opsgenie => pager::opsgenie(alert),
        Format::Email => mail::render(alert),
        Format::Cef => carry(alert, cef::render(alert, version), carrier, "text/plain; charset=utf-8"),
        Format::Ocsf => carry(alert, ocsf::render(alert, version).to_string(), carrier, JSON),
        Format::Ecs => carry(alert, ecs::render(alert, version).to_string(), carrier, JSON),
        Format::Alertmanager => alertmanager::render(alert, carrier),
    }
}

const JSON: &str = "application/json";

fn carry(alert: &Alert, text: String, carrier: &Carrier, content_type: &str) -> Message {
    match carrier {
        Carrier::Http(scheme) => Message::Http {
            path: String::new(),
            headers: vec![("content-type", content_type.to_owned())],
            body: text,
            secret: SecretPlace::Header("authorization", format!("{scheme} ")),
        },
        Carrier::Syslog => cef::syslog(alert, text),
        Carrier::File => Message::Line(text),
    }
}

/// A POST of JSON.
fn post(path: String, body: &serde_json::Value, secret: SecretPlace) -> Message {
    let headers = vec![("content-type", JSON.to_owned())];
    Message::Http { path, headers, body: body.to_string(), secret }
}

#[cfg(test)]
mod tests;
