//! The parts of the bench, by the names `--only` takes.

use anyhow::bail;

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// CPU of a request and requests a second, 32 connections.
    Chat,
    /// Latency at one connection.
    One,
    /// Latency at 500 requests a second.
    Scheduled,
    /// CPU of a stream whose frames come back to back.
    Burst,
    /// CPU of a stream with a frame each 20 ms.
    Paced,
    /// Time to a stream's first bytes.
    First,
    /// Memory of idle proxies.
    Idle,
    /// Memory that open streams add.
    Streams,
    /// Memory and start with very many keys.
    Keys,
    /// Memory that very many requests leave behind.
    Growth,
}

impl Part {
    const ALL: [Self; 10] = [
        Self::Chat,
        Self::One,
        Self::Scheduled,
        Self::Burst,
        Self::Paced,
        Self::First,
        Self::Idle,
        Self::Streams,
        Self::Keys,
        Self::Growth,
    ];

    /// What is repeated in every round, target after target.
    pub(super) const IN_ROUNDS: [Self; 6] =
        [Self::Chat, Self::One, Self::Scheduled, Self::Burst, Self::Paced, Self::First];

    /// The name on the command line, in progress lines and in failures.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::One => "one",
            Self::Scheduled => "scheduled",
            Self::Burst => "burst",
            Self::Paced => "paced",
            Self::First => "first",
            Self::Idle => "idle",
            Self::Streams => "streams",
            Self::Keys => "keys",
            Self::Growth => "growth",
        }
    }

    /// Reads names with commas between them.
    ///
    /// # Errors
    /// When one is unknown.
    pub(super) fn parse_list(text: &str) -> anyhow::Result<Vec<Self>> {
        let parse = |name: &str| match Self::ALL.into_iter().find(|part| part.name() == name) {
            Some(part) => Ok(part),
            None => bail!("there is no part `{name}`: {}", Self::ALL.map(Self::name).join(", ")),
        };
        text.split(',').map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read_by_its_name() {
        let names = Part::ALL.map(Part::name).join(",");
        assert_eq!(Part::parse_list(&names).unwrap(), Part::ALL);
        let error = Part::parse_list("chat,tea").unwrap_err().to_string();
        assert!(error.contains("`tea`") && error.contains("growth"), "{error}");
    }
}
