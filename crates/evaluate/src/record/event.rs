//! From a record to a usage event: what is given is read strictly, what is not is looked up or has a plain default.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use tokenwatch_model::SmolStr;
use tokenwatch_model::client::Client;
use tokenwatch_model::context::{RequestContext, Shape, Siblings, SiblingsKnow, Source};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{KeyId, OwnerId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{AddressFacts, Country, NetworkKind};
use tokenwatch_model::outcome::{Cut, Outcome, Refusal, UpstreamFailure};
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::Timestamp;
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};
use tokenwatch_testkit::rng;
use tokenwatch_wire::price::{self, Price, PriceTable};

use super::values::{self, TIME};
use super::{Cell, Column, Record, RecordError, nested};

/// Longest value repeated in an error.
const SHOWN_MAX: usize = 40;
/// Keys that begin so, and are that long, are the secrets themselves.
const SECRET: &str = "sk-";
const SECRET_LEN_MIN: usize = 20;

const KEY: &str = "the key's id or any other text that names it";
const NUMBER: &str = "a whole number, 0 or above";
const HASH: &str = "a whole number of 64 bits, any text, a list or an object: equal ones mean equal things";
const MONEY: &str = "dollars such as 0.0125";

/// Answers for what a record leaves out.
pub struct Lookup<'a> {
    /// Autonomous system, country and kind of an address.
    pub addresses: &'a dyn AddressFacts,
    /// Prices of tokens.
    pub prices: &'a PriceTable,
}

fn is_secret(name: &str) -> bool {
    name.starts_with(SECRET) && name.len() >= SECRET_LEN_MIN
}

/// A key as it is written; of a secret in its place the id that is made from it, because names are shown.
pub fn shown_key(name: &str) -> String {
    if is_secret(name) { key_id(name).to_string() } else { name.to_owned() }
}

/// 128 bits for a text: those of a request id when it is one, else a hash.
pub fn text_bits(text: &str) -> u128 {
    text.parse::<RequestId>().map_or_else(|_| hash_text(text), RequestId::bits)
}

fn hash_text(text: &str) -> u128 {
    let high = rng::hash(text.as_bytes());
    // The second half hashes the text with its end first, so that the halves do not collide together.
    let backwards: Vec<u8> = text.bytes().rev().chain([b'.']).collect();
    u128::from(high) << 64 | u128::from(rng::hash(&backwards))
}

impl Record<'_> {
    /// The event that the record is. Its id is 0 when it has none; ordinals are never taken over.
    ///
    /// # Errors
    ///
    /// The first field that is missing or holds what it can not.
    pub fn event(&self, lookup: &Lookup<'_>) -> Result<UsageEvent, RecordError> {
        let usage = self.usage()?;
        let outcome = self.outcome()?;
        let status = self.status(outcome)?;
        let provider: SmolStr = self.text(Column::Provider)?.unwrap_or("unknown").into();
        let model: SmolStr = self.text(Column::Model)?.unwrap_or_default().into();
        let price = || lookup.prices.find(&provider, &model);
        let (cost, price_source) = self.cost(&usage, outcome, price)?;
        let estimate = self.number(Column::InputTokensEstimate)?.unwrap_or(usage.input_total());
        let output_tokens_max = self.number(Column::OutputTokensMax)?.unwrap_or(0);
        let cost_worst = match self.number(Column::CostWorst)? {
            Some(nanos) => NanoUsd(nanos),
            None if output_tokens_max > 0 => {
                price::worst_case(estimate, output_tokens_max, &price().0).max(cost)
            }
            None => cost,
        };
        let request = RequestContext {
            id: RequestId::from_bits(self.label(Column::Request)?.map_or(0, |label| text_bits(&label))),
            key: self.key()?,
            time: self.time()?,
            source: self.source(lookup.addresses)?,
            client: self.client()?,
            endpoint: self.endpoint(&provider)?,
            provider,
            model,
            stream: self.flag(Column::Stream)?,
            shape: self.shape()?,
            input_tokens_estimate: estimate,
            output_tokens_max,
            cost_worst,
            request_bytes: self.number(Column::RequestBytes)?.unwrap_or(0),
            siblings: self.siblings()?,
            previous_credential: self.flag(Column::PreviousCredential)?,
        };
        let counted = if usage.total() > 0 { UsageSource::Provider } else { UsageSource::None };
        Ok(UsageEvent {
            request,
            key_seq: 0,
            outcome,
            status,
            usage,
            usage_source: self
                .word(Column::UsageSource, "none, provider or estimated", unit_variant)?
                .unwrap_or(counted),
            cost,
            price_source: self
                .word(Column::PriceSource, "none, exact, similar or dearest", unit_variant)?
                .unwrap_or(price_source),
            response_bytes: self.number(Column::ResponseBytes)?.unwrap_or(0),
            first_byte_us: self.number(Column::FirstByteUs)?.unwrap_or(0),
            duration_us: self.number(Column::DurationUs)?.unwrap_or(0),
            completion: self.sketch(Column::Completion)?,
        })
    }

    /// The key as it is written; of a secret in its place the id that is made from it, because names are shown.
    pub fn key_name(&self) -> Option<Cow<'_, str>> {
        let name = self.label(Column::Key).ok().flatten()?;
        Some(if is_secret(&name) { shown_key(&name).into() } else { name })
    }

    /// The request's id as it is written.
    pub fn request_name(&self) -> Option<Cow<'_, str>> {
        self.label(Column::Request).ok().flatten()
    }

    /// Whose the key is, where the event says so.
    ///
    /// # Errors
    ///
    /// When the field holds something else than a text.
    pub fn owner(&self) -> Result<Option<OwnerId>, RecordError> {
        Ok(self.label(Column::Owner)?.map(|name| owner_id(&name)))
    }

    fn key(&self) -> Result<KeyId, RecordError> {
        let missing = || RecordError::Missing { field: Column::Key.name(), want: KEY };
        self.label(Column::Key)?.map(|name| key_id(&name)).ok_or_else(missing)
    }

    fn time(&self) -> Result<Timestamp, RecordError> {
        values::time(self.cell(Column::Time)).ok_or_else(|| self.wrong(Column::Time, TIME))
    }

    fn source(&self, addresses: &dyn AddressFacts) -> Result<Source, RecordError> {
        const WANT: &str = "an address such as \"203.0.113.7\" or \"2001:db8::1\"";
        const ASN: &str = "a number below 2^32, or a text such as \"AS64500\"";
        let address = self.word(Column::Address, WANT, values::address)?;
        let is_all_given = [Column::Asn, Column::Country, Column::Network]
            .into_iter()
            .all(|column| *self.cell(column) != Cell::Absent);
        let looked_up = address.filter(|_| !is_all_given).map(|address| addresses.facts(address));
        let mut facts = looked_up.unwrap_or_default();
        let asn = match self.cell(Column::Asn) {
            Cell::Text(text) => Some(values::asn(text).ok_or_else(|| self.wrong(Column::Asn, ASN))?),
            _ => self.number(Column::Asn)?,
        };
        if let Some(asn) = asn {
            facts.asn = u32::try_from(asn).map_err(|_| self.wrong(Column::Asn, ASN))?;
        }
        let country = |text: &str| Some(Country::from_code(text)).filter(|country| country.is_known());
        if let Some(country) = self.word(Column::Country, "two letters, such as \"DE\"", country)? {
            facts.country = country;
        }
        let kind = |text: &str| unit_variant::<NetworkKind>(text).or_else(|| values::network(text));
        if let Some(kind) = self.word(Column::Network, values::NETWORK, kind)? {
            facts.kind = kind;
        }
        Ok(Source { address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), facts })
    }

    fn client(&self) -> Result<Client, RecordError> {
        let tls = self.hash(Column::Tls)?;
        let Some(family) = self.text(Column::Client)? else {
            let agent = self.text(Column::UserAgent)?;
            return Ok(Client { tls, ..tokenwatch_wire::client::client(agent, |_| None) });
        };
        let text = |column| self.text(column).map(|text| SmolStr::from(text.unwrap_or_default()));
        Ok(Client {
            family: family.into(),
            version: text(Column::ClientVersion)?,
            runtime: text(Column::Runtime)?,
            os: text(Column::Os)?,
            tls,
        })
    }

    fn endpoint(&self, provider: &str) -> Result<Endpoint, RecordError> {
        const WANT: &str = "a name such as \"chat_completions\" or \"messages\" (docs/events.md lists them), or a \
                            path such as \"/v1/chat/completions\"";
        let read = |text: &str| values::endpoint(text, provider);
        Ok(self.word(Column::Endpoint, WANT, read)?.unwrap_or(Endpoint::ChatCompletions))
    }

    fn shape(&self) -> Result<Shape, RecordError> {
        let count = |column| {
            let count = self.number(column)?.unwrap_or(0);
            u32::try_from(count).map_err(|_| self.wrong(column, "a number below 2^32"))
        };
        Ok(Shape {
            template: self.hash(Column::Template)?,
            tools: self.hash(Column::Tools)?,
            roles: self.hash(Column::Roles)?,
            parameters: self.hash(Column::Parameters)?,
            prompt: self.hash(Column::Prompt)?,
            messages: self.list_len(Column::Messages).map_or_else(|| count(Column::Messages), Ok)?,
            tool_count: match (self.cell(Column::ToolCount), self.list_len(Column::Tools)) {
                (Cell::Absent, Some(tools)) => tools,
                _ => count(Column::ToolCount)?,
            },
            topic: self.sketch(Column::Topic)?,
            phrases: count(Column::Phrases)?,
        })
    }

    fn siblings(&self) -> Result<Siblings, RecordError> {
        let keys = self.number(Column::Siblings)?.unwrap_or(0);
        let known = self.number(Column::SiblingsKnow)?.unwrap_or(0);
        let known =
            u8::try_from(known).map_err(|_| self.wrong(Column::SiblingsKnow, "a number below 256"))?;
        Ok(Siblings { keys: u16::try_from(keys).unwrap_or(u16::MAX), known: SiblingsKnow(known) })
    }

    fn usage(&self) -> Result<TokenUsage, RecordError> {
        let tokens = |column| Ok(self.number(column)?.unwrap_or(0));
        let mut usage = TokenUsage {
            input: tokens(Column::InputTokens)?,
            cache_read: tokens(Column::CacheReadTokens)?,
            cache_write: tokens(Column::CacheWriteTokens)?,
            cache_write_1h: tokens(Column::CacheWrite1hTokens)?,
            output: tokens(Column::OutputTokens)?,
            reasoning: tokens(Column::ReasoningTokens)?,
        };
        // Under these names the input includes what was read from a cache or written to one.
        let is_all_in = matches!(
            self.name(Column::InputTokens),
            "prompt_tokens" | "gen_ai.usage.input_tokens" | "gen_ai.usage.prompt_tokens"
        );
        let is_read_in = matches!(
            self.name(Column::CacheReadTokens),
            "cached_tokens" | "cached_input_tokens" | "input_cached_tokens"
        );
        let cached = match (is_all_in, is_read_in) {
            (true, _) => usage.input_total().saturating_sub(usage.input),
            (false, true) if *self.cell(Column::InputTokens) != Cell::Absent => usage.cache_read,
            _ => 0,
        };
        usage.input = usage.input.checked_sub(cached).ok_or_else(|| RecordError::Value {
            field: self.name(Column::InputTokens),
            found: format!("{}, with {cached} of them cached,", usage.input),
            want: "input_tokens, cache_read_tokens and cache_write_tokens, each without the others",
        })?;
        Ok(usage)
    }

    fn outcome(&self) -> Result<Outcome, RecordError> {
        const WANT: &str = "served, refused, client_left, cut or upstream_failed";
        const REFUSED: &str = "why it was refused, such as key_revoked (docs/events.md lists the reasons)";
        const CUT: &str = "why it was cut: budget, containment or shutdown";
        const FAILED: &str = "how the provider failed: connect, timeout, reset, garbage or body_broken";
        let reason = || self.text(Column::OutcomeReason).map(Option::unwrap_or_default);
        let wrong = |want| self.wrong(Column::OutcomeReason, want);
        Ok(match self.text(Column::Outcome)?.unwrap_or("served") {
            "served" => Outcome::Served,
            "client_left" => Outcome::ClientLeft,
            "refused" => Outcome::Refused(Refusal::from_code(reason()?).ok_or_else(|| wrong(REFUSED))?),
            "cut" => Outcome::Cut(Cut::from_code(reason()?).ok_or_else(|| wrong(CUT))?),
            "upstream_failed" => {
                Outcome::UpstreamFailed(UpstreamFailure::from_code(reason()?).ok_or_else(|| wrong(FAILED))?)
            }
            _ => return Err(self.wrong(Column::Outcome, WANT)),
        })
    }

    fn status(&self, outcome: Outcome) -> Result<u16, RecordError> {
        let default = match outcome {
            Outcome::Refused(refusal) => refusal.status(),
            Outcome::ClientLeft => 0,
            Outcome::UpstreamFailed(_) => 502,
            Outcome::Served | Outcome::Cut(_) => 200,
        };
        let status = self.number(Column::Status)?.unwrap_or(default.into());
        let valid = u16::try_from(status).ok().filter(|status| (100..600).contains(status) || *status == 0);
        valid.ok_or_else(|| self.wrong(Column::Status, "an HTTP status such as 200"))
    }

    /// The cost as given, or by model and tokens.
    fn cost(
        &self,
        usage: &TokenUsage,
        outcome: Outcome,
        price: impl Fn() -> (Price, PriceSource),
    ) -> Result<(NanoUsd, PriceSource), RecordError> {
        if let Some(nanos) = self.number(Column::Cost)? {
            return Ok((NanoUsd(nanos), if nanos > 0 { PriceSource::Exact } else { PriceSource::None }));
        }
        let dollars = match self.cell(Column::CostUsd) {
            Cell::Absent => None,
            Cell::Number(dollars) => dollars.checked_mul(1_000_000_000).map(NanoUsd),
            Cell::Real(dollars) if (0.0..1e9).contains(dollars) => Some(NanoUsd::from_dollars(*dollars)),
            Cell::Text(text) => text.parse().ok(),
            _ => None,
        };
        if let Some(dollars) = dollars {
            return Ok((
                dollars,
                if dollars > NanoUsd::ZERO { PriceSource::Exact } else { PriceSource::None },
            ));
        }
        if *self.cell(Column::CostUsd) != Cell::Absent {
            return Err(self.wrong(Column::CostUsd, MONEY));
        }
        if usage.total() == 0 || !outcome.was_forwarded() {
            return Ok((NanoUsd::ZERO, PriceSource::None));
        }
        let (price, source) = price();
        Ok((price::cost(usage, &price), source))
    }

    fn text(&self, column: Column) -> Result<Option<&str>, RecordError> {
        match self.cell(column) {
            Cell::Absent => Ok(None),
            Cell::Text(text) => Ok(Some(text)),
            _ => Err(self.wrong(column, "a text")),
        }
    }

    /// A text, or a number, that only names something.
    fn label(&self, column: Column) -> Result<Option<Cow<'_, str>>, RecordError> {
        Ok(match self.cell(column) {
            Cell::Number(number) => Some(number.to_string().into()),
            _ => self.text(column)?.map(Cow::Borrowed),
        })
    }

    /// How many members a list has.
    fn list_len(&self, column: Column) -> Option<u32> {
        let Cell::Json(value) = self.cell(column) else { return None };
        value.as_array().map(|list| u32::try_from(list.len()).unwrap_or(u32::MAX))
    }

    /// A text that is one of some words.
    fn word<T>(
        &self,
        column: Column,
        want: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, RecordError> {
        match self.cell(column) {
            Cell::Absent => Ok(None),
            Cell::Text(text) => read(text).map(Some).ok_or_else(|| self.wrong(column, want)),
            _ => Err(self.wrong(column, want)),
        }
    }

    fn number(&self, column: Column) -> Result<Option<u64>, RecordError> {
        match self.cell(column) {
            Cell::Absent => Ok(None),
            Cell::Number(number) => Ok(Some(*number)),
            // Some tools write every number with a fraction, others as text.
            Cell::Real(real) => values::whole(*real).map(Some).ok_or_else(|| self.wrong(column, NUMBER)),
            Cell::Text(text) => values::number(text).map(Some).ok_or_else(|| self.wrong(column, NUMBER)),
            _ => Err(self.wrong(column, NUMBER)),
        }
    }

    fn hash(&self, column: Column) -> Result<u64, RecordError> {
        match self.cell(column) {
            Cell::Absent => Ok(0),
            Cell::Number(number) => Ok(*number),
            Cell::Text(text) => Ok(rng::hash(text.as_bytes()).max(1)),
            Cell::Json(value) => Ok(match value.as_array() {
                Some(tools) if column == Column::Tools => nested::hash_tools(tools),
                _ => nested::hash(value),
            }),
            _ => Err(self.wrong(column, HASH)),
        }
    }

    /// A sketch: its bits mean something, so a text in its place is no sketch.
    fn sketch(&self, column: Column) -> Result<u64, RecordError> {
        match self.cell(column) {
            Cell::Absent => Ok(0),
            Cell::Number(number) => Ok(*number),
            Cell::Text(text) => {
                text.parse().map_err(|_| self.wrong(column, "a number below 2^64, as such or as text"))
            }
            _ => Err(self.wrong(column, "a number below 2^64, as such or as text")),
        }
    }

    fn flag(&self, column: Column) -> Result<bool, RecordError> {
        match self.cell(column) {
            Cell::Absent => Ok(false),
            Cell::Flag(flag) => Ok(*flag),
            Cell::Number(number @ 0..=1) => Ok(*number == 1),
            Cell::Text(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Cell::Text(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(self.wrong(column, "true or false")),
        }
    }

    fn wrong(&self, column: Column, want: &'static str) -> RecordError {
        let field = self.name(column);
        let found = match self.cell(column) {
            Cell::Absent => return RecordError::Missing { field, want },
            Cell::Flag(flag) => flag.to_string(),
            Cell::Number(number) | Cell::Time(number) => number.to_string(),
            Cell::Real(real) => real.to_string(),
            Cell::Text(text) => format!("{:?}", text.chars().take(SHOWN_MAX).collect::<String>()),
            Cell::Json(_) | Cell::Nested => "a list or object".to_owned(),
        };
        RecordError::Value { field, found, want }
    }
}

/// The id of a key: its own when the text is one, else made from a hash of the text.
pub fn key_id(name: &str) -> KeyId {
    name.parse().unwrap_or_else(|_| {
        let id = KeyId::from_bits(rng::hash(name.as_bytes()));
        if id == UsageEvent::NO_KEY { KeyId::from_bits(1) } else { id }
    })
}

/// The id of an owner: its own when the text is one, else made from a hash of the text.
pub fn owner_id(name: &str) -> OwnerId {
    name.parse().unwrap_or_else(|_| OwnerId::from_bits(rng::hash(name.as_bytes())))
}

/// The variant without fields that has this name in serde.
fn unit_variant<T: DeserializeOwned>(name: &str) -> Option<T> {
    let name: StrDeserializer<'_, Error> = name.into_deserializer();
    T::deserialize(name).ok()
}
