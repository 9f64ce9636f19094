//! Answers of providers as HTTP/1.1: heads, and where bodies end. Strict: what two readers could take for different
//! bodies is garbage, or at least ends the connection.
//!
//! Invariant: an error takes nothing from what has arrived, and what has arrived is looked at a bounded number of times.

use bytes::{Bytes, BytesMut};

pub mod chunked;
mod head;

pub use head::{Answer, Asked, HEAD_MAX, take_head};

use chunked::Chunked;

/// What is wrong with an answer; says nothing of what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not HTTP: {0}")]
pub struct ReadAnswerError(pub(crate) &'static str);

/// Where a body ends.
#[derive(Clone, Debug)]
pub enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// In chunks.
    Chunked(Chunked),
    /// With the connection.
    Close,
    /// Here.
    Done,
}

/// What comes next of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A piece of it.
    Data(Bytes),
    /// More has to arrive.
    More,
    /// Nothing any more.
    End,
}

impl Framing {
    /// Whether the body is over.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::Length(_) | Self::Close => false,
        }
    }

    /// Takes the next piece of the body from what has arrived.
    ///
    /// # Errors
    ///
    /// When the framing is wrong.
    pub fn take(&mut self, arrived: &mut BytesMut) -> Result<Step, ReadAnswerError> {
        match self {
            Self::Done => Ok(Step::End),
            Self::Chunked(chunked) => chunked.take(arrived),
            _ if arrived.is_empty() => Ok(Step::More),
            Self::Close => Ok(Step::Data(arrived.split().freeze())),
            Self::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(arrived.len());
                *left -= length as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Step::Data(arrived.split_to(length).freeze()))
            }
        }
    }
}
