//! Those who tell people: the deliverer of alerts, and the look-out for billing alarms.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokenwatch_gateway::Gateway;
use tokenwatch_model::ports::{Clock, Random};

use super::InForce;
use crate::alerts::deliver;
use crate::billing::{self, Meter};
use crate::state::State;

/// Both, running.
pub(super) struct Telling {
    alerts: deliver::Handle,
    billing: billing::Handle,
}

impl Telling {
    /// Starts both; whoever holds the lock of the outbox tells.
    pub(super) fn start(
        dir: &Path,
        state: &State,
        gateway: &Gateway,
        in_force: &InForce,
        meter: &Arc<Meter>,
        (clock, random): (&Arc<dyn Clock>, &Arc<dyn Random>),
    ) -> std::io::Result<Self> {
        let is_teller = Arc::new(AtomicBool::new(false));
        let alerts = deliver::start(deliver::Parts {
            dir: dir.to_owned(),
            store: state.store.clone(),
            clock: clock.clone(),
            random: random.clone(),
            metrics: gateway.metrics.clone(),
            desk: in_force.desk.clone(),
            is_teller: is_teller.clone(),
        })?;
        let billing = billing::start(billing::Parts {
            store: state.store.clone(),
            clock: clock.clone(),
            random: random.clone(),
            metrics: gateway.metrics.clone(),
            meter: meter.clone(),
            rules: in_force.billing.clone(),
            defaults: in_force.defaults.clone(),
            is_teller,
            epoch: state.epoch(),
        })?;
        Ok(Self { alerts, billing })
    }

    /// Ends both; what waits is told after the next start.
    pub(super) fn stop(self) {
        self.billing.stop();
        self.alerts.stop();
    }
}
