//! Billing alarms, and the spenders that nobody wants to hear of.
//!
//! Invariant: an alarm is raised once for a spender, a threshold and a period, in one transaction with its alert. So whoever
//! dies in between, and however many look at the same time, people are told once.

use rusqlite::{Row, Transaction, params};
use tokenwatch_model::alarm::{Alarm, AlarmKind, Spender};
use tokenwatch_model::alert::{AlertCause, StoredAlert, Subject};
use tokenwatch_model::audit::AuditEntry;
use tokenwatch_model::id::AlarmId;
use tokenwatch_model::time::{DAY, Timestamp};

use crate::error::{ReadError, UpdateError};
use crate::store::Store;
use crate::store::alerts;
use crate::store::batch::append_audit;
use crate::store::rows::{bad, json, number, stored, text, to_json, word};

/// How long alarms are remembered: longer than any period that one is told once in.
const KEEP: u64 = 400 * DAY;

fn alarm(row: &Row<'_>) -> rusqlite::Result<Alarm> {
    json(row, 0)
}

fn spender(row: &Row<'_>, column: usize) -> rusqlite::Result<Spender> {
    text(row, column)?.parse().map_err(|error| bad(column, error))
}

/// What was told, so that it is not told again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RaisedAlarm {
    /// Whose spend.
    pub spender: Spender,
    /// What was crossed.
    pub kind: AlarmKind,
    /// In which day or month.
    pub period: u32,
}

/// Every function here that reads fails with [`ReadError`], and every one that writes with [`UpdateError`].
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
impl Store {
    /// Raises an alarm and writes the alert about it; false, and nothing is written, when it was raised before.
    pub fn raise_alarm(&self, alarm: &Alarm, entry: &AuditEntry) -> Result<bool, UpdateError> {
        self.0.state.write(|tx| {
            let body = self.0.redactor.text(&to_json(alarm)?).into_owned();
            let raised = tx
                .prepare_cached(
                    "INSERT INTO alarms (id, spender, kind, period, raised, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                     ON CONFLICT (spender, kind, period) DO NOTHING",
                )?
                .execute(params![
                    stored(alarm.id.bits()),
                    alarm.spender.to_string(),
                    alarm.kind.name(),
                    alarm.period,
                    stored(alarm.raised.0),
                    body,
                ])?;
            if raised == 0 {
                return Ok(false);
            }
            let subject = Subject::Alarm(Box::new(alarm.clone()));
            let alert = StoredAlert { sequence: 0, time: alarm.raised, cause: AlertCause::Opened, subject };
            alerts::insert(tx, &self.0.redactor, &alert)?;
            append_audit(tx, &self.0.redactor, entry)?;
            Ok(true)
        })
    }

    /// Alarms, latest first, at most `limit`.
    pub fn alarms(&self, limit: u32) -> Result<Vec<Alarm>, ReadError> {
        self.many("body", "alarms ORDER BY raised DESC, id DESC LIMIT ?1", [limit], alarm)
    }

    /// An alarm.
    pub fn alarm(&self, id: AlarmId) -> Result<Option<Alarm>, ReadError> {
        self.one("body", "alarms WHERE id = ?1", [stored(id.bits())], alarm)
    }

    /// What was raised since a time.
    pub fn raised_alarms(&self, since: Timestamp) -> Result<Vec<RaisedAlarm>, ReadError> {
        let read = |row: &Row<'_>| {
            Ok(RaisedAlarm { spender: spender(row, 0)?, kind: word(row, 1)?, period: row.get(2)? })
        };
        self.many(
            "spender, kind, period",
            "alarms WHERE raised >= ?1 ORDER BY raised",
            [stored(since.0)],
            read,
        )
    }

    /// Raises no alarm about a spender before a time; one that is over ends that.
    pub fn snooze_spender(
        &self,
        spender: &Spender,
        until: Timestamp,
        entry: &AuditEntry,
    ) -> Result<(), UpdateError> {
        self.0.state.write(|tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO spender_snoozes (spender, until) VALUES (?1, ?2)")?
                .execute(params![spender.to_string(), stored(until.0)])?;
            append_audit(tx, &self.0.redactor, entry)?;
            Ok(())
        })
    }

    /// Spenders that nobody wants to hear of at `now`, and until when.
    pub fn spender_snoozes(&self, now: Timestamp) -> Result<Vec<(Spender, Timestamp)>, ReadError> {
        let read = |row: &Row<'_>| Ok((spender(row, 0)?, Timestamp(number(row, 1)?)));
        let from = "spender_snoozes WHERE until > ?1 ORDER BY spender";
        self.many("spender, until", from, [stored(now.0)], read)
    }
}

/// Forgets what was raised so long ago that its period is over, and snoozes that ended.
pub(crate) fn prune(tx: &Transaction<'_>, ended_before: Timestamp) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM spender_snoozes WHERE until < ?1", [stored(ended_before.0)])?;
    let raised_before = ended_before.0.saturating_sub(KEEP);
    tx.execute("DELETE FROM alarms WHERE raised < ?1", [stored(raised_before)])?;
    Ok(())
}
