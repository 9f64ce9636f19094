//! Money and limits are exact under concurrency, and what a refusal says about waiting is true.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::key::Policy;
use tokenwatch_model::limit::{BudgetWindow, Budgets, LimitKind, Limits};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::{Cut, Outcome, Refusal};
use tokenwatch_model::time::SECOND;
use tokenwatch_testkit::client::Answer;

use crate::rig::{
    INPUT, OUTPUT, PROVIDER_KEYS, Rig, Setup, chat, error_code, key_id, message, post, raw_post, rig,
};

const CHAT: &str = "/v1/chat/completions";

fn budget(total: NanoUsd) -> Policy {
    Policy { budgets: Budgets { total: Some(total), ..Budgets::default() }, ..Policy::default() }
}

#[test]
fn a_thousand_requests_at_a_budgets_edge_never_spend_more_than_it() {
    const OUT: u64 = 50;
    let rig = Rig::start(Setup { workers: 2, ..Setup::default() });
    let real = NanoUsd(2 * INPUT + OUT * OUTPUT);
    let total = NanoUsd(real.0 * 300 + 11);
    let secret = rig.add_key(1, budget(total));
    let body = chat(&json!({"max_tokens": OUT}));
    let mock = [("x-mock-input-tokens", "2"), ("x-mock-delay-ms", "30")];
    let statuses = rig.run(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let (client, request) = (rig.client.clone(), post(CHAT, &body, secret.expose(), &mock));
            tasks.spawn(async move { client.send_http(request).await.unwrap().status.as_u16() });
        }
        let mut statuses = BTreeMap::new();
        while let Some(status) = tasks.join_next().await {
            *statuses.entry(status.unwrap()).or_insert(0_usize) += 1;
        }
        statuses
    });
    let events = rig.events(1_000);
    let spent: NanoUsd = events.iter().map(|event| event.cost).sum();
    let served = statuses.get(&200).copied().unwrap_or_default();
    assert_eq!(statuses.values().sum::<usize>(), 1_000);
    assert_eq!(statuses.get(&429).copied(), Some(1_000 - served), "{statuses:?}");
    assert_eq!(spent, NanoUsd(real.0 * served as u64));
    assert!(spent <= total && served > 200, "{spent:?} of {total:?}, {served} served");
    rig.check_settled(1, &secret);
    // One after another the rest can be spent, but for what no request fits into any more.
    let mut n = 1_001;
    loop {
        let answer = rig.run(rig.client.send_http(post(CHAT, &body, secret.expose(), &mock[..1]))).unwrap();
        n += 1;
        if answer.status != 200 {
            assert_eq!(error_code(&answer.body), "budget_total");
            break;
        }
    }
    let spent: NanoUsd = rig.events(n).iter().map(|event| event.cost).sum();
    assert!(spent <= total && total.0 - spent.0 < real.0 + 100 * INPUT, "{spent:?} of {total:?}");
}

/// Streams more than is reserved for it until its budget ends; the stream must be cut there and say so.
#[track_caller]
fn check_cut(path: &str, body: &Value, marks: &[&str]) {
    const TOKENS_TO_SPEND: u64 = 400;
    let rig = Rig::start(Setup { reserve_output_tokens: 10, ..Setup::default() });
    let secret = rig.add_key(1, budget(NanoUsd(TOKENS_TO_SPEND * OUTPUT)));
    let mock = [
        ("x-mock-output-tokens", "4000"),
        ("x-mock-chunks", "400"),
        ("x-mock-chunk-delay-ms", "1"),
        ("x-mock-input-tokens", "1"),
    ];
    let request = post(path, body, secret.expose(), &mock);
    let answer = rig.run(rig.client.send_http(request)).unwrap();
    let event = rig.event();
    assert_eq!((answer.status.as_u16(), event.outcome), (200, Outcome::Cut(Cut::Budget)));
    let text = answer.text();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(marks.iter().all(|mark| last.contains(mark)), "{last}");
    // Looked at every 32 tokens of the estimate, and a piece has ten.
    assert!(event.cost.0 < (TOKENS_TO_SPEND + 100) * OUTPUT, "{:?}", event.cost);
    assert!(event.cost.0 > (TOKENS_TO_SPEND - 100) * OUTPUT, "{:?}", event.cost);
    let refused = rig.run(rig.client.send_http(post(path, body, secret.expose(), &mock))).unwrap();
    assert_eq!(error_code(&refused.body), "budget_total");
}

#[test]
fn a_stream_that_outruns_its_budget_is_cut_with_its_dialects_error() {
    check_cut(CHAT, &chat(&json!({"stream": true})), &["data: {\"error\":", "insufficient_quota", "budget"]);
    let body = json!({"model": "gpt-4o-mini", "input": "Say hello.", "stream": true});
    check_cut("/v1/responses", &body, &["event: error", "\"type\":\"error\"", "\"code\":\"budget\""]);
    let body = message(&json!({"stream": true, "max_tokens": 10}));
    check_cut("/v1/messages", &body, &["event: error", "rate_limit_error"]);
}

#[test]
fn streams_past_their_reservations_share_what_is_left() {
    const STREAMS: usize = 8;
    const TOKENS_TO_SPEND: u64 = 4_000;
    let rig = Rig::start(Setup { reserve_output_tokens: 10, workers: 2, ..Setup::default() });
    let total = NanoUsd(TOKENS_TO_SPEND * OUTPUT);
    let secret = rig.add_key(1, budget(total));
    let body = chat(&json!({"stream": true}));
    // Ten tokens a piece; any of them alone would use the budget up.
    let mock = [
        ("x-mock-output-tokens", "5000"),
        ("x-mock-chunks", "500"),
        ("x-mock-chunk-delay-ms", "2"),
        ("x-mock-input-tokens", "1"),
    ];
    rig.run(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..STREAMS {
            let (client, request) = (rig.client.clone(), post(CHAT, &body, secret.expose(), &mock));
            tasks.spawn(async move { client.send_http(request).await.unwrap().status.as_u16() });
        }
        tasks.join_all().await
    });
    let events = rig.events(STREAMS);
    let cut = events.iter().filter(|event| event.outcome == Outcome::Cut(Cut::Budget)).count();
    // The first may be cut before the last begins, which is then refused.
    let refused = events.iter().filter(|e| matches!(e.outcome, Outcome::Refused(Refusal::Budget(_)))).count();
    assert!(cut > 0 && cut + refused == STREAMS, "{cut} cut, {refused} refused");
    let spent: NanoUsd = events.iter().map(|event| event.cost).sum();
    // What each costs between two looks, and what came joined with it.
    const BETWEEN_LOOKS: u64 = 32 + 60;
    assert!(spent.0 < total.0 + cut as u64 * BETWEEN_LOOKS * OUTPUT, "{spent:?} of {total:?}");
    assert!(spent.0 > total.0 - 100 * OUTPUT, "{spent:?} of {total:?}");
}

#[test]
fn a_stream_beyond_its_reservation_goes_on_while_the_budget_lasts() {
    let rig = Rig::start(Setup { reserve_output_tokens: 10, ..Setup::default() });
    let secret = rig.add_key(1, budget(NanoUsd(10_000 * OUTPUT)));
    let mock = [("x-mock-output-tokens", "2000"), ("x-mock-input-tokens", "1")];
    let body = chat(&json!({"stream": true}));
    let answer = rig.run(rig.client.send_http(post(CHAT, &body, secret.expose(), &mock))).unwrap();
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(rig.event().cost, NanoUsd(INPUT + 2_000 * OUTPUT));
    rig.check_settled(1, &secret);
}

fn ask(rig: &Rig, secret: &tokenwatch_model::secret::Secret, body: &Value) -> Answer {
    let mock = [("x-mock-input-tokens", "10")];
    rig.run(rig.client.send_http(post(CHAT, body, secret.expose(), &mock))).unwrap()
}

/// Uses a limit up with `served` requests; then checks that waiting one second less than told is not enough and
/// waiting as told is.
#[track_caller]
fn check_limit(limits: Limits, served: usize, kind: LimitKind) {
    let rig = rig();
    let secret = rig.add_key(1, Policy { limits, ..Policy::default() });
    let body = chat(&json!({"max_tokens": 40}));
    for n in 0..served {
        let answer = ask(&rig, &secret, &body);
        assert_eq!(answer.status, 200, "request {n} under {limits:?}");
    }
    rig.events(served);
    let refused = ask(&rig, &secret, &body);
    assert_eq!((refused.status.as_u16(), error_code(&refused.body)), (429, kind.code().to_owned()));
    assert_eq!(refused.header("x-should-retry"), Some("true"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    let wait_ms: u64 = refused.header("retry-after-ms").unwrap().parse().unwrap();
    assert_eq!(wait_ms.div_ceil(1_000), wait);
    let event: UsageEvent = rig.events(served + 1).remove(served);
    assert_eq!(event.outcome, Outcome::Refused(Refusal::Limit(kind)));
    rig.clock.advance(wait - 1);
    assert_eq!(ask(&rig, &secret, &body).status, 429, "a second too early");
    rig.clock.advance(1);
    assert_eq!(ask(&rig, &secret, &body).status, 200, "as told");
}

#[test]
fn limits_hold_and_retry_after_is_true() {
    let none = Limits::default();
    check_limit(Limits { requests_per_minute: Some(3), ..none }, 3, LimitKind::RequestsPerMinute);
    check_limit(Limits { requests_per_hour: Some(3), ..none }, 3, LimitKind::RequestsPerHour);
    check_limit(Limits { requests_per_day: Some(2), ..none }, 2, LimitKind::RequestsPerDay);
    // Each has ten tokens in and forty out.
    check_limit(Limits { tokens_per_minute: Some(170), ..none }, 3, LimitKind::TokensPerMinute);
    check_limit(Limits { tokens_per_hour: Some(120), ..none }, 2, LimitKind::TokensPerHour);
    check_limit(Limits { tokens_per_day: Some(120), ..none }, 2, LimitKind::TokensPerDay);
}

#[test]
fn a_keys_own_limit_stands_before_its_owners() {
    let owner = Policy {
        limits: Limits { requests_per_minute: Some(1), requests_per_hour: Some(2), ..Limits::default() },
        ..Policy::default()
    };
    let own = Limits { requests_per_minute: Some(5), ..Limits::default() };
    let rig = rig();
    let secret = rig.add_key(1, Policy { limits: own, ..Policy::default() }.or(&owner));
    let body = chat(&json!({}));
    assert_eq!(ask(&rig, &secret, &body).status, 200);
    let answer = ask(&rig, &secret, &body);
    assert_eq!(answer.status, 200);
    // The tightest limit is the owner's hour: two requests, none left.
    assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("2"));
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("0"));
    assert!(answer.header("x-ratelimit-reset-requests").unwrap().ends_with("ms"));
    let refused = ask(&rig, &secret, &body);
    assert_eq!(error_code(&refused.body), "requests_per_hour");
}

#[test]
fn concurrency_is_given_back_when_a_request_ends() {
    let limits = Limits { concurrency: Some(1), ..Limits::default() };
    let rig = rig();
    let secret = rig.add_key(1, Policy { limits, ..Policy::default() });
    let mut raw = rig.connect();
    let stream = chat(&json!({"stream": true})).to_string();
    let mock = "x-mock-output-tokens: 500\r\nx-mock-chunks: 100\r\nx-mock-chunk-delay-ms: 100\r\n";
    raw.write(raw_post(CHAT, &secret, &stream, mock));
    raw.read_until(|read| read.contains("data:"));
    let refused = ask(&rig, &secret, &chat(&json!({})));
    assert_eq!(error_code(&refused.body), "concurrency");
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(raw);
    rig.events(2);
    assert_eq!(ask(&rig, &secret, &chat(&json!({}))).status, 200);
}

#[test]
fn refused_requests_use_up_no_limit() {
    let limits = Limits { requests_per_minute: Some(2), ..Limits::default() };
    let rig = Rig::start(Setup { credentials: vec![""], ..Setup::default() });
    let secret = rig.add_key(1, Policy { limits, ..Policy::default() });
    for _ in 0..6 {
        let answer = ask(&rig, &secret, &chat(&json!({})));
        assert_eq!(error_code(&answer.body), "no_provider_credential");
    }
    rig.gateway.put_settings(rig.settings_with(&[PROVIDER_KEYS[0]]));
    assert_eq!(ask(&rig, &secret, &chat(&json!({}))).status, 200);
    assert_eq!(ask(&rig, &secret, &chat(&json!({}))).status, 200);
    assert_eq!(error_code(&ask(&rig, &secret, &chat(&json!({}))).body), "requests_per_minute");
}

#[test]
fn budgets_can_answer_402_and_renew_with_the_day() {
    let rig = Rig::start(Setup { budget_is_402: true, ..Setup::default() });
    let day = Budgets { day: Some(NanoUsd(300 * OUTPUT)), ..Budgets::default() };
    let secret = rig.add_key(1, Policy { budgets: day, ..Policy::default() });
    let body = chat(&json!({"max_tokens": 200}));
    assert_eq!(ask(&rig, &secret, &body).status, 200);
    let refused = ask(&rig, &secret, &body);
    assert_eq!((refused.status.as_u16(), error_code(&refused.body)), (402, "budget_day".to_owned()));
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    let events = rig.events(2);
    assert_eq!(events[1].outcome, Outcome::Refused(Refusal::Budget(BudgetWindow::Day)));
    rig.clock.advance(Duration::from_secs(86_400).as_secs());
    assert_eq!(ask(&rig, &secret, &body).status, 200);
    rig.events(3);
    let view = rig.gateway.live.view_key(key_id(1), rig.clock_now()).unwrap();
    assert_eq!(view.spent_month.0, 2 * view.spent_day.0);
    assert!(rig.clock_now().0 > SECOND);
}
