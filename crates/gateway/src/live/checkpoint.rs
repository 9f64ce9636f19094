//! Saving and restoring the learned part of keys: checkpoint plus the journal after it equals the live state.

use serde::{Deserialize, Serialize};
use tokenwatch_detect::KeyState as Learned;
use tokenwatch_model::account::Account;
use tokenwatch_model::event::{JournalRecord, UsageEvent};
use tokenwatch_model::id::KeyId;
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::Normal;

use super::{Live, LiveKey, Mind};

/// Ordinals of the last events of a key: the upper 32 bits are the epoch of the process that wrote the event,
/// the lower its count. Two processes overlap during a hand-over, so the last few epochs are kept.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct LastSeen(Vec<u64>);

impl LastSeen {
    /// Epochs kept; processes overlap in twos.
    const EPOCHS: usize = 4;

    /// The ordinal of the next event of this process.
    pub(crate) fn next(&mut self, epoch: u32) -> u64 {
        let next = match self.0.iter().find(|&&last| (last >> 32) as u32 == epoch) {
            Some(last) => last + 1,
            None => (u64::from(epoch) << 32) | 1,
        };
        self.take(next);
        next
    }

    /// Takes an ordinal in; false when it was taken in before.
    pub(super) fn take(&mut self, seq: u64) -> bool {
        // An event without an ordinal changed no state when it happened.
        if seq == 0 {
            return false;
        }
        let epoch = seq >> 32;
        // Older than all that are kept: long taken in.
        if self.0.len() >= Self::EPOCHS && self.0.iter().all(|last| last >> 32 > epoch) {
            return false;
        }
        match self.0.iter_mut().find(|last| **last >> 32 == epoch) {
            Some(last) if *last >= seq => return false,
            Some(last) => *last = seq,
            None => {
                self.0.push(seq);
                self.0.sort_unstable();
                if self.0.len() > Self::EPOCHS {
                    self.0.remove(0);
                }
            }
        }
        true
    }

    /// The largest: a checkpoint with a larger one is newer.
    pub(crate) fn newest(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }
}

/// The learned part of one key as stored.
#[derive(Serialize, Deserialize)]
pub struct KeyCheckpoint {
    version: u8,
    last: LastSeen,
    account: Account,
    learned: Vec<u8>,
}

/// Why stored bytes are not a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum DecodeCheckpointError {
    /// Cut short or altered.
    #[error("the checkpoint is damaged")]
    Damaged(#[source] postcard::Error),
    /// Written by another version.
    #[error("the checkpoint has version {0}, this program reads version 1")]
    Version(u8),
    /// The engine does not know its part.
    #[error("the learned state in the checkpoint is damaged: {0}")]
    Learned(String),
}

impl KeyCheckpoint {
    const VERSION: u8 = 1;

    /// `in_flight`: when the requests in flight were admitted. They are left out, because their events come
    /// after the checkpoint.
    pub(crate) fn encode(mind: &Mind, in_flight: impl Iterator<Item = Timestamp>) -> Option<Vec<u8>> {
        let mut account = mind.account.clone();
        in_flight.for_each(|at| account.uncount(at));
        let checkpoint =
            Self { version: Self::VERSION, last: mind.last.clone(), account, learned: mind.learned.encode() };
        postcard::to_stdvec(&checkpoint).ok()
    }

    /// What the key usually does, from its stored checkpoint; `None` when too little was learned.
    ///
    /// # Errors
    ///
    /// When the bytes can not be read.
    pub fn normal(bytes: &[u8]) -> Result<Option<Normal>, DecodeCheckpointError> {
        Ok(super::view::normal(&Self::decode(bytes)?.learned))
    }

    /// Whether bytes can be read.
    ///
    /// # Errors
    ///
    /// When they can not.
    pub fn check(bytes: &[u8]) -> Result<(), DecodeCheckpointError> {
        Self::decode(bytes).map(drop)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Mind, DecodeCheckpointError> {
        let checkpoint: Self = postcard::from_bytes(bytes).map_err(DecodeCheckpointError::Damaged)?;
        if checkpoint.version != Self::VERSION {
            return Err(DecodeCheckpointError::Version(checkpoint.version));
        }
        let learned = Learned::decode(&checkpoint.learned)
            .map_err(|e| DecodeCheckpointError::Learned(e.to_string()))?;
        Ok(Mind { account: checkpoint.account, learned, last: checkpoint.last, ..Mind::default() })
    }
}

impl Live {
    /// What was learned and spent on one key, as stored; `None` while it is not in memory.
    pub(crate) fn checkpoint(&self, key: KeyId) -> Option<Vec<u8>> {
        let mut guard = self.shard(key);
        let (body, mind) = guard.keys.get_mut(&key).and_then(LiveKey::split)?;
        KeyCheckpoint::encode(mind, body.flights.values().map(|air| air.flight.context.time))
    }

    /// The keys that changed since they were last taken, as `(key, seq, bytes)`. Locks one key at a time.
    pub fn take_checkpoints(&self) -> Vec<(KeyId, u64, Vec<u8>)> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            let dirty: Vec<KeyId> = shard
                .lock()
                .keys
                .iter()
                .filter(|(_, live)| live.mind.as_ref().is_some_and(|mind| mind.dirty))
                .map(|(&key, _)| key)
                .collect();
            for key in dirty {
                let mut guard = shard.lock();
                let Some((body, mind)) = guard.keys.get_mut(&key).and_then(LiveKey::split) else { continue };
                let in_flight = body.flights.values().map(|air| air.flight.context.time);
                if let Some(bytes) = KeyCheckpoint::encode(mind, in_flight) {
                    mind.dirty = false;
                    taken.push((key, mind.last.newest(), bytes));
                }
            }
        }
        taken
    }

    /// Says that checkpoints that were taken could not be saved: they are taken again, and their keys stay in
    /// memory until then.
    pub fn mark_unsaved(&self, keys: impl IntoIterator<Item = KeyId>) {
        for key in keys {
            let mut guard = self.shard(key);
            if let Some(mind) = guard.keys.get_mut(&key).and_then(|live| live.mind.as_mut()) {
                mind.dirty = true;
            }
        }
    }

    /// Puts a stored checkpoint in place, unless the key's state is in memory already.
    ///
    /// # Errors
    ///
    /// When the bytes can not be read. The key then has no state, and its requests must be refused until
    /// somebody looks: a budget that forgets is none.
    pub fn restore(&self, key: KeyId, bytes: &[u8]) -> Result<(), DecodeCheckpointError> {
        self.put_mind(key, KeyCheckpoint::decode(bytes)?);
        Ok(())
    }

    /// Starts a key whose state was never saved, unless its state is in memory already.
    pub fn begin(&self, key: KeyId) {
        self.put_mind(key, Mind::default());
    }

    /// The key a journal record changes, when its state must be loaded before [`Live::replay`].
    pub fn needs_loading(&self, record: &JournalRecord) -> Option<KeyId> {
        let key = match record {
            JournalRecord::Usage(event) => event.request.key,
            JournalRecord::Feedback { feedback, .. } => feedback.key,
            JournalRecord::Suppressed { key, .. } => *key,
            JournalRecord::Finding(_) => return None,
        };
        (self.is_loaded(key) == Some(false)).then_some(key)
    }

    /// Drops the state of keys that were not used since `before`, are not in flight and are saved.
    /// Returns how many; they are loaded again when they are used.
    pub fn evict(&self, before: Timestamp) -> usize {
        let mut evicted = 0;
        for shard in &self.shards {
            for live in shard.lock().keys.values_mut().filter(|live| live.flights.is_empty()) {
                let is_idle = |mind: &Mind| !mind.dirty && mind.recent.last_used() < Some(before);
                if live.mind.as_deref().is_some_and(is_idle) {
                    live.mind = None;
                    evicted += 1;
                }
            }
        }
        evicted
    }

    /// Applies one journal record that a checkpoint may or may not hold already. The key's checkpoint must be
    /// in place before: false when it is not, and the record is not taken in.
    pub fn replay(&self, record: &JournalRecord) -> bool {
        let (key, seq) = match record {
            JournalRecord::Usage(event) => (event.request.key, event.key_seq),
            JournalRecord::Feedback { key_seq, feedback } => (feedback.key, *key_seq),
            JournalRecord::Suppressed { key, key_seq, .. } => (*key, *key_seq),
            JournalRecord::Finding(_) => return true,
        };
        let mut guard = self.shard(key);
        let Some(live) = guard.keys.get_mut(&key) else { return true };
        let Some((live, mind)) = live.split() else { return false };
        if !mind.last.take(seq) {
            return true;
        }
        mind.dirty = true;
        match record {
            JournalRecord::Usage(event) => {
                mind.account.replay(event);
                // Which events were seen is known here; the engine takes them as they come.
                let event = UsageEvent { key_seq: 0, ..event.clone() };
                // Findings were told when they were found; here they only rebuild the engine's memory.
                drop(self.engine.observe(&mut mind.learned, &live.entry.profile, &event));
            }
            JournalRecord::Feedback { feedback, .. } => self.engine.feedback(&mut mind.learned, feedback),
            JournalRecord::Suppressed { key, actor, .. } => {
                self.engine.suppress(&mut mind.learned, *key, *actor);
            }
            JournalRecord::Finding(_) => {}
        }
        true
    }
}
