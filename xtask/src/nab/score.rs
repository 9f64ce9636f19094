//! The scoring rules of the benchmark (Lavin and Ahmad 2015).
//!
//! A window counts once, by its earliest alarm: an alarm at its left edge counts 1, at its right edge about 0, on a
//! sigmoid. An alarm outside counts against the detector, the more the further it lies behind the window before it.
//! A window without alarm counts -1. The sum is scaled so that a detector that never speaks has 0 and one that speaks
//! exactly at the start of each window has 100.

use super::corpus::Labelled;

/// Weights of a profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Profile {
    /// Of an alarm outside of windows.
    false_alarm: f64,
    /// Of a window without alarm.
    miss: f64,
}

/// Standard, few false alarms rewarded, few misses rewarded.
pub(super) const PROFILES: [Profile; 3] = [
    Profile { false_alarm: 0.11, miss: 1.0 },
    Profile { false_alarm: 0.22, miss: 1.0 },
    Profile { false_alarm: 0.11, miss: 2.0 },
];

/// Behind a window by so many of its widths and more an alarm counts in full.
const BEHIND_MAX: f64 = 3.0;

/// The worth of an alarm by its place: -1 at the left edge of a window, 0 at its right edge, 1 a width behind it.
fn worth(place: f64) -> f64 {
    if place >= BEHIND_MAX { -1.0 } else { 2.0 / (1.0 + libm::exp(5.0 * place)) - 1.0 }
}

/// One value of one series.
#[derive(Clone, Copy, Debug)]
struct Point {
    score: f64,
    /// The window it lies in, counted over the corpus.
    window: Option<usize>,
    /// What an alarm here is worth, before weights.
    worth: f64,
}

/// The values of a corpus with a detector's scores.
#[derive(Clone, Debug)]
pub(super) struct Points {
    /// The highest score first.
    points: Vec<Point>,
    windows: usize,
}

/// The best threshold of a profile, and the scaled score there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Swept {
    pub(super) threshold: f64,
    pub(super) score: f64,
}

impl Points {
    pub(super) fn new(corpus: &[Labelled], detect: impl Fn(&Labelled) -> Vec<f64>) -> Self {
        let mut points = Vec::new();
        let mut windows = 0;
        for series in corpus {
            let skipped = series.windows.len() - series.scored_windows();
            for (at, score) in detect(series).into_iter().enumerate().skip(series.probation()) {
                let (window, worth) = place(series, at);
                let window = window.map(|window| windows + window - skipped);
                points.push(Point { score, window, worth });
            }
            windows += series.scored_windows();
        }
        points.sort_by(|a, b| b.score.total_cmp(&a.score));
        Self { points, windows }
    }

    /// Tries every threshold.
    pub(super) fn sweep(&mut self, profile: &Profile) -> Swept {
        let null = -profile.miss * self.windows as f64;
        let perfect = self.windows as f64;
        let mut found = vec![-profile.miss; self.windows];
        let (mut sum, mut best) = (null, (null, f64::INFINITY));
        for same in self.points.chunk_by(|a, b| a.score == b.score) {
            for point in same {
                match point.window.and_then(|window| found.get_mut(window)) {
                    Some(window) if point.worth > *window => {
                        sum += point.worth - *window;
                        *window = point.worth;
                    }
                    Some(_) => {}
                    None => sum += profile.false_alarm * point.worth,
                }
            }
            if let [first, ..] = same
                && sum > best.0
            {
                best = (sum, first.score);
            }
        }
        Swept { threshold: best.1, score: 100.0 * (best.0 - null) / (perfect - null) }
    }
}

/// The window a value lies in, and the worth of an alarm there.
fn place(series: &Labelled, at: usize) -> (Option<usize>, f64) {
    let next = series.windows.partition_point(|window| *window.end() < at);
    if let Some(window) = series.windows.get(next).filter(|window| window.contains(&at)) {
        let width = (window.end() - window.start() + 1) as f64;
        let place = -((window.end() - at + 1) as f64) / width;
        return (Some(next), worth(place) / worth(-1.0));
    }
    let before = next.checked_sub(1).and_then(|before| series.windows.get(before));
    let worth = before.map_or(-1.0, |window| {
        worth((at - window.end()) as f64 / (window.end() - window.start()).max(1) as f64)
    });
    (None, worth)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series of 1,000 values with windows at 300..=399 and 700..=799; the first 150 values are probation.
    fn corpus() -> [Labelled; 1] {
        let windows = vec![100..=120, 300..=399, 700..=799];
        [Labelled { values: vec![0.0; 1_000], windows, ..Labelled::default() }]
    }

    /// Scores of a detector that speaks at these places only, in the standard profile.
    #[track_caller]
    fn check(alarms: &[usize], want: f64) {
        let detect = |_: &Labelled| (0..1_000).map(|at| f64::from(u8::from(alarms.contains(&at)))).collect();
        let [standard, ..] = PROFILES;
        let got = Points::new(&corpus(), detect).sweep(&standard).score;
        assert!((got - want).abs() < 0.05, "{got} {want}");
    }

    #[test]
    fn silence_is_0_and_the_first_moment_of_every_window_is_100() {
        check(&[], 0.0);
        check(&[300, 700], 100.0);
        check(&[110, 300, 700], 100.0);
    }

    #[test]
    fn a_window_counts_once_and_by_its_earliest_alarm() {
        check(&[300], 50.0);
        check(&[300, 301, 350, 399], 50.0);
        // At the middle the sigmoid is at 0.85 / 0.99.
        check(&[350, 351, 380], 100.0 * (1.0 + 0.8483 / 0.9866) / 4.0);
        check(&[399], 100.0 * (1.0 + 0.025 / 0.9866) / 4.0);
    }

    #[test]
    fn false_alarms_cost_less_just_behind_a_window() {
        check(&[200, 300, 700], 100.0 - 100.0 * 0.11 / 4.0);
        check(&[300, 402, 700], 100.0 - 100.0 * 0.11 * 0.0756 / 4.0);
        check(&[300, 698, 700], 100.0 - 100.0 * 0.11 * 1.0 / 4.0);
        // So many that silence is better.
        let many: Vec<usize> = (400..700).chain([300]).collect();
        check(&many, 0.0);
    }

    #[test]
    fn profiles_weigh_errors_differently() {
        let detect =
            |_: &Labelled| (0..1_000).map(|at| f64::from(u8::from(at == 300 || at == 600))).collect();
        let scores = PROFILES.map(|profile| Points::new(&corpus(), detect).sweep(&profile).score);
        let want = [100.0 * 1.89 / 4.0, 100.0 * 1.78 / 4.0, 100.0 * 2.89 / 6.0];
        for (score, want) in scores.iter().zip(want) {
            assert!((score - want).abs() < 0.1, "{score} {want}");
        }
    }
}
