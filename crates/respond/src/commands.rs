//! The commands that texts tell people to press, in one place so that they can not drift apart.

use tokenwatch_model::containment::Action;
use tokenwatch_model::id::IncidentId;
use tokenwatch_model::money::NanoUsd;

/// Shows the whole story of an incident.
pub fn show(id: IncidentId) -> String {
    format!("tokenwatch incident show {id}")
}

/// Shows every step of an incident's runbook.
pub fn runbook(id: IncidentId) -> String {
    format!("tokenwatch incident runbook {id}")
}

/// Ticks a step of the runbook off.
pub fn tick(id: IncidentId, step: &str) -> String {
    format!("tokenwatch incident step {id} {step} --done")
}

/// Brings back what was relaxed by itself.
pub fn restore(id: IncidentId) -> String {
    format!("tokenwatch incident restore {id}")
}

/// Shows the plan of an open incident as it would be made now, without doing anything.
pub fn show_plan(id: IncidentId) -> String {
    format!("tokenwatch incident approve {id} --dry-run")
}

/// "It was us": lifts everything and trusts the contexts.
pub fn dismiss(id: IncidentId) -> String {
    format!("tokenwatch incident dismiss {id}")
}

/// "It was a theft": closes the case; containments stay until they expire.
pub fn resolve(id: IncidentId) -> String {
    format!("tokenwatch incident resolve {id}")
}

/// Carries out one step that was only proposed. The step is named, so that nobody revokes a key who meant
/// to clamp it.
pub fn approve(id: IncidentId, action: &Action) -> String {
    format!("tokenwatch incident approve {id} {}", action.name())
}

/// Stops all of a key for some hours.
pub fn suspend(key_name: &str, id: IncidentId) -> String {
    format!("tokenwatch incident contain {key_name} --action suspend --reason \"incident {id}\" --for 4h")
}

/// Gives the owner a new credential while the old one is being contained.
pub fn rotate(key_name: &str) -> String {
    format!("tokenwatch key rotate {key_name}")
}

/// Ends the credential before a rotation.
pub fn retire(key_name: &str) -> String {
    format!("tokenwatch key retire {key_name}")
}

/// Says that somebody is on it, so that nobody else is called.
pub fn acknowledge(id: IncidentId) -> String {
    format!("tokenwatch alert ack {id}")
}

/// Shows a key: who calls with it, its limits and what contains it.
pub fn show_key(key_name: &str) -> String {
    format!("tokenwatch key show {key_name}")
}

/// Holds a key to so many whole dollars a UTC day.
pub fn budget_day(key_name: &str, day: NanoUsd) -> String {
    format!("tokenwatch key edit {key_name} --budget-day {}", whole_dollars(day))
}

/// Holds a key to so many whole dollars a UTC month.
pub fn budget_month(key_name: &str, month: NanoUsd) -> String {
    format!("tokenwatch key edit {key_name} --budget-month {}", whole_dollars(month))
}

/// Dollars as an option takes them: rounded up, so that a budget is not below what it was made from.
pub fn whole_dollars(amount: NanoUsd) -> u64 {
    amount.dollars().ceil() as u64
}

/// Stops all of a key for some hours, because of what it spends.
pub fn suspend_for_spend(key_name: &str) -> String {
    format!("tokenwatch incident contain {key_name} --action suspend --reason \"its spend\" --for 4h")
}

/// Says what spend is over its limits now.
pub fn check_spend() -> String {
    "tokenwatch spend check".to_owned()
}

/// Raises no alarm about a spender for a day. `kind` is `key`, `owner` or `provider`.
pub fn snooze_spender(kind: &str, name: &str) -> String {
    format!("tokenwatch alert snooze --{kind} {name} --for 24h")
}
