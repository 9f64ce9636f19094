//! The requests that stop or remove an artifact.

use tokenwatch_model::artifact::{Artifact, ArtifactKind, Question};
use tokenwatch_model::provider::Dialect;

use super::{is_plain, place};

/// The requests that undo an artifact, in order. None when there is nothing that a request can do: it ended and left
/// nothing, or its id is not plain.
///
/// What runs is stopped and what it made is removed; OpenAI's batches and fine-tuning jobs themselves stay listed.
pub fn removals(dialect: Dialect, artifact: &Artifact) -> Vec<Question> {
    let (path, headers) = place(dialect, artifact.kind);
    if !is_plain(&artifact.id) {
        return Vec::new();
    }
    let cancel = Question { method: "POST", target: format!("{path}/{}/cancel", artifact.id), headers };
    let delete = Question { method: "DELETE", target: format!("{path}/{}", artifact.id), headers };
    let made = |path: &str| {
        is_plain(&artifact.made).then(|| Question {
            method: "DELETE",
            target: format!("{path}/{}", artifact.made),
            headers: &[],
        })
    };
    match (dialect, artifact.kind) {
        (Dialect::OpenAi, ArtifactKind::Batch) => match artifact.status.as_str() {
            "validating" | "in_progress" | "finalizing" => vec![cancel],
            _ => made("/v1/files").into_iter().collect(),
        },
        (Dialect::OpenAi, ArtifactKind::FineTuningJob) => match artifact.status.as_str() {
            "validating_files" | "queued" | "running" | "paused" => vec![cancel],
            _ => made("/v1/models").into_iter().collect(),
        },
        (Dialect::Anthropic, ArtifactKind::Batch) if artifact.status != "ended" => vec![cancel, delete],
        _ => vec![delete],
    }
}
