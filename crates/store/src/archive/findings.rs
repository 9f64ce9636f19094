//! Findings as rows: what people filter by as columns, the whole as JSON.

use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::finding::Finding;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::time::Timestamp;

use crate::archive::events::{put_key, take_key};
use crate::archive::table::{DecodeError, Kind, Record, RowReader, RowWriter, Spec};
use crate::store::{make_finite, to_json};

impl Record for Finding {
    const TABLE: &'static str = "findings";
    const BY_HOUR: bool = false;
    const COLUMNS: &'static [Spec] = &[
        Spec::required("time", Kind::Time),
        Spec::optional("key", Kind::FewTexts),
        Spec::required("rule", Kind::FewTexts),
        Spec::required("severity", Kind::FewTexts),
        Spec::required("tier", Kind::FewTexts),
        Spec::required("once_in_days", Kind::Real),
        Spec::required("summary", Kind::FewTexts),
        Spec::optional("actor", Kind::FewTexts),
        Spec::required("detail", Kind::Text),
    ];

    fn from_journal(record: JournalRecord) -> Option<Self> {
        match record {
            JournalRecord::Finding(finding) => Some(finding),
            JournalRecord::Usage(_) | JournalRecord::Feedback { .. } | JournalRecord::Suppressed { .. } => {
                None
            }
        }
    }

    fn time(&self) -> Timestamp {
        self.time
    }

    fn key(&self) -> KeyId {
        self.key
    }

    fn put(&self, row: &mut RowWriter<'_>) -> Result<(), serde_json::Error> {
        let mut finding = self.clone();
        make_finite(&mut finding);
        let detail = to_json(&finding)?;
        row.number(finding.time.0);
        put_key(finding.key, row);
        row.text(&finding.rule);
        row.text(finding.severity.name());
        row.text(finding.tier.name());
        row.real(finding.once_in_days);
        row.text(&finding.summary);
        row.text_or_none(&finding.actor.as_ref().map(|actor| actor.id.to_string()).unwrap_or_default());
        row.text(&detail);
        Ok(())
    }

    fn take(row: &mut RowReader<'_>) -> Result<Self, DecodeError> {
        // The other columns repeat for people what the detail says.
        row.number()?;
        take_key(row)?;
        for _ in 0..3 {
            row.text()?;
        }
        row.real()?;
        for _ in 0..2 {
            row.text()?;
        }
        row.word(|text| serde_json::from_str(text).ok())
    }
}
