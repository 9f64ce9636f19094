//! What time alone changes about open incidents: strangers who stay away are let in again a rung at a time, and steps of
//! the runbook become overdue. Looked at once a minute.
//!
//! Two servers may look at the same time: each writes what it decided from the rows it read, and the second is refused.

use std::sync::Arc;

use tokenwatch_gateway::Gateway;
use tokenwatch_model::finding::Feedback;
use tokenwatch_model::incident::Incident;
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::relax::{Fading, RecentRelaxations, loosen, relax};
use tokenwatch_respond::{ResponsePolicy, runbook};

use crate::cases::Case;
use crate::radius::Radii;
use crate::records::{Records, RecordsError};
use crate::runbooks::{case_of, steps_of};

/// Open incidents looked at, latest first.
const INCIDENTS_MAX: u32 = 1_000;

/// Looks at every open incident once. What fails with one holds up no other, and is tried again at the next look.
pub fn tend(records: &Arc<dyn Records>, gateway: &Gateway, policy: &ResponsePolicy) {
    let now = gateway.now();
    let read =
        records.incidents(true, None, INCIDENTS_MAX).and_then(|incidents| Ok((incidents, records.said()?)));
    let (mut incidents, said) = match read {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(%error, "open incidents can not be looked at: nothing is relaxed or told overdue");
            return;
        }
    };
    for at in 0..incidents.len() {
        let tended = incidents
            .get(at)
            .map(|incident| Tended { records, gateway, policy, now }.look(incident, &incidents, &said));
        match tended {
            // The next ones see what was relaxed just now.
            Some(Ok(Some(changed))) => incidents.splice(at..=at, [changed]).for_each(drop),
            // A change that somebody else made meanwhile is looked at in a minute.
            Some(Ok(None) | Err(RecordsError::Conflict(_))) | None => {}
            Some(Err(error)) => tracing::warn!(%error, "an open incident could not be tended"),
        }
    }
}

struct Tended<'a> {
    records: &'a Arc<dyn Records>,
    gateway: &'a Gateway,
    policy: &'a ResponsePolicy,
    now: Timestamp,
}

impl Tended<'_> {
    /// The incident as it is afterwards; nothing when nothing changed.
    fn look(
        &self,
        incident: &Incident,
        all: &[Incident],
        said: &[Feedback],
    ) -> Result<Option<Incident>, RecordsError> {
        let may_fade = !incident.handling.automatic.is_empty();
        if !may_fade && !self.policy.overdue_alerts {
            return Ok(None);
        }
        let Some(case) = case_of(self.records.as_ref(), incident)? else { return Ok(None) };
        if may_fade && let Some(relaxed) = self.relax(&case, all, said)? {
            return Ok(Some(relaxed));
        }
        if self.policy.overdue_alerts {
            self.note_overdue(&case)?;
        }
        Ok(None)
    }

    fn relax(
        &self,
        case: &Case,
        all: &[Incident],
        said: &[Feedback],
    ) -> Result<Option<Incident>, RecordsError> {
        let Self { records, gateway, policy, now } = *self;
        let key = &case.key;
        let radii = Radii::new(records.as_ref(), policy, key);
        let mut within = Vec::new();
        for incident in all.iter().filter(|incident| !incident.handling.relaxed.is_empty()) {
            if radii.holds(incident.key)? {
                within.push(incident);
            }
        }
        let normal = gateway.live.normal(key.id);
        let entry = gateway.live.entry(key.id);
        let fading = Fading {
            key,
            mode: policy.mode_of(key, case.owner.as_ref()),
            leaked: entry.is_some_and(|entry| entry.profile.leaked.is_some()),
            incident: &case.incident,
            containments: &case.containments,
            said,
            normal: normal.as_ref(),
            recent: RecentRelaxations::count(within, key.id, now),
            now,
        };
        let Some(plan) = relax(policy, &fading) else { return Ok(None) };
        let effects = loosen(&plan, &case.containments, now);
        records.apply(&effects)?;
        let rows = records.containments_of(key.id)?;
        gateway.live.put_containments(key.id, rows, now);
        tracing::info!(incident.id = %case.incident.id, key.id = %key.id, plan = %plan, "relaxed");
        Ok(effects.incident)
    }

    fn note_overdue(&self, case: &Case) -> Result<(), RecordsError> {
        let steps = steps_of(&self.policy.steps(), case, None, self.now);
        match runbook::note_overdue(&case.incident, &steps, self.now) {
            Some(effects) => self.records.apply(&effects),
            None => Ok(()),
        }
    }
}
