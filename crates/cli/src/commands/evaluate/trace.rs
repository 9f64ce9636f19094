//! Recorded events of your own, with simulated thefts put into them: all methods, the same protocol.

use anyhow::{Context as _, ensure};
use tokenwatch_detect::KeyProfile;
use tokenwatch_evaluate::plan::{Options, Plan};
use tokenwatch_evaluate::record::Lookup;
use tokenwatch_evaluate::recorded::{RecordedWorld, Recording};
use tokenwatch_evaluate::replay::kind_of;
use tokenwatch_evaluate::world::World;
use tokenwatch_model::SmolStr;
use tokenwatch_network::Bundled;
use tokenwatch_wire::price::PriceTable;

use super::Args;
use super::events::profiles::{self, Profiles};
use super::events::stream::Stream;
use super::events::truth::Truth;
use super::parallel::bytes_bar;
use crate::output;

/// Days that only teach when nothing is said.
const LEARN_DAYS: u32 = 7;
/// Keys that thefts are put on when nothing is said; false alarms are counted on the others.
const STOLEN: u32 = 300;

/// Reads the events, and fits the protocol to their days and keys.
pub(super) fn world(args: &Args, options: &mut Options) -> anyhow::Result<Box<dyn World>> {
    let learn_days = args.events.learn_days.unwrap_or(LEARN_DAYS);
    let world = read(args, learn_days)?;
    let (days, clients) = (world.days(), world.clients());
    ensure!(
        days > learn_days,
        "--trace: the events are of {days} days and {learn_days} only teach, so there is no day to judge; write more events, \
         or fewer --learn-days"
    );
    ensure!(
        clients >= 2,
        "--trace: all keys are of one owner, and keys of one owner are alike; it takes two owners, one to calibrate on and \
         one to judge. Without an owner in events or --profiles each key counts as its own"
    );
    options.teach_days = learn_days;
    options.score_days = days - learn_days;
    if !args.quick {
        options.calibration_keys = args.calibration_keys;
        options.test_keys = Some(args.keys.unwrap_or(STOLEN));
        options.clean_keys = args.clean_keys.unwrap_or(u32::MAX);
    }
    tell(&world, options);
    Ok(Box::new(world))
}

fn read(args: &Args, learn_days: u32) -> anyhow::Result<RecordedWorld> {
    let unknown =
        KeyProfile { false_alarms_per_year: args.false_alarms_per_key_year, ..KeyProfile::default() };
    let profiles = match &args.events.profiles {
        Some(path) => profiles::read(path, &unknown)?,
        None => Profiles::default(),
    };
    let truth = Truth::read(&args.events.truth)?;
    let kinds: Vec<SmolStr> = truth.attacks().iter().map(kind_of).collect();
    let mut recording = Recording::new(profiles.by_key, unknown);
    let bundled = Bundled::new();
    let lookup = Lookup { addresses: &bundled, prices: PriceTable::bundled() };
    let bar = bytes_bar(&args.events.trace);
    let mut stolen = 0;
    let summary = Stream::new(&args.events.trace, args.events.disorder).run(&lookup, &bar, &mut |item| {
        let attack = truth.attack_of(item.event.request.id.bits());
        stolen += u64::from(attack.is_some());
        let kind = attack.and_then(|attack| kinds.get(attack as usize));
        recording.add(item.event, item.owner, kind);
    });
    bar.finish_and_clear();
    let summary = summary?;
    truth.check_matched(stolen)?;
    for (name, count) in summary.unknown.counts() {
        output::say(&format!("warning: the field {name} is not known and was passed over in {count} events"));
    }
    let world = recording.finish(learn_days, args.theft_requests as usize);
    world.context("--trace: the files hold no events but thieves'")
}

/// What a reader of the figures should know of the events.
fn tell(world: &RecordedWorld, options: &Options) {
    output::say(&format!(
        "{} clean events of {} keys and {} owners on {} days, {} of which only teach",
        world.clean_events(),
        world.keys().len(),
        world.clients(),
        world.days(),
        options.teach_days
    ));
    let missing = world.columns().missing();
    if !missing.is_empty() {
        output::say(&format!(
            "warning: no event has {}; thieves show none either, and what they would give away is not found here",
            missing.join(", ")
        ));
    }
    let calibrating = Plan::new(world, options).calibration.len() as u64 * u64::from(options.score_days);
    if let Some(rate) = options.rates.first().filter(|rate| (calibrating as f64) < 1.0 / **rate - 1.0) {
        output::say(&format!(
            "warning: {calibrating} key-days to calibrate on do not support a rate of {rate}; look at the layered detector's own \
             threshold"
        ));
    }
}
