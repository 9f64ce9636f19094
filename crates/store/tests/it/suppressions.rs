//! Suppressions and the alerts that nobody was told of.

use tokenwatch_model::finding::Finding;
use tokenwatch_model::id::{OwnerId, SuppressionId};
use tokenwatch_model::suppression::{Reach, SuppressedAlert, Suppression};
use tokenwatch_model::time::HOUR;
use tokenwatch_store::UpdateError;

use crate::samples::{START, context, entry, finding};
use crate::state::open;

fn suppression(n: u64) -> Suppression {
    Suppression {
        id: SuppressionId::from_bits(n),
        reach: Reach::Owner(OwnerId::from_bits(n)),
        rule: Some("newcomer".into()),
        context: Some(context(n)),
        reason: "load test".to_owned(),
        by: "cli:ops".into(),
        created: START.plus(n),
        expires: START.plus(HOUR),
        lifted: None,
        revision: 0,
    }
}

#[test]
fn suppressions_are_read_back_followed_and_lifted_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let put = |row: &Suppression| store.put_suppression(row, &entry("suppression.add", row.id));
    assert_eq!(put(&suppression(1)).unwrap(), 1);
    assert_eq!(put(&suppression(2)).unwrap(), 2);
    assert!(matches!(put(&suppression(1)), Err(UpdateError::Exists { .. })));
    let first = Suppression { revision: 1, ..suppression(1) };
    let reopened = open(dir.path());
    assert_eq!(reopened.suppression(first.id).unwrap().as_ref(), Some(&first));
    let ids = |rows: Vec<Suppression>| rows.iter().map(|row| row.id.bits()).collect::<Vec<_>>();
    assert_eq!(ids(reopened.suppressions(9).unwrap()), [2, 1]);
    assert_eq!(ids(reopened.changes_since(1).unwrap().suppressions), [2]);
    let lifted = Suppression { lifted: Some((START.plus(5), "cli:ops".into())), ..first.clone() };
    assert_eq!(put(&lifted).unwrap(), 3);
    assert!(matches!(put(&lifted), Err(UpdateError::Conflict { .. })));
    assert!(matches!(put(&Suppression { revision: 3, ..first }), Err(UpdateError::Database(_))));
    assert_eq!(reopened.changes_since(2).unwrap().suppressions, [Suppression { revision: 3, ..lifted }]);
    assert!(store.verify_audit().unwrap().is_whole());
}

#[test]
fn suppressed_alerts_are_listed_latest_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let alert = |n: u64| SuppressedAlert { suppression: SuppressionId::from_bits(n), finding: finding(n) };
    let wild = Finding { once_in_days: f64::INFINITY, ..finding(3) };
    for alert in [alert(1), alert(2), SuppressedAlert { finding: wild, ..alert(3) }] {
        store.push_suppressed(&alert).unwrap();
    }
    let ids = |rows: Vec<SuppressedAlert>| rows.iter().map(|row| row.suppression.bits()).collect::<Vec<_>>();
    assert_eq!(ids(store.suppressed(None, 2).unwrap()), [3, 2]);
    let of_key = store.suppressed(Some(finding(1).key), 9).unwrap();
    assert_eq!(of_key.last(), Some(&alert(1)));
    assert!(of_key.iter().all(|alert| alert.finding.key == finding(1).key));
}
