//! Plans: what respond wants done, as a value that can be printed, compared and carried out.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use tokenwatch_model::containment::{Action, Containment, ContextMatch};
use tokenwatch_model::finding::{Actor, Finding, Severity};
use tokenwatch_model::id::{ContainmentId, IncidentId};
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::{Key, Mode};
use tokenwatch_model::time::{Timestamp, human_span};

use crate::commands;
use crate::words::{clean, clock, count, grouped, key_name, rarity};

/// What to do about one finding. Made by [`crate::plan()`], carried out by [`crate::execute`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The key as it was when the plan was made.
    pub key: Key,
    /// What it is about.
    pub finding: Finding,
    /// What happens to the case.
    pub incident: IncidentChange,
    /// One line for lists.
    pub title: String,
    /// How bad the case is with this finding in it.
    pub severity: Severity,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// Containments in force that already do what a step would, for long enough.
    pub covered_by: Vec<ContainmentId>,
    /// What is worth knowing about the steps and why others are missing.
    pub notes: Vec<String>,
    /// Who is told.
    pub tell: Tell,
    /// When the plan was made.
    pub planned: Timestamp,
}

/// What a plan does to the case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentChange {
    /// Nothing: a notice is not a case.
    None,
    /// Opens a new one.
    Open {
        /// Its id.
        id: IncidentId,
    },
    /// Adds the finding to the open one.
    Extend {
        /// The case as it was when the plan was made.
        before: Box<Incident>,
    },
}

impl IncidentChange {
    /// The case the plan belongs to.
    pub fn id(&self) -> Option<IncidentId> {
        match self {
            Self::None => None,
            Self::Open { id } => Some(*id),
            Self::Extend { before } => Some(before.id),
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The containment it puts in force or extends.
    pub containment: ContainmentId,
    /// What is done.
    pub action: Action,
    /// By itself, or only by a person.
    pub disposition: Disposition,
    /// Why, in a sentence with numbers.
    pub reason: String,
    /// Until when; `None` only for revocation, which is for good.
    pub expires: Option<Timestamp>,
    /// What brings the previous state back.
    pub undo: Undo,
}

/// Who carries a step out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// TokenWatch, at once.
    Automatic,
    /// A person, or nobody.
    Proposed {
        /// Why not by itself.
        why: Why,
    },
}

/// Why a step is left to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The key is only observed.
    Observed,
    /// Suspending needs mode `full`.
    SuspendNeedsFull(Mode),
    /// The policy leaves suspension to people.
    SuspendByPeople,
    /// The policy leaves revocation to people.
    RevokeByPeople,
    /// Revoking needs mode `full`.
    RevokeNeedsFull(Mode),
    /// The finding is not certain enough for this step.
    NotCertain,
    /// Too many keys were contained in this hour.
    KeysPerHour {
        /// Contained so far.
        done: u32,
        /// Allowed.
        limit: u32,
    },
    /// Too many keys were suspended in this hour.
    SuspendsPerHour {
        /// Suspended so far.
        done: u32,
        /// Allowed.
        limit: u32,
    },
}

impl Why {
    /// Whether the blast radius is the reason: then people are paged.
    pub const fn is_blast_radius(self) -> bool {
        matches!(self, Self::KeysPerHour { .. } | Self::SuspendsPerHour { .. })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Observed => f.write_str("the key is only observed"),
            Self::SuspendNeedsFull(mode) => {
                write!(f, "suspending by itself needs mode full, and the key is in mode {}", mode.name())
            }
            Self::RevokeNeedsFull(mode) => {
                write!(f, "revoking by itself needs mode full, and the key is in mode {}", mode.name())
            }
            Self::SuspendByPeople => f.write_str("the policy leaves suspension to a person"),
            Self::RevokeByPeople => f.write_str("the policy leaves revocation to a person: it has no undo"),
            Self::NotCertain => f.write_str("the finding is an alert, not certain enough for this step"),
            Self::KeysPerHour { done, limit } => write!(
                f,
                "blast radius: {} contained in the last hour, {} allowed",
                count(done.into(), "key"),
                grouped(limit.into())
            ),
            Self::SuspendsPerHour { done, limit } => write!(
                f,
                "blast radius: {} suspended in the last hour, {} allowed",
                count(done.into(), "key"),
                grouped(limit.into())
            ),
        }
    }
}

/// What brings the previous state back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// In words, with the command.
    pub words: String,
    /// As a value.
    pub restore: Restore,
}

/// The previous state of a containment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restore {
    /// There was none: lift it.
    Lift,
    /// There was this one, with an earlier expiry.
    Previous(Box<Containment>),
    /// Nothing does: a revoked key stays revoked.
    Nothing,
}

/// Who is told of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tell {
    /// Name of the owner; `None` when the key has none, so that the operators must be told.
    pub owner: Option<SmolStr>,
    /// Whom to page; may be empty.
    pub on_call: SmolStr,
    /// Chat channel; may be empty.
    pub channel: SmolStr,
    /// Whether to wake somebody, or only to write.
    pub page: bool,
}

impl fmt::Display for Tell {
    /// `search-team: page search-oncall, write to #search`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(owner) = &self.owner else {
            let how = if self.page { "page" } else { "write to" };
            return write!(f, "nobody owns this key: {how} the operators");
        };
        write!(f, "{}: ", clean(owner))?;
        match (self.page, self.on_call.as_str(), self.channel.as_str()) {
            (true, "", "") => f.write_str("page the operators, it has nobody on call"),
            (true, "", channel) => {
                write!(f, "page the operators, it has nobody on call, write to {}", clean(channel))
            }
            (true, on_call, "") => write!(f, "page {}", clean(on_call)),
            (true, on_call, channel) => write!(f, "page {}, write to {}", clean(on_call), clean(channel)),
            (false, "", "") => f.write_str("it has neither a channel nor anybody on call"),
            (false, on_call, "") => write!(f, "write to {}", clean(on_call)),
            (false, _, channel) => write!(f, "write to {}", clean(channel)),
        }
    }
}

impl Step {
    /// Whether it happens without a person.
    pub const fn is_automatic(&self) -> bool {
        matches!(self.disposition, Disposition::Automatic)
    }

    /// Whether it prolongs a containment instead of adding one.
    pub const fn is_extension(&self) -> bool {
        matches!(self.undo.restore, Restore::Previous(_))
    }

    /// `refuse network AS64500 NL hosting, client axios`.
    pub fn what(&self) -> String {
        describe_action(&self.action)
    }
}

/// An action in words: `suspend the key`, `refuse network AS64500 NL hosting, client axios`.
pub fn describe_action(action: &Action) -> String {
    match action {
        Action::Watch => "watch the key more closely".to_owned(),
        Action::Suspend => "suspend the key".to_owned(),
        Action::Revoke => "revoke the key".to_owned(),
        Action::RefuseContext(context) => format!("refuse {}", clean(&context.to_string())),
        Action::Clamp(clamp) => {
            let mut bounds = Vec::new();
            if let Some(rate) = clamp.requests_per_minute {
                bounds.push(format!("{} a minute", count(rate, "request")));
            }
            if let Some(cost) = clamp.cost_per_hour {
                bounds.push(format!("{cost} an hour"));
            }
            if let Some(models) = &clamp.models {
                let names: Vec<&str> = models.iter().map(SmolStr::as_str).collect();
                bounds.push(format!("models {}", clean(&names.join(", "))));
            }
            let whom = clamp
                .only
                .as_ref()
                .map_or_else(|| "the key".to_owned(), |context| clean(&context.to_string()));
            format!("clamp {whom} to {}", bounds.join(", "))
        }
    }
}

/// The context that an action is about, if it is about one.
pub(crate) const fn context_of(action: &Action) -> Option<&ContextMatch> {
    match action {
        Action::RefuseContext(context) => Some(context),
        Action::Clamp(clamp) => clamp.only.as_ref(),
        Action::Watch | Action::Suspend | Action::Revoke => None,
    }
}

/// Why, in a sentence with the numbers: what every step says whose reason is the finding itself.
pub(crate) fn describe_reason(finding: &Finding) -> String {
    let mut text = clean(&finding.summary);
    if let Some(rare) = rarity(finding.once_in_days) {
        text.push_str(&format!("; an honest key like this does that {rare}"));
    }
    if let Some(actor) = &finding.actor {
        text.push_str(&format!("; so far {}", describe_actor(actor, finding.time)));
    }
    text
}

/// `12 requests in 42.0 s, 10 forwarded, $0.42`.
fn describe_actor(actor: &Actor, until: Timestamp) -> String {
    format!(
        "{} in {}, {} forwarded, {}",
        count(actor.requests, "request"),
        human_span(until.since(actor.first_seen)),
        grouped(actor.requests_forwarded),
        actor.cost
    )
}

/// Says until when, and how long that is from `now`.
pub(crate) fn describe_expiry(expires: Option<Timestamp>, now: Timestamp) -> String {
    match expires {
        Some(at) => format!("{} (in {})", clock(at), human_span(at.since(now))),
        None => "for good".to_owned(),
    }
}

impl fmt::Display for Plan {
    /// Printed for a tired person: what, why, until when, how to undo.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        writeln!(f, "  key       {} ({})", key_name(&self.key), self.key.id)?;
        match &self.incident {
            IncidentChange::None => writeln!(f, "  incident  none: a notice is not a case")?,
            IncidentChange::Open { id } => writeln!(f, "  incident  opens {id}, {}", self.severity)?,
            IncidentChange::Extend { before } if before.severity < self.severity => {
                writeln!(f, "  incident  adds to {}, {} to {}", before.id, before.severity, self.severity)?;
            }
            IncidentChange::Extend { before } => {
                writeln!(f, "  incident  adds to {}, {}", before.id, self.severity)?;
            }
        }
        writeln!(f, "  why       {}", clean(&self.finding.summary))?;
        let sure = rarity(self.finding.once_in_days)
            .map_or_else(|| "by rule".to_owned(), |rare| format!("an honest key like this does that {rare}"));
        writeln!(f, "  how sure  {}: {sure}", self.finding.tier.name())?;
        if let Some(actor) = &self.finding.actor {
            writeln!(f, "  so far    {}", describe_actor(actor, self.finding.time))?;
        }
        writeln!(f, "  tells     {}", self.tell)?;
        for note in &self.notes {
            writeln!(f, "  note      {note}")?;
        }
        if self.steps.is_empty() {
            return writeln!(f, "\nNothing to do.");
        }
        for (i, step) in self.steps.iter().enumerate() {
            self.fmt_step(f, i + 1, step)?;
        }
        Ok(())
    }
}

impl Plan {
    fn fmt_step(&self, f: &mut fmt::Formatter<'_>, number: usize, step: &Step) -> fmt::Result {
        let verb = if step.is_extension() { "still " } else { "" };
        match step.disposition {
            Disposition::Automatic => writeln!(f, "\n{number}. {verb}{}", step.what())?,
            Disposition::Proposed { .. } => writeln!(f, "\n{number}. PROPOSED: {verb}{}", step.what())?,
        }
        // The plan's own reason stands above already.
        if step.reason != describe_reason(&self.finding) {
            writeln!(f, "   why    {}", step.reason)?;
        }
        writeln!(f, "   until  {}", describe_expiry(step.expires, self.planned))?;
        writeln!(f, "   undo   {}", step.undo.words)?;
        if let Disposition::Proposed { why } = step.disposition {
            writeln!(f, "   waits  {why}")?;
            if let Some(id) = self.incident.id() {
                writeln!(f, "   do it  {}", commands::approve(id, &step.action))?;
            }
        }
        Ok(())
    }

    /// What carrying the plan out would change, against the containments that are there.
    pub fn diff(&self, containments: &[Containment]) -> Diff {
        let ours = || containments.iter().filter(|c| c.key == self.key.id && c.in_force(self.planned));
        let mut changes: Vec<Change> = ours()
            .filter(|c| !self.steps.iter().any(|step| step.containment == c.id))
            .map(|c| Change::Keep { containment: c.id, action: c.action.clone(), until: c.expires })
            .collect();
        changes.extend(self.steps.iter().map(|step| {
            let (containment, action, to) = (step.containment, step.action.clone(), step.expires);
            match (step.disposition, ours().find(|c| c.id == containment)) {
                (Disposition::Proposed { why }, _) => Change::Propose { containment, action, until: to, why },
                (Disposition::Automatic, Some(have)) => {
                    Change::Extend { containment, action, from: have.expires, to }
                }
                (Disposition::Automatic, None) => Change::Add { containment, action, until: to },
            }
        }));
        Diff(changes)
    }

    /// Whether anything happens without a person.
    pub fn is_automatic(&self) -> bool {
        self.steps.iter().any(Step::is_automatic)
    }
}

/// What a plan changes, unchanged containments first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff(pub Vec<Change>);

/// One line of a [`Diff`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// In force, and stays as it is.
    Keep {
        /// Which.
        containment: ContainmentId,
        /// What it does.
        action: Action,
        /// Until when.
        until: Option<Timestamp>,
    },
    /// In force, and lasts longer.
    Extend {
        /// Which.
        containment: ContainmentId,
        /// What it does.
        action: Action,
        /// Until when so far.
        from: Option<Timestamp>,
        /// Until when from now on.
        to: Option<Timestamp>,
    },
    /// New.
    Add {
        /// Which.
        containment: ContainmentId,
        /// What it does.
        action: Action,
        /// Until when.
        until: Option<Timestamp>,
    },
    /// Left to a person.
    Propose {
        /// Which it would be.
        containment: ContainmentId,
        /// What it would do.
        action: Action,
        /// Until when.
        until: Option<Timestamp>,
        /// Why it is left to a person.
        why: Why,
    },
}

impl fmt::Display for Diff {
    /// One line each: `=` stays, `~` lasts longer, `+` is new, `?` is proposed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.0 {
            match change {
                Change::Keep { containment, action, until } => {
                    writeln!(
                        f,
                        "= {containment} {}, {}",
                        describe_action(action),
                        until_words(action, *until)
                    )?;
                }
                Change::Extend { containment, action, from, to } => writeln!(
                    f,
                    "~ {containment} {}, {} instead of {}",
                    describe_action(action),
                    until_words(action, *to),
                    until_words(action, *from)
                )?,
                Change::Add { containment, action, until } => {
                    writeln!(
                        f,
                        "+ {containment} {}, {}",
                        describe_action(action),
                        until_words(action, *until)
                    )?;
                }
                Change::Propose { containment, action, until, why } => writeln!(
                    f,
                    "? {containment} {}, {}; {why}",
                    describe_action(action),
                    until_words(action, *until)
                )?,
            }
        }
        Ok(())
    }
}

/// `until 2026-03-08 12:00:00 UTC`, `until lifted`, `for good`.
fn until_words(action: &Action, expires: Option<Timestamp>) -> String {
    match (expires, action) {
        (Some(at), _) => format!("until {}", clock(at)),
        (None, Action::Revoke) => "for good".to_owned(),
        (None, _) => "until lifted".to_owned(),
    }
}
