//! The key's own churn: how many first appearances it had in each dimension, against its exposure.
//!
//! `M = (a + n) / (a + T * mean)` per dimension and cohort, with `a` = 0.3 (the prior weight of the fleet).
//! Counts and exposure fade with a time constant of 90 days, so that a key can calm down. First appearances
//! are counted, not requests: a source that sends ten thousand requests is one.

use serde::{Deserialize, Serialize};
use tokenwatch_model::key::Workload;
use tokenwatch_model::time::DAY;

use crate::known::dimension;
use crate::math::{exp, ln};
use crate::priors::{COHORTS, Cohort, FleetPriors, Membership, Multipliers};

/// Weight of the cohort's mean against the key's own count.
const PRIOR: f64 = 0.3;
/// Days after which a count has faded to 1/e.
const MEMORY_DAYS: f64 = 90.0;
/// Shape of the negative binomial by which counts choose the cohort: keys of one cohort differ widely.
const SHAPE: f64 = 0.5;

/// Counters of first appearances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Churn {
    counts: [f32; dimension::COUNT],
    exposure_days: f32,
    /// How much the key belongs to each cohort, as of the last new day; empty weight means not yet known.
    members: [f32; COHORTS],
}

impl Churn {
    /// A key without history.
    pub(crate) fn new(priors: &FleetPriors, workload: Workload) -> Self {
        Self {
            counts: [0.0; dimension::COUNT],
            exposure_days: 0.0,
            members: priors.membership(workload).map(|share| share as f32),
        }
    }

    /// Counts first appearances, given as bits of [`dimension`].
    pub(crate) fn count(&mut self, flags: u16) {
        for (of, count) in self.counts.iter_mut().enumerate() {
            if flags >> of & 1 == 1 {
                *count += 1.0;
            }
        }
    }

    /// Lets time pass: exposure grows, old counts fade, and the cohort is weighed anew.
    pub(crate) fn pass(&mut self, micros: u64, priors: &FleetPriors, workload: Workload) {
        let days = micros as f64 / DAY as f64;
        let keep = exp(-days / MEMORY_DAYS);
        for count in &mut self.counts {
            *count = (f64::from(*count) * keep) as f32;
        }
        self.exposure_days = (f64::from(self.exposure_days) * keep + MEMORY_DAYS * (1.0 - keep)) as f32;
        self.members = self.weigh(priors, workload).map(|share| share as f32);
    }

    /// The key's multipliers in one cohort. On a key that is used seldom little can show: its exposure is no more than
    /// its `maturity_days`.
    pub(crate) fn multipliers(&self, cohort: &Cohort, maturity_days: f64) -> Multipliers {
        let exposure = f64::from(self.exposure_days).min(maturity_days);
        let mut m = [1.0; dimension::COUNT];
        for ((m, count), mean) in m.iter_mut().zip(self.counts).zip(cohort.means) {
            *m = (PRIOR + f64::from(count)) / (PRIOR + exposure * mean);
        }
        m
    }

    /// Whether first appearances in a dimension are everyday on this key: more often than every three days.
    pub(crate) fn is_routine(&self, of: usize) -> bool {
        let count = self.counts.get(of).copied().unwrap_or(0.0);
        self.exposure_days >= 3.0 && count * 3.0 > self.exposure_days
    }

    /// How much the key belongs to each cohort.
    pub(crate) fn members(&self) -> Membership {
        self.members.map(f64::from)
    }

    /// Bayes over cohorts by the key's own new blocks and networks; a declared workload is believed.
    fn weigh(&self, priors: &FleetPriors, workload: Workload) -> Membership {
        let mut members = priors.membership(workload);
        if workload != Workload::Unknown {
            return members;
        }
        let mut logs = [0.0f64; COHORTS];
        let mut best = f64::NEG_INFINITY;
        for ((log, cohort), share) in logs.iter_mut().zip(&priors.cohorts).zip(members) {
            *log = ln(share);
            for of in [dimension::PREFIX, dimension::NETWORK] {
                let mean = cohort.means[of] * f64::from(self.exposure_days);
                let count = f64::from(self.counts[of]);
                *log += SHAPE * ln(SHAPE / (SHAPE + mean));
                if count > 0.0 {
                    *log += count * ln(mean / (SHAPE + mean));
                }
            }
            best = best.max(*log);
        }
        let total: f64 = logs.iter().map(|log| exp(log - best)).sum();
        for (member, log) in members.iter_mut().zip(logs) {
            *member = exp(log - best) / total;
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviour_chooses_the_cohort() {
        let priors = FleetPriors::shipped();
        let mut churn = Churn::new(&priors, Workload::Unknown);
        churn.pass(20 * DAY, &priors, Workload::Unknown);
        assert!(churn.members()[0] > 0.85, "{:?}", churn.members());
        for _ in 0..80 {
            churn.count(1 << dimension::PREFIX);
        }
        churn.pass(1, &priors, Workload::Unknown);
        assert!(churn.members()[0] < 0.05, "{:?}", churn.members());
        let sum: f64 = churn.members().iter().sum();
        assert!((sum - 1.0).abs() < 1e-5);
        churn.pass(1, &priors, Workload::Service);
        assert_eq!(churn.members()[0], 1.0);
    }

    #[test]
    fn quiet_keys_make_novelty_dear_and_churning_keys_cheap() {
        let priors = FleetPriors::shipped();
        let mut churn = Churn::new(&priors, Workload::Service);
        assert_eq!(churn.multipliers(&priors.cohorts[0], 60.0)[dimension::PREFIX], 1.0);
        churn.pass(60 * DAY, &priors, Workload::Service);
        assert!(churn.multipliers(&priors.cohorts[0], 60.0)[dimension::PREFIX] < 0.25);
        for _ in 0..100 {
            churn.count(1 << dimension::TEMPLATE);
        }
        assert!(churn.multipliers(&priors.cohorts[0], 60.0)[dimension::TEMPLATE] > 10.0);
    }
}
