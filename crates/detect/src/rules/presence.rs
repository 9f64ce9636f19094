//! When and by how many a key is used.

use tokenwatch_model::finding::Severity;
use tokenwatch_model::time::{DAY, human_span};

use super::volume::DAYS_MIN;
use super::{About, Hit, Rule, View, catalogue};

/// Share of a day's requests at unusual hours.
const SHARE: f64 = 0.3;
/// Fewer requests at unusual hours are never usage.
const REQUESTS_MIN: u32 = 10;
/// Distinct clients in an hour that no single application has.
const CLIENTS_MIN: u16 = 8;
/// Silence after which a key counts as dormant.
const DORMANT_AFTER: u64 = 30 * DAY;

/// Over 30 % of a day's requests in hours of the day that held at most 1 % of the key's traffic. While the
/// day is young, the usual number of requests stands in for its total.
pub(super) struct OffHours;

impl Rule for OffHours {
    fn about(&self) -> &'static About {
        &catalogue::OFF_HOURS
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        let odd = view.windows.day_off_hours;
        if odd < REQUESTS_MIN || view.baseline.days().len() < DAYS_MIN {
            return None;
        }
        let usual = view.baseline.spread(|day| f64::from(day.requests))?.mean;
        let all = f64::from(view.windows.day_requests).max(usual);
        let share = f64::from(odd) / all;
        (share > SHARE).then(|| {
            let summary = format!(
                "{odd} requests today at hours that hold at most 1 % of this key's use, {:.0} % of a day.",
                share * 100.0
            );
            Hit::new(Severity::Medium, share / SHARE, summary)
        })
    }
}

/// Distinct clients in an hour over eight and over three times the most of any kept day.
pub(super) struct ManyClients;

impl Rule for ManyClients {
    fn about(&self) -> &'static About {
        &catalogue::MANY_CLIENTS
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        let now = view.windows.clients();
        if now < CLIENTS_MIN {
            return None;
        }
        let usual = view.baseline.days().iter().map(|day| day.clients).max()?.max(1);
        (now > usual.saturating_mul(3)).then(|| {
            let summary =
                format!("{now} different clients within an hour; this key had at most {usual} before.");
            Hit::new(Severity::High, f64::from(now) / f64::from(usual) / 3.0, summary)
        })
    }
}

/// First use after 30 days of silence.
pub(super) struct Dormant;

impl Rule for Dormant {
    fn about(&self) -> &'static About {
        &catalogue::DORMANT
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        let silent = view.event.request.time.since(view.windows.before?);
        (silent > DORMANT_AFTER).then(|| {
            let summary = format!("Used again after {} of silence.", human_span(silent));
            Hit::new(Severity::Medium, silent as f64 / DORMANT_AFTER as f64, summary).by_caller()
        })
    }
}
