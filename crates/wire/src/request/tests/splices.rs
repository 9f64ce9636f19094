//! Asking a stream for its usage without touching anything else.

use super::*;

#[track_caller]
fn check(body: &str, want: Option<&str>) {
    let request = chat(body).unwrap();
    let spliced = with_include_usage(body.as_bytes(), &request);
    assert_eq!(spliced.as_deref().map(|bytes| std::str::from_utf8(bytes).unwrap()), want);
}

#[test]
fn the_option_is_spliced_into_the_clients_bytes() {
    check(r#"{ "stream" : true}"#, Some(r#"{"stream_options":{"include_usage":true}, "stream" : true}"#));
    check(
        r#"{"stream":true,"stream_options":{}}"#,
        Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
    );
    check(
        r#"{"stream_options": null ,"stream":true}"#,
        Some(r#"{"stream_options": {"include_usage":true} ,"stream":true}"#),
    );
    check(
        r#"{"stream_options":{"include_usage": false},"stream":true}"#,
        Some(r#"{"stream_options":{"include_usage": true},"stream":true}"#),
    );
    check(
        r#"{"stream_options":{"include_usage":null},"stream":true}"#,
        Some(r#"{"stream_options":{"include_usage":true},"stream":true}"#),
    );
    check(
        r#"{"stream_options":{ "include_obfuscation":false},"stream":true}"#,
        Some(r#"{"stream_options":{"include_usage":true, "include_obfuscation":false},"stream":true}"#),
    );
}

#[test]
fn nothing_changes_when_nothing_must() {
    check(r#"{"stream":true,"stream_options":{"include_usage":true}}"#, None);
    check(r#"{"stream":false}"#, None);
    check(r#"{"stream":null,"stream_options":{}}"#, None);
    check("{}", None);
}

#[test]
fn only_chat_and_completions_know_the_option() {
    let body = br#"{"stream":true}"#;
    for (dialect, endpoint, want) in [
        (Dialect::OpenAi, Endpoint::ChatCompletions, true),
        (Dialect::OpenAi, Endpoint::Completions, true),
        (Dialect::OpenAi, Endpoint::Responses, false),
        (Dialect::OpenAi, Endpoint::Assistants, false),
        (Dialect::OpenAi, Endpoint::Other, false),
        (Dialect::Anthropic, Endpoint::Messages, false),
        (Dialect::Anthropic, Endpoint::Completions, false),
    ] {
        let request = parse(dialect, endpoint, body, &KEY).unwrap();
        assert_eq!(with_include_usage(body, &request).is_some(), want, "{dialect} {endpoint}");
    }
}

#[test]
fn a_splice_for_another_body_is_not_applied() {
    let request = chat(r#"{"stream":true,"stream_options":null}"#).unwrap();
    assert_eq!(with_include_usage(b"{}", &request), None);
}

/// Any JSON object without the two fields in question.
fn other_members() -> impl Strategy<Value = serde_json::Map<String, Value>> {
    let value = prop_oneof![
        any::<i32>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        prop::collection::vec(any::<String>(), 0..3).prop_map(Value::from),
    ];
    prop::collection::btree_map("x[a-z\"\\\\é]{0,6}", value, 0..6)
        .prop_map(|members| members.into_iter().collect())
}

fn options() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        other_members().prop_map(|members| Some(Value::Object(members))),
        (other_members(), prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from)]).prop_map(
            |(mut members, value)| {
                members.insert("include_usage".into(), value);
                Some(Value::Object(members))
            }
        ),
    ]
}

proptest! {
    #[test]
    fn the_result_equals_the_original_plus_the_option(
        mut body in other_members(), options in options(), pretty in any::<bool>()
    ) {
        body.insert("stream".into(), true.into());
        if let Some(options) = options {
            body.insert("stream_options".into(), options);
        }
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
        let request = chat(&text).unwrap();
        let spliced = with_include_usage(text.as_bytes(), &request).unwrap_or(text.into_bytes());

        let mut want = Value::Object(body);
        if want["stream_options"].is_null() {
            want["stream_options"] = json!({});
        }
        want["stream_options"]["include_usage"] = true.into();
        prop_assert_eq!(serde_json::from_slice::<Value>(&spliced).unwrap(), want);
        let again = parse(Dialect::OpenAi, Endpoint::ChatCompletions, &spliced, &KEY).unwrap();
        prop_assert_eq!(again.usage_splice, None);
    }
}
