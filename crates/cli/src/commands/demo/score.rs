//! What the demo counts, and the summary it ends with.

use std::collections::BTreeSet;

use serde::Serialize;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_testkit::sim::SimRequest;
use tokenwatch_testkit::theft::Theft;

/// An alert, as the demo saw it.
#[derive(Clone, Debug)]
pub(super) struct Alert {
    pub(super) at_ms: u64,
    pub(super) key: &'static str,
    pub(super) is_true: bool,
    pub(super) summary: String,
}

/// Everything counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Score {
    pub(super) seed: u64,
    pub(super) victim: String,
    pub(super) theft: Option<Theft>,
    pub(super) history_requests: u64,
    pub(super) history_refused: u64,
    pub(super) live_requests: u64,
    pub(super) thief_total: u64,
    pub(super) thief_served: u64,
    pub(super) thief_served_before: u64,
    pub(super) thief_after: u64,
    pub(super) thief_served_after: u64,
    pub(super) thief_cost: NanoUsd,
    pub(super) first_theft_ms: Option<u64>,
    pub(super) detected_ms: Option<u64>,
    pub(super) contained_ms: Option<u64>,
    pub(super) owner_live: u64,
    pub(super) owner_refused: u64,
    pub(super) owner_after: u64,
    pub(super) owner_refused_after: u64,
    pub(super) failures: u64,
    pub(super) alerts: Vec<Alert>,
    /// Requests of the thief, by the id the gateway gave them.
    pub(super) thief_ids: BTreeSet<String>,
}

/// The object `--json` prints.
#[derive(Serialize)]
pub(super) struct Summary {
    theft: &'static str,
    seed: u64,
    victim: String,
    contained: bool,
    thief_requests_total: u64,
    thief_requests_served: u64,
    thief_usd: f64,
    seconds_to_detection: Option<f64>,
    seconds_to_containment: Option<f64>,
    owner_requests_live: u64,
    owner_requests_refused_live: u64,
    owner_requests_after_containment: u64,
    owner_requests_refused_after_containment: u64,
    history_requests: u64,
    history_requests_refused: u64,
    failed_requests: u64,
    alerts: usize,
    false_alerts: usize,
}

impl Score {
    /// Counts one answered live request of the thief. `status` is what the thief got.
    pub(super) fn count_thief(&mut self, request: &SimRequest, status: u16, cost: NanoUsd) {
        self.thief_total += 1;
        self.first_theft_ms.get_or_insert(request.at_ms);
        let is_served = (200..300).contains(&status);
        if is_served {
            self.thief_served += 1;
            self.thief_cost += cost;
        }
        if status == 403 || status == 401 {
            self.contained_ms.get_or_insert(request.at_ms);
        }
        if self.contained_ms.is_some() {
            self.thief_after += 1;
            self.thief_served_after += u64::from(is_served);
        } else {
            self.thief_served_before += u64::from(is_served);
        }
    }

    /// Counts one answered live request of the victim's owner.
    pub(super) fn count_owner(&mut self, is_refused: bool) {
        self.owner_live += 1;
        self.owner_refused += u64::from(is_refused);
        if self.contained_ms.is_some() {
            self.owner_after += 1;
            self.owner_refused_after += u64::from(is_refused);
        }
    }

    pub(super) fn false_alerts(&self) -> usize {
        self.alerts.iter().filter(|alert| !alert.is_true).count()
    }

    /// Whether the thief was stopped: refused, and next to nothing served afterwards.
    pub(super) fn is_contained(&self) -> bool {
        self.contained_ms.is_some() && self.thief_served_after * 100 <= self.thief_after
    }

    /// A theft must be contained; without one nobody may be alarmed.
    pub(super) fn is_good(&self) -> bool {
        if self.theft.is_some() {
            self.is_contained()
        } else {
            self.alerts.is_empty() && self.owner_refused == 0
        }
    }

    /// Seconds from the thief's first request.
    pub(super) fn since_theft(&self, at_ms: Option<u64>) -> Option<f64> {
        Some(at_ms?.saturating_sub(self.first_theft_ms?) as f64 / 1_000.0)
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            theft: self.theft.map_or("none", Theft::name),
            seed: self.seed,
            victim: self.victim.clone(),
            contained: self.is_contained(),
            thief_requests_total: self.thief_total,
            thief_requests_served: self.thief_served,
            thief_usd: self.thief_cost.dollars(),
            seconds_to_detection: self.since_theft(self.detected_ms),
            seconds_to_containment: self.since_theft(self.contained_ms),
            owner_requests_live: self.owner_live,
            owner_requests_refused_live: self.owner_refused,
            owner_requests_after_containment: self.owner_after,
            owner_requests_refused_after_containment: self.owner_refused_after,
            history_requests: self.history_requests,
            history_requests_refused: self.history_refused,
            failed_requests: self.failures,
            alerts: self.alerts.len(),
            false_alerts: self.false_alerts(),
        }
    }
}
