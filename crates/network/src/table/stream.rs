//! One family's ranges: a search over the block heads, then a walk through the steps of one block.

use std::marker::PhantomData;

use super::codec::{BLOCK, Family, Masks, Value, read_step};
use super::layout::{INDEX_BITS, u32_at};

/// The ranges of one address family. Any bytes are accepted; what does not decode is not covered.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a, F> {
    index: &'a [u8],
    heads: &'a [u8],
    bytes: &'a [u8],
    family: PhantomData<F>,
}

impl<'a, F: Family> Stream<'a, F> {
    /// Bytes of a head record.
    const HEAD: usize = F::WIDTH + 4;

    pub(crate) const fn new(index: &'a [u8], heads: &'a [u8], bytes: &'a [u8]) -> Self {
        Self { index, heads, bytes, family: PhantomData }
    }

    /// Number of blocks.
    fn blocks(&self) -> usize {
        self.heads.len() / Self::HEAD
    }

    #[inline]
    fn first_address(&self, block: usize) -> Option<F> {
        F::read(self.heads.get(block.checked_mul(Self::HEAD)?..)?)
    }

    #[inline]
    fn block(&self, block: usize) -> Option<Block<'a, F>> {
        let offset = |block: usize| {
            u32_at(self.heads, block.checked_mul(Self::HEAD)?.checked_add(F::WIDTH)?).map(|at| at as usize)
        };
        let end = offset(block + 1).unwrap_or(self.bytes.len());
        let bytes = self.bytes.get(offset(block)?..end)?;
        let masks = Masks::read(bytes)?;
        let steps = bytes.get(masks.value_at(BLOCK)..)?;
        Some(Block { bytes, masks, steps, start: self.first_address(block)?, range: 0 })
    }

    /// Between which blocks the search for `address` has to go on: those that begin at or before the address are at
    /// least the first and at most the second number.
    #[inline]
    fn bounds(&self, address: F) -> Option<(usize, usize)> {
        let slot = address.top_bits(INDEX_BITS) as usize * 4;
        Some((u32_at(self.index, slot)? as usize, u32_at(self.index, slot + 4)? as usize))
    }

    /// The value of the range that holds `address`; never [`Value::Same`].
    #[inline]
    pub(crate) fn value_at(&self, address: F) -> Option<Value> {
        let (mut low, mut high) = self.bounds(address)?;
        while low < high {
            let middle = low + (high - low) / 2;
            if self.first_address(middle)? <= address { low = middle + 1 } else { high = middle }
        }
        let mut block = self.block(low.checked_sub(1)?)?;
        loop {
            let range = block.range;
            match block.step() {
                Some(next) if next <= address => {}
                _ => return block.value(range),
            }
        }
    }

    /// First addresses and values in rising order, up to the first byte that does not decode.
    pub(crate) fn entries(self) -> impl Iterator<Item = (F, Value)> + use<'a, F> {
        (0..self.blocks()).map_while(move |block| self.block(block)).flat_map(|mut block| {
            let mut next = Some(block.start);
            std::iter::from_fn(move || {
                let start = next?;
                let range = block.range;
                next = block.step();
                Some((start, block.value(range)?))
            })
        })
    }
}

/// A walk through one block, standing on the range of number `range` that begins at `start`.
struct Block<'a, F> {
    bytes: &'a [u8],
    masks: Masks,
    /// The steps not yet taken.
    steps: &'a [u8],
    start: F,
    range: usize,
}

impl<F: Family> Block<'_, F> {
    /// Goes to the next range of the block; its first address, or nothing after the last one.
    #[inline]
    fn step(&mut self) -> Option<F> {
        let (next, len) = read_step(self.steps, self.start)?;
        self.steps = self.steps.get(len..)?;
        (self.start, self.range) = (next, self.range + 1);
        Some(next)
    }

    /// The value of a range of this block, a reference followed.
    #[inline]
    fn value(&self, range: usize) -> Option<Value> {
        match self.masks.read_value(self.bytes, range)? {
            Value::Same(first) => self
                .masks
                .read_value(self.bytes, usize::from(first))
                .filter(|value| !matches!(value, Value::Same(_))),
            value => Some(value),
        }
    }
}
