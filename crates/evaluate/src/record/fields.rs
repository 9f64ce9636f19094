//! The fields an event may have.

macro_rules! columns {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
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

            /// The inverse of [`Column::name`].
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

columns! {
    /// When the request arrived.
    Time = "time",
    /// Id of the request.
    Request = "request",
    /// The key.
    Key = "key",
    /// Ordinal; not read, because the order of the times counts.
    KeySeq = "key_seq",
    /// Source address.
    Address = "address",
    /// Autonomous system.
    Asn = "asn",
    /// Country.
    Country = "country",
    /// Kind of network.
    Network = "network",
    /// Client family.
    Client = "client",
    /// Its version.
    ClientVersion = "client_version",
    /// Its runtime.
    Runtime = "runtime",
    /// Its operating system.
    Os = "os",
    /// TLS fingerprint.
    Tls = "tls",
    /// The header that the client is read from when `client` is absent.
    UserAgent = "user_agent",
    /// Provider.
    Provider = "provider",
    /// What was called.
    Endpoint = "endpoint",
    /// Model.
    Model = "model",
    /// Whether a stream was asked for.
    Stream = "stream",
    /// Prompt template.
    Template = "template",
    /// Set of tools.
    Tools = "tools",
    /// Pattern of roles.
    Roles = "roles",
    /// Parameters.
    Parameters = "parameters",
    /// Last user message.
    Prompt = "prompt",
    /// Messages.
    Messages = "messages",
    /// Tools offered.
    ToolCount = "tool_count",
    /// Input tokens, estimated before.
    InputTokensEstimate = "input_tokens_estimate",
    /// Output limit.
    OutputTokensMax = "output_tokens_max",
    /// Worst cost.
    CostWorst = "cost_worst_nano_usd",
    /// Body of the request.
    RequestBytes = "request_bytes",
    /// How it ended.
    Outcome = "outcome",
    /// Why.
    OutcomeReason = "outcome_reason",
    /// HTTP status.
    Status = "status",
    /// Input tokens at the full price.
    InputTokens = "input_tokens",
    /// Read from a cache.
    CacheReadTokens = "cache_read_tokens",
    /// Written to a cache.
    CacheWriteTokens = "cache_write_tokens",
    /// Written to a cache for an hour.
    CacheWrite1hTokens = "cache_write_1h_tokens",
    /// Output tokens.
    OutputTokens = "output_tokens",
    /// Of these, for reasoning.
    ReasoningTokens = "reasoning_tokens",
    /// Where the counts come from.
    UsageSource = "usage_source",
    /// Cost in billionths of a dollar.
    Cost = "cost_nano_usd",
    /// Cost in dollars, for those who have that.
    CostUsd = "cost_usd",
    /// How the price was found.
    PriceSource = "price_source",
    /// Body of the answer.
    ResponseBytes = "response_bytes",
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
