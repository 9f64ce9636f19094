//! Probing like a key checker.

use tokenwatch_model::finding::Severity;

use super::{About, Hit, Rule, View, catalogue};
use crate::behaviour::recon;

/// Errors within ten minutes that make a burst.
const ERRORS_MIN: u32 = 2;

/// Within ten minutes: three kinds of probing, at least one of them deliberate (models listed, billing
/// called, answers of a token or two), and errors.
pub(super) struct Recon;

impl Rule for Recon {
    fn about(&self) -> &'static About {
        &catalogue::RECON
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        let bits = view.windows.probing;
        let errors = view.windows.probing_errors;
        if bits.count_ones() < 3 || bits & recon::DELIBERATE == 0 || errors < ERRORS_MIN {
            return None;
        }
        let summary = format!("Probing within 10 minutes: {}; {errors} errors.", words(bits).join(", "));
        Some(Hit::new(Severity::High, f64::from(bits.count_ones()) / 3.0, summary).by_caller())
    }
}

fn words(bits: u16) -> Vec<&'static str> {
    [
        (recon::LISTED, "models listed"),
        (recon::ADMIN, "organisation or billing called"),
        (recon::BAD_REQUEST, "malformed requests"),
        (recon::DENIED, "requests without permission"),
        (recon::MISSING, "names that do not exist"),
        (recon::LIMITED, "rate limits run into"),
        (recon::TINY, "answers limited to a token or two"),
    ]
    .into_iter()
    .filter(|(bit, _)| bits & bit != 0)
    .map(|(_, words)| words)
    .collect()
}
