//! How much: the surge channel, which is about the whole key, and what a newcomer brings.

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Finding, Tier};
use tokenwatch_model::time::{DAY, Timestamp};

use super::Engine;
use crate::baseline::Baseline;
use crate::channel::SURGE_SHARE;
use crate::explain;
use crate::math::ln;
use crate::profile::KeyProfile;
use crate::rules;
use crate::slot::Slot;
use crate::state::KeyState;
use crate::surge::Surge;

/// Steps of evidence that are told apart within a day, in nats.
const STEPS_A_NAT: f64 = 8.0;

/// Added to the level of an hour that was told of.
const TOLD: u8 = 128;

/// Evidence as a level of [`KeyState::note_fired`].
fn level(score: f64) -> u8 {
    (STEPS_A_NAT * ln(1.0 + score.max(0.0))).min(127.0) as u8
}

impl Engine {
    /// Weighs the running hour, which counts the event already. It takes nobody for a thief and refuses nobody: a person
    /// is told, or the key is held to what is normal for it.
    pub(super) fn observe_volume(
        &self,
        state: &mut KeyState,
        profile: &KeyProfile,
        event: &UsageEvent,
        findings: &mut Vec<Finding>,
    ) {
        let now = event.request.time;
        let Some(baseline) = &state.baseline else { return };
        let (requests, cost) = (state.windows.hour_requests, state.windows.hour_cost);
        let Some(surge) = Surge::of(requests, cost, baseline, state.maturity_days(now)) else { return };
        let score = SURGE_SHARE * surge.days;
        let tier = self.tier(profile, score, 0.0, 0).filter(|tier| *tier >= Tier::Alert);
        let mark = level(score) + if tier.is_some() { TOLD } else { 0 };
        if mark == 0 || state.has_fired(rules::SURGE, mark) || !state.is_defined(now) {
            return;
        }
        let is_told = state.has_fired(rules::SURGE, TOLD);
        state.note_fired(rules::SURGE, mark);
        state.raised = state.raised.max(score);
        if let Some(tier) = tier.filter(|_| !is_told) {
            findings.push(explain::surge(&surge, tier, score, &event.request));
        }
    }
}

/// One of many callers brings its part of the key's requests; the tail of what it brings falls like `x^-1.3`.
const PART_SLOPE: f64 = 1.3;
/// A thief brings anything from a hundredth of the key's requests to a hundred times as many.
const THIEF_SPAN: f64 = 1e4;
/// Some callers of the key's own are unlike the others, whatever they bring.
const UNLIKE: f64 = 0.02;
/// More callers a day than this are not counted: addresses are not people.
const CALLERS_MAX: f64 = 50.0;
/// A key with fewer requests a day is taken for one with so many.
const DAY_FLOOR: f64 = 20.0;

/// How much likelier the volume of a newcomer is from one more of the key's own callers, a user or a machine of its pool,
/// than from a thief; 1 at most. On a key with one caller, which may be replaced, it says little.
pub(super) fn own_volume(baseline: &Baseline, slot: &Slot, now: Timestamp) -> f64 {
    let Some(requests) = baseline.spread(|day| f64::from(day.requests)) else { return 1.0 };
    let callers = baseline.spread(|day| f64::from(day.sources)).map_or(1.0, |spread| spread.mean);
    let days = (now.since(slot.first_seen) as f64 / DAY as f64).max(1.0);
    let share = slot.requests as f64 / (requests.mean.max(DAY_FLOOR) * days);
    own_part(share, callers)
}

/// The same for a share of the key's requests on a key with so many callers a day.
fn own_part(share: f64, callers: f64) -> f64 {
    let parts = (share * callers.clamp(1.0, CALLERS_MAX)).max(1.0);
    (PART_SLOPE * libm::pow(parts, -PART_SLOPE) * ln(THIEF_SPAN)).clamp(UNLIKE, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_callers_does_not_bring_what_all_of_them_bring() {
        assert_eq!(own_part(0.02, 50.0), 1.0, "one of fifty");
        assert_eq!(own_part(1.0, 1.0), 1.0, "the only one, replaced");
        assert!(own_part(0.3, 50.0) < 0.4 && own_part(0.3, 50.0) > 0.2);
        assert_eq!(own_part(5.0, 1_000.0), UNLIKE);
        assert_eq!(own_part(f64::INFINITY, 1.0), UNLIKE);
        assert!(own_part(2.0, 10.0) > own_part(2.0, 20.0));
    }

    #[test]
    fn levels_rise_with_evidence_and_fit_a_byte() {
        assert!(level(0.05) == 0 && level(10.0) < level(20.0) && level(f64::MAX) == 127);
        assert_eq!((level(-1.0), level(f64::NAN)), (0, 0));
    }
}
