//! What is kept of how an incident is handled, beside its story: what was proposed, what happened by itself, which steps of
//! the runbook people ticked off.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::artifact::{Artifact, ArtifactKind};
use crate::containment::{Action, Containment};
use crate::id::{ContainmentId, KeyId};
use crate::time::Timestamp;

/// How an incident is handled. Empty for incidents of versions that did not keep it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Handling {
    /// Names of the actions that were left to a person and not taken yet.
    pub proposed: Vec<SmolStr>,
    /// Containments that TokenWatch put in force by itself: only these may it relax by itself.
    pub automatic: Vec<ContainmentId>,
    /// When an actor was last found, or a request of the key last refused by a containment.
    pub last_seen: Option<Timestamp>,
    /// Whom each containment last met; nothing for incidents of versions that kept only the time above.
    pub sightings: Option<Sightings>,
    /// What was relaxed by itself, as it was before, oldest first.
    pub relaxed: Vec<Relaxed>,
    /// Steps of the runbook that people ticked off, in the order of ticking.
    pub steps: Vec<StepMark>,
    /// Steps of which it was told that they are overdue.
    pub overdue_told: Vec<SmolStr>,
    /// Signed links that were used and have not expired.
    pub links_used: Vec<LinkUse>,
    /// What the providers said when they were last asked for artifacts; nothing while they were not.
    pub persistence: Option<PersistenceCheck>,
}

impl Handling {
    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Notes that somebody was met at `time` by these containments; `is_placed` is false when it is not known which of
    /// them would have met it.
    pub fn see(&mut self, by: &[ContainmentId], is_placed: bool, time: Timestamp) {
        // What an older version saw may have been anybody.
        let before = Sightings { met: Vec::new(), unplaced: self.last_seen };
        let sightings = self.sightings.get_or_insert(before);
        self.last_seen = self.last_seen.max(Some(time));
        if !is_placed {
            sightings.unplaced = sightings.unplaced.max(Some(time));
        }
        for id in by {
            let is_full = sightings.met.len() >= MET_MAX;
            match sightings.met.iter_mut().find(|met| met.containment == *id) {
                Some(met) => met.time = met.time.max(time),
                None if !is_full => {
                    sightings.met.push(Sighting { containment: *id, time });
                }
                None => sightings.unplaced = sightings.unplaced.max(Some(time)),
            }
        }
    }

    /// When one containment was last known to meet somebody, or could have.
    pub fn met(&self, containment: ContainmentId) -> Option<Timestamp> {
        let Some(sightings) = &self.sightings else { return self.last_seen };
        let met = sightings.met.iter().find(|met| met.containment == containment).map(|met| met.time);
        met.max(sightings.unplaced)
    }

    /// What a person said of a step of the runbook.
    pub fn mark(&self, step: &str) -> Option<&StepMark> {
        self.steps.iter().find(|mark| mark.step == step)
    }
}

/// Containments of which it is kept whom they met; more than one incident can hold.
const MET_MAX: usize = 256;

/// Whom the containments of an incident last met.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sightings {
    /// By containment.
    pub met: Vec<Sighting>,
    /// The last time that somebody was seen of whom it is not known which containment would meet them.
    pub unplaced: Option<Timestamp>,
}

/// When a containment last met somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The containment.
    pub containment: ContainmentId,
    /// When.
    pub time: Timestamp,
}

/// A containment that was relaxed by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relaxed {
    /// When.
    pub time: Timestamp,
    /// The row before: what undoes it.
    pub before: Containment,
    /// What it does since then; nothing when it was lifted. A row that changed since is left alone.
    pub to: Option<Action>,
}

/// A person's word on a step of the runbook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepMark {
    /// Id of the step.
    pub step: SmolStr,
    /// What was said.
    pub says: StepWord,
    /// When.
    pub time: Timestamp,
    /// By whom.
    pub who: SmolStr,
    /// In the person's words; may be empty.
    pub note: String,
}

/// What a person says of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepWord {
    /// It was done.
    Done,
    /// It is not needed.
    Skipped,
}

impl StepWord {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
        }
    }
}

/// A signed link that was used: it does nothing a second time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkUse {
    /// The link's number.
    pub nonce: u64,
    /// When the link ends by itself; after that its number may be forgotten.
    pub expires: Timestamp,
}

/// What the providers of an incident's key said when they were asked what was created there since the stranger came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistenceCheck {
    /// When they were asked.
    pub time: Timestamp,
    /// By whom.
    pub who: SmolStr,
    /// From when on artifacts count.
    pub since: Timestamp,
    /// Until when; nothing while the incident is open.
    pub until: Option<Timestamp>,
    /// Each credential of each provider that the key may use.
    pub asked: Vec<Asked>,
    /// What was found, oldest first, at most [`PersistenceCheck::FOUND_MAX`].
    pub found: Vec<Found>,
    /// How many more were found than are kept.
    pub more: u64,
}

impl PersistenceCheck {
    /// Most artifacts that are kept: every alert holds its incident whole.
    pub const FOUND_MAX: usize = 100;

    /// What nobody has accounted for.
    pub fn unaccounted(&self) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(|found| found.accounted.is_none())
    }

    /// Whether something was found that nobody has accounted for.
    pub fn is_finding(&self) -> bool {
        self.more > 0 || self.unaccounted().next().is_some()
    }

    /// Whether every provider was asked and answered whole.
    pub fn is_whole(&self) -> bool {
        !self.asked.is_empty() && self.asked.iter().all(|asked| asked.failed.is_empty())
    }
}

/// How a provider answered to one of its credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Name of the provider.
    pub provider: SmolStr,
    /// Reference to the credential, never the secret.
    pub credential: SmolStr,
    /// The kinds that were listed whole.
    pub kinds: Vec<ArtifactKind>,
    /// What could not be asked, or not to its end.
    pub failed: Vec<NotAsked>,
}

/// What could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotAsked {
    /// Which kinds.
    pub kinds: Vec<ArtifactKind>,
    /// Why.
    pub why: String,
}

/// An artifact that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Name of the provider.
    pub provider: SmolStr,
    /// Reference to the credential that it was listed with.
    pub credential: SmolStr,
    /// The artifact.
    #[serde(flatten)]
    pub artifact: Artifact,
    /// Whose call through the gateway created it.
    pub call: CreatingCall,
    /// The other key, when it was one.
    pub other_key: Option<KeyId>,
    /// Who said that it is accounted for: it is the owner's, or was dealt with.
    pub accounted: Option<Accounted>,
}

/// Whose call through the gateway created an artifact, as far as times tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreatingCall {
    /// The stranger's.
    Stranger,
    /// The key's, from a context that is not the stranger's.
    Key,
    /// Another key's.
    OtherKey,
    /// Nobody's: it was made past the gateway.
    Nobody,
    /// There were calls that fit, and they can not be told apart.
    Unclear,
    /// The events could not be read.
    Unknown,
}

/// A person's word that an artifact is accounted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounted {
    /// Who said it.
    pub who: SmolStr,
    /// When.
    pub time: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_versions_did_not_keep_is_empty() {
        assert_eq!(serde_json::from_str::<Handling>("{}").unwrap(), Handling::default());
        assert!(Handling::default().is_empty());
        // Whoever was seen then may be any of those who are contained.
        let (one, other) = (ContainmentId::from_bits(1), ContainmentId::from_bits(2));
        let mut old = Handling { last_seen: Some(Timestamp(7)), ..Handling::default() };
        assert_eq!(old.met(one), Some(Timestamp(7)));
        old.see(&[one], true, Timestamp(9));
        assert_eq!((old.met(one), old.met(other)), (Some(Timestamp(9)), Some(Timestamp(7))));
        for says in [StepWord::Done, StepWord::Skipped] {
            assert_eq!(serde_json::to_value(says).unwrap(), says.name());
        }
    }
}
