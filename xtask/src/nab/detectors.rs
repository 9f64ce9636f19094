//! The detectors that are compared: the product's own, and thresholds as simple as people set them.

use tokenwatch_detect::series::Series;

use super::corpus::Labelled;

/// A detector: a score for each value, from this value and those before it.
pub(super) type Detect = fn(&Labelled) -> Vec<f64>;

/// All of them; the first is the product's.
pub(super) const ALL: [(&str, Detect); 4] = [
    ("return periods", return_periods),
    ("windowed Gaussian", windowed_gaussian),
    ("mean + k sigma, fixed", fixed_gaussian),
    ("k x the peak, fixed", fixed_limit),
];

/// `tokenwatch_detect::series`.
fn return_periods(series: &Labelled) -> Vec<f64> {
    let mut detector = Series::new();
    let values = series.times.iter().zip(&series.values);
    values.map(|(&time, &value)| detector.see(time, value).once_in).collect()
}

/// Values that the moving mean and deviation are taken of.
const WINDOW: usize = 1_000;

/// Sigmas from the mean of the last 1,000 values.
fn windowed_gaussian(series: &Labelled) -> Vec<f64> {
    let values = &series.values;
    // About the first value, so that squares do not drown what they differ by.
    let origin = values.first().copied().unwrap_or(0.0);
    let (mut sum, mut squares, mut n) = (0.0, 0.0, 0.0f64);
    let score = |(at, value): (usize, &f64)| {
        let x = value - origin;
        let mean = sum / n.max(1.0);
        let sigma = (squares / n.max(1.0) - mean * mean).max(0.0).sqrt();
        let score = if sigma > 0.0 { (x - mean).abs() / sigma } else { 0.0 };
        (sum, squares, n) = (sum + x, squares + x * x, n + 1.0);
        if let Some(old) = at.checked_sub(WINDOW).and_then(|old| values.get(old)) {
            let old = old - origin;
            (sum, squares, n) = (sum - old, squares - old * old, n - 1.0);
        }
        score
    };
    values.iter().enumerate().map(score).collect()
}

/// Sigmas from the mean of the probation, set once.
fn fixed_gaussian(series: &Labelled) -> Vec<f64> {
    let past = series.values.get(..series.probation()).unwrap_or_default();
    let n = past.len().max(1) as f64;
    let mean = past.iter().sum::<f64>() / n;
    let sigma = (past.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n).sqrt();
    let sigmas = |x: &f64| if sigma > 0.0 { (x - mean).abs() / sigma } else { 0.0 };
    series.values.iter().map(sigmas).collect()
}

/// Multiples of the highest value of the probation, set once.
fn fixed_limit(series: &Labelled) -> Vec<f64> {
    let past = series.values.get(..series.probation()).unwrap_or_default();
    let peak = past.iter().copied().fold(0.0, f64::max);
    series.values.iter().map(|x| if peak > 0.0 { x / peak } else { 0.0 }).collect()
}
