//! The report: every figure that is printed or drawn, computed once.
//!
//! Field names are the ones of `--json` and stable: fields are added, never renamed.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::plan::{Options, Plan};
use crate::stats::{Estimate, Share, Spread};
use crate::threshold::calibrate;
use crate::trial::{Contestant, KeyTrial, MethodTrial, Trace};
use crate::world::{Attack, Group, World};

mod compare;
mod curve;
mod tally;
#[cfg(test)]
pub(crate) mod tests;

pub use compare::{Burst, Compared, ComparedAt, Level, Published};
use tally::Tally;

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// How it was done.
    pub protocol: Protocol,
    /// The thefts that were tried.
    pub attacks: Vec<AttackAbout>,
    /// What came of each method.
    pub methods: Vec<MethodReport>,
    /// Whether the layered detector keeps what it promises; empty when it did not take part.
    pub budgets: Vec<BudgetCheck>,
    /// Scores over time of some thefts, for drawing.
    pub traces: Vec<Trace>,
    /// Method beside method at equal false alarms.
    pub comparison: Vec<Compared>,
}

/// How it was done, and on how much.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Protocol {
    /// The settings.
    #[serde(flatten)]
    pub options: Options,
    /// The side that thresholds and trained methods come from.
    pub calibration: Side,
    /// The side that methods are judged by: thefts, and false alarms on their clean days.
    pub test: Side,
    /// Further keys of that side's clients: false alarms only.
    pub clean: Side,
}

/// One side of the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Real clients.
    pub clients: u64,
    /// Keys.
    pub keys: u64,
    /// Scored days times keys, days without requests included.
    pub key_days: u64,
    /// Clean events of all days.
    pub events: u64,
}

/// A theft that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttackAbout {
    /// Stable name.
    pub attack: &'static str,
    /// Its group.
    pub group: Group,
    /// Whether it is the perfect copy that nothing but chance finds.
    pub is_control: bool,
    /// What happens.
    pub description: &'static str,
    /// On how many test keys it was tried.
    pub thefts: u64,
    /// The thief's requests, over all of them.
    pub requests: u64,
}

/// One method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodReport {
    /// Stable id.
    pub method: &'static str,
    /// What a score is.
    pub unit: &'static str,
    /// What it costs to run.
    pub cost: MethodCost,
    /// Results at each threshold.
    pub points: Vec<PointReport>,
    /// Detection against false alarms over all thresholds.
    pub curve: Vec<CurvePoint>,
}

/// What a method costs to run, measured on the clean days of the keys that it is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MethodCost {
    /// Processor time of an event; 0 when nobody measured.
    pub ns_per_event: f64,
    /// Memory of a key, mean.
    pub bytes_per_key: f64,
    /// Memory that nineteen keys in twenty stay below.
    pub bytes_per_key_p95: f64,
}

/// A threshold to judge by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// `nominal`, or `rate_` and the false alarms per key-day it was calibrated for.
    pub point: String,
    /// False alarms per key-day it was calibrated for; none when the method names its threshold.
    pub rate: Option<f64>,
    /// Scores at or above it are alarms.
    pub threshold: f64,
    /// Whether the calibration days are enough for the rate.
    pub is_supported: bool,
}

/// Results at one threshold. False alarms stand first: no detection rate means anything without them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PointReport {
    /// The threshold.
    #[serde(flatten)]
    pub point: Point,
    /// Clean key-days of test keys and further keys of their clients with an alarm.
    pub false_alarms: Share,
    /// The same of calibration keys.
    pub calibration_alarms: Share,
    /// Mean share found over the thefts of a group, each theft counting once.
    pub groups: Vec<GroupReport>,
    /// Per theft.
    pub attacks: Vec<AttackReport>,
    /// How many thefts are found within so many of the thief's requests, per group.
    pub delays: Vec<DelayCurve>,
    /// Keys with an alarm after a harmless change, per change.
    pub changes: Vec<ChangeReport>,
    /// Per kind of caller.
    pub archetypes: Vec<Part>,
    /// Per third of the keys by calls a day.
    pub sizes: Vec<Part>,
}

/// A group of thefts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupReport {
    /// The group.
    pub group: Group,
    /// How many kinds of theft.
    pub attacks: u64,
    /// Mean of their shares found.
    pub found: Estimate,
}

/// One kind of theft.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttackReport {
    /// Its name.
    pub attack: &'static str,
    /// How often it was tried.
    pub thefts: u64,
    /// How often it was found.
    pub found: u64,
    /// Share found, with an interval over clients.
    pub recall: Estimate,
    /// Found of those of keys that were in use before: for a day at least, with thirty requests. Whoever comes to a
    /// younger key may be the one who defines it.
    pub in_use: Share,
    /// The thief's requests until it was found, of those found.
    pub requests: Spread,
    /// Seconds from its first request.
    pub seconds: Spread,
    /// Dollars it had spent.
    pub dollars: Spread,
    /// Mean share of a theft's spend that was gone; all of it where it was not found.
    pub spend_gone: f64,
    /// The owner's requests while thefts ran.
    pub owner_requests: u64,
    /// Of these, how many would have been refused.
    pub owner_refused: u64,
}

/// Shares of a group's thefts that were found within so many requests; each theft on each key counts once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DelayCurve {
    /// The group.
    pub group: Group,
    /// Requests and the share found within them.
    pub found_within: Vec<(u64, f64)>,
}

/// A harmless change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangeReport {
    /// Its name.
    pub change: &'static str,
    /// Keys with an alarm in the days after it.
    pub alarms: Share,
    /// The same keys and days, had nothing changed.
    pub without: Share,
}

/// A part of the test keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Which part.
    pub part: String,
    /// How many keys.
    pub keys: u64,
    /// Clean key-days with an alarm.
    pub false_alarms: Share,
    /// Mean share found per group.
    pub groups: Vec<GroupReport>,
}

/// One threshold of the curve. It is set on the test keys themselves, to describe them: not a promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// The threshold.
    pub threshold: f64,
    /// Share of clean test key-days with an alarm.
    pub false_alarms: f64,
    /// Mean share found per group, in the order of the groups.
    pub groups: Vec<(Group, f64)>,
}

/// A stated budget of false alarms and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BudgetCheck {
    /// At most one false alarm in so many days of a key is stated.
    pub days: f64,
    /// False alarms per key-day that are stated.
    pub stated: f64,
    /// What test keys and further keys of their clients saw when they were set to that budget.
    pub realised: Share,
}

/// The thresholds of each contestant: its own, then one per calibrated rate.
pub fn points(contestants: &[Contestant], calibration: &[KeyTrial], options: &Options) -> Vec<Vec<Point>> {
    let of_contestant = |(place, contestant): (usize, &Contestant)| {
        let days: Vec<f64> = days_of(calibration, place).collect();
        let nominal = contestant.nominal.map(|threshold| Point {
            point: "nominal".to_owned(),
            rate: None,
            threshold,
            is_supported: true,
        });
        let calibrated = options.rates.iter().map(|&rate| {
            let threshold = calibrate(days.clone(), rate);
            Point {
                point: format!("rate_{rate}"),
                rate: Some(rate),
                threshold: threshold.score,
                is_supported: threshold.is_supported,
            }
        });
        nominal.into_iter().chain(calibrated).collect()
    };
    contestants.iter().enumerate().map(of_contestant).collect()
}

/// The place of the threshold that details are given for: the first calibrated one that the key-days support, so that
/// methods are compared at one rate; else the first.
pub fn main_place<'p>(points: impl IntoIterator<Item = &'p Point>) -> usize {
    points.into_iter().position(|point| point.rate.is_some() && point.is_supported).unwrap_or(0)
}

impl MethodReport {
    /// The threshold that details are given for.
    pub fn main_point(&self) -> Option<&PointReport> {
        self.points.get(main_place(self.points.iter().map(|point| &point.point)))
    }
}

/// Highest scores of the clean days by one contestant.
fn days_of(trials: &[KeyTrial], place: usize) -> impl Iterator<Item = f64> + '_ {
    trials
        .iter()
        .filter_map(move |trial| trial.methods.get(place))
        .flat_map(|trial| trial.days.iter().copied())
}

fn alarms(days: impl Iterator<Item = f64>, threshold: f64) -> Share {
    let (mut count, mut of) = (0, 0);
    for score in days {
        of += 1;
        count += u64::from(score >= threshold);
    }
    Share::new(count, of)
}

/// What a report is made from.
pub struct Parts<'a> {
    /// Where keys and thefts came from.
    pub world: &'a dyn World,
    /// The settings.
    pub options: &'a Options,
    /// The split.
    pub plan: &'a Plan,
    /// Who took part.
    pub contestants: &'a [Contestant],
    /// Their thresholds, by [`points`].
    pub points: &'a [Vec<Point>],
    /// Trials of the calibration keys, in their order.
    pub calibration: &'a [KeyTrial],
    /// Trials of the test keys, in their order.
    pub test: &'a [KeyTrial],
    /// Trials of the further keys of their clients, in their order.
    pub clean: &'a [KeyTrial],
    /// Scores over time of some thefts.
    pub traces: Vec<Trace>,
}

impl Report {
    /// Computes every figure.
    pub fn build(parts: Parts<'_>) -> Self {
        let Parts { world, options, plan, contestants, points, calibration, test, clean, traces } = parts;
        let judged = || test.iter().chain(clean);
        let protocol = Protocol {
            options: options.clone(),
            calibration: side(world, &plan.calibration, calibration, options),
            test: side(world, &plan.test, test, options),
            clean: side(world, &plan.clean, clean, options),
        };
        let tallies: Vec<Tally<'_>> =
            (0..contestants.len()).map(|place| Tally::new(world, judged(), place)).collect();
        let method = |(place, ((contestant, points), tally)): (usize, ((&Contestant, &Vec<Point>), _))| {
            let report = |(index, point): (usize, &Point)| {
                point_report(tally, index, point, days_of(calibration, place), options)
            };
            MethodReport {
                method: contestant.method.id(),
                unit: contestant.method.unit(),
                cost: method_cost(judged(), place),
                points: points.iter().enumerate().map(report).collect(),
                curve: curve::curve(tally),
            }
        };
        let methods: Vec<MethodReport> =
            contestants.iter().zip(points).zip(&tallies).enumerate().map(method).collect();
        let nanos: Vec<f64> = methods.iter().map(|method| method.cost.ns_per_event).collect();
        let (tallies, nanos, attacks) = (&tallies, &nanos, world.attacks());
        let field = compare::Field { options, contestants, points, calibration, tallies, nanos, attacks };
        Self {
            protocol,
            attacks: attacks_about(world, test),
            comparison: field.compare(),
            methods,
            budgets: check_budgets(judged(), options),
            traces,
        }
    }
}

/// Stated budgets and the days with an alarm on the keys that were set to them.
fn check_budgets<'a>(judged: impl Iterator<Item = &'a KeyTrial>, options: &Options) -> Vec<BudgetCheck> {
    let checked: Vec<&KeyTrial> = judged.filter(|trial| !trial.budget_days.is_empty()).collect();
    let of = checked.len() as u64 * u64::from(options.score_days);
    let check = |(place, &days): (usize, &f64)| {
        let alarms = checked.iter().filter_map(|trial| trial.budget_days.get(place)).sum();
        BudgetCheck { days, stated: 1.0 / days, realised: Share::new(alarms, of) }
    };
    if checked.is_empty() { Vec::new() } else { options.budgets.iter().enumerate().map(check).collect() }
}

fn side(world: &dyn World, keys: &[usize], trials: &[KeyTrial], options: &Options) -> Side {
    let clients: BTreeSet<&str> =
        keys.iter().filter_map(|&key| world.keys().get(key)).map(|key| key.client.as_str()).collect();
    Side {
        clients: clients.len() as u64,
        keys: trials.len() as u64,
        key_days: trials.len() as u64 * u64::from(options.score_days),
        events: trials.iter().map(|trial| trial.events).sum(),
    }
}

fn attacks_about(world: &dyn World, test: &[KeyTrial]) -> Vec<AttackAbout> {
    let thefts = |attack: usize| {
        let first = test.iter().filter_map(|trial| trial.methods.first());
        first.flat_map(|trial| &trial.thefts).filter(move |theft| theft.attack == attack)
    };
    let about = |(place, attack): (usize, &Attack)| AttackAbout {
        attack: attack.name,
        group: attack.group,
        is_control: attack.is_control,
        description: attack.description,
        thefts: thefts(place).count() as u64,
        requests: thefts(place).map(|theft| theft.requests).sum(),
    };
    world.attacks().iter().enumerate().map(about).filter(|about| about.thefts > 0).collect()
}

fn method_cost<'a>(judged: impl Iterator<Item = &'a KeyTrial>, place: usize) -> MethodCost {
    let (mut trials, mut events): (Vec<&MethodTrial>, u64) = (Vec::new(), 0);
    for trial in judged {
        trials.extend(trial.methods.get(place));
        events += trial.events;
    }
    let nanos: u64 = trials.iter().map(|trial| trial.nanos).sum();
    let mut bytes: Vec<f64> = trials.iter().map(|trial| trial.bytes as f64).collect();
    bytes.sort_by(f64::total_cmp);
    MethodCost {
        ns_per_event: nanos as f64 / events.max(1) as f64,
        bytes_per_key: bytes.iter().sum::<f64>() / bytes.len().max(1) as f64,
        bytes_per_key_p95: crate::stats::quantile(&bytes, 0.95).unwrap_or(0.0),
    }
}

fn point_report(
    tally: &Tally<'_>,
    index: usize,
    point: &Point,
    calibration: impl Iterator<Item = f64>,
    options: &Options,
) -> PointReport {
    let found = tally.at(point.threshold);
    PointReport {
        point: point.clone(),
        false_alarms: alarms(tally.days(), point.threshold),
        calibration_alarms: alarms(calibration, point.threshold),
        groups: found.groups(options),
        attacks: found.attacks(index, options),
        delays: found.delays(),
        changes: tally.changes(point.threshold),
        archetypes: found.parts(&tally.archetypes(), point.threshold, options),
        sizes: found.parts(&tally.sizes(), point.threshold, options),
    }
}
