//! Rows of Parquet as records.

use parquet::record::{Field, Row};
use serde_json::Value;
use tokenwatch_evaluate::record::{Cell, Name, Record, UnknownFields};

/// A row as a record; columns that are not known are counted.
pub(super) fn record_of<'r>(row: &'r Row, unknown: &mut UnknownFields) -> Record<'r> {
    let mut record = Record::default();
    for (name, field) in row.get_column_iter() {
        match Name::find(name) {
            Some(name) => record.put(name, cell_of(field), unknown),
            None => unknown.note(name),
        }
    }
    record
}

fn cell_of(field: &Field) -> Cell<'_> {
    let signed = |number: i64| u64::try_from(number).map_or(Cell::Real(number as f64), Cell::Number);
    let time = |number: i64, factor: u64| {
        u64::try_from(number)
            .map_or(Cell::Real(number as f64), |number| Cell::Time(number.saturating_mul(factor)))
    };
    match field {
        Field::Null => Cell::Absent,
        Field::Bool(flag) => Cell::Flag(*flag),
        Field::Byte(number) => signed((*number).into()),
        Field::Short(number) => signed((*number).into()),
        Field::Int(number) => signed((*number).into()),
        Field::Long(number) => signed(*number),
        Field::UByte(number) => Cell::Number((*number).into()),
        Field::UShort(number) => Cell::Number((*number).into()),
        Field::UInt(number) => Cell::Number((*number).into()),
        Field::ULong(number) => Cell::Number(*number),
        Field::Float(number) => Cell::Real((*number).into()),
        Field::Double(number) => Cell::Real(*number),
        Field::Str(text) => Cell::Text(text.as_str().into()),
        Field::TimestampMillis(number) => time(*number, 1_000),
        Field::TimestampMicros(number) => time(*number, 1),
        Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => {
            Cell::Json(Box::new(value_of(field)))
        }
        _ => Cell::Nested,
    }
}

/// What a list or a group holds, as JSON.
fn value_of(field: &Field) -> Value {
    match field {
        Field::Group(row) => {
            row.get_column_iter().map(|(name, field)| (name.clone(), value_of(field))).collect()
        }
        Field::ListInternal(list) => list.elements().iter().map(value_of).collect(),
        Field::MapInternal(map) => {
            map.entries().iter().map(|(key, field)| (key.to_string(), value_of(field))).collect()
        }
        _ => match cell_of(field) {
            Cell::Absent => Value::Null,
            Cell::Flag(flag) => flag.into(),
            Cell::Number(number) | Cell::Time(number) => number.into(),
            Cell::Real(real) => real.into(),
            Cell::Text(text) => text.into_owned().into(),
            Cell::Json(_) | Cell::Nested => field.to_string().into(),
        },
    }
}
