//! Providers as their administrators ask them: where the credential goes, what answers are, and that none repeats it.

use std::time::Duration;

use tokenwatch_model::artifact::{Answer, Question};
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::secret::Secret;
use tokenwatch_outside::{ProviderPlace, Trust, ask};

use crate::server::{answer, certificates, once};

const KEY: &str = "sk-provider-0123456789";
const QUESTION: Question =
    Question { method: "GET", target: String::new(), headers: &[("openai-beta", "assistants=v2")] };

fn question() -> Question {
    Question { target: "/v1/assistants?limit=100".to_owned(), ..QUESTION }
}

fn place(base_url: String, dialect: Dialect, ca: Option<&str>) -> ProviderPlace {
    ProviderPlace {
        base_url,
        dialect,
        credential: Secret::new(KEY),
        trust: Trust::new(ca.map(str::as_bytes)).unwrap(),
        timeout: Duration::from_secs(5),
    }
}

/// What a server got that gives this answer, and what was made of the answer.
async fn exchange(path: &str, dialect: Dialect, said: &str) -> (String, Result<Answer, String>) {
    let said = said.to_owned();
    let (address, got) = once(None, |stream| answer(stream, said)).await;
    let answered = ask(&place(format!("http://{address}{path}"), dialect, None), &question()).await;
    (got.await.unwrap().unwrap(), answered.map_err(|error| error.to_string()))
}

fn with_body(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn the_credential_goes_where_the_dialect_wants_it() {
    for path in ["/base", "/base/", "/base/v1"] {
        let (got, answered) = exchange(path, Dialect::OpenAi, &with_body("200 OK", "{}")).await;
        assert!(got.starts_with("GET /base/v1/assistants?limit=100 HTTP/1.1\r\n"), "{got}");
        assert!(got.contains(&format!("\r\nauthorization: Bearer {KEY}\r\n")), "{got}");
        assert!(got.contains("\r\nopenai-beta: assistants=v2\r\n"), "{got}");
        assert_eq!(answered, Ok(Answer { status: 200, body: b"{}".to_vec() }));
    }
    let (got, _) = exchange("", Dialect::Anthropic, &with_body("200 OK", "{}")).await;
    assert!(got.contains(&format!("\r\nx-api-key: {KEY}\r\n")) && !got.contains("authorization"), "{got}");
}

#[tokio::test]
async fn errors_are_answers_and_none_repeats_the_credential() {
    let body = format!("{{\"error\":\"{KEY} and {KEY} may not\"}}");
    let (_, answered) = exchange("", Dialect::OpenAi, &with_body("403 Forbidden", &body)).await;
    let want = b"{\"error\":\"**** and **** may not\"}".to_vec();
    assert_eq!(answered, Ok(Answer { status: 403, body: want }));
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let (_, answered) = exchange("", Dialect::OpenAi, moved).await;
    assert_eq!(answered.map(|answer| answer.status), Ok(302), "not followed");
}

#[tokio::test]
async fn what_breaks_off_or_does_not_end_is_no_answer() {
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}";
    let (_, answered) = exchange("", Dialect::OpenAi, short).await;
    assert_eq!(answered, Err("its answer broke off".to_owned()));
    let long = with_body("200 OK", &"x".repeat((4 << 20) + 1));
    let (_, answered) = exchange("", Dialect::OpenAi, &long).await;
    assert_eq!(answered, Err("its answer is longer than 4 MiB".to_owned()));
    let (address, silent) = once(None, |stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let mut away = place(format!("http://{address}"), Dialect::OpenAi, None);
    away.timeout = Duration::from_millis(50);
    assert_eq!(ask(&away, &question()).await.unwrap_err().to_string(), "no answer within 0.05 s");
    silent.abort();
    let nowhere = place("http://127.0.0.1:1".to_owned(), Dialect::OpenAi, None);
    let error = ask(&nowhere, &question()).await.unwrap_err().to_string();
    assert!(error.starts_with("no connection: "), "{error}");
    let mut broken = nowhere;
    broken.credential = Secret::new("a\nb");
    let error = ask(&broken, &question()).await.unwrap_err().to_string();
    assert_eq!(error, "the credential holds characters that a header can not");
}

#[tokio::test]
async fn certificates_are_verified() {
    let (pem, tls) = certificates();
    for (ca, is_trusted) in [(Some(pem.as_str()), true), (None, false)] {
        let said = with_body("200 OK", "{}");
        let (address, _) = once(Some(tls.clone()), |stream| answer(stream, said)).await;
        let base = format!("https://localhost:{}", address.port());
        let answered = ask(&place(base, Dialect::OpenAi, ca), &question()).await;
        assert_eq!(answered.is_ok(), is_trusted, "{answered:?}");
    }
}
