//! The fleet's own rates, counted while its events are replayed.

use std::sync::Arc;

use serde::Serialize;
use tokenwatch_detect::{Census, Difference, Engine, FleetRates, KeyProfile, KeyState};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::finding::Finding;

/// Differences that are reported.
const DIFFERENCES_MAX: usize = 20;

/// What a replay does about the fleet's own rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Counting {
    /// Nothing: the engine's tables are used as they are.
    #[default]
    No,
    /// They are counted on all days, and not used.
    Only,
    /// They are counted on the days that only teach, and used from then on.
    ThenUse,
}

/// What was counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counted {
    /// Whether days that count were judged by it.
    pub used: bool,
    /// Key-days of machines that were counted.
    pub machine_key_days: f64,
    /// Key-days of keys that people hold.
    pub people_key_days: f64,
    /// Newcomers that came.
    pub newcomers: f64,
    /// Types of newcomer of which most more or fewer came than the shipped tables expect.
    pub differences: Vec<Difference>,
}

impl Counted {
    /// What is told of rates.
    pub fn of(rates: &FleetRates, used: bool) -> Self {
        let [machine_key_days, people_key_days] = rates.key_days();
        Self {
            used,
            machine_key_days,
            people_key_days,
            newcomers: rates.newcomers(),
            differences: rates.differences().into_iter().take(DIFFERENCES_MAX).collect(),
        }
    }
}

/// A count under way.
pub(super) struct Count {
    counting: Counting,
    census: Option<Census>,
    used: Option<FleetRates>,
}

impl Count {
    pub(super) fn new(counting: Counting, engine: &Engine) -> Self {
        let census = (counting != Counting::No).then(|| Census::new(engine));
        Self { counting, census, used: None }
    }

    /// At the first event that counts the engine takes over what was counted.
    pub(super) fn turn(&mut self, engine: &mut Arc<Engine>) {
        if self.counting != Counting::ThenUse || self.used.is_some() {
            return;
        }
        let Some(census) = self.census.take() else { return };
        let rates = census.rates().clone();
        // It was counted against this very engine's tables.
        if let Ok(priors) = engine.priors().clone().with_rates(&rates) {
            *engine = Arc::new(Engine::new(engine.config().clone(), priors));
            self.used = Some(rates);
        }
    }

    pub(super) fn observe(
        &mut self,
        engine: &Engine,
        state: &mut KeyState,
        profile: &KeyProfile,
        event: &UsageEvent,
    ) -> Vec<Finding> {
        match &mut self.census {
            Some(census) => census.observe(engine, state, profile, event),
            None => engine.observe(state, profile, event),
        }
    }

    /// What was counted so far; `None` when nothing is.
    pub(super) fn rates(&self) -> Option<&FleetRates> {
        self.used.as_ref().or_else(|| self.census.as_ref().map(Census::rates))
    }

    pub(super) fn report(&self) -> Option<Counted> {
        self.rates().map(|rates| Counted::of(rates, self.used.is_some()))
    }
}
