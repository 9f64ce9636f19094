//! Alerts that people look at or try, outside the outbox: rendered for their eyes, or sent as a test.

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokenwatch_console::alerts::{AlertHost, MessageOut, StandIn, Ways};
use tokenwatch_model::SmolStr;
use tokenwatch_model::alert::{AlertCause, Delivery, Message, StoredAlert};
use tokenwatch_outside::{Destination, send};
use tokenwatch_store::Store;

use super::{Case, Desk, Sending, Story, bring_up_to_date};

/// The desk as in force, and what alerts were made of.
pub(crate) struct Host {
    pub(crate) desk: Arc<ArcSwap<Desk>>,
    pub(crate) store: Store,
}

impl Host {
    fn rendered(&self, delivery: &Delivery) -> anyhow::Result<Option<MessageOut>> {
        let desk = self.desk.load();
        let (Some(mut stored), Some(ready)) =
            (self.store.alert(delivery.sequence)?, desk.destinations.get(&delivery.destination))
        else {
            return Ok(None);
        };
        if delivery.cause == AlertCause::Escalated {
            bring_up_to_date(&self.store, &mut stored)?;
        }
        if let Some(incident) = stored.subject.incident()
            && self.store.key(incident.key)?.is_none()
        {
            return Ok(None);
        }
        let story = Story::load(&self.store, &stored.subject)?;
        let sending = Sending { now: stored.time, links: None };
        let to = (&delivery.destination, ready);
        let (_, message) = desk.render(to, &stored, delivery.cause, &story, &sending);
        Ok(Some(message.into()))
    }
}

impl AlertHost for Host {
    fn ways(&self) -> Ways {
        self.desk.load().ways()
    }

    fn send(&self, to: &[SmolStr], alert: &StoredAlert, stand_in: &StandIn) -> Vec<Result<(), String>> {
        let desk = self.desk.load();
        let ready = to.iter().map(|name| addressed(&desk, name, alert, stand_in)).collect();
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(send_all(ready, alert)),
            Err(error) => to.iter().map(|_| Err(error.to_string())).collect(),
        }
    }

    fn message(&self, delivery: &Delivery) -> Result<Option<MessageOut>, String> {
        self.rendered(delivery).map_err(|error| format!("{error:#}"))
    }
}

type Addressed = anyhow::Result<(Destination, Message)>;

/// The message for a destination, and the way there.
fn addressed(desk: &Desk, name: &SmolStr, alert: &StoredAlert, stand_in: &StandIn) -> Addressed {
    let ready = desk.destinations.get(name).context("no such destination")?;
    let incident = alert.subject.incident().context("a test is about an incident")?;
    let case = Case {
        key: stand_in.key.clone(),
        owner: stand_in.owner.clone(),
        containments: Vec::new(),
        beside: Vec::new(),
    };
    let story = Story::Incident(incident, Box::new(case));
    let sending = Sending { now: alert.time, links: None };
    let (_, message) = desk.render((name, ready), alert, AlertCause::Test, &story, &sending);
    Ok((ready.way()?, message))
}

/// Sends all at once: a slow receiver holds no other up.
async fn send_all(ready: Vec<Addressed>, alert: &StoredAlert) -> Vec<Result<(), String>> {
    let now = alert.time;
    let start = |addressed: Addressed| {
        tokio::spawn(async move {
            let (way, message) = addressed.map_err(|error| format!("{error:#}"))?;
            send(&way, &message, now).await.map_err(|error| error.to_string())
        })
    };
    let under_way: Vec<_> = ready.into_iter().map(start).collect();
    let mut results = Vec::new();
    for sent in under_way {
        results.push(sent.await.unwrap_or_else(|_| Err("sending broke off".to_owned())));
    }
    results
}
