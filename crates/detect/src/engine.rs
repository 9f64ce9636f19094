//! The engine: settings and fleet tables, shared by all threads; the state of each key is an argument.

mod appraise;
mod feedback;
mod judge;
mod observe;
mod volume;

use tokenwatch_model::time::Timestamp;

pub(crate) use appraise::{Appraisal, Weight, house_nats, is_newcomer};

use crate::churn::Churn;
use crate::config::Config;
use crate::known::dimension;
use crate::math::{exp, ln};
use crate::priors::{COHORTS, Cohort, FleetPriors, Levels, Multipliers, PEOPLE, Way};
use crate::profile::KeyProfile;
use crate::rates::{GROUPS, parts_of};
use crate::state::KeyState;

/// Evidence in days from which a newcomer is followed; below it is learned at once.
const FOLLOW_DAYS: f64 = 0.3;
/// Evidence in days from which a newcomer teaches the key nothing.
const QUARANTINE_DAYS: f64 = 3.0;

/// Requests that are on their way and not yet observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct InFlight {
    /// Of the same actor, see [`crate::actor_of`], this one not included.
    pub actor: u32,
    /// Of other actors on the same key whose verdict was to watch.
    pub watched: u32,
}

/// Judges and observes requests. Immutable; the states are the caller's.
#[derive(Clone, Debug)]
pub struct Engine {
    config: Config,
    priors: FleetPriors,
}

impl Engine {
    /// An engine with these settings and tables.
    pub fn new(config: Config, priors: FleetPriors) -> Self {
        Self { config, priors }
    }

    /// The settings.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The fleet tables.
    pub const fn priors(&self) -> &FleetPriors {
        &self.priors
    }

    /// The rates of benign newcomers on a key like this one.
    pub(crate) fn rates(&self, state: &KeyState, profile: &KeyProfile, now: Timestamp) -> Rates<'_> {
        let fresh;
        let churn = match &state.churn {
            Some(churn) => churn,
            None => {
                fresh = Churn::new(&self.priors, profile.workload);
                &fresh
            }
        };
        self.rates_by(churn, state, now)
    }

    /// The same by the churn of another time.
    pub(crate) fn rates_by(&self, churn: &Churn, state: &KeyState, now: Timestamp) -> Rates<'_> {
        let mut weights = [(0.0, [1.0; dimension::COUNT]); COHORTS];
        let maturity_days = state.maturity_days(now);
        for ((weight, share), cohort) in weights.iter_mut().zip(churn.members()).zip(&self.priors.cohorts) {
            // A cohort the key does not belong to costs time and changes nothing.
            if share > 1e-4 {
                *weight = (share, churn.multipliers(cohort, maturity_days));
            }
        }
        Rates { priors: &self.priors, weights, youth: Youth::of(state.age_days(now), maturity_days) }
    }
}

/// How a newcomer asked after its first request: requests with a prompt the key knows and with another.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(crate) struct Prompts {
    pub(crate) known: u32,
    pub(crate) strange: u32,
}

impl Prompts {
    /// A thief's requests have prompts of its own nearly always, and so have a new workload's.
    const THIEF: f64 = 0.93;
    const WORKLOAD: f64 = 0.90;
    /// However it asks, a newcomer of the key's own churn is not ruled out: a new template may be on its
    /// way to all of the key's machines.
    const DEPLOYED: f64 = 0.08;

    fn ratio(self, strange: f64) -> f64 {
        let nats = f64::from(self.strange.min(50)) * ln(strange / Self::THIEF)
            + f64::from(self.known.min(50)) * ln((1.0 - strange) / (1.0 - Self::THIEF));
        exp(nats.clamp(-20.0, 3.4))
    }

    /// How much likelier these prompts are from the key's own churn than from a thief.
    pub(crate) fn own_factor(self, strange: f64) -> f64 {
        (1.0 - Self::DEPLOYED) * self.ratio(strange) + Self::DEPLOYED
    }

    /// The same for a new workload.
    pub(crate) fn common_factor(self) -> f64 {
        self.ratio(Self::WORKLOAD).clamp(0.8, 3.0)
    }
}

/// Rates of benign newcomers on one key at one time.
#[derive(Debug)]
pub(crate) struct Rates<'a> {
    priors: &'a FleetPriors,
    /// Share of each cohort, and the key's multipliers in it.
    weights: [(f64, Multipliers); COHORTS],
    youth: Youth,
}

impl Rates<'_> {
    /// Once in how many days a benign newcomer of these types appears.
    pub(crate) fn days(&self, levels: Levels) -> f64 {
        self.days_given(levels, &Prompts::default(), 1.0)
    }

    /// Newcomers of these types per day on a grown key, of machines and of people, by the tables alone.
    pub(crate) fn by_group(&self, levels: Levels) -> [f64; GROUPS] {
        let mut rates = [0.0; GROUPS];
        for (place, ((share, m), cohort)) in self.weights.iter().zip(&self.priors.cohorts).enumerate() {
            if *share > 0.0 {
                rates[usize::from(place >= PEOPLE)] += share * cohort.rate(levels, m);
            }
        }
        rates
    }

    /// The same for a newcomer who asked like this. Newcomers of the key's own churn, a new block of its pool
    /// or a colleague on the road, mostly ask what the key asks; a new workload has prompts of its own. So
    /// requests tell the two apart, and what is left of the rate is that of the ones who ask likewise.
    /// `own_volume` is how much likelier its volume is from one of the key's own than from a thief.
    pub(crate) fn days_given(&self, levels: Levels, prompts: &Prompts, own_volume: f64) -> f64 {
        let own =
            |cohort: &Cohort, m: &Multipliers| prompts.own_factor(cohort.strange_prompts(m)) * own_volume;
        1.0 / self.rate_with(levels, own, prompts.common_factor())
    }

    /// Newcomers of these types per day, those of the key's own churn and those of common causes times a factor each.
    pub(crate) fn rate_with(
        &self,
        levels: Levels,
        own_factor: impl Fn(&Cohort, &Multipliers) -> f64,
        common_factor: f64,
    ) -> f64 {
        match &self.priors.factors {
            None => self.rate_by(levels, [1.0; GROUPS], &own_factor, common_factor),
            Some(factors) => parts_of(levels)
                .map(|(cell, part)| self.rate_by(part, factors.of(cell), &own_factor, common_factor))
                .sum(),
        }
    }

    fn rate_by(
        &self,
        levels: Levels,
        fleet: [f64; GROUPS],
        own_factor: &impl Fn(&Cohort, &Multipliers) -> f64,
        common_factor: f64,
    ) -> f64 {
        let (mut own, mut common) = (0.0, 0.0);
        let Youth { people, beside_people, machines } = self.youth;
        for (place, ((share, m), cohort)) in self.weights.iter().zip(&self.priors.cohorts).enumerate() {
            if *share > 0.0 {
                let (met, set_up) =
                    if place >= PEOPLE { (people, beside_people) } else { (machines, machines) };
                let factor = fleet[usize::from(place >= PEOPLE)];
                let (by_own, by_common) = (cohort.own(levels, m), cohort.common(levels));
                // What comes oftener than the tables say comes for reasons of the fleet's, not of the key's.
                let beyond = (factor - 1.0).max(0.0) * (by_own + by_common);
                let less = factor.min(1.0);
                own += less * share * by_own * own_factor(cohort, m) * met;
                common += share * (less * by_common + beyond) * set_up;
            }
        }
        own + common * common_factor
    }

    /// How much evidence such a newcomer is, in days, by each way to steal.
    pub(crate) fn evidence(&self, levels: Levels) -> f64 {
        self.mass(levels) * self.days(levels)
    }

    /// The share of thieves who look like this at first.
    pub(crate) fn mass(&self, levels: Levels) -> f64 {
        self.priors.ways.iter().map(|way| way.share * way.law.mass(levels)).sum()
    }

    /// The ways to steal, each with the share of all thieves who go it and look like this at first.
    pub(crate) fn ways(&self, levels: Levels) -> impl Iterator<Item = (&Way, f64)> {
        self.priors.ways.iter().map(move |way| (way, way.share * way.law.mass(levels)))
    }
}

/// How much more often a young key meets benign newcomers: it is being set up, deployed and shared.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Youth {
    /// By the own churn of a key that people hold: not all of them were met yet, which takes as many active hours as a
    /// program's ways take days.
    people: f64,
    /// By common causes on such a key.
    beside_people: f64,
    /// On other keys: a program shows in its first hours where it runs and what it asks.
    machines: f64,
}

impl Youth {
    fn of(age_days: f64, maturity_days: f64) -> Self {
        let set_up: f64 = match age_days {
            days if days < 1.0 => 60.0,
            days if days < 2.0 => 20.0,
            days if days < 7.0 => 4.0,
            days if days < 30.0 => 1.3,
            _ => 1.0,
        };
        let (people, beside_people, machines): (f64, f64, f64) = match maturity_days {
            days if days < 1.0 => (100.0, 40.0, 8.0),
            days if days < 2.0 => (40.0, 12.0, 4.0),
            days if days < 7.0 => (12.0, 4.0, 1.5),
            _ => (1.0, 1.0, 1.0),
        };
        Self {
            people: set_up.max(people),
            beside_people: set_up.max(beside_people),
            machines: set_up.max(machines),
        }
    }
}

impl Default for Engine {
    /// Default settings, shipped tables.
    fn default() -> Self {
        Self::new(Config::default(), FleetPriors::shipped())
    }
}
