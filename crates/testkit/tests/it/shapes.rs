//! Answers have the shapes of the providers' own.

use hyper::Method;
use serde_json::{Value, json as value};

use crate::support::*;

/// Posts and checks the status and some places of the answer, by JSON pointer.
#[track_caller]
fn expect(answer: &tokenwatch_testkit::client::Answer, status: u16, places: &[(&str, Value)]) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let body = json(answer);
    for (pointer, want) in places {
        assert_eq!(body.pointer(pointer), Some(want), "{pointer} in {body}");
    }
}

#[tokio::test]
async fn openai_answers_have_its_shapes() {
    let bench = Bench::new();
    let chat = bench.post("/v1/chat/completions", &TOKENS, CHAT).await;
    expect(
        &chat,
        200,
        &[
            ("/object", value!("chat.completion")),
            ("/model", value!("gpt-4o")),
            ("/choices/0/finish_reason", value!("stop")),
            ("/choices/0/message/role", value!("assistant")),
            ("/usage/prompt_tokens", value!(1200)),
            ("/usage/completion_tokens", value!(300)),
            ("/usage/total_tokens", value!(1500)),
            ("/usage/prompt_tokens_details/cached_tokens", value!(1024)),
        ],
    );
    assert_eq!(json(&chat)["choices"][0]["message"]["content"].as_str().unwrap().len(), 1200);
    for header in ["x-request-id", "openai-processing-ms", "x-ratelimit-remaining-tokens", "openai-version"] {
        assert!(chat.header(header).is_some(), "{header}");
    }
    let text = bench.post("/v1/completions", &TOKENS, r#"{"model":"davinci-002","prompt":"x"}"#).await;
    expect(&text, 200, &[("/object", value!("text_completion")), ("/usage/completion_tokens", value!(300))]);
    let response = bench.post("/v1/responses", &TOKENS, r#"{"model":"gpt-5.5","input":"x"}"#).await;
    expect(
        &response,
        200,
        &[
            ("/object", value!("response")),
            ("/status", value!("completed")),
            ("/output/0/content/0/type", value!("output_text")),
            ("/usage/input_tokens", value!(1200)),
            ("/usage/input_tokens_details/cached_tokens", value!(1024)),
            ("/usage/total_tokens", value!(1500)),
        ],
    );
    let counted =
        bench.post("/v1/responses/input_tokens", &TOKENS, r#"{"model":"gpt-5.5","input":"x"}"#).await;
    expect(&counted, 200, &[("/object", value!("response.input_tokens")), ("/input_tokens", value!(1200))]);
}

#[tokio::test]
async fn openai_small_endpoints_answer() {
    let bench = Bench::new();
    let embedded = bench
        .post("/v1/embeddings", &TOKENS, r#"{"model":"text-embedding-3-small","input":["a","b"]}"#)
        .await;
    expect(
        &embedded,
        200,
        &[
            ("/data/1/index", value!(1)),
            ("/data/0/embedding/1", value!(0.5)),
            ("/usage/prompt_tokens", value!(1200)),
        ],
    );
    let packed = bench
        .post(
            "/v1/embeddings",
            &[],
            r#"{"model":"text-embedding-3-small","input":"a","encoding_format":"base64"}"#,
        )
        .await;
    assert_eq!(json(&packed)["data"][0]["embedding"].as_str().unwrap().len(), 44);
    let moderated = bench.post("/v1/moderations", &[], r#"{"input":"a"}"#).await;
    expect(&moderated, 200, &[("/results/0/flagged", value!(false))]);
    let image =
        bench.post("/v1/images/generations", &TOKENS, r#"{"model":"gpt-image-1","prompt":"a"}"#).await;
    expect(&image, 200, &[("/usage/output_tokens", value!(300))]);
    assert!(json(&image)["data"][0]["b64_json"].is_string());
    let models = bench.get("/v1/models", &[]).await;
    expect(&models, 200, &[("/object", value!("list")), ("/data/0/object", value!("model"))]);
    expect(&bench.get("/v1/models/gpt-4o", &[]).await, 200, &[("/id", value!("gpt-4o"))]);
    let upload = "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{}\r\n--b--\r\n";
    let file = bench.post("/v1/files", &[("content-type", "multipart/form-data; boundary=b")], upload).await;
    expect(&file, 200, &[("/object", value!("file")), ("/purpose", value!("batch"))]);
}

#[tokio::test]
async fn anthropic_answers_have_its_shapes() {
    let bench = Bench::new();
    let message = bench.post("/v1/messages", &TOKENS, MESSAGES).await;
    expect(
        &message,
        200,
        &[
            ("/type", value!("message")),
            ("/model", value!("claude-opus-5")),
            ("/content/0/type", value!("text")),
            ("/stop_reason", value!("end_turn")),
            // Disjoint: 1,200 in all, of which 1,024 from the cache.
            ("/usage/input_tokens", value!(176)),
            ("/usage/cache_read_input_tokens", value!(1024)),
            ("/usage/output_tokens", value!(300)),
        ],
    );
    assert!(message.header("request-id").is_some());
    assert!(message.header("anthropic-ratelimit-tokens-remaining").is_some());
    let counted = bench.post("/v1/messages/count_tokens", &TOKENS, MESSAGES).await;
    expect(&counted, 200, &[("/input_tokens", value!(1200))]);
    let models = bench.get("/v1/models", &[("anthropic-version", "2023-06-01")]).await;
    expect(&models, 200, &[("/data/0/type", value!("model")), ("/has_more", value!(false))]);
}

#[tokio::test]
async fn batches_are_made_found_and_read() {
    let bench = Bench::new();
    let lines = r#"{"requests":[
        {"custom_id":"a \"1\"","params":{"model":"claude-opus-5","max_tokens":20,"messages":[]}},
        {"custom_id":"b","params":{"model":"claude-haiku-4-5","max_tokens":30,"messages":[]}}]}"#;
    let made = bench.post("/v1/messages/batches", &[], lines).await;
    expect(&made, 200, &[("/type", value!("message_batch")), ("/request_counts/succeeded", value!(2))]);
    let made = json(&made);
    let id = made["id"].as_str().unwrap();
    let found = bench.get(&format!("/v1/messages/batches/{id}"), &[]).await;
    assert_eq!(json(&found), made);
    let url = made["results_url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{}", bench.address)).unwrap();
    let results = bench.get(path, &[]).await;
    let lines: Vec<Value> = results.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["custom_id"], "a \"1\"");
    assert_eq!(lines[1]["result"]["message"]["usage"]["output_tokens"], 30);
    expect(
        &bench.get("/v1/messages/batches/none", &[]).await,
        404,
        &[("/error/type", value!("not_found_error"))],
    );
}

#[tokio::test]
async fn tokens_come_from_the_request_when_nothing_is_dictated() {
    let bench = Bench::new();
    let body = r#"{"model":"gpt-4o","max_tokens":33,"messages":[{"role":"user","content":"hi"}]}"#;
    let chat = bench.post("/v1/chat/completions", &[], body).await;
    let input = body.len().div_ceil(4);
    expect(&chat, 200, &[("/usage/prompt_tokens", value!(input)), ("/usage/completion_tokens", value!(33))]);
    let chat = bench.post("/v1/chat/completions", &[], CHAT).await;
    expect(&chat, 200, &[("/usage/completion_tokens", value!(16))]);
}

#[tokio::test]
async fn wrong_requests_get_the_providers_own_errors() {
    let bench = Bench::new();
    let kind = |kind: &str| vec![("/error/type", value!(kind))];
    let wrong = hyper::Request::post("/v1/chat/completions").header("authorization", "Bearer sk-wrong");
    let denied = bench.client.send_http(wrong.body(CHAT.into()).unwrap()).await.unwrap();
    expect(&denied, 401, &[("/error/code", value!("invalid_api_key"))]);
    let missing = hyper::Request::post("/v1/messages").body(MESSAGES.into()).unwrap();
    let answer = bench.client.send_http(missing).await.unwrap();
    expect(&answer, 401, &kind("authentication_error"));
    let checker = r#"{"model":"gpt-4o","max_tokens":0,"messages":[{"role":"user","content":""}]}"#;
    let invalid = kind("invalid_request_error");
    expect(&bench.post("/v1/chat/completions", &[], checker).await, 400, &invalid);
    let negative = r#"{"model":"babbage-002","max_tokens":-1,"messages":[{"role":"user","content":"x"}]}"#;
    expect(&bench.post("/v1/chat/completions", &[], negative).await, 400, &invalid);
    expect(&bench.post("/v1/chat/completions", &[], "{not json").await, 400, &invalid);
    let unknown = CHAT.replace("gpt-4o", "unknown-1");
    let answer = bench.post("/v1/chat/completions", &[], &unknown).await;
    expect(&answer, 404, &[("/error/code", value!("model_not_found"))]);
    expect(&bench.get("/v1/organizations", &[]).await, 403, &invalid);
    expect(&bench.get("/v1/nothing", &[]).await, 404, &invalid);
    let unlimited = MESSAGES.replace(r#""max_tokens":50,"#, "");
    expect(&bench.post("/v1/messages", &[], &unlimited).await, 400, &invalid);
    let typo = bench.post("/v1/chat/completions", &[("x-mock-fail", "rset")], CHAT).await;
    expect(&typo, 400, &invalid);
    assert!(typo.text().contains("x-mock-fail"));
    assert_eq!(bench.call(Method::DELETE, "/v1/models/gpt-4o", &[], "").await.unwrap().status, 404);
}

#[tokio::test]
async fn tools_are_called_on_demand() {
    let bench = Bench::new();
    let tools = r#"{"model":"gpt-4o","tool_choice":"required","tools":[{"type":"function","function":{"name":"find","parameters":{}}}],"messages":[{"role":"user","content":"hi"}]}"#;
    let chat = bench.post("/v1/chat/completions", &[], tools).await;
    expect(
        &chat,
        200,
        &[
            ("/choices/0/finish_reason", value!("tool_calls")),
            ("/choices/0/message/tool_calls/0/function/name", value!("find")),
        ],
    );
    let streamed = tools.replacen('{', r#"{"stream":true,"#, 1);
    let chunks = event_json(&bench.post("/v1/chat/completions", &[], &streamed).await.text());
    let arguments: String = chunks
        .iter()
        .filter_map(|c| c.pointer("/choices/0/delta/tool_calls/0/function/arguments")?.as_str())
        .collect();
    assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap(), value!({"query": "mock"}));
    let any = r#"{"model":"claude-opus-5","max_tokens":9,"tool_choice":{"type":"any"},"tools":[{"name":"find","input_schema":{}}],"messages":[{"role":"user","content":"hi"}]}"#;
    let message = bench.post("/v1/messages", &[], any).await;
    expect(&message, 200, &[("/stop_reason", value!("tool_use")), ("/content/0/name", value!("find"))]);
    let auto = any.replace("any", "auto");
    expect(&bench.post("/v1/messages", &[], &auto).await, 200, &[("/stop_reason", value!("end_turn"))]);
    let styled = bench.post("/v1/messages", &[("x-mock-style", "tool-call")], &auto).await;
    expect(&styled, 200, &[("/stop_reason", value!("tool_use"))]);
}
