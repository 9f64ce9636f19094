//! The ladder: which steps a finding earns, and which of them happen without a person.
//!
//! ```text
//! notice                     nothing, not even a case
//! alert or act, an actor     refuse its context; from the third context in an hour also clamp the rest
//! alert or act, no actor     clamp the key to its own normal; where none was learned: watch
//! act                        also suspend (and revoke): by itself in mode `full`, else proposed
//! ```

use tokenwatch_model::containment::{Action, Clamp, Containment, ContextMatch};
use tokenwatch_model::finding::{Finding, Severity, Tier};
use tokenwatch_model::id::{ContainmentId, IncidentId};
use tokenwatch_model::key::{KeyState, Mode};
use tokenwatch_model::time::{DAY, HOUR, Timestamp};

use crate::commands;
use crate::ids::Ids;
use crate::incident::{holds_finding, is_new_actor, severity_with};
use crate::plan::{Disposition, IncidentChange, Plan, Restore, Step, Tell, Undo, Why, describe_reason};
use crate::policy::ResponsePolicy;
use crate::relax;
use crate::situation::Situation;
use crate::words::{clean, clock, key_name};

/// From this many distinct contexts in an hour on, the thief is going through a supply of them, and the
/// rest of the key is clamped as well.
pub const CONTEXTS_BEFORE_CLAMP: usize = 3;

/// An extension must win at least this much, in microseconds; else every finding would write a row.
pub const EXTENSION_MIN_US: u64 = HOUR;

/// The longest that anything is in force by itself, in microseconds: what a policy may say at most.
const YEAR: u64 = 365 * DAY;

/// Decides what to do about a finding.
///
/// Pure: an equal situation and equal ids give an equal plan. Ids are taken only for what is new, the
/// incident's first, then those of the containments in the order of the steps.
pub fn plan(policy: &ResponsePolicy, situation: &Situation<'_>, ids: &mut dyn Ids) -> Plan {
    let finding = situation.finding;
    if finding.tier == Tier::Notice {
        return draft_notice(situation);
    }
    let policy = &*policy.in_environment(&situation.key.environment);
    let (incident, id, severity) = match situation.incident() {
        Some(before) => {
            let severity = severity_with(before, finding);
            (IncidentChange::Extend { before: Box::new(before.clone()) }, before.id, severity)
        }
        None => {
            let id = ids.incident();
            (IncidentChange::Open { id }, id, finding.severity)
        }
    };
    let mut climb = Climb {
        policy,
        situation,
        ids,
        incident: id,
        steps: Vec::new(),
        covered_by: Vec::new(),
        notes: Vec::new(),
    };
    if situation.key.state == KeyState::Revoked {
        climb.notes.push("the key is revoked: nothing is left to contain".to_owned());
    } else {
        climb.contain();
    }
    let Climb { steps, covered_by, notes, .. } = climb;
    let page = wants_page(situation, &incident, severity, &steps);
    Plan {
        key: situation.key.clone(),
        title: write_title(situation),
        finding: finding.clone(),
        incident,
        severity,
        steps,
        covered_by,
        notes,
        tell: address(situation, page),
        planned: situation.now,
    }
}

/// A notice is a question to the owner, not a case.
fn draft_notice(situation: &Situation<'_>) -> Plan {
    Plan {
        key: situation.key.clone(),
        finding: situation.finding.clone(),
        incident: IncidentChange::None,
        title: write_title(situation),
        severity: situation.finding.severity,
        steps: Vec::new(),
        covered_by: Vec::new(),
        notes: vec!["asks the owner \"was this you?\"; nothing is refused".to_owned()],
        tell: address(situation, false),
        planned: situation.now,
    }
}

/// `newcomer on search-prod: network AS64500 NL hosting, client axios`.
fn write_title(situation: &Situation<'_>) -> String {
    let name = key_name(situation.key);
    let rule = clean(&situation.finding.rule);
    match actor_context(situation.finding) {
        Some(context) => format!("{rule} on {name}: {}", clean(&context.to_string())),
        None => format!("{rule} on {name}"),
    }
}

fn address(situation: &Situation<'_>, page: bool) -> Tell {
    Tell {
        owner: situation.owner.map(|owner| owner.name.clone()),
        on_call: situation.owner.map(|owner| owner.on_call.clone()).unwrap_or_default(),
        channel: situation.owner.map(|owner| owner.channel.clone()).unwrap_or_default(),
        page,
    }
}

/// Somebody is woken for what is new and bad, or when the blast radius stops us; never again for the same.
fn wants_page(
    situation: &Situation<'_>,
    incident: &IncidentChange,
    severity: Severity,
    steps: &[Step],
) -> bool {
    let stopped = steps
        .iter()
        .any(|step| matches!(step.disposition, Disposition::Proposed { why } if why.is_blast_radius()));
    let is_news = match incident {
        IncidentChange::None => false,
        IncidentChange::Open { .. } => true,
        IncidentChange::Extend { before } => {
            let acts = |step: &Step| step.is_automatic() && !step.is_extension();
            !holds_finding(before, situation.finding)
                && (before.severity < severity
                    || is_new_actor(before, situation.finding)
                    || steps.iter().any(acts))
        }
    };
    is_news && (stopped || severity >= Severity::High || situation.finding.tier == Tier::Act)
}

/// The actor's context, unless it recognises nothing: an empty match must never become a step.
fn actor_context(finding: &Finding) -> Option<&ContextMatch> {
    finding.actor.as_ref().map(|actor| &actor.context).filter(|context| !context.is_empty())
}

/// Whether `wide` matches every request that `narrow` matches: every field it sets is set to the same.
pub(crate) fn covers(wide: &ContextMatch, narrow: &ContextMatch) -> bool {
    fn same<T: PartialEq>(wide: Option<&T>, narrow: Option<&T>) -> bool {
        wide.is_none() || wide == narrow
    }
    !wide.is_empty()
        && same(wide.prefix.as_ref(), narrow.prefix.as_ref())
        && same(wide.asn.as_ref(), narrow.asn.as_ref())
        && same(wide.country.as_ref(), narrow.country.as_ref())
        && same(wide.kind.as_ref(), narrow.kind.as_ref())
        && same(wide.client.as_ref(), narrow.client.as_ref())
        && same(wide.client_version.as_ref(), narrow.client_version.as_ref())
        && same(wide.tls.as_ref(), narrow.tls.as_ref())
        && same(wide.model.as_ref(), narrow.model.as_ref())
        && same(wide.template.as_ref(), narrow.template.as_ref())
}

/// So much longer for somebody who came back after something was relaxed: doubled each time, at most to a year.
fn longer(us: u64, times: u32) -> u64 {
    us.saturating_mul(1 << times.min(16)).min(YEAR).max(us)
}

/// A plan in the making.
struct Climb<'a> {
    policy: &'a ResponsePolicy,
    situation: &'a Situation<'a>,
    ids: &'a mut dyn Ids,
    incident: IncidentId,
    steps: Vec<Step>,
    covered_by: Vec<ContainmentId>,
    notes: Vec<String>,
}

impl Climb<'_> {
    fn contain(&mut self) {
        match actor_context(self.situation.finding).cloned() {
            Some(context) => self.refuse(context),
            None => self.clamp(&self.sentence()),
        }
        if self.situation.finding.tier == Tier::Act {
            self.end_key();
        }
    }

    /// Refuses a context, and from the third in an hour on also clamps the rest.
    fn refuse(&mut self, context: ContextMatch) {
        let us = longer(self.policy.context_us(), relax::times(self.situation, Some(&context)));
        let longest = self
            .situation
            .in_force()
            .filter(|c| matches!(&c.action, Action::RefuseContext(have) if covers(have, &context)))
            .max_by_key(|c| c.expires.unwrap_or(Timestamp(u64::MAX)))
            .cloned();
        let refused =
            self.situation.in_force().filter(|c| matches!(c.action, Action::RefuseContext(_))).count();
        let contexts = self.contexts_this_hour(&context);
        let limit = self.policy.contexts_per_key as usize;
        match longest {
            Some(have) => self.extend(&have, us, self.judge_extension()),
            None if refused >= limit => {
                self.notes.push(format!(
                    "{refused} contexts are refused on this key, as many as the policy allows: this one is not, the key is clamped instead"
                ));
                self.clamp(&self.sentence());
                self.suspend(self.judge_suspension());
                return;
            }
            None => self.add(Action::RefuseContext(context), us, self.judge(), self.sentence()),
        }
        if contexts >= CONTEXTS_BEFORE_CLAMP {
            let why = format!(
                "{contexts} distinct contexts in an hour: the thief changes them faster than people answer, so the rest of the key is held to its own normal"
            );
            self.clamp(&why);
        }
    }

    /// Distinct contexts of this incident in the last hour, `newest` included.
    fn contexts_this_hour(&self, newest: &ContextMatch) -> usize {
        let now = self.situation.now;
        let lately = |time: Timestamp| now.since(time) < HOUR;
        let mut contexts: Vec<&ContextMatch> = vec![newest];
        let mut note = |context| {
            if !contexts.contains(&context) {
                contexts.push(context);
            }
        };
        for containment in self.situation.in_force() {
            if let Action::RefuseContext(context) = &containment.action
                && containment.incident == Some(self.incident)
                && lately(containment.created)
            {
                note(context);
            }
        }
        // In mode `observe` nothing is in force, so the findings are looked at as well.
        for finding in self.situation.incident().map(|i| i.findings.as_slice()).unwrap_or_default() {
            if let Some(context) = actor_context(finding)
                && lately(finding.time)
            {
                note(context);
            }
        }
        contexts.len()
    }

    /// Holds the key to its own normal, or watches it where none is known.
    fn clamp(&mut self, why: &str) {
        let us = longer(self.policy.clamp_us(), relax::times(self.situation, None));
        let is_whole_key = |c: &&Containment| matches!(&c.action, Action::Clamp(Clamp { only: None, .. }));
        // The clamp in force was made from the normal before the theft: it is kept, never loosened.
        if let Some(have) = self.situation.in_force().find(is_whole_key).cloned() {
            return self.extend(&have, us, self.judge_extension());
        }
        if let Some(clamp) = self.situation.normal.and_then(crate::situation::Normal::clamp) {
            return self.add(Action::Clamp(clamp), us, self.judge(), why.to_owned());
        }
        self.notes
            .push("nothing is known of this key's normal yet, so it can not be clamped to it".to_owned());
        let watch = self.situation.in_force().find(|c| c.action == Action::Watch).cloned();
        match watch {
            Some(have) => self.extend(&have, us, self.judge_extension()),
            None => self.add(Action::Watch, us, self.judge(), why.to_owned()),
        }
        self.suspend(self.judge_suspension());
    }

    /// Suspends or revokes, by itself where mode and policy allow it.
    fn end_key(&mut self) {
        let revoke = self.judge_revocation();
        // A key that is revoked by itself needs no suspension.
        if revoke != Disposition::Automatic {
            self.suspend(self.judge_suspension());
        }
        if self.situation.in_force().any(|c| c.action == Action::Revoke) {
            self.notes.push("the key is revoked by a containment".to_owned());
            return;
        }
        let reason = self.sentence();
        let id = self.ids.containment();
        self.steps.push(Step {
            containment: id,
            action: Action::Revoke,
            disposition: revoke,
            reason,
            expires: None,
            undo: Undo {
                words: format!(
                    "nothing, a revoked key stays revoked with all its credentials; {} and then {} end the stolen one only",
                    commands::rotate(&key_name(self.situation.key)),
                    commands::retire(&key_name(self.situation.key))
                ),
                restore: Restore::Nothing,
            },
        });
    }

    fn suspend(&mut self, disposition: Disposition) {
        if self.steps.iter().any(|step| step.action == Action::Suspend) {
            return;
        }
        let us = self.policy.suspend_us();
        let have = self.situation.in_force().find(|c| c.action == Action::Suspend).cloned();
        match have {
            Some(have) => {
                // The key is suspended already: prolonging that does not widen the blast radius.
                let disposition = match disposition {
                    Disposition::Proposed { why } if !why.is_blast_radius() => disposition,
                    Disposition::Proposed { .. } | Disposition::Automatic => self.judge_extension(),
                };
                self.extend(&have, us, disposition);
            }
            None => self.add(Action::Suspend, us, disposition, self.sentence()),
        }
    }

    fn add(&mut self, action: Action, us: u64, disposition: Disposition, reason: String) {
        let containment = self.ids.containment();
        let words = format!("{} (it was us: lifts all of it)", commands::dismiss(self.incident));
        let undo = Undo { words, restore: Restore::Lift };
        let expires = Some(self.situation.now.plus(us));
        self.steps.push(Step { containment, action, disposition, reason, expires, undo });
    }

    fn extend(&mut self, have: &Containment, us: u64, disposition: Disposition) {
        let until = self.situation.now.plus(us);
        let Some(expires) = have.expires else {
            self.notes.push(format!("{} is in force until it is lifted", have.id));
            self.note_covered(have);
            return;
        };
        if until.since(expires) < EXTENSION_MIN_US {
            self.notes.push(format!("{} is in force until {} already", have.id, clock(expires)));
            self.note_covered(have);
            return;
        }
        self.steps.push(Step {
            containment: have.id,
            action: have.action.clone(),
            disposition,
            reason: self.sentence(),
            expires: Some(until),
            undo: Undo {
                words: format!(
                    "{} (it was us: lifts all of it); it would have ended at {}",
                    commands::dismiss(self.incident),
                    clock(expires)
                ),
                restore: Restore::Previous(Box::new(have.clone())),
            },
        });
    }

    /// Remembers a containment that makes a step superfluous; watching alone contains nothing.
    fn note_covered(&mut self, have: &Containment) {
        if have.action != Action::Watch {
            self.covered_by.push(have.id);
        }
    }

    /// Whether what is in force is prolonged by itself. Nobody is refused who was served before, so this
    /// does not widen the blast radius; only a radius of zero, which proposes everything, stops it.
    fn judge_extension(&self) -> Disposition {
        match self.judge() {
            Disposition::Proposed { why } if why.is_blast_radius() && self.policy.blast.keys_per_hour > 0 => {
                Disposition::Automatic
            }
            judged => judged,
        }
    }

    /// Whether a context or clamp comes into force by itself.
    fn judge(&self) -> Disposition {
        let recent = self.situation.recent;
        let limit = self.policy.blast.keys_per_hour;
        if self.situation.mode == Mode::Observe {
            return Disposition::Proposed { why: Why::Observed };
        }
        if limit == 0 || (!recent.this_key && recent.keys >= limit) {
            return Disposition::Proposed { why: Why::KeysPerHour { done: recent.keys, limit } };
        }
        Disposition::Automatic
    }

    fn judge_suspension(&self) -> Disposition {
        let why = match self.situation.mode {
            Mode::Observe => Why::Observed,
            Mode::Contain => Why::SuspendNeedsFull(Mode::Contain),
            Mode::Full if self.situation.finding.tier != Tier::Act => Why::NotCertain,
            Mode::Full if !self.policy.suspend_automatic => Why::SuspendByPeople,
            Mode::Full => return self.judge_radius_of_suspension(),
        };
        Disposition::Proposed { why }
    }

    fn judge_revocation(&self) -> Disposition {
        let why = match self.situation.mode {
            Mode::Observe => Why::Observed,
            Mode::Contain => Why::RevokeNeedsFull(Mode::Contain),
            Mode::Full if self.situation.finding.tier != Tier::Act => Why::NotCertain,
            Mode::Full if !self.policy.revoke_automatic => Why::RevokeByPeople,
            Mode::Full => return self.judge_radius_of_suspension(),
        };
        Disposition::Proposed { why }
    }

    fn judge_radius_of_suspension(&self) -> Disposition {
        let recent = self.situation.recent;
        let limit = self.policy.blast.suspends_per_hour;
        if limit == 0 || (!recent.this_key_suspended && recent.suspends >= limit) {
            return Disposition::Proposed { why: Why::SuspendsPerHour { done: recent.suspends, limit } };
        }
        self.judge()
    }

    fn sentence(&self) -> String {
        describe_reason(self.situation.finding)
    }
}

/// The contexts of an incident: those its findings name and those refused for it, each once.
pub(crate) fn contexts_of<'a>(
    findings: &'a [Finding],
    containments: impl IntoIterator<Item = &'a Containment>,
) -> Vec<ContextMatch> {
    let of_actions = containments.into_iter().filter_map(|c| match &c.action {
        Action::RefuseContext(context) => Some(context),
        Action::Clamp(clamp) => clamp.only.as_ref(),
        Action::Watch | Action::Suspend | Action::Revoke => None,
    });
    let mut contexts: Vec<ContextMatch> = Vec::new();
    for context in findings.iter().filter_map(actor_context).chain(of_actions) {
        if !context.is_empty() && !contexts.contains(context) {
            contexts.push(context.clone());
        }
    }
    contexts
}

#[cfg(test)]
mod tests;
