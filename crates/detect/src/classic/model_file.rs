//! Trained models as bytes: a version, a kind, postcard, a checksum.
//!
//! Invariants: bytes of another version or kind, and bytes that changed, are refused with a reason; nothing that
//! was read is used before its shape was checked.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// First byte. A new layout gets a new byte; a model of another version has to be trained again.
const VERSION: u8 = 1;
const CHECKSUM: usize = 4;

/// What sort of model bytes hold; a kind that is gone leaves its number unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Forest = 1,
    Recurrent = 2,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Forest => "an isolation forest",
            Self::Recurrent => "a recurrent network",
        }
    }
}

/// Why bytes are not a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadModelError {
    /// Written by another version.
    #[error("the model has version {0}, expected {VERSION}; train it again")]
    Version(u8),
    /// A model of another sort.
    #[error("the model is not {0}; it was saved from another method")]
    Kind(&'static str),
    /// Cut off, or changed since it was saved.
    #[error("the model is damaged: its checksum does not fit; load a copy, or train it again")]
    Damaged,
    /// Whole, but not what this program can use.
    #[error("the model does not have the shape it should: {0}; train it again")]
    Shape(&'static str),
}

/// A model's bytes.
pub(super) fn encode<T: Serialize>(kind: Kind, model: &T) -> Vec<u8> {
    // Writing to a vector can not fail, and no type inside refuses to be written.
    let mut bytes = postcard::to_extend(model, vec![VERSION, kind as u8]).unwrap_or_default();
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// The inverse of [`encode`]; the caller checks the shape.
pub(super) fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, LoadModelError> {
    let &version = bytes.first().ok_or(LoadModelError::Damaged)?;
    if version != VERSION {
        return Err(LoadModelError::Version(version));
    }
    let split = bytes.len().checked_sub(CHECKSUM).ok_or(LoadModelError::Damaged)?;
    let (framed, sum) = bytes.split_at(split);
    if crc32fast::hash(framed).to_le_bytes() != sum {
        return Err(LoadModelError::Damaged);
    }
    match framed {
        [_, of, body @ ..] if *of == kind as u8 => match postcard::take_from_bytes(body) {
            Ok((model, [])) => Ok(model),
            _ => Err(LoadModelError::Shape("its parts can not be told apart")),
        },
        _ => Err(LoadModelError::Kind(kind.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_survive_saving_and_nothing_else_does() {
        let model = vec![1.5f32, -0.0, f32::MIN_POSITIVE];
        let good = encode(Kind::Recurrent, &model);
        assert_eq!(decode::<Vec<f32>>(Kind::Recurrent, &good), Ok(model));
        let load = |bytes: &[u8]| decode::<Vec<f32>>(Kind::Recurrent, bytes).unwrap_err();
        assert_eq!(decode::<Vec<f32>>(Kind::Forest, &good), Err(LoadModelError::Kind("an isolation forest")));
        for len in 0..good.len() {
            assert_eq!(load(&good[..len]), LoadModelError::Damaged, "{len} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let want = if at == 0 { LoadModelError::Version(0x11) } else { LoadModelError::Damaged };
            assert_eq!(load(&bad), want, "byte {at}");
        }
        let longer = encode(Kind::Recurrent, &(vec![1.0f32], 7u8));
        assert_eq!(load(&longer), LoadModelError::Shape("its parts can not be told apart"));
    }
}
