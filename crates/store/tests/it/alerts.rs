//! The outbox.

use tokenwatch_model::alert::{AlertCause, DeliveryState, StoredAlert};
use tokenwatch_model::id::IncidentId;
use tokenwatch_model::time::{HOUR, Timestamp};
use tokenwatch_store::{Batch, Change, NewDelivery, Pending, Store};

use crate::samples::{START, entry, incident};
use crate::state::open;

fn alert(n: u64, cause: AlertCause) -> StoredAlert {
    StoredAlert { sequence: 0, time: START.plus(n), cause, incident: incident(n) }
}

fn put(store: &Store, alert: StoredAlert) {
    let mut batch = Batch::unaudited();
    batch.push(Change::Alert(Box::new(alert)));
    store.apply(&batch).unwrap();
}

fn new(destination: &str, due: Timestamp) -> NewDelivery {
    NewDelivery { destination: destination.into(), route: "all".into(), cause: AlertCause::Opened, due }
}

#[test]
fn alerts_are_routed_once_and_sent_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, alert(1, AlertCause::Opened));
    put(&store, alert(2, AlertCause::Opened));
    let waiting = open(dir.path()).unrouted_alerts(9).unwrap();
    let seen: Vec<_> = waiting.iter().map(|a| (a.sequence, a.cause, a.incident.id)).collect();
    assert_eq!(seen, [(1, AlertCause::Opened, incident(1).id), (2, AlertCause::Opened, incident(2).id)]);
    let both = [new("pager", START), new("room", START.plus(HOUR))];
    store.route_alert(&waiting[0], &both, START).unwrap();
    store.route_alert(&waiting[0], &both, START).unwrap();
    store.route_alert(&waiting[1], &[], START).unwrap();
    assert_eq!(store.unrouted_alerts(9).unwrap(), []);
    assert_eq!(store.alert(1).unwrap().as_ref(), Some(&waiting[0]));
    let of_pager = store.pending_deliveries("pager", 9).unwrap();
    assert_eq!(of_pager.len(), 1);
    assert_eq!(store.pending(START).unwrap(), Pending { due: 1, oldest: Some(START) });
    store.note_failed(of_pager[0].id, START.plus(5), "sk-tw-0000000000w1-secret0secret: no").unwrap();
    let failed = store.delivery(of_pager[0].id).unwrap().unwrap();
    assert_eq!((failed.attempts, failed.due), (1, START.plus(5)));
    assert!(!failed.error.contains("secret0"), "{}", failed.error);
    assert_eq!(store.retry_deliveries(None, START, &entry("alert.retry", "all")).unwrap(), 1);
    store.note_sent(failed.id, &[], START.plus(9)).unwrap();
    // What has ended stays as it is.
    store.note_failed(failed.id, START, "late").unwrap();
    assert!(!store.drop_delivery(failed.id, START, &entry("alert.drop", 1)).unwrap());
    let sent = store.delivery(failed.id).unwrap().unwrap();
    assert_eq!(
        (sent.state, sent.attempts, sent.ended, sent.error.as_str()),
        (DeliveryState::Sent, 2, Some(START.plus(9)), "")
    );
    assert_eq!(store.deliveries(false, None, 9).unwrap().len(), 1);
    assert_eq!(store.deliveries(true, Some(incident(9).id), 9).unwrap(), []);
    let rest = store.deliveries_of(incident(1).id).unwrap();
    assert_eq!(store.deliveries(true, Some(incident(1).id), 9).unwrap().len(), rest.len());
    assert!(store.drop_delivery(rest[1].id, START, &entry("alert.drop", 2)).unwrap());
    assert_eq!(store.pending(START.plus(HOUR)).unwrap(), Pending::default());
    assert!(store.verify_audit().unwrap().is_whole());
}

#[test]
fn what_ran_out_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for time in [1, 1, 2] {
        let ran_out = StoredAlert { time: START.plus(time), ..alert(1, AlertCause::Updated) };
        store.note_expired(&ran_out).unwrap();
    }
    assert_eq!(store.unrouted_alerts(9).unwrap().len(), 2);
}

#[test]
fn snoozes_end_and_old_alerts_are_forgotten_unless_something_is_pending() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let of = IncidentId::from_bits(5);
    store.snooze(of, START.plus(HOUR), &entry("alert.snooze", of)).unwrap();
    assert_eq!(store.snoozes(START).unwrap(), [(of, START.plus(HOUR))]);
    assert_eq!(store.snoozes(START.plus(HOUR)).unwrap(), []);
    for n in 1..=3 {
        put(&store, alert(n, AlertCause::Opened));
    }
    let all = store.unrouted_alerts(9).unwrap();
    store.route_alert(&all[0], &[new("pager", START)], START).unwrap();
    store.route_alert(&all[1], &[new("pager", START)], START).unwrap();
    let first = store.pending_deliveries("pager", 1).unwrap().remove(0);
    store.note_sent(first.id, &[], START).unwrap();
    store.prune_alerts(START.plus(HOUR)).unwrap();
    let left = [1, 2, 3].map(|sequence| store.alert(sequence).unwrap().is_some());
    assert_eq!(left, [false, true, true], "sent, pending, not routed yet");
    assert_eq!(store.deliveries(true, None, 9).unwrap().len(), 1);
}
