//! The byte codes of the range streams, shared by the reader and the encoder.
//!
//! A stream is cut into blocks of [`BLOCK`] ranges, so that a lookup is a search for the block and a walk through its
//! steps. A block's first address and its place in the stream are in its head. The block is:
//!
//! * Two masks of a bit per range, little-endian: `wide`, the value has more than one byte; `wider`, it has four.
//! * A value per range, [`Value`], big-endian. Their lengths are in the masks, so any value is found without reading
//!   the ones before it. The last block of a stream is filled up with references to its first range.
//! * A step to each range but the first: the distance between first addresses, as `(2 * half + 1) << shift`. Its
//!   first byte holds `shift` in the low [`Family::SHIFT_BITS`] and `half` above; when `half` does not fit, the field
//!   is all ones and the rest follows as a variable-length number, seven bits a byte, low first. Distances are mostly
//!   powers of two, so one byte is the rule.

/// Ranges in a block: one per bit of a mask.
pub(crate) const BLOCK: usize = 64;
/// Bytes of the masks.
pub(crate) const MASKS: usize = 16;
/// Facts that can have a record.
pub(crate) const RECORD_COUNT: usize = 1 << 16;

/// An address family as a number.
pub(crate) trait Family: Copy + Ord {
    /// Bytes of an address.
    const WIDTH: usize;
    /// Bits of a step's first byte that hold the shift.
    const SHIFT_BITS: u32;

    /// Reads [`Family::WIDTH`] little-endian bytes from the front of `bytes`.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// `self + ((2 * half + 1) << shift)`, or nothing on overflow.
    fn advance(self, half: u128, shift: u32) -> Option<Self>;

    /// The address as a wide number.
    fn wide(self) -> u128;

    /// The first `bits` bits, at most 32, as a number.
    fn top_bits(self, bits: u32) -> u32;
}

impl Family for u32 {
    const WIDTH: usize = 4;
    const SHIFT_BITS: u32 = 5;

    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|chunk| Self::from_le_bytes(*chunk))
    }

    #[inline]
    fn advance(self, half: u128, shift: u32) -> Option<Self> {
        // Below 2^31 so that the shifted odd number fits 64 bits.
        let half = u64::try_from(half).ok().filter(|half| *half < 1 << 31)?;
        let step = (2 * half + 1).checked_shl(shift)?;
        Self::try_from(step.checked_add(u64::from(self))?).ok()
    }

    fn wide(self) -> u128 {
        u128::from(self)
    }

    #[inline]
    fn top_bits(self, bits: u32) -> u32 {
        self.checked_shr(Self::BITS - bits).unwrap_or_default()
    }
}

impl Family for u128 {
    const WIDTH: usize = 16;
    const SHIFT_BITS: u32 = 7;

    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|chunk| Self::from_le_bytes(*chunk))
    }

    #[inline]
    fn advance(self, half: u128, shift: u32) -> Option<Self> {
        // Nearly all steps: too small to overflow while shifting.
        if shift <= 96 && half < 1 << 31 {
            return self.checked_add((half << 1 | 1) << shift);
        }
        if half >> 127 != 0 {
            return None;
        }
        let odd = half << 1 | 1;
        if odd.leading_zeros() < shift {
            return None;
        }
        self.checked_add(odd << shift)
    }

    fn wide(self) -> u128 {
        self
    }

    #[inline]
    fn top_bits(self, bits: u32) -> u32 {
        self.checked_shr(Self::BITS - bits).unwrap_or_default() as u32
    }
}

/// A range's facts: one byte, two bytes or four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// The same as those of the block's range of this number.
    Same(u8),
    /// The facts record of this number: frequent facts.
    Record(u16),
    /// Packed facts: rare ones.
    Packed(u32),
}

/// The masks of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Masks {
    wide: u64,
    wider: u64,
}

impl Masks {
    /// Reads the masks at the front of a block.
    #[inline]
    pub(crate) fn read(block: &[u8]) -> Option<Self> {
        let (wide, rest) = block.split_first_chunk()?;
        let (wider, _) = rest.split_first_chunk()?;
        Some(Self { wide: u64::from_le_bytes(*wide), wider: u64::from_le_bytes(*wider) })
    }

    /// The masks of up to [`BLOCK`] values.
    pub(crate) fn of(values: &[Value]) -> Self {
        values.iter().take(BLOCK).enumerate().fold(Self::default(), |masks, (range, value)| {
            let bit = 1 << range;
            match value {
                Value::Same(_) => masks,
                Value::Record(_) => Self { wide: masks.wide | bit, ..masks },
                Value::Packed(_) => Self { wide: masks.wide | bit, wider: masks.wider | bit },
            }
        })
    }

    /// The masks as bytes.
    pub(crate) fn bytes(self) -> impl Iterator<Item = u8> {
        self.wide.to_le_bytes().into_iter().chain(self.wider.to_le_bytes())
    }

    /// Where in the block the value of range `range` is; with [`BLOCK`], where the steps begin.
    #[inline]
    pub(crate) fn value_at(self, range: usize) -> usize {
        let below = 1u64.checked_shl(range as u32).map_or(u64::MAX, |bit| bit - 1);
        MASKS
            + range
            + (self.wide & below).count_ones() as usize
            + 2 * (self.wider & below).count_ones() as usize
    }

    /// Reads the value of range `range`; nothing when the block is too short or there is no such range.
    #[inline]
    pub(crate) fn read_value(self, block: &[u8], range: usize) -> Option<Value> {
        let bytes = block.get(self.value_at(range)..)?;
        let bit = 1u64.checked_shl(range as u32)?;
        if self.wide & bit == 0 {
            bytes.first().map(|range| Value::Same(*range))
        } else if self.wider & bit == 0 {
            bytes.first_chunk().map(|chunk| Value::Record(u16::from_be_bytes(*chunk)))
        } else {
            bytes.first_chunk().map(|chunk| Value::Packed(u32::from_be_bytes(*chunk)))
        }
    }
}

/// Appends a value.
pub(crate) fn write_value(out: &mut Vec<u8>, value: Value) {
    match value {
        Value::Same(range) => out.push(range),
        Value::Record(number) => out.extend_from_slice(&number.to_be_bytes()),
        Value::Packed(packed) => out.extend_from_slice(&packed.to_be_bytes()),
    }
}

/// Reads the step code at the front of `bytes` from the address `from`: the next address and the code's length.
#[inline]
pub(crate) fn read_step<F: Family>(bytes: &[u8], from: F) -> Option<(F, usize)> {
    let first = *bytes.first()?;
    let shift = u32::from(first) & ((1 << F::SHIFT_BITS) - 1);
    let half = first >> F::SHIFT_BITS;
    let full = u8::MAX >> F::SHIFT_BITS;
    if half < full {
        return Some((from.advance(u128::from(half), shift)?, 1));
    }
    let (more, len) = read_number(bytes.get(1..)?)?;
    Some((from.advance(more.checked_add(u128::from(full))?, shift)?, 1 + len))
}

/// Appends the code of a step, which must not be zero.
pub(crate) fn write_step<F: Family>(out: &mut Vec<u8>, step: u128) {
    let shift = step.trailing_zeros().min(127);
    let half = step >> shift >> 1;
    let full = u128::from(u8::MAX >> F::SHIFT_BITS);
    out.push((half.min(full) as u8) << F::SHIFT_BITS | shift as u8);
    if let Some(more) = half.checked_sub(full) {
        write_number(out, more);
    }
}

/// Reads a variable-length number of at most 19 bytes: the number and its length.
#[inline]
fn read_number(bytes: &[u8]) -> Option<(u128, usize)> {
    match *bytes {
        [first, ..] if first < 0x80 => Some((first.into(), 1)),
        [first, second, ..] if second < 0x80 => Some((u128::from(first & 0x7f) | u128::from(second) << 7, 2)),
        _ => read_long_number(bytes),
    }
}

fn read_long_number(bytes: &[u8]) -> Option<(u128, usize)> {
    let mut number = 0u128;
    for (index, byte) in bytes.iter().enumerate().take(19) {
        let part = u128::from(byte & 0x7f);
        let shift = 7 * index as u32;
        if part.leading_zeros() < shift {
            return None;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Some((number, index + 1));
        }
    }
    None
}

fn write_number(out: &mut Vec<u8>, mut number: u128) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_step<F: Family + std::fmt::Debug>(from: F, to: F) {
        let mut out = Vec::new();
        write_step::<F>(&mut out, to.wide() - from.wide());
        assert_eq!(read_step(&out, from), Some((to, out.len())));
        for cut in 0..out.len() {
            assert_eq!(read_step(&out[..cut], from), None, "cut to {cut}");
        }
    }

    #[test]
    fn the_widest_steps_survive() {
        check_step(0u32, u32::MAX);
        check_step(0u32, 1 << 31);
        check_step(u32::MAX - 1, u32::MAX);
        check_step(0u128, u128::MAX);
        check_step(0u128, 1 << 127);
        check_step(1u128, 1 << 127);
    }

    #[test]
    fn a_step_past_the_last_address_is_refused() {
        assert_eq!(read_step(&[31], u32::MAX), None);
        assert_eq!(read_step(&[127], u128::MAX), None);
        assert_eq!(read_step(&[0xff; 32], 0u128), None);
        assert_eq!(read_step(&[0xff; 32], 0u32), None);
    }

    proptest! {
        #[test]
        fn steps_survive(a: u32, b: u32, c: u128, d: u128, shift in 0u32..128) {
            if a != b {
                check_step(a.min(b), a.max(b));
            }
            let (c, d) = (c >> shift, d >> shift);
            if c != d {
                check_step(c.min(d), c.max(d));
            }
        }

        #[test]
        fn values_survive(choices in vec((0..3u8, any::<u32>()), 1..=BLOCK)) {
            let values: Vec<Value> = choices
                .into_iter()
                .map(|(choice, number)| match choice {
                    0 => Value::Same(number as u8),
                    1 => Value::Record(number as u16),
                    _ => Value::Packed(number),
                })
                .collect();
            let masks = Masks::of(&values);
            let mut block: Vec<u8> = masks.bytes().collect();
            prop_assert_eq!(Masks::read(&block), Some(masks));
            for value in &values {
                write_value(&mut block, *value);
            }
            prop_assert_eq!(masks.value_at(values.len()), block.len());
            for (range, value) in values.iter().enumerate() {
                prop_assert_eq!(masks.read_value(&block, range), Some(*value));
            }
            prop_assert_eq!(masks.read_value(&block, values.len()), None);
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, from: u128) {
            let _ = read_step(&bytes, from);
            let _ = read_step(&bytes, from as u32);
            if let Some(masks) = Masks::read(&bytes) {
                for range in 0..=BLOCK + 1 {
                    let _ = masks.read_value(&bytes, range);
                }
            }
        }
    }
}
