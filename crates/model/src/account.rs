//! The account of one key: sliding request and token windows, concurrency, money spent and reserved.
//!
//! Invariant: for every budget, spent + reserved never exceeds it through [`Account::reserve`] or
//! [`Account::draw`]; the truth settled later may exceed what was held by at most what that one request really cost
//! beyond it. A stream that draws before it goes on has cost at most its last piece beyond.
//! Reservations live in memory only: a crash forgets them together with the requests they were for.

use serde::{Deserialize, Serialize};

use crate::event::UsageEvent;
use crate::limit::{BudgetWindow, Budgets, LimitKind, Limits};
use crate::money::NanoUsd;
use crate::outcome::Refusal;
use crate::time::{DAY, HOUR, MINUTE, Timestamp};
use crate::usage::UsageSource;

/// Lengths of the windows, in the order minute, hour, day.
const WINDOWS: [u64; 3] = [MINUTE, HOUR, DAY];
const REQUEST_KINDS: [LimitKind; 3] =
    [LimitKind::RequestsPerMinute, LimitKind::RequestsPerHour, LimitKind::RequestsPerDay];
const TOKEN_KINDS: [LimitKind; 3] =
    [LimitKind::TokensPerMinute, LimitKind::TokensPerHour, LimitKind::TokensPerDay];

/// A count over a sliding window, from two fixed ones: the part of the previous window that still lies in
/// the sliding one counts in proportion. Error is bounded by unevenness inside one previous window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Window {
    /// Which fixed window is current: time divided by length.
    index: u64,
    current: u64,
    previous: u64,
}

impl Window {
    fn roll(&mut self, now: Timestamp, length: u64) {
        let index = now.0 / length;
        if index == self.index + 1 {
            (self.previous, self.current, self.index) = (self.current, 0, index);
        } else if index > self.index {
            (self.previous, self.current, self.index) = (0, 0, index);
        }
        // A time before the current window counts into the current one: clocks that step back must not
        // reopen a used-up limit.
    }

    /// Counts `n` at a time that has passed: into the window it lies in. What lies before the previous one no
    /// longer counts, so that the order of counting does not matter.
    fn add_at(&mut self, at: Timestamp, length: u64, n: u64) {
        self.roll(at, length);
        let index = at.0 / length;
        if index == self.index {
            self.current = self.current.saturating_add(n);
        } else if index + 1 == self.index {
            self.previous = self.previous.saturating_add(n);
        }
    }

    /// Takes back what was counted at a time.
    fn take_back(&mut self, at: Timestamp, length: u64) {
        let index = at.0 / length;
        if index == self.index {
            self.current = self.current.saturating_sub(1);
        } else if index + 1 == self.index {
            self.previous = self.previous.saturating_sub(1);
        }
    }

    fn count(&self, now: Timestamp, length: u64) -> u64 {
        let into = if now.0 / length == self.index { now.0 % length } else { 0 };
        let carried = (u128::from(self.previous) * u128::from(length - into)).div_ceil(u128::from(length));
        self.current.saturating_add(carried as u64)
    }

    /// Microseconds until `want` more fit under `limit`, assuming nothing else arrives; never zero.
    fn wait(&self, now: Timestamp, length: u64, limit: u64, want: u64) -> u64 {
        let into = now.0 % length;
        let want = want.min(limit);
        // What `fading` counts for has shrunk to `room` when so much of its window is left.
        let left = |fading: u64, room: u64| match fading {
            0 => length,
            _ => (u128::from(room) * u128::from(length) / u128::from(fading)).min(u128::from(length)) as u64,
        };
        // While this window runs, the previous one fades; afterwards this one does.
        let in_this = limit.checked_sub(want).and_then(|room| room.checked_sub(self.current));
        let in_this = in_this.map(|room| (length - left(self.previous, room)).max(into));
        let first = in_this
            .filter(|first| *first < length)
            .unwrap_or_else(|| 2 * length - left(self.current, limit.saturating_sub(want)));
        (first - into).max(1)
    }
}

/// What a request asks for before it is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Tokens it may consume.
    pub tokens: u64,
    /// Money it may cost.
    pub cost: NanoUsd,
}

/// Room that a request holds until it is settled. Not `Clone`: it is settled exactly once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation that is not settled holds its room for ever"]
pub struct Reservation(Ask);

impl Reservation {
    /// What is held.
    pub const fn ask(&self) -> Ask {
        self.0
    }
}

/// Why there is no room, and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The limit or budget.
    pub refusal: Refusal,
    /// Microseconds until a retry can succeed; `None` when waiting does not help.
    pub retry_after_us: Option<u64>,
}

/// Room left in one limit, for response headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The limit.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// Microseconds until it is whole again.
    pub reset_us: u64,
}

/// Money spent in one window of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Spent {
    period: u32,
    amount: NanoUsd,
}

impl Spent {
    fn at(&self, period: u32) -> NanoUsd {
        if self.period < period { NanoUsd::ZERO } else { self.amount }
    }

    fn add(&mut self, period: u32, amount: NanoUsd) {
        if self.period < period {
            *self = Self { period, amount };
        } else {
            self.amount += amount;
        }
    }
}

/// The account of one key.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Account {
    requests: [Window; 3],
    tokens: [Window; 3],
    day: Spent,
    month: Spent,
    total: NanoUsd,
    /// Live only: zero after a restart, because the requests are gone too.
    #[serde(skip)]
    reserved: NanoUsd,
    #[serde(skip)]
    reserved_tokens: u64,
    #[serde(skip)]
    in_flight: u64,
}

impl Account {
    /// Takes room for one request, or says which limit or budget has none. All or nothing.
    ///
    /// # Errors
    ///
    /// The first limit in the order concurrency, requests, tokens, then budgets.
    pub fn reserve(
        &mut self,
        now: Timestamp,
        limits: &Limits,
        budgets: &Budgets,
        ask: Ask,
    ) -> Result<Reservation, Exceeded> {
        self.roll(now);
        self.check_limits(now, limits, ask.tokens)?;
        self.check_budgets(now, budgets, ask.cost)?;
        for window in &mut self.requests {
            window.current = window.current.saturating_add(1);
        }
        self.reserved += ask.cost;
        self.reserved_tokens = self.reserved_tokens.saturating_add(ask.tokens);
        self.in_flight += 1;
        Ok(Reservation(ask))
    }

    /// Gives the room back of a request that was refused after all, as if it had never asked: neither its
    /// money nor its place in the request limits is used up. `at` is the time it was reserved at.
    pub fn cancel(&mut self, reservation: Reservation, at: Timestamp) {
        self.release(reservation);
        self.uncount(at);
    }

    /// Takes one request, counted at `at`, out of the request windows: a saved account holds finished requests
    /// only, because those in flight are counted when their events are replayed.
    pub fn uncount(&mut self, at: Timestamp) {
        for (i, &length) in WINDOWS.iter().enumerate() {
            self.requests[i].take_back(at, length);
        }
    }

    fn release(&mut self, reservation: Reservation) {
        let Reservation(Ask { tokens, cost }) = reservation;
        self.reserved = self.reserved.minus(cost);
        self.reserved_tokens = self.reserved_tokens.saturating_sub(tokens);
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Gives the room back and books what was really consumed, at the end of the request.
    pub fn settle(&mut self, reservation: Reservation, end: Timestamp, tokens: u64, cost: NanoUsd) {
        self.release(reservation);
        self.book(end, tokens, cost);
    }

    /// Books an event read back from the journal: what [`Account::reserve`] and [`Account::settle`] did
    /// for it when it happened.
    pub fn replay(&mut self, event: &UsageEvent) {
        if !event.outcome.was_forwarded() {
            return;
        }
        for (i, &length) in WINDOWS.iter().enumerate() {
            self.requests[i].add_at(event.request.time, length, 1);
        }
        let tokens = if event.usage_source == UsageSource::None { 0 } else { event.usage.total() };
        self.book(event.request.time.plus(event.duration_us), tokens, event.cost);
    }

    fn roll(&mut self, now: Timestamp) {
        for (i, &length) in WINDOWS.iter().enumerate() {
            self.requests[i].roll(now, length);
            self.tokens[i].roll(now, length);
        }
    }

    fn book(&mut self, end: Timestamp, tokens: u64, cost: NanoUsd) {
        for (i, &length) in WINDOWS.iter().enumerate() {
            self.requests[i].roll(end, length);
            self.tokens[i].add_at(end, length, tokens);
        }
        self.day.add(end.day(), cost);
        self.month.add(end.month(), cost);
        self.total += cost;
    }

    fn check_limits(&self, now: Timestamp, limits: &Limits, tokens: u64) -> Result<(), Exceeded> {
        if limits.concurrency.is_some_and(|limit| self.in_flight >= limit) {
            let refusal = Refusal::Limit(LimitKind::Concurrency);
            return Err(Exceeded { refusal, retry_after_us: Some(crate::time::SECOND) });
        }
        let exceeded = |kind, wait| Err(Exceeded { refusal: Refusal::Limit(kind), retry_after_us: wait });
        for (i, limit) in request_limits(limits).into_iter().enumerate() {
            let Some(limit) = limit else { continue };
            let window = &self.requests[i];
            if window.count(now, WINDOWS[i]) >= limit {
                let wait = (limit > 0).then(|| window.wait(now, WINDOWS[i], limit, 1));
                return exceeded(REQUEST_KINDS[i], wait);
            }
        }
        for (i, limit) in token_limits(limits).into_iter().enumerate() {
            let Some(limit) = limit else { continue };
            let used = self.tokens[i].count(now, WINDOWS[i]).saturating_add(self.reserved_tokens);
            if used.saturating_add(tokens) > limit {
                // A request larger than the whole limit can never fit: waiting does not help.
                let wait = (tokens <= limit).then(|| self.tokens[i].wait(now, WINDOWS[i], limit, tokens));
                return exceeded(TOKEN_KINDS[i], wait);
            }
        }
        Ok(())
    }

    fn check_budgets(&self, now: Timestamp, budgets: &Budgets, cost: NanoUsd) -> Result<(), Exceeded> {
        for (window, budget) in [
            (BudgetWindow::Day, budgets.day),
            (BudgetWindow::Month, budgets.month),
            (BudgetWindow::Total, budgets.total),
        ] {
            let Some(budget) = budget else { continue };
            let after =
                u128::from(self.spent(window, now).0) + u128::from(self.reserved.0) + u128::from(cost.0);
            // A budget that is used up to the last cent refuses even a request that costs nothing.
            if after > u128::from(budget.0) || (budget != NanoUsd::MAX && self.spent(window, now) >= budget) {
                return Err(Exceeded { refusal: Refusal::Budget(window), retry_after_us: None });
            }
        }
        Ok(())
    }

    /// Money settled in the window that holds `now`.
    pub fn spent(&self, window: BudgetWindow, now: Timestamp) -> NanoUsd {
        match window {
            BudgetWindow::Day => self.day.at(now.day()),
            BudgetWindow::Month => self.month.at(now.month()),
            BudgetWindow::Total => self.total,
        }
    }

    /// Money held for requests in flight.
    pub const fn reserved(&self) -> NanoUsd {
        self.reserved
    }

    /// Requests in flight.
    pub const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Holds more money for a request in flight, beyond its reservation: `want`, or what is left of the budgets if
    /// that is at least `least`. What was taken, to be given back by [`Account::give_back`]; `None` when there is
    /// too little: its stream is then cut.
    pub fn draw(
        &mut self,
        now: Timestamp,
        budgets: &Budgets,
        least: NanoUsd,
        want: NanoUsd,
    ) -> Option<NanoUsd> {
        let left = [
            (BudgetWindow::Day, budgets.day),
            (BudgetWindow::Month, budgets.month),
            (BudgetWindow::Total, budgets.total),
        ]
        .into_iter()
        .filter_map(|(window, budget)| Some(budget?.minus(self.spent(window, now)).minus(self.reserved)))
        .min();
        let taken = left.map_or(want, |left| want.min(left));
        if taken < least {
            return None;
        }
        self.reserved += taken;
        Some(taken)
    }

    /// Gives back what [`Account::draw`] took, when its request ends.
    pub fn give_back(&mut self, drawn: NanoUsd) {
        self.reserved = self.reserved.minus(drawn);
    }

    /// Room in the tightest request limit and the tightest token limit, for `x-ratelimit-*` headers.
    pub fn room(&self, now: Timestamp, limits: &Limits) -> (Option<Room>, Option<Room>) {
        let tightest = |limits: [Option<u64>; 3], windows: &[Window; 3], held: u64| {
            limits
                .into_iter()
                .enumerate()
                .filter_map(|(i, limit)| {
                    let limit = limit.filter(|&limit| limit != Limits::UNLIMITED)?;
                    let used = windows[i].count(now, WINDOWS[i]).saturating_add(held);
                    Some((i, limit, used))
                })
                .min_by_key(|(_, limit, used)| limit.saturating_sub(*used))
                .map(|(i, limit, used)| {
                    let reset_us = if used == 0 { 0 } else { windows[i].wait(now, WINDOWS[i], limit, limit) };
                    Room { limit, remaining: limit.saturating_sub(used), reset_us }
                })
        };
        (
            tightest(request_limits(limits), &self.requests, 0),
            tightest(token_limits(limits), &self.tokens, self.reserved_tokens),
        )
    }
}

fn request_limits(limits: &Limits) -> [Option<u64>; 3] {
    [limits.requests_per_minute, limits.requests_per_hour, limits.requests_per_day]
}

fn token_limits(limits: &Limits) -> [Option<u64>; 3] {
    [limits.tokens_per_minute, limits.tokens_per_hour, limits.tokens_per_day]
}

#[cfg(test)]
mod tests;
