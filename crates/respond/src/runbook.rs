//! The remediation runbook of an incident: its steps in order, each with its state, who does it, what to press, and a
//! deadline clock.
//!
//! ```text
//! steps as data (table) ─┐
//! incident, key,         ├─steps──► state of each step ──► shown, told in alerts, counted when overdue
//! containments, time ────┘              ▲
//! a person ticks one off ──mark─────────┘ (kept with the incident)
//! ```
//!
//! Invariants:
//! * The state is computed from what is known, never stored: only a person's word on a step is kept.
//! * A person's word goes before what is computed, and can be taken back.
//! * A step is overdue only while somebody still has to do it.

mod judge;
mod table;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::json;
use smol_str::SmolStr;
use tokenwatch_model::alert::AlertCause;
use tokenwatch_model::containment::Containment;
use tokenwatch_model::handling::{StepMark, StepWord};
use tokenwatch_model::id::IncidentId;
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::key::Key;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{MINUTE, Timestamp, human_span};

use self::judge::judge;
pub(crate) use self::table::PERSISTENCE;
pub use self::table::{STEPS_MAX, StepOverride, StepRule, check, merged, shipped};
use crate::commands;
use crate::effects::{Effects, SELF, audit};
use crate::incident::{NOTE_CHARS_MAX, tell};
use crate::persistence;
use crate::words::{clean, clock, count, key_name};

/// Where a step of an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// TokenWatch did it.
    Automatic,
    /// TokenWatch proposed it, and a person has to say yes.
    Proposed,
    /// A person did it.
    Done,
    /// Somebody has to do it.
    Open,
    /// There is nothing to do, or a person said so.
    NotNeeded,
}

impl StepState {
    /// The words used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Proposed => "proposed",
            Self::Done => "done",
            Self::Open => "open",
            Self::NotNeeded => "not needed",
        }
    }

    /// Whether somebody still has to do it.
    pub const fn is_left(self) -> bool {
        matches!(self, Self::Proposed | Self::Open)
    }
}

/// Calls that the gateway forwarded for an incident's strangers and that create what outlives a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Created {
    /// Calls to files.
    pub files: u64,
    /// Calls to batches.
    pub batches: u64,
    /// Calls to fine-tuning.
    pub fine_tuning: u64,
    /// Calls to assistants, threads, vector stores.
    pub assistants: u64,
}

impl Created {
    /// The endpoints that create what outlives a key.
    pub const ENDPOINTS: [Endpoint; 4] =
        [Endpoint::Files, Endpoint::Batches, Endpoint::FineTuning, Endpoint::Assistants];

    /// Counts a forwarded call.
    pub const fn count(&mut self, endpoint: Endpoint) {
        let counter = match endpoint {
            Endpoint::Files => &mut self.files,
            Endpoint::Batches => &mut self.batches,
            Endpoint::FineTuning => &mut self.fine_tuning,
            Endpoint::Assistants => &mut self.assistants,
            _ => return,
        };
        *counter = counter.saturating_add(1);
    }

    fn words(self) -> String {
        let parts = [
            (self.files, "files"),
            (self.batches, "batches"),
            (self.fine_tuning, "fine-tuning"),
            (self.assistants, "assistants"),
        ];
        let told = parts.into_iter().filter(|(calls, _)| *calls > 0);
        told.map(|(calls, what)| format!("{} to {what}", count(calls, "call"))).collect::<Vec<_>>().join(", ")
    }
}

/// What the states of steps are computed from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The incident as it stands now, see [`crate::incident::as_of`].
    pub incident: &'a Incident,
    /// Its key.
    pub key: &'a Key,
    /// The key's owner.
    pub owner: Option<&'a Owner>,
    /// The key's containments, ended ones included.
    pub containments: &'a [Containment],
    /// What the gateway saw the strangers create; nothing where the events were not read.
    pub created: Option<Created>,
    /// The time.
    pub now: Timestamp,
}

/// One step of an incident's runbook at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Stable id: what people tick off.
    pub id: SmolStr,
    /// What is to be done.
    pub title: String,
    /// Where it is.
    pub state: StepState,
    /// Why it is there, in a sentence; empty when it is simply to be done.
    pub why: String,
    /// Who does it.
    pub who: String,
    /// What it is about and what to look at.
    pub about: String,
    /// Exactly what to type.
    pub press: Vec<String>,
    /// By when.
    pub due: Timestamp,
    /// Whether somebody still has to do it and the time is over.
    pub overdue: bool,
    /// What a person said of it.
    pub marked: Option<StepMark>,
}

/// The steps of an incident as they are now, in order.
pub fn steps(book: &[StepRule], facts: &Facts<'_>) -> Vec<Step> {
    // What a drill's steps would do they would do to the real key.
    if facts.incident.drill {
        return Vec::new();
    }
    book.iter().map(|rule| step(rule, facts)).collect()
}

/// The first step that somebody still has to do.
pub fn next(steps: &[Step]) -> Option<&Step> {
    steps.iter().find(|step| step.state.is_left())
}

/// How many steps are overdue.
pub fn overdue(steps: &[Step]) -> usize {
    steps.iter().filter(|step| step.overdue).count()
}

/// Whether the clocks of an incident count: of one that is closed only where somebody went by the runbook.
pub fn is_followed(incident: &Incident) -> bool {
    incident.state.is_open()
        || (incident.state == IncidentState::Resolved && !incident.handling.steps.is_empty())
}

fn step(rule: &StepRule, facts: &Facts<'_>) -> Step {
    let place = |text: &str| {
        let owner = facts.owner;
        let name = owner.map_or_else(|| "the operators: nobody owns the key".to_owned(), |o| clean(&o.name));
        let on_call = owner.map(|o| o.on_call.as_str()).filter(|on_call| !on_call.is_empty());
        text.replace("{incident}", &facts.incident.id.to_string())
            .replace("{key}", &key_name(facts.key))
            .replace("{on_call}", &on_call.map_or_else(|| name.clone(), clean))
            .replace("{owner}", &name)
    };
    let marked = facts.incident.handling.mark(&rule.id).cloned();
    let (state, why) = match &marked {
        Some(mark) => {
            let state = match mark.says {
                StepWord::Done => StepState::Done,
                StepWord::Skipped => StepState::NotNeeded,
            };
            let note = if mark.note.is_empty() { String::new() } else { format!(": {}", clean(&mark.note)) };
            (state, format!("{} by {} at {}{note}", mark.says.name(), clean(&mark.who), clock(mark.time)))
        }
        None => judge(rule.id.as_str(), facts),
    };
    let mut press: Vec<String> = rule.press.iter().map(|line| place(line)).collect();
    if state == StepState::Proposed {
        press = vec![commands::show_plan(facts.incident.id)];
    }
    if state.is_left() {
        press.push(commands::tick(facts.incident.id, &rule.id));
    }
    let due = facts.incident.opened.plus(u64::from(rule.due_minutes) * MINUTE);
    Step {
        id: rule.id.clone(),
        title: place(&rule.title),
        state,
        why,
        who: place(&rule.who),
        about: place(&rule.about),
        press: if state.is_left() { press } else { Vec::new() },
        due,
        overdue: state.is_left() && due <= facts.now,
        marked,
    }
}

/// What a person says of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tick {
    /// It was done.
    Done,
    /// It is not needed; a note says why.
    Skip,
    /// Neither: the word that was given is taken back.
    Open,
}

/// Why a step can not be ticked off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkStepError {
    /// There is none of that id.
    #[error("there is no step {step:?}; the steps are {known}")]
    Unknown {
        /// What was asked for.
        step: String,
        /// Those that there are.
        known: String,
    },
    /// Skipped without a reason.
    #[error("a step that is skipped needs a note: whoever reviews the incident reads it")]
    NoNote,
    /// A long note.
    #[error("a note has at most {NOTE_CHARS_MAX} characters")]
    LongNote,
    /// The incident was "it was us".
    #[error("{0} was dismissed as \"it was us\": nothing is left to do")]
    Dismissed(IncidentId),
}

/// Ticks a step off, or takes that back. Closed thefts take words, too: revocation and review come late.
///
/// # Errors
///
/// When there is no such step, a step is skipped without a note, or the incident was "it was us".
pub fn mark(
    mut incident: Incident,
    book: &[StepRule],
    id: &str,
    tick: Tick,
    note: &str,
    who: &str,
    now: Timestamp,
) -> Result<Effects, MarkStepError> {
    let Some(rule) = book.iter().find(|rule| rule.id == id) else {
        let known: Vec<&str> = book.iter().map(|rule| rule.id.as_str()).collect();
        return Err(MarkStepError::Unknown { step: id.to_owned(), known: known.join(", ") });
    };
    if incident.state == IncidentState::Dismissed {
        return Err(MarkStepError::Dismissed(incident.id));
    }
    let note = note.trim();
    if note.is_empty() && tick == Tick::Skip {
        return Err(MarkStepError::NoNote);
    }
    if note.chars().count() > NOTE_CHARS_MAX {
        return Err(MarkStepError::LongNote);
    }
    let before = incident.handling.mark(id).cloned();
    incident.handling.steps.retain(|mark| mark.step != rule.id);
    let says = match tick {
        Tick::Done => Some(StepWord::Done),
        Tick::Skip => Some(StepWord::Skipped),
        Tick::Open => None,
    };
    if let Some(says) = says {
        let mark =
            StepMark { step: rule.id.clone(), says, time: now, who: who.into(), note: note.to_owned() };
        incident.handling.steps.push(mark);
    }
    if let Some(check) = incident.handling.persistence.as_mut().filter(|_| rule.id == PERSISTENCE) {
        let after = incident.handling.steps.iter().find(|mark| mark.step == PERSISTENCE);
        persistence::settle(check, before.as_ref(), after);
    }
    let word = says.map_or("open again", StepWord::name);
    let because = if note.is_empty() { String::new() } else { format!("; {note}") };
    tell(&mut incident, now, who, format!("step {word}: {}{because}", rule.id));
    incident.revision = incident.revision.saturating_add(1);
    let detail = json!({ "step": rule.id, "says": word, "note": note });
    let entry = audit(now, who, "incident.step", incident.id, &detail);
    Ok(Effects { incident: Some(incident), audit: vec![entry], ..Effects::default() })
}

/// Tells once of each step that became overdue; nothing when there is none of which it was not told.
pub fn note_overdue(incident: &Incident, steps: &[Step], now: Timestamp) -> Option<Effects> {
    let mut incident = incident.clone();
    let late: Vec<&Step> = steps
        .iter()
        .filter(|step| step.overdue && !incident.handling.overdue_told.contains(&step.id))
        .collect();
    if late.is_empty() {
        return None;
    }
    for step in &late {
        incident.handling.overdue_told.push(step.id.clone());
        tell(&mut incident, now, SELF, format!("overdue: {}, {}", step.title, step.who));
    }
    incident.revision = incident.revision.saturating_add(1);
    let detail = json!({ "steps": late.iter().map(|step| &step.id).collect::<Vec<_>>() });
    let entry = audit(now, SELF, "incident.overdue", incident.id, &detail);
    let alert = Some(AlertCause::Updated);
    Some(Effects { incident: Some(incident), audit: vec![entry], alert, ..Effects::default() })
}

/// Until when, and how long that is: `due in 21 min`, `overdue since 3 h`.
pub fn deadline(step: &Step, now: Timestamp) -> String {
    if !step.state.is_left() {
        return String::new();
    }
    match step.due.since(now) {
        0 => format!("OVERDUE since {}", human_span(now.since(step.due))),
        left => format!("due in {}", human_span(left)),
    }
}

/// One line for the story: how many steps are over, and which is next.
pub fn summary(steps: &[Step], now: Timestamp) -> String {
    let over = steps.iter().filter(|step| !step.state.is_left()).count();
    let next = match next(steps) {
        Some(step) => format!("next: {} ({}), {}", step.title, step.who, deadline(step, now)),
        None => "nothing is left to do".to_owned(),
    };
    let late = match overdue(steps) {
        0 => String::new(),
        late => format!(", {late} overdue"),
    };
    format!("{over} of {} done or not needed{late}; {next}", count(steps.len() as u64, "step"))
}

/// The whole runbook for a person.
pub fn describe(steps: &[Step], now: Timestamp) -> String {
    let mut text = String::new();
    for (i, step) in steps.iter().enumerate() {
        // Writing to a String can not fail.
        let written = write_step(&mut text, i + 1, step, now);
        debug_assert!(written.is_ok());
    }
    text
}

fn write_step(text: &mut String, number: usize, step: &Step, now: Timestamp) -> std::fmt::Result {
    let deadline = deadline(step, now);
    let clock = if deadline.is_empty() { String::new() } else { format!("  {deadline}") };
    writeln!(text, "{number}. {}  [{}]{clock}", step.title, step.state.name())?;
    writeln!(text, "   id     {}", step.id)?;
    writeln!(text, "   who    {}", step.who)?;
    if !step.why.is_empty() {
        writeln!(text, "   why    {}", step.why)?;
    }
    if step.state.is_left() {
        if !step.about.is_empty() {
            writeln!(text, "   about  {}", step.about)?;
        }
        for line in &step.press {
            writeln!(text, "   press  {line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
