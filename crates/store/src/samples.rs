//! Samples for tests and benchmarks: everything follows from a number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokenwatch_model::SmolStr;
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::client::Client;
use tokenwatch_model::containment::{Action, Containment, ContextMatch};
use tokenwatch_model::context::{RequestContext, Shape, Siblings, SiblingsKnow, Source};
use tokenwatch_model::event::{JournalRecord, UsageEvent};
use tokenwatch_model::finding::{Actor, Feedback, Finding, Reason, Says, Severity, Tier};
use tokenwatch_model::handling::Handling;
use tokenwatch_model::id::{ActorId, ContainmentId, IncidentId, KeyId, OwnerId, RequestId};
use tokenwatch_model::incident::{Incident, IncidentState, TimelineEntry};
use tokenwatch_model::key::{Key, KeyState, Policy, StoredKey, Workload};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{Country, NetworkFacts, NetworkKind};
use tokenwatch_model::outcome::{Cut, Outcome, Refusal, UpstreamFailure};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::provider::ENDPOINTS;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::time::{HOUR, MINUTE, SECOND, Timestamp};
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};

/// 2026-03-01T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_772_323_200);

/// Scatters a number over all 64 bits.
pub(crate) const fn mix(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn pick<T: Clone>(n: u64, from: &[T], otherwise: T) -> T {
    from.get(n as usize % from.len().max(1)).cloned().unwrap_or(otherwise)
}

fn shape(n: u64, r: u64) -> Shape {
    Shape {
        template: mix(n % 30),
        tools: if r & 2 == 0 { 0 } else { mix(n % 11) },
        roles: mix(n % 4),
        parameters: mix(n % 6),
        prompt: r,
        messages: 1 + (r >> 17) as u32 % 9,
        tool_count: (r >> 19) as u32 % 4,
        topic: mix(r ^ 7),
        phrases: (r >> 21) as u32 % 3,
    }
}

/// The n-th event of steady traffic: 200 keys, one request every 40 ms.
pub(crate) fn event(n: u64) -> UsageEvent {
    let r = mix(n);
    let time = START.plus(n * 40_000 + r % 40_000);
    let key = KeyId::from_bits(mix(n % 200 + 7));
    let address = match r % 5 {
        0 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, (n % 7) as u16, 0, 0, 0, 0, 1)),
        _ => IpAddr::V4(Ipv4Addr::from(0xcb00_7100 + (n % 200) as u32)),
    };
    let input = 200 + r % 3_000;
    let output = 20 + (r >> 12) % 900;
    UsageEvent {
        request: RequestContext {
            id: RequestId::new(time.ms(), u128::from(mix(r)) << 16),
            key: if n.is_multiple_of(97) { UsageEvent::NO_KEY } else { key },
            time,
            source: Source {
                address,
                facts: NetworkFacts {
                    asn: pick(r >> 3, &[0, 64_500, 64_501, 64_502], 0),
                    country: Country::from_code(pick(r >> 5, &["NL", "US", "DE", ""], "")),
                    kind: pick(r >> 7, &[NetworkKind::Hosting, NetworkKind::Access], NetworkKind::Unknown),
                },
            },
            client: Client {
                family: pick(r >> 9, &["openai-python", "anthropic-typescript", "curl", ""], "").into(),
                version: pick(r >> 9, &["1.52.0", "0.30.1", "8.5.0", ""], "").into(),
                runtime: pick(r >> 9, &["cpython 3.12", "node 22", "", ""], "").into(),
                os: pick(r >> 9, &["linux", "macos", "", ""], "").into(),
                tls: mix(n % 5),
            },
            provider: pick(r >> 11, &["openai", "anthropic"], "openai").into(),
            endpoint: pick(r >> 13, &ENDPOINTS, ENDPOINTS[0]),
            model: pick(r >> 15, &["gpt-4o-mini", "claude-haiku-4-5", "gpt-5", ""], "").into(),
            stream: r & 1 == 0,
            shape: shape(n, r),
            input_tokens_estimate: input + 7,
            output_tokens_max: pick(r >> 21, &[0, 1_024, 4_096], 0),
            cost_worst: NanoUsd(input * 3_000),
            request_bytes: input * 4,
            siblings: Siblings { keys: (r >> 23) as u16 % 4, known: SiblingsKnow((r >> 25) as u8) },
            previous_credential: r & 8 == 0,
        },
        key_seq: n / 200 + 1,
        outcome: outcome(n),
        status: pick(n, &[200, 200, 200, 429, 0], 200),
        usage: TokenUsage {
            input,
            cache_read: r % 3 * 100,
            output,
            reasoning: output / 3,
            ..TokenUsage::default()
        },
        usage_source: pick(n, &[UsageSource::Provider, UsageSource::Estimated], UsageSource::None),
        cost: NanoUsd(input * 150 + output * 600),
        price_source: pick(
            n / 3,
            &[PriceSource::Exact, PriceSource::Similar, PriceSource::Dearest],
            PriceSource::None,
        ),
        response_bytes: output * 5,
        first_byte_us: if n.is_multiple_of(11) { 0 } else { 300_000 + r % 500_000 },
        duration_us: 900_000 + r % 5_000_000,
        completion: if r & 4 == 0 { 0 } else { mix(r) },
    }
}

fn outcome(n: u64) -> Outcome {
    match n % 40 {
        0 => Outcome::Refused(pick(n / 40, &Refusal::ALL, Refusal::Overloaded)),
        1 => Outcome::ClientLeft,
        2 => Outcome::Cut(pick(n / 40, &Cut::ALL, Cut::Budget)),
        3 => Outcome::UpstreamFailed(pick(n / 40, &UpstreamFailure::ALL, UpstreamFailure::Reset)),
        _ => Outcome::Served,
    }
}

/// The n-th record of a journal: mostly events.
pub(crate) fn record(n: u64) -> JournalRecord {
    match n % 100 {
        50 => JournalRecord::Finding(finding(n)),
        51 => JournalRecord::Feedback { key_seq: n, feedback: feedback(n) },
        _ => JournalRecord::Usage(event(n)),
    }
}

pub(crate) fn finding(n: u64) -> Finding {
    let event = event(n);
    Finding {
        rule: "newcomer".into(),
        key: event.request.key,
        time: event.request.time,
        severity: Severity::High,
        tier: Tier::Alert,
        once_in_days: 1.0 / 3.0 + n as f64,
        summary: format!("a newcomer on {}", event.request.key),
        reasons: vec![Reason { nats: 7.1, what: "new network AS64500".to_owned() }],
        actor: n.is_multiple_of(2).then(|| Actor {
            id: ActorId::from_bits(mix(n)),
            context: context(n),
            first_seen: event.request.time,
            requests: 4,
            requests_forwarded: 3,
            cost: NanoUsd(9_000_000),
        }),
        events: vec![event.request.id],
    }
}

pub(crate) fn context(n: u64) -> ContextMatch {
    ContextMatch { asn: Some(64_500 + n as u32 % 9), client: Some("axios".into()), ..ContextMatch::default() }
}

pub(crate) fn feedback(n: u64) -> Feedback {
    let says = if n.is_multiple_of(2) { Says::Theft } else { Says::Ours { until: START.plus(n * HOUR) } };
    Feedback { key: KeyId::from_bits(mix(n)), time: START.plus(n), context: context(n), says }
}

/// The n-th key: every tenth has rules of its own.
pub(crate) fn key(n: u64) -> StoredKey {
    let mut policy = Policy::default();
    if n.is_multiple_of(10) {
        policy.scope.models = Some(vec!["gpt-4o*".into(), "claude-*".into()]);
        policy.limits.requests_per_minute = Some(600);
        policy.budgets.month = Some(NanoUsd::from_cents(50_000));
        policy.false_alarms_per_year = Some(0.1);
    }
    StoredKey {
        key: Key {
            id: KeyId::from_bits(mix(n)),
            name: SmolStr::from(format!("service-{n}")),
            owner: None,
            environment: "production".into(),
            service: SmolStr::from(format!("search-{}", n % 50)),
            workload: Workload::Service,
            policy,
            state: KeyState::Active,
            state_reason: SmolStr::default(),
            created: START.plus(n * SECOND),
            expires: n.is_multiple_of(3).then(|| START.plus(90 * 24 * HOUR)),
            rotation: None,
            revision: 0,
        },
        hash: SecretHash::of(&n.to_le_bytes()),
        previous: None,
    }
}

pub(crate) fn owner(n: u64) -> Owner {
    Owner {
        id: OwnerId::from_bits(mix(n)),
        name: SmolStr::from(format!("team-{n}")),
        on_call: "pager:search".into(),
        channel: "#search".into(),
        defaults: key(0).key.policy,
        created: START,
        revision: 0,
    }
}

pub(crate) fn containment(n: u64) -> Containment {
    Containment {
        id: ContainmentId::from_bits(mix(n)),
        key: key(n).key.id,
        incident: Some(IncidentId::from_bits(mix(n))),
        action: Action::RefuseContext(context(n)),
        reason: "a newcomer from AS64500".to_owned(),
        created: START.plus(n * MINUTE),
        expires: Some(START.plus(24 * HOUR)),
        lifted: None,
        revision: 0,
    }
}

pub(crate) fn incident(n: u64) -> Incident {
    Incident {
        id: IncidentId::from_bits(mix(n)),
        key: key(n).key.id,
        state: IncidentState::Open,
        severity: Severity::High,
        title: "a newcomer uses service-7".to_owned(),
        opened: START.plus(n * MINUTE),
        first_seen: START,
        contained: None,
        closed: None,
        actors: vec![ActorId::from_bits(mix(n))],
        findings: vec![finding(n), finding(n + 1)],
        finding_count: 2,
        containments: vec![ContainmentId::from_bits(mix(n))],
        requests_forwarded: 3,
        requests_refused: 40,
        cost: NanoUsd(u64::MAX),
        timeline: vec![TimelineEntry { time: START, who: "tokenwatch".into(), what: "opened".to_owned() }],
        drill: false,
        handling: Handling::default(),
        revision: 0,
    }
}

pub(crate) fn entry(action: &str, subject: impl ToString) -> AuditEntry {
    AuditEntry {
        time: START,
        actor: "cli:test".into(),
        action: action.into(),
        subject: subject.to_string().into(),
        detail: r#"{"why":"test"}"#.to_owned(),
    }
}
