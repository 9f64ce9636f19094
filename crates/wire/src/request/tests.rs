//! Tests of `request`.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod shapes;
mod splices;
mod topics;

static KEY: LazyLock<ShapeKey> = LazyLock::new(|| ShapeKey::new([7; 16]));

fn chat(body: &str) -> Result<ParsedRequest, ParseRequestError> {
    parse(Dialect::OpenAi, Endpoint::ChatCompletions, body.as_bytes(), &KEY)
}

fn responses(body: &Value) -> ParsedRequest {
    parse(Dialect::OpenAi, Endpoint::Responses, body.to_string().as_bytes(), &KEY).unwrap()
}

fn messages(body: &Value) -> ParsedRequest {
    parse(Dialect::Anthropic, Endpoint::Messages, body.to_string().as_bytes(), &KEY).unwrap()
}

#[track_caller]
fn check_refused(body: &str, want: &str) {
    assert_eq!(chat(body).unwrap_err().to_string(), want);
}

#[test]
fn what_the_gateway_needs_is_read() {
    let request = chat(
        r#"{"model":"gpt-4o","stream":true,"n":2,"max_tokens":100,"max_completion_tokens":50,
           "service_tier":"flex","messages":[{"role":"user","content":"hello"}],"tools":[{"type":"function",
           "function":{"name":"look_up","parameters":{}}}]}"#,
    )
    .unwrap();
    assert_eq!(request.model, "gpt-4o");
    assert!(request.stream);
    assert_eq!((request.n, request.output_tokens_max), (2, 200));
    assert_eq!(request.service_tier.as_deref(), Some("flex"));
    assert_eq!((request.shape.messages, request.shape.tool_count), (1, 1));
    assert!(request.further_models.is_empty());
}

#[test]
fn absent_and_null_fields_have_defaults() {
    for body in ["{}", r#"{"model":null,"stream":null,"n":null,"max_tokens":null,"service_tier":null}"#] {
        let request = chat(body).unwrap();
        assert_eq!((request.model.as_str(), request.stream), ("", false));
        assert_eq!((request.n, request.output_tokens_max, request.service_tier), (1, 0, None));
    }
}

#[test]
fn each_dialect_bounds_output_in_its_own_field() {
    assert_eq!(responses(&json!({"model": "o3", "max_output_tokens": 70})).output_tokens_max, 70);
    assert_eq!(messages(&json!({"model": "claude", "max_tokens": 1024})).output_tokens_max, 1024);
    assert_eq!(chat(r#"{"max_tokens":18446744073709551615,"n":9}"#).unwrap().output_tokens_max, u64::MAX);
    assert_eq!(chat(r#"{"max_tokens":16,"n":1,"best_of":5}"#).unwrap().output_tokens_max, 80);
}

#[test]
fn encodings_that_hide_text_are_refused() {
    let check = |body: &[u8], want: ParseRequestError| {
        assert_eq!(parse(Dialect::OpenAi, Endpoint::ChatCompletions, body, &KEY), Err(want));
    };
    check(b"\xEF\xBB\xBF{}", ParseRequestError::ByteOrderMark);
    check(b"\xFF\xFE{\0}\0", ParseRequestError::ByteOrderMark);
    check(b"{\0}\0", ParseRequestError::ByteOrderMark);
    check(b"\0{\0}", ParseRequestError::ByteOrderMark);
    check(b"{\"a\":\"\xff\"}", ParseRequestError::NotUtf8 { at: 6 });
    check(b"{\"a\":\"\xC0\xAF\"}", ParseRequestError::NotUtf8 { at: 6 });
    check(b"{\"a\":\"\xED\xA0\x80\"}", ParseRequestError::NotUtf8 { at: 6 });
    check(b"", ParseRequestError::Empty);
    check(b" \n", ParseRequestError::Empty);
}

#[test]
fn only_one_object_is_accepted() {
    check_refused("[]", "the body must be a JSON object");
    check_refused("\"text\"", "the body must be a JSON object");
    check_refused("[", "the body is not valid JSON at byte 1: expected a value");
    check_refused(
        "{} {}",
        "the body goes on after its JSON object at byte 3: send one object and nothing else",
    );
    check_refused(
        "{}x",
        "the body goes on after its JSON object at byte 2: send one object and nothing else",
    );
    check_refused("{\"model\":\"a\",}", "the body is not valid JSON at byte 13: expected a key");
    check_refused("{\"a\":01}", "the body is not valid JSON at byte 6: expected a comma or a closing brace");
    check_refused("{'a':1}", "the body is not valid JSON at byte 1: expected a key");
    check_refused("{\"a\":NaN}", "the body is not valid JSON at byte 5: expected a value");
}

#[test]
fn deep_nesting_is_refused_without_a_deep_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"content\":", "}")] {
        for field in ["messages", "metadata", "tools", "input", "system", "response_format"] {
            let body = format!("{{\"{field}\":[{}1{}]}}", open.repeat(100_000), close.repeat(100_000));
            assert!(matches!(chat(&body), Err(ParseRequestError::TooDeep { .. })), "{field} {open}");
        }
    }
}

#[test]
fn keys_that_stand_twice_are_refused_at_every_level_that_is_read() {
    for body in [
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","mod\u0065l":"b"}"#,
        r#"{"mod\u0065l":"a","model":"b"}"#,
        r#"{"mod\u0065l":"a","\u006dodel":"b"}"#,
        r#"{"metadata":{},"metadata":{}}"#,
        r#"{"stream_options":{"include_usage":true,"include_usage":false}}"#,
        r#"{"messages":[{"role":"user","role":"system"}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"text","type":"image"}]}]}"#,
        r#"{"tools":[{"type":"function","function":{"name":"a","name":"b"}}]}"#,
        r#"{"tools":[{"name":"a","name":"b"}]}"#,
        r#"{"response_format":{"type":"a","type":"b"}}"#,
        r#"{"thread":{"messages":[],"messages":[]}}"#,
    ] {
        assert!(matches!(chat(body), Err(ParseRequestError::DuplicateKey { .. })), "{body}");
    }
    let error = chat(r#"{"model":"a","mod\u0065l":"b"}"#).unwrap_err();
    assert_eq!(error, ParseRequestError::DuplicateKey { field: Some("model"), at: 13 });
    assert_eq!(error.field(), Some("model"));
    // Where we do not look, the provider alone reads: nothing can be said two ways.
    assert!(chat(r#"{"metadata":{"a":1,"a":2}}"#).is_ok());
}

#[test]
fn many_different_keys_are_told_apart_up_to_a_limit() {
    let object = |keys: usize| {
        let members: Vec<_> = (0..keys).map(|key| format!("\"k{key}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(chat(&object(KEYS_MAX)).is_ok());
    assert!(matches!(chat(&object(KEYS_MAX + 1)), Err(ParseRequestError::TooManyKeys { .. })));
    let twice = object(100).replace("\"k99\"", "\"k50\"");
    assert!(matches!(chat(&twice), Err(ParseRequestError::DuplicateKey { field: None, .. })));
}

#[test]
fn keys_in_another_case_are_refused() {
    for (body, field) in [
        (r#"{"Model":"a"}"#, "model"),
        (r#"{"model":"a","MODEL":"b"}"#, "model"),
        (r#"{"\u004dodel":"a"}"#, "model"),
        ("{\"me\u{17f}\u{17f}ages\":[]}", "messages"),
        ("{\"max_to\u{212a}ens\":1}", "max_tokens"),
        (r#"{"stream_options":{"Include_Usage":true}}"#, "include_usage"),
        (r#"{"messages":[{"Role":"user"}]}"#, "role"),
    ] {
        let error = chat(body).unwrap_err();
        assert!(matches!(error, ParseRequestError::MiscasedKey { .. }), "{body}");
        assert_eq!(error.field(), Some(field));
    }
    assert!(chat(r#"{"X-Custom":1,"Größe":2}"#).is_ok());
    assert_eq!(chat(r#"{"\ud800":1}"#), Err(ParseRequestError::BrokenKey { at: 1 }));
}

#[test]
fn an_escaped_key_is_the_key_it_spells() {
    assert_eq!(chat(r#"{"mod\u0065l":"gpt-\u0034o"}"#).unwrap().model, "gpt-4o");
}

#[test]
fn numbers_that_bound_spending_are_whole() {
    for number in ["-1", "1.0", "1.5", "1e3", "1e400", "-0", "18446744073709551616", "1E0"] {
        for field in ["max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of"] {
            let error = chat(&format!("{{\"{field}\":{number}}}")).unwrap_err();
            assert_eq!(error.field(), Some(field), "{number}");
        }
    }
    check_refused(
        r#"{"max_tokens": 1e400}"#,
        "max_tokens (byte 15): expected a whole number that is not negative, written without a fraction or exponent",
    );
    check_refused(r#"{"max_tokens":"5"}"#, "max_tokens (byte 14): expected a whole number");
    check_refused(r#"{"temperature":1e400}"#, "a parameter (byte 15): expected a number that fits a double");
    assert!(chat(r#"{"temperature":1e-400,"seed":1e400}"#).is_ok());
}

#[test]
fn fields_of_the_wrong_kind_are_refused() {
    check_refused(r#"{"stream":"true"}"#, "stream (byte 10): expected true or false");
    check_refused(r#"{"stream":1}"#, "stream (byte 10): expected true or false");
    check_refused(r#"{"model":["a"]}"#, "model (byte 9): expected a string");
    check_refused(r#"{"model":"\ud800"}"#, "model (byte 9): expected valid Unicode");
    check_refused(
        r#"{"model":"a\u0000b"}"#,
        "model (byte 9): expected a name without spaces or control characters",
    );
    check_refused(
        r#"{"model":"a b"}"#,
        "model (byte 9): expected a name without spaces or control characters",
    );
    check_refused(&format!("{{\"model\":\"{}\"}}", "a".repeat(257)), "model (byte 9): expected a short name");
    check_refused(r#"{"stream_options":true}"#, "stream_options (byte 18): expected an object");
    check_refused(
        r#"{"stream_options":{"include_usage":1}}"#,
        "stream_options.include_usage (byte 35): expected true or false",
    );
}

#[test]
fn errors_never_repeat_the_body() {
    for body in [
        r#"{"secret":1,"secret":2}"#,
        r#"{"model":{"secret":1}}"#,
        r#"{"model":"secret secret"}"#,
        r#"{"a":secret}"#,
        r#"{"max_tokens":"secret"}"#,
    ] {
        let error = chat(body).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}

#[test]
fn batches_name_all_their_models() {
    let requests: Vec<_> = ["a", "b", "a", "c"]
        .iter()
        .map(|model| {
            json!({"custom_id": "1", "params": {"model": model, "max_tokens": 10, "messages": [
            {"role": "user", "content": "12345678"}]}})
        })
        .collect();
    let parse_batch = |requests: &[Value]| {
        let body = json!({ "requests": requests }).to_string();
        parse(Dialect::Anthropic, Endpoint::Batches, body.as_bytes(), &KEY)
    };
    let found = parse_batch(&requests).unwrap();
    assert_eq!(found.model, "a");
    assert_eq!(found.further_models, ["b", "c"]);
    assert_eq!(found.output_tokens_max, 40);
    assert_eq!(found.input_tokens_estimate, 8 + 3);
    // The shape does not change with the size of the batch.
    assert_eq!(found.shape, parse_batch(&requests[..1]).unwrap().shape);

    let unlimited = [requests[0].clone(), json!({"params": {"model": "a"}})];
    let found = parse_batch(&unlimited).unwrap();
    assert_eq!(found.output_tokens_max, 0);
    // What has no limit does not hide what has one.
    assert_eq!((found.output_tokens_stated, found.outputs_unlimited), (10, 1));

    let many: Vec<_> = (0..=MODELS_MAX).map(|n| json!({"params": {"model": n.to_string()}})).collect();
    assert!(parse_batch(&many[..MODELS_MAX]).is_ok());
    assert_eq!(parse_batch(&many), Err(ParseRequestError::TooManyModels));
}

#[test]
fn models_are_found_wherever_a_server_would_take_them_from() {
    let request = chat(r#"{"model":"a","models":["b","a",null,"c"]}"#).unwrap();
    assert_eq!((request.model.as_str(), request.further_models.len()), ("a", 2));
    let request = chat(r#"{"models":["b"],"model":"a"}"#).unwrap();
    assert_eq!((request.model.as_str(), request.further_models[0].as_str()), ("b", "a"));
    let session = r#"{"session":{"type":"realtime","model":"gpt-realtime","instructions":"You help."}}"#;
    let request = chat(session).unwrap();
    assert_eq!(request.model, "gpt-realtime");
    assert_ne!(request.shape.template, 0);
    check_refused(r#"{"models":[["a"]]}"#, "models (byte 11): expected a string");
    check_refused(
        r#"{"session":{"Model":"a"}}"#,
        "the key at byte 12 differs from model only in case: write model",
    );
}

#[track_caller]
fn check_estimate(endpoint: Endpoint, body: &Value, want: u64) {
    let request = parse(Dialect::OpenAi, endpoint, body.to_string().as_bytes(), &KEY).unwrap();
    assert_eq!(request.input_tokens_estimate, want);
}

#[test]
fn input_is_estimated_by_kind() {
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    let base64 = "A".repeat(8_000);
    check_estimate(
        Endpoint::ChatCompletions,
        &json!({"messages": [{"role": "user", "content": "12345"}]}),
        5,
    );
    check_estimate(Endpoint::ChatCompletions, &part(json!({"type": "text", "text": "12345678"})), 5);
    let image =
        part(json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{base64}")}}));
    check_estimate(Endpoint::ChatCompletions, &image, 1_603);
    let image = part(json!({"source": {"type": "base64", "data": base64}, "type": "image"}));
    check_estimate(Endpoint::ChatCompletions, &image, 1_603);
    let audio = part(json!({"type": "input_audio", "input_audio": {"data": base64, "format": "wav"}}));
    check_estimate(Endpoint::ChatCompletions, &audio, 8);
    let document = part(json!({"type": "document", "source": {"type": "base64", "data": base64}}));
    check_estimate(Endpoint::ChatCompletions, &document, 254);
    let nested =
        part(json!({"type": "tool_result", "content": [{"type": "image", "source": {"data": base64}},
        {"type": "text", "text": "1234"}]}));
    check_estimate(Endpoint::ChatCompletions, &nested, 1_604);
    check_estimate(Endpoint::Embeddings, &json!({"input": ["1234", "5678"]}), 5);
    check_estimate(Endpoint::Embeddings, &json!({"input": [[1, 2, 3], [4]]}), 7);
    check_estimate(Endpoint::Embeddings, &json!({"input": [1, 2, 3]}), 6);
    check_estimate(Endpoint::Completions, &json!({"prompt": "1234"}), 4);
    check_estimate(Endpoint::ChatCompletions, &json!({"tools": [{"name": "a"}]}), 3);
    check_estimate(Endpoint::Responses, &json!({"prompt": {"id": "pmpt_1", "variables": {}}}), 0);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(Dialect::OpenAi, Endpoint::ChatCompletions, &body, &KEY);
    }

    #[test]
    fn what_is_accepted_is_json_for_others_too(at in 0usize..200, with in any::<u8>()) {
        let mut body = br#"{"model":"m","stream":true,"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"tools":[{"name":"t"}],"max_tokens":5}"#.to_vec();
        let at = at % body.len();
        body[at] = with;
        if parse(Dialect::OpenAi, Endpoint::ChatCompletions, &body, &KEY).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&body).is_ok());
        }
    }
}
