//! What changes a shape, and what does not.

use tokenwatch_model::context::Shape;

use super::*;

fn shape(body: &Value) -> Shape {
    chat(&body.to_string()).unwrap().shape
}

fn system(text: &str) -> u64 {
    shape(&json!({"messages": [{"role": "system", "content": text}, {"role": "user", "content": "x"}]}))
        .template
}

fn prompt(text: &str) -> u64 {
    shape(&json!({"messages": [{"role": "user", "content": text}]})).prompt
}

fn roles(roles: &[&str]) -> u64 {
    let messages: Vec<_> = roles.iter().map(|role| json!({"role": role, "content": "x"})).collect();
    shape(&json!({ "messages": messages })).roles
}

#[track_caller]
fn check_same(one: &str, other: &str) {
    assert_eq!(system(one), system(other), "{one} | {other}");
    assert_eq!(prompt(one), prompt(other), "{one} | {other}");
}

#[track_caller]
fn check_different(one: &str, other: &str) {
    assert_ne!(system(one), system(other), "{one} | {other}");
    assert_ne!(prompt(one), prompt(other), "{one} | {other}");
}

#[test]
fn dates_ids_and_counters_do_not_change_a_template() {
    check_same("Today is 2026-11-21.", "Today is 1999-01-02.");
    check_same("Now: 2026-11-21T09:05:00Z", "Now: 2027-01-02T23:59:59Z");
    check_same("Today is Saturday, November 21, 2026, 9:05 AM", "Today is Monday, May 4, 2027, 12:30 PM");
    check_same("Ticket 7", "Ticket 123456789");
    check_same(
        "User 8f14e45f-ceea-467f-ab12-cdcdcdcdcdcd asks",
        "User aaaaaaaa-bbbb-cccc-dddd-123456789012 asks",
    );
    check_same("sha 9e107d9d372bb6826bd81d3542a419d6", "sha e4d909c290d0fb1ca068ffaddf22cbd0");
    check_same("order ord_9xK2mPq4 shipped", "order ord_a7Zw11Lq shipped");
    check_same("id 12ab end", "id 1234 end");
}

#[test]
fn white_space_folds() {
    check_same("a  b\n\n c\t", " a b c");
    check_same("line\r\nline", "line\nline");
}

#[test]
fn words_and_case_change_a_template() {
    check_different("You are a pirate.", "You are a parrot.");
    check_different("You are a pirate.", "you are a pirate.");
    check_different("a b", "ab");
    check_different("dead", "beef");
    check_different("café", "cafe");
    check_different("Write a novel", "Write a novel.");
}

#[test]
fn spelling_of_escapes_does_not_matter() {
    let plain = chat(r#"{"messages":[{"role":"user","content":"é 1 x"}]}"#).unwrap().shape;
    let escaped = chat(r#"{"messages":[{"role":"user","content":"\u00e9\t99\u0020x"}]}"#).unwrap().shape;
    assert_eq!(plain.prompt, escaped.prompt);
}

#[test]
fn absent_texts_hash_to_zero() {
    let bare = shape(&json!({"model": "m"}));
    assert_eq!((bare.template, bare.prompt, bare.tools, bare.roles), (0, 0, 0, 0));
    assert_eq!(system(""), 0);
    assert_eq!(prompt(""), 0);
    assert_ne!(system(" "), 0);
    assert_eq!(shape(&json!({})), Shape::default());
}

#[test]
fn the_system_prompt_is_found_in_every_dialect() {
    let want = system("You help.");
    assert_ne!(want, 0);
    let developer =
        json!({"messages": [{"role": "developer", "content": [{"type": "text", "text": "You help."}]}]});
    assert_eq!(shape(&developer).template, want);
    assert_eq!(responses(&json!({"instructions": "You help.", "input": "x"})).shape.template, want);
    let input = json!([{"role": "system", "content": "You help."}, {"role": "user", "content": "x"}]);
    assert_eq!(responses(&json!({ "input": input })).shape.template, want);
    assert_eq!(messages(&json!({"system": "You help."})).shape.template, want);
    let blocks = json!([{"type": "text", "text": "You help.", "cache_control": {"type": "ephemeral"}}]);
    assert_eq!(messages(&json!({ "system": blocks })).shape.template, want);
}

#[test]
fn system_messages_inside_the_conversation_are_not_the_template() {
    let body = json!({"messages": [{"role": "system", "content": "A"}, {"role": "user", "content": "x"},
        {"role": "system", "content": "B"}]});
    assert_eq!(shape(&body).template, system("A"));
}

#[test]
fn the_prompt_is_the_last_user_message_that_has_text() {
    let want = prompt("final question");
    let body = json!({"messages": [{"role": "user", "content": "first"}, {"role": "assistant", "content": "a"},
        {"content": "final question", "role": "user"}, {"role": "assistant", "content": null, "tool_calls": []},
        {"role": "tool", "content": "result"}]});
    assert_eq!(shape(&body).prompt, want);
    let anthropic = messages(&json!({"messages": [{"role": "user", "content": [{"type": "text",
        "text": "final question"}]}, {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "n",
        "input": {}}]}, {"role": "user", "content": [{"type": "tool_result", "content": []}]}]}));
    assert_eq!(anthropic.shape.prompt, want);
    assert_eq!(responses(&json!({"input": "final question"})).shape.prompt, want);
    let item = json!([{"role": "user", "content": [{"type": "input_text", "text": "final question"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"}, {"type": "function_call_output", "output": "r"}]);
    assert_eq!(responses(&json!({ "input": item })).shape.prompt, want);
}

#[test]
fn tools_are_a_set() {
    let tools = |names: &[&str]| {
        let tools: Vec<_> =
            names.iter().map(|n| json!({"type": "function", "function": {"name": n}})).collect();
        shape(&json!({ "tools": tools }))
    };
    assert_eq!(tools(&["a", "b"]).tools, tools(&["b", "a"]).tools);
    assert_ne!(tools(&["a", "b"]).tools, tools(&["a"]).tools);
    assert_eq!(tools(&["a", "b"]).tool_count, 2);
    assert_eq!(tools(&[]).tools, 0);
    // The name alone counts, wherever the dialect puts it.
    assert_eq!(
        messages(&json!({"tools": [{"name": "a", "input_schema": {}}]})).shape.tools,
        tools(&["a"]).tools
    );
    assert_ne!(responses(&json!({"tools": [{"type": "web_search"}]})).shape.tools, 0);
}

#[test]
fn a_conversation_keeps_its_role_pattern_as_it_grows() {
    let want = roles(&["system", "user"]);
    assert_eq!(roles(&["system", "user", "assistant", "user"]), want);
    assert_eq!(roles(&["system", "user", "assistant", "user", "assistant", "user"]), want);
    assert_eq!(roles(&["system", "system", "user", "user"]), want);
    assert_eq!(roles(&["developer", "user"]), want);
    assert_ne!(roles(&["user"]), want);
    let agent = roles(&["system", "user", "assistant", "tool"]);
    assert_ne!(agent, want);
    assert_eq!(roles(&["system", "user", "assistant", "tool", "tool", "assistant", "tool"]), agent);
    assert_ne!(roles(&["user", "system"]), roles(&["system", "user"]));
}

#[test]
fn parameters_are_names_and_configuration() {
    let base = json!({"model": "m", "temperature": 0.7, "stop": ["a"], "max_tokens": 5});
    let with = |name: &str, value: Value| {
        let mut body = base.clone();
        body[name] = value;
        shape(&body).parameters
    };
    let want = shape(&base).parameters;
    // Values of content and limits do not count, their presence does.
    assert_eq!(with("stop", json!(["b"])), want);
    assert_eq!(with("max_tokens", json!(6)), want);
    assert_eq!(with("model", json!("other")), want);
    assert_ne!(with("user", json!("u")), want);
    assert_ne!(with("temperature", json!(0.8)), want);
    assert_ne!(with("tool_choice", json!("auto")), with("tool_choice", json!("none")));
    let schema = |name: &str| json!({"type": "json_schema", "json_schema": {"name": name}});
    assert_eq!(with("response_format", schema("a")), with("response_format", schema("b")));
    assert_ne!(with("response_format", schema("a")), with("response_format", json!({"type": "json_object"})));
    assert_ne!(with("reasoning", json!({"effort": "low"})), with("reasoning", json!({"effort": "high"})));
    let text = |kind: &str| json!({"format": {"type": kind}});
    assert_ne!(with("text", text("text")), with("text", text("json_schema")));
}

#[test]
fn parameters_do_not_depend_on_their_order() {
    let one = chat(r#"{"temperature":1,"top_p":0.5}"#).unwrap().shape;
    let other = chat(r#"{"top_p":0.5,"temperature":1}"#).unwrap().shape;
    assert_eq!(one, other);
}

#[test]
fn hashes_depend_on_the_deployments_secret() {
    let body = br#"{"messages":[{"role":"system","content":"a"},{"role":"user","content":"b"}],"tools":[{"name":"t"}]}"#;
    let with = |key| {
        parse(Dialect::OpenAi, Endpoint::ChatCompletions, body, &ShapeKey::new([key; 16])).unwrap().shape
    };
    let (one, other) = (with(1), with(2));
    assert_ne!(one.template, other.template);
    assert_ne!(one.tools, other.tools);
    assert_ne!(one.roles, other.roles);
    assert_ne!(one.parameters, other.parameters);
    assert_ne!(one.prompt, other.prompt);
}

#[test]
fn long_texts_are_hashed_at_bounded_cost() {
    let head = "lorem ipsum ".repeat(2_000);
    // The template counts by its head, the prompt by its head and tail.
    assert_eq!(system(&format!("{head} one end")), system(&format!("{head} other end")));
    assert_ne!(prompt(&format!("{head} one end")), prompt(&format!("{head} other end")));
    assert_eq!(prompt(&format!("{head} call 17")), prompt(&format!("{head} call 99")));
    // The length of an id does not move the point where hashing stops.
    assert_eq!(system(&format!("id 5 {head}")), system(&format!("id 5555555 {head}")));
}

proptest! {
    #[test]
    fn changing_digits_never_changes_a_hash(words in prop::collection::vec("[a-z]{1,9}|[0-9]{1,9}|[.,!]", 1..40), seed in any::<u32>()) {
        let swap = |word: &String| {
            if word.as_bytes()[0].is_ascii_digit() { seed.to_string() } else { word.clone() }
        };
        let one = words.join(" ");
        let other = words.iter().map(swap).collect::<Vec<_>>().join(" ");
        prop_assert_eq!(prompt(&one), prompt(&other));
    }

    #[test]
    fn any_text_is_hashed(text in any::<String>()) {
        prop_assert_eq!(prompt(&text) == 0, text.is_empty());
    }
}
