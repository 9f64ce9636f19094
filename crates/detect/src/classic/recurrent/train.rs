//! Training: backpropagation through time over runs of rows, Adam (Kingma and Ba 2015), mini-batches.
//!
//! Invariant: the runs, the seed and the settings decide every bit of the result.

use super::RecurrentSettings;
use super::network::{Forecast, GATES, HIDDEN, Layout, Network, OUTPUTS_MAX, State, Step, add_scaled};
use crate::classic::dice::Dice;
use crate::classic::hours::Row;

/// Rows at the start of a run that only fill the memory: a watch has its own, a run starts from nothing.
pub(super) const BURN_IN: usize = 4;
/// Figures to learn from are held to so many spreads.
const TARGET_MAX: f32 = 8.0;
/// Gradients longer than this are shortened to it.
const NORM_MAX: f32 = 1.0;
const RATE: f32 = 3e-3;
const MOMENTUM: f32 = 0.9;
const SQUARES: f32 = 0.999;

/// A row as a target.
fn held(row: &Row) -> Row {
    Row { figures: row.figures.map(|figure| figure.clamp(-TARGET_MAX, TARGET_MAX)), ..*row }
}

/// Weights to start from: small and random, with gates that remember.
pub(super) fn start(layout: Layout, dice: &mut Dice) -> Network {
    let reach = 1.0 / (HIDDEN as f64).sqrt();
    let mut weights: Vec<f32> =
        (0..layout.weights()).map(|_| ((2.0 * dice.unit() - 1.0) * reach) as f32).collect();
    for bias in weights.get_mut(layout.gate_bias()).into_iter().flatten() {
        *bias = 0.0;
    }
    let forget = layout.gate_bias().start + HIDDEN;
    for bias in weights.get_mut(forget..forget + HIDDEN).into_iter().flatten() {
        *bias = 1.0;
    }
    for bias in weights.get_mut(layout.output_bias()).into_iter().flatten() {
        *bias = 0.0;
    }
    Network { layout, weights }
}

/// The way forward over a run: a step for each row but the first.
fn forward(network: &Network, run: &[Row]) -> Vec<(Step, [f32; OUTPUTS_MAX])> {
    let mut state = State::ZERO;
    run.windows(2)
        .filter_map(|pair| match pair {
            [before, next] => {
                let step = network.step(&network.layout.input(Some(before), next), &state);
                state = step.after;
                Some((step, network.outputs(&state)))
            }
            _ => None,
        })
        .collect()
}

/// Mean surprise of the rows of a run, burn-in left out.
pub(super) fn loss(network: &Network, run: &[Row]) -> f64 {
    let steps = forward(network, run);
    let counted = steps.iter().zip(run.iter().skip(1)).skip(BURN_IN);
    let sum: f64 = counted.clone().map(|((_, y), row)| network.surprise(y, &held(row))).sum();
    sum / counted.count().max(1) as f64
}

/// Adds the gradient of [`loss`], `scale` times, to `gradient`.
pub(super) fn backward(network: &Network, run: &[Row], scale: f32, gradient: &mut [f32]) {
    let layout = network.layout;
    let steps = forward(network, run);
    let scale = scale / steps.len().saturating_sub(BURN_IN).max(1) as f32;
    let (mut from_next_h, mut from_next_c) = ([0.0f32; HIDDEN], [0.0f32; HIDDEN]);
    for (at, ((step, y), row)) in steps.iter().zip(run.iter().skip(1)).enumerate().rev() {
        let before = if at == 0 { State::ZERO } else { steps[at - 1].0.after };
        let mut slope_h = from_next_h;
        if at >= BURN_IN {
            backward_output(network, step, y, &held(row), scale, gradient, &mut slope_h);
        }
        let mut slopes = [0.0f32; GATES];
        for unit in 0..HIDDEN {
            let [input, forget, candidate, output] =
                [0, 1, 2, 3].map(|gate| step.gates[gate * HIDDEN + unit]);
            let tanh_c = step.tanh_c[unit];
            let slope_c = slope_h[unit] * output * (1.0 - tanh_c * tanh_c) + from_next_c[unit];
            slopes[unit] = slope_c * candidate * input * (1.0 - input);
            slopes[HIDDEN + unit] = slope_c * before.c[unit] * forget * (1.0 - forget);
            slopes[2 * HIDDEN + unit] = slope_c * input * (1.0 - candidate * candidate);
            slopes[3 * HIDDEN + unit] = slope_h[unit] * tanh_c * output * (1.0 - output);
            from_next_c[unit] = slope_c * forget;
        }
        add_scaled(&mut gradient[layout.gate_bias()], 1.0, &slopes);
        for (&x, column) in step.x.iter().zip(gradient[layout.input_to_gates()].chunks_exact_mut(GATES)) {
            add_scaled(column, x, &slopes);
        }
        for (&h, column) in before.h.iter().zip(gradient[layout.hidden_to_gates()].chunks_exact_mut(GATES)) {
            add_scaled(column, h, &slopes);
        }
        let columns = network.weights[layout.hidden_to_gates()].chunks_exact(GATES);
        for (slope, column) in from_next_h.iter_mut().zip(columns) {
            *slope = column.iter().zip(&slopes).map(|(weight, slope)| weight * slope).sum();
        }
    }
}

/// The part of the linear layer and the likelihood.
fn backward_output(
    network: &Network,
    step: &Step,
    y: &[f32; OUTPUTS_MAX],
    target: &Row,
    scale: f32,
    gradient: &mut [f32],
    slope_h: &mut [f32; HIDDEN],
) {
    let layout = network.layout;
    let (n, outputs) = (layout.figures, layout.outputs());
    let mut slopes = [0.0f32; OUTPUTS_MAX];
    for of in 0..n {
        let (by_mean, by_spread) = Forecast::new(y[of], y[n + of]).slopes(target.figures[of]);
        (slopes[of], slopes[n + of]) = (scale * by_mean, scale * by_spread);
    }
    let slopes = &slopes[..outputs];
    add_scaled(&mut gradient[layout.output_bias()], 1.0, slopes);
    for (&h, column) in step.after.h.iter().zip(gradient[layout.hidden_to_output()].chunks_exact_mut(outputs))
    {
        add_scaled(column, h, slopes);
    }
    let columns = network.weights[layout.hidden_to_output()].chunks_exact(outputs);
    for (slope, column) in slope_h.iter_mut().zip(columns) {
        *slope += column.iter().zip(slopes).map(|(weight, slope)| weight * slope).sum::<f32>();
    }
}

/// Adam's running moments.
struct Adam {
    mean: Vec<f32>,
    square: Vec<f32>,
    /// What is left of the start in each, to correct for it.
    mean_left: f32,
    square_left: f32,
}

impl Adam {
    fn new(weights: usize) -> Self {
        Self { mean: vec![0.0; weights], square: vec![0.0; weights], mean_left: 1.0, square_left: 1.0 }
    }

    fn step(&mut self, weights: &mut [f32], gradient: &[f32], rate: f32) {
        self.mean_left *= MOMENTUM;
        self.square_left *= SQUARES;
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((weight, &slope), (mean, square)) in weights.iter_mut().zip(gradient).zip(moments) {
            *mean = MOMENTUM * *mean + (1.0 - MOMENTUM) * slope;
            *square = SQUARES * *square + (1.0 - SQUARES) * slope * slope;
            let size = (*square / (1.0 - self.square_left)).sqrt() + 1e-8;
            *weight -= rate * *mean / (1.0 - self.mean_left) / size;
        }
    }
}

/// Trains a network on runs: half of the epochs on all of them, the rest without the most surprising ones.
pub(super) fn train(
    layout: Layout,
    mut runs: Vec<&[Row]>,
    settings: &RecurrentSettings,
    dice: &mut Dice,
) -> Network {
    let mut network = start(layout, dice);
    let mut adam = Adam::new(layout.weights());
    let mut gradient = vec![0.0f32; layout.weights()];
    for epoch in 0..settings.epochs {
        if epoch == settings.epochs / 2 {
            let mut scored: Vec<(f64, &[Row])> = runs.iter().map(|run| (loss(&network, run), *run)).collect();
            scored.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            scored.truncate(scored.len() - (scored.len() as f64 * settings.trim) as usize);
            runs = scored.into_iter().map(|(_, run)| run).collect();
        }
        dice.shuffle(&mut runs);
        let rate = RATE * (1.0 - epoch as f32 / settings.epochs as f32);
        for batch in runs.chunks(settings.batch) {
            gradient.fill(0.0);
            for run in batch {
                backward(&network, run, 1.0 / batch.len() as f32, &mut gradient);
            }
            let norm = gradient.iter().map(|slope| slope * slope).sum::<f32>().sqrt();
            if norm > NORM_MAX {
                gradient.iter_mut().for_each(|slope| *slope *= NORM_MAX / norm);
            }
            adam.step(&mut network.weights, &gradient, rate);
        }
    }
    network
}
