//! A state directory in use: store, journal, what was learned; opened in the order that makes a crash at any
//! moment harmless.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokenwatch_gateway::Gateway;
use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::ports::{Random, StateSource as _};
use tokenwatch_model::time::Timestamp;
use tokenwatch_store::{
    Archive, Checkpoint, Journal, JournalHandle, JournalOptions, JournalPositions, JournalReader, Options,
    Retention, Store, Stream,
};

/// Records that wait for the journal's writer: a second and a half of 10,000 requests a second.
const RING: usize = 16_384;
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// Where state is kept when nothing is said: `$TOKENWATCH_STATE_DIR`, else the user's data folder.
pub(crate) fn default_dir() -> PathBuf {
    let var =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty());
    var("TOKENWATCH_STATE_DIR")
        .or_else(|| var("STATE_DIRECTORY"))
        .or_else(|| var("XDG_DATA_HOME").map(|data| data.join("tokenwatch")))
        .or_else(|| var("HOME").map(|home| home.join(".local/share/tokenwatch")))
        .unwrap_or_else(|| PathBuf::from("tokenwatch-state"))
}

/// Opens the store for a command.
pub(crate) fn open_store(dir: &Path) -> anyhow::Result<Store> {
    Store::open(dir, Options::default())
        .with_context(|| format!("the state directory {} can not be used", dir.display()))
}

/// The journal of a server.
pub(crate) struct State {
    pub(crate) store: Store,
    journal: Journal,
    stream: Stream,
    dir: PathBuf,
    /// How far other processes' streams were taken in.
    reader: JournalReader,
}

impl State {
    /// Opens store and journal. Nothing is learned yet.
    pub(crate) fn open(dir: &Path, now: Timestamp, random: &dyn Random) -> anyhow::Result<Self> {
        let store = open_store(dir)?;
        let writer = format!("p{:016x}", random.next_u64());
        let stream = Stream::new(now, &writer)?;
        let options = JournalOptions { ring: RING, ..JournalOptions::new(stream.clone()) };
        let journal = Journal::open(&store.journal_dir(), options)?;
        for recovered in journal.recovered() {
            tracing::warn!(segment = %recovered.segment, cut_bytes = recovered.cut_bytes, error = ?recovered.error, "a journal segment was left open by a process that ended suddenly");
        }
        let positions = store.journal_positions()?;
        let reader = JournalReader::new(&store.journal_dir(), positions).without(&stream);
        Ok(Self { store, journal, stream, dir: dir.to_owned(), reader })
    }

    pub(crate) fn handle(&self) -> JournalHandle {
        self.journal.handle()
    }

    /// Takes in what the journal holds beyond the checkpoints: all of it at the start, and later what another
    /// process that is still draining appends. Returns the number of records, and whether more may come.
    pub(crate) fn take_in(&mut self, gateway: &Gateway) -> anyhow::Result<(u64, bool)> {
        let store = self.store.clone();
        let mut failed: Option<(KeyId, String)> = None;
        let progress = self.reader.read(|record: JournalRecord| {
            if let Some(key) = gateway.live.needs_loading(&record)
                && let Err(error) = load(gateway, &store, key)
            {
                failed.get_or_insert((key, error.to_string()));
                return;
            }
            gateway.live.replay(&record);
        })?;
        if let Some((key, error)) = failed {
            tracing::error!(key.id = %key, %error, "learned state can not be read: what was journalled after it is lost for this key");
        }
        if progress.damaged > 0 {
            tracing::error!(records = progress.damaged, "damaged journal records were passed over");
        }
        Ok((progress.records, progress.live))
    }

    /// Says that this process is the one that saves checkpoints from now on.
    pub(crate) fn take_over(&self) -> anyhow::Result<()> {
        let path = self.dir.join("serving");
        let fresh = self.dir.join("serving.new");
        std::fs::write(&fresh, self.stream.to_string())
            .and_then(|()| std::fs::rename(&fresh, &path))
            .with_context(|| format!("{} can not be written", path.display()))
    }

    /// Whether another process has taken over: its checkpoints are newer, so ours would only harm.
    fn is_replaced(&self) -> bool {
        std::fs::read_to_string(self.dir.join("serving")).is_ok_and(|text| text != self.stream.to_string())
    }

    /// Saves what changed since the last time. What is saved covers the journal up to a place that was durable
    /// before, so that a crash in between only means that some records are taken in twice, which they are not.
    pub(crate) fn checkpoint(&self, gateway: &Gateway) -> anyhow::Result<usize> {
        if self.is_replaced() {
            return Ok(0);
        }
        let own = self.journal.handle().flush(FLUSH_WITHIN)?;
        let mut positions: JournalPositions = own.into_iter().collect();
        positions.merge(self.reader.positions());
        let taken = gateway.live.take_checkpoints();
        let count = taken.len();
        let checkpoints: Vec<Checkpoint> =
            taken.into_iter().map(|(key, seq, body)| Checkpoint { key, seq, body }).collect();
        if let Err(error) = self.store.save_checkpoints(&checkpoints, &positions) {
            // Otherwise an idle key would be dropped from memory and come back without what it spent since.
            gateway.live.mark_unsaved(checkpoints.iter().map(|checkpoint| checkpoint.key));
            return Err(error.into());
        }
        Ok(count)
    }

    /// Turns what the checkpoints cover into Parquet and deletes what is too old, on a thread of its own.
    pub(crate) fn tend_archive(&self, retention_days: u32, now: Timestamp) -> Option<JoinHandle<()>> {
        let store = self.store.clone();
        let tend = move || {
            if let Err(error) = tend(&store, retention_days, now) {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the archive could not be tended; trying again later"
                );
            }
        };
        std::thread::Builder::new().name("archivist".to_owned()).spawn(tend).ok()
    }

    /// Writes what is left of the journal and ends it.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        self.journal.close(FLUSH_WITHIN)?;
        Ok(())
    }
}

fn tend(store: &Store, retention_days: u32, now: Timestamp) -> anyhow::Result<()> {
    let archive = Archive::new(&store.archive_dir());
    let covered = store.journal_positions()?;
    let report = archive.seal(&store.journal_dir(), &covered)?;
    if !report.sealed.is_empty() {
        tracing::info!(
            segments = report.sealed.len(),
            events = report.events,
            bytes = report.parquet_bytes,
            "journal sealed"
        );
    }
    store.forget_streams(&report.streams)?;
    let retention = Retention { events_days: retention_days, ..Retention::default() };
    let deleted = archive.expire(now, retention)?;
    if deleted > 0 {
        tracing::info!(days = deleted, "events beyond retention deleted");
    }
    Ok(())
}

fn load(gateway: &Gateway, store: &Store, key: KeyId) -> anyhow::Result<()> {
    match store.load(key)? {
        Some(bytes) => gateway.live.restore(key, &bytes)?,
        None => gateway.live.begin(key),
    }
    Ok(())
}

/// The key of prompt hashes, made once for a state directory.
pub(crate) fn shape_key(store: &Store, random: &Arc<dyn Random>) -> anyhow::Result<[u8; 16]> {
    let mut supplied = [0; 16];
    random.fill(&mut supplied);
    Ok(store.shape_key(&supplied)?)
}
