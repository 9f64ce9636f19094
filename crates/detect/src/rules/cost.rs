//! Money: a day, typical days, the month.

use tokenwatch_model::finding::Severity;
use tokenwatch_model::money::NanoUsd;

use super::volume::DAYS_MIN;
use super::{About, Hit, Rule, View, catalogue};

/// A day below this is never a cost spike.
const SPIKE_FLOOR: NanoUsd = NanoUsd::from_cents(1_000);
/// Typical spend below this has no thresholds.
const TYPICAL_FLOOR: f64 = 0.5;

/// Cost of a day over five times the mean daily cost, and over $10.
pub(super) struct CostSpike;

impl Rule for CostSpike {
    fn about(&self) -> &'static About {
        &catalogue::COST_SPIKE
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        let today = view.windows.day_cost;
        if today <= SPIKE_FLOOR || view.baseline.days().len() < DAYS_MIN {
            return None;
        }
        let mean = view.baseline.spread(|day| day.cost.dollars())?.mean;
        let limit = (5.0 * mean).max(SPIKE_FLOOR.dollars());
        (today.dollars() > limit).then(|| {
            let summary = format!("{today} spent today, over ${limit:.2} (mean of a day ${mean:.2}).");
            Hit::new(Severity::Critical, today.dollars() / limit, summary)
        })
    }
}

/// Spend of a day over 1.5, 3 and 10 times a typical one: slow leak, misuse, large-scale abuse.
pub(super) struct Billing;

impl Rule for Billing {
    fn about(&self) -> &'static About {
        &catalogue::BILLING
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        if view.baseline.days().len() < DAYS_MIN {
            return None;
        }
        let typical = view.baseline.spread(|day| day.cost.dollars())?.mean.max(TYPICAL_FLOOR);
        let ratio = view.windows.day_cost.dollars() / typical;
        let (level, severity, times, what) = match ratio {
            r if r > 10.0 => (3, Severity::Critical, 10.0, "large-scale abuse"),
            r if r > 3.0 => (2, Severity::High, 3.0, "misuse"),
            r if r > 1.5 => (1, Severity::Medium, 1.5, "a slow leak"),
            _ => return None,
        };
        let summary = format!(
            "{} spent today, over {times} times the typical ${typical:.2}: the size of {what}.",
            view.windows.day_cost
        );
        Some(Hit { level, ..Hit::new(severity, ratio / times, summary) })
    }
}

/// Spend of the last 30 days, today included, over the key's cap.
pub(super) struct MonthlyCap;

impl Rule for MonthlyCap {
    fn about(&self) -> &'static About {
        &catalogue::MONTHLY_CAP
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        let cap = view.profile.monthly_cap?;
        let past: NanoUsd = view.baseline.days().iter().map(|day| day.cost).sum();
        let spent = past + view.windows.day_cost;
        (spent > cap).then(|| {
            let summary = format!("{spent} spent in 30 days, over the cap of {cap}.");
            Hit::new(Severity::Critical, spent.dollars() / cap.dollars().max(1e-9), summary)
        })
    }
}
