//! The written form of a virtual key: `sk-tw-<id>-<secret><checksum>`.
//!
//! 12 base-32 digits of id, 43 base-62 characters of secret (256 bits), 6 base-62 characters of CRC-32
//! over everything before them. The checksum lets a scanner prove offline that a match is real and lets
//! the gateway drop typing errors and probing without a look-up; it is no protection by itself.

use std::str::FromStr;

use zeroize::Zeroizing;

use crate::id::KeyId;
use crate::secret::{Secret, SecretHash};

/// What every virtual key starts with. Never change it: scanners and deployed keys depend on it.
pub const PREFIX: &str = "sk-tw-";
/// What every admin token starts with, see [`mint_token`]. Never change it either.
pub const ADMIN_PREFIX: &str = "twa_";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SECRET_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
/// Length of a written virtual key in bytes.
pub const LEN: usize = PREFIX.len() + KeyId::DIGITS + 1 + SECRET_LEN + CHECKSUM_LEN;

/// Length of what follows the prefix of a token made by [`mint_token`].
const SEALED_LEN: usize = SECRET_LEN + CHECKSUM_LEN;

/// Why a text is not a virtual key. Never contains any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseCredentialError {
    /// It does not start with `sk-tw-`.
    #[error("not a TokenWatch key: it does not start with sk-tw-")]
    Foreign,
    /// Wrong length or characters.
    #[error("malformed TokenWatch key")]
    Shape,
    /// The checksum does not fit: mistyped, cut short, or made up.
    #[error("TokenWatch key with a wrong checksum: mistyped or cut short")]
    Checksum,
}

/// A well-formed credential as presented: which key it names, and the hash to compare.
pub struct Presented {
    /// The key it names.
    pub key: KeyId,
    /// Hash of the whole text.
    pub hash: SecretHash,
}

/// Makes a virtual key from 32 random bytes. The text is shown once; only [`SecretHash`] is stored.
pub fn mint(key: KeyId, random: &[u8; 32]) -> (Secret, SecretHash) {
    mint_token(&format!("{PREFIX}{}-", key.digits()), random)
}

/// Makes a token of another kind in the same form: `prefix`, 43 base-62 characters of secret, 6 of checksum.
pub fn mint_token(prefix: &str, random: &[u8; 32]) -> (Secret, SecretHash) {
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + SEALED_LEN));
    text.push_str(prefix);
    push_base62(&mut text, random);
    let checksum = checksum(text.as_bytes());
    for byte in checksum {
        text.push(char::from(byte));
    }
    let hash = SecretHash::of(text.as_bytes());
    (Secret::new(text.as_str()), hash)
}

/// Checks prefix, length and checksum of a presented token of another kind and hashes it; no look-up. `None`
/// when [`mint_token`] can not have made it.
pub fn parse_token(prefix: &str, text: &[u8]) -> Option<SecretHash> {
    let is_shaped = text.starts_with(prefix.as_bytes()) && text.len() == prefix.len() + SEALED_LEN;
    let (body, given) = text.split_at_checked(text.len().checked_sub(CHECKSUM_LEN)?)?;
    (is_shaped && given == checksum(body)).then(|| SecretHash::of(text))
}

/// Checks shape and checksum of a presented credential and hashes it; no look-up.
///
/// # Errors
///
/// When the text cannot be a key that TokenWatch issued.
pub fn parse(text: &[u8]) -> Result<Presented, ParseCredentialError> {
    if !text.starts_with(PREFIX.as_bytes()) {
        return Err(ParseCredentialError::Foreign);
    }
    if text.len() != LEN || text[PREFIX.len() + KeyId::DIGITS] != b'-' {
        return Err(ParseCredentialError::Shape);
    }
    let (body, given) = text.split_at(LEN - CHECKSUM_LEN);
    if given != checksum(body) {
        return Err(ParseCredentialError::Checksum);
    }
    let digits = std::str::from_utf8(&body[PREFIX.len()..PREFIX.len() + KeyId::DIGITS])
        .map_err(|_| ParseCredentialError::Shape)?;
    let key =
        KeyId::from_str(&format!("{}{digits}", KeyId::PREFIX)).map_err(|_| ParseCredentialError::Shape)?;
    Ok(Presented { key, hash: SecretHash::of(text) })
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut value = crc32fast::hash(body);
    let mut out = [b'0'; CHECKSUM_LEN];
    for place in out.iter_mut().rev() {
        *place = BASE62[(value % 62) as usize];
        value /= 62;
    }
    out
}

/// Writes 256 bits as 43 base-62 digits by long division, most significant first.
fn push_base62(text: &mut String, random: &[u8; 32]) {
    let mut number = Zeroizing::new(*random);
    let mut digits = Zeroizing::new([b'0'; SECRET_LEN]);
    for place in digits.iter_mut().rev() {
        let mut rest = 0u32;
        for byte in number.iter_mut() {
            let value = (rest << 8) | u32::from(*byte);
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        *place = BASE62[rest as usize];
    }
    for &digit in digits.iter() {
        text.push(char::from(digit));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn minted_keys_are_recognised(bits: u64, random: [u8; 32]) {
            let key = KeyId::from_bits(bits);
            let (secret, hash) = mint(key, &random);
            prop_assert_eq!(secret.expose().len(), LEN);
            let presented = parse(secret.expose().as_bytes()).unwrap();
            prop_assert_eq!(presented.key, key);
            prop_assert!(presented.hash.matches(&hash));
        }

        #[test]
        fn any_changed_character_is_noticed(bits: u64, random: [u8; 32], at in 0..LEN, to in 0x21u8..0x7f) {
            let (secret, _) = mint(KeyId::from_bits(bits), &random);
            let mut text = secret.expose().as_bytes().to_vec();
            prop_assume!(text[at] != to);
            text[at] = to;
            prop_assert!(parse(&text).is_err());
        }

        #[test]
        fn tokens_of_another_kind_are_recognised_by_their_own_prefix_only(random: [u8; 32], at in 0..53usize, to in 0x21u8..0x7f) {
            let (secret, hash) = mint_token("twa_", &random);
            let mut text = secret.expose().as_bytes().to_vec();
            prop_assert_eq!(text.len(), 53);
            prop_assert!(parse_token("twa_", &text).unwrap().matches(&hash));
            prop_assert!(parse_token("twb_", &text).is_none());
            prop_assert!(parse(&text).is_err());
            prop_assume!(text[at] != to);
            text[at] = to;
            prop_assert!(parse_token("twa_", &text).is_none());
        }

        #[test]
        fn garbage_never_panics(text: Vec<u8>) {
            let _ = parse(&text);
            prop_assert!(parse_token("twa_", &text).is_none());
        }
    }
}
