//! Providers, dialects and endpoints.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// The protocol a provider speaks. New variants are appended: the order is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI's API, and the many servers that speak it.
    OpenAi,
    /// Anthropic's API.
    Anthropic,
}

impl Dialect {
    /// The word used in output and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// The inverse of [`Dialect::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::OpenAi, Self::Anthropic].into_iter().find(|dialect| dialect.name() == name)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a request calls, independent of dialect and version. New variants are appended: the order is on
/// disk and in baselines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// A path that is not known.
    Other,
    /// OpenAI `POST /v1/chat/completions`.
    ChatCompletions,
    /// OpenAI `POST /v1/completions`.
    Completions,
    /// OpenAI `POST /v1/responses` and what lies below it.
    Responses,
    /// OpenAI `POST /v1/embeddings`.
    Embeddings,
    /// OpenAI `POST /v1/moderations`.
    Moderations,
    /// OpenAI `POST /v1/images/…`.
    Images,
    /// OpenAI `POST /v1/audio/…`.
    Audio,
    /// OpenAI `POST /v1/videos`.
    Videos,
    /// OpenAI `GET /v1/realtime` (websocket).
    Realtime,
    /// Anthropic `POST /v1/messages`.
    Messages,
    /// Counting tokens, free: Anthropic `POST /v1/messages/count_tokens`, OpenAI `POST /v1/responses/input_tokens`.
    CountTokens,
    /// Listing models.
    Models,
    /// Files.
    Files,
    /// Batches of either dialect.
    Batches,
    /// Fine-tuning.
    FineTuning,
    /// Assistants, threads, runs, vector stores: state kept at the provider.
    Assistants,
    /// Organisation, billing and administration.
    Administration,
}

/// Every endpoint, in the order on disk.
pub const ENDPOINTS: [Endpoint; 18] = [
    Endpoint::Other,
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Responses,
    Endpoint::Embeddings,
    Endpoint::Moderations,
    Endpoint::Images,
    Endpoint::Audio,
    Endpoint::Videos,
    Endpoint::Realtime,
    Endpoint::Messages,
    Endpoint::CountTokens,
    Endpoint::Models,
    Endpoint::Files,
    Endpoint::Batches,
    Endpoint::FineTuning,
    Endpoint::Assistants,
    Endpoint::Administration,
];

impl Endpoint {
    /// The word used in scopes, output and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::Images => "images",
            Self::Audio => "audio",
            Self::Videos => "videos",
            Self::Realtime => "realtime",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Models => "models",
            Self::Files => "files",
            Self::Batches => "batches",
            Self::FineTuning => "fine_tuning",
            Self::Assistants => "assistants",
            Self::Administration => "administration",
        }
    }

    /// The inverse of [`Endpoint::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        ENDPOINTS.into_iter().find(|endpoint| endpoint.name() == name)
    }

    /// Whether a key without an endpoint scope may call it. The rest keeps state at the provider, hides
    /// volume or changes the account, so it must be asked for.
    pub const fn is_default(self) -> bool {
        !matches!(
            self,
            Self::Other
                | Self::Realtime
                | Self::Files
                | Self::Batches
                | Self::FineTuning
                | Self::Assistants
                | Self::Administration
        )
    }

    /// Whether its use by a thief outlives the key or reaches beyond it (persistence, account data).
    pub const fn is_sensitive(self) -> bool {
        matches!(
            self,
            Self::Other
                | Self::Files
                | Self::Batches
                | Self::FineTuning
                | Self::Assistants
                | Self::Administration
        )
    }

    /// Position in [`ENDPOINTS`], for bit sets.
    pub const fn index(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a provider credential is kept. The secret itself never stands in configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SecretRef {
    /// An environment variable: `env:OPENAI_API_KEY`.
    Env(SmolStr),
    /// A file that holds the secret alone, re-read when it changes: `file:/run/secrets/openai`.
    File(SmolStr),
}

/// Why a text is not a reference to a secret. Never repeats the text: it may be the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a reference such as env:OPENAI_API_KEY or file:/run/secrets/openai; the secret itself must not stand here"
)]
pub struct ParseSecretRefError;

impl std::str::FromStr for SecretRef {
    type Err = ParseSecretRefError;

    fn from_str(text: &str) -> Result<Self, ParseSecretRefError> {
        match text.split_once(':') {
            Some(("env", name))
                if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') =>
            {
                Ok(Self::Env(name.into()))
            }
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(ParseSecretRefError),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> String {
        reference.to_string()
    }
}

impl TryFrom<String> for SecretRef {
    type Error = ParseSecretRefError;

    fn try_from(text: String) -> Result<Self, ParseSecretRefError> {
        text.parse()
    }
}
