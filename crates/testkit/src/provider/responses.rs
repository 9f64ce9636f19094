//! OpenAI's responses API: named events with sequence numbers, usage in the terminal event.

use hyper::{Response, StatusCode};

use super::answer::{Call, json, quoted};
use super::ask::{Ask, Refused, Tokens};
use super::openai::{CREATED, TOOL_ARGUMENTS, styled};
use super::reply::Reply;
use super::sse::Sse;
use super::text;

/// `POST /v1/responses/input_tokens`.
pub(crate) fn count(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let ask = Ask::read(call.body)?;
    ask.model()?;
    let input = ask.tokens(call.body.len(), call.directives).input;
    Ok(json(StatusCode::OK, format!(r#"{{"object":"response.input_tokens","input_tokens":{input}}}"#)))
}

/// `POST /v1/responses`.
pub(crate) fn create(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let ask = Ask::read(call.body)?;
    let model = ask.model()?;
    ask.check_limit()?;
    if ask.input.is_none() {
        return Err((StatusCode::BAD_REQUEST, "Missing required parameter: 'input'."));
    }
    let writer = Writer {
        call,
        model,
        tokens: ask.tokens(call.body.len(), call.directives),
        tool: ask.tool_to_call(call.directives),
    };
    if ask.streams() {
        return Ok(writer.stream());
    }
    let content = text::text(writer.tokens.output);
    Ok(styled(call, writer.object("completed", Some(&content))))
}

struct Writer<'a> {
    call: &'a Call<'a>,
    model: &'a str,
    tokens: Tokens,
    tool: Option<&'a str>,
}

impl Writer<'_> {
    /// The response object; without content it is one in progress.
    fn object(&self, status: &str, content: Option<&str>) -> String {
        let output = content.map_or_else(String::new, |content| self.item("completed", content));
        let usage = match content {
            Some(_) if !self.call.directives.style.no_usage => self.usage(),
            _ => "null".to_owned(),
        };
        format!(
            r#"{{"id":"resp_mock{:012}","object":"response","created_at":{CREATED},"status":"{status}","background":false,"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":{},"output":[{output}],"parallel_tool_calls":true,"previous_response_id":null,"service_tier":"default","store":true,"temperature":1.0,"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":{usage},"metadata":{{}}}}"#,
            self.call.number,
            quoted(self.model)
        )
    }

    fn usage(&self) -> String {
        let Tokens { input, cached, output } = self.tokens;
        format!(
            r#"{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":{cached},"cache_write_tokens":0}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":{}}}"#,
            input.saturating_add(output)
        )
    }

    /// The one output item: a message, or a call of a tool.
    fn item(&self, status: &str, content: &str) -> String {
        match self.tool {
            None => {
                let parts = if status == "completed" { part(content) } else { String::new() };
                format!(
                    r#"{{"id":"msg_mock{:012}","type":"message","status":"{status}","role":"assistant","content":[{parts}]}}"#,
                    self.call.number
                )
            }
            Some(name) => {
                let arguments = if status == "completed" { TOOL_ARGUMENTS } else { "" };
                format!(
                    r#"{{"id":"fc_mock{:012}","type":"function_call","status":"{status}","call_id":"call_mock","name":{},"arguments":{}}}"#,
                    self.call.number,
                    quoted(name),
                    quoted(arguments)
                )
            }
        }
    }

    fn stream(&self) -> Response<Reply> {
        let style = self.call.directives.style;
        let content = text::text(self.tokens.output);
        let mut events = Events { sse: Sse::new(style), sequence: 0 };
        let started = self.object("in_progress", None);
        events.push("response.created", &format!(r#""response":{started}"#));
        events.push("response.in_progress", &format!(r#""response":{started}"#));
        let item = self.item("in_progress", "");
        events.push("response.output_item.added", &format!(r#""output_index":0,"item":{item}"#));
        let pieces = self.call.directives.chunks.unwrap_or_else(|| text::default_pieces(self.tokens.output));
        let (place, deltas) = match self.tool {
            None => {
                let place = format!(
                    r#""item_id":"msg_mock{:012}","output_index":0,"content_index":0"#,
                    self.call.number
                );
                events.push("response.content_part.added", &format!(r#"{place},"part":{}"#, part("")));
                (place, "response.output_text.delta")
            }
            Some(_) => (
                format!(r#""item_id":"fc_mock{:012}","output_index":0"#, self.call.number),
                "response.function_call_arguments.delta",
            ),
        };
        let written = if self.tool.is_some() { TOOL_ARGUMENTS } else { &content };
        for (index, piece) in text::cut(written, pieces).enumerate() {
            if style.error_mid_stream && index == pieces.div_ceil(2) {
                events.push(
                    "error",
                    r#""code":"server_error","message":"The server had an error.","param":null"#,
                );
                return events.sse.into_response(self.call.directives);
            }
            events.push(deltas, &format!(r#"{place},"delta":{}"#, quoted(piece)));
        }
        if self.tool.is_some() {
            let arguments = quoted(TOOL_ARGUMENTS);
            events.push(
                "response.function_call_arguments.done",
                &format!(r#"{place},"arguments":{arguments}"#),
            );
        } else {
            events.push("response.output_text.done", &format!(r#"{place},"text":{}"#, quoted(&content)));
            events.push("response.content_part.done", &format!(r#"{place},"part":{}"#, part(&content)));
        }
        let item = self.item("completed", &content);
        events.push("response.output_item.done", &format!(r#""output_index":0,"item":{item}"#));
        let done = self.object("completed", Some(&content));
        events.push("response.completed", &format!(r#""response":{done}"#));
        events.sse.into_response(self.call.directives)
    }
}

fn part(content: &str) -> String {
    format!(r#"{{"type":"output_text","text":"{content}","annotations":[]}}"#)
}

struct Events {
    sse: Sse,
    sequence: u64,
}

impl Events {
    fn push(&mut self, kind: &str, fields: &str) {
        let data = format!(r#"{{"type":"{kind}","sequence_number":{},{fields}}}"#, self.sequence);
        self.sse.event(Some(kind), &data);
        self.sequence += 1;
    }
}
