//! The methods that can be compared, by name, and how the learned ones are trained.

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use tokenwatch_detect::classic::{self, Training};
use tokenwatch_detect::method::Layered;
use tokenwatch_detect::{Engine, KeyProfile};
use tokenwatch_evaluate::blank::Hidden;
use tokenwatch_evaluate::plan::{Options, Plan};
use tokenwatch_evaluate::report::Published;
use tokenwatch_evaluate::trial::Contestant;
use tokenwatch_evaluate::world::World;
use tokenwatch_model::id::KeyId;

use super::parallel::Crew;

/// What is known of a method before it is made.
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// The threshold that goes with it where it is described; `None` when there is none.
    nominal: Option<f64>,
    is_trained: bool,
    /// What is published about methods like it.
    published: Option<Published>,
}

/// TokenWatch's own method.
pub(super) const LAYERED: &str = "layered";

/// Shares and milliseconds of a table that is often repeated; of what they are shares it does not say.
const fn published(found: f64, false_alarms: f64, latency_ms: (f64, f64)) -> Option<Published> {
    Some(Published { found, false_alarms, latency_ms })
}

const LIMITS: Option<Published> = published(0.30, 0.005, (0.0, 1.0));
const SIGMAS: Option<Published> = published(0.60, 0.05, (2.0, 5.0));
const FOREST: Option<Published> = published(0.75, 0.03, (5.0, 10.0));
const LSTM: Option<Published> = published(0.85, 0.08, (10.0, 20.0));

/// From which isolation on an hour may be an anomaly: Liu, Ting and Zhou (2008), where they explain contour lines.
const ISOLATED: Option<f64> = Some(0.6);

const fn about(
    name: &'static str,
    about: &'static str,
    nominal: Option<f64>,
    is_trained: bool,
    published: Option<Published>,
) -> About {
    About { name, about, nominal, is_trained, published }
}

/// Every method, ours first.
pub(super) const METHODS: [About; 10] = [
    about(LAYERED, "newcomers on a key, by how rare they are on keys like it", None, false, None),
    about("static_limits", "times the busiest hour of the key's first week", Some(1.0), false, LIMITS),
    about(
        "static_limits_absolute",
        "500 calls, a million tokens or 20 dollars an hour",
        Some(1.0),
        false,
        LIMITS,
    ),
    about("statistics", "sigmas of a day's tokens above the mean of 30 days", Some(3.0), false, SIGMAS),
    about("statistics_robust", "the same by median and absolute deviation", Some(3.0), false, SIGMAS),
    about(
        "statistics_hour_of_week",
        "sigmas of an hour's tokens in its hour of the week",
        Some(3.0),
        false,
        SIGMAS,
    ),
    about("isolation_forest", "how odd an hour's usage is", ISOLATED, true, FOREST),
    about("isolation_forest_novelty", "the same with counts of what was new", ISOLATED, true, FOREST),
    about("lstm", "how surprising an hour's usage is after the hours before", None, true, LSTM),
    about("lstm_novelty", "the same with counts of what was new", None, true, LSTM),
];

/// What methods are made from.
pub(super) struct Make<'a> {
    pub(super) world: &'a dyn World,
    pub(super) options: &'a Options,
    pub(super) plan: &'a Plan,
    /// False alarms a year of the layered detector, and its engine.
    pub(super) per_year: f64,
    pub(super) engine: Arc<Engine>,
    pub(super) crew: &'a Crew,
}

impl Make<'_> {
    /// Makes the methods with these names; learned ones are trained on the calibration keys' days that teach.
    pub(super) fn all(&self, names: &[&'static str]) -> anyhow::Result<Vec<Contestant>> {
        let wanted = || METHODS.iter().filter(|about| names.contains(&about.name));
        let training = if wanted().any(|about| about.is_trained) {
            train(self.world, self.options, self.plan, self.crew)?
        } else {
            Training::new(0)
        };
        wanted()
            .map(|about| {
                if about.name == LAYERED {
                    let false_alarms_per_year = self.per_year;
                    let profile = KeyProfile { false_alarms_per_year, ..KeyProfile::default() };
                    let method = Box::new(Layered::new(Arc::clone(&self.engine)));
                    let (nominal, engine) = (Some(profile.alert_days()), Some(Arc::clone(&self.engine)));
                    return Ok(Contestant { method, nominal, engine, published: about.published });
                }
                let method = classic::from_name(about.name, &training, self.options.seed)?;
                Ok(Contestant { method, nominal: about.nominal, engine: None, published: about.published })
            })
            .collect()
    }
}

/// Collects what the learned methods are trained on. The sample does not depend on the order in which keys come.
fn train(world: &dyn World, options: &Options, plan: &Plan, crew: &Crew) -> anyhow::Result<Training> {
    let training = Mutex::new(Training::new(options.seed));
    crew.map("training", &plan.calibration, |key| {
        let mut events = world.events(key, options.teach_days);
        let hidden = Hidden::of(options, &events);
        events.iter_mut().for_each(|event| hidden.apply(event));
        let profile = world.keys().get(key).map(|about| about.profile.clone()).unwrap_or_default();
        // A simulated key has one id, but two keys must never be taken for one.
        let id = KeyId::from_bits(key as u64 + 1);
        if let Ok(mut training) = training.lock() {
            events.iter().for_each(|event| training.see(id, &profile, event));
            training.finish(id);
        }
    })?;
    training.into_inner().ok().context("a thread of the training ended with a panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_classic_method_can_be_chosen() {
        let names: Vec<&str> = METHODS.iter().map(|about| about.name).collect();
        assert_eq!(names.first(), Some(&LAYERED));
        assert_eq!(names.get(1..), Some(classic::NAMES.as_slice()));
    }
}
