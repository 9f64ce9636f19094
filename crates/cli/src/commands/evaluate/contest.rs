//! Methods against thefts on a simulated fleet: train, calibrate, judge.

use anyhow::ensure;
use tokenwatch_evaluate::fleet::{FleetSettings, FleetWorld};
use tokenwatch_evaluate::plan::{Options, Plan};
use tokenwatch_evaluate::report::{self, BudgetCheck, Parts, Point, Report};
use tokenwatch_evaluate::siblings::WithSiblings;
use tokenwatch_evaluate::stats::Share;
use tokenwatch_evaluate::trial::{Contestant, KeyTrial, Trace, Trial};
use tokenwatch_evaluate::world::{Group, World};

use super::methods::{self, LAYERED, METHODS};
use super::parallel::{Crew, thread_time};
use super::{Args, Only};
use crate::output;

/// Keys when nobody says how many.
const KEYS: u32 = 600;
const KEYS_QUICK: u32 = 40;
/// Resamples behind each interval of a first look.
const RESAMPLES_QUICK: u32 = 200;

/// Everything that was asked for, checked.
pub(super) struct Contest {
    world: WithSiblings<FleetWorld>,
    options: Options,
    methods: Vec<&'static str>,
    attacks: Vec<usize>,
    changes: Vec<usize>,
    false_alarms_per_year: f64,
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
        let keys = args.keys.unwrap_or(if args.quick { KEYS_QUICK } else { KEYS });
        let world = FleetWorld::new(&FleetSettings {
            seed: args.seed,
            keys,
            pace: args.pace,
            false_alarms_per_year: args.false_alarms_per_key_year,
            is_declared: !args.undeclared,
            theft_requests_max: args.theft_requests as usize,
        })?;
        if args.attacks.iter().any(|name| name == "list") {
            for attack in world.attacks() {
                let line = format!("{:<22} {:<11} {}", attack.name, attack.group.name(), attack.description);
                output::line(&line);
            }
            return Ok(None);
        }
        let names = world.attacks().iter().map(|attack| attack.name);
        let attacks =
            choose("--attacks", &args.attacks, names)?.into_iter().map(|(place, _)| place).collect();
        let mut rates = args.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates.dedup();
        let defaults = Options::default();
        let options = Options {
            seed: args.seed,
            rates,
            only_real: args.only == Only::Real,
            resamples: if args.quick { RESAMPLES_QUICK } else { defaults.resamples },
            ..defaults
        };
        let methods = methods.into_iter().map(|(_, name)| name).collect();
        let crew = Crew::new(args.threads);
        let changes = (0..world.changes().len()).collect();
        let false_alarms_per_year = args.false_alarms_per_key_year;
        Ok(Some(Self {
            world: WithSiblings::new(world),
            options,
            methods,
            attacks,
            changes,
            false_alarms_per_year,
            is_traced: args.html.is_some(),
            crew,
        }))
    }

    /// Runs the whole protocol.
    pub(super) fn run(&mut self) -> anyhow::Result<Report> {
        self.ask_siblings()?;
        let plan = Plan::new(&self.world, &self.options);
        let (world, per_year) = (&self.world, self.false_alarms_per_year);
        let contestants = methods::make(&self.methods, world, &self.options, &plan, per_year, &self.crew)?;
        let calibration = self.try_keys(
            "calibrating",
            &plan.calibration,
            Trial { attacks: &[], changes: &[], ..self.trial(&contestants, &[]) },
        )?;
        let points = report::points(&contestants, &calibration, &self.options);
        let score = |points: &Vec<Point>| points.iter().map(|point| point.threshold).collect::<Vec<f64>>();
        let thresholds: Vec<Vec<f64>> = points.iter().map(score).collect();
        let test = self.try_keys("judging", &plan.test, self.trial(&contestants, &thresholds))?;
        Ok(Report::build(Parts {
            world: &self.world,
            options: &self.options,
            plan: &plan,
            contestants: &contestants,
            points: &points,
            calibration: &calibration,
            test: &test,
            budgets: self.check_budgets(&plan)?,
            traces: self.traces(&plan, &contestants, &points),
        }))
    }

    /// Lives through the clean days of owners of several keys, so that their keys can be asked about newcomers.
    fn ask_siblings(&mut self) -> anyhow::Result<()> {
        // Without identities there is nothing to ask about; only the layered detector reads the answers.
        if self.options.only_real || !self.methods.contains(&LAYERED) {
            return Ok(());
        }
        let owners = self.world.owners();
        let places: Vec<usize> = (0..owners.len()).collect();
        let end_day = self.options.end_day();
        let histories = self.crew.map("asking siblings", &places, |place| {
            owners.get(place).map(|keys| self.world.history(keys, end_day)).unwrap_or_default()
        })?;
        owners.iter().zip(histories).for_each(|(keys, history)| self.world.put(keys, history));
        Ok(())
    }

    fn trial<'a>(&'a self, contestants: &'a [Contestant], thresholds: &'a [Vec<f64>]) -> Trial<'a> {
        Trial {
            world: &self.world,
            options: &self.options,
            contestants,
            thresholds,
            attacks: &self.attacks,
            changes: &self.changes,
            clock: &thread_time,
        }
    }

    fn try_keys(
        &self,
        what: &'static str,
        keys: &[usize],
        trial: Trial<'_>,
    ) -> anyhow::Result<Vec<KeyTrial>> {
        self.crew.map(what, keys, |key| trial.run(key))
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
        examples
            .flat_map(|(attack, &key)| self.trial(contestants, &[]).trace(key, attack, &thresholds))
            .collect()
    }

    /// Sets the test keys to each stated budget and counts the days on which they have a false alarm.
    fn check_budgets(&self, plan: &Plan) -> anyhow::Result<Vec<BudgetCheck>> {
        if !self.methods.contains(&LAYERED) {
            return Ok(Vec::new());
        }
        let per_key = self.crew.map("checking budgets", &plan.test, |key| {
            tokenwatch_evaluate::budget::alarm_days(&self.world, &self.options, key)
        })?;
        let checks = self.options.budgets.iter().enumerate().map(|(place, &days)| {
            let alarms = per_key.iter().filter_map(|alarms| alarms.get(place)).sum();
            let of = per_key.len() as u64 * u64::from(self.options.score_days);
            BudgetCheck { days, stated: 1.0 / days, realised: Share::new(alarms, of) }
        });
        Ok(checks.collect())
    }
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
