//! Paths: which are refused outright, which dialects know them, and what a request calls.
//!
//! Invariant: a path that [`normalize`] lets through reads the same to every server: there is nothing left
//! to decode, fold or remove that could turn it into another path.

use tokenwatch_model::provider::{Dialect, Endpoint};

#[cfg(test)]
mod tests;

/// Longest path that is accepted, in bytes.
pub const PATH_LEN_MAX: usize = 2_048;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not start with a slash.
    #[error("the path must start with a slash")]
    NotAbsolute,
    /// Longer than [`PATH_LEN_MAX`].
    #[error("the path is longer than {PATH_LEN_MAX} bytes")]
    TooLong,
    /// A segment is `.` or `..`.
    #[error("the path holds a dot segment (/./ or /../)")]
    DotSegment,
    /// Two slashes in a row.
    #[error("the path holds two slashes in a row")]
    EmptySegment,
    /// A backslash, control character, space, query, fragment or byte above ASCII.
    #[error("the path holds a character that can not stand in a path")]
    Character,
    /// An incomplete percent encoding.
    #[error("the path holds a percent sign without two hexadecimal digits")]
    Percent,
    /// A percent encoding that changes the path when it is decoded: of a letter, digit, dot, slash, backslash,
    /// percent sign, delimiter or control character.
    #[error("the path encodes a character that must stand as it is or not at all")]
    Encoded,
}

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// No body is read.
    None,
    /// JSON: complete and valid before anything is forwarded.
    Json,
    /// Multipart, audio, files or unknown: streams through. Some of these paths also take JSON; then the
    /// `Content-Type` says so and the body is to be treated as [`BodyKind::Json`].
    Upload,
}

/// What a request calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'p> {
    /// The endpoint; [`Endpoint::Other`] for a path or method that is not known.
    pub endpoint: Endpoint,
    /// What the request carries.
    pub body: BodyKind,
    /// The model, where the path names it.
    pub model_in_path: Option<&'p str>,
}

/// Checks a path, without its query. What passes is forwarded byte for byte.
///
/// # Errors
///
/// When two servers could read the path in two ways; see [`PathError`].
pub fn normalize(path: &str) -> Result<(), PathError> {
    if path.len() > PATH_LEN_MAX {
        return Err(PathError::TooLong);
    }
    let rest = path.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
    if !rest.bytes().all(is_path_byte) {
        return Err(PathError::Character);
    }
    check_percent(rest.as_bytes())?;
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => return Err(PathError::DotSegment),
            "" if segments.peek().is_some() => return Err(PathError::EmptySegment),
            _ => {}
        }
    }
    Ok(())
}

const fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'\\' | b'?' | b'#' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn check_percent(path: &[u8]) -> Result<(), PathError> {
    for at in memchr::memchr_iter(b'%', path) {
        let hex = path
            .get(at + 1..at + 3)
            .filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .ok_or(PathError::Percent)?;
        let byte = u8::from_str_radix(hex, 16).map_err(|_| PathError::Percent)?;
        let changes_the_path = byte.is_ascii_alphanumeric()
            || byte.is_ascii_control()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b'\\' | b'%' | b'?' | b'#' | b';');
        if changes_the_path {
            return Err(PathError::Encoded);
        }
    }
    Ok(())
}

/// Which dialects know a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialects {
    /// None.
    Neither,
    /// One of them.
    Only(Dialect),
    /// Both: the request's headers decide, see [`choose_dialect`].
    Both,
}

/// Which dialects know a normalised path.
pub fn dialects_of(path: &str) -> Dialects {
    let Some(path) = path.strip_prefix("/v1/") else { return Dialects::Neither };
    match path.split('/').next().unwrap_or_default() {
        "models" | "files" => Dialects::Both,
        "messages" | "organizations" | "compliance" | "oauth" | "complete" => {
            Dialects::Only(Dialect::Anthropic)
        }
        "chat" | "completions" | "responses" | "embeddings" | "moderations" | "images" | "audio"
        | "videos" | "realtime" | "uploads" | "batches" | "fine_tuning" | "assistants" | "threads"
        | "vector_stores" | "conversations" | "containers" | "organization" | "projects" | "usage"
        | "dashboard" => Dialects::Only(Dialect::OpenAi),
        _ => Dialects::Neither,
    }
}

/// The dialect of a request to a listener that serves both. A path that both know, or neither, is
/// Anthropic's when the request has an `anthropic-version` header; else it is OpenAI's if both know it.
pub fn choose_dialect(path: &str, has_anthropic_version: bool) -> Option<Dialect> {
    match (dialects_of(path), has_anthropic_version) {
        (Dialects::Only(dialect), _) => Some(dialect),
        (_, true) => Some(Dialect::Anthropic),
        (Dialects::Both, false) => Some(Dialect::OpenAi),
        (Dialects::Neither, false) => None,
    }
}

/// Reads the method and the normalised path of a request.
pub fn route<'p>(dialect: Dialect, method: &str, path: &'p str) -> Route<'p> {
    let unknown = Route { endpoint: Endpoint::Other, body: BodyKind::Upload, model_in_path: None };
    let Some(path) = path.strip_prefix("/v1/") else { return unknown };
    let path = path.strip_suffix('/').unwrap_or(path);
    let verb = match method {
        "GET" | "HEAD" => Verb::Read,
        "POST" => Verb::Post,
        "DELETE" => Verb::Delete,
        _ => return unknown,
    };
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    if first == "models" {
        return route_models(verb, rest).unwrap_or(unknown);
    }
    let found = match dialect {
        Dialect::OpenAi => route_openai(verb, first, rest),
        Dialect::Anthropic => route_anthropic(verb, first, rest),
    };
    let Some((endpoint, body)) = found else { return unknown };
    let body = if verb == Verb::Post { body } else { BodyKind::None };
    Route { endpoint, body, model_in_path: None }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Read,
    Post,
    Delete,
}

fn route_models(verb: Verb, rest: &str) -> Option<Route<'_>> {
    let model_in_path = (!rest.is_empty()).then_some(rest);
    let endpoint = match verb {
        Verb::Read => Endpoint::Models,
        // Only fine-tuned models can be deleted.
        Verb::Delete if model_in_path.is_some() => Endpoint::FineTuning,
        Verb::Delete | Verb::Post => return None,
    };
    Some(Route { endpoint, body: BodyKind::None, model_in_path })
}

fn route_openai(verb: Verb, first: &str, rest: &str) -> Option<(Endpoint, BodyKind)> {
    use BodyKind::{Json, Upload};
    let is_post = verb == Verb::Post;
    Some(match (first, rest) {
        ("chat", "completions") if is_post => (Endpoint::ChatCompletions, Json),
        // Conversations stored at the provider: listing and reading them is not inference.
        ("chat", _) if rest == "completions" || rest.starts_with("completions/") => {
            (Endpoint::Assistants, Json)
        }
        ("completions", "") if is_post => (Endpoint::Completions, Json),
        ("responses", "input_tokens") if is_post => (Endpoint::CountTokens, Json),
        ("responses", _) => (Endpoint::Responses, Json),
        ("embeddings", "") if is_post => (Endpoint::Embeddings, Json),
        ("moderations", "") if is_post => (Endpoint::Moderations, Json),
        ("images", "generations") if is_post => (Endpoint::Images, Json),
        ("images", "edits" | "variations") if is_post => (Endpoint::Images, Upload),
        ("audio", "speech") if is_post => (Endpoint::Audio, Json),
        ("audio", "transcriptions" | "translations") if is_post => (Endpoint::Audio, Upload),
        ("videos", "") => (Endpoint::Videos, Upload),
        ("videos", _) => (Endpoint::Videos, Json),
        ("realtime", "calls") => (Endpoint::Realtime, Upload),
        ("realtime", _) => (Endpoint::Realtime, Json),
        ("files", "") => (Endpoint::Files, Upload),
        ("uploads", _) if rest.ends_with("/parts") => (Endpoint::Files, Upload),
        ("files" | "uploads", _) => (Endpoint::Files, Json),
        ("batches", _) => (Endpoint::Batches, Json),
        ("fine_tuning", _) => (Endpoint::FineTuning, Json),
        ("containers", _) if rest.ends_with("/files") => (Endpoint::Assistants, Upload),
        ("assistants" | "threads" | "vector_stores" | "conversations" | "containers", _) => {
            (Endpoint::Assistants, Json)
        }
        ("organization" | "projects" | "usage" | "dashboard", _) => (Endpoint::Administration, Json),
        _ => return None,
    })
}

fn route_anthropic(verb: Verb, first: &str, rest: &str) -> Option<(Endpoint, BodyKind)> {
    use BodyKind::{Json, Upload};
    let is_post = verb == Verb::Post;
    Some(match (first, rest) {
        ("messages", "") if is_post => (Endpoint::Messages, Json),
        ("messages", "count_tokens") if is_post => (Endpoint::CountTokens, Json),
        ("messages", _) if rest == "batches" || rest.starts_with("batches/") => (Endpoint::Batches, Json),
        ("complete", "") if is_post => (Endpoint::Completions, Json),
        ("files", "") => (Endpoint::Files, Upload),
        ("files", _) => (Endpoint::Files, Json),
        ("organizations" | "compliance" | "oauth", _) => (Endpoint::Administration, Json),
        _ => return None,
    })
}
