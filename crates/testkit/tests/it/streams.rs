//! Streams: usage where the protocol puts it, and the ways real servers write them.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;

use crate::support::*;

/// Streams a chat in a style and returns the answer's chunks.
async fn chat(style: &str, body: &str) -> Vec<Value> {
    let bench = Bench::new();
    let mut headers = TOKENS.to_vec();
    headers.push(("x-mock-style", style));
    let headers = if style.is_empty() { &headers[..3] } else { &headers[..] };
    let answer = bench.post("/v1/chat/completions", headers, body).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let text = answer.text();
    assert!(text.replace('\r', "").ends_with("data: [DONE]\n\n"), "{text}");
    event_json(&text)
}

fn content(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/content")?.as_str()).collect()
}

#[tokio::test]
async fn usage_comes_only_when_it_is_asked_for() {
    let chunks = chat("", CHAT_STREAM).await;
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    assert_eq!(content(&chunks).len(), 1200);
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");

    let chunks = chat("", CHAT_STREAM_USAGE).await;
    let (last, rest) = chunks.split_last().unwrap();
    assert!(rest.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
    assert_eq!(last["choices"], serde_json::json!([]));
    assert_eq!(last["usage"]["total_tokens"], 1500);

    let chunks = chat("no-usage", CHAT_STREAM_USAGE).await;
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));

    let chunks = chat("usage-on-last-choice", CHAT_STREAM).await;
    let last = chunks.last().unwrap();
    assert_eq!(
        (&last["usage"]["total_tokens"], &last["choices"][0]["finish_reason"]),
        (&1500.into(), &"stop".into())
    );
}

#[tokio::test]
async fn styles_change_the_writing_not_the_words() {
    let plain = chat("", CHAT_STREAM_USAGE).await;
    for style in ["crlf", "joined", "split", "pings", "crlf,joined,pings", "crlf,split,pings"] {
        let styled = chat(style, CHAT_STREAM_USAGE).await;
        assert_eq!(content(&styled), content(&plain), "{style}");
        assert_eq!(styled.len(), plain.len(), "{style}");
        assert_eq!(styled.last().unwrap()["usage"], plain.last().unwrap()["usage"], "{style}");
    }
}

#[tokio::test]
async fn compressed_answers_unpack() {
    let bench = Bench::new();
    for style in ["gzip", "deflate", "gzip,split", "deflate,joined"] {
        for body in [CHAT, CHAT_STREAM] {
            let answer = bench.post("/v1/chat/completions", &[("x-mock-style", style)], body).await;
            let encoding = answer.header("content-encoding").unwrap();
            assert!(style.starts_with(encoding));
            let mut text = String::new();
            match encoding {
                "gzip" => flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut text),
                _ => flate2::read::ZlibDecoder::new(&answer.body[..]).read_to_string(&mut text),
            }
            .unwrap();
            assert!(text.contains("chat.completion"), "{style}: {text}");
        }
    }
}

#[tokio::test]
async fn every_piece_is_flushed() {
    let bench = Bench::new();
    let paced = [("x-mock-chunks", "10"), ("x-mock-chunk-delay-ms", "15")];
    let answer = bench.post("/v1/chat/completions", &paced, CHAT_STREAM).await;
    // Ten pieces of text, the first delta, the finish, and the end.
    assert_eq!(answer.pieces, 13);
    assert!(answer.total > Duration::from_millis(12 * 15));
    assert!(answer.first_byte < answer.total / 2);
    let joined = [("x-mock-chunks", "10"), ("x-mock-style", "joined"), ("x-mock-chunk-delay-ms", "5")];
    assert_eq!(bench.post("/v1/chat/completions", &joined, CHAT_STREAM).await.pieces, 4);
}

#[tokio::test]
async fn completions_stream() {
    let bench = Bench::new();
    let body =
        r#"{"model":"davinci-002","prompt":"x","stream":true,"stream_options":{"include_usage":true}}"#;
    let answer = bench.post("/v1/completions", &TOKENS, body).await;
    let chunks = event_json(&answer.text());
    let text: String = chunks.iter().filter_map(|c| c.pointer("/choices/0/text")?.as_str()).collect();
    assert_eq!(text.len(), 1200);
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 300);
}

#[tokio::test]
async fn responses_stream_named_events_in_sequence() {
    let bench = Bench::new();
    let body = r#"{"model":"gpt-5.5","input":"x","stream":true}"#;
    let answer = bench.post("/v1/responses", &TOKENS, body).await;
    let text = answer.text();
    for (sequence, (name, data)) in events(&text).into_iter().enumerate() {
        let data: Value = serde_json::from_str(&data).unwrap();
        assert_eq!((&data["type"], &data["sequence_number"]), (&name.as_str().into(), &sequence.into()));
    }
    let names: Vec<String> = events(&text).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.first().map(String::as_str), Some("response.created"));
    assert_eq!(names.last().map(String::as_str), Some("response.completed"));
    let all = event_json(&text);
    let done = &all.last().unwrap()["response"];
    assert_eq!(done["usage"]["total_tokens"], 1500);
    let said: String = all
        .iter()
        .filter(|e| e["type"] == "response.output_text.delta")
        .filter_map(|e| e["delta"].as_str())
        .collect();
    assert_eq!(done["output"][0]["content"][0]["text"], said.as_str());
    assert!(!text.contains("[DONE]"));
}

#[tokio::test]
async fn messages_stream_in_anthropics_order() {
    let bench = Bench::new();
    let answer = bench.post("/v1/messages", &TOKENS, MESSAGES_STREAM).await;
    let text = answer.text();
    let mut names: Vec<String> = events(&text).into_iter().map(|(name, _)| name).collect();
    names.dedup();
    let want = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names, want);
    let all = event_json(&text);
    let first = &all[0]["message"]["usage"];
    assert_eq!((&first["input_tokens"], &first["cache_read_input_tokens"]), (&176.into(), &1024.into()));
    let delta = all.iter().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(delta["usage"]["output_tokens"], 300);
}

#[tokio::test]
async fn streams_can_end_in_an_error_event() {
    let bench = Bench::new();
    let style = [("x-mock-style", "error-mid-stream"), ("x-mock-chunks", "4")];
    let chat = bench.post("/v1/chat/completions", &style, CHAT_STREAM_USAGE).await;
    let last = event_json(&chat.text()).pop().unwrap();
    assert_eq!(last["error"]["type"], "server_error");
    assert!(!chat.text().contains("[DONE]"));
    let message = bench.post("/v1/messages", &style, MESSAGES_STREAM).await;
    let (name, data) = events(&message.text()).pop().unwrap();
    assert_eq!(name, "error");
    assert!(data.contains("overloaded_error"));
    let body = r#"{"model":"gpt-5.5","input":"x","stream":true}"#;
    let response = bench.post("/v1/responses", &style, body).await;
    assert_eq!(events(&response.text()).pop().unwrap().0, "error");
}
