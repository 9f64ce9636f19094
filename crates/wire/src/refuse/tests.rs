//! Tests of `refuse`.

use proptest::prelude::*;
use serde_json::Value;
use tokenwatch_model::limit::{BudgetWindow, LimitKind};

use super::*;

const ALL: [Refusal; 26] = [
    Refusal::MissingCredential,
    Refusal::AmbiguousCredential,
    Refusal::MalformedCredential,
    Refusal::UnknownKey,
    Refusal::Revoked,
    Refusal::Disabled,
    Refusal::Expired,
    Refusal::Suspended,
    Refusal::ContextRefused,
    Refusal::Judged,
    Refusal::Clamped,
    Refusal::ProviderNotInScope,
    Refusal::ModelNotInScope,
    Refusal::EndpointNotInScope,
    Refusal::NetworkNotInScope,
    Refusal::HourNotInScope,
    Refusal::PayloadTooLarge,
    Refusal::Limit(LimitKind::RequestsPerMinute),
    Refusal::Budget(BudgetWindow::Day),
    Refusal::BadHttp,
    Refusal::BadBody,
    Refusal::BodyTimeout,
    Refusal::UnknownRoute,
    Refusal::NoProviderCredential,
    Refusal::CircuitOpen,
    Refusal::Overloaded,
];

fn refusing(dialect: Dialect, refusal: Refusal) -> Refusing<'static> {
    Refusing {
        dialect,
        refusal,
        message: "",
        field: None,
        retry_after_us: None,
        request_id: "req_1",
        is_budget_402: false,
    }
}

fn show(refused: &Refused) -> String {
    let headers: Vec<_> = refused.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{} [{}] {}", refused.status, headers.join(", "), String::from_utf8_lossy(&refused.body))
}

fn show_all(dialect: Dialect) -> String {
    ALL.map(|refusal| show(&refuse(&refusing(dialect, refusal)))).join("\n")
}

fn header<'r>(refused: &'r Refused, name: &str) -> Option<&'r str> {
    refused.headers.iter().find(|(held, _)| *held == name).map(|(_, value)| value.as_str())
}

#[test]
fn every_refusal_in_openais_dialect() {
    insta::assert_snapshot!(show_all(Dialect::OpenAi));
}

#[test]
fn every_refusal_in_anthropics_dialect() {
    insta::assert_snapshot!(show_all(Dialect::Anthropic));
}

#[test]
fn every_failure_of_a_provider() {
    let failures = [
        UpstreamFailure::Connect,
        UpstreamFailure::Timeout,
        UpstreamFailure::Reset,
        UpstreamFailure::Garbage,
        UpstreamFailure::BodyBroken,
    ];
    let lines = failures.map(|failure| {
        [Dialect::OpenAi, Dialect::Anthropic]
            .map(|dialect| show(&report_failure(dialect, failure, "req_1")))
            .join("\n")
    });
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn bodies_are_json_with_the_stable_code() {
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        for refusal in ALL {
            let body: Value = serde_json::from_slice(&refuse(&refusing(dialect, refusal)).body).unwrap();
            let code = match dialect {
                Dialect::OpenAi => &body["error"]["code"],
                Dialect::Anthropic => &body["error"]["details"]["error_code"],
            };
            assert_eq!(code, refusal.code());
            assert_eq!(body["error"]["message"], default_message(refusal));
        }
    }
}

#[test]
fn clients_are_told_whether_to_retry() {
    for refusal in ALL {
        let refused = refuse(&Refusing { retry_after_us: Some(1), ..refusing(Dialect::OpenAi, refusal) });
        assert_eq!(
            header(&refused, "x-should-retry"),
            Some(if refusal.may_retry() { "true" } else { "false" })
        );
        assert_eq!(header(&refused, "www-authenticate").is_some(), refused.status == 401);
    }
}

#[test]
fn waits_are_rounded_up() {
    let wait = |us| {
        let limit = Refusal::Limit(LimitKind::RequestsPerMinute);
        let refused = refuse(&Refusing { retry_after_us: Some(us), ..refusing(Dialect::OpenAi, limit) });
        let read = |name| header(&refused, name).unwrap().parse::<u64>().unwrap();
        (read("retry-after"), read("retry-after-ms"))
    };
    assert_eq!(wait(0), (0, 0));
    assert_eq!(wait(1), (1, 1));
    assert_eq!(wait(1_000_000), (1, 1_000));
    assert_eq!(wait(1_000_001), (2, 1_001));
    assert_eq!(wait(59_500_000), (60, 59_500));
    assert_eq!(header(&refuse(&refusing(Dialect::OpenAi, Refusal::Overloaded)), "retry-after"), None);
}

#[test]
fn budgets_can_be_answered_with_402() {
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        let budget = refusing(dialect, Refusal::Budget(BudgetWindow::Month));
        assert_eq!(refuse(&budget).status, 429);
        let refused = refuse(&Refusing { is_budget_402: true, ..budget });
        let body: Value = serde_json::from_slice(&refused.body).unwrap();
        let kind = if dialect == Dialect::OpenAi { "insufficient_quota" } else { "billing_error" };
        assert_eq!((refused.status, &body["error"]["type"]), (402, &Value::from(kind)));
        assert_eq!(
            refuse(&Refusing { is_budget_402: true, ..refusing(dialect, Refusal::Revoked) }).status,
            401
        );
    }
}

#[test]
fn the_field_to_blame_is_named() {
    let refused = refuse(&Refusing {
        message: "model (byte 9): expected a string",
        field: Some("model"),
        ..refusing(Dialect::OpenAi, Refusal::BadBody)
    });
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(body["error"]["param"], "model");
    assert_eq!(body["error"]["message"], "model (byte 9): expected a string");
}

proptest! {
    #[test]
    fn any_message_is_quoted(message in any::<String>()) {
        prop_assert_eq!(serde_json::from_str::<String>(&quote(&message)).unwrap(), message);
    }
}
