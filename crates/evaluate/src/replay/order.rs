//! Bringing events into the order of their times, within a window, without holding them all.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use tokenwatch_model::time::Timestamp;

/// Most items held, whatever their times: a clock that stands still must not fill the memory.
const HELD_MAX: usize = 1_000_000;

struct Held<T> {
    time: Timestamp,
    /// Arrival, so that equal times keep their order.
    seq: u64,
    item: T,
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Held<T> {}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.time, self.seq).cmp(&(other.time, other.seq))
    }
}

/// Sorts a stream whose items are late by less than a window. What is later than that comes out at once, out of order,
/// and is counted.
pub struct Reorder<T> {
    window: u64,
    heap: BinaryHeap<Reverse<Held<T>>>,
    newest: Timestamp,
    released: Timestamp,
    seq: u64,
    moved: u64,
    late: u64,
}

impl<T> Reorder<T> {
    /// A window of so many microseconds.
    pub const fn new(window: u64) -> Self {
        Self {
            window,
            heap: BinaryHeap::new(),
            newest: Timestamp(0),
            released: Timestamp(0),
            seq: 0,
            moved: 0,
            late: 0,
        }
    }

    /// Takes an item.
    pub fn push(&mut self, time: Timestamp, item: T) {
        if time < self.released {
            self.late += 1;
        } else if time < self.newest {
            self.moved += 1;
        }
        self.newest = self.newest.max(time);
        self.heap.push(Reverse(Held { time, seq: self.seq, item }));
        self.seq += 1;
    }

    /// The next item in order, if none before it can come any more; at the end, `is_last`, whatever is held.
    pub fn pop(&mut self, is_last: bool) -> Option<T> {
        let Reverse(first) = self.heap.peek()?;
        let is_ripe = self.newest.since(first.time) >= self.window || self.heap.len() > HELD_MAX;
        if !is_ripe && !is_last {
            return None;
        }
        let Reverse(first) = self.heap.pop()?;
        self.released = self.released.max(first.time);
        Some(first.item)
    }

    /// Items that came after a later one and were put in their place.
    pub const fn moved(&self) -> u64 {
        self.moved
    }

    /// Items that came too late for that.
    pub const fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(times: &[u64], window: u64) -> (Vec<u64>, u64, u64) {
        let mut order = Reorder::new(window);
        let mut out = Vec::new();
        for &time in times {
            order.push(Timestamp(time), time);
            while let Some(time) = order.pop(false) {
                out.push(time);
            }
        }
        while let Some(time) = order.pop(true) {
            out.push(time);
        }
        (out, order.moved(), order.late())
    }

    #[test]
    fn small_disorder_is_sorted_and_large_is_counted() {
        assert_eq!(run(&[10, 12, 11, 30, 29], 5), (vec![10, 11, 12, 29, 30], 2, 0));
        assert_eq!(run(&[10, 30, 11, 50], 5), (vec![10, 11, 30, 50], 1, 0));
        assert_eq!(run(&[10, 30, 50, 11], 5), (vec![10, 30, 11, 50], 0, 1));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_disorder_within_the_window_is_sorted(
            times in proptest::collection::vec(0u64..1_000, 0..200),
            window in 0u64..2_000,
        ) {
            let (out, _, late) = run(&times, window);
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let mut seen = out.clone();
            seen.sort_unstable();
            prop_assert_eq!(seen, sorted.clone());
            if late == 0 {
                prop_assert_eq!(out, sorted);
            }
            prop_assert!(window < 1_000 || late == 0);
        }
    }
}
