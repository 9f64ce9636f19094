//! What people press: commands, the next step of the runbook, where to read on, and signed links.

use std::borrow::Cow;

use serde::Serialize;
use smol_str::SmolStr;
use tokenwatch_model::alert::AlertCause;
use tokenwatch_model::incident::{Incident, IncidentState};
use tokenwatch_model::key::Key;
use tokenwatch_model::time::Timestamp;

use super::About;
use super::mask::safe;
use crate::story::next_steps;
use crate::words::{clock, key_name};
use crate::{commands, runbook};

/// A command and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Press {
    /// Exactly what to type.
    pub command: String,
    /// What it does.
    pub effect: String,
}

/// The step of the runbook that somebody has to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextStep {
    /// Id: what is ticked off.
    pub id: String,
    /// What is to be done.
    pub title: String,
    /// Who does it.
    pub who: String,
    /// By when.
    #[serde(serialize_with = "super::rfc3339")]
    pub due: Timestamp,
    /// Whether that was over when the alert happened.
    pub overdue: bool,
    /// How many steps were overdue then.
    pub overdue_steps: u64,
}

/// Where to read on, or a page with a button.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// What is there.
    pub text: Cow<'static, str>,
    /// Address.
    pub url: String,
}

/// A signed link by which a person takes a proposed step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Name of the step's action.
    pub action: SmolStr,
    /// Address of the page.
    pub url: String,
    /// When it ends.
    pub expires: Timestamp,
}

/// The steps for which an alert may carry a signed link: proposed, not taken, and the incident is open. Not with an
/// acknowledgement, nor with an end.
pub fn approvable(incident: &Incident, cause: AlertCause) -> &[SmolStr] {
    let asks = matches!(cause, AlertCause::Opened | AlertCause::Updated | AlertCause::Escalated);
    if asks && incident.state.is_open() && !incident.drill { &incident.handling.proposed } else { &[] }
}

pub(super) fn what_to_press(incident: &Incident, key: &Key, cause: AlertCause, now: Timestamp) -> Vec<Press> {
    if cause == AlertCause::Test {
        return Vec::new();
    }
    let press = |command: String, effect: &str| Press { command, effect: effect.to_owned() };
    let mut steps = vec![press(commands::show(incident.id), "tells the whole story")];
    if incident.state.is_open() && cause != AlertCause::Acknowledged {
        let effect = "says that you are on it: nobody else is called";
        steps.push(press(commands::acknowledge(incident.id), effect));
    }
    // What stops the key would stop the real one.
    if incident.drill {
        return steps;
    }
    if incident.state == IncidentState::Open {
        let effect = "stops all of the key for some hours, its owner too";
        steps.push(press(safe(&commands::suspend(&key_name(key), incident.id)), effect));
    }
    steps.extend(
        next_steps(incident, key, now).into_iter().map(|(command, what)| press(safe(&command), what)),
    );
    steps
}

/// The first step that is left. Whether it is late is asked at the alert's own `time`, so that it reads the same whenever it
/// is sent.
pub(super) fn next_step(incident: &Incident, time: Timestamp, steps: &[runbook::Step]) -> Option<NextStep> {
    let late = |step: &runbook::Step| step.state.is_left() && step.due <= time;
    let step = runbook::next(steps).filter(|_| runbook::is_followed(incident))?;
    Some(NextStep {
        id: safe(&step.id),
        title: safe(&step.title),
        who: safe(&step.who),
        due: step.due,
        overdue: late(step),
        overdue_steps: steps.iter().filter(|step| late(step)).count() as u64,
    })
}

pub(super) fn links(incident: &Incident, about: &About<'_>) -> Vec<Link> {
    let place = |url: &str| url.replace("{incident}", &incident.id.to_string());
    let link = |text: &'static str, url: &str| Link { text: Cow::Borrowed(text), url: place(url) };
    let read_on = about.link.map(|url| link("the incident", url));
    let runbook = about.runbook.map(|url| link("what to do about incidents", url));
    let approvals = about.approvals.iter().map(|approval| Link {
        text: Cow::Owned(format!(
            "approve {}: shows first what it does; once, until {}",
            approval.action,
            clock(approval.expires)
        )),
        url: approval.url.clone(),
    });
    read_on.into_iter().chain(runbook).chain(approvals).collect()
}
