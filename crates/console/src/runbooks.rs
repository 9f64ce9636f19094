//! The runbook of incidents: its steps now, people's words on them, and what was relaxed brought back.

use tokenwatch_model::incident::Incident;
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::relax::{self, RestoreError};
use tokenwatch_respond::runbook::{self, Created, Facts, MarkStepError, Step, StepRule, Tick};
use tokenwatch_respond::{Effects, ResponsePolicy};

use crate::cases::Case;
use crate::manage::{Manager, invalid};
use crate::records::{Records, RecordsError};

/// What a person says of a step.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// Id of the step.
    pub step: &'a str,
    /// What is said.
    pub tick: Tick,
    /// In the person's words; may be empty.
    pub note: &'a str,
}

fn mark_refused(error: MarkStepError) -> RecordsError {
    match error {
        MarkStepError::Unknown { .. } => RecordsError::Missing(error.to_string()),
        MarkStepError::NoNote | MarkStepError::LongNote => invalid("note", error.to_string()),
        MarkStepError::Dismissed(_) => RecordsError::Refused(error.to_string()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
fn restore_refused(error: RestoreError) -> RecordsError {
    RecordsError::Refused(error.to_string())
}

/// The steps of a case's runbook at a time.
pub fn steps_of(book: &[StepRule], case: &Case, created: Option<Created>, now: Timestamp) -> Vec<Step> {
    let facts = Facts {
        incident: &case.incident_at(now),
        key: &case.key,
        owner: case.owner.as_ref(),
        containments: &case.containments,
        created,
        now,
    };
    runbook::steps(book, &facts)
}

/// An incident with what its runbook is computed from.
pub(crate) fn case_of(records: &dyn Records, incident: &Incident) -> Result<Option<Case>, RecordsError> {
    let Some(stored) = records.key(incident.key)? else { return Ok(None) };
    let key = stored.key;
    let owner = key.owner.map(|owner| records.owner(owner)).transpose()?.flatten();
    let containments = records.containments_of(key.id)?;
    Ok(Some(Case { incident: incident.clone(), key, owner, containments }))
}

impl Manager {
    /// The steps of a case's runbook now. `created` is what was seen of what outlives a key, if events were read.
    pub fn runbook(&self, policy: &ResponsePolicy, case: &Case, created: Option<Created>) -> Vec<Step> {
        steps_of(&policy.steps(), case, created, self.clock.now())
    }

    /// Ticks a step of an incident's runbook off, or takes that back.
    ///
    /// # Errors
    ///
    /// When there is no such incident or step, a step is skipped without a note, or the incident was "it was us".
    pub fn tick(
        &self,
        policy: &ResponsePolicy,
        id: &str,
        word: Word<'_>,
        who: &str,
    ) -> Result<Effects, RecordsError> {
        let book = policy.steps();
        self.write(|| {
            let case = self.case(id)?;
            runbook::mark(case.incident, &book, word.step, word.tick, word.note, who, self.clock.now())
                .map_err(mark_refused)
        })
    }

    /// Brings back what was relaxed by itself on an incident's key; it is not relaxed again.
    ///
    /// # Errors
    ///
    /// When there is no such incident, it is closed, or nothing was relaxed.
    pub fn restore(&self, id: &str, who: &str) -> Result<Effects, RecordsError> {
        self.write(|| {
            let case = self.case(id)?;
            relax::restore(&case.incident, &case.containments, who, self.clock.now()).map_err(restore_refused)
        })
    }
}
