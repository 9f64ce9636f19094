//! Saving checkpoints, on a thread of its own: a slow disk delays nothing but the next checkpoint.
//!
//! Invariants: what is saved covers the journal up to places that were durable before it was taken, so that a crash in
//! between only means that some records are offered twice and taken in once; what could not be saved is kept and stays
//! in memory; one save at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tokenwatch_gateway::Gateway;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::time::{HOUR, Timestamp};
use tokenwatch_store::{Checkpoint, JournalHandle, JournalPositions, Store};

use crate::state::{FLUSH_WITHIN, Place};

/// Time without use after which a key's learned state leaves memory.
const IDLE: u64 = 6 * HOUR;

/// Where checkpoints are saved.
pub(crate) trait CheckpointWriter: Send {
    /// Saves states and the places in the journal that they cover, all or nothing. May block.
    fn save(&mut self, checkpoints: &[&Checkpoint], positions: &JournalPositions) -> anyhow::Result<()>;
}

impl CheckpointWriter for Store {
    fn save(&mut self, checkpoints: &[&Checkpoint], positions: &JournalPositions) -> anyhow::Result<()> {
        Ok(self.save_checkpoints(checkpoints.iter().copied(), positions)?)
    }
}

/// What is to be saved.
pub(crate) struct Save {
    /// Up to where other processes' streams were taken in.
    pub(crate) taken_in: JournalPositions,
    /// Up to which revision of the store the engine was told what people said.
    pub(crate) feedback_told: u64,
}

/// The keeper's end of the saver.
pub(crate) struct SaverHandle {
    saves: SyncSender<Save>,
    thread: JoinHandle<()>,
}

impl SaverHandle {
    /// Asks for a save; false while the one before is under way.
    pub(crate) fn ask(&self, save: Save) -> bool {
        // A thread that is gone has ended with a panic, which was told.
        !matches!(self.saves.try_send(save), Err(TrySendError::Full(_)))
    }

    /// Ends the thread once the save under way is done.
    pub(crate) fn end(self) {
        drop(self.saves);
        if self.thread.join().is_err() {
            tracing::error!("the thread that saves checkpoints ended with a panic");
        }
    }
}

/// Saves checkpoints.
pub(crate) struct Saver {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) journal: JournalHandle,
    pub(crate) writer: Box<dyn CheckpointWriter>,
    pub(crate) place: Place,
    /// Checkpoints that were taken and could not be saved yet.
    pub(crate) unsaved: HashMap<KeyId, Checkpoint>,
}

impl Saver {
    /// Starts the thread.
    pub(crate) fn start(self) -> std::io::Result<SaverHandle> {
        // No room to wait in: a save that is asked for while one is under way would be as of too early.
        let (saves, asked) = sync_channel(0);
        let thread = std::thread::Builder::new().name("saver".to_owned()).spawn(move || self.run(&asked))?;
        Ok(SaverHandle { saves, thread })
    }

    fn run(mut self, asked: &Receiver<Save>) {
        for save in asked {
            match self.save(&save) {
                Ok(()) => {
                    // What is not saved must stay in memory.
                    let idle_since = self.gateway.now().0.saturating_sub(IDLE);
                    self.gateway.live.evict(Timestamp(idle_since));
                }
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "saving checkpoints failed; trying again");
                }
            }
        }
    }

    /// Saves what changed since the last time.
    fn save(&mut self, save: &Save) -> anyhow::Result<()> {
        if self.place.is_replaced() {
            return Ok(());
        }
        let own = self.journal.flush(FLUSH_WITHIN)?;
        let mut positions: JournalPositions = own.into_iter().collect();
        positions.merge(&save.taken_in);
        for (key, seq, body) in self.gateway.live.take_checkpoints() {
            self.unsaved.insert(key, Checkpoint { key, seq, body });
        }
        if let Err(error) = self.write(&positions) {
            // Otherwise an idle key would be dropped from memory and come back without what it spent since.
            self.gateway.live.mark_unsaved(self.unsaved.keys().copied());
            return Err(error);
        }
        self.unsaved = HashMap::new();
        self.place.remember_feedback_told(save.feedback_told)
    }

    /// What is saved must not be ahead of what is on the disk, or a crash would leave more booked than there are events.
    /// What can not be saved now is kept: the next places in the journal would cover it.
    fn write(&mut self, positions: &JournalPositions) -> anyhow::Result<()> {
        self.journal.flush(FLUSH_WITHIN)?;
        let unsaved: Vec<&Checkpoint> = self.unsaved.values().collect();
        self.writer.save(&unsaved, positions)
    }
}
