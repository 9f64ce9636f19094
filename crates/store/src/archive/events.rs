//! Usage events as rows. `docs/events.md` tells people what the columns mean; keep both the same.

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use tokenwatch_model::SmolStr;
use tokenwatch_model::client::Client;
use tokenwatch_model::context::{RequestContext, Shape, Siblings, SiblingsKnow, Source};
use tokenwatch_model::event::{JournalRecord, UsageEvent};
use tokenwatch_model::id::KeyId;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{Country, NetworkFacts};
use tokenwatch_model::outcome::{Cut, Outcome, Refusal, UpstreamFailure};
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::Timestamp;
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};

use crate::archive::table::{DecodeError, Kind, Record, RowReader, RowWriter, Spec};

impl Record for UsageEvent {
    const TABLE: &'static str = "events";
    const BY_HOUR: bool = true;
    const COLUMNS: &'static [Spec] = &[
        Spec::required("time", Kind::Time),
        Spec::required("request", Kind::Text),
        Spec::optional("key", Kind::FewTexts),
        Spec::optional("key_seq", Kind::Number),
        Spec::required("address", Kind::FewTexts),
        Spec::optional("asn", Kind::FewNumbers),
        Spec::optional("country", Kind::FewTexts),
        Spec::required("network", Kind::FewTexts),
        Spec::optional("client", Kind::FewTexts),
        Spec::optional("client_version", Kind::FewTexts),
        Spec::optional("runtime", Kind::FewTexts),
        Spec::optional("os", Kind::FewTexts),
        Spec::optional("tls", Kind::FewHashes),
        Spec::required("provider", Kind::FewTexts),
        Spec::required("endpoint", Kind::FewTexts),
        Spec::optional("model", Kind::FewTexts),
        Spec::required("stream", Kind::Flag),
        Spec::optional("template", Kind::FewHashes),
        Spec::optional("tools", Kind::FewHashes),
        Spec::optional("roles", Kind::FewHashes),
        Spec::optional("parameters", Kind::FewHashes),
        Spec::optional("prompt", Kind::Hash),
        Spec::required("messages", Kind::FewNumbers),
        Spec::required("tool_count", Kind::FewNumbers),
        Spec::required("input_tokens_estimate", Kind::Number),
        Spec::optional("output_tokens_max", Kind::FewNumbers),
        Spec::required("cost_worst_nano_usd", Kind::Number),
        Spec::required("request_bytes", Kind::Number),
        Spec::required("outcome", Kind::FewTexts),
        Spec::optional("outcome_reason", Kind::FewTexts),
        Spec::optional("status", Kind::FewNumbers),
        Spec::required("input_tokens", Kind::Number),
        Spec::required("cache_read_tokens", Kind::Number),
        Spec::required("cache_write_tokens", Kind::Number),
        Spec::required("cache_write_1h_tokens", Kind::Number),
        Spec::required("output_tokens", Kind::Number),
        Spec::required("reasoning_tokens", Kind::Number),
        Spec::required("usage_source", Kind::FewTexts),
        Spec::required("cost_nano_usd", Kind::Number),
        Spec::required("price_source", Kind::FewTexts),
        Spec::required("response_bytes", Kind::Number),
        Spec::optional("first_byte_us", Kind::Number),
        Spec::required("duration_us", Kind::Number),
        Spec::optional("topic", Kind::Hash),
        Spec::optional("phrases", Kind::FewNumbers),
        Spec::optional("completion", Kind::Hash),
        Spec::optional("siblings", Kind::FewNumbers),
        Spec::optional("siblings_know", Kind::FewNumbers),
        Spec::optional("previous_credential", Kind::Flag),
    ];

    fn from_journal(record: JournalRecord) -> Option<Self> {
        match record {
            JournalRecord::Usage(event) => Some(event),
            JournalRecord::Feedback { .. } | JournalRecord::Finding(_) | JournalRecord::Suppressed { .. } => {
                None
            }
        }
    }

    fn time(&self) -> Timestamp {
        self.request.time
    }

    fn key(&self) -> KeyId {
        self.request.key
    }

    fn put(&self, row: &mut RowWriter<'_>) -> Result<(), serde_json::Error> {
        put_request(self, row);
        put_shape(&self.request, row);
        put_outcome(self, row);
        put_later(self, row);
        Ok(())
    }

    fn take(row: &mut RowReader<'_>) -> Result<Self, DecodeError> {
        let time = Timestamp(row.number()?);
        let id = row.word(|text| text.parse().ok())?;
        let key = take_key(row)?;
        let key_seq = row.number()?;
        let source = take_source(row)?;
        let client = Client {
            family: row.text()?.into(),
            version: row.text()?.into(),
            runtime: row.text()?.into(),
            os: row.text()?.into(),
            tls: row.hash()?,
        };
        let request = RequestContext {
            id,
            key,
            time,
            source,
            client,
            provider: row.text()?.into(),
            endpoint: row.word(Endpoint::from_name)?,
            model: row.text()?.into(),
            stream: row.flag()?,
            shape: take_shape(row)?,
            input_tokens_estimate: row.number()?,
            output_tokens_max: row.number()?,
            cost_worst: NanoUsd(row.number()?),
            request_bytes: row.number()?,
            siblings: Siblings::default(),
            previous_credential: false,
        };
        let mut event = Self {
            request,
            key_seq,
            outcome: take_outcome(row)?,
            status: row.narrow()?,
            usage: take_usage(row)?,
            usage_source: row.word(unit_variant::<UsageSource>)?,
            cost: NanoUsd(row.number()?),
            price_source: row.word(unit_variant::<PriceSource>)?,
            response_bytes: row.number()?,
            first_byte_us: row.number()?,
            duration_us: row.number()?,
            completion: 0,
        };
        event.request.shape.topic = row.hash()?;
        event.request.shape.phrases = row.narrow()?;
        event.completion = row.hash()?;
        event.request.siblings = Siblings { keys: row.narrow()?, known: SiblingsKnow(row.narrow()?) };
        event.request.previous_credential = row.flag()?;
        Ok(event)
    }
}

/// When, which, whose, from where, with what.
fn put_request(event: &UsageEvent, row: &mut RowWriter<'_>) {
    let request = &event.request;
    row.number(request.time.0);
    row.text(&request.id.to_string());
    put_key(request.key, row);
    row.number_or_none(event.key_seq);
    row.text(&request.source.address.to_string());
    let facts = request.source.facts;
    row.number_or_none(facts.asn.into());
    row.text_or_none(if facts.country.is_known() { facts.country.code() } else { "" });
    row.text(facts.kind.name());
    let client = &request.client;
    row.text_or_none(&client.family);
    row.text_or_none(&client.version);
    row.text_or_none(&client.runtime);
    row.text_or_none(&client.os);
    row.hash_or_none(client.tls);
    row.text(&request.provider);
    row.text(request.endpoint.name());
    row.text_or_none(&request.model);
    row.flag(request.stream);
}

/// Its form, and what it could have consumed.
fn put_shape(request: &RequestContext, row: &mut RowWriter<'_>) {
    let shape = &request.shape;
    for hash in [shape.template, shape.tools, shape.roles, shape.parameters, shape.prompt] {
        row.hash_or_none(hash);
    }
    row.number(shape.messages.into());
    row.number(shape.tool_count.into());
    row.number(request.input_tokens_estimate);
    row.number_or_none(request.output_tokens_max);
    row.number(request.cost_worst.0);
    row.number(request.request_bytes);
}

/// How it ended, and what it consumed.
fn put_outcome(event: &UsageEvent, row: &mut RowWriter<'_>) {
    row.text(event.outcome.code());
    row.text_or_none(match event.outcome {
        Outcome::Served | Outcome::ClientLeft => "",
        Outcome::Refused(refusal) => refusal.code(),
        Outcome::Cut(cut) => cut.code(),
        Outcome::UpstreamFailed(failure) => failure.code(),
    });
    row.number_or_none(event.status.into());
    let usage = &event.usage;
    for tokens in [
        usage.input,
        usage.cache_read,
        usage.cache_write,
        usage.cache_write_1h,
        usage.output,
        usage.reasoning,
    ] {
        row.number(tokens);
    }
    row.text(match event.usage_source {
        UsageSource::None => "none",
        UsageSource::Provider => "provider",
        UsageSource::Estimated => "estimated",
    });
    row.number(event.cost.0);
    row.text(match event.price_source {
        PriceSource::None => "none",
        PriceSource::Exact => "exact",
        PriceSource::Similar => "similar",
        PriceSource::Dearest => "dearest",
    });
    row.number(event.response_bytes);
    row.number_or_none(event.first_byte_us);
    row.number(event.duration_us);
}

/// Columns that came later; older files lack them.
fn put_later(event: &UsageEvent, row: &mut RowWriter<'_>) {
    let request = &event.request;
    row.hash_or_none(request.shape.topic);
    row.number_or_none(request.shape.phrases.into());
    row.hash_or_none(event.completion);
    row.number_or_none(request.siblings.keys.into());
    row.number_or_none(request.siblings.known.0.into());
    row.flag(request.previous_credential);
}

/// A key; none for requests whose credential named none.
pub(crate) fn put_key(key: KeyId, row: &mut RowWriter<'_>) {
    if key == UsageEvent::NO_KEY { row.text_or_none("") } else { row.text(&key.to_string()) }
}

pub(crate) fn take_key(row: &mut RowReader<'_>) -> Result<KeyId, DecodeError> {
    row.word(|text| if text.is_empty() { Some(UsageEvent::NO_KEY) } else { text.parse().ok() })
}

fn take_source(row: &mut RowReader<'_>) -> Result<Source, DecodeError> {
    let address = row.word(|text| text.parse().ok())?;
    let asn = row.narrow()?;
    let country = Country::from_code(row.text()?);
    let kind = row.word(unit_variant)?;
    Ok(Source { address, facts: NetworkFacts { asn, country, kind } })
}

fn take_shape(row: &mut RowReader<'_>) -> Result<Shape, DecodeError> {
    Ok(Shape {
        template: row.hash()?,
        tools: row.hash()?,
        roles: row.hash()?,
        parameters: row.hash()?,
        prompt: row.hash()?,
        messages: row.narrow()?,
        tool_count: row.narrow()?,
        ..Shape::default()
    })
}

fn take_outcome(row: &mut RowReader<'_>) -> Result<Outcome, DecodeError> {
    let outcome: SmolStr = row.text()?.into();
    row.word(|reason| {
        Some(match outcome.as_str() {
            "served" => Outcome::Served,
            "client_left" => Outcome::ClientLeft,
            "refused" => Outcome::Refused(Refusal::from_code(reason)?),
            "cut" => Outcome::Cut(Cut::from_code(reason)?),
            "upstream_failed" => Outcome::UpstreamFailed(UpstreamFailure::from_code(reason)?),
            _ => return None,
        })
    })
}

fn take_usage(row: &mut RowReader<'_>) -> Result<TokenUsage, DecodeError> {
    Ok(TokenUsage {
        input: row.number()?,
        cache_read: row.number()?,
        cache_write: row.number()?,
        cache_write_1h: row.number()?,
        output: row.number()?,
        reasoning: row.number()?,
    })
}

/// The variant without fields that has this name in serde.
fn unit_variant<T: DeserializeOwned>(name: &str) -> Option<T> {
    let name: StrDeserializer<'_, Error> = name.into_deserializer();
    T::deserialize(name).ok()
}
