//! Containments: the state put on a key or one of its contexts by a plan.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::context::RequestContext;
use crate::id::{ContainmentId, IncidentId, KeyId};
use crate::money::NanoUsd;
use crate::network::{Country, NetworkKind, Prefix};
use crate::time::Timestamp;

/// Recognises a context on a key: every field that is set must match. One with no field set matches nothing,
/// so that a mistake can never refuse a whole key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContextMatch {
    /// Block of addresses.
    pub prefix: Option<Prefix>,
    /// Autonomous system.
    pub asn: Option<u32>,
    /// Country.
    pub country: Option<Country>,
    /// Kind of network.
    pub kind: Option<NetworkKind>,
    /// Client family.
    pub client: Option<SmolStr>,
    /// Client version.
    pub client_version: Option<SmolStr>,
    /// TLS print.
    pub tls: Option<u64>,
    /// Model.
    pub model: Option<SmolStr>,
    /// Prompt template.
    pub template: Option<u64>,
}

impl ContextMatch {
    /// Whether any field is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the request is in this context.
    pub fn matches(&self, request: &RequestContext) -> bool {
        fn same<T: PartialEq>(want: Option<&T>, have: &T) -> bool {
            want.is_none_or(|want| want == have)
        }
        let facts = &request.source.facts;
        !self.is_empty()
            && same(self.asn.as_ref(), &facts.asn)
            && same(self.country.as_ref(), &facts.country)
            && same(self.kind.as_ref(), &facts.kind)
            && same(self.client.as_ref(), &request.client.family)
            && same(self.client_version.as_ref(), &request.client.version)
            && same(self.tls.as_ref(), &request.client.tls)
            && same(self.model.as_ref(), &request.model)
            && same(self.template.as_ref(), &request.shape.template)
            && self.prefix.is_none_or(|prefix| prefix == request.source.prefix())
    }
}

impl fmt::Display for ContextMatch {
    /// `network AS64500 (NL, hosting), client axios`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut network = Vec::new();
        if let Some(prefix) = self.prefix {
            network.push(prefix.to_string());
        }
        if let Some(asn) = self.asn {
            network.push(format!("AS{asn}"));
        }
        if let Some(country) = self.country {
            network.push(country.to_string());
        }
        if let Some(kind) = self.kind {
            network.push(kind.to_string());
        }
        if !network.is_empty() {
            parts.push(format!("network {}", network.join(" ")));
        }
        if let Some(client) = &self.client {
            let version = self.client_version.as_deref().unwrap_or_default();
            let name = if client.is_empty() { "without a name" } else { client.as_str() };
            parts.push(format!("client {name} {version}").trim_end().to_owned());
        } else if let Some(version) = &self.client_version {
            parts.push(format!("client version {version}"));
        }
        if self.tls.is_some() {
            parts.push("its TLS print".to_owned());
        }
        if let Some(model) = &self.model {
            parts.push(format!("model {model}"));
        }
        if let Some(template) = self.template {
            parts.push(format!("prompt template {template:016x}"));
        }
        if parts.is_empty() { f.write_str("no context") } else { f.write_str(&parts.join(", ")) }
    }
}

/// Holds a key, or one context of it, to the key's own normal.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clamp {
    /// Only this context; `None` is the whole key.
    pub only: Option<ContextMatch>,
    /// Most requests a minute.
    pub requests_per_minute: Option<u64>,
    /// Most money an hour.
    pub cost_per_hour: Option<NanoUsd>,
    /// Models the key is known to use; `None` allows all.
    pub models: Option<Vec<SmolStr>>,
}

/// The rungs of the ladder, mildest first. New variants are appended: the order is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Look closer; nothing is refused.
    Watch,
    /// Hold to the key's own normal.
    Clamp(Clamp),
    /// Refuse one context, serve the rest.
    RefuseContext(ContextMatch),
    /// Refuse everything until lifted.
    Suspend,
    /// End the key for good.
    Revoke,
}

impl Action {
    /// Stable name for tables and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Clamp(_) => "clamp",
            Self::RefuseContext(_) => "refuse_context",
            Self::Suspend => "suspend",
            Self::Revoke => "revoke",
        }
    }
}

/// A containment in force or lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containment {
    /// Identity.
    pub id: ContainmentId,
    /// The key it is on.
    pub key: KeyId,
    /// The incident it belongs to.
    pub incident: Option<IncidentId>,
    /// What is done.
    pub action: Action,
    /// Why, in a sentence.
    pub reason: String,
    /// Since when.
    pub created: Timestamp,
    /// Until when; `None` until lifted.
    pub expires: Option<Timestamp>,
    /// When it was lifted, and by whom.
    pub lifted: Option<(Timestamp, SmolStr)>,
    /// Grows with every change; a newer revision always wins.
    pub revision: u64,
}

impl Containment {
    /// Whether it is in force at `now`.
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.lifted.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}
