//! `tokenwatch incident persistence`: what was created at the providers since the stranger came, and how to remove it.

use std::process::ExitCode;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokenwatch_console::manage::Manager;
use tokenwatch_console::persistence::{ArtifactOut, PersistenceOut, PersistenceSpec, Progress};
use tokenwatch_model::SmolStr;
use tokenwatch_model::handling::{Asked, CreatingCall};
use tokenwatch_respond::persistence::{Verdict, failures};
use tokenwatch_respond::words::{clean, clock, key_name};

use super::super::who;
use crate::load::load;
use crate::providers::{Host, places};
use crate::{Common, output};

/// Exit code when something was found that nobody has accounted for.
const FOUND: u8 = 3;

/// `tokenwatch incident persistence …`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the incident
    incident: String,
    /// Account for an artifact: it is yours, or was dealt with; can be repeated
    #[arg(long, value_name = "ARTIFACT")]
    accounted: Vec<SmolStr>,
}

pub(super) fn run(common: &Common, manager: &Manager, args: Args) -> anyhow::Result<ExitCode> {
    let config = load(common)?.config;
    let host = Host { places: Arc::new(ArcSwap::from_pointee(places(&config))) };
    let spec = PersistenceSpec { accounted: args.accounted };
    let mut watch = |progress: Progress<'_>| output::progress(&under_way(progress));
    let checked =
        manager.check_persistence(&config.defaults, &host, &args.incident, &spec, &who(), &mut watch);
    output::progress("");
    let out = checked?;
    if common.json {
        output::json(&out)?;
    } else {
        print(manager, &out)?;
    }
    for id in &out.unknown {
        output::say(&format!("warning: {} was not found, so nothing was accounted for by it", clean(id)));
    }
    Ok(match out.verdict {
        Verdict::Found => ExitCode::from(FOUND),
        Verdict::NotAsked => ExitCode::FAILURE,
        Verdict::Nothing => ExitCode::SUCCESS,
    })
}

fn under_way(progress: Progress<'_>) -> String {
    match progress.kind {
        Some(kind) => format!("asking {} for {} …", progress.provider, kind.noun(2)),
        None => "reading the events for whose call it was …".to_owned(),
    }
}

fn print(manager: &Manager, out: &PersistenceOut) -> anyhow::Result<()> {
    let until = out.until.map_or_else(|| "now".to_owned(), clock);
    let case = manager.case(&out.incident.to_string())?;
    output::line(&format!(
        "{} on {}: created at providers from {} until {until}",
        out.incident,
        key_name(&case.key),
        clock(out.since)
    ));
    // One whose configuration is gone may still have what was found there.
    let mut names: Vec<&SmolStr> = Vec::new();
    let found = out.found.iter().map(|one| &one.found.provider);
    for name in out.asked.iter().map(|asked| &asked.provider).chain(found) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().try_for_each(|name| print_provider(manager, out, name))?;
    if out.more > 0 {
        output::line(&format!("\n{} more were found: remove these and ask again", out.more));
    }
    output::line(&format!("\n{}", conclusion(out)));
    Ok(())
}

fn print_provider(manager: &Manager, out: &PersistenceOut, name: &SmolStr) -> anyhow::Result<()> {
    output::line(&format!("\n{name}"));
    let asked: Vec<&Asked> = out.asked.iter().filter(|asked| asked.provider == *name).collect();
    let found: Vec<&ArtifactOut> = out.found.iter().filter(|one| one.found.provider == *name).collect();
    let mut kinds: Vec<&str> = Vec::new();
    for kind in asked.iter().flat_map(|asked| &asked.kinds).map(|kind| kind.noun(2)) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    if found.is_empty() && !kinds.is_empty() {
        output::line(&format!("  nothing was found ({})", kinds.join(", ")));
    }
    found.into_iter().try_for_each(|one| print_artifact(manager, one))?;
    for one in asked {
        for failure in failures(one) {
            output::line(&format!("  {failure} ({})", one.credential));
        }
    }
    Ok(())
}

fn print_artifact(manager: &Manager, one: &ArtifactOut) -> anyhow::Result<()> {
    let ArtifactOut { found, remove } = one;
    let artifact = &found.artifact;
    let mut what = clean(&artifact.what);
    if !artifact.status.is_empty() {
        let separator = if what.is_empty() { "" } else { ", " };
        what = format!("{what}{separator}{}", clean(&artifact.status));
    }
    let (kind, id) = (artifact.kind.noun(1), clean(&artifact.id));
    output::line(&format!("  {kind} {id}  {}  {what}", clock(artifact.created)));
    output::line(&format!("    call     {}", call(manager, one)?));
    match &found.accounted {
        Some(said) => {
            let (who, at) = (clean(&said.who), clock(said.time));
            output::line(&format!("    accounted for by {who} at {at}"));
        }
        None if remove.is_empty() => {
            output::line("    remove   no request removes it: see the provider's console");
        }
        None => remove.iter().for_each(|line| output::line(&format!("    remove   {line}"))),
    }
    Ok(())
}

/// Whose call created it, as far as times tell.
fn call(manager: &Manager, one: &ArtifactOut) -> anyhow::Result<String> {
    Ok(match (one.found.call, one.found.other_key) {
        (CreatingCall::Stranger, _) => "the stranger's, by its time".to_owned(),
        (CreatingCall::Key, _) => "the key's, not from the stranger's context, by its time".to_owned(),
        (CreatingCall::OtherKey, Some(id)) => {
            let key = manager.records.key(id)?;
            let name = key.map_or_else(|| id.to_string(), |stored| key_name(&stored.key));
            format!("of the key {name}, by its time")
        }
        (CreatingCall::OtherKey, None) => "another key's, by its time".to_owned(),
        (CreatingCall::Nobody, _) => "none through the gateway: made past it".to_owned(),
        (CreatingCall::Unclear, _) => "unclear: several calls or artifacts at that time".to_owned(),
        (CreatingCall::Unknown, _) => "not known: the events can not all be read".to_owned(),
    })
}

fn conclusion(out: &PersistenceOut) -> String {
    match out.verdict {
        Verdict::Found => format!(
            "Remove what nobody of yours made and ask again. What is yours, or can not be removed: `tokenwatch incident \
             persistence {} --accounted ARTIFACT`",
            out.incident
        ),
        Verdict::NotAsked if out.asked.is_empty() => {
            "No provider was asked: none that the key may use is configured.".to_owned()
        }
        Verdict::NotAsked => format!(
            "Not everything could be asked. Look at the rest in the provider's console, then `tokenwatch incident step {} \
             check_persistence --done --note \"…\"`",
            out.incident
        ),
        Verdict::Nothing => "Nothing is there that nobody has accounted for.".to_owned(),
    }
}
