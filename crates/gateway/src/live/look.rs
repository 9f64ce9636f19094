//! A first look at a request that costs something to price: who is refused anyway must not make us spend it.

use tokenwatch_detect::{InFlight, KeyState as Learned};
use tokenwatch_model::containment::{Action, Containment};
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::finding::Decision;
use tokenwatch_model::id::ContainmentId;
use tokenwatch_model::key::Mode;
use tokenwatch_model::outcome::Refusal;

use super::{Denied, Live, check_containments};
use crate::registry::KeyEntry;

impl Live {
    /// Whether a request is refused already by what is known of it: usable, contained, judged. Takes no room and changes
    /// nothing; [`Live::admit`] decides, once all is known.
    pub(crate) fn look(&self, request: &RequestContext) -> Result<(), Denied> {
        let guard = self.shard(request.key);
        let live = guard.keys.get(&request.key).ok_or(Denied::plain(Refusal::UnknownKey))?;
        live.entry.usable(request.time).map_err(Denied::plain)?;
        let mind = live.mind.as_ref().ok_or(Denied::plain(Refusal::Overloaded))?;
        check_containments(live.contained.known(), request, request.time)?;
        let in_flight = InFlight { actor: 0, watched: live.watched };
        self.judged(&live.entry, &mind.learned, request, in_flight).map(drop)
    }

    /// The containments in force that a request is in: those of its context, and those of the whole key.
    pub(crate) fn met_by(&self, request: &RequestContext) -> Vec<ContainmentId> {
        let guard = self.shard(request.key);
        let known = guard.keys.get(&request.key).map_or(&[][..], |live| live.contained.known());
        let is_met = |containment: &&Containment| {
            let of = match &containment.action {
                Action::RefuseContext(context) => Some(context),
                Action::Clamp(clamp) => clamp.only.as_ref(),
                Action::Watch | Action::Suspend | Action::Revoke => None,
            };
            containment.in_force(request.time) && of.is_none_or(|context| context.matches(request))
        };
        known.iter().filter(is_met).map(|containment| containment.id).collect()
    }

    /// What the engine decides about a request, as far as suppressions and the key's mode let it: an error is a refusal.
    pub(super) fn judged(
        &self,
        entry: &KeyEntry,
        learned: &Learned,
        request: &RequestContext,
        in_flight: InFlight,
    ) -> Result<Decision, Denied> {
        let mut verdict = self.engine.judge(learned, &entry.profile, request, in_flight);
        self.soften(&mut verdict, entry, learned, request);
        if verdict.decision == Decision::Refuse && entry.mode() != Mode::Observe {
            let containment = verdict.finding.map(|finding| finding.summary);
            return Err(Denied { refusal: Refusal::Judged, retry_after_us: None, containment });
        }
        Ok(verdict.decision)
    }
}
