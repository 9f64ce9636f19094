//! `tokenwatch demo`: a key is stolen, and you watch what happens.
//!
//! Real traffic of production customers goes over real HTTP through the real gateway to the built-in mock
//! provider. Days of history run fast, then the live part, in which one key is stolen. Nothing is scripted: the
//! gateway knows nothing of the theft but its requests.

mod drive;
mod score;
mod screen;
mod world;

use std::process::ExitCode;

use tokenwatch_testkit::theft::Theft;

use crate::{Common, output};

/// `tokenwatch demo …`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seed of everything that is drawn: identities, prompts, the thief
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Customer whose key is stolen; `--victim list` names them
    #[arg(long, default_value = "steady")]
    victim: String,
    /// What the thief does, or none; `--theft list` names them
    #[arg(long, default_value = "resale")]
    theft: String,
    /// Seconds that the live part takes on a terminal; 0 is as fast as it goes
    #[arg(long, default_value_t = 25.0)]
    live_seconds: f64,
    /// Hours of the live part
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=72))]
    live_hours: u64,
    /// Keep the state folder and say where it is, to look at the incident with `tokenwatch incident show`
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    if args.theft == "list" {
        for theft in Theft::ALL {
            output::line(&format!("{:<16} {} ({})", theft.name(), theft.description(), theft.source()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let sample = tokenwatch_testkit::traffic::Sample::bundled()?;
    if args.victim == "list" {
        for customer in sample.customers() {
            output::line(&format!(
                "{:<10} {} ({})",
                customer.name,
                customer.character,
                customer.workload.name()
            ));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let theft = match args.theft.as_str() {
        "none" => None,
        name => Some(Theft::from_name(name).ok_or_else(|| {
            let names: Vec<_> = Theft::ALL.iter().map(|theft| theft.name()).collect();
            anyhow::anyhow!("--theft: there are none, {}", names.join(", "))
        })?),
    };
    anyhow::ensure!(
        sample.customer(&args.victim).is_some(),
        "--victim: there are {}",
        sample.customers().iter().map(|customer| customer.name).collect::<Vec<_>>().join(", ")
    );
    let is_watched = !common.json && output::is_terminal();
    let plan = world::Plan {
        seed: args.seed,
        victim: args.victim.clone(),
        theft,
        live_hours: args.live_hours,
        live_seconds: if is_watched { args.live_seconds.clamp(0.0, 600.0) } else { 0.0 },
        keep: args.keep,
    };
    let world = world::World::build(&plan, &sample)?;
    let mut screen = screen::Screen::new(common.json, is_watched);
    let score = drive::drive(&plan, &sample, &world, &mut screen)?;
    let kept = world.end()?;
    if common.json {
        output::json_line(&score.summary())?;
    } else {
        screen.finish(&score);
        if let Some(dir) = kept {
            output::say(&format!(
                "The state is kept: tokenwatch --state-dir {} incident list --all",
                dir.display()
            ));
        }
    }
    Ok(if score.is_good() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
