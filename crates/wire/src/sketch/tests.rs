//! Tests of `sketch`.

use proptest::prelude::*;

use super::*;

const SUPPORT: &str = "You are the support assistant of a shop. Answer in the language of the customer, in at most five \
                       sentences, and use the tools for anything about an order or a refund.";
const REVIEW: &str = "You review changes to a code base. Point out defects only: wrong results, crashes, leaks, races. \
                      Say nothing about style. One line for each defect, file and line first.";

fn key(byte: u8) -> ContentKey {
    ContentKey::derive(&[byte; 16])
}

fn of(key: &ContentKey, text: &str) -> u64 {
    let mut folded = Folded::new();
    folded.add(RawStr { raw: text, escaped: false }, usize::MAX);
    sketch(key, &folded.words())
}

#[test]
fn likeness_is_distance() {
    let key = key(7);
    let far = |a: &str, b: &str| (of(&key, a) ^ of(&key, b)).count_ones();
    assert_eq!(far(SUPPORT, &SUPPORT.to_uppercase()), 0);
    assert_eq!(far(&format!("{SUPPORT} Ticket 17."), &format!("{SUPPORT} Ticket 4711.")), 0);
    let revised = format!("{SUPPORT} Never promise a delivery date.");
    assert!((1..=14).contains(&far(SUPPORT, &revised)), "{}", far(SUPPORT, &revised));
    assert!((20..=44).contains(&far(SUPPORT, REVIEW)), "{}", far(SUPPORT, REVIEW));
}

#[test]
fn another_key_gives_another_sketch() {
    let far = (of(&key(1), SUPPORT) ^ of(&key(2), SUPPORT)).count_ones();
    assert!((20..=44).contains(&far), "{far}");
    assert_eq!(format!("{:?}", key(1)), "ContentKey(…)");
}

#[test]
fn no_words_are_no_sketch() {
    assert_eq!(of(&key(1), " …!?"), 0);
    assert_ne!(of(&key(1), "ok"), 0);
    assert_ne!(of(&key(1), "ok"), of(&key(1), "no"));
}

#[test]
fn majorities_are_counted_exactly() {
    for words in [1, 2, 3, 4, 5, 7, 64, 127, 128, 200, WORDS_MAX] {
        let text: String = (0..words).map(|word| format!("{}{word:08b} ", "abc")).collect();
        let text: String = text
            .chars()
            .map(|c| if c.is_ascii_digit() { (c as u8 + b'a' - b'0') as char } else { c })
            .collect();
        let mut folded = Folded::new();
        folded.add(RawStr { raw: &text, escaped: false }, usize::MAX);
        let words = folded.words();
        let hashes: Vec<u64> = words.saying().iter().map(|&word| key(3).hash(word)).collect();
        let want = (0..64).fold(0, |bits, place| {
            let ones = hashes.iter().filter(|hash| *hash >> place & 1 == 1).count();
            bits | u64::from(ones > hashes.len() / 2) << place
        });
        assert_eq!(sketch(&key(3), &words), want.max(1), "{}", hashes.len());
    }
}

#[test]
fn an_answer_is_its_text_and_bounded() {
    let sketch = |text: &str| {
        let mut answer = Answer::new(Some(key(7)));
        answer.push(text.as_bytes());
        answer.sketch()
    };
    assert_eq!(sketch(r"say\nth\u0069s"), of(&key(7), "say this"));
    assert_eq!(sketch(r"cut \u00"), of(&key(7), "cut"));
    let long = "many words ".repeat(1_000);
    let mut answer = Answer::new(Some(key(7)));
    answer.push(long.as_bytes());
    assert!(!answer.listens() && answer.raw.len() == ANSWER_MAX);
    let mut off = Answer::new(None);
    off.push(b"text");
    assert_eq!((off.sketch(), off.raw.capacity()), (0, 0));
}

proptest! {
    #[test]
    fn any_split_gives_the_same_sketch(text in any::<String>(), size in 1usize..20) {
        let mut whole = Answer::new(Some(key(7)));
        whole.push(text.as_bytes());
        let mut pieces = Answer::new(Some(key(7)));
        text.as_bytes().chunks(size).for_each(|piece| pieces.push(piece));
        prop_assert_eq!(pieces.sketch(), whole.sketch());
    }
}
