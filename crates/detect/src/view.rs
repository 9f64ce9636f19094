//! What people see of a key's learned state: how many contexts it lives in, who is on probation, its normal.

use serde::Serialize;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::Timestamp;

use crate::state::KeyState;

/// How many different values of each kind a key is known by. The values themselves are kept as prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct KnownCounts {
    /// Address blocks.
    pub prefixes: usize,
    /// Autonomous systems.
    pub networks: usize,
    /// Countries.
    pub countries: usize,
    /// Client families.
    pub clients: usize,
    /// Models.
    pub models: usize,
    /// Prompt templates.
    pub templates: usize,
}

/// A newcomer on probation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suspect {
    /// What is new about it, in words.
    pub context: String,
    /// An honest key like this meets such a newcomer once in so many days.
    pub once_in_days: f64,
    /// First request.
    pub first_seen: Timestamp,
    /// Requests, refused ones included.
    pub requests: u64,
    /// Of these, forwarded.
    pub forwarded: u64,
    /// What they cost.
    pub cost: NanoUsd,
    /// Whether it was alerted on.
    pub alerted: bool,
}

/// What a key usually does at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usual {
    /// Requests in its busiest hour of the last 30 clean days.
    pub requests_per_hour: u64,
    /// Money in its dearest hour of the last 30 clean days.
    pub cost_per_hour: NanoUsd,
}

impl KeyState {
    /// The highest score of a newcomer on probation, in days; 0 when there is none.
    pub fn score_days(&self) -> f64 {
        self.slots.iter().map(|slot| slot.score).fold(0.0, f64::max)
    }

    /// How many contexts the key is known by.
    pub fn known_counts(&self) -> KnownCounts {
        let known = &self.known;
        KnownCounts {
            prefixes: known.prefixes.len(),
            networks: known.networks.len(),
            countries: known.countries.len(),
            clients: known.families.len(),
            models: known.models.len(),
            templates: known.templates.len(),
        }
    }

    /// The newcomers on probation, the strangest first.
    pub fn suspects(&self) -> Vec<Suspect> {
        let mut suspects: Vec<Suspect> = self
            .slots
            .iter()
            .map(|slot| {
                let novelty = self.known.compare(&slot.identity.features);
                let context = slot
                    .context
                    .as_deref()
                    .cloned()
                    .unwrap_or_else(|| slot.identity.context(novelty, slot.roams));
                Suspect {
                    context: context.to_string(),
                    once_in_days: slot.score,
                    first_seen: slot.first_seen,
                    requests: slot.requests,
                    forwarded: slot.forwarded,
                    cost: slot.cost,
                    alerted: slot.alerted,
                }
            })
            .collect();
        suspects.sort_by(|a, b| b.once_in_days.total_cmp(&a.once_in_days));
        suspects
    }

    /// What the key usually does; `None` before it has a clean day behind it.
    pub fn usual(&self) -> Option<Usual> {
        let days = self.baseline.as_ref()?.ended_days();
        let requests_per_hour = days.iter().map(|day| u64::from(day.peak_requests)).max()?;
        let cost_per_hour = days.iter().map(|day| day.peak_cost).max()?;
        Some(Usual { requests_per_hour, cost_per_hour })
    }
}
