//! Whether the layered detector keeps its promise: keys set to a budget, and the days on which they alarm.

use std::sync::Arc;

use tokenwatch_detect::method::{Layered, Method as _};
use tokenwatch_detect::{Engine, KeyProfile};

use crate::blank::Blank;
use crate::plan::Options;
use crate::world::World;

/// Scored clean days of a key with an alarm, for each of the options' budgets. The key is set to the budget, so that
/// everything the detector does on an alarm of its own happens too.
pub fn alarm_days(world: &dyn World, options: &Options, key: usize) -> Vec<u64> {
    let Some(about) = world.keys().get(key) else { return Vec::new() };
    let mut events = world.events(key, options.end_day());
    if options.only_real
        && let Some(blank) = Blank::of(&events)
    {
        events.iter_mut().for_each(|event| blank.apply(event));
    }
    let first_day = world.start().day() + options.teach_days;
    let layered = Layered::new(Arc::new(Engine::default()));
    let count = |&days: &f64| {
        let profile = KeyProfile { false_alarms_per_year: 365.0 / days, ..about.profile.clone() };
        let mut watch = layered.watch(&profile);
        let mut alarms = vec![false; options.score_days as usize];
        for event in &events {
            let is_alarm = watch.see(event).max() >= profile.alert_days();
            let day = event.request.time.day().wrapping_sub(first_day) as usize;
            if let Some(alarm) = alarms.get_mut(day) {
                *alarm |= is_alarm;
            }
        }
        alarms.into_iter().filter(|alarm| *alarm).count() as u64
    };
    options.budgets.iter().map(count).collect()
}
