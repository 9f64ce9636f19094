//! What a person says about a context.

use tokenwatch_model::finding::{Feedback, Says, Tier};
use tokenwatch_model::id::{ActorId, KeyId};
use tokenwatch_model::time::Timestamp;

use super::Engine;
use super::observe::learn_caller;
use crate::explain::inside_id;
use crate::known::ForgetPrints;
use crate::math::{hash, print};
use crate::slot::Slot;
use crate::state::KeyState;

impl Engine {
    /// Takes a person's or policy's word about a context. "Ours" is learned at once and trusted until the
    /// time given; "theft" is never learned, what it taught is forgotten, and newcomers of the next days
    /// are judged more strictly. An empty context says nothing and changes nothing.
    ///
    /// A replay asks [`KeyState::accept`] with the record's ordinal first.
    pub fn feedback(&self, state: &mut KeyState, feedback: &Feedback) {
        if feedback.context.is_empty() {
            return;
        }
        match feedback.says {
            Says::Ours { until } => self.accept_as_ours(state, feedback, until),
            Says::Theft => self.reject_as_theft(state, feedback),
        }
    }

    /// Says that nobody was told of an alert about an actor, because somebody expects it: its episode is closed, so
    /// that its next request alerts again. It stays a newcomer that teaches nothing.
    ///
    /// A replay asks [`KeyState::accept`] with the record's ordinal first.
    pub fn suppress(&self, state: &mut KeyState, key: KeyId, actor: ActorId) {
        for slot in state.slots.iter_mut().filter(|slot| slot.actor == actor.bits()) {
            slot.close_episode();
        }
        for crowd in state.crowds.iter_mut().filter(|crowd| crowd.id(key) == actor) {
            crowd.close_episode();
        }
        if let Some(inside) = &mut state.inside {
            inside.release(|context| inside_id(key, context) == actor);
        }
        // What is expected does not put the key in circulation, unless another alert says so.
        let is_told = |tier: Option<Tier>| tier >= Some(Tier::Alert);
        if !state.slots.iter().any(|slot| is_told(slot.tier))
            && !state.crowds.iter().any(|crowd| is_told(crowd.tier))
        {
            state.alerted_at = None;
        }
    }

    fn accept_as_ours(&self, state: &mut KeyState, feedback: &Feedback, until: Timestamp) {
        state.trust(&feedback.context, until);
        if let Some(inside) = &mut state.inside {
            inside.release(|context| *context == feedback.context);
        }
        let (ours, others): (Vec<Slot>, Vec<Slot>) =
            state.slots.drain(..).partition(|slot| is_in(slot, feedback));
        state.slots = others;
        for slot in &ours {
            learn_caller(state, &slot.identity.features, slot.last_seen, true);
        }
        // What was alerted was honest: the key is not in circulation, unless another newcomer says so.
        if !ours.is_empty() && !state.slots.iter().any(|slot| slot.alerted) {
            state.alerted_at = None;
            state.crowds.clear();
        }
    }

    fn reject_as_theft(&self, state: &mut KeyState, feedback: &Feedback) {
        let context = &feedback.context;
        state.distrust(context);
        state.theft_at = Some(feedback.time);
        for slot in state.slots.iter_mut().filter(|slot| is_in(slot, feedback)) {
            slot.alerted = true;
        }
        // Only the leading dimension is forgotten: a thief who used the owner's client from elsewhere must
        // not make the owner's client unknown.
        let mut prints = ForgetPrints::default();
        if context.prefix.is_some() || context.asn.is_some() {
            prints.prefix = context.prefix.map_or(0, |prefix| print(prefix.bits()));
            prints.asn = context.asn.unwrap_or(0);
        } else if context.client.is_some() || context.tls.is_some() {
            prints.family = context.client.as_ref().map_or(0, |family| print(hash(family)));
            prints.tls = context.tls.map_or(0, print);
        } else {
            prints.template = context.template.map_or(0, print);
            prints.model = context.model.as_ref().map_or(0, |model| print(hash(model)));
        }
        state.known.forget(&prints);
    }
}

/// Whether a followed newcomer is in the context that was spoken of.
fn is_in(slot: &Slot, feedback: &Feedback) -> bool {
    let (context, identity) = (&feedback.context, &slot.identity);
    let features = &identity.features;
    if slot.context.as_ref().is_some_and(|own| **own == *context) {
        return true;
    }
    context.prefix.is_none_or(|prefix| prefix == identity.prefix)
        && context.asn.is_none_or(|asn| asn == features.asn)
        && context.country.is_none_or(|country| country == features.country)
        && context.kind.is_none_or(|kind| kind == features.kind)
        && context.client.as_ref().is_none_or(|client| *client == identity.family)
        && context.client_version.as_ref().is_none_or(|version| *version == identity.version)
        && context.tls.is_none_or(|tls| tls == identity.tls)
        && context.model.as_ref().is_none_or(|model| *model == identity.model)
        && context.template.is_none_or(|template| template == identity.template)
}
