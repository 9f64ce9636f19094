//! Reading the journal back: after a start from the last checkpoint, and what other processes still append.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tokenwatch_model::event::JournalRecord;

use crate::journal::position::{JournalPosition, JournalPositions, SegmentName, Stream};
use crate::journal::segment::{self, Frame, SegmentReader};

/// Why the journal can not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The folder can not be listed.
    #[error("the journal in {path} can not be listed")]
    List {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A segment can not be read, or is of a newer version.
    #[error("the journal segment {segment} can not be read")]
    Segment {
        /// Which.
        segment: SegmentName,
        /// What the system says.
        source: io::Error,
    },
}

/// What one call of [`JournalReader::read`] came across.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Records handed over.
    pub records: u64,
    /// Records passed over because storage damaged them.
    pub damaged: u64,
    /// Whether a segment that was looked at is still being appended to. A process that wrote nothing since its
    /// last segment ended does not show here.
    pub live: bool,
}

/// Reads the journal from given places on, and again whenever asked: what was appended meanwhile follows.
///
/// Records of one stream come in their order; streams come one after the other in the order of their start.
#[derive(Debug)]
pub struct JournalReader {
    dir: PathBuf,
    positions: JournalPositions,
    skip: Option<Stream>,
}

impl JournalReader {
    /// Reads the journal in `dir` from `positions` on; streams without a place from their start.
    pub fn new(dir: &Path, positions: JournalPositions) -> Self {
        Self { dir: dir.to_owned(), positions, skip: None }
    }

    /// Leaves out one stream: a process's own.
    #[must_use]
    pub fn without(mut self, stream: &Stream) -> Self {
        self.skip = Some(stream.clone());
        self
    }

    /// Up to where it has read: what to save with checkpoints once the records are taken in.
    pub const fn positions(&self) -> &JournalPositions {
        &self.positions
    }

    /// Hands every record to `take` that is there and was not handed over yet.
    ///
    /// # Errors
    ///
    /// When a file can not be read. Records before it were handed over; the next call goes on behind them.
    pub fn read(&mut self, mut take: impl FnMut(JournalRecord)) -> Result<Progress, ReplayError> {
        let names = segment::list_segments(&self.dir)
            .map_err(|source| ReplayError::List { path: self.dir.clone(), source })?;
        let mut progress = Progress::default();
        for name in names {
            let offset = self.positions.offset_in(&name);
            if offset == u64::MAX || self.skip.as_ref() == Some(&name.stream) {
                continue;
            }
            self.read_segment(&name, offset, &mut progress, &mut take)
                .map_err(|source| ReplayError::Segment { segment: name, source })?;
        }
        Ok(progress)
    }

    fn read_segment(
        &mut self,
        name: &SegmentName,
        offset: u64,
        progress: &mut Progress,
        take: &mut impl FnMut(JournalRecord),
    ) -> io::Result<()> {
        let file = match File::open(self.dir.join(name.to_string())) {
            Ok(file) => file,
            // Sealed and removed since it was listed, so a checkpoint covers it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // Asked before reading: what a writer appends before it ends must not be missed.
        progress.live |= segment::is_live(&file)?;
        if file.metadata()?.len() <= offset {
            return Ok(());
        }
        let mut reader = SegmentReader::new(file, offset)?;
        let outcome = loop {
            match reader.next() {
                Ok(Frame::Record(payload)) => match postcard::from_bytes(payload) {
                    Ok(record) => {
                        progress.records += 1;
                        take(record);
                    }
                    Err(_) => progress.damaged += 1,
                },
                Ok(Frame::Damaged) => progress.damaged += 1,
                Ok(Frame::End | Frame::Partial) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.positions.advance(&JournalPosition { segment: name.clone(), offset: reader.offset() });
        outcome
    }
}
