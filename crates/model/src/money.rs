//! Money as integers: amounts in billionths of a US dollar, prices in trillionths of a dollar a token.
//!
//! Integers, so that sums are exact in any order and a budget is exact under concurrency. One token of
//! the cheapest model costs tens of nanodollars, so a millionth of a dollar would be too coarse.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount in billionths of a US dollar; the largest is 18 billion dollars. Arithmetic saturates.
///
/// In JSON and TOML it is dollars: written as a text with all its digits (`"0.0213"`), read from a text or a number.
/// Binary codecs hold the integer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(u64::MAX);

    /// From whole cents.
    pub const fn from_cents(cents: u64) -> Self {
        Self(cents.saturating_mul(10_000_000))
    }

    /// From dollars; negative and not-a-number become zero. For thresholds and displays, never for sums.
    pub fn from_dollars(dollars: f64) -> Self {
        // A float-to-int cast saturates and sends NaN to zero.
        Self((dollars * 1e9).round() as u64)
    }

    /// In dollars, rounded to a float: for displays and statistics, never for sums.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// This minus `other`, or zero.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for NanoUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for NanoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for NanoUsd {
    /// `$12.34`; below a cent as many digits as are needed to see it, `$0.00123`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = self.0.saturating_add(5_000_000) / 10_000_000;
        if self.0 == 0 || self.0 >= 10_000_000 {
            return write!(f, "${}.{:02}", cents / 100, cents % 100);
        }
        let digits = format!("{:09}", self.0);
        let shown = digits.find(|c| c != '0').map_or(9, |first| (first + 2).min(9));
        write!(f, "$0.{}", &digits[..shown])
    }
}

impl fmt::Debug for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Why a text is not an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an amount in US dollars such as 50 or 0.25, with at most nine decimals")]
pub struct ParseMoneyError;

impl FromStr for NanoUsd {
    type Err = ParseMoneyError;

    /// Reads dollars exactly, with or without a dollar sign.
    fn from_str(text: &str) -> Result<Self, ParseMoneyError> {
        let text = text.trim();
        let text = text.strip_prefix('$').unwrap_or(text);
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return Err(ParseMoneyError);
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| ParseMoneyError)? };
        let nanos: u64 = format!("{fraction:0<9}").parse().map_err(|_| ParseMoneyError)?;
        whole
            .checked_mul(1_000_000_000)
            .and_then(|dollars| dollars.checked_add(nanos))
            .map(Self)
            .ok_or(ParseMoneyError)
    }
}

impl NanoUsd {
    /// Dollars with as many decimals as are needed to be exact, at least two: `0.0213`, `50.00`.
    pub fn exact(self) -> String {
        let digits = format!("{:09}", self.0 % 1_000_000_000);
        let kept = digits.trim_end_matches('0').len().max(2);
        format!("{}.{}", self.0 / 1_000_000_000, digits.get(..kept).unwrap_or(&digits))
    }
}

impl Serialize for NanoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.exact())
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

struct Dollars;

impl Visitor<'_> for Dollars {
    type Value = NanoUsd;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount in US dollars such as 50 or \"0.25\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<NanoUsd, E> {
        if text == "unlimited" { Ok(NanoUsd::MAX) } else { text.parse().map_err(E::custom) }
    }

    fn visit_u64<E: serde::de::Error>(self, dollars: u64) -> Result<NanoUsd, E> {
        dollars.checked_mul(1_000_000_000).map(NanoUsd).ok_or_else(|| E::custom(ParseMoneyError))
    }

    fn visit_i64<E: serde::de::Error>(self, dollars: i64) -> Result<NanoUsd, E> {
        u64::try_from(dollars)
            .map_err(|_| E::custom(ParseMoneyError))
            .and_then(|dollars| self.visit_u64(dollars))
    }

    fn visit_f64<E: serde::de::Error>(self, dollars: f64) -> Result<NanoUsd, E> {
        if (0.0..1e9).contains(&dollars) {
            Ok(NanoUsd::from_dollars(dollars))
        } else {
            Err(E::custom(ParseMoneyError))
        }
    }
}

impl<'de> Deserialize<'de> for NanoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Dollars)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

/// A price in trillionths of a US dollar per token, which is millionths of a dollar per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct PicoUsdPerToken(pub u64);

impl PicoUsdPerToken {
    /// From the usual way prices are written: dollars per million tokens.
    pub fn from_usd_per_mtok(dollars: f64) -> Self {
        Self((dollars * 1e6).round() as u64)
    }

    /// What `tokens` cost, in trillionths of a dollar; sum these, then round once with [`round_up`].
    pub const fn times(self, tokens: u64) -> u128 {
        self.0 as u128 * tokens as u128
    }
}

/// Rounds trillionths of a dollar up to whole [`NanoUsd`]: never in the spender's favour.
pub fn round_up(picos: u128) -> NanoUsd {
    NanoUsd(u64::try_from(picos.div_ceil(1_000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<u64, ParseMoneyError>, written: &str) {
        let amount = text.parse::<NanoUsd>();
        assert_eq!(amount.map(|a| a.0), want);
        if let Ok(amount) = amount {
            assert_eq!(amount.to_string(), written);
        }
    }

    #[test]
    fn money_is_exact() {
        check("50", Ok(50_000_000_000), "$50.00");
        check("$0.25", Ok(250_000_000), "$0.25");
        check("0.000001234", Ok(1_234), "$0.0000012");
        check(".5", Ok(500_000_000), "$0.50");
        check("0", Ok(0), "$0.00");
        check("", Err(ParseMoneyError), "");
        check("-1", Err(ParseMoneyError), "");
        check("1e3", Err(ParseMoneyError), "");
        check("0.1234567891", Err(ParseMoneyError), "");
        check("99999999999999999999", Err(ParseMoneyError), "");
    }

    #[track_caller]
    fn check_json(json: &str, want: Option<u64>) {
        assert_eq!(serde_json::from_str::<NanoUsd>(json).ok().map(|amount| amount.0), want, "{json}");
    }

    #[test]
    fn documents_speak_dollars() {
        check_json("50", Some(50_000_000_000));
        check_json("0.1", Some(100_000_000));
        check_json("\"0.000000001\"", Some(1));
        check_json("\"unlimited\"", Some(u64::MAX));
        check_json("-1", None);
        check_json("1e300", None);
        assert_eq!(serde_json::to_string(&NanoUsd(1)).unwrap(), "\"0.000000001\"");
        assert_eq!(serde_json::to_string(&NanoUsd::from_cents(5_000)).unwrap(), "\"50.00\"");
        // What is written is read back, the largest too.
        assert_eq!(
            serde_json::from_str::<NanoUsd>(&serde_json::to_string(&NanoUsd::MAX).unwrap()).unwrap(),
            NanoUsd::MAX
        );
        assert_eq!(
            postcard::from_bytes::<NanoUsd>(&postcard::to_stdvec(&NanoUsd(7)).unwrap()).unwrap(),
            NanoUsd(7)
        );
    }

    #[test]
    fn prices_round_up_once() {
        let price = PicoUsdPerToken::from_usd_per_mtok(0.075);
        assert_eq!(price.0, 75_000);
        assert_eq!(round_up(price.times(1)), NanoUsd(75));
        assert_eq!(round_up(1), NanoUsd(1));
        assert_eq!(round_up(u128::MAX), NanoUsd::MAX);
    }
}
