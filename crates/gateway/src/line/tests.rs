//! A line and the provider's end of it, over real sockets.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Runs a test with a line and the provider's end of it.
fn check(test: impl AsyncFnOnce(Box<Line>, TcpStream)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let within = Duration::from_secs(20);
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (provider, _) = listener.accept().await.unwrap();
        tokio::time::timeout(within, test(Line::new(Wire::Tcp(client)), provider)).await.unwrap();
    });
}

fn request() -> Request<OutBody> {
    Request::get("/").header("host", "provider").body(OutBody::Whole(None)).unwrap()
}

/// Reads a request and answers it.
async fn answer(provider: &mut TcpStream, answer: &str) {
    let read = provider.read(&mut [0; 1_024]).await.unwrap();
    assert!(read > 0, "no request came");
    provider.write_all(answer.as_bytes()).await.unwrap();
}

/// The body of what is answered, or what is wrong with it, and the line if it can be used again.
async fn exchange(
    line: Box<Line>,
    provider: &mut TcpStream,
    text: &str,
) -> (Result<Bytes, String>, Option<Box<Line>>) {
    let (response, ()) = tokio::join!(line.exchange(request()), answer(provider, text));
    let mut inflow = match response {
        Ok(response) => response.into_body(),
        Err(failed) => return (Err(failed.error.to_string()), None),
    };
    let mut body = BytesMut::new();
    while let Some(frame) = inflow.frame().await {
        match frame {
            Ok(frame) => body.extend_from_slice(&frame.into_data().unwrap()),
            Err(error) => return (Err(error.to_string()), None),
        }
    }
    (Ok(body.freeze()), inflow.into_line())
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn a_line_serves_again_until_the_provider_closes_it() {
    check(async |mut line, mut provider| {
        for text in [OK, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", OK] {
            assert!(line.is_open());
            let (body, again) = exchange(line, &mut provider, text).await;
            assert_eq!(body.unwrap(), "ok");
            line = again.expect("a line that can be used again");
        }
        drop(provider);
        while line.is_open() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn what_can_not_be_used_again_is_not() {
    let once = |text: &'static str, expected: &'static str| {
        check(async |line, mut provider| {
            let (body, again) = exchange(line, &mut provider, text).await;
            assert_eq!(body.unwrap(), expected, "{text:?}");
            assert!(again.is_none(), "{text:?}");
        });
    };
    once("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", "ok");
    once("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more", "ok");
    once("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok");
    once(
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "ok",
    );
}

#[test]
fn an_idle_line_that_says_something_is_not_open() {
    check(async |mut line, mut provider| {
        provider.write_all(OK.as_bytes()).await.unwrap();
        while line.is_open() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_body_that_breaks_off_is_an_error() {
    let broken = |text: &'static str, expected: &'static str| {
        check(async |line, mut provider| {
            let (response, ()) = tokio::join!(line.exchange(request()), answer(&mut provider, text));
            drop(provider);
            let error = match response {
                Ok(response) => response.into_body().collect().await.err().unwrap(),
                Err(failed) => failed.error,
            };
            assert!(error.to_string().contains(expected), "{text:?}: {error}");
        });
    };
    broken("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", "ended");
    broken("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", "ended");
    broken("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokay\r\n", "longer than its size");
    broken("nonsense\r\n\r\n", "not HTTP");
}

#[test]
fn a_body_may_end_with_the_connection() {
    check(async |line, mut provider| {
        let head = "HTTP/1.1 200 OK\r\n\r\nok";
        let (response, ()) = tokio::join!(line.exchange(request()), answer(&mut provider, head));
        drop(provider);
        let inflow = response.unwrap_or_else(|failed| panic!("{}", failed.error)).into_body();
        assert_eq!(inflow.collect().await.unwrap().to_bytes(), "ok");
    });
}

#[test]
fn dropping_an_answer_before_its_end_closes_the_line() {
    check(async |line, mut provider| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        let (response, ()) = tokio::join!(line.exchange(request()), answer(&mut provider, head));
        drop(response);
        assert_eq!(provider.read(&mut [0; 16]).await.unwrap_or(0), 0);
    });
}

#[test]
fn an_answer_may_come_before_all_was_written() {
    check(async |line, mut provider| {
        // More than both sockets take.
        let body = OutBody::Whole(Some(vec![b'x'; 32 << 20].into()));
        let request = Request::post("/").header("host", "provider").body(body).unwrap();
        let early = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno";
        let (response, ()) = tokio::join!(line.exchange(request), answer(&mut provider, early));
        let response = response.unwrap_or_else(|failed| panic!("{}", failed.error));
        assert_eq!(response.status(), 413);
        let mut inflow = response.into_body();
        assert_eq!(inflow.frame().await.unwrap().unwrap().into_data().unwrap(), "no");
        assert!(inflow.into_line().is_none(), "the request is still under way on it");
    });
}
