//! When a key calls: a renewal process with the client's own spread, run on the clock of its intensity.
//!
//! Gaps follow a Weibull law of mean one whose coefficient of variation is the window's; they are laid on the integral of
//! the intensity, so a quiet hour stretches them and a busy one shortens them. The first gap of a day is the remaining
//! part of a gap that began before (the equilibrium law), so days are drawn independently of each other and no day
//! begins with a burst of its own.

use std::sync::OnceLock;

use crate::rng::Rng;

/// Spreads that are told apart, smallest and largest. Real windows reach into the hundreds when a client calls in
/// volleys; beyond eight a volley is one instant, whatever the number.
const SPREAD_MIN: f64 = 0.1;
const SPREAD_MAX: f64 = 8.0;
const STEPS: usize = 128;

/// A Weibull law of mean one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Gaps {
    /// One over the shape.
    inverse_shape: f64,
    scale: f64,
}

impl Gaps {
    /// The law with this coefficient of variation.
    fn with_spread(spread: f64) -> Self {
        static TABLE: OnceLock<Vec<Gaps>> = OnceLock::new();
        let table = TABLE.get_or_init(|| (0..STEPS).map(|step| Self::solve(spread_at(step))).collect());
        let place = libm::log(spread.clamp(SPREAD_MIN, SPREAD_MAX) / SPREAD_MIN)
            / libm::log(SPREAD_MAX / SPREAD_MIN)
            * (STEPS - 1) as f64;
        table.get(libm::round(place) as usize).copied().unwrap_or(Self { inverse_shape: 1.0, scale: 1.0 })
    }

    /// Finds the shape by halving: the spread grows with its inverse.
    fn solve(spread: f64) -> Self {
        let (mut low, mut high) = (0.02, 8.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if spread_of(middle) < spread { low = middle } else { high = middle }
        }
        Self { inverse_shape: low, scale: 1.0 / libm::tgamma(1.0 + low) }
    }

    fn draw(&self, rng: &mut Rng) -> f64 {
        self.scale * libm::pow(-libm::log(1.0 - rng.unit()), self.inverse_shape)
    }

    /// The rest of a gap found running: a uniform part of a gap drawn in proportion to its length.
    fn rest(&self, rng: &mut Rng) -> f64 {
        let power = gamma(1.0 + self.inverse_shape, rng);
        rng.unit() * self.scale * libm::pow(power, self.inverse_shape)
    }
}

fn spread_at(step: usize) -> f64 {
    SPREAD_MIN * libm::pow(SPREAD_MAX / SPREAD_MIN, step as f64 / (STEPS - 1) as f64)
}

fn spread_of(inverse_shape: f64) -> f64 {
    let second = libm::lgamma(1.0 + 2.0 * inverse_shape) - 2.0 * libm::lgamma(1.0 + inverse_shape);
    libm::sqrt((libm::exp(second) - 1.0).max(0.0))
}

/// A gamma variate of a shape of at least one (Marsaglia and Tsang, 2000).
fn gamma(shape: f64, rng: &mut Rng) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / libm::sqrt(9.0 * d);
    loop {
        let x = rng.normal();
        let v = libm::pow(1.0 + c * x, 3.0);
        if v > 0.0 && libm::log(1.0 - rng.unit()) < 0.5 * x * x + d - d * v + d * libm::log(v) {
            return d * v;
        }
    }
}

/// A stretch of time with a constant intensity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stretch {
    /// Length in microseconds.
    pub(crate) length_us: u64,
    /// Calls to be expected in it.
    pub(crate) expected: f64,
    /// Coefficient of variation of the gaps.
    pub(crate) spread: f64,
}

/// Arrivals over stretches that follow each other, in microseconds from the start of the first; at most `most`.
pub(crate) fn arrivals(stretches: impl Iterator<Item = Stretch>, most: usize, rng: &mut Rng) -> Vec<u64> {
    let mut times = Vec::new();
    let mut start_us = 0_u64;
    // What is left of the running gap, in expected calls; drawn with the spread of the first stretch that has calls.
    let mut left: Option<f64> = None;
    for stretch in stretches {
        if stretch.expected > 0.0 {
            let gaps = Gaps::with_spread(stretch.spread);
            let mut gone = left.unwrap_or_else(|| gaps.rest(rng));
            while gone < stretch.expected && times.len() < most {
                let share = gone / stretch.expected;
                times.push(start_us + (share * stretch.length_us as f64) as u64);
                gone += gaps.draw(rng);
            }
            left = Some(gone - stretch.expected);
        }
        start_us += stretch.length_us;
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean number of arrivals a run, and the spread of the gaps.
    fn run(expected: f64, spread: f64) -> (f64, f64) {
        let mut rng = Rng::new(5);
        let (mut count, mut gaps) = (0, Vec::new());
        let runs = 400;
        for _ in 0..runs {
            let stretches = (0..20).map(|_| Stretch { length_us: 1_000_000, expected, spread });
            let times = arrivals(stretches, usize::MAX, &mut rng);
            assert!(times.is_sorted());
            count += times.len();
            gaps.extend(times.windows(2).map(|pair| (pair[1] - pair[0]) as f64));
        }
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (f64::from(count as u32) / f64::from(runs), variance.sqrt() / mean)
    }

    #[track_caller]
    fn check(expected: f64, spread: f64, within: f64) {
        let (count, got) = run(expected, spread);
        assert!((count / (20.0 * expected) - 1.0).abs() < within, "{count} of {}", 20.0 * expected);
        assert!((got / spread - 1.0).abs() < 0.15, "spread {got}, not {spread}");
    }

    #[test]
    fn numbers_and_spreads_are_what_was_asked() {
        check(20.0, 0.3, 0.02);
        check(20.0, 1.0, 0.03);
        check(20.0, 2.0, 0.06);
        // Short runs against long gaps: the equilibrium start keeps the number right.
        let (count, _) = run(2.0, 4.0);
        assert!((count / 40.0 - 1.0).abs() < 0.15, "{count}");
    }

    #[test]
    fn nothing_is_expected_nothing_comes() {
        let quiet = [Stretch { length_us: 1_000, expected: 0.0, spread: 1.0 }; 3];
        assert!(arrivals(quiet.into_iter(), 10, &mut Rng::new(1)).is_empty());
    }
}
