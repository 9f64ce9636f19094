//! What is, over all keys together: for gauges and the head of live views.

use serde::Serialize;
use tokenwatch_model::key::KeyState;
use tokenwatch_model::limit::BudgetWindow;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::Timestamp;
use tokenwatch_telemetry::labels::Rung;

use super::Live;

/// The rungs of the ladder, mildest first.
const RUNGS: [Rung; 5] = [Rung::Watch, Rung::Clamp, Rung::RefuseContext, Rung::Suspend, Rung::Revoke];

/// Counts over all keys at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Keys that can be used.
    pub active: u64,
    /// Keys whose time is over.
    pub expired: u64,
    /// Keys that a person switched off.
    pub disabled: u64,
    /// Keys that are ended for good.
    pub revoked: u64,
    /// Containments in force.
    pub containments: [(Rung, u64); 5],
    /// What happens on keys that are in memory.
    pub activity: Activity,
}

/// What happens on all keys together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests in each of the last 60 seconds, oldest first.
    pub requests_by_second: Vec<u64>,
    /// Money spent this UTC day.
    pub spent_day: NanoUsd,
    /// Money spent this UTC month.
    pub spent_month: NanoUsd,
}

impl Live {
    /// Counts over all keys. Shards are looked at one after the other, each for as long as its keys take.
    pub fn census(&self, now: Timestamp) -> Census {
        let mut census = Census {
            active: 0,
            expired: 0,
            disabled: 0,
            revoked: 0,
            containments: RUNGS.map(|rung| (rung, 0)),
            activity: Activity {
                in_flight: 0,
                requests_by_second: vec![0; super::view::SECONDS],
                spent_day: NanoUsd::ZERO,
                spent_month: NanoUsd::ZERO,
            },
        };
        for shard in &self.shards {
            for live in shard.lock().keys.values() {
                *match live.entry.state {
                    KeyState::Disabled => &mut census.disabled,
                    KeyState::Revoked => &mut census.revoked,
                    KeyState::Active if live.entry.usable(now).is_err() => &mut census.expired,
                    KeyState::Active => &mut census.active,
                } += 1;
                for containment in live.contained.known().iter().filter(|c| c.in_force(now)) {
                    let of = Rung::from(&containment.action);
                    if let Some((_, count)) = census.containments.iter_mut().find(|(rung, _)| *rung == of) {
                        *count += 1;
                    }
                }
                census.activity.in_flight += live.flights.len() as u64;
                let Some(mind) = &live.mind else { continue };
                census.activity.spent_day += mind.account.spent(BudgetWindow::Day, now);
                census.activity.spent_month += mind.account.spent(BudgetWindow::Month, now);
                if mind.recent.is_recent(now) {
                    let history = mind.recent.history(now);
                    for (sum, count) in census.activity.requests_by_second.iter_mut().zip(history) {
                        *sum += u64::from(count);
                    }
                }
            }
        }
        census
    }
}
