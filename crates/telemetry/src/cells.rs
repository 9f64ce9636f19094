//! Metric cells: arrays of atomics, one element per series, all made at start.
//!
//! Updates are relaxed: metrics order nothing. A scrape may see one update of a request and not yet the
//! next; each number by itself is exact.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use crate::labels::LabelSet;

/// Encodes every series of `L`: without a family wrapper where there are no labels.
fn encode_series<L: LabelSet>(
    mut encoder: MetricEncoder<'_>,
    mut encode: impl FnMut(usize, &mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    for position in 0..L::SERIES {
        let pairs = L::pairs(position);
        if pairs.is_empty() {
            encode(position, &mut encoder)?;
        } else {
            encode(position, &mut encoder.encode_family(&pairs)?)?;
        }
    }
    Ok(())
}

/// Counters, one per series.
#[derive(Clone, Debug)]
pub struct Counters<L> {
    cells: Arc<[AtomicU64]>,
    /// What is counted is shown divided by this: 1 for counts, 1e9 for billionths of a dollar.
    scale: f64,
    labels: PhantomData<L>,
}

impl<L: LabelSet> Counters<L> {
    pub(crate) fn new(scale: f64) -> Self {
        Self { cells: (0..L::SERIES).map(|_| AtomicU64::new(0)).collect(), scale, labels: PhantomData }
    }

    /// Counts one.
    pub fn inc(&self, labels: L) {
        self.add(labels, 1);
    }

    /// Counts `amount`, in the smallest unit.
    pub fn add(&self, labels: L, amount: u64) {
        if let Some(cell) = self.cells.get(labels.position()) {
            cell.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// The count so far, in the smallest unit.
    pub fn get(&self, labels: L) -> u64 {
        self.cells.get(labels.position()).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

impl<L: LabelSet + fmt::Debug> EncodeMetric for Counters<L> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        encode_series::<L>(encoder, |position, encoder| {
            let value = self.cells.get(position).map_or(0, |cell| cell.load(Ordering::Relaxed));
            let no_exemplar = None::<&Exemplar<NoLabelSet, f64>>;
            if self.scale == 1.0 {
                encoder.encode_counter(&value, no_exemplar)
            } else {
                encoder.encode_counter(&(value as f64 / self.scale), no_exemplar)
            }
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// Gauges, one per series.
#[derive(Clone, Debug)]
pub struct Gauges<L> {
    cells: Arc<[AtomicI64]>,
    /// What is set is shown divided by this: 1 for counts, 1e6 for microseconds.
    scale: f64,
    labels: PhantomData<L>,
}

impl<L: LabelSet> Gauges<L> {
    pub(crate) fn new(scale: f64) -> Self {
        Self { cells: (0..L::SERIES).map(|_| AtomicI64::new(0)).collect(), scale, labels: PhantomData }
    }

    /// Sets the value, in the smallest unit.
    pub fn set(&self, labels: L, value: u64) {
        if let Some(cell) = self.cells.get(labels.position()) {
            cell.store(i64::try_from(value).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }

    /// Counts one more until the guard is dropped, however that happens.
    #[must_use = "the gauge falls again when the guard is dropped"]
    pub fn enter(&self, labels: L) -> Entered<L> {
        if let Some(cell) = self.cells.get(labels.position()) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
        Entered { gauges: self.clone(), position: labels.position() }
    }

    /// The value now, in the smallest unit.
    pub fn get(&self, labels: L) -> i64 {
        self.cells.get(labels.position()).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

/// Holds a gauge one higher.
#[derive(Debug)]
pub struct Entered<L> {
    gauges: Gauges<L>,
    position: usize,
}

impl<L: LabelSet> Entered<L> {
    /// Moves on to another series of the same gauge, such as a connection from idle to busy.
    pub fn switch(&mut self, labels: L) {
        let to = labels.position();
        if let (Some(old), Some(new)) = (self.gauges.cells.get(self.position), self.gauges.cells.get(to)) {
            new.fetch_add(1, Ordering::Relaxed);
            old.fetch_sub(1, Ordering::Relaxed);
            self.position = to;
        }
    }
}

impl<L> Drop for Entered<L> {
    fn drop(&mut self) {
        if let Some(cell) = self.gauges.cells.get(self.position) {
            cell.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<L: LabelSet + fmt::Debug> EncodeMetric for Gauges<L> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        encode_series::<L>(encoder, |position, encoder| {
            let value = self.cells.get(position).map_or(0, |cell| cell.load(Ordering::Relaxed));
            if self.scale == 1.0 {
                encoder.encode_gauge(&value)
            } else {
                encoder.encode_gauge(&(value as f64 / self.scale))
            }
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// Histograms of spans of time, one per series. Unlike the library's own, they hold no lock.
#[derive(Clone, Debug)]
pub struct Histograms<L> {
    /// Per series: one cell per bound, one above the last, and the sum in microseconds.
    cells: Arc<[AtomicU64]>,
    /// Upper bounds in microseconds, rising; a value equal to a bound is below it.
    bounds_us: &'static [u64],
    labels: PhantomData<L>,
}

impl<L: LabelSet> Histograms<L> {
    pub(crate) fn new(bounds_us: &'static [u64]) -> Self {
        let cells = (0..L::SERIES * (bounds_us.len() + 2)).map(|_| AtomicU64::new(0)).collect();
        Self { cells, bounds_us, labels: PhantomData }
    }

    fn series(&self, position: usize) -> &[AtomicU64] {
        let stride = self.bounds_us.len() + 2;
        self.cells.get(position * stride..(position + 1) * stride).unwrap_or_default()
    }

    /// Counts a span in microseconds.
    pub fn observe_us(&self, labels: L, us: u64) {
        let series = self.series(labels.position());
        let bucket = self.bounds_us.partition_point(|&bound| bound < us);
        if let (Some(bucket), Some(sum)) = (series.get(bucket), series.last()) {
            bucket.fetch_add(1, Ordering::Relaxed);
            sum.fetch_add(us, Ordering::Relaxed);
        }
    }

    /// How many spans were counted.
    pub fn count(&self, labels: L) -> u64 {
        let buckets = self.series(labels.position()).iter().take(self.bounds_us.len() + 1);
        buckets.map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}

impl<L: LabelSet + fmt::Debug> EncodeMetric for Histograms<L> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        encode_series::<L>(encoder, |position, encoder| {
            let series = self.series(position);
            let bounds = self.bounds_us.iter().map(|&us| us as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> =
                bounds.zip(series.iter().map(|cell| cell.load(Ordering::Relaxed))).collect();
            // Count from the buckets just read, so that both always agree.
            let count = buckets.iter().map(|(_, count)| count).sum();
            let sum_us = series.last().map_or(0, |cell| cell.load(Ordering::Relaxed));
            encoder.encode_histogram::<NoLabelSet>(sum_us as f64 / 1e6, count, &buckets, None)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::ConnectionState;

    #[test]
    fn bounds_are_inclusive() {
        let histogram = Histograms::<()>::new(&[10, 100]);
        for us in [0, 10, 11, 100, 101, u64::MAX / 2] {
            histogram.observe_us((), us);
        }
        let buckets: Vec<u64> =
            histogram.series(0).iter().take(3).map(|cell| cell.load(Ordering::Relaxed)).collect();
        assert_eq!((buckets, histogram.count(())), (vec![2, 2, 2], 6));
    }

    #[test]
    fn guards_fall_however_they_end() {
        let gauges = Gauges::<(ConnectionState,)>::new(1.0);
        let mut connection = gauges.enter((ConnectionState::Handshake,));
        connection.switch((ConnectionState::Open,));
        assert_eq!((gauges.get((ConnectionState::Handshake,)), gauges.get((ConnectionState::Open,))), (0, 1));
        let panicked = std::thread::spawn(move || {
            let _held = connection;
            panic!("as a task may");
        });
        assert!(panicked.join().is_err());
        assert_eq!(gauges.get((ConnectionState::Open,)), 0);
    }

    #[test]
    fn threads_lose_no_count() {
        let counters = Counters::<()>::new(1.0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| counters.inc(())));
            }
        });
        assert_eq!(counters.get(()), 40_000);
    }
}
