//! Meters of clamps: what a clamped key or context has used of its own normal.

use tokenwatch_model::containment::{Action, Clamp, Containment};
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::id::ContainmentId;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::{HOUR, MINUTE, Timestamp};

struct Meter {
    id: ContainmentId,
    minute: u64,
    requests: u64,
    hour: u64,
    cost: NanoUsd,
}

/// One meter per clamp in force. Fixed windows: a clamp is coarse on purpose and lives for hours.
#[derive(Default)]
pub(crate) struct ClampMeters(Vec<Meter>);

impl ClampMeters {
    /// Most meters on one key; older ones make room.
    const MAX: usize = 32;

    fn meter(&mut self, id: ContainmentId, now: Timestamp) -> &mut Meter {
        let at = self.0.iter().position(|meter| meter.id == id).unwrap_or_else(|| {
            if self.0.len() >= Self::MAX {
                self.0.remove(0);
            }
            self.0.push(Meter { id, minute: 0, requests: 0, hour: 0, cost: NanoUsd::ZERO });
            self.0.len() - 1
        });
        let meter = &mut self.0[at];
        let (minute, hour) = (now.0 / MINUTE, now.0 / HOUR);
        if meter.minute < minute {
            (meter.minute, meter.requests) = (minute, 0);
        }
        if meter.hour < hour {
            (meter.hour, meter.cost) = (hour, NanoUsd::ZERO);
        }
        meter
    }

    /// Counts a request against a clamp, or says that there is no room and when to try again.
    pub(crate) fn admit(
        &mut self,
        id: ContainmentId,
        clamp: &Clamp,
        request: &RequestContext,
    ) -> Result<(), Option<u64>> {
        if clamp.only.as_ref().is_some_and(|context| !context.matches(request)) {
            return Ok(());
        }
        if clamp
            .models
            .as_ref()
            .is_some_and(|models| !request.model.is_empty() && !models.contains(&request.model))
        {
            return Err(None);
        }
        let now = request.time;
        let meter = self.meter(id, now);
        if clamp.requests_per_minute.is_some_and(|limit| meter.requests >= limit) {
            return Err(Some(MINUTE - now.0 % MINUTE));
        }
        if clamp.cost_per_hour.is_some_and(|limit| meter.cost >= limit) {
            return Err(Some(HOUR - now.0 % HOUR));
        }
        meter.requests += 1;
        Ok(())
    }

    /// Books the cost of a finished request on every clamp that covers it.
    pub(crate) fn book(
        &mut self,
        containments: &[Containment],
        request: &RequestContext,
        end: Timestamp,
        cost: NanoUsd,
    ) {
        for containment in containments {
            let Action::Clamp(clamp) = &containment.action else { continue };
            if !containment.in_force(end) {
                continue;
            }
            if clamp.only.as_ref().is_none_or(|context| context.matches(request)) {
                self.meter(containment.id, end).cost += cost;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::id::KeyId;

    use super::*;
    use crate::testing::request;

    #[test]
    fn a_clamp_holds_to_its_rate_money_and_models() {
        let mut meters = ClampMeters::default();
        let id = ContainmentId::from_bits(1);
        let mut call = request(KeyId::from_bits(1));
        call.model = "gpt-4o-mini".into();
        call.time = Timestamp::from_seconds(30);
        let clamp = Clamp {
            requests_per_minute: Some(1),
            cost_per_hour: Some(NanoUsd::from_cents(5)),
            models: Some(vec!["gpt-4o-mini".into()]),
            ..Clamp::default()
        };
        assert_eq!(meters.admit(id, &clamp, &call), Ok(()));
        assert_eq!(meters.admit(id, &clamp, &call), Err(Some(30 * 1_000_000)));
        call.time = Timestamp::from_seconds(60);
        assert_eq!(meters.admit(id, &clamp, &call), Ok(()));
        let containment = Containment {
            id,
            key: call.key,
            incident: None,
            action: Action::Clamp(clamp.clone()),
            reason: String::new(),
            created: call.time,
            expires: None,
            lifted: None,
            revision: 1,
        };
        meters.book(&[containment], &call, call.time, NanoUsd::from_cents(5));
        call.time = Timestamp::from_seconds(120);
        assert_eq!(meters.admit(id, &clamp, &call), Err(Some((3_600 - 120) * 1_000_000)));
        call.model = "gpt-5".into();
        assert_eq!(meters.admit(id, &clamp, &call), Err(None));
    }
}
