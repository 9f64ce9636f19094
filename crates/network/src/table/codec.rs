//! The byte codes of the range streams, shared by the reader and the encoder.
//!
//! A stream is cut into blocks of [`BLOCK`] ranges; the block's head holds the first address and where the block
//! begins. Inside a block, ranges are `value (step value)*`, a step being the distance to the next first address:
//!
//! * A step is `(2 * half + 1) << shift`. Its first byte holds `shift` in the low [`Family::SHIFT_BITS`] and
//!   `half` above; when `half` does not fit, the field is all ones and the rest follows as a variable-length
//!   number, seven bits a byte, low first. Distances are mostly powers of two, so one byte is the rule.
//! * A value with a first byte below 64 is the same as that of the block's range of that number. 64 to 159 begin a
//!   two-byte number of a facts record: the most frequent facts have a record. 160 to 255 begin a four-byte packed
//!   facts record that stands for itself. High byte first.

/// Ranges in a block; a back-reference has to fit below [`SHORT`].
pub(crate) const BLOCK: usize = 64;
/// First byte of a two-byte value.
const SHORT: u8 = 64;
/// First byte of a four-byte value.
const LONG: u8 = 160;
/// Facts that can have a record.
pub(crate) const RECORD_COUNT: u32 = (LONG as u32 - SHORT as u32) << 8;
/// Packed facts are below this, to leave room for the other codes.
pub(crate) const PACKED_LIMIT: u32 = (256 - LONG as u32) << 24;

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
}

/// What the code of a value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// The same as the block's range of this number.
    Same(usize),
    /// The facts record of this number.
    Record(u32),
    /// These packed facts.
    Packed(u32),
}

/// Bytes of the value code that begins with `first`.
#[inline]
pub(crate) fn value_len(first: u8) -> usize {
    1 + usize::from(first >= SHORT) + 2 * usize::from(first >= LONG)
}

/// Reads the value code at the front of `bytes`.
#[inline]
pub(crate) fn read_value(bytes: &[u8]) -> Option<Value> {
    let first = *bytes.first()?;
    if first < SHORT {
        return Some(Value::Same(usize::from(first)));
    }
    if first < LONG {
        return Some(Value::Record(u32::from(first - SHORT) << 8 | u32::from(*bytes.get(1)?)));
    }
    let packed = bytes.first_chunk().map(|chunk| u32::from_be_bytes(*chunk))?;
    Some(Value::Packed(packed - (u32::from(LONG) << 24)))
}

/// Appends the code of a value: a range below [`BLOCK`], a record below [`RECORD_COUNT`], packed facts below
/// [`PACKED_LIMIT`].
pub(crate) fn write_value(out: &mut Vec<u8>, value: Value) {
    match value {
        Value::Same(range) => out.push(range as u8),
        Value::Record(number) => out.extend_from_slice(&[SHORT + (number >> 8) as u8, number as u8]),
        Value::Packed(packed) => out.extend_from_slice(&(packed + (u32::from(LONG) << 24)).to_be_bytes()),
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
fn read_number(bytes: &[u8]) -> Option<(u128, usize)> {
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
        fn values_survive(number in 0..RECORD_COUNT, packed in 0..PACKED_LIMIT, range in 0..BLOCK) {
            for value in [Value::Record(number), Value::Packed(packed), Value::Same(range)] {
                let mut out = Vec::new();
                write_value(&mut out, value);
                prop_assert_eq!(read_value(&out), Some(value));
                prop_assert_eq!(value_len(out[0]), out.len());
            }
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, from: u128) {
            let _ = read_step(&bytes, from);
            let _ = read_step(&bytes, from as u32);
            let _ = read_value(&bytes);
        }
    }
}
