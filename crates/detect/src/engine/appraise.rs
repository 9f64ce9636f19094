//! How much evidence a newcomer is: its arrival, what it did since, and who else came.

use tokenwatch_model::context::RequestContext;
use tokenwatch_model::finding::Tier;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::time::{DAY, Timestamp};

use super::volume::own_volume;
use super::{Engine, InFlight};
use crate::baseline::Baseline;
use crate::behaviour::{Factors, Seen};
use crate::channel::{SURGE, merge};
use crate::churn::Churn;
use crate::content;
use crate::crowd::{Crowd, HALF, NETWORKS_MIN, NEWNESS_DAYS, Shared};
use crate::features::{Features, actor_of};
use crate::known::{Novelty, dimension};
use crate::math::{exp, fade, ln};
use crate::powers;
use crate::profile::KeyProfile;
use crate::siblings::honest_factor;
use crate::slot::{Slot, fact};
use crate::software;
use crate::standing;
use crate::state::KeyState;

/// For so long after an alert or a confirmed theft newcomers are suspect: a leaked key is passed on.
const CIRCULATION: u64 = 7 * DAY;
const AFTER_ALERT: f64 = 4.0;
const AFTER_THEFT: f64 = 8.0;
const AFTER_LEAK: f64 = 10.0;
/// A kind of newcomer that an honest key meets less than once in so many times the days of tier `act` is certain.
const CERTAIN: f64 = 5.0;
/// What a newcomer's behaving as a key checker is worth at least, in nats: thieves check in two of five cases, an
/// honest newcomer lists models, asks for single tokens and fails in a row in one of two thousand.
const CHECKER_NATS: f64 = 6.7;

/// The evidence about one newcomer.
#[derive(Clone, Debug)]
pub(crate) struct Weight {
    /// Its arrival, in days, everything but behaviour included.
    pub(crate) arrival: f64,
    /// Once in how many days an honest key like this meets a newcomer that looks and asks like it.
    pub(crate) rarity: f64,
    /// What is left of it by now, as a factor.
    pub(crate) faded: f64,
    /// Its kind of network against that of benign newcomers, in nats.
    pub(crate) kind: f64,
    /// Its kind of software against that of benign newcomers, in nats.
    pub(crate) software: f64,
    /// What happened to the key before, in nats.
    pub(crate) circulation: f64,
    /// What the owner's other keys know of it, in nats.
    pub(crate) siblings: f64,
    pub(crate) factors: Factors,
    /// What its prompts are about and after.
    pub(crate) content: content::Factors,
    /// Arrival times behaviour, in days.
    pub(crate) newcomer: f64,
    /// Its busiest hour against the key's, in days.
    pub(crate) surge: f64,
    /// All channels merged, in days.
    pub(crate) score: f64,
}

impl Weight {
    /// What would be left if it were not taken for a key checker, in days.
    pub(crate) fn without_probing(&self) -> f64 {
        self.arrival * self.faded * exp(self.factors.total(false) + self.content.total(false))
    }
}

/// A newcomer as it stands with one more request.
#[derive(Clone, Debug)]
pub(crate) struct Appraisal {
    pub(crate) slot: Slot,
    /// Whether the actor was not followed before.
    pub(crate) is_new: bool,
    /// What of the actor, over its requests, is new to the key.
    pub(crate) novelty: Novelty,
    pub(crate) weight: Weight,
}

/// Whether the network or the client is new, so that the caller can be told apart from the owner.
pub(crate) fn is_newcomer(novelty: Novelty) -> bool {
    [dimension::PREFIX, dimension::NETWORK, dimension::FAMILY, dimension::TLS, dimension::VERSION]
        .into_iter()
        .any(|of| novelty.has(of))
}

impl Engine {
    /// Weighs the caller of a request as if the request had been observed.
    pub(crate) fn appraise(
        &self,
        state: &KeyState,
        profile: &KeyProfile,
        request: &RequestContext,
        features: &Features,
        novelty: Novelty,
        in_flight: InFlight,
    ) -> Appraisal {
        let actor = actor_of(request);
        let known = state.slots.iter().find(|slot| slot.actor == actor.bits()).or_else(|| {
            let network_is_new = novelty.has(dimension::NETWORK);
            state.slots.iter().find(|slot| slot.resembles(features, network_is_new))
        });
        let is_new = known.is_none();
        let mut slot = known.cloned().unwrap_or_else(|| Slot::open(actor, request, features));
        let before = state.known.compare(&slot.identity.features);
        slot.note_request(request, features, novelty, before);
        let fresh;
        let baseline = match &state.baseline {
            Some(baseline) => baseline,
            None => {
                fresh = Baseline::new(request.time);
                &fresh
            }
        };
        let template_churn = self.prompt_churn(state.churn.as_ref(), state.maturity_days(request.time));
        slot.acts.note_request(request, &Seen { features, novelty, baseline, template_churn });
        slot.told.note_request(request, novelty.has(dimension::TEMPLATE), &state.content);
        let novelty = state.known.compare(&slot.identity.features);
        slot.facts |= facts(state, profile, &slot);
        let weight = self.weigh(state, profile, &slot, novelty, request.time, in_flight);
        Appraisal { slot, is_new, novelty, weight }
    }

    /// How much more often than others of its kind a key has new prompts; 1 at least.
    pub(crate) fn prompt_churn(&self, churn: Option<&Churn>, maturity_days: f64) -> f64 {
        churn.map_or(1.0, |churn| {
            let mut strongest = 1.0f64;
            for (share, cohort) in churn.members().into_iter().zip(&self.priors.cohorts) {
                if share > 0.3 {
                    strongest = strongest.max(churn.multipliers(cohort, maturity_days)[dimension::TEMPLATE]);
                }
            }
            strongest
        })
    }

    /// The evidence about a newcomer by now.
    pub(crate) fn weigh(
        &self,
        state: &KeyState,
        profile: &KeyProfile,
        slot: &Slot,
        novelty: Novelty,
        now: Timestamp,
        in_flight: InFlight,
    ) -> Weight {
        let fresh;
        let baseline = match &state.baseline {
            Some(baseline) => baseline,
            None => {
                fresh = Baseline::new(now);
                &fresh
            }
        };
        let factors = slot.acts.factors(baseline, in_flight.actor, state.age_days(now));
        let content = slot.told.factors(&state.content);
        let kind = kind_nats(state, slot, novelty);
        let software = if novelty.has(dimension::FAMILY) {
            powers::SOFTWARE.of(software::nats(&slot.identity.family, state.people()))
        } else {
            0.0
        };
        let circulation = ln(circulation(state, profile, slot));
        let honest = honest_factor(slot.identity.siblings, novelty);
        let is_checker = slot.facts & fact::CHECKER != 0;
        let (mut arrival, mut newcomer, mut rarity) = (0.0, 0.0, 0.0);
        // Otherwise everything about it has become the key's own since.
        if is_newcomer(novelty) {
            let rates = self.rates(state, profile, slot.first_seen);
            let own_volume = own_volume(baseline, slot, now);
            rarity = rates.days_given(novelty.levels, &slot.acts.later_prompts(), own_volume) / honest;
            let outside = rarity * exp(kind + software + circulation);
            for (way, mass) in rates.ways(novelty.levels) {
                let total = factors.total(way.disguised) + content.total(way.disguised);
                let behaviour = if is_checker { total.max(CHECKER_NATS) } else { total };
                arrival += mass * outside;
                newcomer += mass * outside * exp(behaviour);
            }
        }
        let faded = fade(now.since(slot.first_seen), HALF);
        let newcomer = newcomer * faded;
        let requests = f64::from(slot.acts.peak_requests) / baseline.reference_requests();
        let cost = slot.acts.peak_cost.dollars() / baseline.reference_cost();
        let surge = if arrival > 0.0 { SURGE.return_period(requests.max(cost)) } else { 0.0 };
        let (siblings, score) = (-ln(honest), merge(newcomer, surge));
        Weight {
            arrival,
            rarity,
            faded,
            kind,
            software,
            circulation,
            siblings,
            factors,
            content,
            newcomer,
            surge,
            score,
        }
    }

    /// The tier that a score, a rarity and hard facts reach. The score spends one budget on all kinds of newcomers,
    /// so it says less of a kind that is hardly ever seen than the kind's own rarity does.
    pub(crate) fn tier(&self, profile: &KeyProfile, score: f64, rarity: f64, facts: u8) -> Option<Tier> {
        let alert = profile.alert_days();
        let act = self.config.act_days.max(alert);
        let is_certain = facts.count_ones() >= 2 || rarity >= CERTAIN * act;
        if score >= act || (score >= alert && is_certain) {
            Some(Tier::Act)
        } else if score >= alert {
            Some(Tier::Alert)
        } else if score >= self.config.notice_days.min(alert) {
            Some(Tier::Notice)
        } else {
            None
        }
    }

    /// The strongest crowd a newcomer would belong to, and its evidence in days.
    pub(crate) fn crowd<'a>(
        &self,
        state: &'a KeyState,
        profile: &KeyProfile,
        appraisal: &Appraisal,
        now: Timestamp,
        in_flight: InFlight,
    ) -> Option<(&'a Crowd, f64)> {
        let features = &appraisal.slot.identity.features;
        let arrival = member_days(profile, appraisal.weight.arrival);
        let shared: Vec<Shared> = Shared::of(&appraisal.slot.identity, appraisal.novelty).collect();
        state
            .crowds
            .iter()
            .filter(|crowd| {
                let is_strong = crowd.shared != Shared::Newness || appraisal.weight.arrival >= NEWNESS_DAYS;
                shared.contains(&crowd.shared) && is_strong
            })
            .filter_map(|crowd| {
                let mut days = crowd.with(features, arrival, now)?;
                if crowd.shared == Shared::Newness {
                    days += arrival * f64::from(in_flight.watched);
                }
                Some((crowd, days))
            })
            // A crowd that shares something is preferred: what it shares is what to refuse.
            .max_by(|(a, a_days), (b, b_days)| {
                let named = |crowd: &Crowd, days: f64| {
                    crowd.shared != Shared::Newness && days >= profile.alert_days()
                };
                named(a, *a_days).cmp(&named(b, *b_days)).then(a_days.total_cmp(b_days))
            })
    }
}

/// What one member may count for in a crowd.
pub(crate) fn member_days(profile: &KeyProfile, arrival: f64) -> f64 {
    arrival.min(profile.alert_days() / NETWORKS_MIN as f64)
}

/// Hard facts about a newcomer.
fn facts(state: &KeyState, profile: &KeyProfile, slot: &Slot) -> u8 {
    let mut facts = 0;
    if slot.acts.is_checker() {
        facts |= fact::CHECKER;
    }
    if profile.leaked.is_some_and(|leaked| leaked <= slot.first_seen) {
        facts |= fact::LEAKED;
    }
    if state.theft_at.is_some_and(|theft| follows(slot.first_seen, theft)) {
        facts |= fact::THEFT;
    }
    facts
}

/// Whether a newcomer came while a key in circulation is passed on.
fn follows(first_seen: Timestamp, at: Timestamp) -> bool {
    first_seen > at && first_seen.since(at) <= CIRCULATION
}

/// How much more likely thieves are after what happened to the key.
fn circulation(state: &KeyState, profile: &KeyProfile, slot: &Slot) -> f64 {
    let when = |happened: bool, factor: f64| if happened { factor } else { 1.0 };
    let leak = when(profile.leaked.is_some_and(|leaked| leaked <= slot.first_seen), AFTER_LEAK);
    let theft = when(state.theft_at.is_some_and(|at| follows(slot.first_seen, at)), AFTER_THEFT);
    let alert = when(state.alerted_at.is_some_and(|at| follows(slot.first_seen, at)), AFTER_ALERT);
    leak.max(theft).max(alert)
}

/// Among newcomers from a kind of network new to the key, thieves are on Tor and VPN exits far more often than a
/// service's own changes are; people use VPN exits themselves. The mean over benign newcomers is one. A network that is
/// new to the key is weighed by its house as well.
fn kind_nats(state: &KeyState, slot: &Slot, novelty: Novelty) -> f64 {
    let house = house_nats(slot, novelty);
    if !novelty.has(dimension::KIND) {
        return house;
    }
    let people = state.people();
    // Shares of thieves, of a service's changes and of people's.
    let (thieves, machines, people_do) = match slot.identity.features.kind {
        NetworkKind::Tor => (0.03, 0.002, 0.004),
        NetworkKind::Vpn => (0.36, 0.120, 0.600),
        _ => (0.61, 0.878, 0.396),
    };
    house + powers::ORIGIN.of(ln(thieves / ((1.0 - people) * machines + people * people_do)))
}

/// What the house counts for that a newcomer from a new network calls from.
pub(crate) fn house_nats(slot: &Slot, novelty: Novelty) -> f64 {
    if !novelty.has(dimension::NETWORK) {
        return 0.0;
    }
    powers::ORIGIN.of(standing::nats(&slot.identity.features))
}
