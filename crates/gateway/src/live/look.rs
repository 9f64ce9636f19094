//! A first look at a request that costs something to price: who is refused anyway must not make us spend it.

use tokenwatch_detect::InFlight;
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::finding::Decision;
use tokenwatch_model::key::Mode;
use tokenwatch_model::outcome::Refusal;

use super::{Denied, Live, check_containments};

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
        let mut verdict = self.engine.judge(&mind.learned, &live.entry.profile, request, in_flight);
        self.soften(&mut verdict, &live.entry, &mind.learned, request);
        if verdict.decision == Decision::Refuse && live.entry.mode() != Mode::Observe {
            let containment = verdict.finding.map(|finding| finding.summary);
            return Err(Denied { refusal: Refusal::Judged, retry_after_us: None, containment });
        }
        Ok(())
    }
}
