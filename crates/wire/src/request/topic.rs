//! What a prompt is about and what it is after: a sketch of its words, and the phrase rules it matches.
//!
//! Looked at are the start of the system prompt and the start and end of the last user message, so that the cost does
//! not grow with the request.

use crate::json::RawStr;
use crate::phrases::RULES;
use crate::sketch::{ContentKey, sketch};
use crate::words::Folded;

/// Bytes of the system prompt that are looked at.
const SYSTEM: usize = 128;
/// Bytes of the last user message that are looked at from its start.
const START: usize = 256;
/// Bytes looked at from the end of a longer one.
const END: usize = 64;

/// The sketch and the rules' bits of a request; 0 where there is nothing.
pub(super) fn read(key: &ContentKey, system: &[RawStr<'_>], message: &[RawStr<'_>]) -> (u64, u32) {
    let mut folded = Folded::new();
    add(&mut folded, system, SYSTEM);
    folded.part();
    let is_whole = add(&mut folded, message, START) > 0;
    if !is_whole && let Some(end) = message.last().and_then(|text| find_end(*text)) {
        folded.add(end, END);
    }
    let words = folded.words();
    let (system, message) = words.parts();
    let mut phrases = RULES.find(system) | RULES.find(message);
    if is_whole {
        phrases |= RULES.find_message(message);
    }
    (sketch(key, &words), phrases)
}

/// Adds the start of texts; the result is how many of so many bytes they left.
fn add(folded: &mut Folded, texts: &[RawStr<'_>], most: usize) -> usize {
    let mut left = most;
    for text in texts {
        if left > 0 {
            left = folded.add(*text, left);
        }
    }
    left
}

/// The last bytes of a text from a literal space on: never the inside of an escape.
fn find_end(text: RawStr<'_>) -> Option<RawStr<'_>> {
    let start = text.raw.len().saturating_sub(END);
    let bytes = text.raw.as_bytes().get(start..)?;
    let space = memchr::memchr(b' ', bytes)?;
    Some(RawStr { raw: text.raw.get(start + space..)?, escaped: text.escaped })
}
