//! Rehearses a rotation at the end of a theft: the owner moves to a new credential, and the stolen one ends.

use serde_json::json;
use tokenwatch_console::api::drills::DrillRotated;
use tokenwatch_gateway::drill::sign;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::secret::Secret;
use tokenwatch_testkit::theft::rehearsal::{Played, Rehearsal};

use super::drive::{ASIDE, REACT_MS, Run};
use super::score::{Check, Ended};
use crate::admin_api::AskError;

/// The first number of its requests.
const FIRST: u64 = ASIDE + (1 << 16);
/// Overlap on the drill's clock: long beside its requests, and nobody waits for it.
const OVERLAP_MS: u64 = 3_600_000;
/// Requests by each credential while both work.
const EACH: u64 = 3;

/// What was seen of a rotation that was rehearsed.
#[derive(Default)]
struct Seen {
    /// Refused while both credentials had to work.
    broken: Option<Refusal>,
    /// Whether the stolen one was refused once its time was over: to the owner's context, and to the thief's.
    ended: bool,
    /// Whether the new one went on.
    goes_on: bool,
}

/// Whether the gateway took the credential for one of the key's, whatever became of the request then.
const fn is_taken(ended: Ended) -> bool {
    !matches!(
        ended,
        Ended::Refused(
            Refusal::MissingCredential
                | Refusal::MalformedCredential
                | Refusal::UnknownKey
                | Refusal::Rotated
                | Refusal::Revoked
        )
    )
}

impl Run<'_> {
    /// Gives the stand-in a new credential, asks by both while both work, and by both after that.
    pub(super) async fn rotate(&mut self, rehearsal: &Rehearsal) -> anyhow::Result<Check> {
        let of =
            |is_theft| rehearsal.played.iter().rfind(|played| played.request.label.is_theft() == is_theft);
        let Some(owner) = of(false) else {
            return Ok(Check::skipped("rotated", "its owner made no request that could be asked again"));
        };
        let at_ms = self.last_ms + 60 * REACT_MS;
        if !is_taken(self.ask(FIRST, at_ms, owner, &self.credential).await?) {
            return Ok(Check::skipped(
                "rotated",
                "the key is revoked: its owner needs a new key, not a new credential",
            ));
        }
        let body = json!({ "at": at_ms * 1_000, "overlap_seconds": OVERLAP_MS / 1_000 });
        let rotated: Result<DrillRotated, AskError> =
            self.driver.server.post(&format!("/api/v1/drills/{}/rotate", self.id), &body).await;
        let new = match rotated {
            Ok(rotated) => Secret::new(rotated.credential),
            Err(AskError::Refused(why)) => return Ok(Check::new("rotated", false, why)),
            Err(error) => return Err(error.into()),
        };
        let seen = self.overlap(at_ms, owner, of(true), &new).await?;
        let what = match &seen {
            Seen { broken: Some(refusal), .. } => {
                format!("a credential was refused while both had to work: {}", refusal.code())
            }
            Seen { ended: false, .. } => "the stolen credential was taken after its end".to_owned(),
            Seen { goes_on: false, .. } => {
                "the new credential was refused once the stolen one had ended".to_owned()
            }
            _ => "the owner moved to a new credential without a refusal; then the stolen one was refused"
                .to_owned(),
        };
        Ok(Check::new("rotated", seen.broken.is_none() && seen.ended && seen.goes_on, what))
    }

    async fn overlap(
        &self,
        at_ms: u64,
        owner: &Played,
        thief: Option<&Played>,
        new: &Secret,
    ) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        let mut seq = FIRST;
        for n in 1..=EACH {
            for credential in [&self.credential, new] {
                seq += 1;
                let ended = self.ask(seq, at_ms + n * REACT_MS, owner, credential).await?;
                if let Ended::Refused(refusal) = ended
                    && !is_taken(ended)
                {
                    seen.broken = Some(refusal);
                }
            }
        }
        let over_ms = at_ms + OVERLAP_MS;
        let is_over = |ended| ended == Ended::Refused(Refusal::Rotated);
        seen.ended = is_over(self.ask(seq + 1, over_ms, owner, &self.credential).await?);
        if let Some(thief) = thief {
            seen.ended &= is_over(self.ask(seq + 2, over_ms, thief, &self.credential).await?);
        }
        seen.goes_on = is_taken(self.ask(seq + 3, over_ms, owner, new).await?);
        Ok(seen)
    }

    async fn ask(&self, seq: u64, at_ms: u64, played: &Played, credential: &Secret) -> anyhow::Result<Ended> {
        let target = self.target(played);
        let claim = sign(&self.secret, &played.request.method, &target, &self.claim(seq, at_ms, played))?;
        self.exchange(played, &target, &claim, credential).await
    }
}
