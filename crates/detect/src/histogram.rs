//! Token histograms: quarter-octave bins from 16 to 65,536 tokens.

use serde::{Deserialize, Serialize};

use crate::math::ln;

/// Bins.
const BINS: usize = 48;
/// Counts are halved at this total, so that old habits fade.
const TOTAL_MAX: u32 = 20_000;
/// Weight of the fleet's law, which is flat, in requests.
const FLEET: f64 = 24.0;

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

    /// Evidence that a newcomer's request of this size is not the key's: a thief's sizes are flat, a
    /// benign newcomer's are half like the key's and half flat, and three of ten thieves show theirs.
    pub(crate) fn nats(&self, tokens: u64) -> f64 {
        if tokens == 0 || self.total < 50 {
            return 0.0;
        }
        let flat = 1.0 / BINS as f64;
        let count = self.bins.get(bin(tokens)).copied().map_or(0.0, f64::from);
        let own = (count + FLEET * flat) / (f64::from(self.total) + FLEET);
        let benign = 0.5 * own + 0.5 * flat;
        ln(0.7 + 0.3 * flat / benign)
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
    fn usual_sizes_speak_for_the_owner_and_odd_ones_against() {
        let mut sizes = Histogram::default();
        for i in 0..100_000u64 {
            sizes.learn(400 + i % 200);
        }
        assert!(sizes.is_sound());
        assert!(sizes.nats(450) < -0.2);
        assert!(sizes.nats(30_000) > 0.2);
        assert_eq!(sizes.nats(0), 0.0);
    }
}
