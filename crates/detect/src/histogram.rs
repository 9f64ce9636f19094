//! Token histograms: quarter-octave bins from 16 to 65,536 tokens.
//!
//! The level and spread of a key's sizes come from here too: a newcomer is compared as a whole, by its mean,
//! because its requests are not independent of each other.

use serde::{Deserialize, Serialize};

/// Bins.
const BINS: usize = 48;
/// Counts are halved at this total, so that old habits fade.
const TOTAL_MAX: u32 = 20_000;
/// Where a key's sizes lie, in octaves (base-two logarithms of tokens).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    pub(crate) mean: f64,
    pub(crate) sigma: f64,
}

/// How often each size occurred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Histogram {
    bins: Vec<u16>,
    total: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { bins: vec![0; BINS], total: 0 }
    }
}

/// The bin of a size: four to an octave, linear inside one.
fn bin(tokens: u64) -> usize {
    let tokens = tokens.clamp(16, 65_535);
    let octave = tokens.ilog2();
    let quarter = (tokens >> (octave - 2)) & 3;
    ((octave - 4) * 4) as usize + quarter as usize
}

impl Histogram {
    pub(crate) fn learn(&mut self, tokens: u64) {
        if tokens == 0 {
            return;
        }
        if let Some(count) = self.bins.get_mut(bin(tokens)) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
        if self.total >= TOTAL_MAX {
            for count in &mut self.bins {
                *count /= 2;
            }
            self.total = self.bins.iter().map(|&count| u32::from(count)).sum();
        }
    }

    /// Mean and standard deviation of the sizes in octaves; `None` below 50 requests.
    pub(crate) fn level(&self) -> Option<Level> {
        if self.total < 50 {
            return None;
        }
        let n = f64::from(self.total);
        let (mut sum, mut squares) = (0.0, 0.0);
        for (place, &count) in self.bins.iter().enumerate() {
            // The middle of a bin, in octaves: bins begin at 16 tokens, four to an octave.
            let octaves = 4.0 + (place as f64 + 0.5) / 4.0;
            sum += f64::from(count) * octaves;
            squares += f64::from(count) * octaves * octaves;
        }
        let mean = sum / n;
        Some(Level { mean, sigma: (squares / n - mean * mean).max(0.0).sqrt() })
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.bins.len() == BINS && self.total == self.bins.iter().map(|&count| u32::from(count)).sum::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_quarter_octaves() {
        assert_eq!((bin(0), bin(16), bin(19), bin(20), bin(32), bin(u64::MAX)), (0, 0, 0, 1, 4, 47));
        let mut last = 0;
        for tokens in 16..70_000 {
            assert!(bin(tokens) == last || bin(tokens) == last + 1);
            last = bin(tokens);
        }
    }

    #[test]
    fn the_level_is_the_mean_and_spread_of_the_logarithms() {
        let mut sizes = Histogram::default();
        assert_eq!(sizes.level(), None);
        for i in 0..100_000u64 {
            sizes.learn(if i % 2 == 0 { 256 } else { 1_024 });
        }
        assert!(sizes.is_sound());
        let level = sizes.level().unwrap();
        assert!((level.mean - 9.125).abs() < 0.01 && (level.sigma - 1.0).abs() < 0.01, "{level:?}");
    }
}
