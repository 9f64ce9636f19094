//! Taking out the chunk that the client did not ask for.

use super::*;

fn strip() -> TapConfig {
    TapConfig { strip_usage: true, ..chat() }
}

#[track_caller]
fn check(stream: &str, want: &str) {
    for piece in [1, 2, 3, 7, 64, usize::MAX] {
        let (forwarded, _) = run(strip(), stream.as_bytes().chunks(piece.min(stream.len().max(1))));
        assert_eq!(String::from_utf8(forwarded).unwrap(), want, "in pieces of {piece}");
    }
}

const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n";

#[test]
fn exactly_the_extra_chunk_is_taken_out() {
    let events: Vec<_> = CHAT.split_inclusive("\n\n").collect();
    let want: String =
        events.iter().enumerate().filter(|(at, _)| *at != 4).map(|(_, event)| *event).collect();
    check(CHAT, &want);
    assert_eq!(read(strip(), CHAT), read(chat(), CHAT));
    check(&CHAT.replace('\n', "\r\n"), &want.replace('\n', "\r\n"));
    check(&CHAT.replace('\n', "\r"), &want.replace('\n', "\r"));
}

#[test]
fn nothing_else_is_taken_out() {
    for stream in [
        "data: {\"choices\":[],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n",
        "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":5}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":5}}\n\n",
        "data: {\"choices\":[],\"usage\":{}}\n\n",
        "data: not json, \"usage\" \"choices\":[]\n\n",
        "data: [DONE]\n\n",
        ": ping\n\n",
        "\n\n\n",
        "event: only\n\n",
        "half an event",
        "data: {\"choices\":[],\"us",
        "",
    ] {
        check(stream, stream);
    }
}

#[test]
fn a_usage_chunk_without_its_blank_line_is_taken_out_too() {
    check(&format!("data: x\n\n{}", USAGE.trim_end()), "data: x\n\n");
    check(&format!("{USAGE}data: [DONE]\n\n"), "data: [DONE]\n\n");
    check(&format!(": note\nid: 1\n{USAGE}rest"), "rest");
}

#[test]
fn the_line_feed_of_a_split_line_end_goes_with_its_event() {
    let stream = USAGE.replace('\n', "\r\n");
    let (before, after) = stream.split_at(stream.len() - 1);
    let (forwarded, _) = run(strip(), [before.as_bytes(), after.as_bytes(), b"data: x\r\n\r", b"\n"]);
    assert_eq!(forwarded, b"data: x\r\n\r\n");
}

#[test]
fn whole_events_pass_without_a_copy() {
    let mut tap = Tap::new(strip());
    for event in CHAT.split_inclusive("\n\n").take(4) {
        assert_eq!(tap.push(event.as_bytes()), Pass::All);
    }
    assert_eq!(tap.push(USAGE.as_bytes()), Pass::Bytes(Vec::new()));
    assert_eq!(tap.push(b"data: [DONE]\n\n"), Pass::All);
    assert_eq!(tap.push(b"data: [DO"), Pass::Bytes(Vec::new()));
    assert_eq!(tap.push(b"NE]\n\n"), Pass::Bytes(b"data: [DONE]\n\n".to_vec()));
}

#[test]
fn an_event_beyond_the_limit_passes_even_if_it_is_usage() {
    let padded = USAGE.replace("\"choices\"", &format!("\"pad\":\"{}\",\"choices\"", "x".repeat(200)));
    let small = TapConfig { body_limit: 150, ..strip() };
    let stream = format!("{padded}{USAGE}data: x\n\n");
    for piece in [1, 10, 1_000] {
        let (forwarded, summary) = run(small, stream.as_bytes().chunks(piece));
        assert_eq!(String::from_utf8(forwarded).unwrap(), format!("{padded}data: x\n\n"));
        assert!(summary.is_blind);
    }
}

#[test]
fn only_chat_and_completions_have_such_a_chunk() {
    for (dialect, endpoint) in [
        (Dialect::OpenAi, Endpoint::Responses),
        (Dialect::OpenAi, Endpoint::Assistants),
        (Dialect::Anthropic, Endpoint::Messages),
    ] {
        let config = TapConfig { strip_usage: true, ..config(dialect, endpoint) };
        assert_eq!(run(config, [USAGE.as_bytes()]).0, USAGE.as_bytes());
    }
}
