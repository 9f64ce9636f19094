//! The same answer again and again: scraping, benchmarks, or probing whether a stolen key still works.

use tokenwatch_model::finding::Severity;

use super::{About, Hit, Rule, View, catalogue};
use crate::features::actor_of;

/// Answers that are nearly one before that is worth telling.
const SAME_MIN: u32 = 20;
/// Share of a caller's answers.
const SHARE: f64 = 0.8;
/// On a key whose own answers repeat like this, repeating is how it is used.
const OWN_MAX: f64 = 0.2;

/// Twenty or more answers to one unknown caller that differ in at most 3 of 64 bits, four of five it got; on a key whose own
/// answers seldom repeat. Answers that the key itself gets again and again, a health check's, do not count.
pub(super) struct SameAnswers;

impl Rule for SameAnswers {
    fn about(&self) -> &'static About {
        &catalogue::SAME_ANSWERS
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        if view.event.completion == 0 || view.state.slots.is_empty() {
            return None;
        }
        let own = view.state.content.repeats().filter(|own| *own < OWN_MAX)?;
        let actor = actor_of(&view.event.request).bits();
        let slot = view.state.slots.iter().find(|slot| slot.actor == actor)?;
        let (same, all) = slot.told.same_answers();
        let share = f64::from(same) / f64::from(all);
        (same >= SAME_MIN && share >= SHARE).then(|| {
            let summary = format!(
                "{same} of {all} answers to one unknown caller are nearly the same; of this key's own, {:.0} % repeat.",
                own * 100.0
            );
            Hit::new(Severity::Medium, share / SHARE, summary).by_caller()
        })
    }
}
