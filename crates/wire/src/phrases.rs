//! Phrase rules: word sequences that give away what a prompt is after, from `data/phrases.txt`.
//!
//! Only the rules' bits leave this module, never a text. Rules are matched on folded words (see `words`), so that
//! spelling does not evade them; a rule in words of its own would not be found, and padding beyond what is looked at
//! hides one.

use std::sync::LazyLock;

use crate::json::RawStr;
use crate::words::{Folded, TEXT_MAX};

#[cfg(test)]
mod tests;

const DATA: &str = include_str!("../data/phrases.txt");
/// Messages of more words are no bare greeting.
const MESSAGE_MAX: usize = 16;
/// Stands for any word.
const ANY: u64 = 0;
const FILTER: usize = 64;

/// The shipped rules.
pub(crate) static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::read(DATA));

/// Rules in the form they are looked up in.
pub(crate) struct Rules {
    /// A bit for each pair of first words: what is clear here starts no phrase, and that is nearly every pair.
    filter: [u64; FILTER],
    /// In the order of their words.
    phrases: Vec<Phrase>,
    messages: Vec<Phrase>,
}

/// Words, and the bit of the rule they belong to.
struct Phrase {
    bit: u32,
    words: Vec<u64>,
}

/// One line of the data: a field of a rule, or its head.
enum Line<'a> {
    Head,
    Field(&'a str, &'a str),
}

fn lines(data: &str) -> impl Iterator<Item = Line<'_>> {
    data.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        match line.split_once('=') {
            Some((field, value)) if !line.starts_with('[') => Line::Field(field.trim(), value.trim()),
            _ => Line::Head,
        }
    })
}

impl Rules {
    fn read(data: &str) -> Self {
        let mut rules = Self { filter: [0; FILTER], phrases: Vec::new(), messages: Vec::new() };
        let mut bit = 0;
        for line in lines(data) {
            match line {
                Line::Head => bit = 0,
                Line::Field("bit", number) => {
                    bit = number.parse::<u32>().ok().and_then(|number| 1u32.checked_shl(number)).unwrap_or(0);
                }
                Line::Field("says", text) => rules.add(Phrase { bit, words: words(text) }),
                Line::Field("is", text) => rules.messages.push(Phrase { bit, words: words(text) }),
                Line::Field(..) => {}
            }
        }
        rules.phrases.sort_by(|a, b| a.words.cmp(&b.words));
        rules
    }

    fn add(&mut self, phrase: Phrase) {
        if let [first, second, ..] = phrase.words[..] {
            let (word, bit) = place(first, second);
            if let Some(word) = self.filter.get_mut(word) {
                *word |= bit;
            }
            self.phrases.push(phrase);
        }
    }

    /// The bits of the rules that words match.
    pub(crate) fn find(&self, words: &[u64]) -> u32 {
        let mut found = 0;
        for (at, pair) in words.array_windows::<2>().enumerate() {
            let (word, bit) = place(pair[0], pair[1]);
            if self.filter.get(word).is_some_and(|word| word & bit != 0) {
                let from_here = words.get(at..).unwrap_or_default();
                found |= self.find_phrases(pair, from_here);
            }
        }
        found
    }

    /// The bits of the phrases that words begin with, of which the first two are given.
    fn find_phrases(&self, pair: &[u64; 2], words: &[u64]) -> u32 {
        let first = self.phrases.partition_point(|phrase| phrase.words.as_slice() < pair.as_slice());
        let alike = self.phrases.iter().skip(first).take_while(|phrase| phrase.words.starts_with(pair));
        alike.filter(|phrase| phrase.starts(words)).fold(0, |found, phrase| found | phrase.bit)
    }

    /// The bits of the rules that a whole message matches, besides those of [`Rules::find`].
    pub(crate) fn find_message(&self, words: &[u64]) -> u32 {
        if words.len() > MESSAGE_MAX {
            return 0;
        }
        let matches = self.messages.iter().filter(|phrase| phrase.words == words);
        matches.fold(0, |found, phrase| found | phrase.bit)
    }
}

impl Phrase {
    /// Whether words start with it.
    fn starts(&self, words: &[u64]) -> bool {
        self.words.len() <= words.len()
            && self.words.iter().zip(words).all(|(mine, word)| mine == word || *mine == ANY)
    }
}

/// Where the filter has the bit of a pair.
const fn place(first: u64, second: u64) -> (usize, u64) {
    let pair = first.rotate_left(7) ^ second;
    ((pair >> 58) as usize % FILTER, 1 << (pair >> 52 & 63))
}

/// The words of a phrase.
fn words(text: &str) -> Vec<u64> {
    let mut words = Vec::new();
    for word in text.split(' ') {
        if word == "_" {
            words.push(ANY);
            continue;
        }
        let mut folded = Folded::new();
        folded.add(RawStr { raw: word, escaped: false }, TEXT_MAX);
        words.extend_from_slice(folded.words().all());
    }
    words
}
