//! Requests: a minute, a quarter of an hour, a day.

use tokenwatch_model::finding::Severity;
use tokenwatch_model::time::MINUTE;

use super::{About, Hit, Rule, View, catalogue};

/// Days of history below which a daily mean says little.
pub(super) const DAYS_MIN: usize = 3;
/// A minute with fewer requests is never a burst.
const MINUTE_FLOOR: u32 = 20;
/// A spike must last so long.
const SUSTAINED: u64 = 5 * MINUTE;

/// Requests of a minute over five times the mean of minutes with any, over 30 days.
pub(super) struct RequestsPerMinute;

impl Rule for RequestsPerMinute {
    fn about(&self) -> &'static About {
        &catalogue::REQUESTS_PER_MINUTE
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        let now = view.windows.this_minute();
        if now < MINUTE_FLOOR || view.baseline.days().len() < DAYS_MIN {
            return None;
        }
        let usual = view.baseline.requests_per_minute()?;
        let ratio = f64::from(now) / usual;
        (ratio > 5.0).then(|| {
            let summary = format!("{now} requests in this minute, {ratio:.0} times the usual {usual:.1}.");
            Hit::new(Severity::High, ratio / 5.0, summary)
        })
    }
}

/// Requests of a calendar day over mean + 3 sigma (sample sigma over the kept days).
pub(super) struct VolumeSpike;

impl Rule for VolumeSpike {
    fn about(&self) -> &'static About {
        &catalogue::VOLUME_SPIKE
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        if view.baseline.days().len() < DAYS_MIN {
            return None;
        }
        let spread = view.baseline.spread(|day| f64::from(day.requests))?;
        let today = f64::from(view.windows.day_requests);
        let limit = spread.mean + 3.0 * spread.sigma;
        (spread.sigma > 0.0 && today > limit).then(|| {
            let critical = today > 10.0 * spread.mean;
            let summary = format!(
                "{today:.0} requests today, over mean + 3 sigma = {limit:.0} (mean {:.0}, sigma {:.0}).",
                spread.mean, spread.sigma
            );
            let severity = if critical { Severity::Critical } else { Severity::High };
            Hit { level: 1 + u8::from(critical), ..Hit::new(severity, today / limit, summary) }
        })
    }
}

/// 15-minute rate over three times the mean of the same hour in the past seven days, for five minutes.
pub(super) struct UsageSpike;

impl Rule for UsageSpike {
    fn about(&self) -> &'static About {
        &catalogue::USAGE_SPIKE
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        let now = view.event.request.time;
        let since = view.windows.spike_since?;
        if now.since(since) < SUSTAINED || view.baseline.days().len() < DAYS_MIN {
            return None;
        }
        let rate = view.windows.last_15_minutes() * 4;
        let usual = view.baseline.same_hour(now);
        let ratio = rate as f64 / usual;
        let summary = format!(
            "{rate} requests an hour over the last 15 minutes, {ratio:.1} times the {usual:.0} of this hour in \
             the past week, for over 5 minutes."
        );
        Some(Hit::new(Severity::Critical, ratio / 3.0, summary))
    }
}
