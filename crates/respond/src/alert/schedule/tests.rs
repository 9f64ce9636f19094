//! Order, merging and back-off.

use proptest::prelude::*;
use tokenwatch_model::alert::DeliveryState;
use tokenwatch_model::id::IncidentId;

use super::*;

use AlertCause::{Escalated, Opened, Resolved, Updated};

const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

fn pending(id: u64, incident: u64, cause: AlertCause, due_s: i64) -> Delivery {
    Delivery {
        id,
        sequence: id,
        subject: SubjectId::Incident(IncidentId::from_bits(incident)),
        destination: "d".into(),
        route: "r".into(),
        cause,
        state: DeliveryState::Pending,
        due: Timestamp(NOW.0.saturating_add_signed(due_s * SECOND.cast_signed())),
        attempts: 0,
        error: String::new(),
        created: NOW,
        ended: None,
    }
}

#[track_caller]
fn check(pending: &[Delivery], want: Option<(u64, &[u64])>) {
    let got = pick(pending, |incident| (incident.bits() == 99).then(|| NOW.plus(SECOND)), NOW);
    assert_eq!(got, want.map(|(id, merged)| Pick { id, merged: merged.to_vec() }));
}

#[test]
fn incidents_keep_their_order_and_do_not_wait_for_each_other() {
    check(&[], None);
    check(&[pending(1, 1, Opened, 0), pending(2, 2, Opened, 0)], Some((1, &[])));
    check(&[pending(1, 1, Opened, 5), pending(2, 1, Resolved, 0)], None);
    check(&[pending(1, 1, Opened, 5), pending(2, 1, Resolved, 0), pending(3, 2, Opened, 0)], Some((3, &[])));
    check(&[pending(1, 99, Opened, 0), pending(2, 99, Resolved, 0)], None);
}

#[test]
fn updates_go_together_and_nothing_else_does() {
    let run = [pending(1, 1, Updated, 0), pending(2, 2, Opened, 9), pending(3, 1, Updated, 50)];
    check(&run, Some((3, &[1])));
    let end = [pending(1, 1, Updated, 0), pending(3, 1, Updated, 50), pending(4, 1, Resolved, 0)];
    check(&end, Some((3, &[1])));
    let opened = [pending(1, 1, Opened, 0), pending(3, 1, Updated, 0), pending(4, 1, Updated, 0)];
    check(&opened, Some((1, &[])));
    check(&[pending(1, 1, Updated, 5), pending(3, 1, Updated, 0)], None);
}

#[test]
fn escalations_wait_for_nobody_and_hold_up_nobody() {
    check(&[pending(1, 1, Escalated, 900), pending(2, 1, Updated, 0)], Some((2, &[])));
    check(&[pending(1, 1, Updated, 900), pending(2, 1, Escalated, 0)], Some((2, &[])));
    let between = [pending(1, 1, Updated, 0), pending(2, 1, Escalated, 900), pending(3, 1, Updated, 0)];
    check(&between, Some((3, &[1])));
}

#[test]
fn receivers_are_tried_later_and_later_and_heeded() {
    let wait = |failure, attempts| {
        let retry = after_failure(failure, attempts, NOW, u64::MAX);
        (retry.due.since(NOW) / SECOND, retry.hold.is_some())
    };
    for (attempts, least, most) in [(1, 4, 6), (2, 8, 12), (5, 64, 96), (12, 480, 720), (u32::MAX, 480, 720)]
    {
        let (waited, holds) = wait(Failure::Unreachable, attempts);
        assert!((least..=most).contains(&waited) && holds, "{attempts}: {waited}");
    }
    let (waited, holds) = wait(Failure::Rejected, 1);
    assert!((48..=72).contains(&waited) && !holds, "{waited}");
    assert_eq!(wait(Failure::Busy(Some(30 * SECOND)), 7), (30, true));
    assert_eq!(wait(Failure::Busy(Some(u64::MAX)), 1).0, DAY / SECOND);
    assert!(wait(Failure::Busy(None), 1).0 >= 4);
}

proptest! {
    /// Whatever waits: who sends what is picked, again and again, sends everything, each incident in order, and
    /// merges only updates.
    #[test]
    fn everything_is_sent_in_order(list in prop::collection::vec((0_u64..4, 0_u8..4), 0..40)) {
        let mut rows: Vec<Delivery> = list
            .iter()
            .enumerate()
            .map(|(i, (incident, cause))| {
                let cause = [Opened, Updated, Updated, Resolved][usize::from(*cause)];
                pending(i as u64 + 1, *incident, cause, 0)
            })
            .collect();
        let mut last = [0; 4];
        while let Some(next) = pick(&rows, |_| None, NOW) {
            let at = rows.iter().position(|row| row.id == next.id).unwrap();
            let incident = rows[at].subject;
            for id in next.merged.iter().chain([&next.id]) {
                let row = rows.iter().find(|row| row.id == *id).unwrap();
                prop_assert!(row.subject == incident && *id > last[incident.bits() as usize]);
                prop_assert!(*id == next.id || row.cause == Updated);
                last[incident.bits() as usize] = *id;
            }
            rows.retain(|row| row.id != next.id && !next.merged.contains(&row.id));
        }
        prop_assert!(rows.is_empty());
    }
}
