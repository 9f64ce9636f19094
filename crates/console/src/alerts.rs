//! What people do with alerts on their way: look, try again, give up, keep back, try the way; the CLI and the admin API both
//! come here.
//!
//! Rendering and sending need addresses and secrets, which are the rest of the process's: [`AlertHost`] is the way there.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenwatch_model::SmolStr;
use tokenwatch_model::alert::{
    AlertCause, Delivery, DeliveryState, Message, StoredAlert, Subject, SubjectId,
};
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::id::IncidentId;
use tokenwatch_model::key::Key;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::time::{DAY, SECOND, Timestamp};
use tokenwatch_respond::Effects;
use tokenwatch_respond::alert::rehearsal;
use tokenwatch_respond::alert::route::{CHANNEL, ON_CALL, Route};

use crate::drills::check_said;
use crate::manage::{Manager, invalid};
use crate::records::RecordsError;

/// Longest snooze, in days: an incident that nobody hears of for longer is one to close.
const SNOOZE_DAYS_MAX: u64 = 30;

/// What alerts need of the rest of the process.
pub trait AlertHost: Send + Sync {
    /// Where alerts lead, as configured now.
    fn ways(&self) -> Ways;
    /// Sends a rehearsed alert to each of these destinations; what became of each, in their order. Returns when all took it
    /// or failed. Errors hold no addresses or secrets.
    fn send(&self, to: &[SmolStr], alert: &StoredAlert, stand_in: &StandIn) -> Vec<Result<(), String>>;
    /// The message of a delivery as it would be sent now, without the links that decide; nothing when its destination, its
    /// alert or its key is gone.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    fn message(&self, delivery: &Delivery) -> Result<Option<MessageOut>, String>;
}

/// Where alerts lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    /// Routes, in their order.
    pub routes: Vec<Route>,
    /// Names of destinations.
    pub destinations: Vec<SmolStr>,
}

/// Whose alert a rehearsed one would be.
#[derive(Clone, Debug)]
pub struct StandIn {
    /// The key.
    pub key: Key,
    /// Its owner.
    pub owner: Option<Owner>,
}

/// A message as people may look at it: without the address it goes to and the secret that goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageOut {
    /// How it travels: `http`, `mail`, `syslog` or `file`.
    pub carrier: SmolStr,
    /// Subject, of mail.
    pub subject: Option<String>,
    /// The body.
    pub text: String,
}

impl From<Message> for MessageOut {
    fn from(message: Message) -> Self {
        let (carrier, subject, text) = match message {
            Message::Http { body, .. } => ("http", None, body),
            Message::Mail { subject, text, .. } => ("mail", Some(subject), text),
            Message::Syslog { text, .. } => ("syslog", None, text),
            Message::Line(text) => ("file", None, text),
        };
        Self { carrier: SmolStr::new_static(carrier), subject, text }
    }
}

/// A delivery and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryOut {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// Its message, as it would be sent now; nothing when what it needs is gone.
    pub message: Option<MessageOut>,
}

/// Until when nothing about an incident is to be sent. Exactly one of the two must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnoozeSpec {
    /// A time to come.
    pub until: Option<Timestamp>,
    /// From now; 0 ends a snooze.
    pub seconds: Option<u64>,
}

/// A snooze as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snooze {
    /// The incident.
    pub incident: IncidentId,
    /// Until when nothing about it is sent; nothing when it was ended.
    pub until: Option<Timestamp>,
}

/// A way to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSpec {
    /// Name of a route or a destination.
    pub name: SmolStr,
    /// Name or id of a key to stand in for, so that `@on_call` and `@channel` lead to its owner's.
    #[serde(default)]
    pub key: Option<SmolStr>,
}

/// How a destination took a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Its name.
    pub destination: SmolStr,
    /// Why it did not take it; nothing when it did.
    pub error: Option<String>,
}

/// What deliveries are about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'a> {
    /// Id of an incident.
    pub incident: Option<&'a str>,
    /// Id of a billing alarm.
    pub alarm: Option<&'a str>,
}

fn as_invalid(field: &'static str, error: RecordsError) -> RecordsError {
    match error {
        RecordsError::Missing(text) => invalid(field, text),
        error => error,
    }
}

impl Manager {
    /// Deliveries, latest first, at most `limit`; only those that wait unless `all`, only about an incident or a billing
    /// alarm when it is named.
    ///
    /// # Errors
    ///
    /// When there is no such incident or alarm, both are named, or the store does not answer.
    pub fn deliveries(&self, all: bool, about: Named<'_>, limit: u32) -> Result<Vec<Delivery>, RecordsError> {
        let found = match about {
            Named { incident: None, alarm: None } => Ok(None),
            Named { incident: Some(id), alarm: None } => {
                let case = self.case(id).map_err(|error| as_invalid("incident", error))?;
                Ok(Some(SubjectId::Incident(case.incident.id)))
            }
            Named { incident: None, alarm: Some(id) } => {
                let alarm = self.find_alarm(id).map_err(|error| as_invalid("alarm", error))?;
                Ok(Some(SubjectId::Alarm(alarm.id)))
            }
            Named { .. } => Err(invalid("alarm", "name an incident or an alarm, not both")),
        };
        self.records.deliveries(all, found?, limit)
    }

    /// A delivery by its number.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find_delivery(&self, number: &str) -> Result<Delivery, RecordsError> {
        let missing = || {
            RecordsError::Missing(format!(
                "there is no delivery {number:?}; `tokenwatch alert list --all` shows all"
            ))
        };
        // The store counts within 63 bits.
        let id = number.parse::<i64>().ok().and_then(|id| u64::try_from(id).ok()).ok_or_else(missing)?;
        self.records.delivery(id)?.ok_or_else(missing)
    }

    /// A delivery with what it says.
    ///
    /// # Errors
    ///
    /// When there is none, or the store does not answer.
    pub fn delivery_whole(&self, host: &dyn AlertHost, number: &str) -> Result<DeliveryOut, RecordsError> {
        let delivery = self.find_delivery(number)?;
        let message = host.message(&delivery).map_err(RecordsError::Unavailable)?;
        Ok(DeliveryOut { delivery, message })
    }

    /// Has every delivery that failed before tried now; how many.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub fn retry_deliveries(&self, who: &str) -> Result<usize, RecordsError> {
        let now = self.clock.now();
        self.records.retry_deliveries(None, now, &entry(now, who, "alert.retry", "all", &json!({})))
    }

    /// Has one delivery that waits tried now.
    ///
    /// # Errors
    ///
    /// When there is none with this number, or it does not wait.
    pub fn retry_delivery(&self, number: &str, who: &str) -> Result<Delivery, RecordsError> {
        let delivery = self.waiting(number)?;
        let now = self.clock.now();
        let entry = entry(now, who, "alert.retry", &delivery.id.to_string(), &json!({}));
        if self.records.retry_deliveries(Some(delivery.id), now, &entry)? == 0 {
            return Err(waits_not(&self.find_delivery(number)?));
        }
        self.find_delivery(number)
    }

    /// Gives a delivery up: it is never sent.
    ///
    /// # Errors
    ///
    /// When there is none with this number, it does not wait, or no reason is given.
    pub fn drop_delivery(&self, number: &str, reason: &str, who: &str) -> Result<Delivery, RecordsError> {
        check_said("reason", reason)?;
        let delivery = self.waiting(number)?;
        let now = self.clock.now();
        let entry = entry(now, who, "alert.drop", &delivery.id.to_string(), &json!({ "reason": reason }));
        if !self.records.drop_delivery(delivery.id, now, &entry)? {
            return Err(waits_not(&self.find_delivery(number)?));
        }
        self.find_delivery(number)
    }

    fn waiting(&self, number: &str) -> Result<Delivery, RecordsError> {
        let delivery = self.find_delivery(number)?;
        match delivery.state {
            DeliveryState::Pending => Ok(delivery),
            _ => Err(waits_not(&delivery)),
        }
    }

    /// Keeps back everything about an incident for a while; nothing is lost, it comes afterwards.
    ///
    /// # Errors
    ///
    /// When there is no such incident, or the time is not one to come, or too far away.
    pub fn snooze(&self, incident: &str, spec: &SnoozeSpec, who: &str) -> Result<Snooze, RecordsError> {
        let now = self.clock.now();
        let until = check_snooze(spec, now)?;
        let id = self.case(incident)?.incident.id;
        let detail = json!({ "until": until.to_string() });
        self.records.snooze(id, until, &entry(now, who, "alert.snooze", &id.to_string(), &detail))?;
        Ok(Snooze { incident: id, until: (until > now).then_some(until) })
    }

    /// Sends a harmless alert now, by a route or to a destination; how each took it.
    ///
    /// # Errors
    ///
    /// When there is no such route, destination or key, or the route leads to an owner and none is known.
    pub fn test_alert(
        &self,
        host: &dyn AlertHost,
        spec: &TestSpec,
        who: &str,
    ) -> Result<Vec<Tried>, RecordsError> {
        let key = match spec.key.as_ref().map(|key| self.find_key(key)).transpose() {
            Err(RecordsError::Missing(text)) => return Err(invalid("key", text)),
            key => key?,
        };
        let owner = match key.as_ref().and_then(|key| key.owner) {
            Some(id) => self.records.owner(id)?,
            None => None,
        };
        let to = resolve(&host.ways(), &spec.name, owner.as_ref())?;
        let now = self.clock.now();
        let id = IncidentId::from_bits(self.random.next_u64());
        let (incident, no_key) = rehearsal(id, &spec.name, who, now);
        let subject = Subject::Incident(Box::new(incident));
        let stored = StoredAlert { sequence: 0, time: now, cause: AlertCause::Test, subject };
        let detail = json!({ "key": key.as_ref().map(|key| key.id), "to": &to });
        let audit = vec![entry(now, who, "alert.test", &spec.name, &detail)];
        // Before it is sent: what leaves is in the audit log whatever happens.
        self.records.apply(&Effects { audit, ..Effects::default() })?;
        let results = host.send(&to, &stored, &StandIn { key: key.unwrap_or(no_key), owner });
        Ok(to
            .into_iter()
            .zip(results)
            .map(|(to, sent)| Tried { destination: to, error: sent.err() })
            .collect())
    }
}

fn waits_not(delivery: &Delivery) -> RecordsError {
    let Delivery { id, state, .. } = delivery;
    RecordsError::Refused(format!("delivery {id} does not wait: it is {}", state.name()))
}

/// Until when; a time that is not to come ends a snooze, and only no seconds at all mean that.
pub(crate) fn check_snooze(spec: &SnoozeSpec, now: Timestamp) -> Result<Timestamp, RecordsError> {
    let (field, until) = match (spec.until, spec.seconds) {
        (Some(until), None) if until <= now => {
            let text =
                "it is over; say a time to come in microseconds since 1970, or `seconds`: 0 to end a snooze";
            return Err(invalid("until", text));
        }
        (Some(until), None) => ("until", until),
        (None, Some(seconds)) => ("seconds", now.plus(seconds.saturating_mul(SECOND))),
        _ => return Err(invalid("until", "say for how long: exactly one of until and seconds")),
    };
    if until.since(now) > SNOOZE_DAYS_MAX * DAY {
        return Err(invalid(field, format!("a snooze lasts {SNOOZE_DAYS_MAX} days at most")));
    }
    Ok(until)
}

/// The destinations of a route, or the one of that name.
fn resolve(ways: &Ways, name: &SmolStr, owner: Option<&Owner>) -> Result<Vec<SmolStr>, RecordsError> {
    if let Some(route) = ways.routes.iter().find(|route| route.name == *name) {
        let mut found = Vec::new();
        for to in route.to.iter().chain(route.escalate.iter().flat_map(|step| &step.to)) {
            let to = match to.as_str() {
                ON_CALL => owner.map(|owner| owner.on_call.clone()),
                CHANNEL => owner.map(|owner| owner.channel.clone()),
                _ => Some(to.clone()),
            };
            let text = "the route leads to the key's owner: name a key of one (`--key`)";
            let to = to.ok_or_else(|| invalid("key", text))?;
            if !found.contains(&to) {
                found.push(to);
            }
        }
        return Ok(found);
    }
    if ways.destinations.contains(name) {
        return Ok(vec![name.clone()]);
    }
    let routes = ways.routes.iter().map(|route| &route.name);
    let known: Vec<&str> = routes.chain(&ways.destinations).map(SmolStr::as_str).collect();
    let there_are = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(invalid("name", format!("no route or destination is named {name:?}; there are: {there_are}")))
}

pub(crate) fn entry(
    time: Timestamp,
    who: &str,
    action: &'static str,
    subject: &str,
    detail: &serde_json::Value,
) -> AuditEntry {
    AuditEntry {
        time,
        actor: who.into(),
        action: SmolStr::new_static(action),
        subject: subject.into(),
        detail: detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::alert::SecretPlace;

    use super::*;

    #[track_caller]
    fn check(message: Message, carrier: &str, subject: Option<&str>, text: &str) {
        let shown = MessageOut::from(message);
        let said = (shown.carrier.as_str(), shown.subject.as_deref(), shown.text.as_str());
        assert_eq!(said, (carrier, subject, text));
    }

    #[test]
    fn people_see_of_a_message_what_its_receiver_reads() {
        let headers = vec![("content-type", "text/plain".to_owned())];
        let secret = SecretPlace::Header("authorization", "Bearer ".to_owned());
        let http = Message::Http { path: "/v2/enqueue".to_owned(), headers, body: "b".to_owned(), secret };
        check(http, "http", None, "b");
        let [subject, text, id, thread] = ["s", "t", "i", "r"].map(str::to_owned);
        check(Message::Mail { subject, text, id, thread }, "mail", Some("s"), "t");
        let time = Timestamp(1);
        check(
            Message::Syslog { priority: 1, time, kind: "opened", text: "t".to_owned() },
            "syslog",
            None,
            "t",
        );
        check(Message::Line("l".to_owned()), "file", None, "l");
    }
}
