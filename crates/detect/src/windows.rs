//! What a key is doing right now: minutes, the hour, the day, as rules compare it with the baseline.
//!
//! Unlike the baseline this counts all forwarded traffic, newcomers included; refused requests count only
//! as probing.

use serde::{Deserialize, Serialize};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::Country;
use tokenwatch_model::time::{MINUTE, Timestamp};

use crate::baseline::Baseline;
use crate::behaviour::{is_error, recon_bits};
use crate::features::Features;
use crate::known::{Novelty, dimension};
use crate::math::{distinct, hash, join, mark};

/// Length of the windows for probing and for new countries.
const TEN_MINUTES: u64 = 10 * MINUTE;

/// Running counts.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Windows {
    minute: u64,
    minutes: [u32; 15],
    hour: u32,
    pub(crate) hour_requests: u32,
    pub(crate) hour_cost: NanoUsd,
    hour_clients: [u64; 2],
    day: u32,
    pub(crate) day_requests: u32,
    pub(crate) day_cost: NanoUsd,
    pub(crate) day_off_hours: u32,
    pub(crate) day_odd_models: u32,
    day_sources: [u64; 4],
    /// Since when the 15-minute rate has been too high.
    pub(crate) spike_since: Option<Timestamp>,
    /// Since when there have been too many addresses.
    pub(crate) sources_since: Option<Timestamp>,
    pub(crate) country: Country,
    pub(crate) country_since: Timestamp,
    pub(crate) country_tokens: u64,
    /// The latest located request, and the one before from another country.
    pub(crate) place: Option<(Country, Timestamp)>,
    pub(crate) place_before: Option<(Country, Timestamp)>,
    probing_since: Timestamp,
    pub(crate) probing: u16,
    pub(crate) probing_errors: u32,
    /// Time of the event before the latest.
    pub(crate) before: Option<Timestamp>,
    latest: Option<Timestamp>,
}

/// A day in a row of many: the distinct addresses of a request.
pub(crate) fn address_bits(event: &UsageEvent) -> u64 {
    match event.request.source.address {
        std::net::IpAddr::V4(v4) => u64::from(u32::from(v4)),
        std::net::IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            join((bits >> 64) as u64, bits as u64)
        }
    }
}

impl Windows {
    /// Counts one event; the baseline is the one before it.
    pub(crate) fn note(
        &mut self,
        event: &UsageEvent,
        features: &Features,
        novelty: Novelty,
        baseline: &Baseline,
    ) {
        let now = event.request.time;
        self.before = self.latest;
        self.latest = Some(now);
        self.note_probing(event, now);
        if !event.outcome.was_forwarded() {
            return;
        }
        self.roll(now);
        if let Some(count) = self.minutes.get_mut((self.minute % 15) as usize) {
            *count = count.saturating_add(1);
        }
        self.hour_requests = self.hour_requests.saturating_add(1);
        self.hour_cost += event.cost;
        let client = join(hash(&event.request.client.family), hash(&event.request.client.version));
        mark(&mut self.hour_clients, client);
        self.day_requests = self.day_requests.saturating_add(1);
        self.day_cost += event.cost;
        mark(&mut self.day_sources, address_bits(event));
        if baseline.hour_share(now.hour_of_day()).is_some_and(|share| share <= 0.01) {
            self.day_off_hours = self.day_off_hours.saturating_add(1);
        }
        if novelty.has(dimension::MODEL) || novelty.has(dimension::ENDPOINT) {
            self.day_odd_models = self.day_odd_models.saturating_add(1);
        }
        self.note_country(event, features, novelty, now);
        self.note_sustained(baseline, now);
    }

    fn note_probing(&mut self, event: &UsageEvent, now: Timestamp) {
        if now.since(self.probing_since) > TEN_MINUTES {
            (self.probing_since, self.probing, self.probing_errors) = (now, 0, 0);
        }
        let bits = recon_bits(event);
        self.probing |= bits;
        self.probing_errors = self.probing_errors.saturating_add(u32::from(is_error(bits)));
    }

    fn note_country(&mut self, event: &UsageEvent, features: &Features, novelty: Novelty, now: Timestamp) {
        if novelty.has(dimension::COUNTRY) {
            if self.country != features.country || now.since(self.country_since) > TEN_MINUTES {
                (self.country, self.country_since, self.country_tokens) = (features.country, now, 0);
            }
            self.country_tokens = self.country_tokens.saturating_add(event.usage.total());
        }
        if features.country.is_known() {
            if let Some((country, _)) = self.place
                && country != features.country
            {
                self.place_before = self.place;
            }
            self.place = Some((features.country, now));
        }
    }

    /// Keeps since when a condition has held without a break.
    fn note_sustained(&mut self, baseline: &Baseline, now: Timestamp) {
        let hold = |since: Option<Timestamp>, holds: bool| holds.then(|| since.unwrap_or(now));
        let rate = self.last_15_minutes() * 4;
        let usual = baseline.same_hour(now);
        self.spike_since = hold(self.spike_since, usual > 0.0 && rate >= 40 && rate as f64 > 3.0 * usual);
        let usual = baseline.spread(|day| f64::from(day.sources)).map_or(0.0, |spread| spread.mean);
        let many = usual > 0.0 && self.sources() >= 4 && self.sources() as f64 > 1.5 * usual;
        self.sources_since = hold(self.sources_since, many);
    }

    fn roll(&mut self, now: Timestamp) {
        let minute = now.seconds() / 60;
        if minute > self.minute {
            for passed in self.minute.max(minute.saturating_sub(15)) + 1..=minute {
                if let Some(count) = self.minutes.get_mut((passed % 15) as usize) {
                    *count = 0;
                }
            }
            self.minute = minute;
        }
        if now.hour() > self.hour {
            (self.hour, self.hour_requests, self.hour_cost) = (now.hour(), 0, NanoUsd::ZERO);
            self.hour_clients = [0; 2];
        }
        if now.day() > self.day {
            (self.day, self.day_requests, self.day_cost) = (now.day(), 0, NanoUsd::ZERO);
            (self.day_off_hours, self.day_odd_models) = (0, 0);
            self.day_sources = [0; 4];
        }
    }

    /// Requests in this minute.
    pub(crate) fn this_minute(&self) -> u32 {
        self.minutes.get((self.minute % 15) as usize).copied().unwrap_or(0)
    }

    /// Requests in the last 15 minutes.
    pub(crate) fn last_15_minutes(&self) -> u64 {
        self.minutes.iter().map(|&count| u64::from(count)).sum()
    }

    /// Distinct addresses today, estimated.
    pub(crate) fn sources(&self) -> u64 {
        distinct(&self.day_sources)
    }

    /// Distinct clients in this hour, estimated.
    pub(crate) fn clients(&self) -> u16 {
        u16::try_from(distinct(&self.hour_clients)).unwrap_or(u16::MAX)
    }
}
