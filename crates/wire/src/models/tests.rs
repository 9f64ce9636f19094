//! Tests of `models`.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const OPENAI: &str = r#"{"object":"list","data":[ {"id":"gpt-4o","object":"model","created":1.50,"owned_by":"system"},
  {"id":"o3","object":"model"}, {"id":"gpt-4","x":[{"id":"o3"}]} ]}"#;
const ANTHROPIC: &str = r#"{"data":[{"type":"model","id":"claude-opus-5","display_name":"Opus"},
  {"type":"model","id":"claude-haiku-4-5"}],"has_more":true,"first_id":"claude-opus-5","last_id":"claude-haiku-4-5"}"#;

#[track_caller]
fn check(body: &str, allowed: &[&str], want: Option<&str>) {
    let filtered = filter_models(body.as_bytes(), |id| allowed.contains(&id));
    assert_eq!(filtered.map(|bytes| String::from_utf8(bytes).unwrap()).as_deref(), want);
}

#[test]
fn lists_keep_what_may_be_used_byte_for_byte() {
    check(
        OPENAI,
        &["gpt-4o", "gpt-4"],
        Some(
            r#"{"object":"list","data":[{"id":"gpt-4o","object":"model","created":1.50,"owned_by":"system"},{"id":"gpt-4","x":[{"id":"o3"}]}]}"#,
        ),
    );
    check(OPENAI, &[], Some(r#"{"object":"list","data":[]}"#));
}

#[test]
fn cursors_follow_the_list() {
    check(
        ANTHROPIC,
        &["claude-haiku-4-5"],
        Some(
            r#"{"data":[{"type":"model","id":"claude-haiku-4-5"}],"has_more":true,"first_id":"claude-haiku-4-5","last_id":"claude-haiku-4-5"}"#,
        ),
    );
    check(ANTHROPIC, &[], Some(r#"{"data":[],"has_more":true,"first_id":null,"last_id":null}"#));
}

#[test]
fn what_is_not_a_list_is_not_vouched_for() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"data":{}}"#,
        r#"{"data":[]"#,
        r#"{"data":[],"data":[]}"#,
        r#"{"d\u0061ta":[]}"#,
        r#"{"data":[],"d\u0061ta":[{"id":"a"}]}"#,
        r#"{"data":[]} x"#,
    ] {
        check(body, &["a"], None);
    }
    assert_eq!(filter_models(b"\xff", |_| true), None);
}

#[test]
fn items_without_one_clear_id_are_left_out() {
    check(
        r#"{"data":[1,{"id":1},{"id":"a","id":"b"},{"id":"b","\u0069d":"a"},{}]}"#,
        &["a", "b"],
        Some(r#"{"data":[]}"#),
    );
    check(r#"{"data":[{"\u0069d":"a"}]}"#, &["a"], Some(r#"{"data":[{"\u0069d":"a"}]}"#));
}

#[track_caller]
fn check_url(body: &str, want: Option<&str>) {
    let rewritten = rewrite_results_url(body.as_bytes(), "http://gateway:8080/");
    assert_eq!(rewritten.map(|bytes| String::from_utf8(bytes).unwrap()).as_deref(), want);
}

#[test]
fn results_urls_point_at_the_gateway() {
    check_url(
        r#"{"id":"msgbatch_1", "results_url":"https://api.anthropic.com/v1/messages/batches/msgbatch_1/results","x":1}"#,
        Some(
            r#"{"id":"msgbatch_1", "results_url":"http://gateway:8080/v1/messages/batches/msgbatch_1/results","x":1}"#,
        ),
    );
    check_url(
        r#"{"data":[{"results_url":null},{"results_url":"https:\/\/api.anthropic.com\/v1\/b"},5],"has_more":false}"#,
        Some(
            r#"{"data":[{"results_url":null},{"results_url":"http://gateway:8080/v1/b"},5],"has_more":false}"#,
        ),
    );
}

#[test]
fn nothing_else_is_rewritten() {
    check_url(r#"{"results_url":null}"#, None);
    check_url(r#"{"results_url":"/v1/relative"}"#, None);
    check_url(r#"{"results_url":"https://host-alone"}"#, None);
    check_url(r#"{"note":"\"results_url\":\"https://x/y\"","deep":{"results_url":"https://x/y"}}"#, None);
    check_url("[]", None);
    check_url("not json", None);
}

proptest! {
    #[test]
    fn the_result_is_the_same_list_without_the_refused(ids in prop::collection::vec("[a-d]", 0..6), allowed in "[a-d]") {
        let items: Vec<_> = ids.iter().map(|id| json!({"id": id, "n": 1})).collect();
        let body = json!({"object": "list", "data": items, "first_id": "x", "last_id": "y"});
        let filtered = filter_models(body.to_string().as_bytes(), |id| id == allowed).unwrap();
        let filtered: Value = serde_json::from_slice(&filtered).unwrap();
        let want: Vec<_> = ids.iter().filter(|id| **id == allowed).map(|id| json!({"id": id, "n": 1})).collect();
        let edge = if want.is_empty() { Value::Null } else { Value::from(allowed) };
        prop_assert_eq!(filtered, json!({"object": "list", "data": want, "first_id": edge.clone(), "last_id": edge}));
    }
}
