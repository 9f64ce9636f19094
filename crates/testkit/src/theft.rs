//! Thefts of LLM keys as they are documented, turned into requests.
//!
//! Rates, tokens, networks and clients follow published reports (named by [`Theft::source`]); what no report says is an
//! assumption of ours and marked "est." in [`Theft::description`]. Prompts are harmless filler about adventures: the
//! reports say that most stolen use is role play. Token counts are dictated to the mock provider by headers, so
//! bodies stay small whatever the tokens.
//!
//! Invariants: requests come in time order; the same victim, seed and start give the same requests.

use std::fmt;

mod calls;
mod plan;
mod victim;

pub use victim::Victim;

use crate::rng::Rng;
use crate::sim::SimRequest;
use plan::Plan;

/// A kind of theft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Theft {
    /// A checker finds out whether the key works, and nothing more.
    Validation,
    /// A list with the key is passed on: checkers come again and again from elsewhere.
    Recheckers,
    /// As many calls as the provider lets through, for three hours.
    SmashAndGrab,
    /// A proxy sells access to many end users.
    Resale,
    /// Coding agents of several people run on the key.
    AgentSessions,
    /// The dearest model at the victim's own rate.
    ModelUpgrade,
    /// A few people share the key quietly for weeks.
    QuietSharing,
    /// A few calls an hour while the victim sleeps.
    OffHours,
    /// Resale through forty networks that take turns.
    Crowd,
    /// Somebody on the victim's own machine, with other software.
    InsideBurst,
    /// A copy of the victim in every respect: the control that no detector can find.
    Mimic,
}

/// From when on a theft is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The key leaks at this time (Unix milliseconds); the first call comes after [`leak_to_first_call_ms`].
    Leaked(u64),
    /// The first call comes at this time (Unix milliseconds).
    FirstCall(u64),
}

impl Theft {
    /// Every theft.
    pub const ALL: [Self; 11] = [
        Self::Validation,
        Self::Recheckers,
        Self::SmashAndGrab,
        Self::Resale,
        Self::AgentSessions,
        Self::ModelUpgrade,
        Self::QuietSharing,
        Self::OffHours,
        Self::Crowd,
        Self::InsideBurst,
        Self::Mimic,
    ];

    /// The word used on command lines and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Recheckers => "recheckers",
            Self::SmashAndGrab => "smash-and-grab",
            Self::Resale => "resale",
            Self::AgentSessions => "agent-sessions",
            Self::ModelUpgrade => "model-upgrade",
            Self::QuietSharing => "quiet-sharing",
            Self::OffHours => "off-hours",
            Self::Crowd => "crowd",
            Self::InsideBurst => "inside-burst",
            Self::Mimic => "mimic",
        }
    }

    /// The inverse of [`Theft::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theft| theft.name() == name)
    }

    /// What happens, in one line.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Validation => {
                "one checker, a handful of calls in two seconds, from a hosting or VPN address"
            }
            Self::Recheckers => "a checker in 3 to 8 visits over five days, each from another network",
            Self::SmashAndGrab => {
                "checked, then 20,000 calls an hour for three hours from 1 to 4 hosting addresses"
            }
            Self::Resale => "checked, then 1,560 calls an hour for two days, growing chats, one address",
            Self::AgentSessions => {
                "7 coding-agent sessions, 100 M tokens over 1 to 3 days (est.), 1 to 5 addresses"
            }
            Self::ModelUpgrade => {
                "one probe, then the dearest model at 1.1 to 1.5 times the victim's rate (est.)"
            }
            Self::QuietSharing => {
                "5 to 15 % of the victim's rate (est.) for two weeks from homes in another country"
            }
            Self::OffHours => "20 to 60 calls an hour (est.) in the victim's quietest hours, three nights",
            Self::Crowd => "1,560 calls an hour for a day (est.) from 40 networks that take turns",
            Self::InsideBurst => {
                "2,000 to 6,000 calls (est.) in an hour from the victim's address, other software"
            }
            Self::Mimic => {
                "the victim's network, software, prompts, sizes and hours, 10 % on top: the control"
            }
        }
    }

    /// Where it is documented.
    pub const fn source(self) -> &'static str {
        match self {
            Self::Validation => "MITRE ATLAS AML.CS0030; code of public key checkers",
            Self::Recheckers => "rotating-canary write-up, 2026; code of public key checkers",
            Self::SmashAndGrab => "Sysdig, 2024: 61,000 calls in three hours",
            Self::Resale => "Permiso honeypot, 2024: 75,000 calls in two days; code of a public resale proxy",
            Self::AgentSessions => "Liu et al., arXiv 2604.08407",
            Self::ModelUpgrade => "reports of victims: never-used models, one probe first",
            Self::QuietSharing => "Permiso, 2024: 20 of 53 addresses were consumer ranges; rate assumed",
            Self::OffHours => "reports of victims: use at odd hours; rate assumed",
            Self::Crowd => "Permiso, 2024: 12 networks on one key; number of networks assumed",
            Self::InsideBurst => "assumed: a dependency or colleague on the victim's host",
            Self::Mimic => "control",
        }
    }

    /// The requests of one theft.
    pub fn campaign(self, victim: &Victim, seed: u64, start: Start) -> Campaign {
        let rng = Rng::new(seed).fork(self.name());
        let first_ms = match start {
            Start::FirstCall(at_ms) => at_ms,
            Start::Leaked(at_ms) => {
                at_ms.saturating_add(leak_to_first_call_ms(&mut rng.fork("leak to first call")))
            }
        };
        let plan = plan::plan(self, victim, &mut rng.fork("plan"), first_ms);
        Campaign { theft: self, victim: victim.clone(), rng, plan, next: 0 }
    }
}

impl fmt::Display for Theft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Time from a leak to the first call: median 17 minutes, a tenth within 9 minutes, a tenth after 2.5 hours (Entro,
/// 2025, and the write-ups named above). A log-normal with a spread of its own on either side of the median.
pub fn leak_to_first_call_ms(rng: &mut Rng) -> u64 {
    // ln(17/9) and ln(150/17) over 1.2816, the 90 % point of the standard normal.
    (rng.log_normal(17.0, 0.4963, 1.6991) * 60_000.0) as u64
}

/// The requests of one theft, in time order. Requests are made as they are asked for.
#[derive(Clone, Debug)]
pub struct Campaign {
    theft: Theft,
    victim: Victim,
    rng: Rng,
    plan: Plan,
    next: usize,
}

impl Campaign {
    /// Which theft it is.
    pub const fn theft(&self) -> Theft {
        self.theft
    }

    /// Times of the first and the last request, in Unix milliseconds; `None` when there is none.
    pub fn span_ms(&self) -> Option<(u64, u64)> {
        Some((self.plan.steps.first()?.at_ms, self.plan.steps.last()?.at_ms))
    }
}

impl Iterator for Campaign {
    type Item = SimRequest;

    fn next(&mut self) -> Option<SimRequest> {
        let step = self.plan.steps.get(self.next)?;
        let actor = self.plan.actors.get(step.actor)?;
        let mut rng = Rng::new(self.rng.clone().next_u64() ^ crate::rng::mix(self.next as u64));
        self.next += 1;
        Some(calls::request(self.theft, &self.victim, actor, step, &mut rng))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.plan.steps.len() - self.next.min(self.plan.steps.len());
        (left, Some(left))
    }
}

impl ExactSizeIterator for Campaign {}

#[cfg(test)]
mod tests;
