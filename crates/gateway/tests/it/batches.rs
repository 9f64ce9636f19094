//! Batches are booked when they are made, at their worst case; looking at them costs nothing.

use serde_json::{Value, json};
use tokenwatch_model::containment::Action;
use tokenwatch_model::key::Policy;
use tokenwatch_model::limit::Budgets;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::scope::Scope;
use tokenwatch_model::secret::Secret;
use tokenwatch_model::usage::UsageSource;
use tokenwatch_testkit::client::Answer;

use crate::rig::{INPUT, OUTPUT, Rig, Setup, error_code, get, post};

const BATCHES: &str = "/v1/messages/batches";

fn rig_with(total: Option<NanoUsd>) -> (Rig, Secret) {
    let rig = Rig::start(Setup { reserve_output_tokens: 1_000, ..Setup::default() });
    let scope = Scope { endpoints: Some(vec![Endpoint::Batches, Endpoint::Models]), ..Scope::default() };
    let budgets = Budgets { total, ..Budgets::default() };
    let secret = rig.add_key(1, Policy { scope, budgets, ..Policy::default() });
    (rig, secret)
}

/// A batch of one request for each limit; 0 sets none.
fn batch(limits: &[u64]) -> Value {
    let request = |(i, limit): (usize, &u64)| {
        let mut params =
            json!({"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "hi"}]});
        if *limit > 0 {
            params["max_tokens"] = json!(limit);
        }
        json!({"custom_id": format!("r{i}"), "params": params})
    };
    json!({"requests": limits.iter().enumerate().map(request).collect::<Vec<_>>()})
}

fn make(rig: &Rig, secret: &Secret, body: &Value, headers: &[(&str, &str)]) -> Answer {
    rig.run(rig.client.send_http(post(BATCHES, body, secret.expose(), headers))).unwrap()
}

/// Makes a batch and checks that it is booked at half the price of so many output tokens, and its input.
#[track_caller]
fn check(limits: &[u64], output: u64) {
    let (rig, secret) = rig_with(None);
    let answer = make(&rig, &secret, &batch(limits), &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let event = rig.event();
    assert_eq!((event.usage.output, event.usage_source), (output, UsageSource::Estimated));
    assert!(event.usage.input > 0);
    assert_eq!(event.cost, NanoUsd((event.usage.input * INPUT).div_ceil(2) + output * OUTPUT / 2));
    rig.check_settled(1, &secret);
}

#[test]
fn a_batch_is_booked_at_the_worst_case_of_its_requests() {
    check(&[100], 100);
    check(&[100, 20, 3], 123);
}

#[test]
fn a_batch_that_a_budget_has_no_room_for_is_refused() {
    let (rig, secret) = rig_with(Some(NanoUsd(500 * OUTPUT)));
    let refused = make(&rig, &secret, &batch(&[600, 600]), &[]);
    assert_eq!(error_code(&refused.body), "budget_total");
    // One without a limit is held at what such a request is held at, and does not hide the others.
    let refused = make(&rig, &secret, &batch(&[100, 0]), &[]);
    assert_eq!(error_code(&refused.body), "budget_total");
    assert_eq!(rig.mock.requests(), 0);
    assert_eq!(make(&rig, &secret, &batch(&[600, 300]), &[]).status, 200);
    // What is booked stays booked: the next finds what is left.
    assert_eq!(error_code(&make(&rig, &secret, &batch(&[200]), &[]).body), "budget_total");
    rig.events(4);
}

#[test]
fn a_batch_that_the_provider_refuses_costs_nothing() {
    let (rig, secret) = rig_with(None);
    assert_eq!(make(&rig, &secret, &batch(&[50]), &[("x-mock-fail", "500")]).status, 500);
    assert_eq!(rig.event().cost, NanoUsd::ZERO);
}

#[test]
fn looking_at_a_batch_costs_nothing_however_often() {
    let (rig, secret) = rig_with(None);
    let made: Value = serde_json::from_slice(&make(&rig, &secret, &batch(&[50]), &[]).body).unwrap();
    let path = format!("{BATCHES}/{}", made["id"].as_str().unwrap());
    let booked = rig.event().cost;
    for n in 0..3 {
        for path in [path.clone(), format!("{path}/results")] {
            let mut request = get(&path, &secret);
            request.headers_mut().insert("anthropic-version", "2023-06-01".parse().unwrap());
            let answer = rig.run(rig.client.send_http(request)).unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        }
        let events = rig.events(3 + 2 * n);
        assert!(events[1..].iter().all(|event| event.cost == NanoUsd::ZERO));
        assert_eq!(events.iter().map(|event| event.cost).sum::<NanoUsd>(), booked);
    }
}

const FILE_BATCHES: &str = "/v1/batches";

/// A key that may make OpenAI batches of `models`, and the id of a file of requests that it uploaded.
fn uploaded(total: Option<NanoUsd>, endpoints: &[Endpoint], lines: &[Value]) -> (Rig, Secret, String) {
    let rig = Rig::start(Setup { reserve_output_tokens: 1_000, ..Setup::default() });
    let scope = Scope {
        endpoints: Some([endpoints, &[Endpoint::Batches, Endpoint::Files, Endpoint::Models]].concat()),
        models: Some(vec!["gpt-4o*".into(), "".into()]),
        ..Scope::default()
    };
    let budgets = Budgets { total, ..Budgets::default() };
    let secret = rig.add_key(1, Policy { scope, budgets, ..Policy::default() });
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let form = format!(
        "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\ncontent-disposition: form-data; \
         name=\"file\"; filename=\"f\"\r\n\r\n{}\r\n--b--\r\n",
        lines.join("\n")
    );
    let request = http::Request::post("/v1/files")
        .header("authorization", format!("Bearer {}", secret.expose()))
        .header("content-type", "multipart/form-data; boundary=b")
        .body(http_body_util::Full::from(form.into_bytes()));
    let answer = rig.run(rig.client.send_http(request.unwrap())).unwrap();
    let file: Value = serde_json::from_slice(&answer.body).unwrap();
    let id = file["id"].as_str().unwrap_or_else(|| panic!("{file}")).to_owned();
    rig.event();
    (rig, secret, id)
}

fn line(model: &str, limit: u64) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    if limit > 0 {
        body["max_tokens"] = json!(limit);
    }
    json!({"custom_id": "r", "method": "POST", "url": "/v1/chat/completions", "body": body})
}

fn make_of(rig: &Rig, secret: &Secret, file: &str) -> Answer {
    let body = json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    rig.run(rig.client.send_http(post(FILE_BATCHES, &body, secret.expose(), &[]))).unwrap()
}

#[test]
fn a_batch_of_a_file_is_booked_at_the_worst_case_of_its_lines() {
    let lines = [line("gpt-4o", 100), line("gpt-4o-mini", 20), line("gpt-4o", 0)];
    let (rig, secret, file) = uploaded(None, &[Endpoint::ChatCompletions], &lines);
    let made = make_of(&rig, &secret, &file);
    assert_eq!(made.status, 200, "{}", made.text());
    let event = rig.events(2).remove(1);
    assert_eq!((event.request.endpoint, event.request.model.as_str()), (Endpoint::Batches, "gpt-4o"));
    assert_eq!((event.usage.output, event.usage_source), (1_120, UsageSource::Estimated));
    assert_eq!(event.cost, NanoUsd((event.usage.input * INPUT).div_ceil(2) + 1_120 * OUTPUT / 2));
    rig.check_settled(1, &secret);
}

#[test]
fn a_batch_of_a_file_is_held_by_the_budget() {
    let room = NanoUsd(1_000 * OUTPUT / 2);
    let (rig, secret, file) = uploaded(Some(room), &[Endpoint::ChatCompletions], &[line("gpt-4o", 5_000)]);
    assert_eq!(error_code(&make_of(&rig, &secret, &file).body), "budget_total");
}

#[test]
fn whoever_is_refused_anyway_makes_us_read_no_file() {
    let (rig, secret, file) = uploaded(None, &[Endpoint::ChatCompletions], &[line("gpt-4o", 5)]);
    let before = rig.mock.requests();
    rig.contain(1, 1, 1, Action::Suspend);
    assert_eq!(make_of(&rig, &secret, &file).status, 403);
    assert_eq!(rig.mock.requests(), before, "the provider was not asked");
}

#[test]
fn a_file_that_can_not_be_priced_makes_no_batch() {
    let chat = [Endpoint::ChatCompletions];
    let (rig, secret, _) = uploaded(None, &chat, &[line("gpt-4o", 5)]);
    let before = rig.mock.requests();
    for wrong in ["file-none", "../models", ""] {
        assert_eq!(make_of(&rig, &secret, wrong).status, 400, "{wrong}");
    }
    assert_eq!(rig.mock.requests(), before + 1, "the file was asked for, and no batch was made");
    let check = |endpoints: &[Endpoint], lines: &[Value], status: u16| {
        let (rig, secret, file) = uploaded(None, endpoints, lines);
        let answer = make_of(&rig, &secret, &file);
        assert_eq!(answer.status, status, "{}", answer.text());
        rig.check_settled(1, &secret);
    };
    check(&chat, &[json!({"custom_id": "r"})], 400);
    check(&chat, &[line("gpt-4o", 5), line("o4-mini", 5)], 403);
    check(&[], &[line("gpt-4o", 5)], 403);
}
