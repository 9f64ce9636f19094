//! What people see of the live state: rates, spend, scores, contexts.

use serde::Serialize;
use smol_str::SmolStr;
use tokenwatch_detect::{KeyState as Learned, KnownCounts, Suspect};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::key::Mode;
use tokenwatch_model::limit::BudgetWindow;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::{SECOND, Timestamp};
use tokenwatch_respond::Normal;

use super::Live;

/// Seconds of history kept per key for live views.
pub(super) const SECONDS: usize = 60;

/// The last minute of a key in seconds: requests, refusals, cost.
#[derive(Default)]
pub(crate) struct Recent {
    second: u64,
    requests: Box<[u32]>,
    refused: u64,
    served: u64,
    last: Option<Timestamp>,
}

impl Recent {
    pub(crate) const fn last_used(&self) -> Option<Timestamp> {
        self.last
    }

    pub(crate) fn count(&mut self, event: &UsageEvent) {
        let second = event.request.time.0 / SECOND;
        if self.requests.is_empty() {
            self.requests = vec![0; SECONDS].into();
            self.second = second;
        }
        if second > self.second {
            let steps = (second - self.second).min(SECONDS as u64) as usize;
            self.requests.rotate_left(steps);
            self.requests[SECONDS - steps..].fill(0);
            self.second = second;
        }
        let back = self.second.saturating_sub(second) as usize;
        if let Some(slot) = SECONDS.checked_sub(1 + back).and_then(|at| self.requests.get_mut(at)) {
            *slot = slot.saturating_add(1);
        }
        if event.outcome.was_forwarded() {
            self.served += 1;
        } else {
            self.refused += 1;
        }
        self.last = self.last.max(Some(event.request.time));
    }

    /// Whether there was a request in the 60 seconds up to `now`.
    pub(super) const fn is_recent(&self, now: Timestamp) -> bool {
        !self.requests.is_empty() && (now.0 / SECOND).saturating_sub(self.second) < SECONDS as u64
    }

    /// Requests in each of the 60 seconds up to `now`, oldest first.
    pub(super) fn history(&self, now: Timestamp) -> Vec<u32> {
        let mut history = if self.requests.is_empty() { vec![0; SECONDS] } else { self.requests.to_vec() };
        let steps = (now.0 / SECOND).saturating_sub(self.second).min(SECONDS as u64) as usize;
        history.rotate_left(steps);
        history[SECONDS - steps..].fill(0);
        history
    }
}

/// One key in a live view.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyView {
    /// The key.
    pub id: KeyId,
    /// Its name.
    pub name: SmolStr,
    /// `active`, `disabled`, `revoked`.
    pub state: &'static str,
    /// What automatic containment may do.
    pub mode: Mode,
    /// Requests in each of the last 60 seconds, oldest first.
    pub requests_by_second: Vec<u32>,
    /// Requests in flight.
    pub in_flight: u64,
    /// Money spent this UTC day.
    pub spent_day: NanoUsd,
    /// Money spent this UTC month.
    pub spent_month: NanoUsd,
    /// Requests forwarded since the process started.
    pub forwarded: u64,
    /// Requests refused since the process started.
    pub refused: u64,
    /// Containments in force, as `action: reason`.
    pub containments: Vec<String>,
    /// The highest score of a newcomer on it, in days; 0 when there is none.
    pub score_days: f64,
    /// How many contexts it is known by.
    pub known: KnownCounts,
    /// Newcomers on probation, the strangest first.
    pub suspects: Vec<Suspect>,
    /// Last request.
    pub last_used: Option<Timestamp>,
}

/// Sums over all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LiveTotals {
    /// Keys known.
    pub keys: u64,
    /// Keys whose state is in memory.
    pub loaded: u64,
    /// Requests in flight.
    pub in_flight: u64,
}

/// What a key usually does, from what was learned of it.
pub(super) fn normal(learned: &Learned) -> Option<Normal> {
    /// A usual hour's requests rarely come evenly: a minute may hold so many times its share.
    const BURST: u64 = 3;
    /// Small keys come in bursts, too: a clamp below this would hold up an ordinary application.
    const REQUESTS_PER_MINUTE_MIN: u64 = 10;
    /// One clean key in eight doubles its own peak within days: a clamp at the peak would be a suspension.
    const PEAKS: u64 = 2;
    let usual = learned.usual()?;
    Some(Normal {
        requests_per_minute: Some(
            (usual.requests_per_hour * BURST).div_ceil(60).max(REQUESTS_PER_MINUTE_MIN),
        ),
        cost_per_hour: Some(NanoUsd(usual.cost_per_hour.0.saturating_mul(PEAKS))),
        models: None,
    })
}

impl Live {
    /// The keys used most recently, at most `limit`.
    pub fn view(&self, now: Timestamp, limit: usize) -> Vec<KeyView> {
        let mut recent: Vec<(Timestamp, KeyId)> = Vec::new();
        for shard in &self.shards {
            let guard = shard.lock();
            recent.extend(guard.keys.iter().filter_map(|(&key, live)| {
                let last = live.mind.as_ref().and_then(|mind| mind.recent.last)?;
                Some((last, key))
            }));
        }
        recent.sort_by(|a, b| b.cmp(a));
        recent.truncate(limit);
        let mut views: Vec<KeyView> =
            recent.into_iter().filter_map(|(_, key)| self.view_key(key, now)).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// One key.
    pub fn view_key(&self, key: KeyId, now: Timestamp) -> Option<KeyView> {
        let guard = self.shard(key);
        let live = guard.keys.get(&key)?;
        let mind = live.mind.as_ref();
        let in_force = live.contained.known().iter().filter(|c| c.in_force(now));
        Some(KeyView {
            id: key,
            name: live.entry.name.clone(),
            state: live.entry.state.name(),
            mode: live.entry.mode(),
            requests_by_second: mind.map_or_else(|| vec![0; SECONDS], |mind| mind.recent.history(now)),
            in_flight: live.flights.len() as u64,
            spent_day: mind.map_or(NanoUsd::ZERO, |mind| mind.account.spent(BudgetWindow::Day, now)),
            spent_month: mind.map_or(NanoUsd::ZERO, |mind| mind.account.spent(BudgetWindow::Month, now)),
            forwarded: mind.map_or(0, |mind| mind.recent.served),
            refused: mind.map_or(0, |mind| mind.recent.refused),
            containments: in_force.map(|c| format!("{}: {}", c.action.name(), c.reason)).collect(),
            score_days: mind.map_or(0.0, |mind| mind.learned.score_days()),
            known: mind.map_or_else(KnownCounts::default, |mind| mind.learned.known_counts()),
            suspects: mind.map_or_else(Vec::new, |mind| mind.learned.suspects()),
            last_used: mind.and_then(|mind| mind.recent.last),
        })
    }

    /// What a key usually does, for clamps; `None` before it has a clean day behind it.
    pub fn normal(&self, key: KeyId) -> Option<Normal> {
        let guard = self.shard(key);
        normal(&guard.keys.get(&key)?.mind.as_ref()?.learned)
    }

    /// Sums over all keys.
    pub fn totals(&self) -> LiveTotals {
        let mut totals = LiveTotals::default();
        for shard in &self.shards {
            let guard = shard.lock();
            totals.keys += guard.keys.len() as u64;
            for live in guard.keys.values() {
                totals.loaded += u64::from(live.mind.is_some());
                totals.in_flight += live.flights.len() as u64;
            }
        }
        totals
    }
}
