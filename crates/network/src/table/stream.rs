//! One family's ranges: binary search over the block heads, then a walk through one block.

use std::marker::PhantomData;

use super::codec::{BLOCK, Family, Value, read_step, read_value, value_len};
use super::layout::u32_at;

/// The ranges of one address family. Any bytes are accepted; what does not decode is not covered.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a, F> {
    heads: &'a [u8],
    bytes: &'a [u8],
    family: PhantomData<F>,
}

impl<'a, F: Family> Stream<'a, F> {
    /// Bytes of a head record.
    const HEAD: usize = F::WIDTH + 4;

    pub(crate) const fn new(heads: &'a [u8], bytes: &'a [u8]) -> Self {
        Self { heads, bytes, family: PhantomData }
    }

    /// Number of blocks.
    fn blocks(&self) -> usize {
        self.heads.len() / Self::HEAD
    }

    fn first_address(&self, block: usize) -> Option<F> {
        F::read(self.heads.get(block.checked_mul(Self::HEAD)?..)?)
    }

    fn block(&self, block: usize) -> Option<Block<'a, F>> {
        let offset = |block: usize| {
            u32_at(self.heads, block.checked_mul(Self::HEAD)?.checked_add(F::WIDTH)?).map(|at| at as usize)
        };
        let end = offset(block + 1).unwrap_or(self.bytes.len());
        let bytes = self.bytes.get(offset(block)?..end)?;
        Some(Block { bytes, start: self.first_address(block)?, at: 0, range: 0, positions: [0; BLOCK] })
    }

    /// The value of the range that holds `address`; never [`Value::Same`].
    #[inline]
    pub(crate) fn value_at(&self, address: F) -> Option<Value> {
        // The last block whose first address is not above.
        let (mut low, mut high) = (0, self.blocks());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.first_address(middle)? <= address { low = middle + 1 } else { high = middle }
        }
        let mut block = self.block(low.checked_sub(1)?)?;
        loop {
            let value = block.at;
            match block.step() {
                Some(next) if next <= address => {}
                _ => return block.value(value),
            }
        }
    }

    /// First addresses and values in rising order, up to the first byte that does not decode.
    pub(crate) fn entries(self) -> impl Iterator<Item = (F, Value)> + use<'a, F> {
        (0..self.blocks()).map_while(move |block| self.block(block)).flat_map(|mut block| {
            let mut next = Some(block.start);
            std::iter::from_fn(move || {
                let start = next?;
                let value = block.at;
                next = block.step();
                Some((start, block.value(value)?))
            })
        })
    }
}

/// A walk through one block: `at` is where the value code of the range that begins at `start` is.
struct Block<'a, F> {
    bytes: &'a [u8],
    start: F,
    at: usize,
    range: usize,
    positions: [u16; BLOCK],
}

impl<F: Family> Block<'_, F> {
    /// Goes to the next range of the block; its first address, or nothing after the last one.
    #[inline]
    fn step(&mut self) -> Option<F> {
        *self.positions.get_mut(self.range)? = u16::try_from(self.at).ok()?;
        let step = self.at + value_len(*self.bytes.get(self.at)?);
        let (next, len) = read_step(self.bytes.get(step..)?, self.start)?;
        (self.start, self.at, self.range) = (next, step + len, self.range + 1);
        Some(next)
    }

    /// The value at a code that this walk has passed or stands on, a reference followed.
    #[inline]
    fn value(&self, at: usize) -> Option<Value> {
        match read_value(self.bytes.get(at..)?)? {
            Value::Same(range) => {
                // Only a damaged table refers to a range not yet passed, whose position is still 0: the first range.
                let at = usize::from(*self.positions.get(range)?);
                read_value(self.bytes.get(at..)?).filter(|value| !matches!(value, Value::Same(_)))
            }
            value => Some(value),
        }
    }
}
