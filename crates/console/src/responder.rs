//! The responder: a finding comes in, a plan is made, carried out, and in force before the next request.
//!
//! A thread of its own: it reads and writes the store, which may block. The engine refuses the thief's
//! requests by itself meanwhile, so nothing depends on how long a transaction takes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokenwatch_gateway::{FindingSink, Gateway};
use tokenwatch_model::drill::{Drill, DrillEnd};
use tokenwatch_model::finding::Finding;
use tokenwatch_model::id::{ContainmentId, KeyId};
use tokenwatch_model::incident::Incident;
use tokenwatch_model::ports::Random;
use tokenwatch_model::suppression::SuppressedAlert;
use tokenwatch_model::time::Timestamp;
use tokenwatch_respond::allowance::standing;
use tokenwatch_respond::effects::SELF;
use tokenwatch_respond::suppression::is_fact;
use tokenwatch_respond::{Effects, Plan, ResponsePolicy, Situation, execute, plan};
use tokenwatch_telemetry::told::{AlertEnd, AlertEnded};

use crate::drills::end_drill;
use crate::radius::Radii;
use crate::records::{Records, RecordsError};
use crate::tend::tend;

/// Findings that wait; more than this in a burst are dropped and counted, and the next one on the same actor
/// says the same.
const QUEUE: usize = 4_096;
/// How often refused requests of contained actors are added to their incidents.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How often open incidents are looked at for what time alone changes.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// Incidents of a key that are looked at for a finding from before a restart.
const LOOK_BACK: u32 = 8;
/// Drills looked at for ones that nobody ended, latest first.
const DRILLS_MAX: u32 = 100;
/// Tries when somebody else changed a row meanwhile.
const TRIES: usize = 5;

enum Message {
    Finding(Box<Finding>),
    /// One that may have been acted on before.
    Again(Box<Finding>),
    /// One that nobody is told of.
    Suppressed(Box<SuppressedAlert>),
    /// Says when everything before it is done.
    Mark(SyncSender<()>),
    Stop,
}

/// The gateway's end: hands findings over without blocking.
pub struct ResponderHandle {
    queue: SyncSender<Message>,
    refused: Mutex<HashMap<KeyId, Refused>>,
}

/// Requests that were refused because of a theft, and the containments that they were in.
#[derive(Default)]
struct Refused {
    count: u64,
    met: BTreeSet<ContainmentId>,
}

impl Refused {
    fn add(&mut self, count: u64, met: impl IntoIterator<Item = ContainmentId>) {
        self.count = self.count.saturating_add(count);
        self.met.extend(met);
    }
}

impl FindingSink for ResponderHandle {
    fn found(&self, finding: Finding) {
        let (error, message) = match self.queue.try_send(Message::Finding(Box::new(finding))) {
            Ok(()) => return,
            Err(TrySendError::Full(message)) => ("findings come faster than they can be acted on", message),
            Err(TrySendError::Disconnected(message)) => ("nobody acts on findings any more", message),
        };
        if let Message::Finding(finding) = message {
            AlertEnded { finding: &finding, end: AlertEnd::Failed { error } }.emit();
        }
    }

    fn suppressed(&self, alert: SuppressedAlert) {
        // Also in the journal: when there is no room, only the list of suppressed alerts lacks it.
        if self.queue.try_send(Message::Suppressed(Box::new(alert))).is_err() {
            tracing::warn!(
                "a suppressed alert is not listed: findings come faster than they can be recorded"
            );
        }
    }

    fn contained(&self, key: KeyId, met: &[ContainmentId]) {
        self.refused.lock().entry(key).or_default().add(1, met.iter().copied());
    }
}

impl ResponderHandle {
    /// Hands over a finding from before a restart: it is acted on unless an incident holds it. Waits for room.
    pub fn found_again(&self, finding: Finding) {
        // A closed queue means that the thread is gone.
        let _ = self.queue.send(Message::Again(Box::new(finding)));
    }

    /// Waits until everything that was handed over before is done.
    pub fn catch_up(&self) {
        let (done, wait) = sync_channel(1);
        // A closed queue means that the thread is gone: then nothing will be done any more.
        if self.queue.send(Message::Mark(done)).is_ok() {
            let _ = wait.recv();
        }
    }

    /// Ends the thread once what waits is done.
    pub fn stop(&self) {
        // A closed queue means that the thread is gone already.
        let _ = self.queue.send(Message::Stop);
    }
}

/// What the responder tells when it has acted; the demo and tests listen.
pub trait Watcher: Send {
    /// A plan was carried out.
    fn acted(&mut self, plan: &Plan, effects: &Effects);
}

impl<F: FnMut(&Plan, &Effects) + Send> Watcher for F {
    fn acted(&mut self, plan: &Plan, effects: &Effects) {
        self(plan, effects);
    }
}

/// What a responder works with.
pub struct ResponderParts {
    /// The store.
    pub records: Arc<dyn Records>,
    /// For ids.
    pub random: Arc<dyn Random>,
    /// What it may do; the one in force.
    pub policy: Arc<ArcSwap<ResponsePolicy>>,
    /// Who is told.
    pub watcher: Box<dyn Watcher>,
}

/// A queue for findings; give the handle to the gateway, then start the thread.
pub fn channel() -> (Arc<ResponderHandle>, FindingQueue) {
    let (queue, findings) = sync_channel(QUEUE);
    (Arc::new(ResponderHandle { queue, refused: Mutex::default() }), FindingQueue(findings))
}

/// The responder's end of the queue.
pub struct FindingQueue(Receiver<Message>);

/// Starts the responder's thread.
///
/// # Errors
///
/// When the thread can not be made.
pub fn start(
    gateway: Arc<Gateway>,
    handle: Arc<ResponderHandle>,
    queue: FindingQueue,
    parts: ResponderParts,
) -> std::io::Result<JoinHandle<()>> {
    let mut responder = Responder { gateway, handle, parts };
    std::thread::Builder::new().name("responder".to_owned()).spawn(move || responder.run(&queue.0))
}

struct Responder {
    gateway: Arc<Gateway>,
    handle: Arc<ResponderHandle>,
    parts: ResponderParts,
}

impl Responder {
    fn run(&mut self, findings: &Receiver<Message>) {
        let mut counted = Instant::now();
        let mut tended = Instant::now();
        self.end_abandoned();
        loop {
            match findings.recv_timeout(COUNT_EVERY) {
                Ok(Message::Finding(finding)) => self.handle_finding(&finding),
                Ok(Message::Again(finding)) => {
                    if self.is_new(&finding) {
                        self.handle_finding(&finding);
                    }
                }
                Ok(Message::Suppressed(alert)) => {
                    if let Err(error) = self.parts.records.push_suppressed(&alert) {
                        tracing::warn!(%error, "a suppressed alert can not be listed");
                    }
                }
                // Whoever asked may have gone meanwhile.
                Ok(Message::Mark(done)) => drop(done.try_send(())),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // Not after each finding: in a burst that would be a transaction more for every one.
            if counted.elapsed() >= COUNT_EVERY {
                counted = Instant::now();
                self.count_refused();
                self.end_overdue();
            }
            if tended.elapsed() >= TEND_EVERY {
                tended = Instant::now();
                tend(&self.parts.records, &self.gateway, &self.parts.policy.load());
                self.end_abandoned();
            }
        }
        self.count_refused();
    }

    /// Whether no incident holds a finding, closed ones included. One that has no room for more may hold it.
    fn is_new(&self, finding: &Finding) -> bool {
        match self.parts.records.incidents(false, Some(finding.key), LOOK_BACK) {
            Ok(incidents) => !incidents.iter().any(|incident| {
                incident.findings.len() >= Incident::FINDINGS_MAX || incident.findings.contains(finding)
            }),
            Err(error) => {
                let error = error.to_string();
                AlertEnded { finding, end: AlertEnd::Failed { error: &error } }.emit();
                false
            }
        }
    }

    fn handle_finding(&mut self, finding: &Finding) {
        let mut error = "its rows keep changing".to_owned();
        for _ in 0..TRIES {
            match self.act(finding) {
                Ok(()) => return,
                Err(RecordsError::Conflict(_)) => {}
                Err(other) => {
                    error = other.to_string();
                    break;
                }
            }
        }
        AlertEnded { finding, end: AlertEnd::Failed { error: &error } }.emit();
    }

    fn act(&mut self, finding: &Finding) -> Result<(), RecordsError> {
        let records = self.parts.records.clone();
        let drill = self.gateway.drills.standing_in(finding.key);
        // A drill has a clock of its own, which is ahead.
        let now = self.gateway.now().max(drill.as_ref().map_or(Timestamp(0), |_| finding.time));
        let Some(stored) = records.key(finding.key)? else { return Ok(()) };
        let key = stored.key;
        if self.is_let_in(finding, now)? {
            return Ok(());
        }
        let owner = key.owner.map(|id| records.owner(id)).transpose()?.flatten();
        let containments = records.containments_of(key.id)?;
        let incidents = records.incidents(true, Some(key.id), 1)?;
        let normal = self.gateway.live_of(key.id).normal(key.id);
        let policy = self.parts.policy.load_full();
        let active = records.active_containments(now)?;
        let recent =
            Radii::new(records.as_ref(), &policy, &key).recent(active.iter().chain(&containments), now)?;
        let situation = Situation {
            key: &key,
            mode: policy.mode_of(&key, owner.as_ref()),
            owner: owner.as_ref(),
            finding,
            open_incident: incidents.first(),
            containments: &containments,
            normal: normal.as_ref(),
            recent,
            now,
        };
        let random = self.parts.random.clone();
        let plan = plan(&policy, &situation, &mut || random.next_u64());
        let mut effects = execute(&plan, now);
        if drill.is_some() {
            mark(&mut effects);
        }
        if !effects.is_empty() {
            records.apply(&effects)?;
        }
        // In force at once; the store's own change notice comes later and says the same.
        if !effects.containments.is_empty() {
            let all = records.containments_of(key.id)?;
            self.gateway.live_of(key.id).put_containments(key.id, all, now);
        }
        let incident = plan.incident.id().map(|id| id.to_string()).unwrap_or_default();
        AlertEnded { finding, end: AlertEnd::Acted { incident: &incident, plan: &plan.title } }.emit();
        self.parts.watcher.acted(&plan, &effects);
        Ok(())
    }

    /// Whether people have said that the newcomer of a finding is theirs. The engine finds nothing of such a one, so this was
    /// found before it was told; to act on it would contain anew what a person has just let in.
    fn is_let_in(&self, finding: &Finding, now: Timestamp) -> Result<bool, RecordsError> {
        let Some(actor) = finding.actor.as_ref().filter(|_| !is_fact(&finding.rule)) else {
            return Ok(false);
        };
        let said = self.parts.records.said()?;
        Ok(standing(&said, finding.key, now).iter().any(|allowed| allowed.context == actor.context))
    }

    /// Adds the refused requests of contained contexts to their incidents.
    fn count_refused(&mut self) {
        let counts = std::mem::take(&mut *self.handle.refused.lock());
        for (key, refused) in counts {
            if let Err(error) = self.add_refused(key, &refused) {
                if matches!(error, RecordsError::Conflict(_)) {
                    self.handle.refused.lock().entry(key).or_default().add(refused.count, refused.met);
                } else {
                    tracing::warn!(key.id = %key, %error, "refused requests could not be added to the incident");
                }
            }
        }
    }

    /// Ends drills whose driver did not: it may have been killed.
    fn end_overdue(&self) {
        self.break_off(self.gateway.drills.overdue(self.gateway.now()));
    }

    /// Ends drills that a process before this one was running: their incidents are open, and call people.
    fn end_abandoned(&self) {
        let now = self.gateway.now();
        match self.parts.records.drills(None, DRILLS_MAX) {
            Ok(drills) => {
                let is_abandoned = |drill: &Drill| drill.end.is_none() && drill.until <= now;
                self.break_off(drills.into_iter().filter(is_abandoned).collect());
            }
            Err(error) => tracing::warn!(%error, "whether a drill was left behind can not be read"),
        }
    }

    fn break_off(&self, drills: Vec<Drill>) {
        let now = self.gateway.now();
        for drill in drills {
            let summary = "broken off: it was not ended in time".to_owned();
            let end = DrillEnd { time: now, passed: false, summary };
            let policy = self.parts.policy.load();
            if let Err(error) = end_drill(self.parts.records.as_ref(), &policy, &drill, end, SELF) {
                tracing::warn!(drill.id = %drill.id, %error, "a drill that is over can not be ended; trying again");
                continue;
            }
            self.gateway.drills.end(drill.id);
        }
    }

    fn add_refused(&self, key: KeyId, refused: &Refused) -> Result<(), RecordsError> {
        let incidents = self.parts.records.incidents(true, Some(key), 1)?;
        let Some(mut incident) = incidents.into_iter().next() else { return Ok(()) };
        let met: Vec<ContainmentId> = refused.met.iter().copied().collect();
        tokenwatch_respond::incident::count_refused(&mut incident, refused.count, &met, self.gateway.now());
        self.parts.records.apply(&Effects { incident: Some(incident), ..Effects::default() })
    }
}

/// Says of an incident that it is a drill's.
const fn mark(effects: &mut Effects) {
    if let Some(incident) = &mut effects.incident {
        incident.drill = true;
    }
}
