//! The outbox.

use tokenwatch_model::alarm::{Alarm, AlarmKind, Spender};
use tokenwatch_model::alert::{AlertCause, DeliveryState, StoredAlert, Subject, SubjectId};
use tokenwatch_model::id::{AlarmId, IncidentId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::time::{DAY, HOUR, Timestamp};
use tokenwatch_store::{Batch, Change, NewDelivery, Pending, RaisedAlarm, Store};

use crate::samples::{START, entry, incident};
use crate::state::open;

fn alert(n: u64, cause: AlertCause) -> StoredAlert {
    let subject = Subject::Incident(Box::new(incident(n)));
    StoredAlert { sequence: 0, time: START.plus(n), cause, subject }
}

fn id(n: u64) -> SubjectId {
    SubjectId::Incident(incident(n).id)
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
    let seen: Vec<_> = waiting.iter().map(|a| (a.sequence, a.cause, a.subject.id())).collect();
    assert_eq!(seen, [(1, AlertCause::Opened, id(1)), (2, AlertCause::Opened, id(2))]);
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
    assert_eq!(store.deliveries(true, Some(id(9)), 9).unwrap(), []);
    let rest = store.deliveries_of(id(1)).unwrap();
    assert_eq!(store.deliveries(true, Some(id(1)), 9).unwrap().len(), rest.len());
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

fn alarm(n: u64, kind: AlarmKind) -> Alarm {
    Alarm {
        id: AlarmId::from_bits(n),
        spender: Spender::Provider("openai".into()),
        name: "openai".into(),
        kind,
        period: kind.period(START),
        raised: START,
        today: NanoUsd::from_cents(4_200),
        month: NanoUsd::from_cents(9_900),
        typical_day: None,
        days: 0,
        limit: NanoUsd::from_cents(4_000),
        times: Some(1.5),
        forecast: None,
        drivers: Vec::new(),
    }
}

#[test]
fn an_alarm_is_raised_once_with_its_alert_and_its_deliveries_are_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // An incident may have the same bits.
    put(&store, alert(7, AlertCause::Opened));
    let raised = alarm(7, AlarmKind::DayLow);
    let raise = |alarm: &Alarm| open(dir.path()).raise_alarm(alarm, &entry("alarm.raise", alarm.id)).unwrap();
    assert!(raise(&raised));
    assert!(!raise(&alarm(8, AlarmKind::DayLow)), "told before");
    assert!(raise(&alarm(9, AlarmKind::MonthCap)));
    assert_eq!(store.audit_latest(9).unwrap().len(), 2);
    let waiting = store.unrouted_alerts(9).unwrap();
    assert_eq!(waiting.len(), 3);
    assert_eq!(waiting[1].subject, Subject::Alarm(Box::new(raised.clone())));
    for alert in &waiting {
        store.route_alert(alert, &[new("pager", START)], START).unwrap();
    }
    let about = SubjectId::Alarm(raised.id);
    assert_eq!(store.deliveries(false, Some(about), 9).unwrap().len(), 1);
    assert_eq!(store.deliveries_of(about).unwrap()[0].subject, about);
    assert_eq!(store.deliveries_of(id(7)).unwrap()[0].sequence, 1);
    let told =
        |kind: AlarmKind| RaisedAlarm { spender: raised.spender.clone(), kind, period: kind.period(START) };
    let all = [told(AlarmKind::DayLow), told(AlarmKind::MonthCap)];
    assert_eq!(store.raised_alarms(START).unwrap(), all);
    assert_eq!(store.raised_alarms(START.plus(1)).unwrap(), []);
    assert_eq!((store.alarm(raised.id).unwrap(), store.alarms(9).unwrap().len()), (Some(raised.clone()), 2));
    store.snooze_spender(&raised.spender, START.plus(HOUR), &entry("alarm.snooze", "openai")).unwrap();
    assert_eq!(store.spender_snoozes(START).unwrap(), [(raised.spender, START.plus(HOUR))]);
    // It is told once even when its alert is long forgotten, within any period.
    store.prune_alerts(START.plus(40 * DAY)).unwrap();
    assert_eq!(
        (store.raised_alarms(START).unwrap().len(), store.spender_snoozes(START).unwrap()),
        (2, vec![])
    );
    store.prune_alerts(START.plus(500 * DAY)).unwrap();
    assert_eq!(store.raised_alarms(START).unwrap(), []);
}
