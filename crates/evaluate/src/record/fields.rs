//! The fields an event may have, and what others call them.

/// Set in [`Name::rank`] of what is written inside of `usage`.
const IN_USAGE: u8 = 0x80;

macro_rules! columns {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $(| $alias:literal)*,)*) => {
        /// A field of an event; names and meaning are in `docs/events.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Column {
            $($(#[$doc])* $variant,)*
        }

        impl Column {
            /// Every field.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            pub(super) const COUNT: usize = Self::ALL.len();

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What others call it; of two that an event has, the earlier one is read.
            pub const fn aliases(self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant => &[$($alias,)*],)*
                }
            }

            /// The inverse of [`Column::name`].
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The field that has this name among its [`Column::aliases`].
            pub fn from_alias(name: &str) -> Option<Self> {
                match name {
                    $($($alias => Some(Self::$variant),)*)*
                    _ => None,
                }
            }
        }
    };
}

/// A field, and which of its names it was written under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The field.
    pub column: Column,
    /// 0 for its own name, else the place of the alias, counted from 1: the lowest goes before the others.
    pub(super) rank: u8,
}

impl Name {
    /// The field that a name or an alias stands for.
    pub fn find(name: &str) -> Option<Self> {
        if let Some(column) = Column::from_name(name) {
            return Some(Self { column, rank: 0 });
        }
        let column = Column::from_alias(name)?;
        let place = column.aliases().iter().position(|alias| *alias == name)?;
        Some(Self { column, rank: u8::try_from(place + 1).ok()? })
    }

    /// The same, written inside of `usage`: whatever stands beside it goes before it.
    pub(super) const fn in_usage(self) -> Self {
        Self { rank: self.rank | IN_USAGE, ..self }
    }

    /// As it was written, without `usage`.
    pub(super) fn text(self) -> &'static str {
        let place = usize::from(self.rank & !IN_USAGE).checked_sub(1);
        let alias = place.and_then(|place| self.column.aliases().get(place));
        alias.copied().unwrap_or(self.column.name())
    }

    /// As it was written, for people.
    pub(super) fn shown(self) -> String {
        format!("{}{}", if self.rank & IN_USAGE == 0 { "" } else { "usage." }, self.text())
    }
}

impl Column {
    /// Whether it counts tokens that were used, which others write into an object `usage`.
    pub(super) const fn is_usage(self) -> bool {
        matches!(
            self,
            Self::InputTokens
                | Self::CacheReadTokens
                | Self::CacheWriteTokens
                | Self::CacheWrite1hTokens
                | Self::OutputTokens
                | Self::ReasoningTokens
        )
    }

    /// Whether a list or an object is hashed in its place.
    pub(super) const fn is_hash(self) -> bool {
        matches!(self, Self::Template | Self::Tools | Self::Roles | Self::Parameters | Self::Prompt)
    }
}

columns! {
    /// When the request arrived.
    Time = "time" | "timestamp" | "ts" | "@timestamp" | "datetime" | "event_time" | "start_time"
        | "startTime" | "started_at" | "created_at" | "request_created_at" | "time_iso8601",
    /// Id of the request.
    Request = "request" | "request_id" | "requestId" | "x-request-id" | "x_request_id" | "litellm_call_id"
        | "id",
    /// The key.
    Key = "key" | "key_id" | "keyId" | "virtual_key" | "api_key_id" | "api_key" | "apiKey" | "api_key_hash"
        | "user_api_key_hash" | "key_name" | "key_alias",
    /// Ordinal; not read, because the order of the times counts.
    KeySeq = "key_seq",
    /// Source address.
    Address = "address" | "ip" | "client_ip" | "clientIp" | "source_ip" | "src_ip" | "ip_address"
        | "remote_ip" | "remote_addr" | "remote_address" | "requester_ip_address"
        | "downstream_remote_address",
    /// Autonomous system.
    Asn = "asn" | "as_number",
    /// Country.
    Country = "country" | "country_code" | "country_iso_code",
    /// Kind of network.
    Network = "network" | "network_type" | "network_kind",
    /// Client family.
    Client = "client",
    /// Its version.
    ClientVersion = "client_version",
    /// Its runtime.
    Runtime = "runtime",
    /// Its operating system.
    Os = "os",
    /// TLS fingerprint.
    Tls = "tls" | "ja4" | "ja3" | "tls_fingerprint",
    /// The header that the client is read from when `client` is absent.
    UserAgent = "user_agent" | "user-agent" | "userAgent" | "http_user_agent",
    /// Provider.
    Provider = "provider" | "provider_name" | "custom_llm_provider" | "llm_provider" | "ai_provider"
        | "gen_ai.provider.name" | "gen_ai.system",
    /// What was called.
    Endpoint = "endpoint" | "path" | "request_path" | "request_uri" | "uri" | "url" | "request_url"
        | "x-envoy-origin-path",
    /// Model.
    Model = "model" | "request_model" | "requested_model" | "model_name" | "ai_model"
        | "gen_ai.request.model",
    /// Whether a stream was asked for.
    Stream = "stream" | "streaming" | "is_stream" | "gen_ai.request.stream",
    /// Prompt template.
    Template = "template" | "template_id" | "template_hash" | "prompt_template" | "prompt_template_id"
        | "prompt_id",
    /// Set of tools.
    Tools = "tools" | "tool_names" | "tools_hash",
    /// Pattern of roles.
    Roles = "roles",
    /// Parameters.
    Parameters = "parameters" | "parameters_hash",
    /// Last user message.
    Prompt = "prompt" | "prompt_hash",
    /// Messages.
    Messages = "messages" | "message_count" | "num_messages",
    /// Tools offered.
    ToolCount = "tool_count" | "num_tools",
    /// Input tokens, estimated before.
    InputTokensEstimate = "input_tokens_estimate",
    /// Output limit.
    OutputTokensMax = "output_tokens_max" | "max_output_tokens" | "max_completion_tokens" | "max_tokens"
        | "gen_ai.request.max_tokens",
    /// Worst cost.
    CostWorst = "cost_worst_nano_usd",
    /// Body of the request.
    RequestBytes = "request_bytes" | "request_size" | "bytes_received",
    /// How it ended.
    Outcome = "outcome",
    /// Why.
    OutcomeReason = "outcome_reason",
    /// HTTP status.
    Status = "status" | "status_code" | "http_status" | "http_status_code" | "response_code"
        | "response_status" | "response_status_code",
    /// Input tokens at the full price.
    InputTokens = "input_tokens" | "prompt_tokens" | "inputTokens" | "gen_ai.usage.input_tokens"
        | "gen_ai.usage.prompt_tokens" | "tokens_in" | "tokens_prompt" | "request_tokens",
    /// Read from a cache.
    CacheReadTokens = "cache_read_tokens" | "cache_read_input_tokens" | "cacheReadInputTokens"
        | "prompt_cache_read_tokens" | "gen_ai.usage.cache_read.input_tokens" | "cached_tokens"
        | "cached_input_tokens" | "input_cached_tokens",
    /// Written to a cache.
    CacheWriteTokens = "cache_write_tokens" | "cache_creation_input_tokens" | "cacheWriteInputTokens"
        | "prompt_cache_write_tokens" | "gen_ai.usage.cache_creation.input_tokens",
    /// Written to a cache for an hour.
    CacheWrite1hTokens = "cache_write_1h_tokens",
    /// Output tokens.
    OutputTokens = "output_tokens" | "completion_tokens" | "outputTokens" | "gen_ai.usage.output_tokens"
        | "gen_ai.usage.completion_tokens" | "tokens_out" | "tokens_completion" | "response_tokens",
    /// Of these, for reasoning.
    ReasoningTokens = "reasoning_tokens" | "gen_ai.usage.reasoning.output_tokens"
        | "gen_ai.usage.reasoning_tokens",
    /// Where the counts come from.
    UsageSource = "usage_source",
    /// Cost in billionths of a dollar.
    Cost = "cost_nano_usd",
    /// Cost in dollars, for those who have that.
    CostUsd = "cost_usd" | "response_cost" | "spend" | "costUSD",
    /// How the price was found.
    PriceSource = "price_source",
    /// Body of the answer.
    ResponseBytes = "response_bytes" | "response_size" | "body_bytes_sent" | "bytes_sent",
    /// Time to the first byte.
    FirstByteUs = "first_byte_us",
    /// Time to the end.
    DurationUs = "duration_us",
    /// Sketch of the prompt's topic.
    Topic = "topic",
    /// Phrase rules that matched.
    Phrases = "phrases",
    /// Sketch of the answer.
    Completion = "completion",
    /// Other keys of the owner that were asked.
    Siblings = "siblings",
    /// What they know.
    SiblingsKnow = "siblings_know",
    /// Whether the credential before the latest rotation was presented.
    PreviousCredential = "previous_credential",
    /// Whose the key is; not in archives.
    Owner = "owner",
    /// Partition of an archive; not read.
    Date = "date",
    /// Partition of an archive; not read.
    Hour = "hour",
}
