//! Texts folded to plain lower-case words, and the words as numbers.
//!
//! Two spellings that a reader takes for one fold to one: escapes, case, accents, full-width and mathematical letters,
//! letters of other scripts that look Latin, and characters without width. What is looked at is bounded by [`TEXT_MAX`]
//! and [`WORDS_MAX`], whatever is sent. Nothing here is keyed: these numbers never leave the request path.

use crate::json::{Piece, RawStr};

#[cfg(test)]
mod tests;

/// Most folded bytes that are kept.
pub(crate) const TEXT_MAX: usize = 640;
/// Most words that are kept; what follows is passed over.
pub(crate) const WORDS_MAX: usize = 160;
/// Shortest word that says what a text is about, in bytes: shorter ones are mostly grammar.
const SAYING_MIN: usize = 4;
const BLOCK: usize = 64;
/// Zeros after the text, so that blocks and words can be read whole.
const ROOM: usize = TEXT_MAX + BLOCK;

/// A text folded to lower-case letters, digits and what stands between them.
pub(crate) struct Folded {
    bytes: [u8; ROOM],
    len: usize,
    /// Where the first part ends.
    first: usize,
}

impl Folded {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; ROOM], len: 0, first: 0 }
    }

    /// Adds up to `most` bytes of a text, set apart from what stands before; the result is how many are left of `most`.
    pub(crate) fn add(&mut self, text: RawStr<'_>, most: usize) -> usize {
        self.push(b" ");
        if let Some(plain) = text.raw.get(..most.min(text.raw.len())).filter(|raw| raw.is_ascii())
            && self.add_plain(plain.as_bytes())
        {
            return most - plain.len();
        }
        let mut left = most;
        for piece in text.pieces() {
            if left == 0 || self.is_full() {
                break;
            }
            match piece {
                Piece::Text(literal) => {
                    let looked = literal.get(..literal.floor_char_boundary(left)).unwrap_or_default();
                    left -= looked.len();
                    self.add_literal(looked);
                    if looked.len() < literal.len() {
                        left = 0;
                    }
                }
                Piece::Escape(character) => {
                    left -= 1;
                    self.add_char(character);
                }
                Piece::Lone => {
                    left -= 1;
                    self.push(b" ");
                }
            }
        }
        left
    }

    /// Adds ASCII text as it is written. False, and nothing is added, when it has escapes that spell a letter; all others
    /// are what stands between words.
    fn add_plain(&mut self, raw: &[u8]) -> bool {
        let start = self.len;
        self.push(raw);
        let mut rest = self.bytes.get_mut(start..self.len).unwrap_or_default();
        while let Some(at) = memchr::memchr(b'\\', rest) {
            let after = rest.get_mut(at..).unwrap_or_default();
            let (escape, next) = after.split_at_mut(after.len().min(2));
            if escape.last() == Some(&b'u') {
                self.bytes.get_mut(start..self.len).unwrap_or_default().fill(0);
                self.len = start;
                return false;
            }
            escape.fill(b' ');
            rest = next;
        }
        true
    }

    fn is_full(&self) -> bool {
        self.len >= TEXT_MAX
    }

    fn add_literal(&mut self, mut text: &str) {
        if text.is_ascii() {
            return self.push(text.as_bytes());
        }
        while !text.is_empty() && !self.is_full() {
            let (plain, rest) = text.split_at_checked(ascii_len(text.as_bytes())).unwrap_or((text, ""));
            self.push(plain.as_bytes());
            let mut rest = rest.chars();
            if let Some(character) = rest.next() {
                self.add_char(character);
            }
            text = rest.as_str();
        }
    }

    fn add_char(&mut self, character: char) {
        let mut utf8 = [0; 4];
        match fold(character) {
            Fold::Ascii(byte) => self.push(&[byte]),
            Fold::Letter(letter) => self.push(letter.encode_utf8(&mut utf8).as_bytes()),
            Fold::Word(letter) => {
                self.push(letter.encode_utf8(&mut utf8).as_bytes());
                self.push(b" ");
            }
            Fold::Nothing => {}
        }
    }

    /// Adds bytes of which ASCII letters are lowered. A character is kept whole or not at all.
    fn push(&mut self, bytes: &[u8]) {
        let room = TEXT_MAX - self.len.min(TEXT_MAX);
        let bytes = if bytes.len() <= room {
            bytes
        } else if bytes.is_ascii() {
            bytes.get(..room).unwrap_or_default()
        } else {
            self.len = TEXT_MAX;
            return;
        };
        if let Some(place) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            place.make_ascii_lowercase();
            self.len += bytes.len();
        }
    }

    /// Ends the first part: what is added from here on is the second.
    pub(crate) const fn part(&mut self) {
        self.first = self.len;
    }

    /// The words, in order.
    pub(crate) fn words(&self) -> Words {
        let mut words =
            Words { all: [0; WORDS_MAX], all_len: 0, saying: [0; WORDS_MAX], saying_len: 0, first: 0 };
        // Whether a word is open, and where it began.
        let (mut open, mut start) = (0, 0);
        let (blocks, _) = self.bytes.as_chunks::<BLOCK>();
        // One block more than the text has: the zeros in it end the last word.
        for (number, block) in blocks.iter().enumerate().take(self.len / BLOCK + 1) {
            let inside = word_bytes(block);
            let before = inside << 1 | open;
            let (mut starts, mut ends) = (inside & !before, before & !inside);
            let mut next_start = || {
                let at = number * BLOCK + starts.trailing_zeros() as usize;
                starts &= starts.wrapping_sub(1);
                at
            };
            if open == 0 {
                start = next_start();
            }
            open = inside >> 63;
            while ends != 0 {
                self.take_word(start, number * BLOCK + ends.trailing_zeros() as usize, &mut words);
                ends &= ends - 1;
                start = next_start();
            }
        }
        words
    }

    #[inline]
    fn take_word(&self, start: usize, end: usize, words: &mut Words) {
        const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
        const SIXTH: u64 = u64::from_ne_bytes([0x40; 8]);
        const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
        const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;
        let load = |at: usize| {
            let bytes = self.bytes.get(at..).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let (mut at, mut hash, mut digits, mut high) = (start, 0, 0, 0);
        while end - at > 8 {
            let part = load(at);
            digits |= !(part | part >> 1) & SIXTH;
            high |= part;
            hash = multiply(hash ^ part ^ SEED, FACTOR);
            at += 8;
        }
        let used = u64::MAX >> (56 - 8 * ((end - at).wrapping_sub(1) & 7));
        let part = load(at) & used;
        // Letters have the sixth bit, other scripts the seventh, digits neither.
        digits |= !(part | part >> 1) & SIXTH & used;
        high |= part;
        hash = multiply(hash ^ part ^ SEED, FACTOR);
        // Without branches: half of all words are short.
        let says = (digits == 0) & ((high & HIGH != 0) | (end - start >= SAYING_MIN));
        words.push(hash, says, start < self.first);
    }
}

/// Words as numbers, and those among them that say what the text is about.
pub(crate) struct Words {
    all: [u64; WORDS_MAX],
    all_len: usize,
    saying: [u64; WORDS_MAX],
    saying_len: usize,
    /// How many of all words stand in the first part.
    first: usize,
}

impl Words {
    #[inline]
    fn push(&mut self, hash: u64, says: bool, is_first: bool) {
        if let (Some(all), Some(saying)) =
            (self.all.get_mut(self.all_len), self.saying.get_mut(self.saying_len))
        {
            *all = hash;
            self.all_len += 1;
            // Written in any case, kept by the length: whether a word says something is a coin's toss to predict.
            *saying = hash;
            self.saying_len += usize::from(says);
            self.first += usize::from(is_first);
        }
    }

    /// All words.
    pub(crate) fn all(&self) -> &[u64] {
        self.all.get(..self.all_len).unwrap_or_default()
    }

    /// All words of the first part and of the second.
    pub(crate) fn parts(&self) -> (&[u64], &[u64]) {
        self.all().split_at_checked(self.first).unwrap_or_default()
    }

    /// Words of four bytes or more without digits; of a text that has none, all words.
    pub(crate) fn saying(&self) -> &[u64] {
        if self.saying_len == 0 { self.all() } else { self.saying.get(..self.saying_len).unwrap_or_default() }
    }
}

/// The two halves of a product, folded: every bit of either factor moves many bits of the result.
pub(crate) const fn multiply(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// A bit for each byte of a lower-case text that is part of a word.
fn word_bytes(block: &[u8; BLOCK]) -> u64 {
    let mut is_word = [0u8; BLOCK];
    // Without branches, which compiles to vector instructions.
    for (is_word, &byte) in is_word.iter_mut().zip(block) {
        let letter = byte.wrapping_sub(b'a') < 26;
        let digit = byte.wrapping_sub(b'0') < 10;
        *is_word = u8::from(letter | digit | (byte >= 0x80));
    }
    let (groups, _) = is_word.as_chunks::<8>();
    groups.iter().rev().fold(0, |bits, group| {
        // Gathers the lowest bits of eight bytes in one.
        let gathered = u64::from_le_bytes(*group).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits << 8 | gathered
    })
}

/// Length of the start of a text that is ASCII.
fn ascii_len(text: &[u8]) -> usize {
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let (groups, rest) = text.as_chunks::<8>();
    for (number, group) in groups.iter().enumerate() {
        let high = u64::from_le_bytes(*group) & HIGH;
        if high != 0 {
            return number * 8 + high.trailing_zeros() as usize / 8;
        }
    }
    groups.len() * 8 + rest.iter().take_while(|byte| byte.is_ascii()).count()
}

/// What a character becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fold {
    Ascii(u8),
    Letter(char),
    /// A word of its own: a character of a script that sets no spaces.
    Word(char),
    Nothing,
}

/// Letters with accents, U+00C0 to U+017F, without them.
const PLAIN: &[u8; 192] = b"aaaaaaaceeeeiiiidnooooo ouuuuytsaaaaaaaceeeeiiiidnooooo ouuuuyty\
aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkklllllll\
lllnnnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";

fn fold(character: char) -> Fold {
    let code = u32::from(character);
    let nth = |first: char, n: u32| Fold::Ascii(first as u8 + (n % 26) as u8);
    match character {
        '\0'..='\x7f' => Fold::Ascii(character as u8),
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e01ef}'
        | '\u{300}'..='\u{36f}' => Fold::Nothing,
        '\u{c0}'..='\u{17f}' => {
            PLAIN.get(code as usize - 0xc0).map_or(Fold::Nothing, |&byte| Fold::Ascii(byte))
        }
        '\u{ff01}'..='\u{ff5e}' => Fold::Ascii((code - 0xfee0) as u8),
        '\u{24b6}'..='\u{24e9}' => nth('a', code - 0x24b6),
        '\u{1d400}'..='\u{1d6a3}' => nth('a', code - 0x1d400),
        '\u{1d7ce}'..='\u{1d7ff}' => Fold::Ascii(b'0' + ((code - 0x1d7ce) % 10) as u8),
        'ѕ' | 'Ѕ' => Fold::Ascii(b's'),
        'а' | 'А' | 'α' | 'Α' => Fold::Ascii(b'a'),
        'В' | 'Β' => Fold::Ascii(b'b'),
        'с' | 'С' | 'ϲ' => Fold::Ascii(b'c'),
        'е' | 'Е' | 'ё' | 'Ё' | 'Ε' => Fold::Ascii(b'e'),
        'Н' | 'Η' | 'һ' => Fold::Ascii(b'h'),
        'і' | 'І' | 'ι' | 'Ι' | 'ї' => Fold::Ascii(b'i'),
        'ј' | 'Ј' => Fold::Ascii(b'j'),
        'К' | 'к' | 'κ' | 'Κ' | '\u{212a}' => Fold::Ascii(b'k'),
        'М' | 'Μ' => Fold::Ascii(b'm'),
        'Ν' => Fold::Ascii(b'n'),
        'о' | 'О' | 'ο' | 'Ο' => Fold::Ascii(b'o'),
        'р' | 'Р' | 'ρ' | 'Ρ' => Fold::Ascii(b'p'),
        'Т' | 'τ' | 'Τ' => Fold::Ascii(b't'),
        'υ' => Fold::Ascii(b'u'),
        'ν' => Fold::Ascii(b'v'),
        'х' | 'Х' | 'χ' | 'Χ' => Fold::Ascii(b'x'),
        'у' | 'У' | 'Υ' => Fold::Ascii(b'y'),
        'Ζ' => Fold::Ascii(b'z'),
        '\u{e00}'..='\u{eff}'
        | '\u{1000}'..='\u{109f}'
        | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}' => Fold::Word(character),
        _ if character.is_alphanumeric() => {
            Fold::Letter(character.to_lowercase().next().unwrap_or(character))
        }
        _ => Fold::Ascii(b' '),
    }
}
