//! Saved states of keys, and how far they cover the journal.

use rusqlite::{OptionalExtension, Transaction, params};
use tokenwatch_model::id::KeyId;
use tokenwatch_model::ports::{StateError, StateSource};

use crate::error::{ReadError, UpdateError};
use crate::journal::{JournalPosition, JournalPositions, Stream};
use crate::store::Store;
use crate::store::rows::{number, stored};

/// The state of a key as of one of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The key.
    pub key: KeyId,
    /// Ordinal of the last of its events that the state holds.
    pub seq: u64,
    /// The state, in the form that the engine gives it.
    pub body: Vec<u8>,
}

impl Store {
    /// Saves states and the places in the journal up to which all saved states cover it, in one transaction.
    /// A state never replaces one of a later event, and a place never moves back: what a process that is being
    /// replaced writes late does no harm.
    ///
    /// # Errors
    ///
    /// When the database can not be written; nothing is saved then.
    pub fn save_checkpoints<'a>(
        &self,
        checkpoints: impl IntoIterator<Item = &'a Checkpoint>,
        positions: &JournalPositions,
    ) -> Result<(), UpdateError> {
        self.0.checkpoints.write(|tx| {
            let mut save = tx.prepare_cached(
                "INSERT INTO checkpoints (key, seq, body) VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE \
                 SET seq = excluded.seq, body = excluded.body WHERE excluded.seq >= seq",
            )?;
            for checkpoint in checkpoints {
                save.execute(params![
                    stored(checkpoint.key.bits()),
                    stored(checkpoint.seq),
                    checkpoint.body
                ])?;
            }
            save_positions(tx, positions)
        })
    }

    /// The last saved state of a key.
    ///
    /// # Errors
    ///
    /// When the database can not be read.
    pub fn load_checkpoint(&self, key: KeyId) -> Result<Option<Checkpoint>, ReadError> {
        self.0.checkpoints.read(|tx| {
            tx.prepare_cached("SELECT seq, body FROM checkpoints WHERE key = ?1")?
                .query_row([stored(key.bits())], |row| {
                    Ok(Checkpoint { key, seq: number(row, 0)?, body: row.get(1)? })
                })
                .optional()
        })
    }

    /// Up to where the saved states cover the journal: replay starts here, and what lies before may be sealed.
    ///
    /// # Errors
    ///
    /// When the database can not be read.
    pub fn journal_positions(&self) -> Result<JournalPositions, ReadError> {
        self.0.checkpoints.read(|tx| {
            let mut statement =
                tx.prepare_cached("SELECT stream, ordinal, position FROM journal_positions")?;
            let mut rows = statement.query([])?;
            let mut positions = JournalPositions::default();
            while let Some(row) = rows.next()? {
                let stream: String = row.get(0)?;
                // A name that is not ours stands for no file, so nothing is lost by passing it over.
                if let Ok(stream) = stream.parse::<Stream>() {
                    let segment = stream.segment(row.get(1)?);
                    positions.advance(&JournalPosition { segment, offset: number(row, 2)? });
                }
            }
            Ok(positions)
        })
    }

    /// Forgets the places of streams that have no segment any more: those not in `keep`.
    ///
    /// # Errors
    ///
    /// When the database can not be written.
    pub fn forget_streams(&self, keep: &[Stream]) -> Result<(), UpdateError> {
        let keep: Vec<String> = keep.iter().map(ToString::to_string).collect();
        self.0.checkpoints.write(|tx| {
            let streams: Vec<String> = tx
                .prepare_cached("SELECT stream FROM journal_positions")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for stream in streams.iter().filter(|stream| !keep.contains(stream)) {
                tx.execute("DELETE FROM journal_positions WHERE stream = ?1", [stream])?;
            }
            Ok(())
        })
    }
}

fn save_positions(tx: &Transaction<'_>, positions: &JournalPositions) -> Result<(), UpdateError> {
    let mut save = tx.prepare_cached(
        "INSERT INTO journal_positions (stream, ordinal, position) VALUES (?1, ?2, ?3) \
         ON CONFLICT (stream) DO UPDATE SET ordinal = excluded.ordinal, position = excluded.position \
         WHERE (excluded.ordinal, excluded.position) > (ordinal, position)",
    )?;
    for JournalPosition { segment, offset } in positions.iter() {
        save.execute(params![segment.stream.to_string(), segment.ordinal, stored(offset)])?;
    }
    Ok(())
}

impl StateSource for Store {
    fn load(&self, key: KeyId) -> Result<Option<Vec<u8>>, StateError> {
        match self.load_checkpoint(key) {
            Ok(checkpoint) => Ok(checkpoint.map(|checkpoint| checkpoint.body)),
            Err(error) => {
                // The port's error carries text only, so what caused it is told here.
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                Err(StateError { key, detail: format!("{error}{}", cause.unwrap_or_default()) })
            }
        }
    }
}
