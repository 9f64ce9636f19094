//! Parquet: every event comes back, and filters find what they must.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::schema::printer::print_schema;
use proptest::prelude::*;
use tokenwatch_model::event::{JournalRecord, UsageEvent};
use tokenwatch_model::id::{KeyId, RequestId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::network::{Country, NetworkKind};
use tokenwatch_model::ports::EventSink;
use tokenwatch_model::time::{HOUR, MINUTE, Timestamp};
use tokenwatch_store::{Archive, Filter, Journal, JournalOptions, SealReport, Stream};

use crate::samples::{START, event, finding, mix};

const PATIENCE: Duration = Duration::from_secs(60);
const DOCUMENT: &str = include_str!("../../../../docs/events.md");

fn seal(dir: &Path, records: impl IntoIterator<Item = JournalRecord>) -> (Archive, SealReport) {
    let journal_dir = dir.join("journal");
    let stream = Stream::new(START, "test").unwrap();
    let journal = Journal::open(&journal_dir, JournalOptions::new(stream)).unwrap();
    for record in records {
        assert!(journal.handle().push(record));
    }
    let covered = journal.close(PATIENCE).unwrap().into_iter().collect();
    let archive = Archive::new(&dir.join("archive"));
    let report = archive.seal(&journal_dir, &covered).unwrap();
    assert_eq!(report.failures, []);
    (archive, report)
}

fn read(archive: &Archive, filter: Filter) -> Vec<UsageEvent> {
    archive.events(None, filter).unwrap().collect::<Result<_, _>>().unwrap()
}

prop_compose! {
    /// Events with every field anywhere in its range.
    fn any_event()(
        n: u64,
        numbers: [u64; 16],
        texts in prop::array::uniform6(".{0,12}"),
        address: IpAddr,
        shapes: [u64; 5],
        request: u128,
        kind in prop::sample::select(&[
            NetworkKind::Unknown, NetworkKind::Private, NetworkKind::Access, NetworkKind::Hosting,
            NetworkKind::Vpn, NetworkKind::Tor,
        ]),
        country in prop::sample::select(&["", "NL", "ZA"]),
        small: (u32, u32, u16, u32),
    ) -> UsageEvent {
        let mut event = event(n % 10_000);
        let mut numbers = numbers.into_iter().map(|number| number >> 1);
        let mut number = || numbers.next().unwrap();
        let mut texts = texts.into_iter();
        let mut text = || texts.next().unwrap().into();
        let request_context = &mut event.request;
        request_context.id = RequestId::from_bits(request);
        request_context.key = KeyId::from_bits(number());
        request_context.time = START.plus(number() % (3 * HOUR));
        request_context.source.address = address;
        request_context.source.facts.asn = small.0;
        request_context.source.facts.country = Country::from_code(country);
        request_context.source.facts.kind = kind;
        request_context.client.family = text();
        request_context.client.version = text();
        request_context.client.runtime = text();
        request_context.client.os = text();
        request_context.client.tls = shapes[0];
        request_context.provider = text();
        request_context.model = text();
        request_context.shape.template = shapes[1];
        request_context.shape.tools = shapes[2];
        request_context.shape.roles = shapes[3];
        request_context.shape.parameters = shapes[4];
        request_context.shape.prompt = shapes[0] ^ shapes[1];
        request_context.shape.messages = small.1;
        request_context.shape.tool_count = small.3;
        request_context.input_tokens_estimate = number();
        request_context.output_tokens_max = number();
        request_context.cost_worst = NanoUsd(number());
        request_context.request_bytes = number();
        event.key_seq = number();
        event.status = small.2;
        event.usage.input = number();
        event.usage.cache_read = number();
        event.usage.cache_write = number();
        event.usage.cache_write_1h = number();
        event.cost = NanoUsd(number());
        event.response_bytes = number();
        event.first_byte_us = number();
        event.duration_us = number();
        event
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_event_comes_back(events in prop::collection::vec(any_event(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let (archive, report) = seal(dir.path(), events.iter().cloned().map(JournalRecord::Usage));
        prop_assert_eq!(report.events as usize, events.len());
        let mut want = events;
        // Hours one after the other, each in the order of the journal.
        want.sort_by_key(|event| event.request.time.hour());
        prop_assert_eq!(read(&archive, Filter::default()), want);
    }
}

#[test]
fn numbers_that_no_column_holds_are_cut_and_far_times_filed_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut wild = event(1);
    wild.request.output_tokens_max = u64::MAX;
    wild.request.cost_worst = NanoUsd::MAX;
    let mut far = event(2);
    far.request.time = Timestamp(i64::MAX as u64);
    let records = [wild.clone(), far.clone()].map(JournalRecord::Usage);
    let (archive, _) = seal(dir.path(), records);
    wild.request.output_tokens_max = i64::MAX as u64;
    wild.request.cost_worst = NanoUsd(i64::MAX as u64);
    assert_eq!(read(&archive, Filter::default()), [wild, far]);
    assert!(dir.path().join("archive/events/date=9999-12-31/hour=23").is_dir());
}

#[test]
fn filters_find_exactly_what_they_must() {
    let dir = tempfile::tempdir().unwrap();
    // Four hours in several row groups.
    let sample = |n: u64| {
        let mut event = event(n);
        event.request.time = START.plus(mix(n) % (4 * HOUR));
        event
    };
    let all: Vec<UsageEvent> = (0..2_000).map(sample).collect();
    let (archive, _) = seal(dir.path(), all.iter().cloned().map(JournalRecord::Usage));
    let times = [
        None,
        Some(START),
        Some(START.plus(HOUR)),
        Some(START.plus(95 * MINUTE)),
        Some(START.plus(9 * HOUR)),
    ];
    let keys = [None, Some(all[5].request.key), Some(UsageEvent::NO_KEY), Some(KeyId::from_bits(1))];
    for from in times {
        for to in times {
            for key in keys {
                let fits = |event: &&UsageEvent| {
                    let (time, owner) = (event.request.time, event.request.key);
                    from.is_none_or(|from| from <= time)
                        && to.is_none_or(|to| time < to)
                        && key.is_none_or(|key| key == owner)
                };
                let mut want: Vec<&UsageEvent> = all.iter().filter(fits).collect();
                want.sort_by_key(|event| event.request.time.hour());
                let found = read(&archive, Filter { from, to, key });
                assert_eq!(found.iter().collect::<Vec<_>>(), want, "{from:?} {to:?} {key:?}");
            }
        }
    }
}

fn parquet_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(parquet_files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn schema_of(path: &Path) -> (String, BTreeSet<String>) {
    let file = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let metadata = file.metadata().file_metadata();
    let mut text = Vec::new();
    print_schema(&mut text, metadata.schema());
    let columns = metadata.schema_descr().columns().iter().map(|column| column.name().to_owned()).collect();
    // Readers skip by the statistics of these.
    for column in file.metadata().row_group(0).columns() {
        if ["time", "key"].contains(&column.column_descr().name()) {
            assert!(column.statistics().unwrap().min_bytes_opt().is_some());
        }
    }
    (String::from_utf8(text).unwrap(), columns)
}

/// The names in the first column of the table below a heading of the document.
fn documented(heading: &str) -> BTreeSet<String> {
    let (_, section) = DOCUMENT.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let names = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    names.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_columns_are_those_of_the_document() {
    let dir = tempfile::tempdir().unwrap();
    let records = [JournalRecord::Usage(event(4)), JournalRecord::Finding(finding(4))];
    seal(dir.path(), records);
    let files = parquet_files(&dir.path().join("archive"));
    let names: Vec<_> = files.iter().map(|file| file.strip_prefix(dir.path()).unwrap().display()).collect();
    assert_eq!(
        names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "archive/events/date=2026-03-01/hour=00/00001772323200000000-test-00000000.parquet",
            "archive/findings/date=2026-03-01/00001772323200000000-test-00000000.parquet",
        ]
    );
    let (events, event_columns) = schema_of(&files[0]);
    let (findings, finding_columns) = schema_of(&files[1]);
    insta::assert_snapshot!("columns", format!("{events}\n{findings}"));
    assert_eq!(event_columns, documented("Columns of events"));
    assert_eq!(finding_columns, documented("Columns of findings"));
}
