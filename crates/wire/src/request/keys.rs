//! The keys of one object that is read: each once, none in another case than the known one.

use std::borrow::Cow;

use super::{KEYS_MAX, ParseRequestError};
use crate::json::{Scanner, Step};

const INLINE: usize = 12;

/// Walks the members of one object.
pub(super) struct Members<'a> {
    step: Step,
    known: &'static [&'static str],
    /// One bit for a weak hash of each key: a clear bit proves that a key is new.
    bits: u64,
    count: usize,
    inline: [&'a str; INLINE],
    more: Vec<Cow<'a, str>>,
}

impl<'a> Members<'a> {
    /// Enters the object that comes next; `known` are the keys the caller reads.
    pub(super) fn open(
        scanner: &mut Scanner<'a>,
        known: &'static [&'static str],
    ) -> Result<Self, ParseRequestError> {
        let step = scanner.open_object()?;
        Ok(Self { step, known, bits: 0, count: 0, inline: [""; INLINE], more: Vec::new() })
    }

    /// The next key; `None` at the end of the object.
    pub(super) fn next(
        &mut self,
        scanner: &mut Scanner<'a>,
    ) -> Result<Option<Cow<'a, str>>, ParseRequestError> {
        let Some(key) = scanner.next_key(&mut self.step)? else { return Ok(None) };
        let at = scanner.key_offset();
        let key = key.decode().ok_or(ParseRequestError::BrokenKey { at })?;
        if self.holds(&key) {
            let field = self.known.iter().copied().find(|known| *known == key);
            return Err(ParseRequestError::DuplicateKey { field, at });
        }
        if let Some(field) = self.find_miscased(&key) {
            return Err(ParseRequestError::MiscasedKey { field, at });
        }
        self.insert(key.clone(), at)?;
        Ok(Some(key))
    }

    fn holds(&self, key: &str) -> bool {
        self.bits & bit(key) != 0
            && (self.inline.iter().take(self.count).any(|held| *held == key)
                || self.more.iter().any(|held| held == key))
    }

    fn insert(&mut self, key: Cow<'a, str>, at: usize) -> Result<(), ParseRequestError> {
        self.bits |= bit(&key);
        match (key, self.inline.get_mut(self.count)) {
            (Cow::Borrowed(key), Some(place)) => {
                *place = key;
                self.count += 1;
            }
            _ if self.count + self.more.len() >= KEYS_MAX => {
                return Err(ParseRequestError::TooManyKeys { at });
            }
            (key, _) => self.more.push(key),
        }
        Ok(())
    }

    /// The known key that this one equals but for case. Go's decoder, for one, ignores case, and folds the
    /// long s and the Kelvin sign too.
    fn find_miscased(&self, key: &str) -> Option<&'static str> {
        if key.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
            return None;
        }
        let fold = |character: char| match character {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        };
        self.known.iter().copied().find(|known| key != *known && key.chars().map(fold).eq(known.chars()))
    }
}

fn bit(key: &str) -> u64 {
    let bytes = key.as_bytes();
    let first = bytes.first().copied().unwrap_or(0);
    let last = bytes.last().copied().unwrap_or(0);
    1u64.rotate_left(u32::from(first) * 5 + u32::from(last) * 11 + key.len() as u32 * 3)
}
