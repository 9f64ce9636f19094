//! Sketches of texts: 64 bits by which two texts can be compared and from which neither can be read (SimHash, Charikar
//! 2002). Texts that share most words differ in few bits, unrelated ones in about half of them.
//!
//! Invariants:
//! * A sketch is keyed: without the deployment's secret nobody can make the sketch of a guess to compare with.
//! * Work and memory are bounded by constants, and a sketch does not depend on how a text was cut into pieces.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::json::RawStr;
use crate::words::{Folded, WORDS_MAX, Words, multiply};

#[cfg(test)]
mod tests;

/// Numbers of up to 255 are counted in each of 64 places at once: plane `i` holds their bits of value `2^i`.
const PLANES: usize = 8;
const _: () = assert!(WORDS_MAX < 1 << PLANES);
/// Bytes of an answer's text that are kept for its sketch.
const ANSWER_MAX: usize = 512;

/// What keys sketches. Derived from the deployment's secret, so that even who found it could test no other hash.
#[derive(Clone, Copy)]
pub struct ContentKey([u64; 4]);

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey(…)")
    }
}

impl ContentKey {
    /// Derives it from the deployment's secret for shape hashes.
    pub(crate) fn derive(secret: &[u8; 16]) -> Self {
        Self([0u8, 1, 2, 3].map(|number| {
            let mut hasher = SipHasher24::new_with_key(secret);
            hasher.write(b"content sketch");
            hasher.write_u8(number);
            // Odd, so that a product by it loses nothing.
            hasher.finish() | 1
        }))
    }

    const fn hash(&self, word: u64) -> u64 {
        let [a, b, c, d] = self.0;
        multiply(multiply(word ^ a, b) ^ c, d)
    }
}

/// Counts in which places the hashes of words have a one.
struct Tally {
    planes: [u64; PLANES],
    words: u32,
}

/// The sketch of words; 0 when there are none.
pub(crate) fn sketch(key: &ContentKey, words: &Words) -> u64 {
    let mut tally = Tally { planes: [0; PLANES], words: 0 };
    let (fours, rest) = words.saying().as_chunks::<4>();
    for four in fours {
        tally.add_four(four.map(|word| key.hash(word)));
    }
    for &word in rest {
        tally.add(key.hash(word));
    }
    tally.majority()
}

impl Tally {
    fn add(&mut self, hash: u64) {
        self.words += 1;
        self.carry(0, hash);
    }

    /// Adds four at once: full adders carry less often than one by one.
    fn add_four(&mut self, [a, b, c, d]: [u64; 4]) {
        self.words += 4;
        let [ones, twos, ..] = &mut self.planes;
        let first = add_full(ones, a, b);
        let second = add_full(ones, c, d);
        let carry = add_full(twos, first, second);
        self.carry(2, carry);
    }

    /// Adds ones to a plane and carries on.
    fn carry(&mut self, from: usize, mut ones: u64) {
        for plane in self.planes.iter_mut().skip(from) {
            let both = *plane & ones;
            *plane ^= ones;
            ones = both;
        }
    }

    /// A one wherever more than half of the words had one.
    fn majority(&self) -> u64 {
        if self.words == 0 {
            return 0;
        }
        let half = self.words / 2;
        let (mut above, mut equal) = (0, u64::MAX);
        for (place, plane) in self.planes.iter().enumerate().rev() {
            if half >> place & 1 == 0 {
                above |= equal & plane;
                equal &= !plane;
            } else {
                equal &= plane;
            }
        }
        // 0 means absent.
        above.max(1)
    }
}

/// Adds two bits in each place to a plane; the result is what is carried.
const fn add_full(plane: &mut u64, a: u64, b: u64) -> u64 {
    let half = *plane ^ a;
    let carry = *plane & a | half & b;
    *plane = half ^ b;
    carry
}

/// The start of an answer's text as it passes, as it stands in JSON.
pub(crate) struct Answer {
    key: Option<ContentKey>,
    raw: Vec<u8>,
}

impl Answer {
    /// Gathers nothing without a key.
    pub(crate) const fn new(key: Option<ContentKey>) -> Self {
        Self { key, raw: Vec::new() }
    }

    /// Whether more text would count.
    pub(crate) fn listens(&self) -> bool {
        self.key.is_some() && self.raw.len() < ANSWER_MAX
    }

    /// Adds text between the quotes of a JSON string, escapes and all, cut anywhere.
    pub(crate) fn push(&mut self, raw: &[u8]) {
        if self.listens() {
            let room = ANSWER_MAX - self.raw.len();
            self.raw.extend_from_slice(raw.get(..raw.len().min(room)).unwrap_or_default());
        }
    }

    /// The sketch of what was gathered; 0 when that has no words.
    pub(crate) fn sketch(&self) -> u64 {
        let Some(key) = &self.key else { return 0 };
        let raw = match std::str::from_utf8(&self.raw) {
            Ok(raw) => raw,
            // The last character was cut, or the answer is no UTF-8.
            Err(error) => {
                let valid = self.raw.get(..error.valid_up_to()).unwrap_or_default();
                std::str::from_utf8(valid).unwrap_or_default()
            }
        };
        let mut folded = Folded::new();
        folded.add(RawStr { raw, escaped: true }, ANSWER_MAX);
        sketch(key, &folded.words())
    }
}
