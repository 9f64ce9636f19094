//! Usage events as JSON lines, with the columns and units of the archive (`docs/events.md`).
//!
//! Invariants: one event is one line with every column, in the archive's order; what is absent is `null`; hashes are
//! unsigned numbers, times RFC 3339 with microseconds.

use serde::Serialize;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::time::Timestamp;
use tokenwatch_model::usage::{PriceSource, UsageSource};

/// One event as columns.
#[derive(Debug, Serialize)]
struct Row<'a> {
    time: String,
    request: RequestId,
    key: Option<KeyId>,
    key_seq: Option<u64>,
    address: String,
    asn: Option<u32>,
    country: Option<&'a str>,
    network: &'static str,
    client: Option<&'a str>,
    client_version: Option<&'a str>,
    runtime: Option<&'a str>,
    os: Option<&'a str>,
    tls: Option<u64>,
    provider: &'a str,
    endpoint: &'static str,
    model: Option<&'a str>,
    stream: bool,
    template: Option<u64>,
    tools: Option<u64>,
    roles: Option<u64>,
    parameters: Option<u64>,
    prompt: Option<u64>,
    messages: u32,
    tool_count: u32,
    input_tokens_estimate: u64,
    output_tokens_max: Option<u64>,
    cost_worst_nano_usd: u64,
    request_bytes: u64,
    outcome: &'static str,
    outcome_reason: Option<&'static str>,
    status: Option<u16>,
    input_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    cache_write_1h_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    usage_source: UsageSource,
    cost_nano_usd: u64,
    price_source: PriceSource,
    response_bytes: u64,
    first_byte_us: Option<u64>,
    duration_us: u64,
    topic: Option<u64>,
    phrases: Option<u64>,
    completion: Option<u64>,
    siblings: Option<u64>,
    siblings_know: Option<u64>,
    previous_credential: bool,
}

/// Appends an event as one line.
///
/// # Errors
///
/// Never in practice: every column has a JSON form.
pub fn write_line(event: &UsageEvent, out: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *out, &row(event))?;
    out.push(b'\n');
    Ok(())
}

/// A time with microseconds, as RFC 3339.
pub fn time(at: Timestamp) -> String {
    let whole = Timestamp::from_seconds(at.seconds()).to_string();
    let seconds = whole.split('.').next().unwrap_or_default();
    format!("{seconds}.{:06}Z", at.0 % 1_000_000)
}

fn row(event: &UsageEvent) -> Row<'_> {
    let request = &event.request;
    let (source, client, shape, usage) = (&request.source, &request.client, &request.shape, &event.usage);
    let number = |n: u64| (n != 0).then_some(n);
    Row {
        time: time(request.time),
        request: request.id,
        key: (request.key != UsageEvent::NO_KEY).then_some(request.key),
        key_seq: number(event.key_seq),
        address: source.address.to_string(),
        asn: (source.facts.asn != 0).then_some(source.facts.asn),
        country: source.facts.country.is_known().then(|| source.facts.country.code()),
        network: source.facts.kind.name(),
        client: text(&client.family),
        client_version: text(&client.version),
        runtime: text(&client.runtime),
        os: text(&client.os),
        tls: number(client.tls),
        provider: &request.provider,
        endpoint: request.endpoint.name(),
        model: text(&request.model),
        stream: request.stream,
        template: number(shape.template),
        tools: number(shape.tools),
        roles: number(shape.roles),
        parameters: number(shape.parameters),
        prompt: number(shape.prompt),
        messages: shape.messages,
        tool_count: shape.tool_count,
        input_tokens_estimate: request.input_tokens_estimate,
        output_tokens_max: number(request.output_tokens_max),
        cost_worst_nano_usd: request.cost_worst.0,
        request_bytes: request.request_bytes,
        outcome: event.outcome.code(),
        outcome_reason: reason(event.outcome),
        status: (event.status != 0).then_some(event.status),
        input_tokens: usage.input,
        cache_read_tokens: usage.cache_read,
        cache_write_tokens: usage.cache_write,
        cache_write_1h_tokens: usage.cache_write_1h,
        output_tokens: usage.output,
        reasoning_tokens: usage.reasoning,
        usage_source: event.usage_source,
        cost_nano_usd: event.cost.0,
        price_source: event.price_source,
        response_bytes: event.response_bytes,
        first_byte_us: number(event.first_byte_us),
        duration_us: event.duration_us,
        topic: number(shape.topic),
        phrases: number(shape.phrases.into()),
        completion: number(event.completion),
        siblings: number(request.siblings.keys.into()),
        siblings_know: number(request.siblings.known.0.into()),
        previous_credential: request.previous_credential,
    }
}

fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

const fn reason(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Refused(refusal) => Some(refusal.code()),
        Outcome::Cut(cut) => Some(cut.code()),
        Outcome::UpstreamFailed(failure) => Some(failure.code()),
        Outcome::Served | Outcome::ClientLeft => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::fleet::{Fleet, FleetOptions};

    #[test]
    fn lines_have_the_archives_columns_in_its_order() {
        let docs =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md")).unwrap();
        let table = docs.split("## Columns of events").nth(1).unwrap().split("##").next().unwrap();
        let columns: Vec<&str> = table
            .lines()
            .filter(|line| line.starts_with("| `"))
            .filter_map(|line| line.split('`').nth(1))
            .collect();
        let options = FleetOptions { keys_per_client: 1, ..FleetOptions::default() };
        let fleet = Fleet::new(1, &options).unwrap();
        let mut lines = Vec::new();
        let events: Vec<UsageEvent> = fleet.keys()[3].events(0, 11).take(50).collect();
        events.iter().for_each(|event| write_line(event, &mut lines).unwrap());
        let text = String::from_utf8(lines).unwrap();
        assert_eq!(text.lines().count(), events.len());
        for (line, event) in text.lines().zip(&events) {
            let value: Value = serde_json::from_str(line).unwrap();
            let mut places: Vec<usize> =
                columns.iter().map(|column| line.find(&format!("\"{column}\":")).expect(column)).collect();
            assert!(places.is_sorted());
            places.dedup();
            assert_eq!(places.len(), value.as_object().unwrap().len());
            let time: Timestamp = value["time"].as_str().unwrap().parse().unwrap();
            assert_eq!(time, event.request.time);
            assert_eq!(value["template"].as_u64().unwrap_or(0), event.request.shape.template);
            assert_eq!(value["cost_nano_usd"], event.cost.0);
            assert_eq!(value["address"], event.request.source.address.to_string());
        }
    }
}
