//! The classic detection methods, each as the field describes it, behind [`Method`]: static limits, a statistical
//! baseline, an isolation forest, an LSTM.
//!
//! They stand beside the layered detector for two reasons: so that anyone can remake the field's table on the
//! same events, and because each can be a channel of it, through the calibration of [`crate::calibrate`].
//!
//! | method | looks at | speaks |
//! |---|---|---|
//! | [`StaticLimits`] | requests, tokens and money an hour | at once |
//! | [`Statistics`] | tokens a day or an hour | at once |
//! | [`Forest`] | an hour's usage, and what was new in it | when the hour is over |
//! | [`Recurrent`] | the same, against a forecast from the hours before | when the hour is over |
//!
//! What they share: requests that were refused do not count, but refusals for want of permission count as errors;
//! time that can not be believed and duplicates change nothing; they learn from everything that was served, a
//! thief included, because that is how they are described. The learned ones are trained once, on clean events of
//! calibration keys ([`Training`]), and do not change while they score.

mod clock;
mod dice;
mod forest;
mod hours;
mod limits;
mod model_file;
mod recurrent;
#[cfg(test)]
pub(crate) mod sample;
mod statistics;
mod training;

pub(crate) use clock::{Clock, Tick};
pub use forest::{Forest, ForestSettings};
pub use hours::Scope;
pub use limits::{Hourly, StaticLimits};
pub use model_file::LoadModelError;
pub use recurrent::{Recurrent, RecurrentSettings};
pub use statistics::{Level, Statistics};
pub use training::{TrainError, Training};

use crate::method::Method;

/// The ids of the classic methods, in the order of [`all`].
pub const NAMES: [&str; 9] = [
    "static_limits",
    "static_limits_absolute",
    "statistics",
    "statistics_robust",
    "statistics_hour_of_week",
    "isolation_forest",
    "isolation_forest_novelty",
    "lstm",
    "lstm_novelty",
];

/// Why there is no method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MakeMethodError {
    /// No method has that name.
    #[error("no classic method is named {name:?}; there are {}", NAMES.join(", "), name = .0)]
    Name(String),
    /// It could not be trained.
    #[error("{0} can not be trained: {1}")]
    Train(String, TrainError),
}

/// Every classic method, the learned ones trained.
///
/// # Errors
///
/// When there is too little to train on.
pub fn all(training: &Training, seed: u64) -> Result<Vec<Box<dyn Method>>, MakeMethodError> {
    NAMES.into_iter().map(|name| from_name(name, training, seed)).collect()
}

/// The method with an id of [`NAMES`], trained if it is a learned one.
///
/// # Errors
///
/// When there is no such method, or too little to train it on.
pub fn from_name(name: &str, training: &Training, seed: u64) -> Result<Box<dyn Method>, MakeMethodError> {
    let failed = |error| MakeMethodError::Train(name.to_owned(), error);
    let forest = |scope| Forest::train(training, seed, &ForestSettings::new(scope)).map_err(failed);
    let recurrent = |scope| Recurrent::train(training, seed, &RecurrentSettings::new(scope)).map_err(failed);
    Ok(match name {
        "static_limits" => Box::new(StaticLimits::of_own_peak()),
        "static_limits_absolute" => Box::new(StaticLimits::absolute(StaticLimits::USUAL)),
        "statistics" => Box::new(Statistics::new(Level::Daily)),
        "statistics_robust" => Box::new(Statistics::new(Level::DailyRobust)),
        "statistics_hour_of_week" => Box::new(Statistics::new(Level::HourOfWeek)),
        "isolation_forest" => Box::new(forest(Scope::Usage)?),
        "isolation_forest_novelty" => Box::new(forest(Scope::Novelty)?),
        "lstm" => Box::new(recurrent(Scope::Usage)?),
        "lstm_novelty" => Box::new(recurrent(Scope::Novelty)?),
        _ => return Err(MakeMethodError::Name(name.to_owned())),
    })
}
