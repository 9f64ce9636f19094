//! Files of both dialects, and OpenAI's batches that are made of them. No batch is ever run.

use bytes::Bytes;
use hyper::{Response, StatusCode};
use memchr::memmem;
use serde_json::{Value, json};
use tokenwatch_model::artifact::ArtifactKind;
use tokenwatch_model::provider::Dialect;

use super::answer::{self, Call};
use super::ask::Refused;
use super::openai::styled;
use super::reply::Reply;

const PURPOSES: [&str; 6] = ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"];

/// An upload; its content is kept for [`content`].
pub(crate) fn upload(call: &Call<'_>, dialect: Dialect) -> Result<Response<Reply>, Refused> {
    let purpose = match dialect {
        Dialect::OpenAi => Some(purpose(call.body)?),
        Dialect::Anthropic => None,
    };
    let id = match dialect {
        Dialect::OpenAi => format!("file-mock{:012}", call.number),
        Dialect::Anthropic => format!("file_mock{:012}", call.number),
    };
    if let Some(content) = part(call.body, b"name=\"file\"") {
        let end = memmem::rfind(content, b"\r\n--").and_then(|last| {
            // The final boundary ends the body; the file's own may come before it.
            let head = content.get(..last)?;
            memmem::find(head, b"\r\n--").or(Some(last))
        });
        let content = end.and_then(|end| content.get(..end)).unwrap_or(content);
        call.state.store_file(&id, Bytes::copy_from_slice(content));
    }
    let created = call.state.created(call.directives);
    let name = filename(call.body).unwrap_or("upload");
    let length = call.body.len();
    let object = match dialect {
        Dialect::OpenAi => json!({
            "id": id, "object": "file", "bytes": length, "created_at": created.seconds(), "expires_at": null,
            "filename": name, "purpose": purpose, "status": "processed",
        }),
        Dialect::Anthropic => json!({
            "id": id, "type": "file", "size_bytes": length, "created_at": created.to_string(), "filename": name,
            "mime_type": "application/octet-stream", "downloadable": false,
        }),
    };
    call.state.kept.keep(dialect, ArtifactKind::File, object.clone());
    Ok(styled(call, object.to_string()))
}

/// The name that the client gave the file.
fn filename(body: &[u8]) -> Option<&str> {
    let after = body.get(memmem::find(body, b"filename=\"")? + 10..)?;
    let name = after.get(..memmem::find(after, b"\"")?)?;
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
}

/// What an upload is for; OpenAI wants to know.
fn purpose(body: &[u8]) -> Result<&'static str, Refused> {
    let value = part(body, b"name=\"purpose\"")
        .ok_or((StatusCode::BAD_REQUEST, "'purpose' is a required property"))?;
    PURPOSES
        .into_iter()
        .find(|purpose| value.strip_prefix(purpose.as_bytes()).is_some_and(|rest| rest.starts_with(b"\r\n")))
        .ok_or((StatusCode::BAD_REQUEST, "'purpose' is not one of the known purposes"))
}

/// What follows the header of a part of a form.
fn part<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let after = body.get(memmem::find(body, name)?..)?;
    after.get(memmem::find(after, b"\r\n\r\n")? + 4..)
}

/// The content of a file, at `files/ID/content`.
pub(crate) fn content(call: &Call<'_>, path: &str) -> Result<Response<Reply>, Refused> {
    let id = path.strip_prefix("files/").and_then(|rest| rest.strip_suffix("/content"));
    let content =
        id.and_then(|id| call.state.file(id)).ok_or((StatusCode::NOT_FOUND, "No such File object."))?;
    Ok(answer::json(StatusCode::OK, content))
}

/// A batch of a file that is kept.
pub(crate) fn batch(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let body: Value =
        serde_json::from_slice(call.body).map_err(|_| (StatusCode::BAD_REQUEST, "The body is not JSON."))?;
    let id = body["input_file_id"].as_str().filter(|id| call.state.file(id).is_some());
    let id = id.ok_or((StatusCode::BAD_REQUEST, "The input file does not exist."))?;
    let object = json!({
        "id": format!("batch_mock{:012}", call.number), "object": "batch",
        "endpoint": body["endpoint"].as_str().unwrap_or("/v1/chat/completions"), "errors": null,
        "input_file_id": id, "completion_window": "24h", "status": "validating", "output_file_id": null,
        "error_file_id": null, "created_at": call.state.created(call.directives).seconds(),
        "request_counts": { "total": 0, "completed": 0, "failed": 0 }, "metadata": null,
    });
    call.state.kept.keep(Dialect::OpenAi, ArtifactKind::Batch, object.clone());
    Ok(styled(call, object.to_string()))
}
