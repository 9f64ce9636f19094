//! Seeded random numbers for training: splitmix64, the same on every platform.
//!
//! Invariant: nothing here is used when events are scored.

use crate::math::scramble;

/// Dice with a seed.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(scramble(seed ^ 0x6c62_272e_07bb_0142))
    }

    /// 64 random bits.
    pub(super) const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// Below `n`; 0 when `n` is 0.
    pub(super) const fn below(&mut self, n: usize) -> usize {
        // The high half of the product; its bias is below n / 2^64.
        ((self.bits() as u128 * n as u128) >> 64) as usize
    }

    /// Uniform in `0..1`.
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts `items` in a random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
