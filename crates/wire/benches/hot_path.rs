//! Cost of what runs for every request: `cargo bench -p tokenwatch-wire`.
//!
//! Prints nanoseconds per call, the fastest of several rounds. Compare ratios, not figures of different machines.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_wire::request::{ShapeKey, parse, with_include_usage};

const ROUND: Duration = Duration::from_millis(100);
const ROUNDS: usize = 7;

fn measure<T>(name: &str, mut call: impl FnMut() -> T) {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut calls = 0u32;
        while start.elapsed() < ROUND {
            for _ in 0..16 {
                black_box(call());
            }
            calls += 16;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    let _ = writeln!(std::io::stdout(), "{name:<44} {best:>10.0} ns");
}

/// A chat request of about `size` bytes: system prompt, a few turns, two tools.
fn chat_body(size: usize) -> Vec<u8> {
    let sentence = "The quick brown fox said \\\"hello\\\" to order 4711 and went on its way.\\n";
    let turn = |role: &str, bytes: usize| {
        format!(r#"{{"role":"{role}","content":"{}"}}"#, sentence.repeat(bytes / sentence.len()))
    };
    let part = size.saturating_sub(400) / 5;
    format!(
        r#"{{"model":"gpt-4o-mini","temperature":0.7,"stream":true,"max_tokens":512,"messages":[{},{},{},{}],"tools":[{{"type":"function","function":{{"name":"look_up","description":"finds an order","parameters":{{"type":"object","properties":{{"id":{{"type":"string"}}}}}}}}}}]}}"#,
        turn("system", part),
        turn("user", part),
        turn("assistant", part),
        turn("user", 2 * part),
    )
    .into_bytes()
}

fn main() {
    let key = ShapeKey::new([7; 16]);
    for size in [1 << 10, 32 << 10, 256 << 10] {
        let body = chat_body(size);
        let name = format!("request::parse, {} bytes", body.len());
        measure(&name, || parse(Dialect::OpenAi, Endpoint::ChatCompletions, black_box(&body), &key));
        measure("  of which UTF-8 check", || std::str::from_utf8(black_box(&body)).is_ok());
        measure("  serde_json::Value, for comparison", || {
            serde_json::from_slice::<serde_json::Value>(black_box(&body)).is_ok()
        });
        let request = parse(Dialect::OpenAi, Endpoint::ChatCompletions, &body, &key).unwrap_or_default();
        measure("  with_include_usage", || with_include_usage(black_box(&body), &request));
    }
}
