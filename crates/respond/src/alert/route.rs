//! Who is told: routes from an alert to destinations.
//!
//! Routes are tried in order; the first that fits and leads somewhere decides, and those after it only where it says
//! `continue`. `@on_call` and `@channel` stand for the destinations that the key's owner names, so that an alert
//! reaches the owner of the key.
//!
//! Invariants: whoever was told of an incident is told how it ends, whatever the hour; an escalation is planned once
//! for each destination and incident, when it is opened, and is needless once somebody acknowledged it.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use tokenwatch_model::alert::{AlertCause, Delivery, DeliveryState, StoredAlert};
use tokenwatch_model::finding::Severity;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{DAY, MINUTE, SECOND, Timestamp};

/// Stands for the destination that the owner names as on-call.
pub const ON_CALL: &str = "@on_call";
/// Stands for the destination that the owner names as channel.
pub const CHANNEL: &str = "@channel";
/// Longest wait for an escalation and longest grouping, in seconds.
pub const WAIT_S_MAX: u64 = 7 * 24 * 3_600;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the days of the week")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// One route. What is not said fits everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// Unique name.
    pub name: SmolStr,
    /// Names of owners; `""` is nobody.
    pub owners: Vec<SmolStr>,
    /// Environments of keys.
    pub environments: Vec<SmolStr>,
    /// At least so bad.
    pub severity: Severity,
    /// Days on which it holds.
    pub days: Vec<Day>,
    /// Hours of the day at which it holds.
    pub hours: Vec<u8>,
    /// How far those days and hours are ahead of UTC, in minutes.
    pub utc_offset_minutes: i32,
    /// Destinations.
    pub to: Vec<SmolStr>,
    /// Whether the routes after it are tried, too.
    pub r#continue: bool,
    /// Updates of one incident to one destination are this far apart, in seconds, and sent together.
    pub group_s: u64,
    /// Who else is told when nobody acknowledges.
    pub escalate: Vec<Escalation>,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            name: SmolStr::default(),
            owners: Vec::new(),
            environments: Vec::new(),
            severity: Severity::Low,
            days: Vec::new(),
            hours: Vec::new(),
            utc_offset_minutes: 0,
            to: Vec::new(),
            r#continue: false,
            group_s: 60,
            escalate: Vec::new(),
        }
    }
}

/// Who is told when nobody acknowledges an incident in time.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Escalation {
    /// Seconds after the incident's first alert.
    pub after_s: u64,
    /// Destinations.
    pub to: Vec<SmolStr>,
}

/// What is to be sent: a delivery before it has an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Name of the destination.
    pub destination: SmolStr,
    /// Name of the route.
    pub route: SmolStr,
    /// What the receiver is told.
    pub cause: AlertCause,
    /// Not before.
    pub due: Timestamp,
}

impl Route {
    /// Whether it fits an alert about somebody's key or spend.
    pub fn fits(&self, severity: Severity, whose: Whose<'_>, time: Timestamp) -> bool {
        let owner = whose.owner.map_or("", |owner| owner.name.as_str());
        let offset = i64::from(self.utc_offset_minutes) * MINUTE.cast_signed();
        let local = time.0.saturating_add_signed(offset);
        let hour = Timestamp(local).hour_of_day();
        (self.owners.is_empty() || self.owners.iter().any(|name| name == owner))
            && (self.environments.is_empty()
                || whose.environment.is_some_and(|of| self.environments.contains(of)))
            && self.severity <= severity
            && (self.days.is_empty() || self.days.contains(&day_of(local)))
            && (self.hours.is_empty() || self.hours.contains(&hour))
    }
}

/// The day of the week. 1970-01-01 was a Thursday.
fn day_of(micros: u64) -> Day {
    match micros / DAY % 7 {
        0 => Day::Thu,
        1 => Day::Fri,
        2 => Day::Sat,
        3 => Day::Sun,
        4 => Day::Mon,
        5 => Day::Tue,
        _ => Day::Wed,
    }
}

/// Whose key or spend an alert is about.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// The key's environment; nothing where it is not about one key.
    pub environment: Option<&'a SmolStr>,
    /// The owner; nobody where it has none, or where it is about a provider.
    pub owner: Option<&'a Owner>,
}

/// Where routes can lead.
#[derive(Clone, Copy, Debug)]
pub struct Routing<'a> {
    /// Routes in order.
    pub routes: &'a [Route],
    /// Names of destinations that exist.
    pub destinations: &'a [SmolStr],
}

impl Routing<'_> {
    /// Decides who is told of an alert. `before` are the deliveries about the same so far. Nothing when no route leads
    /// anywhere.
    pub fn decide(
        &self,
        alert: &StoredAlert,
        whose: Whose<'_>,
        before: &[Delivery],
        now: Timestamp,
    ) -> Vec<Planned> {
        let owner = whose.owner;
        // An alarm has no end, and nobody can say that he is on it.
        let escalates = alert.subject.incident().is_some_and(|incident| incident.state.is_open());
        let mut planned: Vec<Planned> = Vec::new();
        for route in self.routes {
            if !route.fits(alert.subject.severity(), whose, alert.time) {
                continue;
            }
            let leads = self.resolve(&route.to, owner);
            for destination in &leads {
                add(
                    &mut planned,
                    destination,
                    route,
                    alert.cause,
                    due(destination, route, alert, before, now),
                );
            }
            if escalates {
                self.escalate(&mut planned, route, owner, before, now);
            }
            if !leads.is_empty() && !route.r#continue {
                break;
            }
        }
        // Who was told is told how it goes on, by the route that told them: an update waits as it says.
        for told in before {
            if self.destinations.contains(&told.destination) {
                let route = self.routes.iter().find(|route| route.name == told.route);
                let due = route.map_or(now, |route| due(&told.destination, route, alert, before, now));
                let is_known = planned
                    .iter()
                    .any(|have| have.destination == told.destination && have.cause == alert.cause);
                // An escalation that was not sent yet may turn out to be needless.
                let was_told = told.cause != AlertCause::Escalated || told.state == DeliveryState::Sent;
                if !is_known && was_told {
                    let (destination, route) = (told.destination.clone(), told.route.clone());
                    planned.push(Planned { destination, route, cause: alert.cause, due });
                }
            }
        }
        planned
    }

    fn escalate(
        &self,
        planned: &mut Vec<Planned>,
        route: &Route,
        owner: Option<&Owner>,
        before: &[Delivery],
        now: Timestamp,
    ) {
        for step in &route.escalate {
            for destination in self.resolve(&step.to, owner) {
                let is_planned =
                    before.iter().any(|b| b.destination == destination && b.cause == AlertCause::Escalated);
                if !is_planned {
                    let due = now.plus(step.after_s.saturating_mul(SECOND));
                    add(planned, &destination, route, AlertCause::Escalated, due);
                }
            }
        }
    }

    /// The destinations that names stand for; those that do not exist lead nowhere.
    fn resolve(&self, names: &[SmolStr], owner: Option<&Owner>) -> Vec<SmolStr> {
        let stands_for = |name: &SmolStr| match name.as_str() {
            ON_CALL => owner.map(|owner| owner.on_call.clone()),
            CHANNEL => owner.map(|owner| owner.channel.clone()),
            _ => Some(name.clone()),
        };
        names.iter().filter_map(stands_for).filter(|name| self.destinations.contains(name)).collect()
    }
}

/// One delivery for each destination and cause; the first route that leads there counts.
fn add(planned: &mut Vec<Planned>, destination: &SmolStr, route: &Route, cause: AlertCause, due: Timestamp) {
    if !planned.iter().any(|have| have.destination == *destination && have.cause == cause) {
        planned.push(Planned { destination: destination.clone(), route: route.name.clone(), cause, due });
    }
}

/// When an alert may be sent: at once, but an update not sooner after the one before it than the route says.
fn due(
    destination: &SmolStr,
    route: &Route,
    alert: &StoredAlert,
    before: &[Delivery],
    now: Timestamp,
) -> Timestamp {
    if alert.cause != AlertCause::Updated {
        return now;
    }
    let told = before.iter().filter(|b| b.destination == *destination && b.cause != AlertCause::Escalated);
    let last = told.map(|b| b.ended.unwrap_or(b.created)).max();
    last.map_or(now, |last| last.plus(route.group_s.saturating_mul(SECOND)).max(now))
}

#[cfg(test)]
mod tests;
