//! Events that somebody labelled, replayed as a gateway in `contain` mode would have met them.
//!
//! Each request is judged before it is forwarded. One that is refused is recorded as refused: it consumed nothing, cost
//! nothing and teaches nothing. Nobody answers alerts: a context that was refused wrongly stays refused. Days that only
//! teach are vouched for: what is told of on them is answered as the owner's, unless the label says whose it is.
//!
//! Invariants: the engine sees no label; the same events in the same order give the same report. Requests of days that
//! only teach are never refused, and nothing that happens on them counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokenwatch_detect::{Engine, FleetRates, InFlight, KeyProfile, KeyState};
use tokenwatch_model::SmolStr;
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Decision, Feedback, Finding, Says, Tier};
use tokenwatch_model::id::{ActorId, KeyId, OwnerId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_model::usage::{PriceSource, TokenUsage, UsageSource};

mod case;
mod counting;
mod order;
mod owners;
mod report;
#[cfg(test)]
mod tests;

use case::Case;
use counting::Count;
pub use counting::{Counted, Counting};
pub use order::Reorder;
use owners::{Member, Owners};
pub use report::{Alert, AttackSummary, CaseReport, Counts, KeySummary, ReplayReport, kind_of};

/// Alerts that are kept in full; further ones are counted.
const ALERTS_MAX: usize = 10_000;

/// Longer ids of requests are not kept as they are written.
const WRITTEN_MAX: usize = 256;

/// How long a context is trusted that was told of on a day that teaches, as when a person answers.
const VOUCHED: u64 = 90 * DAY;

/// How to replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Days from the first event's midnight on that only teach.
    pub learn_days: u32,
    /// Or the time until which everything only teaches.
    pub score_from: Option<Timestamp>,
    /// The profile of keys of which nothing is declared.
    pub unknown: KeyProfile,
    /// Whether there are labels; without them every request is the owner's.
    pub is_labelled: bool,
    /// Whether the fleet's own rates are counted, and used.
    pub counting: Counting,
}

/// A key's day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Day {
    is_learning: bool,
    owner_requests: u64,
    thief_requests: u64,
    /// Of the owner's, refused by the engine.
    owner_refused: u64,
    /// Alerts raised by requests of the owner.
    owner_alerts: u64,
    thief_alerts: u64,
    owner_notices: u64,
    thief_notices: u64,
}

/// What stands beside an event, as its writer put it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// What people call the key.
    pub key: &'a str,
    /// The request's id as written; empty when there is none.
    pub request: &'a str,
    /// Whose the key is, where its profile does not say.
    pub owner: Option<OwnerId>,
    /// The theft that the request belongs to.
    pub attack: Option<u32>,
}

struct KeyRun {
    name: SmolStr,
    profile: KeyProfile,
    member: Member,
    state: KeyState,
    first: Timestamp,
    days: BTreeMap<u32, Day>,
    /// By theft.
    cases: BTreeMap<u32, Case>,
    /// Newcomers that an alert was raised about: a rise of their tier is no further alert.
    told: BTreeSet<ActorId>,
}

/// A request as the gateway met it.
struct Met<'a> {
    event: &'a UsageEvent,
    /// What it would have cost.
    offered: NanoUsd,
    is_learning: bool,
    is_refused: bool,
}

/// A replay under way.
pub struct Replay {
    engine: Arc<Engine>,
    settings: Settings,
    score_from: Option<Timestamp>,
    profiles: HashMap<KeyId, KeyProfile>,
    attacks: Vec<SmolStr>,
    keys: HashMap<KeyId, KeyRun>,
    owners: Owners,
    alerts: Vec<Alert>,
    alerts_left_out: u64,
    events: u64,
    last: Timestamp,
    count: Count,
}

impl Replay {
    /// A replay of nothing yet. `profiles` are the declared keys; `attacks` names what labels point to.
    pub fn new(
        engine: Arc<Engine>,
        settings: Settings,
        profiles: HashMap<KeyId, KeyProfile>,
        attacks: Vec<SmolStr>,
    ) -> Self {
        Self {
            count: Count::new(settings.counting, &engine),
            engine,
            score_from: settings.score_from,
            settings,
            profiles,
            attacks,
            keys: HashMap::new(),
            owners: Owners::default(),
            alerts: Vec::new(),
            alerts_left_out: 0,
            events: 0,
            last: Timestamp::default(),
        }
    }

    /// Takes in the next event.
    pub fn see(&mut self, mut event: UsageEvent, beside: &Beside<'_>) {
        let now = event.request.time;
        self.events += 1;
        self.last = self.last.max(now);
        let learn_days = u64::from(self.settings.learn_days);
        let score_from = *self.score_from.get_or_insert_with(|| {
            Timestamp(u64::from(now.day()).saturating_add(learn_days).saturating_mul(DAY))
        });
        if now >= score_from {
            self.count.turn(&mut self.engine);
        }
        let id = event.request.key;
        let run = self.keys.entry(id).or_insert_with(|| {
            let profile = self.profiles.get(&id).unwrap_or(&self.settings.unknown).clone();
            KeyRun::new(beside.key, profile, beside.owner, now)
        });
        self.owners.answer(run.member, &mut event);
        let is_learning = run.is_learning(now, score_from);
        let offered = event.cost;
        let is_refused = now >= score_from && run.refuses(&self.engine, &event);
        if let Some(attack) = beside.attack {
            run.weigh(&self.engine, &event.request, attack, is_learning);
        }
        if is_refused {
            refuse(&mut event);
        }
        let findings = self.count.observe(&self.engine, &mut run.state, &run.profile, &event);
        self.owners.follow(&mut run.member, &event, &run.state);
        let met = Met { event: &event, offered, is_learning, is_refused };
        let alerts = run.count(&met, findings, beside.attack);
        if is_learning && beside.attack.is_none() {
            run.vouch(&self.engine, &alerts, now);
        }
        if !alerts.is_empty() {
            let key = run.name.clone();
            let beside = Beside { key: &key, ..*beside };
            alerts.into_iter().for_each(|alert| self.keep(alert, &event, &beside, is_learning));
        }
    }

    fn keep(&mut self, finding: Finding, event: &UsageEvent, beside: &Beside<'_>, learning: bool) {
        if self.alerts.len() >= ALERTS_MAX {
            self.alerts_left_out += 1;
            return;
        }
        let attack = beside.attack.and_then(|attack| self.attacks.get(attack as usize)).cloned();
        let written = beside.request;
        self.alerts.push(Alert {
            time: finding.time,
            key: beside.key.into(),
            tier: finding.tier,
            rule: finding.rule,
            once_in_days: finding.once_in_days,
            summary: finding.summary,
            reasons: finding.reasons,
            request: event.request.id,
            request_as_written: (1..=WRITTEN_MAX).contains(&written.len()).then(|| written.into()),
            is_true: self.settings.is_labelled.then_some(attack.is_some()),
            attack,
            learning,
            actor: finding.actor.map(|actor| actor.id),
        });
    }

    /// Takes in what a person said about a context of a key that was seen.
    pub fn hear(&mut self, feedback: &Feedback) {
        if let Some(run) = self.keys.get_mut(&feedback.key) {
            self.engine.feedback(&mut run.state, feedback);
        }
    }

    /// The alerts so far, days of learning included, at most 10,000; further ones are counted.
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// Whether a key had an event.
    pub fn has_seen(&self, key: KeyId) -> bool {
        self.keys.contains_key(&key)
    }

    /// The events so far.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// What was counted of the fleet's own rates so far; `None` when nothing is.
    pub fn rates(&self) -> Option<&FleetRates> {
        self.count.rates()
    }

    /// The same as a report.
    pub fn counted(&self) -> Option<Counted> {
        self.count.report()
    }

    /// What came of it.
    pub fn finish(self) -> ReplayReport {
        report::build(self)
    }
}

impl KeyRun {
    fn new(name: &str, profile: KeyProfile, owner: Option<OwnerId>, first: Timestamp) -> Self {
        Self {
            name: name.into(),
            member: Member::of(profile.owner.or(owner)),
            profile,
            state: KeyState::new(),
            first,
            days: BTreeMap::new(),
            cases: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// Whether a key's day only teaches: before the scored time, or touched by the key's own first 24 hours.
    fn is_learning(&self, now: Timestamp, score_from: Timestamp) -> bool {
        let midnight = Timestamp(u64::from(now.day()) * DAY);
        midnight < score_from || midnight < self.first.plus(DAY)
    }

    /// Whether the engine refuses a request that others let pass.
    fn refuses(&self, engine: &Engine, event: &UsageEvent) -> bool {
        event.outcome.was_forwarded()
            && engine.judge(&self.state, &self.profile, &event.request, InFlight::default()).decision
                == Decision::Refuse
    }

    /// Weighs a thief's request, whatever comes of it: one that is not found shall say how near it came.
    fn weigh(&mut self, engine: &Engine, request: &RequestContext, attack: u32, is_learning: bool) {
        let verdict = engine.judge(&self.state, &self.profile, request, InFlight::default());
        let is_rise =
            verdict.once_in_days > self.case(attack, request.time, is_learning).highest.once_in_days;
        let finding = is_rise.then(|| match verdict.finding {
            Some(finding) => Some(*finding),
            None => engine.explain(&self.state, &self.profile, request),
        });
        if let Some(finding) = finding.flatten() {
            self.case(attack, request.time, is_learning).weigh(&finding);
        }
    }

    /// Counts a request and what was found by it; returns the alerts that are no repetition.
    fn count(&mut self, met: &Met<'_>, findings: Vec<Finding>, attack: Option<u32>) -> Vec<Finding> {
        let now = met.event.request.time;
        if let Some(attack) = attack {
            let raised = if self.state.knows(&met.event.request) { self.state.raised_days() } else { 0.0 };
            let case = self.case(attack, now, met.is_learning);
            findings.iter().for_each(|finding| case.weigh(finding));
            case.weigh_unsaid(raised);
        }
        let (findings, notices): (Vec<Finding>, Vec<Finding>) =
            findings.into_iter().partition(|finding| finding.tier >= Tier::Alert);
        let findings: Vec<Finding> = findings.into_iter().filter(|finding| self.is_first(finding)).collect();
        let (alerts, notices) = (findings.len() as u64, notices.len() as u64);
        let is_learning = met.is_learning;
        let day = self.days.entry(now.day()).or_insert(Day { is_learning, ..Day::default() });
        match attack {
            Some(attack) => {
                day.thief_requests += 1;
                day.thief_alerts += alerts;
                day.thief_notices += notices;
                let case = self.case(attack, now, is_learning);
                case.notices += notices;
                case.note(met.event, met.offered, met.is_refused, alerts > 0);
            }
            None => {
                day.owner_requests += 1;
                day.owner_refused += u64::from(met.is_refused);
                day.owner_alerts += alerts;
                day.owner_notices += notices;
            }
        }
        findings
    }

    /// Whether no alert was raised about the same newcomer before.
    fn is_first(&mut self, finding: &Finding) -> bool {
        finding.actor.as_ref().is_none_or(|actor| self.told.insert(actor.id))
    }

    /// Answers what was told of on a day that teaches.
    fn vouch(&mut self, engine: &Engine, findings: &[Finding], now: Timestamp) {
        for finding in findings {
            let Some(actor) = &finding.actor else { continue };
            let says = Says::Ours { until: now.plus(VOUCHED) };
            let feedback = Feedback { key: finding.key, time: now, context: actor.context.clone(), says };
            engine.feedback(&mut self.state, &feedback);
        }
    }

    /// The theft's case on this key, opened by its first request.
    fn case(&mut self, attack: u32, now: Timestamp, is_learning: bool) -> &mut Case {
        self.cases.entry(attack).or_insert_with(|| Case::new(attack, now, is_learning))
    }
}

/// Makes of a served request one that was refused.
fn refuse(event: &mut UsageEvent) {
    let refusal = Refusal::Judged;
    event.outcome = Outcome::Refused(refusal);
    event.status = refusal.status();
    event.usage = TokenUsage::default();
    event.usage_source = UsageSource::None;
    event.cost = NanoUsd::ZERO;
    event.price_source = PriceSource::None;
}
