//! Nanoseconds per judge and observe, and bytes per key, for a quiet service and a churning public
//! application. Run with `cargo bench -p tokenwatch-detect`; compare ratios, not absolutes.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use tokenwatch_detect::{Engine, Household, InFlight, KeyProfile, KeyState};
use tokenwatch_model::client::Client;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::Decision;
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::key::Workload;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{Country, NetworkFacts, NetworkKind};
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{MINUTE, Timestamp};
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};

/// Events of a month, one each ten minutes.
const EVENTS: u64 = 30 * 144;

fn request(i: u64, blocks: u64, stranger: bool) -> RequestContext {
    let time = Timestamp::from_seconds(1_767_571_200).plus(i * 10 * MINUTE);
    let block = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % blocks;
    let (asn, country) = if stranger { (200_019, "MD") } else { (16_509 + (block % 20) as u32, "US") };
    let octets = [20, if stranger { 99 } else { 1 }, block as u8, 7];
    RequestContext {
        id: RequestId::new(time.ms(), u128::from(i)),
        key: KeyId::from_bits(1),
        time,
        source: Source {
            address: IpAddr::V4(Ipv4Addr::from(octets)),
            facts: NetworkFacts { asn, country: Country::from_code(country), kind: NetworkKind::Hosting },
        },
        client: Client {
            family: if stranger { "axios" } else { "openai-python" }.into(),
            version: "1.52.0".into(),
            tls: 5,
            ..Client::default()
        },
        provider: "openai".into(),
        endpoint: Endpoint::ChatCompletions,
        model: "gpt-4o-mini".into(),
        stream: true,
        shape: Shape { template: if stranger { 999 } else { 1 + i % 8 }, ..Shape::default() },
        input_tokens_estimate: 500,
        output_tokens_max: 500,
        cost_worst: NanoUsd(1_000_000),
        request_bytes: 2_000,
        siblings: Default::default(),
        previous_credential: false,
    }
}

fn event(i: u64, blocks: u64, stranger: bool) -> UsageEvent {
    UsageEvent {
        request: request(i, blocks, stranger),
        key_seq: 0,
        outcome: Outcome::Served,
        status: 200,
        usage: TokenUsage { input: 300 + i % 700, output: 100 + i % 90, ..TokenUsage::default() },
        usage_source: UsageSource::Provider,
        cost: NanoUsd(1_000_000),
        price_source: PriceSource::Exact,
        response_bytes: 800,
        first_byte_us: 300_000,
        duration_us: 2_000_000,
        completion: 0,
    }
}

fn ns_each(label: &str, n: u64, mut body: impl FnMut(u64)) {
    let start = Instant::now();
    for i in 0..n {
        body(i);
    }
    let ns = start.elapsed().as_nanos() as f64 / n as f64;
    show(&format!("{label:<44} {ns:>9.0} ns"));
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn show(line: &str) {
    println!("{line}");
}

/// Asking the other keys of an owner, with as many of them as are asked at most, all like this one.
fn siblings(name: &str, state: &KeyState, request: &RequestContext) {
    let mut household = Household::default();
    for n in 0..64 {
        household.put(KeyId::from_bits(2 + n), state.vouches());
    }
    ns_each(&format!("{name}: ask 64 siblings"), 200_000, |_| {
        black_box(household.ask(black_box(request)));
    });
    let mut turn = 0;
    ns_each(&format!("{name}: say what is vouched for, once an hour"), 2_000, |_| {
        turn = 1 - turn;
        let said = if turn == 0 { state.vouches() } else { None };
        black_box(household.put(KeyId::from_bits(2), said));
    });
}

fn main() {
    let engine = Engine::default();
    show(&format!("a state without its heap: {} bytes", size_of::<KeyState>()));
    for (name, workload, blocks) in [
        ("service", Workload::Service, 2),
        ("undeclared service", Workload::Unknown, 2),
        ("public application", Workload::PublicApp, 200),
    ] {
        let profile = KeyProfile { workload, ..KeyProfile::default() };
        let events: Vec<UsageEvent> = (0..EVENTS).map(|i| event(i, blocks, false)).collect();
        let mut state = KeyState::new();
        ns_each(&format!("{name}: observe"), EVENTS, |i| {
            black_box(engine.observe(&mut state, &profile, &events[i as usize]));
        });
        let known = request(EVENTS, blocks, false);
        ns_each(&format!("{name}: judge, known caller"), 200_000, |_| {
            black_box(engine.judge(&state, &profile, black_box(&known), InFlight::default()));
        });
        let mut newcomer = request(EVENTS, blocks, true);
        newcomer.client.family = "openai-python".into();
        newcomer.shape.template = 1;
        newcomer.source.facts.kind = NetworkKind::Access;
        ns_each(&format!("{name}: judge, newcomer not refused"), 100_000, |_| {
            black_box(engine.judge(&state, &profile, black_box(&newcomer), InFlight::default()));
        });
        let stranger = request(EVENTS, blocks, true);
        ns_each(&format!("{name}: judge, refused with its finding"), 50_000, |_| {
            let verdict = engine.judge(&state, &profile, black_box(&stranger), InFlight::default());
            assert_eq!(verdict.decision, Decision::Refuse);
            black_box(verdict);
        });
        let attack: Vec<UsageEvent> = (0..50_000)
            .map(|i| {
                let mut sent = event(EVENTS, blocks, true);
                sent.request.time = sent.request.time.plus(i * 100_000);
                sent
            })
            .collect();
        show(&format!("{name}: state {} bytes encoded", state.encode().len()));
        siblings(name, &state, &known);
        ns_each(&format!("{name}: observe, stranger"), attack.len() as u64, |i| {
            black_box(engine.observe(&mut state, &profile, &attack[i as usize]));
        });
        show(&format!("{name}: state {} bytes encoded under attack", state.encode().len()));
    }
    measure_content(&engine);
}

/// The same service without and with content signals: five topics a few bits wide, answers that differ.
fn measure_content(engine: &Engine) {
    let profile = KeyProfile { workload: Workload::Service, ..KeyProfile::default() };
    let mix = |i: u64| {
        (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xd6e8_feb8_6659_fd93)
    };
    for (name, is_on) in [("without content signals", false), ("with content signals", true)] {
        let with = |mut event: UsageEvent, i: u64, topic: u64| {
            if is_on {
                event.request.shape.topic = mix(topic) ^ 1 << (mix(i) % 64) ^ 1 << (mix(i) >> 8 & 63);
                event.completion = mix(i ^ 0xffff);
            }
            event
        };
        let events: Vec<UsageEvent> = (0..EVENTS).map(|i| with(event(i, 2, false), i, i % 5)).collect();
        let mut state = KeyState::new();
        ns_each(&format!("{name}: observe"), EVENTS, |i| {
            black_box(engine.observe(&mut state, &profile, &events[i as usize]));
        });
        show(&format!("{name}: state {} bytes encoded", state.encode().len()));
        let mut newcomer = with(event(EVENTS, 2, true), 7, 1).request;
        newcomer.client.family = "openai-python".into();
        newcomer.source.facts.kind = NetworkKind::Access;
        newcomer.shape.template = 1_000;
        ns_each(&format!("{name}: judge, newcomer"), 100_000, |_| {
            black_box(engine.judge(&state, &profile, black_box(&newcomer), InFlight::default()));
        });
    }
}
