//! What people do with incidents and containments; the CLI and the admin API both come here.

use tokenwatch_model::containment::{Action, Containment, ContextMatch};
use tokenwatch_model::id::{ContainmentId, IncidentId, KeyId};
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::Key;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::allowance::{self, AllowError, Allowance, Allowed};
use tokenwatch_respond::incident::ChangeIncidentError;
use tokenwatch_respond::manual::{self, Order, OrderError};
use tokenwatch_respond::{Effects, Normal, Plan, ResponsePolicy, Situation, Step, incident};

use crate::manage::{Manager, invalid};
use crate::radius::Radii;
use crate::records::RecordsError;

/// Tries when somebody else changed a row meanwhile.
const TRIES: usize = 5;

/// An incident with what is needed to tell its story.
#[derive(Clone, Debug)]
pub struct Case {
    /// The incident.
    pub incident: Incident,
    /// Its key.
    pub key: Key,
    /// The key's owner.
    pub owner: Option<Owner>,
    /// The key's containments, lifted ones included.
    pub containments: Vec<Containment>,
}

fn refused(error: impl ToString) -> RecordsError {
    RecordsError::Refused(error.to_string())
}

/// What is wrong with the order itself is told by field; the rest is the state's.
fn order_refused(error: OrderError) -> RecordsError {
    match error {
        OrderError::Empty => invalid("action", error.to_string()),
        OrderError::NoReason => invalid("reason", error.to_string()),
        OrderError::Over(_) => invalid("expires", error.to_string()),
        OrderError::Revoked => refused(error),
    }
}

fn allow_refused(error: AllowError) -> RecordsError {
    match error {
        AllowError::Broad => invalid("context", error.to_string()),
        AllowError::Reason => invalid("reason", error.to_string()),
        AllowError::Short(_) | AllowError::Long => invalid("until", error.to_string()),
        AllowError::Revoked | AllowError::Refused(_) => refused(error),
    }
}

fn change_refused(error: ChangeIncidentError) -> RecordsError {
    match error {
        ChangeIncidentError::EmptyNote | ChangeIncidentError::LongNote { .. } => {
            invalid("text", error.to_string())
        }
        ChangeIncidentError::Closed { .. } | ChangeIncidentError::OtherKey { .. } => refused(error),
    }
}

impl Case {
    /// The incident as it stands at a time: time alone ends containments.
    pub fn incident_at(&self, now: Timestamp) -> Incident {
        incident::as_of(&self.incident, &self.containments, now)
    }

    /// Who the incident's strangers are: as its findings name them, and as containments do.
    pub fn strangers(&self) -> Vec<ContextMatch> {
        let found =
            self.incident.findings.iter().filter_map(|finding| Some(&finding.actor.as_ref()?.context));
        let ours = self.containments.iter().filter(|row| self.incident.containments.contains(&row.id));
        let contained = ours.filter_map(|row| match &row.action {
            Action::RefuseContext(context) => Some(context),
            Action::Clamp(clamp) => clamp.only.as_ref(),
            Action::Watch | Action::Suspend | Action::Revoke => None,
        });
        found.chain(contained).cloned().collect()
    }
}

impl Manager {
    /// Incidents as they stand now, latest first, at most `limit`. Their stories do not say when containments ran
    /// out: that is [`Case::incident_at`]'s.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub fn incidents(
        &self,
        open_only: bool,
        key: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<Incident>, RecordsError> {
        let now = self.clock.now();
        let mut incidents = self.records.incidents(open_only, key, limit)?;
        let in_force = match key {
            // Also a stand-in's.
            Some(key) => self.records.containments_of(key)?,
            None => self.records.active_containments(now)?,
        };
        for incident in &mut incidents {
            *incident = incident::as_of(incident, &in_force, now);
        }
        Ok(incidents)
    }

    /// An incident by its id.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn case(&self, id: &str) -> Result<Case, RecordsError> {
        let missing = || {
            RecordsError::Missing(format!(
                "there is no incident {id:?}; `tokenwatch incident list --all` shows all"
            ))
        };
        let id: IncidentId = id.parse().map_err(|_| missing())?;
        let incident = self.records.incident(id)?.ok_or_else(missing)?;
        let key = self.records.key(incident.key)?.ok_or_else(missing)?.key;
        let owner = key.owner.map(|owner| self.records.owner(owner)).transpose()?.flatten();
        let containments = self.records.containments_of(key.id)?;
        Ok(Case { incident, key, owner, containments })
    }

    /// Closes an incident as "it was us": everything it put in force is lifted and its contexts are trusted.
    ///
    /// # Errors
    ///
    /// When it is closed already.
    pub fn dismiss(&self, policy: &ResponsePolicy, id: &str, who: &str) -> Result<Effects, RecordsError> {
        self.write(|| {
            let case = self.case(id)?;
            incident::dismiss(policy, &case.incident, &case.containments, who, self.clock.now())
                .map_err(refused)
        })
    }

    /// Allows a context on a key beforehand: what calls from it until then is the key's own.
    ///
    /// # Errors
    ///
    /// When it would let anybody in, gives no reason, does not end in time, or the key or the context is contained.
    pub fn allow_context(
        &self,
        key: &str,
        context: &ContextMatch,
        until: Timestamp,
        reason: &str,
        who: &str,
    ) -> Result<Key, RecordsError> {
        let key = self.find_key(key)?;
        self.write(|| {
            let containments = self.records.containments_of(key.id)?;
            let allowance = Allowance { key: &key, context: context.clone(), until, reason, who };
            allowance::allow(&allowance, &containments, self.clock.now()).map_err(allow_refused)
        })?;
        Ok(key)
    }

    /// Ends what [`Manager::allow_context`] allowed before its time.
    ///
    /// # Errors
    ///
    /// When the key is unknown, or no such context stands on it.
    pub fn end_context(&self, key: &str, context: &ContextMatch, who: &str) -> Result<Key, RecordsError> {
        let (key, allowed) = self.contexts(key)?;
        if !allowed.iter().any(|allowed| allowed.context == *context) {
            let name = &key.name;
            let text = format!(
                "{name} has no allowed context like that; `tokenwatch context list {name}` shows all"
            );
            return Err(RecordsError::Missing(text));
        }
        self.write(|| Ok(allowance::end(key.id, context, who, self.clock.now())))?;
        Ok(key)
    }

    /// The contexts that people said are a key's own, by dismissing an incident or beforehand, while it holds.
    ///
    /// # Errors
    ///
    /// When the key is unknown.
    pub fn contexts(&self, key: &str) -> Result<(Key, Vec<Allowed>), RecordsError> {
        let key = self.find_key(key)?;
        let said = self.records.said()?;
        let standing = allowance::standing(&said, key.id, self.clock.now());
        Ok((key, standing))
    }

    /// Closes an incident as a theft. Its containments stay until they expire, unless `lift`.
    ///
    /// # Errors
    ///
    /// When it is closed already.
    pub fn resolve(&self, id: &str, lift: bool, who: &str) -> Result<Effects, RecordsError> {
        self.write(|| {
            let case = self.case(id)?;
            incident::resolve(&case.incident, &case.containments, lift, who, self.clock.now())
                .map_err(refused)
        })
    }

    /// Says that somebody is on an incident, so that nobody else is called.
    ///
    /// # Errors
    ///
    /// When it is closed.
    pub fn acknowledge(&self, id: &str, who: &str) -> Result<Effects, RecordsError> {
        self.write(|| {
            let case = self.case(id)?;
            incident::acknowledge(case.incident, who, self.clock.now()).map_err(refused)
        })
    }

    /// Puts a containment on a key by hand.
    ///
    /// # Errors
    ///
    /// When it would do nothing, has no reason, or the key is revoked.
    pub fn contain(
        &self,
        key: &str,
        action: Action,
        reason: &str,
        expires: Option<Timestamp>,
        who: &str,
    ) -> Result<Effects, RecordsError> {
        let id = ContainmentId::from_bits(self.random.next_u64());
        self.write(|| {
            let key = self.find_key(key)?;
            let incidents = self.records.incidents(true, Some(key.id), 1)?;
            let action = action.clone();
            let order = Order { key: &key, incident: incidents.first(), id, action, reason, expires, who };
            manual::contain(&order, self.clock.now()).map_err(order_refused)
        })
    }

    /// Lifts one containment by hand.
    ///
    /// # Errors
    ///
    /// When it is not in force, or is a revocation.
    pub fn lift(&self, id: &str, who: &str) -> Result<Effects, RecordsError> {
        let missing = || {
            RecordsError::Missing(format!(
                "there is no containment {id:?}; `tokenwatch key show` lists those of a key"
            ))
        };
        let id: ContainmentId = id.parse().map_err(|_| missing())?;
        self.write(|| {
            let containment = self.records.containment(id)?.ok_or_else(missing)?;
            let containments = self.records.containments_of(containment.key)?;
            let incident = containment.incident.map(|id| self.records.incident(id)).transpose()?.flatten();
            manual::lift(&containment, incident.as_ref(), &containments, who, self.clock.now())
                .map_err(refused)
        })
    }

    /// The plan of an open incident, made again from its last finding: what was proposed and can be approved.
    /// `normal` tells what a key usually does; without it a clamp can not be proposed.
    ///
    /// # Errors
    ///
    /// When there is no such incident, or it is closed, or what `normal` fails with.
    pub fn plan_again(
        &self,
        policy: &ResponsePolicy,
        normal: &dyn Fn(KeyId) -> Result<Option<Normal>, RecordsError>,
        id: &str,
    ) -> Result<Plan, RecordsError> {
        let case = self.case(id)?;
        if !case.incident.state.is_open() {
            return Err(refused(format!(
                "{id} is {}: nothing is left to approve",
                case.incident.state.name()
            )));
        }
        let finding =
            case.incident.findings.last().ok_or_else(|| refused("the incident holds no finding"))?;
        let now = self.clock.now();
        let active = self.records.active_containments(now)?;
        let normal = normal(case.key.id)?;
        let situation = Situation {
            key: &case.key,
            mode: policy.mode_of(&case.key, case.owner.as_ref()),
            owner: case.owner.as_ref(),
            finding,
            open_incident: Some(&case.incident),
            containments: &case.containments,
            normal: normal.as_ref(),
            recent: Radii::new(self.records.as_ref(), policy, &case.key).recent(&active, now)?,
            now,
        };
        let random = self.random.clone();
        Ok(tokenwatch_respond::plan(policy, &situation, &mut || random.next_u64()))
    }

    /// Carries out the proposed steps of one kind, in the person's name. `normal` as in [`Manager::plan_again`].
    ///
    /// # Errors
    ///
    /// When no such step is proposed, and as [`Manager::plan_again`].
    pub fn approve(
        &self,
        policy: &ResponsePolicy,
        normal: &dyn Fn(KeyId) -> Result<Option<Normal>, RecordsError>,
        id: &str,
        action: &str,
        who: &str,
    ) -> Result<Effects, RecordsError> {
        self.write(|| {
            let plan = self.plan_again(policy, normal, id)?;
            if !plan.steps.iter().any(|step| step.action.name() == action) {
                let proposed: Vec<&str> = plan.steps.iter().map(|step| step.action.name()).collect();
                let proposed = if proposed.is_empty() { "nothing".to_owned() } else { proposed.join(", ") };
                return Err(refused(format!("{action} is not proposed; proposed is {proposed}")));
            }
            let chosen = |step: &Step| step.action.name() == action;
            Ok(tokenwatch_respond::approve(&plan, chosen, who, self.clock.now()))
        })
    }

    /// Adds a line to an incident's story.
    ///
    /// # Errors
    ///
    /// When the incident is closed, or the text is empty.
    pub fn note(&self, id: &str, text: &str, who: &str) -> Result<Effects, RecordsError> {
        self.write(|| {
            let case = self.case(id)?;
            incident::note(case.incident, text, who, self.clock.now()).map_err(change_refused)
        })
    }

    /// Decides and writes; again when somebody else wrote meanwhile. While a thief knocks on, a server counts
    /// refusals into the incident every second.
    pub(crate) fn write(
        &self,
        decide: impl Fn() -> Result<Effects, RecordsError>,
    ) -> Result<Effects, RecordsError> {
        let mut tries = TRIES;
        loop {
            let effects = decide()?;
            tries -= 1;
            match self.records.apply(&effects) {
                Ok(()) => return Ok(effects),
                Err(RecordsError::Conflict(_)) if tries > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }
}
