//! A fleet's own rates, counted on the days of a world that only teach.

use tokenwatch_detect::{Census, Engine, FleetRates, KeyState};

use crate::world::World;

/// What is counted on one key before day `teach_days`, against the tables of an engine; keys are added up with
/// [`FleetRates::add`].
pub fn rates_of(world: &dyn World, key: usize, teach_days: u32, engine: &Engine) -> FleetRates {
    let mut census = Census::new(engine);
    let mut state = KeyState::default();
    if let Some(about) = world.keys().get(key) {
        for event in world.events(key, teach_days) {
            drop(census.observe(engine, &mut state, &about.profile, &event));
        }
    }
    census.rates().clone()
}
