//! The tables that ship with the program; what they assume is said in [`super`].

use super::{Cause, Cohort, FleetPriors, Law, Way};
use crate::known::dimension;

/// Changes every kind of key shares: a new component beside the old, a new workload on the same key, a
/// migration of the old one.
fn causes() -> Vec<Cause> {
    vec![
        Cause {
            rate: 1.0 / 90.0,
            law: Law {
                source: [0.6, 0.4, 0.0, 0.0, 0.0, 0.0],
                client: [0.72, 0.15, 0.07, 0.06],
                usage: [0.5, 0.3, 0.2],
                template: [0.1, 0.9],
            },
        },
        Cause {
            rate: 1.0 / 365.0,
            law: Law {
                source: [0.05, 0.05, 0.40, 0.10, 0.30, 0.10],
                client: [0.75, 0.12, 0.08, 0.05],
                usage: [0.75, 0.20, 0.05],
                template: [0.1, 0.9],
            },
        },
        Cause {
            rate: 1.0 / 200.0,
            law: Law {
                source: [0.0, 0.1, 0.5, 0.1, 0.25, 0.05],
                client: [0.90, 0.06, 0.03, 0.01],
                usage: [0.93, 0.05, 0.02],
                template: [0.95, 0.05],
            },
        },
        // The key's own prompts from another machine by a plain tool: a load test, a comparison of models, a script.
        Cause {
            rate: 1.0 / 400.0,
            law: Law {
                source: [0.2, 0.1, 0.35, 0.1, 0.2, 0.05],
                client: [0.35, 0.10, 0.05, 0.50],
                usage: [0.98, 0.02, 0.0],
                template: [1.0, 0.0],
            },
        },
    ]
}

/// The same for keys that people hold: what is new beside them is a machine, with software of its own when the
/// people come by browser or application.
fn causes_beside_people(client: [f64; 4]) -> Vec<Cause> {
    let mut causes = causes();
    for (cause, source) in
        causes.iter_mut().zip([[0.05, 0.05, 0.02, 0.68, 0.0, 0.20], [0.0, 0.02, 0.05, 0.45, 0.03, 0.45]])
    {
        cause.law.source = source;
        cause.law.client = client;
    }
    causes
}

/// The ways to steal. Shares are a bet, not a census: what is rare on honest keys needs little of the budget to
/// be noticed at once, so most of it lies on disguised thieves, whose first request is like an honest new workload's, and
/// of each way on looks that honest newcomers seldom have. Fitted as [`crate::powers`] says.
fn ways() -> Vec<Way> {
    vec![
        // Their own network and software, as the reports have it.
        Way {
            share: 0.30,
            law: Law {
                source: [0.02, 0.06, 0.14, 0.11, 0.17, 0.50],
                client: [0.05, 0.05, 0.15, 0.75],
                usage: [0.40, 0.49, 0.11],
                template: [0.06, 0.94],
            },
            disguised: false,
        },
        // Their own network, the key's software and models.
        Way {
            share: 0.55,
            law: Law {
                source: [0.0, 0.06, 0.31, 0.29, 0.25, 0.09],
                client: [0.95, 0.03, 0.01, 0.01],
                usage: [0.97, 0.02, 0.01],
                template: [0.03, 0.97],
            },
            disguised: true,
        },
        // On the owner's machine, or in its pool, with other software.
        Way {
            share: 0.15,
            law: Law {
                source: [0.74, 0.26, 0.0, 0.0, 0.0, 0.0],
                client: [0.0, 0.01, 0.13, 0.86],
                usage: [0.42, 0.42, 0.16],
                template: [0.05, 0.95],
            },
            disguised: false,
        },
    ]
}

pub(super) fn tables() -> FleetPriors {
    let service = Cohort {
        share: 0.35,
        source: [0.0, 0.0222, 0.003, 0.0006, 0.0010, 0.0003],
        client: [0.0, 0.025, 0.010, 0.008],
        usage: [0.0, 0.040, 0.0167],
        template: 0.143,
        client_given: [0.0, 0.03, 0.01, 0.004],
        usage_given: [0.0, 0.03, 0.01],
        template_given: 0.02,
        causes: causes(),
        means: [0.0; dimension::COUNT],
    };
    let pool = Cohort {
        share: 0.25,
        source: [0.0, 5.0, 0.004, 0.0006, 0.0015, 0.0003],
        client_given: [0.0, 0.01, 0.005, 0.002],
        template_given: 0.007,
        ..service.clone()
    };
    let ci = Cohort {
        share: 0.10,
        source: [0.0, 2.0, 0.02, 0.005, 0.010, 0.003],
        client: [0.0, 0.050, 0.0167, 0.0167],
        template: 0.25,
        client_given: [0.0, 0.05, 0.02, 0.01],
        usage_given: [0.0, 0.05, 0.01],
        template_given: 0.03,
        ..service.clone()
    };
    let team = Cohort {
        share: 0.20,
        source: [0.0, 3.3, 0.60, 0.10, 0.40, 0.05],
        client: [0.0, 0.20, 0.10, 0.03],
        usage: [0.0, 0.067, 0.025],
        template: 0.5,
        client_given: [0.0, 0.03, 0.01, 0.0016],
        usage_given: [0.0, 0.02, 0.004],
        template_given: 0.035,
        causes: causes_beside_people([0.69, 0.13, 0.08, 0.10]),
        ..service.clone()
    };
    let public = Cohort {
        share: 0.10,
        source: [0.0, 50.0, 3.0, 0.30, 0.80, 0.10],
        client: [0.0, 0.20, 0.10, 0.03],
        client_given: [0.0, 0.01, 0.005, 0.0044],
        usage_given: [0.0, 0.005, 0.0005],
        template_given: 0.005,
        causes: causes_beside_people([0.35, 0.11, 0.14, 0.40]),
        ..service.clone()
    };
    let cohorts = [service, pool, ci, team, public].map(Cohort::with_means);
    FleetPriors { version: 6, cohorts, ways: ways(), factors: None }
}
