//! Checking the audit chain.

use rusqlite::Transaction;
use tokenwatch_model::audit::chain_hash;

use crate::store::rows;

/// What a walk along the whole audit chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Rows that fit, from the first on.
    pub rows: u64,
    /// Hash of the last row that fits. Noted elsewhere, it proves later that nothing before it was changed.
    pub head: String,
    /// The first thing that does not fit; `None` when the chain is whole.
    pub fault: Option<AuditFault>,
}

impl AuditReport {
    /// Whether the chain is whole.
    pub const fn is_whole(&self) -> bool {
        self.fault.is_none()
    }
}

/// How a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// Rows are missing before this one.
    #[error("row {expected} is missing, row {found} follows")]
    Gap {
        /// The position that must come.
        expected: u64,
        /// The position that comes.
        found: u64,
    },
    /// The row, or one before it, is not what was written.
    #[error("row {seq} was changed after it was written")]
    Changed {
        /// Its position.
        seq: u64,
    },
    /// The row can not be read at all.
    #[error("row {seq} can not be read: {detail}")]
    Unreadable {
        /// Its position.
        seq: u64,
        /// What the database says.
        detail: String,
    },
    /// The chain does not end where the last write left it.
    #[error("the chain ends at row {found}, the last one written was {expected}")]
    End {
        /// Position of the last row written.
        expected: u64,
        /// Position of the last row found.
        found: u64,
    },
}

/// Walks the chain with constant memory.
pub(crate) fn verify(tx: &Transaction<'_>) -> rusqlite::Result<AuditReport> {
    let mut statement = tx.prepare(&format!("SELECT {} FROM audit ORDER BY seq", rows::AUDIT))?;
    let mut cursor = statement.query([])?;
    let mut report = AuditReport { rows: 0, head: String::new(), fault: None };
    while let Some(row) = cursor.next()? {
        let seq = report.rows + 1;
        let row = match rows::audit(row) {
            Ok(row) => row,
            Err(error) => {
                report.fault = Some(AuditFault::Unreadable { seq, detail: error.to_string() });
                return Ok(report);
            }
        };
        if row.seq != seq {
            report.fault = Some(AuditFault::Gap { expected: seq, found: row.seq });
            return Ok(report);
        }
        if chain_hash(&report.head, seq, &row.entry) != row.hash {
            report.fault = Some(AuditFault::Changed { seq });
            return Ok(report);
        }
        report.rows = seq;
        report.head = row.hash;
    }
    let (expected, hash): (u64, String) =
        tx.query_row("SELECT seq, hash FROM audit_head", [], |row| Ok((rows::number(row, 0)?, row.get(1)?)))?;
    if (expected, &hash) != (report.rows, &report.head) {
        report.fault = Some(AuditFault::End { expected, found: report.rows });
    }
    Ok(report)
}
