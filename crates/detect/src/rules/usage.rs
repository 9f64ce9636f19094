//! What is called: models and endpoints.

use tokenwatch_model::finding::Severity;

use super::{About, Hit, Rule, View, catalogue};
use crate::known::dimension;

/// A day with fewer requests has no mix to speak of.
const REQUESTS_MIN: u32 = 20;
/// Share of a day's requests outside the profile.
const SHARE: f64 = 0.3;

/// A model that is not among the key's.
pub(super) struct UnknownModel;

impl Rule for UnknownModel {
    fn about(&self) -> &'static About {
        &catalogue::UNKNOWN_MODEL
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        view.novelty.has(dimension::MODEL).then(|| {
            let known = view.state.known.models.len();
            let summary =
                format!("Model {} is not among the {known} this key uses.", view.event.request.model);
            Hit::new(Severity::High, 1.0, summary).by_caller()
        })
    }
}

/// Over 30 % of a day's requests go to models or endpoints outside the key's profile.
pub(super) struct ModelProfile;

impl Rule for ModelProfile {
    fn about(&self) -> &'static About {
        &catalogue::MODEL_PROFILE
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        let (odd, all) = (view.windows.day_odd_models, view.windows.day_requests);
        let share = f64::from(odd) / f64::from(all.max(1));
        (all >= REQUESTS_MIN && share > SHARE).then(|| {
            let summary = format!(
                "{odd} of {all} requests today went to models or endpoints outside this key's profile."
            );
            Hit::new(Severity::High, share / SHARE, summary)
        })
    }
}
