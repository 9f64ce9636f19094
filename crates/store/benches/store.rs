//! What the store costs: `cargo bench -p tokenwatch-store`. Prints one line per figure; nothing is asserted,
//! because figures of different machines do not compare.

#[path = "../src/samples.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod samples;

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::ports::EventSink;
use tokenwatch_store::{
    Archive, Batch, Change, Checkpoint, Filter, Journal, JournalOptions, JournalPositions, JournalReader,
    Options, Store, Stream,
};

use samples::{START, entry, event, key, mix};

type Outcome = Result<(), Box<dyn Error>>;

const KEYS: u64 = 100_000;
const EVENTS: u64 = 500_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Outcome {
    let dir = tempfile::tempdir()?;
    keys(dir.path())?;
    checkpoints(dir.path())?;
    journal(dir.path())?;
    Ok(())
}

fn print(what: &str, figure: f64, unit: &str) -> Outcome {
    writeln!(stdout(), "{what:<52} {figure:>12.2} {unit}")?;
    Ok(())
}

fn us(span: Duration, count: u64) -> f64 {
    span.as_secs_f64() * 1e6 / count as f64
}

fn keys(dir: &Path) -> Outcome {
    let store = Store::open(dir, Options::default())?;
    let mut latencies = Vec::new();
    for n in 0..200 {
        let began = Instant::now();
        store.insert_key(&key(KEYS + n), &entry("key.issue", n))?;
        latencies.push(began.elapsed());
    }
    latencies.sort_unstable();
    print("insert a key, median", us(latencies[latencies.len() / 2], 1), "us")?;
    print("insert a key, 99 %", us(latencies[latencies.len() * 99 / 100], 1), "us")?;

    let began = Instant::now();
    let mut batch = Batch::new(entry("key.import", KEYS));
    for n in 0..KEYS {
        batch.push(Change::InsertKey(key(n)));
    }
    store.apply(&batch)?;
    print("import 100,000 keys in one batch", began.elapsed().as_secs_f64() * 1e3, "ms")?;
    print("state.db per key", fs::metadata(dir.join("state.db"))?.len() as f64 / KEYS as f64, "bytes")?;

    drop(store);
    for _ in 0..3 {
        let began = Instant::now();
        let store = Store::open(dir, Options::default())?;
        let opened = began.elapsed();
        let keys = black_box(store.keys()?);
        print("open", opened.as_secs_f64() * 1e3, "ms")?;
        print(&format!("load {} keys", keys.len()), (began.elapsed() - opened).as_secs_f64() * 1e3, "ms")?;
    }
    let store = Store::open(dir, Options::default())?;
    let began = Instant::now();
    for _ in 0..10_000 {
        black_box(store.data_version()?);
    }
    print("ask whether anything changed", us(began.elapsed(), 10_000), "us")?;
    let revision = store.revision()?;
    let began = Instant::now();
    for _ in 0..1_000 {
        black_box(store.changes_since(revision)?.is_empty());
    }
    print("ask what changed, nothing", us(began.elapsed(), 1_000), "us")
}

fn checkpoints(dir: &Path) -> Outcome {
    let store = Store::open(dir, Options::default())?;
    let checkpoints: Vec<Checkpoint> =
        (0..10_000).map(|n| Checkpoint { key: key(n).key.id, seq: n, body: vec![n as u8; 2_048] }).collect();
    let began = Instant::now();
    store.save_checkpoints(&checkpoints, &JournalPositions::default())?;
    print("save 10,000 checkpoints of 2 KiB", began.elapsed().as_secs_f64() * 1e3, "ms")?;
    let began = Instant::now();
    for n in 0..10_000 {
        black_box(store.load_checkpoint(key(n).key.id)?);
    }
    print("load a checkpoint", us(began.elapsed(), 10_000), "us")
}

/// Processor time of this process's thread with that name, in seconds.
fn thread_seconds(name: &str) -> Result<f64, Box<dyn Error>> {
    for task in fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if fs::read_to_string(path.join("comm"))?.trim() == name {
            // The first field is nanoseconds on the processor.
            let stat = fs::read_to_string(path.join("schedstat"))?;
            return Ok(stat.split_whitespace().next().unwrap_or("0").parse::<f64>()? / 1e9);
        }
    }
    Err(format!("there is no thread {name}").into())
}

fn journal(dir: &Path) -> Outcome {
    let events: Vec<JournalRecord> = (0..EVENTS).map(|n| JournalRecord::Usage(event(n))).collect();
    let (journal_dir, archive_dir) = (dir.join("journal"), dir.join("archive"));
    let options = JournalOptions::new(Stream::new(START, "bench")?);
    let journal = Journal::open(&journal_dir, options)?;
    let handle = journal.handle();
    let mut pushing = Duration::ZERO;
    let mut lag_ms_max = 0;
    for burst in events.chunks(2_000) {
        let burst = burst.to_vec();
        let began = Instant::now();
        for record in burst {
            handle.push(record);
        }
        pushing += began.elapsed();
        lag_ms_max = lag_ms_max.max(handle.health().lag_ms);
        // 50,000 events a second: what a busy gateway has.
        std::thread::sleep(Duration::from_millis(40).saturating_sub(began.elapsed()));
    }
    handle.flush(PATIENCE)?;
    print("push an event", us(pushing, EVENTS) * 1e3, "ns")?;
    let cpu = thread_seconds("tw-journal")?;
    print("journal thread per event, encoding and writing", cpu * 1e9 / EVENTS as f64, "ns")?;
    print("longest lag seen", lag_ms_max as f64, "ms")?;
    print("dropped", handle.health().dropped as f64, "events")?;
    let positions: JournalPositions = journal.close(PATIENCE)?.into_iter().collect();
    let bytes: u64 = fs::read_dir(&journal_dir)?
        .map(|file| file?.metadata().map(|data| data.len()))
        .sum::<Result<_, _>>()?;
    print("journal per event", bytes as f64 / EVENTS as f64, "bytes")?;

    let began = Instant::now();
    let progress = JournalReader::new(&journal_dir, JournalPositions::default()).read(|record| {
        black_box(record);
    })?;
    print("replay", progress.records as f64 / began.elapsed().as_secs_f64(), "events/s")?;

    let archive = Archive::new(&archive_dir);
    let began = Instant::now();
    let report = archive.seal(&journal_dir, &positions)?;
    print("seal", report.events as f64 / began.elapsed().as_secs_f64(), "events/s")?;
    print("Parquet per event", report.parquet_bytes as f64 / report.events as f64, "bytes")?;

    let began = Instant::now();
    let read = archive.events(Some(&journal_dir), Filter::default())?.count();
    print("read from Parquet", read as f64 / began.elapsed().as_secs_f64(), "events/s")?;
    let filter = Filter { key: Some(tokenwatch_model::id::KeyId::from_bits(mix(9))), ..Filter::default() };
    let began = Instant::now();
    let read = archive.events(Some(&journal_dir), filter)?.count();
    print(&format!("read the {read} events of one key"), began.elapsed().as_secs_f64() * 1e3, "ms")
}
