//! Whether the layered detector keeps its promise: keys set to a budget, and the days on which they alarm.

use std::sync::Arc;

use tokenwatch_detect::method::{Layered, Method as _};
use tokenwatch_detect::{Engine, KeyProfile};
use tokenwatch_model::event::UsageEvent;

use crate::plan::Options;

/// Scored clean days of a key with an alarm, for each of the options' budgets. The key is set to the budget, so that
/// everything the detector does on an alarm of its own happens too. `clean` are its clean events, `start_day` is
/// day 0, counted from 1970.
pub fn alarm_days(
    engine: &Arc<Engine>,
    options: &Options,
    profile: &KeyProfile,
    clean: &[UsageEvent],
    start_day: u32,
) -> Vec<u64> {
    let first_day = start_day + options.teach_days;
    let layered = Layered::new(Arc::clone(engine));
    let count = |&days: &f64| {
        let profile = KeyProfile { false_alarms_per_year: 365.0 / days, ..profile.clone() };
        let mut watch = layered.watch(&profile);
        let mut alarms = vec![false; options.score_days as usize];
        for event in clean {
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
