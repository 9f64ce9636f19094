//! Every way to say no: status, body in the dialect, retry headers, one event, and nothing forwarded.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokenwatch_model::containment::{Action, Clamp, ContextMatch};
use tokenwatch_model::key::{KeyState, Policy};
use tokenwatch_model::limit::{BudgetWindow, Budgets, LimitKind, Limits};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::provider::{Dialect, Endpoint};
use tokenwatch_model::scope::Scope;
use tokenwatch_model::secret::Secret;
use tokenwatch_testkit::client::LoadClient;

use crate::rig::{
    NOON, PATIENCE, PROVIDER_KEYS, Rig, Setup, chat, error_code, everything, key_entry, key_id, message,
    post, post_bytes, printed, rig,
};
use crate::rotation::replaced;

/// A gateway in which a plain request of this dialect is refused, and the request.
struct Case {
    rig: Rig,
    request: Request<Full<Bytes>>,
    /// Requests the provider sees before the refused one.
    seen_before: u64,
    has_retry_after: bool,
}

impl Case {
    fn new(rig: Rig, request: Request<Full<Bytes>>) -> Self {
        Self { rig, request, seen_before: 0, has_retry_after: false }
    }

    fn with_policy(dialect: Dialect, policy: Policy) -> Self {
        let rig = rig();
        let secret = rig.add_key(1, policy);
        Self::new(rig, plain(dialect, secret.expose()))
    }

    fn with_scope(dialect: Dialect, scope: Scope) -> Self {
        Self::with_policy(dialect, Policy { scope, ..Policy::default() })
    }

    fn with_action(dialect: Dialect, action: Action) -> Self {
        let rig = rig();
        let secret = rig.key();
        rig.contain(1, 1, 1, action);
        Self::new(rig, plain(dialect, secret.expose()))
    }

    fn with_state(dialect: Dialect, state: KeyState, is_expired: bool) -> Self {
        let rig = rig();
        let secret = rig.put_key(1, 1, state, is_expired.then_some(NOON), Policy::default());
        Self::new(rig, plain(dialect, secret.expose()))
    }

    fn with_unknown(dialect: Dialect) -> Self {
        let (secret, _) = key_entry(99, 1, KeyState::Active, None, Policy::default());
        Self::new(rig(), plain(dialect, secret.expose()))
    }

    fn with_replaced(dialect: Dialect) -> Self {
        let rig = rig();
        let secret = replaced(&rig);
        Self::new(rig, plain(dialect, secret.expose()))
    }

    fn retrying(self) -> Self {
        Self { has_retry_after: true, ..self }
    }
}

const fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi => "/v1/chat/completions",
        Dialect::Anthropic => "/v1/messages",
    }
}

fn body(dialect: Dialect) -> Value {
    match dialect {
        Dialect::OpenAi => chat(&json!({})),
        Dialect::Anthropic => message(&json!({})),
    }
}

fn plain(dialect: Dialect, secret: &str) -> Request<Full<Bytes>> {
    post(path(dialect), &body(dialect), secret, &[])
}

fn limited(dialect: Dialect, kind: LimitKind) -> Case {
    let mut limits = Limits::default();
    let (place, limit) = match kind {
        LimitKind::RequestsPerMinute => (&mut limits.requests_per_minute, 0),
        LimitKind::RequestsPerHour => (&mut limits.requests_per_hour, 0),
        LimitKind::RequestsPerDay => (&mut limits.requests_per_day, 0),
        LimitKind::TokensPerMinute => (&mut limits.tokens_per_minute, 3),
        LimitKind::TokensPerHour => (&mut limits.tokens_per_hour, 3),
        LimitKind::TokensPerDay => (&mut limits.tokens_per_day, 3),
        LimitKind::Concurrency => (&mut limits.concurrency, 0),
    };
    *place = Some(limit);
    let case = Case::with_policy(dialect, Policy { limits, ..Policy::default() });
    // Waiting helps against too many at once; it never helps against a limit that nothing fits into.
    if kind == LimitKind::Concurrency { case.retrying() } else { case }
}

fn out_of_money(dialect: Dialect, window: BudgetWindow) -> Case {
    let mut budgets = Budgets::default();
    *match window {
        BudgetWindow::Day => &mut budgets.day,
        BudgetWindow::Month => &mut budgets.month,
        BudgetWindow::Total => &mut budgets.total,
    } = Some(NanoUsd(1));
    Case::with_policy(dialect, Policy { budgets, ..Policy::default() })
}

fn failing_provider(dialect: Dialect) -> Case {
    let rig = rig();
    let secret = rig.key();
    for _ in 0..5 {
        let request = post(path(dialect), &body(dialect), secret.expose(), &[("x-mock-fail", "503")]);
        assert_eq!(rig.run(rig.client.send_http(request)).unwrap().status, 503);
    }
    let request = plain(dialect, secret.expose());
    Case { seen_before: 5, ..Case::new(rig, request) }.retrying()
}

/// A scope that a plain request is outside of.
fn scope_without(refusal: Refusal) -> Scope {
    let scope = Scope::default();
    match refusal {
        Refusal::ProviderNotInScope => Scope { providers: Some(Vec::new()), ..scope },
        Refusal::ModelNotInScope => Scope { models: Some(Vec::new()), ..scope },
        Refusal::EndpointNotInScope => Scope { endpoints: Some(vec![Endpoint::Files]), ..scope },
        Refusal::NetworkNotInScope => {
            Scope { networks: Some(vec!["192.0.2.0/24".parse().unwrap()]), ..scope }
        }
        Refusal::HourNotInScope => Scope { hours: Some(vec![3]), ..scope },
        _ => Scope { payload_bytes_max: Some(16), ..scope },
    }
}

/// `None` for what takes more than one request: see the modules on hostile input and containment.
fn provoke(refusal: Refusal, dialect: Dialect) -> Option<Case> {
    let case = match refusal {
        Refusal::Judged | Refusal::BodyTimeout => return None,
        Refusal::MissingCredential => Case::new(rig(), plain(dialect, "")),
        Refusal::AmbiguousCredential => {
            let rig = rig();
            let secret = rig.key();
            let two = [("api-key", secret.expose())];
            let request = post(path(dialect), &body(dialect), secret.expose(), &two);
            Case::new(rig, request)
        }
        Refusal::MalformedCredential => Case::new(rig(), plain(dialect, "sk-proj-of-the-provider")),
        Refusal::UnknownKey => Case::with_unknown(dialect),
        Refusal::Revoked => Case::with_state(dialect, KeyState::Revoked, false),
        Refusal::Rotated => Case::with_replaced(dialect),
        Refusal::Disabled => Case::with_state(dialect, KeyState::Disabled, false),
        Refusal::Expired => Case::with_state(dialect, KeyState::Active, true),
        Refusal::Suspended => Case::with_action(dialect, Action::Suspend),
        Refusal::ContextRefused => {
            let context = ContextMatch { client: Some("".into()), ..ContextMatch::default() };
            Case::with_action(dialect, Action::RefuseContext(context))
        }
        Refusal::Clamped => {
            let clamp = Clamp { requests_per_minute: Some(0), ..Clamp::default() };
            Case::with_action(dialect, Action::Clamp(clamp)).retrying()
        }
        Refusal::ProviderNotInScope
        | Refusal::ModelNotInScope
        | Refusal::EndpointNotInScope
        | Refusal::NetworkNotInScope
        | Refusal::HourNotInScope
        | Refusal::PayloadTooLarge => Case::with_scope(dialect, scope_without(refusal)),
        Refusal::Limit(kind) => limited(dialect, kind),
        Refusal::Budget(window) => out_of_money(dialect, window),
        Refusal::BadHttp => {
            let rig = rig();
            let secret = rig.key();
            let request = post(path(dialect), &body(dialect), secret.expose(), &[("content_length", "3")]);
            Case::new(rig, request)
        }
        Refusal::BadBody => {
            let rig = rig();
            let secret = rig.key();
            let twice = br#"{"model":"gpt-4o-mini","model":"gpt-4o","max_tokens":1,"messages":[]}"#;
            let request = post_bytes(path(dialect), twice.to_vec(), secret.expose(), &[]);
            Case::new(rig, request)
        }
        Refusal::UnknownRoute => {
            let rig = rig();
            let secret = rig.key();
            let mut settings = rig.settings();
            settings.providers.retain(|provider| provider.dialect != dialect);
            rig.gateway.put_settings(settings);
            Case::new(rig, plain(dialect, secret.expose()))
        }
        Refusal::NoProviderCredential => {
            let rig = Rig::start(Setup { credentials: vec![""], ..Setup::default() });
            let secret = rig.key();
            Case::new(rig, plain(dialect, secret.expose()))
        }
        Refusal::CircuitOpen => failing_provider(dialect),
        Refusal::Overloaded => {
            let rig = rig();
            let secret = rig.key();
            rig.memory.states.lock().unwrap().insert(key_id(1), Err("the disk is gone".to_owned()));
            Case::new(rig, plain(dialect, secret.expose()))
        }
    };
    Some(case)
}

#[track_caller]
fn check(refusal: Refusal, dialect: Dialect) {
    let Some(Case { rig, request, seen_before, has_retry_after }) = provoke(refusal, dialect) else { return };
    let answer = rig.run(rig.client.send_http(request)).unwrap();
    let what = format!("{refusal:?} {dialect} {}", answer.text());
    let event = rig.events(seen_before as usize + 1).remove(seen_before as usize);
    assert_eq!(answer.status.as_u16(), refusal.status(), "{what}");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(error_code(&answer.body), refusal.code(), "{what}");
    match dialect {
        Dialect::OpenAi => assert!(body["error"]["message"].is_string() && body["type"].is_null(), "{what}"),
        Dialect::Anthropic => assert!(body["type"] == "error" && body["request_id"].is_string(), "{what}"),
    }
    // A limit without a time to wait for can never be met: a retry would only ask again.
    let can_never_fit = matches!(refusal, Refusal::Limit(_) | Refusal::Clamped) && !has_retry_after;
    let should_retry = (refusal.may_retry() && !can_never_fit).to_string();
    assert_eq!(answer.header("x-should-retry"), Some(should_retry.as_str()), "{what}");
    assert_eq!(answer.header("retry-after").is_some(), has_retry_after, "{what}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let id = answer.header("x-tokenwatch-request-id").unwrap();
    assert_eq!(event.request.id.to_string(), id);
    assert_eq!((event.outcome, event.status), (Outcome::Refused(refusal), refusal.status()), "{what}");
    assert_eq!((event.cost, event.usage.total()), (NanoUsd::ZERO, 0), "{what}");
    assert_eq!(rig.mock.requests(), seen_before, "forwarded: {what}");
    assert_eq!(rig.memory.contained(), u64::from(refusal.is_containment()), "{what}");
}

#[test]
fn every_refusal_is_said_in_the_dialect_and_nothing_is_forwarded() {
    for refusal in Refusal::ALL {
        check(refusal, Dialect::OpenAi);
        check(refusal, Dialect::Anthropic);
    }
}

#[test]
fn a_state_that_can_not_be_read_stays_closed() {
    let rig = rig();
    let secret = rig.key();
    for damage in [Err("the disk is gone".to_owned()), Ok(b"not a checkpoint".to_vec())] {
        rig.memory.states.lock().unwrap().insert(key_id(1), damage);
        for _ in 0..3 {
            let request = plain(Dialect::OpenAi, secret.expose());
            let answer = rig.run(rig.client.send_http(request)).unwrap();
            assert_eq!(error_code(&answer.body), "overloaded", "a budget that forgets is none");
        }
    }
    rig.memory.states.lock().unwrap().clear();
    let request = plain(Dialect::OpenAi, secret.expose());
    assert_eq!(rig.run(rig.client.send_http(request)).unwrap().status, 200);
    rig.check_settled(1, &secret);
}

/// Sends a request with the credential in `place` as well; the provider must not see it.
#[track_caller]
fn check_hidden(path_and_query: &str, place: &[(&str, &str)]) {
    let rig = rig();
    let secret = rig.key();
    let fill = |text: &str| text.replace("KEY", secret.expose());
    let place: Vec<(&str, String)> = place.iter().map(|(name, value)| (*name, fill(value))).collect();
    let place: Vec<(&str, &str)> = place.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let request = post(&fill(path_and_query), &chat(&json!({})), secret.expose(), &place);
    let answer = rig.run(rig.client.send_http(request)).unwrap();
    let event = rig.event();
    assert!(!printed(&event).contains(secret.expose()));
    let seen = rig.mock.seen();
    match answer.status.as_u16() {
        200 => {
            assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {}", PROVIDER_KEYS[0]).as_str()))
        }
        _ => assert!(seen.is_empty(), "{place:?}"),
    }
    assert!(seen.iter().all(|seen| !seen.mentions(secret.expose()) && !seen.mentions("sk-tw-")), "{seen:?}");
    let said = everything(&answer.headers, &answer.body);
    assert!(PROVIDER_KEYS.iter().all(|key| !said.contains(key)));
}

#[test]
fn the_virtual_key_never_reaches_the_provider() {
    let chat_path = "/v1/chat/completions";
    for place in [
        ("cookie", "session=KEY"),
        ("referer", "http://gateway/?key=KEY"),
        ("proxy-authorization", "Bearer KEY"),
        ("x-forwarded-authorization", "Bearer KEY"),
        ("x-my-token", "KEY"),
        ("user-agent", "tool/1.0 KEY"),
        ("x-api-key", "KEY"),
        ("api-key", "KEY"),
        ("x-goog-api-key", "KEY"),
        ("x-original-url", "/v1/models?key=KEY"),
        ("connection", "authorization, x-api-key, host"),
    ] {
        check_hidden(chat_path, &[place]);
    }
    for query in ["?token=KEY", "?key=KEY", "?a=1&access_token=KEY&b=2", "?k%65y=KEY", "?x=%73k-tw-KEY"] {
        check_hidden(&format!("{chat_path}{query}"), &[]);
    }
    check_hidden("/v1/models/KEY", &[]);
}

#[test]
fn the_providers_credential_reaches_nobody() {
    let rig = Rig::start(Setup { accepted: vec!["another"], ..Setup::default() });
    let secret = rig.key();
    let request = plain(Dialect::OpenAi, secret.expose());
    let answer = rig.run(rig.client.send_http(request)).unwrap();
    // The provider refuses ours: to the client that is no reason to doubt its own.
    assert_eq!(
        (answer.status.as_u16(), error_code(&answer.body)),
        (503, "no_provider_credential".to_owned())
    );
    let event = rig.event();
    assert_eq!(event.outcome, Outcome::Refused(Refusal::NoProviderCredential));
    let mut said = everything(&answer.headers, &answer.body) + &printed(&event);
    said += &printed(&rig.gateway.live.view(rig.clock_now(), 10));
    said += &rig.gateway.metrics.encode();
    for key in PROVIDER_KEYS.iter().copied().chain([secret.expose()]) {
        assert!(!said.contains(key), "{said}");
    }
}

#[test]
fn a_key_is_accepted_in_each_of_its_places() {
    let rig = rig();
    let secret: Secret = rig.key();
    let client = LoadClient::new(rig.address, PATIENCE);
    for (n, (name, value)) in [
        ("authorization", format!("Bearer {}", secret.expose())),
        ("x-api-key", secret.expose().to_owned()),
        ("api-key", secret.expose().to_owned()),
        ("x-goog-api-key", secret.expose().to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let request = Request::post("/v1/chat/completions")
            .header(name, value)
            .body(Full::new(chat(&json!({})).to_string().into()))
            .unwrap();
        assert_eq!(rig.run(client.send_http(request)).unwrap().status, 200, "{name}");
        rig.events(n + 1);
    }
    rig.check_settled(1, &secret);
}
