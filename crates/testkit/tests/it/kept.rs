//! What is created stays, is listed newest first in pages, and can be deleted.

use hyper::Method;
use serde_json::Value;
use tokenwatch_testkit::client::Answer;

use crate::support::{Bench, json};

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");
const UPLOAD: &str = "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{}\r\n--b--\r\n";
const BETA: (&str, &str) = ("openai-beta", "assistants=v2");
const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");
const FILES: (&str, &str) = ("anthropic-beta", "files-api-2025-04-14");

fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = json(answer);
    list["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    json(answer)["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn files_are_listed_newest_first_page_by_page() {
    let bench = Bench::new();
    let old = id(&bench.post("/v1/files", &[FORM, ("x-mock-age-s", "3600")], UPLOAD).await);
    let first = id(&bench.post("/v1/files", &[FORM], UPLOAD).await);
    let older = id(&bench.post("/v1/files", &[FORM, ("x-mock-age-s", "7200")], UPLOAD).await);
    let page = bench.get("/v1/files?limit=2&order=desc", &[]).await;
    assert_eq!(ids(&page), [first, old.clone()]);
    assert_eq!(
        (&json(&page)["has_more"], &json(&page)["last_id"]),
        (&Value::Bool(true), &Value::from(old.clone()))
    );
    assert_eq!(json(&page)["data"][0]["filename"], "a.jsonl");
    let rest = bench.get(&format!("/v1/files?limit=2&after={old}"), &[]).await;
    assert_eq!((ids(&rest), &json(&rest)["has_more"]), (vec![older.clone()], &Value::Bool(false)));
    for bad in ["limit=0", "limit=x", "after=file-nobody"] {
        assert_eq!(bench.get(&format!("/v1/files?{bad}"), &[]).await.status, 400, "{bad}");
    }
    assert_eq!(id(&bench.get(&format!("/v1/files/{older}"), &[]).await), older);
    let path = format!("/v1/files/{older}");
    assert_eq!(bench.call(Method::DELETE, &path, &[], "").await.unwrap().status, 200);
    assert_eq!(bench.call(Method::DELETE, &path, &[], "").await.unwrap().status, 404);
    assert_eq!(ids(&bench.get("/v1/files", &[]).await).len(), 2);
}

#[tokio::test]
async fn every_kind_of_either_dialect_is_listed() {
    let bench = Bench::new();
    let file = id(&bench.post("/v1/files", &[FORM], UPLOAD).await);
    let batch = format!(r#"{{"input_file_id":"{file}","endpoint":"/v1/embeddings"}}"#);
    let job = format!(r#"{{"training_file":"{file}","model":"gpt-4o-mini"}}"#);
    for (path, body) in [
        ("/v1/batches", batch.as_str()),
        ("/v1/fine_tuning/jobs", &job),
        ("/v1/assistants", r#"{"model":"gpt-4o","name":"helper"}"#),
        ("/v1/vector_stores", r#"{"name":"docs"}"#),
    ] {
        let made = id(&bench.post(path, &[BETA], body).await);
        assert_eq!(ids(&bench.get(path, &[BETA]).await), [made], "{path}");
    }
    assert_eq!(bench.get("/v1/assistants", &[]).await.status, 400, "the header is missed");
    assert_eq!(bench.post("/v1/fine_tuning/jobs", &[], "{}").await.status, 400);
    assert_eq!(bench.post("/v1/assistants", &[BETA], "[1]").await.status, 400);

    let requests = r#"{"requests":[{"custom_id":"1","params":{"model":"claude-opus-5","max_tokens":5}}]}"#;
    let made = id(&bench.post("/v1/messages/batches", &[], requests).await);
    assert_eq!(ids(&bench.get("/v1/messages/batches?limit=5", &[]).await), [made]);
    let uploaded = id(&bench.post("/v1/files", &[VERSION, FORM, FILES], UPLOAD).await);
    assert_eq!(ids(&bench.get("/v1/files", &[VERSION, FILES]).await), [uploaded]);
    assert_eq!(bench.get("/v1/files", &[VERSION]).await.status, 404, "the header is missed");
}
