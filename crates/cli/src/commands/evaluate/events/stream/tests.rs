//! Several files and formats as one stream.

use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tokenwatch_network::Bundled;
use tokenwatch_wire::price::PriceTable;

use super::*;

/// Times, keys and input tokens of everything that is read.
fn read(paths: &[PathBuf], disorder: u64) -> anyhow::Result<(Vec<(u64, String, u64)>, Summary)> {
    let bundled = Bundled::new();
    let lookup = Lookup { addresses: &bundled, prices: PriceTable::bundled() };
    let mut items = Vec::new();
    let summary = Stream::new(paths, disorder).run(&lookup, &ProgressBar::hidden(), &mut |item| {
        items.push((item.event.request.time.0, item.key.to_string(), item.event.usage.input));
    })?;
    Ok((items, summary))
}

const NOON: u64 = 1_772_366_400_000_000;

/// A file as other tools write it: a time in microseconds, a text, a number, a column that nobody knows.
fn write_parquet(path: &Path, rows: &[(u64, &str, i64)]) {
    let schema = "message events { required int64 time (TIMESTAMP(MICROS,true)); required byte_array key (STRING); \
                  optional int64 input_tokens; required int64 region; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(path).unwrap();
    let mut file = SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::default())).unwrap();
    let mut group = file.next_row_group().unwrap();
    let times: Vec<i64> = rows.iter().map(|row| row.0.cast_signed()).collect();
    let keys: Vec<ByteArray> = rows.iter().map(|row| row.1.into()).collect();
    let tokens: Vec<i64> = rows.iter().map(|row| row.2).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&times, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&keys, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&tokens, Some(&vec![1; rows.len()]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&tokens, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
}

#[test]
fn parquet_and_lines_are_merged_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let (parquet, lines) = (dir.path().join("a"), dir.path().join("b"));
    write_parquet(&parquet, &[(NOON, "p", 1), (NOON + 20, "p", 2)]);
    std::fs::write(&lines, format!("{{\"time\":{},\"key\":\"l\",\"input_tokens\":7}}", NOON + 10)).unwrap();
    let (items, summary) = read(&[parquet, lines], 0).unwrap();
    let want = [(NOON, "p", 1), (NOON + 10, "l", 7), (NOON + 20, "p", 2)];
    assert_eq!(items, want.map(|(time, key, tokens)| (time, key.to_owned(), tokens)));
    assert_eq!(summary.unknown.counts().collect::<Vec<_>>(), [("region", 2)]);
}

#[test]
fn wrong_rows_are_told_by_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    write_parquet(&path, &[(NOON, "p", 1), (NOON, "p", -4)]);
    let error = read(std::slice::from_ref(&path), 0).err().unwrap().to_string();
    let want = "row 2: field input_tokens: -4 can not be read; write a whole number, 0 or above";
    assert_eq!(error, format!("{}, {want}", path.display()));
}

#[test]
fn what_is_no_file_of_events_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    for (content, want) in [
        (b"PAR1 and nothing else".as_slice(), "a: "),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0], "compressed with zstd"),
        (&[0x1f, 0x8b, 1, 2, 3], "line 1: "),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = format!("{:#}", read(std::slice::from_ref(&path), 0).err().unwrap());
        assert!(error.contains(want), "{error}");
    }
}
