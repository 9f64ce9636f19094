//! The files of a simulation, written side by side.
//!
//! Invariant: a file appears under its name only when it is complete; an interrupted run leaves names that begin with a
//! dot, which the next run writes over.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_testkit::fleet::START_MS;
use tokenwatch_testkit::record;
use tokenwatch_testkit::scenario::Story;

/// Where the files are.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Paths {
    pub(super) events: PathBuf,
    pub(super) truth: PathBuf,
    pub(super) keys: PathBuf,
}

/// What was written.
#[derive(Debug, Serialize)]
pub(super) struct Written {
    pub(super) files: Paths,
    pub(super) events: u64,
    pub(super) theft_events: u64,
    #[serde(skip)]
    by_attack: BTreeMap<String, u64>,
}

impl Written {
    /// Events of one theft.
    pub(super) fn events_of(&self, attack: &str) -> u64 {
        self.by_attack.get(attack).copied().unwrap_or(0)
    }
}

enum Out {
    Plain(BufWriter<File>),
    Packed(Box<GzEncoder<BufWriter<File>>>),
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Packed(out) => out.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<()> {
        let buffer = match self {
            Self::Plain(out) => out,
            Self::Packed(out) => out.finish()?,
        };
        buffer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

/// One file in the making.
struct Draft {
    path: PathBuf,
    temporary: PathBuf,
    out: Out,
}

impl Draft {
    fn create(dir: &Path, name: &str, gzip: bool, force: bool) -> anyhow::Result<Self> {
        let name = if gzip { format!("{name}.gz") } else { name.to_owned() };
        let path = dir.join(&name);
        anyhow::ensure!(
            force || !path.exists(),
            "{} is there already; name another folder, or add --force to write over it",
            path.display()
        );
        let temporary = dir.join(format!(".{name}.new"));
        let file =
            File::create(&temporary).with_context(|| format!("{} can not be made", temporary.display()))?;
        let buffer = BufWriter::with_capacity(1 << 18, file);
        let out = if gzip {
            Out::Packed(Box::new(GzEncoder::new(buffer, Compression::fast())))
        } else {
            Out::Plain(buffer)
        };
        Ok(Self { path, temporary, out })
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.out.write(bytes).with_context(|| format!("{} can not be written", self.temporary.display()))
    }

    fn finish(self) -> anyhow::Result<PathBuf> {
        let Self { path, temporary, out } = self;
        out.finish()
            .and_then(|()| fs::rename(&temporary, &path))
            .with_context(|| format!("{} can not be written", path.display()))?;
        Ok(path)
    }
}

/// The three files.
pub(super) struct Files {
    events: Draft,
    truth: Draft,
    keys: Draft,
    line: Vec<u8>,
    count: u64,
    theft_events: u64,
    by_attack: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Truth<'a> {
    request: tokenwatch_model::id::RequestId,
    attack: &'a str,
}

#[derive(Serialize)]
struct Declared<'a> {
    key: tokenwatch_model::id::KeyId,
    workload: &'static str,
    created: String,
    owner: tokenwatch_model::id::OwnerId,
    trace_client: &'a str,
    trace_has_tokens: bool,
}

impl Files {
    /// Opens the files in `dir`, which is made when it is not there.
    pub(super) fn create(dir: &Path, gzip: bool, force: bool) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("the folder {} can not be made", dir.display()))?;
        let draft = |name| Draft::create(dir, name, gzip, force);
        Ok(Self {
            events: draft("events.jsonl")?,
            truth: draft("truth.jsonl")?,
            keys: draft("keys.jsonl")?,
            line: Vec::with_capacity(2_048),
            count: 0,
            theft_events: 0,
            by_attack: BTreeMap::new(),
        })
    }

    /// Events so far.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// What is declared about a key.
    pub(super) fn key(&mut self, story: &Story) -> anyhow::Result<()> {
        let declared = Declared {
            key: story.key.id(),
            workload: story.key.workload().name(),
            created: super::at(START_MS),
            owner: story.key.owner(),
            trace_client: story.key.client(),
            trace_has_tokens: story.key.has_real_tokens(),
        };
        let mut line = serde_json::to_vec(&declared)?;
        line.push(b'\n');
        self.keys.write(&line)
    }

    /// An event, and the theft it belongs to; empty for the owner's.
    pub(super) fn event(&mut self, event: &UsageEvent, attack: &str) -> anyhow::Result<()> {
        self.line.clear();
        record::write_line(event, &mut self.line)?;
        self.events.write(&self.line)?;
        self.line.clear();
        serde_json::to_writer(&mut self.line, &Truth { request: event.request.id, attack })?;
        self.line.push(b'\n');
        self.truth.write(&self.line)?;
        self.count += 1;
        if !attack.is_empty() {
            self.theft_events += 1;
            match self.by_attack.get_mut(attack) {
                Some(count) => *count += 1,
                None => drop(self.by_attack.insert(attack.to_owned(), 1)),
            }
        }
        Ok(())
    }

    /// Completes the files and gives them their names, the events last: where they are, the rest is too.
    pub(super) fn finish(self) -> anyhow::Result<Written> {
        let Self { events, truth, keys, count, theft_events, by_attack, .. } = self;
        let (keys, truth) = (keys.finish()?, truth.finish()?);
        let files = Paths { events: events.finish()?, truth, keys };
        Ok(Written { files, events: count, theft_events, by_attack })
    }
}
