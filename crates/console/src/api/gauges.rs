//! Gauges that describe what is, rather than what happens: counted when somebody looks, at most once a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokenwatch_gateway::live::Census;
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::time::DAY;
use tokenwatch_respond::runbook;
use tokenwatch_telemetry::labels::{DrillResult, KeyLabel};
use tokenwatch_telemetry::metrics::CircuitState;

use super::server::Shared;
use crate::records::RecordsError;
use crate::runbooks::{case_of, steps_of};

const FRESH_FOR: Duration = Duration::from_secs(1);
/// How long a count of overdue steps holds.
const OVERDUE_FRESH_FOR: Duration = Duration::from_secs(10);
/// Incidents looked at, latest first; older ones no longer count.
const INCIDENTS_MAX: u32 = 1_000;
/// Drills looked at, latest first.
const DRILLS_MAX: u32 = 200;
/// Closed incidents count for so long.
const CLOSED_FOR: u64 = 30 * DAY;

const STATES: [IncidentState; 5] = [
    IncidentState::Open,
    IncidentState::Contained,
    IncidentState::Resolved,
    IncidentState::Dismissed,
    IncidentState::Expired,
];

/// When the gauges were last counted.
#[derive(Default)]
pub(crate) struct Gauges {
    counted: Mutex<Option<Instant>>,
    /// Overdue steps, and when they were counted.
    overdue: Mutex<Option<(Instant, u64)>>,
    open: AtomicU64,
}

impl Gauges {
    /// Incidents that somebody still has to look at, as last counted.
    pub(crate) fn open_incidents(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts again, unless it was just done. May block.
    pub(crate) fn refresh(&self, shared: &Shared) {
        // Held while counting: of several that look at once, one counts and the others wait for it.
        let mut counted = self.counted.lock();
        if counted.is_some_and(|at| at.elapsed() < FRESH_FOR) {
            return;
        }
        self.count_live(shared);
        self.count_incidents(shared);
        Self::note_drills(shared);
        *counted = Some(Instant::now());
    }

    fn count_live(&self, shared: &Shared) {
        let gateway = &shared.api.gateway;
        let metrics = &gateway.metrics;
        let Census { active, expired, disabled, revoked, containments, .. } =
            gateway.live.census(gateway.now());
        for (label, count) in [
            (KeyLabel::Active, active),
            (KeyLabel::Expired, expired),
            (KeyLabel::Disabled, disabled),
            (KeyLabel::Revoked, revoked),
        ] {
            metrics.keys.set((label,), count);
        }
        for (rung, count) in containments {
            metrics.containments.set((rung,), count);
        }
        let providers = gateway.settings().providers.clone();
        let names: Vec<_> = providers.iter().map(|provider| provider.name.clone()).collect();
        for (circuit, provider) in metrics.circuits.configure(&names).iter().zip(&providers) {
            circuit.set(provider.circuit().unwrap_or(CircuitState::Closed));
        }
    }

    fn count_incidents(&self, shared: &Shared) {
        let manager = &shared.api.manager;
        let incidents = match manager.incidents(false, None, INCIDENTS_MAX) {
            Ok(incidents) => incidents,
            Err(error) => {
                tracing::warn!(%error, "incidents can not be counted: their gauges stay as they were");
                return;
            }
        };
        let since = manager.clock.now().0.saturating_sub(CLOSED_FOR);
        for state in STATES {
            let of_state = incidents.iter().filter(|incident| {
                incident.state == state && incident.closed.is_none_or(|closed| closed.0 >= since)
            });
            shared.api.gateway.metrics.incidents.set((state,), of_state.count() as u64);
        }
        let open = incidents.iter().filter(|incident| incident.state.is_open()).count();
        self.open.store(open as u64, Ordering::Relaxed);
        match self.count_overdue(shared, &incidents) {
            Ok(count) => shared.api.gateway.metrics.steps_overdue.set((), count),
            Err(error) => {
                tracing::warn!(%error, "overdue steps can not be counted: their gauge stays as it was");
            }
        }
    }

    /// When drills last passed and failed.
    fn note_drills(shared: &Shared) {
        let drills = match shared.api.manager.records.drills(None, DRILLS_MAX) {
            Ok(drills) => drills,
            Err(error) => {
                tracing::warn!(%error, "drills can not be read: their gauges stay as they were");
                return;
            }
        };
        for (label, passed) in [(DrillResult::Passed, true), (DrillResult::Failed, false)] {
            let ends = drills.iter().filter_map(|drill| drill.end.as_ref());
            let last = ends.filter(|end| end.passed == passed).map(|end| end.time.0).max();
            shared.api.gateway.metrics.drill_last.set((label,), last.unwrap_or(0));
        }
    }

    /// Steps of runbooks that are overdue. A clock of hours need not be read every second.
    fn count_overdue(&self, shared: &Shared, incidents: &[Incident]) -> Result<u64, RecordsError> {
        let mut counted = self.overdue.lock();
        if let Some((at, count)) = *counted
            && at.elapsed() < OVERDUE_FRESH_FOR
        {
            return Ok(count);
        }
        let manager = &shared.api.manager;
        let now = manager.clock.now();
        let book = shared.api.policy.load().steps();
        let mut count = 0;
        for incident in incidents.iter().filter(|incident| runbook::is_followed(incident)) {
            if let Some(case) = case_of(manager.records.as_ref(), incident)? {
                count += runbook::overdue(&steps_of(&book, &case, None, now)) as u64;
            }
        }
        *counted = Some((Instant::now(), count));
        Ok(count)
    }
}
