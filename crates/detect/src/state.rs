//! The learned state of one key, its clock, and its encoding.

use serde::{Deserialize, Serialize};
use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::id::ActorId;
use tokenwatch_model::time::{DAY, HOUR, MINUTE, Timestamp};

use crate::baseline::Baseline;
use crate::churn::Churn;
use crate::content::Content;
use crate::crowd::{CROWDS_MAX, Crowd};
use crate::features::Features;
use crate::inside::Inside;
use crate::known::Known;
use crate::priors::PEOPLE;
use crate::slot::{SLOTS_MAX, Slot};
use crate::windows::Windows;

/// First byte of the encoding. A new layout gets a new byte; old bytes are refused, and the key relearns
/// from the journal.
const VERSION: u8 = 5;
/// Trusted and stolen contexts kept per key.
const SAID_MAX: usize = 16;
/// Events may come so late and still count into the current windows.
const LATE: u64 = 10 * MINUTE;
/// A jump ahead is believed at once up to this, and beyond it when several events in a row agree.
const AHEAD: u64 = 40 * DAY;
const STRAYS_AHEAD: u8 = 3;
const STRAYS_BEHIND: u8 = 16;
/// 2020-01-01: a clock that says less than this was never set, however long it goes on.
const EARLIEST: Timestamp = Timestamp::from_seconds(1_577_836_800);

/// A key with fewer clean requests in a few hours was tried, and may be deployed later.
const TRIED: u64 = 30;
/// Hours with requests in which a key shows who calls.
const ACTIVE: u32 = 3;

/// Why bytes are not a key's state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeStateError {
    /// Written by another version.
    #[error("the state has version {0}, expected {VERSION}; it must be rebuilt from the journal")]
    Version(u8),
    /// Damaged.
    #[error("the state is damaged; it must be rebuilt from the journal")]
    Damaged,
}

/// How an event's time relates to the key's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeliness {
    /// It moves the key's time, or is a few minutes late.
    Current,
    /// Its time can not be believed or lies far back: it counts for identity only.
    Stray,
}

/// Everything the engine has learned about one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyState {
    last_seq: u64,
    born: Option<Timestamp>,
    now: Timestamp,
    strays: u8,
    active_hours: u32,
    active_hour: u32,
    /// When churn was last told of passing time.
    churned: Timestamp,
    pub(crate) known: Known,
    pub(crate) churn: Option<Churn>,
    pub(crate) baseline: Option<Baseline>,
    pub(crate) windows: Windows,
    /// Boxed, because most keys have none.
    pub(crate) inside: Option<Box<Inside>>,
    pub(crate) content: Content,
    pub(crate) slots: Vec<Slot>,
    pub(crate) crowds: Vec<Crowd>,
    trusted: Vec<(ContextMatch, Timestamp)>,
    stolen: Vec<ContextMatch>,
    pub(crate) alerted_at: Option<Timestamp>,
    pub(crate) theft_at: Option<Timestamp>,
    /// Evidence that the latest event raised above what was known of its caller, in days; see
    /// [`KeyState::raised_days`].
    pub(crate) raised: f64,
    /// Rules told today: code of the rule and level.
    fired: Vec<u16>,
    fired_day: u32,
}

impl Default for KeyState {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyState {
    /// A key nothing is known of.
    pub fn new() -> Self {
        Self {
            last_seq: 0,
            born: None,
            now: Timestamp::default(),
            strays: 0,
            active_hours: 0,
            active_hour: 0,
            churned: Timestamp::default(),
            known: Known::default(),
            churn: None,
            baseline: None,
            windows: Windows::default(),
            inside: None,
            content: Content::default(),
            slots: Vec::new(),
            crowds: Vec::new(),
            trusted: Vec::new(),
            stolen: Vec::new(),
            alerted_at: None,
            theft_at: None,
            raised: 0.0,
            fired: Vec::new(),
            fired_day: 0,
        }
    }

    /// Bytes for the store: a version byte, then postcard.
    pub fn encode(&self) -> Vec<u8> {
        // Writing to a vector can not fail, and no type inside refuses to be written.
        postcard::to_extend(self, vec![VERSION]).unwrap_or_default()
    }

    /// The inverse of [`KeyState::encode`].
    ///
    /// # Errors
    ///
    /// When the bytes are from another version or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeStateError> {
        let (&version, rest) = bytes.split_first().ok_or(DecodeStateError::Damaged)?;
        if version != VERSION {
            return Err(DecodeStateError::Version(version));
        }
        let (state, left): (Self, _) =
            postcard::take_from_bytes(rest).map_err(|_| DecodeStateError::Damaged)?;
        let sound = left.is_empty()
            && state.known.is_sound()
            && state.content.is_sound()
            && state.baseline.as_ref().is_none_or(Baseline::is_sound)
            && state.born.is_some() == state.baseline.is_some()
            && state.born.is_some() == state.churn.is_some()
            && state.slots.len() <= SLOTS_MAX
            && state.crowds.len() <= CROWDS_MAX
            && state.trusted.len() <= SAID_MAX
            && state.stolen.len() <= SAID_MAX;
        if sound { Ok(state) } else { Err(DecodeStateError::Damaged) }
    }

    /// The highest ordinal observed; see [`KeyState::accept`].
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Whether a record with this ordinal is still to be applied, and if so marks it applied. Records
    /// without ordinal (0) always are. `observe` calls it for events; a replay calls it for feedback.
    pub fn accept(&mut self, seq: u64) -> bool {
        if seq == 0 {
            return true;
        }
        let fresh = seq > self.last_seq;
        self.last_seq = self.last_seq.max(seq);
        fresh
    }

    /// Whether the content signals of a request and its answer would be weighed or learned from: those of callers with
    /// anything new, and a sample of the others. Not to read the rest saves most of what reading costs.
    pub fn reads_content(&self, request: &RequestContext) -> bool {
        !self.known.compare(&Features::of(request)).is_none() || self.content.samples(request)
    }

    /// Time of the first event.
    pub const fn first_event(&self) -> Option<Timestamp> {
        self.born
    }

    /// The key's own time: its latest believable event.
    pub const fn last_event(&self) -> Timestamp {
        self.now
    }

    /// Whether the key's own calls are known from a context: all of a request's values are known. For
    /// investigation; judging needs more.
    pub fn knows(&self, request: &RequestContext) -> bool {
        self.born.is_some() && self.known.compare(&Features::of(request)).is_none()
    }

    /// By how many days' worth the latest event raised the evidence about its caller or crowd to a new height;
    /// 0 when it raised nothing. This is what thresholds are compared with: an episode that was told of
    /// stays silent until it grows.
    pub const fn raised_days(&self) -> f64 {
        self.raised
    }

    /// The newcomer on probation that is this actor.
    pub(crate) fn newcomer(&self, actor: ActorId) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.actor == actor.bits())
    }

    /// Newcomers on probation right now.
    pub fn newcomers(&self) -> usize {
        self.slots.len()
    }

    /// Lets the key's time follow an event.
    pub(crate) fn advance(&mut self, time: Timestamp) -> Timeliness {
        let Some(_) = self.born else {
            (self.born, self.now, self.churned) = (Some(time), time, time);
            return Timeliness::Current;
        };
        if time.since(self.now) > AHEAD {
            self.strays = self.strays.saturating_add(1);
            if self.strays < STRAYS_AHEAD {
                return Timeliness::Stray;
            }
            self.leap(time);
        } else if time < EARLIEST && self.now >= EARLIEST {
            return Timeliness::Stray;
        } else if self.now.since(time) > DAY {
            self.strays = self.strays.saturating_add(1);
            if self.strays < STRAYS_BEHIND {
                return Timeliness::Stray;
            }
            self.rewind(time);
        } else if self.now.since(time) > LATE {
            return Timeliness::Stray;
        }
        self.strays = 0;
        self.now = self.now.max(time);
        Timeliness::Current
    }

    /// The time at which a request counts: its own, or the key's when its own can not be believed. Otherwise a wrong
    /// clock would make a grown key new, which everybody may define, and a newcomer on trial old.
    pub(crate) fn believe(&self, time: Timestamp) -> Timestamp {
        let is_odd = time.since(self.now) > AHEAD || self.now.since(time) > DAY;
        if self.born.is_some() && is_odd { self.now } else { time }
    }

    /// Several events in a row say that the key was silent for long: who came with them came now.
    fn leap(&mut self, time: Timestamp) {
        for slot in self.slots.iter_mut().filter(|slot| slot.last_seen == self.now) {
            if slot.first_seen == self.now {
                slot.first_seen = time;
            }
            slot.last_seen = time;
        }
    }

    /// Many events in a row say that the key's time was wrong. The key is as old as it was.
    fn rewind(&mut self, time: Timestamp) {
        let age = self.born.map_or(0, |born| self.now.since(born));
        let as_old = Timestamp(time.0.saturating_sub(age));
        self.now = time;
        self.born = self.born.map(|born| if born <= time { born } else { as_old });
        self.churned = self.churned.min(time);
        self.active_hour = 0;
        self.windows = Windows::default();
        self.inside = None;
        if let Some(baseline) = &mut self.baseline {
            baseline.rewind(time);
        }
        for slot in &mut self.slots {
            slot.first_seen = slot.first_seen.min(time);
            slot.last_seen = slot.last_seen.min(time);
        }
    }

    /// Hours since birth, the unit of the known sets.
    pub(crate) fn age_hours(&self, time: Timestamp) -> u32 {
        self.born.map_or(0, |born| u32::try_from(time.since(born) / HOUR).unwrap_or(u32::MAX))
    }

    /// Days of history that count: calendar age, but no more than a day for every three active hours,
    /// so that a key that was tried once and deployed a week later is still a new key.
    pub(crate) fn maturity_days(&self, time: Timestamp) -> f64 {
        self.age_days(time).min(f64::from(self.active_hours) / 3.0)
    }

    /// Whether the key has shown what it is, which takes a day, and either three active hours or so many requests that it
    /// was not only tried. Until then nothing counts as its churn.
    pub(crate) fn is_defined(&self, time: Timestamp) -> bool {
        self.age_days(time) >= 1.0 && (self.active_hours >= ACTIVE || self.is_used())
    }

    /// Whether newcomers are weighed; until then whoever comes defines the key. A key that is in use needs no whole day:
    /// who comes then is weighed against how much a key changes in its first.
    pub(crate) fn is_judged(&self, time: Timestamp) -> bool {
        self.is_defined(time) || (self.active_hours >= ACTIVE && self.is_used())
    }

    fn is_used(&self) -> bool {
        self.baseline.as_ref().is_some_and(|baseline| baseline.requests() >= TRIED)
    }

    /// How much the key is one that people hold; before anything is known a little.
    pub(crate) fn people(&self) -> f64 {
        self.churn.as_ref().map_or(0.3, |churn| churn.members().into_iter().skip(PEOPLE).sum())
    }

    /// Days since the key's first event.
    pub(crate) fn age_days(&self, time: Timestamp) -> f64 {
        self.born.map_or(0.0, |born| time.since(born) as f64 / DAY as f64)
    }

    /// Counts an hour with clean traffic.
    pub(crate) fn note_active(&mut self, time: Timestamp) {
        if time.hour() != self.active_hour {
            self.active_hour = time.hour();
            self.active_hours = self.active_hours.saturating_add(1);
        }
    }

    /// Time since churn was last told, when that is a day or more.
    pub(crate) fn take_churn_time(&mut self) -> Option<u64> {
        let passed = self.now.since(self.churned);
        (passed >= DAY).then(|| {
            self.churned = self.now;
            passed
        })
    }

    /// Whether a person vouched for the request's context.
    pub(crate) fn is_trusted(&self, request: &RequestContext) -> bool {
        self.trusted.iter().any(|(context, until)| request.time < *until && context.matches(request))
    }

    /// Whether a person called the request's context a theft.
    pub fn is_stolen(&self, request: &RequestContext) -> bool {
        self.stolen.iter().any(|context| context.matches(request))
    }

    pub(crate) fn trust(&mut self, context: &ContextMatch, until: Timestamp) {
        self.stolen.retain(|stolen| stolen != context);
        self.trusted.retain(|(trusted, _)| trusted != context);
        if self.trusted.len() >= SAID_MAX {
            self.trusted.remove(0);
        }
        self.trusted.push((context.clone(), until));
    }

    pub(crate) fn distrust(&mut self, context: &ContextMatch) {
        self.trusted.retain(|(trusted, _)| trusted != context);
        self.stolen.retain(|stolen| stolen != context);
        if self.stolen.len() >= SAID_MAX {
            self.stolen.remove(0);
        }
        self.stolen.push(context.clone());
    }

    /// Whether a rule was told today at this level or above.
    pub(crate) fn has_fired(&self, rule: u8, level: u8) -> bool {
        self.fired_day == self.now.day()
            && self
                .fired
                .iter()
                .any(|&fired| fired >> 8 == u16::from(rule) && fired & 0xff >= u16::from(level))
    }

    /// Marks a rule as told today.
    pub(crate) fn note_fired(&mut self, rule: u8, level: u8) {
        if self.fired_day != self.now.day() {
            self.fired_day = self.now.day();
            self.fired.clear();
        }
        self.fired.retain(|&fired| fired >> 8 != u16::from(rule));
        self.fired.push(u16::from(rule) << 8 | u16::from(level));
    }
}
