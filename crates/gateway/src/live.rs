//! The live state of every key: entry, containments, account, learned normal, requests in flight.
//!
//! Sharded by key; a shard's lock is held for a few microseconds and never across an await. Everything that
//! decides about a request (usable, contained, room, judged) happens under one lock, so a thousand requests
//! at a budget's edge are decided one after another.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokenwatch_detect::{Engine, InFlight, KeyState as Learned, Prowlers};
use tokenwatch_model::account::{Account, Ask, Exceeded, Reservation, Room};
use tokenwatch_model::containment::{Action, Containment};
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::event::{JournalRecord, UsageEvent};
use tokenwatch_model::finding::{Decision, Feedback};
use tokenwatch_model::id::{ActorId, KeyId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::{Cut, Refusal};
use tokenwatch_model::ports::EventSink;
use tokenwatch_model::time::Timestamp;
use tokenwatch_model::usage::TokenUsage;
use tokenwatch_respond::Suppressions;
use tokenwatch_wire::price::Price;

use crate::clamp::ClampMeters;
use crate::flight::Flight;
use crate::registry::KeyEntry;

mod census;
mod checkpoint;
mod contained;
mod homes;
mod look;
mod rebuild;
mod silence;
mod view;

pub use census::{Activity, Census};
pub use checkpoint::{DecodeCheckpointError, KeyCheckpoint};
use contained::Contained;
use homes::{Home, Homes, Word};
pub use rebuild::Rebuild;
pub use silence::Found;
use silence::Silenced;
pub use view::{KeyView, LiveTotals};

/// A power of two; enough that two cores rarely meet.
const SHARDS: usize = 64;

/// The learned part of a key, loaded when the key is first used.
#[derive(Default)]
pub(crate) struct Mind {
    pub(crate) account: Account,
    pub(crate) learned: Learned,
    /// Ordinals of the last events, one for each process that wrote some.
    pub(crate) last: checkpoint::LastSeen,
    clamps: ClampMeters,
    dirty: bool,
    /// The hour in which the owner's other keys were last told what this key vouches for.
    told: u32,
    pub(crate) recent: view::Recent,
}

/// A request in flight and what the engine said of it.
struct InTheAir {
    flight: Arc<Flight>,
    watched: bool,
    /// Money held for it beyond its reservation.
    drawn: NanoUsd,
}

struct LiveKey {
    entry: Arc<KeyEntry>,
    /// What it shares with the other keys of its owner.
    home: Option<Arc<Home>>,
    contained: Contained,
    mind: Option<Box<Mind>>,
    flights: HashMap<RequestId, InTheAir>,
    in_flight_by_actor: HashMap<ActorId, u32>,
    /// Requests in flight whose verdict was to watch.
    watched: u32,
    /// Silenced findings that are on record.
    silenced: Silenced,
}

/// A key without its mind, so that both can be changed.
struct Body<'a> {
    entry: &'a KeyEntry,
    home: Option<&'a Arc<Home>>,
    containments: &'a [Containment],
    flights: &'a mut HashMap<RequestId, InTheAir>,
    in_flight_by_actor: &'a mut HashMap<ActorId, u32>,
    watched: &'a mut u32,
    silenced: &'a mut Silenced,
}

impl LiveKey {
    /// The key and its mind; `None` while the mind is not loaded.
    fn split(&mut self) -> Option<(Body<'_>, &mut Mind)> {
        let Self { entry, home, contained, mind, flights, in_flight_by_actor, watched, silenced } = self;
        let mind = mind.as_deref_mut()?;
        let (home, containments) = (home.as_ref(), contained.known());
        Some((Body { entry, home, containments, flights, in_flight_by_actor, watched, silenced }, mind))
    }
}

impl Body<'_> {
    /// What the key has to say to the others of its owner, if it is time.
    fn word(&self, mind: &mut Mind, now: Timestamp) -> Option<Word> {
        Word::hourly(self.home, self.entry, &mind.learned, now, &mut mind.told)
    }
}

#[derive(Default)]
struct Shard {
    keys: HashMap<KeyId, LiveKey>,
}

/// The live state of every key.
pub struct Live {
    shards: Box<[Mutex<Shard>]>,
    homes: Homes,
    /// Newcomers over the keys of all owners.
    prowlers: Mutex<Prowlers>,
    engine: Engine,
    /// Tells this process's events from those of others on the same journal; grows with each start.
    epoch: u32,
    /// What people expect; looked at when something was found.
    suppressions: ArcSwap<Suppressions>,
}

/// Why a request is not admitted, with what the caller should be told.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) refusal: Refusal,
    pub(crate) retry_after_us: Option<u64>,
    /// The containment in force, for the message.
    pub(crate) containment: Option<String>,
}

impl Denied {
    const fn plain(refusal: Refusal) -> Self {
        Self { refusal, retry_after_us: None, containment: None }
    }
}

impl From<Exceeded> for Denied {
    fn from(exceeded: Exceeded) -> Self {
        Self { refusal: exceeded.refusal, retry_after_us: exceeded.retry_after_us, containment: None }
    }
}

/// What a stream costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoFar {
    /// By now.
    pub(crate) so_far: NanoUsd,
    /// For some more.
    pub(crate) slice: NanoUsd,
}

impl SoFar {
    /// Output tokens that are held at once beyond what was used: few enough to leave room for others, and enough
    /// that streams do not come back for every piece.
    const SLICE_TOKENS: u64 = 512;

    pub(crate) fn new(usage: &TokenUsage, price: &Price) -> Self {
        let slice = TokenUsage { output: Self::SLICE_TOKENS, ..TokenUsage::default() };
        let cost = |usage| tokenwatch_wire::price::cost(usage, price);
        Self { so_far: cost(usage), slice: cost(&slice) }
    }
}

/// A request let through.
pub(crate) struct Admitted {
    pub(crate) reservation: Reservation,
    pub(crate) decision: Decision,
    pub(crate) requests_room: Option<Room>,
    pub(crate) tokens_room: Option<Room>,
}

impl Live {
    /// Without any key. `epoch` is the process's start in seconds: larger than that of any process before it
    /// on the same state.
    pub fn new(engine: Engine, epoch: u32) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            shards,
            homes: Homes::default(),
            prowlers: Mutex::default(),
            engine,
            epoch,
            suppressions: ArcSwap::default(),
        }
    }

    /// Without any key, for a drill: with the same engine, and what is expected on a key is expected on its stand-in.
    pub(crate) fn beside(&self, key: KeyId, stand_in: KeyId) -> Self {
        let live = Self::new(self.engine.clone(), self.epoch);
        live.suppressions.store(self.suppressions.load().for_stand_in(key, stand_in).into());
        live
    }

    /// Makes the epoch larger than that of the process before, whatever the clock says. Returns it.
    pub fn follow(&mut self, epoch_before: u32) -> u32 {
        self.epoch = self.epoch.max(epoch_before.saturating_add(1));
        self.epoch
    }

    fn shard(&self, key: KeyId) -> MutexGuard<'_, Shard> {
        // Key ids are random, so their low bits spread evenly. The mask keeps the index in range.
        self.shards[(key.bits() as usize) & (SHARDS - 1)].lock()
    }

    /// Puts a key in place unless a newer revision is there: a slow fill never undoes a revocation.
    /// Requests in flight on a key that is no longer usable are cut.
    pub fn put_key(&self, entry: Arc<KeyEntry>, now: Timestamp) {
        let mut shard = self.shard(entry.id);
        match shard.keys.get_mut(&entry.id) {
            Some(live) if live.entry.revision > entry.revision => {}
            Some(live) => {
                live.move_home(&self.homes, &entry);
                live.entry = entry;
                for InTheAir { flight, .. } in live.flights.values() {
                    flight.set_end(live.entry.ends(flight.issue));
                    let ended = live.entry.usable_by(flight.issue, now).err();
                    ended.into_iter().for_each(|refusal| flight.bar(refusal));
                }
            }
            None => {
                let live = LiveKey {
                    entry: entry.clone(),
                    home: self.homes.enter(&entry),
                    contained: Contained::default(),
                    mind: None,
                    flights: HashMap::new(),
                    in_flight_by_actor: HashMap::new(),
                    watched: 0,
                    silenced: Silenced::default(),
                };
                shard.keys.insert(entry.id, live);
            }
        }
    }

    /// Puts the containments of a key in place (all of them, in force or not) and cuts what they forbid.
    /// A revision that is older than what is known, or was once known, is dropped.
    pub fn put_containments(&self, key: KeyId, containments: Vec<Containment>, now: Timestamp) {
        let mut shard = self.shard(key);
        let Some(live) = shard.keys.get_mut(&key) else { return };
        live.contained.take(containments, now);
        for InTheAir { flight, .. } in live.flights.values() {
            if let Err(denied) = check_containments(live.contained.known(), &flight.context, now) {
                match denied.refusal {
                    Refusal::ContextRefused => flight.cut(Cut::Containment),
                    refusal => flight.bar(refusal),
                }
            }
        }
    }

    /// The entry of a key.
    pub fn entry(&self, key: KeyId) -> Option<Arc<KeyEntry>> {
        self.shard(key).keys.get(&key).map(|live| live.entry.clone())
    }

    /// Whether the learned state of a key is in memory; `None` for an unknown key.
    pub(crate) fn is_loaded(&self, key: KeyId) -> Option<bool> {
        self.shard(key).keys.get(&key).map(|live| live.mind.is_some())
    }

    /// Puts a loaded state in place unless one is there: what is in memory is always newer.
    pub(crate) fn put_mind(&self, key: KeyId, mind: Mind) {
        if let Some(live) = self.shard(key).keys.get_mut(&key) {
            live.mind.get_or_insert_with(|| Box::new(mind));
        }
    }

    /// Whether what a request and its answer are about would be looked at.
    pub(crate) fn reads_content(&self, request: &RequestContext) -> bool {
        let guard = self.shard(request.key);
        let mind = guard.keys.get(&request.key).and_then(|live| live.mind.as_ref());
        mind.is_none_or(|mind| mind.learned.reads_content(request))
    }

    /// Decides about a request: usable, contained, clamped, judged, room. All or nothing: what is refused uses
    /// up nothing, so that a thief who is refused does not use up the owner's limits.
    pub(crate) fn admit(&self, flight: &Arc<Flight>, ask: Ask) -> Result<Admitted, Denied> {
        let request = &flight.context;
        let now = request.time;
        let mut guard = self.shard(request.key);
        let live = guard.keys.get_mut(&request.key).ok_or(Denied::plain(Refusal::UnknownKey))?;
        live.entry.usable_by(flight.issue, now).map_err(Denied::plain)?;
        let LiveKey { entry, contained, mind, flights, in_flight_by_actor, watched, .. } = live;
        let containments = contained.known();
        // Loaded when the request was identified, and dropped only from idle keys. Should it be gone, this
        // request is turned away rather than counted in an account that forgot what was spent.
        let mind = mind.as_mut().ok_or(Denied::plain(Refusal::Overloaded))?;
        check_containments(containments, request, now)?;
        let policy = &entry.policy;
        let actor = in_flight_by_actor.get(&flight.actor).copied().unwrap_or(0);
        let in_flight = InFlight { actor, watched: *watched };
        let decision = self.judged(entry, &mind.learned, request, in_flight)?;
        // Judged before room is taken: a refused thief must not use up the owner's limits.
        check_clamps(containments, mind, request)?;
        let reservation = mind.account.reserve(now, &policy.limits, &policy.budgets, ask)?;
        let is_watched = decision != Decision::Forward;
        *watched += u32::from(is_watched);
        flight.set_end(entry.ends(flight.issue));
        let drawn = NanoUsd::ZERO;
        flights.insert(request.id, InTheAir { flight: flight.clone(), watched: is_watched, drawn });
        *in_flight_by_actor.entry(flight.actor).or_default() += 1;
        let (requests_room, tokens_room) = mind.account.room(now, &policy.limits);
        Ok(Admitted { reservation, decision, requests_room, tokens_room })
    }

    /// Holds what a running stream costs beyond what is `held` for it, and some more to go on with. What is held
    /// then; `None` when the budgets have too little left and the stream is to be cut. So streams that run past their
    /// reservations share what is left, and together overrun a budget by at most their last pieces.
    pub(crate) fn cover(
        &self,
        flight: &Flight,
        now: Timestamp,
        held: NanoUsd,
        cost: SoFar,
    ) -> Option<NanoUsd> {
        let mut guard = self.shard(flight.context.key);
        let (body, mind) = guard.keys.get_mut(&flight.context.key).and_then(LiveKey::split)?;
        let air = body.flights.get_mut(&flight.context.id)?;
        let least = cost.so_far.minus(held);
        let budgets = &body.entry.policy.budgets;
        let taken = mind.account.draw(now, budgets, least, least + cost.slice)?;
        air.drawn += taken;
        Some(held + taken)
    }

    /// Ends a request: books what it consumed, teaches the engine, writes the journal, in one order for all.
    /// Returns what the engine found, and whether the journal took the event.
    pub(crate) fn finish(
        &self,
        mut event: UsageEvent,
        reservation: Option<Reservation>,
        sink: &dyn EventSink,
    ) -> (Vec<Found>, bool) {
        let key = event.request.key;
        let mut guard = self.shard(key);
        // A key whose state could not be loaded has refused the request. It must not begin a fresh state here:
        // the next request would find a budget that forgot. The event has no ordinal and is never replayed.
        let Some((live, mind)) = guard.keys.get_mut(&key).and_then(LiveKey::split) else {
            drop(guard);
            return (Vec::new(), sink.push(JournalRecord::Usage(event)));
        };
        let end = event.request.time.plus(event.duration_us);
        if let Some(reservation) = reservation {
            let air = live.flights.remove(&event.request.id);
            mind.account.give_back(air.as_ref().map_or(NanoUsd::ZERO, |air| air.drawn));
            if event.outcome.was_forwarded() {
                mind.account.settle(reservation, end, event.usage.total(), event.cost);
            } else {
                mind.account.cancel(reservation, event.request.time);
            }
            mind.clamps.book(live.containments, &event.request, end, event.cost);
            if let Some(air) = air {
                *live.watched -= u32::from(air.watched);
                let actor = air.flight.actor;
                if let Some(count) = live.in_flight_by_actor.get_mut(&actor) {
                    *count -= 1;
                    if *count == 0 {
                        live.in_flight_by_actor.remove(&actor);
                    }
                }
            }
        }
        mind.dirty = true;
        mind.recent.count(&event);
        let mut findings = self.engine.observe(&mut mind.learned, &live.entry.profile, &event);
        findings.extend(self.prowler(mind, live.entry, &event));
        event.key_seq = mind.last.next(self.epoch);
        let found = self.sort_out(findings, live.entry, live.silenced, &event.request);
        // Pushed under the lock: the journal's order is the engine's order, which makes replay exact.
        let mut taken = sink.push(JournalRecord::Usage(event));
        for found in &found {
            taken &= self.record(found, mind, sink);
        }
        let word = live.word(mind, end);
        drop(guard);
        word.into_iter().for_each(Word::tell);
        (found, taken)
    }

    /// Tells the engine what a person said, and writes it to the journal in order. False when the key's state is not
    /// in memory, and nothing was told.
    pub(crate) fn feedback(&self, feedback: &Feedback, sink: &dyn EventSink) -> bool {
        let mut guard = self.shard(feedback.key);
        let Some((live, mind)) = guard.keys.get_mut(&feedback.key).and_then(LiveKey::split) else {
            return false;
        };
        mind.dirty = true;
        self.engine.feedback(&mut mind.learned, feedback);
        let key_seq = mind.last.next(self.epoch);
        sink.push(JournalRecord::Feedback { key_seq, feedback: feedback.clone() });
        // What was called a theft is vouched for no longer.
        mind.told = 0;
        let word = live.word(mind, feedback.time);
        drop(guard);
        word.into_iter().for_each(Word::tell);
        true
    }

    /// Cuts the requests in flight of keys whose time is over: those that move do so by themselves, with their next
    /// frame; this is for those that wait.
    pub fn cut_expired(&self, now: Timestamp) {
        for shard in &self.shards {
            let guard = shard.lock();
            let expired = guard.keys.values().filter(|live| live.entry.has_ended(now));
            expired.flat_map(|live| live.flights.values()).for_each(|air| air.flight.look_at_expiry(|| now));
        }
    }

    /// Cuts every request in flight: the gateway shuts down and their time is over.
    pub fn cut_all(&self) {
        for shard in &self.shards {
            for live in shard.lock().keys.values() {
                live.flights.values().for_each(|air| air.flight.cut(Cut::Shutdown));
            }
        }
    }
}

fn check_containments(
    containments: &[Containment],
    request: &RequestContext,
    now: Timestamp,
) -> Result<(), Denied> {
    let denied = |refusal, containment: &Containment| Denied {
        refusal,
        retry_after_us: None,
        containment: Some(containment.reason.clone()),
    };
    for containment in containments.iter().filter(|c| c.in_force(now)) {
        match &containment.action {
            Action::Watch => {}
            Action::Revoke => return Err(denied(Refusal::Revoked, containment)),
            Action::Suspend => return Err(denied(Refusal::Suspended, containment)),
            Action::RefuseContext(context) => {
                if context.matches(request) {
                    return Err(denied(Refusal::ContextRefused, containment));
                }
            }
            Action::Clamp(_) => {}
        }
    }
    Ok(())
}

/// Counts a request against the clamps in force. After the verdict: what a thief is refused anyway must not use
/// up the normal that the owner is held to.
fn check_clamps(
    containments: &[Containment],
    mind: &mut Mind,
    request: &RequestContext,
) -> Result<(), Denied> {
    for containment in containments.iter().filter(|c| c.in_force(request.time)) {
        let Action::Clamp(clamp) = &containment.action else { continue };
        if let Err(retry_after_us) = mind.clamps.admit(containment.id, clamp, request) {
            let reason = Some(containment.reason.clone());
            return Err(Denied { refusal: Refusal::Clamped, retry_after_us, containment: reason });
        }
    }
    Ok(())
}
