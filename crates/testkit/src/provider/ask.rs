//! What a JSON request asks for, as far as the mock cares.

use hyper::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::directives::Directives;
use super::{OUTPUT_TOKENS_DEFAULT, OUTPUT_TOKENS_MAX};

/// The fields the mock reads; everything else is ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Ask {
    pub(crate) model: Option<String>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    max_output_tokens: Option<i64>,
    messages: Option<Vec<IgnoredAny>>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<Value>,
    pub(crate) input: Option<Value>,
    pub(crate) prompt: Option<IgnoredAny>,
    pub(crate) encoding_format: Option<String>,
    pub(crate) dimensions: Option<usize>,
    pub(crate) requests: Option<Vec<BatchLine>>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Tool {
    name: Option<String>,
    function: Option<Function>,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: Option<String>,
}

/// One request of a message batch.
#[derive(Debug, Deserialize)]
pub(crate) struct BatchLine {
    pub(crate) custom_id: String,
    pub(crate) params: BatchParams,
}

/// The parameters of one request of a message batch.
#[derive(Debug, Deserialize)]
pub(crate) struct BatchParams {
    pub(crate) model: String,
    pub(crate) max_tokens: i64,
}

/// A refusal: status and message.
pub(crate) type Refused = (StatusCode, &'static str);

/// Token counts of one request; `cached` is part of `input`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) cached: u64,
    pub(crate) output: u64,
}

impl Ask {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refused> {
        serde_json::from_slice(body)
            .map_err(|_| (StatusCode::BAD_REQUEST, "We could not parse the JSON body of your request."))
    }

    /// The model, which must be named and known. Models whose name starts with `unknown-` are not.
    pub(crate) fn model(&self) -> Result<&str, Refused> {
        match self.model.as_deref() {
            None | Some("") => Err((StatusCode::BAD_REQUEST, "you must provide a model parameter")),
            Some(model) if model.starts_with("unknown-") => {
                Err((StatusCode::NOT_FOUND, "The model does not exist or you do not have access to it."))
            }
            Some(model) => Ok(model),
        }
    }

    /// Refuses a conversation without messages and a limit below one token: what key checkers send.
    pub(crate) fn check_messages(&self) -> Result<(), Refused> {
        if self.messages.as_ref().is_none_or(Vec::is_empty) {
            return Err((StatusCode::BAD_REQUEST, "messages: at least one message is required"));
        }
        self.check_limit()
    }

    /// Refuses a limit below one token.
    pub(crate) fn check_limit(&self) -> Result<(), Refused> {
        match self.output_limit() {
            Some(limit) if limit < 1 => {
                Err((StatusCode::BAD_REQUEST, "max_tokens is too small: at least 1 is required"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn output_limit(&self) -> Option<i64> {
        self.max_completion_tokens.or(self.max_output_tokens).or(self.max_tokens)
    }

    pub(crate) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    pub(crate) fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage == Some(true))
    }

    /// The tool to call, when the request demands one or the style asks for it.
    pub(crate) fn tool_to_call(&self, directives: &Directives) -> Option<&str> {
        let demanded = match &self.tool_choice {
            Some(Value::String(word)) => word == "required",
            // OpenAI names a function, Anthropic says `any` or `tool`.
            Some(Value::Object(choice)) => {
                !matches!(choice.get("type").and_then(Value::as_str), Some("auto" | "none"))
            }
            _ => false,
        };
        let tool = self.tools.as_ref()?.first()?;
        let name = tool.name.as_deref().or_else(|| tool.function.as_ref()?.name.as_deref())?;
        (demanded || directives.style.tool_call).then_some(name)
    }

    /// The counts to report.
    pub(crate) fn tokens(&self, body_length: usize, directives: &Directives) -> Tokens {
        let input = directives.input_tokens.unwrap_or((body_length as u64).div_ceil(4));
        let allowed = self.output_limit().and_then(|limit| u64::try_from(limit).ok());
        let output = directives
            .output_tokens
            .unwrap_or_else(|| allowed.unwrap_or(OUTPUT_TOKENS_DEFAULT).min(OUTPUT_TOKENS_MAX));
        Tokens { input, cached: directives.cached_tokens.unwrap_or(0).min(input), output }
    }
}
