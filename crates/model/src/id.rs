//! Identifiers: 60-bit ids for things people talk about, 128-bit ids for requests.
//!
//! Ids are made from random bytes that the caller supplies; this crate has no randomness.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`, so an id survives being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// The prefix or length does not match the kind of id.
    #[error("expected {prefix} followed by {digits} letters or digits")]
    Shape {
        /// What the id must start with.
        prefix: &'static str,
        /// How many base-32 digits must follow.
        digits: usize,
    },
    /// A character outside the alphabet.
    #[error("character {0:?} can not occur in an id")]
    Character(char),
}

fn write_base32(f: &mut fmt::Formatter<'_>, value: u128, digits: u32) -> fmt::Result {
    for place in (0..digits).rev() {
        f.write_str(char::from(base32_digit(value >> (place * 5))).encode_utf8(&mut [0; 4]))?;
    }
    Ok(())
}

/// The digit for the lowest five bits.
fn base32_digit(value: u128) -> u8 {
    // The index is below 32 by the mask.
    ALPHABET[(value & 31) as usize]
}

fn parse_base32(text: &str) -> Result<u128, ParseIdError> {
    let mut value = 0u128;
    for character in text.chars() {
        let lower = character.to_ascii_lowercase();
        let digit = ALPHABET
            .iter()
            .position(|&letter| char::from(letter) == lower)
            .ok_or(ParseIdError::Character(character))?;
        value = (value << 5) | digit as u128;
    }
    Ok(value)
}

macro_rules! short_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl $name {
            /// What the written form starts with.
            pub const PREFIX: &'static str = $prefix;
            /// Base-32 digits after the prefix.
            pub const DIGITS: usize = 12;

            /// Makes an id from random bits; the upper four are dropped.
            pub const fn from_bits(bits: u64) -> Self {
                Self(bits & ((1 << 60) - 1))
            }

            /// The 60 bits of the id.
            pub const fn bits(self) -> u64 {
                self.0
            }

            /// The twelve digits without the prefix.
            pub fn digits(self) -> String {
                let text = self.to_string();
                text[Self::PREFIX.len()..].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Self::PREFIX)?;
                write_base32(f, u128::from(self.0), Self::DIGITS as u32)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let shape = ParseIdError::Shape { prefix: Self::PREFIX, digits: Self::DIGITS };
                let digits = text.strip_prefix(Self::PREFIX).ok_or(shape)?;
                if digits.chars().count() != Self::DIGITS {
                    return Err(shape);
                }
                Ok(Self(parse_base32(digits)? as u64))
            }
        }

        impl Serialize for $name {
            /// The written form in formats for people, the 60 bits in others: the journal has ids in every
            /// record.
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_u64(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    u64::deserialize(deserializer).map(Self::from_bits)
                }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }
    };
}

short_id!(
    /// A virtual or external key. Written `key_…`; the digits also stand inside the credential.
    KeyId, "key_"
);
short_id!(
    /// An owner: a team or service with people to page.
    OwnerId, "own_"
);
short_id!(
    /// An incident: the case of one theft.
    IncidentId, "inc_"
);
short_id!(
    /// A billing alarm.
    AlarmId, "alm_"
);
short_id!(
    /// A containment put on a key or one of its contexts.
    ContainmentId, "con_"
);
short_id!(
    /// A suppression: alerts that somebody expects.
    SuppressionId, "sup_"
);
short_id!(
    /// A drill: a rehearsed theft. Its stand-in is the key id with the same bits.
    DrillId, "drl_"
);
short_id!(
    /// An actor: a newcomer on a key, followed from its first request.
    ActorId, "act_"
);

/// One request, and so one usage event. The upper 48 bits are the arrival in milliseconds, so ids sort
/// by time; the rest is random. In formats for people it is its written form: JSON has no numbers of 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RequestId(u128);

impl RequestId {
    /// What the written form starts with.
    pub const PREFIX: &'static str = "req_";
    const DIGITS: usize = 26;

    /// Makes an id from the arrival and 80 random bits.
    pub const fn new(unix_ms: u64, random: u128) -> Self {
        Self(((unix_ms as u128) << 80) | (random & ((1 << 80) - 1)))
    }

    /// All 128 bits.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// The id with these 128 bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The written form as ASCII bytes: every answer carries it.
    pub fn to_ascii(self) -> [u8; 30] {
        let mut text = *b"req_00000000000000000000000000";
        let mut rest = self.0;
        for place in text.iter_mut().rev().take(Self::DIGITS) {
            *place = base32_digit(rest);
            rest >>= 5;
        }
        text
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::PREFIX)?;
        write_base32(f, self.0, Self::DIGITS as u32)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RequestId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let shape = ParseIdError::Shape { prefix: Self::PREFIX, digits: Self::DIGITS };
        let digits = text.strip_prefix(Self::PREFIX).ok_or(shape)?;
        // 26 digits hold 130 bits: the first may only be 0 to 7.
        if digits.chars().count() != Self::DIGITS || !matches!(digits.as_bytes().first(), Some(b'0'..=b'7')) {
            return Err(shape);
        }
        Ok(Self(parse_base32(digits)?))
    }
}

impl Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u128(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            u128::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_survive_being_written(bits: u64, random: u128, ms in 0u64..1 << 48) {
            let key = KeyId::from_bits(bits);
            prop_assert_eq!(key.to_string().parse::<KeyId>(), Ok(key));
            prop_assert_eq!(key.to_string().to_uppercase().replace("KEY_", "key_").parse::<KeyId>(), Ok(key));
            let request = RequestId::new(ms, random);
            prop_assert_eq!(request.to_string().parse::<RequestId>(), Ok(request));
            let written = request.to_string();
            prop_assert_eq!(written.as_bytes(), request.to_ascii());
            let json = serde_json::to_value(key).unwrap();
            prop_assert_eq!(&json, &key.to_string());
            prop_assert_eq!(serde_json::from_value::<KeyId>(json).unwrap(), key);
            let binary = postcard::to_stdvec(&key).unwrap();
            prop_assert_eq!(postcard::from_bytes::<KeyId>(&binary).unwrap(), key);
            let json = serde_json::to_value(request).unwrap();
            prop_assert_eq!(&json, &request.to_string());
            prop_assert_eq!(serde_json::from_value::<RequestId>(json).unwrap(), request);
            let binary = postcard::to_stdvec(&request).unwrap();
            prop_assert_eq!(postcard::from_bytes::<RequestId>(&binary).unwrap(), request);
        }
    }

    #[test]
    fn wrong_ids_say_what_is_expected() {
        assert_eq!(
            "own_0123456789ab".parse::<KeyId>(),
            Err(ParseIdError::Shape { prefix: "key_", digits: 12 })
        );
        assert_eq!(
            "key_0123456789a".parse::<KeyId>(),
            Err(ParseIdError::Shape { prefix: "key_", digits: 12 })
        );
        assert_eq!("key_0123456789au".parse::<KeyId>(), Err(ParseIdError::Character('u')));
    }
}
