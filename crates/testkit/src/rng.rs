//! A small deterministic generator: the same seed gives the same traffic, bit for bit, on every platform.
//!
//! xoshiro256** seeded through splitmix64 (Blackman and Vigna, public domain algorithms). Logarithms and
//! exponentials come from `libm`, so results do not depend on the system's mathematics library. Not for
//! secrets: whoever sees some of the output can compute the rest.

/// One step of splitmix64: spreads a seed or a hash over 64 bits.
pub const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a over bytes, spread by [`mix`]: a stable hash for labels and outlines.
pub fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(fnv)
}

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator for `seed`.
    pub const fn new(seed: u64) -> Self {
        let a = mix(seed);
        let b = mix(a);
        let c = mix(b);
        Self { state: [a, b, c, mix(c)] }
    }

    /// An independent generator named `label`; does not advance this one, so adding a fork changes nothing
    /// that was drawn before.
    #[must_use]
    pub fn fork(&self, label: &str) -> Self {
        let [a, b, c, d] = self.state;
        Self::new(mix(a ^ b.rotate_left(17) ^ c.rotate_left(31) ^ d.rotate_left(47)) ^ hash(label.as_bytes()))
    }

    /// The `number`th of as many independent generators as are wanted; does not advance this one.
    #[must_use]
    pub const fn numbered(&self, number: u64) -> Self {
        let [a, b, c, d] = self.state;
        Self::new(mix(a ^ b.rotate_left(17) ^ c.rotate_left(31) ^ d.rotate_left(47)) ^ mix(!number))
    }

    /// 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = self.state;
        let result = s1.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (n2, n3) = (s2 ^ s0, s3 ^ s1);
        self.state = [s0 ^ n3, s1 ^ n2, n2 ^ (s1 << 17), n3.rotate_left(45)];
        result
    }

    /// Uniform in `0..1`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `0..n`; 0 when `n` is 0.
    pub const fn below(&mut self, n: u64) -> u64 {
        // The high half of a 128-bit product; its bias is below n / 2^64.
        ((self.next_u64() as u128 * n as u128) >> 64) as u64
    }

    /// Uniform in `low..=high`; `low` when the range is empty.
    pub const fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// One of the items of a table that can not be empty.
    pub const fn pick<'a, T, const N: usize>(&mut self, items: &'a [T; N]) -> &'a T {
        const { assert!(N > 0) };
        &items[self.below(N as u64) as usize]
    }

    /// One of the items, `None` when there are none.
    pub fn pick_from<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// Exponential with the given mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * libm::log(1.0 - self.unit())
    }

    /// Log-uniform between two positive bounds: every octave is as likely as any other.
    pub fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        low * libm::exp(self.unit() * libm::log(high / low))
    }

    /// A log-normal whose halves have spreads of their own: `median · exp(σ z)` with `σ` chosen by the sign
    /// of the standard normal `z`.
    pub fn log_normal(&mut self, median: f64, sigma_below: f64, sigma_above: f64) -> f64 {
        let z = self.normal();
        median * libm::exp(z * if z < 0.0 { sigma_below } else { sigma_above })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    #[test]
    fn output_never_changes() {
        // Computed apart from this code: bundled samples and demos rely on it.
        let mut rng = Rng::new(1);
        let first = [rng.next_u64(), rng.next_u64(), rng.next_u64()];
        assert_eq!(first, [0xc588_3e37_0b09_26c3, 0x021b_74b8_0f71_f81c, 0x268d_f067_49e5_c8ce]);
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf, "the first output of splitmix64 seeded with 0");
        assert_ne!(Rng::new(1).fork("a").next_u64(), Rng::new(1).fork("b").next_u64());
    }

    #[test]
    fn laws_have_their_means() {
        let mut rng = Rng::new(7);
        let n = 20_000_u32;
        let mean = |f: &mut dyn FnMut() -> f64| (0..n).map(|_| f()).sum::<f64>() / f64::from(n);
        assert!((mean(&mut || rng.unit()) - 0.5).abs() < 0.01);
        assert!(mean(&mut || rng.normal()).abs() < 0.03);
        assert!((mean(&mut || rng.exponential(4.0)) - 4.0).abs() < 0.15);
        let mut delays: Vec<f64> = (0..n).map(|_| rng.log_normal(17.0, 0.5, 1.7)).collect();
        delays.sort_by(f64::total_cmp);
        assert!((delays[n as usize / 2] - 17.0).abs() < 1.0);
    }

    proptest! {
        #[test]
        fn ranges_hold(seed: u64, low in 0u64..1000, width in 0u64..1000) {
            let mut rng = Rng::new(seed);
            for _ in 0..50 {
                prop_assert!((low..=low + width).contains(&rng.range(low, low + width)));
                let x = rng.log_uniform(10.0, 20.0);
                prop_assert!((10.0..20.000_001).contains(&x));
            }
        }
    }
}
