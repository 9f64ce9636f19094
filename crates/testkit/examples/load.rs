//! How fast the mock provider and the client are: `cargo run --release -p tokenwatch-testkit --example load -- [SECONDS]`.
//!
//! The provider has a thread of its own, the client another, over loopback. Prints a JSON object for each kind of call:
//! calls a second, and CPU time of the provider's thread for each call (Linux only, else 0).

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokenwatch_testkit::client::LoadClient;
use tokenwatch_testkit::provider::{MockConfig, MockProvider, canned_body};
use tokio::runtime::Builder;

const CONNECTIONS: usize = 32;
const THREAD: &str = "mock-provider";

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

/// CPU time of the provider's thread so far, in microseconds.
fn provider_cpu_us() -> f64 {
    let threads =
        std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(|entry| entry.path());
    threads
        .filter(|path| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == THREAD))
        .filter_map(|path| {
            let stat = std::fs::read_to_string(path.join("schedstat")).ok()?;
            stat.split(' ').next()?.parse::<f64>().ok()
        })
        .sum::<f64>()
        / 1_000.0
}

fn measure(name: &str, canned: bool, stream: bool, length: Duration) -> Result<String, Box<dyn Error>> {
    let server = Builder::new_multi_thread().worker_threads(1).thread_name(THREAD).enable_all().build()?;
    let config = MockConfig { canned: canned.then(|| canned_body(600)), ..MockConfig::default() };
    let (address, provider) = MockProvider::spawn(server.handle(), config)?;
    let client = LoadClient::new(address, Duration::from_secs(10));
    let call = request(stream)?;
    let started = Instant::now();
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (client, call) = (client.clone(), call.clone());
            workers.spawn(async move {
                while started.elapsed() < length && client.send_http(call.clone()).await.is_ok() {}
            });
        }
        workers.join_all().await;
    });
    let calls = provider.requests().max(1) as f64;
    let (rate, cpu) = (calls / started.elapsed().as_secs_f64(), provider_cpu_us() / calls);
    Ok(format!("{{\"kind\":\"{name}\",\"calls_per_second\":{rate:.0},\"provider_cpu_us\":{cpu:.1}}}\n"))
}

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let length = Duration::from_secs(seconds);
    for (name, canned, stream) in
        [("canned", true, false), ("plain", false, false), ("stream of 50", false, true)]
    {
        std::io::stdout().write_all(measure(name, canned, stream, length)?.as_bytes())?;
    }
    Ok(())
}
