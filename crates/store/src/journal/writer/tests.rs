//! What the writer does when the disk does not.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokenwatch_model::ports::EventSink;

use super::*;
use crate::journal::{FlushError, Journal, JournalHandle, JournalReader, Stream};
use crate::samples::{START, record};

/// Fails calls as told, in their order; what it lets through reaches a real disk, and a failed write may have
/// written half.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<VecDeque<bool>>>, Arc<std::sync::atomic::AtomicBool>);

impl Faults {
    fn check(&self) -> io::Result<()> {
        let scripted = self.0.lock().unwrap().pop_front().unwrap_or(false);
        if scripted || self.1.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

struct FaultyDisk(DirDisk, Faults);
struct FaultyFile(File, Faults);

impl Disk for FaultyDisk {
    type File = FaultyFile;

    fn create(&mut self, name: &SegmentName) -> io::Result<FaultyFile> {
        self.1.check()?;
        Ok(FaultyFile(self.0.create(name)?, self.1.clone()))
    }
}

impl SegmentFile for FaultyFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Err(error) = self.1.check() {
            self.0.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        SegmentFile::write_at(&mut self.0, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.1.check()?;
        self.0.sync()
    }
}

fn options() -> JournalOptions {
    let stream = Stream::new(START, "test").unwrap();
    JournalOptions { sync_every: Duration::from_millis(4), ring: 64, ..JournalOptions::new(stream) }
}

fn start(dir: &Path, options: JournalOptions, faults: &Faults) -> Journal {
    Journal::start(FaultyDisk(DirDisk::new(dir), faults.clone()), options, Vec::new()).unwrap()
}

fn push_all(handle: &JournalHandle, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !handle.push(record(n)) {
            assert!(Instant::now() < deadline, "the ring stays full");
            std::thread::yield_now();
        }
    }
}

#[track_caller]
fn check_content(dir: &Path, want: std::ops::Range<u64>) {
    let mut found = Vec::new();
    let progress = JournalReader::new(dir, Default::default()).read(|record| found.push(record)).unwrap();
    assert_eq!(found, want.map(record).collect::<Vec<_>>());
    assert_eq!(progress.damaged, 0);
}

#[test]
fn any_failure_is_made_good_without_loss_or_repetition() {
    // Every script of six calls; later calls succeed.
    for script in 0..64u32 {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        faults.0.lock().unwrap().extend((0..6).map(|bit| script >> bit & 1 == 1));
        let journal = start(dir.path(), options(), &faults);
        let handle = journal.handle();
        push_all(&handle, 0..30);
        let mut position = handle.flush(Duration::from_secs(20)).unwrap();
        push_all(&handle, 30..60);
        position = position.max(handle.flush(Duration::from_secs(20)).unwrap());
        assert_eq!(handle.health().error, None);
        assert_eq!(journal.close(Duration::from_secs(20)).unwrap(), position);
        check_content(dir.path(), 0..60);
    }
}

#[test]
fn a_dead_disk_blocks_nobody_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    faults.1.store(true, Ordering::Relaxed);
    let journal = start(dir.path(), options(), &faults);
    let handle = journal.handle();
    let flushed = handle.flush(Duration::from_millis(20));
    assert_eq!(flushed, Ok(None), "there is nothing to write yet");
    assert!(handle.push(record(0)));
    let flushed = handle.flush(Duration::from_millis(400));
    assert!(matches!(&flushed, Err(FlushError::Timeout { error: Some(_) })), "{flushed:?}");
    // Memory is bounded: what does not fit is dropped and counted, and pushing goes on returning.
    let mut taken = 1;
    let deadline = Instant::now() + Duration::from_secs(60);
    while handle.health().dropped == 0 {
        assert!(Instant::now() < deadline, "nothing bounds the memory");
        taken += u64::from(handle.push(record(taken)));
    }
    let health = handle.health();
    assert_eq!((health.pushed, health.dropped, health.durable), (taken, 1, 0));
    assert!(health.error.is_some());
    // The disk is back: everything that was taken gets there.
    faults.1.store(false, Ordering::Relaxed);
    handle.flush(Duration::from_secs(60)).unwrap();
    let health = handle.health();
    assert_eq!((health.durable, health.lag_ms, health.error), (taken, 0, None));
    drop(journal);
    check_content(dir.path(), 0..taken);
    assert!(!handle.push(record(0)), "a closed journal takes nothing");
    assert_eq!(handle.flush(Duration::from_secs(1)), Err(FlushError::Closed));
}

#[test]
fn segments_end_at_their_size_and_names_are_never_shared() {
    let dir = tempfile::tempdir().unwrap();
    let small = JournalOptions { segment_bytes: 2_000, ..options() };
    let journal = start(dir.path(), small.clone(), &Faults::default());
    let twin = start(dir.path(), small, &Faults::default());
    for n in 0..40 {
        push_all(&journal.handle(), n..n + 1);
        journal.handle().flush(Duration::from_secs(20)).unwrap();
        push_all(&twin.handle(), n..n + 1);
        twin.handle().flush(Duration::from_secs(20)).unwrap();
    }
    drop((journal, twin));
    let mut count = [0; 40];
    let mut reader = JournalReader::new(dir.path(), Default::default());
    let progress = reader
        .read(|found| {
            let n = (0..40).find(|&n| record(n) == found).unwrap();
            count[n as usize] += 1;
        })
        .unwrap();
    assert_eq!(count, [2; 40]);
    assert!(!progress.live);
    assert!(segment::list_segments(dir.path()).unwrap().len() > 3);
}

/// Syncs only while the gate is open; what it lets through reaches a real disk.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, std::sync::Condvar)>);

impl Gate {
    fn set(&self, open: bool) {
        *self.0.0.lock().unwrap() = open;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let waited =
            self.0.1.wait_timeout_while(self.0.0.lock().unwrap(), Duration::from_secs(20), |open| !*open);
        assert!(!waited.unwrap().1.timed_out(), "nobody opened the gate");
    }
}

struct GatedDisk(DirDisk, Gate);
struct GatedFile(File, Gate);

impl Disk for GatedDisk {
    type File = GatedFile;

    fn create(&mut self, name: &SegmentName) -> io::Result<GatedFile> {
        Ok(GatedFile(self.0.create(name)?, self.1.clone()))
    }
}

impl SegmentFile for GatedFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        SegmentFile::write_at(&mut self.0, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.1.pass();
        self.0.sync()
    }
}

#[test]
fn nothing_is_called_durable_before_its_sync_and_what_it_waited_is_told() {
    const HELD: Duration = Duration::from_millis(30);
    let dir = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let journal =
        Journal::start(GatedDisk(DirDisk::new(dir.path()), gate.clone()), options(), Vec::new()).unwrap();
    let handle = journal.handle();
    for round in 0..5 {
        let before = handle.health();
        assert_eq!((before.pushed, before.durable, before.lag_ms), (3 * round, 3 * round, 0));
        assert!(handle.take_lags().is_empty());
        gate.set(false);
        push_all(&handle, 3 * round..3 * round + 3);
        let pushed = Instant::now();
        std::thread::sleep(HELD);
        let held = handle.health();
        assert_eq!((held.pushed, held.durable), (3 * round + 3, 3 * round));
        assert!(u128::from(held.lag_ms) >= HELD.as_millis() && held.lag_worst_ms >= held.lag_ms, "{held:?}");
        let waited = pushed.elapsed();
        gate.set(true);
        handle.flush(Duration::from_secs(20)).unwrap();
        // None is understated: some record waited for all the time that the gate was closed.
        let lags = handle.take_lags();
        assert!(lags.iter().any(|lag| *lag >= waited), "{lags:?} after {waited:?}");
        assert!(u128::from(handle.health().lag_worst_ms) >= waited.as_millis());
    }
    drop(journal);
    check_content(dir.path(), 0..15);
}

#[test]
fn a_slow_disk_is_asked_sooner() {
    let ms = Duration::from_millis;
    let check = |disk, want| assert_eq!(pause(ms(100), ms(disk)), ms(want), "{disk} ms");
    check(0, 50);
    check(25, 50);
    check(30, 40);
    check(40, 25);
    check(400, 25);
}
