//! Cost of what runs for every request: `cargo bench -p tokenwatch-wire`.
//!
//! Prints nanoseconds per call, the fastest of several rounds. Compare ratios, not figures of different machines.
//! With `once` it calls everything a hundred times and prints nothing, for a count of instructions by
//! `valgrind --tool=callgrind`.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_wire::client::client;
use tokenwatch_wire::encoding::Encoding;
use tokenwatch_wire::price::PriceTable;
use tokenwatch_wire::request::{ShapeKey, parse, with_include_usage};
use tokenwatch_wire::route::{normalize, route};
use tokenwatch_wire::tap::{Tap, TapConfig};

const ROUND: Duration = Duration::from_millis(100);
const ROUNDS: usize = 7;

fn measure<T>(name: &str, mut call: impl FnMut() -> T) {
    if std::env::args().any(|argument| argument == "once") {
        (0..100).for_each(|_| drop(black_box(call())));
        return;
    }
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

/// A chat stream of so many events, as a provider sends them.
fn chat_stream(events: usize) -> Vec<String> {
    let head = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"gpt-4o","service_tier":"default","system_fingerprint":"fp_1","choices":"#;
    let delta = r#"[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"obfuscation":"aB3"}"#;
    let usage = r#"[],"usage":{"prompt_tokens":1200,"completion_tokens":300,"total_tokens":1500}}"#;
    let mut stream = vec![format!("{head}{delta}\n\n"); events];
    stream.push(format!("{head}{usage}\n\n"));
    stream.push("data: [DONE]\n\n".to_owned());
    stream
}

fn pass(config: TapConfig, chunks: &[String]) -> u64 {
    let mut tap = Tap::new(config);
    for chunk in chunks {
        black_box(tap.push(chunk.as_bytes()));
    }
    tap.finish().1.output_tokens_estimate
}

fn measure_answers() {
    let config = TapConfig {
        dialect: Dialect::OpenAi,
        endpoint: Endpoint::ChatCompletions,
        stream: true,
        strip_usage: false,
        encoding: Encoding::Identity,
        body_limit: 1 << 20,
        content: None,
    };
    let sketching = TapConfig { content: ShapeKey::new([7; 16]).content(), ..config };
    let stream = chat_stream(50);
    let joined = [stream.concat()];
    measure("tap, stream of 52 chunks", || pass(config, black_box(&stream)));
    measure("tap, the same in one chunk", || pass(config, black_box(&joined)));
    measure("  with its text's sketch", || pass(sketching, black_box(&joined)));
    let strip = TapConfig { strip_usage: true, ..config };
    measure("tap, the same stripped", || pass(strip, black_box(&stream)));
    let json = TapConfig { stream: false, ..config };
    let body = [include_str!("../tests/fixtures/chat.json").to_owned()];
    measure(&format!("tap, JSON of {} bytes", body[0].len()), || pass(json, black_box(&body)));
    let sketching = TapConfig { stream: false, ..sketching };
    measure("  with its text's sketch", || pass(sketching, black_box(&body)));
    let large = [body[0].replace("Hello", &"Hello again. ".repeat(5_000))];
    measure(&format!("tap, JSON of {} bytes", large[0].len()), || pass(json, black_box(&large)));
    measure("  with its text's sketch", || pass(sketching, black_box(&large)));
}

fn measure_lookups() {
    let path = "/v1/chat/completions";
    measure("route::normalize and route", || {
        normalize(black_box(path)).map(|()| route(Dialect::OpenAi, "POST", black_box(path)).endpoint)
    });
    let header = |name: &str| match name {
        "x-stainless-lang" => Some("python"),
        "x-stainless-runtime" => Some("CPython"),
        "x-stainless-runtime-version" => Some("3.12.4"),
        "x-stainless-os" => Some("Linux"),
        "x-stainless-arch" => Some("x64"),
        _ => None,
    };
    measure("client::client", || client(Some(black_box("OpenAI/Python 1.52.0")), header));
    let table = PriceTable::bundled();
    measure("price::find, exact", || table.find("openai", black_box("gpt-4o")));
    measure("price::find, date stripped", || table.find("openai", black_box("gpt-4o-2031-01-02")));
    measure("price::find, unknown", || table.find("openai", black_box("unheard-of")));
}

fn main() {
    let with_content = ShapeKey::new([7; 16]);
    let key = with_content.clone().with_content(false);
    for size in [1 << 10, 32 << 10, 256 << 10] {
        let body = chat_body(size);
        let name = format!("request::parse, {} bytes", body.len());
        measure(&name, || parse(Dialect::OpenAi, Endpoint::ChatCompletions, black_box(&body), &key));
        measure("  with content signals", || {
            parse(Dialect::OpenAi, Endpoint::ChatCompletions, black_box(&body), &with_content)
        });
        measure("  of which UTF-8 check", || std::str::from_utf8(black_box(&body)).is_ok());
        measure("  serde_json::Value, for comparison", || {
            serde_json::from_slice::<serde_json::Value>(black_box(&body)).is_ok()
        });
        let request = parse(Dialect::OpenAi, Endpoint::ChatCompletions, &body, &key).unwrap_or_default();
        measure("  with_include_usage", || with_include_usage(black_box(&body), &request));
    }
    measure_answers();
    measure_lookups();
}
