//! Rows and the types they hold. Scalars are columns, so that `sqlite3` shows them; the rest is JSON without
//! its nulls, which a later version with more fields still reads.
//!
//! Unsigned numbers are stored bit for bit as SQLite's signed ones: nothing is lost, and only numbers of 2^63
//! and above, which no time or count reaches, would sort wrongly.

use rusqlite::types::{FromSqlError, Type, ValueRef};
use rusqlite::{Row, ToSql};
use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_json::Value;
use tokenwatch_model::SmolStr;
use tokenwatch_model::audit::{AuditEntry, AuditRow};
use tokenwatch_model::containment::Containment;
use tokenwatch_model::finding::{Feedback, Finding};
use tokenwatch_model::id::{ContainmentId, IncidentId, KeyId, OwnerId};
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::{Key, Policy, Rotation, StoredKey};
use tokenwatch_model::owner::Owner;
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::time::Timestamp;

/// Columns of [`stored_key`], in its order.
pub(crate) const KEY: &str = "id, name, hash, owner, environment, service, workload, policy, state, \
     state_reason, created, expires, revision, previous, rotated, previous_ends";
/// Columns of [`owner`], in its order.
pub(crate) const OWNER: &str = "id, name, on_call, channel, defaults, created, revision";
/// Columns of [`containment`], in its order.
pub(crate) const CONTAINMENT: &str =
    "id, key, incident, action, reason, created, expires, lifted, lifted_by, revision";
/// Columns of [`incident`], in its order.
pub(crate) const INCIDENT: &str = "body, revision";
/// Columns of [`feedback`], in its order.
pub(crate) const FEEDBACK: &str = "revision, key, time, context, says";
/// Columns of [`audit`], in its order.
pub(crate) const AUDIT: &str = "seq, time, actor, action, subject, detail, hash";

/// A word about a context, and when it was written: later revisions win.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredFeedback {
    /// Position among all changes.
    pub revision: u64,
    /// What was said.
    pub feedback: Feedback,
}

pub(crate) fn stored_key(row: &Row<'_>) -> rusqlite::Result<StoredKey> {
    Ok(StoredKey {
        key: Key {
            id: KeyId::from_bits(number(row, 0)?),
            name: text(row, 1)?,
            owner: optional(row, 3)?.map(OwnerId::from_bits),
            environment: text(row, 4)?,
            service: text(row, 5)?,
            workload: word(row, 6)?,
            policy: policy(row, 7)?,
            state: word(row, 8)?,
            state_reason: text(row, 9)?,
            created: Timestamp(number(row, 10)?),
            expires: optional(row, 11)?.map(Timestamp),
            rotation: match (optional(row, 14)?, optional(row, 15)?) {
                (Some(rotated), Some(ends)) => {
                    Some(Rotation { rotated: Timestamp(rotated), previous_ends: Timestamp(ends) })
                }
                _ => None,
            },
            revision: number(row, 12)?,
        },
        hash: hash(row, 2)?,
        previous: if row.get_ref(13)? == ValueRef::Null { None } else { Some(hash(row, 13)?) },
    })
}

pub(crate) fn owner(row: &Row<'_>) -> rusqlite::Result<Owner> {
    Ok(Owner {
        id: OwnerId::from_bits(number(row, 0)?),
        name: text(row, 1)?,
        on_call: text(row, 2)?,
        channel: text(row, 3)?,
        defaults: policy(row, 4)?,
        created: Timestamp(number(row, 5)?),
        revision: number(row, 6)?,
    })
}

pub(crate) fn containment(row: &Row<'_>) -> rusqlite::Result<Containment> {
    let lifted = match optional(row, 7)? {
        Some(time) => Some((Timestamp(time), text(row, 8)?)),
        None => None,
    };
    Ok(Containment {
        id: ContainmentId::from_bits(number(row, 0)?),
        key: KeyId::from_bits(number(row, 1)?),
        incident: optional(row, 2)?.map(IncidentId::from_bits),
        action: json(row, 3)?,
        reason: row.get(4)?,
        created: Timestamp(number(row, 5)?),
        expires: optional(row, 6)?.map(Timestamp),
        lifted,
        revision: number(row, 9)?,
    })
}

pub(crate) fn incident(row: &Row<'_>) -> rusqlite::Result<Incident> {
    let incident: Incident = json(row, 0)?;
    Ok(Incident { revision: number(row, 1)?, ..incident })
}

/// The id of an incident and the name of its key.
pub(crate) fn incident_name(row: &Row<'_>) -> rusqlite::Result<(IncidentId, SmolStr)> {
    Ok((IncidentId::from_bits(number(row, 0)?), text(row, 1)?))
}

pub(crate) fn feedback(row: &Row<'_>) -> rusqlite::Result<StoredFeedback> {
    Ok(StoredFeedback {
        revision: number(row, 0)?,
        feedback: Feedback {
            key: KeyId::from_bits(number(row, 1)?),
            time: Timestamp(number(row, 2)?),
            context: json(row, 3)?,
            says: json(row, 4)?,
        },
    })
}

pub(crate) fn audit(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        seq: number(row, 0)?,
        entry: AuditEntry {
            time: Timestamp(number(row, 1)?),
            actor: text(row, 2)?,
            action: text(row, 3)?,
            subject: text(row, 4)?,
            detail: row.get(5)?,
        },
        hash: row.get(6)?,
    })
}

/// A number as SQLite keeps it.
pub(crate) const fn stored(number: u64) -> i64 {
    number.cast_signed()
}

pub(crate) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

pub(crate) fn optional(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
}

pub(crate) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<SmolStr> {
    Ok(SmolStr::new(str_at(row, column)?))
}

pub(crate) fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<SecretHash> {
    row.get(column).map(SecretHash::from_bytes)
}

/// A unit variant by its name in serde, which is the word in the column.
pub(crate) fn word<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    T::deserialize(str_at(row, column)?.into_deserializer())
        .map_err(|error: serde::de::value::Error| bad(column, error))
}

pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(str_at(row, column)?).map_err(|error| bad(column, error))
}

/// Most keys set nothing of their own: a hundred thousand of them need no parser.
fn policy(row: &Row<'_>, column: usize) -> rusqlite::Result<Policy> {
    match str_at(row, column)? {
        "{}" => Ok(Policy::default()),
        _ => json(row, column),
    }
}

fn str_at<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a str> {
    row.get_ref(column)?.as_str().map_err(|error: FromSqlError| bad(column, error))
}

pub(crate) fn bad(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// JSON without the members that are null, all the way down; nulls in lists stay.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(value)?;
    drop_nulls(&mut value);
    Ok(value.to_string())
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => members.retain(|_, member| {
            drop_nulls(member);
            !member.is_null()
        }),
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// JSON of a policy; members that set nothing are left out, so that of most keys it is `{}`.
pub(crate) fn policy_to_json(policy: &Policy) -> Result<String, serde_json::Error> {
    let mut policy = policy.clone();
    policy.false_alarms_per_year = policy.false_alarms_per_year.map(finite);
    let mut value = serde_json::to_value(policy)?;
    drop_nulls(&mut value);
    if let Value::Object(members) = &mut value {
        members.retain(|_, member| member.as_object().is_none_or(|object| !object.is_empty()));
    }
    Ok(value.to_string())
}

/// JSON of an incident. JSON has no infinities, and an incident must be readable whatever a detector found.
pub(crate) fn incident_to_json(incident: &Incident) -> Result<String, serde_json::Error> {
    let mut incident = incident.clone();
    incident.findings.iter_mut().for_each(make_finite);
    to_json(&incident)
}

/// Makes the numbers of a finding ones that JSON has.
pub(crate) fn make_finite(finding: &mut Finding) {
    finding.once_in_days = finite(finding.once_in_days);
    for reason in &mut finding.reasons {
        reason.nats = finite(reason.nats);
    }
}

/// The nearest number that JSON has; not-a-number becomes zero.
pub(crate) fn finite(number: f64) -> f64 {
    if number.is_nan() { 0.0 } else { number.clamp(f64::MIN, f64::MAX) }
}

/// An optional number as SQLite keeps it.
pub(crate) fn stored_optional(number: Option<u64>) -> impl ToSql {
    number.map(stored)
}
