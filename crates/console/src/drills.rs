//! Rehearsed thefts: started, ended, and looked at by people and their schedules.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenwatch_gateway::Gateway;
use tokenwatch_gateway::drill::{DrillSecrets, StartDrillError};
use tokenwatch_gateway::settings::Origin;
use tokenwatch_model::SmolStr;
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::drill::{Drill, DrillEnd};
use tokenwatch_model::id::{DrillId, KeyId};
use tokenwatch_model::incident::Incident;
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::{MINUTE, Timestamp};
use tokenwatch_respond::{ResponsePolicy, incident};

use crate::manage::{Manager, check_text, invalid};
use crate::records::{Records, RecordsError};
use crate::rotation::{self, RotateSpec};

/// Longest time a drill may take.
const MINUTES_MAX: u32 = 60;
/// Incidents of a stand-in: a thief who comes back after one was closed opens another.
const INCIDENTS_MAX: u32 = 32;
/// Tries when somebody else changed a row meanwhile.
const TRIES: usize = 5;

/// What a new drill is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillSpec {
    /// Name or id of the key.
    pub key: SmolStr,
    /// What is rehearsed.
    pub theft: SmolStr,
    /// Whether people are told of its incident, marked as a drill.
    #[serde(default)]
    pub pages: bool,
    /// Minutes after which it ends by itself, 1 to 60.
    #[serde(default = "ten")]
    pub minutes: u32,
}

const fn ten() -> u32 {
    10
}

impl Manager {
    /// Starts a drill on the running gateway, answered by the mock at `mock`. Its secrets are handed out once.
    ///
    /// # Errors
    ///
    /// When there is no such key, it serves nobody or is contained, another drill runs on it, or something asked for makes no
    /// sense.
    pub fn start_drill(
        &self,
        gateway: &Gateway,
        mock: &Origin,
        spec: &DrillSpec,
        who: &str,
    ) -> Result<(Drill, DrillSecrets), RecordsError> {
        if !(1..=MINUTES_MAX).contains(&spec.minutes) {
            return Err(invalid("minutes", format!("expected 1 to {MINUTES_MAX}")));
        }
        check_said("theft", &spec.theft)?;
        let key = self.find_key(&spec.key)?;
        let now = self.clock.now();
        self.check_free(key.id, now)?;
        let drill = Drill {
            id: DrillId::from_bits(self.random.next_u64()),
            key: key.id,
            theft: spec.theft.clone(),
            who: who.into(),
            pages: spec.pages,
            started: now,
            until: now.plus(u64::from(spec.minutes) * MINUTE),
            end: None,
        };
        let secrets = gateway.start_drill(drill.clone(), mock).map_err(|error| match error {
            StartDrillError::NoKey => RecordsError::Missing(error.to_string()),
            StartDrillError::Unread(_) => RecordsError::Unavailable(error.to_string()),
            error => RecordsError::Refused(error.to_string()),
        })?;
        let detail =
            json!({ "key": drill.key, "theft": drill.theft, "pages": drill.pages, "until": drill.until });
        let entry = audit(now, who, "drill.start", drill.id, &detail);
        if let Err(error) = self.records.put_drill(&drill, &entry) {
            gateway.drills.end(drill.id);
            return Err(error);
        }
        Ok((drill, secrets))
    }

    /// A key with a case of its own is left alone: a drill would show nothing, and confuse whoever works on it.
    fn check_free(&self, key: KeyId, now: Timestamp) -> Result<(), RecordsError> {
        if let Some(open) = self.records.incidents(true, Some(key), 1)?.first() {
            return Err(RecordsError::Refused(format!(
                "the incident {} on this key is open; close it first (`tokenwatch incident show {}`)",
                open.id, open.id
            )));
        }
        if let Some(held) = self.records.containments_of(key)?.iter().find(|c| c.in_force(now)) {
            return Err(RecordsError::Refused(format!(
                "the containment {} ({}) is in force on this key; lift it first",
                held.id,
                held.action.name()
            )));
        }
        Ok(())
    }

    /// Rotates the credential of a running drill's stand-in, by the rules of [`Manager::rotate`] and at a time on the drill's
    /// clock; the new credential. No key's credential is touched.
    ///
    /// # Errors
    ///
    /// When there is no such drill, it has ended, or a rotation of it is under way.
    pub fn rotate_in_drill(
        &self,
        gateway: &Gateway,
        id: &str,
        spec: &RotateSpec,
        at: Timestamp,
    ) -> Result<Secret, RecordsError> {
        let drill = self.find_drill(id)?;
        let ended = || RecordsError::Refused(format!("the drill {id} has ended"));
        let latest = gateway.drills.running(drill.id).ok_or_else(ended)?.rotation();
        let rotation = rotation::next("the stand-in", latest, spec, at)?;
        gateway.rotate_stand_in(drill.id, rotation).ok_or_else(ended)
    }

    /// Ends a drill: its incidents are closed as "it was us", what they put in force is lifted, and its stand-in is forgotten.
    ///
    /// # Errors
    ///
    /// When there is no such drill, or it has ended.
    pub fn end_drill(
        &self,
        gateway: &Gateway,
        policy: &ResponsePolicy,
        id: &str,
        passed: bool,
        summary: &str,
        who: &str,
    ) -> Result<Drill, RecordsError> {
        check_said("summary", summary)?;
        let drill = self.find_drill(id)?;
        if drill.end.is_some() {
            return Err(RecordsError::Refused(format!("the drill {id} has ended")));
        }
        gateway.drills.end(drill.id);
        let end = DrillEnd { time: self.clock.now(), passed, summary: summary.to_owned() };
        end_drill(self.records.as_ref(), policy, &drill, end, who)
    }

    /// A drill by its id.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find_drill(&self, id: &str) -> Result<Drill, RecordsError> {
        let missing =
            || RecordsError::Missing(format!("there is no drill {id:?}; `tokenwatch drill list` shows all"));
        let parsed: DrillId = id.parse().map_err(|_| missing())?;
        self.records.drill(parsed)?.ok_or_else(missing)
    }

    /// The incidents of a drill, latest first.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub fn drill_incidents(&self, drill: &Drill) -> Result<Vec<Incident>, RecordsError> {
        self.incidents(false, Some(drill.stand_in()), INCIDENTS_MAX)
    }
}

/// Records how a drill went and closes what it opened.
///
/// # Errors
///
/// When the store does not answer.
pub fn end_drill(
    records: &dyn Records,
    policy: &ResponsePolicy,
    drill: &Drill,
    end: DrillEnd,
    who: &str,
) -> Result<Drill, RecordsError> {
    for open in records.incidents(true, Some(drill.stand_in()), INCIDENTS_MAX)? {
        close(records, policy, &open, end.time, who)?;
    }
    let detail =
        json!({ "key": drill.key, "theft": drill.theft, "passed": end.passed, "summary": end.summary });
    let entry = audit(end.time, who, "drill.end", drill.id, &detail);
    let ended = Drill { end: Some(end), ..drill.clone() };
    records.put_drill(&ended, &entry)?;
    Ok(ended)
}

fn close(
    records: &dyn Records,
    policy: &ResponsePolicy,
    open: &Incident,
    now: Timestamp,
    who: &str,
) -> Result<(), RecordsError> {
    let mut left = TRIES;
    loop {
        left -= 1;
        let Some(open) = records.incident(open.id)?.filter(|incident| incident.state.is_open()) else {
            return Ok(());
        };
        let containments = records.containments_of(open.key)?;
        let effects = incident::dismiss(policy, &open, &containments, who, now)
            .map_err(|error| RecordsError::Refused(error.to_string()))?;
        match records.apply(&effects) {
            Err(RecordsError::Conflict(_)) if left > 0 => {}
            result => return result,
        }
    }
}

/// A text that must say something.
pub(crate) fn check_said(field: &str, text: &str) -> Result<(), RecordsError> {
    if text.is_empty() {
        return Err(invalid(field, "a text is needed"));
    }
    check_text(field, text)
}

fn audit(time: Timestamp, who: &str, action: &str, drill: DrillId, detail: &serde_json::Value) -> AuditEntry {
    AuditEntry {
        time,
        actor: who.into(),
        action: action.into(),
        subject: drill.to_string().into(),
        detail: detail.to_string(),
    }
}
