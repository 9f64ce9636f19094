//! Billing alarms: money that is spent faster than usual, or more than was allowed.
//!
//! An alarm is told once for a spender, a threshold and a period. It is no incident: nobody was found, nothing is
//! contained, and it has no end of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::finding::Severity;
use crate::id::{AlarmId, KeyId, OwnerId, ParseIdError};
use crate::money::NanoUsd;
use crate::time::Timestamp;

/// Whose spend is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spender {
    /// One key.
    Key(KeyId),
    /// All keys of an owner together.
    Owner(OwnerId),
    /// All keys together at one provider, by its name.
    Provider(SmolStr),
}

impl Spender {
    /// `key`, `owner` or `provider`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Owner(_) => "owner",
            Self::Provider(_) => "provider",
        }
    }

    /// The id of a key or owner, the name of a provider.
    pub fn id(&self) -> String {
        match self {
            Self::Key(id) => id.to_string(),
            Self::Owner(id) => id.to_string(),
            Self::Provider(name) => name.to_string(),
        }
    }
}

impl fmt::Display for Spender {
    /// `key:key_…`, `owner:own_…`, `provider:openai`; read back by [`Spender::from_str`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.id())
    }
}

/// Why a text names no spender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpenderError {
    /// It does not begin with a kind of spender.
    #[error("expected key:, owner: or provider: and an id or a name")]
    Kind,
    /// Its id is none.
    #[error(transparent)]
    Id(#[from] ParseIdError),
}

impl FromStr for Spender {
    type Err = ParseSpenderError;

    fn from_str(text: &str) -> Result<Self, ParseSpenderError> {
        match text.split_once(':').ok_or(ParseSpenderError::Kind)? {
            ("key", id) => Ok(Self::Key(id.parse()?)),
            ("owner", id) => Ok(Self::Owner(id.parse()?)),
            ("provider", name) => Ok(Self::Provider(name.into())),
            _ => Err(ParseSpenderError::Kind),
        }
    }
}

/// What was crossed. Stored by name, so the names are append-only. Ordered: of a day's thresholds a higher one says what
/// a lower one says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// The lowest threshold of a day: a slow leak.
    DayLow,
    /// The middle threshold of a day: misuse.
    DayMedium,
    /// The highest threshold of a day: large-scale abuse.
    DayHigh,
    /// The month is going to cost more than was allowed.
    MonthForecast,
    /// The month has cost what was allowed.
    MonthCap,
}

impl AlarmKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::DayLow, Self::DayMedium, Self::DayHigh, Self::MonthForecast, Self::MonthCap];
    /// Those of a day, lowest first.
    pub const DAY: [Self; 3] = [Self::DayLow, Self::DayMedium, Self::DayHigh];

    /// The word on disk, in messages and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DayLow => "day_low",
            Self::DayMedium => "day_medium",
            Self::DayHigh => "day_high",
            Self::MonthForecast => "month_forecast",
            Self::MonthCap => "month_cap",
        }
    }

    /// Whether it is about a day; else it is about a month.
    pub const fn is_of_day(self) -> bool {
        matches!(self, Self::DayLow | Self::DayMedium | Self::DayHigh)
    }

    /// How bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::DayLow => Severity::Low,
            Self::DayMedium | Self::MonthForecast => Severity::Medium,
            Self::DayHigh | Self::MonthCap => Severity::High,
        }
    }

    /// The period that holds a time: UTC days since 1970, or UTC months since year 0.
    pub fn period(self, time: Timestamp) -> u32 {
        if self.is_of_day() { time.day() } else { time.month() }
    }
}

/// Who spent it: what a person asks first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// `key` or `model`.
    pub kind: SmolStr,
    /// Its name.
    pub name: SmolStr,
    /// What it spent this UTC day.
    pub today: NanoUsd,
    /// What it spends on a typical day; nothing when that is not known.
    pub typical_day: Option<NanoUsd>,
}

/// A billing alarm as it was raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Identity.
    pub id: AlarmId,
    /// Whose spend it is.
    pub spender: Spender,
    /// Its name at that time.
    pub name: SmolStr,
    /// What was crossed.
    pub kind: AlarmKind,
    /// In which UTC day since 1970 or UTC month since year 0.
    pub period: u32,
    /// When it was raised.
    pub raised: Timestamp,
    /// Spent this UTC day, by then.
    pub today: NanoUsd,
    /// Spent this UTC month, by then.
    pub month: NanoUsd,
    /// A typical day; nothing when too little is known.
    pub typical_day: Option<NanoUsd>,
    /// Whole days that the typical one is the mean of.
    pub days: u32,
    /// What was crossed, in money.
    pub limit: NanoUsd,
    /// The same in typical days, for thresholds of a day.
    pub times: Option<f64>,
    /// What the month will come to; nothing when too little is known.
    pub forecast: Option<NanoUsd>,
    /// What drives it, dearest first: a few keys, then a few models.
    pub drivers: Vec<Driver>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde_and_spenders_are_read_back() {
        for kind in AlarmKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        let spenders = [
            Spender::Key(KeyId::from_bits(7)),
            Spender::Owner(OwnerId::from_bits(8)),
            Spender::Provider("a:b".into()),
        ];
        for spender in spenders {
            assert_eq!(spender.to_string().parse(), Ok(spender.clone()));
            let json = serde_json::to_string(&spender).unwrap();
            assert_eq!(serde_json::from_str::<Spender>(&json).unwrap(), spender);
        }
        assert_eq!("team:search".parse::<Spender>(), Err(ParseSpenderError::Kind));
        assert!("key:own_0123456789ab".parse::<Spender>().is_err());
    }
}
