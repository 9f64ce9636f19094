//! The fast path gives the ready body to plain calls, and to nothing else.

use tokenwatch_model::secret::Secret;
use tokenwatch_testkit::provider::{MockConfig, canned_body};

use crate::support::*;

#[tokio::test]
async fn plain_calls_get_the_ready_body() {
    let canned = canned_body(600);
    assert!((560..=640).contains(&canned.len()), "{}", canned.len());
    let config =
        MockConfig { keys: vec![Secret::new(KEY)], canned: Some(canned.clone()), ..MockConfig::default() };
    let bench = Bench::with(config);
    let plain = bench.post("/v1/chat/completions", &[], CHAT).await;
    assert_eq!(plain.body, canned);
    assert_eq!(json(&plain)["object"], "chat.completion");
    assert!(plain.header("x-request-id").is_some());
    assert!(bench.post("/v1/chat/completions", &[], CHAT_STREAM).await.text().contains("[DONE]"));
    assert_ne!(bench.post("/v1/chat/completions", &TOKENS, CHAT).await.body, canned);
    let wrong = hyper::Request::post("/v1/chat/completions").body(CHAT.into()).unwrap();
    assert_eq!(bench.client.send_http(wrong).await.unwrap().status, 401);
}
