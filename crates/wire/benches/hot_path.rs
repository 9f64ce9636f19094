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
    // Prose: a line break each 80 bytes, quotes now and then.
    let paragraph = concat!(
        "The customer wrote on Monday that order 4711 had not arrived, and asked for a refund.",
        r"\n",
        "Answer in a friendly tone, name the next step and the date by which it will be done.",
        r"\n",
        "If anything is unclear, ask back; never promise what the policy does not allow here.",
        r#"\nClose with \"kind regards\" and the name of the team that takes care of it.\n"#,
    );
    let turn = |role: &str, bytes: usize| {
        let text = paragraph.repeat(bytes.div_ceil(paragraph.len()));
        format!(r#"{{"role":"{role}","content":"{text}"}}"#)
    };
    let part = size.saturating_sub(350) / 5;
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
