//! Sealing survives a crash at every step.

use std::time::Duration;

use tokenwatch_model::ports::EventSink;
use tokenwatch_model::time::MINUTE;

use super::*;
use crate::archive::Filter;
use crate::journal::{Journal, JournalOptions, JournalPosition};
use crate::samples::{START, event, finding};

/// Events of two hours in four segments, and a finding in each.
fn write_journal(dir: &Path) -> JournalPositions {
    let mut positions = JournalPositions::default();
    for part in 0..4 {
        let stream = Stream::new(START.plus(part), "test").unwrap();
        let journal = Journal::open(dir, JournalOptions::new(stream)).unwrap();
        for n in part * 10..part * 10 + 10 {
            assert!(journal.handle().push(JournalRecord::Usage(sample(n))));
        }
        assert!(journal.handle().push(JournalRecord::Finding(finding(part))));
        positions.advance(&journal.close(Duration::from_secs(20)).unwrap().unwrap());
    }
    positions
}

fn sample(n: u64) -> UsageEvent {
    let mut event = event(n);
    event.request.time = START.plus(n * 3 * MINUTE);
    event
}

#[track_caller]
fn check_content(archive: &Archive, journal: &Path) {
    let events: Result<Vec<_>, _> = archive.events(Some(journal), Filter::default()).unwrap().collect();
    let mut events = events.unwrap();
    events.sort_by_key(|event| event.request.time);
    assert_eq!(events, (0..40).map(sample).collect::<Vec<_>>());
    let findings: Result<Vec<_>, _> = archive.findings(Some(journal), Filter::default()).unwrap().collect();
    let mut findings = findings.unwrap();
    findings.sort_by_key(|finding| finding.time);
    assert_eq!(findings, (0..4).map(finding).collect::<Vec<_>>());
}

#[test]
fn a_crash_at_any_step_loses_and_repeats_nothing() {
    let mut steps = 0;
    for crash_at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal");
        let archive = Archive::new(&dir.path().join("archive"));
        let covered = write_journal(&journal);
        let mut step = 0;
        let mut crash = || {
            step += 1;
            // After a crash nothing happens any more.
            if step > crash_at { Err(io::Error::other("crash")) } else { Ok(()) }
        };
        let report = archive.seal_with(&journal, &covered, &mut crash).unwrap();
        check_content(&archive, &journal);
        let crashed = !report.failures.is_empty();
        let again = archive.seal(&journal, &covered).unwrap();
        assert_eq!(again.failures, []);
        assert_eq!(report.sealed.len() + again.sealed.len(), 4, "crash at {crash_at}");
        assert_eq!(segment::list_segments(&journal).unwrap(), []);
        check_content(&archive, &journal);
        assert_eq!(archive.seal(&journal, &covered).unwrap(), SealReport::default());
        if !crashed {
            steps = crash_at;
            break;
        }
    }
    // Four segments of at least two files each, every one with six steps.
    assert!(steps > 48, "only {steps} steps were failed");
}

#[test]
fn only_what_checkpoints_cover_and_nobody_writes_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let archive = Archive::new(&dir.path().join("archive"));
    let covered = write_journal(&journal);
    let before_last = covered.iter().map(|JournalPosition { segment, offset }| {
        let offset = if segment.stream.to_string().contains("00003-") { offset - 1 } else { offset };
        JournalPosition { segment, offset }
    });
    let report = archive.seal(&journal, &before_last.collect()).unwrap();
    assert_eq!((report.sealed.len(), report.waiting, report.streams.len()), (3, 1, 1));
    assert_eq!((report.events, report.findings), (30, 3));
    check_content(&archive, &journal);

    // One that is still written to stays, whatever the checkpoints say.
    let stream = Stream::new(START.plus(9), "live").unwrap();
    let live = Journal::open(&journal, JournalOptions::new(stream)).unwrap();
    assert!(live.handle().push(JournalRecord::Finding(finding(99))));
    let mut covered = covered;
    covered.advance(&live.handle().flush(Duration::from_secs(20)).unwrap().unwrap());
    let report = archive.seal(&journal, &covered).unwrap();
    assert_eq!((report.sealed.len(), report.waiting), (1, 1));
}

#[test]
fn a_damaged_record_is_counted_and_its_segment_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let archive = Archive::new(&dir.path().join("archive"));
    let covered = write_journal(&journal);
    let name = segment::list_segments(&journal).unwrap().remove(0);
    let path = journal.join(name.to_string());
    let mut bytes = fs::read(&path).unwrap();
    bytes[HEADER_LEN as usize + 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let report = archive.seal(&journal, &covered).unwrap();
    assert_eq!((report.sealed.len(), report.events, report.damaged), (4, 39, 1));
    assert_eq!(fs::read(journal.join(format!("{}.damaged", name.stem()))).unwrap(), bytes);
}

#[test]
fn old_days_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let archive = Archive::new(&dir.path().join("archive"));
    let covered = write_journal(&journal);
    archive.seal(&journal, &covered).unwrap();
    let keep = crate::archive::Retention { events_days: 2, findings_days: 3 };
    let after = |days: u64| START.plus(days * DAY + 12 * HOUR);
    assert_eq!(archive.expire(after(2), keep).unwrap(), 0);
    assert_eq!(archive.expire(after(3), keep).unwrap(), 1);
    assert_eq!(archive.events(None, Filter::default()).unwrap().count(), 0);
    assert_eq!(archive.findings(None, Filter::default()).unwrap().count(), 4);
    assert_eq!(archive.expire(after(4), keep).unwrap(), 1);
    assert_eq!(archive.expire(after(400), keep).unwrap(), 0);
}
