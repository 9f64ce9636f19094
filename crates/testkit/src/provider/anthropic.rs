//! Anthropic's API. Shapes as in its documentation of August 2026.

use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::Value;
use tokenwatch_model::artifact::ArtifactKind;
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::time::{DAY, SECOND, Timestamp};

use super::answer::{Call, json, quoted};
use super::ask::{Ask, Refused, Tokens};
use super::headers::request_id;
use super::openai::{TOOL_ARGUMENTS, styled};
use super::reply::Reply;
use super::sse::Sse;
use super::{files, kept, text};

const MODELS: [&str; 3] = ["claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-4-5"];

/// Most requests of one batch that the mock keeps.
const BATCH_REQUESTS_MAX: usize = 1_000;

/// A message batch; every batch has ended as soon as it is made.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) id: String,
    created: Timestamp,
    /// `custom_id`, model and output limit of each request.
    requests: Vec<(String, String, u64)>,
}

/// Answers a call.
pub(crate) fn route(call: Call<'_>) -> Response<Reply> {
    let path = call.parts.uri.path();
    let path = path.strip_prefix("/v1/").unwrap_or(path);
    let batch = path.strip_prefix("messages/batches/");
    let answered = match (&call.parts.method, path) {
        (&Method::POST, "messages") => messages(&call),
        (&Method::POST, "messages/count_tokens") => count_tokens(&call),
        (&Method::POST, "messages/batches") => create_batch(&call),
        (&Method::GET, "models") => Ok(json(StatusCode::OK, model_list())),
        (&Method::GET, path) if path.starts_with("models/") => model(&path["models/".len()..]),
        (&Method::POST, "files") => files::upload(&call, Dialect::Anthropic),
        (&Method::GET, _) if batch.is_some() => batch_part(&call, batch.unwrap_or_default()),
        _ => {
            kept::route(&call, Dialect::Anthropic, path).unwrap_or(Err((StatusCode::NOT_FOUND, "Not found")))
        }
    };
    answered.unwrap_or_else(|(status, message)| json(status, error_body(status, message, call.number)))
}

/// An error body.
pub(crate) fn error_body(status: StatusCode, message: &str, number: u64) -> String {
    format!(
        r#"{{"type":"error","error":{{"type":"{}","message":{}}},"request_id":"{}"}}"#,
        error_type(status),
        quoted(message),
        request_id(Dialect::Anthropic, number)
    )
}

fn error_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

fn messages(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let ask = Ask::read(call.body)?;
    let model = ask.model()?;
    if ask.output_limit().is_none() {
        return Err((StatusCode::BAD_REQUEST, "max_tokens: Field required"));
    }
    ask.check_messages()?;
    let tokens = ask.tokens(call.body.len(), call.directives);
    let tool = ask.tool_to_call(call.directives);
    if ask.streams() {
        return Ok(stream(call, model, tokens, tool));
    }
    let content = match tool {
        None => format!(r#"{{"type":"text","text":"{}"}}"#, text::text(tokens.output)),
        Some(name) => format!(
            r#"{{"type":"tool_use","id":"toolu_mock","name":{},"input":{TOOL_ARGUMENTS}}}"#,
            quoted(name)
        ),
    };
    let reported = (!call.directives.style.no_usage).then_some(tokens);
    Ok(styled(call, message(call.number, model, &content, stop_reason(tool), reported)))
}

fn stop_reason(tool: Option<&str>) -> &'static str {
    if tool.is_some() { "tool_use" } else { "end_turn" }
}

fn message(number: u64, model: &str, content: &str, stop: &str, tokens: Option<Tokens>) -> String {
    let usage =
        tokens.map_or_else(String::new, |tokens| format!(r#","usage":{}"#, usage(tokens, tokens.output)));
    format!(
        r#"{{"id":"msg_mock{number:012}","type":"message","role":"assistant","model":{},"content":[{content}],"stop_reason":"{stop}","stop_sequence":null{usage}}}"#,
        quoted(model)
    )
}

/// `usage`: cached tokens stand beside the uncached, not among them.
fn usage(tokens: Tokens, output: u64) -> String {
    format!(
        r#"{{"input_tokens":{},"cache_creation_input_tokens":0,"cache_read_input_tokens":{},"cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}},"output_tokens":{output},"service_tier":"standard"}}"#,
        tokens.input.saturating_sub(tokens.cached),
        tokens.cached
    )
}

fn stream(call: &Call<'_>, model: &str, tokens: Tokens, tool: Option<&str>) -> Response<Reply> {
    let style = call.directives.style;
    let mut sse = Sse::new(style);
    let push = |sse: &mut Sse, kind: &str, fields: &str| {
        sse.event(Some(kind), &format!(r#"{{"type":"{kind}"{fields}}}"#));
    };
    let first = if style.no_usage {
        String::new()
    } else {
        format!(r#","usage":{}"#, usage(tokens, tokens.output.min(1)))
    };
    let start = format!(
        r#","message":{{"id":"msg_mock{:012}","type":"message","role":"assistant","content":[],"model":{},"stop_reason":null,"stop_sequence":null{first}}}"#,
        call.number,
        quoted(model)
    );
    push(&mut sse, "message_start", &start);
    let block = match tool {
        None => r#"{"type":"text","text":""}"#.to_owned(),
        Some(name) => {
            format!(r#"{{"type":"tool_use","id":"toolu_mock","name":{},"input":{{}}}}"#, quoted(name))
        }
    };
    push(&mut sse, "content_block_start", &format!(r#","index":0,"content_block":{block}"#));
    push(&mut sse, "ping", "");
    let content = if tool.is_some() { TOOL_ARGUMENTS.to_owned() } else { text::text(tokens.output) };
    let pieces = call.directives.chunks.unwrap_or_else(|| text::default_pieces(tokens.output));
    for (index, piece) in text::cut(&content, pieces).enumerate() {
        if style.error_mid_stream && index == pieces.div_ceil(2) {
            push(&mut sse, "error", r#","error":{"type":"overloaded_error","message":"Overloaded"}"#);
            return sse.into_response(call.directives);
        }
        let piece = quoted(piece);
        let delta = match tool {
            None => format!(r#"{{"type":"text_delta","text":{piece}}}"#),
            Some(_) => format!(r#"{{"type":"input_json_delta","partial_json":{piece}}}"#),
        };
        push(&mut sse, "content_block_delta", &format!(r#","index":0,"delta":{delta}"#));
    }
    push(&mut sse, "content_block_stop", r#","index":0"#);
    let last = if style.no_usage {
        String::new()
    } else {
        format!(r#","usage":{{"output_tokens":{}}}"#, tokens.output)
    };
    let delta = format!(r#","delta":{{"stop_reason":"{}","stop_sequence":null}}{last}"#, stop_reason(tool));
    push(&mut sse, "message_delta", &delta);
    push(&mut sse, "message_stop", "");
    sse.into_response(call.directives)
}

fn count_tokens(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let ask = Ask::read(call.body)?;
    ask.model()?;
    ask.check_messages()?;
    let input = ask.tokens(call.body.len(), call.directives).input;
    Ok(json(StatusCode::OK, format!(r#"{{"input_tokens":{input}}}"#)))
}

fn create_batch(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let ask = Ask::read(call.body)?;
    let requests = ask
        .requests
        .filter(|requests| !requests.is_empty() && requests.len() <= BATCH_REQUESTS_MAX)
        .ok_or((StatusCode::BAD_REQUEST, "requests: between 1 and 1000 requests are required"))?;
    let requests = requests
        .into_iter()
        .map(|line| {
            let limit = u64::try_from(line.params.max_tokens).unwrap_or(0);
            (line.custom_id, line.params.model, limit)
        })
        .collect();
    let created = call.state.created(call.directives);
    let batch = Batch { id: format!("msgbatch_mock{:012}", call.number), created, requests };
    let object = batch_object(call, &batch);
    call.state.kept.keep(Dialect::Anthropic, ArtifactKind::Batch, object.clone());
    call.state.store_batch(batch);
    Ok(json(StatusCode::OK, object.to_string()))
}

/// `GET /v1/messages/batches/{id}` and `…/{id}/results`.
fn batch_part(call: &Call<'_>, path: &str) -> Result<Response<Reply>, Refused> {
    let (id, part) = path.split_once('/').unwrap_or((path, ""));
    let batch = call.state.batch(id).ok_or((StatusCode::NOT_FOUND, "No such batch"))?;
    match part {
        "" => Ok(json(StatusCode::OK, batch_object(call, &batch).to_string())),
        "results" => {
            let mut lines = String::new();
            for (index, (custom_id, model, limit)) in batch.requests.iter().enumerate() {
                let tokens = Tokens {
                    input: call.directives.input_tokens.unwrap_or(64),
                    cached: 0,
                    output: call.directives.output_tokens.unwrap_or((*limit).min(super::OUTPUT_TOKENS_MAX)),
                };
                let content = format!(r#"{{"type":"text","text":"{}"}}"#, text::text(tokens.output));
                let message = message(index as u64, model, &content, "end_turn", Some(tokens));
                lines.push_str(&format!(
                    r#"{{"custom_id":{},"result":{{"type":"succeeded","message":{message}}}}}"#,
                    quoted(custom_id)
                ));
                lines.push('\n');
            }
            let mut response = json(StatusCode::OK, lines);
            let jsonl = HeaderValue::from_static("application/x-jsonl");
            response.headers_mut().insert(header::CONTENT_TYPE, jsonl);
            Ok(response)
        }
        _ => Err((StatusCode::NOT_FOUND, "Not found")),
    }
}

/// The batch object. `results_url` is absolute, as at the provider: clients follow it with their key.
fn batch_object(call: &Call<'_>, batch: &Batch) -> Value {
    let authority = call.parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = authority.or_else(|| call.parts.uri.authority().map(|authority| authority.as_str()));
    let url = format!("http://{}/v1/messages/batches/{}/results", authority.unwrap_or("localhost"), batch.id);
    let counts = serde_json::json!({
        "processing": 0, "succeeded": batch.requests.len(), "errored": 0, "canceled": 0, "expired": 0,
    });
    serde_json::json!({
        "id": batch.id, "type": "message_batch", "processing_status": "ended", "request_counts": counts,
        "created_at": batch.created.to_string(), "expires_at": batch.created.plus(DAY).to_string(),
        "ended_at": batch.created.plus(SECOND).to_string(), "archived_at": null, "cancel_initiated_at": null,
        "results_url": url,
    })
}

fn model_object(id: &str) -> String {
    format!(
        r#"{{"type":"model","id":{0},"display_name":{0},"created_at":"2026-01-01T00:00:00Z"}}"#,
        quoted(id)
    )
}

fn model_list() -> String {
    let models: Vec<String> = MODELS.iter().map(|id| model_object(id)).collect();
    format!(
        r#"{{"data":[{}],"has_more":false,"first_id":"{}","last_id":"{}"}}"#,
        models.join(","),
        MODELS[0],
        MODELS[2]
    )
}

fn model(id: &str) -> Result<Response<Reply>, Refused> {
    if MODELS.contains(&id) {
        Ok(json(StatusCode::OK, model_object(id)))
    } else {
        Err((StatusCode::NOT_FOUND, "model not found"))
    }
}
