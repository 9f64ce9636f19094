//! A dry run: the events that are kept, replayed under the settings in force and under proposed ones, and which alerts
//! the two raise.
//!
//! What a gateway refused because of what it found then is replayed as if it had been let pass, with the input it would
//! have had and nothing more: whether it is refused is what the settings decide. What people said is heard at the time
//! they said it.
//!
//! Invariants: both sides see the same events in the same order; nothing outside is changed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use tokenwatch_detect::{Engine, FleetRates, KeyProfile};
use tokenwatch_model::SmolStr;
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::{Feedback, Says, Tier};
use tokenwatch_model::id::{ActorId, KeyId, RequestId};
use tokenwatch_model::outcome::Outcome;
use tokenwatch_model::time::{DAY, Timestamp};
use tokenwatch_model::usage::{TokenUsage, UsageSource};

use crate::replay::{Alert, Beside, Counted, Counting, Replay, Settings};

/// What a person said about the context of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// "It was us."
    Dismissed,
    /// "It was a theft."
    Confirmed,
}

/// Under which settings an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fires {
    /// Under those in force and under the proposed ones.
    Both,
    /// Under the proposed ones alone.
    Added,
    /// Under those in force alone.
    Gone,
    /// Under those in force; none are proposed.
    InForce,
}

/// An alert that would have fired.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DryAlert {
    /// Under which settings.
    pub fires: Fires,
    /// When: under the proposed settings where it fires under these.
    pub time: Timestamp,
    /// The key.
    pub key: SmolStr,
    /// How sure.
    pub tier: Tier,
    /// What found it.
    pub rule: SmolStr,
    /// An honest key does that once in so many days.
    pub once_in_days: f64,
    /// One sentence with the numbers.
    pub summary: String,
    /// The request that raised it.
    pub request: RequestId,
    /// What a person said about its context, before or since.
    pub marked: Option<Mark>,
}

/// How many alerts a key raises.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct KeyCounts {
    /// The key.
    pub key: SmolStr,
    /// Under the settings in force.
    pub in_force: u64,
    /// Under the proposed ones; `null` when none are proposed.
    pub proposed: Option<u64>,
    /// Under the proposed ones alone.
    pub added: u64,
    /// Under those in force alone.
    pub gone: u64,
}

/// What came of a dry run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DryReport {
    /// The time from which alerts count.
    pub from: Timestamp,
    /// The first event that was replayed; `null` when there is none.
    pub first: Option<Timestamp>,
    /// The last.
    pub last: Option<Timestamp>,
    /// Days up to the last event on which alerts count: what is kept, without the first day, which only teaches.
    pub days_covered: f64,
    /// Events replayed, those that only taught included.
    pub events: u64,
    /// Alerts under the settings in force.
    pub in_force: u64,
    /// Under the proposed ones; `null` when none are proposed.
    pub proposed: Option<u64>,
    /// Every key with an alert.
    pub keys: Vec<KeyCounts>,
    /// The alerts, by time.
    pub alerts: Vec<DryAlert>,
    /// Alerts beyond the first ten thousand of a side, which are only counted.
    pub alerts_left_out: u64,
    /// The fleet's own rates of honest newcomers; `null` when they were not counted.
    pub fleet_rates: Option<Counted>,
}

/// Profiles of keys under some settings.
pub type Profiles = HashMap<KeyId, KeyProfile>;

/// Settings to replay under.
pub struct Under {
    /// The engine, with the rates that it takes for the fleet's.
    pub engine: Arc<Engine>,
    /// What is declared about keys.
    pub profiles: Profiles,
}

/// Whom an alert is about; what is about nobody is told apart by its rule.
type About = (SmolStr, Result<ActorId, SmolStr>);

/// One side of the comparison.
struct Side {
    replay: Replay,
    seen: usize,
    alerts: BTreeMap<About, (Alert, Option<Mark>)>,
}

/// A dry run under way.
pub struct DryRun {
    from: Timestamp,
    in_force: Side,
    proposed: Option<Side>,
    /// What is still to be heard, by time.
    unheard: VecDeque<Feedback>,
    /// The last word about each context of a key.
    said: HashMap<KeyId, Vec<(ContextMatch, Mark)>>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    events: u64,
}

impl Side {
    fn new(under: Under, from: Timestamp, counting: Counting) -> Self {
        let unknown = KeyProfile::default();
        let settings =
            Settings { learn_days: 0, score_from: Some(from), unknown, is_labelled: false, counting };
        let replay = Replay::new(under.engine, settings, under.profiles, Vec::new());
        Self { replay, seen: 0, alerts: BTreeMap::new() }
    }

    fn see(&mut self, event: UsageEvent, name: &str, mark: impl Fn(&UsageEvent) -> Option<Mark>) {
        let copy = event.clone();
        self.replay.see(event, &Beside { key: name, ..Beside::default() });
        let new = self.replay.alerts().get(self.seen..).unwrap_or_default();
        self.seen += new.len();
        for alert in new.iter().filter(|alert| !alert.learning) {
            let about = (alert.key.clone(), alert.actor.ok_or_else(|| alert.rule.clone()));
            self.alerts.entry(about).or_insert_with(|| (alert.clone(), mark(&copy)));
        }
    }
}

impl DryRun {
    /// A dry run of nothing yet. Alerts count from `from` on, which is rounded down to midnight; earlier events teach.
    /// Without `proposed` only what is in force is replayed. With `counts` the fleet's own rates are counted on the way.
    pub fn new(
        from: Timestamp,
        in_force: Under,
        proposed: Option<Under>,
        mut feedback: Vec<Feedback>,
        counts: bool,
    ) -> Self {
        let counting = if counts { Counting::Only } else { Counting::No };
        let from = Timestamp(u64::from(from.day()) * DAY);
        feedback.sort_by_key(|feedback| feedback.time);
        let mut said: HashMap<KeyId, Vec<(ContextMatch, Mark)>> = HashMap::new();
        for Feedback { key, context, says, .. } in feedback.iter().filter(|word| !word.context.is_empty()) {
            let mark = match says {
                Says::Ours { .. } => Mark::Dismissed,
                Says::Theft => Mark::Confirmed,
            };
            let words = said.entry(*key).or_default();
            words.retain(|(about, _)| about != context);
            words.push((context.clone(), mark));
        }
        Self {
            from,
            in_force: Side::new(in_force, from, counting),
            proposed: proposed.map(|under| Side::new(under, from, Counting::No)),
            unheard: feedback.into(),
            said,
            first: None,
            last: None,
            events: 0,
        }
    }

    /// Takes in the next event, in the order of times. `name` is what people call its key.
    pub fn see(&mut self, mut event: UsageEvent, name: &str) {
        let now = event.request.time;
        while self.unheard.front().is_some_and(|word| word.time <= now)
            && let Some(word) = self.unheard.pop_front()
        {
            self.in_force.replay.hear(&word);
            self.proposed.iter_mut().for_each(|side| side.replay.hear(&word));
        }
        self.first.get_or_insert(now);
        self.last = self.last.max(Some(now));
        self.events += 1;
        // The order is the caller's.
        event.key_seq = 0;
        let_pass(&mut event);
        let said = self.said.get(&event.request.key);
        let mark = |event: &UsageEvent| {
            let mut words = said.into_iter().flatten().rev();
            words.find(|(context, _)| context.matches(&event.request)).map(|(_, mark)| *mark)
        };
        if let Some(proposed) = &mut self.proposed {
            proposed.see(event.clone(), name, mark);
        }
        self.in_force.see(event, name, mark);
    }

    /// What came of it.
    pub fn finish(self) -> DryReport {
        let Self { from, in_force, proposed, first, last, events, .. } = self;
        let has_proposal = proposed.is_some();
        let fleet_rates = in_force.replay.counted();
        let left_out = |side: Side| (side.alerts, side.replay.finish().alerts_left_out);
        let (mut old, old_left_out) = left_out(in_force);
        let (new, new_left_out) = proposed.map(left_out).unwrap_or_default();
        let mut alerts: Vec<DryAlert> = Vec::new();
        for (about, (alert, mark)) in new {
            let fires = if old.remove(&about).is_some() { Fires::Both } else { Fires::Added };
            alerts.push(dry_alert(alert, fires, mark));
        }
        let fires = if has_proposal { Fires::Gone } else { Fires::InForce };
        alerts.extend(old.into_values().map(|(alert, mark)| dry_alert(alert, fires, mark)));
        alerts.sort_by(|a, b| (a.time, &a.key, a.request).cmp(&(b.time, &b.key, b.request)));
        let count =
            |fires: &[Fires]| alerts.iter().filter(|alert| fires.contains(&alert.fires)).count() as u64;
        DryReport {
            from,
            first,
            last,
            days_covered: days_covered(from, first, last),
            events,
            in_force: count(&[Fires::Both, Fires::Gone, Fires::InForce]),
            proposed: has_proposal.then(|| count(&[Fires::Both, Fires::Added])),
            keys: count_by_key(&alerts, has_proposal),
            alerts,
            alerts_left_out: old_left_out + new_left_out,
            fleet_rates,
        }
    }

    /// What was counted of the fleet's own rates so far; `None` when nothing is.
    pub fn rates(&self) -> Option<&FleetRates> {
        self.in_force.replay.rates()
    }
}

/// Makes of a request that was refused for what was found one that was let pass.
fn let_pass(event: &mut UsageEvent) {
    let Outcome::Refused(refusal) = event.outcome else { return };
    if !refusal.is_containment() {
        return;
    }
    event.outcome = Outcome::Served;
    event.status = 200;
    event.usage = TokenUsage { input: event.request.input_tokens_estimate, ..TokenUsage::default() };
    event.usage_source = UsageSource::Estimated;
}

fn dry_alert(alert: Alert, fires: Fires, marked: Option<Mark>) -> DryAlert {
    let Alert { time, key, tier, rule, once_in_days, summary, request, .. } = alert;
    DryAlert { fires, time, key, tier, rule, once_in_days, summary, request, marked }
}

/// Days on which alerts count: the UTC days that the first 24 hours touch teach.
fn days_covered(from: Timestamp, first: Option<Timestamp>, last: Option<Timestamp>) -> f64 {
    let (Some(first), Some(last)) = (first, last) else { return 0.0 };
    let taught = Timestamp(first.plus(DAY).0.div_ceil(DAY).saturating_mul(DAY));
    last.since(from.max(taught)) as f64 / DAY as f64
}

fn count_by_key(alerts: &[DryAlert], has_proposal: bool) -> Vec<KeyCounts> {
    let mut keys: BTreeMap<&SmolStr, KeyCounts> = BTreeMap::new();
    for alert in alerts {
        let counts = keys.entry(&alert.key).or_insert_with(|| KeyCounts {
            key: alert.key.clone(),
            proposed: has_proposal.then_some(0),
            ..KeyCounts::default()
        });
        counts.in_force += u64::from(alert.fires != Fires::Added);
        let fires_then = matches!(alert.fires, Fires::Both | Fires::Added);
        counts.proposed = counts.proposed.map(|proposed| proposed + u64::from(fires_then));
        counts.added += u64::from(alert.fires == Fires::Added);
        counts.gone += u64::from(alert.fires == Fires::Gone);
    }
    keys.into_values().collect()
}

#[cfg(test)]
mod tests;
