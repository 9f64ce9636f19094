//! How fast the mock provider and the client are: `cargo run --release -p tokenwatch-testkit --example load -- [SECONDS]`.
//!
//! Provider and client share one runtime of two threads over loopback; the result is a JSON object on stdout. CPU time is
//! that of the whole process, so of both sides.

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokenwatch_testkit::client::LoadClient;
use tokenwatch_testkit::provider::{MockConfig, MockProvider, canned_body};
use tokio::runtime::Handle;

const CONNECTIONS: usize = 32;

/// A chat request of about 1 KB, as a plain call and as a stream of fifty pieces.
fn request(stream: bool) -> Result<Request<Full<Bytes>>, http::Error> {
    let words = "tell me more about it ".repeat(40);
    let flag = if stream { "\"stream\":true," } else { "" };
    let body = format!(
        "{{\"model\":\"gpt-4o-mini\",{flag}\"messages\":[{{\"role\":\"user\",\"content\":\"{words}\"}}]}}"
    );
    let builder = Request::post("/v1/chat/completions").header("authorization", "Bearer sk-x");
    let builder = if stream { builder.header("x-mock-chunks", "50") } else { builder };
    builder.body(Full::new(Bytes::from(body)))
}

async fn measure(canned: bool, stream: bool, length: Duration) -> Result<f64, Box<dyn Error>> {
    let config = MockConfig { canned: canned.then(|| canned_body(600)), ..MockConfig::default() };
    let (address, provider) = MockProvider::spawn(&Handle::current(), config)?;
    let client = LoadClient::new(address, Duration::from_secs(10));
    let started = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let client = client.clone();
        let call = request(stream)?;
        workers.spawn(async move {
            while started.elapsed() < length && client.send_http(call.clone()).await.is_ok() {}
        });
    }
    workers.join_all().await;
    let rate = provider.requests() as f64 / started.elapsed().as_secs_f64();
    provider.stop().await?;
    Ok(rate)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let length = Duration::from_secs(seconds);
    let canned = measure(true, false, length).await?;
    let plain = measure(false, false, length).await?;
    let streams = measure(false, true, length).await?;
    let text = format!(
        "{{\"canned_per_second\":{canned:.0},\"plain_per_second\":{plain:.0},\"streams_of_50_per_second\":{streams:.0}}}\n"
    );
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
