//! Tests of `route`.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check_path(path: &str, want: Result<(), PathError>) {
    assert_eq!(normalize(path), want, "{path}");
}

#[test]
fn ambiguous_paths_are_refused() {
    check_path("/v1/chat/completions", Ok(()));
    check_path("/v1/models/ft:gpt-4o:org::id", Ok(()));
    check_path("/v1/files/a%20b", Ok(()));
    check_path("/", Ok(()));
    check_path("/v1/models/", Ok(()));
    check_path("/v1/a..b/.c", Ok(()));
    check_path("", Err(PathError::NotAbsolute));
    check_path("v1/models", Err(PathError::NotAbsolute));
    check_path("/v1/../admin", Err(PathError::DotSegment));
    check_path("/v1/./models", Err(PathError::DotSegment));
    check_path("/v1/models/..", Err(PathError::DotSegment));
    check_path("//v1/models", Err(PathError::EmptySegment));
    check_path("/v1//models", Err(PathError::EmptySegment));
    check_path("/v1/models//", Err(PathError::EmptySegment));
    check_path("/v1\\models", Err(PathError::Character));
    check_path("/v1/mod els", Err(PathError::Character));
    check_path("/v1/mod\u{7f}els", Err(PathError::Character));
    check_path("/v1/modèls", Err(PathError::Character));
    check_path("/v1/models?key=x", Err(PathError::Character));
    check_path("/v1/models#x", Err(PathError::Character));
    check_path("/v1/%", Err(PathError::Percent));
    check_path("/v1/%2", Err(PathError::Percent));
    check_path("/v1/%zz", Err(PathError::Percent));
    check_path("/v1/%+f", Err(PathError::Percent));
    for hidden in
        ["%2f", "%2F", "%2e%2e", "%5c", "%00", "%0a", "%7f", "%25", "%252e", "%6dodels", "%3f", "%23", "%3b"]
    {
        check_path(&format!("/v1/{hidden}"), Err(PathError::Encoded));
    }
    check_path(&format!("/{}", "a".repeat(PATH_LEN_MAX)), Err(PathError::TooLong));
}

#[track_caller]
fn check_route(dialect: Dialect, method: &str, path: &str, endpoint: Endpoint, body: BodyKind) {
    let found = route(dialect, method, path);
    assert_eq!((found.endpoint, found.body), (endpoint, body), "{method} {path}");
}

#[test]
fn openai_endpoints_are_known() {
    use BodyKind::{Json, None, Upload};
    for (method, path, endpoint, body) in [
        ("POST", "/v1/chat/completions", Endpoint::ChatCompletions, Json),
        ("POST", "/v1/chat/completions/", Endpoint::ChatCompletions, Json),
        ("GET", "/v1/chat/completions", Endpoint::Assistants, None),
        ("GET", "/v1/chat/completions/chatcmpl-1/messages", Endpoint::Assistants, None),
        ("DELETE", "/v1/chat/completions/chatcmpl-1", Endpoint::Assistants, None),
        ("POST", "/v1/completions", Endpoint::Completions, Json),
        ("POST", "/v1/responses", Endpoint::Responses, Json),
        ("GET", "/v1/responses/resp_1", Endpoint::Responses, None),
        ("GET", "/v1/responses/resp_1/input_items", Endpoint::Responses, None),
        ("POST", "/v1/responses/resp_1/cancel", Endpoint::Responses, Json),
        ("DELETE", "/v1/responses/resp_1", Endpoint::Responses, None),
        ("POST", "/v1/responses/compact", Endpoint::Responses, Json),
        ("POST", "/v1/responses/input_tokens", Endpoint::CountTokens, Json),
        ("POST", "/v1/embeddings", Endpoint::Embeddings, Json),
        ("POST", "/v1/moderations", Endpoint::Moderations, Json),
        ("POST", "/v1/images/generations", Endpoint::Images, Json),
        ("POST", "/v1/images/edits", Endpoint::Images, Upload),
        ("POST", "/v1/images/variations", Endpoint::Images, Upload),
        ("POST", "/v1/audio/speech", Endpoint::Audio, Json),
        ("POST", "/v1/audio/transcriptions", Endpoint::Audio, Upload),
        ("POST", "/v1/audio/translations", Endpoint::Audio, Upload),
        ("POST", "/v1/videos", Endpoint::Videos, Upload),
        ("GET", "/v1/videos/video_1/content", Endpoint::Videos, None),
        ("POST", "/v1/videos/video_1/remix", Endpoint::Videos, Json),
        ("GET", "/v1/realtime", Endpoint::Realtime, None),
        ("POST", "/v1/realtime/client_secrets", Endpoint::Realtime, Json),
        ("POST", "/v1/realtime/calls", Endpoint::Realtime, Upload),
        ("GET", "/v1/models", Endpoint::Models, None),
        ("HEAD", "/v1/models", Endpoint::Models, None),
        ("POST", "/v1/files", Endpoint::Files, Upload),
        ("GET", "/v1/files", Endpoint::Files, None),
        ("GET", "/v1/files/file-1/content", Endpoint::Files, None),
        ("DELETE", "/v1/files/file-1", Endpoint::Files, None),
        ("POST", "/v1/uploads", Endpoint::Files, Json),
        ("POST", "/v1/uploads/upload_1/parts", Endpoint::Files, Upload),
        ("POST", "/v1/uploads/upload_1/complete", Endpoint::Files, Json),
        ("POST", "/v1/batches", Endpoint::Batches, Json),
        ("GET", "/v1/batches/batch_1", Endpoint::Batches, None),
        ("POST", "/v1/batches/batch_1/cancel", Endpoint::Batches, Json),
        ("POST", "/v1/fine_tuning/jobs", Endpoint::FineTuning, Json),
        ("GET", "/v1/fine_tuning/jobs/ftjob-1/events", Endpoint::FineTuning, None),
        ("DELETE", "/v1/models/ft:gpt-4o:org::id", Endpoint::FineTuning, None),
        ("POST", "/v1/assistants", Endpoint::Assistants, Json),
        ("POST", "/v1/threads/runs", Endpoint::Assistants, Json),
        ("POST", "/v1/threads/thread_1/runs", Endpoint::Assistants, Json),
        ("GET", "/v1/vector_stores", Endpoint::Assistants, None),
        ("POST", "/v1/conversations", Endpoint::Assistants, Json),
        ("POST", "/v1/containers/cntr_1/files", Endpoint::Assistants, Upload),
        ("GET", "/v1/organization/usage/completions", Endpoint::Administration, None),
        ("POST", "/v1/organization/admin_api_keys", Endpoint::Administration, Json),
        ("GET", "/v1/dashboard/billing/usage", Endpoint::Administration, None),
    ] {
        check_route(Dialect::OpenAi, method, path, endpoint, body);
        let expected = if endpoint == Endpoint::Models || endpoint == Endpoint::Files {
            Dialects::Both
        } else {
            Dialects::Only(Dialect::OpenAi)
        };
        if !path.starts_with("/v1/models/") {
            assert_eq!(
                dialects_of(path),
                if path.contains("uploads") { Dialects::Only(Dialect::OpenAi) } else { expected },
                "{path}"
            );
        }
    }
}

#[test]
fn anthropic_endpoints_are_known() {
    use BodyKind::{Json, None, Upload};
    for (method, path, endpoint, body) in [
        ("POST", "/v1/messages", Endpoint::Messages, Json),
        ("POST", "/v1/messages/count_tokens", Endpoint::CountTokens, Json),
        ("POST", "/v1/messages/batches", Endpoint::Batches, Json),
        ("GET", "/v1/messages/batches", Endpoint::Batches, None),
        ("GET", "/v1/messages/batches/msgbatch_1/results", Endpoint::Batches, None),
        ("POST", "/v1/messages/batches/msgbatch_1/cancel", Endpoint::Batches, Json),
        ("POST", "/v1/complete", Endpoint::Completions, Json),
        ("GET", "/v1/models", Endpoint::Models, None),
        ("POST", "/v1/files", Endpoint::Files, Upload),
        ("GET", "/v1/files/file_1/content", Endpoint::Files, None),
        ("GET", "/v1/organizations/api_keys", Endpoint::Administration, None),
        ("POST", "/v1/organizations/api_keys/apikey_1", Endpoint::Administration, Json),
        ("GET", "/v1/compliance/activities", Endpoint::Administration, None),
        ("POST", "/v1/oauth/token", Endpoint::Administration, Json),
    ] {
        check_route(Dialect::Anthropic, method, path, endpoint, body);
    }
}

#[test]
fn what_is_not_known_is_other_and_streams_through() {
    for (dialect, method, path) in [
        (Dialect::OpenAi, "POST", "/v1/messages"),
        (Dialect::Anthropic, "POST", "/v1/chat/completions"),
        (Dialect::OpenAi, "POST", "/v1/models"),
        (Dialect::OpenAi, "DELETE", "/v1/models"),
        (Dialect::OpenAi, "GET", "/v1/embeddings"),
        (Dialect::OpenAi, "PUT", "/v1/chat/completions"),
        (Dialect::OpenAi, "post", "/v1/chat/completions"),
        (Dialect::OpenAi, "POST", "/v1/chat/completionsx"),
        (Dialect::OpenAi, "POST", "/v1/chat/completions;x"),
        (Dialect::OpenAi, "POST", "/V1/chat/completions"),
        (Dialect::OpenAi, "POST", "/chat/completions"),
        (Dialect::OpenAi, "POST", "/v2/chat/completions"),
        (Dialect::Anthropic, "GET", "/v1/messages"),
        (Dialect::Anthropic, "POST", "/v1/messages/batchesx"),
        (Dialect::OpenAi, "GET", "/"),
    ] {
        check_route(dialect, method, path, Endpoint::Other, BodyKind::Upload);
    }
}

#[test]
fn the_model_in_the_path_is_returned_whole() {
    assert_eq!(route(Dialect::OpenAi, "GET", "/v1/models/org/model").model_in_path, Some("org/model"));
    assert_eq!(
        route(Dialect::Anthropic, "GET", "/v1/models/claude-opus-5").model_in_path,
        Some("claude-opus-5")
    );
    assert_eq!(route(Dialect::OpenAi, "GET", "/v1/models/").model_in_path, None);
    assert_eq!(route(Dialect::OpenAi, "GET", "/v1/batches/b").model_in_path, None);
}

#[test]
fn a_shared_listener_tells_the_dialects_apart() {
    let check = |path, version, want| assert_eq!(choose_dialect(path, version), want, "{path} {version}");
    check("/v1/messages", false, Some(Dialect::Anthropic));
    check("/v1/messages/batches", true, Some(Dialect::Anthropic));
    check("/v1/chat/completions", false, Some(Dialect::OpenAi));
    check("/v1/chat/completions", true, Some(Dialect::OpenAi));
    check("/v1/models", false, Some(Dialect::OpenAi));
    check("/v1/models", true, Some(Dialect::Anthropic));
    check("/v1/files/x", true, Some(Dialect::Anthropic));
    check("/v1/unheard", false, None);
    check("/v1/unheard", true, Some(Dialect::Anthropic));
    check("/healthz", false, None);
}

proptest! {
    #[test]
    fn what_passes_has_nothing_left_to_decode(path in "/[ -~é%./\\\\]{0,24}") {
        if normalize(&path).is_ok() {
            prop_assert!(!path.contains("//") && !path.contains('\\') && path.is_ascii());
            prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        }
    }

    #[test]
    fn any_method_and_path_has_a_route(method in "[A-Z]{0,8}", path in any::<String>()) {
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            let found = route(dialect, &method, &path);
            prop_assert!(found.endpoint == Endpoint::Other || path.starts_with("/v1/"));
        }
    }
}
