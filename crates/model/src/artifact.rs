//! Artifacts: what is created at a provider and outlives the key that created it.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::provider::Endpoint;
use crate::time::Timestamp;

/// A kind of artifact. New variants are appended: the names are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// An uploaded file.
    File,
    /// A batch of requests, of either dialect.
    Batch,
    /// A fine-tuning job, and the model it makes.
    FineTuningJob,
    /// An assistant.
    Assistant,
    /// A vector store.
    VectorStore,
}

impl ArtifactKind {
    /// The word used in data.
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Batch => "batch",
            Self::FineTuningJob => "fine_tuning_job",
            Self::Assistant => "assistant",
            Self::VectorStore => "vector_store",
        }
    }

    /// The word used in sentences, of one or of several.
    pub const fn noun(self, count: usize) -> &'static str {
        match (self, count) {
            (Self::File, 1) => "file",
            (Self::File, _) => "files",
            (Self::Batch, 1) => "batch",
            (Self::Batch, _) => "batches",
            (Self::FineTuningJob, 1) => "fine-tuning job",
            (Self::FineTuningJob, _) => "fine-tuning jobs",
            (Self::Assistant, 1) => "assistant",
            (Self::Assistant, _) => "assistants",
            (Self::VectorStore, 1) => "vector store",
            (Self::VectorStore, _) => "vector stores",
        }
    }

    /// The endpoint that creates it.
    pub const fn endpoint(self) -> Endpoint {
        match self {
            Self::File => Endpoint::Files,
            Self::Batch => Endpoint::Batches,
            Self::FineTuningJob => Endpoint::FineTuning,
            Self::Assistant | Self::VectorStore => Endpoint::Assistants,
        }
    }
}

/// One artifact, as its provider lists it. All texts are the provider's, or those of whoever created it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// What it is.
    pub kind: ArtifactKind,
    /// The provider's id.
    pub id: SmolStr,
    /// When it was created, by the provider's clock.
    pub created: Timestamp,
    /// Name, purpose, model: whatever tells a person what it is.
    pub what: String,
    /// The provider's word for its state; empty when it has none.
    pub status: SmolStr,
    /// What it made: the model of a fine-tuning job, the output file of a batch. Empty when it made nothing.
    pub made: SmolStr,
}

/// A request to a provider's own API, without the credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Method, such as `GET`.
    pub method: &'static str,
    /// Path and query, from `/v1` on.
    pub target: String,
    /// Header fields that the dialect needs.
    pub headers: &'static [(&'static str, &'static str)],
}

/// What a provider answered to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, whole, without the credential should the provider repeat it.
    pub body: Vec<u8>,
}
