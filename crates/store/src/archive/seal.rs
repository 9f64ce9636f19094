//! Sealing: closed segments of the journal become Parquet.
//!
//! Each file is written under a hidden name, made durable and renamed; the segment goes only when all its files
//! are in place and the checkpoints cover it. A crash at any step leaves the segment, and sealing it again writes
//! the same files over.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use tokenwatch_model::event::{JournalRecord, UsageEvent};
use tokenwatch_model::finding::Finding;
use tokenwatch_model::time::{DAY, HOUR, Timestamp};

use crate::archive::table::{Record, Table, layout};
use crate::archive::{Archive, TIME_MAX, date_dir, hour_dir};
use crate::files;
use crate::journal::segment::{self, ClosedSegment, Frame, HEADER_LEN, SegmentReader};
use crate::journal::{JournalPositions, SegmentName, Stream};

/// Rows of a row group: what a reader that looks for one key has to decode at least, and what sealing keeps in
/// memory at most, some ten megabytes.
const GROUP_ROWS: usize = 32_768;

/// Why nothing can be sealed.
#[derive(Debug, thiserror::Error)]
#[error("the journal in {path} can not be listed")]
pub struct SealError {
    /// The folder.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// A segment that could not be sealed. It stays, and is tried again the next time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealFailure {
    /// Which.
    pub segment: SegmentName,
    /// Why.
    pub error: String,
}

/// What sealing did.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SealReport {
    /// Segments that are Parquet now.
    pub sealed: Vec<SegmentName>,
    /// Usage events in them.
    pub events: u64,
    /// Findings in them.
    pub findings: u64,
    /// Bytes of the files made from them.
    pub parquet_bytes: u64,
    /// Records that storage had damaged. Their segments are kept beside the journal with the ending `.damaged`.
    pub damaged: u64,
    /// Segments that are still written to, or not yet covered by checkpoints.
    pub waiting: u64,
    /// Segments that could not be sealed.
    pub failures: Vec<SealFailure>,
    /// Streams that still have segments; the places of others may be forgotten.
    pub streams: Vec<Stream>,
}

impl Archive {
    /// Turns every segment in `journal` that is closed and covered by checkpoints into Parquet, and deletes it.
    /// Safe beside other processes that do the same. Reads and writes a lot: run it on a thread of its own.
    ///
    /// # Errors
    ///
    /// When the journal can not be listed. What goes wrong with one segment is in the report.
    pub fn seal(&self, journal: &Path, covered: &JournalPositions) -> Result<SealReport, SealError> {
        self.seal_with(journal, covered, &mut || Ok(()))
    }

    /// `step` is asked before everything that changes the disk, so that tests can fail each.
    fn seal_with(
        &self,
        journal: &Path,
        covered: &JournalPositions,
        step: &mut dyn FnMut() -> io::Result<()>,
    ) -> Result<SealReport, SealError> {
        let names = segment::list_segments(journal)
            .map_err(|source| SealError { path: journal.to_owned(), source })?;
        let mut report = SealReport::default();
        let mut streams = BTreeSet::new();
        for name in names {
            let mut sealer =
                Sealer { archive: &self.dir, journal, name: &name, step: &mut *step, report: &mut report };
            match sealer.seal(covered) {
                Ok(true) => {
                    report.sealed.push(name);
                    continue;
                }
                Ok(false) => report.waiting += 1,
                // Somebody else sealed it.
                Err(SealSegmentError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let error = error.to_string();
                    tracing::error!(%error, segment = %name, "a journal segment can not be sealed");
                    report.failures.push(SealFailure { segment: name.clone(), error });
                }
            }
            streams.insert(name.stream);
        }
        report.streams = streams.into_iter().collect();
        Ok(report)
    }
}

#[derive(Debug, thiserror::Error)]
enum SealSegmentError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    #[error(transparent)]
    Encode(#[from] serde_json::Error),
}

/// Where the records of a segment belong: per table, the partition and the frame's place, in order.
#[derive(Default)]
struct Index {
    events: Vec<(u64, u64)>,
    findings: Vec<(u64, u64)>,
    damaged: u64,
}

struct Sealer<'a> {
    archive: &'a Path,
    journal: &'a Path,
    name: &'a SegmentName,
    step: &'a mut dyn FnMut() -> io::Result<()>,
    report: &'a mut SealReport,
}

impl Sealer<'_> {
    /// True when the segment is sealed, false when it has to wait.
    fn seal(&mut self, covered: &JournalPositions) -> Result<bool, SealSegmentError> {
        // The lock keeps other sealers away until this returns.
        let Some(ClosedSegment { file, end, .. }) = segment::close_segment(self.journal, self.name)? else {
            return Ok(false);
        };
        if end > HEADER_LEN && covered.offset_in(self.name) < end {
            return Ok(false);
        }
        let mut reader = SegmentReader::new(file.try_clone()?, 0)?;
        let index = build_index(&mut reader)?;
        let (events, event_bytes) = self.write_table::<UsageEvent>(&mut reader, &index.events)?;
        let (findings, finding_bytes) = self.write_table::<Finding>(&mut reader, &index.findings)?;
        self.remove_segment(index.damaged)?;
        self.report.events += events;
        self.report.findings += findings;
        self.report.damaged += index.damaged;
        self.report.parquet_bytes += event_bytes + finding_bytes;
        Ok(true)
    }

    /// Writes one file per partition; records and bytes written.
    fn write_table<R: Record>(
        &mut self,
        reader: &mut SegmentReader,
        index: &[(u64, u64)],
    ) -> Result<(u64, u64), SealSegmentError> {
        let mut done = (0, 0);
        for partition in index.chunk_by(|a, b| a.0 == b.0) {
            let Some(&(number, _)) = partition.first() else { continue };
            let bytes = self.write_partition::<R>(reader, number, partition)?;
            done = (done.0 + partition.len() as u64, done.1 + bytes);
        }
        Ok(done)
    }

    fn write_partition<R: Record>(
        &mut self,
        reader: &mut SegmentReader,
        number: u64,
        partition: &[(u64, u64)],
    ) -> Result<u64, SealSegmentError> {
        let start = Timestamp(number.saturating_mul(partition_span::<R>()));
        let table_dir = self.archive.join(R::TABLE);
        let date_dir = table_dir.join(date_dir(start));
        let dir = if R::BY_HOUR { date_dir.join(hour_dir(start)) } else { date_dir.clone() };
        (self.step)()?;
        files::create_dir(&dir)?;
        // Engines pass hidden files over.
        let temporary = dir.join(format!(".{}.parquet.new", self.name.stem()));
        (self.step)()?;
        let file = files::create_private(&temporary)?;
        let (schema, properties) = layout::<R>()?;
        let mut writer = SerializedFileWriter::new(file, schema, properties)?;
        let mut table = Table::new(R::COLUMNS);
        for &(_, place) in partition {
            if let Some(record) = read_record::<R>(reader, place)? {
                table.push(&record)?;
            }
            if table.rows() >= GROUP_ROWS {
                (self.step)()?;
                table.write_to(&mut writer)?;
            }
        }
        if table.rows() > 0 {
            (self.step)()?;
            table.write_to(&mut writer)?;
        }
        let file = writer.into_inner()?;
        (self.step)()?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        (self.step)()?;
        fs::rename(&temporary, dir.join(format!("{}.parquet", self.name.stem())))?;
        (self.step)()?;
        for dir in [dir.as_path(), &date_dir, &table_dir, self.archive] {
            files::sync_dir(dir)?;
        }
        if let Some(above) = self.archive.parent() {
            files::sync_dir(above)?;
        }
        Ok(bytes)
    }

    fn remove_segment(&mut self, damaged: u64) -> Result<(), SealSegmentError> {
        let path = self.journal.join(self.name.to_string());
        (self.step)()?;
        if damaged == 0 {
            fs::remove_file(&path)?;
        } else {
            fs::rename(&path, self.journal.join(format!("{}.damaged", self.name.stem())))?;
        }
        (self.step)()?;
        files::sync_dir(self.journal)?;
        Ok(())
    }
}

/// Microseconds in a partition.
const fn partition_span<R: Record>() -> u64 {
    if R::BY_HOUR { HOUR } else { DAY }
}

fn partition_of<R: Record>(record: &R) -> u64 {
    record.time().min(TIME_MAX).0 / partition_span::<R>()
}

fn build_index(reader: &mut SegmentReader) -> io::Result<Index> {
    let mut index = Index::default();
    reader.seek(HEADER_LEN);
    loop {
        let place = reader.offset();
        match reader.next()? {
            Frame::Record(payload) => match postcard::from_bytes(payload) {
                Ok(JournalRecord::Usage(event)) => index.events.push((partition_of(&event), place)),
                Ok(JournalRecord::Finding(finding)) => index.findings.push((partition_of(&finding), place)),
                // The database keeps what people said.
                Ok(JournalRecord::Feedback { .. } | JournalRecord::Suppressed { .. }) => {}
                Err(_) => index.damaged += 1,
            },
            Frame::Damaged => index.damaged += 1,
            Frame::End | Frame::Partial => break,
        }
    }
    // Stable: within a partition the order stays that of the journal.
    index.events.sort_by_key(|&(partition, _)| partition);
    index.findings.sort_by_key(|&(partition, _)| partition);
    Ok(index)
}

fn read_record<R: Record>(reader: &mut SegmentReader, place: u64) -> io::Result<Option<R>> {
    reader.seek(place);
    match reader.next()? {
        Frame::Record(payload) => Ok(postcard::from_bytes(payload).ok().and_then(R::from_journal)),
        Frame::Damaged | Frame::End | Frame::Partial => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a record changed while it was archived"))
        }
    }
}

#[cfg(test)]
mod tests;
