//! Tests of `json`.

use proptest::prelude::*;

use super::*;

fn document(text: &str) -> Result<(), ScanError> {
    let mut scanner = Scanner::new(text);
    scanner.skip()?;
    scanner.end()
}

#[track_caller]
fn check(text: &str) {
    let ours = document(text).is_ok();
    let reference = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    assert_eq!(ours, reference, "{text}");
}

#[test]
fn the_grammar_is_that_of_a_strict_parser() {
    for text in [
        "",
        " ",
        "{}",
        "[]",
        "{ }",
        "[ ]",
        "[1,]",
        "{\"a\":1,}",
        "[,1]",
        "{,}",
        "[1 2]",
        "{\"a\" 1}",
        "{\"a\"}",
        "{1:2}",
        "[[],[{}],{\"a\":[]}]",
        "[}",
        "{]",
        "[1}",
        "{\"a\":1]",
        "nul",
        "null",
        "nulll",
        "true",
        "tru",
        "false",
        "fals",
        "+1",
        "-1",
        "-",
        "01",
        "0",
        "-0",
        "1.",
        "1.5",
        ".5",
        "1e5",
        "1e",
        "1E+5",
        "1e-",
        "1e400",
        "\"",
        "\"a",
        "\"a\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u123g\"",
        "\"\\u1234\"",
        "\"a\nb\"",
        "\"\t\"",
        "1 1",
        "{} {}",
        "[1],",
        "]",
        "\u{feff}{}",
        "'a'",
        "[1,2,3",
        "{\"a\":{\"b\":[1,{\"c\":null}]}}",
        "// a",
        "NaN",
    ] {
        check(text);
    }
}

#[test]
fn nesting_has_a_limit_and_needs_no_stack() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(document(&nested(128)).is_ok());
    assert_eq!(document(&nested(129)), Err(ScanError { at: 128, kind: ScanErrorKind::TooDeep }));
    assert_eq!(document(&nested(100_000)).unwrap_err().kind, ScanErrorKind::TooDeep);
    let objects = format!("{}1{}", "{\"a\":".repeat(128), "}".repeat(128));
    assert!(document(&objects).is_ok());
    assert!(document(&format!("[{objects}]")).is_err());
}

#[test]
fn specials_are_found_at_every_distance() {
    for length in 0..100 {
        for special in ["\"", "\\", "\n"] {
            let text = format!("{}{special}", "é".repeat(length / 2) + &"x".repeat(length % 2));
            assert_eq!(find_special(text.as_bytes(), 0), text.len() - 1);
        }
        assert_eq!(find_special("y".repeat(length).as_bytes(), 0), length);
    }
}

#[track_caller]
fn check_string(text: &str, want: Option<&str>) {
    let string = Scanner::new(text).string().unwrap();
    assert_eq!(string.decode().as_deref(), want);
}

#[test]
fn strings_are_decoded() {
    check_string(r#""plain""#, Some("plain"));
    check_string(r#""mod\u0065l""#, Some("model"));
    check_string(r#""a\n\t\r\b\f\"\\\/b""#, Some("a\n\t\r\u{8}\u{c}\"\\/b"));
    check_string(r#""\ud83d\ude00""#, Some("😀"));
    check_string(r#""\ud83d""#, None);
    check_string(r#""\ude00""#, None);
    check_string(r#""\ud83d\ud83d""#, None);
    check_string(r#""\ud83dx""#, None);
}

#[test]
fn members_are_walked() {
    let mut scanner = Scanner::new(r#" { "a" : [ 1 , "x" , {} ] , "b" : null } "#);
    let mut object = scanner.open_object().unwrap();
    assert_eq!(scanner.next_key(&mut object).unwrap().unwrap().raw, "a");
    let mut array = scanner.open_array().unwrap();
    let mut items = Vec::new();
    while scanner.next_item(&mut array).unwrap() {
        items.push(scanner.skip().unwrap());
    }
    assert_eq!(items, ["1", "\"x\"", "{}"]);
    assert_eq!(scanner.next_key(&mut object).unwrap().unwrap().raw, "b");
    scanner.null().unwrap();
    assert!(scanner.next_key(&mut object).unwrap().is_none());
    scanner.end().unwrap();
}

proptest! {
    #[test]
    fn damaged_documents_are_judged_like_a_strict_parser_does(
        at in 0usize..90, with in prop::sample::select(b"{}[],:\"\\0e. tn-".to_vec()), cut in any::<bool>()
    ) {
        let mut text = br#"{"a":[1,-2.5e3,"x\u00e9\n",{"b":null,"c":[]}],"d":true,"e":{},"f":"text","g":[[0]]}"#.to_vec();
        let at = at.min(text.len() - 1);
        if cut { text.truncate(at) } else { text[at] = with }
        check(&String::from_utf8(text).unwrap());
    }

    #[test]
    fn strings_read_back(text in any::<String>()) {
        let written = serde_json::to_string(&text).unwrap();
        let read = Scanner::new(&written).string().unwrap().decode().unwrap();
        prop_assert_eq!(read.as_ref(), text.as_str());
    }
}
