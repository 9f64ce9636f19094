//! How much: the surge channel, which is about the whole key, and what a newcomer brings.

use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Finding, Tier};
use tokenwatch_model::time::{DAY, Timestamp};

use super::Engine;
use super::observe::Lesson;
use crate::baseline::Baseline;
use crate::channel::{INSIDE_SHARE, SURGE_SHARE};
use crate::explain;
use crate::features::Features;
use crate::inside::{Inside, New, OfKey, Weighed};
use crate::known::ForgetPrints;
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
        if !state.is_defined(now) {
            return;
        }
        if let Some(tier) = self.note_evidence(state, profile, rules::SURGE, score) {
            findings.push(explain::surge(&surge, tier, score, &event.request));
        }
    }

    /// Counts what a caller of the key's own does that the key never did, and weighs it.
    pub(super) fn observe_inside(
        &self,
        state: &mut KeyState,
        profile: &KeyProfile,
        event: &UsageEvent,
        features: &Features,
        findings: &mut Vec<Finding>,
    ) -> Lesson {
        let request = &event.request;
        let now = request.time;
        if !event.outcome.was_forwarded() || !state.is_defined(now) || state.is_trusted(request) {
            return Lesson::All;
        }
        let Some(new) = New::of(&state.known, features, state.age_hours(now)) else { return Lesson::All };
        let mut inside = state.inside.take().unwrap_or_default();
        let is_one_more = inside.note(new, features, now, event.cost, state.churn.as_ref());
        let weighed = self.weigh_inside(state, &inside, new.model, is_one_more, now);
        let told = weighed.and_then(|weighed| {
            Some((self.note_evidence(state, profile, rules::INSIDE, weighed.days)?, weighed))
        });
        let mut lesson = Lesson::All;
        if let Some((tier, weighed)) = told {
            // What is told of for its many prompts has none in common.
            let context = if weighed.by_prompts {
                ContextMatch::default()
            } else {
                inside.context(new.model, features, request)
            };
            findings.push(explain::unfamiliar_burst(&weighed, tier, &context, request));
            if !context.is_empty() {
                let (model, template) = if new.model { (features.model, 0) } else { (0, features.template) };
                state.known.forget(&ForgetPrints { model, template, ..ForgetPrints::default() });
                inside.tell(context, now);
                lesson = Lesson::Nothing;
            }
        }
        state.inside = Some(inside);
        lesson
    }

    fn weigh_inside(
        &self,
        state: &KeyState,
        inside: &Inside,
        by_model: bool,
        is_one_more: bool,
        now: Timestamp,
    ) -> Option<Weighed> {
        let is_special = |baseline: &&Baseline| inside.may_be_special(baseline, is_one_more);
        let baseline = state.baseline.as_ref().filter(is_special)?;
        let churn = inside.churn()?;
        let maturity_days = state.maturity_days(now);
        let key = OfKey {
            baseline,
            rates: self.rates_by(churn, state, now),
            prompt_churn: self.prompt_churn(Some(churn), maturity_days),
            prompts: state.known.templates.grown(state.age_hours(now)),
            people: state.people(),
            maturity_days,
        };
        let weighed = inside.weigh(by_model, &key)?;
        Some(Weighed { days: INSIDE_SHARE * weighed.days, ..weighed })
    }

    /// Notes how strong the evidence of a channel is today; the tier when it is to be told, which is once.
    fn note_evidence(
        &self,
        state: &mut KeyState,
        profile: &KeyProfile,
        channel: u8,
        score: f64,
    ) -> Option<Tier> {
        let tier = self.tier(profile, score, 0.0, 0).filter(|tier| *tier >= Tier::Alert);
        let mark = level(score) + if tier.is_some() { TOLD } else { 0 };
        if mark == 0 || state.has_fired(channel, mark) {
            return None;
        }
        let is_told = state.has_fired(channel, TOLD);
        state.note_fired(channel, mark);
        state.raised = state.raised.max(score);
        tier.filter(|_| !is_told)
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
