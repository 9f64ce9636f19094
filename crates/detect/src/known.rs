//! What is known of a key: bounded sets of the values it has used, and how a request differs from them.
//!
//! Invariants:
//! * Every set is bounded; the value seen longest ago is forgotten first, and before what was used in several hours,
//!   which half of a set may be.
//!   Forgetting can only make a
//!   known value look new again, and since every relearned value counts as churn (see `churn`), a key
//!   whose sets overflow makes novelty cheap instead of making noise.
//! * A dimension of which nothing is known, or which a request does not state, is neutral: all its levels
//!   stay possible, and rates are summed over them.

use serde::{Deserialize, Serialize};
use tokenwatch_model::network::NetworkKind;

use crate::features::{Features, no_agent, no_template};
use crate::priors::Levels;

/// One known value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) print: u32,
    /// Hours since the key's first event.
    pub(crate) first: u32,
    last: u32,
    /// Hours in which it was seen, saturating.
    pub(crate) sessions: u16,
}

impl Entry {
    /// Whether it was used in several hours: what came once makes room before that does, so that a flood of passing
    /// values does not wash away what the key lives by. Half of the room at most is kept so, for new values to settle.
    const fn is_settled(&self) -> bool {
        self.sessions >= 3
    }
}

/// A bounded set of prints.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct KnownSet<const CAP: usize> {
    entries: Vec<Entry>,
}

impl<const CAP: usize> KnownSet<CAP> {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn contains(&self, print: u32) -> bool {
        self.entries.iter().any(|entry| entry.print == print)
    }

    /// Whether a stated value is new, or was a day ago, which for bursts comes to the same. An empty set says nothing.
    pub(crate) fn is_young(&self, print: u32, hour: u32) -> bool {
        if print == 0 || self.is_empty() {
            return false;
        }
        self.entries
            .iter()
            .find(|entry| entry.print == print)
            .is_none_or(|entry| hour.saturating_sub(entry.first) < 24)
    }

    /// How many values the key has had for a day or more.
    pub(crate) fn grown(&self, hour: u32) -> usize {
        self.entries.iter().filter(|entry| hour.saturating_sub(entry.first) >= 24).count()
    }

    /// Whether a stated value is new: absent values and values of a set that holds nothing are not.
    fn is_new(&self, print: u32) -> bool {
        print != 0 && !self.is_empty() && !self.contains(print)
    }

    /// Learns a value; returns whether it was unknown.
    fn learn(&mut self, print: u32, hour: u32) -> bool {
        if print == 0 {
            return false;
        }
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.print == print) {
            if hour > entry.last {
                entry.last = hour;
                entry.sessions = entry.sessions.saturating_add(1);
            }
            return false;
        }
        let entry = Entry { print, first: hour, last: hour, sessions: 1 };
        if self.entries.len() < CAP {
            self.entries.push(entry);
        } else {
            let settled = self.entries.iter().filter(|entry| entry.is_settled()).count();
            let protects = settled <= CAP / 2;
            let least =
                self.entries.iter_mut().min_by_key(|entry| (protects && entry.is_settled(), entry.last));
            if let Some(least) = least {
                *least = entry;
            }
        }
        true
    }

    fn forget(&mut self, print: u32) {
        self.entries.retain(|entry| entry.print != print);
    }

    fn is_sound(&self) -> bool {
        self.entries.len() <= CAP
    }

    fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

/// The dimensions in which a request can be new, in the order of `Churn`'s counters.
pub(crate) mod dimension {
    pub(crate) const PREFIX: usize = 0;
    pub(crate) const NETWORK: usize = 1;
    pub(crate) const KIND: usize = 2;
    pub(crate) const COUNTRY: usize = 3;
    pub(crate) const VERSION: usize = 4;
    pub(crate) const TLS: usize = 5;
    pub(crate) const FAMILY: usize = 6;
    pub(crate) const MODEL: usize = 7;
    pub(crate) const ENDPOINT: usize = 8;
    pub(crate) const TEMPLATE: usize = 9;
    pub(crate) const COUNT: usize = 10;
}

/// In which dimensions a request is new to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Novelty {
    flags: u16,
    /// The levels that are possible given what is stated and known.
    pub(crate) levels: Levels,
}

impl Novelty {
    /// Whether nothing about the request is new.
    pub(crate) const fn is_none(self) -> bool {
        self.flags == 0
    }

    /// Whether it is new in a dimension of [`dimension`].
    pub(crate) const fn has(self, dimension: usize) -> bool {
        self.flags >> dimension & 1 == 1
    }
}

/// Everything known of a key's callers.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) prefixes: KnownSet<64>,
    pub(crate) networks: KnownSet<32>,
    pub(crate) countries: KnownSet<16>,
    kinds: u8,
    pub(crate) families: KnownSet<16>,
    pub(crate) versions: KnownSet<24>,
    pub(crate) tls: KnownSet<24>,
    pub(crate) models: KnownSet<24>,
    endpoints: u32,
    pub(crate) templates: KnownSet<64>,
    pub(crate) tools: KnownSet<24>,
}

impl Known {
    /// How `features` differ from what is known.
    pub(crate) fn compare(&self, features: &Features) -> Novelty {
        let mut flags = 0u16;
        let source = self.compare_source(features, &mut flags);
        let client = self.compare_client(features, &mut flags);
        let usage = self.compare_usage(features, &mut flags);
        let template = if features.template == 0 || !self.has_templates() {
            // A key of which no prompt was ever seen, as in most logs, tells nothing about one.
            Levels::ANY_TEMPLATE
        } else if self.templates.contains(features.template) {
            1
        } else {
            flags |= 1 << dimension::TEMPLATE;
            1 << 1
        };
        Novelty { flags, levels: Levels { source, client, usage, template } }
    }

    /// Whether any request of the key had a template.
    pub(crate) fn has_templates(&self) -> bool {
        self.templates.entries.iter().any(|entry| entry.print != no_template())
    }

    fn compare_source(&self, features: &Features, flags: &mut u16) -> u8 {
        if features.private || !self.prefixes.is_new(features.prefix) {
            // A known block stays known whatever the tables say of it today.
            return 1;
        }
        *flags |= 1 << dimension::PREFIX;
        let country = u32::from(features.country.packed());
        let new_country = self.countries.is_new(country);
        if new_country {
            *flags |= 1 << dimension::COUNTRY;
        }
        if features.asn == 0 || self.networks.is_empty() {
            // The network is not stated: anything from a neighbouring block to another continent.
            return match (features.country.is_known() && !self.countries.is_empty(), new_country) {
                (true, true) => 0b11_0000,
                (true, false) => 0b00_1110,
                (false, _) => 0b11_1110,
            };
        }
        if self.networks.contains(features.asn) {
            // A new region of a known network is like a new network.
            return if new_country { 1 << 2 } else { 1 << 1 };
        }
        *flags |= 1 << dimension::NETWORK;
        let new_kind = self.is_new_kind(features.kind);
        if new_kind {
            *flags |= 1 << dimension::KIND;
        }
        match (new_country, new_kind) {
            (false, false) => 1 << 2,
            (false, true) => 1 << 3,
            (true, false) => 1 << 4,
            (true, true) => 1 << 5,
        }
    }

    fn compare_client(&self, features: &Features, flags: &mut u16) -> u8 {
        if self.families.is_new(features.family) {
            // A key whose callers never said what they are tells nothing about one that does.
            if !self.families.entries.iter().any(|entry| entry.print != no_agent()) {
                return Levels::ANY_CLIENT;
            }
            *flags |= 1 << dimension::FAMILY;
            return 1 << 3;
        }
        if self.tls.is_new(features.tls) {
            *flags |= 1 << dimension::TLS;
            return 1 << 2;
        }
        if self.versions.is_new(features.version) {
            *flags |= 1 << dimension::VERSION;
            return 1 << 1;
        }
        1
    }

    fn compare_usage(&self, features: &Features, flags: &mut u16) -> u8 {
        let mut level = 1;
        if self.models.is_new(features.model) {
            *flags |= 1 << dimension::MODEL;
            level = 1 << 1;
        }
        if self.endpoints != 0 && self.endpoints >> features.endpoint.index() & 1 == 0 {
            *flags |= 1 << dimension::ENDPOINT;
            level = 1 << 2;
        }
        level
    }

    fn is_new_kind(&self, kind: NetworkKind) -> bool {
        !matches!(kind, NetworkKind::Unknown | NetworkKind::Private)
            && self.kinds != 0
            && self.kinds >> kind as u8 & 1 == 0
    }

    /// Learns a request; returns in which dimensions it was unknown, as bits of [`dimension`].
    pub(crate) fn learn(&mut self, features: &Features, hour: u32) -> u16 {
        let mut flags = 0u16;
        let mut note = |dimension: usize, new: bool| flags |= u16::from(new) << dimension;
        if !features.private {
            note(dimension::PREFIX, self.prefixes.learn(features.prefix, hour));
            note(dimension::NETWORK, self.networks.learn(features.asn, hour));
            note(dimension::COUNTRY, self.countries.learn(u32::from(features.country.packed()), hour));
            if !matches!(features.kind, NetworkKind::Unknown | NetworkKind::Private) {
                note(dimension::KIND, self.kinds >> features.kind as u8 & 1 == 0);
                self.kinds |= 1 << features.kind as u8;
            }
        }
        note(dimension::FAMILY, self.families.learn(features.family, hour));
        note(dimension::VERSION, self.versions.learn(features.version, hour));
        note(dimension::TLS, self.tls.learn(features.tls, hour));
        note(dimension::MODEL, self.models.learn(features.model, hour));
        note(dimension::ENDPOINT, self.endpoints >> features.endpoint.index() & 1 == 0);
        self.endpoints |= 1 << features.endpoint.index();
        note(dimension::TEMPLATE, self.templates.learn(features.template, hour));
        self.tools.learn(features.tools, hour);
        flags
    }

    /// Forgets single values after a theft was confirmed: what the thief taught is unlearned.
    pub(crate) fn forget(&mut self, prints: &ForgetPrints) {
        self.prefixes.forget(prints.prefix);
        self.networks.forget(prints.asn);
        self.families.forget(prints.family);
        self.tls.forget(prints.tls);
        self.templates.forget(prints.template);
        self.models.forget(prints.model);
    }

    /// Memory held beside the struct itself, in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.prefixes.heap_bytes()
            + self.networks.heap_bytes()
            + self.countries.heap_bytes()
            + self.families.heap_bytes()
            + self.versions.heap_bytes()
            + self.tls.heap_bytes()
            + self.models.heap_bytes()
            + self.templates.heap_bytes()
            + self.tools.heap_bytes()
    }

    /// Whether every set keeps its bound; false for bytes that this code did not write.
    pub(crate) fn is_sound(&self) -> bool {
        self.prefixes.is_sound()
            && self.networks.is_sound()
            && self.countries.is_sound()
            && self.families.is_sound()
            && self.versions.is_sound()
            && self.tls.is_sound()
            && self.models.is_sound()
            && self.templates.is_sound()
            && self.tools.is_sound()
    }
}

/// Prints to forget; 0 forgets nothing in that dimension.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ForgetPrints {
    pub(crate) prefix: u32,
    pub(crate) asn: u32,
    pub(crate) family: u32,
    pub(crate) tls: u32,
    pub(crate) template: u32,
    pub(crate) model: u32,
}
