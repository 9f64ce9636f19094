//! A key's time as its events tell it: forward, sceptical, without duplicates.
//!
//! Invariants:
//! * The time given out never runs backwards, but for one case that is said: [`Tick::Rewound`].
//! * One event with an absurd time moves nothing. A jump ahead is believed when three events in a row agree,
//!   a jump back when sixteen do; the engine has the same rule.
//! * An event that was seen is not seen again: by ordinal, or among the latest ids where there is none.

use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::time::{DAY, MINUTE, Timestamp};

/// Events may come so late and still count, as if they came now.
const LATE: u64 = 10 * MINUTE;
/// A jump ahead beyond this needs witnesses.
const AHEAD: u64 = 40 * DAY;
const STRAYS_AHEAD: u8 = 3;
const STRAYS_BEHIND: u8 = 16;
/// Ids kept for events without ordinal.
const RECENT: usize = 8;

/// What an event does to the key's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tick {
    /// It counts at this time.
    At(Timestamp),
    /// It counts at this time, and everything known of later times was wrong.
    Rewound(Timestamp),
    /// It does not count: a duplicate, or a time that can not be believed.
    Skip,
}

/// The time of one key.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    born: Option<Timestamp>,
    now: Timestamp,
    strays: u8,
    last_seq: u64,
    recent: [u64; RECENT],
    next: u8,
}

impl Clock {
    /// Follows an event.
    pub(super) fn follow(&mut self, event: &UsageEvent) -> Tick {
        if !self.is_fresh(event) {
            return Tick::Skip;
        }
        let time = event.request.time;
        if self.born.is_none() {
            (self.born, self.now) = (Some(time), time);
            return Tick::At(time);
        }
        let (stray, witnesses) = if time.since(self.now) > AHEAD {
            (true, STRAYS_AHEAD)
        } else if self.now.since(time) > DAY {
            (true, STRAYS_BEHIND)
        } else {
            (self.now.since(time) > LATE, u8::MAX)
        };
        if stray {
            // Events of a backlog are dropped, but are no witnesses of a wrong clock.
            self.strays = self.strays.saturating_add(u8::from(witnesses != u8::MAX));
            if witnesses == u8::MAX || self.strays < witnesses {
                return Tick::Skip;
            }
        }
        self.strays = 0;
        if stray && time < self.now {
            self.now = time;
            self.born = self.born.map(|born| born.min(time));
            return Tick::Rewound(time);
        }
        self.now = self.now.max(time);
        Tick::At(self.now)
    }

    /// Time since the first event.
    pub(super) fn age(&self) -> u64 {
        self.born.map_or(0, |born| self.now.since(born))
    }

    fn is_fresh(&mut self, event: &UsageEvent) -> bool {
        if event.key_seq != 0 {
            let fresh = event.key_seq > self.last_seq;
            self.last_seq = self.last_seq.max(event.key_seq);
            return fresh;
        }
        let id = event.request.id.bits();
        let id = (id >> 64) as u64 ^ id as u64;
        if id != 0 && self.recent.contains(&id) {
            return false;
        }
        if let Some(place) = self.recent.get_mut(usize::from(self.next) % RECENT) {
            *place = id;
        }
        self.next = self.next.wrapping_add(1);
        true
    }
}
