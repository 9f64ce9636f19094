//! The story of an incident as people read it: one line for lists, the whole for `incident show`.

use std::fmt::Write as _;

use tokenwatch_model::finding::Finding;
use tokenwatch_model::incident::{Incident, IncidentState, TimelineEntry};
use tokenwatch_model::key::Key;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{Timestamp, human_span};

use crate::commands;
use crate::effects::PROPOSED;
use crate::incident::{EXPIRED, time_to_contain_us, time_to_detect_us};
use crate::runbook;
use crate::words::{age, clean, clock, count, grouped, key_name, odds, rarity};

/// Lines of the story shown from its beginning and from its end; the rest is in `--json`.
const SHOWN_HEAD: usize = 6;
const SHOWN_TAIL: usize = 10;
/// Findings and reasons shown.
const SHOWN_FINDINGS: usize = 3;
const SHOWN_REASONS: usize = 6;

/// One line for lists: id, state, severity, age, title, cost. The incident as it stands now, see
/// [`crate::incident::as_of`].
pub fn one_line(incident: &Incident, now: Timestamp) -> String {
    format!(
        "{} {:<9} {:<8} {:>6} ago  {}  ({} served, {} refused, {})",
        incident.id,
        incident.state.name(),
        incident.severity.name(),
        age(now.since(incident.opened)),
        clean(&incident.title),
        grouped(incident.requests_forwarded),
        grouped(incident.requests_refused),
        incident.cost
    )
}

/// The whole story: what happened, how sure and why, what was done, what it cost so far, what to press. The incident
/// as it stands now, see [`crate::incident::as_of`].
///
/// `runbook` are its steps now, told in short.
pub fn describe(
    incident: &Incident,
    key: &Key,
    owner: Option<&Owner>,
    runbook: &[runbook::Step],
    now: Timestamp,
) -> String {
    let mut text = String::new();
    // Writing to a String can not fail; the results are collected so that none is dropped unseen.
    let written = write_head(&mut text, incident, key, owner, now)
        .and_then(|()| write_what_happened(&mut text, incident))
        .and_then(|()| write_how_sure(&mut text, incident))
        .and_then(|()| write_timeline(&mut text, incident))
        .and_then(|()| write_cost(&mut text, incident))
        .and_then(|()| write_runbook(&mut text, incident, runbook, now))
        .and_then(|()| write_next(&mut text, incident, key, now));
    debug_assert!(written.is_ok());
    text
}

type Written = std::fmt::Result;

fn write_head(
    text: &mut String,
    incident: &Incident,
    key: &Key,
    owner: Option<&Owner>,
    now: Timestamp,
) -> Written {
    if incident.drill {
        writeln!(
            text,
            "DRILL: nothing was stolen, and the key itself is untouched. Times are the drill's own."
        )?;
    }
    writeln!(text, "{}", clean(&incident.title))?;
    writeln!(
        text,
        "  {}  {}, {}, opened {} ago",
        incident.id,
        incident.state.name(),
        incident.severity,
        age(now.since(incident.opened))
    )?;
    write!(text, "  key    {} ({})", key_name(key), key.id)?;
    for part in [&key.environment, &key.service] {
        if !part.is_empty() {
            write!(text, ", {}", clean(part))?;
        }
    }
    writeln!(text, ", {}", key.state_at(now))?;
    match owner {
        Some(owner) if owner.on_call.is_empty() => {
            writeln!(text, "  owner  {}, nobody on call", clean(&owner.name))
        }
        Some(owner) => {
            writeln!(text, "  owner  {}, on call {}", clean(&owner.name), clean(&owner.on_call))
        }
        None => writeln!(text, "  owner  none: nobody can say whether it was them"),
    }
}

fn write_what_happened(text: &mut String, incident: &Incident) -> Written {
    writeln!(text, "\nWhat happened")?;
    for finding in incident.findings.iter().take(SHOWN_FINDINGS) {
        writeln!(text, "  {}  {}", clock(finding.time), clean(&finding.summary))?;
    }
    let shown = incident.findings.len().min(SHOWN_FINDINGS) as u64;
    let more = incident.finding_count.saturating_sub(shown);
    if more > 0 {
        writeln!(text, "  and {}", count(more, "more finding"))?;
    }
    match incident.actors.is_empty() {
        true => write!(text, "  When it began is not known, ")?,
        false => {
            let found = human_span(time_to_detect_us(incident));
            write!(text, "  Found {found} after the stranger's first request, ")?;
        }
    }
    match time_to_contain_us(incident) {
        Some(0) => writeln!(text, "contained at once.")?,
        Some(us) => writeln!(text, "contained {} later.", human_span(us))?,
        None => writeln!(text, "and nothing is contained.")?,
    }
    if incident.state == IncidentState::Expired {
        let since = incident.timeline.iter().rfind(|line| line.what == EXPIRED);
        let since = since.map(|line| format!(" since {}", clock(line.time))).unwrap_or_default();
        writeln!(text, "  What was in force ran out: nothing is contained any more{since}.")?;
    }
    Ok(())
}

fn write_how_sure(text: &mut String, incident: &Incident) -> Written {
    writeln!(text, "\nHow sure, and why")?;
    let Some(finding) = strongest(&incident.findings) else {
        return writeln!(text, "  No finding is kept with this incident.");
    };
    match rarity(finding.once_in_days) {
        Some(rare) => {
            writeln!(text, "  An honest key like this does that {rare} ({}).", finding.tier.name())?
        }
        None => writeln!(
            text,
            "  The rule {} has no rate of false alarms ({}).",
            clean(&finding.rule),
            finding.tier.name()
        )?,
    }
    for reason in finding.reasons.iter().take(SHOWN_REASONS) {
        writeln!(text, "  * {}: {}", clean(&reason.what), odds(reason.nats))?;
    }
    let more = finding.reasons.len().saturating_sub(SHOWN_REASONS) as u64;
    if more > 0 {
        writeln!(text, "  * and {}", count(more, "weaker reason"))?;
    }
    Ok(())
}

/// The rarest finding; rules without a rate only when there is no other. The first of equals.
pub(crate) fn strongest(findings: &[Finding]) -> Option<&Finding> {
    findings.iter().reduce(|best, next| {
        let key = |finding: &Finding| (finding.tier, finding.once_in_days);
        if key(next) > key(best) { next } else { best }
    })
}

fn write_timeline(text: &mut String, incident: &Incident) -> Written {
    writeln!(text, "\nWhat was done")?;
    let line = |text: &mut String, entry: &TimelineEntry| {
        writeln!(text, "  {}  {}: {}", clock(entry.time), clean(&entry.who), clean(&entry.what))
    };
    let lines = &incident.timeline;
    let hidden = lines.len().saturating_sub(SHOWN_HEAD + SHOWN_TAIL);
    for (i, entry) in lines.iter().enumerate() {
        if hidden > 0 && i == SHOWN_HEAD {
            writeln!(text, "  … {} between", count(hidden as u64, "line"))?;
        }
        if hidden == 0 || i < SHOWN_HEAD || i >= SHOWN_HEAD + hidden {
            line(text, entry)?;
        }
    }
    Ok(())
}

fn write_cost(text: &mut String, incident: &Incident) -> Written {
    writeln!(text, "\nWhat it cost so far")?;
    if incident.actors.is_empty() {
        return writeln!(text, "  Not known: the evidence is on the key as a whole, not on one stranger.");
    }
    writeln!(
        text,
        "  {} for {} served to the stranger; {} refused.",
        incident.cost,
        count(incident.requests_forwarded, "request"),
        grouped(incident.requests_refused)
    )
}

fn write_runbook(text: &mut String, incident: &Incident, steps: &[runbook::Step], now: Timestamp) -> Written {
    if steps.is_empty() || incident.state == IncidentState::Dismissed {
        return Ok(());
    }
    writeln!(text, "\nRunbook")?;
    writeln!(text, "  {}", runbook::summary(steps, now))?;
    writeln!(text, "  {}\n      shows every step with its deadline", commands::runbook(incident.id))
}

fn write_next(text: &mut String, incident: &Incident, key: &Key, now: Timestamp) -> Written {
    writeln!(text, "\nWhat to press next")?;
    for (command, what) in next_steps(incident, key, now) {
        writeln!(text, "  {command}\n      {what}")?;
    }
    match incident.state {
        IncidentState::Open | IncidentState::Contained | IncidentState::Expired => Ok(()),
        IncidentState::Resolved => {
            writeln!(text, "  Nothing: it was closed as a theft at {}.", closed_at(incident))
        }
        IncidentState::Dismissed => {
            writeln!(text, "  Nothing: it was closed as \"it was us\" at {}.", closed_at(incident))
        }
    }
}

/// The commands that are open to a person, each with what it does; none once the incident is closed.
pub(crate) fn next_steps(incident: &Incident, key: &Key, now: Timestamp) -> Vec<(String, &'static str)> {
    let id = incident.id;
    let mut steps = Vec::new();
    if !incident.state.is_open() {
        return steps;
    }
    if incident.drill {
        // What is done to the key would be done to the real one.
        steps.push((
            commands::dismiss(id),
            "ends what the drill put in force; it does so by itself at its end",
        ));
        return steps;
    }
    if incident.state == IncidentState::Expired {
        steps.push((
            commands::suspend(&key_name(key), id),
            "stops all of the key, its owner too, should the thief still be there",
        ));
    }
    if !incident.handling.relaxed.is_empty() {
        let what = "brings back what was relaxed because nobody came back; it is not relaxed again";
        steps.push((commands::restore(id), what));
    }
    if incident.timeline.iter().any(|entry| entry.what.starts_with(PROPOSED)) {
        let what = "shows what was only proposed, and how to approve each step";
        steps.push((commands::show_plan(id), what));
    }
    match key.rotation.filter(|rotation| rotation.rotated >= incident.first_seen) {
        None => steps.push((
            commands::rotate(&key_name(key)),
            "gives the owner a new credential; the stolen one works for a day more, so that nothing breaks",
        )),
        Some(rotation) if rotation.overlaps(now) => steps.push((
            commands::retire(&key_name(key)),
            "ends the stolen credential, once nobody of yours presents it: `tokenwatch key show` says who does",
        )),
        Some(_) => {}
    }
    steps.push((commands::dismiss(id), "it was us: lifts everything and trusts these contexts"));
    let what = "it was a theft: closes the case, containments stay until they expire";
    steps.push((commands::resolve(id), what));
    steps
}

fn closed_at(incident: &Incident) -> String {
    incident.closed.map_or_else(|| "an unknown time".to_owned(), clock)
}

#[cfg(test)]
mod tests;
