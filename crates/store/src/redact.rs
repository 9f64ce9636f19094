//! The last line of defence of "only hashes at rest": credentials that strayed into a text are masked.
//!
//! Masking rather than refusing: who puts a credential into a model name must not be able to keep an incident
//! from being stored. The length stays, so that encoded records stay valid.

use std::borrow::Cow;

use memchr::memmem::Finder;
use tokenwatch_model::credential::{ADMIN_PREFIX, PREFIX};
use tokenwatch_model::id::KeyId;

/// What stands between the prefix of a virtual key and its secret: the key's id, which stays visible.
const KEY_ID: usize = KeyId::DIGITS + 1;

/// Masks the secret in every virtual key and admin token inside a text, whole or cut short.
pub(crate) struct Redactor {
    keys: Finder<'static>,
    admins: Finder<'static>,
}

impl Redactor {
    /// Builds the searches once.
    pub(crate) fn new() -> Self {
        Self { keys: Finder::new(PREFIX.as_bytes()), admins: Finder::new(ADMIN_PREFIX.as_bytes()) }
    }

    /// Masks virtual keys in place; true when there was something to mask. Admin tokens never come near encoded
    /// records, and their short prefix could stand in one by chance.
    pub(crate) fn mask(&self, bytes: &mut [u8]) -> bool {
        mask_after(&self.keys, KEY_ID, bytes)
    }

    /// The text, masked if need be.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.keys.find(text.as_bytes()).is_none() && self.admins.find(text.as_bytes()).is_none() {
            return Cow::Borrowed(text);
        }
        let mut bytes = text.as_bytes().to_vec();
        self.mask(&mut bytes);
        mask_after(&self.admins, 0, &mut bytes);
        // One ASCII byte for another keeps UTF-8 what it is.
        Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Masks the letters and digits that come `skip` bytes after every prefix that is found.
fn mask_after(prefix: &Finder<'_>, skip: usize, bytes: &mut [u8]) -> bool {
    let mut from = 0;
    let mut masked = false;
    while let Some(at) = bytes.get(from..).and_then(|rest| prefix.find(rest)) {
        let after = from + at + prefix.needle().len();
        for byte in bytes.iter_mut().skip(after + skip).take_while(|byte| byte.is_ascii_alphanumeric()) {
            *byte = b'*';
            masked = true;
        }
        from = after;
    }
    masked
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
        let (token, _) = credential::mint_token(ADMIN_PREFIX, &[9; 32]);
        check(&format!("\"{}\"", token.expose()), &format!("\"twa_{}\"", "*".repeat(49)));
    }
}
