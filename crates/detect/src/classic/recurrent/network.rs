//! The network: one LSTM layer (Hochreiter and Schmidhuber 1997, with a forget gate) and a linear layer that gives
//! a mean and a spread for each figure of the next row.
//!
//! All weights are one flat vector, so that training, saving and checking gradients need no knowledge of parts.
//! They lie input by input: a step adds scaled columns, which the compiler turns into wide instructions without
//! changing the order of any sum.
//!
//! Invariant: the same input gives the same bits on every platform; exponentials come from `libm`.

use std::ops::Range;

use crate::classic::hours::{MEASURED, Row};

/// Hidden units.
pub(super) const HIDDEN: usize = 32;
/// Input gate, forget gate, candidate, output gate.
pub(super) const GATES: usize = 4 * HIDDEN;
/// The figures of the row before; of the row to come, what is known ahead: hour of the day and gap.
pub(super) const INPUTS_MAX: usize = MEASURED + 3;
/// A mean and a spread for each figure.
pub(super) const OUTPUTS_MAX: usize = 2 * MEASURED;

/// Inputs are held to so many spreads: the network was not trained on wilder ones.
const INPUT_MAX: f32 = 5.0;
/// Bounds of the logarithm of a forecast's spread: 0.1 and 10.
const LOG_SPREAD_MIN: f32 = -std::f32::consts::LN_10;
const LOG_SPREAD_RANGE: f32 = 2.0 * std::f32::consts::LN_10;

/// What the network remembers between rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct State {
    pub(super) h: [f32; HIDDEN],
    pub(super) c: [f32; HIDDEN],
}

impl State {
    pub(super) const ZERO: Self = Self { h: [0.0; HIDDEN], c: [0.0; HIDDEN] };
}

/// Everything a step computed, for the way back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) x: [f32; INPUTS_MAX],
    /// After their sigmoid or hyperbolic tangent.
    pub(super) gates: [f32; GATES],
    pub(super) tanh_c: [f32; HIDDEN],
    pub(super) after: State,
}

/// Sizes of a network, and where its weights lie in the vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Figures forecast.
    pub(super) figures: usize,
}

impl Layout {
    pub(super) const fn inputs(self) -> usize {
        self.figures + 3
    }

    pub(super) const fn outputs(self) -> usize {
        2 * self.figures
    }

    /// Inputs to gates, `inputs x GATES`.
    pub(super) const fn input_to_gates(self) -> Range<usize> {
        0..self.inputs() * GATES
    }

    /// Hidden units to gates, `HIDDEN x GATES`.
    pub(super) const fn hidden_to_gates(self) -> Range<usize> {
        let start = self.input_to_gates().end;
        start..start + HIDDEN * GATES
    }

    /// Biases of the gates.
    pub(super) const fn gate_bias(self) -> Range<usize> {
        let start = self.hidden_to_gates().end;
        start..start + GATES
    }

    /// Hidden units to outputs, `HIDDEN x outputs`.
    pub(super) const fn hidden_to_output(self) -> Range<usize> {
        let start = self.gate_bias().end;
        start..start + HIDDEN * self.outputs()
    }

    /// Biases of the outputs.
    pub(super) const fn output_bias(self) -> Range<usize> {
        let start = self.hidden_to_output().end;
        start..start + self.outputs()
    }

    /// Weights in all.
    pub(super) const fn weights(self) -> usize {
        self.output_bias().end
    }

    /// What the network is told before `next`.
    pub(super) fn input(self, before: Option<&Row>, next: &Row) -> [f32; INPUTS_MAX] {
        let mut x = [0.0; INPUTS_MAX];
        if let Some(before) = before {
            for (place, figure) in x.iter_mut().zip(&before.figures).take(self.figures) {
                *place = figure.clamp(-INPUT_MAX, INPUT_MAX);
            }
        }
        for (place, known) in x.iter_mut().skip(self.figures).zip([next.sin, next.cos, next.gap]) {
            *place = known;
        }
        x
    }
}

/// Sizes and weights.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Network {
    pub(super) layout: Layout,
    pub(super) weights: Vec<f32>,
}

/// `sum += scale * column`
pub(super) fn add_scaled(sum: &mut [f32], scale: f32, column: &[f32]) {
    for (sum, weight) in sum.iter_mut().zip(column) {
        *sum += scale * weight;
    }
}

pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

impl Network {
    fn part(&self, range: Range<usize>) -> &[f32] {
        self.weights.get(range).unwrap_or_default()
    }

    /// One step from `before` on input `x`.
    pub(super) fn step(&self, x: &[f32; INPUTS_MAX], before: &State) -> Step {
        let layout = self.layout;
        let mut gates = [0.0; GATES];
        gates.copy_from_slice(self.part(layout.gate_bias()));
        for (&x, column) in x.iter().zip(self.part(layout.input_to_gates()).chunks_exact(GATES)) {
            add_scaled(&mut gates, x, column);
        }
        for (&h, column) in before.h.iter().zip(self.part(layout.hidden_to_gates()).chunks_exact(GATES)) {
            add_scaled(&mut gates, h, column);
        }
        for (at, gate) in gates.iter_mut().enumerate() {
            *gate = if at / HIDDEN == 2 { libm::tanhf(*gate) } else { sigmoid(*gate) };
        }
        let mut step = Step { x: *x, gates, tanh_c: [0.0; HIDDEN], after: State::ZERO };
        for unit in 0..HIDDEN {
            let [input, forget, candidate, output] = [0, 1, 2, 3].map(|gate| gates[gate * HIDDEN + unit]);
            let c = forget * before.c[unit] + input * candidate;
            step.after.c[unit] = c;
            step.tanh_c[unit] = libm::tanhf(c);
            step.after.h[unit] = output * step.tanh_c[unit];
        }
        step
    }

    /// The forecast that a state holds: outputs before their meaning.
    pub(super) fn outputs(&self, state: &State) -> [f32; OUTPUTS_MAX] {
        let mut y = [0.0; OUTPUTS_MAX];
        let n = self.layout.outputs();
        y[..n].copy_from_slice(self.part(self.layout.output_bias()));
        for (&h, column) in state.h.iter().zip(self.part(self.layout.hidden_to_output()).chunks_exact(n)) {
            add_scaled(&mut y[..n], h, column);
        }
        y
    }

    /// How surprising `row` is under a forecast, in nats above the least possible.
    pub(super) fn surprise(&self, y: &[f32; OUTPUTS_MAX], row: &Row) -> f64 {
        let n = self.layout.figures;
        let figures = row.figures.iter().zip(&y[..n]).zip(&y[n..2 * n]);
        figures.map(|((&figure, &mean), &raw)| f64::from(Forecast::new(mean, raw).surprise(figure))).sum()
    }
}

/// The forecast of one figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forecast {
    mean: f32,
    /// Where the logarithm of the spread lies between its bounds, 0 to 1.
    place: f32,
}

impl Forecast {
    pub(super) fn new(mean: f32, raw: f32) -> Self {
        Self { mean, place: sigmoid(raw) }
    }

    fn sigmas(self, figure: f32) -> f32 {
        (figure - self.mean) / libm::expf(LOG_SPREAD_MIN + LOG_SPREAD_RANGE * self.place)
    }

    /// Gaussian negative log-likelihood above that of an exact forecast with the least spread, so that it is
    /// never negative.
    pub(super) fn surprise(self, figure: f32) -> f32 {
        let z = self.sigmas(figure);
        0.5 * z * z + LOG_SPREAD_RANGE * self.place
    }

    /// Slopes of the surprise by the mean and by the raw spread.
    pub(super) fn slopes(self, figure: f32) -> (f32, f32) {
        let z = self.sigmas(figure);
        let spread = libm::expf(LOG_SPREAD_MIN + LOG_SPREAD_RANGE * self.place);
        (-z / spread, (1.0 - z * z) * LOG_SPREAD_RANGE * self.place * (1.0 - self.place))
    }
}
