//! The text that formats share, and how it is cut.

use crate::alert::{AboutSubject, Alert, NextStep};
use crate::words::{clock, count};

/// A part of an alert with a heading of its own.
pub(super) struct Part {
    pub(super) heading: &'static str,
    pub(super) lines: Vec<String>,
}

/// The parts that a person reads at 3 a.m., in the order of the questions.
pub(super) fn parts(alert: &Alert) -> Vec<Part> {
    let list = |lines: &[String]| lines.iter().map(|line| format!("- {line}")).collect::<Vec<_>>();
    let sure = alert.how_sure.as_ref().map(|how_sure| {
        let mut lines = vec![how_sure.text.clone()];
        lines.extend(list(&how_sure.reasons));
        lines
    });
    let all = [
        ("What happened", alert.what_happened.clone()),
        ("Who spends it", list(&alert.who_spends)),
        ("What the month comes to", alert.the_month.clone()),
        ("How sure, and why", sure.unwrap_or_default()),
        ("What was done", alert.what_was_done.clone()),
        ("What it cost so far", alert.cost.iter().map(|cost| cost.text.clone()).collect()),
    ];
    // An incident has no month, and an alarm nobody to be sure of.
    let written = all.into_iter().filter(|(heading, lines)| *heading == "What was done" || !lines.is_empty());
    written.map(|(heading, lines)| Part { heading, lines }).collect()
}

/// Names and values of the facts that stand above.
pub(super) fn facts(alert: &Alert) -> Vec<(&'static str, String)> {
    let (subject, resource) = (&alert.subject, alert.resource());
    let mut whose = format!("{} ({})", resource.name, resource.id);
    for part in [resource.environment, resource.service] {
        if !part.is_empty() {
            whose.push_str(", ");
            whose.push_str(part);
        }
    }
    let (what, state) = match subject {
        AboutSubject::Incident(incident) => ("Incident", incident.state),
        AboutSubject::Alarm(alarm) => ("Alarm", alarm.kind),
    };
    let mut facts = vec![(what, format!("{}, {state}, {}", subject.id(), subject.severity()))];
    match resource.kind {
        "provider" => return [facts, vec![("Provider", resource.name.to_owned())]].concat(),
        "owner" => {}
        _ => facts.push(("Key", whose)),
    }
    let owner = match &alert.owner {
        Some(owner) if owner.on_call.is_empty() => format!("{}, nobody on call", owner.name),
        Some(owner) => format!("{}, on call {}", owner.name, owner.on_call),
        None => "none: nobody can say whether it was them".to_owned(),
    };
    facts.push(("Owner", owner));
    facts.extend(alert.next_step.as_ref().map(|step| ("Next step", next_step(step))));
    if !alert.beside.is_empty() {
        facts.push(("Not alone", beside(alert)));
    }
    facts
}

/// `2 more keys of search-team within the hour: search-dev (inc_…), search-batch (inc_…)`.
fn beside(alert: &Alert) -> String {
    let keys: Vec<String> =
        alert.beside.iter().map(|other| format!("{} ({})", other.key, other.incident)).collect();
    let owner = alert.owner.as_ref().map_or("the same owner", |owner| owner.name.as_str());
    format!("{} of {owner} within the hour: {}", count(keys.len() as u64, "more key"), keys.join(", "))
}

/// `Rotate: give the owner a new key (search-team), due 2026-03-01 13:00:00 UTC`.
fn next_step(step: &NextStep) -> String {
    let due = if step.overdue { "OVERDUE since" } else { "due" };
    let more = match step.overdue_steps.saturating_sub(u64::from(step.overdue)) {
        0 => String::new(),
        others => format!("; {} overdue", count(others, "other step")),
    };
    format!("{} ({}), {due} {}{more}", step.title, step.who, clock(step.due))
}

/// The commands with what they do.
pub(super) fn commands(alert: &Alert) -> Vec<String> {
    alert.what_to_press.iter().map(|press| format!("{}\n    {}", press.command, press.effect)).collect()
}

/// What the field calls it, on one line; empty when no rule cites anything.
pub(super) fn references(alert: &Alert) -> String {
    let all = &alert.references;
    let cited = all.mitre_atlas.iter().chain(&all.owasp_llm).chain(&all.nist_ai_rmf);
    cited.map(|r| format!("{} {}", r.id, r.name).trim_end().to_owned()).collect::<Vec<_>>().join(", ")
}

/// All of it as plain text.
pub(super) fn plain(alert: &Alert) -> String {
    let mut text = format!("{}\n\n", alert.headline);
    for (name, value) in facts(alert) {
        text.push_str(&format!("{name}: {value}\n"));
    }
    for part in parts(alert) {
        text.push_str(&format!("\n{}\n", part.heading));
        for line in &part.lines {
            text.push_str(&format!("  {line}\n"));
        }
    }
    if !alert.what_to_press.is_empty() {
        text.push_str("\nWhat to press\n");
        for command in commands(alert) {
            text.push_str(&format!("  {}\n", command.replace('\n', "\n  ")));
        }
    }
    for link in &alert.links {
        text.push_str(&format!("\n{}: {}\n", link.text, link.url));
    }
    let references = references(alert);
    if !references.is_empty() {
        text.push_str(&format!("\nReferences: {references}\n"));
    }
    text
}

/// At most so many characters, with `…` where something is missing.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// As [`cut`], with some characters written as others: no replacement is cut in two.
pub(super) fn cut_escaped(
    text: &str,
    chars_max: usize,
    escape: impl Fn(char) -> Option<&'static str>,
) -> String {
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let replacement = escape(c);
        let size = replacement.map_or(1, |r| r.chars().count());
        if used + size >= chars_max {
            out.push('…');
            break;
        }
        used += size;
        match replacement {
            Some(replacement) => out.push_str(replacement),
            None => out.push(c),
        }
    }
    out
}
