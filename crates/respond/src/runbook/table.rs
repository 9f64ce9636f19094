//! The steps of the runbook as data: those that come with TokenWatch, and what a configuration changes of them.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Most steps of a runbook, so that a person can oversee it.
pub const STEPS_MAX: usize = 32;
/// Longest deadline, in minutes: a year.
const DUE_MINUTES_MAX: u32 = 365 * 24 * 60;

/// Ids of the steps whose state TokenWatch finds by itself. Append-only: people's words are kept by them.
pub(super) const ROTATE: &str = "rotate";
pub(super) const CLAMP: &str = "clamp_spending";
pub(super) const REVIEW: &str = "review_activity";
pub(crate) const PERSISTENCE: &str = "check_persistence";
pub(super) const NOTIFY: &str = "notify";
pub(super) const REVOKE: &str = "revoke_old_key";
pub(super) const REVIEW_AFTER: &str = "post_incident_review";

/// One step, as it is for every incident. In its texts `{incident}`, `{key}`, `{owner}` and `{on_call}` stand for those of
/// the incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRule {
    /// Stable id.
    pub id: SmolStr,
    /// What is to be done, in a few words.
    pub title: String,
    /// Who does it.
    pub who: String,
    /// What it is about and what to look at.
    pub about: String,
    /// Exactly what to type.
    pub press: Vec<String>,
    /// Minutes after the incident was opened by which it is to be done.
    pub due_minutes: u32,
}

/// A `[[containment.runbook]]` of the configuration: what it says of a step replaces what came with TokenWatch; an id that
/// is new adds a step.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepOverride {
    /// Id of the step: one of those that come with TokenWatch, or a new one.
    pub id: SmolStr,
    /// What is to be done, in a few words. A new step needs it.
    pub title: Option<String>,
    /// Who does it.
    pub who: Option<String>,
    /// What it is about and what to look at.
    pub about: Option<String>,
    /// Exactly what to type.
    pub press: Option<Vec<String>>,
    /// Minutes after the incident was opened by which it is to be done. A new step needs it.
    pub due_minutes: Option<u32>,
    /// Where a step stands: behind the step of this id. A new one stands last without it.
    pub after: Option<SmolStr>,
    /// Leaves the step out.
    pub off: bool,
}

fn step(id: &'static str, title: &str, who: &str, about: &str, press: &[&str], due_minutes: u32) -> StepRule {
    StepRule {
        id: SmolStr::new_static(id),
        title: title.to_owned(),
        who: who.to_owned(),
        about: about.to_owned(),
        press: press.iter().map(|line| (*line).to_owned()).collect(),
        due_minutes,
    }
}

const REVOKING: &[&str] = &[
    "tokenwatch key show {key}",
    "tokenwatch key retire {key} --reason \"stolen, incident {incident}\"",
    "tokenwatch key revoke {key} --reason \"stolen, incident {incident}\"",
];

/// The steps that come with TokenWatch, in order: rotate first, so that the owner is served while the rest is done.
pub fn shipped() -> Vec<StepRule> {
    const HOUR: u32 = 60;
    const DAY: u32 = 24 * HOUR;
    vec![
        step(
            ROTATE,
            "Rotate: give the owner a new credential",
            "{owner}",
            "Give the key a second credential and move the applications to it; rules, budgets and what was learned stay. The \
             stolen one goes on working for them for a day meanwhile, or for --overlap.",
            &["tokenwatch key rotate {key}"],
            HOUR,
        ),
        step(
            CLAMP,
            "Clamp spending",
            "{on_call}",
            "Bound what the thief can still cost: refuse its context, hold the key to its own normal, or stop all of it.",
            &[
                "tokenwatch incident contain {key} --action suspend --reason \"incident {incident}\" --for 4h",
                "tokenwatch key edit {key} --budget-day USD",
            ],
            15,
        ),
        step(
            REVIEW,
            "Review activity",
            "{on_call}",
            "What the stranger asked, which models, how much, from where; whether other keys of the owner saw the same caller. \
             Compare the provider's own usage report with it.",
            &["tokenwatch incident show {incident}", "tokenwatch key show {key}"],
            4 * HOUR,
        ),
        step(
            PERSISTENCE,
            "Check persistence at the provider",
            "{on_call}",
            "Fine-tunes, files, assistants and batches that were created since the stranger's first request outlive the key. \
             Ask the providers for them and delete what nobody of yours made; the answer has the commands. What can not be asked, \
             and new API keys and members, stand in the provider's console.",
            &["tokenwatch incident persistence {incident}"],
            DAY,
        ),
        step(
            NOTIFY,
            "Notify affected parties",
            "{owner}",
            "Whose data could be reached through the key (files, tools, stored conversations), the provider's support for the \
             bill, and security or data protection: a breach of personal data has to be reported within 72 hours in the EU.",
            &[],
            3 * DAY,
        ),
        step(
            REVOKE,
            "Revoke the stolen credential",
            "{owner}",
            "For good, once nobody of yours presents it any more: whoever stole it keeps trying. Without a rotation, revoke the \
             whole key.",
            REVOKING,
            DAY,
        ),
        step(
            REVIEW_AFTER,
            "Post-incident review",
            "{owner}",
            "How the key leaked, how long it took to notice and to contain, what would have made it shorter, and who changes it \
             by when.",
            &["tokenwatch incident times --last 30d", "tokenwatch incident note {incident} \"…\""],
            5 * DAY,
        ),
    ]
}

/// The steps with what a configuration changes of them, in order.
pub fn merged(overrides: &[StepOverride]) -> Vec<StepRule> {
    let mut steps = shipped();
    for change in overrides {
        let at = steps.iter().position(|step| step.id == change.id);
        let had = at.map(|at| steps.remove(at));
        if change.off {
            continue;
        }
        let (StepRule { title, who, about, press, due_minutes, .. }, is_new) = match had {
            Some(step) => (step, false),
            None => (step("", "", "{owner}", "", &[], 0), true),
        };
        let step = StepRule {
            id: change.id.clone(),
            title: change.title.clone().unwrap_or(title),
            who: change.who.clone().unwrap_or(who),
            about: change.about.clone().unwrap_or(about),
            press: change.press.clone().unwrap_or(press),
            due_minutes: change.due_minutes.unwrap_or(due_minutes),
        };
        let behind = change.after.as_ref().and_then(|after| steps.iter().position(|step| step.id == *after));
        let place = behind.map(|behind| behind + 1).or(at.filter(|_| !is_new)).unwrap_or(steps.len());
        steps.insert(place, step);
    }
    steps
}

/// Everything that is wrong with overrides, each with its place.
pub fn check(overrides: &[StepOverride]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut known: Vec<SmolStr> = shipped().into_iter().map(|step| step.id).collect();
    let shipped = known.len();
    let mut seen: Vec<&SmolStr> = Vec::new();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    for (i, step) in overrides.iter().enumerate() {
        let mut tell = |field: &str, text: String| wrong.push(format!("number {} {field}: {text}", i + 1));
        if step.id.is_empty() || !step.id.bytes().all(plain) {
            tell("id", "an id is lower-case letters, digits, - and _".to_owned());
        } else if seen.contains(&&step.id) {
            tell("id", format!("{} stands twice", step.id));
        }
        let is_new = !known.contains(&step.id);
        if is_new && step.title.is_none() {
            let ids = known.get(..shipped).unwrap_or_default().join(", ");
            tell("title", format!("a new step needs one; {ids} are there already"));
        }
        if is_new && step.due_minutes.is_none() {
            tell("due_minutes", "a new step needs a deadline".to_owned());
        }
        if step.due_minutes.is_some_and(|minutes| minutes == 0 || minutes > DUE_MINUTES_MAX) {
            tell("due_minutes", format!("must be 1 to {DUE_MINUTES_MAX}"));
        }
        if let Some(after) = step.after.as_ref().filter(|after| !known.contains(after) || **after == step.id)
        {
            tell("after", format!("there is no other step {after:?} before this one"));
        }
        seen.push(&step.id);
        known.push(step.id.clone());
    }
    if merged(overrides).len() > STEPS_MAX {
        wrong.push(format!("has more than {STEPS_MAX} steps; nobody oversees so many"));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(id: &str) -> StepOverride {
        StepOverride { id: id.into(), ..StepOverride::default() }
    }

    #[track_caller]
    fn check_order(overrides: &[StepOverride], want: &[&str]) {
        assert_eq!(check(overrides), [""; 0]);
        let ids: Vec<SmolStr> = merged(overrides).into_iter().map(|step| step.id).collect();
        assert_eq!(ids, want);
    }

    #[test]
    fn steps_are_replaced_added_moved_and_left_out() {
        let all = [ROTATE, CLAMP, REVIEW, PERSISTENCE, NOTIFY, REVOKE, REVIEW_AFTER];
        check_order(&[], &all);
        let legal = StepOverride {
            title: Some("Call legal".into()),
            due_minutes: Some(60),
            after: Some(NOTIFY.into()),
            ..change("legal")
        };
        let off = StepOverride { off: true, ..change(REVIEW) };
        let first = StepOverride { after: Some(CLAMP.into()), due_minutes: Some(5), ..change(ROTATE) };
        check_order(
            &[legal.clone(), off, first],
            &[CLAMP, ROTATE, PERSISTENCE, NOTIFY, "legal", REVOKE, REVIEW_AFTER],
        );
        let last = StepOverride { after: None, ..legal };
        check_order(&[last], &[ROTATE, CLAMP, REVIEW, PERSISTENCE, NOTIFY, REVOKE, REVIEW_AFTER, "legal"]);
        let sooner = merged(&[StepOverride { due_minutes: Some(5), ..change(NOTIFY) }]);
        let notify = sooner.iter().find(|step| step.id == NOTIFY).unwrap();
        assert_eq!((notify.due_minutes, notify.title.as_str()), (5, "Notify affected parties"));
    }

    #[test]
    fn everything_wrong_is_told_with_its_place() {
        let wrong = [
            change("Legal"),
            StepOverride { due_minutes: Some(0), after: Some("nothing".into()), ..change(NOTIFY) },
            change(NOTIFY),
        ];
        assert_eq!(
            check(&wrong),
            [
                "number 1 id: an id is lower-case letters, digits, - and _",
                "number 1 title: a new step needs one; rotate, clamp_spending, review_activity, check_persistence, notify, \
                 revoke_old_key, post_incident_review are there already",
                "number 1 due_minutes: a new step needs a deadline",
                "number 2 due_minutes: must be 1 to 525600",
                "number 2 after: there is no other step \"nothing\" before this one",
                "number 3 id: notify stands twice",
            ]
        );
    }
}
