//! Secrets: values that cannot be printed, serialised or compared early, and are wiped when dropped.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret text such as a provider's key.
///
/// It has no `Debug`, `Display`, `Serialize` or `PartialEq` on purpose; [`Secret::expose`] is the one
/// way to its bytes, and every call of it is a place to review.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself. Only for putting it on the wire or hashing it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// First characters up to and including a well-known prefix plus the last four: enough to recognise,
    /// useless to an attacker. Short secrets show nothing.
    pub fn hint(&self) -> String {
        let text: &str = &self.0;
        if !text.is_ascii() || text.len() < 24 {
            return "****".to_owned();
        }
        format!("{}…{}", &text[..6], &text[text.len() - 4..])
    }
}

/// SHA-256 of a secret: what is stored. High-entropy secrets only, so no salt or stretching is needed.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes a secret.
    pub fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// The stored form.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From the stored form.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Equality in constant time, so that timing tells nothing about a stored hash.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_show_nothing_useful() {
        assert_eq!(Secret::new("sk-proj-0123456789abcdefWXYZ").hint(), "sk-pro…WXYZ");
        assert_eq!(Secret::new("short").hint(), "****");
        assert!(SecretHash::of(b"a").matches(&SecretHash::of(b"a")));
        assert!(!SecretHash::of(b"a").matches(&SecretHash::of(b"b")));
    }
}
