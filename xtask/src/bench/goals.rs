//! What is measured, and what the gateway has to reach: goals and floors, as ratios to nginx in the same run
//! or as absolute sizes. Pure.

use serde::Serialize;

/// One figure of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Figure {
    /// CPU microseconds of the proxy for one request, 32 connections.
    ChatCpuUs,
    /// The same, in turns with other gateways.
    PeersCpuUs,
    /// Requests a second, 32 connections.
    ChatPerSecond,
    /// Median latency at one connection, microseconds.
    OneP50Us,
    /// 99th percentile at one connection, microseconds.
    OneP99Us,
    /// Median latency at 500 requests a second, microseconds.
    ScheduledP50Us,
    /// 99th percentile at 500 requests a second, microseconds.
    ScheduledP99Us,
    /// CPU microseconds of the proxy for one stream whose frames come back to back.
    BurstCpuUs,
    /// CPU microseconds of the proxy for one stream with a frame each 20 ms.
    PacedCpuUs,
    /// Median time to the first bytes of a stream whose next ones come later, microseconds.
    FirstChunkUs,
    /// Resident megabytes, idle; 100 keys.
    IdleMb,
    /// Resident megabytes, idle; 100,000 keys.
    ManyKeysMb,
    /// Milliseconds from start to the first request served; 100,000 keys.
    ManyKeysStartMs,
    /// Resident megabytes that open streams add.
    StreamsMb,
    /// Resident megabytes that very many requests add after the first ones.
    GrownMb,
}

/// What a figure has to stay within.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    /// Times nginx's figure.
    TimesNginx { goal: f64, floor: f64 },
    /// Above nginx's figure.
    OverNginx { goal: f64, floor: f64 },
    /// By itself.
    AtMost { goal: f64, floor: f64 },
    /// Nothing: shown for orientation.
    Shown,
}

/// How a figure stands to its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    /// The goal is met.
    GoalMet,
    /// The floor is met, the goal is not.
    FloorMet,
    /// Not good enough to land.
    BelowFloor,
    /// There is a rule and it could not be applied, because a figure is missing.
    NotJudged,
    /// There is no rule.
    NoRule,
}

impl Mark {
    /// The words in the table.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::GoalMet => "goal met",
            Self::FloorMet => "floor met, goal missed",
            Self::BelowFloor => "BELOW FLOOR",
            Self::NotJudged => "not judged",
            Self::NoRule => "",
        }
    }
}

/// Streams of the full bench, which its memory goal is for; a quick one opens fewer and is held to its share.
pub(super) const STREAMS_FULL: usize = 10_000;
/// Requests of the full bench after which memory must not have grown.
pub(super) const REQUESTS_FULL: u64 = 1_000_000;

impl Figure {
    /// Every figure that is held against nginx or itself, in the order of the table.
    pub(super) const ALL: [Self; 14] = [
        Self::ChatCpuUs,
        Self::ChatPerSecond,
        Self::OneP50Us,
        Self::OneP99Us,
        Self::ScheduledP50Us,
        Self::ScheduledP99Us,
        Self::BurstCpuUs,
        Self::PacedCpuUs,
        Self::FirstChunkUs,
        Self::IdleMb,
        Self::ManyKeysMb,
        Self::ManyKeysStartMs,
        Self::StreamsMb,
        Self::GrownMb,
    ];

    /// The line's name in the table; `{}` stands for the number of streams or requests.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::ChatCpuUs | Self::PeersCpuUs => "CPU µs/request, 32 connections",
            Self::ChatPerSecond => "requests/s, 32 connections",
            Self::OneP50Us => "p50 µs, 1 connection",
            Self::OneP99Us => "p99 µs, 1 connection",
            Self::ScheduledP50Us => "p50 µs, 500 requests/s",
            Self::ScheduledP99Us => "p99 µs, 500 requests/s",
            Self::BurstCpuUs => "burst: CPU µs/stream",
            Self::PacedCpuUs => "paced: CPU µs/stream",
            Self::FirstChunkUs => "first chunk of a stream µs, p50",
            Self::IdleMb => "MB idle, 100 keys",
            Self::ManyKeysMb => "MB idle, 100,000 keys",
            Self::ManyKeysStartMs => "ms to first request, 100,000 keys",
            Self::StreamsMb => "MB added by {} open streams",
            Self::GrownMb => "MB grown in {} requests",
        }
    }

    /// Whether the proxy's own share is the difference over direct.
    pub(super) const fn is_latency(self) -> bool {
        matches!(
            self,
            Self::OneP50Us
                | Self::OneP99Us
                | Self::ScheduledP50Us
                | Self::ScheduledP99Us
                | Self::FirstChunkUs
        )
    }

    /// Whether more of it is better: throughput alone.
    pub(super) const fn is_better_higher(self) -> bool {
        matches!(self, Self::ChatPerSecond)
    }

    /// What the figure has to stay within when `streams` streams were opened.
    pub(super) fn rule(self, streams: usize) -> Rule {
        match self {
            Self::ChatCpuUs => Rule::TimesNginx { goal: 1.6, floor: 2.2 },
            Self::ChatPerSecond | Self::PeersCpuUs => Rule::Shown,
            Self::OneP50Us => Rule::OverNginx { goal: 15.0, floor: 30.0 },
            Self::OneP99Us => Rule::OverNginx { goal: 30.0, floor: 60.0 },
            Self::ScheduledP50Us => Rule::OverNginx { goal: 25.0, floor: 60.0 },
            Self::ScheduledP99Us => Rule::OverNginx { goal: 80.0, floor: 200.0 },
            Self::BurstCpuUs => Rule::TimesNginx { goal: 1.5, floor: 3.0 },
            Self::PacedCpuUs => Rule::TimesNginx { goal: 1.2, floor: 1.5 },
            Self::FirstChunkUs => Rule::OverNginx { goal: 30.0, floor: 60.0 },
            Self::IdleMb => Rule::AtMost { goal: 25.0, floor: 40.0 },
            Self::ManyKeysMb => Rule::AtMost { goal: 120.0, floor: 200.0 },
            Self::ManyKeysStartMs => Rule::AtMost { goal: 1_000.0, floor: 1_000.0 },
            Self::StreamsMb => {
                let share = streams as f64 / STREAMS_FULL as f64;
                Rule::AtMost { goal: 200.0 * share, floor: 400.0 * share }
            }
            // Nothing may grow; what is allowed is how much the allocator's own memory wavers.
            Self::GrownMb => Rule::AtMost { goal: 1.0, floor: 4.0 },
        }
    }
}

impl Rule {
    /// What is held against goal and floor; `None` when a figure is missing.
    pub(super) fn compared(self, own: Option<f64>, nginx: Option<f64>) -> Option<f64> {
        match self {
            Self::TimesNginx { .. } | Self::Shown => Some(own? / nginx.filter(|&nginx| nginx > 0.0)?),
            Self::OverNginx { .. } => Some(own? - nginx?),
            Self::AtMost { .. } => own,
        }
    }

    /// Goal and floor, if there are any.
    pub(super) const fn bounds(self) -> Option<(f64, f64)> {
        match self {
            Self::TimesNginx { goal, floor }
            | Self::OverNginx { goal, floor }
            | Self::AtMost { goal, floor } => Some((goal, floor)),
            Self::Shown => None,
        }
    }

    /// How what was compared stands to the rule.
    pub(super) fn judge(self, compared: Option<f64>) -> Mark {
        let Some((goal, floor)) = self.bounds() else { return Mark::NoRule };
        match compared {
            None => Mark::NotJudged,
            Some(value) if value <= goal => Mark::GoalMet,
            Some(value) if value <= floor => Mark::FloorMet,
            Some(_) => Mark::BelowFloor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(figure: Figure, own: f64, nginx: Option<f64>, want: Mark) {
        let rule = figure.rule(STREAMS_FULL);
        let mark = rule.judge(rule.compared(Some(own), nginx));
        assert_eq!(mark, want, "{figure:?} {own} against {nginx:?}");
    }

    #[test]
    fn ratios_and_differences_are_judged_against_nginx() {
        check(Figure::ChatCpuUs, 16.0, Some(10.0), Mark::GoalMet);
        check(Figure::ChatCpuUs, 22.0, Some(10.0), Mark::FloorMet);
        check(Figure::ChatCpuUs, 22.1, Some(10.0), Mark::BelowFloor);
        check(Figure::OneP50Us, 85.0, Some(70.0), Mark::GoalMet);
        check(Figure::OneP50Us, 60.0, Some(70.0), Mark::GoalMet);
        check(Figure::OneP50Us, 101.0, Some(70.0), Mark::BelowFloor);
        check(Figure::ChatPerSecond, 1.0, Some(70.0), Mark::NoRule);
    }

    #[test]
    fn sizes_are_judged_by_themselves() {
        check(Figure::IdleMb, 25.0, None, Mark::GoalMet);
        check(Figure::IdleMb, 39.0, Some(5.0), Mark::FloorMet);
        check(Figure::ManyKeysStartMs, 1_001.0, None, Mark::BelowFloor);
        assert_eq!(Figure::StreamsMb.rule(1_000), Rule::AtMost { goal: 20.0, floor: 40.0 });
    }

    #[test]
    fn what_is_missing_is_not_judged() {
        check(Figure::ChatCpuUs, 16.0, None, Mark::NotJudged);
        check(Figure::ChatCpuUs, 16.0, Some(0.0), Mark::NotJudged);
        assert_eq!(Figure::IdleMb.rule(1).compared(None, Some(5.0)), None);
    }
}
