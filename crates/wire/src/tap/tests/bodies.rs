//! Answers that are one JSON document.

use super::*;

fn json(config: TapConfig) -> TapConfig {
    TapConfig { stream: false, ..config }
}

#[test]
fn usage_is_read_from_the_top_level() {
    let summary = read(json(chat()), CHAT_JSON);
    assert_eq!(summary.usage, openai_usage());
    assert_eq!(summary.model.as_deref(), Some("gpt-4o-2024-08-06"));
    assert_eq!(summary.service_tier.as_deref(), Some("default"));
    assert!(summary.is_complete && !summary.has_error && !summary.is_blind);

    let summary = read(json(anthropic()), MESSAGES_JSON);
    assert_eq!(summary.usage, Some(usage(25, 200, 600, 400, 15, 4)));
    assert_eq!(summary.model.as_deref(), Some("claude-opus-5"));
    assert_eq!(summary.service_tier.as_deref(), Some("standard"));
    assert!(summary.is_complete);
}

#[track_caller]
fn check(body: &str, want: Option<u64>, is_complete: bool) {
    for piece in [1, 5, usize::MAX] {
        let (_, summary) = run(json(chat()), body.as_bytes().chunks(piece.min(body.len().max(1))));
        assert_eq!(
            (summary.usage.map(|usage| usage.input), summary.is_complete),
            (want, is_complete),
            "{body}"
        );
    }
}

#[test]
fn text_that_looks_like_usage_is_not_usage() {
    let fake = r#"\"usage\":{\"prompt_tokens\":1}"#;
    check(
        &format!(r#"{{"choices":[{{"message":{{"content":"{fake}"}}}}],"usage":{{"prompt_tokens":7}}}}"#),
        Some(7),
        true,
    );
    check(
        &format!(r#"{{"usage":{{"prompt_tokens":7}},"choices":[{{"message":{{"content":"{fake}"}}}}]}}"#),
        Some(7),
        true,
    );
    check(&format!(r#"{{"id":"{fake}","id2":"x\\","choices":[]}}"#), None, true);
    check(r#"{"choices":[{"usage":{"prompt_tokens":1}}],"x":{"usage":{"prompt_tokens":1}}}"#, None, true);
    check(r#"{"x":"usage","y":["usage",{"prompt_tokens":1}]}"#, None, true);
    check(
        r#"{"x\"usage":{"prompt_tokens":1},"usage\"":{"prompt_tokens":1},"us\u0061ge":{"prompt_tokens":1}}"#,
        None,
        true,
    );
    check(r#"{"x":"\\","usage":{"prompt_tokens":7},"y":"\\\\"}"#, Some(7), true);
}

#[test]
fn odd_documents_are_read_as_far_as_they_go() {
    check(r#"{"usage":null}"#, None, true);
    check(r#" { "usage" : { "prompt_tokens" : 7 } } "#, Some(7), true);
    check(r#"{"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":7}}"#, Some(7), true);
    check(r#"{"usage":{"prompt_tokens":7},"usage":null}"#, Some(7), true);
    check(r#"{"usage":{"prompt_tokens":7},"choices":[{"mess"#, Some(7), false);
    check(r#"{"usage":{"prompt_tokens":7"#, None, false);
    check(r#"{"usage":{"prompt_tokens":7}} x"#, Some(7), false);
    check(r#"[{"usage":{"prompt_tokens":7}}]"#, None, false);
    check("<html>\"usage\":{\"prompt_tokens\":7}</html>", None, false);
    check("{}", None, true);
    check("", None, false);
}

#[test]
fn errors_are_noticed() {
    let has_error = |body: &str| read(json(chat()), body).has_error;
    assert!(has_error(
        r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}"#
    ));
    assert!(has_error(r#"{"type":"error","error":{"type":"not_found_error","message":"x"}}"#));
    assert!(!has_error(r#"{"id":"resp_1","error":null,"usage":null}"#));
    assert!(!has_error(r#"{"x":{"error":{}}}"#));
}

#[test]
fn large_answers_are_read_in_little_memory() {
    let filler = "usage \\\"usage\\\": {".repeat(200_000);
    let body = format!(
        r#"{{"data":[{{"b64_json":"{filler}"}}],"model":"gpt-image-1","usage":{{"input_tokens":7,"output_tokens":9}}}}"#
    );
    let small = TapConfig { body_limit: 200, ..json(config(Dialect::OpenAi, Endpoint::Images)) };
    let (forwarded, summary) = run(small, body.as_bytes().chunks(16 << 10));
    assert_eq!(forwarded.len(), body.len());
    assert_eq!(summary.usage, Some(usage(7, 0, 0, 0, 9, 0)));
    assert!(summary.is_complete && !summary.is_blind);
    assert_eq!(summary.output_tokens_estimate, 0);
}

#[test]
fn a_member_beyond_the_limit_is_given_up() {
    let small = TapConfig { body_limit: 20, ..json(chat()) };
    let summary = read(small, r#"{"usage":{"prompt_tokens":7,"completion_tokens":9},"model":"m"}"#);
    assert_eq!((summary.usage, summary.model.as_deref(), summary.is_blind), (None, Some("m"), true));
    assert!(read(small, r#"{"error":{"message":"long enough to be given up"}}"#).has_error);
}

#[test]
fn text_is_estimated_where_models_write_it() {
    let body = r#"{"id":"12345678","choices":[{"message":{"content":"12345678"}}]}"#;
    let estimate = |endpoint| read(json(config(Dialect::OpenAi, endpoint)), body).output_tokens_estimate;
    assert_eq!(estimate(Endpoint::ChatCompletions), 2);
    assert_eq!(estimate(Endpoint::Embeddings), 0);
    assert_eq!(estimate(Endpoint::Models), 0);
    let mut tap = Tap::new(json(chat()));
    tap.push(br#"{"choices":[{"message":{"content":"12345678"#);
    assert_eq!(tap.estimate_so_far(), 2);
}

#[test]
fn documents_pass_unchanged() {
    let config = TapConfig { strip_usage: true, ..json(chat()) };
    let mut tap = Tap::new(config);
    assert_eq!(tap.push(CHAT_JSON.as_bytes()), Pass::All);
    assert!(tap.finish().0.is_empty());
}

proptest! {
    #[test]
    fn what_a_model_writes_never_counts(text in "[\"\\\\{}:,a-z ]{0,30}(\"usage\":\\{\"prompt_tokens\":1\\})?[\"\\\\{}]{0,5}") {
        let body = serde_json::json!({"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 7}});
        prop_assert_eq!(read(json(chat()), &body.to_string()).usage.map(|usage| usage.input), Some(7));
    }
}

proptest! {
    #[test]
    fn what_nobody_listens_to_is_read_the_same(
        inner in r#"[a1 :,"\\{}\[\]]{0,200}"#, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)
    ) {
        let body = format!(r#"{{"id":"x","choices":[{inner}],"usage":{{"prompt_tokens":7}}}}"#).into_bytes();
        let read = |content| {
            let config = TapConfig { content, ..json(chat()) };
            TapSummary { completion: 0, ..run(config, split(&body, &cuts)).1 }
        };
        prop_assert_eq!(read(None), read(chat().content));
    }
}
