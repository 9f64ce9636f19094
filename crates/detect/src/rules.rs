//! Rules that people expect and auditors ask for, each a module with one trait.
//!
//! On real attack-free traffic the volume rules fire on 6 to 13 % of clean key-days, and in our simulated
//! fleet at least one rule is told on about a fifth of them, so every rule gives a notice: it is told with its
//! numbers, belongs in a digest rather than on a pager, and never acts alone. `recon` is the one whose evidence the newcomer
//! channel raises to an alert, when the probing comes from a newcomer. Each rule tells at most once per
//! key and day, and once more when its level rises.

mod catalogue;
mod cost;
mod places;
mod presence;
mod probing;
mod sameness;
mod usage;
mod volume;

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Finding, Reason, Severity, Tier};

use crate::baseline::Baseline;
use crate::config::RuleSet;
use crate::features::{Features, actor_of};
use crate::known::Novelty;
use crate::profile::KeyProfile;
use crate::state::KeyState;
use crate::windows::Windows;

pub use catalogue::{About, catalogue};
pub(crate) use catalogue::{CANARY, INSIDE, RULES, SURGE};

/// What a rule may look at: the event, and the key as it was just before, with the running windows
/// already counting the event.
pub(crate) struct View<'a> {
    pub(crate) event: &'a UsageEvent,
    pub(crate) features: &'a Features,
    pub(crate) novelty: Novelty,
    pub(crate) profile: &'a KeyProfile,
    pub(crate) state: &'a KeyState,
    pub(crate) windows: &'a Windows,
    pub(crate) baseline: &'a Baseline,
}

impl View<'_> {
    /// Whether news in a dimension is everyday on this key.
    fn is_routine(&self, of: usize) -> bool {
        self.state.churn.as_ref().is_some_and(|churn| churn.is_routine(of))
    }
}

/// A rule that fired.
pub(crate) struct Hit {
    /// Rules that rise tell again at a higher level the same day.
    pub(crate) level: u8,
    pub(crate) severity: Severity,
    /// One sentence with the numbers.
    pub(crate) summary: String,
    /// How far over its threshold, as a ratio, for ordering.
    pub(crate) excess: f64,
    /// Whether the caller of this request is who it is about.
    pub(crate) about_caller: bool,
}

impl Hit {
    /// A hit at the lowest level.
    fn new(severity: Severity, excess: f64, summary: String) -> Self {
        Self { level: 1, severity, summary, excess, about_caller: false }
    }

    fn by_caller(self) -> Self {
        Self { about_caller: true, ..self }
    }
}

/// One rule: what it is, and whether it fires on an event.
pub(crate) trait Rule: Sync {
    /// Name, severity and references.
    fn about(&self) -> &'static About;

    /// Checks one event that was just counted. Pure; must not fire on a key without a baseline unless it
    /// needs none.
    fn check(&self, view: &View<'_>) -> Option<Hit>;
}

/// Checks every rule that is on; returns code, level and finding of those to be told.
pub(crate) fn check(on: RuleSet, view: &View<'_>) -> Vec<(u8, u8, Finding)> {
    let mut told = Vec::new();
    for (place, rule) in RULES.iter().enumerate() {
        let about = rule.about();
        if !on.has(place) || view.state.has_fired(about.code, about.levels) {
            continue;
        }
        let Some(hit) = rule.check(view) else { continue };
        if !view.state.has_fired(about.code, hit.level) {
            told.push((about.code, hit.level, finding(about, hit, view)));
        }
    }
    told
}

fn finding(about: &About, hit: Hit, view: &View<'_>) -> Finding {
    let request = &view.event.request;
    let actor = hit.about_caller.then(|| actor_of(request).bits());
    let slot = actor.and_then(|actor| view.state.slots.iter().find(|slot| slot.actor == actor));
    Finding {
        rule: about.id.into(),
        key: request.key,
        time: request.time,
        severity: hit.severity,
        tier: Tier::Notice,
        once_in_days: 0.0,
        reasons: vec![Reason {
            nats: crate::math::ln(hit.excess.clamp(1.0, 1e6)),
            what: hit.summary.clone(),
        }],
        summary: hit.summary,
        actor: slot.map(|slot| slot.actor(view.state.known.compare(&slot.identity.features))),
        events: vec![request.id],
    }
}
