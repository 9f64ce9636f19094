//! Methods against thefts on a simulated fleet: train, calibrate, judge.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tokenwatch_detect::Engine;
use tokenwatch_evaluate::counted::rates_of;
use tokenwatch_evaluate::fleet::{FleetSettings, FleetWorld};
use tokenwatch_evaluate::plan::{Options, Plan};
use tokenwatch_evaluate::replay::Counted;
use tokenwatch_evaluate::report::{self, Parts, Point, Report};
use tokenwatch_evaluate::siblings::{WithSiblings, by_owner};
use tokenwatch_evaluate::trial::{Contestant, KeyTrial, Trace, Trial};
use tokenwatch_evaluate::world::{Group, World};

use super::events::Rates;
use super::events::view::rates as rates_told;
use super::methods::{self, LAYERED, METHODS};
use super::parallel::{Crew, thread_time};
use super::{Args, Only, trace, volumes};
use crate::{fleet_rates, output};

/// Keys of each population when nobody says how many: thefts, thresholds, false alarms.
const KEYS: [u32; 3] = [300, 5_250, 5_250];
const KEYS_QUICK: [u32; 3] = [20, 60, 60];
/// Resamples behind each interval of a first look.
const RESAMPLES_QUICK: u32 = 200;

/// Everything that was asked for, checked.
pub(super) struct Contest {
    world: Box<dyn World>,
    options: Options,
    methods: Vec<&'static str>,
    attacks: Vec<usize>,
    changes: Vec<usize>,
    false_alarms_per_year: f64,
    /// How often honest newcomers come to recorded keys; simulated ones live as the shipped tables say.
    rates: Option<Rates>,
    /// Whether scores over time are wanted.
    is_traced: bool,
    crew: Crew,
}

impl Contest {
    /// Checks the arguments; `None` when they only asked for a list, which is then printed.
    pub(super) fn new(args: &Args) -> anyhow::Result<Option<Self>> {
        if args.methods.iter().any(|name| name == "list") {
            METHODS.iter().for_each(|method| output::line(&format!("{:<26} {}", method.name, method.about)));
            return Ok(None);
        }
        let methods = choose("--methods", &args.methods, METHODS.iter().map(|method| method.name))?;
        ensure!(
            args.rates.iter().all(|rate| *rate > 0.0 && *rate < 1.0),
            "--rates: false alarms per key-day between 0 and 1, such as 0.001"
        );
        if args.attacks.iter().any(|name| name == "list") {
            for attack in &FleetWorld::every_attack() {
                let line = format!("{:<22} {:<11} {}", attack.name, attack.group.name(), attack.description);
                output::line(&line);
            }
            return Ok(None);
        }
        let mut options = options_of(args);
        let world = if args.events.trace.is_empty() {
            // A misspelt name is told before minutes are spent.
            choose("--attacks", &args.attacks, FleetWorld::every_attack().iter().map(|attack| attack.name))?;
            world_of(args, &options)?
        } else {
            trace::world(args, &mut options)?
        };
        let attacks = attacks_of(args, world.as_ref())?;
        let methods: Vec<&'static str> = methods.into_iter().map(|(_, name)| name).collect();
        let has_own_rates = !args.events.trace.is_empty() && methods.contains(&LAYERED);
        let rates = has_own_rates.then(|| args.events.fleet_rates.clone());
        let crew = Crew::new(args.threads);
        let changes = (0..world.changes().len()).collect();
        let false_alarms_per_year = args.false_alarms_per_key_year;
        Ok(Some(Self {
            world,
            options,
            methods,
            attacks,
            changes,
            false_alarms_per_year,
            rates,
            is_traced: args.html.is_some(),
            crew,
        }))
    }

    /// Runs the whole protocol.
    pub(super) fn run(&self) -> anyhow::Result<Report> {
        let plan = Plan::new(self.world.as_ref(), &self.options);
        let (world, per_year) = (self.world.as_ref(), self.false_alarms_per_year);
        let engine = Arc::new(self.engine()?);
        let make =
            methods::Make { world, options: &self.options, plan: &plan, per_year, engine, crew: &self.crew };
        let contestants = make.all(&self.methods)?;
        let calibrating = Trial { checks_budgets: false, ..self.clean_trial(&contestants) };
        let calibration = self.try_keys("calibrating", &plan.calibration, &calibrating)?;
        let points = report::points(&contestants, &calibration, &self.options);
        let score = |points: &Vec<Point>| points.iter().map(|point| point.threshold).collect::<Vec<f64>>();
        let thresholds: Vec<Vec<f64>> = points.iter().map(score).collect();
        let test = self.try_keys("judging", &plan.test, &self.trial(&contestants, &thresholds))?;
        let clean = self.try_keys("counting false alarms", &plan.clean, &self.clean_trial(&contestants))?;
        Ok(Report::build(Parts {
            world: self.world.as_ref(),
            options: &self.options,
            plan: &plan,
            contestants: &contestants,
            points: &points,
            calibration: &calibration,
            test: &test,
            clean: &clean,
            traces: self.traces(&plan, &contestants, &points),
        }))
    }

    /// The layered detector's engine: recorded fleets have rates of their own.
    fn engine(&self) -> anyhow::Result<Engine> {
        let shipped = Engine::default();
        match &self.rates {
            None | Some(Rates::Shipped) => Ok(shipped),
            Some(Rates::File(path)) => Ok(Engine::new(Default::default(), fleet_rates::read(path)?)),
            Some(Rates::Counted) => {
                let keys: Vec<usize> = (0..self.world.keys().len()).collect();
                let days = self.options.teach_days;
                let of_key = |world: &dyn World, key: usize| rates_of(world, key, days, &shipped);
                let counted = self.each_key("counting newcomers", &keys, of_key)?;
                let rates = counted.into_iter().reduce(|mut all, of_key| {
                    all.add(&of_key);
                    all
                });
                let rates = rates.context("--trace: no keys")?;
                output::say(&rates_told(&Counted::of(&rates, true)));
                Ok(Engine::new(Default::default(), shipped.priors().clone().with_rates(&rates)?))
            }
        }
    }

    /// The world as some keys of one owner find it: each can be asked about newcomers of the others.
    fn with_siblings(&self, keys: &[usize]) -> WithSiblings<&dyn World> {
        let mut world = WithSiblings::new(self.world.as_ref());
        // Without identities there is nothing to ask about; only the layered detector reads the answers.
        if !self.options.only_real && self.methods.contains(&LAYERED) {
            world.ask(keys, self.options.end_day());
        }
        world
    }

    fn trial<'a>(&'a self, contestants: &'a [Contestant], thresholds: &'a [Vec<f64>]) -> Trial<'a> {
        Trial {
            world: self.world.as_ref(),
            options: &self.options,
            contestants,
            thresholds,
            attacks: &self.attacks,
            changes: &self.changes,
            checks_budgets: true,
            clock: &thread_time,
        }
    }

    /// A trial of keys that nothing happens to.
    fn clean_trial<'a>(&'a self, contestants: &'a [Contestant]) -> Trial<'a> {
        Trial { attacks: &[], changes: &[], ..self.trial(contestants, &[]) }
    }

    /// Works on keys owner by owner: traffic and what siblings know are made, used and dropped, so that memory does not
    /// grow with the number of keys.
    fn each_key<T: Send>(
        &self,
        what: &'static str,
        keys: &[usize],
        of_key: impl Fn(&dyn World, usize) -> T + Sync,
    ) -> anyhow::Result<Vec<T>> {
        let owners = by_owner(self.world.as_ref(), keys);
        let places: Vec<usize> = (0..owners.len()).collect();
        let of_owner = |place: usize| -> Vec<T> {
            let keys = owners.get(place).map(Vec::as_slice).unwrap_or_default();
            let world = self.with_siblings(keys);
            keys.iter().map(|&key| of_key(&world, key)).collect()
        };
        Ok(self.crew.map(what, &places, of_owner)?.into_iter().flatten().collect())
    }

    /// Tries keys.
    fn try_keys(
        &self,
        what: &'static str,
        keys: &[usize],
        trial: &Trial<'_>,
    ) -> anyhow::Result<Vec<KeyTrial>> {
        let mut trials = self.each_key(what, keys, |world, key| Trial { world, ..*trial }.run(key))?;
        trials.sort_by_key(|trial| trial.key);
        Ok(trials)
    }

    /// Scores over time of a theft of each group, on a key of the middle.
    fn traces(&self, plan: &Plan, contestants: &[Contestant], points: &[Vec<Point>]) -> Vec<Trace> {
        if !self.is_traced {
            return Vec::new();
        }
        let main = |points: &Vec<Point>| {
            points.get(report::main_place(points)).map_or(f64::INFINITY, |point| point.threshold)
        };
        let thresholds: Vec<f64> = points.iter().map(main).collect();
        let of_group = |group: Group| {
            let is_of_group = |attack: &&usize| {
                self.world
                    .attacks()
                    .get(**attack)
                    .is_some_and(|attack| attack.group == group && !attack.is_control)
            };
            self.attacks.iter().find(is_of_group).copied()
        };
        let examples =
            Group::ALL.into_iter().filter_map(of_group).zip(plan.test.iter().skip(plan.test.len() / 2));
        let owners = by_owner(self.world.as_ref(), &plan.test);
        let trace = |(attack, &key): (usize, &usize)| {
            let owner = owners.iter().find(|keys| keys.contains(&key));
            let world = self.with_siblings(owner.map(Vec::as_slice).unwrap_or_default());
            let trial = Trial { world: &world, ..self.trial(contestants, &[]) };
            trial.trace(key, attack, &thresholds)
        };
        examples.flat_map(trace).collect()
    }
}

/// The protocol's settings.
fn options_of(args: &Args) -> Options {
    let mut rates = args.rates.clone();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let [keys, calibration_keys, clean_keys] = if args.quick { KEYS_QUICK } else { KEYS };
    let defaults = Options::default();
    Options {
        seed: args.seed,
        rates,
        calibration_keys: Some(args.calibration_keys.unwrap_or(calibration_keys)),
        test_keys: Some(args.keys.unwrap_or(keys)),
        clean_keys: args.clean_keys.unwrap_or(clean_keys),
        only_real: args.only == Only::Real,
        without_content: args.only == Only::Metadata,
        resamples: if args.quick { RESAMPLES_QUICK } else { defaults.resamples },
        ..defaults
    }
}

/// A fleet in which every client has as many keys as the populations need.
fn world_of(args: &Args, options: &Options) -> anyhow::Result<Box<dyn World>> {
    let clients = volumes::clients(&args.volumes)?;
    let settings = FleetSettings {
        seed: args.seed,
        keys: Plan::keys_of(clients.len(), options),
        pace: args.pace,
        false_alarms_per_year: args.false_alarms_per_key_year,
        is_declared: !args.undeclared,
        theft_requests_max: args.theft_requests as usize,
    };
    Ok(Box::new(FleetWorld::new(clients, &settings)))
}

/// The thefts that were asked for; `recorded` are those that came with the events.
fn attacks_of(args: &Args, world: &dyn World) -> anyhow::Result<Vec<usize>> {
    let all = world.attacks();
    let recorded: Vec<&str> =
        all.iter().filter(|attack| attack.group == Group::Recorded).map(|attack| attack.name).collect();
    let is_group = |name: &&String| name.as_str() == Group::Recorded.name() && !recorded.is_empty();
    let mut wanted: Vec<String> = args.attacks.iter().filter(|name| !is_group(name)).cloned().collect();
    if wanted.len() < args.attacks.len() {
        wanted.extend(recorded.iter().map(|&name| name.to_owned()));
    }
    let chosen = choose("--attacks", &wanted, all.iter().map(|attack| attack.name))?;
    Ok(chosen.into_iter().map(|(place, _)| place).collect())
}

/// The places and names that were asked for, in the order of all names.
fn choose<'a>(
    option: &str,
    wanted: &[String],
    names: impl Iterator<Item = &'a str>,
) -> anyhow::Result<Vec<(usize, &'a str)>> {
    let names: Vec<&str> = names.collect();
    for name in wanted {
        ensure!(
            name == "all" || names.contains(&name.as_str()),
            "{option}: there is no {name:?}; there are all, {}",
            names.join(", ")
        );
    }
    let is_wanted = |name: &str| wanted.iter().any(|wanted| wanted == "all" || wanted == name);
    Ok(names.into_iter().enumerate().filter(|(_, name)| is_wanted(name)).collect())
}
