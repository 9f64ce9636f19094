//! Whatever is changed in the audit chain is found.

use rusqlite::Connection;
use tokenwatch_store::{AuditFault, Batch, Store};

use crate::samples::entry;
use crate::state::open;

const ROWS: u64 = 6;

fn chain() -> (tempfile::TempDir, Store, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..ROWS {
        store.apply(&Batch::new(entry("key.issue", n))).unwrap();
    }
    let raw = Connection::open(dir.path().join("state.db")).unwrap();
    raw.execute_batch(
        "PRAGMA synchronous = OFF; DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted; \
         DROP TRIGGER audit_has_no_gaps",
    )
    .unwrap();
    (dir, store, raw)
}

#[test]
fn a_change_of_any_byte_is_found_at_its_row() {
    let (_dir, store, raw) = chain();
    let report = store.verify_audit().unwrap();
    assert!(report.is_whole());
    assert_eq!((report.rows, report.head.len()), (ROWS, 64));
    let mut changes = 0;
    for seq in 1..=ROWS {
        for column in ["actor", "action", "subject", "detail", "hash"] {
            let get = format!("SELECT {column} FROM audit WHERE seq = ?1");
            let set = format!("UPDATE audit SET {column} = ?2 WHERE seq = ?1");
            let text: String = raw.query_row(&get, [seq as i64], |row| row.get(0)).unwrap();
            for at in 0..text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1;
                raw.execute(&set, (seq as i64, String::from_utf8(bytes).unwrap())).unwrap();
                assert_eq!(
                    store.verify_audit().unwrap().fault,
                    Some(AuditFault::Changed { seq }),
                    "{column}"
                );
                changes += 1;
            }
            raw.execute(&set, (seq as i64, &text)).unwrap();
        }
        for bit in 0..63 {
            let by = 1i64 << bit;
            raw.execute("UPDATE audit SET time = time - ?2 WHERE seq = ?1", (seq as i64, by)).unwrap();
            assert_eq!(store.verify_audit().unwrap().fault, Some(AuditFault::Changed { seq }), "time");
            raw.execute("UPDATE audit SET time = time + ?2 WHERE seq = ?1", (seq as i64, by)).unwrap();
        }
    }
    assert!(changes > 500);
    assert_eq!(store.verify_audit().unwrap(), report);
}

#[track_caller]
fn check_fault(tamper: &str, want: AuditFault) {
    let (_dir, store, raw) = chain();
    raw.execute_batch(tamper).unwrap();
    assert_eq!(store.verify_audit().unwrap().fault, Some(want), "{tamper}");
}

#[test]
fn rows_that_are_missing_moved_or_added_are_found() {
    check_fault("DELETE FROM audit WHERE seq = 3", AuditFault::Gap { expected: 3, found: 4 });
    check_fault("DELETE FROM audit WHERE seq = 1", AuditFault::Gap { expected: 1, found: 2 });
    check_fault("DELETE FROM audit WHERE seq > 4", AuditFault::End { expected: 6, found: 4 });
    check_fault("DELETE FROM audit", AuditFault::End { expected: 6, found: 0 });
    check_fault(
        "UPDATE audit SET seq = 99 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; \
         UPDATE audit SET seq = 3 WHERE seq = 99",
        AuditFault::Changed { seq: 2 },
    );
    check_fault(
        "INSERT INTO audit SELECT 7, time, actor, action, subject, detail, hash FROM audit WHERE seq = 6",
        AuditFault::Changed { seq: 7 },
    );
    check_fault("UPDATE audit_head SET seq = 7", AuditFault::End { expected: 7, found: 6 });
}
