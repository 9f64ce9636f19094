//! Events that somebody else wrote, as records of named fields: JSON lines here, rows of other formats by [`Record`].
//!
//! `docs/events.md` names the fields. Invariants: fields that are not known are counted and passed over; a field that is
//! known and holds something else than it should is an error that says what to write, never a guess.

use std::borrow::Cow;
use std::collections::BTreeMap;

mod event;
mod fields;
mod json;
mod nested;
#[cfg(test)]
mod tests;
mod values;

pub use event::{Lookup, key_id, owner_id, shown_key, text_bits};
pub use fields::{Column, Name};
pub use values::{TIME, text_time};

/// Names of unknown fields that are kept.
const UNKNOWN_MAX: usize = 64;

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Cell<'a> {
    /// Nothing: left out, or null.
    #[default]
    Absent,
    /// Yes or no.
    Flag(bool),
    /// A whole number, 0 or above.
    Number(u64),
    /// A number below 0, or with a fraction.
    Real(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// A time in microseconds since 1970 UTC, from a format that has times.
    Time(u64),
    /// A list or an object, for the fields that take one.
    Json(Box<serde_json::Value>),
    /// A list or an object in the place of something else.
    Nested,
}

impl Cell<'_> {
    /// Whether it is what tools write for nothing: an empty text, `-`, or a number that is none.
    #[inline]
    fn is_blank(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Text(text) => matches!(text.as_ref(), "" | "-"),
            Self::Real(real) => real.is_nan(),
            _ => false,
        }
    }
}

/// One event as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    cells: [Cell<'a>; Column::COUNT],
    /// Which of its names each field came under.
    ranks: [u8; Column::COUNT],
}

impl Default for Record<'_> {
    fn default() -> Self {
        Self { cells: [const { Cell::Absent }; Column::COUNT], ranks: [0; Column::COUNT] }
    }
}

impl<'a> Record<'a> {
    /// Reads a JSON object.
    ///
    /// # Errors
    ///
    /// When it is none, or a field occurs twice.
    pub fn from_json(line: &'a [u8], unknown: &mut UnknownFields) -> Result<Self, RecordError> {
        json::read(line, unknown)
    }

    /// Puts a value into a field. A field's own name goes before what others call it; what is passed over for that, and
    /// says something else, is counted.
    #[inline]
    pub fn put(&mut self, name: Name, cell: Cell<'a>, unknown: &mut UnknownFields) {
        let place = name.column as usize;
        let (Some(held), Some(rank)) = (self.cells.get_mut(place), self.ranks.get_mut(place)) else { return };
        if cell.is_blank() {
            return;
        }
        if matches!(held, Cell::Absent) {
            (*held, *rank) = (cell, name.rank);
        } else {
            let before = Name { rank: *rank, ..name };
            weigh((held, before), (cell, name), unknown);
            *rank = name.rank.min(*rank);
        }
    }

    /// The name that a field was written under.
    fn name(&self, column: Column) -> &'static str {
        Name { column, rank: self.ranks.get(column as usize).copied().unwrap_or_default() }.text()
    }

    fn cell(&self, column: Column) -> &Cell<'a> {
        self.cells.get(column as usize).unwrap_or(&Cell::Absent)
    }
}

/// Keeps the value with the better of two names of one field.
#[cold]
fn weigh<'a>(held: (&mut Cell<'a>, Name), new: (Cell<'a>, Name), unknown: &mut UnknownFields) {
    let is_better = new.1.rank < held.1.rank;
    if *held.0 != new.0 {
        let (kept, lost) = if is_better { (new.1, held.1) } else { (held.1, new.1) };
        unknown.note(&format!("{} (beside {})", lost.shown(), kept.shown()));
    }
    if is_better {
        *held.0 = new.0;
    }
}

/// Fields that were passed over, by name, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UnknownFields {
    names: BTreeMap<String, u64>,
    /// Of further names.
    others: u64,
}

impl UnknownFields {
    /// Counts one.
    pub fn note(&mut self, name: &str) {
        if let Some(count) = self.names.get_mut(name) {
            *count += 1;
        } else if self.names.len() < UNKNOWN_MAX {
            self.names.insert(name.to_owned(), 1);
        } else {
            self.others += 1;
        }
    }

    /// Adds those of another file.
    pub fn add(&mut self, other: Self) {
        for (name, count) in other.names {
            if self.names.len() < UNKNOWN_MAX || self.names.contains_key(&name) {
                *self.names.entry(name).or_default() += count;
            } else {
                self.others += count;
            }
        }
        self.others += other.others;
    }

    /// Names and how often each occurred; the first 64 names are told apart.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        let others = (self.others > 0).then_some(("…", self.others));
        self.names.iter().map(|(name, count)| (name.as_str(), *count)).chain(others)
    }
}

/// Why a record is no event, in words that say what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a JSON object.
    #[error("not a JSON object: {0}; write one event a line as {{\"time\": …, \"key\": …}}")]
    Json(String),
    /// A field is missing that every event needs.
    #[error("field {field}: missing; write {want}")]
    Missing {
        /// Which.
        field: &'static str,
        /// What to write.
        want: &'static str,
    },
    /// A field holds something that it can not.
    #[error("field {field}: {found} can not be read; write {want}")]
    Value {
        /// Which.
        field: &'static str,
        /// What it holds, cut short.
        found: String,
        /// What to write instead.
        want: &'static str,
    },
}
