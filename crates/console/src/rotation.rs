//! Rotation of virtual keys: another credential for the same key, while the one before goes on for a while.
//!
//! Identity, rules, budgets and what was learned stay, because they hang on the key and not on its credential.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenwatch_model::SmolStr;
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::credential;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::key::{Key, KeyState, Rotation, StoredKey};
use tokenwatch_model::network::{Country, NetworkFacts, NetworkKind};
use tokenwatch_model::outcome::{Outcome, Refusal};
use tokenwatch_model::secret::SecretHash;
use tokenwatch_model::time::{DAY, HOUR, Timestamp, human_span};

use crate::manage::{Issued, Manager, check_revision, check_text, invalid, refused};
use crate::records::RecordsError;

/// How long the credential before goes on when nobody says otherwise.
pub const OVERLAP: u64 = 24 * HOUR;
/// Longest overlap.
pub const OVERLAP_MAX: u64 = 90 * DAY;
/// How far back is looked for who still presents the credential before.
pub const LOOK_BACK: u64 = DAY;
/// Callers that are told apart; what further ones did is added to the last row.
const CALLERS_MAX: usize = 50;

/// How a key is to be rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotateSpec {
    /// How long the credential before goes on, in microseconds; 0 ends it at once.
    pub overlap: u64,
    /// The credential that was issued last never came into use: it ends at once, and the one before goes on.
    pub again: bool,
    /// When the key stops working by itself from now on; `None` leaves that as it is.
    pub expires: Option<Timestamp>,
    /// Why, for the audit log.
    pub reason: String,
}

impl Default for RotateSpec {
    fn default() -> Self {
        Self { overlap: OVERLAP, again: false, expires: None, reason: String::new() }
    }
}

impl Manager {
    /// Gives a key a new credential; the one before goes on for the overlap. `seen` is the revision that the caller has
    /// seen, where it has seen one.
    ///
    /// # Errors
    ///
    /// When the key is revoked, the overlap is too long, or a rotation is under way and this one would end a credential that may be
    /// in use. An overlap of 0 says that it shall.
    pub fn rotate(
        &self,
        name: &str,
        seen: Option<u64>,
        spec: &RotateSpec,
        who: &str,
    ) -> Result<Issued, RecordsError> {
        let before = self.find_stored(name)?;
        check_revision("key", &before.key.name, before.key.revision, seen)?;
        check_text("reason", spec.reason.trim())?;
        let now = self.clock.now();
        let mut random = [0; 32];
        self.random.fill(&mut random);
        let (secret, hash) = credential::mint(before.key.id, &random);
        let (key, previous) = plan(&before, spec, now)?;
        let stored = StoredKey { key, hash, previous: Some(previous) };
        let detail = json!({
            "name": stored.key.name,
            "previous_ends": stored.key.rotation.map(|rotation| rotation.previous_ends),
            "again": spec.again,
            "expires": stored.key.expires,
            "reason": spec.reason.trim(),
        });
        self.records.rotate_key(&stored, &self.entry(who, "key.rotate", stored.key.id, &detail))?;
        Ok(Issued { key: stored.key, secret })
    }

    /// Ends the credential before the latest rotation at a time, or now; the key as it is then.
    ///
    /// # Errors
    ///
    /// When there is none, it has ended, or the time lies in the past or too far ahead.
    pub fn retire(
        &self,
        name: &str,
        seen: Option<u64>,
        at: Option<Timestamp>,
        reason: &str,
        who: &str,
    ) -> Result<Key, RecordsError> {
        let before = self.find_key(name)?;
        check_revision("key", &before.name, before.revision, seen)?;
        check_text("reason", reason.trim())?;
        let now = self.clock.now();
        let Some(rotation) = before.rotation else {
            return Err(refused(format!(
                "{} has one credential only: `tokenwatch key rotate` gives it a new one first",
                before.name
            )));
        };
        if !rotation.overlaps(now) {
            return Err(refused(format!(
                "the credential of {} before the rotation ended at {} already",
                before.name, rotation.previous_ends
            )));
        }
        let at = at.unwrap_or(now);
        if at < now || at.since(now) > OVERLAP_MAX {
            return Err(invalid("at", "must lie between now and 90 days from now"));
        }
        let key = Key { rotation: Some(Rotation { previous_ends: at, ..rotation }), ..before };
        let detail = json!({ "name": key.name, "previous_ends": at, "reason": reason.trim() });
        self.records.update_key(&key, &self.entry(who, "key.retire", key.id, &detail))?;
        Ok(key)
    }

    /// Who presented the credential before the latest rotation lately, busiest first; nobody of a key that was never
    /// rotated.
    ///
    /// # Errors
    ///
    /// When the events can not be read.
    pub fn still_presents(&self, key: &Key) -> Result<Vec<Caller>, RecordsError> {
        let Some(rotation) = key.rotation else { return Ok(Vec::new()) };
        let since = Timestamp(self.clock.now().0.saturating_sub(LOOK_BACK)).max(rotation.rotated);
        self.records.previous_callers(key.id, since)
    }
}

/// The key after a rotation, and which of its credentials is the one before then.
fn plan(before: &StoredKey, spec: &RotateSpec, now: Timestamp) -> Result<(Key, SecretHash), RecordsError> {
    let key = &before.key;
    if key.state == KeyState::Revoked {
        return Err(refused(format!("{} is revoked for good: issue a new key", key.name)));
    }
    if spec.expires.is_some_and(|expires| expires <= now) {
        return Err(invalid("expires", "lies in the past"));
    }
    let rotation = next(&key.name, key.rotation, spec, now)?;
    // The store wants every rotation to be later than what it follows.
    let rotation = Rotation { rotated: rotation.rotated.max(key.created.plus(1)), ..rotation };
    let previous = before.previous.filter(|_| spec.again).unwrap_or(before.hash);
    Ok((Key { rotation: Some(rotation), expires: spec.expires.or(key.expires), ..key.clone() }, previous))
}

/// The rotation that follows the latest one, where one may follow.
pub(crate) fn next(
    name: &str,
    latest: Option<Rotation>,
    spec: &RotateSpec,
    now: Timestamp,
) -> Result<Rotation, RecordsError> {
    if spec.overlap > OVERLAP_MAX {
        return Err(invalid("overlap", format!("at most 90 days, not {}", human_span(spec.overlap))));
    }
    match latest.filter(|rotation| rotation.overlaps(now)) {
        // Who ends the one before at once wants all but the newest ended.
        Some(rotation) if !spec.again && spec.overlap > 0 => {
            return Err(refused(format!(
                "{name} is being rotated: its credential before works until {}. `tokenwatch key retire {name}` ends that one \
                 first; if the new one was lost before it came into use, rotate again with --again; --overlap 0 ends both",
                rotation.previous_ends
            )));
        }
        None if spec.again => {
            return Err(refused(format!("{name} is not being rotated: rotate it without --again")));
        }
        _ => {}
    }
    let rotated = latest.map_or(now, |latest| now.max(latest.rotated.plus(1)));
    Ok(Rotation { rotated, previous_ends: now.plus(spec.overlap) })
}

/// Somebody who presents a credential that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Where from: autonomous system, country and kind of network.
    pub network: NetworkFacts,
    /// Client family; empty when it sends none.
    pub client: SmolStr,
    /// Requests.
    pub requests: u64,
    /// Of these, refused because that credential has ended.
    pub refused: u64,
    /// The latest.
    pub last: Timestamp,
}

/// Counts who presents a credential that was replaced.
#[derive(Debug, Default)]
pub struct Callers(BTreeMap<(u32, Country, NetworkKind, SmolStr), Caller>);

impl Callers {
    /// Looks at an event of `key`; those that presented the newest credential do not count.
    pub fn see(&mut self, key: KeyId, event: &UsageEvent) {
        let request = &event.request;
        if request.key != key || !request.previous_credential {
            return;
        }
        let facts = request.source.facts;
        let who = (facts.asn, facts.country, facts.kind, request.client.family.clone());
        let caller = self.0.entry(who).or_insert_with(|| Caller::of(request));
        caller.requests += 1;
        caller.refused += u64::from(event.outcome == Outcome::Refused(Refusal::Rotated));
        caller.last = caller.last.max(request.time);
    }

    /// Who was seen, busiest first.
    pub fn busiest(self) -> Vec<Caller> {
        let mut callers: Vec<Caller> = self.0.into_values().collect();
        callers.sort_by(|a, b| b.requests.cmp(&a.requests).then(b.last.cmp(&a.last)));
        if let Some(rest) = callers.get(CALLERS_MAX..).filter(|rest| !rest.is_empty()) {
            let more = rest.iter().fold((0, 0, Timestamp(0)), |(requests, refused, last), caller| {
                (requests + caller.requests, refused + caller.refused, last.max(caller.last))
            });
            callers.truncate(CALLERS_MAX);
            if let Some(last) = callers.last_mut() {
                last.requests += more.0;
                last.refused += more.1;
                last.last = last.last.max(more.2);
            }
        }
        callers
    }
}

impl Caller {
    fn of(request: &RequestContext) -> Self {
        Self {
            network: request.source.facts,
            client: request.client.family.clone(),
            requests: 0,
            refused: 0,
            last: request.time,
        }
    }
}
