//! Forms and names that others use: each is read as the documented one.

use super::*;

const NOON: &str = "2026-03-01T12:00:00.000Z";

/// Both say the same: fields after time and key, in another form and as documented.
#[track_caller]
fn check(other: &str, documented: &str) {
    assert_eq!(event(other), event(documented), "{other}");
}

/// A time in another form, as JSON.
#[track_caller]
fn check_time(time: &str, want: &str) {
    let read = read(&format!(r#"{{"time":{time},"key":"k"}}"#)).unwrap();
    assert_eq!(read.request.time.to_string(), want, "{time}");
}

#[test]
fn times_are_read_in_their_unit() {
    for time in [
        "1772366400",
        "1772366400.0",
        "1772366400000",
        "1772366400000.0",
        "1772366400000000",
        "1772366400000000000",
        "\"1772366400\"",
        "\"1772366400.000\"",
        "\"1772366400000\"",
        "\"2026-03-01T12:00:00Z\"",
        "\"2026-03-01T12:00:00\"",
        "\"2026-03-01 12:00:00\"",
        "\"2026-03-01T12:00:00.000\"",
        "\"2026-03-01 12:00:00,000\"",
        "\"2026-03-01 12:00:00 UTC\"",
        "\"2026-03-01T14:00:00+02:00\"",
        "\"2026-03-01T14:00:00+0200\"",
        "\"2026-03-01 14:00:00.000 +02\"",
    ] {
        check_time(time, NOON);
    }
    check_time("1772366400.25", "2026-03-01T12:00:00.250Z");
    check_time("\"2026-03-01 12:00:00.250999999\"", "2026-03-01T12:00:00.250Z");
    for (number, want) in
        [("315532800", "1980-01-01"), ("946684800", "2000-01-01"), ("7258118399", "2199-12-31")]
    {
        for zeros in ["", "000", "000000", "000000000"] {
            let time = read(&format!(r#"{{"time":{number}{zeros},"key":"k"}}"#)).unwrap().request.time;
            assert!(time.to_string().starts_with(want), "{number}{zeros}: {time}");
        }
    }
    for time in
        ["0", "-1772366400", "315000000", "7300000000", "1e300", "\"2026-03-01\"", "\"noon\"", "\"１\""]
    {
        assert!(read(&format!(r#"{{"time":{time},"key":"k"}}"#)).is_err(), "{time}");
    }
}

#[test]
fn networks_have_other_words() {
    for (kind, words) in values::NETWORKS {
        for word in words {
            check(&format!(r#","network":"{word}""#), &format!(r#","network":"{}""#, kind.name()));
            assert!(values::NETWORK.contains(word), "the error must name {word}");
        }
        assert!(values::NETWORK.contains(kind.name()));
    }
    for (word, want) in
        [("Residential", "access"), ("data-center", "hosting"), ("TOR Exit", "tor"), ("VPN", "vpn")]
    {
        check(&format!(r#","network":"{word}""#), &format!(r#","network":"{want}""#));
    }
    let document = include_str!("../../../../../docs/events.md");
    let words = values::NETWORKS.into_iter().flat_map(|(_, words)| words);
    assert_eq!(words.copied().find(|word| !document.contains(word)), None, "docs/events.md must name it");
}

#[test]
fn numbers_are_read_from_text() {
    for (other, documented) in [
        (r#","asn":"16509""#, r#","asn":16509"#),
        (r#","asn":"AS16509""#, r#","asn":16509"#),
        (r#","asn":"as16509 Example, Inc.""#, r#","asn":16509"#),
        (r#","input_tokens":"812","output_tokens":" 7 ""#, r#","input_tokens":812,"output_tokens":7"#),
        (r#","input_tokens":"812.0""#, r#","input_tokens":812"#),
        (r#","status":"404""#, r#","status":404"#),
        (r#","stream":"True""#, r#","stream":true"#),
        (r#","stream":1"#, r#","stream":true"#),
        (r#","stream":"false""#, ""),
        (r#","request":4711"#, r#","request":"4711""#),
    ] {
        check(other, documented);
    }
    assert_eq!(read(r#"{"time":1772366400,"key":7}"#).unwrap().request.key, key_id("7"));
}

#[test]
fn what_stands_for_nothing_is_nothing() {
    for nothing in ["null", "\"\"", "\"-\""] {
        for column in Column::ALL.iter().filter(|column| !matches!(column, Column::Time | Column::Key)) {
            check(&format!(r#","{}":{nothing}"#, column.name()), "");
        }
    }
    let mut record = Record::default();
    let name = Name::find("input_tokens").unwrap();
    record.put(name, Cell::Real(f64::NAN), &mut UnknownFields::default());
    assert_eq!(record, Record::default());
}

#[test]
fn others_call_fields_otherwise() {
    let document = include_str!("../../../../../docs/events.md");
    for column in Column::ALL {
        for alias in column.aliases() {
            assert_eq!(Column::from_name(alias), None, "{alias}");
            let name = Name::find(alias).unwrap();
            assert_eq!((name.column, name.text()), (*column, *alias), "{alias} stands twice");
            assert!(document.contains(&format!("`{alias}`")), "docs/events.md must name {alias}");
        }
    }
    let own = r#"{"time":1772366400,"key":"k","request":"r","address":"192.0.2.8","user_agent":"curl/8.5.0","model":"gpt-4o","status":500,"input_tokens":812,"output_tokens":96,"output_tokens_max":500,"cost_usd":0.5}"#;
    for other in [
        r#"{"timestamp":1772366400000,"api_key":"k","request_id":"r","client_ip":"192.0.2.8:5","user-agent":"curl/8.5.0","request_model":"gpt-4o","status_code":"500","prompt_tokens":812,"completion_tokens":96,"max_tokens":500,"spend":0.5}"#,
        r#"{"ts":1772366400.0,"virtual_key":"k","id":"r","ip":"192.0.2.8","userAgent":"curl/8.5.0","gen_ai.request.model":"gpt-4o","response_code":500,"gen_ai.usage.input_tokens":812,"gen_ai.usage.output_tokens":96,"max_completion_tokens":500,"response_cost":"0.5"}"#,
        r#"{"startTime":1772366400.0,"key_id":"k","id":"r","source_ip":"192.0.2.8","http_user_agent":"curl/8.5.0","model":"gpt-4o","http_status":500,"usage":{"prompt_tokens":812,"completion_tokens":96,"total_tokens":908,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":null},"max_output_tokens":500,"costUSD":0.5}"#,
    ] {
        assert_eq!(read(other), read(own), "{other}");
    }
}

#[test]
fn tokens_are_counted_apart() {
    let apart = r#","input_tokens":200,"cache_read_tokens":800,"output_tokens":9,"reasoning_tokens":5"#;
    for other in [
        r#","prompt_tokens":1000,"cached_tokens":800,"completion_tokens":9,"reasoning_tokens":5"#,
        r#","prompt_tokens":1000,"cache_read_input_tokens":800,"output_tokens":9,"reasoning_tokens":5"#,
        r#","input_tokens":200,"cache_read_input_tokens":800,"output_tokens":9,"reasoning_tokens":5"#,
        r#","usage":{"prompt_tokens":1000,"prompt_tokens_details":{"cached_tokens":800},"completion_tokens":9,"completion_tokens_details":{"reasoning_tokens":5}}"#,
        r#","usage":{"input_tokens":1000,"input_tokens_details":{"cached_tokens":800},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":5}}"#,
        r#","usage":{"input_tokens":200,"cache_read_input_tokens":800,"output_tokens":9},"reasoning_tokens":5"#,
    ] {
        check(other, apart);
    }
    check(
        r#","prompt_tokens":1000,"cache_read_tokens":700,"cache_creation_input_tokens":200"#,
        r#","input_tokens":100,"cache_read_tokens":700,"cache_write_tokens":200"#,
    );
}

#[test]
fn the_documented_name_goes_first_and_what_loses_is_told() {
    for (line, want, told) in [
        (r#"{"input_tokens":5,"prompt_tokens":6}"#, 5, &["prompt_tokens (beside input_tokens)"][..]),
        (r#"{"prompt_tokens":6,"input_tokens":5}"#, 5, &["prompt_tokens (beside input_tokens)"]),
        (r#"{"tokens_in":6,"prompt_tokens":5}"#, 5, &["tokens_in (beside prompt_tokens)"]),
        (r#"{"usage":{"input_tokens":6},"tokens_in":5}"#, 5, &["usage.input_tokens (beside tokens_in)"]),
        (r#"{"input_tokens":null,"prompt_tokens":5}"#, 5, &[]),
        (r#"{"input_tokens":5,"prompt_tokens":5}"#, 5, &[]),
        (r#"{"usage":{"input_tokens":5,"region":1,"total_tokens":5}}"#, 5, &["usage.region"]),
        (r#"{"usage":null,"input_tokens":5}"#, 5, &[]),
        (r#"{"usage":{"x_details":[{"a":1}],"input_tokens":5}}"#, 5, &["usage"]),
        (r#"{"usage":[[1],2],"input_tokens":5}"#, 5, &["usage"]),
        (r#"{"usage":"much","input_tokens":5}"#, 5, &["usage"]),
        (r#"{"usage":-1.5,"input_tokens":5}"#, 5, &["usage"]),
    ] {
        let mut unknown = UnknownFields::default();
        let record = Record::from_json(line.as_bytes(), &mut unknown).unwrap();
        assert_eq!(record.cell(Column::InputTokens), &Cell::Number(want), "{line}");
        assert_eq!(unknown.counts().map(|(name, _)| name).collect::<Vec<_>>(), told, "{line}");
    }
}

#[test]
fn lists_and_objects_are_hashed_whatever_their_order() {
    for (one, other) in [
        (r#""tools":["b","a"]"#, r#""tools":["a","b","a"]"#),
        (
            r#""tools":[{"type":"function","function":{"name":"a","parameters":{"x":1}}},{"name":"b"}]"#,
            r#""tools":["a","b"],"tool_count":2"#,
        ),
        (r#""tools":[{"type":"web_search"}]"#, r#""tools":["web_search"]"#),
        (
            r#""parameters":{"top_p":1,"temperature":0.5}"#,
            r#""parameters":{"temperature":0.50,"top_p":1.0,"n":null}"#,
        ),
        (r#""parameters":{"a":{"c":1,"b":[2]}}"#, r#""parameters":{"a":{"b":[2.0],"c":1}}"#),
        (r#""tools":[],"parameters":{},"roles":[]"#, r#""template":null"#),
        (r#""messages":[{"role":"user","content":[{"text":"x"}]},{"role":"user"}]"#, r#""messages":2"#),
    ] {
        let fields = |text: &str| event(&format!(",{text}")).request;
        let (one_read, mut other_read) = (fields(one), fields(other));
        if one.contains(r#"["b","a"]"#) {
            other_read.shape.tool_count = 2;
        }
        assert_eq!(one_read, other_read, "{one} {other}");
    }
    let shape = |text: &str| event(&format!(",{text}")).request.shape;
    assert_ne!(shape(r#""tools":["a"]"#).tools, shape(r#""tools":["b"]"#).tools);
    assert_ne!(shape(r#""roles":["user","system"]"#).roles, shape(r#""roles":["system","user"]"#).roles);
    assert_ne!(shape(r#""parameters":{"a":1}"#).parameters, shape(r#""parameters":{"a":"1"}"#).parameters);
    assert_ne!(shape(r#""parameters":{"a":{}}"#).parameters, 0);
}

#[test]
fn endpoints_are_names_paths_or_urls() {
    let endpoint = |text: &str| event(&format!(r#","endpoint":"{text}""#)).request.endpoint;
    for (text, want) in [
        ("embeddings", Endpoint::Embeddings),
        ("chat-completions", Endpoint::ChatCompletions),
        ("chat.completions", Endpoint::ChatCompletions),
        ("/v1/messages", Endpoint::Messages),
        ("/v1/messages?beta=true", Endpoint::Messages),
        ("/v1/models", Endpoint::Models),
        ("/v1/chat/completions", Endpoint::ChatCompletions),
        ("v1/chat/completions", Endpoint::ChatCompletions),
        ("chat/completions", Endpoint::ChatCompletions),
        ("/chat/completions", Endpoint::ChatCompletions),
        ("/openai/v1/embeddings", Endpoint::Embeddings),
        ("/openai/deployments/mine/chat/completions?api-version=1", Endpoint::ChatCompletions),
        ("https://api.openai.com/v1/responses", Endpoint::Responses),
        ("https://api.openai.com/v1/embeddings?x=/v1/models#y", Endpoint::Embeddings),
        ("api.anthropic.com/v1/messages", Endpoint::Messages),
        ("/nothing/known", Endpoint::Other),
        ("/usage", Endpoint::Other),
        ("https://example.com", Endpoint::Other),
    ] {
        assert_eq!(endpoint(text), want, "{text}");
    }
}

#[test]
fn addresses_may_have_a_port() {
    for (other, own) in [
        ("203.0.113.7:443", "203.0.113.7"),
        (" 203.0.113.7", "203.0.113.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ] {
        check(&format!(r#","address":"{other}""#), &format!(r#","address":"{own}""#));
    }
}

#[test]
fn a_secret_in_the_place_of_a_key_is_not_shown() {
    let shown = |key: &str| {
        let line = format!(r#"{{"key":"{key}"}}"#);
        let record = Record::from_json(line.as_bytes(), &mut UnknownFields::default()).unwrap();
        record.key_name().map(Cow::into_owned)
    };
    let secret = format!("{}-{}", "sk", "x".repeat(32));
    assert_eq!(shown(&secret), Some(key_id(&secret).to_string()));
    assert_eq!((shown("sk-billing"), shown("")), (Some("sk-billing".to_owned()), None));
}
