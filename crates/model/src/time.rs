//! Time as a value: microseconds since the Unix epoch, always handed in, never read here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds in a second.
pub const SECOND: u64 = 1_000_000;
/// Microseconds in a minute.
pub const MINUTE: u64 = 60 * SECOND;
/// Microseconds in an hour.
pub const HOUR: u64 = 60 * MINUTE;
/// Microseconds in a day.
pub const DAY: u64 = 24 * HOUR;

/// A point in time: microseconds since 1970-01-01T00:00:00Z. Leap seconds are not counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// From whole seconds since the epoch.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }

    /// From milliseconds since the epoch.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / SECOND
    }

    /// Whole milliseconds since the epoch.
    pub const fn ms(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole UTC days since the epoch.
    pub const fn day(self) -> u32 {
        (self.0 / DAY) as u32
    }

    /// Whole hours since the epoch.
    pub const fn hour(self) -> u32 {
        (self.0 / HOUR) as u32
    }

    /// Hour of the UTC day, 0 to 23.
    pub const fn hour_of_day(self) -> u8 {
        (self.hour() % 24) as u8
    }

    /// Hour of the UTC week, 0 to 167, Monday 00:00 being 0.
    pub const fn hour_of_week(self) -> u8 {
        // 1970-01-01 was a Thursday: three days after Monday.
        ((self.hour() + 3 * 24) % 168) as u8
    }

    /// UTC months since year 0, so that consecutive months differ by one.
    pub fn month(self) -> u32 {
        self.to_datetime().map_or(0, |date| {
            u32::try_from(date.year()).unwrap_or(0) * 12 + u32::from(u8::from(date.month())) - 1
        })
    }

    /// Microseconds from `earlier` to this; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This plus `micros`, saturating.
    pub const fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    fn to_datetime(self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000).ok()
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds, such as `2026-03-01T12:00:00.250Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_datetime() {
            Some(date) => write!(
                f,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                date.year(),
                u8::from(date.month()),
                date.day(),
                date.hour(),
                date.minute(),
                date.second(),
                date.millisecond()
            ),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as 2026-03-01T12:00:00Z")]
pub struct ParseTimeError;

impl FromStr for Timestamp {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        let date = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| ParseTimeError)?;
        u64::try_from(date.unix_timestamp_nanos() / 1_000).map(Self).map_err(|_| ParseTimeError)
    }
}

/// Writes a span of microseconds as people say it: `850 ms`, `12.5 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`.
pub fn human_span(micros: u64) -> String {
    let seconds = micros / SECOND;
    match micros {
        0..SECOND => format!("{} ms", micros / 1_000),
        SECOND..MINUTE => format!("{}.{} s", seconds, micros % SECOND / 100_000),
        MINUTE..HOUR => format!("{} min {} s", seconds / 60, seconds % 60),
        HOUR..DAY => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Why a text is not a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number and a unit, such as 90s, 15m, 4h or 30d")]
pub struct ParseSpanError;

/// Reads a span such as `90s`, `15m`, `4h`, `30d` into microseconds.
///
/// # Errors
///
/// When the number or the unit is missing, unknown, or the span overflows.
pub fn parse_span(text: &str) -> Result<u64, ParseSpanError> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(ParseSpanError)?;
    let (number, unit) = text.split_at(split);
    let unit = match unit.trim() {
        "ms" => 1_000,
        "s" => SECOND,
        "m" | "min" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return Err(ParseSpanError),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or(ParseSpanError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, month: u32, hour_of_week: u8, written: &str) {
        let time: Timestamp = text.parse().unwrap();
        assert_eq!(
            (time.month(), time.hour_of_week(), time.to_string().as_str()),
            (month, hour_of_week, written)
        );
    }

    #[test]
    fn calendar_is_utc() {
        check("1970-01-01T00:00:00Z", 1970 * 12, 72, "1970-01-01T00:00:00.000Z");
        check("2026-03-02T01:30:00+01:00", 2026 * 12 + 2, 0, "2026-03-02T00:30:00.000Z");
        check("2024-02-29T23:59:59.999Z", 2024 * 12 + 1, 95, "2024-02-29T23:59:59.999Z");
    }

    #[test]
    fn spans_are_read_and_written() {
        assert_eq!(parse_span("90s"), Ok(90 * SECOND));
        assert_eq!(parse_span("30 d"), Ok(30 * DAY));
        assert_eq!(parse_span("4"), Err(ParseSpanError));
        assert_eq!(parse_span("4 weeks"), Err(ParseSpanError));
        assert_eq!(human_span(850_000), "850 ms");
        assert_eq!(human_span(12_500_000), "12.5 s");
        assert_eq!(human_span(3 * DAY + 5 * HOUR), "3 d 5 h");
    }
}
