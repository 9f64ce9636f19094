//! What is read from records, what is looked up, and what is refused with which words.

use std::net::IpAddr;

use proptest::prelude::*;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{AddressFacts, Country, NetworkFacts, NetworkKind};
use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::Timestamp;
use tokenwatch_model::usage::{PriceSource, UsageSource};
use tokenwatch_wire::price::PriceTable;

use super::*;

mod forms;

struct OneNetwork;

impl AddressFacts for OneNetwork {
    fn facts(&self, _: IpAddr) -> NetworkFacts {
        NetworkFacts { asn: 64_500, country: Country::from_code("SE"), kind: NetworkKind::Hosting }
    }

    fn organisation(&self, _: u32) -> Option<&str> {
        None
    }
}

fn read(line: &str) -> Result<UsageEvent, RecordError> {
    let lookup = Lookup { addresses: &OneNetwork, prices: PriceTable::bundled() };
    Record::from_json(line.as_bytes(), &mut UnknownFields::default())?.event(&lookup)
}

fn event(more: &str) -> UsageEvent {
    read(&format!(r#"{{"time":"2026-03-01T12:00:00Z","key":"k1"{more}}}"#)).unwrap()
}

#[test]
fn time_and_key_are_enough() {
    let event = event("");
    assert_eq!(event.request.time.to_string(), "2026-03-01T12:00:00.000Z");
    assert_eq!(event.request.key, key_id("k1"));
    assert_eq!(event.request.id, RequestId::from_bits(0));
    assert_eq!((event.outcome, event.status, event.cost), (Outcome::Served, 200, NanoUsd::ZERO));
    assert_eq!(event.request.source.facts, NetworkFacts::default());
    assert_eq!(event.request.endpoint, Endpoint::ChatCompletions);
}

#[test]
fn an_owner_is_any_text() {
    let owner =
        |line: &str| Record::from_json(line.as_bytes(), &mut UnknownFields::default()).unwrap().owner();
    assert_eq!(owner(r#"{"owner":"search team"}"#), Ok(Some(owner_id("search team"))));
    assert_ne!(owner_id("search team"), owner_id("research team"));
    let own = owner_id("search team").to_string();
    assert_eq!(owner_id(&own).to_string(), own, "an id stays what it is");
    assert_eq!((owner("{}"), owner(r#"{"owner":""}"#)), (Ok(None), Ok(None)));
    assert!(owner(r#"{"owner":[1]}"#).unwrap_err().to_string().starts_with("field owner"));
}

#[test]
fn what_is_left_out_is_looked_up() {
    let event = event(
        r#","address":"203.0.113.7","user_agent":"OpenAI/Python 1.52.0","provider":"openai","model":"gpt-4o-mini","input_tokens":1000,"output_tokens":100"#,
    );
    let facts = event.request.source.facts;
    assert_eq!((facts.asn, facts.country.code(), facts.kind), (64_500, "SE", NetworkKind::Hosting));
    assert_eq!(
        (event.request.client.family.as_str(), event.request.client.version.as_str()),
        ("openai-python", "1.52.0")
    );
    assert!(event.cost > NanoUsd::ZERO);
    assert_eq!((event.price_source, event.usage_source), (PriceSource::Exact, UsageSource::Provider));
    assert_eq!(event.request.cost_worst, event.cost);
    assert_eq!(event.request.input_tokens_estimate, 1_000);
}

#[test]
fn what_is_given_goes_before_what_is_known() {
    let event = event(
        r#","address":"203.0.113.7","asn":64501,"network":"vpn","client":"mine","user_agent":"curl/8","cost_usd":0.25,"model":"gpt-4o","input_tokens":9.0"#,
    );
    let facts = event.request.source.facts;
    assert_eq!((facts.asn, facts.country.code(), facts.kind), (64_501, "SE", NetworkKind::Vpn));
    assert_eq!((event.request.client.family.as_str(), event.cost), ("mine", NanoUsd(250_000_000)));
}

#[test]
fn texts_stand_for_ids_and_hashes() {
    let event = event(
        r#","request":"abc-1","template":"support bot","tools":18446744073709551615,"tls":"t13d1516h2_8daaf6152771""#,
    );
    assert_eq!(event.request.id.bits(), text_bits("abc-1"));
    assert_ne!(text_bits("abc-1"), text_bits("abc-2"));
    assert!(event.request.shape.template != 0 && event.request.client.tls != 0);
    assert_eq!(event.request.shape.tools, u64::MAX);
    let own: KeyId = "key_0123456789ab".parse().unwrap();
    assert_eq!(key_id("key_0123456789ab"), own);
}

#[test]
fn refusals_have_their_status() {
    let event = event(r#","outcome":"refused","outcome_reason":"key_revoked""#);
    assert_eq!((event.outcome, event.status), (Outcome::Refused(Refusal::Revoked), 401));
}

#[test]
fn unknown_fields_are_counted_by_name() {
    let mut unknown = UnknownFields::default();
    for _ in 0..2 {
        Record::from_json(
            br#"{"time":1772366400000000,"key":"k","region":{"a":[1]},"x":null}"#,
            &mut unknown,
        )
        .unwrap();
    }
    assert_eq!(unknown.counts().collect::<Vec<_>>(), [("region", 2), ("x", 2)]);
}

#[track_caller]
fn check_error(line: &str, want: &str) {
    assert_eq!(read(line).unwrap_err().to_string(), want);
}

fn with(more: &str) -> String {
    format!(r#"{{"time":"2026-03-01T12:00:00Z","key":"k1",{more}}}"#)
}

#[test]
fn outcomes_need_a_reason() {
    check_error(
        &with(r#""outcome":"refused""#),
        "field outcome_reason: missing; write why it was refused, such as key_revoked (docs/events.md lists the reasons)",
    );
    check_error(
        &with(r#""outcome":"cut","outcome_reason":"bored""#),
        "field outcome_reason: \"bored\" can not be read; write why it was cut: budget, containment or shutdown",
    );
    check_error(
        &with(r#""outcome":"upstream_failed","outcome_reason":"""#),
        "field outcome_reason: missing; write how the provider failed: connect, timeout, reset, garbage or body_broken",
    );
}

#[test]
fn errors_say_what_to_write() {
    check_error(
        r#"{"key":"k"}"#,
        "field time: missing; write a time such as \"2026-03-01T12:00:00.250Z\", or seconds, milliseconds or microseconds since 1970",
    );
    check_error(
        r#"{"time":17723664000,"key":"k"}"#,
        "field time: 17723664000 can not be read; write a time such as \"2026-03-01T12:00:00.250Z\", or seconds, milliseconds or microseconds since 1970",
    );
    check_error(
        r#"{"time":"2026-03-01T12:00:00Z","key":""}"#,
        "field key: missing; write the key's id or any other text that names it",
    );
    check_error(
        &with(r#""input_tokens":-3"#),
        "field input_tokens: -3 can not be read; write a whole number, 0 or above",
    );
    check_error(
        &with(r#""completion_tokens":"12 k""#),
        "field completion_tokens: \"12 k\" can not be read; write a whole number, 0 or above",
    );
    check_error(
        &with(r#""client_ip":"203.0.113.7, 10.0.0.1""#),
        "field client_ip: \"203.0.113.7, 10.0.0.1\" can not be read; write an address such as \"203.0.113.7\" or \"2001:db8::1\"",
    );
    check_error(
        &with(r#""country":"Germany""#),
        "field country: \"Germany\" can not be read; write two letters, such as \"DE\"",
    );
    check_error(
        &with(r#""outcome":"ok""#),
        "field outcome: \"ok\" can not be read; write served, refused, client_left, cut or upstream_failed",
    );
    check_error(
        &with(r#""asn":"Example""#),
        "field asn: \"Example\" can not be read; write a number below 2^32, or a text such as \"AS64500\"",
    );
    check_error(
        &with(r#""prompt_tokens":10,"cached_tokens":12"#),
        "field prompt_tokens: 10, with 12 of them cached, can not be read; write input_tokens, cache_read_tokens and \
         cache_write_tokens, each without the others",
    );
    check_error(
        &with(r#""parameters":true"#),
        "field parameters: true can not be read; write a whole number of 64 bits, any text, a list or an object: equal \
         ones mean equal things",
    );
    let said = read(&with(r#""network":"marsian""#)).unwrap_err().to_string();
    assert!(said.starts_with("field network: \"marsian\" can not be read; write unknown, private"), "{said}");
    check_error(&with(r#""stream":"yes""#), "field stream: \"yes\" can not be read; write true or false");
    check_error(&with(r#""model":["a"]"#), "field model: a list or object can not be read; write a text");
    check_error(
        &with(r#""status":99"#),
        "field status: 99 can not be read; write an HTTP status such as 200",
    );
    check_error(
        &with(r#""cost_usd":-1"#),
        "field cost_usd: -1 can not be read; write dollars such as 0.0125",
    );
    assert!(read("[1]").unwrap_err().to_string().starts_with("not a JSON object: "));
    assert!(read(r#"{"ts":1,"ts":2}"#).unwrap_err().to_string().contains("field ts occurs twice"));
    assert!(read(r#"{"time":1,"time":2}"#).unwrap_err().to_string().contains("field time occurs twice"));
    assert!(read(r#"{"time":"2026-03-01T12:00:00Z","key":"k"} x"#).is_err());
}

proptest! {
    #[test]
    fn no_line_is_fatal(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::from_json(&line, &mut UnknownFields::default());
    }

    #[test]
    fn no_value_is_fatal(column in 0..Column::ALL.len(), value in "[ -~]{0,40}", number: i64, real: f64) {
        let name = Column::ALL[column].name();
        for value in [format!("{value:?}"), number.to_string(), real.to_string(), "null".to_owned(), "true".to_owned()] {
            let _ = read(&format!(r#"{{"{name}":{value}}}"#));
            let _ = read(&format!(r#"{{"time":1772366400000000,"key":"k","x{name}":1,"{name}":{value}}}"#));
        }
    }

    #[test]
    fn names_are_read_back(column in 0..Column::ALL.len()) {
        prop_assert_eq!(Column::from_name(Column::ALL[column].name()), Some(Column::ALL[column]));
    }

    #[test]
    fn every_unit_of_time_is_told_apart(second in 315_532_800u64..7_258_118_400, micros in 0u64..1_000_000) {
        let want = second * 1_000_000 + micros;
        for (number, want) in [
            (second, second * 1_000_000),
            (want / 1_000, want / 1_000 * 1_000),
            (want, want),
            (want * 1_000, want),
        ] {
            prop_assert_eq!(values::time(&Cell::Number(number)), Some(Timestamp(want)));
            prop_assert_eq!(text_time(&number.to_string()), Some(Timestamp(want)));
        }
        let real = values::time(&Cell::Real(want as f64 / 1e6)).unwrap();
        prop_assert!(real.0.abs_diff(want) <= 1, "what a fraction can hold");
    }

    #[test]
    fn no_time_is_fatal(text in "[0-9TtZz:., +-]{0,40}", number: u64, real: f64) {
        for cell in [Cell::Text(text.into()), Cell::Number(number), Cell::Real(real)] {
            let _ = values::time(&cell);
        }
    }
}
