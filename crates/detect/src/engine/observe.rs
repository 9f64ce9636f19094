//! Observing one finished request: evidence, rules, learning, in this order.

use tokenwatch_model::context::RequestContext;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Finding, Tier};
use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::time::{DAY, Timestamp};

use super::appraise::{Appraisal, is_newcomer, member_days};
use super::{Engine, FOLLOW_DAYS, InFlight, QUARANTINE_DAYS};
use crate::baseline::Baseline;
use crate::churn::Churn;
use crate::crowd::{Shared, join_crowd};
use crate::explain;
use crate::features::Features;
use crate::known::Novelty;
use crate::profile::KeyProfile;
use crate::rules::{self, View};
use crate::slot::{SLOTS_MAX, Slot};
use crate::state::{KeyState, Timeliness};
use crate::windows::address_bits;

/// A newcomer with little evidence becomes the key's own after this; one with some after a week.
const TRIAL: u64 = DAY;
const PROBATION: u64 = 7 * DAY;
/// A silent newcomer is forgotten after this, one that alerted after twice as long.
const ABSENCE: u64 = 14 * DAY;

/// What an event may teach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lesson {
    /// Who calls and how much.
    All,
    /// How much, but not who: little evidence, not yet promoted.
    Volume,
    /// Nothing.
    Nothing,
}

impl Engine {
    /// Takes in one finished request: returns what crossed a threshold by it.
    ///
    /// Events whose ordinal was observed before are skipped, so replays are idempotent. Refused requests are
    /// evidence and attempts, and never teach.
    pub fn observe(&self, state: &mut KeyState, profile: &KeyProfile, event: &UsageEvent) -> Vec<Finding> {
        let mut findings = Vec::new();
        state.raised = 0.0;
        if !state.accept(event.key_seq) {
            return findings;
        }
        let timeliness = state.advance(event.request.time);
        let now = state.believe(event.request.time);
        let moved;
        let event = if now == event.request.time {
            event
        } else {
            moved = UsageEvent {
                request: RequestContext { time: now, ..event.request.clone() },
                ..event.clone()
            };
            &moved
        };
        self.pass_time(state, profile, timeliness);
        if profile.canary && !state.has_fired(rules::CANARY, 1) {
            state.note_fired(rules::CANARY, 1);
            findings.push(explain::canary(&event.request));
        }
        let features = Features::of(&event.request);
        let novelty = state.known.compare(&features);
        let learning = self.is_learning(state, profile, now);
        let mut lesson = if profile.canary {
            Lesson::Nothing
        } else if state.is_trusted(&event.request) {
            Lesson::All
        } else if state.is_stolen(&event.request)
            || (!is_newcomer(novelty) && inside_contains(state, &event.request))
        {
            Lesson::Nothing
        } else if learning || !is_newcomer(novelty) {
            Lesson::All
        } else {
            self.observe_newcomer(state, profile, event, &features, novelty, &mut findings)
        };
        if !event.outcome.was_forwarded() {
            lesson = Lesson::Nothing;
        }
        if timeliness == Timeliness::Current {
            self.observe_rules(state, profile, event, &features, novelty, &mut findings);
            self.observe_volume(state, profile, event, &mut findings);
            if lesson == Lesson::All && !is_newcomer(novelty) {
                lesson = self.observe_inside(state, profile, event, &features, &mut findings);
            }
            if lesson != Lesson::Nothing {
                learn_volume(state, event);
            }
        }
        if lesson == Lesson::All {
            if !novelty.is_none() || state.content.samples(&event.request) {
                state.content.learn(event);
            }
            learn_caller(state, &features, now, !learning);
        }
        findings
    }

    /// Brings baseline and churn up to the key's time.
    fn pass_time(&self, state: &mut KeyState, profile: &KeyProfile, timeliness: Timeliness) {
        let now = state.last_event();
        let baseline = state.baseline.get_or_insert_with(|| Baseline::new(now));
        if timeliness == Timeliness::Current {
            baseline.roll(now);
        }
        let passed = state.take_churn_time();
        let counts = state.is_defined(now);
        let churn = state.churn.get_or_insert_with(|| Churn::new(&self.priors, profile.workload));
        if let Some(passed) = passed {
            // While a key is being defined nothing counts as churn, so nothing counts as exposure.
            churn.pass(if counts { passed } else { 0 }, &self.priors, profile.workload);
            state.inside = state.inside.take().filter(|inside| inside.is_worth_keeping(now));
            state
                .slots
                .retain(|slot| now.since(slot.last_seen) < if slot.alerted { 2 * ABSENCE } else { ABSENCE });
        }
    }

    fn observe_rules(
        &self,
        state: &mut KeyState,
        profile: &KeyProfile,
        event: &UsageEvent,
        features: &Features,
        novelty: Novelty,
        findings: &mut Vec<Finding>,
    ) {
        let KeyState { windows, baseline: Some(baseline), .. } = &mut *state else { return };
        windows.note(event, features, novelty, baseline);
        let hits = {
            let KeyState { windows, baseline: Some(baseline), .. } = &*state else { return };
            rules::check(
                self.config.rules,
                &View { event, features, novelty, profile, state, windows, baseline },
            )
        };
        for (code, level, finding) in hits {
            state.note_fired(code, level);
            // The newcomer channel may have told of the same probing, more surely.
            if !findings.iter().any(|told| told.rule == finding.rule) {
                findings.push(finding);
            }
        }
    }

    fn observe_newcomer(
        &self,
        state: &mut KeyState,
        profile: &KeyProfile,
        event: &UsageEvent,
        features: &Features,
        novelty: Novelty,
        findings: &mut Vec<Finding>,
    ) -> Lesson {
        let request = &event.request;
        let now = request.time;
        let mut appraisal = self.appraise(state, profile, request, features, novelty, InFlight::default());
        let was_judged = event.outcome == Outcome::Refused(Refusal::Judged);
        // Somebody ordinary who at once does something out of the ordinary is followed too.
        let worth = appraisal.weight.arrival.max(appraisal.weight.newcomer);
        if appraisal.is_new && worth < FOLLOW_DAYS && !was_judged {
            return Lesson::All;
        }
        if appraisal.is_new {
            let arrival = member_days(profile, appraisal.weight.arrival);
            for shared in Shared::of(&appraisal.slot.identity, appraisal.novelty) {
                join_crowd(&mut state.crowds, shared, features, arrival, now);
            }
        }
        appraisal.slot.note_outcome(event);
        appraisal.slot.acts.note_outcome(event);
        appraisal.slot.told.note_outcome(event, &state.content);
        if appraisal.slot.acts.is_checker() {
            appraisal.slot.facts |= crate::slot::fact::CHECKER;
        }
        appraisal.weight =
            self.weigh(state, profile, &appraisal.slot, appraisal.novelty, now, InFlight::default());
        self.observe_crowds(state, profile, event, &appraisal, findings);
        self.tell(state, profile, event, &mut appraisal, was_judged, findings);
        let lesson = self.lesson(&appraisal, profile, now);
        if lesson == Lesson::All {
            let learned = appraisal.slot.identity.features;
            state.slots.retain(|slot| slot.actor != appraisal.slot.actor);
            learn_caller(state, &learned, now, true);
        } else {
            keep(&mut state.slots, appraisal.slot, now);
        }
        lesson
    }

    /// What a followed newcomer may teach by now.
    fn lesson(&self, appraisal: &Appraisal, profile: &KeyProfile, now: Timestamp) -> Lesson {
        let (slot, weight) = (&appraisal.slot, &appraisal.weight);
        let age = now.since(slot.first_seen);
        let notice = self.config.notice_days.min(profile.alert_days());
        if slot.alerted {
            Lesson::Nothing
        } else if weight.newcomer < QUARANTINE_DAYS && slot.facts == 0 {
            if age >= TRIAL { Lesson::All } else { Lesson::Volume }
        } else if age >= PROBATION && weight.score < notice && slot.facts == 0 {
            Lesson::All
        } else {
            Lesson::Nothing
        }
    }

    /// Tells of the newcomer when its tier rises; a newcomer in a crowd or context that was told of
    /// is silent.
    fn tell(
        &self,
        state: &mut KeyState,
        profile: &KeyProfile,
        event: &UsageEvent,
        appraisal: &mut Appraisal,
        was_judged: bool,
        findings: &mut Vec<Finding>,
    ) {
        let now = event.request.time;
        let shared: Vec<Shared> = Shared::of(&appraisal.slot.identity, appraisal.novelty).collect();
        let in_crowd =
            state.crowds.iter().any(|crowd| crowd.is_contained(now) && shared.contains(&crowd.shared));
        // A thief who changes its client, calling from one network, is told of once.
        let is_covered = in_crowd
            || state.slots.iter().any(|slot| {
                slot.actor != appraisal.slot.actor
                    && slot.is_contained(now)
                    && (slot.context.as_ref().is_some_and(|context| context.matches(&event.request))
                        || slot.is_like(&appraisal.slot))
            });
        let facts = appraisal.slot.facts;
        let mut tier = self.tier(profile, appraisal.weight.score, appraisal.weight.rarity, facts);
        if was_judged && !is_covered {
            // Requests in flight weighed in when it was refused; the refusal itself is a finding.
            tier = tier.max(Some(Tier::Alert));
            appraisal.weight.score = appraisal.weight.score.max(profile.alert_days());
        }
        if appraisal.weight.score > appraisal.slot.score && !is_covered {
            state.raised = state.raised.max(appraisal.weight.score);
        }
        appraisal.slot.score = appraisal.slot.score.max(appraisal.weight.score);
        if tier <= appraisal.slot.tier {
            return;
        }
        appraisal.slot.tier = tier;
        let Some(tier) = tier else { return };
        if tier >= Tier::Alert {
            appraisal.slot.alerted = true;
            let context = appraisal.slot.identity.context(appraisal.novelty, appraisal.slot.roams);
            appraisal.slot.context = Some(Box::new(context));
            // What barely crosses an owner's budget is often the owner, and does not make the next newcomer a thief.
            if !is_covered && tier == Tier::Act {
                state.alerted_at = Some(now);
            }
        }
        if !is_covered {
            let score = appraisal.weight.score;
            findings.push(self.explain_newcomer(state, profile, appraisal, tier, score, &event.request));
        }
    }

    /// Counts the request for its crowds, and tells of one that crossed a threshold.
    fn observe_crowds(
        &self,
        state: &mut KeyState,
        profile: &KeyProfile,
        event: &UsageEvent,
        appraisal: &Appraisal,
        findings: &mut Vec<Finding>,
    ) {
        let now = event.request.time;
        let shared: Vec<Shared> = Shared::of(&appraisal.slot.identity, appraisal.novelty).collect();
        let strongest = self
            .crowd(state, profile, appraisal, now, InFlight::default())
            .map(|(crowd, days)| (crowd.shared.clone(), days));
        let told = state
            .crowds
            .iter()
            .find(|crowd| crowd.is_contained(now) && shared.contains(&crowd.shared))
            .map(|crowd| crowd.shared.clone());
        for crowd in state.crowds.iter_mut().filter(|crowd| shared.contains(&crowd.shared)) {
            crowd.note(event);
            let days = match &strongest {
                // One crowd is told of; others that its members form too would say the same.
                Some((shared, days))
                    if *shared == crowd.shared && told.as_ref().is_none_or(|told| told == shared) =>
                {
                    *days
                }
                _ => continue,
            };
            if days > crowd.peak {
                crowd.peak = days;
                state.raised = state.raised.max(days);
            }
            let tier = self.tier(profile, days, 0.0, 0);
            // A crowd is told of when it alerts; single members give the notices.
            if tier >= Some(Tier::Alert) && tier > crowd.tier {
                crowd.tier = tier;
                state.alerted_at = Some(now);
                findings.push(explain::crowd(
                    crowd,
                    appraisal,
                    tier.unwrap_or(Tier::Alert),
                    days,
                    &event.request,
                ));
            }
        }
    }
}

/// Keeps a slot; the weakest gives way when there is no room.
fn keep(slots: &mut Vec<Slot>, slot: Slot, now: Timestamp) {
    if let Some(place) = slots.iter_mut().find(|known| known.actor == slot.actor) {
        *place = slot;
        return;
    }
    if slots.len() >= SLOTS_MAX {
        let weakest = slots
            .iter()
            .enumerate()
            .min_by(|(_, a), (_, b)| {
                a.is_contained(now)
                    .cmp(&b.is_contained(now))
                    .then(a.score.total_cmp(&b.score))
                    .then(a.last_seen.cmp(&b.last_seen))
            })
            .map(|(i, _)| i);
        if let Some(weakest) = weakest {
            slots.remove(weakest);
        }
    }
    slots.push(slot);
}

/// Whether a request is of an unfamiliar burst that was told of; if so the episode goes on.
fn inside_contains(state: &mut KeyState, request: &RequestContext) -> bool {
    let Some(inside) = state.inside.as_mut().filter(|inside| inside.told(request).is_some()) else {
        return false;
    };
    inside.hold(request.time);
    true
}

fn learn_volume(state: &mut KeyState, event: &UsageEvent) {
    let time = event.request.time;
    state.note_active(time);
    let clients = state.windows.clients();
    if let Some(baseline) = &mut state.baseline {
        baseline.learn(time, address_bits(event), &event.usage, event.cost, clients);
    }
}

/// Learns a caller; crowds whose common trait became the key's own are no crowds any more.
pub(super) fn learn_caller(state: &mut KeyState, features: &Features, now: Timestamp, counts: bool) {
    let hour = state.age_hours(now);
    let flags = state.known.learn(features, hour);
    if flags == 0 {
        return;
    }
    if counts
        && state.is_defined(now)
        && let Some(churn) = &mut state.churn
    {
        churn.count(flags);
    }
    let known = &state.known;
    state.crowds.retain(|crowd| match &crowd.shared {
        Shared::Newness => true,
        Shared::Template(template) => !known.templates.contains(crate::math::print(*template)),
        Shared::Family(family) => !known.families.contains(crate::math::print(crate::math::hash(family))),
        Shared::Tls(tls) => !known.tls.contains(crate::math::print(*tls)),
    });
}
