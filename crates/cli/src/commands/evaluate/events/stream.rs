//! The events of several files as one stream in the order of time.
//!
//! Each file is put in order within a window, and the files are merged by the times of their next events, so what is held
//! in memory does not grow with the files. Files are read on a thread of their own, ahead of the replay.

mod rows;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use tokenwatch_evaluate::record::{Lookup, Record, RecordError, UnknownFields};
use tokenwatch_evaluate::replay::Reorder;
use tokenwatch_model::SmolStr;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::OwnerId;

use super::files::{self, Content};

/// Longest line that is read, in bytes.
const LINE_MAX: usize = 4 * 1024 * 1024;
/// Errors that are told before reading stops.
const ERRORS_MAX: usize = 10;
/// Events handed over at a time, and how many such batches may wait.
const BATCH: usize = 1_024;
const BATCHES: usize = 8;

/// One event, and its key and its request's id as they were written.
pub(in super::super) struct Item {
    pub(in super::super) event: UsageEvent,
    pub(in super::super) key: SmolStr,
    pub(in super::super) request: SmolStr,
    /// Whose the key is, where the event says so.
    pub(in super::super) owner: Option<OwnerId>,
}

/// What reading was like.
#[derive(Default)]
pub(in super::super) struct Summary {
    pub(in super::super) moved: u64,
    pub(in super::super) late: u64,
    pub(in super::super) unknown: UnknownFields,
}

/// Files to be read as one stream.
pub(in super::super) struct Stream<'a> {
    paths: &'a [PathBuf],
    /// Microseconds within which a file's events are put in order.
    disorder: u64,
}

impl<'a> Stream<'a> {
    pub(in super::super) const fn new(paths: &'a [PathBuf], disorder: u64) -> Self {
        Self { paths, disorder }
    }

    /// Gives every event to `take`.
    ///
    /// # Errors
    ///
    /// When a file can not be read, or holds what is no event: the first of these, with their lines.
    pub(in super::super) fn run(
        &self,
        lookup: &Lookup<'_>,
        bar: &ProgressBar,
        take: &mut dyn FnMut(Item),
    ) -> anyhow::Result<Summary> {
        let (send, receive) = sync_channel::<Vec<Item>>(BATCHES);
        thread::scope(|scope| {
            let reader = scope.spawn(move || self.read(lookup, bar, &send));
            for batch in receive {
                batch.into_iter().for_each(&mut *take);
            }
            reader.join().unwrap_or_else(|_| bail!("the reading thread ended with a panic"))
        })
    }

    fn read(
        &self,
        lookup: &Lookup<'_>,
        bar: &ProgressBar,
        send: &SyncSender<Vec<Item>>,
    ) -> anyhow::Result<Summary> {
        let mut problems = Problems::default();
        let mut sources = Vec::with_capacity(self.paths.len());
        let mut heads = BinaryHeap::new();
        for path in self.paths {
            let content = files::open(path, bar)?;
            let mut source = Source::new(path, content, self.disorder)?;
            if let Some(item) = source.next(lookup, &mut problems)? {
                heads.push(Reverse((item.event.request.time, sources.len())));
                source.head = Some(item);
            }
            sources.push(source);
        }
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(Reverse((_, place))) = heads.pop() {
            let Some(source) = sources.get_mut(place) else { break };
            batch.extend(source.head.take());
            if let Some(item) = source.next(lookup, &mut problems)? {
                heads.push(Reverse((item.event.request.time, place)));
                source.head = Some(item);
            }
            // The receiver is gone only when it failed itself.
            if batch.len() >= BATCH
                && send.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))).is_err()
            {
                break;
            }
        }
        let _ = send.send(batch);
        problems.into_result()?;
        let mut summary = Summary::default();
        for source in sources {
            summary.moved += source.order.moved();
            summary.late += source.order.late();
            summary.unknown.add(source.unknown);
        }
        Ok(summary)
    }
}

/// Records that are no events.
#[derive(Default)]
struct Problems {
    told: Vec<String>,
}

impl Problems {
    fn note(&mut self, path: &Path, what: &str, number: u64, error: &RecordError) -> anyhow::Result<()> {
        self.told.push(format!("{}, {what} {number}: {error}", files::shown(path)));
        if self.told.len() < ERRORS_MAX { Ok(()) } else { std::mem::take(self).into_result() }
    }

    fn into_result(self) -> anyhow::Result<()> {
        if self.told.is_empty() {
            return Ok(());
        }
        let more = if self.told.len() < ERRORS_MAX { "" } else { "\nfurther ones were not looked for" };
        bail!("{}{more}", self.told.join("\n"))
    }
}

enum Rows {
    Lines { reader: Box<dyn BufRead + Send>, line: Vec<u8> },
    Parquet { rows: Box<RowIter<'static>> },
}

/// One file.
struct Source {
    path: PathBuf,
    rows: Rows,
    /// Line or row, counted from 1.
    number: u64,
    is_done: bool,
    /// Boxed, because putting them in order moves them often.
    order: Reorder<Box<Item>>,
    unknown: UnknownFields,
    head: Option<Item>,
}

impl Source {
    fn new(path: &Path, content: Content, disorder: u64) -> anyhow::Result<Self> {
        let rows = match content {
            Content::Lines(reader) => Rows::Lines { reader, line: Vec::new() },
            Content::Parquet(file) => Rows::Parquet { rows: Box::new(open_parquet(path, file)?) },
        };
        Ok(Self {
            path: path.to_owned(),
            rows,
            number: 0,
            is_done: false,
            order: Reorder::new(disorder),
            unknown: UnknownFields::default(),
            head: None,
        })
    }

    /// The next event in order; `None` at the end.
    fn next(&mut self, lookup: &Lookup<'_>, problems: &mut Problems) -> anyhow::Result<Option<Item>> {
        loop {
            if let Some(item) = self.order.pop(self.is_done) {
                return Ok(Some(*item));
            }
            if self.is_done {
                return Ok(None);
            }
            match self.read(lookup)? {
                Some(Ok(item)) => self.order.push(item.event.request.time, Box::new(item)),
                Some(Err(error)) => {
                    let what = if matches!(self.rows, Rows::Lines { .. }) { "line" } else { "row" };
                    problems.note(&self.path, what, self.number, &error)?;
                }
                None => self.is_done = true,
            }
        }
    }

    /// The next record of the file, as an event.
    fn read(&mut self, lookup: &Lookup<'_>) -> anyhow::Result<Option<Result<Item, RecordError>>> {
        match &mut self.rows {
            Rows::Lines { reader, line } => loop {
                line.clear();
                self.number += 1;
                let shown = || format!("{}, line {}", files::shown(&self.path), self.number);
                let read = std::io::Read::take(&mut *reader, LINE_MAX as u64)
                    .read_until(b'\n', line)
                    .with_context(shown)?;
                if read == 0 {
                    return Ok(None);
                }
                if line.len() >= LINE_MAX {
                    bail!("{}: longer than {LINE_MAX} bytes; write one event a line", shown());
                }
                let text = line.trim_ascii();
                if !text.is_empty() {
                    return Ok(Some(
                        Record::from_json(text, &mut self.unknown).and_then(|record| item(&record, lookup)),
                    ));
                }
            },
            Rows::Parquet { rows } => {
                self.number += 1;
                let Some(row) = rows.next() else { return Ok(None) };
                let row = row.with_context(|| format!("{}, row {}", self.path.display(), self.number))?;
                Ok(Some(item(&rows::record_of(&row, &mut self.unknown), lookup)))
            }
        }
    }
}

fn item(record: &Record<'_>, lookup: &Lookup<'_>) -> Result<Item, RecordError> {
    let event = record.event(lookup)?;
    Ok(Item {
        event,
        key: record.key_name().unwrap_or_default().into(),
        request: record.request_name().unwrap_or_default().into(),
        owner: record.owner()?,
    })
}

fn open_parquet(path: &Path, file: File) -> anyhow::Result<RowIter<'static>> {
    let reader = SerializedFileReader::new(file).with_context(|| path.display().to_string())?;
    Ok(reader.into_iter())
}

#[cfg(test)]
mod tests;
