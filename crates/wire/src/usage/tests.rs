//! Tests of `usage`.

use proptest::prelude::*;

use super::*;

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

#[track_caller]
fn check(dialect: Dialect, json: &str, want: Option<TokenUsage>) {
    assert_eq!(read_usage(dialect, json), want, "{json}");
}

#[test]
fn openai_counts_become_disjoint() {
    check(
        Dialect::OpenAi,
        r#"{"prompt_tokens":1200,"completion_tokens":300,"total_tokens":1500,
            "prompt_tokens_details":{"cached_tokens":1024,"cache_write_tokens":100,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":128,"audio_tokens":0}}"#,
        Some(usage(76, 1024, 100, 0, 300, 128)),
    );
    check(
        Dialect::OpenAi,
        r#"{"input_tokens":1200,"input_tokens_details":{"cached_tokens":1024},
            "output_tokens":300,"output_tokens_details":{"reasoning_tokens":128},"total_tokens":1500}"#,
        Some(usage(176, 1024, 0, 0, 300, 128)),
    );
}

#[test]
fn embeddings_have_input_alone() {
    check(Dialect::OpenAi, r#"{"prompt_tokens":8,"total_tokens":8}"#, Some(usage(8, 0, 0, 0, 0, 0)));
    check(Dialect::OpenAi, r#"{"total_tokens":8}"#, Some(usage(8, 0, 0, 0, 0, 0)));
}

#[test]
fn anthropic_counts_are_disjoint_and_split_by_lifetime() {
    check(
        Dialect::Anthropic,
        r#"{"input_tokens":25,"cache_creation_input_tokens":1000,"cache_read_input_tokens":200,
            "cache_creation":{"ephemeral_5m_input_tokens":600,"ephemeral_1h_input_tokens":400},
            "output_tokens":15,"output_tokens_details":{"thinking_tokens":4},
            "server_tool_use":{"web_search_requests":0},"service_tier":"standard"}"#,
        Some(usage(25, 200, 600, 400, 15, 4)),
    );
    // Without the split all of it is of the usual lifetime.
    check(
        Dialect::Anthropic,
        r#"{"input_tokens":25,"cache_creation_input_tokens":1000,"cache_read_input_tokens":null,"output_tokens":1}"#,
        Some(usage(25, 0, 1000, 0, 1, 0)),
    );
    // A split that leaves some out: the total counts.
    check(
        Dialect::Anthropic,
        r#"{"cache_creation_input_tokens":1000,"cache_creation":{"ephemeral_1h_input_tokens":300}}"#,
        Some(usage(0, 0, 700, 300, 0, 0)),
    );
}

#[test]
fn null_absent_and_odd_members_count_as_zero() {
    for json in ["null", "{}", "[]", "\"usage\"", "5", "{\"prompt_tokens\":null}", "{\"other\":5}", "{", ""] {
        check(Dialect::OpenAi, json, None);
        check(Dialect::Anthropic, json, None);
    }
    check(
        Dialect::OpenAi,
        r#"{"prompt_tokens":5,"completion_tokens":null,"prompt_tokens_details":null,"completion_tokens_details":[1]}"#,
        Some(usage(5, 0, 0, 0, 0, 0)),
    );
    check(Dialect::OpenAi, r#"{"prompt_tokens":"5","completion_tokens":7}"#, Some(usage(0, 0, 0, 0, 7, 0)));
}

#[test]
fn impossible_counts_saturate() {
    check(
        Dialect::OpenAi,
        r#"{"prompt_tokens":10,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":50,"cache_write_tokens":9},
            "completion_tokens_details":{"reasoning_tokens":8}}"#,
        Some(usage(0, 10, 0, 0, 3, 3)),
    );
    check(Dialect::OpenAi, r#"{"prompt_tokens":-5,"completion_tokens":2.9}"#, Some(usage(0, 0, 0, 0, 2, 0)));
    check(Dialect::OpenAi, r#"{"prompt_tokens":1e400}"#, Some(usage(u64::MAX, 0, 0, 0, 0, 0)));
    check(
        Dialect::Anthropic,
        r#"{"input_tokens":99999999999999999999}"#,
        Some(usage(u64::MAX, 0, 0, 0, 0, 0)),
    );
    check(Dialect::OpenAi, r#"{"total_tokens":1,"completion_tokens":5}"#, Some(usage(0, 0, 0, 0, 5, 0)));
}

#[test]
fn later_counts_replace_earlier_ones() {
    let mut total = RawUsage::default();
    for json in
        [r#"{"input_tokens":25,"output_tokens":1}"#, r#"{"output_tokens":9}"#, r#"{"output_tokens":15}"#]
    {
        total.update(scan_usage(&mut Scanner::new(json)).unwrap().0);
    }
    assert_eq!(total.normalize(Dialect::Anthropic), Some(usage(25, 0, 0, 0, 15, 0)));
    check(Dialect::OpenAi, r#"{"prompt_tokens":1,"prompt_tokens":2}"#, Some(usage(2, 0, 0, 0, 0, 0)));
}

proptest! {
    #[test]
    fn openai_input_is_kept_whole(input: u32, cached: u32, write: u32, output: u32) {
        let json = format!(r#"{{"prompt_tokens":{input},"completion_tokens":{output},
            "prompt_tokens_details":{{"cached_tokens":{cached},"cache_write_tokens":{write}}}}}"#);
        let usage = read_usage(Dialect::OpenAi, &json).unwrap();
        prop_assert_eq!(usage.input_total(), u64::from(input));
        prop_assert_eq!(usage.output, u64::from(output));
    }

    #[test]
    fn any_text_is_read_or_ignored(json in any::<String>()) {
        let _ = read_usage(Dialect::OpenAi, &json);
    }
}
