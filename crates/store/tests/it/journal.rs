//! The journal, torn and damaged in every way, and followed while it is written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::ports::EventSink;
use tokenwatch_store::{
    Journal, JournalOptions, JournalPosition, JournalPositions, JournalReader, SegmentName, Stream,
};

use crate::samples::{START, record};

const PATIENCE: Duration = Duration::from_secs(60);

fn stream(n: u64) -> Stream {
    Stream::new(START.plus(n), "test").unwrap()
}

/// A journal that syncs as fast as it can, so that tests need not wait.
fn journal(dir: &Path, n: u64) -> Journal {
    let fast = Duration::from_millis(2);
    Journal::open(dir, JournalOptions { sync_every: fast, ..JournalOptions::new(stream(n)) }).unwrap()
}

fn write(dir: &Path, n: u64, numbers: std::ops::Range<u64>) -> JournalPosition {
    let journal = journal(dir, n);
    for number in numbers {
        assert!(journal.handle().push(record(number)));
    }
    journal.close(PATIENCE).unwrap().unwrap()
}

fn read(dir: &Path, positions: JournalPositions) -> (Vec<JournalRecord>, u64) {
    let mut records = Vec::new();
    let progress = JournalReader::new(dir, positions).read(|record| records.push(record)).unwrap();
    assert!(!progress.live);
    (records, progress.damaged)
}

fn segment(dir: &Path) -> PathBuf {
    let is_segment =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<SegmentName>().is_ok();
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    paths.retain(is_segment);
    paths.sort();
    paths.remove(0)
}

/// Where each record ends: what a reader has behind it.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![16];
    loop {
        let at = *ends.last().unwrap();
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        if length == u32::MAX {
            return ends;
        }
        ends.push(at + 8 + length as usize);
    }
}

fn wanted(numbers: impl Iterator<Item = u64>) -> Vec<JournalRecord> {
    numbers.map(record).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_cut_anywhere_loses_only_the_tail(count in 1u64..40, cut: prop::sample::Index, garbage: Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 0, 0..count);
        let path = segment(dir.path());
        let bytes = fs::read(&path).unwrap();
        let ends = ends(&bytes);
        // Anything but the header, which is on the disk before the file has its name.
        let cut = 16 + cut.index(bytes.len() - 16);
        let whole = ends.iter().filter(|&&end| end <= cut).count() - 1;
        let mut torn = bytes[..cut].to_vec();
        torn.extend(&garbage);
        fs::write(&path, &torn).unwrap();

        prop_assert_eq!(read(dir.path(), Default::default()), (wanted(0..whole as u64), 0));
        let next = journal(dir.path(), 1);
        let recovered = next.recovered();
        prop_assert_eq!(recovered.len(), 1);
        prop_assert_eq!(recovered[0].cut_bytes as usize, torn.len() - ends[whole]);
        prop_assert_eq!(&recovered[0].error, &None);
        assert!(next.handle().push(record(99)));
        drop(next);
        let numbers = (0..whole as u64).chain([99]);
        prop_assert_eq!(read(dir.path(), Default::default()), (wanted(numbers), 0));
        // Closed once, it is not closed again.
        let third = journal(dir.path(), 2);
        prop_assert_eq!(third.recovered(), []);
    }

    #[test]
    fn a_damaged_byte_costs_one_record_or_the_tail(count in 2u64..40, at: prop::sample::Index, bit in 0..8) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 0, 0..count);
        let path = segment(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        let ends = ends(&bytes);
        let at = 16 + at.index(bytes.len() - 16 - 8);
        bytes[at] ^= 1u8 << bit;
        fs::write(&path, &bytes).unwrap();
        let hit = ends.iter().filter(|&&end| end <= at).count() as u64 - 1;
        let (records, damaged) = read(dir.path(), Default::default());
        if damaged == 1 {
            prop_assert_eq!(records, wanted((0..count).filter(|&n| n != hit)));
        } else {
            // The length itself was hit: where the next record starts is unknown.
            prop_assert_eq!(records, wanted(0..hit));
            prop_assert!(at - ends[hit as usize] < 4);
        }
    }

    #[test]
    fn reading_goes_on_at_any_place(count in 1u64..40, from: prop::sample::Index) {
        let dir = tempfile::tempdir().unwrap();
        let last = write(dir.path(), 0, 0..count);
        let ends = ends(&fs::read(segment(dir.path())).unwrap());
        prop_assert_eq!(last.offset as usize, *ends.last().unwrap());
        let from = from.index(ends.len());
        let at = JournalPosition { offset: ends[from] as u64, ..last };
        let (records, _) = read(dir.path(), [at].into_iter().collect());
        prop_assert_eq!(records, wanted(from as u64..count));
    }
}

#[test]
fn a_successor_follows_what_the_old_process_still_writes() {
    let dir = tempfile::tempdir().unwrap();
    let old = journal(dir.path(), 0);
    let new = journal(dir.path(), 1);
    assert_eq!(new.recovered(), [], "what is written to is left alone");
    let mut reader = JournalReader::new(dir.path(), Default::default()).without(new.handle().stream());
    let mut followed = Vec::new();
    for n in 0..50 {
        assert!(new.handle().push(record(1_000 + n)));
        assert!(old.handle().push(record(n)));
        if n % 10 == 9 {
            // Without any flush it gets there.
            let deadline = Instant::now() + PATIENCE;
            while followed.len() <= n as usize {
                assert!(Instant::now() < deadline, "record {n} does not come");
                assert!(reader.read(|record| followed.push(record)).unwrap().live || followed.is_empty());
                std::thread::yield_now();
            }
        }
    }
    drop(old);
    let last = reader.read(|record| followed.push(record)).unwrap();
    assert_eq!((last.live, last.damaged), (false, 0));
    assert_eq!(followed, wanted(0..50));
    // Its places and the successor's own are what a checkpoint keeps.
    let mut positions = reader.positions().clone();
    positions.advance(&new.close(PATIENCE).unwrap().unwrap());
    assert_eq!(read(dir.path(), positions), (Vec::new(), 0));
}

#[test]
fn a_segment_of_a_newer_version_is_left_alone_and_told() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0, 0..3);
    let path = segment(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] += 1;
    bytes.truncate(bytes.len() - 8);
    fs::write(&path, &bytes).unwrap();
    assert!(JournalReader::new(dir.path(), Default::default()).read(drop).is_err());
    let next = journal(dir.path(), 1);
    assert!(next.recovered()[0].error.as_ref().unwrap().contains("newer version"));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn health_counts_everything() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path(), 0);
    let handle = journal.handle();
    assert_eq!(handle.flush(PATIENCE), Ok(None));
    for n in 0..10 {
        assert!(handle.push(record(n)));
    }
    handle.flush(PATIENCE).unwrap();
    let health = handle.health();
    assert_eq!((health.pushed, health.durable, health.dropped), (10, 10, 0));
    assert_eq!((health.lag_ms, health.error), (0, None));
}
