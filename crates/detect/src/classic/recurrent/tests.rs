//! Gradients against finite differences, learning of something that can be learned, and files.

use super::network::{Layout, Network};
use super::*;
use crate::classic::hours::{MEASURED, USAGE};

/// Runs of a world with a rhythm: each figure swings with the hour, and the second follows the first.
fn runs(n: usize, seed: u64) -> Vec<Vec<Row>> {
    let mut dice = Dice::new(seed);
    let mut noise = move || (0..6).map(|_| dice.unit()).sum::<f64>() as f32 - 3.0;
    let run = |from: usize| {
        let mut last = 0.0;
        (0..32)
            .map(|at| {
                let angle = (from + at) as f32 / 24.0 * std::f32::consts::TAU;
                let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
                let mut figures = [0.0; MEASURED];
                figures[0] = 2.0 * sin + 0.2 * noise();
                figures[1] = 1.5 * last + 0.2 * noise();
                figures[2..].iter_mut().for_each(|figure| *figure = noise());
                last = figures[0];
                Row { figures, sin, cos, gap: 0.0 }
            })
            .collect()
    };
    (0..n).map(run).collect()
}

fn network(layout: Layout, seed: u64) -> Network {
    train::start(layout, &mut Dice::new(seed))
}

#[track_caller]
fn check_gradient(figures: usize, seed: u64) {
    let layout = Layout { figures };
    let mut network = network(layout, seed);
    let run = &runs(1, seed)[0];
    let mut gradient = vec![0.0; layout.weights()];
    train::backward(&network, run, 1.0, &mut gradient);
    let parts = [
        layout.input_to_gates(),
        layout.hidden_to_gates(),
        layout.gate_bias(),
        layout.hidden_to_output(),
        layout.output_bias(),
    ];
    let mut dice = Dice::new(seed);
    for part in parts {
        for _ in 0..40 {
            let at = part.start + dice.below(part.len());
            let (weight, step) = (network.weights[at], 5e-3);
            let mut loss_at = |weight: f32| {
                network.weights[at] = weight;
                train::loss(&network, run)
            };
            let rise = loss_at(weight + step) - loss_at(weight - step);
            network.weights[at] = weight;
            let (numeric, exact) = (rise / (2.0 * f64::from(step)), f64::from(gradient[at]));
            let error = (numeric - exact).abs();
            assert!(
                error < 2e-3 + 0.01 * exact.abs(),
                "weight {at}: {numeric} by difference, {exact} by rule"
            );
        }
    }
}

#[test]
fn gradients_are_what_finite_differences_say() {
    check_gradient(USAGE, 1);
    check_gradient(MEASURED, 2);
}

#[test]
fn it_learns_a_rhythm_and_is_surprised_by_its_break() {
    let all = runs(24, 3);
    let settings = RecurrentSettings { epochs: 16, batch: 3, ..RecurrentSettings::new(Scope::Usage) };
    let runs: Vec<&[Row]> = all.iter().map(Vec::as_slice).collect();
    let layout = layout_of(Scope::Usage);
    let trained = train::train(layout, runs.clone(), &settings, &mut Dice::new(7));
    let mean =
        |network: &Network| runs.iter().map(|run| train::loss(network, run)).sum::<f64>() / runs.len() as f64;
    let (before, after) = (mean(&network(layout, 7)), mean(&trained));
    assert!(after < before - 1.0, "{before} {after}");
    let mut broken = all[20].clone();
    let usual = train::loss(&trained, &broken);
    // Low by day and high by night: within the range of each figure, but against the rhythm.
    broken.iter_mut().for_each(|row| row.figures[0] = -row.figures[0]);
    let odd = train::loss(&trained, &broken);
    assert!(odd > usual + 3.0, "{usual} {odd}");
}

#[test]
fn the_seed_decides_every_bit() {
    let all = runs(8, 4);
    let train = |seed| {
        let settings = RecurrentSettings { epochs: 2, ..RecurrentSettings::new(Scope::Novelty) };
        let runs = all.iter().map(Vec::as_slice).collect();
        train::train(layout_of(Scope::Novelty), runs, &settings, &mut Dice::new(seed))
    };
    assert_eq!(train(1), train(1));
    assert_ne!(train(1), train(2));
}

#[test]
fn models_come_back_whole_or_not_at_all() {
    for scope in [Scope::Usage, Scope::Novelty] {
        let model = Recurrent { network: Arc::new(network(layout_of(scope), 5)) };
        let bytes = model.encode();
        assert_eq!(Recurrent::decode(&bytes), Ok(model));
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        assert_eq!(Recurrent::decode(&damaged), Err(LoadModelError::Damaged));
    }
    let shape = |hidden: u32, figures: usize, weights: Vec<f32>| {
        let saved = Saved { hidden, figures: figures as u32, weights };
        Recurrent::decode(&model_file::encode(Kind::Recurrent, &saved)).unwrap_err().to_string()
    };
    let weights = layout_of(Scope::Usage).weights();
    assert!(shape(32, 5, vec![0.0; weights]).contains("other figures"));
    assert!(shape(16, USAGE, vec![0.0; weights]).contains("another number"));
    assert!(shape(32, USAGE, vec![0.0; weights - 1]).contains("another number"));
    assert!(shape(32, USAGE, vec![f32::NAN; weights]).contains("not a number"));
}
