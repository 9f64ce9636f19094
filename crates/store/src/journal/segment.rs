//! Segment files: a header, then frames, then an end mark when the segment was closed in order.
//!
//! Header, 16 bytes: `twjournl`, format version (u32), zero (u32). Frame: payload length (u32), CRC-32 of that
//! length and the payload (u32), payload: a [`JournalRecord`] in postcard. Numbers are little-endian.
//!
//! Invariants: a segment is only ever appended to, by the process that holds its lock; one without a lock and
//! without an end mark belongs to a process that died, and ends with its last whole frame.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tokenwatch_model::event::JournalRecord;

use crate::files;
use crate::journal::position::SegmentName;

/// What every segment starts with.
const MAGIC: &[u8; 8] = b"twjournl";
/// Version of the records' encoding. From the first release on, a new version must still read the old ones.
const FORMAT: u32 = 3;
/// Bytes before the first frame.
pub(crate) const HEADER_LEN: u64 = 16;
/// Bytes of a frame before its payload.
const FRAME_HEAD: usize = 8;
/// Longest payload. Larger lengths on disk are damage.
pub(crate) const RECORD_LEN_MAX: usize = 1 << 20;
/// Length of the end mark.
pub(crate) const END_LEN: u64 = FRAME_HEAD as u64;
/// The end mark: a length that no frame has.
const END: [u8; FRAME_HEAD] = [0xff, 0xff, 0xff, 0xff, b'd', b'o', b'n', b'e'];
/// Bytes read at once.
const WINDOW: usize = 256 << 10;

/// The header of a new segment.
pub(crate) fn header() -> [u8; HEADER_LEN as usize] {
    let mut header = [0; HEADER_LEN as usize];
    let (magic, rest) = header.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    let (format, _) = rest.split_at_mut(4);
    format.copy_from_slice(&FORMAT.to_le_bytes());
    header
}

/// The end mark.
pub(crate) const fn end_mark() -> &'static [u8] {
    &END
}

/// Why a record can not be framed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The codec refuses.
    #[error("a journal record can not be encoded")]
    Encode(#[from] postcard::Error),
    /// It is longer than a frame may be.
    #[error("a journal record of {0} bytes is too long")]
    TooLong(usize),
}

/// Appends to a buffer without going byte by byte.
struct Appender<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appender<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends a frame to `out`, letting `mask` change its payload in place; on an error `out` is as before.
pub(crate) fn push_frame(
    record: &JournalRecord,
    out: &mut Vec<u8>,
    mask: impl FnOnce(&mut [u8]),
) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD]);
    let encoded = postcard::serialize_with_flavor(record, Appender(out)).map_err(FrameError::from);
    let length = out.len() - start - FRAME_HEAD;
    let fits = if length > RECORD_LEN_MAX { Err(FrameError::TooLong(length)) } else { Ok(()) };
    if let Err(error) = encoded.and(fits) {
        out.truncate(start);
        return Err(error);
    }
    let (_, frame) = out.split_at_mut(start);
    let (head, payload) = frame.split_at_mut(FRAME_HEAD);
    mask(payload);
    let length = (length as u32).to_le_bytes();
    let (length_field, crc_field) = head.split_at_mut(4);
    length_field.copy_from_slice(&length);
    crc_field.copy_from_slice(&checksum(length, payload).to_le_bytes());
    Ok(())
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// What stands at a place in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A whole payload.
    Record(&'a [u8]),
    /// A frame whose checksum does not fit, followed by whole ones: bad storage, not a crash. Stepped over.
    Damaged,
    /// The end mark.
    End,
    /// No whole frame: the writer is not done with it, or died.
    Partial,
}

/// Reads a segment frame by frame; can go on when more was appended.
pub(crate) struct SegmentReader {
    file: File,
    window: Vec<u8>,
    window_start: u64,
    offset: u64,
}

impl SegmentReader {
    /// Starts at `offset`, or at the first frame if that is later.
    ///
    /// # Errors
    ///
    /// When the file can not be read, or was not written by this or an earlier version of the journal.
    pub(crate) fn new(file: File, offset: u64) -> io::Result<Self> {
        let mut reader = Self { file, window: Vec::new(), window_start: 0, offset: offset.max(HEADER_LEN) };
        let head = reader.fill(0, HEADER_LEN as usize)?;
        if head != header() {
            let wrong = "not a journal segment, or one of an unreleased or newer version of tokenwatch";
            return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
        }
        Ok(reader)
    }

    /// Where the next frame starts.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes to a place where a frame starts.
    pub(crate) const fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The next frame; stays where it is at the end and at a partial frame.
    pub(crate) fn next(&mut self) -> io::Result<Frame<'_>> {
        let at = self.offset;
        match self.look(at)? {
            Look::Whole(length) => {
                self.offset = at + FRAME_HEAD as u64 + length as u64;
                let frame = self.fill(at, FRAME_HEAD + length)?;
                Ok(frame.get(FRAME_HEAD..).map_or(Frame::Partial, Frame::Record))
            }
            Look::End => Ok(Frame::End),
            Look::Nothing => Ok(Frame::Partial),
            Look::Wrong(length) => {
                let behind = at + FRAME_HEAD as u64 + length as u64;
                match self.look(behind)? {
                    Look::Whole(_) | Look::End => {
                        self.offset = behind;
                        Ok(Frame::Damaged)
                    }
                    Look::Wrong(_) | Look::Nothing => Ok(Frame::Partial),
                }
            }
        }
    }

    fn look(&mut self, at: u64) -> io::Result<Look> {
        let head = self.fill(at, FRAME_HEAD)?;
        let Some((&length, crc)) = head.split_first_chunk::<4>() else { return Ok(Look::Nothing) };
        if head == END {
            return Ok(Look::End);
        }
        let Some(&crc) = crc.first_chunk::<4>() else { return Ok(Look::Nothing) };
        let payload_len = u32::from_le_bytes(length) as usize;
        if payload_len == 0 || payload_len > RECORD_LEN_MAX {
            return Ok(Look::Nothing);
        }
        let frame = self.fill(at, FRAME_HEAD + payload_len)?;
        match frame.get(FRAME_HEAD..) {
            Some(payload) if payload.len() < payload_len => Ok(Look::Nothing),
            Some(payload) if checksum(length, payload) == u32::from_le_bytes(crc) => {
                Ok(Look::Whole(payload_len))
            }
            Some(_) => Ok(Look::Wrong(payload_len)),
            None => Ok(Look::Nothing),
        }
    }

    /// Up to `want` bytes from `at`; fewer only at the end of the file.
    fn fill(&mut self, at: u64, want: usize) -> io::Result<&[u8]> {
        let known = at
            .checked_sub(self.window_start)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|&skip| skip + want <= self.window.len());
        let skip = match known {
            Some(skip) => skip,
            None => {
                self.window.resize(want.max(WINDOW), 0);
                let read = read_up_to(&self.file, &mut self.window, at)?;
                self.window.truncate(read);
                self.window_start = at;
                0
            }
        };
        let rest = self.window.get(skip..).unwrap_or_default();
        Ok(rest.get(..want).unwrap_or(rest))
    }
}

enum Look {
    Whole(usize),
    Wrong(usize),
    End,
    Nothing,
}

fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// The segments in a folder, in the order of names; other files are passed over.
pub(crate) fn list_segments(dir: &Path) -> io::Result<Vec<SegmentName>> {
    Ok(files::list_dir(dir)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Whether some process still appends to the segment.
pub(crate) fn is_live(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A segment that nobody writes to any more, locked while this lives.
#[derive(Debug)]
pub(crate) struct ClosedSegment {
    /// The file.
    pub file: File,
    /// Where its last frame ends.
    pub end: u64,
    /// Bytes of an unfinished frame that were cut off when the segment was closed for a process that died.
    pub cut_bytes: u64,
    /// Whether it had to be closed for a process that died.
    pub was_torn: bool,
}

/// Takes hold of a segment that nobody writes to; `None` when somebody does. What a dead process left unfinished
/// is cut off, and the end marked, so that it need not be searched again.
pub(crate) fn close_segment(dir: &Path, name: &SegmentName) -> io::Result<Option<ClosedSegment>> {
    let file = File::options().read(true).write(true).open(dir.join(name.to_string()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let length = file.metadata()?.len();
    let mut mark = [0; FRAME_HEAD];
    if let Some(end) = length.checked_sub(END_LEN)
        && read_up_to(&file, &mut mark, end)? == FRAME_HEAD
        && mark == END
    {
        return Ok(Some(ClosedSegment { file, end, cut_bytes: 0, was_torn: false }));
    }
    let mut reader = SegmentReader::new(file.try_clone()?, 0)?;
    while matches!(reader.next()?, Frame::Record(_) | Frame::Damaged) {}
    let end = reader.offset();
    file.set_len(end)?;
    file.write_all_at(&END, end)?;
    file.sync_data()?;
    Ok(Some(ClosedSegment { file, end, cut_bytes: length.saturating_sub(end), was_torn: true }))
}
