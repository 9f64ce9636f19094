//! The sketch of what an answer says.

use super::*;

fn json_of(config: TapConfig) -> TapConfig {
    TapConfig { stream: false, ..config }
}

fn responses() -> TapConfig {
    config(Dialect::OpenAi, Endpoint::Responses)
}

/// What a chat answer of this text has as its sketch.
fn said(text: &str) -> u64 {
    let body =
        serde_json::json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]});
    read(json_of(chat()), &body.to_string()).completion
}

#[track_caller]
fn check(config: TapConfig, answer: &str, want: &str) {
    assert_eq!(read(config, answer).completion, said(want), "{answer}");
}

#[test]
fn an_answer_has_one_sketch_in_every_form() {
    let want = "Hello there friend";
    assert_ne!(said(want), 0);
    check(responses(), RESPONSES, want);
    check(
        chat(),
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"Hel\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"lo there friend\"}}]}\n\n",
        want,
    );
    check(
        anthropic(),
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello there fr\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"i\\u0065nd\"}}\n\n",
        want,
    );
    check(
        json_of(anthropic()),
        r#"{"content":[{"type":"text","text":"Hello there"},{"text":" friend","type":"text"}]}"#,
        want,
    );
    check(
        json_of(responses()),
        r#"{"output":[{"type":"message","content":[{"type":"output_text","text":"Hello there friend"}]}]}"#,
        want,
    );
    check(
        config(Dialect::OpenAi, Endpoint::Completions),
        "data: {\"choices\":[{\"text\":\"Hello there friend\"}]}\n\n",
        want,
    );
    check(
        json_of(config(Dialect::OpenAi, Endpoint::Completions)),
        r#"{"choices":[{"text":"Hello there friend"}]}"#,
        want,
    );
    check(
        config(Dialect::OpenAi, Endpoint::Assistants),
        "event: thread.message.delta\ndata: {\"delta\":{\"content\":[{\"index\":0,\"type\":\"text\",\"text\":{\"value\":\"Hello there friend\",\"annotations\":[]}}]}}\n\n",
        want,
    );
}

#[test]
fn reasoning_calls_and_sources_are_not_what_is_said() {
    let want = "Paris it is";
    check(
        json_of(anthropic()),
        r#"{"content":[{"type":"thinking","thinking":"content of thought"},{"type":"tool_use","name":"f","input":{"text":"x","content":[{"text":"y"}]}},
           {"type":"text","text":"Paris it is","citations":[{"text":"source"}]}],"model":"m"}"#,
        want,
    );
    check(
        json_of(responses()),
        r#"{"instructions":"content","output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"thought"}]},
           {"type":"message","content":[{"annotations":[{"text":"source"}],"text":"Paris it is"}]}],"text":{"content":"no"}}"#,
        want,
    );
    check(
        json_of(chat()),
        r#"{"choices":[{"logprobs":{"content":[{"token":"Paris","text":"Rome"}]},"message":{"content":"Paris it is",
           "tool_calls":[{"function":{"name":"text","arguments":"{\"text\":\"x\"}"}}],"reasoning_content":"thought"}}]}"#,
        want,
    );
    check(
        chat(),
        "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"thought\",\"content\":\"Paris it is\",\"tool_calls\":[{\"function\":{\"arguments\":\"x\"}}]}}]}\n\n",
        want,
    );
    check(
        anthropic(),
        "event: content_block_delta\ndata: {\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"thought\"}}\n\nevent: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"Paris it is\"}}\n\nevent: content_block_delta\ndata: {\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"text\"}}\n\n",
        want,
    );
    check(
        responses(),
        "event: response.reasoning_summary_text.delta\ndata: {\"type\":\"response.reasoning_summary_text.delta\",\"delta\":\"thought\"}\n\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"Paris it is\"}\n\nevent: response.function_call_arguments.delta\ndata: {\"type\":\"response.function_call_arguments.delta\",\"delta\":\"text\"}\n\n",
        want,
    );
}

#[test]
fn answers_without_text_and_unasked_ones_have_no_sketch() {
    let embeddings = json_of(config(Dialect::OpenAi, Endpoint::Embeddings));
    assert_eq!(read(embeddings, r#"{"data":[{"embedding":[1,2]}],"model":"m"}"#).completion, 0);
    assert_eq!(read(json_of(chat()), r#"{"error":{"message":"no text"}}"#).completion, 0);
    for (config, answer) in [(chat(), CHAT), (anthropic(), MESSAGES), (json_of(chat()), CHAT_JSON)] {
        assert_ne!(read(config, answer).completion, 0);
        let off = TapConfig { content: None, ..config };
        assert_eq!(read(off, answer), TapSummary { completion: 0, ..read(config, answer) });
    }
}

#[test]
fn the_start_of_a_long_answer_is_its_sketch() {
    let start = "The parcel was handed over on Monday and has not been seen since then. ".repeat(12);
    assert_eq!(said(&start), said(&format!("{start}{}", "What follows is longer. ".repeat(1_000))));
    assert_ne!(said(&start), said(&format!("Well. {start}")));
}

proptest! {
    #[test]
    fn any_text_has_one_sketch_however_it_is_sent(
        words in prop::collection::vec("[a-zé\"\\\\\n你 ]{0,9}", 0..40), at in prop::sample::select(vec![1usize, 3, 17, 1_000])
    ) {
        let text = words.concat();
        let body = serde_json::json!({"choices": [{"message": {"content": text}}]}).to_string();
        let (_, whole) = run(json_of(chat()), body.as_bytes().chunks(at));
        let stream: String = words.iter().map(|word| {
            format!("data: {}\n\n", serde_json::json!({"choices": [{"delta": {"content": word}}]}))
        }).collect();
        let (_, streamed) = run(chat(), stream.as_bytes().chunks(at));
        prop_assert_eq!(whole.completion, streamed.completion);
    }
}
