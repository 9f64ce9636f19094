//! Which strings of an answer are what it says: not its reasoning, its calls of tools, or its sources.

use std::sync::LazyLock;

use memchr::memmem::Finder;

// Events of a Responses stream whose delta is spoken, where the stream does not name its events.
static OUTPUT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"response.output_text.delta\""));
static REFUSAL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"response.refusal.delta\""));

/// Longest key that is compared, in bytes.
const KEY_LEN_MAX: usize = 12;

/// Whether a string under this key is spoken. Assistants keep the text of a message one level down, in `value`.
pub(super) fn is_spoken(key: &[u8]) -> bool {
    matches!(key, b"content" | b"text" | b"refusal" | b"value")
}

/// Whether what stands under this key is none of it, whatever keys it has inside.
fn is_muted(key: &[u8]) -> bool {
    matches!(key, b"summary" | b"input" | b"logprobs" | b"annotations" | b"citations")
}

/// Whether an event of a Responses stream carries what is spoken.
pub(super) fn speaks(name: &[u8], data: &[u8]) -> bool {
    match name {
        b"response.output_text.delta" | b"response.refusal.delta" => true,
        b"" | b"message" => OUTPUT.find(data).is_some() || REFUSAL.find(data).is_some(),
        _ => false,
    }
}

/// Follows a JSON answer as it passes and tells which of its strings are spoken.
#[derive(Default)]
pub(super) struct Listener {
    /// Whether the member of the top level that is read holds what was generated.
    is_inside: bool,
    key: [u8; KEY_LEN_MAX],
    key_len: usize,
    /// Whether a value comes next.
    is_after_colon: bool,
    string: Role,
    /// Depth at which a value began that is none of it.
    muted: Option<u32>,
}

/// What a string is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Role {
    #[default]
    Other,
    Key,
    Spoken,
}

impl Listener {
    /// A member of the top level begins, or ends.
    pub(super) fn enter(&mut self, key: &[u8]) {
        *self = Self { is_inside: matches!(key, b"choices" | b"content" | b"output"), ..Self::default() };
    }

    /// A string begins.
    pub(super) fn open_string(&mut self) {
        if !self.is_inside {
            return;
        }
        self.string = match (std::mem::take(&mut self.is_after_colon), self.muted) {
            (true, None) if is_spoken(self.key()) => Role::Spoken,
            (true, _) => Role::Other,
            (false, _) => {
                self.key_len = 0;
                Role::Key
            }
        };
    }

    /// Part of a string, as written. Whether it is spoken.
    pub(super) fn push(&mut self, raw: &[u8]) -> bool {
        if self.is_inside && self.string == Role::Key {
            for &byte in raw {
                // One more than fits is none of the keys that are known.
                self.key_len = (self.key_len + 1).min(KEY_LEN_MAX + 1);
                if let Some(place) = self.key.get_mut(self.key_len - 1) {
                    *place = byte;
                }
            }
        }
        self.is_inside && self.string == Role::Spoken
    }

    /// A byte outside strings, at a depth that it does not change yet.
    pub(super) fn structure(&mut self, byte: u8, depth: u32) {
        if !self.is_inside {
            return;
        }
        match byte {
            b':' => self.is_after_colon = true,
            b',' => self.is_after_colon = false,
            b'{' | b'[' => {
                let is_value = std::mem::take(&mut self.is_after_colon);
                if is_value && self.muted.is_none() && is_muted(self.key()) {
                    self.muted = Some(depth);
                }
            }
            b'}' | b']' if self.muted.is_some_and(|from| depth <= from + 1) => self.muted = None,
            _ => {}
        }
    }

    fn key(&self) -> &[u8] {
        self.key.get(..self.key_len).unwrap_or_default()
    }
}
