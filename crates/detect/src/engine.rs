//! The engine: settings and fleet tables, shared by all threads; the state of each key is an argument.

mod appraise;
mod feedback;
mod judge;
mod observe;

use tokenwatch_model::time::Timestamp;

pub(crate) use appraise::{Appraisal, Weight};

use crate::churn::Churn;
use crate::config::Config;
use crate::known::dimension;
use crate::priors::{COHORTS, FleetPriors, Levels, Multipliers};
use crate::profile::KeyProfile;
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
        let mut weights = [(0.0, [1.0; dimension::COUNT]); COHORTS];
        for ((weight, share), cohort) in weights.iter_mut().zip(churn.members()).zip(&self.priors.cohorts) {
            // A cohort the key does not belong to costs time and changes nothing.
            if share > 1e-4 {
                *weight = (share, churn.multipliers(cohort));
            }
        }
        Rates { priors: &self.priors, weights, youth: youth(state.maturity_days(now)) }
    }
}

/// Rates of benign newcomers on one key at one time.
#[derive(Debug)]
pub(crate) struct Rates<'a> {
    priors: &'a FleetPriors,
    /// Share of each cohort, and the key's multipliers in it.
    weights: [(f64, Multipliers); COHORTS],
    youth: f64,
}

impl Rates<'_> {
    /// Once in how many days a benign newcomer of these types appears.
    pub(crate) fn days(&self, levels: Levels) -> f64 {
        let members = self.weights.iter().zip(&self.priors.cohorts).filter(|((share, _), _)| *share > 0.0);
        let rate: f64 = members.map(|((share, m), cohort)| share * cohort.rate(levels, m)).sum();
        1.0 / (rate * self.youth)
    }

    /// How much evidence such a newcomer is, in days.
    pub(crate) fn evidence(&self, levels: Levels) -> f64 {
        self.priors.thief.mass(levels) * self.days(levels)
    }
}

/// How much more often a young key meets benign newcomers: it is being set up, deployed and shared.
fn youth(maturity_days: f64) -> f64 {
    match maturity_days {
        days if days < 2.0 => 20.0,
        days if days < 7.0 => 4.0,
        days if days < 30.0 => 1.3,
        _ => 1.0,
    }
}

impl Default for Engine {
    /// Default settings, shipped tables.
    fn default() -> Self {
        Self::new(Config::default(), FleetPriors::shipped())
    }
}
