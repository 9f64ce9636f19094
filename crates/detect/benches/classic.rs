//! Nanoseconds per event, microseconds per hour scored, time of training, and bytes per key, for each classic
//! method and the layered one. Run with `cargo bench -p tokenwatch-detect --bench classic`; compare ratios, not
//! absolutes.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use tokenwatch_detect::classic::{self, NAMES, Training};
use tokenwatch_detect::method::{Layered, Method};
use tokenwatch_detect::series::VolumeSeries;
use tokenwatch_detect::{Engine, KeyProfile};
use tokenwatch_model::client::Client;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{Country, NetworkFacts, NetworkKind};
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{HOUR, MINUTE, Timestamp};
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};

const KEYS: u64 = 64;
const HOURS: u64 = 14 * 24;

/// A number that looks random.
const fn dice(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

/// The `i`th event of a key, `every` microseconds after the one before.
fn event(key: u64, i: u64, every: u64) -> UsageEvent {
    let time = Timestamp::from_seconds(1_767_571_200).plus(i * every + dice(i) % every);
    let random = dice(key << 32 | i);
    // By day more is written than by night.
    let swing = 1 + (time.hour_of_day() as u64 / 6) % 3;
    let usage =
        TokenUsage { input: 100 + random % (300 * swing), output: 50 + random % 90, ..TokenUsage::default() };
    UsageEvent {
        request: RequestContext {
            id: RequestId::new(time.ms(), u128::from(random)),
            key: KeyId::from_bits(key),
            time,
            source: Source {
                address: IpAddr::V4(Ipv4Addr::from([20, key as u8, (random % 4) as u8, 7])),
                facts: NetworkFacts {
                    asn: 16_509 + (random % 3) as u32,
                    country: Country::from_code("US"),
                    kind: NetworkKind::Hosting,
                },
            },
            client: Client {
                family: "openai-python".into(),
                version: "1.52.0".into(),
                tls: 5,
                ..Client::default()
            },
            provider: "openai".into(),
            endpoint: Endpoint::ChatCompletions,
            model: "gpt-4o-mini".into(),
            stream: true,
            shape: Shape { template: 1 + i % 8, ..Shape::default() },
            input_tokens_estimate: 500,
            output_tokens_max: 500,
            cost_worst: NanoUsd(1_000_000),
            request_bytes: 2_000,
            siblings: Default::default(),
            previous_credential: false,
        },
        key_seq: i + 1,
        outcome: Outcome::Served,
        status: 200,
        usage,
        usage_source: UsageSource::Provider,
        cost: NanoUsd(usage.total() * 1_000),
        price_source: PriceSource::Exact,
        response_bytes: 800,
        first_byte_us: 300_000,
        duration_us: 2_000_000,
        completion: 0,
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn show(line: &str) {
    println!("{line}");
}

/// Nanoseconds per event on a key with an event every so often, and the bytes it takes; the best of five turns, because
/// whatever else the machine does only adds.
fn measure(method: &dyn Method, every: u64, events: u64) -> (f64, usize) {
    let events: Vec<UsageEvent> = (0..events).map(|i| event(KEYS + 1, i, every)).collect();
    let turns = (0..5).map(|_| measure_turn(method, &events));
    turns.min_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap_or_default()
}

fn measure_turn(method: &dyn Method, events: &[UsageEvent]) -> (f64, usize) {
    let mut watch = method.watch(&KeyProfile::default());
    let start = Instant::now();
    for event in events {
        black_box(watch.see(black_box(event)));
    }
    (start.elapsed().as_nanos() as f64 / events.len() as f64, watch.bytes())
}

#[expect(clippy::unwrap_used, reason = "a benchmark that can not go on stops")]
fn main() {
    let start = Instant::now();
    let mut training = Training::new(1);
    for key in 0..KEYS {
        for i in 0..HOURS * 4 {
            let event = event(key, i, 15 * MINUTE);
            training.see(event.request.key, &KeyProfile::default(), &event);
        }
    }
    show(&format!(
        "collecting {} hours of {KEYS} keys: {:.1} s",
        training.rows(),
        start.elapsed().as_secs_f64()
    ));
    show("method                     ns an event   us an hour   bytes a key   s to train");
    for name in NAMES {
        let start = Instant::now();
        let method = classic::from_name(name, &training, 1).unwrap();
        report(method.as_ref(), start.elapsed().as_secs_f64());
    }
    report(&VolumeSeries, 0.0);
    report(&Layered::new(Arc::new(Engine::default())), 0.0);
}

fn report(method: &dyn Method, training: f64) {
    let (event_ns, bytes) = measure(method, MINUTE / 10, 200_000);
    // An event every hour: each ends an hour with traffic.
    let (hour_ns, _) = measure(method, HOUR, 20_000);
    show(&format!(
        "{:<26} {event_ns:>11.0} {:>12.2} {bytes:>13} {training:>12.1}",
        method.id(),
        hour_ns / 1_000.0
    ));
}
