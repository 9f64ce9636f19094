//! Places: addresses, countries, travel.

use tokenwatch_model::finding::Severity;
use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::time::{HOUR, MINUTE};

use super::volume::DAYS_MIN;
use super::{About, Hit, Rule, View, catalogue};
use crate::geography::distance_min_km;
use crate::known::dimension;

/// Too many addresses must last so long.
const SUSTAINED: u64 = 10 * MINUTE;
/// Fewer tokens in ten minutes are never many.
const TOKENS_FLOOR: f64 = 20_000.0;
/// Faster than any airliner, and further than tables err.
const SPEED_KM_H: f64 = 1_000.0;
const DISTANCE_KM: f64 = 500.0;

/// An address in a block that is not among the key's; a /24 or /48, because clouds and carriers hand out
/// single addresses at random. Silent on keys where new blocks are everyday.
pub(super) struct UnknownSource;

impl Rule for UnknownSource {
    fn about(&self) -> &'static About {
        &catalogue::UNKNOWN_SOURCE
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        (view.novelty.has(dimension::PREFIX) && !view.is_routine(dimension::PREFIX)).then(|| {
            let source = &view.event.request.source;
            let summary =
                format!("{} is in {}, where this key never came from.", source.address, source.prefix());
            Hit::new(Severity::High, 1.0, summary).by_caller()
        })
    }
}

/// A country the key never came from, with over three times the tokens the key uses in ten minutes, within
/// ten minutes.
pub(super) struct NewCountry;

impl Rule for NewCountry {
    fn about(&self) -> &'static About {
        &catalogue::NEW_COUNTRY
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        if !view.novelty.has(dimension::COUNTRY) || !view.event.outcome.was_forwarded() {
            return None;
        }
        let usual = view.baseline.tokens_per_minute().unwrap_or(0.0) * 10.0;
        let limit = (3.0 * usual).max(TOKENS_FLOOR);
        let tokens = view.windows.country_tokens;
        (tokens as f64 > limit).then(|| {
            let summary = format!(
                "First requests from {}, and {tokens} tokens within 10 minutes (the key uses about {usual:.0}).",
                view.windows.country
            );
            Hit::new(Severity::High, tokens as f64 / limit, summary).by_caller()
        })
    }
}

/// Distinct addresses of the day over 1.5 times the mean of the kept days, for ten minutes.
pub(super) struct NewSources;

impl Rule for NewSources {
    fn about(&self) -> &'static About {
        &catalogue::NEW_SOURCES
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        let since = view.windows.sources_since?;
        if view.event.request.time.since(since) < SUSTAINED || view.baseline.days().len() < DAYS_MIN {
            return None;
        }
        let usual = view.baseline.spread(|day| f64::from(day.sources))?.mean;
        let now = view.windows.sources();
        let summary =
            format!("{now} addresses today, over 1.5 times the usual {usual:.0}, for over 10 minutes.");
        Some(Hit::new(Severity::Medium, now as f64 / (1.5 * usual), summary))
    }
}

/// Two access networks in countries further apart than anybody travels in the time between; hosting and
/// VPN exits are nowhere in particular, countries the key is known from are its own regions, and a key whose
/// blocks change every day belongs to many people.
pub(super) struct ImpossibleTravel;

impl Rule for ImpossibleTravel {
    fn about(&self) -> &'static About {
        &catalogue::IMPOSSIBLE_TRAVEL
    }

    fn check(&self, view: &View<'_>) -> Option<Hit> {
        let is_person = view.features.kind == NetworkKind::Access && !view.is_routine(dimension::PREFIX);
        if !is_person || !view.novelty.has(dimension::COUNTRY) || !view.event.outcome.was_forwarded() {
            return None;
        }
        let (from, left) = view.windows.place_before?;
        let (to, arrived) = view.windows.place?;
        let km = distance_min_km(from, to)?;
        let hours = arrived.since(left) as f64 / HOUR as f64;
        let speed = km / hours.max(1.0 / 60.0);
        (km > DISTANCE_KM && speed > SPEED_KM_H).then(|| {
            let minutes = arrived.since(left) / MINUTE;
            let summary =
                format!("Used from {from} and {minutes} minutes later from {to}, at least {km:.0} km away.");
            Hit::new(Severity::High, speed / SPEED_KM_H, summary).by_caller()
        })
    }
}
