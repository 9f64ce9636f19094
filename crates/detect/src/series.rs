//! One series of numbers: how rare is its latest value, given all before it?
//!
//! Several residuals look at the series: the value itself, how far it jumped from its short level, how far it is
//! from the same half hour of other days, the mean of twelve values and of 96, the spread of 24, and for how long
//! nothing has changed. Each keeps the least and the greatest it has ever been. What stays between them is not rare.
//! What goes beyond comes, by the exposure, at most once in as many values as were seen; the further beyond, the
//! rarer, by a power law with exponent 1 whose unit is a hundredth of the range. The rarities are added with shares,
//! as channels of one budget are. An episode is told once: a value speaks again when it is rarer than what was told,
//! which fades by a fiftieth with each value.
//!
//! Beyond the exposure a rarity is an order, not a promise: [`crate::calibrate`] makes promises, from series that
//! are known to be clean.
//!
//! Invariants: one pass, causal, no settings per series; the same values give the same bits; memory is fixed; values
//! that are not numbers are skipped.

mod volume;

use tokenwatch_model::time::{MINUTE, Timestamp};

pub use volume::VolumeSeries;

use crate::math::ln;

/// Values that the widest window holds.
const WINDOW: usize = 96;
/// Windows of the level shifts and of the spread.
const FEW: usize = 12;
const SPREAD: usize = 24;
/// The short level is an average of about so many values.
const SHORT: f64 = 24.0;
/// The level of a half hour of the day is an average of about so many values.
const SLOT: f64 = 40.0;
const SLOTS: usize = 48;
/// A half hour of the day means something after more than so many values.
const SLOT_MIN: f64 = 3.0;
/// Values before a residual has a range.
const VALUES_MIN: f64 = 50.0;
/// A step of this share of the range beyond it is once more as rare.
const UNIT: f64 = 0.01;
/// Most steps that count.
const BEYOND_MAX: f64 = 1e6;
/// What was told fades to this with each value.
const FADE: f64 = 0.98;
/// What levels learn is held to so many mean deviations.
const WINSOR: f64 = 5.0;

/// What was rare about a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// Higher or lower than ever.
    Value,
    /// A jump from the short level.
    Spike,
    /// Not what this half hour of the day is like.
    HalfHour,
    /// The mean of twelve values.
    Shift,
    /// The mean of 96 values.
    LongShift,
    /// The spread of 24 values.
    Spread,
    /// No change for so long.
    Flat,
}

/// Residuals, their shares, and the least width of their ranges where that is not the grain: spreads that differ by a
/// factor of e, and values that stay equal for six turns, are nothing special even where they never happened.
const RESIDUALS: [(Residual, f64, f64); 7] = [
    (Residual::Value, 0.23, 0.0),
    (Residual::Spike, 0.23, 0.0),
    (Residual::HalfHour, 0.23, 0.0),
    (Residual::Shift, 0.12, 0.0),
    (Residual::LongShift, 0.12, 0.0),
    (Residual::Spread, 0.05, 1.0),
    (Residual::Flat, 0.02, 2.0),
];

/// How rare a value is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Once in so many values; 0 for a usual value, and for what was told already.
    pub once_in: f64,
    /// The residual that says most of it.
    pub why: Residual,
}

impl Reading {
    const USUAL: Self = Self { once_in: 0.0, why: Residual::Value };
}

/// The range that a residual has kept to.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    values: f64,
    least: f64,
    greatest: f64,
}

impl Range {
    fn width(&self) -> f64 {
        self.greatest - self.least
    }

    /// Once in how many values the residual is this far out; 0 inside the range.
    fn once_in(&self, x: f64, width_min: f64) -> f64 {
        let spare = (width_min - self.width()).max(0.0) / 2.0;
        let beyond = (x - self.greatest).max(self.least - x) - spare;
        if self.values < VALUES_MIN || beyond <= 0.0 {
            return 0.0;
        }
        // Out of a range of no width every step is beyond all measure.
        self.values * (1.0 + (beyond / self.width().max(width_min) / UNIT).min(BEYOND_MAX))
    }

    fn learn(&mut self, x: f64) {
        if self.values == 0.0 {
            (self.least, self.greatest) = (x, x);
        }
        self.values += 1.0;
        (self.least, self.greatest) = (self.least.min(x), self.greatest.max(x));
    }
}

/// A level that one wild value does not move far.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    values: f64,
    mean: f64,
    deviation: f64,
}

impl Level {
    fn learn(&mut self, x: f64, memory: f64) {
        self.values = (self.values + 1.0).min(memory);
        let (weight, reach) = (1.0 / self.values, WINSOR * self.deviation);
        let step = x - self.mean;
        let step = if self.values > 10.0 && reach > 0.0 { step.clamp(-reach, reach) } else { step };
        self.mean += weight * step;
        self.deviation += weight * (step.abs() - self.deviation);
    }
}

/// The latest values, in a ring.
#[derive(Clone, Debug)]
struct Latest {
    values: [f64; WINDOW],
    len: usize,
    next: usize,
}

impl Latest {
    fn push(&mut self, x: f64) {
        if let Some(place) = self.values.get_mut(self.next) {
            *place = x;
        }
        self.next = (self.next + 1) % WINDOW;
        self.len = (self.len + 1).min(WINDOW);
    }

    /// The last `n` values, or as many as there are, the latest first.
    fn last(&self, n: usize) -> impl Iterator<Item = f64> + '_ {
        let back = move |age: usize| self.values.get((self.next + WINDOW - 1 - age) % WINDOW).copied();
        (0..n.min(self.len)).filter_map(back)
    }

    fn mean(&self, n: usize) -> f64 {
        self.last(n).sum::<f64>() / n.min(self.len).max(1) as f64
    }

    fn deviation(&self, n: usize) -> f64 {
        let mean = self.mean(n);
        let squares: f64 = self.last(n).map(|x| (x - mean) * (x - mean)).sum();
        (squares / n.min(self.len).max(1) as f64).sqrt()
    }
}

/// What is known of a series.
#[derive(Clone, Debug)]
pub struct Series {
    /// Differences below it are nothing.
    grain: f64,
    last: Option<f64>,
    /// Values in a row that were equal to the one before.
    equal: f64,
    latest: Latest,
    short: Level,
    slots: [Level; SLOTS],
    ranges: [Range; RESIDUALS.len()],
    /// The rarity that was told, faded.
    told: f64,
}

impl Default for Series {
    fn default() -> Self {
        Self::new()
    }
}

impl Series {
    /// A series of which nothing is known, not even its unit.
    pub fn new() -> Self {
        Self::with_grain(0.0)
    }

    /// A series in which a difference of `grain` is nothing special, even if no value ever differed.
    pub fn with_grain(grain: f64) -> Self {
        Self {
            grain: if grain.is_finite() { grain.max(0.0) } else { 0.0 },
            last: None,
            equal: 0.0,
            latest: Latest { values: [0.0; WINDOW], len: 0, next: 0 },
            short: Level::default(),
            slots: [Level::default(); SLOTS],
            ranges: [Range::default(); RESIDUALS.len()],
            told: 0.0,
        }
    }

    /// Takes in the next value; values should come at an even pace.
    pub fn see(&mut self, time: Timestamp, value: f64) -> Reading {
        // Squares of anything larger are not numbers.
        if !value.is_finite() || value.abs() > 1e150 {
            return Reading::USUAL;
        }
        self.equal = if self.last == Some(value) { self.equal + 1.0 } else { 0.0 };
        self.latest.push(value);
        let slot = (time.0 / (30 * MINUTE)) as usize % SLOTS;
        let residuals = self.residuals(value, slot);
        let (mut once_in, mut most, mut why) = (0.0, 0.0, Residual::Value);
        for ((residual, range), (name, share, width_min)) in residuals.iter().zip(&self.ranges).zip(RESIDUALS)
        {
            let width_min = if width_min > 0.0 { width_min } else { self.grain };
            let part = residual.map_or(0.0, |x| share * range.once_in(x, width_min));
            once_in += part;
            if part > most {
                (most, why) = (part, name);
            }
        }
        for (residual, range) in residuals.iter().zip(&mut self.ranges) {
            residual.iter().for_each(|&x| range.learn(x));
        }
        self.short.learn(value, SHORT);
        if let Some(level) = self.slots.get_mut(slot) {
            level.learn(value, SLOT);
        }
        self.last = Some(value);
        let is_news = once_in > self.told;
        self.told = (self.told * FADE).max(once_in);
        if is_news { Reading { once_in, why } } else { Reading::USUAL }
    }

    /// What the ranges are about, in the order of [`RESIDUALS`]; `None` where there is nothing to compare with.
    fn residuals(&self, value: f64, slot: usize) -> [Option<f64>; RESIDUALS.len()] {
        let level = self.slots.get(slot).filter(|level| level.values > SLOT_MIN);
        let noise = 0.01 * self.ranges[0].width();
        [
            Some(value),
            self.last.map(|_| value - self.short.mean),
            level.map(|level| value - level.mean),
            Some(self.latest.mean(FEW)),
            Some(self.latest.mean(WINDOW)),
            // Spreads far below what the value ranges over are all alike; without a range there is no spread.
            (noise > 0.0).then(|| ln((self.latest.deviation(SPREAD) + noise) / noise)),
            Some(ln(1.0 + self.equal)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenwatch_model::time::DAY;

    use super::*;

    /// Five days of a value each ten minutes, with a rhythm and a little noise.
    fn usual(i: usize) -> f64 {
        let noise = (i.wrapping_mul(2_654_435_761) >> 7) % 100;
        100.0 + 50.0 * libm::sin(i as f64 / 144.0 * std::f64::consts::TAU) + noise as f64 / 10.0
    }

    fn at(i: usize) -> Timestamp {
        Timestamp(20_000 * DAY + i as u64 * 10 * MINUTE)
    }

    /// The rarest reading among values that `odd` makes of the sixth day.
    fn rarest(odd: impl Fn(usize, f64) -> f64) -> Reading {
        let mut series = Series::new();
        for i in 0..720 {
            series.see(at(i), usual(i));
        }
        let day = (720..864).map(|i| series.see(at(i), odd(i - 720, usual(i))));
        day.max_by(|a, b| a.once_in.total_cmp(&b.once_in)).unwrap()
    }

    #[track_caller]
    fn check(odd: impl Fn(usize, f64) -> f64, why: &[Residual]) {
        let reading = rarest(odd);
        assert!(reading.once_in > 1_500.0 && why.contains(&reading.why), "{reading:?}");
    }

    #[test]
    fn each_kind_of_oddity_is_seen_by_its_residual() {
        assert!(rarest(|_, x| x).once_in < 1_500.0, "a usual day: {:?}", rarest(|_, x| x));
        check(|i, x| if i == 100 { 900.0 } else { x }, &[Residual::Value, Residual::HalfHour]);
        // As high by night as by day.
        check(|i, x| if i == 108 { 150.0 } else { x }, &[Residual::Spike, Residual::HalfHour]);
        check(|i, _| usual(i + 72), &[Residual::HalfHour]);
        check(|i, _| if i > 40 { 149.0 } else { 150.0 }, &[Residual::LongShift, Residual::HalfHour]);
        check(|_, _| 100.0, &[Residual::Flat, Residual::HalfHour]);
    }

    #[test]
    fn an_episode_is_told_once_and_a_worse_one_again() {
        let mut series = Series::new();
        for i in 0..720 {
            series.see(at(i), usual(i));
        }
        let tell = |series: &mut Series, i: usize, x: f64| series.see(at(i), x).once_in > 5_000.0;
        assert!(tell(&mut series, 720, 400.0));
        assert!(!tell(&mut series, 721, 410.0));
        assert!(!tell(&mut series, 722, 405.0));
        assert!(tell(&mut series, 723, 4_000.0));
    }

    #[test]
    fn below_the_grain_nothing_is_rare() {
        for (grain, want) in [(0.0, true), (3.0, false)] {
            let mut series = Series::with_grain(grain);
            let steps = (0..200).map(|i| series.see(at(i), if i == 150 { 1.0 } else { 0.0 }).once_in);
            assert_eq!(steps.fold(0.0, f64::max) > 1_000.0, want, "{grain}");
        }
        let mut series = Series::with_grain(3.0);
        let steps = (0..200).map(|i| series.see(at(i), if i == 150 { 30.0 } else { 0.0 }).once_in);
        assert!(steps.fold(0.0, f64::max) > 10_000.0);
    }

    #[test]
    fn what_is_not_a_number_changes_nothing() {
        let (mut series, mut disturbed) = (Series::new(), Series::new());
        for i in 0..400 {
            let want = series.see(at(i), usual(i));
            for odd in [f64::NAN, f64::INFINITY, f64::MIN, 1e200] {
                assert_eq!(disturbed.see(at(i), odd), Reading::USUAL);
            }
            assert_eq!(disturbed.see(at(i), usual(i)), want);
        }
    }

    proptest! {
        #[test]
        fn readings_are_numbers_and_do_not_depend_on_unit_or_origin(
            values in proptest::collection::vec(-1e6f64..1e6, 60..300),
            scale in 0u32..8,
        ) {
            // A power of two, so that scaling is exact.
            let scale = f64::from(1u32 << scale);
            let (mut series, mut scaled) = (Series::new(), Series::new());
            for (i, value) in values.iter().enumerate() {
                let a = series.see(at(i), *value);
                let b = scaled.see(at(i), value * scale);
                prop_assert!(a.once_in >= 0.0 && a.once_in.is_finite());
                prop_assert!((a.once_in - b.once_in).abs() <= 1e-6 * (1.0 + a.once_in), "{a:?} {b:?}");
            }
        }
    }
}
