//! Names of segments and places in the journal.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tokenwatch_model::SmolStr;
use tokenwatch_model::time::Timestamp;

/// What segment files end with.
const SUFFIX: &str = ".twj";
/// Digits of the start time: all of a 64-bit number, so that names sort by time.
const TIME_DIGITS: usize = 20;
/// Digits of the ordinal.
const ORDINAL_DIGITS: usize = 8;
/// Longest name of a writer.
const WRITER_LEN_MAX: usize = 40;

/// Why a text can not name a writer or a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSegmentError {
    /// Not a name that the journal gives.
    #[error("not the name of a journal segment")]
    Shape,
    /// The writer's name has other characters or another length.
    #[error("the name of a journal writer has 1 to 40 lower-case letters, digits and underscores")]
    Writer,
}

/// The segments that one process writes, from its start to its end. Streams sort by start time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stream {
    started: Timestamp,
    writer: SmolStr,
}

impl Stream {
    /// The stream of a process that started at `started` and calls itself `writer`. The two together must be
    /// unique among all processes that ever share a state directory: put a process id or random digits in.
    ///
    /// # Errors
    ///
    /// When the name has other characters than `a-z`, `0-9`, `_`, or not 1 to 40 of them.
    pub fn new(started: Timestamp, writer: &str) -> Result<Self, ParseSegmentError> {
        let fits = (1..=WRITER_LEN_MAX).contains(&writer.len())
            && writer.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if fits { Ok(Self { started, writer: writer.into() }) } else { Err(ParseSegmentError::Writer) }
    }

    /// Its segment number `ordinal`, counted from 0.
    pub fn segment(&self, ordinal: u32) -> SegmentName {
        SegmentName { stream: self.clone(), ordinal }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0TIME_DIGITS$}-{}", self.started.0, self.writer)
    }
}

impl FromStr for Stream {
    type Err = ParseSegmentError;

    fn from_str(text: &str) -> Result<Self, ParseSegmentError> {
        let (time, writer) = text.split_once('-').ok_or(ParseSegmentError::Shape)?;
        Self::new(Timestamp(digits(time, TIME_DIGITS)?), writer)
    }
}

/// One file of the journal. Names sort by the start of their process, then by order within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SegmentName {
    /// Whose it is.
    pub stream: Stream,
    /// Which of its stream's, counted from 0.
    pub ordinal: u32,
}

impl SegmentName {
    /// The name without the ending, as in the names of Parquet files.
    pub fn stem(&self) -> String {
        format!("{}-{:0ORDINAL_DIGITS$}", self.stream, self.ordinal)
    }
}

impl fmt::Display for SegmentName {
    /// The file's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SUFFIX}", self.stem())
    }
}

impl FromStr for SegmentName {
    type Err = ParseSegmentError;

    fn from_str(text: &str) -> Result<Self, ParseSegmentError> {
        let stem = text.strip_suffix(SUFFIX).ok_or(ParseSegmentError::Shape)?;
        let (stream, ordinal) = stem.rsplit_once('-').ok_or(ParseSegmentError::Shape)?;
        let ordinal =
            u32::try_from(digits(ordinal, ORDINAL_DIGITS)?).map_err(|_| ParseSegmentError::Shape)?;
        Ok(Self { stream: stream.parse()?, ordinal })
    }
}

fn digits(text: &str, want: usize) -> Result<u64, ParseSegmentError> {
    let all_digits = text.len() == want && text.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| text.parse().ok()).flatten().ok_or(ParseSegmentError::Shape)
}

/// The end of a record: everything in its stream up to here is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JournalPosition {
    /// In which file.
    pub segment: SegmentName,
    /// Bytes from the start of the file.
    pub offset: u64,
}

/// How far each stream was read. Several processes may write at the same time, so there is no single place.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JournalPositions(BTreeMap<Stream, (u32, u64)>);

impl JournalPositions {
    /// Moves a stream forward; never back.
    pub fn advance(&mut self, to: &JournalPosition) {
        let place = (to.segment.ordinal, to.offset);
        match self.0.get_mut(&to.segment.stream) {
            Some(known) => *known = place.max(*known),
            None => {
                self.0.insert(to.segment.stream.clone(), place);
            }
        }
    }

    /// Moves every stream forward that is further in `other`.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|position| self.advance(&position));
    }

    /// Each stream's place, in the order of streams.
    pub fn iter(&self) -> impl Iterator<Item = JournalPosition> + '_ {
        self.0
            .iter()
            .map(|(stream, &(ordinal, offset))| JournalPosition { segment: stream.segment(ordinal), offset })
    }

    /// Bytes of a segment that lie before the place of its stream: 0 for one that was not begun, and
    /// [`u64::MAX`] for one that a later segment followed.
    pub fn offset_in(&self, segment: &SegmentName) -> u64 {
        match self.0.get(&segment.stream) {
            Some(&(ordinal, _)) if ordinal > segment.ordinal => u64::MAX,
            Some(&(ordinal, offset)) if ordinal == segment.ordinal => offset,
            _ => 0,
        }
    }
}

impl FromIterator<JournalPosition> for JournalPositions {
    fn from_iter<I: IntoIterator<Item = JournalPosition>>(positions: I) -> Self {
        let mut all = Self::default();
        positions.into_iter().for_each(|position| all.advance(&position));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream::new(Timestamp(1_700_000_000_000_000), "serve_12ab").unwrap()
    }

    #[test]
    fn names_are_read_back_and_sort_by_time() {
        let name = stream().segment(7);
        assert_eq!(name.to_string(), "00001700000000000000-serve_12ab-00000007.twj");
        assert_eq!(name.to_string().parse(), Ok(name.clone()));
        assert_eq!(stream().to_string().parse(), Ok(stream()));
        let later = Stream::new(Timestamp(1_700_000_000_000_001), "a").unwrap().segment(0);
        assert!(name < later && name.to_string() < later.to_string());
        for wrong in ["", "a.twj", "1-a-1.twj", "00001700000000000000-serve-00000007", "../x-00000007.twj"] {
            assert!(wrong.parse::<SegmentName>().is_err(), "{wrong}");
        }
        for wrong in ["", "a/b", "a-b", "A", &"a".repeat(41)] {
            assert_eq!(Stream::new(Timestamp(1), wrong), Err(ParseSegmentError::Writer), "{wrong}");
        }
    }

    #[test]
    fn positions_only_move_forward() {
        let at = |ordinal, offset| JournalPosition { segment: stream().segment(ordinal), offset };
        let mut positions: JournalPositions = [at(1, 50), at(0, 90), at(1, 40)].into_iter().collect();
        assert_eq!(positions.iter().collect::<Vec<_>>(), [at(1, 50)]);
        assert_eq!(positions.offset_in(&stream().segment(0)), u64::MAX);
        assert_eq!(positions.offset_in(&stream().segment(1)), 50);
        assert_eq!(positions.offset_in(&stream().segment(2)), 0);
        positions.merge(&[at(2, 1)].into_iter().collect());
        assert_eq!(positions.offset_in(&stream().segment(1)), u64::MAX);
    }
}
