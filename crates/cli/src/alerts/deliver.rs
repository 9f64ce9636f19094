//! The deliverer: takes alerts from the outbox to their receivers, and keeps at it.
//!
//! ```text
//! alerts (written with the incident) ──route──► deliveries ──pick──► render ──send──► sent, or tried again later
//! ```
//!
//! Invariants:
//! * One deliverer for a state directory: who holds the lock of a file, which the kernel takes back from the dead.
//! * A delivery is marked only after its receiver took it: a crash in between sends it again, with the same id.
//! * One message at a time to a destination; destinations do not wait for each other.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokenwatch_model::SmolStr;
use tokenwatch_model::alert::{AlertCause, Delivery, Failure, StoredAlert, Subject, SubjectId};
use tokenwatch_model::incident::IncidentState;
use tokenwatch_model::ports::{Clock, Random};
use tokenwatch_model::time::{DAY, MINUTE, SECOND, Timestamp};
use tokenwatch_outside::{SendError, send};
use tokenwatch_respond::alert::schedule::{Pick, after_failure, pick};
use tokenwatch_respond::incident::{expired, is_acknowledged};
use tokenwatch_store::{IncidentFilter, NewDelivery, Store};
use tokenwatch_telemetry::metrics::Metrics;
use tokenwatch_telemetry::told::{AlertTried, AlertUnrouted};
use tokio::sync::{mpsc, watch};

use super::{Desk, Sending, Story, bring_up_to_date};

/// How often the outbox is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What is under way at a stop gets so long.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Alerts routed, and deliveries of one destination looked at, in one go.
const LOOK_MAX: u32 = 1_000;
/// How long a destination rests when the store can not be written: it would get the same again and again.
const REST: u64 = 10 * SECOND;
/// How long what was sent is remembered.
const KEEP: u64 = 30 * DAY;
/// Held by who delivers.
const LOCK: &str = "alerts.lock";

/// What a deliverer works with.
pub(crate) struct Parts {
    pub(crate) dir: PathBuf,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) desk: Arc<ArcSwap<Desk>>,
    /// Set while this server is the one that delivers.
    pub(crate) is_teller: Arc<AtomicBool>,
}

/// A running deliverer.
pub(crate) struct Handle {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Ends it; what is under way gets a moment, what waits is sent after the next start.
    pub(crate) fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.thread.join();
    }
}

/// Starts the deliverer's thread. It has a runtime of its own, because the store may block.
pub(crate) fn start(parts: Parts) -> std::io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = watch::channel(false);
    let run = move || runtime.block_on(run(parts, stopped));
    let thread = std::thread::Builder::new().name("alerts".to_owned()).spawn(run)?;
    Ok(Handle { stop, thread })
}

async fn run(parts: Parts, mut stopped: watch::Receiver<bool>) {
    let lock = loop {
        match lock(&parts.dir) {
            Ok(Some(lock)) => break lock,
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "nobody is told of anything: {LOCK} can not be locked"),
        }
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(LOOK_EVERY * 5) => {}
        }
    };
    let is_teller = parts.is_teller.clone();
    is_teller.store(true, Ordering::Relaxed);
    let (done, mut ended) = mpsc::unbounded_channel();
    let mut deliverer =
        Deliverer { parts, done, busy: HashSet::new(), holds: HashMap::new(), swept: Timestamp(0) };
    loop {
        if let Err(error) = deliverer.look() {
            tracing::error!(
                error = format!("{error:#}"),
                "the outbox of alerts can not be worked on; trying again"
            );
        }
        tokio::select! {
            _ = stopped.changed() => break,
            Some(done) = ended.recv() => deliverer.settle(&done),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    let last = async {
        while !deliverer.busy.is_empty() {
            let Some(done) = ended.recv().await else { break };
            deliverer.settle(&done);
        }
    };
    // What is still under way then is sent again after the next start.
    let _ = tokio::time::timeout(END_WITHIN, last).await;
    is_teller.store(false, Ordering::Relaxed);
    drop(lock);
}

/// The lock, unless another process holds it.
fn lock(dir: &Path) -> std::io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// How a try ended.
struct Done {
    delivery: Delivery,
    pick: Pick,
    alert: String,
    sent: Result<(), SendError>,
}

struct Deliverer {
    parts: Parts,
    done: mpsc::UnboundedSender<Done>,
    /// Destinations that a message is on its way to.
    busy: HashSet<SmolStr>,
    /// Until when destinations are left alone.
    holds: HashMap<SmolStr, Timestamp>,
    /// When what is old was forgotten, and what ran out was told of.
    swept: Timestamp,
}

impl Deliverer {
    /// Routes what is new and sends what is due. What is wrong with one alert or destination holds up no other.
    fn look(&mut self) -> anyhow::Result<()> {
        let now = self.parts.clock.now();
        let desk = self.parts.desk.load_full();
        if now.since(self.swept) > MINUTE {
            self.swept = now;
            self.parts.store.prune_alerts(Timestamp(now.0.saturating_sub(KEEP)))?;
            self.note_expired(now)?;
        }
        self.route(&desk, now)?;
        let snoozed = self.parts.store.snoozes(now)?.into_iter();
        let snoozes: HashMap<_, _> = snoozed.map(|(id, until)| (SubjectId::Incident(id), until)).collect();
        for name in desk.destinations.keys() {
            let is_held = self.holds.get(name).is_some_and(|until| now < *until);
            if is_held || self.busy.contains(name) {
                continue;
            }
            if let Err(error) = self.serve(name, &desk, &snoozes, now) {
                tracing::error!(alert.destination = %name, error = format!("{error:#}"), "an alert can not be sent");
                self.holds.insert(name.clone(), now.plus(REST));
            }
        }
        let pending = self.parts.store.pending(now)?;
        self.parts.metrics.alerts.pending.set((), pending.due);
        self.parts.metrics.alerts.lag.set((), pending.oldest.map_or(0, |oldest| now.since(oldest)));
        Ok(())
    }

    /// Sends a destination what is due for it.
    fn serve(
        &mut self,
        name: &SmolStr,
        desk: &Desk,
        snoozes: &HashMap<SubjectId, Timestamp>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let pending = self.parts.store.pending_deliveries(name, LOOK_MAX)?;
        let Some(pick) = pick(&pending, |subject| snoozes.get(&subject).copied(), now) else {
            return Ok(());
        };
        match pending.into_iter().find(|delivery| delivery.id == pick.id) {
            Some(delivery) => self.start(desk, delivery, pick, now),
            None => Ok(()),
        }
    }

    /// Decides who is told of new alerts, those about the same in order.
    fn route(&self, desk: &Desk, now: Timestamp) -> anyhow::Result<()> {
        let mut stuck: HashSet<SubjectId> = HashSet::new();
        for alert in self.parts.store.unrouted_alerts(LOOK_MAX)? {
            let id = alert.subject.id();
            if stuck.contains(&id) {
                continue;
            }
            if let Err(error) = self.route_one(desk, &alert, now) {
                tracing::error!(alert.subject = %id, error = format!("{error:#}"), "nobody is told of an alert yet");
                stuck.insert(id);
            }
        }
        Ok(())
    }

    fn route_one(&self, desk: &Desk, alert: &StoredAlert, now: Timestamp) -> anyhow::Result<()> {
        let store = &self.parts.store;
        let story = Story::load(store, &alert.subject)?;
        let before = store.deliveries_of(alert.subject.id())?;
        let planned = desk.routing().decide(alert, story.whose(), &before, now);
        if planned.is_empty() && !desk.routes.is_empty() {
            let subject = alert.subject.id().to_string();
            AlertUnrouted { subject: &subject, cause: alert.cause.name() }.emit(&self.parts.metrics);
        }
        let new = planned.into_iter().map(|planned| NewDelivery {
            destination: planned.destination,
            route: planned.route,
            cause: planned.cause,
            due: planned.due,
        });
        Ok(store.route_alert(alert, &new.collect::<Vec<_>>(), now)?)
    }

    /// Tells of incidents whose containments ran out: time changes no row, so nobody else does.
    fn note_expired(&self, now: Timestamp) -> anyhow::Result<()> {
        let store = &self.parts.store;
        let filter = IncidentFilter { open_only: true, key: None, limit: None };
        for incident in store.incidents(filter)? {
            if incident.state != IncidentState::Contained {
                continue;
            }
            let containments = store.containments_of(incident.key)?;
            let Some((incident, ended)) = expired(&incident, &containments, now) else { continue };
            // Older ones were told of before, and that is forgotten in time.
            if now.since(ended) < DAY {
                let cause = AlertCause::Updated;
                let subject = Subject::Incident(Box::new(incident));
                store.note_expired(&StoredAlert { sequence: 0, time: ended, cause, subject })?;
            }
        }
        Ok(())
    }

    /// Sends a delivery, in a task of its own.
    fn start(&mut self, desk: &Desk, delivery: Delivery, pick: Pick, now: Timestamp) -> anyhow::Result<()> {
        let store = &self.parts.store;
        let (Some(mut stored), Some(ready)) =
            (store.alert(delivery.sequence)?, desk.destinations.get(&delivery.destination))
        else {
            return Ok(());
        };
        if delivery.cause == AlertCause::Escalated && !self.renew(&mut stored)? {
            return Ok(store.note_needless(delivery.id, now)?);
        }
        let story = Story::load(store, &stored.subject)?;
        let sending = Sending { now, links: Some(self.parts.random.as_ref()) };
        let to = (&delivery.destination, ready);
        let (alert, message) = desk.render(to, &stored, delivery.cause, &story, &sending);
        let way = ready.way();
        self.busy.insert(delivery.destination.clone());
        let done = self.done.clone();
        let sending = tokio::spawn(async move {
            match &way {
                Ok(way) => send(way, &message, now).await,
                Err(error) => Err(SendError { failure: Failure::Unreachable, what: format!("{error:#}") }),
            }
        });
        tokio::spawn(async move {
            // A panic while sending is a failed try like others: the destination must not stay busy for ever.
            let broken =
                |_| Err(SendError { failure: Failure::Unreachable, what: "sending broke off".to_owned() });
            let sent = sending.await.unwrap_or_else(broken);
            // Nobody listens any more only when the process ends.
            let _ = done.send(Done { delivery, pick, alert, sent });
        });
        Ok(())
    }

    /// Brings an escalation's incident up to date; whether somebody still has to be called.
    fn renew(&self, stored: &mut StoredAlert) -> anyhow::Result<bool> {
        bring_up_to_date(&self.parts.store, stored)?;
        let open = stored.subject.incident().filter(|incident| incident.state.is_open());
        Ok(open.is_some_and(|incident| !is_acknowledged(incident)))
    }

    /// Records how a try ended.
    fn settle(&mut self, done: &Done) {
        let Done { delivery, pick, alert, sent } = done;
        let now = self.parts.clock.now();
        self.busy.remove(&delivery.destination);
        let attempts = delivery.attempts.saturating_add(1);
        let error = sent.as_ref().err().map(|error| error.what.as_str());
        let told = AlertTried { alert, destination: &delivery.destination, attempts, error };
        told.emit(&self.parts.metrics);
        let store = &self.parts.store;
        let noted = match sent {
            Ok(()) => {
                self.holds.remove(&delivery.destination);
                store.note_sent(pick.id, &pick.merged, now)
            }
            Err(error) => {
                let retry = after_failure(error.failure, attempts, now, self.parts.random.next_u64());
                if let Some(hold) = retry.hold {
                    self.holds.insert(delivery.destination.clone(), hold);
                }
                store.note_failed(pick.id, retry.due, &error.what)
            }
        };
        if let Err(error) = noted {
            tracing::error!(%error, alert.id = alert, "how an alert was taken can not be recorded: it is sent again");
            self.holds.insert(delivery.destination.clone(), now.plus(REST));
        }
    }
}
