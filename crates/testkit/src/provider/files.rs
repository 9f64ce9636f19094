//! OpenAI's files, and the batches that are made of them. No batch is ever run.

use bytes::Bytes;
use hyper::{Response, StatusCode};
use memchr::memmem;
use serde_json::Value;

use super::answer::{Call, json, quoted};
use super::ask::Refused;
use super::openai::{CREATED, styled};
use super::reply::Reply;

const PURPOSES: [&str; 6] = ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"];

/// An upload; its content is kept for [`content`].
pub(crate) fn upload(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let value = part(call.body, b"name=\"purpose\"")
        .ok_or((StatusCode::BAD_REQUEST, "'purpose' is a required property"))?;
    let purpose = PURPOSES
        .into_iter()
        .find(|purpose| value.strip_prefix(purpose.as_bytes()).is_some_and(|rest| rest.starts_with(b"\r\n")))
        .ok_or((StatusCode::BAD_REQUEST, "'purpose' is not one of the known purposes"))?;
    let id = format!("file-mock{:012}", call.number);
    if let Some(content) = part(call.body, b"name=\"file\"") {
        let end = memmem::rfind(content, b"\r\n--").and_then(|last| {
            // The final boundary ends the body; the file's own may come before it.
            let head = content.get(..last)?;
            memmem::find(head, b"\r\n--").or(Some(last))
        });
        let content = end.and_then(|end| content.get(..end)).unwrap_or(content);
        call.state.store_file(&id, Bytes::copy_from_slice(content));
    }
    Ok(styled(
        call,
        format!(
            r#"{{"id":"{id}","object":"file","bytes":{},"created_at":{CREATED},"expires_at":null,"filename":"upload","purpose":"{purpose}","status":"processed"}}"#,
            call.body.len()
        ),
    ))
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
    Ok(json(StatusCode::OK, content))
}

/// A batch of a file that is kept.
pub(crate) fn batch(call: &Call<'_>) -> Result<Response<Reply>, Refused> {
    let body: Value =
        serde_json::from_slice(call.body).map_err(|_| (StatusCode::BAD_REQUEST, "The body is not JSON."))?;
    let id = body["input_file_id"].as_str().filter(|id| call.state.file(id).is_some());
    let id = id.ok_or((StatusCode::BAD_REQUEST, "The input file does not exist."))?;
    Ok(styled(
        call,
        format!(
            r#"{{"id":"batch_mock{:012}","object":"batch","endpoint":{},"errors":null,"input_file_id":{},"completion_window":"24h","status":"validating","output_file_id":null,"error_file_id":null,"created_at":{CREATED},"request_counts":{{"total":0,"completed":0,"failed":0}},"metadata":null}}"#,
            call.number,
            quoted(body["endpoint"].as_str().unwrap_or("/v1/chat/completions")),
            quoted(id)
        ),
    ))
}
