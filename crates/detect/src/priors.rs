//! What the fleet knows before a key has a history: how often benign newcomers of each kind appear, and
//! what thieves look like.
//!
//! # The question
//!
//! A first appearance on a key has a *type*: how new its source is (0 known block, 1 new block, 2 new
//! network, 3 and of a new kind, 4 new country, 5 new country and kind), its client (0 known, 1 new
//! version, 2 new TLS print, 3 new family), its usage (0 known, 1 new model, 2 new endpoint) and its prompt
//! template (0 known, 1 new). That is 144 types. The engine asks: **once in how many days does a benign
//! newcomer of this type appear on a key like this?** The answer `1 / rho` is a number of days, and evidence
//! `P_thief(type) / rho(type)` is an e-value in days: summed over all benign arrivals its mean grows by at
//! most one day a day, so "alert at B days" raises on average at most one false alarm in B days on a key,
//! whatever the law of its traffic. The false-alarm budget *is* the threshold.
//!
//! # The closed form
//!
//! `rho(type) = A(type) * M + B(type)`, both per day:
//!
//! * **A, the key's own churn.** One dimension leads (the source when it is new, else the client, else
//!   the usage, else the template) at its own marginal rate; the others are new beside it by coincidence,
//!   with small independent probabilities. Each factor scales with the key's own history `M` (see
//!   `churn`): a key that shows a new prompt every minute makes a new prompt worth nothing.
//! * **B, common causes.** A new component, a new workload on the same key or a migration changes several
//!   dimensions at once, however quiet the key was. Each cause has a rate and a product law over levels.
//!
//! Where a dimension is not stated, `rho` and `P_thief` are both summed over its levels: missing
//! information is neutral by arithmetic, not by exception.
//!
//! # What the numbers assume
//!
//! No public data set has network identities beside LLM usage, so the rates are stated assumptions: on
//! a static server a new block each 45 days; a new version each 30 to 40; a new model each 25; a new prompt
//! template each 7; a migration each 200, a component each 90, a workload each 365 days; an autoscaled pool
//! meets five new blocks a day, a team's laptops three, a public application fifty; people travel every 40
//! days each and a team is about ten people. Coincidence probabilities were chosen so that the rates of the
//! five reference newcomers in the tests agree within a factor of two with a table fitted by Poisson regression and
//! EM on simulated keys whose traffic follows 183 real clients. `P_thief` is a bet: it began from published incidents,
//! 42 of 78 attacker addresses in public hosting or VPN lists, most clients plain HTTP libraries, dearest models
//! wanted first, system prompts the thief's own, and was moved to where it finds most ([`crate::powers`]).
//!
//! What one fleet does oftener or more seldom is counted on it, and is a factor on these tables ([`crate::FleetRates`]).

mod shipped;

use serde::{Deserialize, Serialize};
use tokenwatch_model::key::Workload;

use crate::known::dimension;
use crate::rates::{Factors, FleetRates, FleetRatesError, GROUPS, parts_of};

/// Levels of the source: known, block, network, kind, country, country and kind.
pub(crate) const SOURCES: usize = 6;
/// Levels of the client: known, version, TLS print, family.
pub(crate) const CLIENTS: usize = 4;
/// Levels of the usage: known, model, endpoint.
pub(crate) const USAGES: usize = 3;
/// Levels of the template: known, new.
pub(crate) const TEMPLATES: usize = 2;
/// Cohorts: service, pool, CI, team, public application.
pub(crate) const COHORTS: usize = 5;
/// The first of the cohorts of people: team and public application.
pub(crate) const PEOPLE: usize = 3;

/// A coincidence is never taken as more certain than this, whatever the key's history.
const COINCIDENCE_MAX: f64 = 0.9;

/// A set of types, as one bit mask of levels per dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) source: u8,
    pub(crate) client: u8,
    pub(crate) usage: u8,
    pub(crate) template: u8,
}

impl Levels {
    /// The client is not stated.
    pub(crate) const ANY_CLIENT: u8 = 0b1111;
    /// The template is not stated.
    pub(crate) const ANY_TEMPLATE: u8 = 0b11;
    /// The usage is not stated.
    pub(crate) const ANY_USAGE: u8 = 0b111;
}

/// One type of newcomer, for documentation and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewcomerType {
    /// 0 known block to 5 new country and kind of network.
    pub source: u8,
    /// 0 known to 3 new family.
    pub client: u8,
    /// 0 known, 1 new model, 2 new endpoint.
    pub usage: u8,
    /// Whether the prompt template is new; `None` when the request has none.
    pub template_is_new: Option<bool>,
}

impl From<NewcomerType> for Levels {
    fn from(of: NewcomerType) -> Self {
        Self {
            source: 1 << of.source.min(5),
            client: 1 << of.client.min(3),
            usage: 1 << of.usage.min(2),
            template: of.template_is_new.map_or(Self::ANY_TEMPLATE, |new| 1 << u8::from(new)),
        }
    }
}

/// A product law over the levels of the four dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Law {
    pub(crate) source: [f64; SOURCES],
    pub(crate) client: [f64; CLIENTS],
    pub(crate) usage: [f64; USAGES],
    pub(crate) template: [f64; TEMPLATES],
}

impl Law {
    /// The probability of a set of types.
    pub(crate) fn mass(&self, levels: Levels) -> f64 {
        sum(&self.source, levels.source)
            * sum(&self.client, levels.client)
            * sum(&self.usage, levels.usage)
            * sum(&self.template, levels.template)
    }
}

fn sum(shares: &[f64], mask: u8) -> f64 {
    shares.iter().enumerate().filter(|(level, _)| mask >> level & 1 == 1).map(|(_, share)| share).sum()
}

/// A cause that changes several dimensions at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cause {
    /// Per day.
    pub(crate) rate: f64,
    pub(crate) law: Law,
}

/// How a kind of key changes by itself. Rates are per day; `given` are probabilities beside another change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cohort {
    /// Share of the fleet.
    pub(crate) share: f64,
    pub(crate) source: [f64; SOURCES],
    pub(crate) client: [f64; CLIENTS],
    pub(crate) usage: [f64; USAGES],
    pub(crate) template: f64,
    pub(crate) client_given: [f64; CLIENTS],
    pub(crate) usage_given: [f64; USAGES],
    pub(crate) template_given: f64,
    pub(crate) causes: Vec<Cause>,
    /// First appearances per day in each dimension on an average key, causes included.
    pub(crate) means: Multipliers,
}

/// The key's own churn against its cohort's, per dimension; 1 is average.
pub(crate) type Multipliers = [f64; dimension::COUNT];

impl Cohort {
    /// Benign newcomers of these types per day.
    pub(crate) fn rate(&self, levels: Levels, m: &Multipliers) -> f64 {
        self.own(levels, m) + self.common(levels)
    }

    /// How often a newcomer of the key's own churn has a prompt the key does not know, request by request.
    pub(crate) fn strange_prompts(&self, m: &Multipliers) -> f64 {
        (self.template_given * m[dimension::TEMPLATE]).clamp(0.02, 0.9)
    }

    /// B: by common causes.
    pub(crate) fn common(&self, levels: Levels) -> f64 {
        self.causes.iter().map(|cause| cause.rate * cause.law.mass(levels)).sum()
    }

    /// A: by the key's own churn.
    pub(crate) fn own(&self, levels: Levels, m: &Multipliers) -> f64 {
        let source = [
            1.0,
            m[dimension::PREFIX],
            m[dimension::NETWORK],
            m[dimension::KIND],
            m[dimension::COUNTRY],
            m[dimension::COUNTRY].max(m[dimension::KIND]),
        ];
        let client = [1.0, m[dimension::VERSION], m[dimension::TLS], m[dimension::FAMILY]];
        let usage = [1.0, m[dimension::MODEL], m[dimension::ENDPOINT]];
        let beside_client = given(&self.client_given, &client, levels.client);
        let beside_usage = given(&self.usage_given, &usage, levels.usage);
        let beside_template =
            given(&[0.0, self.template_given], &[1.0, m[dimension::TEMPLATE]], levels.template);

        let leads = |rates: &[f64], m: &[f64], mask: u8| -> f64 {
            let new = rates.iter().zip(m).enumerate().skip(1);
            new.filter(|(level, _)| mask >> level & 1 == 1).map(|(_, (rate, m))| rate * m).sum()
        };
        let mut total =
            leads(&self.source, &source, levels.source) * beside_client * beside_usage * beside_template;
        if levels.source & 1 == 1 {
            total += leads(&self.client, &client, levels.client) * beside_usage * beside_template;
            if levels.client & 1 == 1 {
                total += leads(&self.usage, &usage, levels.usage) * beside_template;
                if levels.usage & 1 == 1 && levels.template & 2 == 2 {
                    total += self.template * m[dimension::TEMPLATE];
                }
            }
        }
        total
    }

    /// The cohort with its means computed from the rest.
    pub(crate) fn with_means(mut self) -> Self {
        let mut means = [0.0; dimension::COUNT];
        for (of, mean) in means.iter_mut().enumerate() {
            *mean = self.mean(of);
        }
        self.means = means;
        self
    }

    fn mean(&self, of: usize) -> f64 {
        let all =
            |mask: u8, client: u8, usage: u8, template: u8| Levels { source: mask, client, usage, template };
        let (c, u, t) = (Levels::ANY_CLIENT, Levels::ANY_USAGE, Levels::ANY_TEMPLATE);
        let (own, levels) = match of {
            dimension::PREFIX => (self.source.iter().skip(1).sum(), all(0b11_1110, c, u, t)),
            dimension::NETWORK => (self.source.iter().skip(2).sum(), all(0b11_1100, c, u, t)),
            dimension::KIND => (self.source[3] + self.source[5], all(0b10_1000, c, u, t)),
            dimension::COUNTRY => (self.source[4] + self.source[5], all(0b11_0000, c, u, t)),
            dimension::VERSION => (self.client.iter().sum(), all(0b11_1111, 0b1110, u, t)),
            dimension::TLS => (self.client[2] + self.client[3], all(0b11_1111, 0b1100, u, t)),
            dimension::FAMILY => (self.client[3], all(0b11_1111, 0b1000, u, t)),
            dimension::MODEL => (self.usage[1], all(0b11_1111, c, 0b10, t)),
            dimension::ENDPOINT => (self.usage[2], all(0b11_1111, c, 0b100, t)),
            _ => (self.template, all(0b11_1111, c, u, 0b10)),
        };
        own + self.common(levels)
    }
}

/// The probability that a dimension is on one of these levels beside a change elsewhere.
fn given(shares: &[f64], m: &[f64], mask: u8) -> f64 {
    let each = COINCIDENCE_MAX / (shares.len() - 1).max(1) as f64;
    let (mut new, mut wanted) = (0.0, 0.0);
    for (level, (share, m)) in shares.iter().zip(m).enumerate().skip(1) {
        let probability = (share * m).min(each);
        new += probability;
        if mask >> level & 1 == 1 {
            wanted += probability;
        }
    }
    if mask & 1 == 1 { wanted + 1.0 - new } else { wanted }
}

/// One way to steal. Which way a thief goes is not known, so evidence is the mean over the ways, and a thief who is careful in one respect need not be weighed by the habits of a careless one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Way {
    /// Share of the budget that is bet on it.
    pub(crate) share: f64,
    /// The look at the first request.
    pub(crate) law: Law,
    /// Whether such a thief copies the key's software, models and sizes: being like the key is then no
    /// evidence for the owner.
    pub(crate) disguised: bool,
}

/// The fleet's tables: cohorts and the look of thieves. Immutable, shared by every key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetPriors {
    /// Which tables these are, to be written beside results.
    pub version: u32,
    pub(crate) cohorts: [Cohort; COHORTS],
    pub(crate) ways: Vec<Way>,
    /// How the fleet differs from the tables, once that was counted.
    #[serde(skip)]
    pub(crate) factors: Option<Factors>,
}

/// How much a key belongs to each cohort; sums to one.
pub(crate) type Membership = [f64; COHORTS];

impl FleetPriors {
    /// The tables that ship with the program.
    pub fn shipped() -> Self {
        shipped::tables()
    }

    /// The tables with what was counted on a fleet.
    ///
    /// # Errors
    ///
    /// When it was counted against other tables: what they expected is no measure for these.
    pub fn with_rates(mut self, rates: &FleetRates) -> Result<Self, FleetRatesError> {
        if rates.tables() != self.version {
            return Err(FleetRatesError::Tables { found: rates.tables(), ours: self.version });
        }
        self.factors = Some(rates.factors());
        Ok(self)
    }

    /// Once in how many days a benign newcomer of a type appears on an average key of a workload that is
    /// older than a month.
    pub fn once_in_days(&self, workload: Workload, of: NewcomerType) -> f64 {
        let members = self.membership(workload);
        let levels = Levels::from(of);
        let rate = |cell: usize, part: Levels| -> f64 {
            let fleet = self.factors.as_ref().map_or([1.0; GROUPS], |factors| factors.of(cell));
            let cohorts = self.cohorts.iter().zip(members).enumerate();
            let rates = cohorts.map(|(place, (cohort, share))| {
                share * cohort.rate(part, &[1.0; dimension::COUNT]) * fleet[usize::from(place >= PEOPLE)]
            });
            rates.sum()
        };
        1.0 / parts_of(levels).map(|(cell, part)| rate(cell, part)).sum::<f64>()
    }

    /// What is declared about a key decides its cohort; nothing declared leaves the fleet's mixture.
    pub(crate) fn membership(&self, workload: Workload) -> Membership {
        let mut members = [0.0; COHORTS];
        let declared = match workload {
            Workload::Unknown => {
                for (member, cohort) in members.iter_mut().zip(&self.cohorts) {
                    *member = cohort.share;
                }
                return members;
            }
            Workload::Service => 0,
            Workload::Pool => 1,
            Workload::Ci => 2,
            Workload::Team => 3,
            Workload::PublicApp => 4,
        };
        members[declared] = 1.0;
        members
    }
}

#[cfg(test)]
mod tests;
