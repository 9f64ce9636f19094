//! WebSocket frames (RFC 6455), as far as a test needs them: no extensions, no fragmented control frames.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Largest payload that is read.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Text frame.
pub const TEXT: u8 = 1;
/// Binary frame.
pub const BINARY: u8 = 2;
/// Close frame.
pub const CLOSE: u8 = 8;
/// Ping frame.
pub const PING: u8 = 9;
/// Pong frame.
pub const PONG: u8 = 10;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether it ends its message.
    pub fin: bool,
    /// [`TEXT`], [`BINARY`], [`CLOSE`], [`PING`], [`PONG`], or 0 for a continuation.
    pub opcode: u8,
    /// Payload, unmasked.
    pub payload: Vec<u8>,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFrameError {
    /// Longer than [`PAYLOAD_BYTES_MAX`].
    #[error("the frame is longer than {PAYLOAD_BYTES_MAX} bytes")]
    TooLong,
    /// A reserved bit is set: an extension nobody agreed on.
    #[error("a reserved bit of the frame is set")]
    Reserved,
}

impl Frame {
    /// A whole text message.
    pub fn text(text: &str) -> Self {
        Self { fin: true, opcode: TEXT, payload: text.as_bytes().to_vec() }
    }

    /// The bytes on the wire. Clients must mask, servers must not.
    pub fn encode(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let length = self.payload.len();
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut out = vec![(u8::from(self.fin) << 7) | (self.opcode & 0x0f)];
        if length < 126 {
            out.push(masked | length as u8);
        } else if let Ok(short) = u16::try_from(length) {
            out.push(masked | 126);
            out.extend_from_slice(&short.to_be_bytes());
        } else {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
        match mask {
            Some(mask) => {
                out.extend_from_slice(&mask);
                out.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
            }
            None => out.extend_from_slice(&self.payload),
        }
        out
    }

    /// Reads the first frame of `bytes`: the frame and how many bytes it took, `None` when more are needed.
    ///
    /// # Errors
    ///
    /// See [`DecodeFrameError`].
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, DecodeFrameError> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(DecodeFrameError::Reserved);
        }
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk() {
                Some((&length, rest)) => (u64::from(u16::from_be_bytes(length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((&length, rest)) => (u64::from_be_bytes(length), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > PAYLOAD_BYTES_MAX {
            return Err(DecodeFrameError::TooLong);
        }
        let (mask, rest) = if second & 0x80 == 0 {
            ([0; 4], rest)
        } else {
            match rest.split_first_chunk() {
                Some((&mask, rest)) => (mask, rest),
                None => return Ok(None),
            }
        };
        let Some((payload, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        let frame = Self { fin: first & 0x80 != 0, opcode: first & 0x0f, payload };
        Ok(Some((frame, bytes.len() - rest.len())))
    }
}

/// The `sec-websocket-accept` that answers a `sec-websocket-key`.
pub fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_handshake_is_the_standards_example() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_not_a_frame_is_refused() {
        assert_eq!(Frame::decode(&[0xc1, 0]), Err(DecodeFrameError::Reserved));
        assert_eq!(Frame::decode(&[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0]), Err(DecodeFrameError::TooLong));
        assert_eq!(Frame::decode(&[0x81, 2, b'a']), Ok(None));
    }

    proptest! {
        #[test]
        fn frames_survive(length in prop::sample::select(vec![0, 1, 125, 126, 65_535, 65_536]), mask: Option<[u8; 4]>) {
            let frame = Frame { fin: true, opcode: BINARY, payload: vec![7; length] };
            let bytes = frame.encode(mask);
            prop_assert_eq!(Frame::decode(&bytes), Ok(Some((frame, bytes.len()))));
            prop_assert_eq!(Frame::decode(&bytes[..bytes.len() - 1]).map(|f| f.is_none()).unwrap_or(false), true);
        }
    }
}
