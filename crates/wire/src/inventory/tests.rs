//! Pages as the providers' documentation has them, lists in every order, and bytes that are no list.

use proptest::prelude::*;
use serde_json::json;
use tokenwatch_model::artifact::ArtifactKind::{Assistant, Batch, File, FineTuningJob, VectorStore};
use tokenwatch_model::time::{DAY, SECOND};

use super::*;

const NOW: u64 = 1_772_366_400;

#[track_caller]
fn check(kind: ArtifactKind, entry: Value, want: (&str, u64, &str, &str, &str)) {
    let body = json!({ "object": "list", "data": [entry], "has_more": false }).to_string();
    let page = read_page(kind, body.as_bytes()).unwrap();
    assert_eq!(page.has_more, Some(false));
    let [artifact] = page.artifacts.as_slice() else { panic!("{:?}", page.artifacts) };
    let Artifact { id, created, what, status, made, .. } = artifact;
    assert_eq!((id.as_str(), created.seconds(), what.as_str(), status.as_str(), made.as_str()), want);
}

#[test]
fn entries_are_read_as_the_providers_document_them() {
    check(
        File,
        json!({"id": "file-1", "object": "file", "bytes": 120, "created_at": NOW, "expires_at": null,
            "filename": "a.jsonl", "purpose": "fine-tune", "status": "processed"}),
        ("file-1", NOW, "a.jsonl, purpose fine-tune, 120 bytes", "processed", ""),
    );
    check(
        FineTuningJob,
        json!({"id": "ftjob-1", "created_at": NOW, "model": "gpt-4o-mini-2024-07-18", "training_file": "file-1",
            "fine_tuned_model": "ft:gpt-4o-mini:org::1", "status": "succeeded"}),
        (
            "ftjob-1",
            NOW,
            "model gpt-4o-mini-2024-07-18, of file-1, made ft:gpt-4o-mini:org::1",
            "succeeded",
            "ft:gpt-4o-mini:org::1",
        ),
    );
    check(
        Batch,
        json!({"id": "batch_1", "endpoint": "/v1/chat/completions", "input_file_id": "file-1", "created_at": NOW,
            "status": "completed", "output_file_id": "file-2",
            "request_counts": {"total": 9, "completed": 8, "failed": 1}}),
        ("batch_1", NOW, "/v1/chat/completions, of file-1, 9 requests", "completed", "file-2"),
    );
    check(
        Assistant,
        json!({"id": "asst_1", "created_at": NOW, "name": null, "model": "gpt-4o"}),
        ("asst_1", NOW, "model gpt-4o", "", ""),
    );
    check(
        VectorStore,
        json!({"id": "vs_1", "created_at": NOW, "name": "docs", "usage_bytes": 5, "status": "completed"}),
        ("vs_1", NOW, "docs, 5 bytes", "completed", ""),
    );
    check(
        Batch,
        json!({"id": "msgbatch_1", "type": "message_batch", "processing_status": "ended",
            "created_at": "2026-03-01T12:00:00.100435Z",
            "request_counts": {"processing": 0, "succeeded": 5, "errored": 2, "canceled": 0, "expired": 0}}),
        ("msgbatch_1", NOW, "7 requests", "ended", ""),
    );
    check(
        File,
        json!({"id": "file_011", "type": "file", "filename": "d.pdf", "mime_type": "application/pdf",
            "size_bytes": 7, "created_at": "2026-03-01T12:00:00Z", "downloadable": false}),
        ("file_011", NOW, "d.pdf, application/pdf, 7 bytes", "", ""),
    );
    // Servers that speak the dialect with an accent.
    check(File, json!({"id": "f", "created_at": NOW as f64 + 0.5}), ("f", NOW, "", "", ""));
    check(File, json!({"id": "f", "created_at": NOW * 1_000 + 5, "filename": 7}), ("f", NOW, "", "", ""));
}

#[track_caller]
fn check_refused(body: &str, want: &str) {
    assert_eq!(read_page(File, body.as_bytes()).unwrap_err().to_string(), want, "{body}");
}

#[test]
fn what_is_no_list_is_never_an_empty_one() {
    check_refused("", "its answer is no list: it is not JSON");
    check_refused("<html>", "its answer is no list: it is not JSON");
    check_refused("{}", "its answer is no list: it has another form");
    check_refused(r#"{"data":{}}"#, "its answer is no list: it has another form");
    check_refused(r#"{"data":[{"created_at":5}]}"#, "entry 1 of its list has no usable id");
    check_refused(
        r#"{"data":[{"id":"a","created_at":5},{"id":"b"}]}"#,
        "entry 2 of its list does not say when it was created",
    );
    check_refused(
        r#"{"data":[{"id":"a","created_at":-5}]}"#,
        "entry 1 of its list does not say when it was created",
    );
}

#[track_caller]
fn check_question(dialect: Dialect, kind: ArtifactKind, after: Option<&str>, target: &str, beta: &str) {
    let asked = question(dialect, kind, after);
    assert_eq!((asked.method, asked.target.as_str()), ("GET", target));
    let betas: Vec<&str> =
        asked.headers.iter().filter(|(name, _)| name.ends_with("-beta")).map(|(_, value)| *value).collect();
    assert_eq!(betas.join(","), beta);
    assert_eq!(asked.headers.contains(&("anthropic-version", "2023-06-01")), dialect == Dialect::Anthropic);
}

#[test]
fn questions_are_those_of_the_dialect() {
    use Dialect::{Anthropic, OpenAi};
    check_question(OpenAi, File, None, "/v1/files?limit=100&order=desc", "");
    check_question(OpenAi, File, Some("file-9"), "/v1/files?limit=100&order=desc&after=file-9", "");
    check_question(OpenAi, Batch, None, "/v1/batches?limit=100", "");
    check_question(OpenAi, FineTuningJob, None, "/v1/fine_tuning/jobs?limit=100", "");
    check_question(OpenAi, Assistant, None, "/v1/assistants?limit=100&order=desc", "assistants=v2");
    check_question(OpenAi, VectorStore, None, "/v1/vector_stores?limit=100&order=desc", "assistants=v2");
    check_question(Anthropic, Batch, Some("m"), "/v1/messages/batches?limit=100&after_id=m", "");
    check_question(Anthropic, File, None, "/v1/files?limit=100", "files-api-2025-04-14");
}

fn artifact(kind: ArtifactKind, id: &str, status: &str, made: &str) -> Artifact {
    let created = Timestamp::from_seconds(NOW);
    Artifact { kind, id: id.into(), created, what: String::new(), status: status.into(), made: made.into() }
}

#[track_caller]
fn check_removal(dialect: Dialect, artifact: &Artifact, want: &[&str]) {
    let got: Vec<String> =
        removals(dialect, artifact).iter().map(|q| format!("{} {}", q.method, q.target)).collect();
    assert_eq!(got, want);
}

#[test]
fn what_runs_is_stopped_and_what_stays_is_removed() {
    use Dialect::{Anthropic, OpenAi};
    check_removal(OpenAi, &artifact(File, "file-1", "processed", ""), &["DELETE /v1/files/file-1"]);
    check_removal(OpenAi, &artifact(Batch, "b_1", "in_progress", ""), &["POST /v1/batches/b_1/cancel"]);
    check_removal(OpenAi, &artifact(Batch, "b_1", "completed", "file-2"), &["DELETE /v1/files/file-2"]);
    check_removal(OpenAi, &artifact(Batch, "b_1", "failed", ""), &[]);
    let job = |status, made| artifact(FineTuningJob, "ftjob-1", status, made);
    check_removal(OpenAi, &job("running", ""), &["POST /v1/fine_tuning/jobs/ftjob-1/cancel"]);
    check_removal(OpenAi, &job("succeeded", "ft:m:o::1"), &["DELETE /v1/models/ft:m:o::1"]);
    check_removal(OpenAi, &artifact(Assistant, "asst_1", "", ""), &["DELETE /v1/assistants/asst_1"]);
    check_removal(OpenAi, &artifact(VectorStore, "vs_1", "", ""), &["DELETE /v1/vector_stores/vs_1"]);
    let batch = |status| artifact(Batch, "m_1", status, "");
    check_removal(Anthropic, &batch("ended"), &["DELETE /v1/messages/batches/m_1"]);
    check_removal(
        Anthropic,
        &batch("in_progress"),
        &["POST /v1/messages/batches/m_1/cancel", "DELETE /v1/messages/batches/m_1"],
    );
    // What would do something else in a shell, or lead elsewhere at the provider.
    for id in ["", "a b", "$(reboot)", "../models/x", "a?b", "ä", "a'b"] {
        check_removal(OpenAi, &artifact(File, id, "", ""), &[]);
        check_removal(OpenAi, &artifact(Batch, "b_1", "completed", id), &[]);
    }
}

fn page(ids: &[(u64, u64)], has_more: Option<bool>) -> Page {
    let entry = |(id, seconds): &(u64, u64)| {
        let created = Timestamp::from_seconds(*seconds);
        Artifact { created, ..artifact(File, &format!("file-{id}"), "", "") }
    };
    Page { artifacts: ids.iter().map(entry).collect(), has_more }
}

fn ids(listing: Listing) -> Vec<String> {
    listing.found().into_iter().map(|artifact| artifact.id.to_string()).collect()
}

#[test]
fn reading_stops_where_everything_is_older_and_only_there() {
    let since = Timestamp::from_seconds(1_000);
    let mut newest_first = Listing::new(since, None);
    assert_eq!(newest_first.take(page(&[(1, 2_000), (2, 1_500)], Some(true))), Next::After("file-2".into()));
    assert_eq!(newest_first.take(page(&[(3, 1_000), (4, 941)], Some(true))), Next::After("file-4".into()));
    assert_eq!(newest_first.take(page(&[(5, 939), (6, 900)], Some(true))), Next::Whole);
    assert_eq!(ids(newest_first), ["file-1", "file-2", "file-3", "file-4"], "a minute of slack");

    let mut oldest_first = Listing::new(since, None);
    assert_eq!(oldest_first.take(page(&[(1, 100), (2, 200)], Some(true))), Next::After("file-2".into()));
    assert_eq!(oldest_first.take(page(&[(3, 1_100)], Some(false))), Next::Whole);
    assert_eq!(ids(oldest_first), ["file-3"]);

    let mut bounded = Listing::new(since, Some(Timestamp::from_seconds(1_100)));
    assert_eq!(bounded.take(page(&[(1, 1_161), (2, 1_160)], Some(false))), Next::Whole);
    assert_eq!(ids(bounded), ["file-2"]);
}

#[test]
fn a_list_that_does_not_end_is_not_whole() {
    let mut same = Listing::new(Timestamp(0), None);
    assert_eq!(same.take(page(&[(1, 5)], Some(true))), Next::After("file-1".into()));
    assert_eq!(same.take(page(&[(1, 5)], Some(true))), Next::Broken("its list repeats itself"));
    let mut empty = Listing::new(Timestamp(0), None);
    assert_eq!(empty.take(page(&[], Some(true))), Next::Broken("its list repeats itself"));
    // A server that knows neither `has_more` nor `after`.
    let full: Vec<(u64, u64)> = (0..PAGE_LEN as u64).map(|i| (i, 5)).collect();
    let mut plain = Listing::new(Timestamp(0), None);
    assert_eq!(plain.take(page(&full, None)), Next::After("file-99".into()));
    assert_eq!(plain.take(page(&full, None)), Next::Whole);
    assert_eq!(ids(plain).len(), PAGE_LEN);
    let mut long = Listing::new(Timestamp(0), None);
    let ends: Vec<Next> = (0..PAGES_MAX as u64).map(|i| long.take(page(&[(i, 5)], Some(true)))).collect();
    assert_eq!(ends.last(), Some(&Next::Broken("its list is longer than 5,000 entries")));
    let mut odd = Listing::new(Timestamp(0), None);
    let mut last = page(&[(1, 5)], Some(true));
    last.artifacts[0].id = "a&b".into();
    assert!(matches!(odd.take(last), Next::Broken(_)));
}

#[track_caller]
fn check_complaint(body: &str, want: Option<&str>) {
    assert_eq!(complaint(body.as_bytes()).as_deref(), want, "{body}");
}

#[test]
fn complaints_of_both_dialects_are_read() {
    check_complaint(r#"{"error":{"message":"no","type":"x"}}"#, Some("no"));
    check_complaint(r#"{"type":"error","error":{"type":"permission_error","message":"no"}}"#, Some("no"));
    check_complaint(r#"{"error":"no"}"#, Some("no"));
    check_complaint(r#"{"message":"no"}"#, Some("no"));
    check_complaint("[1]", None);
    check_complaint("gone", None);
}

proptest! {
    /// However a sorted list comes, newest or oldest first, in pages of any length: what counts is found, all of it.
    #[test]
    fn what_is_read_whole_is_complete(
        // At most as many pages as are read.
        mut days in prop::collection::vec(0_u64..40, 0..50),
        is_newest_first: bool,
        len in 1_usize..20,
    ) {
        days.sort_unstable();
        if is_newest_first {
            days.reverse();
        }
        let since = Timestamp(20 * DAY);
        let entries: Vec<(u64, u64)> =
            days.iter().enumerate().map(|(i, day)| (i as u64, day * DAY / SECOND)).collect();
        let mut listing = Listing::new(since, None);
        let mut pages = entries.chunks(len).peekable();
        while let Some(entries) = pages.next() {
            match listing.take(page(entries, Some(pages.peek().is_some()))) {
                Next::After(_) => {}
                Next::Whole => break,
                Next::Broken(why) => prop_assert!(false, "{why}"),
            }
        }
        let want = days.iter().filter(|day| **day >= 20).count();
        prop_assert_eq!(listing.found().len(), want);
    }
}
