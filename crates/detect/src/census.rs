//! Counts on one fleet how often benign newcomers of each type come, see [`FleetRates`].
//!
//! Invariants: a census changes nothing of what it watches; no newcomer is counted twice; one key counts for a few
//! newcomers of a type beyond what was expected of it, so that one restless key does not speak for a fleet. What was
//! refused, and what a person called a theft, is not counted; a theft that nobody noticed is one newcomer among many.

use std::collections::HashMap;

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::Finding;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::time::{DAY, HOUR, Timestamp};

use crate::engine::{Engine, Rates, is_newcomer};
use crate::features::{Features, actor_of};
use crate::known::dimension;
use crate::priors::Levels;
use crate::profile::KeyProfile;
use crate::rates::{CELLS, FleetRates, GROUPS, Table, levels_of, parts_of};
use crate::state::KeyState;

/// Expectation is added up in steps of this length.
const STEP: u64 = 3 * HOUR;
/// A younger key is still showing what it is: nearly all of its newcomers are its own.
const AGE_DAYS: f64 = 2.0;
/// A newcomer's type is settled after so many requests.
const SETTLED: u64 = 20;
/// Newcomers of one type that one key counts for beyond what was expected of it.
const BEYOND: f64 = 2.0;

/// A count under way.
#[derive(Clone, Debug)]
pub struct Census {
    keys: HashMap<KeyId, OfKey>,
    rates: FleetRates,
}

#[derive(Clone, Debug)]
struct OfKey {
    /// Until when expectation was added up.
    until: Timestamp,
    /// Newcomers that were counted, with the type that they were counted as.
    met: HashMap<u64, Levels>,
    expected: [f32; CELLS],
    counted: [f32; CELLS],
    /// Rates by now.
    shares: Box<Table>,
}

impl Census {
    /// Nothing counted yet, against the tables of an engine.
    pub fn new(engine: &Engine) -> Self {
        Self { keys: HashMap::new(), rates: FleetRates::new(engine.priors().version) }
    }

    /// Observes an event like [`Engine::observe`], and counts it.
    pub fn observe(
        &mut self,
        engine: &Engine,
        state: &mut KeyState,
        profile: &KeyProfile,
        event: &UsageEvent,
    ) -> Vec<Finding> {
        let request = &event.request;
        let now = request.time;
        let of = self.keys.entry(request.key).or_insert_with(|| OfKey::new(now));
        if !state.is_defined(now) || state.age_days(now) < AGE_DAYS {
            of.until = now;
            return engine.observe(state, profile, event);
        }
        let passed = now.since(of.until);
        if passed >= STEP {
            of.until = now;
            of.expect(&engine.rates(state, profile, now), passed, state.people(), &mut self.rates);
        }
        let features = Features::of(request);
        let novelty = state.known.compare(&features);
        let is_met = is_newcomer(novelty)
            && event.outcome.was_forwarded()
            && !state.is_trusted(request)
            && !state.is_stolen(request);
        let findings = engine.observe(state, profile, event);
        if is_met {
            let actor = actor_of(request).bits();
            let followed = state.slots.iter().find(|slot| slot.actor == actor).or_else(|| {
                let network_is_new = novelty.has(dimension::NETWORK);
                state.slots.iter().find(|slot| slot.resembles(&features, network_is_new))
            });
            match followed {
                // One that is followed may still show more of itself.
                Some(slot) => {
                    let shown = state.known.compare(&slot.identity.features);
                    let shown = if is_newcomer(shown) { shown } else { novelty };
                    of.meet(slot.actor, shown.levels, slot.requests > SETTLED, &mut self.rates);
                }
                None => of.meet(actor, novelty.levels, false, &mut self.rates),
            }
        }
        findings
    }

    /// What was counted so far.
    pub const fn rates(&self) -> &FleetRates {
        &self.rates
    }
}

impl OfKey {
    fn new(now: Timestamp) -> Self {
        Self {
            until: now,
            met: HashMap::new(),
            expected: [0.0; CELLS],
            counted: [0.0; CELLS],
            shares: Box::new([[0.0; GROUPS]; CELLS]),
        }
    }

    /// Lets time pass.
    fn expect(&mut self, by_tables: &Rates<'_>, passed: u64, people: f64, rates: &mut FleetRates) {
        let days = passed as f64 / DAY as f64;
        for (cell, (shares, expected)) in self.shares.iter_mut().zip(&mut self.expected).enumerate() {
            *shares = by_tables.by_group(levels_of(cell));
            *expected += (days * shares.iter().sum::<f64>()) as f32;
        }
        rates.expect(&self.shares, days, people);
    }

    /// Counts a newcomer, or counts it as what it turned out to be.
    fn meet(&mut self, actor: u64, levels: Levels, is_settled: bool, rates: &mut FleetRates) {
        match self.met.insert(actor, levels) {
            None => {}
            Some(before) if is_settled || before == levels => {
                self.met.insert(actor, before);
                return;
            }
            Some(before) => self.add(before, -1.0, rates),
        }
        self.add(levels, 1.0, rates);
    }

    /// A type that is not wholly stated is shared out as expected.
    fn add(&mut self, levels: Levels, by: f64, rates: &mut FleetRates) {
        let cells = || parts_of(levels).map(|(cell, _)| cell);
        let total: f64 = cells().map(|cell| self.shares[cell].iter().sum::<f64>()).sum();
        if total <= 0.0 {
            return;
        }
        for cell in cells() {
            let rate = self.shares[cell].iter().sum::<f64>();
            let most = f64::from(self.expected[cell]) + BEYOND;
            let before = f64::from(self.counted[cell]).min(most);
            self.counted[cell] += (by * rate / total) as f32;
            let change = f64::from(self.counted[cell]).min(most) - before;
            if rate > 0.0 {
                rates.count(cell, self.shares[cell].map(|share| change * share / rate), 1.0 / rate);
            }
        }
    }
}
