//! Several files and formats as one stream.

use std::io::Write as _;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::record::{Field, Row};
use parquet::schema::parser::parse_message_type;
use tokenwatch_evaluate::record::text_bits;
use tokenwatch_network::Bundled;
use tokenwatch_wire::price::PriceTable;

use super::super::truth::Truth;
use super::*;

/// Time, key and input tokens of an event.
type Told = (u64, String, u64);

/// Everything that is read.
fn read(paths: &[PathBuf], disorder: u64) -> anyhow::Result<(Vec<Told>, Summary)> {
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

/// A row says the same as a line of JSON.
#[track_caller]
fn check_row(fields: &[(&str, Field)], line: &str) {
    let row = Row::new(fields.iter().map(|(name, field)| ((*name).to_owned(), field.clone())).collect());
    let (mut of_row, mut of_line) = (UnknownFields::default(), UnknownFields::default());
    let want = Record::from_json(line.as_bytes(), &mut of_line).unwrap();
    assert_eq!((rows::record_of(&row, &mut of_row), of_row), (want, of_line), "{line}");
}

#[test]
fn rows_are_read_as_lines_are() {
    let text = |text: &str| Field::Str(text.to_owned());
    check_row(
        &[("prompt_tokens", Field::Long(7)), ("input_tokens", Field::Null), ("id", text("r"))],
        r#"{"prompt_tokens":7,"id":"r"}"#,
    );
    check_row(
        &[
            ("ts", Field::Double(1_772_366_400.5)),
            ("prompt_tokens", Field::Int(7)),
            ("region", Field::Int(1)),
        ],
        r#"{"ts":1772366400.5,"prompt_tokens":7,"region":1}"#,
    );
    check_row(
        &[("input_tokens", Field::Int(6)), ("prompt_tokens", Field::Int(7))],
        r#"{"input_tokens":6,"prompt_tokens":7}"#,
    );
    let parameters = Row::new(vec![
        ("top_p".to_owned(), Field::Int(1)),
        ("stop".to_owned(), text("x")),
        ("seed".to_owned(), Field::Null),
    ]);
    check_row(
        &[("parameters", Field::Group(parameters))],
        r#"{"parameters":{"stop":"x","seed":null,"top_p":1}}"#,
    );
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
        (&[0x1f, 0x8b, 1, 2, 3], "a: "),
        (&[0xff, 0xfe, b'{', 0], "a: text in UTF-16, which is not read here; write UTF-8"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = format!("{:#}", read(std::slice::from_ref(&path), 0).err().unwrap());
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let packed = |text: &str| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap()
    };
    let line = format!("{{\"time\":{NOON},\"key\":\"k\",\"prompt_tokens\":7}}\n");
    let marked = format!("\u{feff}{line}");
    for (content, want) in [
        (line.clone().into_bytes(), 1),
        (packed(&line), 1),
        (marked.clone().into_bytes(), 1),
        (packed(&marked), 1),
        ("\u{feff}".into(), 0),
        ("\n".into(), 0),
        (Vec::new(), 0),
    ] {
        std::fs::write(&path, &content).unwrap();
        let (items, _) = read(std::slice::from_ref(&path), 0).unwrap();
        assert_eq!(items, vec![(NOON, "k".to_owned(), 7); want], "{content:?}");
    }
}

/// The label of request `r` in a truth that is written so.
#[track_caller]
fn check_truth(content: &str, want: Result<&str, &str>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("truth");
    std::fs::write(&path, content).unwrap();
    let truth = Truth::read(std::slice::from_ref(&path)).map_err(|error| format!("{error:#}"));
    let label = truth.as_ref().map(|truth| {
        let attack = truth.attack_of(text_bits("r")).unwrap() as usize;
        truth.attacks()[attack].as_str()
    });
    match want {
        Ok(want) => assert_eq!(label, Ok(want), "{content}"),
        Err(want) => assert!(label.unwrap_err().ends_with(want), "{content}"),
    }
}

#[test]
fn a_truth_may_be_marked_and_name_requests_as_events_do() {
    for content in [
        "request,attack\nr,t\n",
        "\u{feff}request,attack\nr,t\n",
        "\u{feff}{\"request\":\"r\",\"attack\":\"t\"}\n",
        "request_id,attack\nr,t\n",
        "id,request,attack\nx,r,t\n",
        "{\"id\":\"r\",\"attack\":\"t\"}\n",
    ] {
        check_truth(content, Ok("t"));
    }
    check_truth(
        "{\"attack\":\"t\"}\n",
        Err("line 1: field request: missing; write an object with request, attack"),
    );
    check_truth("call,attack\nr,t\n", Err("the first line must name the columns, such as request,attack"));
}
