//! The engine: settings and fleet tables, shared by all threads; the state of each key is an argument.

mod appraise;
mod feedback;
mod judge;
mod observe;

use tokenwatch_model::time::Timestamp;

pub(crate) use appraise::{Appraisal, Weight};

use crate::churn::Churn;
use crate::config::Config;
use crate::priors::{FleetPriors, Levels};
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

    /// Benign newcomers of these types per day on a key like this one.
    pub(crate) fn rate(&self, state: &KeyState, profile: &KeyProfile, levels: Levels, now: Timestamp) -> f64 {
        let fresh;
        let churn = match &state.churn {
            Some(churn) => churn,
            None => {
                fresh = Churn::new(&self.priors, profile.workload);
                &fresh
            }
        };
        let rate: f64 = churn
            .members()
            .into_iter()
            .zip(&self.priors.cohorts)
            // A cohort the key does not belong to costs time and changes nothing.
            .filter(|(share, _)| *share > 1e-4)
            .map(|(share, cohort)| share * cohort.rate(levels, &churn.multipliers(cohort)))
            .sum();
        rate * youth(state.maturity_days(now))
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
