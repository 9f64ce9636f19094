//! HTTP receivers: where secrets go, what answers mean, TLS, silence.

use std::time::Duration;

use tokenwatch_model::alert::{Failure, Message, SecretPlace};
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::SECOND;
use tokenwatch_outside::{Carrier, Destination, SendError, Trust, send, signature};

use crate::server::{NOW, answer, certificates, once, try_send};

fn message(path: &str, secret: SecretPlace) -> Message {
    let headers = vec![("content-type", "application/json".to_owned())];
    Message::Http { path: path.to_owned(), headers, body: "{\"a\":1}".to_owned(), secret }
}

fn to(url: String, secret: Option<&str>) -> Carrier {
    Carrier::Http { url: Secret::new(url), secret: secret.map(Secret::new) }
}

/// Sends to a server that gives this answer; what it got, and what it meant.
async fn exchange(
    path: &str,
    place: SecretPlace,
    secret: Option<&str>,
    said: &str,
) -> (String, Result<(), SendError>) {
    let said = said.to_owned();
    let (address, got) = once(None, |stream| answer(stream, said)).await;
    let carrier = to(format!("http://{address}/base?x=1"), secret);
    let carrier = if path.is_empty() { carrier } else { to(format!("http://{address}/base/"), secret) };
    let sent = try_send(carrier, &message(path, place), None).await;
    (got.await.unwrap().unwrap(), sent)
}

const OK: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn secrets_go_where_the_receiver_wants_them() {
    let (got, sent) = exchange("", SecretPlace::None, None, OK).await;
    assert!(sent.is_ok() && got.starts_with("POST /base?x=1 HTTP/1.1\r\n"), "{got}");
    assert!(got.contains("\r\nuser-agent: tokenwatch/") && got.ends_with("\r\n\r\n{\"a\":1}"), "{got}");
    let header = SecretPlace::Header("authorization", "GenieKey ".to_owned());
    let (got, _) = exchange("/v2/alerts", header.clone(), Some("k-1"), OK).await;
    assert!(
        got.starts_with("POST /base/v2/alerts ") && got.contains("\r\nauthorization: GenieKey k-1\r\n"),
        "{got}"
    );
    let (got, _) = exchange("", header, None, OK).await;
    assert!(!got.contains("authorization"), "{got}");
    let (got, _) = exchange("", SecretPlace::Field("routing_key"), Some("k-2"), OK).await;
    assert!(got.ends_with("{\"a\":1,\"routing_key\":\"k-2\"}"), "{got}");
    let (got, _) = exchange("", SecretPlace::Signature("inc_1-7".to_owned()), Some("k-3"), OK).await;
    let want = signature(&Secret::new("k-3"), "inc_1-7", NOW.seconds(), b"{\"a\":1}");
    assert!(got.contains(&format!("\r\nwebhook-signature: {want}\r\n")), "{got}");
    assert!(
        got.contains("\r\nwebhook-id: inc_1-7\r\n") && got.contains("\r\nwebhook-timestamp: 1772366400\r\n")
    );
}

#[tokio::test]
async fn answers_mean_what_their_status_says() {
    for (said, want) in [
        ("400 Bad Request", Failure::Rejected),
        ("413 Too Large", Failure::Rejected),
        ("422 No", Failure::Rejected),
        ("401 Unauthorized", Failure::Unreachable),
        ("404 no_service", Failure::Unreachable),
        ("302 Found\r\nlocation: http://elsewhere.example/", Failure::Unreachable),
        ("500 Broken", Failure::Unreachable),
        ("503 Busy\r\nretry-after: 7", Failure::Busy(Some(7 * SECOND))),
        ("429 Busy\r\nretry-after: 30", Failure::Busy(Some(30 * SECOND))),
        ("429 Busy", Failure::Busy(None)),
    ] {
        let text = format!("HTTP/1.1 {said}\r\ncontent-length: 12\r\n\r\nkey-4 is bad");
        let (_, sent) = exchange("", SecretPlace::Field("k"), Some("key-4"), &text).await;
        let error = sent.unwrap_err();
        assert_eq!(error.failure, want, "{said}");
        assert!(error.what.ends_with(": **** is bad"), "{}", error.what);
    }
    for broken in ["", "HTTP/1.1 2", "nonsense\r\n\r\n"] {
        let (_, sent) = exchange("", SecretPlace::None, None, broken).await;
        assert_eq!(sent.unwrap_err().failure, Failure::Unreachable, "{broken:?}");
    }
}

#[tokio::test]
async fn tls_is_checked_against_the_authorities_that_are_trusted() {
    for (trusts, name, is_taken) in
        [(true, "localhost", true), (false, "localhost", false), (true, "127.0.0.1", false)]
    {
        let (ca, tls) = certificates();
        let (address, _got) = once(Some(tls), |stream| answer(stream, OK.to_owned())).await;
        let carrier = to(format!("https://{name}:{}/", address.port()), None);
        let sent = try_send(carrier, &message("", SecretPlace::None), trusts.then_some(ca.as_str())).await;
        assert_eq!(sent.is_ok(), is_taken, "{trusts} {name}: {sent:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_is_given_up_and_one_that_is_away_is_told() {
    let (address, _silent) = once(None, |stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let carrier = to(format!("http://{address}/secret-path"), None);
    let trust = Trust::new(None).unwrap();
    let destination = Destination { carrier, timeout: Duration::from_millis(50), trust };
    let error = send(&destination, &message("", SecretPlace::None), NOW).await.unwrap_err();
    assert_eq!((error.failure, error.what.as_str()), (Failure::Unreachable, "no answer within 0.05 s"));
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let carrier = to(format!("http://{away}/secret-path"), None);
    let error = try_send(carrier, &message("", SecretPlace::None), None).await.unwrap_err();
    assert!(error.failure == Failure::Unreachable && !error.what.contains("secret-path"), "{error}");
}
