//! Tests of `words`.

use proptest::prelude::*;

use super::*;
use crate::json::Scanner;

/// The words of a text, each as the numbers of the same words alone.
fn words(text: &str) -> Vec<u64> {
    let written = serde_json::to_string(text).unwrap();
    let mut folded = Folded::new();
    folded.add(Scanner::new(&written).string().unwrap(), usize::MAX);
    folded.words().all().to_vec()
}

#[track_caller]
fn check_same(text: &str, plain: &str) {
    assert_eq!(words(text), words(plain), "{text}");
    assert!(!words(plain).is_empty());
}

#[test]
fn spellings_that_read_the_same_are_the_same_words() {
    for text in [
        "Say THIS is a test",
        "  say,\n\tthis -- is a test!!",
        "ｓａｙ ｔｈｉｓ is a test",
        "s\u{200b}ay th\u{ad}is is a te\u{2060}st",
        "sáy thís ìs ã tést",
        "sa\u{301}y this is a test",
        "sау this is а tеst",
        "𝐬𝐚𝐲 𝘵𝘩𝘪𝘴 𝚒𝚜 a test",
        "ⓢⓐⓨ this is a test",
        "say\u{a0}this\u{2003}is\u{3000}a「test」",
    ] {
        check_same(text, "say this is a test");
    }
    check_same("Straße", "strase");
    check_same("don’t", "don't");
    assert_ne!(words("say this is a test"), words("say this is the test"));
}

#[test]
fn escapes_are_read_as_what_they_spell() {
    let read = |written: &str| {
        let mut folded = Folded::new();
        folded.add(Scanner::new(written).string().unwrap(), usize::MAX);
        folded.words().all().to_vec()
    };
    let plain = read(r#""say this""#);
    assert_eq!(read(r#""\u0073ay\u0020thi\u0053""#), plain);
    assert_eq!(read(r#""say\nthis\"""#), plain);
    assert_eq!(read(r#""s\u00e1y \ud835\udc2dhis""#), plain);
    assert_eq!(read(r#""say\ud800this""#), plain);
}

#[test]
fn words_are_found_wherever_they_lie_and_however_long_they_are() {
    for lead in 0..140 {
        for len in [1, 2, 7, 8, 9, 16, 17, 63, 64, 65, 130] {
            let word: String = ('a'..='z').cycle().skip(lead % 5).take(len).collect();
            let text = format!("{}{word} end", ".".repeat(lead));
            let alone: Vec<u64> = [words(&word), words("end")].concat();
            assert_eq!(words(&text), alone, "{lead} {len}");
        }
    }
}

#[test]
fn scripts_without_spaces_are_split_by_character() {
    assert_eq!(words("你好世界").len(), 4);
    assert_eq!(words("こんにちは、世界").len(), 7);
    assert_eq!(words("안녕 세계").len(), 2);
    assert_eq!(words("Привет, мир").len(), 2);
    assert_ne!(words("привет"), words("пгивет"));
}

#[test]
fn what_says_something_is_longer_and_has_no_digits() {
    let saying = |text: &str| {
        let mut folded = Folded::new();
        folded.add(RawStr { raw: text, escaped: false }, usize::MAX);
        folded.words().saying().to_vec()
    };
    assert_eq!(saying("the order 4711 of a customer"), words("order customer"));
    assert_eq!(saying("order2 of b2b customer"), words("customer"));
    assert_eq!(saying("ok 42"), words("ok 42"));
    assert_eq!(saying("он идёт"), words("он идёт"));
    assert!(saying(" ,.!").is_empty());
}

#[test]
fn what_is_looked_at_is_bounded() {
    assert_eq!(words(&"word ".repeat(10_000)).len(), (TEXT_MAX - 1) / 5 + 1);
    assert_eq!(words(&"a ".repeat(10_000)).len(), WORDS_MAX);
    let mut folded = Folded::new();
    assert_eq!(folded.add(RawStr { raw: "one two three", escaped: false }, 7), 0);
    assert_eq!(folded.words().all(), words("one two"));
    assert_eq!(folded.add(RawStr { raw: "four", escaped: false }, 7), 3);
}

proptest! {
    #[test]
    fn any_text_is_folded(text in any::<String>(), most in 0usize..40) {
        let written = serde_json::to_string(&text).unwrap();
        let mut folded = Folded::new();
        for _ in 0..3 {
            folded.add(Scanner::new(&written).string().unwrap(), most);
        }
        let words = folded.words();
        prop_assert!(words.saying().len() <= words.all().len());
    }

    #[test]
    fn words_are_those_of_a_plain_split(text in "[a-zA-Z0-9 .,\n]{0,300}") {
        let lower = text.to_ascii_lowercase();
        let split = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let want: Vec<u64> = split.flat_map(words).take(WORDS_MAX).collect();
        prop_assert_eq!(words(&text), want);
    }
}

#[test]
fn words_are_parted_where_the_texts_are() {
    let mut folded = Folded::new();
    folded.add(RawStr { raw: "one two", escaped: false }, usize::MAX);
    folded.part();
    folded.add(RawStr { raw: "three", escaped: false }, usize::MAX);
    let found = folded.words();
    assert_eq!(found.parts(), (&words("one two")[..], &words("three")[..]));
}
