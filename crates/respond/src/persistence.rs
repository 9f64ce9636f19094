//! What a stranger left at a provider: whose call made it, what nobody has accounted for, and what is kept of asking.
//!
//! Invariants:
//! * What could not be asked is never "nothing there": a check with a gap answers the runbook's step only by a person's word.
//! * What was found once is forgotten only when a list that was read whole does not have it any more.
//! * An artifact that a person accounted for stays so when the providers are asked again; one that is new opens the step again.

use serde::{Deserialize, Serialize};
use serde_json::json;
use smol_str::SmolStr;
use tokenwatch_model::alert::AlertCause;
use tokenwatch_model::artifact::ArtifactKind;
use tokenwatch_model::containment::Action;
use tokenwatch_model::handling::{Accounted, Asked, CreatingCall, Found, PersistenceCheck, StepMark};
use tokenwatch_model::id::KeyId;
use tokenwatch_model::incident::Incident;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{SECOND, Timestamp};

use crate::effects::{Effects, audit};
use crate::incident::{belongs, tell};
use crate::runbook::{Facts, PERSISTENCE};
use crate::words::{clean, clock, count};

/// How far a provider's time of creation may be from the call that created it: it is in whole seconds, of another clock.
const CALL_SLACK: u64 = 2 * SECOND;
/// Artifacts that a sentence names; the rest is counted.
const NAMED_MAX: usize = 5;

/// A call that the gateway forwarded to where artifacts are created, and that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayCall {
    /// Whose.
    pub key: KeyId,
    /// Name of the provider.
    pub provider: SmolStr,
    /// What was called.
    pub endpoint: Endpoint,
    /// When it arrived.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Whether it came from a stranger's context.
    pub is_stranger: bool,
}

impl GatewayCall {
    fn fits(&self, found: &Found) -> bool {
        let created = found.artifact.created;
        self.provider == found.provider
            && self.endpoint == found.artifact.kind.endpoint()
            && Timestamp(self.began.0.saturating_sub(CALL_SLACK)) <= created
            && created <= self.ended.plus(CALL_SLACK)
    }

    /// Whose call it is, as seen from a key.
    fn side(&self, key: KeyId) -> (CreatingCall, Option<KeyId>) {
        match (self.key == key, self.is_stranger) {
            (true, true) => (CreatingCall::Stranger, None),
            (true, false) => (CreatingCall::Key, None),
            (false, _) => (CreatingCall::OtherKey, Some(self.key)),
        }
    }
}

/// Says of each artifact whose call created it, as far as times tell: where calls of several callers fit, or more artifacts
/// than calls, it is unclear.
pub fn attribute(found: &mut [Found], key: KeyId, calls: &[GatewayCall]) {
    let fitting = |one: &Found| -> Vec<usize> {
        calls.iter().enumerate().filter(|(_, call)| call.fits(one)).map(|(i, _)| i).collect()
    };
    let candidates: Vec<Vec<usize>> = found.iter().map(fitting).collect();
    for (one, mine) in found.iter_mut().zip(&candidates) {
        let rivals = candidates.iter().filter(|theirs| theirs.iter().any(|call| mine.contains(call))).count();
        let mut sides = mine.iter().filter_map(|i| calls.get(*i)).map(|call| call.side(key));
        (one.call, one.other_key) = match sides.next() {
            None => (CreatingCall::Nobody, None),
            Some(side) if sides.all(|other| other == side) && rivals <= mine.len() => side,
            Some(_) => (CreatingCall::Unclear, None),
        };
    }
}

/// What a check comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Something is there that nobody has accounted for.
    Found,
    /// Nothing was found, but not everything could be asked.
    NotAsked,
    /// Everything was asked, and nothing is there that nobody has accounted for.
    Nothing,
}

/// What a check comes to.
pub fn verdict(check: &PersistenceCheck) -> Verdict {
    match (check.is_finding(), check.is_whole()) {
        (true, _) => Verdict::Found,
        (false, false) => Verdict::NotAsked,
        (false, true) => Verdict::Nothing,
    }
}

/// Keeps the oldest of what was found, and counts the rest.
pub fn bound(check: &mut PersistenceCheck) {
    check
        .found
        .sort_by(|a, b| (a.artifact.created, &a.artifact.id).cmp(&(b.artifact.created, &b.artifact.id)));
    check.more += check.found.len().saturating_sub(PersistenceCheck::FOUND_MAX) as u64;
    check.found.truncate(PersistenceCheck::FOUND_MAX);
}

/// Keeps a check with the incident. `accounted` are ids of artifacts that whoever asked accounts for.
pub fn record(mut incident: Incident, mut check: PersistenceCheck, accounted: &[SmolStr]) -> Effects {
    let (now, who) = (check.time, check.who.clone());
    let before = incident.handling.persistence.take();
    let known = |one: &Found| before.iter().flat_map(|before| &before.found).find(|old| is_same(old, one));
    keep_unasked(&mut check, before.as_ref());
    bound(&mut check);
    let mut news = 0;
    for one in &mut check.found {
        let old = known(one);
        one.accounted = old.and_then(|old| old.accounted.clone());
        if accounted.contains(&one.artifact.id) {
            one.accounted.get_or_insert_with(|| Accounted { who: who.clone(), time: now });
        }
        news += usize::from(old.is_none() && one.accounted.is_none());
    }
    let text = format!("checked persistence at {}", summary(&check));
    tell(&mut incident, now, &who, text);
    if news > 0 && incident.handling.mark(PERSISTENCE).is_some() {
        incident.handling.steps.retain(|mark| mark.step != PERSISTENCE);
        let what = count(news as u64, "artifact");
        tell(&mut incident, now, &who, format!("step open again: {PERSISTENCE}; {what} came to light since"));
    }
    let ids: Vec<&SmolStr> = check.unaccounted().map(|one| &one.artifact.id).collect();
    let detail = json!({
        "since": check.since, "verdict": verdict(&check), "unaccounted": ids, "more": check.more,
        "accounted": accounted,
        "asked": check.asked.iter().map(|asked| &asked.provider).collect::<Vec<_>>(),
        "not_asked": check.asked.iter().filter(|asked| !asked.failed.is_empty()).map(|asked| &asked.provider)
            .collect::<Vec<_>>(),
    });
    let entry = audit(now, &who, "incident.persistence", incident.id, &detail);
    incident.handling.persistence = Some(check);
    incident.revision = incident.revision.saturating_add(1);
    let alert = (news > 0 && incident.state.is_open()).then_some(AlertCause::Updated);
    Effects { incident: Some(incident), audit: vec![entry], alert, ..Effects::default() }
}

/// What was known and could not be looked at again is still there as far as anybody knows.
fn keep_unasked(check: &mut PersistenceCheck, before: Option<&PersistenceCheck>) {
    let was_listed = |one: &Found| {
        let by = |asked: &&Asked| asked.provider == one.provider && asked.credential == one.credential;
        check.asked.iter().filter(by).any(|asked| asked.kinds.contains(&one.artifact.kind))
    };
    let is_there = |one: &Found| check.found.iter().any(|found| is_same(found, one));
    let known = before.iter().flat_map(|before| &before.found);
    let kept: Vec<Found> = known.filter(|one| !was_listed(one) && !is_there(one)).cloned().collect();
    check.found.extend(kept);
}

fn is_same(a: &Found, b: &Found) -> bool {
    (&a.provider, a.artifact.kind, &a.artifact.id) == (&b.provider, b.artifact.kind, &b.artifact.id)
}

/// A person's word on the step accounts for what is known; taking the word back takes that back.
pub(crate) fn settle(check: &mut PersistenceCheck, before: Option<&StepMark>, after: Option<&StepMark>) {
    if let Some(before) = before {
        let is_its = |said: &Accounted| (&said.who, said.time) == (&before.who, before.time);
        for one in &mut check.found {
            one.accounted.take_if(|said| is_its(said));
        }
    }
    if let Some(after) = after {
        let word = || Accounted { who: after.who.clone(), time: after.time };
        for one in &mut check.found {
            one.accounted.get_or_insert_with(word);
        }
    }
}

/// What was found where, and what could not be asked: `openai: 2 files, 1 batch since …; anthropic could not be asked: …`.
pub(crate) fn summary(check: &PersistenceCheck) -> String {
    let mut providers: Vec<&SmolStr> = check.asked.iter().map(|asked| &asked.provider).collect();
    providers.dedup();
    let told = |provider: &&SmolStr| {
        let asked = check.asked.iter().filter(|asked| asked.provider == **provider);
        let has_answered = asked.into_iter().any(|asked| !asked.kinds.is_empty());
        let found = counts(check.found.iter().filter(|one| one.provider == **provider));
        match (found.is_empty(), has_answered) {
            (false, _) => Some(format!("{provider}: {found}")),
            (true, true) => Some(format!("{provider}: nothing")),
            (true, false) => None,
        }
    };
    let mut answered: Vec<String> = providers.iter().filter_map(told).collect();
    if check.more > 0 {
        answered.push(format!("{} more", check.more));
    }
    let mut parts = Vec::new();
    if !answered.is_empty() {
        let until = check.until.map(|until| format!(" until {}", clock(until))).unwrap_or_default();
        parts.push(format!("{} since {}{until}", answered.join(", "), clock(check.since)));
    }
    parts.extend(check.asked.iter().flat_map(failures));
    if check.asked.is_empty() {
        parts.push("no provider: none that the key may use is configured".to_owned());
    }
    parts.join("; ")
}

/// What of a provider could not be asked, in sentences.
pub fn failures(asked: &Asked) -> impl Iterator<Item = String> {
    asked.failed.iter().map(move |failed| {
        let kinds: Vec<&str> = failed.kinds.iter().map(|kind| kind.noun(2)).collect();
        let whole = asked.kinds.is_empty() && asked.failed.len() == 1;
        let what = if whole { String::new() } else { format!(" for {}", kinds.join(", ")) };
        format!("{} could not be asked{what}: {}", asked.provider, clean(&failed.why))
    })
}

/// `2 files, 1 batch`.
fn counts<'a>(found: impl Iterator<Item = &'a Found>) -> String {
    let mut kinds: Vec<(ArtifactKind, usize)> = Vec::new();
    for one in found {
        match kinds.iter_mut().find(|(kind, _)| *kind == one.artifact.kind) {
            Some((_, number)) => *number += 1,
            None => kinds.push((one.artifact.kind, 1)),
        }
    }
    kinds.sort_unstable();
    kinds.iter().map(|(kind, n)| format!("{n} {}", kind.noun(*n))).collect::<Vec<_>>().join(", ")
}

/// `2 files, 1 batch (file-1, file-2, batch_1)` of what nobody has accounted for.
fn named(check: &PersistenceCheck) -> String {
    let ids: Vec<String> = check.unaccounted().map(|one| clean(&one.artifact.id)).collect();
    let rest = ids.len().saturating_sub(NAMED_MAX) as u64 + check.more;
    let mut names: Vec<String> = ids.into_iter().take(NAMED_MAX).collect();
    if rest > 0 {
        names.push(format!("{rest} more"));
    }
    let counts = counts(check.unaccounted());
    if counts.is_empty() { names.join(", ") } else { format!("{counts} ({})", names.join(", ")) }
}

/// Whether a check answers the runbook's step, and why not.
pub(crate) fn judge(check: &PersistenceCheck, facts: &Facts<'_>) -> (bool, String) {
    let asked = format!("asked at {} by {}", clock(check.time), clean(&check.who));
    let again = "ask again";
    match verdict(check) {
        Verdict::Found => {
            let gaps: Vec<String> = check.asked.iter().flat_map(failures).collect();
            let gaps = if gaps.is_empty() { String::new() } else { format!("; {}", gaps.join("; ")) };
            let what = named(check);
            (
                false,
                format!("{asked}: nobody has accounted for {what}, created since the stranger came{gaps}"),
            )
        }
        Verdict::NotAsked => (false, format!("{asked}: {}", summary(check))),
        Verdict::Nothing => match stopped(facts) {
            None => (
                false,
                format!("{asked}: {}; the stranger is not stopped: {again} once it is", summary(check)),
            ),
            Some(at) if check.time < at => {
                let at = clock(at);
                (
                    false,
                    format!("{asked}: {}; the stranger was stopped only at {at}: {again}", summary(check)),
                )
            }
            Some(_) => (true, format!("{asked}: {}{}", summary(check), accounted_for(check))),
        },
    }
}

/// Who accounted for what was found, if there was anything.
fn accounted_for(check: &PersistenceCheck) -> String {
    let mut who: Vec<&str> =
        check.found.iter().filter_map(|one| Some(one.accounted.as_ref()?.who.as_str())).collect();
    who.sort_unstable();
    who.dedup();
    if who.is_empty() { String::new() } else { format!("; accounted for by {}", clean(&who.join(", "))) }
}

/// Since when the stranger can create nothing more: refused, its credential ended, or the incident closed. A clamp slows it
/// down and stops nothing.
fn stopped(facts: &Facts<'_>) -> Option<Timestamp> {
    let ours =
        || facts.containments.iter().filter(|row| belongs(facts.incident, row) && row.in_force(facts.now));
    let since =
        |stops: fn(&Action) -> bool| ours().filter(move |row| stops(&row.action)).map(|row| row.created);
    // Of several contexts each has its own refusal: all are out only with the last of them.
    let refused = since(|action| matches!(action, Action::RefuseContext(_))).max();
    let ended = since(|action| matches!(action, Action::Suspend | Action::Revoke)).min();
    let retired = facts
        .key
        .rotation
        .filter(|rotation| rotation.rotated >= facts.incident.first_seen && !rotation.overlaps(facts.now))
        .map(|rotation| rotation.previous_ends);
    let closed = facts.incident.closed.map(|closed| facts.incident.contained.unwrap_or(closed));
    [refused, ended, retired, closed].into_iter().flatten().min()
}

#[cfg(test)]
mod tests;
