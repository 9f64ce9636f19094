//! Tests of accounts.

use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_seconds(1_767_225_600); // 2026-01-01

fn ask(cents: u64) -> Ask {
    Ask { tokens: 10, cost: NanoUsd::from_cents(cents) }
}

/// Runs asks of one cent each at the given seconds; returns which were refused and the wait in seconds.
#[track_caller]
fn check(limits: Limits, budgets: Budgets, at_seconds: &[u64], want: &[Result<(), (Refusal, Option<u64>)>]) {
    let mut account = Account::default();
    let got: Vec<_> = at_seconds
        .iter()
        .map(|&second| {
            let now = START.plus(second * crate::time::SECOND);
            match account.reserve(now, &limits, &budgets, ask(1)) {
                Ok(reservation) => {
                    account.settle(reservation, now, 10, NanoUsd::from_cents(1));
                    Ok(())
                }
                Err(e) => Err((e.refusal, e.retry_after_us.map(|us| us.div_ceil(crate::time::SECOND)))),
            }
        })
        .collect();
    assert_eq!(got, want);
}

#[test]
fn windows_slide() {
    let limits = Limits { requests_per_minute: Some(2), ..Limits::default() };
    let full = Err((Refusal::Limit(LimitKind::RequestsPerMinute), Some(61)));
    check(limits, Budgets::default(), &[0, 29, 29], &[Ok(()), Ok(()), full]);
    // Half of the previous minute still counts at 90 s.
    check(
        limits,
        Budgets::default(),
        &[0, 1, 90, 91],
        &[Ok(()), Ok(()), Ok(()), Err((Refusal::Limit(LimitKind::RequestsPerMinute), Some(29)))],
    );
    check(limits, Budgets::default(), &[0, 1, 120, 121], &[Ok(()), Ok(()), Ok(()), Ok(())]);
}

#[test]
fn budgets_end_and_days_renew_them() {
    let budgets = Budgets { day: Some(NanoUsd::from_cents(2)), ..Budgets::default() };
    let used = Err((Refusal::Budget(BudgetWindow::Day), None));
    check(Limits::default(), budgets, &[0, 1, 2, 86_400], &[Ok(()), Ok(()), used, Ok(())]);
    let budgets = Budgets { total: Some(NanoUsd::from_cents(1)), ..Budgets::default() };
    let used = Err((Refusal::Budget(BudgetWindow::Total), None));
    check(Limits::default(), budgets, &[0, 40 * 86_400], &[Ok(()), used]);
}

#[test]
fn what_can_never_fit_says_so() {
    let limits = Limits { tokens_per_minute: Some(5), ..Limits::default() };
    check(limits, Budgets::default(), &[0], &[Err((Refusal::Limit(LimitKind::TokensPerMinute), None))]);
    let limits = Limits { requests_per_day: Some(0), ..Limits::default() };
    check(limits, Budgets::default(), &[0], &[Err((Refusal::Limit(LimitKind::RequestsPerDay), None))]);
}

#[test]
fn concurrency_counts_what_is_in_flight() {
    let limits = Limits { concurrency: Some(1), ..Limits::default() };
    let mut account = Account::default();
    let first = account.reserve(START, &limits, &Budgets::default(), ask(1)).unwrap();
    let second = account.reserve(START, &limits, &Budgets::default(), ask(1)).unwrap_err();
    assert_eq!(second.refusal, Refusal::Limit(LimitKind::Concurrency));
    account.settle(first, START, 0, NanoUsd::ZERO);
    assert!(account.reserve(START, &limits, &Budgets::default(), ask(1)).is_ok());
}

#[test]
fn what_is_cancelled_uses_up_nothing() {
    let limits = Limits { requests_per_minute: Some(1), concurrency: Some(1), ..Limits::default() };
    let budgets = Budgets { total: Some(NanoUsd::from_cents(1)), ..Budgets::default() };
    let mut account = Account::default();
    for _ in 0..3 {
        let reservation = account.reserve(START, &limits, &budgets, ask(1)).unwrap();
        account.cancel(reservation, START);
    }
    assert_eq!((account.reserved(), account.in_flight()), (NanoUsd::ZERO, 0));
    // Cancelled after its minute is over, it leaves the minute before.
    let late = START.plus(MINUTE);
    let reservation = account.reserve(START, &limits, &budgets, ask(1)).unwrap();
    account.roll(late);
    account.cancel(reservation, START);
    assert!(account.reserve(late, &limits, &budgets, ask(1)).is_ok());
}

proptest! {
    /// Requests that are counted when they have ended, in any order, are counted like those that were counted
    /// when they began: a replayed account is the live one.
    #[test]
    fn the_order_of_counting_does_not_matter(mut at in prop::collection::vec(0u64..400, 1..80)) {
        let mut live = Account::default();
        let now = START.plus(400 * crate::time::SECOND);
        let in_order = { let mut sorted = at.clone(); sorted.sort_unstable(); sorted };
        for second in in_order {
            let time = START.plus(second * crate::time::SECOND);
            let limits = Limits::default();
            let reservation = live.reserve(time, &limits, &Budgets::default(), ask(0)).unwrap();
            live.settle(reservation, time, 3, NanoUsd::ZERO);
        }
        let mut late = Account::default();
        at.rotate_left(1);
        for second in at {
            let time = START.plus(second * crate::time::SECOND);
            for (i, &length) in WINDOWS.iter().enumerate() {
                late.requests[i].add_at(time, length, 1);
            }
            late.book(time, 3, NanoUsd::ZERO);
        }
        live.roll(now);
        late.roll(now);
        prop_assert_eq!(live, late);
    }

    /// Whatever is reserved and settled in whatever order, a budget is never promised twice, and the
    /// money booked is the sum of what was settled.
    #[test]
    fn budgets_are_exact(steps in prop::collection::vec((0u64..50, 0u64..50, any::<bool>()), 1..200)) {
        let budget = NanoUsd::from_cents(300);
        let budgets = Budgets { total: Some(budget), ..Budgets::default() };
        let mut account = Account::default();
        let mut open = Vec::new();
        let mut settled = NanoUsd::ZERO;
        for (worst, real, settle_first) in steps {
            if settle_first && !open.is_empty() {
                let reservation: Reservation = open.swap_remove(0);
                let cost = NanoUsd(reservation.ask().cost.0.min(NanoUsd::from_cents(real).0));
                settled += cost;
                account.settle(reservation, START, 1, cost);
            }
            if let Ok(reservation) = account.reserve(START, &Limits::default(), &budgets, ask(worst)) {
                open.push(reservation);
            }
            prop_assert!(account.spent(BudgetWindow::Total, START) + account.reserved() <= budget);
            prop_assert_eq!(account.spent(BudgetWindow::Total, START), settled);
        }
    }

    /// However many streams run past their reservations together, and whatever pieces they come in: a stream that
    /// draws before it goes on, and ends when nothing is left, never takes a budget further than its last piece.
    #[test]
    fn streams_can_not_overdraw_a_budget_together(
        steps in prop::collection::vec((0usize..8, 0u64..12, any::<bool>()), 1..300),
        slice in 1u64..40,
    ) {
        struct Stream { reservation: Reservation, held: NanoUsd, drawn: NanoUsd, so_far: NanoUsd }
        const PIECE_MAX: u64 = 11;
        let budget = NanoUsd(300);
        let budgets = Budgets { day: Some(budget), total: Some(budget), ..Budgets::default() };
        let mut account = Account::default();
        let mut streams: [Option<Stream>; 8] = [const { None }; 8];
        let (mut settled, mut cut) = (NanoUsd::ZERO, 0);
        for (i, piece, ends) in steps {
            let Some(stream) = streams[i].as_mut() else {
                let ask = Ask { tokens: 1, cost: NanoUsd(piece) };
                if let Ok(reservation) = account.reserve(START, &Limits::default(), &budgets, ask) {
                    let (held, zero) = (NanoUsd(piece), NanoUsd::ZERO);
                    streams[i] = Some(Stream { reservation, held, drawn: zero, so_far: zero });
                }
                continue;
            };
            stream.so_far += NanoUsd(piece);
            let mut over = ends;
            if stream.so_far > stream.held {
                let least = stream.so_far.minus(stream.held);
                match account.draw(START, &budgets, least, least + NanoUsd(slice)) {
                    Some(taken) => {
                        prop_assert!(least <= taken && taken <= least + NanoUsd(slice));
                        stream.held += taken;
                        stream.drawn += taken;
                    }
                    None => (over, cut) = (true, cut + 1),
                }
            }
            if over && let Some(stream) = streams[i].take() {
                account.give_back(stream.drawn);
                account.settle(stream.reservation, START, 1, stream.so_far);
                settled += stream.so_far;
            }
            let promised = account.spent(BudgetWindow::Total, START) + account.reserved();
            prop_assert!(promised <= budget + NanoUsd(cut * PIECE_MAX), "{promised:?} after {cut} cuts");
            prop_assert_eq!(account.spent(BudgetWindow::Total, START), settled);
        }
        for stream in streams.into_iter().flatten() {
            account.give_back(stream.drawn);
            account.settle(stream.reservation, START, 1, stream.so_far);
        }
        prop_assert_eq!(account.reserved(), NanoUsd::ZERO);
        prop_assert!(account.spent(BudgetWindow::Total, START) <= budget + NanoUsd(cut * PIECE_MAX));
    }

    /// A wait is the first moment at which as much as wanted fits.
    #[test]
    fn a_wait_is_the_shortest(
        (current, previous) in (0_u64..50, 0_u64..50),
        (limit, want) in (1_u64..60, 1_u64..60),
        (length, into) in (1_u64..100).prop_flat_map(|length| (Just(length), 0..length)),
    ) {
        let window = Window { index: 7, current, previous };
        let now = 7 * length + into;
        let fits = |wait: u64| {
            let mut later = window;
            later.roll(Timestamp(now + wait), length);
            later.count(Timestamp(now + wait), length) + want.min(limit) <= limit
        };
        let first = (1..).find(|wait| fits(*wait)).unwrap();
        prop_assert_eq!(window.wait(Timestamp(now), length, limit, want), first);
    }

    /// A client that waits as told is admitted.
    #[test]
    fn retry_after_is_true(limit in 1u64..20, gaps in prop::collection::vec(0u64..40, 1..60)) {
        let limits = Limits { requests_per_minute: Some(limit), ..Limits::default() };
        let mut account = Account::default();
        let mut now = START;
        for gap in gaps {
            now = now.plus(gap * crate::time::SECOND);
            match account.reserve(now, &limits, &Budgets::default(), ask(0)) {
                Ok(reservation) => account.settle(reservation, now, 1, NanoUsd::ZERO),
                Err(exceeded) => {
                    let later = now.plus(exceeded.retry_after_us.unwrap());
                    prop_assert!(account.clone().reserve(later, &limits, &Budgets::default(), ask(0)).is_ok());
                }
            }
        }
    }

    /// Codec round trip drops only what a crash drops.
    #[test]
    fn accounts_survive_storage(cents in 0u64..1000) {
        let mut account = Account::default();
        let reservation = account.reserve(START, &Limits::default(), &Budgets::default(), ask(cents)).unwrap();
        account.settle(reservation, START, 5, NanoUsd::from_cents(cents));
        let bytes = postcard::to_stdvec(&account).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Account>(&bytes).unwrap(), account);
    }
}
