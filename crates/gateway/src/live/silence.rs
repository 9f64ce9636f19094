//! What of the engine's findings is told, and what a suppression silences.
//!
//! Invariants: the engine's state does not depend on suppressions but by records in the journal, so a replay gives the
//! same; to the engine nobody was told of a silenced alert, so the first request of its actor after the suppression
//! alerts. A context that a person called a theft is never silenced.

use tokenwatch_detect::KeyState as Learned;
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::finding::{Decision, Finding, Tier, Verdict};
use tokenwatch_model::id::{ActorId, SuppressionId};
use tokenwatch_model::ports::EventSink;
use tokenwatch_model::suppression::{SuppressedAlert, Suppression};
use tokenwatch_model::time::Timestamp;
use tokenwatch_telemetry::metrics::Metrics;
use tokenwatch_telemetry::told::{FindingMade, FindingSuppressed};

use super::{Live, Mind};
use crate::gateway::FindingSink;
use crate::registry::KeyEntry;

/// What was found by a request, and what becomes of it.
#[derive(Debug)]
pub enum Found {
    /// Somebody is told.
    Told(Finding),
    /// A suppression silences it.
    Silenced {
        /// What was found, and by what it is silenced.
        alert: SuppressedAlert,
        /// Whether it was not on record yet. A caller who goes on is found again with each request.
        is_new: bool,
    },
}

impl Found {
    /// Counts it and hands it over.
    pub(crate) fn tell(self, metrics: &Metrics, sink: &dyn FindingSink) {
        match self {
            Self::Told(finding) => {
                FindingMade(&finding).emit(metrics);
                sink.found(finding);
            }
            Self::Silenced { alert, is_new: true } => {
                FindingSuppressed(&alert).emit(metrics);
                sink.suppressed(alert);
            }
            Self::Silenced { is_new: false, .. } => {}
        }
    }

    /// Hands over what a drill's request showed: that is no finding to count, nor to list.
    pub(crate) fn rehearse(self, sink: &dyn FindingSink) {
        if let Self::Told(finding) = self {
            sink.found(finding);
        }
    }
}

/// The silenced findings of a key that are on record already.
#[derive(Default)]
pub(super) struct Silenced(Vec<(SuppressionId, u64, Tier)>);

impl Silenced {
    /// More are not told apart: then one may be recorded again.
    const MAX: usize = 64;

    /// Notes a finding; whether it was not on record.
    fn note(&mut self, by: SuppressionId, finding: &Finding) -> bool {
        let about = finding.actor.as_ref().map_or_else(|| rule_bits(&finding.rule), |actor| actor.id.bits());
        let entry = (by, about, finding.tier);
        if self.0.contains(&entry) {
            return false;
        }
        if self.0.len() >= Self::MAX {
            self.0.remove(0);
        }
        self.0.push(entry);
        true
    }
}

/// Tells rules apart where there is no actor: above the 60 bits of an id.
fn rule_bits(rule: &str) -> u64 {
    rule.bytes().fold(1, |bits: u64, byte| bits.rotate_left(5) ^ u64::from(byte)) | 1 << 63
}

impl Live {
    /// Takes over suppressions that are new or changed.
    pub fn put_suppressions(&self, read: Vec<Suppression>, now: Timestamp) {
        let mut known = self.suppressions.load().as_ref().clone();
        known.take(read, now);
        self.suppressions.store(known.into());
    }

    /// Forwards a request that would be refused, when somebody expects it.
    pub(super) fn soften(
        &self,
        verdict: &mut Verdict,
        entry: &KeyEntry,
        learned: &Learned,
        request: &RequestContext,
    ) {
        let Some(finding) = &verdict.finding else { return };
        let is_expected =
            || self.suppressions.load().find(finding, entry.owner, request, request.time).is_some();
        if verdict.decision == Decision::Refuse && !learned.is_stolen(request) && is_expected() {
            verdict.decision = Decision::Watch;
            verdict.finding = None;
        }
    }

    /// What becomes of what the engine found by a request.
    pub(super) fn sort_out(
        &self,
        findings: Vec<Finding>,
        entry: &KeyEntry,
        silenced: &mut Silenced,
        request: &RequestContext,
    ) -> Vec<Found> {
        if findings.is_empty() {
            return Vec::new();
        }
        let suppressions = self.suppressions.load();
        let sort = |finding: Finding| match suppressions.find(&finding, entry.owner, request, request.time) {
            Some(suppression) => {
                let is_new = silenced.note(suppression, &finding);
                Found::Silenced { alert: SuppressedAlert { suppression, finding }, is_new }
            }
            None => Found::Told(finding),
        };
        findings.into_iter().map(sort).collect()
    }

    /// Writes a finding to the journal; of an alert that is silenced also that nobody was told of it, which the engine
    /// takes in. False when the journal had no room.
    pub(super) fn record(&self, found: &Found, mind: &mut Mind, sink: &dyn EventSink) -> bool {
        let (finding, suppression, is_new) = match found {
            Found::Told(finding) => return sink.push(JournalRecord::Finding(finding.clone())),
            Found::Silenced { alert, is_new } => (&alert.finding, alert.suppression, *is_new),
        };
        let mut taken = true;
        if let Some(actor) = alerted(finding) {
            self.engine.suppress(&mut mind.learned, finding.key, actor);
            let key_seq = mind.last.next(self.epoch);
            taken = sink.push(JournalRecord::Suppressed { key_seq, key: finding.key, actor, suppression });
        }
        if is_new {
            taken &= sink.push(JournalRecord::Finding(finding.clone()));
        }
        taken
    }
}

/// Who an alert is about. Notices refuse nobody, so the engine need not forget that they were told.
fn alerted(finding: &Finding) -> Option<ActorId> {
    finding.actor.as_ref().filter(|_| finding.tier >= Tier::Alert).map(|actor| actor.id)
}
