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
pub(crate) enum Tick {
    /// It counts at this time.
    At(Timestamp),
    /// It counts at this time, and everything known of later times was wrong.
    Rewound(Timestamp),
    /// It does not count: a duplicate, or a time that can not be believed.
    Skip,
}

/// The time of one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    born: Option<Timestamp>,
    now: Timestamp,
    strays: u8,
    last_seq: u64,
    recent: [u64; RECENT],
    next: u8,
}

impl Clock {
    /// Follows an event.
    pub(crate) fn follow(&mut self, event: &UsageEvent) -> Tick {
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
    pub(crate) fn age(&self) -> u64 {
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

#[cfg(test)]
mod tests {
    use tokenwatch_model::time::HOUR;

    use super::*;
    use crate::classic::sample::{START, event};

    /// What becomes of events at these times, in hours after the start.
    #[track_caller]
    fn check(hours: &[f64], want: &[Tick]) {
        let mut clock = Clock::default();
        let got: Vec<Tick> = hours
            .iter()
            .enumerate()
            .map(|(i, hours)| {
                let mut event = event(0, 1);
                event.key_seq = i as u64 + 1;
                event.request.time = at(*hours);
                clock.follow(&event)
            })
            .collect();
        assert_eq!(got, want);
    }

    fn at(hours: f64) -> Timestamp {
        let micros = (hours.abs() * HOUR as f64) as u64;
        Timestamp(if hours < 0.0 { START.0 - micros } else { START.0 + micros })
    }

    #[test]
    fn events_a_little_late_count_now() {
        let now = Tick::At(at(2.0));
        check(&[0.0, 2.0, 1.9, 1.0, 2.0], &[Tick::At(at(0.0)), now, now, Tick::Skip, now]);
    }

    #[test]
    fn jumps_need_witnesses() {
        let far = 24.0 * 400.0;
        let first = Tick::At(at(0.0));
        check(&[0.0, far, 0.0, far, far], &[first, Tick::Skip, first, Tick::Skip, Tick::Skip]);
        check(&[0.0, far, far, far], &[first, Tick::Skip, Tick::Skip, Tick::At(at(far))]);
        let mut back = vec![Tick::Skip; 15];
        back.insert(0, first);
        back.push(Tick::Rewound(at(-48.0)));
        let mut hours = vec![-48.0; 17];
        hours[0] = 0.0;
        check(&hours, &back);
    }

    #[test]
    fn a_backlog_is_no_witness() {
        let mut hours = vec![10.0; 40];
        hours[20..].fill(5.0);
        let mut want = vec![Tick::At(at(10.0)); 20];
        want.extend([Tick::Skip; 20]);
        check(&hours, &want);
    }

    #[test]
    fn duplicates_are_told_by_ordinal_or_id() {
        let mut clock = Clock::default();
        let mut numbered = event(0, 1);
        numbered.key_seq = 7;
        assert_ne!(clock.follow(&numbered), Tick::Skip);
        assert_eq!(clock.follow(&numbered), Tick::Skip);
        assert_ne!(clock.follow(&event(1, 1)), Tick::Skip);
        assert_ne!(clock.follow(&event(2, 1)), Tick::Skip);
        assert_eq!(clock.follow(&event(1, 1)), Tick::Skip);
        assert_eq!(clock.age(), 2);
    }
}
