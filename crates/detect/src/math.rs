//! Arithmetic that gives the same bits everywhere: logarithms from `libm`, hashes of our own.
//!
//! Invariant: nothing here depends on the platform, the standard library's hasher or its random state.

/// Natural logarithm; the smallest positive number stands in for zero and less.
pub(crate) fn ln(x: f64) -> f64 {
    libm::log(x.max(f64::MIN_POSITIVE))
}

/// e to the power of `x`.
pub(crate) fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// What is left of 1 after `elapsed` when half is left after `half`.
pub(crate) fn fade(elapsed: u64, half: u64) -> f64 {
    libm::exp2(-(elapsed as f64) / half as f64)
}

/// Mixes 64 bits so that every input bit moves every output bit (Steele, Lea and Flood 2014).
pub(crate) const fn scramble(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Two numbers into one; order matters.
pub(crate) const fn join(a: u64, b: u64) -> u64 {
    scramble(scramble(a.wrapping_add(0x9e37_79b9_7f4a_7c15)) ^ b)
}

/// A text as a number (FNV-1a, scrambled).
pub(crate) fn hash(text: &str) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    for byte in text.bytes() {
        h = (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    scramble(h)
}

/// A 32-bit print of a value; never 0, which means "absent".
pub(crate) const fn print(bits: u64) -> u32 {
    let mixed = scramble(bits);
    let folded = (mixed ^ (mixed >> 32)) as u32;
    if folded == 0 { 1 } else { folded }
}

/// How many distinct values set bits in a map of `BITS` bits, by linear counting.
pub(crate) fn distinct(words: &[u64]) -> u64 {
    let bits = (words.len() * 64) as f64;
    let zeros = words.iter().map(|word| f64::from(word.count_zeros())).sum::<f64>().max(0.5);
    libm::round(-bits * ln(zeros / bits)) as u64
}

/// Marks a value in such a map.
pub(crate) fn mark(words: &mut [u64], value: u64) {
    let bits = (words.len() * 64) as u64;
    if bits == 0 {
        return;
    }
    let bit = scramble(value) % bits;
    if let Some(word) = words.get_mut((bit / 64) as usize) {
        *word |= 1 << (bit % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_fixed_for_ever() {
        // They are on disk: a change here makes every known set forget.
        assert_eq!(hash("openai-python"), 16_378_939_484_938_092_113);
        assert_eq!(print(0), 1);
        assert_eq!(join(1, 2), join(1, 2));
        assert_ne!(join(1, 2), join(2, 1));
    }

    #[test]
    fn maps_count_distinct_values() {
        for want in [1u64, 10, 60, 200] {
            let mut map = [0u64; 4];
            for value in 0..want {
                mark(&mut map, value);
                mark(&mut map, value);
            }
            let got = distinct(&map);
            assert!(got.abs_diff(want) <= 1 + want / 5, "{want} {got}");
        }
    }
}
