//! OpenAI's API. Shapes as in its published specification (API version 2.3.0 of August 2026).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::{Method, Response, StatusCode};
use serde_json::Value;
use tokenwatch_model::provider::Dialect;

use super::answer::{Call, json, quoted};
use super::ask::{Ask, Refused, Tokens};
use super::reply::Reply;
use super::sse::{Sse, compress_whole};
use super::{files, kept, realtime, responses, text};

/// `created` of every answer, and of what is kept where the mock has no clock. 2026-01-01.
pub(crate) const CREATED: u64 = 1_767_225_600;

const MODELS: [&str; 6] =
    ["gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini", "gpt-5-mini", "text-embedding-3-small"];

/// Dimensions of an embedding when the request does not say.
const DIMENSIONS_DEFAULT: usize = 8;
const DIMENSIONS_MAX: usize = 4096;
/// Most inputs of one embeddings request, as at the provider.
const INPUTS_MAX: usize = 2048;

/// Answers a call.
pub(crate) fn route(call: Call<'_>) -> Response<Reply> {
    let path = call.parts.uri.path().to_owned();
    let path = path.strip_prefix("/v1/").unwrap_or(&path);
    let method = call.parts.method.clone();
    let answered = match (&method, path) {
        (&Method::POST, "chat/completions") => chat(&call),
        (&Method::POST, "completions") => completions(&call),
        (&Method::POST, "responses") => responses::create(&call),
        (&Method::POST, "responses/input_tokens") => responses::count(&call),
        (&Method::POST, "embeddings") => embeddings(&call),
        (&Method::POST, "moderations") => moderations(&call),
        (&Method::POST, "images/generations") => images(&call),
        (&Method::POST, "files") => files::upload(&call, Dialect::OpenAi),
        (&Method::GET, path) if path.starts_with("files/") && path.ends_with("/content") => {
            files::content(&call, path)
        }
        (&Method::POST, "batches") => files::batch(&call),
        (&Method::GET, "realtime") => realtime::upgrade(call),
        (&Method::GET, "models") => Ok(json(StatusCode::OK, model_list())),
        (&Method::GET, path) if path.starts_with("models/") => model(&path["models/".len()..]),
        (_, path) if path.starts_with("organization") => Err((
            StatusCode::FORBIDDEN,
            "You have insufficient permissions for this operation. Missing scopes: api.organization.read.",
        )),
        _ => kept::route(&call, Dialect::OpenAi, path)
            .unwrap_or(Err((StatusCode::NOT_FOUND, "Unknown request URL. Please check the URL for typos."))),
    };
    answered.unwrap_or_else(|(status, message)| json(status, error_body(status, message)))
}

/// An error body.
pub(crate) fn error_body(status: StatusCode, message: &str) -> String {
    let (kind, code) = match status.as_u16() {
        401 => ("invalid_request_error", "\"invalid_api_key\""),
        403 => ("invalid_request_error", "\"missing_scope\""),
        404 => ("invalid_request_error", "\"model_not_found\""),
        429 => ("requests", "\"rate_limit_exceeded\""),
        400..=499 => ("invalid_request_error", "null"),
        _ => ("server_error", "null"),
    };
    format!(r#"{{"error":{{"message":{},"type":"{kind}","param":null,"code":{code}}}}}"#, quoted(message))
}

/// `usage` of chat and completions.
fn usage(tokens: Tokens) -> String {
    let Tokens { input, cached, output } = tokens;
    format!(
        r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#,
        input.saturating_add(output)
    )
}

/// A JSON answer, compressed when the style says so.
pub(crate) fn styled(call: &Call<'_>, body: String) -> Response<Reply> {
    let Some(encoding) = call.directives.style.encoding else { return json(StatusCode::OK, body) };
    let mut response = json(StatusCode::OK, compress_whole(body.as_bytes(), encoding));
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_ENCODING, hyper::header::HeaderValue::from_static(encoding.name()));
    response
}

/// A chat completion of about `bytes` bytes.
pub(crate) fn canned(bytes: usize) -> Bytes {
    let tokens = Tokens { input: 250, cached: 0, output: 40 };
    let empty = whole_chat(0, "gpt-4o-mini", &message("", None), "stop", Some(tokens));
    let content = text::text((bytes.saturating_sub(empty.len()) as u64).div_ceil(4));
    whole_chat(0, "gpt-4o-mini", &message(&content, None), "stop", Some(tokens)).into()
}

fn whole_chat(number: u64, model: &str, message: &str, finish: &str, tokens: Option<Tokens>) -> String {
    let usage = tokens.map_or_else(String::new, |tokens| format!(r#""usage":{},"#, usage(tokens)));
    format!(
        r#"{{"id":"chatcmpl-mock{number:012}","object":"chat.completion","created":{CREATED},"model":{},"choices":[{{"index":0,"message":{message},"logprobs":null,"finish_reason":"{finish}"}}],{usage}"service_tier":"default","system_fingerprint":"fp_mock"}}"#,
        quoted(model)
    )
}

/// The arguments of every tool call.
pub(crate) const TOOL_ARGUMENTS: &str = r#"{"query":"mock"}"#;

fn message(content: &str, tool: Option<&str>) -> String {
    match tool {
        None => {
            format!(r#"{{"role":"assistant","content":"{content}","refusal":null,"annotations":[]}}"#)
        }
        Some(name) => format!(
            r#"{{"role":"assistant","content":null,"tool_calls":[{{"id":"call_mock","type":"function","function":{{"name":{},"arguments":{}}}}}],"refusal":null,"annotations":[]}}"#,
            quoted(name),
            quoted(TOOL_ARGUMENTS)
        ),
    }
}

fn chat(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let ask = Ask::read(call.body)?;
    let model = ask.model()?;
    ask.check_messages()?;
    let tokens = ask.tokens(call.body.len(), call.directives);
    let tool = ask.tool_to_call(call.directives);
    let finish = if tool.is_some() { "tool_calls" } else { "stop" };
    if ask.streams() {
        return Ok(chat_stream(call, &ask, model, tokens, tool, finish));
    }
    let content = text::text(tokens.output);
    let reported = (!call.directives.style.no_usage).then_some(tokens);
    Ok(styled(call, whole_chat(call.number, model, &message(&content, tool), finish, reported)))
}

fn chat_stream(
    call: &Call<'_>,
    ask: &Ask,
    model: &str,
    tokens: Tokens,
    tool: Option<&str>,
    finish: &str,
) -> Response<Reply> {
    let style = call.directives.style;
    let separate = ask.includes_usage() && !style.no_usage && !style.usage_on_last_choice;
    let head = format!(
        r#"{{"id":"chatcmpl-mock{:012}","object":"chat.completion.chunk","created":{CREATED},"model":{},"service_tier":"default","system_fingerprint":"fp_mock","#,
        call.number,
        quoted(model)
    );
    let none = if separate { r#","usage":null"# } else { "" };
    let chunk = |delta: &str, finish: &str, usage: &str| {
        format!(
            r#"{head}"choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]{usage}}}"#
        )
    };
    let mut sse = Sse::new(style);
    sse.event(None, &chunk(&first_delta(tool), "null", none));
    let content = if tool.is_some() { TOOL_ARGUMENTS.to_owned() } else { text::text(tokens.output) };
    let pieces = call.directives.chunks.unwrap_or_else(|| text::default_pieces(tokens.output));
    for (index, piece) in text::cut(&content, pieces).enumerate() {
        if style.error_mid_stream && index == pieces.div_ceil(2) {
            let error = error_body(StatusCode::INTERNAL_SERVER_ERROR, "The server had an error.");
            sse.event(None, &error);
            return sse.into_response(call.directives);
        }
        let piece = quoted(piece);
        let delta = match tool {
            None => format!(r#"{{"content":{piece}}}"#),
            Some(_) => format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":{piece}}}}}]}}"#),
        };
        sse.event(None, &chunk(&delta, "null", none));
    }
    let on_choice = style.usage_on_last_choice && !style.no_usage;
    let last = if on_choice { format!(r#","usage":{}"#, usage(tokens)) } else { none.to_owned() };
    sse.event(None, &chunk("{}", &quoted(finish), &last));
    if separate {
        sse.event(None, &format!(r#"{head}"choices":[],"usage":{}}}"#, usage(tokens)));
    }
    sse.event(None, "[DONE]");
    sse.into_response(call.directives)
}

fn first_delta(tool: Option<&str>) -> String {
    match tool {
        None => r#"{"role":"assistant","content":"","refusal":null}"#.to_owned(),
        Some(name) => format!(
            r#"{{"role":"assistant","content":null,"tool_calls":[{{"index":0,"id":"call_mock","type":"function","function":{{"name":{},"arguments":""}}}}]}}"#,
            quoted(name)
        ),
    }
}

fn completions(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let ask = Ask::read(call.body)?;
    let model = ask.model()?;
    ask.check_limit()?;
    if ask.prompt.is_none() {
        return Err((StatusCode::BAD_REQUEST, "you must provide a prompt parameter"));
    }
    let tokens = ask.tokens(call.body.len(), call.directives);
    let style = call.directives.style;
    let content = text::text(tokens.output);
    let head = format!(
        r#"{{"id":"cmpl-mock{:012}","object":"text_completion","created":{CREATED},"model":{},"#,
        call.number,
        quoted(model)
    );
    let choice = |text: &str, finish: &str| {
        format!(r#""choices":[{{"text":"{text}","index":0,"logprobs":null,"finish_reason":{finish}}}]"#)
    };
    if !ask.streams() {
        let usage = if style.no_usage { String::new() } else { format!(r#","usage":{}"#, usage(tokens)) };
        return Ok(styled(call, format!("{head}{}{usage}}}", choice(&content, r#""stop""#))));
    }
    let separate = ask.includes_usage() && !style.no_usage;
    let none = if separate { r#","usage":null"# } else { "" };
    let mut sse = Sse::new(style);
    let pieces = call.directives.chunks.unwrap_or_else(|| text::default_pieces(tokens.output));
    for piece in text::cut(&content, pieces) {
        sse.event(None, &format!("{head}{}{none}}}", choice(piece, "null")));
    }
    sse.event(None, &format!("{head}{}{none}}}", choice("", r#""stop""#)));
    if separate {
        sse.event(None, &format!(r#"{head}"choices":[],"usage":{}}}"#, usage(tokens)));
    }
    sse.event(None, "[DONE]");
    Ok(sse.into_response(call.directives))
}

fn embeddings(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let ask = Ask::read(call.body)?;
    let model = ask.model()?;
    let count = match &ask.input {
        Some(Value::String(_)) => 1,
        // An array of numbers is one input given as tokens.
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => 1,
        Some(Value::Array(items)) if !items.is_empty() && items.len() <= INPUTS_MAX => items.len(),
        _ => return Err((StatusCode::BAD_REQUEST, "'input' must be a string or a list of 1 to 2048 inputs")),
    };
    let dimensions = ask.dimensions.unwrap_or(DIMENSIONS_DEFAULT).min(DIMENSIONS_MAX);
    let vector: Vec<f32> = (0..dimensions).map(|i| 1.0 / (1.0 + i as f32)).collect();
    let embedding = if ask.encoding_format.as_deref() == Some("base64") {
        let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
        format!("\"{}\"", STANDARD.encode(bytes))
    } else {
        let numbers: Vec<String> = vector.iter().map(ToString::to_string).collect();
        format!("[{}]", numbers.join(","))
    };
    let data: Vec<String> = (0..count)
        .map(|index| format!(r#"{{"object":"embedding","index":{index},"embedding":{embedding}}}"#))
        .collect();
    let input = ask.tokens(call.body.len(), call.directives).input;
    Ok(styled(
        call,
        format!(
            r#"{{"object":"list","data":[{}],"model":{},"usage":{{"prompt_tokens":{input},"total_tokens":{input}}}}}"#,
            data.join(","),
            quoted(model)
        ),
    ))
}

fn moderations(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let ask = Ask::read(call.body)?;
    if ask.input.is_none() {
        return Err((StatusCode::BAD_REQUEST, "you must provide an input parameter"));
    }
    let model = ask.model.as_deref().unwrap_or("omni-moderation-latest");
    Ok(styled(
        call,
        format!(
            r#"{{"id":"modr-mock{:012}","model":{},"results":[{{"flagged":false,"categories":{{"harassment":false,"hate":false,"violence":false}},"category_scores":{{"harassment":0.0001,"hate":0.0001,"violence":0.0001}}}}]}}"#,
            call.number,
            quoted(model)
        ),
    ))
}

fn images(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let ask = Ask::read(call.body)?;
    if ask.prompt.is_none() {
        return Err((StatusCode::BAD_REQUEST, "you must provide a prompt parameter"));
    }
    let Tokens { input, output, .. } = ask.tokens(call.body.len(), call.directives);
    Ok(styled(
        call,
        format!(
            r#"{{"created":{CREATED},"data":[{{"b64_json":"{}"}}],"usage":{{"input_tokens":{input},"input_tokens_details":{{"text_tokens":{input},"image_tokens":0}},"output_tokens":{output},"total_tokens":{}}}}}"#,
            STANDARD.encode(b"mock image"),
            input.saturating_add(output)
        ),
    ))
}

fn model_object(id: &str) -> String {
    format!(r#"{{"id":{},"object":"model","created":{CREATED},"owned_by":"mock"}}"#, quoted(id))
}

fn model_list() -> String {
    let models: Vec<String> = MODELS.iter().map(|id| model_object(id)).collect();
    format!(r#"{{"object":"list","data":[{}]}}"#, models.join(","))
}

fn model(id: &str) -> Result<Response<Reply>, Refused> {
    if MODELS.contains(&id) {
        Ok(json(StatusCode::OK, model_object(id)))
    } else {
        Err((StatusCode::NOT_FOUND, "The model does not exist or you do not have access to it."))
    }
}
