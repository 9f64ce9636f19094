//! Judging one request before it is forwarded.

use tokenwatch_model::context::RequestContext;
use tokenwatch_model::finding::{Decision, Finding, Tier, Verdict};
use tokenwatch_model::time::Timestamp;

use super::appraise::{Appraisal, is_newcomer};
use super::{Engine, FOLLOW_DAYS, InFlight};
use crate::explain;
use crate::features::Features;
use crate::known::Novelty;
use crate::profile::KeyProfile;
use crate::slot::fact;
use crate::state::KeyState;

impl Engine {
    /// Decides about a request before it is forwarded. Reads the learned state and changes nothing.
    ///
    /// A request whose network and client are known to the key is never refused here, except on a canary
    /// key, in a context that a person called a theft, and with the model or prompt of an unfamiliar burst that was told
    /// of. Requests in flight count as if they had been observed.
    pub fn judge(
        &self,
        state: &KeyState,
        profile: &KeyProfile,
        request: &RequestContext,
        in_flight: InFlight,
    ) -> Verdict {
        if profile.canary {
            return refuse(f64::MAX, explain::canary(request));
        }
        if state.first_event().is_none() {
            return Verdict::FORWARD;
        }
        let believed = state.believe(request.time);
        let moved;
        let request = if believed == request.time {
            request
        } else {
            moved = RequestContext { time: believed, ..request.clone() };
            &moved
        };
        let features = Features::of(request);
        let novelty = state.known.compare(&features);
        if state.is_trusted(request) {
            return Verdict::FORWARD;
        }
        // Before what is known: a thief who had been learned is known by more than a person's word takes back.
        if state.is_stolen(request) {
            return refuse(profile.alert_days(), explain::stolen(request, profile.alert_days()));
        }
        if !is_newcomer(novelty)
            && let Some(context) = state.inside.as_ref().and_then(|inside| inside.told(request))
        {
            let days = profile.alert_days();
            return refuse(days, explain::unfamiliar(request, context, days));
        }
        if novelty.is_none() || !is_newcomer(novelty) || self.is_learning(state, profile, request.time) {
            return Verdict::FORWARD;
        }
        self.judge_newcomer(state, profile, request, &features, novelty, in_flight)
    }

    fn judge_newcomer(
        &self,
        state: &KeyState,
        profile: &KeyProfile,
        request: &RequestContext,
        features: &Features,
        novelty: Novelty,
        in_flight: InFlight,
    ) -> Verdict {
        let now = request.time;
        let appraisal = self.appraise(state, profile, request, features, novelty, in_flight);
        let contained = state.slots.iter().find(|slot| {
            slot.is_contained(now) && slot.context.as_ref().is_some_and(|context| context.matches(request))
        });
        let weight = &appraisal.weight;
        let own = self.tier(profile, weight.score, weight.rarity, appraisal.slot.facts);
        let is_contained = contained.is_some() || appraisal.slot.is_contained(now);
        if is_contained || own >= Some(Tier::Alert) {
            let score = weight.score.max(contained.map_or(0.0, |slot| slot.score));
            let tier = own.max(contained.and_then(|slot| slot.tier)).unwrap_or(Tier::Alert);
            return refuse(score, self.explain_newcomer(state, profile, &appraisal, tier, score, request));
        }
        let crowd = self.crowd(state, profile, &appraisal, now, in_flight);
        let crowd_days = crowd.as_ref().map_or(0.0, |(_, days)| *days);
        let alert = profile.alert_days();
        if let Some((crowd, days)) = crowd
            && weight.arrival >= FOLLOW_DAYS
            && (days >= alert || crowd.is_contained(now))
        {
            let finding = explain::crowd(crowd, &appraisal, Tier::Alert, days.max(alert), request);
            return refuse(days.max(alert), finding);
        }
        let score = weight.score.max(crowd_days);
        let watch = score >= self.config.notice_days.min(alert);
        let decision = if watch { Decision::Watch } else { Decision::Forward };
        Verdict { decision, once_in_days: score, finding: None }
    }

    /// Whether the key is so young that whoever comes defines it, and nothing hard speaks against that.
    pub(crate) fn is_learning(&self, state: &KeyState, profile: &KeyProfile, now: Timestamp) -> bool {
        let hard = profile.leaked.is_some_and(|leaked| leaked <= now) || state.theft_at.is_some();
        !state.is_judged(now) && !hard
    }

    /// How a request stands, in words, however little that is; `None` where nothing is weighed because the key knows its
    /// caller, trusts it or is being defined by it. Changes nothing and tells nobody.
    pub fn explain(
        &self,
        state: &KeyState,
        profile: &KeyProfile,
        request: &RequestContext,
    ) -> Option<Finding> {
        let request = RequestContext { time: state.believe(request.time), ..request.clone() };
        let features = Features::of(&request);
        let novelty = state.known.compare(&features);
        let is_weighed = state.first_event().is_some()
            && is_newcomer(novelty)
            && !state.is_trusted(&request)
            && !self.is_learning(state, profile, request.time);
        if !is_weighed {
            return None;
        }
        let in_flight = InFlight::default();
        let appraisal = self.appraise(state, profile, &request, &features, novelty, in_flight);
        let score = appraisal.weight.score;
        match self.crowd(state, profile, &appraisal, request.time, in_flight) {
            Some((crowd, days)) if days > score => {
                Some(explain::crowd(crowd, &appraisal, Tier::Notice, days, &request))
            }
            _ if score > 0.0 => {
                Some(self.explain_newcomer(state, profile, &appraisal, Tier::Notice, score, &request))
            }
            _ => None,
        }
    }

    /// A finding about a newcomer.
    pub(crate) fn explain_newcomer(
        &self,
        state: &KeyState,
        profile: &KeyProfile,
        appraisal: &Appraisal,
        tier: Tier,
        score: f64,
        request: &RequestContext,
    ) -> Finding {
        let by_probing = appraisal.slot.facts & fact::CHECKER != 0
            && appraisal.weight.without_probing() < profile.alert_days();
        let about = if by_probing { "recon" } else { "newcomer" };
        let rates = self.rates(state, profile, appraisal.slot.first_seen);
        explain::newcomer(about, appraisal, tier, score, request, &rates)
    }
}

fn refuse(once_in_days: f64, finding: Finding) -> Verdict {
    Verdict { decision: Decision::Refuse, once_in_days, finding: Some(Box::new(finding)) }
}
