//! A state directory in use: store, journal, what was learned; opened in the order that makes a crash at any
//! moment harmless.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokenwatch_gateway::Gateway;
use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::finding::{Finding, Tier};
use tokenwatch_model::id::KeyId;
use tokenwatch_model::ports::{Random, StateSource as _};
use tokenwatch_model::time::Timestamp;
use tokenwatch_store::{
    Archive, Journal, JournalHandle, JournalOptions, JournalPositions, JournalReader, Options, Retention,
    Store, Stream,
};

use crate::handover::{self, Door};

/// Records that wait for the journal's writer: a second and a half of 10,000 requests a second.
const RING: usize = 16_384;
/// How often a key is loaded for one record: it can hardly be dropped twice in between.
const LOADS_MAX: usize = 8;
pub(crate) const FLUSH_WITHIN: Duration = Duration::from_secs(5);

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

/// The file with the token that a server makes for programs on the same machine.
pub(crate) const LOCAL_TOKEN: &str = "local.token";

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let fresh = path.with_extension("new");
    // A file left by a process that died may have other rights.
    let _ = std::fs::remove_file(&fresh);
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&fresh, path)
    };
    write().with_context(|| format!("{} can not be written", path.display()))
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
    place: Place,
    /// How far other processes' streams were taken in.
    reader: JournalReader,
    /// The server that served before, running or not.
    before: Option<Serving>,
}

/// A server's place among those on the same state directory.
#[derive(Clone)]
pub(crate) struct Place {
    dir: PathBuf,
    stream: Stream,
    /// Where it stands in the row of servers.
    epoch: u32,
}

/// Who serves a state directory: the file `serving`.
pub(crate) struct Serving {
    /// Its journal stream, which is also the name of its door.
    pub(crate) name: String,
    /// Its epoch: larger than that of any server before it.
    pub(crate) epoch: u32,
}

impl Serving {
    fn read(dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(dir.join(SERVING)).ok()?;
        let (name, epoch) = text.trim().split_once(' ').unwrap_or((text.trim(), "0"));
        // The name becomes part of a path.
        name.parse::<Stream>().ok()?;
        Some(Self { name: name.to_owned(), epoch: epoch.parse().unwrap_or(0) })
    }
}

const SERVING: &str = "serving";
/// Up to which revision of the store the engine was told what people said.
const FEEDBACK_TOLD: &str = "feedback.told";

/// What the journal held.
#[derive(Default)]
pub(crate) struct TakenIn {
    pub(crate) records: u64,
    /// Another process still writes.
    pub(crate) live: bool,
    /// Findings worth a person's time.
    pub(crate) alerts: Vec<Finding>,
}

impl State {
    /// Opens store and journal. Nothing is learned yet.
    pub(crate) fn open(dir: &Path, now: Timestamp, random: &dyn Random) -> anyhow::Result<Self> {
        let store = open_store(dir)?;
        handover::clear_away(dir).with_context(|| format!("{} can not be listed", dir.display()))?;
        let before = Serving::read(dir);
        let writer = format!("p{:016x}", random.next_u64());
        let stream = Stream::new(now, &writer)?;
        let options = JournalOptions { ring: RING, ..JournalOptions::new(stream.clone()) };
        let journal = Journal::open(&store.journal_dir(), options)?;
        for recovered in journal.recovered() {
            tracing::warn!(segment = %recovered.segment, cut_bytes = recovered.cut_bytes, error = ?recovered.error, "a journal segment was left open by a process that ended suddenly");
        }
        let positions = store.journal_positions()?;
        let reader = JournalReader::new(&store.journal_dir(), positions).without(&stream);
        let place = Place { dir: dir.to_owned(), stream, epoch: 0 };
        Ok(Self { store, journal, place, reader, before })
    }

    /// Where this server stands in the row of servers; at least one after the one before.
    pub(crate) const fn set_epoch(&mut self, epoch: u32) {
        self.place.epoch = epoch;
    }

    /// Where this server stands in the row of servers: the upper half of its events' ordinals.
    pub(crate) const fn epoch(&self) -> u32 {
        self.place.epoch
    }

    /// This server's place, for who saves checkpoints.
    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Up to where other processes' streams were taken in.
    pub(crate) fn taken_in(&self) -> JournalPositions {
        self.reader.positions().clone()
    }

    /// Epoch of the server that served before; 0 when there was none.
    pub(crate) fn epoch_before(&self) -> u32 {
        self.before.as_ref().map_or(0, |before| before.epoch)
    }

    /// Name of the server that served before and still runs.
    pub(crate) fn running(&self) -> Option<&str> {
        let before = self.before.as_ref()?;
        handover::is_running(&self.place.dir, &before.name).then_some(before.name.as_str())
    }

    /// Opens the door by which the next server comes in.
    pub(crate) fn open_door(&self) -> std::io::Result<Door> {
        Door::open(&self.place.dir, &self.place.stream.to_string())
    }

    /// Up to which revision of the store the engine was told what people said.
    pub(crate) fn feedback_told(&self) -> u64 {
        self.place.feedback_told()
    }

    pub(crate) fn handle(&self) -> JournalHandle {
        self.journal.handle()
    }

    /// Takes in what the journal holds beyond the checkpoints: all of it at the start, and later what another
    /// process that is still draining appends.
    pub(crate) fn take_in(&mut self, gateway: &Gateway) -> anyhow::Result<TakenIn> {
        let mut taken = TakenIn::default();
        let store = self.store.clone();
        let mut silent = HashMap::new();
        let progress = self.reader.read(|record: JournalRecord| {
            match record {
                // A key's findings follow their event, and before one stands that nobody was told of it.
                JournalRecord::Usage(ref event) => drop(silent.remove(&event.request.key)),
                JournalRecord::Suppressed { key, actor, .. } => drop(silent.insert(key, actor)),
                JournalRecord::Feedback { .. } => {}
                JournalRecord::Finding(finding) => {
                    let actor = finding.actor.as_ref().map(|actor| actor.id);
                    let is_silent = actor.is_some() && silent.get(&finding.key).copied() == actor;
                    if finding.tier >= Tier::Alert && !is_silent {
                        taken.alerts.push(finding);
                    }
                    return;
                }
            }
            // Between loading and taking in, the saver may drop an idle key again.
            for _ in 0..LOADS_MAX {
                if let Some(key) = gateway.live.needs_loading(&record)
                    && let Err(error) = load(gateway, &store, key)
                {
                    // Its records stay where they are: it is rebuilt from them, or stays refused.
                    gateway.note_damaged(key, &format_args!("{error:#}"));
                    return;
                }
                if gateway.live.replay(&record) {
                    return;
                }
            }
        })?;
        if progress.damaged > 0 {
            tracing::error!(records = progress.damaged, "damaged journal records were passed over");
        }
        (taken.records, taken.live) = (progress.records, progress.live);
        Ok(taken)
    }

    /// Says that this process is the one that saves checkpoints from now on.
    pub(crate) fn take_over(&self) -> anyhow::Result<()> {
        self.place.take_over()
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

impl Place {
    fn take_over(&self) -> anyhow::Result<()> {
        let epoch = Serving::read(&self.dir).map_or(self.epoch, |serving| serving.epoch.max(self.epoch));
        write_private(&self.dir.join(SERVING), &format!("{} {epoch}", self.stream))
    }

    /// Whether another process has taken over: its checkpoints are newer, so ours would only harm. When that
    /// one is gone again, this one is back in its place.
    pub(crate) fn is_replaced(&self) -> bool {
        let Some(serving) = Serving::read(&self.dir) else { return false };
        if serving.name == self.stream.to_string() {
            return false;
        }
        if !handover::is_running(&self.dir, &serving.name) {
            log_failed_takeover(self.take_over());
            return false;
        }
        true
    }

    fn feedback_told(&self) -> u64 {
        let text = std::fs::read_to_string(self.dir.join(FEEDBACK_TOLD)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Keeps what [`State::feedback_told`] tells the next server.
    pub(crate) fn remember_feedback_told(&self, told: u64) -> anyhow::Result<()> {
        if told == self.feedback_told() {
            return Ok(());
        }
        write_private(&self.dir.join(FEEDBACK_TOLD), &told.to_string())
    }
}

fn log_failed_takeover(result: anyhow::Result<()>) {
    if let Err(error) = result {
        tracing::error!(
            error = format!("{error:#}"),
            "the place of a server that is gone could not be taken"
        );
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

/// The key that signs links in alerts, made once for a state directory.
pub(crate) fn links_key(store: &Store, random: &dyn Random) -> anyhow::Result<[u8; 32]> {
    let mut supplied = [0; 32];
    random.fill(&mut supplied);
    Ok(store.links_key(&supplied)?)
}
