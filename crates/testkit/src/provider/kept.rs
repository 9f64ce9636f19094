//! What was created and stays: kept as its provider shows it, listed page by page, deleted.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokenwatch_model::artifact::ArtifactKind;
use tokenwatch_model::provider::Dialect;

use super::answer::{self, Call};
use super::ask::Refused;
use super::openai::styled;
use super::reply::Reply;

/// How many things are kept of all kinds together.
const KEPT_MAX: usize = 1_000;
/// Entries of a page when the request does not say.
const LIMIT_DEFAULT: usize = 20;

struct Thing {
    dialect: Dialect,
    kind: ArtifactKind,
    id: String,
    object: Value,
}

/// Everything that stays, oldest first.
#[derive(Default)]
pub(crate) struct Kept(Mutex<VecDeque<Thing>>);

impl Kept {
    /// Keeps a thing as its provider shows it.
    pub(crate) fn keep(&self, dialect: Dialect, kind: ArtifactKind, object: Value) {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        let mut things = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        things.push_back(Thing { dialect, kind, id, object });
        if things.len() > KEPT_MAX {
            things.pop_front();
        }
    }

    /// A page of what is kept, newest first, and whether there is more behind it.
    fn page(
        &self,
        of: (Dialect, ArtifactKind),
        after: Option<&str>,
        limit: usize,
    ) -> Option<(Vec<Value>, bool)> {
        let things = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest: Vec<&Thing> =
            things.iter().rev().filter(|thing| (thing.dialect, thing.kind) == of).collect();
        // By the time that is shown, which a directive can set; equal times in the order of creation.
        newest.sort_by_key(|thing| Reverse(moment(&thing.object)));
        let from = match after {
            None => 0,
            Some(after) => newest.iter().position(|thing| thing.id == after)? + 1,
        };
        let rest = newest.get(from..).unwrap_or_default();
        let page = rest.iter().take(limit).map(|thing| thing.object.clone()).collect();
        Some((page, rest.len() > limit))
    }

    fn remove(&self, dialect: Dialect, kind: ArtifactKind, id: &str) -> bool {
        let mut things = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = things.len();
        things.retain(|thing| (thing.dialect, thing.kind) != (dialect, kind) || thing.id != id);
        things.len() < before
    }

    fn one(&self, dialect: Dialect, kind: ArtifactKind, id: &str) -> Option<Value> {
        let things = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let thing =
            things.iter().find(|thing| (thing.dialect, thing.kind) == (dialect, kind) && thing.id == id);
        thing.map(|thing| thing.object.clone())
    }
}

/// The time an object shows, as text that sorts: all of one list have the same form.
fn moment(object: &Value) -> String {
    match &object["created_at"] {
        Value::String(text) => text.clone(),
        number => format!("{:020}", number.as_u64().unwrap_or_default()),
    }
}

/// Lists, shows and deletes what is kept, and creates what has no module of its own; nothing for any other path.
pub(crate) fn route(
    call: &Call<'_>,
    dialect: Dialect,
    path: &str,
) -> Option<Result<Response<Reply>, Refused>> {
    use ArtifactKind::{Assistant, Batch, File, FineTuningJob, VectorStore};
    let places: &[(&str, ArtifactKind)] = match dialect {
        Dialect::OpenAi => &[
            ("files", File),
            ("batches", Batch),
            ("fine_tuning/jobs", FineTuningJob),
            ("assistants", Assistant),
            ("vector_stores", VectorStore),
        ],
        Dialect::Anthropic => &[("files", File), ("messages/batches", Batch)],
    };
    let (rest, kind) = places.iter().find_map(|(place, kind)| Some((path.strip_prefix(place)?, *kind)))?;
    match (&call.parts.method, rest) {
        (&Method::GET, "") => Some(list(call, dialect, kind)),
        (&Method::POST, "") => create(call, dialect, kind),
        (method, rest) => {
            let id = rest.strip_prefix('/').filter(|id| !id.contains('/'))?;
            let missing: Refused = (StatusCode::NOT_FOUND, "There is no such object.");
            let found = call.state.kept.one(dialect, kind, id);
            match *method {
                Method::GET => Some(found.map(|object| styled(call, object.to_string())).ok_or(missing)),
                Method::DELETE => {
                    let removed = call.state.kept.remove(dialect, kind, id);
                    let object = json!({ "id": id, "deleted": true }).to_string();
                    Some(removed.then(|| answer::json(StatusCode::OK, object)).ok_or(missing))
                }
                _ => None,
            }
        }
    }
}

fn list(call: &Call<'_>, dialect: Dialect, kind: ArtifactKind) -> Result<Response<Reply>, Refused> {
    if kind == ArtifactKind::Assistant && !call.parts.headers.contains_key("openai-beta") {
        return Err((StatusCode::BAD_REQUEST, "You must provide the 'OpenAI-Beta' header."));
    }
    if dialect == Dialect::Anthropic
        && kind == ArtifactKind::File
        && !call.parts.headers.contains_key("anthropic-beta")
    {
        return Err((StatusCode::NOT_FOUND, "Not found"));
    }
    let query = call.parts.uri.query().unwrap_or_default();
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let limit = parameter("limit").map_or(Some(LIMIT_DEFAULT), |limit| limit.parse().ok());
    let limit = limit.filter(|limit| (1..=1_000).contains(limit));
    let limit = limit.ok_or((StatusCode::BAD_REQUEST, "limit: expected a number from 1 to 1000"))?;
    let after = parameter(if dialect == Dialect::OpenAi { "after" } else { "after_id" });
    let page = call.state.kept.page((dialect, kind), after, limit);
    let (data, has_more) =
        page.ok_or((StatusCode::BAD_REQUEST, "There is no object with the cursor's id."))?;
    let id = |object: Option<&Value>| object.map_or(Value::Null, |object| object["id"].clone());
    let (first, last) = (id(data.first()), id(data.last()));
    let mut body = json!({ "data": data, "first_id": first, "last_id": last, "has_more": has_more });
    if dialect == Dialect::OpenAi {
        body["object"] = "list".into();
    }
    Ok(styled(call, body.to_string()))
}

/// Fine-tuning jobs, assistants and vector stores: kept with what was asked for. Files and batches have modules of their own.
fn create(call: &Call<'_>, dialect: Dialect, kind: ArtifactKind) -> Option<Result<Response<Reply>, Refused>> {
    let (prefix, status) = match kind {
        ArtifactKind::FineTuningJob => ("ftjob-", "queued"),
        ArtifactKind::Assistant => ("asst_", ""),
        ArtifactKind::VectorStore => ("vs_", "completed"),
        ArtifactKind::File | ArtifactKind::Batch => return None,
    };
    let Ok(mut object @ Value::Object(_)) = serde_json::from_slice::<Value>(call.body) else {
        return Some(Err((StatusCode::BAD_REQUEST, "The body is no JSON object.")));
    };
    if kind == ArtifactKind::FineTuningJob && !object["training_file"].is_string() {
        return Some(Err((StatusCode::BAD_REQUEST, "'training_file' is a required property")));
    }
    object["id"] = format!("{prefix}mock{:012}", call.number).into();
    object["created_at"] = call.state.created(call.directives).seconds().into();
    if !status.is_empty() {
        object["status"] = status.into();
    }
    call.state.kept.keep(dialect, kind, object.clone());
    Some(Ok(styled(call, object.to_string())))
}
