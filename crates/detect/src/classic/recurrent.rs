//! A recurrent network (LSTM, 32 hidden units) that forecasts a key's next hour with traffic; the score is how
//! surprising the hour that came was: the Gaussian negative log-likelihood of its figures.
//!
//! One network serves the fleet, because rows are normalised by each key's own past. It is trained on clean rows
//! alone and does not change while it scores. A key's hour is scored when its next event shows that it is over:
//! off the path of requests, about once an hour and key, in microseconds (`cargo bench -p tokenwatch-detect`).
//!
//! Our own code on plain `f32`: the network is six thousand weights and two matrix products, and a framework
//! (`burn`, `candle`, `tch`) would cost minutes of every build, and give no word that the same events give the same
//! bits on every machine.
//!
//! Invariants: no allocation while scoring; scores are finite and at least 0; a model that was saved and loaded
//! gives the same bits.

mod network;
#[cfg(test)]
mod tests;
mod train;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokenwatch_model::event::UsageEvent;

use self::network::{HIDDEN, Layout, Network, State};
use super::dice::Dice;
use super::hours::{Hours, Row, Scope};
use super::model_file::{self, Kind, LoadModelError};
use super::training::{TrainError, Training};
use crate::method::{Method, Scores, Watch};
use crate::profile::KeyProfile;

/// Fewest runs to train on.
const RUNS_MIN: usize = 8;

/// Settings of the training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecurrentSettings {
    /// What it looks at.
    pub scope: Scope,
    /// How often every run is learned from.
    pub epochs: usize,
    /// Runs between two steps of the weights.
    pub batch: usize,
    /// Share of the runs, the most surprising after half of the epochs, that are left out from then on.
    pub trim: f64,
}

impl RecurrentSettings {
    /// Ten epochs in batches of 16 runs; five of them without the most surprising hundredth.
    pub const fn new(scope: Scope) -> Self {
        Self { scope, epochs: 10, batch: 16, trim: 0.01 }
    }
}

/// A trained network, a method.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent {
    network: Arc<Network>,
}

/// What is on disk.
#[derive(Serialize, Deserialize)]
struct Saved {
    hidden: u32,
    figures: u32,
    weights: Vec<f32>,
}

const fn layout_of(scope: Scope) -> Layout {
    Layout { figures: scope.measured() }
}

impl Recurrent {
    /// Trains a network.
    ///
    /// # Errors
    ///
    /// When there are fewer than eight runs of consecutive rows, or a setting makes no sense.
    pub fn train(training: &Training, seed: u64, settings: &RecurrentSettings) -> Result<Self, TrainError> {
        if !(1..=1_000).contains(&settings.epochs) || settings.batch == 0 {
            return Err(TrainError::Setting("this number of epochs or this batch"));
        }
        if !(0.0..0.5).contains(&settings.trim) {
            return Err(TrainError::Setting("a share to trim outside 0..0.5"));
        }
        let runs: Vec<&[Row]> = training.sampled_runs().collect();
        if runs.len() < RUNS_MIN {
            return Err(TrainError::Runs { have: runs.len(), need: RUNS_MIN });
        }
        let network = train::train(layout_of(settings.scope), runs, settings, &mut Dice::new(seed));
        Ok(Self { network: Arc::new(network) })
    }

    /// The model as bytes for a file: version, shape, weights, checksum.
    pub fn encode(&self) -> Vec<u8> {
        let Network { layout, weights } = self.network.as_ref();
        let saved = Saved { hidden: HIDDEN as u32, figures: layout.figures as u32, weights: weights.clone() };
        model_file::encode(Kind::Recurrent, &saved)
    }

    /// The inverse of [`Recurrent::encode`].
    ///
    /// # Errors
    ///
    /// When the bytes are from another version or method, damaged, or of another shape.
    pub fn decode(bytes: &[u8]) -> Result<Self, LoadModelError> {
        let saved: Saved = model_file::decode(Kind::Recurrent, bytes)?;
        let layout = [Scope::Usage, Scope::Novelty]
            .map(layout_of)
            .into_iter()
            .find(|layout| layout.figures == saved.figures as usize)
            .ok_or(LoadModelError::Shape("it forecasts other figures"))?;
        if saved.hidden as usize != HIDDEN || saved.weights.len() != layout.weights() {
            return Err(LoadModelError::Shape("it has another number of units or weights"));
        }
        if !saved.weights.iter().all(|weight| weight.is_finite()) {
            return Err(LoadModelError::Shape("a weight is not a number"));
        }
        Ok(Self { network: Arc::new(Network { layout, weights: saved.weights }) })
    }

    /// Memory of the network, shared by all keys, in bytes.
    pub fn bytes(&self) -> usize {
        self.network.weights.capacity() * size_of::<f32>()
    }

    fn scope(&self) -> Scope {
        if self.network.layout == layout_of(Scope::Usage) { Scope::Usage } else { Scope::Novelty }
    }
}

impl Method for Recurrent {
    fn id(&self) -> &'static str {
        match self.scope() {
            Scope::Usage => "lstm",
            Scope::Novelty => "lstm_novelty",
        }
    }

    fn unit(&self) -> &'static str {
        "surprise of an hour, in nats"
    }

    fn watch(&self, _: &KeyProfile) -> Box<dyn Watch> {
        Box::new(RecurrentWatch {
            network: Arc::clone(&self.network),
            hours: Hours::new(self.scope()),
            state: State::ZERO,
            before: None,
            rows: 0,
        })
    }
}

#[derive(Clone, Debug)]
struct RecurrentWatch {
    network: Arc<Network>,
    hours: Hours,
    state: State,
    before: Option<Row>,
    /// Rows seen while the memory fills.
    rows: u8,
}

impl RecurrentWatch {
    /// The surprise of a row, after which it is remembered.
    fn score(&mut self, row: &Row) -> f64 {
        let x = self.network.layout.input(self.before.as_ref(), row);
        self.state = self.network.step(&x, &self.state).after;
        self.before = Some(*row);
        if usize::from(self.rows) < train::BURN_IN {
            self.rows += 1;
            return 0.0;
        }
        self.network.surprise(&self.network.outputs(&self.state), row)
    }
}

impl Watch for RecurrentWatch {
    fn see(&mut self, event: &UsageEvent) -> Scores {
        let row = self.hours.see(event);
        Scores { before: 0.0, after: row.map_or(0.0, |row| self.score(&row)) }
    }

    fn fork(&self) -> Box<dyn Watch> {
        Box::new(self.clone())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Hours>() + self.hours.bytes()
    }
}
