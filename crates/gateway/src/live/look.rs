//! A first look at a request that costs something to price: who is refused anyway must not make us spend it.

use tokenwatch_detect::{InFlight, KeyState as Learned};
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::finding::Decision;
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
