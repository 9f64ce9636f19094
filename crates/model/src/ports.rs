//! The ports: what the applications need from the outside, implemented by adapters.

use crate::event::JournalRecord;
use crate::id::KeyId;
use crate::time::Timestamp;

/// The time. The one place where a clock is read is an adapter of the binary; tests and replays have
/// their own.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// Random bytes from the system.
pub trait Random: Send + Sync {
    /// Fills `bytes`. Never fails: an adapter that cannot get randomness must stop the process at start.
    fn fill(&self, bytes: &mut [u8]);

    /// 64 random bits.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// Takes journal records in order; never blocks.
pub trait EventSink: Send + Sync {
    /// Hands over a record. Returns false when the ring was full and the record was dropped: the caller
    /// counts it, and accounts stay exact because they do not come from events.
    fn push(&self, record: JournalRecord) -> bool;
}

/// Loads the learned state and account of keys that are not in memory. May block: call it off the runtime.
pub trait StateSource: Send + Sync {
    /// The last saved state of a key, as `KeyCheckpoint` bytes; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the state cannot be read. The caller then refuses the request: a budget that forgets is none.
    fn load(&self, key: KeyId) -> Result<Option<Vec<u8>>, StateError>;
}

/// Why a state could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the state of {key} can not be read: {detail}")]
pub struct StateError {
    /// Which key.
    pub key: KeyId,
    /// What went wrong.
    pub detail: String,
}
