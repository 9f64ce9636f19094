//! Rows as Parquet columns and back.
//!
//! Invariants: columns are found by name and only ever appended, so files of older versions stay readable; what
//! a file does not have reads as null.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::column::reader::ColumnReader;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};
use tokenwatch_model::SmolStr;
use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::id::KeyId;
use tokenwatch_model::time::Timestamp;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Microseconds since the epoch, UTC.
    Time,
    /// A number that differs from row to row.
    Number,
    /// A number with few values.
    FewNumbers,
    /// All 64 bits of a hash that differs from row to row.
    Hash,
    /// All 64 bits of a hash with few values.
    FewHashes,
    /// Texts with few values.
    FewTexts,
    /// Texts that differ from row to row but begin alike.
    Text,
    /// Yes or no.
    Flag,
    /// A number with a fraction.
    Real,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub name: &'static str,
    pub kind: Kind,
    /// Whether it may be null.
    pub optional: bool,
}

impl Spec {
    pub(crate) const fn required(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, optional: false }
    }

    pub(crate) const fn optional(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, optional: true }
    }

    fn type_name(&self) -> String {
        let repetition = if self.optional { "optional" } else { "required" };
        let (physical, logical) = match self.kind {
            Kind::Time => ("int64", " (TIMESTAMP(MICROS,true))"),
            Kind::Number | Kind::FewNumbers => ("int64", ""),
            Kind::Hash | Kind::FewHashes => ("int64", " (INTEGER(64,false))"),
            Kind::FewTexts | Kind::Text => ("byte_array", " (STRING)"),
            Kind::Flag => ("boolean", ""),
            Kind::Real => ("double", ""),
        };
        format!("{repetition} {physical} {}{logical};", self.name)
    }
}

/// What can be archived. `put` and `take` go through the columns in the order of [`Record::COLUMNS`].
pub(crate) trait Record: Sized {
    /// Name of the table and of its folder.
    const TABLE: &'static str;
    /// The columns. Append-only.
    const COLUMNS: &'static [Spec];
    /// Whether partitions are hours; days otherwise.
    const BY_HOUR: bool;

    /// The record, when the line of the journal is one of this table.
    fn from_journal(record: JournalRecord) -> Option<Self>;
    /// The time it is filed under.
    fn time(&self) -> Timestamp;
    /// Its key.
    fn key(&self) -> KeyId;
    /// Appends it as a row.
    fn put(&self, row: &mut RowWriter<'_>) -> std::result::Result<(), serde_json::Error>;
    /// Reads it from a row.
    fn take(row: &mut RowReader<'_>) -> std::result::Result<Self, DecodeError>;
}

/// Why a row is not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column} holds {detail}")]
pub struct DecodeError {
    /// Which column.
    pub column: &'static str,
    /// What is wrong.
    pub detail: String,
}

#[derive(Default)]
struct Column {
    numbers: Vec<i64>,
    texts: Vec<ByteArray>,
    flags: Vec<bool>,
    reals: Vec<f64>,
    /// 1 where there is a value, 0 where there is none; only of optional columns.
    levels: Vec<i16>,
    /// Texts seen in this row group, so that each is kept once.
    known: HashMap<SmolStr, ByteArray>,
}

impl Column {
    fn clear(&mut self) {
        self.numbers.clear();
        self.texts.clear();
        self.flags.clear();
        self.reals.clear();
        self.levels.clear();
        self.known.clear();
    }
}

/// Rows being gathered for a row group.
pub(crate) struct Table {
    specs: &'static [Spec],
    columns: Vec<Column>,
    rows: usize,
}

impl Table {
    pub(crate) fn new(specs: &'static [Spec]) -> Self {
        Self { specs, columns: specs.iter().map(|_| Column::default()).collect(), rows: 0 }
    }

    pub(crate) const fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn push<R: Record>(&mut self, record: &R) -> std::result::Result<(), serde_json::Error> {
        record.put(&mut RowWriter { table: self, at: 0 })?;
        self.rows += 1;
        Ok(())
    }

    /// Writes what was gathered as a row group and starts over.
    pub(crate) fn write_to<W: Write + Send>(&mut self, file: &mut SerializedFileWriter<W>) -> Result<()> {
        let mut group = file.next_row_group()?;
        for (spec, column) in self.specs.iter().zip(&mut self.columns) {
            write_column(&mut group, spec, column)?;
            column.clear();
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

fn write_column<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    spec: &Spec,
    column: &Column,
) -> Result<()> {
    let missing = || ParquetError::General(format!("there is no column {} to write", spec.name));
    let mut writer = group.next_column()?.ok_or_else(missing)?;
    let levels = spec.optional.then_some(column.levels.as_slice());
    match spec.kind {
        Kind::Time | Kind::Number | Kind::FewNumbers | Kind::Hash | Kind::FewHashes => {
            writer.typed::<Int64Type>().write_batch(&column.numbers, levels, None)?
        }
        Kind::FewTexts | Kind::Text => {
            writer.typed::<ByteArrayType>().write_batch(&column.texts, levels, None)?
        }
        Kind::Flag => writer.typed::<BoolType>().write_batch(&column.flags, levels, None)?,
        Kind::Real => writer.typed::<DoubleType>().write_batch(&column.reals, levels, None)?,
    };
    writer.close()
}

/// Appends the values of one row, column after column.
pub(crate) struct RowWriter<'a> {
    table: &'a mut Table,
    at: usize,
}

impl RowWriter<'_> {
    fn column(&mut self, present: bool) -> Option<(&mut Column, Kind)> {
        let spec = self.table.specs.get(self.at);
        let column = self.table.columns.get_mut(self.at);
        self.at += 1;
        let (spec, column) = spec.zip(column)?;
        if spec.optional {
            column.levels.push(i16::from(present));
        }
        present.then_some((column, spec.kind))
    }

    /// A number; those of 2^63 and above, which nothing real reaches, become 2^63 - 1.
    pub(crate) fn number(&mut self, number: u64) {
        if let Some((column, _)) = self.column(true) {
            column.numbers.push(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    /// A number of which 0 stands for none.
    pub(crate) fn number_or_none(&mut self, number: u64) {
        if let Some((column, _)) = self.column(number != 0) {
            column.numbers.push(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    /// A hash of which 0 stands for none.
    pub(crate) fn hash_or_none(&mut self, hash: u64) {
        if let Some((column, _)) = self.column(hash != 0) {
            column.numbers.push(hash.cast_signed());
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.text_if(true, text);
    }

    /// A text of which the empty one stands for none.
    pub(crate) fn text_or_none(&mut self, text: &str) {
        self.text_if(!text.is_empty(), text);
    }

    fn text_if(&mut self, present: bool, text: &str) {
        let Some((column, kind)) = self.column(present) else { return };
        if kind == Kind::Text {
            column.texts.push(ByteArray::from(text.as_bytes().to_vec()));
        } else if let Some(known) = column.known.get(text) {
            column.texts.push(known.clone());
        } else {
            let new = ByteArray::from(text.as_bytes().to_vec());
            column.known.insert(text.into(), new.clone());
            column.texts.push(new);
        }
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        if let Some((column, _)) = self.column(true) {
            column.flags.push(flag);
        }
    }

    pub(crate) fn real(&mut self, real: f64) {
        if let Some((column, _)) = self.column(true) {
            column.reals.push(real);
        }
    }
}

/// How the columns are laid out, for writers of Parquet.
pub(crate) fn layout<R: Record>() -> Result<(TypePtr, Arc<WriterProperties>)> {
    let fields: String = R::COLUMNS.iter().map(Spec::type_name).collect();
    let schema = parse_message_type(&format!("message {} {{ {fields} }}", R::TABLE))?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by("tokenwatch".to_owned())
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for spec in R::COLUMNS {
        let path = ColumnPath::new(vec![spec.name.to_owned()]);
        properties = match spec.kind {
            Kind::FewNumbers | Kind::FewHashes | Kind::FewTexts => properties,
            Kind::Flag | Kind::Hash | Kind::Real => properties.set_column_dictionary_enabled(path, false),
            Kind::Time | Kind::Number => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            Kind::Text => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BYTE_ARRAY),
        };
    }
    for name in ["time", "key"] {
        let path = ColumnPath::new(vec![name.to_owned()]);
        properties = properties.set_column_statistics_enabled(path, EnabledStatistics::Page);
    }
    Ok((Arc::new(schema), Arc::new(properties.build())))
}

/// The rows of one row group, decoded.
pub(crate) struct RowGroup {
    specs: &'static [Spec],
    columns: Vec<Column>,
    /// Per column: how many of its values were taken, and whether the file has it at all.
    taken: Vec<(usize, bool)>,
    rows: usize,
    row: usize,
}

impl RowGroup {
    /// Decodes a row group of a file.
    pub(crate) fn decode(
        file: &SerializedFileReader<File>,
        index: usize,
        specs: &'static [Spec],
    ) -> Result<Self> {
        let group = file.get_row_group(index)?;
        let rows = usize::try_from(group.metadata().num_rows())
            .map_err(|_| ParquetError::General("a row group has a negative number of rows".to_owned()))?;
        let descriptor = file.metadata().file_metadata().schema_descr_ptr();
        let mut columns = Vec::with_capacity(specs.len());
        let mut taken = Vec::with_capacity(specs.len());
        for spec in specs {
            let mut column = Column::default();
            let place = descriptor.columns().iter().position(|found| found.name() == spec.name);
            if let Some(place) = place {
                let optional = descriptor.column(place).max_def_level() > 0;
                decode_column(group.get_column_reader(place)?, rows, optional, &mut column)?;
            }
            columns.push(column);
            taken.push((0, place.is_some()));
        }
        Ok(Self { specs, columns, taken, rows, row: 0 })
    }

    /// The next row; `None` after the last.
    pub(crate) fn next<R: Record>(&mut self) -> Option<std::result::Result<R, DecodeError>> {
        if self.row >= self.rows {
            return None;
        }
        let record = R::take(&mut RowReader { group: self, at: 0 });
        self.row += 1;
        Some(record)
    }
}

fn decode_column(reader: ColumnReader, rows: usize, optional: bool, column: &mut Column) -> Result<()> {
    let mut done = 0;
    let mut reader = reader;
    while done < rows {
        let levels = optional.then_some(&mut column.levels);
        let (read, _, _) = match &mut reader {
            ColumnReader::BoolColumnReader(reader) => {
                reader.read_records(rows - done, levels, None, &mut column.flags)?
            }
            ColumnReader::Int64ColumnReader(reader) => {
                reader.read_records(rows - done, levels, None, &mut column.numbers)?
            }
            ColumnReader::DoubleColumnReader(reader) => {
                reader.read_records(rows - done, levels, None, &mut column.reals)?
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                reader.read_records(rows - done, levels, None, &mut column.texts)?
            }
            _ => return Err(ParquetError::General("a column has a type that is not ours".to_owned())),
        };
        if read == 0 {
            return Err(ParquetError::EOF("a column has too few rows".to_owned()));
        }
        done += read;
    }
    if !optional {
        column.levels.resize(rows, 1);
    }
    Ok(())
}

/// Takes the values of one row, column after column.
pub(crate) struct RowReader<'a> {
    group: &'a mut RowGroup,
    at: usize,
}

impl RowReader<'_> {
    /// Steps to the next column; where its value is, unless it is null.
    fn step(&mut self) -> (&'static str, Option<(&Column, usize)>) {
        let at = self.at;
        self.at += 1;
        let row = self.group.row;
        let name = self.group.specs.get(at).map_or("", |spec| spec.name);
        let (Some(column), Some((taken, exists))) =
            (self.group.columns.get(at), self.group.taken.get_mut(at))
        else {
            return (name, None);
        };
        if !*exists || column.levels.get(row) != Some(&1) {
            return (name, None);
        }
        let place = *taken;
        *taken += 1;
        (name, Some((column, place)))
    }

    pub(crate) fn number(&mut self) -> std::result::Result<u64, DecodeError> {
        let (name, value) = self.step();
        let Some((column, place)) = value else { return Ok(0) };
        match column.numbers.get(place) {
            Some(&number) => u64::try_from(number).map_err(|_| wrong(name, "a negative number")),
            None => Err(wrong(name, "no number")),
        }
    }

    /// A number that fits the narrower type of its field.
    pub(crate) fn narrow<T: TryFrom<u64>>(&mut self) -> std::result::Result<T, DecodeError> {
        let name = self.group.specs.get(self.at).map_or("", |spec| spec.name);
        T::try_from(self.number()?).map_err(|_| wrong(name, "a number that is too large"))
    }

    pub(crate) fn hash(&mut self) -> std::result::Result<u64, DecodeError> {
        let (name, value) = self.step();
        let Some((column, place)) = value else { return Ok(0) };
        column.numbers.get(place).map(|hash| hash.cast_unsigned()).ok_or_else(|| wrong(name, "no number"))
    }

    /// A text, empty when it is null.
    pub(crate) fn text(&mut self) -> std::result::Result<&str, DecodeError> {
        let (name, value) = self.step();
        let Some((column, place)) = value else { return Ok("") };
        let bytes = column.texts.get(place).ok_or_else(|| wrong(name, "no text"))?;
        std::str::from_utf8(bytes.data()).map_err(|_| wrong(name, "a text that is not UTF-8"))
    }

    /// A text that `read` understands.
    pub(crate) fn word<T>(
        &mut self,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> std::result::Result<T, DecodeError> {
        let name = self.group.specs.get(self.at).map_or("", |spec| spec.name);
        let text = self.text()?;
        read(text).ok_or_else(|| wrong(name, &format!("the unknown word {text:?}")))
    }

    pub(crate) fn flag(&mut self) -> std::result::Result<bool, DecodeError> {
        let (name, value) = self.step();
        let Some((column, place)) = value else { return Ok(false) };
        column.flags.get(place).copied().ok_or_else(|| wrong(name, "no flag"))
    }

    pub(crate) fn real(&mut self) -> std::result::Result<f64, DecodeError> {
        let (name, value) = self.step();
        let Some((column, place)) = value else { return Ok(0.0) };
        column.reals.get(place).copied().ok_or_else(|| wrong(name, "no number"))
    }
}

fn wrong(column: &'static str, detail: &str) -> DecodeError {
    DecodeError { column, detail: detail.to_owned() }
}
