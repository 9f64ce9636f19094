//! The top level of a request body, and of each request inside a batch.

use smol_str::SmolStr;
use tokenwatch_model::provider::{Dialect, Endpoint};

use super::keys::Members;
use super::shape::{Role, ShapeBuilder, ShapeKey, Texts};
use super::{MODEL_LEN_MAX, MODELS_MAX, ParseRequestError, Parsed, ParsedRequest, UsageSplice};
use crate::json::{Kind, Scanner};

/// Longest service tier that is accepted, in bytes.
const TIER_LEN_MAX: usize = 64;
/// Longest value that counts as configuration when parameters are hashed, in bytes.
const CONFIGURATION_LEN_MAX: usize = 64;

/// Keys that are read at the top level.
const FIELDS: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
    "service_tier",
    "system",
    "instructions",
    "input",
    "prompt",
    "tools",
    "functions",
    "additional_messages",
    "thread",
    "session",
    "models",
    "requests",
    "tool_choice",
    "response_format",
    "reasoning",
    "thinking",
    "text",
];

/// Reads one body; holds what was found so far.
pub(super) struct Reader<'a, 'k> {
    pub(super) scan: Scanner<'a>,
    pub(super) shape: ShapeBuilder<'a, 'k>,
    /// Texts of the message that is being read.
    pub(super) texts: Texts<'a>,
    /// Bytes of text seen, a quarter of which are tokens.
    pub(super) text_bytes: u64,
    /// Tokens of what is not text.
    pub(super) media_tokens: u64,
    dialect: Dialect,
    endpoint: Endpoint,
    is_batch: bool,
    found: ParsedRequest,
    splice: Option<UsageSplice>,
}

/// What bounds the output of one request.
#[derive(Default)]
struct OutputBounds {
    tokens: u64,
    choices: u64,
}

pub(super) fn read<'a>(
    dialect: Dialect,
    endpoint: Endpoint,
    scan: Scanner<'a>,
    key: &ShapeKey,
) -> Result<Parsed<'a>, ParseRequestError> {
    let mut reader = Reader {
        scan,
        shape: ShapeBuilder::new(key),
        texts: Texts::default(),
        text_bytes: 0,
        media_tokens: 0,
        dialect,
        endpoint,
        is_batch: dialect == Dialect::Anthropic && endpoint == Endpoint::Batches,
        found: ParsedRequest { n: 1, ..ParsedRequest::default() },
        splice: None,
    };
    reader.read_top()?;
    reader.scan.end()?;
    Ok(reader.finish())
}

impl<'a> Reader<'a, '_> {
    fn finish(self) -> Parsed<'a> {
        let reports_usage = self.dialect == Dialect::OpenAi
            && matches!(self.endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
        let (shape, template, prompt) = self.shape.finish();
        let request = ParsedRequest {
            usage_splice: self.splice.filter(|_| reports_usage && self.found.stream),
            input_tokens_estimate: self
                .text_bytes
                .div_ceil(4)
                .saturating_add(self.media_tokens)
                // The frame around each message.
                .saturating_add(3 * u64::from(shape.messages)),
            output_tokens_max: if self.found.outputs_unlimited > 0 {
                0
            } else {
                self.found.output_tokens_stated
            },
            shape,
            ..self.found
        };
        Parsed { request, template, prompt }
    }

    fn read_top(&mut self) -> Result<(), ParseRequestError> {
        let open = self.scan.offset() + 1;
        self.splice =
            Some(UsageSplice { start: open, end: open, text: r#""stream_options":{"include_usage":true},"# });
        if self.is_batch { self.read_batch() } else { self.read_request() }
    }

    /// `{"requests":[{"custom_id":…,"params":{…}},…]}`
    fn read_batch(&mut self) -> Result<(), ParseRequestError> {
        // The shape is that of the first request: a batch holds more of the same.
        let mut first = None;
        let mut members = Members::open(&mut self.scan, &["requests"])?;
        while let Some(key) = members.next(&mut self.scan)? {
            if key != "requests" || self.scan.peek()? != Kind::Array {
                self.scan.skip()?;
                continue;
            }
            let mut step = self.scan.open_array()?;
            while self.scan.next_item(&mut step)? {
                let mut entry = Members::open(&mut self.scan, &["params"])?;
                while let Some(key) = entry.next(&mut self.scan)? {
                    if key == "params" { self.read_request()? } else { self.skip()? }
                }
                let next = self.shape.fresh();
                first.get_or_insert(std::mem::replace(&mut self.shape, next));
            }
        }
        if let Some(first) = first {
            self.shape = first;
        }
        self.found.stream = false;
        Ok(())
    }

    fn read_request(&mut self) -> Result<(), ParseRequestError> {
        let mut bounds = OutputBounds::default();
        let mut members = Members::open(&mut self.scan, FIELDS)?;
        while let Some(key) = members.next(&mut self.scan)? {
            let value = self.read_field(&key, &mut bounds)?;
            let value = if value.len() > CONFIGURATION_LEN_MAX { "" } else { value };
            self.shape.add_parameter(&key, value);
        }
        self.found.n = self.found.n.max(bounds.choices);
        let choices = bounds.choices.max(1);
        let found = &mut self.found;
        if bounds.tokens == 0 {
            found.outputs_unlimited = found.outputs_unlimited.saturating_add(choices);
        }
        let tokens = bounds.tokens.saturating_mul(choices);
        found.output_tokens_stated = found.output_tokens_stated.saturating_add(tokens);
        Ok(())
    }

    /// Reads one field. The result is its value if that is configuration, which counts for the shape.
    fn read_field(&mut self, key: &str, bounds: &mut OutputBounds) -> Result<&'a str, ParseRequestError> {
        match key {
            "model" => self.read_model()?,
            "stream" => self.found.stream = self.read_bool("stream")?.unwrap_or(false),
            "stream_options" => self.read_stream_options()?,
            "max_tokens" => bounds.raise_tokens(self.read_whole("max_tokens")?),
            "max_completion_tokens" => bounds.raise_tokens(self.read_whole("max_completion_tokens")?),
            "max_output_tokens" => bounds.raise_tokens(self.read_whole("max_output_tokens")?),
            "n" => bounds.raise_choices(self.read_whole("n")?),
            "best_of" => bounds.raise_choices(self.read_whole("best_of")?),
            "service_tier" => {
                self.found.service_tier = self.read_name("service_tier", TIER_LEN_MAX)?;
            }
            "messages" | "additional_messages" => self.read_messages()?,
            "system" | "instructions" => self.read_template()?,
            "input" => self.read_input()?,
            "prompt" => self.read_prompt()?,
            "tools" | "functions" => self.read_tools()?,
            "thread" | "session" => self.read_nested()?,
            "models" => self.read_models()?,
            "tool_choice" | "response_format" | "reasoning" | "thinking" | "text" => return self.read_kind(),
            "temperature"
            | "top_p"
            | "top_k"
            | "frequency_penalty"
            | "presence_penalty"
            | "reasoning_effort"
            | "verbosity"
            | "parallel_tool_calls"
            | "store"
            | "truncation"
            | "encoding_format"
            | "dimensions"
            | "logprobs"
            | "top_logprobs"
            | "response_mime_type" => return self.read_scalar(),
            _ => self.skip()?,
        }
        Ok("")
    }

    fn read_model(&mut self) -> Result<(), ParseRequestError> {
        let Some(model) = self.read_name("model", MODEL_LEN_MAX)? else { return Ok(()) };
        self.keep_model(model)
    }

    /// Models to fall back to: an extension of servers that route among several.
    fn read_models(&mut self) -> Result<(), ParseRequestError> {
        if self.scan.peek()? != Kind::Array {
            return self.skip();
        }
        let mut step = self.scan.open_array()?;
        while self.scan.next_item(&mut step)? {
            if let Some(model) = self.read_name("models", MODEL_LEN_MAX)? {
                self.keep_model(model)?;
            }
        }
        Ok(())
    }

    fn keep_model(&mut self, model: SmolStr) -> Result<(), ParseRequestError> {
        if self.found.model.is_empty() {
            self.found.model = model;
        } else if self.found.model != model && !self.found.further_models.contains(&model) {
            if self.found.further_models.len() + 1 >= MODELS_MAX {
                return Err(ParseRequestError::TooManyModels);
            }
            self.found.further_models.push(model);
        }
        Ok(())
    }

    /// A short string of visible characters, or null.
    fn read_name(
        &mut self,
        field: &'static str,
        len_max: usize,
    ) -> Result<Option<SmolStr>, ParseRequestError> {
        let at = self.scan.offset();
        let wrong = |expected| ParseRequestError::WrongValue { field, expected, at };
        match self.scan.peek()? {
            Kind::Null => self.scan.null().map(|()| None).map_err(Into::into),
            Kind::String => {
                let name = self.scan.string()?.decode().ok_or(wrong("valid Unicode"))?;
                if name.len() > len_max {
                    return Err(wrong("a short name"));
                }
                if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
                    return Err(wrong("a name without spaces or control characters"));
                }
                Ok(Some(SmolStr::new(name)))
            }
            _ => Err(wrong("a string")),
        }
    }

    fn read_bool(&mut self, field: &'static str) -> Result<Option<bool>, ParseRequestError> {
        let at = self.scan.offset();
        match self.scan.peek()? {
            Kind::Null => self.scan.null().map(|()| None).map_err(Into::into),
            Kind::Bool => self.scan.boolean().map(Some).map_err(Into::into),
            _ => Err(ParseRequestError::WrongValue { field, expected: "true or false", at }),
        }
    }

    /// A number of tokens or choices, written with digits alone; null and absent are 0.
    fn read_whole(&mut self, field: &'static str) -> Result<u64, ParseRequestError> {
        let at = self.scan.offset();
        match self.scan.peek()? {
            Kind::Null => self.scan.null().map(|()| 0).map_err(Into::into),
            Kind::Number => self.scan.number()?.parse().map_err(|_| ParseRequestError::WrongValue {
                field,
                expected: "a whole number that is not negative, written without a fraction or exponent",
                at,
            }),
            _ => Err(ParseRequestError::WrongValue { field, expected: "a whole number", at }),
        }
    }

    fn read_stream_options(&mut self) -> Result<(), ParseRequestError> {
        const FIELD: &str = "stream_options.include_usage";
        let at = self.scan.offset();
        match self.scan.peek()? {
            Kind::Null => {
                self.scan.null()?;
                let end = self.scan.end_offset();
                self.splice = Some(UsageSplice { start: at, end, text: r#"{"include_usage":true}"# });
                return Ok(());
            }
            Kind::Object => {}
            _ => {
                let expected = "an object";
                return Err(ParseRequestError::WrongValue { field: "stream_options", expected, at });
            }
        }
        let mut is_empty = true;
        let mut found = None;
        let mut members = Members::open(&mut self.scan, &["include_usage"])?;
        while let Some(key) = members.next(&mut self.scan)? {
            is_empty = false;
            if key != "include_usage" {
                self.scan.skip()?;
                continue;
            }
            let start = self.scan.offset();
            let is_on = self.read_bool(FIELD)? == Some(true);
            found = Some((is_on, UsageSplice { start, end: self.scan.end_offset(), text: "true" }));
        }
        let text = if is_empty { r#""include_usage":true"# } else { r#""include_usage":true,"# };
        self.splice = match found {
            Some((true, _)) => None,
            Some((false, splice)) => Some(splice),
            None => Some(UsageSplice { start: at + 1, end: at + 1, text }),
        };
        Ok(())
    }

    /// The system prompt as a field of its own.
    fn read_template(&mut self) -> Result<(), ParseRequestError> {
        self.read_content()?;
        self.shape.add_template(&mut self.texts);
        Ok(())
    }

    /// `prompt` of completions, images and videos; an object is a reference to a stored prompt.
    fn read_prompt(&mut self) -> Result<(), ParseRequestError> {
        if self.scan.peek()? == Kind::Object {
            return self.skip();
        }
        self.read_content()?;
        self.shape.add_message(Role::User, &mut self.texts);
        Ok(())
    }

    /// `input`: a conversation for Responses, a text or texts elsewhere.
    fn read_input(&mut self) -> Result<(), ParseRequestError> {
        let is_conversation = matches!(self.endpoint, Endpoint::Responses | Endpoint::CountTokens);
        if is_conversation && self.scan.peek()? == Kind::Array {
            return self.read_messages();
        }
        self.read_prompt()
    }

    /// `thread` of a run, `session` of a realtime token: parts of a request one level down.
    fn read_nested(&mut self) -> Result<(), ParseRequestError> {
        if self.scan.peek()? != Kind::Object {
            return self.skip();
        }
        let mut members = Members::open(&mut self.scan, &["messages", "model", "instructions"])?;
        while let Some(key) = members.next(&mut self.scan)? {
            match &*key {
                "messages" => self.read_messages()?,
                "model" => self.read_model()?,
                "instructions" => self.read_template()?,
                _ => self.skip()?,
            }
        }
        Ok(())
    }

    /// A setting that is a scalar, or an object with a kind. The result is its text.
    fn read_kind(&mut self) -> Result<&'a str, ParseRequestError> {
        if self.scan.peek()? != Kind::Object {
            return self.read_scalar();
        }
        let mut kind = "";
        let mut members = Members::open(&mut self.scan, &["type", "effort", "format"])?;
        while let Some(key) = members.next(&mut self.scan)? {
            match (&*key, self.scan.peek()?) {
                ("type" | "effort", Kind::String) => kind = self.scan.string()?.raw,
                ("format", Kind::Object) => kind = self.read_kind()?,
                _ => self.skip()?,
            }
        }
        Ok(kind)
    }

    /// A number, word or string as written; anything else counts as set, without a value.
    fn read_scalar(&mut self) -> Result<&'a str, ParseRequestError> {
        let at = self.scan.offset();
        match self.scan.peek()? {
            Kind::Object | Kind::Array => self.skip().map(|()| ""),
            Kind::Number => {
                let text = self.scan.number()?;
                // Some parsers read such a number as infinite, others refuse it.
                if text.parse::<f64>().is_ok_and(f64::is_finite) {
                    return Ok(text);
                }
                let expected = "a number that fits a double";
                Err(ParseRequestError::WrongValue { field: "a parameter", expected, at })
            }
            _ => Ok(self.scan.skip()?),
        }
    }

    pub(super) fn skip(&mut self) -> Result<(), ParseRequestError> {
        self.scan.skip()?;
        Ok(())
    }
}

impl OutputBounds {
    /// Where two limits are given, the laxer counts.
    fn raise_tokens(&mut self, tokens: u64) {
        self.tokens = self.tokens.max(tokens);
    }

    fn raise_choices(&mut self, choices: u64) {
        self.choices = self.choices.max(choices);
    }
}
