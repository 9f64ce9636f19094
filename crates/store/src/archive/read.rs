//! Reading archived records, and those that are not archived yet, as one.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::statistics::Statistics;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::Finding;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::time::Timestamp;

use crate::archive::table::{DecodeError, Record, RowGroup};
use crate::archive::{Archive, date_dir, hour_dir};
use crate::files;
use crate::journal::SegmentName;
use crate::journal::segment::{self, Frame, SegmentReader};

/// Which records to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Filter {
    /// Not before this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// Only of this key.
    pub key: Option<KeyId>,
}

impl Filter {
    fn fits(&self, record: &impl Record) -> bool {
        self.from.is_none_or(|from| from <= record.time())
            && self.to.is_none_or(|to| record.time() < to)
            && self.key.is_none_or(|key| key == record.key())
    }
}

/// Why archived records can not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadArchiveError {
    /// A file or folder can not be read.
    #[error("{path} can not be read")]
    Files {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not the Parquet it should be.
    #[error("{path} can not be read as Parquet")]
    Parquet {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ParquetError,
    },
    /// A row is not a record.
    #[error("a row of {path} can not be understood")]
    Row {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: DecodeError,
    },
}

impl Archive {
    /// Usage events of the archive and, when it is named, of the journal that feeds it: each exactly once, whatever
    /// is sealed meanwhile. Hour by hour, within a file in the order in which requests ended; the journal's last.
    ///
    /// # Errors
    ///
    /// When a folder can not be listed. Files are opened as they are reached.
    pub fn events(
        &self,
        journal: Option<&Path>,
        filter: Filter,
    ) -> Result<Records<UsageEvent>, ReadArchiveError> {
        Records::open(&self.dir, journal, filter)
    }

    /// Findings, like [`Archive::events`], day by day.
    ///
    /// # Errors
    ///
    /// When a folder can not be listed.
    pub fn findings(
        &self,
        journal: Option<&Path>,
        filter: Filter,
    ) -> Result<Records<Finding>, ReadArchiveError> {
        Records::open(&self.dir, journal, filter)
    }
}

/// Records, read as they are asked for. After an error it goes on with the next file.
pub struct Records<R> {
    filter: Filter,
    files: VecDeque<PathBuf>,
    segments: VecDeque<(PathBuf, File)>,
    current: Option<Current>,
    record: PhantomData<R>,
}

enum Current {
    Parquet { path: PathBuf, file: Box<SerializedFileReader<File>>, next: usize, group: Option<RowGroup> },
    Segment { path: PathBuf, reader: SegmentReader },
}

#[expect(private_bounds, reason = "the two tables are the crate's own")]
impl<R: Record> Records<R> {
    fn open(dir: &Path, journal: Option<&Path>, filter: Filter) -> Result<Self, ReadArchiveError> {
        // Segments first, held open: what is sealed from now on is passed over below, what was sealed before is
        // whole in the archive.
        let mut segments = VecDeque::new();
        let mut unsealed = BTreeSet::new();
        if let Some(journal) = journal {
            for name in segment::list_segments(journal).map_err(|source| failed(journal, source))? {
                let path = journal.join(name.to_string());
                match File::open(&path) {
                    Ok(file) => segments.push_back((path, file)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(source) => return Err(failed(&path, source)),
                }
                unsealed.insert(name);
            }
        }
        let mut files = VecDeque::new();
        let table = dir.join(R::TABLE);
        let (first, last) = (filter.from.map(date_dir), filter.to.map(date_dir));
        for date in list(&table)? {
            let within = first.as_ref().is_none_or(|first| first <= &date)
                && last.as_ref().is_none_or(|last| &date <= last);
            if !within || !date.starts_with("date=") {
                continue;
            }
            let date_path = table.join(&date);
            if !R::BY_HOUR {
                list_files(&date_path, &unsealed, &mut files)?;
                continue;
            }
            for hour in list(&date_path)? {
                let early = filter.from.is_some_and(|from| date == date_dir(from) && hour < hour_dir(from));
                let late = filter.to.is_some_and(|to| date == date_dir(to) && hour > hour_dir(to));
                if !early && !late && hour.starts_with("hour=") {
                    list_files(&date_path.join(hour), &unsealed, &mut files)?;
                }
            }
        }
        Ok(Self { filter, files, segments, current: None, record: PhantomData })
    }

    /// Opens the next file; false when there is none.
    fn open_next(&mut self) -> Result<bool, ReadArchiveError> {
        while let Some(path) = self.files.pop_front() {
            let file = match File::open(&path) {
                Ok(file) => file,
                // Its time was over.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(failed(&path, source)),
            };
            let file = match SerializedFileReader::new(file) {
                Ok(file) => Box::new(file),
                Err(source) => return Err(ReadArchiveError::Parquet { path, source }),
            };
            self.current = Some(Current::Parquet { path, file, next: 0, group: None });
            return Ok(true);
        }
        let Some((path, file)) = self.segments.pop_front() else { return Ok(false) };
        let reader = SegmentReader::new(file, 0).map_err(|source| failed(&path, source))?;
        self.current = Some(Current::Segment { path, reader });
        Ok(true)
    }
}

impl Current {
    /// The next record; `None` at the end.
    fn next<R: Record>(&mut self, filter: &Filter) -> Result<Option<R>, ReadArchiveError> {
        match self {
            Self::Segment { path, reader } => loop {
                match reader.next().map_err(|source| failed(path, source))? {
                    Frame::Record(payload) => {
                        if let Some(record) = postcard::from_bytes(payload).ok().and_then(R::from_journal) {
                            return Ok(Some(record));
                        }
                    }
                    Frame::Damaged => {}
                    Frame::End | Frame::Partial => return Ok(None),
                }
            },
            Self::Parquet { path, file, next, group } => loop {
                if let Some(row) = group.as_mut().and_then(RowGroup::next) {
                    return row
                        .map(Some)
                        .map_err(|source| ReadArchiveError::Row { path: path.clone(), source });
                }
                let groups = file.metadata().row_groups();
                let Some(offset) = groups.iter().skip(*next).position(|metadata| may_fit(metadata, filter))
                else {
                    return Ok(None);
                };
                let index = *next + offset;
                *next = index + 1;
                let decoded = RowGroup::decode(file, index, R::COLUMNS);
                *group =
                    Some(decoded.map_err(|source| ReadArchiveError::Parquet { path: path.clone(), source })?);
            },
        }
    }
}

impl<R: Record> Iterator for Records<R> {
    type Item = Result<R, ReadArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(current) = &mut self.current else {
                match self.open_next() {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(error) => return Some(Err(error)),
                }
            };
            match current.next::<R>(&self.filter) {
                Ok(Some(record)) if self.filter.fits(&record) => return Some(Ok(record)),
                Ok(Some(_)) => {}
                Ok(None) => self.current = None,
                Err(error) => {
                    self.current = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Whether a row group can hold what is looked for, as far as its statistics say.
fn may_fit(group: &RowGroupMetaData, filter: &Filter) -> bool {
    group.columns().iter().all(|column| match (column.column_descr().name(), column.statistics()) {
        ("time", Some(Statistics::Int64(times))) => {
            let after = |from: Timestamp| times.max_opt().is_none_or(|&max| max.cast_unsigned() >= from.0);
            let before = |to: Timestamp| times.min_opt().is_none_or(|&min| min.cast_unsigned() < to.0);
            filter.from.is_none_or(after) && filter.to.is_none_or(before)
        }
        ("key", Some(Statistics::ByteArray(keys))) => filter.key.is_none_or(|key| {
            let key = if key == UsageEvent::NO_KEY { return true } else { key.to_string() };
            keys.min_opt().is_none_or(|min| min.data() <= key.as_bytes())
                && keys.max_opt().is_none_or(|max| key.as_bytes() <= max.data())
        }),
        _ => true,
    })
}

fn list(dir: &Path) -> Result<Vec<String>, ReadArchiveError> {
    files::list_dir(dir).map_err(|source| failed(dir, source))
}

fn list_files(
    dir: &Path,
    unsealed: &BTreeSet<SegmentName>,
    files: &mut VecDeque<PathBuf>,
) -> Result<(), ReadArchiveError> {
    let from_unsealed = |stem: &str| unsealed.iter().any(|segment| segment.stem() == stem);
    for name in list(dir)? {
        if let Some(stem) = name.strip_suffix(".parquet")
            && !name.starts_with('.')
            && !from_unsealed(stem)
        {
            files.push_back(dir.join(name));
        }
    }
    Ok(())
}

fn failed(path: &Path, source: io::Error) -> ReadArchiveError {
    ReadArchiveError::Files { path: path.to_owned(), source }
}
