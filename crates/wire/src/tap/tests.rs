//! Tests of `tap`.

use std::io::Write;

use proptest::prelude::*;

use super::*;

mod bodies;
mod said;
mod strips;

const CHAT: &str = include_str!("../../tests/fixtures/chat_stream.sse");
const CHAT_JSON: &str = include_str!("../../tests/fixtures/chat.json");
const RESPONSES: &str = include_str!("../../tests/fixtures/responses_stream.sse");
const MESSAGES: &str = include_str!("../../tests/fixtures/messages_stream.sse");
const MESSAGES_JSON: &str = include_str!("../../tests/fixtures/messages.json");
const RUN: &str = include_str!("../../tests/fixtures/run_stream.sse");

fn config(dialect: Dialect, endpoint: Endpoint) -> TapConfig {
    TapConfig {
        dialect,
        endpoint,
        stream: true,
        strip_usage: false,
        encoding: Encoding::Identity,
        body_limit: 64 << 10,
        content: crate::request::ShapeKey::new([7; 16]).content(),
    }
}

fn chat() -> TapConfig {
    config(Dialect::OpenAi, Endpoint::ChatCompletions)
}

fn anthropic() -> TapConfig {
    config(Dialect::Anthropic, Endpoint::Messages)
}

/// Passes an answer through a tap in the given chunks; what was forwarded and what was read.
fn run<'c>(config: TapConfig, chunks: impl IntoIterator<Item = &'c [u8]>) -> (Vec<u8>, TapSummary) {
    let mut tap = Tap::new(config);
    let mut forwarded = Vec::new();
    for chunk in chunks {
        match tap.push(chunk) {
            Pass::All => forwarded.extend_from_slice(chunk),
            Pass::Bytes(bytes) => forwarded.extend_from_slice(&bytes),
        }
    }
    let (tail, summary) = tap.finish();
    forwarded.extend_from_slice(&tail);
    (forwarded, summary)
}

fn read(config: TapConfig, text: &str) -> TapSummary {
    run(config, [text.as_bytes()]).1
}

fn usage(
    input: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_1h: u64,
    output: u64,
    reasoning: u64,
) -> TokenUsage {
    TokenUsage { input, cache_read, cache_write, cache_write_1h, output, reasoning }
}

fn openai_usage() -> Option<TokenUsage> {
    Some(usage(176, 1024, 0, 0, 300, 128))
}

fn anthropic_usage() -> Option<TokenUsage> {
    Some(usage(25, 200, 600, 400, 15, 0))
}

#[test]
fn chat_streams_report_usage_in_their_last_chunk() {
    let summary = read(chat(), CHAT);
    assert_eq!(summary.usage, openai_usage());
    assert_eq!(summary.model.as_deref(), Some("gpt-4o-2024-08-06"));
    assert_eq!(summary.service_tier.as_deref(), Some("default"));
    assert!(summary.is_complete && !summary.has_error && !summary.is_blind);
    // Two chunks with 5 and 33 bytes of text.
    assert_eq!(summary.output_tokens_estimate, 10);
}

#[test]
fn responses_streams_report_usage_in_their_terminal_event() {
    let responses = config(Dialect::OpenAi, Endpoint::Responses);
    let summary = read(responses, RESPONSES);
    assert_eq!(summary.usage, openai_usage());
    assert_eq!(summary.model.as_deref(), Some("gpt-5.1"));
    assert_eq!(summary.service_tier.as_deref(), Some("default"));
    assert_eq!(summary.output_tokens_estimate, 5);
    assert!(summary.is_complete && !summary.has_error);

    let incomplete = read(responses, &RESPONSES.replace("completed", "incomplete"));
    assert_eq!((incomplete.usage, incomplete.is_complete), (openai_usage(), true));
    let failed = read(responses, &RESPONSES.replace("response.completed", "response.failed"));
    assert_eq!((failed.usage, failed.is_complete, failed.has_error), (openai_usage(), true, true));
}

#[test]
fn anthropic_usage_is_cumulative() {
    let summary = read(anthropic(), MESSAGES);
    assert_eq!(summary.usage, anthropic_usage());
    assert_eq!(summary.model.as_deref(), Some("claude-opus-5"));
    assert_eq!(summary.service_tier.as_deref(), Some("standard"));
    assert!(summary.is_complete && !summary.has_error);
}

#[test]
fn runs_report_usage_when_they_end() {
    let summary = read(config(Dialect::OpenAi, Endpoint::Assistants), RUN);
    assert_eq!(summary.usage, Some(usage(120, 0, 0, 0, 30, 0)));
    assert_eq!(summary.model.as_deref(), Some("gpt-4o"));
    assert!(summary.is_complete);
}

#[test]
fn usage_beside_choices_counts_and_the_last_one_wins() {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n\
                  data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n\
                  data: {\"choices\":[],\"usage\":null}\n\ndata: [DONE]\n\n";
    assert_eq!(read(chat(), stream).usage, Some(usage(5, 0, 0, 0, 2, 0)));
}

#[test]
fn text_that_looks_like_usage_is_not_usage() {
    let chunk = |content: &str| {
        let content = serde_json::to_string(content).unwrap();
        format!(
            "data: {{\"model\":\"m\",\"choices\":[{{\"delta\":{{\"content\":{content}}}}}],\"padding\":\"{}\"}}\n\n",
            "x".repeat(80)
        )
    };
    let fake = r#""usage":{"prompt_tokens":1,"completion_tokens":1}"#;
    for content in [
        fake.to_owned(),
        format!("{{{fake}}}"),
        format!("\"}}]}}\n\ndata: {{\"choices\":[],{fake}}}\n\ndata: [DONE]\n\n"),
        "usage".to_owned(),
        "\"usage\"".to_owned(),
        "data: [DONE]".to_owned(),
    ] {
        let summary = read(chat(), &chunk(&content));
        assert_eq!((summary.usage, summary.is_complete), (None, false), "{content}");
    }
    // The arguments of a tool call, and a member deeper down.
    let nested = "data: {\"choices\":[{\"delta\":{\"usage\":{\"prompt_tokens\":1}}}],\"x\":{\"usage\":{\"prompt_tokens\":1}}}\n\n";
    assert_eq!(read(chat(), nested).usage, None);
}

#[test]
fn streams_that_end_early_are_not_complete() {
    let cut = CHAT.find("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_1\",\"choices\":[],").unwrap();
    let summary = read(chat(), &CHAT[..cut]);
    assert_eq!((summary.usage, summary.is_complete, summary.output_tokens_estimate), (None, false, 10));

    // Anthropic states one output token at the start; what passed counts.
    let cut = MESSAGES.find("event: content_block_stop").unwrap();
    let summary = read(anthropic(), &MESSAGES[..cut]);
    assert!(!summary.is_complete);
    assert_eq!(summary.usage.unwrap(), usage(25, 200, 600, 400, summary.output_tokens_estimate, 0));
    assert!(summary.output_tokens_estimate > 10);
    assert_eq!(read(chat(), ""), TapSummary::default());
}

#[test]
fn a_last_event_without_its_blank_line_counts() {
    assert_eq!(read(chat(), CHAT.trim_end()), read(chat(), CHAT));
    assert_eq!(read(anthropic(), MESSAGES.trim_end()), read(anthropic(), MESSAGES));
}

#[test]
fn errors_in_a_stream_are_noticed() {
    let check = |config, stream: &str| {
        let summary = read(config, stream);
        assert!(summary.has_error && !summary.is_complete, "{stream}");
    };
    check(
        chat(),
        "data: {\"error\":{\"message\":\"The server had an error while processing your request. Sorry about that!\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n",
    );
    check(
        anthropic(),
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
    );
    check(
        config(Dialect::OpenAi, Endpoint::Responses),
        "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"m\",\"param\":null,\"sequence_number\":3}\n\n",
    );
    assert!(!read(chat(), "data: {\"error\":null,\"choices\":[]}\n\n").has_error);
}

#[test]
fn all_line_ends_comments_and_joined_data_are_read() {
    let want = read(chat(), CHAT);
    assert_eq!(read(chat(), &CHAT.replace('\n', "\r\n")), want);
    assert_eq!(read(chat(), &CHAT.replace('\n', "\r")), want);
    assert_eq!(read(chat(), &CHAT.replace("data: ", "data:")), want);
    assert_eq!(read(chat(), &CHAT.replace("data: ", ": ping\nid: 7\nretry: 5\ndata: ")), want);
    assert_eq!(read(chat(), &format!("\u{feff}{CHAT}")), want);
    assert_eq!(read(chat(), &CHAT.replace(",\"choices\"", "\ndata: ,\"choices\"")), want);
    assert_eq!(read(chat(), &format!(": keep-alive\n\n\n\nevent: x\n\n{CHAT}")), want);
}

#[test]
fn other_servers_spacing_is_read() {
    let stream = "data: { \"model\" : \"local\", \"choices\" : [ ] , \"usage\" : { \"prompt_tokens\" : 7, \"completion_tokens\" : 3 } }\n\ndata: [DONE]\n\n";
    assert_eq!(read(chat(), stream).usage, Some(usage(7, 0, 0, 0, 3, 0)));
}

#[test]
fn an_event_beyond_the_limit_is_passed_over() {
    let small = TapConfig { body_limit: 1_000, ..chat() };
    let huge = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(5_000));
    let tail =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n";
    let (forwarded, summary) = run(small, [huge.as_bytes(), tail.as_bytes()]);
    assert_eq!(forwarded, [huge.as_bytes(), tail.as_bytes()].concat());
    assert_eq!(summary.usage, Some(usage(5, 0, 0, 0, 1, 0)));
    assert!(summary.is_complete && summary.is_blind);
}

#[test]
fn the_estimate_grows_as_text_passes() {
    let mut tap = Tap::new(anthropic());
    let mut estimates = Vec::new();
    for event in MESSAGES.split_inclusive("\n\n") {
        tap.push(event.as_bytes());
        estimates.push(tap.estimate_so_far());
    }
    assert_eq!(estimates[..5], [0, 0, 0, 2, 12]);
    assert_eq!(estimates.last(), Some(&12));
}

#[test]
fn what_models_think_and_call_counts_but_not_its_frame() {
    let estimate = |config, delta: &str| {
        read(config, &format!("data: {{\"delta\":{delta}}}\n\n")).output_tokens_estimate
    };
    assert_eq!(estimate(chat(), r#"{"role":"assistant","content":""}"#), 0);
    assert_eq!(
        estimate(
            chat(),
            r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"city\":\"Paris\"}"}}]}"#
        ),
        5
    );
    assert_eq!(estimate(anthropic(), r#"{"type":"thinking_delta","thinking":"12345678"}"#), 2);
    assert_eq!(estimate(anthropic(), r#"{"type":"input_json_delta","partial_json":"12345678"}"#), 2);
    assert_eq!(estimate(anthropic(), r#"{"type":"signature_delta","signature":"12345678"}"#), 0);
    assert_eq!(estimate(anthropic(), r#"{"stop_reason":"end_turn"}"#), 0);
    let completions = config(Dialect::OpenAi, Endpoint::Completions);
    assert_eq!(
        read(completions, "data: {\"choices\":[{\"text\":\"12345678\"}]}\n\n").output_tokens_estimate,
        2
    );
}

#[test]
fn a_cut_is_said_in_the_dialect() {
    let all = [
        (Dialect::OpenAi, Endpoint::ChatCompletions),
        (Dialect::OpenAi, Endpoint::Responses),
        (Dialect::OpenAi, Endpoint::Assistants),
        (Dialect::Anthropic, Endpoint::Messages),
    ];
    let events: Vec<_> = all
        .iter()
        .flat_map(|&(dialect, endpoint)| Cut::ALL.map(|cut| cut_event(dialect, endpoint, cut, "", 7)))
        .map(|event| String::from_utf8(event).unwrap())
        .collect();
    insta::assert_snapshot!(events.concat());
}

#[test]
fn a_cut_inside_an_event_ends_it_first() {
    let mut tap = Tap::new(config(Dialect::OpenAi, Endpoint::Responses));
    assert!(tap.cut(Cut::Budget, "m").starts_with(b"event: error\n"));
    tap.push(RESPONSES.split_inclusive("\n\n").next().unwrap().as_bytes());
    let event = tap.cut(Cut::Budget, "m");
    assert!(event.starts_with(b"event: error\n"));
    assert!(
        String::from_utf8(event).unwrap().contains("\"message\":\"m\",\"param\":null,\"sequence_number\":1")
    );
    tap.push(b"event: response.out");
    assert!(tap.cut(Cut::Budget, "m").starts_with(b"\n\nevent: error\n"));
    // What is held back for stripping never reached the client.
    let mut tap = Tap::new(TapConfig { strip_usage: true, ..chat() });
    tap.push(b"data: {\"cho");
    assert!(tap.cut(Cut::Budget, "m").starts_with(b"data: {\"error\""));
}

#[test]
fn a_cut_of_what_is_no_plain_stream_says_nothing() {
    let gzip = TapConfig { encoding: Encoding::Gzip, ..chat() };
    assert!(Tap::new(gzip).cut(Cut::Budget, "m").is_empty());
    assert!(Tap::new(TapConfig { stream: false, ..chat() }).cut(Cut::Budget, "m").is_empty());
}

#[test]
fn our_own_cut_reads_as_an_error() {
    for (dialect, endpoint) in [
        (Dialect::OpenAi, Endpoint::ChatCompletions),
        (Dialect::OpenAi, Endpoint::Responses),
        (Dialect::Anthropic, Endpoint::Messages),
    ] {
        let event = cut_event(dialect, endpoint, Cut::Containment, "a \"quoted\"\nmessage", 3);
        assert!(run(config(dialect, endpoint), [&event[..]]).1.has_error);
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_answers_are_read_and_pass_unchanged() {
    let body = gzip(CHAT.as_bytes());
    let compressed = TapConfig { encoding: Encoding::Gzip, strip_usage: true, ..chat() };
    let (forwarded, summary) = run(compressed, body.chunks(50));
    assert_eq!(forwarded, body);
    assert_eq!(summary, read(chat(), CHAT));
    let (forwarded, summary) = run(compressed, body[..body.len() - 9].chunks(50));
    assert_eq!(forwarded, body[..body.len() - 9]);
    assert!(!summary.is_complete);
    let (forwarded, summary) = run(compressed, [&b"not gzip at all"[..], b"more"]);
    assert_eq!(forwarded, b"not gzip at allmore");
    assert!(summary.is_blind && !summary.is_complete);
}

/// Cuts data at the given places.
fn split<'d>(data: &'d [u8], cuts: &[prop::sample::Index]) -> Vec<&'d [u8]> {
    let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(data.len() + 1)).chain([0, data.len()]).collect();
    at.sort_unstable();
    at.windows(2).map(|edge| &data[edge[0]..edge[1]]).collect()
}

fn answers() -> impl Strategy<Value = (TapConfig, String)> {
    prop_oneof![
        Just((chat(), CHAT.to_owned())),
        Just((config(Dialect::OpenAi, Endpoint::Responses), RESPONSES.to_owned())),
        Just((config(Dialect::OpenAi, Endpoint::Assistants), RUN.to_owned())),
        Just((anthropic(), MESSAGES.to_owned())),
        Just((TapConfig { stream: false, ..chat() }, CHAT_JSON.to_owned())),
        Just((TapConfig { stream: false, ..anthropic() }, MESSAGES_JSON.to_owned())),
    ]
}

proptest! {
    #[test]
    fn any_split_reads_and_forwards_the_same(
        (config, text) in answers(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        strip_usage in any::<bool>(), line_end in prop::sample::select(vec!["\n", "\r\n", "\r"]), is_compressed in any::<bool>(),
        body_limit in prop::sample::select(vec![64 << 10, 500, 300, 100, 10])
    ) {
        let mut config = TapConfig { strip_usage, body_limit, ..config };
        let mut data = text.replace('\n', line_end).into_bytes();
        if is_compressed {
            data = gzip(&data);
            config.encoding = Encoding::Gzip;
        }
        let whole = run(config, [&data[..]]);
        prop_assert_eq!(run(config, split(&data, &cuts)), whole.clone());
        prop_assert_eq!(run(config, data.chunks(1)), whole);
    }

    #[test]
    fn damaged_answers_split_alike_too(
        (config, text) in answers(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10), strip_usage in any::<bool>()
    ) {
        let config = TapConfig { strip_usage, ..config };
        let mut data = text.into_bytes();
        for (at, with) in damage {
            let at = at.index(data.len());
            data[at] = with;
        }
        let whole = run(config, [&data[..]]);
        prop_assert_eq!(run(config, split(&data, &cuts)), whole);
    }
}

#[test]
fn a_byte_order_mark_alone_is_a_blank_line_however_it_is_cut() {
    for body in [&b"\xef\xbb\xbf\n0123456789abcde\n"[..], b"\xef\xbb\xbf\n\xef\xbb\xbf\n0123456789ab\n"] {
        for body_limit in [2, 16] {
            let config = TapConfig { body_limit, ..anthropic() };
            assert_eq!(run(config, [body]), run(config, body.chunks(1)), "{body_limit}");
        }
    }
}
