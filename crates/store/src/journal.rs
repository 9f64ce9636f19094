//! The journal: usage events, feedback and findings in order, on disk at most a tenth of a second after they
//! were handed over, as far as the disk keeps up.
//!
//! Invariants: handing a record over never blocks and never fails for want of a disk; a crash loses at most what
//! was handed over since the last sync; each process writes files of its own, so two never share one.
//!
//! How long a record waits: a sync begins at most half of [`JournalOptions::sync_every`] after it was handed
//! over, sooner where the disk is slow, or as soon as the one under way is done. So it is durable after that half, or
//! one sync, and one sync more: with 100 ms, a disk that syncs within 50 ms keeps the promise. What it took is measured, not assumed:
//! [`JournalHandle::take_lags`], [`JournalHealth::lag_worst_ms`].

mod lag;
mod position;
mod reader;
pub(crate) mod segment;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::ports::EventSink;

use self::lag::Lags;
pub use self::position::{JournalPosition, JournalPositions, ParseSegmentError, SegmentName, Stream};
pub use self::reader::{JournalReader, Progress, ReplayError};
use self::writer::{DirDisk, Disk, Writer};
use crate::error::OpenError;
use crate::files;

/// Wait between attempts to get a flush into a full ring.
const FLUSH_RETRY: Duration = Duration::from_millis(1);

/// How to write a journal.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Whose records these are; unique per process.
    pub stream: Stream,
    /// A record is on the disk at most this long after it was pushed, as far as the disk keeps up. It is synced
    /// four times as often, so that the sync itself has time, and one that is under way before it.
    pub sync_every: Duration,
    /// A segment that has grown to this many bytes is closed.
    pub segment_bytes: u64,
    /// A segment of this age is closed, so that quiet systems see their events archived too.
    pub segment_age: Duration,
    /// Records that wait for the writer at most; more are dropped. One takes about half a kilobyte while it
    /// waits.
    pub ring: usize,
}

impl JournalOptions {
    /// Synced within 100 ms, segments of 32 MiB or ten minutes, 65,536 records of room.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            sync_every: Duration::from_millis(100),
            segment_bytes: 32 << 20,
            segment_age: Duration::from_secs(600),
            ring: 65_536,
        }
    }
}

/// A segment that a process which died had left open, and that is closed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Which.
    pub segment: SegmentName,
    /// Bytes of an unfinished record at its end that were cut off.
    pub cut_bytes: u64,
    /// Why it could not be closed; it is left as it is then.
    pub error: Option<String>,
}

/// How the journal is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalHealth {
    /// Records taken in.
    pub pushed: u64,
    /// Records dropped: the ring was full, or they could not be encoded.
    pub dropped: u64,
    /// Records on the disk.
    pub durable: u64,
    /// Age of the oldest record that may not be on the disk yet, in milliseconds; 0 when all are.
    pub lag_ms: u64,
    /// The longest that a record may have waited for the disk in the last minute or two, in milliseconds.
    pub lag_worst_ms: u64,
    /// What keeps the writer from writing; `None` when nothing does.
    pub error: Option<String>,
}

/// Why a flush did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// The disk did not keep up, or does not work.
    #[error("the journal could not be written in time{}", .error.as_ref().map(|e| format!(": {e}")).unwrap_or_default())]
    Timeout {
        /// What keeps the writer from writing, if it said.
        error: Option<String>,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

/// What the writer says to everyone.
struct Status {
    durable: u64,
    /// Everything pushed before this moment is on the disk.
    durable_through: Instant,
    error: Option<String>,
    lags: Lags,
}

struct Shared {
    pushed: AtomicU64,
    dropped: AtomicU64,
    /// Messages that the writer has not taken yet.
    waiting: AtomicU64,
    /// Nobody may push any more.
    closing: AtomicBool,
    /// The writer is to end.
    ending: AtomicBool,
    status: Mutex<Status>,
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::large_enum_variant, reason = "nearly all are records; boxing them would allocate for each")]
enum Message {
    Record(JournalRecord),
    Flush(Sender<Option<JournalPosition>>),
}

/// A journal being written. Dropping it writes what is left and ends its thread.
pub struct Journal {
    handle: JournalHandle,
    thread: Option<JoinHandle<()>>,
    recovered: Vec<Recovered>,
}

/// Lets requests go first where the journal's thread shares a core with a worker: it needs a few hundredths of a core,
/// which it gets at this rank, too. Refused, it costs latency, not events.
fn step_back() {
    // On Linux this is the rank of the calling thread alone; elsewhere it would be the whole process's.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(5);
}

impl Journal {
    /// Opens the journal in `dir`, closes what processes that died had left open, and starts a writer thread.
    ///
    /// The first file is made with the first record: a full disk does not keep a server from starting.
    ///
    /// # Errors
    ///
    /// When the folder can not be made or listed, or no thread can be started.
    pub fn open(dir: &Path, options: JournalOptions) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Files { path: dir.to_owned(), source };
        files::create_dir(dir).map_err(failed)?;
        let recovered = recover(dir).map_err(failed)?;
        Self::start(DirDisk::new(dir), options, recovered).map_err(failed)
    }

    fn start<D: Disk>(disk: D, options: JournalOptions, recovered: Vec<Recovered>) -> io::Result<Self> {
        // Not a channel with a bound: it takes all its room at once, some twenty megabytes that hardly any
        // server ever uses. The bound is counted instead.
        let (sender, receiver) = mpsc::channel();
        let shared = Arc::new(Shared {
            pushed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            status: Mutex::new(Status {
                durable: 0,
                durable_through: Instant::now(),
                error: None,
                lags: Lags::new(Instant::now()),
            }),
        });
        let ring = (options.ring as u64).max(1);
        let stream = options.stream.clone();
        let writer = Writer::new(disk, options, receiver, Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("tw-journal".into()).spawn(move || {
            step_back();
            writer.run();
        })?;
        let handle = JournalHandle { sender, shared, writer: thread.thread().clone(), ring, stream };
        Ok(Self { handle, thread: Some(thread), recovered })
    }

    /// What pushes records; cheap to clone.
    pub fn handle(&self) -> JournalHandle {
        self.handle.clone()
    }

    /// The segments that had to be closed for processes that died.
    pub fn recovered(&self) -> &[Recovered] {
        &self.recovered
    }

    /// Writes what is left and closes the segment, waiting at most about `timeout` for the disk.
    ///
    /// # Errors
    ///
    /// When not everything reached the disk.
    pub fn close(self, timeout: Duration) -> Result<Option<JournalPosition>, FlushError> {
        self.handle.shared.closing.store(true, Ordering::Release);
        let flushed = self.handle.flush(timeout);
        drop(self);
        flushed
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.handle.shared.closing.store(true, Ordering::Release);
        self.handle.shared.ending.store(true, Ordering::Release);
        self.handle.writer.unpark();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
    }
}

/// Pushes records into a journal.
#[derive(Clone)]
pub struct JournalHandle {
    sender: Sender<Message>,
    shared: Arc<Shared>,
    writer: Thread,
    /// Messages that may wait.
    ring: u64,
    stream: Stream,
}

impl JournalHandle {
    /// The stream that the records go to.
    pub const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Waits until every record pushed before this call is on the disk; the end of the last one, or `None` when
    /// this process has not written any. Blocks: keep it off the async runtime.
    ///
    /// # Errors
    ///
    /// When the disk does not get there in time, or the journal is closed.
    pub fn flush(&self, timeout: Duration) -> Result<Option<JournalPosition>, FlushError> {
        let deadline = Instant::now() + timeout;
        let (reply, answer) = mpsc::channel();
        while self.take_room().is_none() {
            if Instant::now() >= deadline {
                return Err(self.late());
            }
            self.writer.unpark();
            std::thread::sleep(FLUSH_RETRY);
        }
        if !self.send(Message::Flush(reply)) {
            return Err(FlushError::Closed);
        }
        self.writer.unpark();
        match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(position) => Ok(position),
            Err(RecvTimeoutError::Timeout) => Err(self.late()),
            Err(RecvTimeoutError::Disconnected) => match self.shared.status().error.clone() {
                None => Err(FlushError::Closed),
                error => Err(FlushError::Timeout { error }),
            },
        }
    }

    /// Takes room for a message in the ring, unless it is full; says how many wait with it.
    fn take_room(&self) -> Option<u64> {
        let before = self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        if before >= self.ring {
            self.give_room_back();
            return None;
        }
        Some(before + 1)
    }

    fn give_room_back(&self) {
        self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Sends a message for which there is room; false when nobody takes it any more.
    fn send(&self, message: Message) -> bool {
        let is_sent = self.sender.send(message).is_ok();
        if !is_sent {
            self.give_room_back();
        }
        is_sent
    }

    fn late(&self) -> FlushError {
        FlushError::Timeout { error: self.shared.status().error.clone() }
    }

    /// How the journal is doing. Never waits for the disk.
    pub fn health(&self) -> JournalHealth {
        // Read before `pushed`: a record pushed in between then only makes the lag look longer, never zero.
        let (durable, through, error, worst) = {
            let status = self.shared.status();
            let worst = status.lags.worst(Instant::now());
            (status.durable, status.durable_through, status.error.clone(), worst)
        };
        let pushed = self.shared.pushed.load(Ordering::Acquire);
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let lag_ms = if pushed > durable { through.elapsed().as_millis() as u64 } else { 0 };
        let lag_worst_ms = lag_ms.max(worst.as_millis() as u64);
        JournalHealth { pushed, dropped, durable, lag_ms, lag_worst_ms, error }
    }

    /// For each sync since the last call, the longest that any of its records may have waited for the disk: the
    /// time since the records before them were taken up, so up to half of
    /// [`JournalOptions::sync_every`] more than it was.
    pub fn take_lags(&self) -> Vec<Duration> {
        self.shared.status().lags.take()
    }
}

impl EventSink for JournalHandle {
    fn push(&self, record: JournalRecord) -> bool {
        let is_closing = self.shared.closing.load(Ordering::Acquire);
        let room = if is_closing { None } else { self.take_room() };
        let sent = room.filter(|_| self.send(Message::Record(record)));
        let Some(waiting) = sent else {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        self.shared.pushed.fetch_add(1, Ordering::AcqRel);
        // The writer looks by itself often enough; it is only woken, which costs a system call, when the ring
        // fills faster than that.
        if waiting >= self.ring / 2 && waiting.is_multiple_of(256) {
            self.writer.unpark();
        }
        true
    }
}

/// Closes every segment of processes that died. One that can not be closed is reported and left for later.
fn recover(dir: &Path) -> io::Result<Vec<Recovered>> {
    let mut recovered = Vec::new();
    for name in files::list_dir(dir)? {
        let path: PathBuf = dir.join(&name);
        if writer::is_leftover(&name) {
            writer::remove_leftover(&path)?;
            continue;
        }
        let Ok(segment) = name.parse::<SegmentName>() else { continue };
        match segment::close_segment(dir, &segment) {
            Ok(Some(closed)) if closed.was_torn => {
                recovered.push(Recovered { segment, cut_bytes: closed.cut_bytes, error: None });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => recovered.push(Recovered { segment, cut_bytes: 0, error: Some(error.to_string()) }),
        }
    }
    Ok(recovered)
}
