//! Thefts of LLM keys as they are documented, turned into requests.
//!
//! Rates, tokens, networks and clients follow published reports (named by [`Theft::source`]); what no report says is an
//! assumption of ours and marked "est." in [`Theft::description`]. Prompts are harmless filler about adventures: the
//! reports say that most stolen use is role play. Token counts are dictated to the mock provider by headers, so
//! bodies stay small whatever the tokens.
//!
//! Invariants: requests come in time order; the same victim, seed and start give the same requests.

use std::fmt;

pub(crate) mod calls;
mod catalogue;
mod documented;
pub(crate) mod habits;
pub(crate) mod plan;
mod reference;
pub mod rehearsal;
pub(crate) mod victim;

pub use catalogue::{Theft, TheftGroup};

pub use victim::Victim;

use crate::rng::Rng;
use crate::sim::{Label, SimRequest, Tokens};
use crate::traffic::Row;
use calls::Stolen;
use habits::Habits;
use plan::{Act, Plan, Step};

/// From when on a theft is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The key leaks at this time (Unix milliseconds); the first call comes after [`leak_to_first_call_ms`].
    Leaked(u64),
    /// The first call comes at this time (Unix milliseconds).
    FirstCall(u64),
}

impl Start {
    /// When the first call comes.
    pub(crate) fn first_call_ms(self, rng: &Rng) -> u64 {
        match self {
            Self::FirstCall(at_ms) => at_ms,
            Self::Leaked(at_ms) => {
                at_ms.saturating_add(leak_to_first_call_ms(&mut rng.fork("leak to first call")))
            }
        }
    }
}

impl Theft {
    /// The requests of one theft.
    pub fn campaign(self, victim: &Victim, seed: u64, start: Start) -> Campaign {
        let rng = self.rng(seed);
        let first_ms = start.first_call_ms(&rng);
        let habits = victim.habits(first_ms, &mut rng.fork("habits"));
        let plan = self.plan(&habits, &rng, first_ms);
        Campaign { theft: self, victim: victim.clone(), rng, plan, next: 0 }
    }

    /// The steps of a theft on a victim with these habits: the same whether they become requests or events.
    pub(crate) fn plan(self, victim: &Habits, rng: &Rng, first_ms: u64) -> Plan {
        plan::plan(self, victim, &mut rng.fork("plan"), first_ms)
    }

    /// The generator of a theft's details.
    pub(crate) fn rng(self, seed: u64) -> Rng {
        Rng::new(seed).fork(self.name())
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

    /// One of the victim's rows as the victim itself would send it.
    fn copy(&self, step: &Step, rng: &mut Rng) -> SimRequest {
        let Tokens { input, output, .. } = step.tokens;
        let t_ms = step.at_ms.saturating_sub(self.victim.persona.start_ms());
        let row = Row { t_ms, input_tokens: input, output_tokens: output };
        let label = Label::Thief(self.theft);
        SimRequest { at_ms: step.at_ms, label, ..self.victim.persona.request_for(&row, rng) }
    }
}

impl Iterator for Campaign {
    type Item = SimRequest;

    fn next(&mut self) -> Option<SimRequest> {
        let step = self.plan.steps.get(self.next)?;
        let actor = self.plan.actors.get(step.actor)?;
        let mut rng = Rng::new(self.rng.clone().next_u64() ^ crate::rng::mix(self.next as u64));
        self.next += 1;
        Some(match step.act {
            Act::Copy => self.copy(step, &mut rng),
            Act::Borrow => SimRequest { source: actor.source, ..self.copy(step, &mut rng) },
            _ => {
                let main_model = self.victim.persona.models().first().copied().unwrap_or_default();
                let stolen = Stolen { theft: self.theft, dialect: self.victim.dialect(), main_model };
                calls::request(stolen, actor, step, &mut rng)
            }
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.plan.steps.len() - self.next.min(self.plan.steps.len());
        (left, Some(left))
    }
}

impl ExactSizeIterator for Campaign {}

#[cfg(test)]
mod tests;
