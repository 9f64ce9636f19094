//! The thread that writes the journal, and the disk as it sees it.
//!
//! Invariants: bytes leave memory only after a sync that succeeded; after a failure everything since then is
//! written again at the same place, because the system may have dropped pages whose sync failed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use tokenwatch_model::event::JournalRecord;

use crate::files;
use crate::journal::position::{JournalPosition, SegmentName};
use crate::journal::segment;
use crate::journal::{JournalOptions, Message, Shared};
use crate::redact::Redactor;

/// Most encoded bytes kept in memory; with the ring behind it that is all that a dead disk can take.
const PENDING_MAX: usize = 8 << 20;
/// Room kept between batches.
const PENDING_KEPT: usize = 1 << 20;

/// Records encoded in one go while few wait: some twenty microseconds.
const STRETCH: u64 = 16;
/// From so many waiting records on the writer hurries.
const MANY: u64 = 1_024;

/// Where segments are made.
pub(crate) trait Disk: Send + 'static {
    /// A segment being written.
    type File: SegmentFile;

    /// Makes a segment with its header, locked and durable. Fails with `AlreadyExists` when the name is taken.
    fn create(&mut self, name: &SegmentName) -> io::Result<Self::File>;
}

/// A segment being written.
pub(crate) trait SegmentFile: Send {
    /// Writes all bytes at a place.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder on a real disk.
pub(crate) struct DirDisk(PathBuf);

impl DirDisk {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }
}

impl Disk for DirDisk {
    type File = File;

    fn create(&mut self, name: &SegmentName) -> io::Result<File> {
        // Locked before it has its name, so that nobody takes it for one of a process that died.
        let temporary = self.0.join(format!(".{name}{LEFTOVER}"));
        let file = files::create_private(&temporary)?;
        file.try_lock()?;
        file.write_all_at(&segment::header(), 0)?;
        file.sync_all()?;
        let linked = fs::hard_link(&temporary, self.0.join(name.to_string()));
        files::remove_if_there(&temporary)?;
        linked?;
        files::sync_dir(&self.0)?;
        Ok(file)
    }
}

impl SegmentFile for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// What a segment's name ends with until it is complete.
const LEFTOVER: &str = ".new";

/// Whether a file is a segment that never got its name.
pub(crate) fn is_leftover(name: &str) -> bool {
    name.strip_prefix('.')
        .and_then(|rest| rest.strip_suffix(LEFTOVER))
        .is_some_and(|rest| rest.parse::<SegmentName>().is_ok())
}

/// Removes a segment that never got its name, unless somebody is just making it.
pub(crate) fn remove_leftover(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(file) if segment::is_live(&file)? => Ok(()),
        Ok(_) => files::remove_if_there(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

struct OpenSegment<F> {
    name: SegmentName,
    file: F,
    /// Durable bytes.
    length: u64,
    opened: Instant,
}

pub(crate) struct Writer<D: Disk> {
    disk: D,
    options: JournalOptions,
    messages: Receiver<Message>,
    shared: Arc<Shared>,
    redactor: Redactor,
    segment: Option<OpenSegment<D::File>>,
    next_ordinal: u32,
    position: Option<JournalPosition>,
    /// Frames that are not durable yet.
    pending: Vec<u8>,
    pending_records: u64,
    flushes: Vec<mpsc::Sender<Option<JournalPosition>>>,
}

/// From one sync's beginning to the next. A record that just missed one waits for this, for the rest of that sync and for
/// its own; every sync takes a core from requests for a moment, so a quick disk is asked half as often.
fn pause(sync_every: Duration, disk: Duration) -> Duration {
    sync_every.saturating_sub(disk * 2).clamp(sync_every / 4, sync_every / 2)
}

impl<D: Disk> Writer<D> {
    pub(crate) fn new(
        disk: D,
        options: JournalOptions,
        messages: Receiver<Message>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            disk,
            options,
            messages,
            shared,
            redactor: Redactor::new(),
            segment: None,
            next_ordinal: 0,
            position: None,
            pending: Vec::with_capacity(PENDING_KEPT),
            pending_records: 0,
            flushes: Vec::new(),
        }
    }

    pub(crate) fn run(mut self) {
        // How long the disk took lately.
        let mut disk = Duration::ZERO;
        loop {
            let began = Instant::now();
            // Asked before taking: what was pushed before the end is still taken.
            let ending = self.shared.ending.load(Ordering::Acquire);
            let more = self.gather();
            let asked = Instant::now();
            let persisted = self.persist();
            disk = asked.elapsed().max(disk / 8 * 7);
            self.tell(began, &persisted);
            if ending && !more {
                if persisted.is_ok() {
                    self.end_segment();
                }
                return;
            }
            match persisted {
                Err(_) if ending => return,
                Err(_) => std::thread::park_timeout(self.options.sync_every * 2),
                Ok(()) => {
                    self.end_segment_when_due();
                    if !more {
                        let pause = pause(self.options.sync_every, disk);
                        std::thread::park_timeout(pause.saturating_sub(began.elapsed()));
                    }
                }
            }
        }
    }

    /// Encodes what waits, as far as there is room; true when there is more.
    fn gather(&mut self) -> bool {
        let mut taken = 0_u64;
        while self.pending.len() < PENDING_MAX {
            let message = match self.messages.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return false,
            };
            let waiting = self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
            match message {
                Message::Record(record) => self.encode(&record),
                Message::Flush(reply) => self.flushes.push(reply),
            }
            taken += 1;
            // On a core that a worker needs, too, a request would wait until all is encoded: let it go first.
            if taken.is_multiple_of(STRETCH) && waiting < MANY {
                std::thread::yield_now();
            }
        }
        true
    }

    fn encode(&mut self, record: &JournalRecord) {
        let redactor = &self.redactor;
        let framed = segment::push_frame(record, &mut self.pending, |payload| {
            redactor.mask(payload);
        });
        match framed {
            Ok(()) => self.pending_records += 1,
            Err(error) => {
                // No longer one that waits, so that nobody waits for it.
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                self.shared.status().durable += 1;
                tracing::error!(%error, "a record was left out of the journal");
            }
        }
    }

    /// Makes everything gathered durable.
    fn persist(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.segment.is_none() {
            self.segment = Some(self.create_segment()?);
        }
        let Some(segment) = &mut self.segment else { return Ok(()) };
        segment.file.write_at(&self.pending, segment.length)?;
        segment.file.sync()?;
        segment.length += self.pending.len() as u64;
        self.position = Some(JournalPosition { segment: segment.name.clone(), offset: segment.length });
        self.pending.clear();
        self.pending.shrink_to(PENDING_KEPT);
        Ok(())
    }

    fn create_segment(&mut self) -> io::Result<OpenSegment<D::File>> {
        loop {
            let name = self.options.stream.segment(self.next_ordinal);
            match self.disk.create(&name) {
                Ok(file) => {
                    self.next_ordinal += 1;
                    let length = segment::HEADER_LEN;
                    return Ok(OpenSegment { name, file, length, opened: Instant::now() });
                }
                // Another process calls itself the same; its files are left alone.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.next_ordinal += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Tells those who wait and those who look.
    fn tell(&mut self, began: Instant, persisted: &io::Result<()>) {
        let mut status = self.shared.status();
        match persisted {
            Ok(()) => {
                if status.error.take().is_some() {
                    tracing::info!("the journal is written again");
                }
                let now = Instant::now();
                let records = std::mem::take(&mut self.pending_records);
                if records > 0 {
                    // What is in this batch was handed over after the batch before was taken up.
                    let lag = now.saturating_duration_since(status.durable_through);
                    status.lags.add(now, lag);
                }
                status.durable += records;
                status.durable_through = began;
                drop(status);
                for flush in self.flushes.drain(..) {
                    // Who waited may have given up.
                    let _gone = flush.send(self.position.clone());
                }
            }
            Err(error) => {
                let text = error.to_string();
                if status.error.as_ref() != Some(&text) {
                    tracing::error!(error = %text, "the journal can not be written; events wait in memory");
                    status.error = Some(text);
                }
            }
        }
    }

    fn end_segment_when_due(&mut self) {
        let due = self.segment.as_ref().is_some_and(|segment| {
            segment.length >= self.options.segment_bytes
                || segment.opened.elapsed() >= self.options.segment_age
        });
        if due {
            self.end_segment();
        }
    }

    /// Marks the end. Should that fail, or be lost with the power, the segment is closed like that of a process
    /// that died: nothing is lost. So it is not synced, which records that wait would have to wait for.
    fn end_segment(&mut self) {
        let Some(mut segment) = self.segment.take() else { return };
        if let Err(error) = segment.file.write_at(segment::end_mark(), segment.length) {
            tracing::warn!(%error, segment = %segment.name, "the end of a journal segment could not be marked");
        }
    }
}

#[cfg(test)]
mod tests;
