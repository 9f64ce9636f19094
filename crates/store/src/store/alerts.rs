//! The outbox: what people are to be told, and to whom it was sent.
//!
//! Invariants: an alert is written in the transaction that changes its incident or raises its alarm; it is decided once who is told of it;
//! a delivery is pending until it is sent, merged, needless or dropped, and stays as it ended.

use rusqlite::{Row, Transaction, params};
use tokenwatch_model::SmolStr;
use tokenwatch_model::alert::{AlertCause, Delivery, DeliveryState, StoredAlert, Subject, SubjectId};
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::id::{AlarmId, IncidentId};
use tokenwatch_model::time::Timestamp;

use crate::error::{ReadError, UpdateError};
use crate::redact::Redactor;
use crate::store::Store;
use crate::store::alarms;
use crate::store::batch::{append_audit, exists};
use crate::store::rows::{self, json, number, optional, stored, text, word};

/// Columns of [`alert`], in its order.
const ALERT: &str = "sequence, time, cause, subject, body";
/// Columns of [`delivery`], in its order.
const DELIVERY: &str =
    "id, sequence, incident, destination, route, cause, state, due, attempts, error, created, ended, subject";

fn alert(row: &Row<'_>) -> rusqlite::Result<StoredAlert> {
    Ok(StoredAlert {
        sequence: number(row, 0)?,
        time: Timestamp(number(row, 1)?),
        cause: word(row, 2)?,
        subject: match row.get_ref(3)?.as_str()? {
            ALARM => Subject::Alarm(Box::new(json(row, 4)?)),
            _ => Subject::Incident(Box::new(json(row, 4)?)),
        },
    })
}

/// What the column `subject` says of a billing alarm.
const ALARM: &str = "alarm";

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: number(row, 0)?,
        sequence: number(row, 1)?,
        subject: match row.get_ref(12)?.as_str()? {
            ALARM => SubjectId::Alarm(AlarmId::from_bits(number(row, 2)?)),
            _ => SubjectId::Incident(IncidentId::from_bits(number(row, 2)?)),
        },
        destination: text(row, 3)?,
        route: text(row, 4)?,
        cause: word(row, 5)?,
        state: word(row, 6)?,
        due: Timestamp(number(row, 7)?),
        attempts: row.get(8)?,
        error: row.get(9)?,
        created: Timestamp(number(row, 10)?),
        ended: optional(row, 11)?.map(Timestamp),
    })
}

pub(crate) fn insert(
    tx: &Transaction<'_>,
    redactor: &Redactor,
    alert: &StoredAlert,
) -> Result<(), UpdateError> {
    let id = alert.subject.id();
    let body = match &alert.subject {
        Subject::Incident(incident) => rows::incident_to_json(incident)?,
        Subject::Alarm(alarm) => rows::to_json(alarm)?,
    };
    tx.prepare_cached(
        "INSERT INTO alerts (incident, subject, time, cause, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        stored(id.bits()),
        id.kind(),
        stored(alert.time.0),
        alert.cause.name(),
        redactor.text(&body),
    ])?;
    Ok(())
}

/// A delivery that was decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Name of the destination.
    pub destination: SmolStr,
    /// Name of the route that led there.
    pub route: SmolStr,
    /// What the receiver is told.
    pub cause: AlertCause,
    /// Not before.
    pub due: Timestamp,
}

/// What is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Pending {
    /// How many deliveries are due by now.
    pub due: u64,
    /// Since when the oldest of them is.
    pub oldest: Option<Timestamp>,
}

/// Every function here that reads fails with [`ReadError`], and every one that writes with [`UpdateError`].
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
impl Store {
    /// Alerts of which it is not decided yet who is told, oldest first, at most `limit`.
    pub fn unrouted_alerts(&self, limit: u32) -> Result<Vec<StoredAlert>, ReadError> {
        self.many(ALERT, "alerts WHERE routed IS NULL ORDER BY sequence LIMIT ?1", [limit], alert)
    }

    /// An alert.
    pub fn alert(&self, sequence: u64) -> Result<Option<StoredAlert>, ReadError> {
        self.one(ALERT, "alerts WHERE sequence = ?1", [stored(sequence)], alert)
    }

    /// Records who is told of an alert. Nothing happens when that was decided before.
    pub fn route_alert(
        &self,
        alert: &StoredAlert,
        deliveries: &[NewDelivery],
        now: Timestamp,
    ) -> Result<(), UpdateError> {
        self.0.state.write(|tx| {
            let sequence = stored(alert.sequence);
            let routed = tx
                .prepare_cached("UPDATE alerts SET routed = ?2 WHERE sequence = ?1 AND routed IS NULL")?
                .execute(params![sequence, stored(now.0)])?;
            if routed == 0 {
                return Ok(());
            }
            for new in deliveries {
                tx.prepare_cached(
                    "INSERT INTO deliveries (sequence, incident, destination, route, cause, state, due, attempts, \
                     error, created, subject) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, '', ?8, ?9)",
                )?
                .execute(params![
                    sequence,
                    stored(alert.subject.id().bits()),
                    new.destination.as_str(),
                    new.route.as_str(),
                    new.cause.name(),
                    DeliveryState::Pending.name(),
                    stored(new.due.0),
                    stored(now.0),
                    alert.subject.id().kind(),
                ])?;
            }
            Ok(())
        })
    }

    /// Deliveries about one incident or alarm, oldest first.
    pub fn deliveries_of(&self, subject: SubjectId) -> Result<Vec<Delivery>, ReadError> {
        let from = "deliveries WHERE incident = ?1 AND subject = ?2 ORDER BY id";
        self.many(DELIVERY, from, params![stored(subject.bits()), subject.kind()], delivery)
    }

    /// Pending deliveries for a destination, oldest first, at most `limit`.
    pub fn pending_deliveries(&self, destination: &str, limit: u32) -> Result<Vec<Delivery>, ReadError> {
        let from = "deliveries WHERE destination = ?1 AND state = 'pending' ORDER BY id LIMIT ?2";
        self.many(DELIVERY, from, params![destination, limit], delivery)
    }

    /// Deliveries, latest first, at most `limit`; only pending ones unless `all`, only about one incident or alarm when one
    /// is named.
    pub fn deliveries(
        &self,
        all: bool,
        subject: Option<SubjectId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, ReadError> {
        let state = if all { "" } else { "AND state = 'pending'" };
        // Without a subject its index is of no use, and must not be asked for.
        let of =
            if subject.is_some() { "incident = ?2 AND subject = ?3" } else { "?2 IS NULL AND ?3 IS NULL" };
        let from = format!("deliveries WHERE {of} {state} ORDER BY id DESC LIMIT ?1");
        let (bits, kind) = (subject.map(|id| stored(id.bits())), subject.map(SubjectId::kind));
        self.many(DELIVERY, &from, params![limit, bits, kind], delivery)
    }

    /// A delivery.
    pub fn delivery(&self, id: u64) -> Result<Option<Delivery>, ReadError> {
        self.one(DELIVERY, "deliveries WHERE id = ?1", [stored(id)], delivery)
    }

    /// What is due by `now` and still pending.
    pub fn pending(&self, now: Timestamp) -> Result<Pending, ReadError> {
        let from = "deliveries WHERE state = 'pending' AND due <= ?1";
        let read =
            |row: &Row<'_>| Ok(Pending { due: number(row, 0)?, oldest: optional(row, 1)?.map(Timestamp) });
        Ok(self.one("count(*), min(created)", from, [stored(now.0)], read)?.unwrap_or_default())
    }

    /// A receiver took a message, which says all that the merged ones say.
    pub fn note_sent(&self, id: u64, merged: &[u64], now: Timestamp) -> Result<(), UpdateError> {
        self.0.state.write(|tx| {
            end(tx, id, DeliveryState::Sent, now)?;
            merged.iter().try_for_each(|id| end(tx, *id, DeliveryState::Merged, now))
        })
    }

    /// A receiver did not take a message.
    pub fn note_failed(&self, id: u64, due: Timestamp, error: &str) -> Result<(), UpdateError> {
        let error = self.0.redactor.text(error);
        self.0.state.write(|tx| {
            tx.prepare_cached(
                "UPDATE deliveries SET attempts = attempts + 1, due = ?2, error = ?3 \
                 WHERE id = ?1 AND state = 'pending'",
            )?
            .execute(params![stored(id), stored(due.0), error])?;
            Ok(())
        })
    }

    /// An escalation is not needed any more.
    pub fn note_needless(&self, id: u64, now: Timestamp) -> Result<(), UpdateError> {
        self.0.state.write(|tx| end(tx, id, DeliveryState::Needless, now))
    }

    /// Lets pending deliveries be tried at once: one, or all; how many.
    pub fn retry_deliveries(
        &self,
        id: Option<u64>,
        now: Timestamp,
        entry: &AuditEntry,
    ) -> Result<usize, UpdateError> {
        self.0.state.write(|tx| {
            // Escalations that wait are not late: only what was tried, or is named.
            let which = if id.is_some() { "id = ?2" } else { "attempts > 0 AND ?2 IS NULL" };
            let sql = format!("UPDATE deliveries SET due = ?1 WHERE state = 'pending' AND {which}");
            let changed = tx.prepare_cached(&sql)?.execute(params![stored(now.0), id.map(stored)])?;
            if id.is_none() || changed > 0 {
                append_audit(tx, &self.0.redactor, entry)?;
            }
            Ok(changed)
        })
    }

    /// Gives a pending delivery up; whether it was pending.
    pub fn drop_delivery(&self, id: u64, now: Timestamp, entry: &AuditEntry) -> Result<bool, UpdateError> {
        self.0.state.write(|tx| {
            let sql =
                "UPDATE deliveries SET state = 'dropped', ended = ?2 WHERE id = ?1 AND state = 'pending'";
            let changed = tx.prepare_cached(sql)?.execute(params![stored(id), stored(now.0)])?;
            if changed > 0 {
                append_audit(tx, &self.0.redactor, entry)?;
            }
            Ok(changed > 0)
        })
    }

    /// Keeps an incident's alerts back until a time; one that is over ends a snooze.
    pub fn snooze(
        &self,
        incident: IncidentId,
        until: Timestamp,
        entry: &AuditEntry,
    ) -> Result<(), UpdateError> {
        self.0.state.write(|tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO snoozes (incident, until) VALUES (?1, ?2)")?
                .execute(params![stored(incident.bits()), stored(until.0)])?;
            append_audit(tx, &self.0.redactor, entry)?;
            Ok(())
        })
    }

    /// Incidents that nobody wants to hear of, and until when.
    pub fn snoozes(&self, now: Timestamp) -> Result<Vec<(IncidentId, Timestamp)>, ReadError> {
        let read = |row: &Row<'_>| Ok((IncidentId::from_bits(number(row, 0)?), Timestamp(number(row, 1)?)));
        self.many("incident, until", "snoozes WHERE until > ?1 ORDER BY incident", [stored(now.0)], read)
    }

    /// Writes an alert that no change of its incident causes; nothing happens when there is one of the same time.
    pub fn note_expired(&self, alert: &StoredAlert) -> Result<(), UpdateError> {
        self.0.state.write(|tx| {
            let id = stored(alert.subject.id().bits());
            let sql = "SELECT 1 FROM alerts WHERE incident = ?1 AND time = ?2";
            if exists(tx, sql, params![id, stored(alert.time.0)])? {
                return Ok(());
            }
            insert(tx, &self.0.redactor, alert)
        })
    }

    /// Forgets alerts before a time of which nothing is pending.
    pub fn prune_alerts(&self, before: Timestamp) -> Result<(), UpdateError> {
        self.0.state.write(|tx| {
            alarms::prune(tx, before)?;
            let before = [stored(before.0)];
            tx.execute("DELETE FROM snoozes WHERE until < ?1", before)?;
            let old = "SELECT sequence FROM alerts a WHERE time < ?1 AND routed IS NOT NULL AND NOT EXISTS \
                 (SELECT 1 FROM deliveries d WHERE d.sequence = a.sequence AND d.state = 'pending') LIMIT 1000";
            tx.execute(&format!("DELETE FROM deliveries WHERE sequence IN ({old})"), before)?;
            let gone = "DELETE FROM alerts WHERE time < ?1 AND routed IS NOT NULL AND NOT EXISTS \
                 (SELECT 1 FROM deliveries d WHERE d.sequence = alerts.sequence)";
            tx.execute(gone, before)?;
            Ok(())
        })
    }
}

/// Ends a delivery; one that a person dropped meanwhile stays dropped.
fn end(tx: &Transaction<'_>, id: u64, state: DeliveryState, now: Timestamp) -> Result<(), UpdateError> {
    let sql = "UPDATE deliveries SET state = ?2, ended = ?3, attempts = attempts + (?2 = 'sent'), error = '' \
         WHERE id = ?1 AND state = 'pending'";
    tx.prepare_cached(sql)?.execute(params![stored(id), state.name(), stored(now.0)])?;
    Ok(())
}
