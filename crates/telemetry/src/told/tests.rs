//! Every telling leaves its line and its count, and nothing it must not.

use tokenwatch_model::client::Client;
use tokenwatch_model::containment::Action;
use tokenwatch_model::context::{RequestContext, Shape, Source};
use tokenwatch_model::finding::Severity;
use tokenwatch_model::id::{ContainmentId, KeyId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::NetworkFacts;
use tokenwatch_model::outcome::{Cut, UpstreamFailure};
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::usage::{PriceSource, TokenUsage};

use super::*;
use crate::logs::Format;
use crate::logs::tests::logged;
use crate::metrics::BuildInfo;

fn metrics() -> Metrics {
    Metrics::new(&BuildInfo { version: "0.0.0", commit: "unknown" })
}

fn event(outcome: Outcome) -> UsageEvent {
    let forwarded = outcome.was_forwarded();
    UsageEvent {
        request: RequestContext {
            id: RequestId::new(1, 1),
            key: KeyId::from_bits(1),
            time: Timestamp::from_seconds(1_772_366_400),
            source: Source { address: "203.0.113.7".parse().unwrap(), facts: NetworkFacts::default() },
            client: Client::default(),
            provider: "openai".into(),
            endpoint: Endpoint::ChatCompletions,
            model: "gpt-4o-mini".into(),
            stream: false,
            shape: Shape::default(),
            input_tokens_estimate: 10,
            output_tokens_max: 100,
            cost_worst: NanoUsd::from_cents(1),
            request_bytes: 300,
            siblings: Default::default(),
            previous_credential: false,
        },
        key_seq: 1,
        outcome,
        status: 200,
        usage: TokenUsage {
            input: 7,
            cache_read: 5,
            cache_write: 2,
            cache_write_1h: 1,
            output: 11,
            reasoning: 3,
        },
        usage_source: if forwarded { UsageSource::Provider } else { UsageSource::None },
        cost: NanoUsd::from_cents(25),
        price_source: PriceSource::Exact,
        response_bytes: 900,
        first_byte_us: if forwarded { 400_000 } else { 0 },
        duration_us: 1_200_000,
        completion: 0,
    }
}

/// Lines of the exposition that are not zero, without the build.
fn moved(metrics: &Metrics) -> Vec<String> {
    let text = metrics.encode();
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("tokenwatch_build_info"))
        .filter(|line| !line.ends_with(" 0") && !line.ends_with(" 0.0") && !line.contains("_bucket"))
        .map(|line| line.trim_start_matches("tokenwatch_").to_owned())
        .collect()
}

#[track_caller]
fn check_request(outcome: Outcome, dialect: Option<Dialect>, want: &[&str]) {
    let metrics = metrics();
    let text = logged(Format::Json, "debug", || {
        RequestEnded { event: &event(outcome), dialect }.emit(&metrics);
    });
    assert_eq!(moved(&metrics), want);
    assert!(text.contains("request ended") && text.contains("req_"), "{text}");
}

#[test]
fn a_served_request_counts_time_tokens_and_money() {
    check_request(
        Outcome::Served,
        Some(Dialect::OpenAi),
        &[
            r#"requests_total{outcome="served",dialect="openai"} 1"#,
            r#"endpoint_requests_total{endpoint="chat_completions"} 1"#,
            "request_duration_seconds_sum 1.2",
            "request_duration_seconds_count 1",
            "first_byte_seconds_sum 0.4",
            "first_byte_seconds_count 1",
            r#"tokens_total{direction="input",dialect="openai"} 7"#,
            r#"tokens_total{direction="cache_read",dialect="openai"} 5"#,
            r#"tokens_total{direction="cache_write",dialect="openai"} 3"#,
            r#"tokens_total{direction="output",dialect="openai"} 11"#,
            "cost_usd_total 0.25",
        ],
    );
}

#[test]
fn a_refused_request_counts_its_reason_alone() {
    check_request(
        Outcome::Refused(Refusal::ContextRefused),
        Some(Dialect::Anthropic),
        &[
            r#"requests_total{outcome="refused",dialect="anthropic"} 1"#,
            r#"endpoint_requests_total{endpoint="chat_completions"} 1"#,
            r#"refusals_total{reason="context_refused"} 1"#,
        ],
    );
    check_request(
        Outcome::Refused(Refusal::BadHttp),
        None,
        &[
            r#"requests_total{outcome="refused",dialect="none"} 1"#,
            r#"endpoint_requests_total{endpoint="chat_completions"} 1"#,
            r#"refusals_total{reason="bad_http"} 1"#,
            "malformed_requests_total 1",
        ],
    );
}

#[test]
fn provider_failures_are_counted_by_kind() {
    let metrics = metrics();
    let failed = event(Outcome::UpstreamFailed(UpstreamFailure::Timeout));
    RequestEnded { event: &failed, dialect: Some(Dialect::OpenAi) }.emit(&metrics);
    RequestEnded { event: &event(Outcome::Cut(Cut::Budget)), dialect: None }.emit(&metrics);
    assert_eq!(metrics.upstream_failures.get((UpstreamFailure::Timeout,)), 1);
    assert_eq!(metrics.requests.get((Outcome::Cut(Cut::Containment), Route::Unknown)), 1);
}

#[test]
fn request_lines_hold_neither_model_nor_address() {
    let metrics = metrics();
    let text = logged(Format::Text, "trace", || {
        RequestEnded { event: &event(Outcome::Served), dialect: None }.emit(&metrics);
    });
    assert!(!text.contains("gpt-4o-mini") && !text.contains("203.0.113.7"), "{text}");
}

fn finding(tier: Tier) -> Finding {
    Finding {
        rule: "newcomer".into(),
        key: KeyId::from_bits(1),
        time: Timestamp::from_seconds(1),
        severity: Severity::High,
        tier,
        once_in_days: 12_000.0,
        summary: "a stranger\nwith two lines".into(),
        reasons: Vec::new(),
        actor: None,
        events: Vec::new(),
    }
}

#[test]
fn each_finding_is_counted_and_told_once() {
    const SUMMARY: &str = r"a stranger\nwith two lines";
    let metrics = metrics();
    let acted = || AlertEnd::Acted { incident: "inc_1", plan: "refuse\na context" };
    for (tier, level) in [(Tier::Notice, " INFO"), (Tier::Alert, " WARN"), (Tier::Act, " WARN")] {
        let finding = finding(tier);
        let text = logged(Format::Text, "info", || {
            FindingMade(&finding).emit(&metrics);
            AlertEnded { finding: &finding, end: acted() }.emit();
        });
        assert!(text.contains(level) && text.contains(SUMMARY), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        let is_notice = tier == Tier::Notice;
        assert!(is_notice || text.contains("inc_1") && text.contains(r"refuse\na context"), "{text}");
        assert_eq!(metrics.findings.get((tier, Severity::High)), 1);
        let failed = AlertEnd::Failed { error: "the disk is full" };
        let text = logged(Format::Text, "info", || AlertEnded { finding: &finding, end: failed }.emit());
        assert!(
            text.contains("ERROR") && text.contains(SUMMARY) && text.contains("the disk is full"),
            "{text}"
        );
    }
}

#[test]
fn containments_are_told_as_what_happened_to_them() {
    let row = Containment {
        id: ContainmentId::from_bits(1),
        key: KeyId::from_bits(1),
        incident: None,
        action: Action::Suspend,
        reason: "seen on a paste site".into(),
        created: Timestamp::from_seconds(1),
        expires: None,
        lifted: None,
        revision: 1,
    };
    let lifted = Containment { lifted: Some((Timestamp(2), "admin:ops".into())), revision: 2, ..row.clone() };
    let longer = Containment { revision: 2, ..row.clone() };
    for (row, want) in [(row, "in force"), (longer, "prolonged"), (lifted, "lifted")] {
        let text = logged(Format::Text, "info", || ContainmentChanged(&row).emit());
        assert!(text.contains(&format!("containment {want}")) && text.contains("con_"), "{text}");
    }
}

#[test]
fn reloads_say_what_is_wrong() {
    let metrics = metrics();
    let errors = ["respond.context_hours is 0; it must be 1 to 8760".to_owned()];
    let text = logged(Format::Text, "info", || {
        ConfigReloaded { errors: &[] }.emit(&metrics);
        ConfigReloaded { errors: &errors }.emit(&metrics);
    });
    assert!(text.contains("ERROR") && text.contains("context_hours"), "{text}");
    assert_eq!(metrics.config_reloads.get((ReloadResult::Ok,)), 1);
    assert_eq!(metrics.config_reloads.get((ReloadResult::Rejected,)), 1);
}

#[test]
fn floods_are_counted_whole_and_logged_once() {
    let metrics = metrics();
    let now = Timestamp::from_seconds(1_772_366_400);
    let text = logged(Format::Text, "info", || {
        (0..50).for_each(|_| EventsDropped { count: 2, now }.emit(&metrics));
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert_eq!((metrics.events_dropped.get(()), metrics.logs_suppressed.get(())), (100, 49));
    let text = logged(Format::Text, "info", || {
        EventsDropped { count: 1, now: now.plus(10 * SECOND) }.emit(&metrics);
    });
    assert!(text.contains("log.suppressed=49") && text.contains("dropped_total=101"), "{text}");
}

#[test]
fn panics_are_told_by_place() {
    let metrics = metrics();
    let text = logged(Format::Text, "info", || PanicCaught { place: "src/x.rs:7" }.emit(&metrics));
    assert!(text.contains("src/x.rs:7"), "{text}");
    assert_eq!(metrics.panics.get(()), 1);
}
