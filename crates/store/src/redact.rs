//! The last line of defence of "only hashes at rest": credentials that strayed into a text are masked.
//!
//! Masking rather than refusing: who puts a credential into a model name must not be able to keep an incident
//! from being stored. The length stays, so that encoded records stay valid.

use std::borrow::Cow;

use memchr::memmem::Finder;
use tokenwatch_model::credential::PREFIX;
use tokenwatch_model::id::KeyId;

/// Masks what follows the key's id in every virtual key inside a text, whole or cut short.
pub(crate) struct Redactor(Finder<'static>);

impl Redactor {
    /// Builds the search once.
    pub(crate) fn new() -> Self {
        Self(Finder::new(PREFIX.as_bytes()))
    }

    /// Masks in place; true when there was something to mask.
    pub(crate) fn mask(&self, bytes: &mut [u8]) -> bool {
        let mut from = 0;
        let mut masked = false;
        while let Some(at) = bytes.get(from..).and_then(|rest| self.0.find(rest)) {
            let secret = from + at + PREFIX.len() + KeyId::DIGITS + 1;
            for byte in bytes.iter_mut().skip(secret).take_while(|byte| byte.is_ascii_alphanumeric()) {
                *byte = b'*';
                masked = true;
            }
            from += at + PREFIX.len();
        }
        masked
    }

    /// The text, masked if need be.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.0.find(text.as_bytes()).is_none() {
            return Cow::Borrowed(text);
        }
        let mut bytes = text.as_bytes().to_vec();
        self.mask(&mut bytes);
        // One ASCII byte for another keeps UTF-8 what it is.
        Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::credential;

    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(Redactor::new().text(text), want);
    }

    #[test]
    fn every_credential_in_a_text_is_masked_and_its_key_stays_visible() {
        let (secret, _) = credential::mint(KeyId::from_bits(77), &[9; 32]);
        let secret = secret.expose();
        let shown = format!("{}{}", &secret[..19], "*".repeat(credential::LEN - 19));
        check(secret, &shown);
        check(&format!("ä {secret}, {secret}."), &format!("ä {shown}, {shown}."));
        check(&secret[..40], &format!("{}{}", &secret[..19], "*".repeat(21)));
        check(&secret[..15], &secret[..15]);
        check("sk-tw-", "sk-tw-");
        check("nothing", "nothing");
    }
}
